//! What happens to B, and what both columns have to say about it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::Method;
use kube_peer_proxy::api::media_type::ACCEPT_V2;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    MORE, Told,
    between::Between,
    cell::Cell,
    column::{Column, PATIENCE, STORIES},
    look::{Answer, Listed, Look, Notes, listed},
    restarted, say,
};
use crate::real::kit::proxy::Proxy;

async fn seconds(count: u64) {
    sleep(Duration::from_secs(count)).await;
}

/// Starts B again and waits until A's clients are well: seconds that took after B was ready.
async fn back(column: &Column, look: &Look) -> Option<f32> {
    column.restart("b").await;
    look.until_well(PATIENCE).await
}

/// Everybody is back before the next thing happens.
pub(super) async fn settle(column: &Arc<Column>) {
    let look = Look::start(column, false).await;
    look.until_well(PATIENCE).await;
}

/// Cells on one look: requests, discovery and what follows.
fn told(event: &'static str, notes: Notes, cell: impl FnOnce(&mut Cell, &Notes)) -> Told {
    let mut made = Cell::default();
    cell(&mut made, &notes);
    (event, made, Some(notes))
}

fn brief(event: &'static str, cell: impl FnOnce(&mut Cell)) -> Told {
    let mut made = Cell::default();
    cell(&mut made);
    (event, made, None)
}

// === C is there ===

pub(super) async fn c_serves_it_too(column: Arc<Column>) -> Vec<Told> {
    settle(&column).await;
    let look = Look::start(&column, false).await;
    seconds(1).await;
    column.b().kill();
    seconds(15).await;
    let first = look.seen();
    drop(look);
    let look = Look::start(&column, false).await;
    column.cluster.server("c").kill();
    seconds(6).await;
    let gone = look.seen().listed.last().map(|listed| listed.what);
    let after = back(&column, &look).await;
    let second = look.seen();
    column.restart("c").await;
    vec![
        told("B and C serve it, B is killed", first, |cell, notes| {
            cell.everything(notes, false);
            let failed = notes.answers.iter().filter(|answer| answer.what != Answer::Found).count();
            let all = notes.answers.len();
            let what = if failed > 2 { "many requests fail" } else { "one or two requests fail at most" };
            cell.say_if(failed <= 2, what, format!("({failed} of {all})"));
            cell.metrics(notes, false);
        }),
        told("C too is killed: all peers are gone, and B comes back", second, |cell, notes| {
            cell.everything(notes, false);
            if gone == Some(Listed::Current) {
                cell.wrong("listed as Current while nobody serves it");
            }
            cell.back(after);
        }),
    ]
}

// === Leases ===

pub(super) async fn lease_goes(column: Arc<Column>) -> Vec<Told> {
    let lease = column.lease("b").await.unwrap();
    let look = Look::start(&column, false).await;
    let expired =
        json!({ "spec": { "renewTime": "2020-01-01T00:00:00.000000Z", "leaseDurationSeconds": 1 } });
    for _ in 0..8 {
        column.at_a(Method::PATCH, &lease, &expired).await;
        seconds(1).await;
    }
    let first = look.seen();
    drop(look);
    let look = Look::start(&column, false).await;
    column.at_a(Method::DELETE, &lease, &Value::Null).await;
    let mut made_again = None;
    for second in 0..15 {
        seconds(1).await;
        if made_again.is_none() && column.lease("b").await.is_some() {
            made_again = Some(second + 1);
        }
    }
    let well = look.until_well(Duration::from_secs(8)).await;
    let second = look.seen();
    vec![
        told("B's identity lease has expired, B is well", first, |cell, notes| {
            cell.everything(notes, false);
            cell.metrics(notes, true);
        }),
        told("B's identity lease is deleted, B is well", second, |cell, notes| {
            cell.everything(notes, false);
            cell.metrics(notes, true);
            if let Some(after) = made_again {
                say!("    B made its lease anew after {after} s");
            }
            if well.is_none() {
                cell.wrong("not well in the end");
            }
        }),
    ]
}

// === SIGKILL, and what happens while B is away ===

/// Until changes of CRDs are known, by their events.
const CRD_IS_KNOWN: Duration = Duration::from_secs(10);

