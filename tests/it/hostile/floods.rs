//! Frames without end. For each flood: how it ends, what the API server hears of it, what it costs in memory, and
//! whether somebody else on another connection notices.

use futures_util::future::join;
use kube_peer_proxy::limits;
use kube_peer_proxy::servers::Class;

use super::{alone, bystander, has_the_process_to_itself, is_well, raw_h2, resident};
use crate::kit::raw_h2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Flooded, HEADERS, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, pseudo, request,
};
use crate::kit::{As, Cluster, PKI, Proxy, eventually, say};

/// Never ends by itself.
const WATCH: &str = "/api/v1/configmaps?watch=1&flood";
/// Streams on one connection; their numbers are odd.
const STREAMS: u32 = 5_000;
/// What server, clients and proxy of a test together may take more.
const MEMORY: usize = 128 << 20;
const CANCEL: u32 = 8;

/// The frames that end a stream.
type End<'a> = Box<dyn Fn(u32) -> Vec<u8> + 'a>;

fn ids() -> impl Iterator<Item = u32> {
    (0..STREAMS).map(|number| 2 * number + 1)
}

/// Sends a flood while a bystander asks on; then nothing may be left of it.
async fn flood(
    (cluster, proxy): &(Cluster, Proxy),
    name: &str,
    pieces: impl IntoIterator<Item = Vec<u8>>,
) -> (Flooded, usize) {
    let other = bystander(proxy).await;
    let heard = |cluster: &Cluster| cluster.asked("v136", |one| one.target.ends_with("flood")).len();
    let (before, first) = (resident(), heard(cluster));
    let mut attacker = raw_h2(proxy).await;
    let flooding = attacker.flood(pieces);
    let watching = async {
        for _ in 0..20 {
            is_well(&other).await;
        }
    };
    let (flooded, ()) = join(flooding, watching).await;
    let more = resident().saturating_sub(before);
    let upstream = heard(cluster) - first;
    say!("{name}: {flooded:?}, {upstream} requests upstream, {} MiB more in memory", more >> 20);
    assert!(more < MEMORY, "{name}: {} MiB", more >> 20);
    drop(attacker);
    is_well(&other).await;
    let load = &proxy.target("v136").load;
    eventually("nothing of it is under way", || load.requests() + load.watches() == 0).await;
    let in_use = || proxy.connections("v136", Class::Identity).in_use;
    eventually("no stream is left upstream", || in_use() == 0).await;
    (flooded, upstream)
}

#[tokio::test]
async fn rapid_reset_is_goaway() {
    if !has_the_process_to_itself("floods::rapid_reset_is_goaway") {
        return;
    }
    let proxy = alone().await;
    let pieces = |ids: Vec<u32>| -> Vec<u8> {
        let pair = |id| [request(id, &pseudo("GET", WATCH)), frame(RST_STREAM, 0, id, &CANCEL.to_be_bytes())];
        ids.into_iter().flat_map(pair).flatten().collect()
    };
    let all = pieces(ids().collect());
    let (flooded, upstream) = flood(&proxy, "rapid reset at once", [all]).await;
    assert_eq!((flooded.goaway, flooded.survived), (Some(ENHANCE_YOUR_CALM), false));
    // What is accepted before its reset is read goes on as a request and is called off again.
    assert!(upstream <= limits::MAX_CLIENT_STREAMS as usize, "{upstream}");

    // In small pieces it is no faster than what well-behaved clients do; the work stays bounded by the streams.
    let paced = ids().map(|id| pieces(vec![id]));
    let (flooded, upstream) = flood(&proxy, "rapid reset one by one", paced).await;
    assert!(flooded.survived || flooded.goaway == Some(ENHANCE_YOUR_CALM), "{flooded:?}");
    assert!(upstream <= STREAMS as usize);
}

