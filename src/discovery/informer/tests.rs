//! Against a server whose every byte is scripted, with the clock in our hands.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use k8s_openapi::{api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::client::Body as KubeBody;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tower::service_fn;

use super::*;
use crate::{
    body::{self, Body, BoxError},
    limits,
    servers::{
        health::Word,
        nowhere::{server, server_of},
        watched::{ApiService, Maker},
    },
};

/// A piece of an answer's body.
#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    After(Duration),
    Breaks,
    /// Nothing more, and no end.
    Hangs,
}

type Script = Arc<Mutex<VecDeque<(u16, Vec<Piece>)>>>;
type Asked = Arc<Mutex<Vec<(Instant, String)>>>;

struct Stage {
    server: Arc<Server>,
    script: Script,
    asked: Asked,
    definitions: Seeing<Definition>,
    told: Arc<Mutex<Vec<&'static str>>>,
    _tasks: JoinSet<()>,
}

fn body(pieces: Vec<Piece>) -> Body {
    let frames = stream::unfold(VecDeque::from(pieces), |mut left| async move {
        loop {
            match left.pop_front()? {
                Piece::Text(text) => return Some((Ok(Frame::data(Bytes::from(text))), left)),
                Piece::After(wait) => sleep(wait).await,
                Piece::Breaks => return Some((Err(BoxError::from("the connection broke")), VecDeque::new())),
                Piece::Hangs => std::future::pending().await,
            }
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

/// What is asked of the resource with this path gets the script's answers, one after the other; then, and for
/// everything else, there is no answer at all.
fn client(script: &Script, asked: &Asked) -> Client {
    let (script, asked) = (Arc::clone(script), Arc::clone(asked));
    let service = service_fn(move |request: Request<KubeBody>| {
        let (script, asked) = (Arc::clone(&script), Arc::clone(&asked));
        async move {
            if !request.uri().path().ends_with("/customresourcedefinitions") {
                std::future::pending::<()>().await;
            }
            asked
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((Instant::now(), request.uri().to_string()));
            let next = script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some((status, pieces)) = next else { return std::future::pending().await };
            Ok::<_, BoxError>(Response::builder().status(status).body(body(pieces)).unwrap())
        }
    });
    Client::new(service, "default")
}

fn stage(script: impl IntoIterator<Item = (u16, Vec<Piece>)>) -> Stage {
    let (script, asked): (Script, Asked) =
        (Arc::new(Mutex::new(script.into_iter().collect())), Arc::default());
    let (client, server) = (client(&script, &asked), server("a"));
    let (mut tasks, told) = (JoinSet::new(), Arc::new(Mutex::new(Vec::new())));
    let telling = Arc::clone(&told);
    let ask = move |trigger: Trigger| telling.lock().unwrap().push(trigger.as_str());
    let wanted = Wanted { custom: true, leases: false, endpoint_slices: false };
    let informers = Informers::spawn(&mut tasks, &server, &client, &Metrics::default(), wanted, ask);
    Stage { server, script, asked, definitions: informers.definitions, told, _tasks: tasks }
}

impl Stage {
    /// Waits until what is seen is like that; under paused time a wait that is long costs nothing.
    async fn until(&mut self, what: impl Fn(&Seen<Definition>) -> bool) -> Arc<Seen<Definition>> {
        let seen = timeout(Duration::from_secs(3600), self.definitions.wait_for(|seen| what(seen)));
        Arc::clone(&*seen.await.expect("it is never seen").unwrap())
    }

    fn asked(&self) -> Vec<(Instant, String)> {
        self.asked.lock().unwrap().clone()
    }

    fn lists(&self) -> usize {
        self.asked().iter().filter(|(_, uri)| !uri.contains("watch=true")).count()
    }
}

fn object(name: &str, version: u64) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": { "name": name, "uid": format!("uid-{name}"), "resourceVersion": version.to_string(),
                          "annotations": { "long": "story" } } })
}

fn list(names: &[&str], version: u64, more: &str) -> (u16, Vec<Piece>) {
    let items: Vec<_> = names.iter().map(|name| object(name, version)).collect();
    let list = json!({ "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                       "metadata": { "resourceVersion": version.to_string(), "continue": more }, "items": items });
    (200, vec![Piece::Text(list.to_string())])
}

fn event(kind: &str, object: &Value) -> Piece {
    Piece::Text(format!("{}\n", json!({ "type": kind, "object": object })))
}

fn status(code: u16, reason: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
            "message": format!("it is {reason}") })
}

