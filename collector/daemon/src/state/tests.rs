//! The state through its handle: changes of incidents in, what is queued and kept out.

use analyzer::incident::{Incident, IncidentEvent, IncidentStatus};
use insta::assert_snapshot;
use serde_json::json;

use super::{
    AttemptRecord, DeliveryFilter, DeliveryState, Happening, NextStep, Recorded, State, StateError, TestEvent,
};
use crate::notify::Target;

/// Returns an incident of which only id, number and status matter.
pub(crate) fn incident(id: &str, number: u64, status: IncidentStatus) -> Incident {
    let text = json!({
        "id": id, "number": number, "kind": "latency_shift", "status": status, "severity": "warning",
        "title": "shop: POST /checkout is slow", "summary": "payment waits", "started_at": "2026-11-20T12:03:00Z",
        "started_at_uncertainty_s": 20.0, "detected_at": "2026-11-20T12:07:10Z", "resolved_at": null,
        "reopened": false, "transaction": {"service": "shop", "operation": "POST /checkout"}, "root_cause": [],
        "affected": [], "changes": [], "suggestions": [], "exemplars": [], "labels": {}, "url": "",
        "impact": {"transactions": 312, "share": 0.48, "per_minute": 71.0, "extra_seconds": 250.0, "who": []},
        "spread": {"trend": "steady"},
        "evidence": {
            "test": "", "statistic": 0.0, "threshold": 0.0, "samples": 0, "reference_samples": 0, "reference": "",
            "before": {"count": 0, "p50_ms": 0.0, "p95_ms": 0.0, "p99_ms": 0.0, "bins": []},
            "after": {"count": 0, "p50_ms": 0.0, "p95_ms": 0.0, "p99_ms": 0.0, "bins": []}, "unexplained_ms": 0.0
        }
    });
    serde_json::from_value(text).unwrap()
}

/// Returns a change of an incident at a second of event time.
pub(crate) fn happening(incident: Incident, event: IncidentEvent, second: i64) -> Happening {
    Happening { incident, event, event_time_ns: second * 1_000_000_000 }
}

fn target(name: &str, events: &[&str]) -> Target {
    let events = events.iter().map(|event| (*event).to_owned()).collect();
    Target::new(name, "https://hooks.example/", None, events).unwrap()
}

