//! `/settings`: the effective configuration and where each value came from, and by what traces are joined at the moment.
//! Secrets arrive masked.

use analyzer::{JoinSummary, Proposal};
use askama::Template;

use crate::format;
use crate::page::{Frame, PageResult, Shared, render};
use crate::state::Setting;
use crate::trace::joins::refused_words;

/// Keys and refusals listed; the best and the most frequent come first.
const ROWS_MAX: usize = 50;

/// The page.
#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    frame: Frame,
    settings: Vec<Setting>,
    joins: Vec<(&'static str, String)>,
    keys: Vec<KeyLine>,
    refused: Vec<RefusedLine>,
}

/// A key that joins traces, or may.
struct KeyLine {
    key: String,
    state: &'static str,
    class: &'static str,
    numbers: Vec<String>,
}

/// Joins that were refused for one reason.
struct RefusedLine {
    words: String,
    url: String,
    trace: String,
}

/// `GET /settings`.
pub(crate) async fn settings(state: Shared) -> PageResult {
    let summary = state.summary.borrow().clone();
    Ok(render(&SettingsPage {
        frame: Frame::new("Settings", "/settings"),
        settings: state.settings.clone(),
        joins: numbers(&summary.joins),
        keys: summary.joins.proposals.iter().take(ROWS_MAX).map(key_line).collect(),
        refused: refused(&summary.joins),
    }))
}

fn numbers(joins: &JoinSummary) -> Vec<(&'static str, String)> {
    let stats = &joins.stats;
    vec![
        ("transactions of several traces", format::count(stats.joined)),
        ("taken back as part of another", format::count(stats.superseded)),
        ("joins refused", format::count(stats.refused)),
        ("traces held for joins", format::len(stats.traces)),
        ("values held for joins", format::len(stats.values)),
        ("let go of for want of room", format::count(stats.let_go_early)),
    ]
}

fn key_line(proposal: &Proposal) -> KeyLine {
    let (state, class) = match (proposal.is_named, proposal.is_used) {
        (true, true) => ("● named, joins", "good"),
        (true, false) => ("▲ named, joins no more: its values recur", "warn"),
        (false, true) => ("● discovered, joins", "good"),
        (false, false) => ("○ watched, joins nothing", "quiet"),
    };
    let counts = [
        proposal.values,
        proposal.joining_values,
        proposal.crowded_values,
        proposal.repeating_values,
        proposal.recurring_values,
        proposal.confirmed,
        proposal.contradicted,
    ];
    let mut numbers: Vec<String> = counts.map(format::count).into();
    numbers.insert(2, format::rate(proposal.traces_per_shared_value));
    numbers.insert(3, format::len(proposal.services));
    KeyLine { key: proposal.key.clone(), state, class, numbers }
}

fn refused(joins: &JoinSummary) -> Vec<RefusedLine> {
    let line = |refused: &analyzer::Refused| RefusedLine {
        words: refused_words(refused),
        url: format!("/trace/{}", refused.trace_id),
        trace: refused.trace_id.to_string(),
    };
    joins.refused.iter().take(ROWS_MAX).map(line).collect()
}
