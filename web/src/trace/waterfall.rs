//! A timeline as text, for an incident channel or a terminal.

use std::collections::HashSet;
use std::fmt::Write;

use analyzer::Transaction;

use crate::{chart, format, text};

/// Rows drawn; a text of more is no longer read.
const ROWS_MAX: usize = 5_000;
/// Characters of a bar.
const BAR_CHARS: usize = 40;
/// Deepest indentation, levels.
const INDENT_MAX: usize = 20;
/// Characters of a row's name.
const NAME_CHARS: usize = 64;

/// Draws the transaction: name, total, own time, and where it lies. `█` is on the critical path, `░` is not.
pub(super) fn draw(transaction: &Transaction) -> String {
    let root = transaction.root_span();
    let mut out = format!(
        "{} {}  {}  {}  {}\n\n",
        text::one_line(&root.service),
        text::one_line(&root.operation),
        format::nanos(transaction.duration_ns),
        format::precise(transaction.started_ns),
        transaction.id,
    );
    let critical: HashSet<usize> = transaction.critical_path.iter().map(|segment| segment.span).collect();
    writeln!(out, "{:NAME_CHARS$} {:>10} {:>10}", "step", "total", "own").expect("writing to a string cannot fail");
    for index in 0..transaction.spans.len().min(ROWS_MAX) {
        let line = line(transaction, index, critical.contains(&index));
        writeln!(out, "{}", line.trim_end()).expect("writing to a string cannot fail");
    }
    let left_out = transaction.spans.len().saturating_sub(ROWS_MAX);
    if left_out > 0 {
        writeln!(out, "… {} more", format::counted(left_out, "span", "spans"))
            .expect("writing to a string cannot fail");
    }
    out
}

fn line(transaction: &Transaction, index: usize, is_critical: bool) -> String {
    let span = &transaction.spans[index];
    let depth = usize::try_from(transaction.depths[index]).unwrap_or(usize::MAX).min(INDENT_MAX);
    let name = format!("{}{} {}", "  ".repeat(depth), text::one_line(&span.service), text::one_line(&span.operation));
    let error = if span.has_error { " error" } else { "" };
    format!(
        "{:NAME_CHARS$} {:>10} {:>10} {}{error}",
        text::shortened(&name, NAME_CHARS - 1),
        format::nanos(span.duration_ns()),
        format::nanos(transaction.self_ns[index]),
        bar(transaction, index, if is_critical { '█' } else { '░' }),
    )
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a percentage fits")]
#[expect(clippy::cast_precision_loss, reason = "BAR_CHARS is small")]
fn bar(transaction: &Transaction, index: usize, letter: char) -> String {
    let span = &transaction.spans[index];
    let scale = chart::Scale::linear(0.0, format::to_millis(transaction.duration_ns));
    let cell = |ns: i64| {
        let percent = scale.percent(format::to_millis(ns - transaction.started_ns));
        (percent / 100.0 * BAR_CHARS as f64) as usize
    };
    let from = cell(span.start_ns).min(BAR_CHARS - 1);
    let to = cell(span.end_ns).clamp(from + 1, BAR_CHARS);
    (0..to).map(|at| if at < from { '·' } else { letter }).collect()
}
