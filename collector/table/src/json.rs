//! Attributes as one JSON object that keeps their OTLP types: the form of resources, of the segments' rest, of events
//! and links, and of SQL. Written by the builders and the store, read by the tables' rows and by `attributes['key']`.
//! Keys keep their order and may repeat. Reading never fails and never recurses: it stops at what is not JSON.

use std::borrow::Cow;

use crate::ValueType;

mod read;

pub use read::{Elements, Members, elements, members, value_end};

/// Marks a double that JSON has no number for: `{"$double":"NaN"}`.
const DOUBLE: &str = "{\"$double\":";
/// Marks bytes: `{"$bytes":"base64"}`.
const BYTES: &str = "{\"$bytes\":";
/// Marks a key-value list that would pass for one of the marks.
const KVLIST: &str = "{\"$kvlist\":";
const MARK: &str = "{\"$";

/// Writes one object of attributes after the other.
#[derive(Default)]
pub struct ObjectWriter {
    text: String,
}

impl ObjectWriter {
    /// Appends an attribute to the object.
    pub fn push(&mut self, key: &str, value: &str, value_type: ValueType) {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        write_text(&mut self.text, key);
        self.text.push(':');
        write_value(&mut self.text, value, value_type);
    }

    /// Returns the object.
    pub fn finish(&mut self) -> &str {
        self.text.push_str(if self.text.is_empty() { "{}" } else { "}" });
        &self.text
    }

    /// Begins the next object.
    pub fn clear(&mut self) {
        self.text.clear();
    }
}

/// Appends a value, given as the text that the attribute columns hold. A text that does not fit its type is written as
/// a string.
pub fn write_value(out: &mut String, value: &str, value_type: ValueType) {
    match value_type {
        ValueType::Int if value.parse::<i64>().is_ok() => out.push_str(value),
        ValueType::Bool if matches!(value, "true" | "false") => out.push_str(value),
        ValueType::Double => write_double(out, value),
        ValueType::Bytes => write_marked(out, BYTES, value),
        ValueType::Json if value.starts_with(MARK) && is_value(value) => {
            out.push_str(KVLIST);
            out.push_str(value);
            out.push('}');
        }
        ValueType::Json if value.starts_with(['{', '[', 'n']) && is_value(value) => out.push_str(value),
        _ => write_text(out, value),
    }
}

fn is_value(json: &str) -> bool {
    value_end(json, 0) == Some(json.len()) && (!json.starts_with('n') || json == "null")
}

fn write_double(out: &mut String, value: &str) {
    match value {
        "NaN" => write_marked(out, DOUBLE, "NaN"),
        "inf" => write_marked(out, DOUBLE, "Infinity"),
        "-inf" => write_marked(out, DOUBLE, "-Infinity"),
        _ if !value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'.' | b'e')) => write_text(out, value),
        _ if value.parse::<f64>().is_err() => write_text(out, value),
        _ => {
            out.push_str(value);
            if !value.contains(['.', 'e']) {
                out.push_str(".0");
            }
        }
    }
}

fn write_marked(out: &mut String, mark: &str, value: &str) {
    out.push_str(mark);
    write_text(out, value);
    out.push('}');
}

/// Appends a text in quotes.
pub fn write_text(out: &mut String, text: &str) {
    let needs_escape = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    out.push('"');
    // Without a branch a byte, so that it is done many bytes at once.
    if !text.bytes().fold(false, |found, byte| found | needs_escape(byte)) {
        out.push_str(text);
        out.push('"');
        return;
    }
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..'\x20' => {
                const HEX: [char; 16] =
                    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
                let code = char as usize;
                out.push_str("\\u00");
                out.extend([HEX[code >> 4], HEX[code & 15]]);
            }
            _ => out.push(char),
        }
    }
    out.push('"');
}

/// Returns an attribute's value, given as JSON, as the text and type that the attribute columns hold.
pub fn value(json: &str) -> (Cow<'_, str>, ValueType) {
    match json.as_bytes().first() {
        Some(b'"') => (read::text(json), ValueType::String),
        Some(b't' | b'f') => (Cow::Borrowed(json), ValueType::Bool),
        Some(b'{') if json.starts_with(MARK) => marked(json),
        Some(b'{' | b'[' | b'n') | None => (Cow::Borrowed(json), ValueType::Json),
        Some(_) if json.contains(['.', 'e', 'E']) => {
            (Cow::Borrowed(json.strip_suffix(".0").unwrap_or(json)), ValueType::Double)
        }
        Some(_) => (Cow::Borrowed(json), ValueType::Int),
    }
}

fn marked(json: &str) -> (Cow<'_, str>, ValueType) {
    let within = |mark: &str| json.strip_prefix(mark).and_then(|rest| rest.strip_suffix('}'));
    if let Some(kvlist) = within(KVLIST) {
        return (Cow::Borrowed(kvlist), ValueType::Json);
    }
    if let Some(bytes) = within(BYTES) {
        return (read::text(bytes), ValueType::Bytes);
    }
    match within(DOUBLE) {
        Some("\"NaN\"") => (Cow::Borrowed("NaN"), ValueType::Double),
        Some("\"Infinity\"") => (Cow::Borrowed("inf"), ValueType::Double),
        Some("\"-Infinity\"") => (Cow::Borrowed("-inf"), ValueType::Double),
        _ => (Cow::Borrowed(json), ValueType::Json),
    }
}

/// Returns what SQL's `attributes['key']` gives for a value: a string without its quotes, anything else as it is.
pub fn sql_text(json: &str) -> Cow<'_, str> {
    if json.starts_with('"') { read::text(json) } else { Cow::Borrowed(json) }
}

/// Returns the JSON of the first value with this key.
pub fn find<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    members(object).find(|(found, _)| *found == key).map(|(_, value)| value)
}

#[cfg(test)]
mod tests;
