//! Upgraded connections to one server: a fresh one for each, never used again (I4).
//!
//! Nothing here runs in the background: whoever drops a future or a value of this module closes the connection
//! behind it. So nothing that a server did not answer with 101 can be left open for anybody's next bytes
//! (CVE-2018-1002105).

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use rustls::ClientConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::dial::{self, Opened};
use super::error::{DialError, SendError, SendErrorKind};
use super::liveness::LastRead;
use super::{Config, Event, Observer, Settings, Stats, Target, h1};
use crate::body::{Body, BoxError};
use http::uri::InvalidUri;

/// Opens the connections and counts them.
pub struct Upgrades {
    /// With the front-proxy certificate.
    identity: Config,
    /// Without one.
    plain: Config,
    places: Arc<Semaphore>,
    max: usize,
    /// Any change ends everything that is open.
    ending: watch::Sender<()>,
}

/// TLS of both kinds; each offers HTTP/1.1 only.
pub struct UpgradeTls {
    /// With the front-proxy certificate.
    pub identity: Arc<ClientConfig>,
    /// Without one.
    pub plain: Arc<ClientConfig>,
}

/// What a server said to an upgrade.
pub enum Answered {
    /// 101: from now on the bytes are the caller's and the server's.
    Switched(Response<()>, Switched),
    /// Anything else.
    Other(Refusal),
}

/// A connection that speaks another protocol now.
pub struct Switched {
    /// Its bytes, those read ahead of time included.
    pub io: Upgraded,
    /// Its place among the others.
    pub lease: Lease,
}

/// An answer that is no 101, its connection still behind it; dropped, it closes that.
pub struct Refusal {
    response: Response<Incoming>,
    driver: Driver,
    _lease: Lease,
}

/// One connection's place; free again when dropped.
pub struct Lease {
    _place: OwnedSemaphorePermit,
    observer: Observer,
    ending: watch::Receiver<()>,
    broke: bool,
}

/// Why a refusal could not be read whole.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says it")]
pub enum RefusalError {
    #[error("its body is longer than {0} bytes")]
    TooLong(usize),
    #[error("its body did not end within {0:?}")]
    TooSlow(Duration),
    #[error("its body broke off: {0}")]
    BrokeOff(BoxError),
}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

// === impl Upgrades ===

impl Upgrades {
    /// At most `settings.max_connections` connections, of both kinds together.
    ///
    /// # Errors
    /// If `host:port` of the target is no valid authority of a URI.
    pub fn new(
        target: &Target,
        tls: UpgradeTls,
        settings: &Settings,
        observer: &Observer,
    ) -> Result<Self, InvalidUri> {
        let heard = LastRead::now();
        let config = |tls| -> Result<Config, InvalidUri> {
            Ok(Config {
                heard: heard.clone(),
                target: target.clone(),
                authority: target.authority().parse()?,
                tls: ArcSwap::new(tls),
                settings: settings.clone(),
                observer: Arc::clone(observer),
            })
        };
        let max = settings.max_connections;
        Ok(Self {
            identity: config(tls.identity)?,
            plain: config(tls.plain)?,
            places: Arc::new(Semaphore::new(max)),
            max,
            ending: watch::Sender::new(()),
        })
    }

    /// Sends a request for an upgrade, which has no body, and returns with the head of the answer.
    ///
    /// # Errors
    /// As [`Pool::send`](super::Pool::send); a request that did not leave comes back.
    pub async fn send(&self, request: Request<Body>, certificate: bool) -> Result<Answered, SendError> {
        let config = if certificate { &self.identity } else { &self.plain };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let full = format!("{}: {} upgraded connections", config.authority, self.max);
            return Err(SendError::new(SendErrorKind::Exhausted, full).with_request(Some(request)));
        };
        let mut ending = self.ending.subscribe();
        tokio::select! {
            answered = open(config, place, self.ending.subscribe(), request) => answered,
            // The sender is in `self`, so this is a change.
            _ = ending.changed() => {
                let lost = format!("{}: nothing comes from the server any more", config.authority);
                Err(SendError::new(SendErrorKind::Lost, lost))
            }
        }
    }

    /// From now on connections are opened with `tls`; those that are open go on.
    pub fn rekey(&self, UpgradeTls { identity, plain }: UpgradeTls) {
        self.identity.tls.store(identity);
        self.plain.tls.store(plain);
    }

    /// The server is thought to be dead: everything that is open ends now.
    pub fn close_all(&self) {
        self.ending.send_replace(());
    }

    /// When the server was last heard on any of the connections, or else when this was made.
    pub fn heard(&self) -> Instant {
        self.plain.heard.get()
    }

    /// How many there are, those that wait for their answer included.
    pub fn stats(&self) -> Stats {
        let live = self.max - self.places.available_permits();
        Stats { live, in_use: live, capacity: self.max, ..Stats::default() }
    }
}

