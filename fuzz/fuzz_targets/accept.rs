//! An `Accept` header line → the form of discovery and the encoding of an error.
#![no_main]

use http::{HeaderMap, HeaderValue, header};
use kube_peer_proxy::api::media_type::{
    ACCEPT_NOPEER, AggregatedVersion, DiscoveryForm, Media, aggregated_json, is_plain_json, negotiate,
    wants_pretty,
};
use kube_peer_proxy::api::status::{Encoding, Status};
use libfuzzer_sys::fuzz_target;

/// Up to so many clauses the order is that of upstream; beyond it a clause more may change it.
const SORTED_ALIKE: usize = 12;

fuzz_target!(|line: &[u8]| {
    let form = DiscoveryForm::of(line, false);
    let media = negotiate(Some(line));
    let contains = |word: &str| line.windows(word.len()).any(|at| at == word.as_bytes());

    match form {
        DiscoveryForm::Aggregated { version, nopeer, media, pretty } => {
            assert!(contains("g") && contains(version.as_str()) && contains("APIGroupDiscoveryList"));
            assert!(!nopeer || contains("nopeer"));
            assert!(!pretty || contains("pretty"));
            assert_ne!(media, Media::Cbor);
        }
        DiscoveryForm::Unaggregated { media: plain, .. } => assert_eq!(media, Some(plain)),
        DiscoveryForm::NotAcceptable => assert_eq!(media, None),
    }
    assert_eq!(media == Some(Media::Json) && line.is_empty(), line.is_empty(), "nothing asked is JSON");
    // What is offered beside the rest takes nothing away.
    assert!(form == DiscoveryForm::NotAcceptable || DiscoveryForm::of(line, true) != DiscoveryForm::NotAcceptable);

    let text = String::from_utf8_lossy(line);
    let clauses = text.split(',').count();
    if clauses < SORTED_ALIKE && !line.is_empty() {
        for alike in [text.replace(',', " , "), format!("{text},"), format!("nonsense,{text},a/b/c")] {
            assert_eq!(DiscoveryForm::of(alike.as_bytes(), false), form, "{alike:?}");
            assert_eq!(negotiate(Some(alike.as_bytes())), media, "{alike:?}");
        }
        // One clause that asks for v2 is enough, wherever it stands, unless that is refused.
        for more in [format!("{text},{ACCEPT_NOPEER}"), format!("{ACCEPT_NOPEER},{text}")] {
            let asked = DiscoveryForm::of(more.as_bytes(), false);
            let found = matches!(asked, DiscoveryForm::Aggregated { version: AggregatedVersion::V2, .. });
            assert!(found || contains("q"), "{more:?} gives {asked:?}");
        }
    }
    assert!(aggregated_json(&text).is_none() || !is_plain_json(&text), "one or the other");

    let Ok(value) = HeaderValue::from_bytes(line) else { return };
    let mut headers = HeaderMap::new();
    headers.append(header::ACCEPT, value.clone());
    headers.append(header::ACCEPT, HeaderValue::from_static("application/yaml"));
    headers.insert(header::USER_AGENT, value);
    let one_line = [line, b", application/yaml"].concat();
    let all = DiscoveryForm::of_headers(&headers, false);
    assert_eq!(all, DiscoveryForm::of(&one_line, false), "several lines are one");
    let encoding = Encoding::preferred(&headers);
    // Errors look at the first line only, as kube-apiserver does.
    assert_eq!(encoding == Encoding::Protobuf, media == Some(Media::Protobuf));
    let _ = wants_pretty(Some(&text), &headers);
    let answer = Status::bad_request(text).into_response(encoding);
    assert_eq!(answer.status(), 400);
});
