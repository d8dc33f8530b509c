//! `openapi.v2.Document`.

use serde_json::Value;

use super::{Message, yaml};

pub(in crate::embedded::openapi) fn document(document: &Value) -> Message {
    let info = &document["info"];
    let info = Message::default().text(1, &info["title"]).text(2, &info["version"]);
    Message::default()
        .text(1, &document["swagger"])
        .message(2, &info)
        .message(8, &Message::default().named(2, &document["paths"], path_item))
        .message(9, &Message::default().named(1, &document["definitions"], schema))
}

fn path_item(item: &Value) -> Message {
    Message::default()
        .some(2, &item["get"], operation)
        .some(3, &item["put"], operation)
        .some(4, &item["post"], operation)
        .some(5, &item["delete"], operation)
        .some(8, &item["patch"], operation)
        .each(9, &item["parameters"], parameter)
}

fn operation(operation: &Value) -> Message {
    Message::default()
        .text(3, &operation["description"])
        .text(5, &operation["operationId"])
        .each(8, &operation["parameters"], parameter)
        .message(9, &Message::default().named(1, &operation["responses"], response))
        .extensions(13, operation)
}

fn response(response: &Value) -> Message {
    let schema_item = |value: &Value| Message::default().message(1, &schema(value));
    let response =
        Message::default().text(1, &response["description"]).some(2, &response["schema"], schema_item);
    Message::default().message(1, &response)
}

/// `ParametersItem`.
fn parameter(parameter: &Value) -> Message {
    let common = |name: u32| {
        Message::default()
            .flag(1, &parameter["required"])
            .text(2, &parameter["in"])
            .text(3, &parameter["description"])
            .text(name, &parameter["name"])
    };
    let (kind, inner) = match parameter["in"].as_str() {
        Some("body") => {
            let body = Message::default()
                .text(2, &parameter["name"])
                .text(3, &parameter["in"])
                .flag(4, &parameter["required"])
                .some(5, &parameter["schema"], schema);
            (1, body)
        }
        Some("path") => {
            let path = common(4).text(5, &parameter["type"]).flag(18, &parameter["uniqueItems"]);
            (2, Message::default().message(4, &path))
        }
        _ => {
            let query = common(4).text(6, &parameter["type"]).flag(20, &parameter["uniqueItems"]);
            (2, Message::default().message(3, &query))
        }
    };
    Message::default().message(1, &Message::default().message(kind, &inner))
}

fn schema(value: &Value) -> Message {
    let one_of = |value: &Value| Message::default().message(1, &schema(value));
    let mut message = Message::default()
        .text(1, &value["$ref"])
        .text(4, &value["description"])
        .some(5, &value["default"], yaml)
        .texts(19, &value["required"])
        .some(21, &value["additionalProperties"], one_of);
    if value["type"].is_string() {
        message = message.message(22, &Message::default().text(1, &value["type"]));
    }
    message = message.some(23, &value["items"], one_of);
    if value["properties"].is_object() {
        message = message.message(25, &Message::default().named(1, &value["properties"], schema));
    }
    message.extensions(31, value)
}