fn refusal(code: u16) -> (u16, Vec<Piece>) {
    (code, vec![Piece::Text(status(code, "Forbidden").to_string())])
}

fn watch(pieces: impl IntoIterator<Item = Piece>) -> (u16, Vec<Piece>) {
    (200, pieces.into_iter().collect())
}

fn names(seen: &Seen<Definition>) -> Vec<&str> {
    seen.objects.keys().map(|(_, name)| name.as_str()).collect()
}

const LONG: Piece = Piece::After(Duration::from_secs(60));

#[tokio::test(start_paused = true)]
async fn what_is_listed_and_what_events_say_of_it_is_seen() {
    let events = [
        event("ADDED", &object("c.x", 11)),
        event("MODIFIED", &object("a.x", 12)),
        event("DELETED", &object("b.x", 13)),
        Piece::Hangs,
    ];
    let mut stage = stage([list(&["a.x", "b.x"], 10, ""), watch(events)]);
    let seen = stage.until(|seen| seen.resource_version == "13").await;
    assert_eq!(names(&seen), ["a.x", "c.x"]);
    assert!(seen.live);
    assert_eq!(stage.told.lock().unwrap().len(), 5, "two were listed, three events came");
    let asked = stage.asked();
    assert!(asked[0].1.contains("limit="), "{}", asked[0].1);
    assert!(!asked[1].1.contains("sendInitialEvents"), "old servers refuse it: {}", asked[1].1);
    assert!(asked[1].1.contains("allowWatchBookmarks=true") && asked[1].1.contains("resourceVersion=10"));
}

