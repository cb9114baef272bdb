use super::*;
use crate::state::tests::incident;

/// Returns how many minutes are read back, given when the incidents began and whether they are open.
fn minutes(incidents: &[(i64, IncidentStatus)]) -> i64 {
    let last_ns = parse_rfc3339("2026-11-20T12:00:00Z").unwrap();
    let incident = |(minutes_ago, status): &(i64, IncidentStatus)| {
        let started_at = analyzer::time::rfc3339(last_ns - minutes_ago * MINUTE_NS);
        Incident { started_at, ..incident("one", 1, *status) }
    };
    let incidents: Vec<Incident> = incidents.iter().map(incident).collect();
    (last_ns - from_ns(last_ns, &incidents)) / MINUTE_NS
}

#[test]
fn history_goes_back_to_what_was_usual_before_the_oldest_open_incident() {
    use IncidentStatus::{Open, Resolved};
    assert_eq!(minutes(&[]), 45);
    assert_eq!(minutes(&[(3, Open)]), 45, "a young incident needs no more");
    assert_eq!(minutes(&[(60, Open), (90, Open), (10, Open)]), 130);
    assert_eq!(minutes(&[(90, Resolved)]), 45, "nothing goes on");
    assert_eq!(minutes(&[(10_000, Open)]), 360, "there is a limit");
}
