//! A headless name.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use kube_peer_proxy::config::Config;
use kube_peer_proxy::discovery::catalog::Freshness::Fresh;
use tokio::net::UdpSocket;

use super::*;

const NAME: &str = "api.example.";
const SERVICE: &str = "_https._tcp.example.";

/// What the DNS server says of a name and type.
#[derive(Clone)]
enum Say {
    Records(u32, Vec<RData>),
    Code(ResponseCode),
    Nothing,
}

/// A DNS server on loopback. What it was not told about has no records.
#[derive(Clone, Default)]
struct Zone(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    says: HashMap<(String, RecordType), Say>,
    asked: usize,
    delay: Duration,
}

// === impl Zone ===

impl Zone {
    async fn serve(&self) -> SocketAddr {
        let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let (told, address) = (Arc::clone(&self.0), socket.local_addr().unwrap());
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let message = Message::from_vec(&buffer[..length]).unwrap();
                let (answer, delay) = {
                    let mut told = told.lock().unwrap();
                    told.asked += 1;
                    (told.answer(message), told.delay)
                };
                let Some(answer) = answer else { continue };
                let socket = Arc::clone(&socket);
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
                });
            }
        });
        address
    }

    fn tell(&self, name: &str, kind: RecordType, say: Say) {
        self.0.lock().unwrap().says.insert((name.to_owned(), kind), say);
    }

    /// Of both kinds of addresses.
    fn tell_both(&self, name: &str, say: Say) {
        self.tell(name, RecordType::A, say.clone());
        self.tell(name, RecordType::AAAA, say);
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked
    }
}

impl Told {
    fn answer(&self, mut message: Message) -> Option<Message> {
        let query = message.queries[0].clone();
        message.metadata.message_type = MessageType::Response;
        match self.says.get(&(query.name().to_ascii().to_ascii_lowercase(), query.query_type())) {
            Some(Say::Nothing) => return None,
            Some(Say::Code(code)) => message.metadata.response_code = *code,
            Some(Say::Records(ttl, records)) => {
                for data in records {
                    message.add_answer(Record::from_rdata(query.name().clone(), *ttl, data.clone()));
                }
            }
            None => {}
        }
        Some(message)
    }
}

fn at(ip: [u8; 4]) -> RData {
    RData::A(A::from(Ipv4Addr::from(ip)))
}

/// Looks this up at this server.
fn asking(proxy: ProxyBuilder, question: String, nameserver: SocketAddr) -> ProxyBuilder {
    proxy.flags(|args| args.peer_dns_name = Some(question)).configure(move |config: &mut Config| {
        config.peers.as_mut().unwrap().nameserver = Some(nameserver);
    })
}

/// A control plane, and a name that leads to its second server: where that is asked for, and the server's name.
async fn two(ttl: u32) -> (Town, Zone, impl Fn() -> ProxyBuilder, String) {
    let mut town = Town::with("cp1").await;
    town.add_at("cp2", [127, 0, 0, 2], V1_36, |server| server).await;
    town.give_widgets("cp2");
    let zone = Zone::default();
    let nameserver = zone.serve().await;
    zone.tell(NAME, RecordType::A, Say::Records(ttl, vec![at([127, 0, 0, 2])]));
    let (home, peer) = (town["cp1"].addr(), town["cp2"].addr());
    let proxy = move || {
        let proxy = ProxyBuilder::new().server("cp1", home).home("cp1").flags(|args| {
            args.peer_source = Some("dns".into());
            args.peer_allowed_cidrs = vec![LOOPBACK.into()];
        });
        asking(proxy, format!("{NAME}:{}", peer.port()), nameserver)
    };
    (town, zone, proxy, peer.to_string().replace(':', "-"))
}

#[tokio::test]
async fn the_addresses_of_a_name_are_peers_and_those_of_no_name_have_departed() {
    let (_town, zone, proxy, id) = two(300).await;
    let proxy = proxy().start().await;
    let admin = admin(&proxy).await;
    assert_eq!(admin.get(WIDGETS).await.status, 200);
    assert_eq!(freshness(&proxy, &id), Some(Fresh));

    zone.tell_both(NAME, Say::Code(ResponseCode::NXDomain));
    let departed = async || known(&proxy, &id).unwrap().departed.then_some(());
    looking(&proxy, "it has departed", departed).await;
    until_departed(&proxy, &id).await;
    assert_eq!(admin.get(WIDGETS).await.status, 200, "it is still there");
    assert_eq!(marked(&admin, "example.com", "v1").await.unwrap(), "Stale");

    zone.tell(NAME, RecordType::A, Say::Records(300, vec![at([127, 0, 0, 2])]));
    looking(&proxy, "it is back", async || (!known(&proxy, &id).unwrap().departed).then_some(())).await;
    until_it_is(&proxy, &id, Fresh).await;
}

#[tokio::test]
async fn i7_failures_of_dns_take_nobody_away() {
    let (_town, zone, proxy, id) = two(300).await;
    let proxy = proxy().start().await;
    let admin = admin(&proxy).await;
    let last_change =
        async || proxy.metric("kube_peer_proxy_peer_source_last_change_timestamp_seconds", &[]).await;
    let before = last_change().await;
    for say in [
        Say::Code(ResponseCode::ServFail),
        Say::Code(ResponseCode::Refused),
        Say::Records(300, vec![]),
        Say::Nothing,
    ] {
        zone.tell_both(NAME, say);
        let asked = zone.asked();
        // The last one asks behind an answer of which we know that it came.
        looking(&proxy, "it is asked again and again", async || (zone.asked() >= asked + 4).then_some(()))
            .await;
        assert_eq!(freshness(&proxy, &id), Some(Fresh));
        assert_eq!(admin.get(WIDGETS).await.status, 200);
    }
    assert_eq!(last_change().await, before);
    assert_eq!(counted(&proxy, "seen").await, 1.0);
}

