//! `openapi.v3.Document`.

use serde_json::Value;

use super::Message;

pub(in crate::embedded::openapi) fn document(document: &Value) -> Message {
    let info = &document["info"];
    let info = Message::default().text(1, &info["title"]).text(6, &info["version"]);
    let schemas = Message::default().named(1, &document["components"]["schemas"], schema_or_reference);
    Message::default()
        .text(1, &document["openapi"])
        .message(2, &info)
        .message(4, &Message::default().named(1, &document["paths"], path_item))
        .message(5, &Message::default().message(1, &schemas))
}

fn path_item(item: &Value) -> Message {
    Message::default()
        .some(4, &item["get"], operation)
        .some(5, &item["put"], operation)
        .some(6, &item["post"], operation)
        .some(7, &item["delete"], operation)
        .some(10, &item["patch"], operation)
        .each(13, &item["parameters"], parameter)
}

fn operation(operation: &Value) -> Message {
    let body = |body: &Value| {
        let body = Message::default().message(2, &media_types(&body["content"])).flag(3, &body["required"]);
        Message::default().message(1, &body)
    };
    Message::default()
        .text(3, &operation["description"])
        .text(5, &operation["operationId"])
        .each(6, &operation["parameters"], parameter)
        .some(7, &operation["requestBody"], body)
        .message(8, &Message::default().named(2, &operation["responses"], response))
        .extensions(13, operation)
}

fn response(response: &Value) -> Message {
    let inner =
        Message::default().text(1, &response["description"]).some(3, &response["content"], media_types);
    Message::default().message(1, &inner)
}

fn media_types(content: &Value) -> Message {
    let media_type = |media: &Value| Message::default().some(1, &media["schema"], schema_or_reference);
    Message::default().named(1, content, media_type)
}

/// `ParameterOrReference`.
fn parameter(parameter: &Value) -> Message {
    let inner = Message::default()
        .text(1, &parameter["name"])
        .text(2, &parameter["in"])
        .text(3, &parameter["description"])
        .flag(4, &parameter["required"])
        .some(10, &parameter["schema"], schema_or_reference);
    Message::default().message(1, &inner)
}

fn schema_or_reference(value: &Value) -> Message {
    if value["$ref"].is_string() {
        return Message::default().message(2, &Message::default().text(1, &value["$ref"]));
    }
    Message::default().message(1, &schema(value))
}

fn schema(value: &Value) -> Message {
    let one = |value: &Value| Message::default().message(1, &schema_or_reference(value));
    // `DefaultType` knows no objects: upstream's come out empty.
    let default = |_: &Value| Message::default();
    let mut message = Message::default()
        .flag(20, &value["uniqueItems"])
        .texts(23, &value["required"])
        .text(25, &value["type"])
        .each(26, &value["allOf"], schema_or_reference)
        .some(30, &value["items"], one);
    if value["properties"].is_object() {
        let properties = Message::default().named(1, &value["properties"], schema_or_reference);
        message = message.message(31, &properties);
    }
    message
        .some(32, &value["additionalProperties"], one)
        .some(33, &value["default"], default)
        .text(34, &value["description"])
        .extensions(36, value)
}