/// Returns the outbox, oldest first.
async fn outbox(state: &State) -> String {
    let rows = state.deliveries(DeliveryFilter { limit: 100, ..DeliveryFilter::default() }).await.unwrap();
    let lines = rows.iter().rev().map(|row| {
        let error = row.error.as_deref().unwrap_or("-");
        format!("{} → {} {:?} attempts={} {error}", row.event_type, row.target, row.state, row.attempts)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_change_is_saved_and_queued_for_whoever_wants_it() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    state.sync_targets(vec![target("all", &[]), target("ends", &["incident.resolved"])]).await.unwrap();
    let opened = happening(incident("a", 1, IncidentStatus::Open), IncidentEvent::Opened, 10);
    assert_eq!(state.record(&opened, "{}".to_owned(), 0).await.unwrap(), Recorded::Told { targets: 1 });
    let resolved = happening(incident("a", 1, IncidentStatus::Resolved), IncidentEvent::Resolved, 20);
    assert_eq!(state.record(&resolved, "{}".to_owned(), 0).await.unwrap(), Recorded::Told { targets: 2 });
    assert_snapshot!(outbox(&state).await, @r"
    incident.opened → all Pending attempts=0 -
    incident.resolved → all Pending attempts=0 -
    incident.resolved → ends Pending attempts=0 -
    ");
    assert_eq!(state.load_incidents(10).await.unwrap(), [resolved.incident]);
}

#[tokio::test]
async fn a_replay_after_a_restart_changes_nothing_and_tells_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let open = incident("a", 1, IncidentStatus::Open);
    let worse = Incident { title: "slower".to_owned(), ..open.clone() };
    let resolved = incident("a", 1, IncidentStatus::Resolved);
    let again = Incident { reopened: true, ..open.clone() };
    let life = [
        happening(open, IncidentEvent::Opened, 10),
        happening(worse, IncidentEvent::Updated, 20),
        happening(resolved.clone(), IncidentEvent::Resolved, 30),
        happening(again, IncidentEvent::Opened, 40),
        happening(resolved, IncidentEvent::Resolved, 50),
    ];
    for expected in [Recorded::Told { targets: 1 }, Recorded::Known] {
        let state = State::open(folder.path()).unwrap();
        state.sync_targets(vec![target("all", &[])]).await.unwrap();
        for happening in &life {
            assert_eq!(state.record(happening, "{}".to_owned(), 0).await.unwrap(), expected, "{happening:?}");
        }
        assert_eq!(state.pending_count().await.unwrap(), 5);
    }
}

#[tokio::test]
async fn a_clock_that_steps_back_hides_no_change() {
    let open = incident("a", 1, IncidentStatus::Open);
    let worse = Incident { title: "slower".to_owned(), ..open.clone() };
    let worst = Incident { title: "slowest".to_owned(), ..open.clone() };
    let resolved = incident("a", 1, IncidentStatus::Resolved);
    let life = [
        happening(open, IncidentEvent::Opened, 100),
        happening(worse, IncidentEvent::Updated, 90),
        happening(worst, IncidentEvent::Updated, 80),
        happening(resolved.clone(), IncidentEvent::Resolved, 70),
    ];
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    state.sync_targets(vec![target("all", &[])]).await.unwrap();
    for (index, happening) in life.iter().enumerate() {
        let recorded = state.record(happening, "{}".to_owned(), 0).await.unwrap();
        assert_eq!(recorded, Recorded::Told { targets: 1 }, "{happening:?}");
        for known in &life[..=index] {
            assert_eq!(state.record(known, "{}".to_owned(), 0).await.unwrap(), Recorded::Known, "{known:?}");
        }
    }
    assert_eq!(state.pending_count().await.unwrap(), 4);
    assert_eq!(state.load_incidents(10).await.unwrap(), [resolved]);
}

#[tokio::test]
async fn what_is_no_news_is_saved_without_telling() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    state.sync_targets(vec![target("all", &[])]).await.unwrap();
    let open = incident("a", 1, IncidentStatus::Open);
    let never_opened = incident("b", 2, IncidentStatus::Resolved);
    let mut told = Vec::new();
    for (happening, second) in [
        (happening(open.clone(), IncidentEvent::Opened, 10), 10),
        (happening(open.clone(), IncidentEvent::Opened, 20), 20),
        (happening(open, IncidentEvent::Updated, 30), 30),
        (happening(never_opened, IncidentEvent::Resolved, 40), 40),
    ] {
        let recorded = state.record(&happening, "{}".to_owned(), 0).await.unwrap();
        told.push(format!("{second} s {} {recorded:?}", happening.event.type_name()));
    }
    assert_snapshot!(told.join("\n"), @r"
    10 s incident.opened Told { targets: 1 }
    20 s incident.opened Saved
    30 s incident.updated Saved
    40 s incident.resolved Saved
    ");
}

#[tokio::test]
async fn numbers_are_never_given_twice() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    assert_eq!(state.next_number().await.unwrap(), 1);
    assert_eq!(state.next_number().await.unwrap(), 2);
    let far = happening(incident("a", 7, IncidentStatus::Open), IncidentEvent::Opened, 10);
    state.record(&far, "{}".to_owned(), 0).await.unwrap();
    drop(state);
    let state = State::open(folder.path()).unwrap();
    assert_eq!(state.next_number().await.unwrap(), 8);
}

#[tokio::test]
async fn of_each_incident_only_the_first_delivery_is_next() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    state.sync_targets(vec![target("all", &[])]).await.unwrap();
    for (id, number) in [("a", 1), ("b", 2)] {
        let opened = happening(incident(id, number, IncidentStatus::Open), IncidentEvent::Opened, 10);
        state.record(&opened, format!("{id} opened"), 0).await.unwrap();
        let resolved = happening(incident(id, number, IncidentStatus::Resolved), IncidentEvent::Resolved, 20);
        state.record(&resolved, format!("{id} resolved"), 0).await.unwrap();
    }
    let mut sent = Vec::new();
    while let Some(next) = state.next_delivery("all".to_owned()).await.unwrap() {
        // The first of `a` fails once; `b` is not held up by it, and `a resolved` is.
        let fails = next.body == "a opened" && next.attempts == 0;
        let next_step = if fails { NextStep::RetryAt { at_ms: 1 } } else { NextStep::Delivered };
        sent.push(format!("{}{}", next.body, if fails { " (fails)" } else { "" }));
        state.record_attempt(next.seq, attempt(next_step)).await.unwrap();
    }
    assert_snapshot!(sent.join(", "), @"a opened (fails), b opened, b resolved, a opened, a resolved");
}

#[tokio::test]
async fn what_waits_for_one_target_is_bounded_and_the_oldest_gives_way() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    state.sync_targets(vec![target("all", &[])]).await.unwrap();
    state.fill_for_test("all", super::outbox::PENDING_PER_TARGET_MAX).await;
    let opened = happening(incident("a", 1, IncidentStatus::Open), IncidentEvent::Opened, 10);
    state.record(&opened, "{}".to_owned(), 0).await.unwrap();
    assert_eq!(state.pending_count().await.unwrap(), 10_000);
    let newest = state.deliveries(DeliveryFilter { limit: 1, ..DeliveryFilter::default() }).await.unwrap();
    assert_eq!((newest[0].incident, newest[0].state), (Some(1), DeliveryState::Pending));
}

