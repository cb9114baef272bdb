//! Detection seen from outside: a small shop runs for a while, something happens, and what is told about it.
//! The shop's numbers are made by arithmetic, so that every run is the same.

mod kinds;
mod logs;
mod who;

use std::fmt::Write as _;

use insta::assert_snapshot;

use super::{DetectorLimits, Sketch};
use crate::analyzer::{Analyzer, AnalyzerLimits};
use crate::fixture;
use crate::incident::{Incident, IncidentEvent, IncidentStatus, RootCause};

const SECOND_NS: i64 = 1_000_000_000;
/// Far from zero, and a whole block.
pub(super) const BEGIN_S: i64 = 1_000_000;

/// Milliseconds of each part of one transaction.
#[derive(Clone, Copy)]
struct Parts {
    web: i64,
    gap: i64,
    cart: i64,
    pay: i64,
    bank: i64,
    queue: i64,
    version: i64,
}

impl Default for Parts {
    fn default() -> Self {
        Self { web: 10, gap: 4, cart: 30, pay: 20, bank: 50, queue: 40, version: 1 }
    }
}

/// A checkout with these parts, each a little different from transaction to transaction.
fn checkout(parts: Parts, number: i64) -> String {
    let vary = |ms: i64, salt: i64| ms + ms * ((number * 7919 + salt * 104_729) % 31) / 100;
    let cart_from = vary(parts.web, 1);
    let cart_to = cart_from + vary(parts.cart, 2);
    let call_from = cart_to + 1;
    let pay_from = call_from + vary(parts.gap, 3);
    let bank_from = pay_from + vary(parts.pay, 4);
    let bank_to = bank_from + vary(parts.bank, 5);
    let (pay_to, call_to) = (bank_to + 2, bank_to + 4);
    let (sent, end) = (call_to + 1, call_to + 3);
    let (mail_from, mail_to) = (end + vary(parts.queue, 6), end + vary(parts.queue, 6) + 25);
    let version = parts.version;
    format!(
        "web POST /checkout 0..{end}
  cart GET /cart {cart_from}..{cart_to}
  web client POST {call_from}..{call_to}
    pay POST /charge {pay_from}..{pay_to} version={version}
      pay client POST {bank_from}..{bank_to} peer=bank:443
  web producer send {sent}..{end}
    mail consumer receive {mail_from}..{mail_to}"
    )
}

/// Runs the shop: every second `rate` transactions with the parts that `parts_at(second)` gives.
pub(super) struct Run {
    pub(super) analyzer: Analyzer,
    pub(super) second: i64,
    number: u64,
    pub(super) told: Vec<(i64, IncidentEvent, Incident)>,
}

impl Run {
    pub(super) fn new() -> Self {
        Self { analyzer: Analyzer::new(AnalyzerLimits::default()), second: 0, number: 0, told: Vec::new() }
    }

    pub(super) fn seconds(&mut self, seconds: i64, rate: u64, draw: impl Fn(i64, i64) -> String) -> &mut Self {
        for _ in 0..seconds {
            for _ in 0..rate {
                self.number += 1;
                let text = draw(self.second, i64::try_from(self.number).unwrap());
                let table = placed(&text, BEGIN_S + self.second, self.number);
                self.take(Some(&table));
            }
            self.second += 1;
            self.take(None);
        }
        self
    }

    pub(super) fn take(&mut self, table: Option<&collector_table::SpanTable>) {
        let now_ns = (BEGIN_S + self.second) * SECOND_NS;
        let outcome = match table {
            Some(table) => self.analyzer.push(table, now_ns + SECOND_NS),
            None => self.analyzer.advance(now_ns),
        };
        let second = self.second;
        self.told.extend(outcome.changes.into_iter().map(|change| (second, change.event, change.incident)));
    }

    pub(super) fn opened(&self) -> Vec<&Incident> {
        self.told.iter().filter(|(_, event, _)| *event == IncidentEvent::Opened).map(|(_, _, one)| one).collect()
    }