#[tokio::test]
async fn made_you_reset_is_goaway() {
    if !has_the_process_to_itself("floods::made_you_reset_is_goaway") {
        return;
    }
    let proxy = alone().await;
    let most = u32::MAX >> 1;
    let update = |id, by: u32| frame(WINDOW_UPDATE, 0, id, &by.to_be_bytes());
    let open = |id| request(id, &pseudo("GET", WATCH));
    let faults: [(&str, End); 5] = [
        ("a window that grows by nothing", Box::new(|id| update(id, 0))),
        ("a window that grows too large", Box::new(|id| [update(id, most), update(id, most)].concat())),
        ("data behind the end", Box::new(|id| frame(DATA, END_STREAM, id, b"more"))),
        ("a head behind the end", Box::new(|id| request(id, &pseudo("GET", WATCH)))),
        (
            "a stream that depends on itself",
            Box::new(|id| frame(PRIORITY, 0, id, &[id.to_be_bytes().to_vec(), vec![0]].concat())),
        ),
    ];
    for (name, fault) in faults {
        let (flooded, upstream) = flood(&proxy, name, ids().map(|id| [open(id), fault(id)].concat())).await;
        // A stream that depends on itself is no fault any more (RFC 9113 knows no priorities): then the limit on
        // streams stands, and the flood is refused.
        let refused = flooded.resets >= (STREAMS - limits::MAX_CLIENT_STREAMS) as usize;
        assert!(flooded.goaway.is_some() && !flooded.survived || refused, "{name}: {flooded:?}");
        assert!(
            upstream <= limits::MAX_LOCAL_RESETS + limits::MAX_CLIENT_STREAMS as usize,
            "{name}: {upstream}"
        );
    }
}

#[tokio::test]
async fn a_continuation_flood_is_goaway() {
    if !has_the_process_to_itself("floods::a_continuation_flood_is_goaway") {
        return;
    }
    let proxy = alone().await;
    let head = || frame(HEADERS, END_STREAM, 1, &block(&pseudo("GET", WATCH)));
    let on = |payload: &[u8]| frame(CONTINUATION, 0, 1, payload);
    let field = block(&[("x-flood", "a".repeat(1000))]);
    let big = block(&[("x-flood", "a".repeat(16_000))]);
    for (name, payload, count) in
        [("empty", &[][..], 100_000), ("one field each", &field, 20_000), ("large ones", &big, 5_000)]
    {
        let pieces = [head()].into_iter().chain((0..count).map(|_| on(payload)));
        let (flooded, upstream) = flood(&proxy, &format!("CONTINUATION, {name}"), pieces).await;
        assert!(!flooded.survived && upstream == 0, "{name}: {flooded:?}, {upstream}");
        assert!(flooded.goaway.is_some(), "{name}: {flooded:?}");
    }
    let broken = [head(), frame(PING, 0, 0, &[0; 8])];
    assert!(!flood(&proxy, "something else before the end of a head", broken).await.0.survived);
}

#[tokio::test]
async fn a_packed_head_that_unfolds_without_end_is_cut_off() {
    if !has_the_process_to_itself("floods::a_packed_head_that_unfolds_without_end_is_cut_off") {
        return;
    }
    let proxy = alone().await;
    // A literal of 4,000 bytes that is kept in the dynamic table as number 62; then a byte for each time it is meant.
    let mut packed = block(&pseudo("GET", WATCH));
    packed.extend([0x40, 1, b'x']);
    packed.extend([127, 0xa1, 0x1e]);
    packed.extend([b'a'; 4000]);
    packed.extend([0x80 | 62; 10_000]);
    let (flooded, upstream) = flood(&proxy, "HPACK bomb", [frame(HEADERS, 5, 1, &packed)]).await;
    assert_eq!(upstream, 0);
    assert!(!flooded.survived || flooded.answers + flooded.resets > 0, "{flooded:?}");
}