#[tokio::test]
async fn a_name_is_asked_for_again_when_its_ttl_is_over_and_not_sooner() {
    const TTL: u32 = 5;
    let (town, zone, proxy, id) = two(TTL).await;
    let begun = tokio::time::Instant::now();
    // Watches everything, so there is news of leases, and looks at its files all the time.
    let proxy = proxy()
        .file("reloadCheckInterval", "20ms")
        .flags(|args| args.discovery_refresh = Some("watch".into()))
        .start()
        .await;
    assert_eq!(freshness(&proxy, &id), Some(Fresh));
    assert_eq!(zone.asked(), 2, "A and AAAA");
    zone.tell(NAME, RecordType::A, Say::Records(TTL, vec![at([127, 0, 0, 2]), at([127, 0, 0, 3])]));
    let clerk = town.clerk().await;
    clerk.create(LEASES, &lease("apiserver-cp9", "cp9", "127.0.0.9:1", 0)).await;
    until("the lease was seen", async || {
        let seen = proxy.metric("kube_peer_proxy_informer_objects", &["server=\"cp1\"", "\"leases\""]).await;
        (seen == 1.0).then_some(())
    })
    .await;
    assert_eq!(zone.asked(), 2);
    eventually("the other one is found", || names(&proxy).len() == 3).await;
    assert!(begun.elapsed() >= Duration::from_secs(TTL.into()));
}

/// Looking at files is done often, an answer takes long.
#[tokio::test]
async fn an_answer_that_takes_long_is_not_lost_to_what_else_there_is_to_do() {
    let (_town, zone, proxy, id) = two(300).await;
    zone.0.lock().unwrap().delay = Duration::from_millis(200);
    let proxy = proxy().file("reloadCheckInterval", "20ms").start().await;
    assert_eq!(freshness(&proxy, &id), Some(Fresh));
    assert_eq!(zone.asked(), 2);
}

#[tokio::test]
async fn srv_records_lead_to_peers_with_names_and_ports_of_their_own() {
    let mut town = Town::with("cp1").await;
    for name in ["cp2", "cp3"] {
        town.add(name, V1_36, |server| server).await;
    }
    town.give_widgets("cp2");
    let zone = Zone::default();
    let nameserver = zone.serve().await;
    let target = |name: &str| {
        let host = Name::from_ascii(format!("{name}.example.")).unwrap();
        RData::SRV(SRV::new(0, 0, town[name].addr().port(), host))
    };
    zone.tell(SERVICE, RecordType::SRV, Say::Records(300, vec![target("cp1"), target("cp2"), target("cp3")]));
    for name in ["cp1", "cp2", "cp3"] {
        zone.tell(&format!("{name}.example."), RecordType::A, Say::Records(300, vec![at([127, 0, 0, 1])]));
    }
    let proxy = asking(town.proxy("dns", "cp1.example", "cp1"), SERVICE.to_owned(), nameserver).start().await;
    assert_eq!(admin(&proxy).await.get(WIDGETS).await.status, 200);
    assert_eq!(names(&proxy), ["cp1.example", "cp2.example", "cp3.example"]);

    // Of one target nothing is heard any more, the other two stay as they are, and so does that one.
    zone.tell_both("cp2.example.", Say::Code(ResponseCode::ServFail));
    let asked = zone.asked();
    looking(&proxy, "it is asked again", async || (zone.asked() >= asked + 14).then_some(())).await;
    assert_eq!((names(&proxy).len(), freshness(&proxy, "cp2.example")), (3, Some(Fresh)));
}

#[tokio::test]
async fn i8_before_anybody_is_found_every_answer_is_try_again_and_never_404() {
    let mut town = Town::with("seed").await;
    town.servers.clear();
    town.add_at("cp2", [127, 0, 0, 2], V1_36, |server| server).await;
    town.give_widgets("cp2");
    let zone = Zone::default();
    let nameserver = zone.serve().await;
    zone.tell_both(NAME, Say::Code(ResponseCode::NXDomain));
    let front = ProxyBuilder::new().flags(|args| {
        args.peer_source = Some("dns".into());
        args.peer_allowed_cidrs = vec![LOOPBACK.into()];
    });
    let question = format!("{NAME}:{}", town["cp2"].addr().port());
    let proxy = asking(front, question, nameserver).unready().start().await;
    let admin = admin(&proxy).await;
    let asked = zone.asked();
    looking(&proxy, "DNS said so", async || (zone.asked() >= asked + 4).then_some(())).await;
    for target in [WIDGETS, "/api/v1/namespaces", "/apis", "/version", "/nothing/of/the/kind", "/openapi/v3"]
    {
        try_again(&admin.get(target).await);
    }
    assert_eq!(proxy.page("/readyz").await.status, 500);
    for page in ["servers", "catalog"] {
        proxy.debug(page).await;
    }
    zone.tell(NAME, RecordType::A, Say::Records(300, vec![at([127, 0, 0, 2])]));
    looking(&proxy, "it is found", async || (names(&proxy).len() == 1).then_some(())).await;
    until("the widgets are served", async || (admin.get(WIDGETS).await.status == 200).then_some(())).await;
    until("ready", async || (proxy.page("/readyz").await.status == 200).then_some(())).await;
    assert_eq!(admin.get("/apis/nobody.example/v1/things").await.status, 404);
}
