use super::*;

/// A field with bytes, short enough for a length of one octet.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, content.len() as u8][..], content].concat()
}

fn object(kind: &str, content: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
    [MAGIC, &field(1, &type_meta), &field(2, content), &field(3, b""), &field(4, b"")].concat()
}

#[test]
fn every_type_that_the_schema_names_is_in_it() {
    let simple = ["int", "bool", "str", "bytes", "Quantity", "Time", "IntOrString", "skip"];
    for (name, message) in SCHEMA.iter() {
        for field in message.values() {
            let known = simple.contains(&field.kind) || SCHEMA.contains_key(field.kind);
            assert!(known, "{name}.{}: {}", field.name, field.kind);
        }
    }
}

#[test]
fn a_secret_becomes_json_without_the_fields_that_are_empty() {
    let entry = [field(1, b"key"), field(2, b"value")].concat();
    let metadata = [field(1, b"s"), field(2, b""), field(8, b""), field(11, &entry)].concat();
    let content = [field(1, &metadata), field(2, &entry), field(3, b"Opaque"), vec![5 << 3, 0]].concat();
    let expected = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s", "labels": { "key": "value" } },
        "data": { "key": "dmFsdWU=" }, "type": "Opaque", "immutable": false,
    });
    assert_eq!(decode(&object("Secret", &content)).unwrap(), expected);
}

#[test]
fn what_the_schema_lacks_is_refused_and_named() {
    let unknown_kind = decode(&object("Gadget", &[])).unwrap_err();
    assert!(unknown_kind.contains("Gadget"), "{unknown_kind}");
    let unknown_field = decode(&object("Secret", &field(9, b""))).unwrap_err();
    assert!(unknown_field.contains("field 9 of Secret"), "{unknown_field}");
}

#[test]
fn no_beginning_of_an_object_is_more_than_an_error() {
    let whole = object("Secret", &field(1, &field(1, b"s")));
    for length in 0..whole.len() {
        // Some beginnings are whole messages: only a panic would be wrong.
        let _ = decode(&whole[..length]);
    }
    assert!(decode(b"{}").is_err());
    assert!(decode(&[MAGIC, &[0xff; 20]].concat()).is_err());
}
