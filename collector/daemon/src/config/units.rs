//! How a written value becomes a typed one: sizes, durations, addresses, numbers. Called by the reader.
//! An error says what was expected, for the person who wrote the value.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

/// What a value means, or what it should have been.
pub(super) type Parsed<T> = Result<T, String>;

/// Returns a plain value as text; the environment has nothing but text, so every type is read from it.
pub(super) fn text(value: &Value) -> Parsed<String> {
    match value {
        Value::String(text) => Ok(text.trim().to_owned()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(fact) => Ok(fact.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err("expected a single value".to_owned()),
    }
}

/// Returns a list; from the environment it is JSON.
pub(super) fn list(value: &Value) -> Parsed<Vec<Value>> {
    match value {
        Value::Array(items) => Ok(items.clone()),
        Value::String(text) => {
            serde_json::from_str(text).map_err(|_| "expected a list; in the environment, a JSON list".to_owned())
        }
        _ => Err("expected a list".to_owned()),
    }
}

/// Returns `true` or `false`.
pub(super) fn flag(value: &Value) -> Parsed<bool> {
    match text(value)?.as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(format!("{other:?} is neither true nor false")),
    }
}

/// Returns a whole number above zero.
pub(super) fn count(value: &Value) -> Parsed<usize> {
    let text = text(value)?;
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| format!("{text:?} is not a whole number above zero"))
}

/// Returns a finite number above zero.
pub(super) fn positive(value: &Value) -> Parsed<f64> {
    let text = text(value)?;
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| format!("{text:?} is not a number above zero"))
}

/// Returns bytes from `64MiB`, `1.5GB` or a plain number of bytes; at least one.
pub(super) fn size(value: &Value) -> Parsed<usize> {
    let text = text(value)?;
    let wrong = || format!("{text:?} is not a size; write a number and a unit, such as 64MiB");
    let (number, unit) = number_and_unit(&text).ok_or_else(wrong)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(wrong()),
    };
    // Far below 2^53, so the number of bytes is exact.
    let bytes = number * factor;
    if (1.0..1e15).contains(&bytes) { Ok(bytes as usize) } else { Err(wrong()) }
}

/// Returns a duration from `250ms`, `30s`, `5m`, `1h` or `7d`; above zero and at most ten years.
pub(super) fn duration(value: &Value) -> Parsed<Duration> {
    duration_of(&text(value)?)
}

/// As [`duration`], of plain text.
pub(crate) fn duration_of(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write a number and a unit, such as 250ms, 30s, 5m, 1h or 7d");
    let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
    let factor = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    let seconds = number * factor;
    if seconds > 0.0 && seconds < 3.2e8 { Ok(Duration::from_secs_f64(seconds)) } else { Err(wrong()) }
}

/// Returns a reader of values that may also be the word `none`.
pub(super) fn optional<T>(parse: impl Fn(&Value) -> Parsed<T>) -> impl Fn(&Value) -> Parsed<Option<T>> {
    move |value| match text(value)?.as_str() {
        "none" => Ok(None),
        _ => parse(value).map(Some).map_err(|problem| format!("{problem}, or none")),
    }
}

/// Returns an address to listen at. Names are not looked up, except `localhost`, so that what is bound is what is read.
pub(super) fn endpoint(value: &Value) -> Parsed<SocketAddr> {
    let text = text(value)?;
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_| format!("{text:?} is not an address and port, such as 127.0.0.1:4317 or [::1]:4317"))
}

fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}
