//! What the logs say, on the page of an incident and in its text: templates that are new, surge or fell silent, each with
//! lines that lead to the timelines of their transactions. Must never show text of a line other than escaped.

use analyzer::incident::{LogEvidence, LogExample};

use crate::logs::severity;
use crate::{format, text};

/// What stands for a part that varies.
const VARIABLE: &str = "<*>";
/// Minutes around the first lines that the list of log records is about.
const LISTED_NS: i64 = 10 * 60_000_000_000;

/// A template and its lines.
pub(super) struct LogLines {
    pub(super) service: String,
    pub(super) severity: String,
    pub(super) class: &'static str,
    /// Event name and type of exception.
    pub(super) names: Vec<String>,
    pub(super) parts: Vec<Part>,
    pub(super) change: String,
    pub(super) before: String,
    pub(super) now: String,
    /// What was compared, in words.
    pub(super) compared: String,
    /// All log records like these.
    pub(super) url: String,
    pub(super) lines: Vec<Line>,
}

/// A stretch of a template.
pub(super) struct Part {
    pub(super) text: String,
    pub(super) is_variable: bool,
}

/// A line as it was written.
pub(super) struct Line {
    pub(super) at: String,
    pub(super) text: String,
    /// Timeline of its transaction, at the span in which it was written.
    pub(super) url: Option<String>,
    pub(super) instance: Option<String>,
}

impl LogLines {
    /// Returns what is shown of a template; times on the day of `near` are without their date.
    pub(super) fn new(log: &LogEvidence, near: &str) -> Self {
        let (_, class) = severity(0, Some(&log.severity));
        let names = [&log.event, &log.exception];
        Self {
            service: log.service.clone(),
            severity: log.severity.clone(),
            class,
            names: names.into_iter().flatten().cloned().collect(),
            parts: parts(&log.template),
            change: change(log),
            before: format::rate(log.before_per_minute),
            now: format::rate(log.now_per_minute),
            compared: compared(log, near),
            url: list_url(log, near),
            lines: log.examples.iter().map(|example| line(example, near)).collect(),
        }
    }
}

/// Returns a template as lines of the text twin: what, and the lines that show it.
pub(super) fn as_text(log: &LogEvidence, near: &str) -> Vec<String> {
    let before_now = format!("{} → {} a minute", format::rate(log.before_per_minute), format::rate(log.now_per_minute));
    let names = [&log.event, &log.exception].into_iter().flatten().map(|name| format!(" [{name}]"));
    let names: String = names.collect();
    let what = format!(
        "log           {} {}, {}: {}{names} ({before_now})",
        log.severity,
        log.service,
        change(log),
        log.template
    );
    let lines = log.examples.iter().map(|example| {
        let trace = example.trace_id.as_ref().map(|id| format!(" (trace {id})")).unwrap_or_default();
        format!("              {} {}{trace}", format::stated_near(&example.at, near), example.text)
    });
    std::iter::once(what).chain(lines).collect()
}

fn parts(template: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    for (number, words) in template.split(VARIABLE).enumerate() {
        if number > 0 {
            parts.push(Part { text: VARIABLE.to_owned(), is_variable: true });
        }
        if !words.is_empty() {
            parts.push(Part { text: words.to_owned(), is_variable: false });
        }
    }
    parts
}

fn change(log: &LogEvidence) -> String {
    match (log.change.as_str(), log.factor) {
        ("surging", Some(factor)) => format!("{factor:.1} times more"),
        ("surging", None) => "back".to_owned(),
        (change, _) => change.to_owned(),
    }
}

fn compared(log: &LogEvidence, near: &str) -> String {
    let lines = |count, seconds| format!("{} in {}", format::count(count), format::nanos(seconds * 1_000_000_000));
    let (before, now) = (lines(log.before, log.before_s), lines(log.now, log.now_s));
    format!("{before} before, {now} since; first seen {} UTC", format::stated_near(&log.first_seen, near))
}

/// Returns the list of the log records that are like these: those with the longest stretch that a line shows to be in them.
fn list_url(log: &LogEvidence, near: &str) -> String {
    let stretches = log.template.split(VARIABLE).map(str::trim).chain(log.template.split_whitespace());
    // What a structured body has between its words is no part of the template.
    let is_shown = |words: &&str| log.examples.first().is_none_or(|example| example.text.contains(words));
    let words = stretches.filter(|words| !words.contains(VARIABLE)).filter(is_shown);
    let words = words.max_by_key(|words| words.len()).unwrap_or_default();
    let severity_min = match log.severity.as_str() {
        "fatal" => "21",
        "error" => "17",
        "warn" => "13",
        "info" => "9",
        "debug" => "5",
        _ => "",
    };
    let at_ns = log.examples.iter().map(|example| example.at.as_str()).chain([near]);
    let at_ns = at_ns.filter_map(analyzer::time::parse_rfc3339).min();
    let around = |by_ns: i64| at_ns.map(|at_ns| format::machine(at_ns.saturating_add(by_ns))).unwrap_or_default();
    let params = [
        ("q", words),
        ("service", &log.service),
        ("severity", severity_min),
        ("from", &around(-LISTED_NS)),
        ("to", &around(LISTED_NS)),
    ];
    text::url_with("/logs", &params)
}

fn line(example: &LogExample, near: &str) -> Line {
    let url = example.trace_id.as_ref().map(|trace| {
        let trace = text::url_part(trace);
        match example.span_id.as_deref().map(text::url_part) {
            Some(span) => format!("/trace/{trace}?span={span}#{span}"),
            None => format!("/trace/{trace}"),
        }
    });
    Line {
        at: format::stated_near(&example.at, near),
        text: example.text.clone(),
        url,
        instance: example.instance.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(template: &str, text: &str) -> LogEvidence {
        let example = LogExample { at: "2026-11-21T12:03:04Z".to_owned(), text: text.to_owned(), ..Default::default() };
        LogEvidence {
            service: "pay".to_owned(),
            severity: "warn".to_owned(),
            template: template.to_owned(),
            examples: vec![example],
            ..Default::default()
        }
    }

    #[test]
    fn records_like_these_are_listed_by_words_that_are_in_them() {
        let url = |template, text| list_url(&log(template, text), "2026-11-21T12:03:00Z");
        let plain = url("waited <*> ms for a connection", "waited 17 ms for a connection");
        assert!(plain.starts_with("/logs?q=ms%20for%20a%20connection&service=pay&severity=13&from="), "{plain}");
        assert!(plain.contains("&from=2026-11-21T11%3A53%3A00Z&to=2026-11-21T12%3A13%3A00Z"), "{plain}");
        let structured = url("text pool exhausted n <*>", r#"{"text":"pool exhausted","n":5}"#);
        assert!(structured.contains("?q=exhausted&"), "{structured}");
        assert!(url("<*>", "17").starts_with("/logs?service=pay"));
    }

    #[test]
    fn what_varies_is_told_from_what_does_not() {
        let shown = |template| -> Vec<String> {
            let mark = |part: &Part| if part.is_variable { "*".to_owned() } else { part.text.clone() };
            parts(template).iter().map(mark).collect()
        };
        assert_eq!(shown("order <*> took <*>"), ["order ", "*", " took ", "*"]);
        assert_eq!(shown("as it is"), ["as it is"]);
    }
}
