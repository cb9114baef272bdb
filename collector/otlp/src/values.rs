//! `AnyValue` as text plus type, the form that the tables keep, by way of prost's message. Called for metrics, and by the
//! walk for values that are not one plain value.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use collector_table::ValueType;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValueList};
use prost::Message;

use crate::wire::Damaged;
use crate::{Limits, scan, schema};

/// Reads an `AnyValue` that is a message of a depth, counted from the request (1). Pieces of one value may lie one after
/// the other.
pub(crate) fn read(message: &[u8], depth: usize, limits: &Limits) -> Result<(String, ValueType), Damaged> {
    let limits = Limits { nesting_max: limits.nesting_max.saturating_sub(depth - 1), ..*limits };
    scan::check(&schema::ANY_VALUE, message, &limits).map_err(|_| Damaged)?;
    let value = AnyValue::decode(message).map_err(|_| Damaged)?;
    let (text, value_type) = as_text(Some(&value));
    Ok((text.into_owned(), value_type))
}

/// Returns the value as text; an absent value is the JSON `null`.
pub(crate) fn as_text(value: Option<&AnyValue>) -> (Cow<'_, str>, ValueType) {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => (Cow::Borrowed(text), ValueType::String),
        Some(Value::BoolValue(true)) => (Cow::Borrowed("true"), ValueType::Bool),
        Some(Value::BoolValue(false)) => (Cow::Borrowed("false"), ValueType::Bool),
        Some(Value::IntValue(number)) => (Cow::Owned(number.to_string()), ValueType::Int),
        Some(Value::DoubleValue(number)) => (Cow::Owned(plain_number(*number)), ValueType::Double),
        Some(Value::BytesValue(bytes)) => (Cow::Owned(STANDARD.encode(bytes)), ValueType::Bytes),
        Some(list @ (Value::ArrayValue(_) | Value::KvlistValue(_))) => {
            (Cow::Owned(plain_json(list).to_string()), ValueType::Json)
        }
        Some(Value::StringValueStrindex(_)) | None => (Cow::Borrowed("null"), ValueType::Json),
    }
}

/// Returns the shortest text that reads back as the same number.
pub(crate) fn plain_number(number: f64) -> String {
    // Debug switches to exponents for very large and small numbers, where Display prints hundreds of digits.
    let text = format!("{number:?}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

/// Returns the value as ordinary JSON. Recursive: `scan` has bounded the depth.
fn plain_json(value: &Value) -> serde_json::Value {
    match value {
        Value::StringValue(text) => text.as_str().into(),
        Value::BoolValue(flag) => (*flag).into(),
        Value::IntValue(number) => (*number).into(),
        Value::DoubleValue(number) if number.is_finite() => (*number).into(),
        Value::DoubleValue(number) => plain_number(*number).into(),
        Value::BytesValue(bytes) => STANDARD.encode(bytes).into(),
        Value::ArrayValue(list) => list.values.iter().map(any_json).collect(),
        Value::KvlistValue(list) => plain_object(list),
        Value::StringValueStrindex(_) => serde_json::Value::Null,
    }
}

fn plain_object(list: &KeyValueList) -> serde_json::Value {
    let members = list.values.iter().map(|member| {
        let value = member.value.as_ref().map_or(serde_json::Value::Null, any_json);
        (member.key.clone(), value)
    });
    serde_json::Value::Object(members.collect())
}

fn any_json(value: &AnyValue) -> serde_json::Value {
    value.value.as_ref().map_or(serde_json::Value::Null, plain_json)
}
