//! An `Accept` header line → the form of discovery and the encoding of an error.
#![no_main]

use http::{HeaderMap, HeaderValue, header};
use kube_peer_proxy::api::media_type::{
    ACCEPT_NOPEER, DiscoveryForm, Media, is_aggregated_v2_json, negotiate, wants_pretty,
};
use kube_peer_proxy::api::status::{Encoding, Status};
use libfuzzer_sys::fuzz_target;

/// Up to so many clauses the order is that of upstream; beyond it a clause more may change it.
const SORTED_ALIKE: usize = 12;

fuzz_target!(|line: &[u8]| {
    let form = DiscoveryForm::of(Some(line));
    let media = negotiate(Some(line));
    let contains = |word: &str| line.windows(word.len()).any(|at| at == word.as_bytes());

    match form {
        DiscoveryForm::AggregatedV2 { nopeer, pretty, .. } => {
            assert!(contains("g") && contains("v2") && contains("APIGroupDiscoveryList"));
            assert!(!nopeer || contains("nopeer"));
            assert!(!pretty || contains("pretty"));
        }
        DiscoveryForm::Unaggregated { media: plain } => assert_eq!(media, Some(plain)),
        DiscoveryForm::NotAcceptable => assert_eq!(media, None),
    }
    assert_eq!(media == Some(Media::Json) && line.is_empty(), line.is_empty(), "nothing asked is JSON");

    let text = String::from_utf8_lossy(line);
    let clauses = text.split(',').count();
    if clauses < SORTED_ALIKE && !line.is_empty() {
        for alike in [text.replace(',', " , "), format!("{text},"), format!("nonsense,{text},a/b/c")] {
            assert_eq!(DiscoveryForm::of(Some(alike.as_bytes())), form, "{alike:?}");
            assert_eq!(negotiate(Some(alike.as_bytes())), media, "{alike:?}");
        }
        // One clause that asks for v2 is enough, wherever it stands.
        for more in [format!("{text},{ACCEPT_NOPEER}"), format!("{ACCEPT_NOPEER},{text}")] {
            let asked = DiscoveryForm::of(Some(more.as_bytes()));
            assert!(matches!(asked, DiscoveryForm::AggregatedV2 { .. }), "{more:?} gives {asked:?}");
        }
    }
    if is_aggregated_v2_json(&text) && clauses == 1 {
        assert!(matches!(
            form,
            DiscoveryForm::AggregatedV2 { media: Media::Json, .. } | DiscoveryForm::NotAcceptable
        ));
    }

    let Ok(value) = HeaderValue::from_bytes(line) else { return };
    let mut headers = HeaderMap::new();
    headers.append(header::ACCEPT, value.clone());
    headers.append(header::ACCEPT, HeaderValue::from_static("application/yaml"));
    headers.insert(header::USER_AGENT, value);
    assert_eq!(DiscoveryForm::of_headers(&headers), form, "only the first line counts");
    let encoding = Encoding::preferred(&headers);
    assert_eq!(encoding == Encoding::Protobuf, media == Some(Media::Protobuf));
    let _ = wants_pretty(Some(&text), &headers);
    let answer = Status::bad_request(text).into_response(encoding);
    assert_eq!(answer.status(), 400);
});