/// When each of these came true, in seconds.
#[derive(Default)]
struct Definitions {
    made: Option<f32>,
    changed: Option<f32>,
    gone: Option<f32>,
    ghost: bool,
}

async fn document(column: &Column) -> Option<crate::real::kit::client::Reply> {
    let client = column.dial().connect().await.ok()?;
    client.get_with("/apis", &[("accept", ACCEPT_V2)]).await.ok().filter(|reply| reply.status == 200)
}

async fn lists(column: &Column, plural: &str, version: &str) -> Option<Listed> {
    let document = document(column).await?;
    Some(listed(&document, &format!("{plural}.{STORIES}"), version, plural))
}

pub(super) async fn killed(column: Arc<Column>) -> Vec<Told> {
    column.define("tales", "Tale", &["v1"]).await;
    column.define("plots", "Plot", &["v1"]).await;
    let begun = Instant::now();
    while begun.elapsed() < CRD_IS_KNOWN && !column.b_is_known_with(&["tales", "plots"]).await {
        sleep(Duration::from_millis(100)).await;
    }

    let skips = column.skips().await;
    let look = Look::start(&column, true).await;
    seconds(1).await;
    column.b().kill();
    let definitions = define_meanwhile(&column).await;
    let missing = 15. - look.now();
    sleep(Duration::from_secs_f32(missing.max(0.))).await;
    let away = look.seen();
    let skipped = column.skips().await - skips;

    drop(look);

    let restart = restart_meanwhile(&column).await;
    let look = Look::start(&column, false).await;
    let after = back(&column, &look).await;
    let ghost = lists(&column, "tales", "v1").await;
    vec![
        told("B is killed (SIGKILL)", away.clone(), |cell, notes| {
            cell.everything(notes, true);
            cell.metrics(notes, false);
            if column.proxy.is_some() {
                say!("    kube_peer_proxy_stale_skips_total grew by {skipped}");
            }
        }),
        brief("a watch through A, B is killed", |cell| cell.watch(&away, 15.)),
        brief("while B is down: a CRD is made, one changed, one deleted", |cell| {
            let soon = |cell: &mut Cell, what: &str, at: Option<f32>| match at {
                Some(at) => cell.say_if(true, what, format!("after {at:.1} s")),
                None => cell.wrong(format!("not {what}")),
            };
            soon(cell, "the new one is listed", definitions.made);
            soon(cell, "the change is listed", definitions.changed);
            soon(cell, "the deleted one is gone", definitions.gone);
            if definitions.ghost {
                cell.wrong("the deleted one came back");
            }
            if ghost == Some(Listed::Vanished) {
                cell.say("no trace of it when B is back");
            } else {
                cell.wrong("it is there again with B");
            }
        }),
        restart,
        told("B is started again", look.seen(), |cell, notes| {
            cell.everything(notes, false);
            cell.back(after);
        }),
    ]
}

/// Makes one CRD, changes one, deletes one, and looks for each until all are known, or for so long.
async fn define_meanwhile(column: &Column) -> Definitions {
    column.define("novels", "Novel", &["v1"]).await;
    column.define("plots", "Plot", &["v1", "v2"]).await;
    column.undefine("tales").await;
    let (begun, mut seen) = (Instant::now(), Definitions::default());
    let known = |seen: &Definitions| seen.made.is_some() && seen.changed.is_some() && seen.gone.is_some();
    // A ghost may take its time to come back.
    while begun.elapsed() < Duration::from_secs(8) || !known(&seen) && begun.elapsed() < CRD_IS_KNOWN {
        let now = begun.elapsed().as_secs_f32();
        if let Some(document) = document(column).await {
            let says = |plural: &str, version: &str| {
                listed(&document, &format!("{plural}.{STORIES}"), version, plural)
            };
            if says("novels", "v1") == Listed::Current {
                seen.made.get_or_insert(now);
            }
            if says("plots", "v2") == Listed::Current {
                seen.changed.get_or_insert(now);
            }
            match says("tales", "v1") {
                Listed::Vanished => _ = seen.gone.get_or_insert(now),
                _ => seen.ghost |= seen.gone.is_some(),
            }
        }
        sleep(Duration::from_millis(200)).await;
    }
    seen
}