#[tokio::test]
async fn control_frames_without_end_cost_no_memory_and_disturb_nobody() {
    if !has_the_process_to_itself("floods::control_frames_without_end_cost_no_memory_and_disturb_nobody") {
        return;
    }
    let proxy = alone().await;
    let settings = [[0, 3], [0, 0], [0, 100]].concat();
    let priority = |id: u32| frame(PRIORITY, 0, id, &[0, 0, 0, 0, 1]);
    type Piece<'a> = Box<dyn Fn(usize) -> Vec<u8> + 'a>;
    let floods: [(&str, usize, Piece); 6] = [
        ("PING", 200_000, Box::new(|n| frame(PING, 0, 0, &(n as u64).to_be_bytes()))),
        ("PING's answer", 200_000, Box::new(|_| frame(PING, ACK, 0, &[0; 8]))),
        ("SETTINGS", 100_000, Box::new(|_| frame(SETTINGS, 0, 0, &settings))),
        ("empty SETTINGS", 100_000, Box::new(|_| frame(SETTINGS, 0, 0, &[]))),
        ("PRIORITY", 100_000, Box::new(|n| priority(2 * u32::try_from(n).unwrap() + 1))),
        ("unknown frames", 100_000, Box::new(|_| frame(0xfa, 0, 0, b"grease"))),
    ];
    for (name, count, piece) in floods {
        // A hundred to a piece, so that it is the frames that cost, not the writing.
        let pieces =
            (0..count / 100).map(|hundred| (0..100).flat_map(|one| piece(100 * hundred + one)).collect());
        let (flooded, upstream) = flood(&proxy, name, pieces).await;
        assert_eq!(upstream, 0, "{name}");
        assert!(flooded.survived || flooded.goaway.is_some(), "{name}: {flooded:?}");
    }
}

#[tokio::test]
async fn empty_data_without_end_costs_no_memory_and_disturbs_nobody() {
    if !has_the_process_to_itself("floods::empty_data_without_end_costs_no_memory_and_disturbs_nobody") {
        return;
    }
    let proxy = alone().await;
    let fields = pseudo("POST", "/test/sink?flood");
    let open = frame(HEADERS, END_HEADERS, 1, &block(&fields));
    let empty = (0..1000).map(|_| frame(DATA, 0, 1, b"").repeat(100));
    let (flooded, upstream) = flood(&proxy, "empty DATA", [open].into_iter().chain(empty)).await;
    assert!(flooded.survived || flooded.goaway.is_some(), "{flooded:?}");
    assert!(upstream <= 1);
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused() {
    if !has_the_process_to_itself("floods::streams_beyond_the_limit_are_refused") {
        return;
    }
    const MORE: u32 = 50;
    let (cluster, proxy) = alone().await;
    let mut raw = raw_h2(&proxy).await;
    let all = (0..limits::MAX_CLIENT_STREAMS + MORE)
        .flat_map(|number| request(2 * number + 1, &pseudo("GET", WATCH)));
    raw.flood([all.collect()]).await;
    let heard = || cluster.asked_for("v136", WATCH).len();
    eventually("those within the limit arrive", || heard() == limits::MAX_CLIENT_STREAMS as usize).await;
    let first = 2 * limits::MAX_CLIENT_STREAMS + 1;
    raw.send(frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes())).await;
    // The place of the one that was called off is free again.
    let next = 2 * (limits::MAX_CLIENT_STREAMS + MORE) + 1;
    raw.send(request(next, &pseudo("GET", "/version"))).await;
    assert_eq!(raw.answer(next).await.status(), 200);
    assert_eq!(
        heard(),
        limits::MAX_CLIENT_STREAMS as usize,
        "stream {first} and those behind it were refused"
    );

    drop(raw);
    eventually("all are called off", || proxy.target("v136").load.watches() == 0).await;
    let pieces = [ids().flat_map(|id| request(id, &pseudo("GET", WATCH))).collect()];
    let (flooded, upstream) = flood(&(cluster, proxy), "streams beyond the limit", pieces).await;
    assert_eq!(flooded.goaway, Some(ENHANCE_YOUR_CALM), "{flooded:?}");
    assert!(upstream <= limits::MAX_CLIENT_STREAMS as usize, "{upstream}");
}

