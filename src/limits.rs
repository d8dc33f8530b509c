//! Every limit of the proxy in one place: how big, how many, how long.
//!
//! A constant marked *default* can be changed in the configuration, the others are fixed. What limits
//! a client protects us from him; what limits an API server protects us and its other users. Whoever
//! needs a number takes it from here, so that reading this file tells what the process can be made to do.

use std::time::Duration;

/// One kibibyte.
const KIB: usize = 1024;
/// One mebibyte.
const MIB: usize = 1024 * KIB;

// === From a client ===

/// Default. Connections of clients at the same time; more are closed at once, so that a balancer takes another
/// proxy.
pub const MAX_CLIENT_CONNECTIONS: usize = 10_000;

/// File descriptors that clients don't get: connections to API servers and the admin pages need some.
pub const RESERVED_DESCRIPTORS: u64 = 64;

/// File descriptors that not even connections to API servers get: for the admin pages, and to read files.
pub const LAST_DESCRIPTORS: u64 = 16;

/// Default. TLS handshakes in progress; one more, and the one that has lasted longest is given up, of
/// the source that has most of them.
pub const MAX_HANDSHAKES: usize = 512;

/// Default. A connection whose TLS handshake is not done by then (with the PROXY protocol's header, where there is
/// one) is closed.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Default. The head of an HTTP/1.1 request has to be complete this long after its first byte.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A client connection without a request for this long is closed (kube-apiserver: 90 s); after ours to the servers
/// ([`POOL_IDLE_TIMEOUT`]).
pub const CLIENT_IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// Default. Requests that are not long-running and wait for their answer; one more is a 429 with `Retry-After`. API servers have
/// limits of their own (kube-apiserver: 600 by default); this one bounds what a server that hangs can pile up here.
pub const MAX_REQUESTS_INFLIGHT: usize = 4_000;

/// Lines that the head of an HTTP/1.1 request may have; more is a 431. hyper's own 100 are too few for a front proxy
/// or a client that names the groups of somebody who is in many.
pub const MAX_HEADERS: usize = 256;

/// Default. Bytes that the head of one request may have; more is a 431. Go's server takes 1 MiB, but nothing that
/// speaks to Kubernetes needs it: a large token has 8 KiB.
pub const MAX_HEADER_BYTES: usize = 64 * KIB;

/// Default. Streams that one client may have open on one HTTP/2 connection (kube-apiserver: 100 since 1.27.8, 250
/// before). Higher than the servers' own, so that one client connection can use several of ours.
pub const MAX_CLIENT_STREAMS: u32 = 250;

/// The highest `--goaway-chance` (kube-apiserver has the same): one request in fifty.
pub const MAX_GOAWAY_CHANCE: f64 = 0.02;

/// Default. An upgraded connection (exec, attach, port-forward) over which nothing went for this long is ended, as
/// kubelet's `--streaming-connection-idle-timeout` does.
pub const UPGRADE_IDLE_TIMEOUT: Duration = Duration::from_secs(4 * 60 * 60);

/// Bodies of requests and answers have no limit, for they are streamed: what is in memory at any time is
/// bounded by the flow-control windows. This one is what a stream may have in flight before the other side
/// has to take it.
pub const STREAM_WINDOW: u32 = 256 * 1024;

/// As [`STREAM_WINDOW`], for all streams of an HTTP/2 connection together.
pub const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Default. The answer to a request that is not long-running has to begin by then. A backstop behind the server's own 60 s
/// (kube-apiserver `--request-timeout`), so that normally the server's answer is the one that is seen.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(75);

/// Bytes of an answer's body that wait for one stream's socket or window.
pub const SEND_BUFFER: usize = 64 * KIB;

/// Streams that a client may reset before we accepted them; more is an attack (CVE-2023-44487).
pub const MAX_PENDING_RESETS: usize = 50;

/// Streams that a client may make us reset; more is an attack (CVE-2025-8671).
pub const MAX_LOCAL_RESETS: usize = 1024;

/// A silent HTTP/2 client connection is sent a PING this often, so that clients gone without a word are noticed.
pub const CLIENT_PING_INTERVAL: Duration = Duration::from_secs(30);

/// A client that leaves a PING unanswered for this long is gone (kubernetes/kubernetes#121793 has the same).
pub const CLIENT_PING_TIMEOUT: Duration = Duration::from_secs(15);

