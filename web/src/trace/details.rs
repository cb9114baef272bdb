//! One span in full, beside the timeline: times, attributes, events, links and resource, as they were sent.

use collector_table::{Attributes, SpanId, SpanRow, StatusCode};

use super::rows::offset;
use super::{Loaded, Params, choice};
use crate::{format, text};

/// Longest value shown; the whole is in the JSON.
const VALUE_CHARS_MAX: usize = 4_096;
/// Events and links shown.
const LIST_MAX: usize = 100;
/// Longest value for which a link to a search is offered, bytes.
const SEARCHABLE_BYTES_MAX: usize = 200;

/// One span in full.
pub(super) struct Details {
    pub(super) service: String,
    pub(super) operation: String,
    pub(super) close_url: String,
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) error: Option<String>,
    pub(super) attributes: Vec<Attribute>,
    pub(super) events: Vec<Event>,
    pub(super) links: Vec<Link>,
    pub(super) resource: Vec<Attribute>,
    pub(super) remarks: Vec<String>,
}

/// One attribute.
pub(super) struct Attribute {
    pub(super) key: String,
    pub(super) value: String,
    /// Search for transactions that have it; none when the value is too long for an address.
    pub(super) search_url: Option<String>,
}

/// One event.
pub(super) struct Event {
    pub(super) at: String,
    pub(super) name: String,
    pub(super) attributes: Vec<Attribute>,
}

/// One link.
pub(super) struct Link {
    pub(super) url: String,
    pub(super) label: String,
    pub(super) attributes: Vec<Attribute>,
}

/// Returns the details of the span that the address names, if the trace has it.
pub(super) fn of(loaded: &Loaded, params: &Params) -> Option<Details> {
    let span_id: SpanId = params.span.parse().ok()?;
    let transaction = &loaded.transaction;
    let index = transaction.spans.iter().position(|span| span.span_id == span_id)?;
    let row = loaded.spans.iter().flat_map(|table| table.rows()).find(|row| row.span_id == span_id)?;
    let span = &transaction.spans[index];
    let close_url = choice::url(transaction.id, &Params { span: String::new(), ..params.clone() });
    let mut facts = facts(&row, transaction.started_ns);
    facts.insert(3, ("own time", format::nanos(transaction.self_ns(index))));
    Some(Details {
        service: span.service().to_owned(),
        operation: span.operation().to_owned(),
        close_url: format!("{close_url}#{span_id}"),
        facts,
        error: (row.status_code == StatusCode::Error).then(|| row.status_message.unwrap_or("no message").to_owned()),
        attributes: attributes(row.attributes, true),
        events: events(&row, transaction.started_ns),
        links: links(&row),
        resource: attributes(row.resource_attributes, false),
        remarks: remarks(&row),
    })
}

fn facts(row: &SpanRow<'_>, started_ns: i64) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("name", row.name.to_owned()),
        ("started", format!("{}, {}", format::precise(row.start_ns), offset(row.start_ns, started_ns))),
        ("total", format::nanos(row.duration_ns())),
        ("kind", row.kind.as_str().to_owned()),
        ("status", row.status_code.as_str().to_owned()),
        ("span id", row.span_id.to_string()),
    ];
    facts.extend(row.parent_span_id.map(|parent| ("parent", parent.to_string())));
    let texts = [
        ("instance", row.service_instance),
        ("version", row.service_version),
        ("scope", row.scope_name),
        ("scope version", row.scope_version),
        ("trace state", row.trace_state),
    ];
    facts.extend(texts.into_iter().filter_map(|(name, value)| Some((name, value?.to_owned()))));
    facts
}

fn attributes(attributes: Attributes<'_>, is_searchable: bool) -> Vec<Attribute> {
    let mut sorted: Vec<_> = attributes.iter().collect();
    sorted.sort_by_key(|(key, ..)| *key);
    let lines = sorted.into_iter().map(|(key, value, _)| Attribute {
        key: key.to_owned(),
        value: text::shortened(value, VALUE_CHARS_MAX),
        search_url: (is_searchable && value.len() <= SEARCHABLE_BYTES_MAX && !value.contains('"'))
            .then(|| text::url_with("/search", &[("q", &condition(key, value))])),
    });
    lines.collect()
}

fn condition(key: &str, value: &str) -> String {
    if value.contains(char::is_whitespace) { format!("{key}=\"{value}\"") } else { format!("{key}={value}") }
}

fn events(row: &SpanRow<'_>, started_ns: i64) -> Vec<Event> {
    let events = row.events().into_iter().take(LIST_MAX).map(|event| Event {
        at: offset(event.time_ns, started_ns),
        name: event.name.to_owned(),
        attributes: attributes(event.attributes, false),
    });
    events.collect()
}

fn links(row: &SpanRow<'_>) -> Vec<Link> {
    let links = row.links().into_iter().take(LIST_MAX).map(|link| Link {
        url: format!("/trace/{}?span={}", link.trace_id, link.span_id),
        label: format!("{} {}", text::shortened(&link.trace_id.to_string(), 8), link.span_id),
        attributes: attributes(link.attributes, false),
    });
    links.collect()
}

fn remarks(row: &SpanRow<'_>) -> Vec<String> {
    let mut remarks = Vec::new();
    for (count, what) in row.dropped.into_iter().zip(["attributes", "events", "links"]) {
        if count > 0 {
            remarks.push(format!("The sender dropped {} {what}.", format::count(u64::from(count))));
        }
    }
    for (len, what) in [(row.events().len(), "events"), (row.links().len(), "links")] {
        if len > LIST_MAX {
            remarks.push(format!("{} {what} in all; the JSON has every one.", format::len(len)));
        }
    }
    if row.end_ns < row.start_ns {
        remarks.push("It ends before it starts: the sender's clock jumped.".to_owned());
    }
    remarks
}
