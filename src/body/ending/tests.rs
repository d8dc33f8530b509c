use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn pieces(content_type: &'static str) -> Pieces {
    let content_type = (header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Pieces::of(&HeaderMap::from_iter([content_type]))
}

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf;stream=watch";

fn stream(content_type: &str, events: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>) {
    let (mut stream, mut ends) = (Vec::new(), vec![0]);
    for event in events {
        if content_type == JSON {
            stream.extend(event.iter().map(|byte| byte | 0x20));
            stream.push(b'\n');
        } else {
            stream.extend(u32::try_from(event.len()).unwrap().to_be_bytes());
            stream.extend(event);
        }
        ends.push(stream.len());
    }
    (stream, ends)
}

proptest! {
    #[test]
    fn however_a_stream_is_cut_it_is_whole_between_events_and_nowhere_else(
        events in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..10),
        cuts in prop::collection::vec(1..30usize, 1..40),
    ) {
        for content_type in [JSON, PROTOBUF] {
            let (stream, ends) = stream(content_type, &events);
            let (mut pieces, mut at) = (pieces(content_type), 0);
            prop_assert!(pieces.is_whole());
            for cut in cuts.iter().cycle() {
                if at == stream.len() {
                    break;
                }
                let next = (at + cut).min(stream.len());
                let last = pieces.pass(&stream[at..next]).map(|whole| at + whole);
                prop_assert_eq!(last, ends.iter().copied().rfind(|end| (at + 1..=next).contains(end)));
                at = next;
                prop_assert_eq!(pieces.is_whole(), ends.contains(&at));
            }
        }
    }
}

#[test]
fn of_what_is_no_watch_or_compressed_nothing_is_known() {
    for other in ["text/plain", "", "application/vnd.kubernetes.protobuf", "application/jsonx"] {
        assert!(matches!(pieces(other), Pieces::Unknown), "{other}");
    }
    assert!(matches!(pieces("application/json;stream=watch"), Pieces::Lines { .. }));
    let compressed = [(header::CONTENT_TYPE, JSON), (header::CONTENT_ENCODING, "gzip")];
    let compressed = compressed.map(|(name, value)| (name, HeaderValue::from_static(value)));
    assert!(matches!(Pieces::of(&HeaderMap::from_iter(compressed)), Pieces::Unknown));
}
