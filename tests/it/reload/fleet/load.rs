//! Changes of the list while much is under way.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::StreamBody;
use kube_peer_proxy::body::BoxError;
use kube_peer_proxy::discovery::catalog::Book;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::*;
use crate::kit::Tunnel;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_uploads_downloads_and_tunnels_survive_whatever_others_do() {
    const PIECE: usize = 64 * 1024;
    const BIG: usize = 64 * 1024 * 1024;
    let cluster = cluster().await;
    let proxy = before(&cluster, &["a", "b"]).await;
    let admin = proxy.h2(As::Certificate(&PKI.admin)).await;
    let mut watch = admin.ask(Method::GET, &format!("{CONFIG_MAPS}?watch=1")).begin().await;
    let mut tunnel = Tunnel::ask(
        proxy.address(),
        As::Certificate(&PKI.admin),
        "/api/v1/namespaces/default/pods/p/exec",
        "SPDY/3.1",
        &[],
    )
    .await;
    assert_eq!(tunnel.status(), 101, "{}", tunnel.head);
    // On the same connection: one body on its way up and one on its way down.
    let (pieces, rest) = mpsc::channel::<Bytes>(1);
    let frames = stream::unfold(rest, |mut rest| async move {
        let piece = rest.recv().await?;
        Some((Ok::<_, BoxError>(Frame::data(piece)), rest))
    });
    let upload = admin.ask(Method::POST, "/test/sink").body(StreamBody::new(frames).boxed_unsync());
    let upload = async { upload.whole().await };
    let mut download = admin.ask(Method::GET, &format!("/test/bytes?n={BIG}")).begin().await;
    let mut downloaded = 0;

    let changes = async {
        let lists = [
            &[("a", "a"), ("b", "b"), ("c", "c")][..],
            &[("a", "a"), ("b", "b"), ("c", "d")],
            &[("a", "a"), ("c", "d")],
            &[("a", "a")],
        ];
        for (number, servers) in lists.into_iter().enumerate() {
            for _ in 0..4 {
                pieces.send(Bytes::from(vec![b'u'; PIECE])).await.unwrap();
                let frame = timeout(DEADLINE, download.body_mut().frame()).await.unwrap().unwrap().unwrap();
                downloaded += frame.into_data().unwrap().len();
            }
            change(&proxy, list(&cluster, servers)).await;
            let name = format!("news-{number}");
            assert_eq!(admin.post(CONFIG_MAPS, &config_map(&name)).await.status, 201);
            told(&mut watch, &name).await;
            tunnel.send(&name).await;
            assert_eq!(tunnel.next(name.len()).await, name.as_bytes());
        }
        drop(pieces);
    };
    let (uploaded, ()) = tokio::join!(upload, changes);
    assert_eq!(uploaded.json()["bytes"], 16 * PIECE);
    while let Some(frame) = timeout(DEADLINE, download.body_mut().frame()).await.unwrap() {
        downloaded += frame.unwrap().into_data().map_or(0, |data| data.len());
    }
    assert_eq!(downloaded, BIG);
    assert!(!admin.is_over());
    for name in ["b", "c", "d"] {
        assert!(cluster.server(name).wait_for_connections(DEADLINE, |open| *open == 0).await, "{name}");
    }
}

/// As long as somebody is left of both versions, nobody notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_under_load_fail_no_request_and_leave_nothing_behind() {
    // Each takes a fifth of a second to settle. One task that each fourth left behind would be found.
    const CHANGES: usize = 48;
    let cluster = cluster().await;
    let proxy = before(&cluster, &["a", "b"]).await;
    let admin = Arc::new(proxy.h2(As::Certificate(&PKI.admin)).await);
    let bob = Arc::new(proxy.h2(As::Token(BOB)).await);
    let targets = [POLICIES, CONFIG_MAPS, "/version", "/apis", "/api/v1"];
    for target in targets {
        for client in [&admin, &bob] {
            assert_eq!(client.get(target).await.status, 200, "{target}");
        }
    }
    let mut watch = admin.ask(Method::GET, &format!("{CONFIG_MAPS}?watch=1")).begin().await;
    let tasks = Handle::current().metrics().num_alive_tasks();

    let (over, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = [&admin, &bob, &admin, &bob]
        .into_iter()
        .enumerate()
        .map(|(offset, client)| {
            let (client, over, answers) = (Arc::clone(client), Arc::clone(&over), Arc::clone(&answers));
            tokio::spawn(async move {
                let mut bad = HashMap::<String, usize>::new();
                for target in targets.iter().cycle().skip(offset) {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let reply = client.get(target).await;
                    if reply.status == 200 {
                        answers.fetch_add(1, Ordering::Relaxed);
                    } else {
                        *bad.entry(format!("{target}: {} {}", reply.status, reply.text())).or_default() += 1;
                    }
                }
                bad
            })
        })
        .collect();

    let lists = [
        &[("a", "a"), ("b", "b"), ("c", "c")][..],
        &[("a", "a"), ("b", "d"), ("c", "c")],
        &[("a", "a"), ("b", "d")],
        &[("a", "a"), ("b", "b")],
    ];
    let mut servers: Vec<Weak<Server>> = Vec::new();
    let mut books: Vec<Weak<Book>> = Vec::new();
    for number in 0..CHANGES {
        change(&proxy, list(&cluster, lists[number % lists.len()])).await;
        let now = proxy.app.proxy.load();
        servers.extend(now.fleet.iter().map(Arc::downgrade));
        books.push(Arc::downgrade(&now.book));
    }
    over.store(true, Ordering::Relaxed);
    for client in load {
        let bad = client.await.unwrap();
        assert!(bad.is_empty(), "{bad:#?}");
    }
    let answered = answers.load(Ordering::Relaxed);
    assert!(answered >= CHANGES, "{answered} is no load");
    assert_eq!(admin.post(CONFIG_MAPS, &config_map("news")).await.status, 201);
    told(&mut watch, "news").await;
    assert_eq!(reloads(&proxy, "failed").await, 0.0);

    let distinct = |now: &[Weak<Server>]| {
        let mut alive: Vec<_> = now.iter().filter_map(Weak::upgrade).collect();
        alive.sort_by_key(|server| Arc::as_ptr(server) as usize);
        alive.dedup_by(|one, other| Arc::ptr_eq(one, other));
        alive.len()
    };
    eventually("only those are left that are in use", || distinct(&servers) == 2).await;
    eventually("nor any old book", || books.iter().filter(|book| book.strong_count() > 0).count() == 1).await;
    for name in ["c", "d"] {
        assert!(cluster.server(name).wait_for_connections(DEADLINE, |open| *open == 0).await, "{name}");
    }
    eventually("no task is left", || Handle::current().metrics().num_alive_tasks() <= tasks + 8).await;
    until("nothing is shown of who left", async || {
        (!proxy.page("/metrics").await.text().contains("server=\"c\"")).then_some(())
    })
    .await;
}
