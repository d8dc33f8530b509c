//! A line for the patient: for whom we wait. Only on a terminal, and only if it takes long.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    time::Duration,
};

use tokio::time::{self, Instant};

use super::target::Target;
use crate::printable::clean;

/// What takes less needs no line.
const LONG: Duration = Duration::from_secs(1);

/// Runs `work`, which tells the number of each target that is done, and shows who is not.
pub(super) async fn watching<T, F: Future<Output = T>>(
    targets: &[Target],
    work: impl FnOnce(Box<dyn FnMut(usize) + Send>) -> F,
) -> T {
    if !stderr().is_terminal() {
        return work(Box::new(|_| {})).await;
    }
    let (done, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let work = work(Box::new(move |number| {
        // Nobody listens at the end.
        let _ = done.send(number);
    }));
    let mut work = std::pin::pin!(work);
    let started = Instant::now();
    let mut ticks = time::interval_at(started + LONG, LONG);
    let mut waiting: Vec<usize> = (0..targets.len()).collect();
    let mut shown = false;
    let result = loop {
        tokio::select! {
            biased;
            result = &mut work => break result,
            Some(number) = heard.recv() => waiting.retain(|one| *one != number),
            _ = ticks.tick() => {
                let names: Vec<&str> = waiting.iter().map(|number| &*targets[*number].name).collect();
                let seconds = started.elapsed().as_secs();
                let line = line(&names, seconds, targets.len());
                // A line on a terminal that is gone is missed by nobody.
                let _ = write!(stderr(), "\r\x1b[K{line}");
                shown = true;
            }
        }
    };
    if shown {
        let _ = write!(stderr(), "\r\x1b[K");
    }
    result
}

fn line(names: &[&str], seconds: u64, all: usize) -> String {
    const MOST: usize = 60;
    let mut text = names.join(", ");
    if text.chars().count() > MOST {
        text = text.chars().take(MOST).chain(['…']).collect();
    }
    format!("{} of {all} answered; waiting for {} ({seconds} s)", all - names.len(), clean(&text))
}