/// Dials, asks, and waits for the answer's head.
async fn open(
    config: &Config,
    place: OwnedSemaphorePermit,
    ending: watch::Receiver<()>,
    mut request: Request<Body>,
) -> Result<Answered, SendError> {
    let started = Instant::now();
    let dialled = dial::open(config).await.and_then(|opened| match opened {
        Opened::H1(sender, io) => Ok((sender, io)),
        Opened::H2(_) => Err(DialError::tls(format_args!("{}: chose h2 unasked", config.authority))),
    });
    let (mut sender, io) = match dialled {
        Ok(opened) => opened,
        Err(DialError { kind, message }) => {
            (config.observer)(Event::ConnectFailed { kind, error: &message });
            return Err(SendError::new(kind, &*message).with_request(Some(request)));
        }
    };
    (config.observer)(Event::Connected { http2: false, took: started.elapsed() });
    let mut lease = Lease { _place: place, observer: Arc::clone(&config.observer), ending, broke: false };

    let given = h1::address(config, &mut request);
    let mut driver: Driver = Box::pin(io.with_upgrades());
    let answer = sender.try_send_request(request);
    match driven(&mut driver, answer).await {
        Ok(mut response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let upgraded = hyper::upgrade::on(&mut response);
            match driven(&mut driver, upgraded).await {
                Ok(io) => Ok(Answered::Switched(response.map(drop), Switched { io, lease })),
                Err(error) => {
                    lease.broke();
                    Err(SendError::new(SendErrorKind::Lost, error))
                }
            }
        }
        Ok(response) => Ok(Answered::Other(Refusal { response, driver, _lease: lease })),
        Err(mut error) => {
            lease.broke();
            let unsent = error.take_message().map(|request| given.restore(request));
            let kind = if unsent.is_some() { SendErrorKind::Unprocessed } else { SendErrorKind::Lost };
            Err(SendError::new(kind, error.into_error()).with_request(unsent))
        }
    }
}

/// Waits for what a connection brings while it is driven.
async fn driven<F: Future>(driver: &mut Driver, wanted: F) -> F::Output {
    let mut wanted = pin!(wanted);
    tokio::select! {
        biased;
        wanted = wanted.as_mut() => return wanted,
        // How it ended is told to whoever waits for something of it.
        _ = driver.as_mut() => {}
    }
    // A driver that ended must not be asked again.
    *driver = Box::pin(std::future::pending());
    wanted.await
}

// === impl Refusal ===

impl Refusal {
    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The whole of it; the connection is closed after that.
    ///
    /// # Errors
    /// If its body has more than `limit` bytes, takes longer than `patience`, or breaks off.
    pub async fn read(self, limit: usize, patience: Duration) -> Result<Response<Bytes>, RefusalError> {
        let Self { response, mut driver, _lease } = self;
        let (mut parts, body) = response.into_parts();
        h1::only_one_length(&mut parts.headers);
        let whole = driven(&mut driver, Limited::new(body, limit).collect());
        match timeout(patience, whole).await {
            Ok(Ok(whole)) => Ok(Response::from_parts(parts, whole.to_bytes())),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                Err(RefusalError::TooLong(limit))
            }
            Ok(Err(error)) => Err(RefusalError::BrokeOff(error)),
            Err(_) => Err(RefusalError::TooSlow(patience)),
        }
    }
}

// === impl Lease ===

impl Lease {
    /// Comes back when the server is thought to be dead. Cancel safe.
    pub async fn lost(&mut self) {
        // An error says that the server is no longer one of ours, which means the same.
        let _ = self.ending.changed().await;
    }

    /// The server's side broke off.
    pub fn broke(&mut self) {
        self.broke = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let error = self.broke.then_some("an upgraded connection broke off");
        (self.observer)(Event::Closed { error });
    }
}
