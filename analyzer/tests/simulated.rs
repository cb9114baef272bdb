//! Holds the analysis to the score of a few seeds, on systems that were written down and on drawn ones: faults of time that
//! nobody may miss, changes of which nothing may be told, and transactions that come out whole. `just score` says more.

#[path = "../examples/score/drive.rs"]
mod drive;

use collector_simulator::fault::{Period, Strength, place};
use collector_simulator::score::stitching::Score;
use collector_simulator::{System, harmless, systems};

/// Seconds for which a system is watched before something happens: enough to learn what is usual.
const BEFORE_S: f64 = 700.0;

/// A severe fault of a kind, which comes at once and stays for four minutes.
fn assert_found(system: &System, kind: &str, seed: u64) {
    let period = Period { from_s: BEFORE_S, to_s: BEFORE_S + 240.0, ramp_s: 0.0 };
    let fault = place(system, kind, Strength::Severe, period, seed).expect("the system has a place for the kind");
    let (verdict, found) = drive::verdict(system, &fault, seed);
    let what = format!("{} {kind} seed {seed}, at {:?}: {found:?}", system.name, fault.services);
    assert!(verdict.is_found(), "missed: {what}");
    assert!(verdict.is_service_right, "blames another: {what}");
    assert!(verdict.delay_s <= 120.0, "told after {} s: {what}", verdict.delay_s);
    assert_eq!(verdict.false_incidents, 0, "{what}");
}

#[test]
fn a_dependency_that_becomes_slow_is_found_and_named() {
    assert_found(&systems::saga(), "latency_shift", 1);
}

#[test]
fn what_changes_and_is_no_fault_is_not_told() {
    let (system, kind, seed) = (systems::paperwork(), "every instance is restarted", 3);
    let change = harmless::harmless(&system, kind, (BEFORE_S, BEFORE_S + 240.0), seed).expect("the kind is known");
    let found = drive::incidents(&change.system, seed, change.changes, BEFORE_S + 400.0, None).found;
    assert!(found.is_empty(), "{} {kind} seed {seed}: {found:?}", system.name);
}

#[test]
fn transactions_come_out_whole_and_critical_paths_with_their_owners() {
    let mut all = Score::default();
    for system in [systems::saga(), systems::pipeline(), systems::paperwork(), systems::drawn(6)] {
        let (score, _) = drive::stitching(&system, 1, 45);
        println!("{}: {score:?}", system.name);
        assert!(score.precision() >= 0.999, "{}: {score:?}", system.name);
        all.add(score);
    }
    assert!(all.recall() >= 0.99, "{all:?}");
    assert!(all.owner_share() >= 0.95, "{all:?}");
}