#[tokio::test]
async fn old_finished_deliveries_are_forgotten() {
    const MONTH_MS: i64 = 31 * 24 * 3600 * 1000;
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    state.sync_targets(vec![target("all", &[])]).await.unwrap();
    let test = TestEvent { target: "all".to_owned(), key: "1".to_owned(), may_retry: false, body: "{}".to_owned() };
    state.enqueue_test(test, 0).await.unwrap();
    let next = state.next_delivery("all".to_owned()).await.unwrap().unwrap();
    state.record_attempt(next.seq, attempt(NextStep::Delivered)).await.unwrap();
    let opened = happening(incident("a", 1, IncidentStatus::Open), IncidentEvent::Opened, 10);
    state.record(&opened, "{}".to_owned(), MONTH_MS).await.unwrap();
    assert_snapshot!(outbox(&state).await, @"incident.opened → all Pending attempts=0 -");
}

#[tokio::test]
async fn targets_that_left_the_configuration_go_and_take_their_deliveries_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    state.sync_targets(vec![target("goes", &[]), target("stays", &[])]).await.unwrap();
    assert!(state.add_target(target("added", &[])).await.unwrap());
    assert!(!state.add_target(target("stays", &[])).await.unwrap());
    let opened = happening(incident("a", 1, IncidentStatus::Open), IncidentEvent::Opened, 10);
    state.record(&opened, "{}".to_owned(), 0).await.unwrap();
    state.sync_targets(vec![target("stays", &[])]).await.unwrap();
    let names: Vec<String> = state.targets().await.unwrap().into_iter().map(|stored| stored.target.name).collect();
    assert_eq!(names, ["added", "stays"]);
    assert_snapshot!(outbox(&state).await, @r"
    incident.opened → goes Dead attempts=0 the target was removed
    incident.opened → stays Pending attempts=0 -
    incident.opened → added Pending attempts=0 -
    ");
}

#[tokio::test]
async fn a_restart_does_not_call_a_target_again_that_is_gone_unless_it_changed() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    state.sync_targets(vec![target("a", &[])]).await.unwrap();
    let opened = happening(incident("i", 1, IncidentStatus::Open), IncidentEvent::Opened, 10);
    state.record(&opened, "{}".to_owned(), 0).await.unwrap();
    let next = state.next_delivery("a".to_owned()).await.unwrap().unwrap();
    state.record_attempt(next.seq, attempt(NextStep::DisableTarget)).await.unwrap();
    // The events that it wants are no reason to believe that it is back; its address and secret are.
    for (configured, is_disabled) in [
        (target("a", &[]), true),
        (target("a", &["incident.opened"]), true),
        (Target::new("a", "https://new.example/", None, Vec::new()).unwrap(), false),
    ] {
        state.sync_targets(vec![configured.clone()]).await.unwrap();
        let stored = state.targets().await.unwrap().remove(0);
        assert_eq!((stored.target, stored.disabled.is_some()), (configured, is_disabled));
    }
}

#[test]
fn a_file_from_a_newer_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = State::open(folder.path()).unwrap_err();
    assert!(matches!(refused, StateError::Open { .. }));
    assert!(crate::telemetry::error_chain(&refused).contains("version 99"));
}

#[cfg(unix)]
#[test]
fn the_file_with_the_secrets_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let _state = State::open(folder.path()).unwrap();
    for file in ["state.db", "state.db-wal"] {
        let mode = std::fs::metadata(folder.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

fn attempt(next: NextStep) -> AttemptRecord {
    AttemptRecord { at_ms: 0, duration_ms: 1.0, status: None, error: None, answer: None, next }
}

impl State {
    /// Queues many test deliveries in one transaction.
    async fn fill_for_test(&self, target: &'static str, count: i64) {
        const FILL: &str = "
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
            INSERT INTO deliveries (event_id, target, lane, state, may_retry, attempts, next_attempt_ms)
            SELECT 'e' || i, ?1, 'e' || i, 'pending', 1, 0, 0 FROM n";
        const EVENTS: &str = "
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
            INSERT INTO events (id, occasion, type, body, created_ms) SELECT 'e' || i, 'e' || i, 'test', '{}', 0 FROM n";
        let fill = move |transaction: &rusqlite::Transaction<'_>| {
            transaction.execute(EVENTS, [count])?;
            transaction.execute(FILL, rusqlite::params![target, count])
        };
        self.transact("filling the outbox", fill).await.unwrap();
    }
}
