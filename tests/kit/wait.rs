//! Waiting for a condition, never for a time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::DEADLINE;

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Comes back when the condition holds; fails the test if it doesn't by the deadline.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    until(what, async || holds().then_some(())).await;
}

/// Asks until there is something.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never came true: {what}");
        sleep(LOOK_EVERY).await;
    }
}
