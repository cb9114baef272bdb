//! The rows of a timeline: spans of this page, the ancestors of the first one, and logs and events in their place.

use std::collections::{HashMap, HashSet};

use analyzer::Transaction;
use collector_table::{LogRow, SpanId, SpanKind, SpanRow};

use super::bars::{Bars, Drawing};
use super::choice::Choice;
use super::expected::{self, Ghost};
use super::joins::{Lane, Lanes};
use super::{Loaded, Params};
use crate::colour::Colours;
use crate::logs::severity;
use crate::{format, text};

/// Ancestors repeated above a page's first row.
const ANCESTORS_MAX: usize = 12;
/// Deepest indentation; deeper rows say their depth.
const INDENT_MAX: u32 = 16;
/// Logs and events shown below one span; the rest is in its details.
const NOTES_MAX: usize = 12;
/// Longest text of a log or event in a row, characters.
const NOTE_CHARS_MAX: usize = 240;

/// One span.
pub(super) struct Row {
    /// What stands above it, where a trace begins or goes on.
    pub(super) lane: Option<Lane>,
    pub(super) anchor: String,
    pub(super) url: String,
    /// `d0` to `d16`.
    pub(super) indent: String,
    /// Depth in figures, when it is deeper than the indentation goes.
    pub(super) depth: Option<String>,
    pub(super) class: String,
    pub(super) service: String,
    pub(super) operation: String,
    /// What else is to be said: the kind, a peer without telemetry, a missing parent.
    pub(super) remark: String,
    pub(super) total: String,
    pub(super) own: String,
    pub(super) bars: Bars,
    pub(super) is_critical: bool,
    pub(super) has_error: bool,
    pub(super) error: String,
    pub(super) is_selected: bool,
    pub(super) notes: Vec<Note>,
    pub(super) notes_left_out: Option<String>,
    /// Expected stages that are not there.
    pub(super) ghosts: Vec<Ghost>,
}

/// A log record or an event, below its span.
pub(super) struct Note {
    pub(super) at: String,
    pub(super) kind: &'static str,
    pub(super) severity: &'static str,
    pub(super) class: &'static str,
    pub(super) text: String,
    /// Where it lies on the time axis.
    pub(super) x: String,
    time_ns: i64,
}

/// What one page shows.
pub(super) struct Shown {
    pub(super) context: Vec<Row>,
    pub(super) context_left_out: Option<String>,
    pub(super) rows: Vec<Row>,
}

/// Makes the rows of this page.
pub(super) fn shown(loaded: &Loaded, choice: &Choice, params: &Params, colours: &mut Colours) -> Shown {
    let transaction = &loaded.transaction;
    let (ancestors, left_out) = match choice.indices().first() {
        Some(first) if choice.is_whole() => ancestors(transaction, *first),
        _ => (Vec::new(), 0),
    };
    let spans: Vec<usize> = ancestors.iter().chain(choice.indices()).copied().collect();
    let drawing = Drawing::of(transaction, &spans);
    let wanted: HashSet<SpanId> = spans.iter().map(|index| transaction.spans[*index].span_id).collect();
    let stored = stored(loaded, &wanted);
    let mut notes = if params.logs == "off" { HashMap::new() } else { notes(loaded, &stored, &wanted, &drawing) };
    let mut row = |index: usize| {
        let span = &transaction.spans[index];
        let notes = notes.remove(&span.span_id).unwrap_or_default();
        let mut row = row(transaction, index, &drawing, stored.get(&span.span_id), notes);
        row.class = colours.class(span.service());
        row.url = choice.url(transaction.id, |params| {
            params.span = span.span_id.to_string();
        });
        row.url.push_str("#details");
        row.is_selected = params.span == row.anchor;
        row
    };
    let mut rows: Vec<Row> = choice.indices().iter().map(|index| row(*index)).collect();
    // Ancestors are a reminder: their logs and events stay on the page where they are rows.
    let context = ancestors.iter().map(|index| row(*index)).map(without_notes).collect();
    let mut lanes = Lanes::of(transaction, &drawing);
    for (row, index) in rows.iter_mut().zip(choice.indices()) {
        row.lane = lanes.above(*index, colours);
    }
    for (after, ghost) in expected::ghosts(transaction, &drawing) {
        // On another page, or left out by a filter: then above what comes next, or not at all.
        if let Some(at) = choice.indices().iter().position(|index| *index == after) {
            rows[at].ghosts.push(ghost);
        }
    }
    let context_left_out =
        (left_out > 0).then(|| format!("{} above", format::counted(left_out, "more level", "more levels")));
    Shown { context, context_left_out, rows }
}

fn without_notes(mut row: Row) -> Row {
    row.notes.clear();
    row.notes_left_out = None;
    row.anchor = format!("above-{}", row.anchor);
    row
}