/// The rest of a short request's answer is given up when nobody has asked for its next piece for this long.
pub const UNREAD_ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// An HTTP/2 client that takes none of our bytes for so long is gone, too: behind them no PING gets through. Not so
/// over HTTP/1.1, where somebody may just have stopped reading for a while.
pub const CLIENT_STALL_TIMEOUT: Duration = Duration::from_secs(45);

/// When no connection can be accepted (no file descriptors, mostly), the next try waits this long.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Default. So long after SIGTERM connections are still accepted, for balancers take a while to notice.
pub const SHUTDOWN_DELAY: Duration = Duration::from_secs(5);

/// Default. So long after SIGTERM requests under way may take; then watches and tunnels are ended. A pod is killed
/// after 30 s.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(25);

/// What was ended at [`SHUTDOWN_TIMEOUT`] has this long to be seen ending; what is left is cut.
pub const SHUTDOWN_CUT: Duration = Duration::from_secs(2);

/// A stream that never pauses, or a watch in the midst of an event, is ended this long after the others.
pub const LAST_WORDS: Duration = Duration::from_secs(1);

/// Bytes of an audit ID; a longer one is replaced (`k8s.io/apiserver/pkg/endpoints/filters/audit_init.go`).
pub const MAX_AUDIT_ID: usize = 64;

/// Connections to each admin listener at the same time; one more, and the one that has lasted longest is closed, so that
/// nobody keeps probes out by holding connections open.
pub const MAX_ADMIN_CONNECTIONS: usize = 16;

/// Decisions about requests that the admin pages show, of those that a peer answered and of those that we refused.
pub const MAX_RECENT_DECISIONS: usize = 50;

/// Bytes of a group, version or resource in such a decision; what is longer is cut.
pub const MAX_DECIDED_NAME: usize = 128;

/// Whole seconds over which the admin pages tell how many requests per second are rerouted.
pub const RATE_SECONDS: usize = 10;

/// Seconds for which they show that one by one.
pub const RATE_HISTORY: usize = 60;

/// Admin pages that are written at the same time; others wait. Each may take a CPU for a while, and clients that hang up
/// do not end what is begun.
pub const MAX_ADMIN_PAGES: usize = 2;

/// Lines of a table on the status page. What it leaves out `/debug/discovery/diff` has.
pub const MAX_PAGE_LINES: usize = 1_000;

/// Bytes of a PROXY protocol header of version 2, behind its first 16; more than any balancer writes.
pub const MAX_PROXY_HEADER: usize = 4096;

/// A certificate's subject in a metric is cut to this many characters.
pub const MAX_SUBJECT: usize = 128;

/// What we tell clients to wait before they try again, in seconds (kube-apiserver says 1 as well).
pub const RETRY_AFTER_SECONDS: u32 = 1;

// === Discovery ===

/// Default. A server's discovery is asked for again after this long, give or take the jitter.
pub const DISCOVERY_REFRESH_INTERVAL: Duration = Duration::from_secs(30);

/// Default. A server that was not heard from for this long is stale.
pub const STALE_AFTER: Duration = Duration::from_secs(30);

/// Default. A server that its source no longer names is forgotten after this long.
pub const FORGET_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Default. One fetch of a discovery document, from the first byte sent to the last one received.
pub const DISCOVERY_FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Default. Bytes of a discovery document, after decompression; a bigger one is a failed fetch. 5,000 custom
/// resource definitions make about 4 MiB.
pub const MAX_DISCOVERY_BYTES: usize = 64 * MIB;

/// A server that answered a route-level 404 for something that it serves is asked for its discovery at once,
/// but not more often than this.
pub const ROUTE_404_REFETCH_INTERVAL: Duration = Duration::from_secs(1);

/// After a write on custom resource definitions or APIServices through us, discovery answers are preceded by a fetch for
/// so long. kube-apiserver shows a new definition in its discovery within a second or two.
pub const WRITE_WINDOW: Duration = Duration::from_secs(5);

/// Those answers wait for the fetches so long at most.
pub const WRITE_REVALIDATION: Duration = Duration::from_secs(2);

/// Those fetches are made not more often than this, whoever asks.
pub const WRITE_FETCH_INTERVAL: Duration = Duration::from_millis(50);

/// Bytes of a 404's body that are kept back to see whether it is a route-level one. Those are short; what is
/// longer is passed on as it comes.
pub const MAX_BUFFERED_404_BYTES: usize = 16 * KIB;