    /// Says what was opened and resolved, and at which second.
    pub(super) fn story(&self) -> String {
        let mut story = String::new();
        for (second, event, incident) in &self.told {
            if *event != IncidentEvent::Updated {
                writeln!(story, "{second} {event:?} #{}: {}", incident.number, incident.title).unwrap();
            }
        }
        story
    }
}

/// Traces of one drawing, at most.
const TRACES_MAX: usize = 7;

/// Moves a drawing to a second and gives it ids of its own.
pub(super) fn placed(text: &str, second: i64, number: u64) -> collector_table::SpanTable {
    let mut drawn = fixture::lines(text);
    let mut traces: Vec<collector_table::TraceId> = drawn.iter().map(fixture::Drawn::trace).collect();
    traces.dedup();
    let numbered = |trace| {
        let place = traces.iter().position(|known| *known == trace).unwrap_or(TRACES_MAX);
        u64::try_from(place).unwrap() + number * u64::try_from(TRACES_MAX + 1).unwrap()
    };
    for one in &mut drawn {
        one.relink(|trace| collector_table::TraceId(u128::from(numbered(trace)).to_be_bytes()));
        one.at(second * 1_000, numbered(one.trace()));
    }
    fixture::table(&drawn)
}

fn usual(_second: i64, number: i64) -> String {
    checkout(Parts::default(), number)
}

pub(super) const HISTORY_S: i64 = 12 * 60;

/// Runs the usual history, then the parts for some minutes, then the usual again.
fn run_with(parts: Parts, minutes: i64) -> Run {
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, usual);
    run.seconds(minutes * 60, 2, |_, number| checkout(parts, number));
    run.seconds(6 * 60, 2, usual);
    run
}