/// Returns the nearest ancestors, topmost first, and how many further ones there are.
fn ancestors(transaction: &Transaction, index: usize) -> (Vec<usize>, usize) {
    let mut found = Vec::new();
    let mut at = index;
    while let Some(parent) = transaction.parent(at).filter(|_| found.len() < ANCESTORS_MAX) {
        found.push(parent);
        at = parent;
    }
    found.reverse();
    let depth = usize::try_from(transaction.depth(index)).unwrap_or(usize::MAX);
    let left_out = depth.saturating_sub(found.len());
    (found, left_out)
}

/// Returns the stored rows of the wanted spans; of copies the first.
fn stored<'a>(loaded: &'a Loaded, wanted: &HashSet<SpanId>) -> HashMap<SpanId, SpanRow<'a>> {
    let mut stored = HashMap::with_capacity(wanted.len());
    for table in &loaded.spans {
        for row in table.rows().filter(|row| wanted.contains(&row.span_id)) {
            stored.entry(row.span_id).or_insert(row);
        }
    }
    stored
}

fn row(
    transaction: &Transaction,
    index: usize,
    drawing: &Drawing<'_>,
    stored: Option<&SpanRow<'_>>,
    mut notes: Vec<Note>,
) -> Row {
    let span = &transaction.spans[index];
    let depth = transaction.depth(index);
    let left_out = notes.len().saturating_sub(NOTES_MAX);
    notes.sort_by_key(|note| note.time_ns);
    notes.truncate(NOTES_MAX);
    Row {
        lane: None,
        anchor: span.span_id.to_string(),
        url: String::new(),
        indent: format!("d{}", depth.min(INDENT_MAX)),
        depth: (depth > INDENT_MAX).then(|| format!("level {}", format::count(u64::from(depth)))),
        class: String::new(),
        service: span.service().to_owned(),
        operation: span.operation().to_owned(),
        remark: remark(transaction, index),
        total: format::nanos(span.duration_ns()),
        own: format::nanos(transaction.self_ns(index)),
        bars: drawing.bars(index),
        is_critical: drawing.is_critical(index),
        has_error: span.has_error(),
        error: stored.and_then(|row| row.status_message).map(|text| text::shortened(text, 160)).unwrap_or_default(),
        is_selected: false,
        notes,
        notes_left_out: (left_out > 0).then(|| format!("{} more below this span", format::len(left_out))),
        ghosts: Vec::new(),
    }
}

fn remark(transaction: &Transaction, index: usize) -> String {
    let span = &transaction.spans[index];
    let mut parts: Vec<String> = Vec::new();
    if transaction.parent(index).is_none() && span.parent_span_id().is_some() {
        parts.push("parent never arrived".to_owned());
    }
    match span.kind() {
        SpanKind::Client => parts.push("calls".to_owned()),
        SpanKind::Producer => parts.push("sends".to_owned()),
        SpanKind::Consumer => parts.push("receives".to_owned()),
        SpanKind::Unspecified | SpanKind::Internal | SpanKind::Server => {}
    }
    if let Some(peer) = span.site.peer.as_ref().filter(|peer| !span.operation().contains(&***peer)) {
        parts.push(peer.to_string());
    }
    parts.join(" ")
}

/// Returns logs and events by span.
fn notes(
    loaded: &Loaded,
    stored: &HashMap<SpanId, SpanRow<'_>>,
    wanted: &HashSet<SpanId>,
    drawing: &Drawing<'_>,
) -> HashMap<SpanId, Vec<Note>> {
    let started_ns = loaded.transaction.started_ns;
    let mut notes: HashMap<SpanId, Vec<Note>> = HashMap::new();
    for (span_id, row) in stored {
        for event in row.events() {
            let mut words = event.name.to_owned();
            if let Some(message) = event.attributes.first_of(&["exception.message", "message"]) {
                words = format!("{words}: {message}");
            }
            notes.entry(*span_id).or_default().push(Note {
                at: offset(event.time_ns, started_ns),
                kind: "event",
                severity: "",
                class: if event.name == "exception" { "bad" } else { "quiet" },
                text: text::shortened(&words, NOTE_CHARS_MAX),
                x: drawing.place(event.time_ns),
                time_ns: event.time_ns,
            });
        }
    }
    for table in &loaded.logs {
        for log in table.rows() {
            if let Some(span_id) = log.span_id.filter(|span_id| wanted.contains(span_id)) {
                notes.entry(span_id).or_default().push(log_note(&log, started_ns, drawing));
            }
        }
    }
    notes
}

fn log_note(log: &LogRow<'_>, started_ns: i64, drawing: &Drawing<'_>) -> Note {
    let (word, class) = severity(log.severity_number, log.severity_text);
    Note {
        at: offset(log.time_ns, started_ns),
        kind: "log",
        severity: word,
        class,
        text: text::shortened(log.body, NOTE_CHARS_MAX),
        x: drawing.place(log.time_ns),
        time_ns: log.time_ns,
    }
}

/// Returns how long after the transaction's start something was.
pub(super) fn offset(time_ns: i64, started_ns: i64) -> String {
    format::difference(format::to_millis(time_ns.saturating_sub(started_ns)))
}
