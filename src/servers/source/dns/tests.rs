use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, MessageType};
use hickory_resolver::proto::rr::Record;
use hickory_resolver::proto::rr::rdata::{A, AAAA, SRV};
use tokio::net::UdpSocket;

use super::*;

/// What a DNS server says about one name and type.
#[derive(Clone)]
enum Say {
    Records(u32, Vec<RData>),
    Code(ResponseCode),
    Nothing,
}

type Zone = Arc<Mutex<HashMap<(String, RecordType), Say>>>;

/// A DNS server on loopback. What it was not told about has no records.
async fn server() -> (Zone, SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (zone, address) = (Zone::default(), socket.local_addr().unwrap());
    let known = Arc::clone(&zone);
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let mut answer = Message::from_vec(&buffer[..length]).unwrap();
            let query = answer.queries[0].clone();
            let key = (query.name().to_ascii().to_ascii_lowercase(), query.query_type());
            answer.metadata.message_type = MessageType::Response;
            let said = known.lock().unwrap().get(&key).cloned();
            match said {
                Some(Say::Nothing) => continue,
                Some(Say::Code(code)) => answer.metadata.response_code = code,
                Some(Say::Records(ttl, records)) => {
                    for data in records {
                        answer.add_answer(Record::from_rdata(query.name().clone(), ttl, data));
                    }
                }
                None => {}
            }
            socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
        }
    });
    (zone, address)
}

fn dns(question: &str, server: SocketAddr) -> Dns {
    Dns::of(Question::parse(question).unwrap(), server).unwrap()
}

fn tell(zone: &Zone, name: &str, kind: RecordType, say: Say) {
    zone.lock().unwrap().insert((name.to_owned(), kind), say);
}

fn a(last: u8) -> RData {
    RData::A(A::new(10, 0, 0, last))
}

fn srv(port: u16, target: &str) -> RData {
    RData::SRV(SRV::new(0, 0, port, Name::from_ascii(target).unwrap()))
}

fn allowed() -> Allowed {
    Allowed::new(&["10.0.0.0/8".parse().unwrap(), "fd00::/16".parse().unwrap()])
}

fn shown(sightings: &[Sighting]) -> Vec<String> {
    sightings.iter().map(|one| format!("{} {}", one.name(), one.address())).collect()
}

#[track_caller]
fn all(answer: &Answer) -> Vec<String> {
    let Sightings::All(all) = &answer.reading.sightings else { panic!("{answer:?}") };
    shown(all)
}

#[tokio::test]
async fn the_addresses_of_a_name_are_servers_named_by_them() {
    let (zone, address) = server().await;
    let v6 = RData::AAAA(AAAA("fd00::1".parse().unwrap()));
    let outside = RData::A(A::new(192, 0, 2, 1));
    tell(&zone, "api.example.", RecordType::A, Say::Records(60, vec![a(2), a(1), a(2), outside]));
    tell(&zone, "api.example.", RecordType::AAAA, Say::Records(30, vec![v6]));
    let answer = dns("api.example.:8443", address).ask(&allowed()).await;
    assert_eq!(
        all(&answer),
        [
            "10.0.0.1-8443 10.0.0.1:8443",
            "10.0.0.2-8443 10.0.0.2:8443",
            "fd00-0-0-0-0-0-0-1-8443 [fd00::1]:8443"
        ]
    );
    assert_eq!(answer.reading.refused, [Refused::new("192.0.2.1", Reason::NotAllowed)]);
    assert_eq!(answer.again_after, Duration::from_secs(30));
}

#[tokio::test]
async fn a_name_is_asked_for_again_when_its_ttl_is_over_within_bounds() {
    let (zone, address) = server().await;
    let dns = dns("api.example.", address);
    for (ttl, again) in [(0, 5), (1, 5), (7, 7), (300, 300), (86_400, 300)] {
        tell(&zone, "api.example.", RecordType::A, Say::Records(ttl, vec![a(1)]));
        let answer = dns.ask(&allowed()).await;
        assert_eq!((all(&answer).len(), answer.again_after), (1, Duration::from_secs(again)), "{ttl}");
    }
}

#[tokio::test]
async fn a_change_is_seen_at_the_next_look_whatever_its_ttl() {
    let (zone, address) = server().await;
    let dns = dns("api.example.", address);
    for last in [1, 2] {
        tell(&zone, "api.example.", RecordType::A, Say::Records(86_400, vec![a(last)]));
        assert_eq!(all(&dns.ask(&allowed()).await), [format!("10.0.0.{last}-6443 10.0.0.{last}:6443")]);
    }
}

