//! A template: what like log lines share, how often it was written and the last lines that were. Kept by the miner,
//! judged by `judge`. Must never let go of when it was first seen while it lives: that is what makes it new.

use collector_table::{LogRow, SpanId, TraceId};

use super::counts::Counts;
use super::mask::{VARIABLE, first_bytes};

/// Lines that are kept of one template, each of another block.
const EXAMPLES_MAX: usize = 5;
/// Bytes of a name that are kept.
const NAME_BYTES_MAX: usize = 128;

/// How bad the sender says it is (logs data model, "Severity fields").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum LogSeverity {
    Unknown,
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

impl LogSeverity {
    /// Returns the severity of a record: by number, or else by text.
    pub(super) fn of(row: &LogRow<'_>) -> Self {
        match row.severity_number {
            1..=4 => Self::Trace,
            5..=8 => Self::Debug,
            9..=12 => Self::Info,
            13..=16 => Self::Warn,
            17..=20 => Self::Error,
            21..=24 => Self::Fatal,
            _ => Self::named(row.severity_text.unwrap_or_default()),
        }
    }

    fn named(text: &str) -> Self {
        let is_one_of = |names: &[&str]| names.iter().any(|name| text.eq_ignore_ascii_case(name));
        match () {
            () if is_one_of(&["trace"]) => Self::Trace,
            () if is_one_of(&["debug"]) => Self::Debug,
            () if is_one_of(&["info", "notice", "information"]) => Self::Info,
            () if is_one_of(&["warn", "warning"]) => Self::Warn,
            () if is_one_of(&["error", "err"]) => Self::Error,
            () if is_one_of(&["fatal", "critical", "crit", "panic", "alert", "emerg", "emergency"]) => Self::Fatal,
            () => Self::Unknown,
        }
    }

    /// Returns the word used in JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

/// What tells records apart whatever their line says: the semantic conventions give both names to kinds of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity<'a> {
    pub(super) severity: LogSeverity,
    /// The record's event name ("Events": records of one name are of one kind).
    pub(super) event: &'a str,
    /// `exception.type`: one line, such as "request failed", is written about very different things.
    pub(super) exception: &'a str,
}

impl<'a> Identity<'a> {
    pub(super) fn of(row: &LogRow<'a>) -> Self {
        Self {
            severity: LogSeverity::of(row),
            event: name_of(row.event_name),
            exception: name_of(row.attributes.get("exception.type")),
        }
    }
}

fn name_of(name: Option<&str>) -> &str {
    let name = name.unwrap_or_default();
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// A line that was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Example {
    pub(crate) time_ns: i64,
    pub(crate) trace_id: Option<TraceId>,
    pub(crate) span_id: Option<SpanId>,
    pub(crate) instance: Option<String>,
    pub(crate) text: String,
    block: i64,
}

/// What like lines share.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) severity: LogSeverity,
    pub(crate) event: Box<str>,
    pub(crate) exception: Box<str>,
    tokens: Vec<Box<str>>,
    pub(super) counts: Counts,
    /// Earliest event time at which it was written.
    pub(crate) first_ns: i64,
    /// Whether it, or one that became part of it, was folded before: when it was first seen is not known.
    pub(super) was_folded: bool,
    /// Hash of what it was when it was first seen.
    pub(super) birth: u64,
    /// Where in the tree it is, and what is above that.
    pub(super) leaf: u64,
    pub(super) above: u64,
    /// In order of blocks, the oldest first. Bounded by [`EXAMPLES_MAX`].
    examples: Vec<Example>,
}