/// So slowly that each request is on its way before it is called off: bounded by the streams, by the resets that a
/// client may make us send, and by nobody else's connection.
#[tokio::test]
async fn resets_at_a_clients_own_pace_are_bounded_too() {
    if !has_the_process_to_itself("floods::resets_at_a_clients_own_pace_are_bounded_too") {
        return;
    }
    let (cluster, proxy) = alone().await;
    let other = bystander(&proxy).await;
    let of_bystander = |cluster: &Cluster| {
        let all = cluster.asked_for("v136", "/version?bystander");
        all.iter().map(|one| one.connection).collect::<std::collections::HashSet<_>>()
    };
    let most = (u32::MAX >> 1).to_be_bytes();
    let too_large =
        move |id| [frame(WINDOW_UPDATE, 0, id, &most), frame(WINDOW_UPDATE, 0, id, &most)].concat();
    let cancelled = |id| frame(RST_STREAM, 0, id, &CANCEL.to_be_bytes());
    let ways: [(&str, End, bool); 2] = [
        ("their own resets", Box::new(cancelled), false),
        ("resets that they make us send", Box::new(too_large), true),
    ];
    for (name, end, deadly) in ways {
        let mut raw = raw_h2(&proxy).await;
        let (before, first) = (resident(), cluster.asked_for("v136", WATCH).len());
        let mut goaway = None;
        let mut rounds = 0;
        for id in ids().take(2000) {
            let flooded = raw.flood([request(id, &pseudo("GET", WATCH))]).await;
            let ended = raw.flood([end(id)]).await;
            goaway = flooded.goaway.or(ended.goaway);
            rounds += 1;
            if !ended.survived {
                break;
            }
            if rounds % 100 == 0 {
                is_well(&other).await;
            }
        }
        let upstream = cluster.asked_for("v136", WATCH).len() - first;
        let more = resident().saturating_sub(before) >> 20;
        say!("{name}: {rounds} rounds, {upstream} requests upstream, {goaway:?}, {more} MiB more in memory");
        assert!(more < MEMORY >> 20, "{name}");
        if deadly {
            assert_eq!(goaway, Some(ENHANCE_YOUR_CALM), "{name}");
            assert!(rounds <= limits::MAX_LOCAL_RESETS + 1, "{name}: {rounds}");
        } else {
            assert!(upstream > 100, "{name}: they did go on: {upstream}");
        }
        let streams = || proxy.connections("v136", Class::Identity).in_use;
        eventually("no stream is left upstream", || streams() == 0).await;
    }
    is_well(&other).await;
    assert_eq!(
        of_bystander(&cluster).len(),
        1,
        "the bystander's requests stayed on their connection to the server"
    );
}

/// Whoever does not take the answers to his frames is not read any more, so they cannot pile up here.
#[tokio::test]
async fn who_floods_without_reading_is_not_read_either() {
    if !has_the_process_to_itself("floods::who_floods_without_reading_is_not_read_either") {
        return;
    }
    use std::time::Duration;
    let (_cluster, proxy) = alone().await;
    let other = bystander(&proxy).await;
    let before = resident();
    let mut attacker = raw_h2(&proxy).await;
    let piece = frame(PING, 0, 0, &[7; 8]).repeat(10_000);
    let mut sent = 0;
    // Both sockets' buffers hold some megabytes; a proxy that went on reading would take all.
    while sent < 400
        && tokio::time::timeout(Duration::from_secs(2), attacker.try_send(&piece)).await.unwrap_or_default()
    {
        sent += 1;
        if sent % 20 == 0 {
            is_well(&other).await;
        }
    }
    say!(
        "PING without reading: {} frames were taken, {} MiB more in memory",
        sent * 10_000,
        resident().saturating_sub(before) >> 20
    );
    assert!(sent < 400, "the flood was never held back");
    assert!(resident() < before + MEMORY);
    is_well(&other).await;
    assert_eq!(proxy.h1(As::Certificate(&PKI.admin)).await.get("/version").await.status, 200);
}
