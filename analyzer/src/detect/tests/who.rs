//! Whom an incident hurts, seen from outside: values of spans and resources, together, and what of it is new.

use super::{HISTORY_S, Run};
use crate::incident::Incident;

/// One of some, each in its turn.
fn one_of<'a>(names: &[&'a str], turn: i64) -> &'a str {
    names[usize::try_from(turn).unwrap() % names.len()]
}

/// A payment for a tenant. The page is always served in one region, the payment in one of some.
fn payment(number: i64, tenant: &str, region: &str, ms: i64) -> String {
    let end = 10 + ms + ms * ((number * 7_919) % 31) / 100;
    format!(
        "web GET / 0..{} app.tenant={tenant} in:cloud.region=eu
  web client GET 5..{}
    pay GET /pay 7..{end} in:cloud.region={region}
      pay decide 8..9 flag.variant={}",
        end + 6,
        end + 2,
        one_of(&["on", "off"], number / 5),
    )
}

fn tenant(number: i64) -> &'static str {
    one_of(&["a", "b", "c", "d"], number)
}

fn region(number: i64) -> &'static str {
    one_of(&["eu", "us", "asia"], number / 4)
}

/// Returns the last words on the only incident.
fn last(run: &Run) -> &Incident {
    assert_eq!(run.opened().len(), 1, "{}", run.story());
    &run.told.last().unwrap().2
}

#[test]
fn fault_of_one_tenant_in_one_region_is_told_as_that() {
    let mut run = Run::new();
    run.seconds(HISTORY_S, 6, |_, number| payment(number, tenant(number), region(number), 40));
    run.seconds(5 * 60, 6, |_, number| {
        let is_hurt = tenant(number) == "b" && region(number) == "eu";
        payment(number, tenant(number), region(number), if is_hurt { 400 } else { 40 })
    });
    let incident = last(&run);
    let together = "app.tenant = b and cloud.region of pay = eu: 100% of those hurt, 0% of the others";
    assert_eq!(incident.impact.who, [together]);
    let evidence = &incident.root_cause[0].evidence;
    assert!(evidence.contains(together), "{evidence}");
    assert!(incident.summary.contains(together), "{}", incident.summary);
    assert!(incident.changes.is_empty(), "{:?}", incident.changes);
}

#[test]
fn flag_of_an_inner_span_that_alone_is_hurt_is_told() {
    let mut run = Run::new();
    run.seconds(HISTORY_S, 4, |_, number| payment(number, tenant(number), region(number), 40));
    run.seconds(4 * 60, 4, |_, number| {
        let is_on = (number / 5) % 2 == 0;
        payment(number, tenant(number), region(number), if is_on { 400 } else { 40 })
    });
    assert_eq!(last(&run).impact.who, ["flag.variant = on: 100% of those hurt, 0% of the others"]);
}

#[test]
fn tenant_that_came_with_the_onset_is_told_as_a_change() {
    let mut run = Run::new();
    run.seconds(HISTORY_S, 4, |_, number| payment(number, tenant(number), "eu", 40));
    run.seconds(4 * 60, 4, |_, number| {
        let is_new = number % 3 == 0;
        payment(number, if is_new { "e" } else { tenant(number) }, "eu", if is_new { 400 } else { 40 })
    });
    let incident = last(&run);
    assert_eq!(incident.impact.who, ["app.tenant = e: 100% of those hurt, 0% of the others"]);
    let [change] = &incident.changes[..] else { panic!("{:?}", incident.changes) };
    assert_eq!((change.kind.as_str(), change.text.as_str()), ("value", "app.tenant = e first seen"));
    let seconds = |time: &str| crate::time::parse_rfc3339(time).unwrap() / super::SECOND_NS;
    assert!((seconds(&change.at) - super::BEGIN_S - HISTORY_S).abs() <= 10, "{}", change.at);
}