impl Template {
    pub(super) fn new<'a>(identity: &Identity<'_>, tokens: impl Iterator<Item = &'a str>) -> Self {
        Self {
            severity: identity.severity,
            event: identity.event.into(),
            exception: identity.exception.into(),
            tokens: tokens.map(Box::from).collect(),
            counts: Counts::default(),
            first_ns: i64::MAX,
            was_folded: false,
            birth: 0,
            leaf: 0,
            above: 0,
            examples: Vec::new(),
        }
    }

    /// Returns the text, with [`VARIABLE`] for each part that varies.
    pub(crate) fn text(&self) -> String {
        self.tokens.join(" ")
    }

    /// Returns the lines that are kept, the oldest first.
    pub(crate) fn examples(&self) -> &[Example] {
        &self.examples
    }

    pub(super) fn is_of(&self, identity: &Identity<'_>) -> bool {
        self.severity == identity.severity && *self.event == *identity.event && *self.exception == *identity.exception
    }

    /// Returns how many tokens are as the template says, if none is different; one that varies fits any.
    pub(super) fn fits<'a>(&self, tokens: impl ExactSizeIterator<Item = &'a str>) -> Option<usize> {
        if tokens.len() != self.tokens.len() {
            return None;
        }
        let mut same = 0;
        for (known, token) in self.tokens.iter().zip(tokens) {
            match **known == *token {
                true => same += 1,
                false if **known == *VARIABLE => {}
                false => return None,
            }
        }
        Some(same)
    }

    /// Returns the places in which a line of as many tokens differs, as bits, if it says at least half of the words that the
    /// template says.
    pub(super) fn differs_at<'a>(&self, tokens: impl Iterator<Item = &'a str>) -> Option<u64> {
        let words = self.tokens.iter().filter(|token| ***token != *VARIABLE).count();
        let mut places = 0u64;
        for (place, (known, token)) in self.tokens.iter().zip(tokens).enumerate() {
            if **known != *token && **known != *VARIABLE {
                places |= 1 << place;
                if 2 * places.count_ones() as usize > words {
                    return None;
                }
            }
        }
        Some(places)
    }

    /// Has the tokens at these places vary.
    pub(super) fn vary(&mut self, places: u64) {
        let varying = self.tokens.iter_mut().enumerate().filter(|(place, _)| places >> place & 1 == 1);
        varying.for_each(|(_, token)| *token = VARIABLE.into());
    }

    /// Takes over what was kept of another of as many tokens. Where both differ, or it varies, this one varies.
    pub(super) fn absorb(&mut self, other: Self) {
        let differing = self.tokens.iter_mut().zip(&other.tokens).filter(|(token, other)| token != other);
        differing.for_each(|(token, _)| *token = VARIABLE.into());
        self.counts.add_all(&other.counts);
        self.first_ns = self.first_ns.min(other.first_ns);
        self.was_folded |= other.was_folded;
        self.examples.extend(other.examples);
        self.examples.sort_by_key(|example| example.block);
        let excess = self.examples.len().saturating_sub(EXAMPLES_MAX);
        self.examples.drain(..excess);
    }

    /// Counts a record in a block, and keeps it as an example if it is the first of the block, or of those the first that
    /// says of which trace it is.
    pub(super) fn add(&mut self, row: &LogRow<'_>, time_ns: i64, block: i64) {
        self.counts.add(block);
        self.first_ns = self.first_ns.min(time_ns);
        let last = self.examples.last_mut().filter(|last| last.block >= block);
        if last.as_ref().is_some_and(|last| last.block > block || last.trace_id.is_some() || row.trace_id.is_none()) {
            return;
        }
        let example = Example {
            time_ns,
            trace_id: row.trace_id,
            span_id: row.span_id,
            instance: row.service_instance.map(|name| name_of(Some(name)).to_owned()),
            text: first_bytes(text_of(row).trim()).to_owned(),
            block,
        };
        match last {
            Some(last) => *last = example,
            None => {
                self.examples.drain(..(self.examples.len() + 1).saturating_sub(EXAMPLES_MAX));
                self.examples.push(example);
            }
        }
    }
}

/// Returns what a record says: its body, or else the message of the exception that it is about.
pub(super) fn text_of<'a>(row: &LogRow<'a>) -> &'a str {
    if row.body.is_empty() { row.attributes.get("exception.message").unwrap_or_default() } else { row.body }
}
