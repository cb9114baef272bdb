//! Spans as OTLP/JSON `TracesData`, for `/api/v1/traces/{id}`. The inverse of `decode`: types are those received.

use std::collections::HashMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use collector_table::{Attributes, EventRow, LinkRow, SpanKind, SpanRow, StatusCode, ValueType};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// Returns `{"resourceSpans": […]}`. Spans keep their order within a resource and scope, and those the order in which
/// they first appear.
pub fn traces_json<'a>(spans: impl IntoIterator<Item = SpanRow<'a>>) -> Value {
    let mut resources: Vec<Resource> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for span in spans {
        let attributes = attributes(&span.resource_attributes);
        let index = *known.entry(attributes.to_string()).or_insert_with(|| {
            resources.push(Resource { attributes, scopes: Vec::new(), known: HashMap::new() });
            resources.len() - 1
        });
        resources[index].add(&span);
    }
    let resources: Vec<Value> = resources.into_iter().map(Resource::finish).collect();
    json!({ "resourceSpans": resources })
}

struct Resource {
    attributes: Value,
    scopes: Vec<(Value, Vec<Value>)>,
    known: HashMap<String, usize>,
}

impl Resource {
    fn add(&mut self, span: &SpanRow<'_>) {
        let mut scope = Map::new();
        put_text(&mut scope, "name", span.scope_name);
        put_text(&mut scope, "version", span.scope_version);
        let scope = Value::Object(scope);
        let index = *self.known.entry(scope.to_string()).or_insert_with(|| {
            self.scopes.push((scope, Vec::new()));
            self.scopes.len() - 1
        });
        self.scopes[index].1.push(span_json(span));
    }

    fn finish(self) -> Value {
        let scopes = self.scopes.into_iter().map(|(scope, spans)| json!({"scope": scope, "spans": spans}));
        json!({"resource": {"attributes": self.attributes}, "scopeSpans": scopes.collect::<Vec<_>>()})
    }
}

fn span_json(span: &SpanRow<'_>) -> Value {
    let mut members = Map::new();
    members.insert("traceId".into(), span.trace_id.to_string().into());
    members.insert("spanId".into(), span.span_id.to_string().into());
    if let Some(parent) = span.parent_span_id {
        members.insert("parentSpanId".into(), parent.to_string().into());
    }
    put_text(&mut members, "traceState", span.trace_state);
    put_count(&mut members, "flags", span.flags);
    members.insert("name".into(), span.name.into());
    members.insert("kind".into(), kind_number(span.kind).into());
    members.insert("startTimeUnixNano".into(), span.start_ns.to_string().into());
    members.insert("endTimeUnixNano".into(), span.end_ns.to_string().into());
    members.insert("attributes".into(), attributes(&span.attributes));
    let events: Vec<Value> = span.events().iter().map(event_json).collect();
    let links: Vec<Value> = span.links().iter().map(link_json).collect();
    members.insert("events".into(), events.into());
    members.insert("links".into(), links.into());
    let [attributes_dropped, events_dropped, links_dropped] = span.dropped;
    put_count(&mut members, "droppedAttributesCount", attributes_dropped);
    put_count(&mut members, "droppedEventsCount", events_dropped);
    put_count(&mut members, "droppedLinksCount", links_dropped);
    let mut status = Map::new();
    put_text(&mut status, "message", span.status_message);
    put_count(&mut status, "code", status_number(span.status_code));
    members.insert("status".into(), Value::Object(status));
    Value::Object(members)
}

fn event_json(event: &EventRow<'_>) -> Value {
    json!({
        "timeUnixNano": event.time_ns.to_string(),
        "name": event.name,
        "attributes": attributes(&event.attributes),
    })
}

fn link_json(link: &LinkRow<'_>) -> Value {
    let mut members = Map::new();
    members.insert("traceId".into(), link.trace_id.to_string().into());
    members.insert("spanId".into(), link.span_id.to_string().into());
    put_text(&mut members, "traceState", link.trace_state);
    members.insert("attributes".into(), attributes(&link.attributes));
    Value::Object(members)
}

fn attributes(attributes: &Attributes<'_>) -> Value {
    let members = attributes.iter().map(|(key, text, value_type)| json!({"key": key, "value": any(text, value_type)}));
    members.collect()
}

/// Returns an `AnyValue`. A text that does not fit its type, because it was cut, is a string.
fn any(text: &str, value_type: ValueType) -> Value {
    let typed = match value_type {
        ValueType::String => None,
        ValueType::Int => text.parse::<i64>().ok().map(|number| json!({"intValue": number.to_string()})),
        ValueType::Double => text.parse::<f64>().ok().map(|number| json!({"doubleValue": double(number)})),
        ValueType::Bool => text.parse::<bool>().ok().map(|flag| json!({"boolValue": flag})),
        ValueType::Bytes => STANDARD.decode(text).ok().map(|_| json!({"bytesValue": text})),
        ValueType::Json => any_of_json(text),
    };
    typed.unwrap_or_else(|| json!({"stringValue": text}))
}

/// Returns plain JSON as an `AnyValue`, or nothing if it is none. Recursive: `decode` has bounded the depth of what the
/// tables hold. Numbers are read from their own text, because serde_json's float parser may be one ulp off.
fn any_of_json(json: &str) -> Option<Value> {
    match json.as_bytes().first()? {
        b'n' => Some(json!({})),
        b't' | b'f' => json.parse::<bool>().ok().map(|flag| json!({"boolValue": flag})),
        b'"' => serde_json::from_str::<String>(json).ok().map(|text| json!({"stringValue": text})),
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(json).ok()?;
            let values: Option<Vec<Value>> = items.into_iter().map(|item| any_of_json(item.get())).collect();
            Some(json!({"arrayValue": {"values": values?}}))
        }
        b'{' => {
            let Members(members) = serde_json::from_str(json).ok()?;
            let members =
                members.into_iter().map(|(key, value)| Some(json!({"key": key, "value": any_of_json(value.get())?})));
            Some(json!({"kvlistValue": {"values": members.collect::<Option<Vec<_>>>()?}}))
        }
        _ => match json.parse::<i64>() {
            Ok(integer) => Some(json!({"intValue": integer.to_string()})),
            Err(_) => json.parse::<f64>().ok().map(|number| json!({"doubleValue": number})),
        },
    }
}

/// Members of a JSON object in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

/// JSON has no NaN and no infinity; protobuf's JSON mapping names them.
fn double(number: f64) -> Value {
    if number.is_nan() {
        "NaN".into()
    } else if number == f64::INFINITY {
        "Infinity".into()
    } else if number == f64::NEG_INFINITY {
        "-Infinity".into()
    } else {
        number.into()
    }
}

fn put_text(members: &mut Map<String, Value>, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        members.insert(name.to_owned(), text.into());
    }
}

fn put_count(members: &mut Map<String, Value>, name: &str, count: u32) {
    if count > 0 {
        members.insert(name.to_owned(), count.into());
    }
}

fn kind_number(kind: SpanKind) -> u32 {
    match kind {
        SpanKind::Unspecified => 0,
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

fn status_number(code: StatusCode) -> u32 {
    match code {
        StatusCode::Unset => 0,
        StatusCode::Ok => 1,
        StatusCode::Error => 2,
    }
}

#[cfg(test)]
mod tests;
