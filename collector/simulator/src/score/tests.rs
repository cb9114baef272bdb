use super::{Found, judge, table};
use crate::fault::{Period, Strength, place};
use crate::systems;

fn fault() -> crate::fault::Fault {
    let period = Period { from_s: 600.0, to_s: 900.0, ramp_s: 0.0 };
    place(&systems::chain(), "error_burst", Strength::Moderate, period, 1).unwrap()
}

fn incident(fault: &crate::fault::Fault, opened_s: f64) -> Found {
    Found {
        kind: fault.kind.to_owned(),
        opened_s,
        started_s: opened_s - 30.0,
        root_service: fault.services[0].clone(),
        root_operation: fault.operations[0].clone(),
        root_instance: None,
        services: fault.services.clone(),
        transaction: fault.hurt[0].clone(),
    }
}

#[test]
fn an_incident_in_time_and_at_the_place_is_a_hit_and_a_second_one_is_counted() {
    let fault = fault();
    let verdict = judge(&fault, None, &[incident(&fault, 660.0), incident(&fault, 700.0)]);
    assert!(verdict.is_found() && verdict.is_kind_right && verdict.is_operation_right);
    assert_eq!((verdict.incidents, verdict.false_incidents), (2, 0));
    assert_eq!((verdict.delay_s, verdict.onset_error_s), (60.0, 30.0));
}

#[test]
fn an_incident_before_long_after_or_elsewhere_is_false() {
    let fault = fault();
    let elsewhere = Found { services: vec!["nobody".to_owned()], ..incident(&fault, 660.0) };
    let verdict = judge(&fault, None, &[incident(&fault, 300.0), incident(&fault, 1_200.0), elsewhere]);
    assert!(!verdict.is_found());
    assert_eq!(verdict.false_incidents, 3);
}

#[test]
fn another_kind_and_another_service_are_wrong_but_found() {
    let fault = fault();
    let wrong = Found { kind: "straggler".to_owned(), root_service: "nobody".to_owned(), ..incident(&fault, 660.0) };
    let verdict = judge(&fault, None, &[wrong]);
    assert!(verdict.is_found() && !verdict.is_kind_right && !verdict.is_service_right && !verdict.is_operation_right);
}

#[test]
fn rows_count_misses_and_leave_what_is_unknown_out() {
    let fault = fault();
    let verdicts = [judge(&fault, None, &[]), judge(&fault, None, &[incident(&fault, 660.0)])];
    let rows = table(&verdicts);
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].faults, rows[0].recall, rows[0].kind_right), (2, 0.5, 1.0));
    assert!(rows[0].text().contains("error_burst"), "{}", rows[0].text());
    let missed = table(&verdicts[..1]);
    assert!(!missed[0].text().contains("NaN"), "{}", missed[0].text());
}
