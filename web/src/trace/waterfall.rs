//! A timeline as text, for an incident channel or a terminal.

use std::collections::HashMap;
use std::fmt::Write;
use std::ops::Range;

use analyzer::Transaction;

use super::{expected, joins};
use crate::{chart, format, text};

/// Rows drawn; a text of more is no longer read.
const ROWS_MAX: usize = 5_000;
/// Characters of a bar.
const BAR_CHARS: usize = 40;
/// Deepest indentation, levels.
const INDENT_MAX: usize = 20;
/// Joins told above one row.
const JOINS_MAX: usize = 4;
/// Characters of a row's name.
const NAME_CHARS: usize = 64;

/// Draws the transaction: name, total, own time, and where it lies. `█` is on the critical path, `░` is not.
pub(super) fn draw(transaction: &Transaction) -> String {
    let root = transaction.root_span();
    let mut out = format!(
        "{} {}  {}  {}  {}\n\n",
        text::one_line(root.service()),
        text::one_line(root.operation()),
        format::nanos(transaction.duration_ns),
        format::precise(transaction.started_ns),
        transaction.id,
    );
    expected::saga_text(&mut out, transaction);
    let mut critical: HashMap<usize, Vec<(i64, i64)>> = HashMap::new();
    for segment in &transaction.critical_path {
        critical.entry(segment.span).or_default().push((segment.start_ns, segment.end_ns));
    }
    writeln!(out, "{:NAME_CHARS$} {:>10} {:>10}", "step", "total", "own").expect("writing to a string cannot fail");
    for index in 0..transaction.spans.len().min(ROWS_MAX) {
        let segments = critical.get(&index).map(Vec::as_slice).unwrap_or_default();
        lane(&mut out, transaction, index);
        writeln!(out, "{}", line(transaction, index, segments).trim_end()).expect("writing to a string cannot fail");
        expected::ghosts_text(&mut out, transaction, index, INDENT_MAX);
    }
    let left_out = transaction.spans.len().saturating_sub(ROWS_MAX);
    if left_out > 0 {
        writeln!(out, "… {} more", format::counted(left_out, "span", "spans"))
            .expect("writing to a string cannot fail");
    }
    out
}

/// Says above a span by what its trace was joined, and which trace that is.
fn lane(out: &mut String, transaction: &Transaction, index: usize) {
    for join in transaction.joins.iter().filter(|join| join.to == index).take(JOINS_MAX) {
        let depth = usize::try_from(transaction.depth(index)).unwrap_or(usize::MAX).min(INDENT_MAX);
        let trace = joins::short(transaction.trace_of(index));
        let (rule, confidence) = (joins::rule_words(join), joins::confidence(join));
        writeln!(out, "{}| trace {trace}, joined by {}, {confidence}", "  ".repeat(depth), text::one_line(&rule))
            .expect("writing to a string cannot fail");
    }
}

fn line(transaction: &Transaction, index: usize, critical: &[(i64, i64)]) -> String {
    let span = &transaction.spans[index];
    let depth = usize::try_from(transaction.depth(index)).unwrap_or(usize::MAX).min(INDENT_MAX);
    let name = format!("{}{} {}", "  ".repeat(depth), text::one_line(span.service()), text::one_line(span.operation()));
    let error = if span.has_error() { " error" } else { "" };
    format!(
        "{:NAME_CHARS$} {:>10} {:>10} {}{error}",
        text::shortened(&name, NAME_CHARS - 1),
        format::nanos(span.duration_ns()),
        format::nanos(transaction.self_ns(index)),
        bar(transaction, index, critical),
    )
}

/// Draws a span's bar; what it owns of the critical path is solid, also where it waited outside its own bar.
fn bar(transaction: &Transaction, index: usize, critical: &[(i64, i64)]) -> String {
    let span = &transaction.spans[index];
    let whole = cells(transaction, span.start_ns, span.end_ns);
    let critical: Vec<Range<usize>> =
        critical.iter().map(|(from, to)| cells(transaction, *from, *to)).filter(|cells| !cells.is_empty()).collect();
    let letters = (0..BAR_CHARS).map(|cell| match () {
        () if critical.iter().any(|segment| segment.contains(&cell)) => '█',
        () if whole.contains(&cell) => '░',
        () => ' ',
    });
    letters.collect()
}

/// Returns the cells between two moments, at least one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a percentage fits")]
#[expect(clippy::cast_precision_loss, reason = "BAR_CHARS is small")]
fn cells(transaction: &Transaction, from_ns: i64, to_ns: i64) -> Range<usize> {
    let scale = chart::Scale::linear(0.0, format::to_millis(transaction.duration_ns));
    let cell = |ns: i64| {
        let percent = scale.percent(format::to_millis(ns - transaction.started_ns));
        (percent / 100.0 * BAR_CHARS as f64) as usize
    };
    let from = cell(from_ns).min(BAR_CHARS - 1);
    from..cell(to_ns).clamp(from + 1, BAR_CHARS)
}