#[tokio::test(start_paused = true)]
async fn annotations_cost_no_memory() {
    let mut stage = stage([list(&["a.x"], 10, ""), watch([Piece::Hangs])]);
    let seen = stage.until(|seen| seen.live).await;
    assert!(seen.objects.values().all(|object| object.metadata.annotations.is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_half_received_list_is_never_visible() {
    // The watch's end makes the next one a relist, of which the second page breaks off.
    let gone = event("ERROR", &status(410, "Expired"));
    let half = list(&["n.x"], 20, "").1.remove(0);
    let Piece::Text(half) = half else { unreachable!() };
    let mut stage = stage([
        list(&["a.x", "b.x"], 10, ""),
        watch([LONG, gone]),
        list(&["n.x"], 20, "more"),
        (200, vec![Piece::Text(half[..half.len() / 2].to_owned()), Piece::Breaks]),
        list(&["n.x"], 21, "more"),
        list(&["o.x"], 21, ""),
        watch([Piece::Hangs]),
    ]);
    let mut watching = stage.definitions.clone();
    let watcher = tokio::spawn(async move {
        let mut versions = Vec::new();
        loop {
            watching.changed().await.unwrap();
            let seen = Arc::clone(&watching.borrow_and_update());
            versions.push(names(&seen).join(" "));
            if seen.resource_version == "21" {
                return versions;
            }
        }
    });
    let seen = stage.until(|seen| seen.resource_version == "21" && seen.live).await;
    assert_eq!(names(&seen), ["n.x", "o.x"]);
    let mut versions = watcher.await.unwrap();
    versions.dedup();
    assert_eq!(versions, ["a.x b.x", "n.x o.x"]);
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_moves_the_resource_version_and_nothing_else() {
    let bookmark = event("BOOKMARK", &object("", 50));
    let mut stage = stage([list(&["a.x"], 10, ""), watch([bookmark, LONG]), watch([Piece::Hangs])]);
    let seen = stage.until(|seen| seen.resource_version == "50").await;
    assert_eq!(names(&seen), ["a.x"]);
    assert_eq!(stage.told.lock().unwrap().len(), 1, "what was listed");
    while stage.asked().len() < 3 {
        sleep(Duration::from_secs(1)).await;
    }
    assert!(stage.asked()[2].1.contains("resourceVersion=50"), "the next watch goes on there");
    assert!(stage.definitions.borrow().live);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_the_server_ends_in_good_order_is_no_gap() {
    let mut stage = stage([list(&["a.x"], 10, ""), watch([LONG]), watch([LONG]), watch([Piece::Hangs])]);
    stage.until(|seen| seen.live).await;
    let began = Instant::now();
    while stage.asked().len() < 4 {
        assert!(stage.definitions.borrow().live);
        sleep(Duration::from_millis(500)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(122), "the next one begins at once");
    assert_eq!(stage.lists(), 1);
}

#[tokio::test(start_paused = true)]
async fn after_410_everything_is_listed_again() {
    for gone in [
        watch([LONG, event("ERROR", &status(410, "Expired"))]),
        refusal(410),
        watch([LONG, Piece::Text(format!("{}\n", status(410, "Gone")))]),
    ] {
        let mut stage = stage([list(&["a.x"], 10, ""), gone, list(&["b.x"], 30, ""), watch([Piece::Hangs])]);
        let seen = stage.until(|seen| seen.resource_version == "30" && seen.live).await;
        assert_eq!(names(&seen), ["b.x"]);
        assert_eq!(stage.lists(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_breaks_off_is_none_and_the_next_watch_tells_it_again() {
    let whole = json!({ "type": "ADDED", "object": object("b.x", 11) }).to_string();
    let half = || Piece::Text(whole[..whole.len() / 2].to_owned());
    for end in [vec![LONG, half()], vec![LONG, half(), Piece::Breaks]] {
        let again = watch([event("ADDED", &object("b.x", 11)), Piece::Hangs]);
        let mut stage = stage([list(&["a.x"], 10, ""), watch(end), again]);
        let seen = stage.until(|seen| seen.resource_version == "11").await;
        assert_eq!(names(&seen), ["a.x", "b.x"]);
        assert_eq!(stage.lists(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_never_works_is_tried_ever_more_slowly() {
    // Watches that end as soon as they begin, and that are refused as too old behind each list.
    for end in [watch([]), refusal(410), (500, vec![]), watch([Piece::Breaks])] {
        let mut script = VecDeque::new();
        for _ in 0..500 {
            script.push_back(if script.len() % 2 == 0 { list(&["a.x"], 10, "") } else { end.clone() });
        }
        let stage = stage(script);
        sleep(Duration::from_secs(600)).await;
        let asked = stage.asked().len();
        assert!((10..=80).contains(&asked), "{asked} in ten minutes after {end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_keeps_failing_is_given_up_for_a_list() {
    let mut script = vec![list(&["a.x"], 10, "")];
    script.extend((0..limits::MAX_FAILED_WATCHES).map(|_| (504, vec![])));
    script.extend([list(&["b.x"], 5, ""), watch([Piece::Hangs])]);
    let mut stage = stage(script);
    let seen = stage.until(|seen| seen.resource_version == "5" && seen.live).await;
    assert_eq!(names(&seen), ["b.x"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_is_asked_on_the_timer_until_it_allows() {
    for code in [401, 403, 404, 405, 501] {
        let mut stage = stage((0..limits::REFUSALS_BELIEVED).map(|_| refusal(code)));
        let seen = stage.until(|seen| seen.refused.is_some()).await;
        assert!(seen.refused.as_ref().unwrap().starts_with(&code.to_string()));
        let mut mode = stage.server.watched.mode_changes();
        timeout(Duration::from_secs(1), mode.wait_for(|mode| *mode == Mode::Interval))
            .await
            .unwrap()
            .unwrap();
        stage.script.lock().unwrap().extend([list(&["a.x"], 10, ""), watch([Piece::Hangs])]);
        let since = Instant::now();
        let seen = stage.until(|seen| seen.live).await;
        assert_eq!(seen.refused, None);
        assert!(since.elapsed() >= limits::REFUSED_RETRY.mul_f64(0.9), "slowly");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_ready_yet_is_not_believed_that_it_refuses() {
    let mut stage = stage([]);
    stage.server.health.heard(Word::NotReady, Instant::now());
    let refusals = (0..2 * limits::REFUSALS_BELIEVED).map(|_| refusal(403));
    *stage.script.lock().unwrap() = refusals.chain([list(&["a.x"], 10, ""), watch([Piece::Hangs])]).collect();
    let seen = stage.until(|seen| seen.live || seen.refused.is_some()).await;
    assert_eq!(seen.refused, None);
}

#[tokio::test(start_paused = true)]
async fn more_objects_than_we_want_to_remember_are_an_error_and_not_remembered() {
    let many: Vec<String> = (0..=limits::MAX_INFORMED_OBJECTS).map(|n| format!("{n}.x")).collect();
    let pages =
        many.chunks(5000).map(|page| list(&page.iter().map(String::as_str).collect::<Vec<_>>(), 10, "more"));
    let mut stage = stage(pages);
    let seen = stage.until(|seen| seen.refused.is_some()).await;
    assert!(seen.objects.is_empty());
    assert!(seen.refused.as_ref().unwrap().contains(&limits::MAX_INFORMED_OBJECTS.to_string()));
}

#[tokio::test(start_paused = true)]
async fn a_list_without_an_end_is_given_up() {
    let stage = stage([(200, vec![Piece::Text("{".into()), Piece::Hangs])]);
    while stage.asked().len() < 2 {
        sleep(Duration::from_secs(1)).await;
    }
    let asked = stage.asked();
    assert!(asked[1].0 - asked[0].0 >= limits::INFORMER_LIST_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_not_ended_when_it_should_be_is_given_up() {
    let mut stage = stage([list(&["a.x"], 10, ""), watch([Piece::Hangs]), watch([Piece::Hangs])]);
    stage.until(|seen| seen.live).await;
    let since = Instant::now();
    stage.until(|seen| !seen.live).await;
    let overdue = Duration::from_secs((*limits::WATCH_SECONDS.end()).into()) + limits::WATCH_OVERDUE;
    assert!(since.elapsed() <= overdue);
}

#[tokio::test(start_paused = true)]
async fn every_event_is_contact_with_the_server() {
    let bookmark = || event("BOOKMARK", &object("", 50));
    let mut stage = stage([
        list(&[], 10, ""),
        watch([LONG, bookmark(), LONG, event("BOOKMARK", &object("", 51)), Piece::Hangs]),
    ]);
    for version in ["50", "51"] {
        stage.until(|seen| seen.resource_version == version).await;
        assert_eq!(stage.server.health.last_contact().map(|at| at.elapsed()), Some(Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_watches_stay_away_is_asked_on_the_timer() {
    let stage = stage([]);
    let mut mode = stage.server.watched.mode_changes();
    mode.wait_for(|mode| *mode == Mode::Watch).await.unwrap();
    let since = Instant::now();
    mode.wait_for(|mode| *mode == Mode::Interval).await.unwrap();
    assert_eq!(since.elapsed().as_secs(), limits::INTERVAL_AFTER.as_secs());
}

// === What is made of it ===

fn seen<K>(names: &[(&str, K)]) -> Seen<K>
where
    K: Clone,
{
    let objects =
        names.iter().map(|(name, object)| ((String::new(), (*name).to_owned()), Arc::new(object.clone())));
    Seen { objects: objects.collect(), live: true, ..Seen::default() }
}

fn metadata(uid: &str, version: &str, automanaged: Option<&str>) -> ObjectMeta {
    let labels = automanaged.map(|word| [(kinds::AUTOMANAGED.to_owned(), word.to_owned())].into());
    ObjectMeta {
        uid: Some(uid.to_owned()),
        resource_version: Some(version.to_owned()),
        labels,
        ..ObjectMeta::default()
    }
}

fn service(uid: &str, version: &str, automanaged: Option<&str>) -> Service {
    Service { metadata: metadata(uid, version, automanaged), ..Service::default() }
}

#[test]
fn a_storage_is_known_by_its_core_apiservice_and_why_apiservices_are_there_by_their_label() {
    let widgets = Definition { metadata: metadata("w", "12", None), ..Definition::default() };
    let definitions = Seen {
        resource_version: "20".to_owned(),
        ..seen(&[("widgets.example.com", widgets), ("things.example.com", Definition::default())])
    };
    let services = [
        ("v1.", service("core", "1", Some("onstart"))),
        ("v1.apps", service("apps", "2", Some("onstart"))),
        ("v1.example.com", service("widgets", "13", Some("true"))),
        ("v1beta1.metrics.k8s.io", service("metrics", "rubbish", None)),
    ];
    let found = custom::custom(&definitions, &seen(&services));
    assert_eq!(found.storage.as_deref(), Some("core"));
    let name = |group: &str, name: &str| (group.to_owned(), name.to_owned());
    let crds = [(name("example.com", "things"), u64::MAX), (name("example.com", "widgets"), 12)];
    assert_eq!(found.crds, crds.into());
    let made = |maker, revision| ApiService { maker, revision };
    let apiservices = [
        (name("", "v1"), made(Maker::BuiltIn, 1)),
        (name("apps", "v1"), made(Maker::BuiltIn, 2)),
        (name("example.com", "v1"), made(Maker::Definitions, 13)),
        (name("metrics.k8s.io", "v1beta1"), made(Maker::Aggregation, u64::MAX)),
    ];
    assert_eq!(found.apiservices, apiservices.into());
    assert_eq!((found.crds_until, found.apiservices_until), (20, 0), "what is no number is nothing");
    assert!(found.synced);
    let without_core = custom::custom(&definitions, &seen(&services[1..]));
    assert_eq!(without_core.storage.as_deref(), Some("apps"));
    let unsynced = custom::custom(&Seen { live: false, ..definitions }, &seen(&services));
    assert!(!unsynced.synced);
}

#[tokio::test]
async fn informers_that_are_no_more_leave_a_board_that_proves_nothing_and_a_timer() {
    let server = server("a");
    let mut tasks = JoinSet::new();
    let (definitions_tx, definitions) = watch::channel(Arc::new(seen(&[])));
    let (services_tx, services) = watch::channel(Arc::new(seen(&[])));
    tasks.spawn(custom::publish(Arc::clone(&server), definitions.clone(), services.clone()));
    tasks.spawn(mode::keep(Arc::clone(&server), definitions, services));
    let mut changes = server.watched.custom_changes();
    changes.wait_for(|custom| custom.synced).await.unwrap();
    server.watched.mode_changes().wait_for(|mode| *mode == Mode::Watch).await.unwrap();
    // As if it had panicked.
    drop(definitions_tx);
    while tasks.join_next().await.is_some() {}
    assert!(!server.watched.custom().synced);
    assert_eq!(server.watched.mode(), Mode::Interval);
    drop(services_tx);
}

#[tokio::test]
async fn i13_a_storage_is_one_of_its_trust_domain_whatever_backup_it_came_from() {
    let mut storages = Vec::new();
    for domain in ["a", "b"] {
        let server = server_of("a", "192.0.2.1", domain);
        let mut tasks = JoinSet::new();
        let (_definitions, definitions) = watch::channel(Arc::new(seen(&[])));
        let (_services, services) = watch::channel(Arc::new(seen(&[("v1.", service("core", "1", None))])));
        tasks.spawn(custom::publish(Arc::clone(&server), definitions, services));
        let mut changes = server.watched.custom_changes();
        storages.push(changes.wait_for(|custom| custom.synced).await.unwrap().storage.clone());
    }
    assert_eq!(storages, [Some("a/core".to_owned()), Some("b/core".to_owned())]);
}

fn lease(name: &str, holder: &str, renewed: i32) -> Lease {
    let spec = LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_transitions: Some(renewed),
        ..LeaseSpec::default()
    };
    Lease { metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }, spec: Some(spec) }
}

#[tokio::test]
async fn a_renewed_lease_is_no_news_but_another_holder_is() {
    let client = Client::new(
        service_fn(|_: Request<KubeBody>| async { Ok::<_, BoxError>(Response::new(body::empty())) }),
        "default",
    );
    let kind = kinds::leases(&client);
    let (before, renewed, taken) = (lease("a", "a_1", 0), lease("a", "a_1", 1), lease("a", "a_2", 0));
    assert!(!(kind.matters)(&before, &renewed));
    assert!((kind.matters)(&before, &taken));
    let (a, b) = (server("a"), server("b"));
    let (mut own, mut other) = (kinds::OwnLease::default(), kinds::OwnLease::default());
    let mut hears = |before, after| {
        let change = Change { before, after };
        assert!(!other.is_of_another_process(&b, &change), "it is somebody else's");
        own.is_of_another_process(&a, &change)
    };
    assert!(!hears(None, Some(&before)), "nobody knows who was there before");
    assert!(!hears(Some(&before), Some(&renewed)));
    assert!(hears(Some(&renewed), Some(&taken)));
    // Deleted and made anew.
    assert!(!hears(Some(&taken), None));
    assert!(hears(None, Some(&before)));
}