/// Bytes of a discovery document that are written while others wait for the thread (about 1 ms in the slowest
/// encoding); what is estimated longer is written on a thread of its own.
pub const MAX_RENDERED_INLINE: usize = 32 * KIB;

/// Default. How long home's yes to "may this caller read discovery?" is remembered.
pub const DISCOVERY_AUTHORIZATION_TTL: Duration = Duration::from_secs(10);

/// How many of those are remembered; beyond it the least used ones are forgotten.
pub const MAX_DISCOVERY_AUTHORIZATIONS: u64 = 10_000;

/// A request whose 404 is doubted waits this long for the server's discovery at most.
pub const RECHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// The rest of a doubted 404's body is waited for this long; what is slower is passed on as it comes.
pub const HELD_404_TIMEOUT: Duration = Duration::from_secs(2);

/// After a failed fetch the next one comes after this long, doubling up to the refresh interval.
pub const FETCH_BACKOFF: Duration = Duration::from_millis(250);

/// Bytes of `/readyz`; kube-apiserver names some fifty checks.
pub const MAX_READYZ_BYTES: usize = 64 * KIB;

/// Connections of our own to one server. Over HTTP/2 one does; over HTTP/1.1 a fetch uses two, its lists one, each of
/// the four watches one, and the health probe must not have to wait for them.
pub const MAX_OWN_CONNECTIONS: usize = 8;

/// Unaggregated lists that are asked of one server, one for each group-version; a server that lists more is a failed
/// fetch.
pub const MAX_LISTS: usize = 20_000;

/// Bytes of one such list. A longer one is no better than none. 5,000 custom resource definitions in one
/// group-version make about 2 MiB. All lists of a fetch together have the limit of one document,
/// [`MAX_DISCOVERY_BYTES`].
pub const MAX_LIST_BYTES: usize = 8 * MIB;

/// Lists that are asked of a server at the same time when they are its discovery; one at a time over HTTP/1.1.
pub const LISTS_AT_ONCE: usize = 8;

/// The same when only storage version hashes are wanted of them.
pub const HASH_LISTS_AT_ONCE: usize = 4;

/// One list, from the question to its last byte, or a quarter of the fetch if that is shorter: behind some
/// group-versions there is an extension server that may hang (kube-aggregator gives it 5 s too).
pub const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// So many lists that fail end a search for hashes; the rest is for the next one.
pub const MAX_FAILED_LISTS: usize = 16;

/// A list that only hashes are wanted of is asked for again when it is this old at most, even if discovery did not
/// change: the storage version may have.
pub const LIST_MAX_AGE: Duration = Duration::from_secs(10 * 60);

/// Bytes of a storage version hash; a longer one is none. kube-apiserver's have 12.
pub const MAX_STORAGE_VERSION_HASH: usize = 128;

/// Bytes of `/version`.
pub const MAX_VERSION_BYTES: usize = 64 * KIB;

/// Bytes of a file of the discovery cache; a larger one is neither written nor read. A cluster with 5,000 custom resource
/// definitions makes about 6 MiB.
pub const MAX_CACHE_FILE_BYTES: u64 = 256 * MIB as u64;

/// Bytes of the first line of such a file.
pub const MAX_CACHE_HEADER_BYTES: usize = 4 * KIB;

/// Entries of the cache's directory that are looked at for files that were never finished.
pub const MAX_CACHE_ENTRIES: usize = 10_000;

/// Those are removed at the start when they are older: another proxy may be writing one right now.
pub const CACHE_UNFINISHED_AGE: Duration = Duration::from_secs(60);

/// From one write of a server's file in the discovery cache to the next; what changes in between is in the next.
pub const CACHE_WRITE_INTERVAL: Duration = Duration::from_secs(5);

/// A file that can't be written is tried again after [`CACHE_WRITE_INTERVAL`], and twice that, up to this.
pub const CACHE_RETRY_MAX: Duration = Duration::from_secs(5 * 60);

/// When we leave, what is not in the discovery cache yet has so long to get there.
pub const CACHE_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

// === Watches of our own ===

/// Default. A server whose watches are well is asked for its discovery after this long even if nothing happens.
pub const DISCOVERY_RESYNC: Duration = Duration::from_secs(10 * 60);

/// Events are over when there was none for this long; then discovery is fetched.
pub const EVENTS_QUIET: Duration = Duration::from_millis(100);