#[test]
fn service_that_works_longer_is_blamed_and_resolved_when_it_is_back() {
    let run = run_with(Parts { pay: 200, ..Parts::default() }, 4);
    assert_snapshot!(run.story(), @r"
    766 Opened #1: POST /checkout is slow: pay POST /charge itself takes 232 ms, usually 25 ms
    1126 Resolved #1: POST /checkout is slow: pay POST /charge itself takes 196 ms, usually 25 ms
    ");
    let incident = run.opened()[0];
    assert_eq!(incident.root_cause[0].cause, "self");
    assert_eq!(incident.root_cause[0].operation.as_deref(), Some("POST /charge"));
    let resolved = &run.told.last().unwrap().2;
    assert_eq!((resolved.status, &resolved.id), (IncidentStatus::Resolved, &incident.id));
}

#[test]
fn peer_without_telemetry_is_blamed_by_its_address() {
    let run = run_with(Parts { bank: 400, ..Parts::default() }, 4);
    assert_snapshot!(run.story(), @r"
    756 Opened #1: POST /checkout is slow: pay waits 460 ms for bank:443, usually 57 ms
    1126 Resolved #1: POST /checkout is slow: pay waits 391 ms for bank:443, usually 57 ms
    ");
    assert_eq!(run.opened()[0].root_cause[0].cause, "uninstrumented_peer");
}

#[test]
fn time_between_two_services_is_blamed_on_both_until_another_hop_tells_them_apart() {
    let blamed = |run: &Run| -> Vec<(String, String, f64)> {
        let cause = |cause: &RootCause| (cause.service.clone(), cause.cause.clone(), cause.share.unwrap());
        run.opened()[0].root_cause.iter().map(cause).collect()
    };
    let alone = |gap: i64| {
        move |_: i64, number: i64| {
            let wait = gap + gap * (number % 17) / 50;
            format!("web GET / 0..{0}\n  web client GET 1..{0}\n    pay GET / {1}..{0}", wait + 40, wait + 5)
        }
    };
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, alone(10)).seconds(180, 2, alone(300));
    let [(_, first_cause, first), (_, second_cause, second)] = &blamed(&run)[..] else { panic!("{}", run.story()) };
    assert_eq!((first_cause.as_str(), second_cause.as_str()), ("network_gap", "network_gap"));
    assert!((first - second).abs() < 0.05, "{first} and {second}");

    // The web's messages arrive as they used to, so the slow end of its call is the other one.
    let run = run_with(Parts { gap: 300, ..Parts::default() }, 4);
    let blamed = blamed(&run);
    assert_eq!(blamed[0].0, "pay");
    assert!(blamed[0].2 > 0.8, "{blamed:?}");
}

#[test]
fn messages_that_wait_longer_are_told_as_a_wait() {
    let run = run_with(Parts { queue: 900, ..Parts::default() }, 4);
    assert_eq!(run.opened()[0].root_cause[0].cause, "queue_wait");
}

#[test]
fn version_that_came_with_the_onset_is_told() {
    let run = run_with(Parts { pay: 200, version: 2, ..Parts::default() }, 4);
    let texts: Vec<&str> = run.opened()[0].changes.iter().map(|change| change.text.as_str()).collect();
    assert_eq!(texts, ["pay 1 → 2 first seen"]);
}

#[test]
fn numbers_of_an_incident_agree_with_each_other() {
    let run = run_with(Parts { pay: 200, ..Parts::default() }, 4);
    let incident = run.opened()[0];
    let shares: f64 = incident.root_cause.iter().filter_map(|cause| cause.share).sum();
    assert!((0.9..=1.0 + 1e-9).contains(&shares), "{shares}");
    let first = &incident.root_cause[0];
    assert!((20.0..30.0).contains(&first.usual_ms.unwrap()), "{first:?}");
    assert!((200.0..270.0).contains(&first.now_ms.unwrap()), "{first:?}");
    assert!(incident.evidence.statistic >= incident.evidence.threshold);
    assert!(incident.evidence.before.p50_ms < incident.evidence.after.p95_ms);
    assert!(incident.impact.transactions > 0 && incident.impact.share > 0.0);
    let roles: Vec<&str> = incident.exemplars.iter().map(|exemplar| exemplar.role.as_str()).collect();
    assert!(roles.contains(&"affected") && roles.contains(&"usual"), "{roles:?}");
    let started_ns = crate::time::parse_rfc3339(&incident.started_at).unwrap();
    let off_s = started_ns / SECOND_NS - (BEGIN_S + HISTORY_S);
    assert!(off_s.abs() <= 20, "the onset is {off_s} s off");
}

/// A browse transaction that is much quicker than a checkout.
fn browse(number: i64) -> String {
    format!("web GET /products 0..{}\n  cart search 1..{}", 12 + number % 5, 9 + number % 5)
}

#[test]
fn harmless_changes_open_nothing() {
    let mut mix = Run::new();
    mix.seconds(HISTORY_S, 4, |_, number| if number % 4 == 0 { usual(0, number) } else { browse(number) });
    mix.seconds(300, 4, |_, number| if number % 4 == 0 { browse(number) } else { usual(0, number) });
    assert_eq!(mix.story(), "", "another mix of the same transactions");

    let mut outlier = Run::new();
    outlier.seconds(HISTORY_S, 2, usual);
    let slow_once = |second: i64, number: i64| {
        let pay = if second == HISTORY_S + 5 && number % 2 == 0 { 20_000 } else { 20 };
        checkout(Parts { pay, ..Parts::default() }, number)
    };
    outlier.seconds(300, 2, slow_once);
    assert_eq!(outlier.story(), "", "one outlier");

    let mut fresh = Run::new();
    fresh.seconds(HISTORY_S, 2, usual);
    let with_new = |_, number: i64| {
        if number % 2 == 0 { "web GET /report 0..9000\n  cart export 5..8990".to_owned() } else { usual(0, number) }
    };
    fresh.seconds(300, 2, with_new);
    assert_eq!(fresh.story(), "", "a new operation that is slow by nature");

    let mut surge = Run::new();
    surge.seconds(HISTORY_S, 1, usual);
    surge.seconds(240, 8, usual);
    assert_eq!(surge.story(), "", "more traffic that is as quick");

    let mut small = Run::new();
    small.seconds(HISTORY_S, 2, usual);
    small.seconds(240, 2, |_, number| checkout(Parts { pay: 26, ..Parts::default() }, number));
    assert_eq!(small.story(), "", "a shift too small to matter");
}

#[test]
fn two_causes_that_do_not_touch_are_two_incidents() {
    let mut run = Run::new();
    let both = |pay: i64, disk: i64| {
        move |_: i64, number: i64| {
            if number % 2 == 0 {
                return checkout(Parts { pay, ..Parts::default() }, number);
            }
            let work = disk + disk * (number % 13) / 50;
            format!("batch POST /import 0..{}\n  disk write 5..{}", work + 20, work + 5)
        }
    };
    run.seconds(HISTORY_S, 4, both(20, 40));
    run.seconds(180, 4, both(200, 400));
    let mut blamed: Vec<&str> = run.opened().iter().map(|one| one.root_cause[0].service.as_str()).collect();
    blamed.sort_unstable();
    assert_eq!(blamed, ["disk", "pay"]);
}

#[test]
fn incident_from_before_a_restart_goes_on_and_is_not_opened_again() {
    let slow = |_: i64, number: i64| checkout(Parts { pay: 200, ..Parts::default() }, number);
    let mut before = Run::new();
    before.seconds(HISTORY_S, 2, usual).seconds(120, 2, slow);
    let open = before.opened()[0].clone();
    let judged_ns = (BEGIN_S + before.second) * SECOND_NS;

    let mut after = Run::new();
    after.analyzer.restore(vec![open.clone()], open.number + 1, judged_ns);
    after.seconds(HISTORY_S, 2, usual).seconds(120 + 60, 2, slow).seconds(6 * 60, 2, usual);
    assert_eq!(after.opened().len(), 0, "{}", after.story());
    let (_, event, last) = after.told.last().unwrap();
    assert_eq!((*event, &last.id, last.number), (IncidentEvent::Resolved, &open.id, open.number));
}

#[test]
fn silence_is_no_recovery() {
    let slow = |_: i64, number: i64| checkout(Parts { pay: 200, ..Parts::default() }, number);
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, usual).seconds(120, 2, slow);
    assert_eq!(run.opened().len(), 1);
    run.seconds(20 * 60, 0, usual);
    assert!(run.told.iter().all(|(_, event, _)| *event != IncidentEvent::Resolved), "{}", run.story());
    run.seconds(20 * 60, 0, usual);
    let (_, event, last) = run.told.last().unwrap();
    assert_eq!(*event, IncidentEvent::Resolved);
    assert!(last.summary.starts_with("Closed without being back"), "{}", last.summary);
}

