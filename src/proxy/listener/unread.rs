//! Answers that nobody takes.
//!
//! A client that opens no window holds what an answer has in memory, here and at the server, for as long as it likes,
//! and on one connection hundreds of times. What is short by nature is given up after a while; who pauses a log or a
//! watch may do so.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use hyper::rt::Executor;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    body::{self, Body, Watcher},
    limits,
};

tokio::task_local! {
    /// That of the HTTP/2 stream whose task this is.
    static OF_THIS_STREAM: Arc<Unread>;
}

/// Marks an answer that has no end of its own: its reader may pause.
#[derive(Clone, Copy, Debug)]
pub struct MayPause;

/// Since when the last piece of an answer was not followed by the wish for another.
#[derive(Debug, Default)]
pub(super) struct Unread(Mutex<Option<Instant>>);

/// Gives up on an answer that is unread for too long.
pub(super) struct Patience {
    unread: Arc<Unread>,
    /// Only while there is something to wait for.
    timer: Option<Pin<Box<Sleep>>>,
}

/// Runs the streams of one HTTP/2 connection, each in a task of its own.
#[derive(Clone, Copy)]
pub(super) struct Streams;

/// A stream's task, which ends when its answer is unread for too long; the stream is reset then.
struct Stream<F> {
    exchange: Pin<Box<F>>,
    patience: Patience,
}

// === impl Unread ===

impl Unread {
    /// That of the stream in whose task this is called.
    pub(super) fn of_this_stream() -> Option<Arc<Self>> {
        OF_THIS_STREAM.try_with(Arc::clone).ok()
    }

    /// The same answer, watched.
    pub(super) fn watch(self: Arc<Self>, body: Body) -> Body {
        if http_body::Body::is_end_stream(&body) {
            return body;
        }
        self.set(Some(Instant::now()));
        body::watched(body, Pieces(self))
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Pieces(Arc<Unread>);

impl Watcher for Pieces {
    fn asked(&mut self) {
        self.0.set(None);
    }

    fn data(&mut self, _bytes: usize) {
        self.0.set(Some(Instant::now()));
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

// === impl Patience ===

impl Patience {
    pub(super) fn new(unread: Arc<Unread>) -> Self {
        Self { unread, timer: None }
    }

    /// Ready when it is at its end. To be polled after whatever could have taken or given something.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(since) = self.unread.since() else {
            self.timer = None;
            return Poll::Pending;
        };
        let end = since + limits::UNREAD_ANSWER_TIMEOUT;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if timer.deadline() != end {
            timer.as_mut().reset(end);
        }
        timer.as_mut().poll(cx)
    }
}

// === impl Streams ===

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, exchange: F) {
        let unread = Arc::new(Unread::default());
        let patience = Patience::new(Arc::clone(&unread));
        tokio::spawn(OF_THIS_STREAM.scope(unread, Stream { exchange: Box::pin(exchange), patience }));
    }
}

// === impl Stream ===

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.exchange.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => self.patience.poll(cx),
        }
    }
}