/// Events that don't get over are waited for so long.
pub const EVENTS_PATIENCE: Duration = Duration::from_secs(1);

/// Discovery is asked for once more so long after the last event each: kube-apiserver establishes a custom resource
/// definition and asks an extension server some time after it says that it is there.
pub const EVENTS_FOLLOW_UPS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// So often in a row a server's discovery may be another one at each fetch; then it is asked more slowly.
pub const CHANGES_AT_ONCE: u32 = 60;

/// How often a server's discovery may be another one for ever.
pub const CHANGE_INTERVAL: Duration = Duration::from_secs(5);

/// A server whose watches are away for so long is asked on the timer.
pub const INTERVAL_AFTER: Duration = Duration::from_secs(30);

/// The answer to a list or watch of our own has to begin by then.
pub const KUBE_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of one page of a list of our own; a longer one is a failed list. An object has 1.5 MiB at most, and what we
/// list has a hundredth of that.
pub const MAX_KUBE_ANSWER_BYTES: usize = 32 * MIB;

/// Bytes of one event of a watch; a longer one ends the watch.
pub const MAX_KUBE_EVENT_BYTES: usize = 4 * MIB;

/// Objects in one page of a list of our own.
pub const INFORMER_PAGE: u32 = 100;

/// A list of our own, all pages of it, is done by then or has failed.
pub const INFORMER_LIST_TIMEOUT: Duration = Duration::from_secs(60);

/// Objects of one kind of which we know on one server. With more the server is asked on the timer instead.
pub const MAX_INFORMED_OBJECTS: usize = 20_000;

/// Custom resource definitions and APIServices of which it is remembered that they were there once. With more, those are
/// forgotten that are gone and that no server listed last.
pub const MAX_REMEMBERED_REGISTRATIONS: usize = 100_000;

/// Leases and endpoint slices that one server may show us. There is one of the first for each kube-apiserver, and of the
/// others one for a hundred.
pub const MAX_INFORMED_PEERS: usize = 500;

/// Characters of what a server says of its refusals that we repeat.
pub const MAX_SERVER_WORDS: usize = 300;

/// We ask for watches that last so many seconds; servers may end them sooner.
pub const WATCH_SECONDS: std::ops::RangeInclusive<u32> = 240..=290;

/// A watch that its server did not end this long after it should have is given up.
pub const WATCH_OVERDUE: Duration = Duration::from_secs(15);

/// After a list or watch that failed the next one comes after this long, doubling up to [`MAX_INFORMER_BACKOFF`].
pub const INFORMER_BACKOFF: Duration = Duration::from_millis(250);

/// See [`INFORMER_BACKOFF`].
pub const MAX_INFORMER_BACKOFF: Duration = Duration::from_secs(30);

/// A watch that lasted so long was a good one: what comes behind it comes at once.
pub const WATCH_STEADY: Duration = Duration::from_secs(10);

/// Watches in a row that may fail behind one list; then everything is listed again.
pub const MAX_FAILED_WATCHES: u32 = 3;

/// So many refusals in a row are believed; a kube-apiserver that starts refuses what it allows a moment later.
pub const REFUSALS_BELIEVED: u32 = 3;

/// A watch that the server refuses is tried again after this long.
pub const REFUSED_RETRY: Duration = Duration::from_secs(5 * 60);

// === OpenAPI ===

/// Bytes of one server's index of OpenAPI v3; a bigger one is a failed fetch. 5,000 custom resource definitions make
/// about 2 MiB.
pub const MAX_OPENAPI_INDEX_BYTES: usize = 16 * MIB;

/// Entries of one server's index of OpenAPI v3; more is a failed fetch. kube-apiserver has some fifty of its own, and
/// one or two for each group of custom resources.
pub const MAX_OPENAPI_ENTRIES: usize = 40_000;

/// Bytes of one OpenAPI document; a bigger one is a failed fetch. kube-apiserver's `/openapi/v2` has 2.2 MiB, and as
/// much again for each few hundred custom resource definitions.
pub const MAX_OPENAPI_DOCUMENT_BYTES: usize = 64 * MIB;

/// Names in one list of an OpenAPI document (paths, schemas); more is a failed fetch. kube-apiserver has some six
/// hundred schemas, and each custom resource definition brings a few.
pub const MAX_OPENAPI_NAMES: usize = 250_000;

