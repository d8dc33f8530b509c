//! HTTP on one client connection, from the end of its handshake to its own end.

use std::{future::poll_fn, pin::pin, sync::Arc};

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until},
};
use tower::{Service as _, ServiceExt as _};

use super::{
    Handler, Limits,
    connection::Connection,
    head_clock::HeadClock,
    impatient::Impatient,
    unread::{MayPause, Patience, Streams, Unread},
};
use crate::{
    batched::Batched,
    body::{Body, BoxError},
    drain::{self, Phase},
    limits,
};

/// Serves requests until the connection ends: by the client, by being idle for too long, or by the drain.
pub(super) async fn serve<IO>(
    io: IO,
    is_h2: bool,
    connection: Arc<Connection>,
    handler: Handler,
    limits: &Limits,
    mut drain: drain::Signal,
) -> Result<(), hyper::Error>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // HTTP/1.1 has one answer at a time.
    let unread = Arc::new(Unread::default());
    let mut patience = Patience::new(Arc::clone(&unread));
    let (own, phase, chance) = (Arc::clone(&connection), drain.clone(), limits.goaway_chance);
    let service = service_fn(move |request: Request<Incoming>| {
        let (mut handler, connection, phase) = (handler.clone(), Arc::clone(&connection), phase.clone());
        let unread = Arc::clone(&unread);
        async move {
            let turn = connection.turn();
            let unread = if is_h2 { Unread::of_this_stream() } else { Some(unread) };
            let leaving = phase.phase() >= Phase::Leaving;
            if is_h2 && (leaving || (chance > 0.0 && rand::random_bool(chance))) {
                connection.goodbye.notify_one();
            }
            let mut request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
            request.extensions_mut().insert(connection);
            request.extensions_mut().insert(turn);
            let mut response: Response<Body> = handler.ready().await?.call(request).await?;
            if !is_h2 && leaving && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, std::convert::Infallible>(match unread {
                Some(unread) if response.extensions().get::<MayPause>().is_none() => {
                    response.map(|body| unread.watch(body))
                }
                _ => response,
            })
        }
    });
    // Asks the client to leave, once; it may finish what it began.
    macro_rules! to_its_end {
        ($serving:expr, $turn:expr) => {{
            let mut serving = pin!($serving);
            let (mut seen_leaving, mut asked) = (false, false);
            let mut idle = pin!(sleep_until(own.idle_since() + limits::CLIENT_IDLE_TIMEOUT));
            loop {
                let next = if seen_leaving { Phase::Closing } else { Phase::Leaving };
                let ask = tokio::select! {
                    biased;
                    ended = $turn(serving.as_mut()) => return ended,
                    () = poll_fn(|cx| patience.poll(cx)), if !is_h2 => return Ok(()),
                    () = own.goodbye.notified(), if !asked => true,
                    () = drain.reached(next), if !asked => {
                        // One that was not used yet gets its first request answered: a client that finds every
                        // new connection closing would give up.
                        let used = is_h2 && own.begun() > 0;
                        let closing = std::mem::replace(&mut seen_leaving, true);
                        if closing && own.begun() == 0 {
                            return Ok(());
                        }
                        closing || used
                    }
                    () = idle.as_mut() => {
                        let since = if own.is_idle() { own.idle_since() } else { Instant::now() };
                        idle.as_mut().reset(since + limits::CLIENT_IDLE_TIMEOUT);
                        let idle = own.is_idle() && since.elapsed() >= limits::CLIENT_IDLE_TIMEOUT;
                        if idle && (asked || own.begun() == 0) {
                            // It did not go when it was asked to; or it never began to speak, and hyper would wait
                            // for that before it says goodbye.
                            return Ok(());
                        }
                        idle
                    }
                };
                if ask && !asked {
                    asked = true;
                    serving.as_mut().graceful_shutdown();
                }
            }
        }};
    }
    if is_h2 {
        let mut builder = http2::Builder::new(Streams);
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_streams)
            .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
            .initial_stream_window_size(limits::STREAM_WINDOW)
            .initial_connection_window_size(limits::CONNECTION_WINDOW)
            .max_send_buf_size(limits::SEND_BUFFER)
            .max_pending_accept_reset_streams(limits::MAX_PENDING_RESETS)
            .max_local_error_reset_streams(limits::MAX_LOCAL_RESETS)
            .keep_alive_interval(limits::CLIENT_PING_INTERVAL)
            .keep_alive_timeout(limits::CLIENT_PING_TIMEOUT);
        let io = Impatient::new(io, limits::CLIENT_STALL_TIMEOUT);
        // Answers that are ready together are written together.
        to_its_end!(builder.serve_connection(TokioIo::new(io), service), Batched::new)
    } else {
        let io = HeadClock::new(io, Arc::clone(&own), limits.header_read_timeout);
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            // From the end of the last request; how long a head may take from its first byte, the clock says.
            .header_read_timeout(limits::CLIENT_IDLE_TIMEOUT.max(limits.header_read_timeout))
            .max_headers(limits::MAX_HEADERS)
            .max_header_size(limits.max_header_bytes)
            .max_buf_size(limits.max_header_bytes)
            .half_close(false);
        to_its_end!(
            builder.serve_connection(TokioIo::new(io), service).with_upgrades(),
            std::convert::identity
        )
    }
}

#[cfg(test)]
mod tests;