#[test]
fn what_is_no_problem_is_learned_anew_and_more_of_it_is_a_problem_again() {
    let slow = |pay: i64| move |_: i64, number: i64| checkout(Parts { pay, ..Parts::default() }, number);
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, usual).seconds(150, 2, slow(200));
    let number = run.opened()[0].number;
    assert!(run.analyzer.dismiss(number + 1).is_none());
    let change = run.analyzer.dismiss(number).unwrap();
    assert_eq!((change.event, change.incident.status), (IncidentEvent::Resolved, IncidentStatus::Resolved));
    assert!(change.incident.summary.starts_with("Closed by hand as not a problem"), "{}", change.incident.summary);
    assert!(change.incident.dismissed && !run.opened()[0].dismissed);
    assert!(run.analyzer.dismiss(number).is_none(), "it is closed");
    run.seconds(2_400, 2, slow(200));
    assert_eq!(run.opened().len(), 1, "{}", run.story());
    run.seconds(150, 2, slow(900));
    assert_eq!(run.opened().len(), 2, "{}", run.story());
}

#[test]
fn slow_again_after_an_incident_is_an_incident_again() {
    let parts = |pay: i64| move |_: i64, number: i64| checkout(Parts { pay, ..Parts::default() }, number);
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, usual).seconds(240, 2, parts(300)).seconds(HISTORY_S, 2, usual);
    run.seconds(240, 2, parts(80));
    assert_eq!(run.opened().len(), 2, "{}", run.story());
}

