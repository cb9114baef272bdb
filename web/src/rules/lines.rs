//! One incident of the window in a few lines: how it would have fared, what it is, and when it is noticed either way.

use analyzer::Incident;
use analyzer::time::parse_rfc3339;

use crate::backtest::{Pair, Verdict};
use crate::format;
use crate::incidents::{Badge, cause_phrase, kind_words};

/// Further apart, it was not noticed when it went on: it came back, or what it is about arrived long after its time.
const APART_MAX_NS: u64 = 3_600 * 1_000_000_000;

/// What the list shows of it.
pub(super) struct Line {
    pub(super) badge: Badge,
    pub(super) title: String,
    /// Its page, or else an example.
    pub(super) url: Option<String>,
    pub(super) kind: String,
    pub(super) facts: Vec<(&'static str, String)>,
}

impl Line {
    /// Makes the lines of an incident.
    pub(super) fn new(pair: &Pair<'_>) -> Option<Self> {
        let incident = pair.shown()?;
        let title = match pair.opened {
            Some(opened) => format!("#{} {}", opened.number, opened.title),
            None => incident.title.clone(),
        };
        let mut facts = vec![
            ("since", format::stated_moment(&incident.started_at)),
            ("noticed", noticed(pair)),
            ("until", incident.resolved_at.as_deref().map_or("still open".to_owned(), format::stated_moment)),
        ];
        facts.extend(incident.root_cause.first().map(|cause| ("cause", cause_phrase(cause))));
        facts.extend(pair.would_open.map(|would| ("significance", significance(would))));
        let example = incident.exemplars.first().map(|one| format!("/trace/{}", one.trace_id));
        Some(Self {
            badge: badge(pair.verdict()),
            title,
            url: pair.opened.map(|opened| format!("/incidents/{}", opened.number)).or(example),
            kind: kind_words(incident),
            facts,
        })
    }
}

fn badge(verdict: Verdict) -> Badge {
    match verdict {
        Verdict::BothWays => Badge { shape: "●", word: "opened both ways", class: "good" },
        Verdict::OnlyWithThisBudget => Badge { shape: "+", word: "only with this budget", class: "note" },
        Verdict::NoLonger => Badge { shape: "−", word: "no longer", class: "warn" },
    }
}

/// Returns when it was noticed, and how much earlier or later it would have been.
fn noticed(pair: &Pair<'_>) -> String {
    let at = |incident: &Incident| parse_rfc3339(&incident.detected_at);
    let shown = pair.shown().map(|incident| format::stated_moment(&incident.detected_at)).unwrap_or_default();
    let (Some(would), Some(did)) = (pair.would_open.and_then(at), pair.opened.and_then(at)) else { return shown };
    if would.abs_diff(did) > APART_MAX_NS {
        return shown;
    }
    let apart = format::nanos(would.abs_diff(did).try_into().unwrap_or(i64::MAX));
    match would.cmp(&did) {
        std::cmp::Ordering::Less => format!("{shown}, would have been {apart} earlier"),
        std::cmp::Ordering::Equal => shown,
        std::cmp::Ordering::Greater => format!("{shown}, would have been {apart} later"),
    }
}

fn significance(would: &Incident) -> String {
    format!("{:.1}, had to pass {:.1}", would.evidence.statistic, would.evidence.threshold)
}
