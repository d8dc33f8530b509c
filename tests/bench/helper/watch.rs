//! Watches that are open and nothing else.

use std::sync::Arc;

use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Result;
use crate::client::Target;

/// How many answers are waited for at a time: enough to be quick, too few to look like an attack.
const OPENING: usize = 200;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
}

/// Opens connections × streams watches and holds them.
pub(crate) async fn run(args: Args) -> Result<()> {
    let Args { target } = args;
    let tls = target.tls()?;
    let opening = Arc::new(Semaphore::new(OPENING));
    let mut watches = JoinSet::new();
    for _ in 0..target.connections {
        let sender = target.connect(&tls).await?;
        for _ in 0..target.streams {
            let turn = Arc::clone(&opening).acquire_owned().await?;
            let (mut sender, request) = (sender.clone(), target.request());
            watches.spawn(async move {
                let response = sender.send_request(request).await?;
                if response.status() != 200 {
                    return Err(format!("a watch was answered {}", response.status()).into());
                }
                drop(turn);
                let mut body = response.into_body();
                while body.frame().await.transpose()?.is_some() {}
                Result::Ok(())
            });
        }
    }
    let all = u32::try_from(OPENING)?;
    let begun = async {
        // Everybody's turn is over.
        let _all = opening.acquire_many(all).await?;
        println!("open");
        std::future::pending().await
    };
    tokio::select! {
        held = begun => held,
        // No watch ends by itself.
        Some(ended) = watches.join_next() => Err(ended?.err().unwrap_or_else(|| "a watch ended".into())),
    }
}
