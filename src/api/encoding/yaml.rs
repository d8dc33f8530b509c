//! YAML as kube-apiserver writes it: the JSON form with its keys sorted, in block style, lists not indented
//! (`sigs.k8s.io/yaml`, `JSONToYAML`).

use serde_json::Value;

/// A document; `tree` is its JSON form.
pub(super) fn write(mut tree: Value) -> Vec<u8> {
    tree.sort_all_objects();
    // Strings that YAML 1.1 would read as something else are quoted, as Go's writer does.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(&tree, options)
        .expect("JSON is YAML, and writing to memory can't fail")
        .into_bytes()
}
