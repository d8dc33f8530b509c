use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::read::GzDecoder;
use sha2::{Digest, Sha512};

use super::{Encoded, Encoding, Encodings, Etag, GZIP_THRESHOLD};
use crate::api::media_type::Media;

fn encoded(bytes: impl Into<Vec<u8>>) -> Encoded {
    Encoded::new(bytes.into().into())
}

#[test]
fn the_etag_is_a_hash_of_the_list_without_its_type() {
    let json =
        r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},"items":[]}"#;
    let etag = Etag::of(format!("{json}\n").as_bytes());
    let hash = Sha512::digest(br#"{"metadata":{},"items":[]}"#);
    let expected: String = hash.iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(etag.digits(), expected);
    assert_eq!(etag.header(), &format!("\"{expected}\""));
}

#[test]
fn only_what_is_longer_than_the_threshold_is_compressed() {
    let fitting = encoded(vec![b'x'; GZIP_THRESHOLD]);
    assert!(fitting.is_compressed(), "there is nothing to do");
    assert_eq!(fitting.gzip(), None);

    let longer = encoded(vec![b'x'; GZIP_THRESHOLD + 1]);
    assert!(!longer.is_compressed());
    let mut unpacked = Vec::new();
    GzDecoder::new(&longer.gzip().unwrap()[..]).read_to_end(&mut unpacked).unwrap();
    assert!(longer.is_compressed());
    assert_eq!(&unpacked[..], longer.body());
}

#[test]
fn a_second_call_shares_what_the_first_one_made() {
    let longer = encoded(vec![b'x'; GZIP_THRESHOLD + 1]);
    assert_eq!(longer.gzip().unwrap().as_ptr(), longer.gzip().unwrap().as_ptr());
}

#[test]
fn each_encoding_is_written_once_however_many_ask_at_the_same_time() {
    let encodings = Encodings::default();
    let written = AtomicUsize::new(0);
    let all = [
        (Media::Json, false),
        (Media::Json, true),
        (Media::Yaml, false),
        (Media::Protobuf, false),
        (Media::Cbor, false),
    ];
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for (number, (media, pretty)) in all.into_iter().enumerate() {
                    let write = || {
                        written.fetch_add(1, Ordering::SeqCst);
                        vec![u8::try_from(number).unwrap()]
                    };
                    let encoded = encodings.get_or_write(Encoding::new(media, pretty), write);
                    assert_eq!(&encoded.body()[..], [u8::try_from(number).unwrap()]);
                }
            });
        }
    });
    assert_eq!(written.into_inner(), all.len());
}

#[test]
fn only_json_can_be_indented() {
    for media in [Media::Yaml, Media::Protobuf, Media::Cbor] {
        assert_eq!(Encoding::new(media, true), Encoding::new(media, false));
    }
    assert_ne!(Encoding::new(Media::Json, true), Encoding::new(Media::Json, false));
}
