//! On events or on a timer? Decided for each server by how its informers are doing.

use std::sync::Arc;

use tokio::{
    sync::watch,
    time::{self, Instant},
};

use super::{Seeing, Seen};
use crate::{
    limits,
    servers::{Server, watched::Mode},
};

/// What two informers together say.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    /// Events would come.
    Live,
    /// They would not, for a while at least.
    Away,
    /// They will not.
    Refused(String),
}

/// Keeps the mode of a server right, which begins as [`Mode::Watch`], as long as the informers are there. Each change is
/// one line in the log.
pub(super) async fn keep<A, B>(server: Arc<Server>, mut one: Seeing<A>, mut other: Seeing<B>) {
    server.watched.set_mode(Mode::Watch);
    let mut away_since = Some(Instant::now());
    loop {
        let word = word(&one.borrow_and_update(), &other.borrow_and_update());
        match &word {
            Word::Live => {
                away_since = None;
                change(&server, Mode::Watch, "its custom resource definitions and APIServices are watched");
            }
            Word::Away => {
                away_since.get_or_insert_with(Instant::now);
            }
            Word::Refused(why) => {
                away_since = None;
                change(&server, Mode::Interval, why);
            }
        }
        // Whoever is on the timer stays there until there is something better.
        let patience = away_since.filter(|_| server.watched.mode() == Mode::Watch);
        let changed = tokio::select! {
            changed = changed(&mut one, &mut other) => changed,
            () = until(patience.map(|since| since + limits::INTERVAL_AFTER)) => {
                change(&server, Mode::Interval, "its watches are away");
                continue;
            }
        };
        if changed.is_err() {
            change(&server, Mode::Interval, "its watches are gone");
            return;
        }
    }
}

async fn changed<A, B>(one: &mut Seeing<A>, other: &mut Seeing<B>) -> Result<(), watch::error::RecvError> {
    tokio::select! {
        changed = one.changed() => changed,
        changed = other.changed() => changed,
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

fn word<A, B>(one: &Seen<A>, other: &Seen<B>) -> Word {
    match one.refused.as_ref().or(other.refused.as_ref()) {
        Some(why) => Word::Refused(why.clone()),
        None if one.live && other.live => Word::Live,
        None => Word::Away,
    }
}

fn change(server: &Server, mode: Mode, why: &str) {
    if server.watched.set_mode(mode) {
        tracing::info!(server = %server.name, mode = mode.as_str(), why, "discovery is fetched in another way");
    }
}