/// Bytes of servers' OpenAPI documents that are kept, and as many of those made of them.
pub const OPENAPI_CACHE_BYTES: u64 = 256 * MIB as u64;

/// OpenAPI documents for which nobody asked for so long are given up.
pub const OPENAPI_IDLE: Duration = Duration::from_secs(10 * 60);

/// How often it is looked for OpenAPI documents that can be given up.
pub const OPENAPI_IDLE_CHECK: Duration = Duration::from_secs(60);

/// A fetch of an OpenAPI document is done by then, or has failed. A kube-apiserver that starts takes seconds.
pub const OPENAPI_FETCH_TIMEOUT: Duration = Duration::from_secs(15);

/// So long after home's OpenAPI is there (or cannot be had) a peer's first one is waited for; the answer goes without
/// it then.
pub const OPENAPI_PEER_GRACE: Duration = Duration::from_secs(2);

/// When servers' discovery changed, whether their OpenAPI did too is waited for so long; then what was known before
/// is good enough.
pub const OPENAPI_REVALIDATE_WAIT: Duration = Duration::from_secs(1);

/// A server's index of OpenAPI v3 that is older is asked for again before the next answer: what custom resource
/// definitions bring shows up there a while after it does in discovery.
pub const OPENAPI_INDEX_AGE: Duration = Duration::from_secs(2);

/// The same for any other OpenAPI document. kube-apiserver writes `/openapi/v2` anew up to a second after discovery
/// has what is new, which is when it was last asked for.
pub const OPENAPI_DOCUMENT_AGE: Duration = Duration::from_secs(10);

/// After a failed fetch of an OpenAPI document the next one comes after this long at the soonest.
pub const OPENAPI_RETRY: Duration = Duration::from_secs(5);

/// The same where the document was too large: it cost as much as it may, and will again.
pub const OPENAPI_RETRY_TOO_LARGE: Duration = Duration::from_secs(60);

/// OpenAPI documents that are fetched from one server at once, so that what is on its way has at most this times
/// [`MAX_OPENAPI_DOCUMENT_BYTES`] for each. Indexes of version 3 don't count.
pub const MAX_OPENAPI_FETCHES: usize = 4;

// === Health and readiness ===

/// Default. A server is probed this often.
pub const HEALTH_PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// Default. A probe without an answer after this long has failed.
pub const HEALTH_PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// From one probe to the next at least, whatever happens.
pub const MIN_PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// After a probe that may change what we think of a server the next one comes this soon.
pub const FOLLOW_UP_PROBE: Duration = Duration::from_millis(200);

/// So many probes in a row that say not ready, or say it slowly, eject a server. A refused connect does so at once.
pub const PROBES_TO_EJECT: u32 = 2;

/// So many good probes in a row bring an ejected server back; twice as many for each time it was ejected before
/// within [`FLAP_MEMORY`].
pub const PROBES_TO_RETURN: u32 = 2;

/// More good probes than this are never asked of a server.
pub const MAX_PROBES_TO_RETURN: u32 = 8;

/// Of the ejections of a server one is forgotten after each time of this length without another.
pub const FLAP_MEMORY: Duration = Duration::from_secs(60);

/// Failed exchanges of callers count for this long.
pub const PASSIVE_WINDOW: Duration = Duration::from_secs(10);

/// So many failed exchanges of callers within [`PASSIVE_WINDOW`] make us probe at once.
pub const PASSIVE_LOOK: u32 = 3;

/// So many, and half of what was tried, eject a server whose probes say that it is well.
pub const PASSIVE_EJECT: u32 = 5;

/// Exchanges have to go on failing this long beside good probes: connections that die together are one accident.
pub const PASSIVE_PATIENCE: Duration = Duration::from_secs(1);

/// An ejection for failed exchanges lasts so long; the next one, when the trial after it fails, twice as long.
pub const EJECTION_BACKOFF: Duration = Duration::from_secs(5);

/// ... and none longer than this.
pub const MAX_EJECTION_BACKOFF: Duration = Duration::from_secs(60);

/// A half-open server that nobody called for so long, and whose probes are good, is taken to be well.
pub const HALF_OPEN_QUIET: Duration = Duration::from_secs(60);

/// If fewer than one in so many connected servers are healthy, then what they say of themselves and what callers
/// met there is taken for our own trouble, or everybody's, and ejects nobody.
pub const PANIC_SHARE: usize = 2;