#[test]
fn wrong_clocks_change_nothing_for_the_others() {
    let slow = |_: i64, number: i64| checkout(Parts { pay: 200, ..Parts::default() }, number);
    let mut run = Run::new();
    run.seconds(HISTORY_S / 2, 2, usual);
    // A year ahead, a year behind, and at the end of time.
    for (number, second) in [(1, 31_536_000), (2, -31_536_000), (3, i64::MAX / SECOND_NS - BEGIN_S - 10)] {
        let text = "other GET / 0..10";
        run.take(Some(&placed(text, (BEGIN_S + second).max(0), 900_000 + number)));
    }
    run.seconds(HISTORY_S / 2, 2, usual).seconds(120, 2, slow);
    assert_eq!(run.opened().len(), 1, "{}", run.story());
    assert_eq!(run.opened()[0].root_cause[0].service, "pay");
}

#[test]
fn steps_and_types_beyond_their_bounds_are_counted_and_the_rest_goes_on() {
    let detector = DetectorLimits { steps_max: 3, signals_max: 2, types_max: 2, ..DetectorLimits::default() };
    let mut run = Run::new();
    run.analyzer = Analyzer::new(AnalyzerLimits { detector, ..AnalyzerLimits::default() });
    let letters = ["a", "b", "c", "d", "e", "f"];
    run.seconds(400, 1, |second, _| format!("web GET /{} 0..10", letters[usize::try_from(second).unwrap() % 6]));
    let summary = run.analyzer.summary();
    let bounds: Vec<&str> = summary.at_bounds.iter().filter(|(_, count)| *count > 0).map(|(name, _)| *name).collect();
    assert_eq!(bounds, ["steps_not_judged", "signals_not_watched", "transactions_of_folded_types"]);
    assert_eq!(summary.types.len(), 2, "{:?}", summary.types);
    assert!(summary.types.iter().any(|kind| kind.service == "(others)"));
}

#[test]
fn places_of_what_is_long_gone_are_given_anew() {
    let detector = DetectorLimits { steps_max: 2, signals_max: 2, types_max: 2, ..DetectorLimits::default() };
    let mut run = Run::new();
    run.analyzer = Analyzer::new(AnalyzerLimits { detector, ..AnalyzerLimits::default() });
    run.seconds(120, 1, |_, _| "web GET /old 0..10".to_owned());
    run.seconds(60, 1, |_, _| "web GET /new 0..10".to_owned());
    let types = |run: &mut Run| -> Vec<String> {
        run.analyzer.summary().types.into_iter().map(|kind| kind.operation).collect()
    };
    assert_eq!(types(&mut run), ["GET /old", "(others)"]);
    run.seconds(130 * 60, 1, |second, _| {
        // Once a minute is enough to be known.
        let name = if second % 60 == 0 { "new" } else { "newer" };
        format!("web GET /{name} 0..10")
    });
    let left_out = |run: &mut Run, name| {
        run.analyzer.summary().at_bounds.into_iter().find(|(bound, _)| *bound == name).map(|(_, count)| count)
    };
    assert!(!types(&mut run).contains(&"GET /old".to_owned()), "{:?}", types(&mut run));
    let before = left_out(&mut run, "steps_not_judged");
    run.seconds(60, 1, |_, _| "web GET /newer 0..10".to_owned());
    assert_eq!(left_out(&mut run, "steps_not_judged"), before, "the steps of /newer have places");
}

#[test]
fn sketch_answers_within_its_accuracy_and_merges() {
    let mut low = Sketch::default();
    let mut high = Sketch::default();
    for ms in 1..=1_000 {
        if ms <= 500 { low.add(f64::from(ms)) } else { high.add(f64::from(ms)) }
    }
    low.merge(&high);
    assert_eq!(low.count(), 1_000);
    for (q, exact) in [(0.01, 10.0), (0.5, 500.0), (0.99, 990.0)] {
        let found = low.quantile(q).unwrap();
        assert!((found / exact - 1.0).abs() < 0.05, "q{q}: {found} for {exact}");
    }
    assert!((low.mean().unwrap() / 500.5 - 1.0).abs() < 0.03);
    assert_eq!(low.bins(3).iter().map(|(_, count)| count).sum::<u64>(), 1_000);
    assert_eq!(Sketch::default().quantile(0.5), None);
    low.add(f64::NAN);
    low.add(f64::INFINITY);
    low.add(-1.0);
    assert_eq!(low.count(), 1_003, "nothing a clock can do is lost or fatal");
}