#[tokio::test]
async fn failures_and_empty_answers_are_ignorance_and_no_such_name_has_no_servers() {
    let (zone, address) = server().await;
    let dns = dns("api.example.", address);
    let both = |say: Say| {
        tell(&zone, "api.example.", RecordType::A, say.clone());
        tell(&zone, "api.example.", RecordType::AAAA, say);
    };
    for code in [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::NoError] {
        both(Say::Code(code));
        let answer = dns.ask(&allowed()).await;
        assert_eq!(answer.reading, Reading::unknown(), "{code}");
        assert_eq!(answer.again_after, limits::MIN_DNS_INTERVAL);
    }
    both(Say::Code(ResponseCode::NXDomain));
    assert_eq!(all(&dns.ask(&allowed()).await), [""; 0]);
}

#[tokio::test]
async fn who_answers_half_of_the_question_departs_nobody_of_the_other_half() {
    let (zone, address) = server().await;
    tell(&zone, "api.example.", RecordType::A, Say::Records(60, vec![a(1)]));
    tell(&zone, "api.example.", RecordType::AAAA, Say::Code(ResponseCode::ServFail));
    let answer = dns("api.example.", address).ask(&allowed()).await;
    let Sightings::Some(some) = &answer.reading.sightings else { panic!("{answer:?}") };
    assert_eq!(shown(some), ["10.0.0.1-6443 10.0.0.1:6443"]);
}

#[tokio::test]
async fn a_server_that_never_answers_is_ignorance_in_the_end() {
    let (zone, address) = server().await;
    for kind in [RecordType::A, RecordType::AAAA] {
        tell(&zone, "api.example.", kind, Say::Nothing);
    }
    let answer = timeout(limits::DNS_DEADLINE * 2, dns("api.example.", address).ask(&allowed())).await;
    assert_eq!(answer.unwrap().reading, Reading::unknown());
}

#[tokio::test]
async fn srv_records_lead_to_servers_with_the_targets_names() {
    let (zone, address) = server().await;
    let records = vec![
        srv(6443, "cp1.example."),
        srv(6443, "CP2.example."),
        srv(1, "cp3.example."),
        srv(2, "cp3.example."),
        srv(9, "."),
    ];
    tell(&zone, "_https._tcp.example.", RecordType::SRV, Say::Records(60, records));
    let v6 = RData::AAAA(AAAA("fd00::1".parse().unwrap()));
    tell(&zone, "cp1.example.", RecordType::A, Say::Records(20, vec![a(1)]));
    tell(&zone, "cp1.example.", RecordType::AAAA, Say::Records(60, vec![v6]));
    tell(&zone, "cp2.example.", RecordType::A, Say::Records(60, vec![a(2), a(3)]));
    tell(&zone, "cp3.example.", RecordType::A, Say::Records(60, vec![a(4)]));
    let dns = dns("_https._tcp.example.", address);
    let answer = dns.ask(&allowed()).await;
    assert_eq!(
        all(&answer),
        [
            "cp1.example 10.0.0.1:6443",
            "10.0.0.2-6443 10.0.0.2:6443",
            "10.0.0.3-6443 10.0.0.3:6443",
            "cp3.example-1 10.0.0.4:1",
            "cp3.example-2 10.0.0.4:2",
        ]
    );
    assert_eq!(answer.again_after, Duration::from_secs(20));

    tell(&zone, "cp2.example.", RecordType::A, Say::Code(ResponseCode::NXDomain));
    tell(&zone, "cp2.example.", RecordType::AAAA, Say::Code(ResponseCode::NXDomain));
    let answer = dns.ask(&allowed()).await;
    assert!(matches!(&answer.reading.sightings, Sightings::Some(some) if some.len() == 3), "{answer:?}");
    tell(&zone, "_https._tcp.example.", RecordType::SRV, Say::Code(ResponseCode::ServFail));
    assert_eq!(dns.ask(&allowed()).await.reading, Reading::unknown());
    tell(&zone, "_https._tcp.example.", RecordType::SRV, Say::Code(ResponseCode::NXDomain));
    assert_eq!(all(&dns.ask(&allowed()).await), [""; 0]);
}

#[test]
fn of_an_endless_answer_only_so_much_is_read() {
    let ip = |n: u32| Ipv4Addr::from_bits(0x0a00_0000 + n).into();
    let most = u32::try_from(limits::MAX_SOURCE_ENTRIES).unwrap();
    let each = |number: u32| {
        (0..number).map(|n| Sighting::by_address(ip(n), 1, &allowed()).map_err(|_| unreachable!()))
    };
    assert_eq!(reading(each(most).collect(), true).refused, []);
    let Reading { sightings, refused } = reading(each(26 * most).collect(), true);
    assert!(matches!(sightings, Sightings::All(all) if all.len() == limits::MAX_SOURCE_ENTRIES));
    assert_eq!(refused, [Refused::new("250000 more addresses", Reason::TooMany)]);
}
