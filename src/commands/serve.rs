//! `serve`: run the proxy until told to stop.

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    app::{App, Listeners},
    config::{Config, ServeArgs},
    ops::telemetry,
};

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// [`crate::config::Invalid`] if the configuration has faults; anything else that keeps it from running.
pub fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let loaded = Config::load(args)?;
    telemetry::init(&loaded.config.operating.log_filter, loaded.config.operating.log_format)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let listeners = Listeners::bind(&loaded.config).await?;
        let app = App::build(&loaded, listeners)?;
        for address in &app.addresses {
            tracing::info!(%address, "listening");
        }
        tracing::info!(address = %app.admin, "admin pages");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        app.shutdown().await;
        Ok(())
    })
}