/// The proxy is restarted while B is away; the native one by restarting A.
async fn restart_meanwhile(column: &Arc<Column>) -> Told {
    let event = "the proxy is restarted while B, the only server of it, is down";
    if column.proxy.is_none() {
        column.cluster.server("a").kill();
        column.restart("a").await;
        let look = Look::start(column, false).await;
        seconds(6).await;
        return told(event, look.seen(), |cell, notes| cell.everything(notes, true));
    }
    let again = restarted(column).await;
    let look = Look::start(&again, false).await;
    seconds(6).await;
    let notes = look.seen();
    drop(look);
    told(event, notes, |cell, notes| {
        cell.answers(notes);
        cell.discovery(notes, true);
        cell.freshness(notes);
        cell.metrics(notes, false);
    })
}

// === SIGSTOP ===

pub(super) async fn hangs(column: Arc<Column>) -> Vec<Told> {
    let look = Look::start(&column, true).await;
    seconds(1).await;
    column.b().signal("STOP");
    seconds(52).await;
    let away = look.seen();
    column.b().signal("CONT");
    let after = look.until_well(PATIENCE).await;
    let whole = look.seen();
    vec![
        told("B hangs (SIGSTOP) and goes on", whole, |cell, notes| {
            cell.everything(notes, false);
            cell.discovery_at_the_end(&away);
            cell.metrics(&away, false);
            cell.back(after);
        }),
        brief("a watch through A, B hangs: its connection is silently dead", |cell| cell.watch(&away, 20.)),
    ]
}

// === SIGTERM, and B comes back with other APIs ===

/// For a minute after the signal kube-apiserver lets watches go on; 20 s of that are over when this begins.
const LINGERS: Duration = Duration::from_secs(48);

pub(super) async fn shut_down(column: Arc<Column>) -> Vec<Told> {
    let (look, directly) = (Look::start(&column, true).await, Look::at_b(&column).await);
    seconds(1).await;
    column.b().signal("TERM");
    seconds(20).await;
    let away = look.seen();
    tokio::join!(look.until_watch_ends(LINGERS), directly.until_watch_ends(LINGERS));
    let (watched, directly) = (look.seen(), directly.seen());
    column.b().kill();
    column.b().add_flag(MORE.0);
    let after = back(&column, &look).await;
    let [group, version, resource] = MORE.1;
    let begun = Instant::now();
    let mut more = None;
    while more.is_none() && begun.elapsed() < PATIENCE {
        let seen = document(&column).await.map(|document| listed(&document, group, version, resource));
        more = (seen == Some(Listed::Current)).then(|| begun.elapsed().as_secs_f32());
        sleep(Duration::from_millis(50)).await;
    }
    let whole = look.seen();
    vec![
        told("B is shut down (SIGTERM)", whole, |cell, notes| {
            cell.everything(notes, false);
            cell.discovery_at_the_end(&away);
            cell.metrics(&away, false);
            cell.back(after);
        }),
        brief("a watch through A, B is shut down", |cell| cell.watch_as(&watched, &directly)),
        brief("B comes back with another API set", |cell| match more {
            Some(at) => cell.say_if(true, "listed with the rest", format!("{at:.1} s after that")),
            None => cell.wrong("not listed within 20 s"),
        }),
    ]
}

// === A server that answers some of it ===

pub(super) async fn apis_fails(column: &Arc<Column>) -> Told {
    let between = Between::start(column.cluster, "b").await;
    let pair = [("a", "a"), ("b", "b")];
    let proxy = Proxy::start(column.cluster, &pair, Some("a"), |args| {
        args.api_server[1] = format!("b=https://{}", between.addr);
        args.discovery_refresh_interval = Some("5s".to_owned());
    })
    .await;
    let column = column.through(proxy);
    settle(&column).await;
    let look = Look::start(&column, false).await;
    between.breaks(true);
    seconds(12).await;
    let away = look.seen();
    between.breaks(false);
    let after = look.until_well(PATIENCE).await;
    told("`/apis` of B fails while `/api` works", look.seen(), |cell, notes| {
        cell.everything(notes, false);
        if !away.freshness.iter().any(|seen| seen.what != "fresh") {
            cell.wrong("B stays fresh");
        }
        cell.back(after);
    })
}
