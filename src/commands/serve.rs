//! `serve`: run the proxy until told to stop.

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    app::{self, App, Listeners},
    config::{Config, ServeArgs},
    descriptors,
    ops::telemetry,
    version,
};

/// Runs until SIGTERM or SIGINT, and leaves in good order; a second one ends it at once.
///
/// # Errors
/// [`crate::config::Invalid`] if the configuration has faults; anything else that keeps it from running.
pub fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let loaded = Config::load(args)?;
    app::check(&loaded.config)?;
    telemetry::init(&loaded.config.operating.log_filter, loaded.config.operating.log_format)?;
    tracing::info!(version = version::VERSION, commit = version::COMMIT, "starting");
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if let Err(error) = descriptors::raise() {
        tracing::warn!(%error, "the limit of file descriptors stays as it is");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let listeners = Listeners::bind(&loaded.config).await?;
        let app = App::build(&loaded, listeners)?;
        let reloader = app.reloader.clone();
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                reloader.check_now();
            }
        });
        for address in &app.addresses {
            tracing::info!(%address, "listening");
        }
        tracing::info!(address = %app.admin, "admin pages");
        let mut told = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        told().await;
        tracing::info!("leaving; a second signal ends it at once");
        tokio::select! {
            () = app.shutdown() => Ok(()),
            () = told() => anyhow::bail!("ended at once by a second signal; what was under way is lost"),
        }
    });
    // Not waiting for a name or a file for which nobody answers: threads that ask for one can't be ended.
    runtime.shutdown_background();
    done
}
