//! Where pages are written that take a while: beside the threads that requests are served on, and few at a time.

use std::sync::Arc;

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task,
};

use crate::limits;

/// Seats for so many at a time; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Desk(Arc<Semaphore>);

// === impl Desk ===

impl Default for Desk {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(limits::MAX_ADMIN_PAGES)))
    }
}

impl Desk {
    /// Writes a page, when there is a seat. `None` if that panicked.
    ///
    /// Whoever no longer waits for it gives up his place in the line; but what is begun is done, and keeps its seat until
    /// then: who asks and hangs up again and again occupies no more threads than who waits.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        page: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let seat: OwnedSemaphorePermit = Arc::clone(&self.0).acquire_owned().await.ok()?;
        let written = task::spawn_blocking(move || {
            let page = page();
            drop(seat);
            page
        });
        written.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            atomic::{AtomicUsize, Ordering},
            mpsc,
        },
        time::Duration,
    };

    use super::*;

    #[tokio::test]
    async fn who_hangs_up_again_and_again_occupies_no_more_threads_than_there_are_seats() {
        let desk = Desk::default();
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (begun, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let mut ends = Vec::new();
        for _ in 0..20 {
            let (end, wait) = mpsc::channel::<()>();
            ends.push(end);
            let (running, most, begun, desk) = (running.clone(), most.clone(), begun.clone(), desk.clone());
            let asked = async move {
                desk.write(move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let _ = begun.send(());
                    let _ = wait.recv();
                    running.fetch_sub(1, Ordering::SeqCst);
                })
                .await;
            };
            // Long enough to begin, if it may.
            let _ = tokio::time::timeout(Duration::from_millis(5), asked).await;
        }
        for _ in 0..limits::MAX_ADMIN_PAGES {
            heard.recv().await.expect("as many as there are seats begin");
        }
        drop(ends);
        assert_eq!(desk.write(|| 7).await, Some(7), "seats come free");
        assert_eq!(most.load(Ordering::SeqCst), limits::MAX_ADMIN_PAGES);
    }

    #[tokio::test]
    async fn a_page_that_panics_gives_its_seat_back() {
        let desk = Desk::default();
        for _ in 0..=limits::MAX_ADMIN_PAGES {
            assert_eq!(desk.write(|| -> () { panic!("on purpose") }).await, None);
        }
        assert_eq!(desk.write(|| 7).await, Some(7));
    }
}
