use analyzer::incident::{Incident, IncidentKind};

use super::*;

const HOUR: i64 = 3_600 * 1_000_000_000;
const NOW: i64 = 1_795_262_980_000_000_000;

fn incident(number: u64, kind: IncidentKind, service: &str, minutes: (i64, Option<i64>)) -> Incident {
    let example = include_str!("../../../docs/incident.example.json");
    let mut incident: Incident = serde_json::from_str(example).unwrap();
    let at = |minute: i64| format::machine(NOW + minute * 60_000_000_000);
    (incident.number, incident.kind) = (number, kind);
    incident.root_cause.truncate(1);
    service.clone_into(&mut incident.root_cause[0].service);
    incident.started_at = at(minutes.0);
    incident.status = if minutes.1.is_some() { IncidentStatus::Resolved } else { IncidentStatus::Open };
    incident.resolved_at = minutes.1.map(at);
    incident
}

/// Returns each pair as the numbers of what would have opened and of what did.
fn paired(would_open: Vec<Incident>, opened: Vec<Incident>) -> Vec<String> {
    let question = BacktestQuestion { false_alarms_per_week: 1.0, from_ns: NOW, until_ns: NOW + HOUR };
    let result = BacktestResult {
        question,
        learned_from_ns: NOW - HOUR,
        first_span_ns: None,
        replayed_until_ns: NOW + HOUR,
        cut_short: None,
        spans: 0,
        logs: 0,
        truncated: 0,
        would_open,
        left_out: 0,
        opened,
    };
    let number = |one: Option<&Incident>| one.map_or("-".to_owned(), |one| one.number.to_string());
    let shown =
        |pair: &Pair<'_>| format!("{} {} {}", number(pair.would_open), number(pair.opened), pair.verdict().as_str());
    pairs(&result).iter().map(shown).collect()
}

#[test]
fn incidents_are_one_when_kind_cause_and_time_are() {
    use IncidentKind::{Cascade, ErrorBurst, LatencyShift};
    let would_open = vec![
        incident(1, LatencyShift, "bank", (10, Some(30))),
        incident(2, LatencyShift, "stock", (20, Some(25))),
        incident(3, LatencyShift, "stock", (40, None)),
        incident(4, ErrorBurst, "mail", (0, Some(5))),
    ];
    let opened = vec![
        incident(7, LatencyShift, "stock", (44, None)),
        incident(8, Cascade, "bank", (8, Some(29))),
        incident(9, LatencyShift, "bank", (12, Some(31))),
        incident(6, ErrorBurst, "mail", (20, Some(21))),
    ];
    assert_eq!(
        paired(would_open, opened),
        [
            "2 - only_with_this_budget",
            "4 - only_with_this_budget",
            "- 6 no_longer",
            "- 8 no_longer",
            "3 7 both_ways",
            "1 9 both_ways",
        ]
    );
}

#[test]
fn an_incident_that_goes_by_another_kind_is_still_the_same() {
    let would_open = vec![incident(1, IncidentKind::Cascade, "bank", (10, None))];
    let opened = vec![incident(9, IncidentKind::LatencyShift, "bank", (12, None))];
    assert_eq!(paired(would_open, opened), ["1 9 both_ways"]);
}

#[test]
fn a_question_is_a_budget_and_a_window_of_the_past() {
    let ask = |budget: &str, from: &str, until: &str| {
        let [budget, from, until] = [budget, from, until].map(str::to_owned);
        Params { budget, from, until, t: String::new() }.question(1.0, NOW)
    };
    let (from, until) = ("2026-11-21T10:00:00Z", "2026-11-21T12:00:00Z");
    let asked = ask("0.5", from, until).unwrap();
    assert_eq!((asked.false_alarms_per_week, asked.until_ns - asked.from_ns), (0.5, 2 * HOUR));
    assert_eq!(ask("", from, until).unwrap().false_alarms_per_week, 1.0, "the one in force");
    for (budget, from, until, why) in [
        ("0", from, until, "above 0"),
        ("-1", from, until, "above 0"),
        ("NaN", from, until, "above 0"),
        ("inf", from, until, "at most 1000"),
        ("many", from, until, "“many”"),
        ("1", "yesterday", until, "from is “yesterday”"),
        ("1", from, "", "until is “”"),
        ("1", until, from, "before"),
        ("1", from, "2026-11-21T13:00:00Z", "future"),
        ("1", "2026-11-01T00:00:00Z", until, "at most"),
    ] {
        let complaint = ask(budget, from, until).unwrap_err();
        assert!(complaint.contains(why), "{budget} {from} {until}: {complaint}");
    }
}