/// How often at most a change of one server's health is worth a line in the log.
pub const HEALTH_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// We call ourselves ready after every server was asked once, or after this long.
pub const READINESS_BOUND: Duration = Duration::from_secs(30);

// === Connections to API servers ===

/// Default. TCP and TLS to a server have to be done by then; on to the next server otherwise.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Default. An HTTP/2 connection with outstanding requests that leaves a PING unanswered for this long is dead.
pub const DEAD_AFTER: Duration = Duration::from_secs(10);

/// Default. A connection without a request for this long is closed; sooner than the 90 s after which Go's server
/// closes its own, so that no request meets a closing connection.
pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Default. Live HTTP/2 connections to one server that carry identities that we stamp. With
/// kube-apiserver's 100 streams on each that is 6,400 watches.
pub const MAX_IDENTITY_CONNECTIONS: usize = 64;

/// Default. As [`MAX_IDENTITY_CONNECTIONS`], for connections that carry proven tokens.
pub const MAX_TOKEN_CONNECTIONS: usize = 64;

/// Default. HTTP/1.1 connections to one server that carry anonymous requests and unproven tokens: one request
/// each, hence more of them.
pub const MAX_UNPROVEN_CONNECTIONS: usize = 256;

/// Default. Upgraded connections to one server: each caller's exec, attach or port-forward has one of its own.
pub const MAX_UPGRADE_CONNECTIONS: usize = 256;

/// Streams on one HTTP/2 connection to a server, even if it allows more.
pub const MAX_UPSTREAM_STREAMS: usize = 250;

/// Streams that a connection which is not open yet is expected to allow (kube-apiserver's default).
pub const EXPECTED_UPSTREAM_STREAMS: usize = 100;

/// The share of all streams in use from which another connection is opened ahead.
pub const OPEN_AHEAD: f64 = 0.8;

/// After a failed dial none is made ahead for this long.
pub const AHEAD_PAUSE: Duration = Duration::from_secs(1);

/// A request waits this long for a stream when no further connection may be opened; 503 then.
pub const QUEUE_TIMEOUT: Duration = Duration::from_millis(500);

/// Bytes of one answer that a server may have on the way to us unread. With [`SEND_BUFFER`] it is what a client that
/// stops reading costs for each of its streams.
pub const UPSTREAM_STREAM_WINDOW: u32 = 256 * 1024;

/// Bytes of one request's body that wait for the server.
pub const UPSTREAM_SEND_BUFFER: usize = 64 * KIB;

/// Bytes of a request's body that are kept until its answer begins, to be sent to another server if this one provably
/// did not process it.
pub const REPLAY_LIMIT: usize = 64 * KIB;

/// Bytes of the head of an answer.
pub const MAX_ANSWER_HEADER_BYTES: u32 = 64 * 1024;

/// Header lines of an HTTP/1.1 answer.
pub const MAX_ANSWER_HEADERS: usize = 256;

/// The rest of a request over HTTP/1.1 whose answer came early is waited for so long; then its connection is closed,
/// for anybody could hold it with a body that never ends.
pub const EARLY_ANSWER_LINGER: Duration = Duration::from_secs(1);

/// Further tries on connections to the same server, when one turns out to be closing.
pub const MAX_RESENDS: usize = 2;

/// Addresses of a server's name that are tried.
pub const MAX_ADDRESSES: usize = 8;

/// So long one address may keep us from trying the next as well (RFC 8305, section 5).
pub const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Idle time before the kernel probes a connection to a server, and between two probes.
pub const TCP_KEEPALIVE: Duration = Duration::from_secs(15);

/// How long a token that a server accepted counts as proven there.
pub const PROVEN_TOKEN_TTL: Duration = Duration::from_secs(60);

/// How many proven tokens are remembered.
pub const MAX_PROVEN_TOKENS: u64 = 10_000;

// === Where servers come from ===

/// Changes of the list of servers count at most this often, so that one that comes and goes costs no more.
pub const ROSTER_SETTLE: Duration = Duration::from_secs(1);

/// What a source says is looked at again this often even if it says nothing new: leases expire in silence.
pub const SOURCE_REREAD: Duration = Duration::from_secs(10);

/// While there is no server at all, it is looked this often whether there is one.
pub const NOBODY_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What a source says is looked at this often at most, however much it has to say.
pub const SOURCE_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Entries of a source that are looked at each time; the others, by name, are not taken.
pub const MAX_SOURCE_ENTRIES: usize = 10_000;

