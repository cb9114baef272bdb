//! Events and links of spans: JSON text in the table, rows when they are read. Written by the span builder and by
//! `otlp`, read by the rows of a span table.

use std::fmt::Write;

use arrow::array::{ListArray, StringArray};

use crate::attributes::{AttributeColumns, of_objects};
use crate::json::{elements, members, value, write_text};
use crate::{Attributes, SpanId, TraceId};

/// Time and name of an event.
pub struct EventFields<'a> {
    /// Unix nanoseconds.
    pub time_ns: i64,
    /// Event name.
    pub name: &'a str,
    /// Attributes that the sender dropped or a limit cut.
    pub dropped_attributes_count: u32,
}

/// Target of a link.
pub struct LinkFields<'a> {
    /// Linked trace.
    pub trace_id: TraceId,
    /// Linked span.
    pub span_id: SpanId,
    /// W3C `tracestate` of the linked span.
    pub trace_state: Option<&'a str>,
}

/// One event of a span.
#[derive(Clone, Copy)]
pub struct EventRow<'a> {
    /// Unix nanoseconds.
    pub time_ns: i64,
    /// Event name.
    pub name: &'a str,
    /// Event attributes.
    pub attributes: Attributes<'a>,
    /// Attributes that the sender dropped or a limit cut.
    pub dropped_attributes_count: u32,
}

/// One link of a span.
#[derive(Clone, Copy)]
pub struct LinkRow<'a> {
    /// Linked trace.
    pub trace_id: TraceId,
    /// Linked span.
    pub span_id: SpanId,
    /// W3C `tracestate`.
    pub trace_state: Option<&'a str>,
    /// Link attributes.
    pub attributes: Attributes<'a>,
}

/// Writes the events of one span after the other as the `events` column holds them.
#[derive(Default)]
pub struct EventsWriter(ListWriter);

impl EventsWriter {
    /// Appends an event with its attributes, given as a JSON object.
    pub fn push(&mut self, event: &EventFields<'_>, attributes: &str) {
        let text = self.0.open();
        let _ = write!(text, "{{\"time\":\"{}\",\"name\":", event.time_ns);
        write_text(text, event.name);
        text.push_str(",\"attributes\":");
        text.push_str(attributes);
        if event.dropped_attributes_count > 0 {
            let _ = write!(text, ",\"dropped_attributes_count\":{}", event.dropped_attributes_count);
        }
        text.push('}');
    }

    /// Returns the span's events, if it has any.
    pub fn finish(&mut self) -> Option<&str> {
        self.0.finish()
    }

    /// Begins the next span.
    pub fn clear(&mut self) {
        self.0.text.clear();
    }
}

/// Writes the links of one span after the other as the `links` column holds them.
#[derive(Default)]
pub struct LinksWriter(ListWriter);

impl LinksWriter {
    /// Appends a link with its attributes, given as a JSON object.
    pub fn push(&mut self, link: &LinkFields<'_>, attributes: &str) {
        let text = self.0.open();
        let _ = write!(text, "{{\"trace_id\":\"{}\",\"span_id\":\"{}\"", link.trace_id, link.span_id);
        if let Some(state) = link.trace_state {
            text.push_str(",\"trace_state\":");
            write_text(text, state);
        }
        text.push_str(",\"attributes\":");
        text.push_str(attributes);
        text.push('}');
    }

    /// Returns the span's links, if it has any.
    pub fn finish(&mut self) -> Option<&str> {
        self.0.finish()
    }

    /// Begins the next span.
    pub fn clear(&mut self) {
        self.0.text.clear();
    }
}

#[derive(Default)]
struct ListWriter {
    text: String,
}

impl ListWriter {
    fn open(&mut self) -> &mut String {
        self.text.push(if self.text.is_empty() { '[' } else { ',' });
        &mut self.text
    }

    fn finish(&mut self) -> Option<&str> {
        if self.text.is_empty() {
            return None;
        }
        self.text.push(']');
        Some(&self.text)
    }
}

/// The events of a whole table, read once.
#[derive(Clone, Debug)]
pub(super) struct Events {
    offsets: Vec<usize>,
    facts: Vec<(i64, String, u32)>,
    attributes: ListArray,
}

impl Events {
    /// Reads the `events` column. What is no event is left out.
    pub(super) fn read(column: &StringArray) -> Self {
        let mut offsets = vec![0];
        let mut facts = Vec::new();
        let mut objects = Vec::new();
        for row in column {
            for event in elements(row.unwrap_or_default()) {
                let (mut time_ns, mut name, mut dropped, mut attributes) = (0, String::new(), 0, "");
                for (key, json) in members(event) {
                    match &*key {
                        "time" => time_ns = value(json).0.parse().unwrap_or(0),
                        "name" => name = value(json).0.into_owned(),
                        "dropped_attributes_count" => dropped = json.parse().unwrap_or(0),
                        "attributes" => attributes = json,
                        _ => {}
                    }
                }
                facts.push((time_ns, name, dropped));
                objects.push(attributes);
            }
            offsets.push(facts.len());
        }
        Self { offsets, facts, attributes: of_objects(objects.into_iter()) }
    }

    pub(super) fn of_row(&self, row: usize) -> Vec<EventRow<'_>> {
        let attributes = AttributeColumns::of(&self.attributes);
        let rows = (self.offsets[row]..self.offsets[row + 1]).map(|index| {
            let (time_ns, name, dropped_attributes_count) = &self.facts[index];
            EventRow {
                time_ns: *time_ns,
                name,
                attributes: attributes.row(index),
                dropped_attributes_count: *dropped_attributes_count,
            }
        });
        rows.collect()
    }
}

/// The links of a whole table, read once.
#[derive(Clone, Debug)]
pub(super) struct Links {
    offsets: Vec<usize>,
    facts: Vec<(TraceId, SpanId, Option<String>)>,
    attributes: ListArray,
}

impl Links {
    /// Reads the `links` column. What is no link is left out.
    pub(super) fn read(column: &StringArray) -> Self {
        let mut offsets = vec![0];
        let mut facts = Vec::new();
        let mut objects = Vec::new();
        for row in column {
            for link in elements(row.unwrap_or_default()) {
                let (mut trace_id, mut span_id, mut state, mut attributes) = (None, None, None, "");
                for (key, json) in members(link) {
                    match &*key {
                        "trace_id" => trace_id = value(json).0.parse().ok(),
                        "span_id" => span_id = value(json).0.parse().ok(),
                        "trace_state" => state = Some(value(json).0.into_owned()),
                        "attributes" => attributes = json,
                        _ => {}
                    }
                }
                facts.push((trace_id.unwrap_or_default(), span_id.unwrap_or_default(), state));
                objects.push(attributes);
            }
            offsets.push(facts.len());
        }
        Self { offsets, facts, attributes: of_objects(objects.into_iter()) }
    }

    pub(super) fn of_row(&self, row: usize) -> Vec<LinkRow<'_>> {
        let attributes = AttributeColumns::of(&self.attributes);
        let rows = (self.offsets[row]..self.offsets[row + 1]).map(|index| {
            let (trace_id, span_id, trace_state) = &self.facts[index];
            LinkRow {
                trace_id: *trace_id,
                span_id: *span_id,
                trace_state: trace_state.as_deref(),
                attributes: attributes.row(index),
            }
        });
        rows.collect()
    }
}
