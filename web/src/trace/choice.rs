//! Which spans one page of a timeline shows: all of them or those that fit, a thousand at a time.

use std::collections::HashSet;

use collector_table::{SpanId, SpanRow, TraceId};

use super::{Loaded, Params};
use crate::{format, text};

/// Rows on one page: browsers lay out a thousand at once, and find-in-page finds them all.
pub(super) const ROWS_MAX: usize = 1_000;

/// The rows of this page.
pub(super) struct Choice {
    params: Params,
    /// Spans that fit, by index, in order of the tree.
    fitting: Vec<usize>,
    page: usize,
    spans_count: usize,
}

impl Choice {
    /// Chooses rows. Without a page number, the page that holds the chosen span.
    pub(super) fn make(loaded: &Loaded, params: &Params) -> Self {
        let transaction = &loaded.transaction;
        let found = find(loaded, &params.find);
        let critical: HashSet<usize> = match params.only.as_str() {
            "critical" => transaction.critical_path.iter().map(|segment| segment.span).collect(),
            _ => HashSet::new(),
        };
        let fits = |index: usize| {
            let span = &transaction.spans[index];
            let is_wanted = match params.only.as_str() {
                "critical" => critical.contains(&index),
                "error" => span.has_error(),
                _ => true,
            };
            is_wanted && found.as_ref().is_none_or(|found| found.contains(&span.span_id))
        };
        let fitting: Vec<usize> = (0..transaction.spans.len()).filter(|index| fits(*index)).collect();
        let selected: Option<SpanId> = params.span.parse().ok();
        let position = || fitting.iter().position(|index| Some(transaction.spans[*index].span_id) == selected);
        let last_page = fitting.len().saturating_sub(1) / ROWS_MAX;
        let page = params.p.unwrap_or_else(|| position().unwrap_or(0) / ROWS_MAX).min(last_page);
        Self { params: params.clone(), fitting, page, spans_count: transaction.spans.len() }
    }

    /// Returns the spans of this page.
    pub(super) fn indices(&self) -> &[usize] {
        let from = self.page * ROWS_MAX;
        &self.fitting[from..self.fitting.len().min(from + ROWS_MAX)]
    }

    /// Returns whether rows were left out between those shown, so that ancestors say where they belong.
    pub(super) fn is_whole(&self) -> bool {
        self.fitting.len() == self.spans_count
    }

    /// Returns which rows are shown, in words.
    pub(super) fn range(&self) -> String {
        let (from, shown) = (self.page * ROWS_MAX, self.indices().len());
        match shown {
            0 => "no row".to_owned(),
            _ => format!(
                "rows {} to {} of {}",
                format::len(from + 1),
                format::len(from + shown),
                format::len(self.fitting.len())
            ),
        }
    }

    /// Returns how many spans fit, when something restricts them.
    pub(super) fn matches(&self) -> Option<String> {
        let is_restricted = !self.params.find.is_empty() || !self.params.only.is_empty();
        is_restricted.then(|| {
            format!("{} of {}", format::len(self.fitting.len()), format::counted(self.spans_count, "span", "spans"))
        })
    }

    /// Returns the address of the same view after a change.
    pub(super) fn url(&self, id: TraceId, change: impl FnOnce(&mut Params)) -> String {
        let mut params = self.params.clone();
        change(&mut params);
        url(id, &params)
    }

    pub(super) fn previous_url(&self, id: TraceId) -> Option<String> {
        (self.page > 0).then(|| self.page_url(id, self.page - 1))
    }

    pub(super) fn next_url(&self, id: TraceId) -> Option<String> {
        let is_last = (self.page + 1) * ROWS_MAX >= self.fitting.len();
        (!is_last).then(|| self.page_url(id, self.page + 1))
    }

    fn page_url(&self, id: TraceId, page: usize) -> String {
        self.url(id, |params| {
            params.p = Some(page);
            params.span.clear();
        })
    }
}

/// Returns the address of a view.
pub(super) fn url(id: TraceId, params: &Params) -> String {
    let page = params.p.map(|page| page.to_string()).unwrap_or_default();
    let params = [
        ("find", params.find.as_str()),
        ("only", &params.only),
        ("logs", &params.logs),
        ("skew", &params.skew),
        ("p", &page),
        ("span", &params.span),
    ];
    text::url_with(&format!("/trace/{id}"), &params)
}

/// Returns spans that contain the text anywhere; nothing when no text is wanted.
fn find(loaded: &Loaded, wanted: &str) -> Option<HashSet<SpanId>> {
    let wanted = wanted.trim().to_lowercase();
    if wanted.is_empty() {
        return None;
    }
    let mut found = HashSet::new();
    for table in &loaded.spans {
        found.extend(table.rows().filter(|row| contains(row, &wanted)).map(|row| row.span_id));
    }
    // Operations are made from spans, and may be words that no span has.
    let operations = loaded.transaction.spans.iter().filter(|span| span.operation().to_lowercase().contains(&wanted));
    found.extend(operations.map(|span| span.span_id));
    Some(found)
}

fn contains(row: &SpanRow<'_>, wanted: &str) -> bool {
    let has = |text: &str| text.to_lowercase().contains(wanted);
    has(row.service_name)
        || has(row.name)
        || row.status_message.is_some_and(has)
        || row.attributes.iter().any(|(key, value, _)| has(key) || has(value))
        || row.service_instance.is_some_and(has)
        || row.span_id.to_string() == wanted
}