/// A lease counts as renewed for this much longer than it says, for clocks differ.
pub const LEASE_CLOCK_SKEW: Duration = Duration::from_secs(60);

/// The longest time for which a lease can be renewed (kube-apiserver: an hour).
pub const MAX_LEASE_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes of a lease's holder that are compared; kube-apiserver's have 72.
pub const MAX_LEASE_HOLDER: usize = 256;

/// Bytes of an address in an annotation; a longer one is none.
pub const MAX_ADVERTISED_ADDRESS: usize = 64;

/// Characters that are shown of something that a source names and that is not taken.
pub const MAX_REFUSED_SHOWN: usize = 128;

/// Things that were not taken and are remembered, so that each counts once. Further ones don't count.
pub const MAX_REFUSED_REMEMBERED: usize = 10_000;

/// News about servers from a source is logged again after this long at the soonest.
pub const SOURCE_NEWS_AGAIN: Duration = Duration::from_secs(60 * 60);

/// Different news about servers from a source that are logged within [`SOURCE_NEWS_AGAIN`].
pub const MAX_SOURCE_NEWS: usize = 256;

/// A DNS name is asked for again after this long at the soonest, however short its TTL.
pub const MIN_DNS_INTERVAL: Duration = Duration::from_secs(5);

/// A DNS name is asked for again after this long at the latest, however long its TTL.
pub const MAX_DNS_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// A DNS server has this long to answer, each of [`DNS_ATTEMPTS`] times.
pub const DNS_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a question to DNS is asked.
pub const DNS_ATTEMPTS: usize = 2;

/// All questions about one DNS name are answered by then, or have failed.
pub const DNS_DEADLINE: Duration = Duration::from_secs(30);

// === Upgraded connections ===

/// Bytes of a tunnel that are on their way in one direction; there are two of these buffers for each.
pub const TUNNEL_BUFFER: usize = 16 * KIB;

/// A tunnel of which one side has said its last ends when the other one is silent for this long.
pub const TUNNEL_HALF_CLOSED: Duration = Duration::from_secs(5 * 60);

/// A client has this long to take the 101, and when a tunnel ends, what was read has this long to go out and both
/// sides have this long to close. When the process leaves, [`SHUTDOWN_CUT`] is shorter.
pub const TUNNEL_GRACE: Duration = Duration::from_secs(10);

/// Bytes of an answer that refuses an upgrade; a longer one is a 502. kube-apiserver's are a `Status` of some 500.
pub const MAX_REFUSED_UPGRADE_BYTES: usize = 64 * KIB;

/// The body of an answer that refuses an upgrade is waited for this long.
pub const REFUSED_UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

// === Configuration ===

/// How often a server is asked at most whom it believes, when that is held against the configuration.
pub const MAX_TRUST_ATTEMPTS: u32 = 8;

/// A server that refuses to tell whom it believes is taken at its word after so many answers: one that starts refuses
/// what it allows a moment later.
pub const MAX_TRUST_REFUSALS: u32 = 3;

/// Between the first two of those questions; twice as long each time.
pub const TRUST_PAUSE: Duration = Duration::from_secs(1);

/// The whole answer to such a question has this long.
pub const TRUST_TIMEOUT: Duration = Duration::from_secs(5);

/// Names that are spelled out in a warning; of more, the number is told.
pub const MAX_TRUST_NAMES: usize = 8;

/// Characters of such a name that are shown.
pub const MAX_TRUST_NAME_CHARACTERS: usize = 128;

/// Bytes of a configuration file or of a PEM file; a bigger one is refused unread.
pub const MAX_CONFIG_FILE_BYTES: u64 = MIB as u64;

/// Default. How often the contents of the configuration's files are compared with what is in use.
pub const RELOAD_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// From one look whether anything is left of servers that are no longer ours to the next.
pub const LEAVING_SWEEP: Duration = Duration::from_millis(500);

/// Changed files count only when two reads this far apart agree: whoever writes several files is done by then.
pub const RELOAD_SETTLE: Duration = Duration::from_millis(200);

/// Files that never settle are read as they are after so many tries.
pub const MAX_RELOAD_SETTLES: usize = 25;

/// How often it is looked for certificates that expire soon.
pub const EXPIRY_CHECK_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate that expires within this time is worth a warning.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(7 * 24 * 60 * 60);
