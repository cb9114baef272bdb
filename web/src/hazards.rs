//! `/hazards`: what protects each hop, and what does not? One table, the worst first; one hop with its evidence; and for
//! each transaction type what its hops' availabilities make together. Must never judge: the register has.

use analyzer::hazards::{Chain, ChainHop, Finding, HazardReport, HopHazards};
use askama::Template;
use axum::extract::Query;
use serde::Deserialize;

use crate::error::PageError;
use crate::page::{Frame, PageResult, Shared, render};
use crate::{format, text};

mod words;

/// Hops in the table; further ones are for the filter and SQL.
const HOPS_MAX: usize = 200;
/// Transaction types with a chain.
const CHAINS_MAX: usize = 20;
/// Hops of one chain, those that cost most.
const CHAIN_HOPS_MAX: usize = 8;

/// The page.
#[derive(Template)]
#[template(path = "hazards.html")]
struct HazardsPage {
    frame: Frame,
    heading: String,
    lead: String,
    service: String,
    services: Vec<String>,
    detail: Option<Detail>,
    hops: Vec<HopLine>,
    hops_left_out: Option<String>,
    chains: Vec<ChainView>,
    chains_left_out: Option<String>,
    is_empty: bool,
}

/// A hop in one table row.
struct HopLine {
    url: String,
    is_current: bool,
    caller_service: String,
    caller_operation: String,
    callee_service: String,
    callee_operation: String,
    findings: Vec<&'static str>,
    per_minute: String,
    endangered: String,
    cells: Vec<(&'static str, words::Cell)>,
}

/// One hop with its evidence.
struct Detail {
    caller: String,
    callee: String,
    facts: Vec<String>,
    findings: Vec<Finding>,
    is_too_few: bool,
    rows: Vec<(&'static str, String, String)>,
    periods: Vec<words::PeriodLine>,
    examples: Vec<(String, &'static str, String)>,
}

/// A transaction type's chain.
struct ChainView {
    url: String,
    service: String,
    operation: String,
    sentence: String,
    hops: Vec<ChainLine>,
    left_out: Option<String>,
}

/// A hop in a chain.
struct ChainLine {
    url: String,
    caller: String,
    callee_service: String,
    callee_operation: String,
    calls: String,
    by_itself: String,
    factor: String,
}

/// Parameters of the page.
#[derive(Deserialize)]
pub(crate) struct Params {
    #[serde(default)]
    service: String,
    #[serde(default)]
    hop: String,
    live: Option<String>,
}

/// `GET /hazards`.
pub(crate) async fn hazards(state: Shared, Query(params): Query<Params>) -> PageResult {
    let report = state.summary.borrow().hazards.clone();
    let detail = match params.hop.as_str() {
        "" => None,
        id => Some(detail(find(&report, id)?)),
    };
    let fits = |hop: &&HopHazards| is_of(hop, &params.service);
    let found = report.hops.iter().filter(fits).count();
    let hops: Vec<HopLine> = report.hops.iter().filter(fits).take(HOPS_MAX).map(|hop| line(hop, &params)).collect();
    let chain_fits = |chain: &&Chain| {
        let is_named = |hop: &ChainHop| hop.caller_service == params.service || hop.callee_service == params.service;
        params.service.is_empty() || chain.service == params.service || chain.hops.iter().any(is_named)
    };
    let has_hops = |chain: &&Chain| !chain.hops.is_empty();
    let chains: Vec<&Chain> = report.chains.iter().filter(has_hops).filter(chain_fits).collect();
    let left_out = |count: usize, what: &str| {
        (count > 0).then(|| format!("{} further {what}: filter by service, or ask SQL.", format::len(count)))
    };
    let path = text::url_with("/hazards", &[("service", &params.service), ("hop", &params.hop)]);
    Ok(render(&HazardsPage {
        frame: Frame::new("Hazards", "/hazards").live(&path, params.live.as_deref()),
        heading: heading(found, &params.service),
        lead: lead(&report),
        services: services(&report),
        detail,
        hops_left_out: left_out(found - hops.len(), "hops"),
        hops,
        chains_left_out: left_out(chains.len().saturating_sub(CHAINS_MAX), "transaction types"),
        chains: chains.into_iter().take(CHAINS_MAX).map(|chain| chain_view(chain, &params)).collect(),
        is_empty: report.hops.is_empty(),
        service: params.service,
    }))
}

/// Returns whether a service is at either end of a hop; every one is for no service.
pub(crate) fn is_of(hop: &HopHazards, service: &str) -> bool {
    service.is_empty() || hop.caller_service == service || hop.callee_service == service
}

fn find<'a>(report: &'a HazardReport, id: &str) -> Result<&'a HopHazards, PageError> {
    report.hops.iter().find(|hop| hop.id == id).ok_or_else(|| PageError::NotFound {
        what: "This hop is not in the register".to_owned(),
        hint: "A hop is forgotten when nothing was called there for a day. /hazards lists those that are known."
            .to_owned(),
    })
}

fn heading(found: usize, service: &str) -> String {
    let hops = format::counted(found, "hop", "hops");
    if service.is_empty() { format!("What protects {hops}") } else { format!("What protects {hops} of {service}") }
}

fn lead(report: &HazardReport) -> String {
    let endangered = report.hops.iter().filter(|hop| !hop.findings.is_empty()).count();
    let since = format!("{} to {}", format::clock(report.since_ns), format::clock(report.as_of_ns));
    format!(
        "{} have something dangerous about them. Inferred from how calls went between {since} UTC; a policy that did not \
         act in that time is not seen.",
        format::counted(endangered, "hop", "hops")
    )
}

fn services(report: &HazardReport) -> Vec<String> {
    let both = report.hops.iter().flat_map(|hop| [&hop.caller_service, &hop.callee_service]);
    let names: std::collections::BTreeSet<&String> = both.collect();
    names.into_iter().take(HOPS_MAX).cloned().collect()
}

fn hop_url(id: &str, params: &Params) -> String {
    text::url_with("/hazards", &[("service", &params.service), ("hop", id)])
}

fn line(hop: &HopHazards, params: &Params) -> HopLine {
    let endangered = hop.endangered_per_minute;
    HopLine {
        url: hop_url(&hop.id, params),
        is_current: hop.id == params.hop,
        caller_service: hop.caller_service.clone(),
        caller_operation: hop.caller_operation.clone(),
        callee_service: hop.callee_service.clone(),
        callee_operation: hop.callee_operation.clone(),
        findings: hop.findings.iter().map(|finding| words::finding(finding.kind)).collect(),
        per_minute: format::rate(hop.per_minute),
        endangered: if hop.findings.is_empty() { "–".to_owned() } else { format::rate(endangered) },
        cells: words::cells(hop),
    }
}

fn detail(hop: &HopHazards) -> Detail {
    let example = |example: &analyzer::hazards::Example| {
        let id = example.trace_id.clone();
        (format!("/trace/{id}"), words::role(example.role), id)
    };
    Detail {
        caller: format!("{} {}", hop.caller_service, hop.caller_operation),
        callee: format!("{} {}", hop.callee_service, hop.callee_operation),
        facts: vec![
            format!("call “{}”", hop.call),
            hop.kind.to_owned(),
            if hop.instrumented { "the called one is seen" } else { "the called one sends no telemetry" }.to_owned(),
            format!("{} calls", format::count(hop.calls.into())),
            format!("last at {}", format::moment(hop.last_seen_ns)),
        ],
        findings: hop.findings.clone(),
        is_too_few: hop.is_too_few,
        rows: words::rows(hop),
        periods: hop.breaker.periods.iter().map(words::period).collect(),
        examples: hop.examples.iter().map(example).collect(),
    }
}

fn chain_view(chain: &Chain, params: &Params) -> ChainView {
    let line = |hop: &ChainHop| ChainLine {
        url: hop_url(&hop.id, params),
        caller: hop.caller_service.clone(),
        callee_service: hop.callee_service.clone(),
        callee_operation: hop.callee_operation.clone(),
        calls: format::rate(hop.calls_per_transaction),
        by_itself: words::availability(hop.by_itself),
        factor: words::availability(hop.factor),
    };
    let further = chain.hops.len().saturating_sub(CHAIN_HOPS_MAX);
    ChainView {
        url: text::type_url(&chain.service, &chain.operation),
        service: chain.service.clone(),
        operation: chain.operation.clone(),
        sentence: words::chain(chain),
        hops: chain.hops.iter().take(CHAIN_HOPS_MAX).map(line).collect(),
        left_out: (further > 0).then(|| format!("{} further hops cost less.", format::len(further))),
    }
}
