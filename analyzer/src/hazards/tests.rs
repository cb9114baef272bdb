//! The register seen from outside: drawn traces in, what it tells of a hop out.

mod simulation;

use super::*;
use crate::fixture::{self, lines};
use crate::stitch::assemble;

/// A register that is fed with drawn traces, each a second after the one before.
#[derive(Default)]
struct Shop {
    register: Register,
    seconds: i64,
}

impl Shop {
    /// Adds traces, drawn by number.
    fn draw(&mut self, count: i64, trace: impl Fn(i64) -> String) {
        for number in 0..count {
            self.seconds += 1;
            let text = trace(number);
            let mut drawn = lines(&text);
            drawn.iter_mut().for_each(|one| one.at(self.seconds * 1_000, self.seconds.unsigned_abs()));
            self.add(&fixture::table(&drawn));
        }
    }

    fn add(&mut self, table: &collector_table::SpanTable) {
        for transaction in assemble([table]) {
            let ended_ns = transaction.root_span().end_ns;
            self.register.add(&transaction, ended_ns);
        }
    }

    fn hop(&self, callee: &str) -> HopHazards {
        let report = self.register.report();
        let found = report.hops.iter().find(|hop| hop.callee_service == callee);
        found.unwrap_or_else(|| panic!("no hop to {callee} in {report:?}")).clone()
    }

    fn findings(&self, callee: &str) -> Vec<FindingKind> {
        self.hop(callee).findings.iter().map(|finding| finding.kind).collect()
    }
}

/// How often each was counted, by name.
type Counts = Vec<(String, u64)>;

