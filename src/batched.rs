//! A connection's task that lets those go first who are about to give it something to write.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// Polls what it holds one turn later than it is woken.
///
/// A runtime runs a task that was just woken before all others that are ready. So each of a hundred requests that
/// arrived together would wake the task of the connection that it goes out on, which would write it at once: a
/// hundred system calls, at several microseconds each. One turn later all of them are there, and one call writes
/// them. Who finds nobody else ready loses a fraction of a microsecond.
pub struct Batched<F> {
    inner: F,
    /// The others had their turn.
    waited: bool,
}

// === impl Batched ===

impl<F> Batched<F> {
    /// Makes a future patient.
    pub fn new(inner: F) -> Self {
        Self { inner, waited: false }
    }
}

impl<F: Future + Unpin> Future for Batched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.waited = !self.waited;
        if self.waited {
            // To the end of the queue.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::SeqCst},
        },
    };

    use futures_util::task::AtomicWaker;
    use tokio::task::yield_now;

    use super::*;

    const BROUGHT: usize = 10;

    // One worker of the runtime that we serve with: the only one that runs the task woken last before others.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_others_bring_in_the_same_turn_is_seen_in_one_poll() {
        let shared = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0), AtomicWaker::new()));
        let seen = Arc::clone(&shared);
        let writer = tokio::spawn(Batched::new(poll_fn(move |cx| {
            let (brought, polls, waker) = &*seen;
            waker.register(cx.waker());
            polls.fetch_add(1, SeqCst);
            if brought.load(SeqCst) == BROUGHT { Poll::Ready(()) } else { Poll::Pending }
        })));
        let others = Arc::clone(&shared);
        tokio::spawn(async move {
            while others.1.load(SeqCst) == 0 {
                yield_now().await;
            }
            for _ in 0..BROUGHT {
                let shared = Arc::clone(&others);
                tokio::spawn(async move {
                    shared.0.fetch_add(1, SeqCst);
                    shared.2.wake();
                });
            }
        });
        writer.await.unwrap();
        // The first one found nothing. Without patience there is one for each that was brought.
        assert_eq!(shared.1.load(SeqCst), 2);
    }
}