/// Adds drawn spans, each group at a second of its own, as the stitcher gives them out; tells how often each hop, by who
/// is called, was counted, and each type.
fn counted(groups: &[(i64, &[fixture::Drawn<'_>])]) -> (Counts, Counts) {
    const SECOND_NS: i64 = 1_000_000_000;
    let mut stitcher = crate::stitch::Stitcher::new(crate::stitch::StitcherLimits::default());
    let mut register = Register::default();
    let mut add = |transactions: Vec<Transaction>| {
        transactions.iter().for_each(|one| register.add(one, one.root_span().end_ns));
    };
    for second in 0..90 {
        for (_, spans) in groups.iter().filter(|(at, _)| *at == second) {
            add(stitcher.push(&fixture::table(spans), second * SECOND_NS));
        }
        add(stitcher.advance(second * SECOND_NS));
    }
    add(stitcher.finish(90 * SECOND_NS));
    let report = register.report();
    let mut hops: Vec<(String, u64)> =
        report.hops.iter().map(|hop| (hop.callee_service.to_string(), u64::from(hop.calls))).collect();
    hops.sort_unstable();
    let mut types: Vec<(String, u64)> =
        report.chains.iter().map(|chain| (chain.service.to_string(), u64::from(chain.transactions))).collect();
    types.sort_unstable();
    (hops, types)
}

#[test]
fn a_trace_that_turns_out_to_be_part_of_another_and_late_spans_are_counted_once() {
    let text = "
        shop POST /order 0..40
          shop client POST 5..20 peer=bank
          shop producer send 30..35 @sent
          shop client GET 22..28 peer=rates

        mail consumer receive 100..160 link=@sent
          mail client POST 110..150 peer=post
    ";
    let drawn = lines(text);
    let (shop, mail) = drawn.split_at(4);
    let (shop, late) = shop.split_at(3);
    let (hops, types) = counted(&[(0, mail), (40, shop), (60, late)]);
    let hop = |name: &str| hops.iter().filter(|(callee, _)| callee == name).map(|(_, calls)| *calls).sum::<u64>();
    assert_eq!([hop("post"), hop("bank"), hop("rates")], [1, 1, 1], "{hops:?}");
    assert!(types.iter().all(|(_, transactions)| *transactions == 1), "{types:?}");
    // The same of a trace that nothing joins.
    let alone = lines("web GET /cart 0..40\n  web client POST 5..20 peer=bank\n  web client GET 22..28 peer=rates\n");
    let (hops, types) = counted(&[(0, &alone[..2]), (30, &alone[2..]), (45, &alone[1..2])]);
    assert_eq!(hops, [("bank".to_owned(), 1), ("rates".to_owned(), 1)]);
    assert_eq!(types, [("web".to_owned(), 1)]);
}

fn call(ms: i64, words: &str) -> String {
    format!("web GET /cart 0..{0}\n  web client POST 0..{0} peer=bank {words}\n", ms)
}

#[test]
fn calls_that_all_end_after_the_same_time_were_cut_off() {
    let mut shop = Shop::default();
    shop.draw(40, |number| call(20 + number, ""));
    shop.draw(6, |number| call(200 + number, "error"));
    let timeout = shop.hop("bank").timeout;
    assert_eq!((timeout.state, timeout.value_ms, timeout.cut_off), (TimeoutState::CutOff, Some(200.0), 6));
    assert!(!timeout.is_sure, "a peer that sends no telemetry confirms nothing");
    assert_eq!(shop.hop("bank").examples[0].role, "cut_off");
}

#[test]
fn a_timeout_that_changed_shows_with_the_next_calls_that_it_cuts_off() {
    let mut shop = Shop::default();
    shop.draw(40, |number| call(20 + number, ""));
    shop.draw(60, |number| call(1_000 + number % 5, "error"));
    assert_eq!(shop.hop("bank").timeout.value_ms, Some(1_000.0));
    shop.draw(8, |number| call(200 + number % 3, "error"));
    assert_eq!(shop.hop("bank").timeout.value_ms, Some(200.0));
}

#[test]
fn failing_at_its_own_pace_is_no_timeout() {
    let quick = |number: i64| call(12 + number % 2, "error");
    let spread = |number: i64| call(100 + number * number % 400, "error");
    let around = |number: i64| call(300 + (number * 7 % 41) - 20, "error");
    let shapes: [(&str, &dyn Fn(i64) -> String); 3] = [("quick", &quick), ("spread", &spread), ("around", &around)];
    for (name, shape) in shapes {
        let mut shop = Shop::default();
        shop.draw(40, |number| call(20 + number, ""));
        shop.draw(60, shape);
        let timeout = shop.hop("bank").timeout;
        assert_eq!((timeout.state, timeout.cut_off), (TimeoutState::NoneSeen, 0), "{name}");
    }
}

#[test]
fn an_error_that_the_called_one_reports_in_time_is_no_timeout_however_regular() {
    let answered = |ms: i64, words: &str| {
        let (client, server) = (ms, ms - 2);
        format!(
            "web GET /cart 0..{ms}\n  web client POST 0..{client} {words}\n    pay POST /charge 1..{server} {words}\n"
        )
    };
    let mut shop = Shop::default();
    shop.draw(40, |number| answered(20 + number, ""));
    shop.draw(20, |_| answered(500, "error"));
    assert_eq!(shop.hop("pay").timeout.state, TimeoutState::NoneSeen);
}

#[test]
fn a_called_one_that_works_on_confirms_the_timeout() {
    let mut shop = Shop::default();
    let cut = |ms: i64| format!("web GET /cart 0..210\n  web client POST 0..200 error\n    pay POST /charge 1..{ms}\n");
    shop.draw(30, |number| {
        format!("web GET /cart 0..90\n  web client POST 0..{0}\n    pay POST /charge 1..{0}\n", 40 + number)
    });
    shop.draw(3, |number| cut(900 + number));
    let hop = shop.hop("pay");
    assert_eq!((hop.timeout.state, hop.timeout.value_ms), (TimeoutState::CutOff, Some(200.0)));
    assert!(hop.timeout.is_sure && hop.timeout.worked_on == 3, "{:?}", hop.timeout);
    assert!(shop.findings("pay").contains(&FindingKind::WorksOn));
}

#[test]
fn a_call_that_ran_on_is_said_to_have_no_timeout() {
    let mut shop = Shop::default();
    shop.draw(60, |number| call(20 + number % 7, ""));
    assert_eq!((shop.hop("bank").timeout.state, shop.findings("bank").len()), (TimeoutState::NoneSeen, 0));
    shop.draw(1, |_| call(30_000, ""));
    let hop = shop.hop("bank");
    assert_eq!(hop.timeout.longest_ms, Some(30_000.0));
    assert_eq!(hop.findings[0].kind, FindingKind::NoTimeout);
    assert!(hop.findings[0].text.contains("30.0 s"), "{}", hop.findings[0].text);
}

#[test]
fn few_calls_tell_nothing_and_say_so() {
    let mut shop = Shop::default();
    shop.draw(3, |_| call(10, "error"));
    let hop = shop.hop("bank");
    assert!(hop.is_too_few && hop.findings.is_empty());
    assert_eq!((hop.calls, hop.timeout.state), (3, TimeoutState::TooFewCalls));
    assert_eq!(hop.fallback.reliance, Reliance::Unknown);
}

/// Draws a call with these pauses between attempts of 10 ms that fail, and a last one that does not.
fn retried(pauses: &[i64], words: &str) -> String {
    let mut attempts = String::new();
    let mut at = 0;
    for pause in pauses {
        attempts.push_str(&format!("  web client POST {at}..{} peer=bank error {words}\n", at + 10));
        at += 10 + pause;
    }
    format!("web GET /cart 0..{0}\n{attempts}  web client POST {at}..{0} peer=bank {words}\n", at + 10)
}

#[test]
fn pauses_between_attempts_tell_the_backoff() {
    let seen = |pauses: &dyn Fn(i64) -> Vec<i64>| {
        let mut shop = Shop::default();
        shop.draw(30, |number| retried(&pauses(number), ""));
        let retries = shop.hop("bank").retries;
        (retries.attempts_max, retries.backoff, retries.is_jittered)
    };
    assert_eq!(seen(&|_| vec![0, 1, 0]), (4, Backoff::Immediate, false));
    assert_eq!(seen(&|number| vec![100 + number % 3, 100, 101]), (4, Backoff::Constant, false));
    assert_eq!(seen(&|_| vec![50, 100, 200, 400]), (5, Backoff::Exponential, false));
    assert_eq!(seen(&|_| vec![100, 200, 300, 400]), (5, Backoff::Growing, false));
    assert_eq!(seen(&|_| vec![100]), (2, Backoff::OnePause, false));
    let chance = |number: i64, up_to: i64| number * 7_919 % 97 * up_to / 97;
    let full = |number: i64| vec![chance(number, 100), chance(number + 5, 200), chance(number + 9, 400)];
    assert_eq!(seen(&full), (4, Backoff::Exponential, true));
    let around = |number: i64| vec![100 + chance(number, 80), 100 + chance(number + 5, 80)];
    assert_eq!(seen(&around), (3, Backoff::Constant, true));
}

#[test]
fn retries_that_help_are_counted_and_those_without_a_key_are_told() {
    let mut shop = Shop::default();
    shop.draw(20, |_| call(10, "http.request.method=POST"));
    shop.draw(5, |_| retried(&[50], "http.request.method=POST"));
    let hop = shop.hop("bank");
    assert_eq!((hop.calls, hop.retries.retried, hop.retries.succeeded), (25, 5, 5));
    assert_eq!((hop.availability.failed, hop.idempotency.unsafe_retried), (0, 5));
    assert!(shop.findings("bank").contains(&FindingKind::RetriesWithoutKey));

    let mut keyed = Shop::default();
    let words = "http.request.method=POST http.request.header.idempotency-key=a1";
    keyed.draw(30, |_| retried(&[50], words));
    let idempotency = keyed.hop("bank").idempotency;
    assert_eq!(idempotency.attribute.as_deref(), Some("http.request.header.idempotency-key"));
    assert_eq!((idempotency.unsafe_retried_with_key, idempotency.share), (30, 1.0));
    assert!(!keyed.findings("bank").contains(&FindingKind::RetriesWithoutKey));

    let mut safe = Shop::default();
    safe.draw(30, |_| retried(&[50], "http.request.method=GET"));
    assert!(!safe.findings("bank").contains(&FindingKind::RetriesWithoutKey));
}

#[test]
fn calls_that_stop_after_failures_while_the_caller_works_on_are_a_breaker() {
    let without = |_: i64| "web GET /cart 0..5\n".to_owned();
    let mut shop = Shop::default();
    shop.draw(30, |_| call(20, ""));
    shop.draw(5, |_| call(20, "error"));
    shop.draw(30, without);
    let going_on = shop.hop("bank").breaker.periods;
    assert_eq!((going_on.len(), going_on[0].missed, going_on[0].to.is_none()), (1, 30, true));
    shop.draw(1, |_| call(20, "error"));
    shop.draw(30, without);
    shop.draw(20, |_| call(20, ""));
    let periods = shop.hop("bank").breaker.periods;
    assert_eq!((periods.len(), periods[0].kind, periods[0].missed), (1, BreakerKind::CallsStop, 60));
    assert!((periods[0].seconds - 62.0).abs() < 1.0, "{periods:?}");
}

#[test]
fn calls_that_are_left_out_for_other_reasons_are_no_breaker() {
    let without = |_: i64| "web GET /cart 0..5\n".to_owned();
    let mut quiet = Shop::default();
    quiet.draw(30, |_| call(20, ""));
    quiet.draw(30, without);
    quiet.draw(5, |_| call(20, ""));
    assert!(quiet.hop("bank").breaker.periods.is_empty(), "no call had failed");

    let mut rare = Shop::default();
    rare.draw(600, |number| if number % 12 == 0 { call(20, "error") } else { without(number) });
    assert!(rare.hop("bank").breaker.periods.is_empty(), "it is seldom called");

    let mut failing = Shop::default();
    failing.draw(60, |_| call(20, "error"));
    assert!(failing.hop("bank").breaker.periods.is_empty(), "it goes on calling");
}

#[test]
fn calls_that_fail_at_once_after_failures_are_rejected() {
    let mut shop = Shop::default();
    shop.draw(30, |_| call(40, ""));
    shop.draw(5, |_| call(40, "error"));
    shop.draw(20, |_| call(1, "error"));
    shop.draw(10, |_| call(40, ""));
    let periods = shop.hop("bank").breaker.periods;
    assert_eq!((periods.len(), periods[0].kind, periods[0].missed), (1, BreakerKind::FastRejections, 20));
}

#[test]
fn what_becomes_of_the_caller_tells_the_fallback() {
    let failing = |words: &str| {
        format!("web GET /cart 0..50 {words}\n  web client GET 5..40 error\n    ads GET /ads 6..39 error\n")
    };
    let mut optional = Shop::default();
    optional.draw(10, |_| failing(""));
    let fallback = optional.hop("ads").fallback;
    assert_eq!((fallback.reliance, fallback.failed, fallback.answered_anyway), (Reliance::Optional, 10, 10));
    let mut critical = Shop::default();
    critical.draw(20, |_| failing("error"));
    assert_eq!(critical.hop("ads").fallback.reliance, Reliance::Critical);
    assert!(critical.findings("ads").contains(&FindingKind::NoFallback));
}

#[test]
fn the_chain_multiplies_what_fails_by_itself_and_stands_beside_what_is_observed() {
    let trace = |number: i64| {
        let bank = if number % 10 == 0 { "error" } else { "" };
        format!(
            "web GET /cart 0..99 {bank}\n  web client POST 1..98 {bank}\n    pay POST /charge 2..97 {bank}\n      \
             pay client POST 3..40 peer=bank {bank}\n      pay client GET 41..50 peer=cache db.system=redis\n      \
             pay client GET 51..60 peer=cache db.system=redis\n"
        )
    };
    let mut shop = Shop::default();
    shop.draw(100, trace);
    let report = shop.register.report();
    let chain = &report.chains[0];
    assert_eq!((chain.transactions, chain.hops.len(), chain.depth), (100, 3, 2));
    assert!((chain.product - 0.9).abs() < 1e-9, "one failure is counted once: {chain:?}");
    assert!((chain.observed - 0.9).abs() < 1e-9);
    let cache = chain.hops.iter().find(|hop| hop.callee_service == "cache").unwrap();
    assert!((cache.calls_per_transaction - 2.0).abs() < 1e-9);
    let pay = shop.hop("pay");
    assert_eq!((pay.availability.share, pay.availability.by_itself), (Some(0.9), Some(1.0)));
    assert_eq!((pay.depth.usual, pay.depth.below, shop.hop("bank").depth.usual), (1, 1, 2));
}

#[test]
fn retries_at_several_layers_multiply() {
    let trace = |_: i64| {
        let inner = |at: i64| {
            let attempts: String = (0..3)
                .map(|n| format!("      pay client POST {}..{} peer=bank error\n", at + n * 10, at + n * 10 + 5))
                .collect();
            format!("  web client POST {at}..{0} error\n    pay POST /charge {at}..{0} error\n{attempts}", at + 40)
        };
        format!("web GET /cart 0..200 error\n{}{}", inner(0), inner(60))
    };
    let mut shop = Shop::default();
    shop.draw(30, trace);
    let hop = shop.hop("pay");
    let found = hop.findings.iter().find(|finding| finding.kind == FindingKind::RetriesAtSeveralLayers).unwrap();
    assert!(found.text.contains("2 × 3 = 6 calls of bank"), "{}", found.text);
    assert!(!shop.findings("bank").contains(&FindingKind::RetriesAtSeveralLayers), "said where it begins");
}

#[test]
fn a_hop_that_outwaits_its_caller_is_told() {
    let fine = |number: i64| {
        let ms = 20 + number % 9;
        format!(
            "web GET / 0..60\n  web client POST 0..{ms}\n    pay POST /charge 1..{ms}\n      pay client GET 2..{ms} peer=bank\n"
        )
    };
    let cut = |_: i64| {
        "web GET / 0..210 error\n  web client POST 0..200 error\n    pay POST /charge 1..1010 error\n      \
         pay client GET 2..1002 peer=bank error\n"
            .to_owned()
    };
    let mut shop = Shop::default();
    shop.draw(30, fine);
    shop.draw(8, cut);
    assert!(shop.findings("bank").contains(&FindingKind::OutwaitsCaller), "{:?}", shop.hop("bank"));
}

#[test]
fn a_deep_chain_is_told_where_it_begins() {
    let trace = |_: i64| {
        let mut text = String::from("s0 GET / 0..90\n");
        for level in 1..=6 {
            let indent = " ".repeat(level * 2);
            text.push_str(&format!("{indent}s{level} GET / {level}..{}\n", 90 - level));
        }
        text
    };
    let mut shop = Shop::default();
    shop.draw(25, trace);
    assert_eq!(shop.findings("s1"), [FindingKind::DeepChain]);
    assert_eq!(shop.findings("s2"), []);
    assert_eq!((shop.hop("s6").depth.usual, shop.hop("s1").depth.below), (6, 5));
}

#[test]
fn calls_that_reach_nobody_are_of_the_hop_that_others_reach() {
    let mut shop = Shop::default();
    shop.draw(4, |_| "web GET / 0..60 error\n  web client POST 0..50 peer=pay:80 error\n".to_owned());
    shop.draw(30, |_| "web GET / 0..60\n  web client POST 0..50 peer=pay:80\n    pay POST /charge 1..49\n".to_owned());
    shop.draw(4, |_| "web GET / 0..60 error\n  web client POST 0..50 peer=pay:80 error\n".to_owned());
    let report = shop.register.report();
    assert_eq!(report.hops.len(), 1, "{report:?}");
    assert_eq!((report.hops[0].calls, report.hops[0].availability.failed), (38, 8));
}

#[test]
fn counts_are_of_the_last_hour_at_most_and_hops_unseen_for_long_are_forgotten() {
    let mut shop = Shop::default();
    shop.draw(30, |_| call(10, "error"));
    shop.seconds += 2 * 3_600;
    shop.draw(30, |_| call(10, ""));
    let hop = shop.hop("bank");
    assert_eq!((hop.calls, hop.availability.failed), (30, 0));
    shop.seconds += 30 * 3_600;
    shop.draw(30, |_| "web GET /other 0..20\n  web client GET 1..9 peer=cache\n".to_owned());
    let report = shop.register.report();
    let names: Vec<&str> = report.hops.iter().map(|hop| hop.callee_service.as_str()).collect();
    assert_eq!((names, report.chains.len()), (vec!["cache"], 1));
    assert_eq!(shop.hop("cache").calls, 30, "what stays is found under its new place");
}

#[test]
fn hops_beyond_the_bound_are_left_out_and_counted() {
    let mut shop = Shop::default();
    let per_trace = 100;
    let traces = HOPS_MAX as i64 / per_trace + 2;
    shop.draw(traces, |number| {
        let calls: String = (0..per_trace)
            .map(|call| format!("  web client GET {call}..{} peer=p{number}-{call}\n", call + 1))
            .collect();
        format!("web GET / 0..200\n{calls}")
    });
    assert_eq!(shop.register.report().hops.len(), HOPS_MAX);
    assert!(shop.register.left_out() > 0);
}
