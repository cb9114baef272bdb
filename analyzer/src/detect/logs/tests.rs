use collector_table::{LogFields, LogTableBuilder, TraceId, ValueType};

use super::judge::Stand;
use super::*;

const SECOND_NS: i64 = 1_000_000_000;
const BEGIN_S: i64 = 1_000_000;

/// Log records: trace, service, severity number and body.
pub(in crate::detect) fn table_of_traces(second: i64, records: &[([u8; 16], &str, i32, &str)]) -> LogTable {
    let mut builder = LogTableBuilder::default();
    for (trace_id, service, severity_number, body) in records {
        builder.append(&LogFields {
            time_ns: second * SECOND_NS,
            observed_ns: 0,
            trace_id: Some(TraceId(*trace_id)),
            span_id: None,
            flags: 0,
            severity_number: *severity_number,
            severity_text: None,
            body,
            body_type: ValueType::String,
            event_name: None,
            service_name: service,
            service_instance: Some("pay-1"),
            service_version: None,
            scope_name: None,
            dropped_attributes_count: 0,
        });
    }
    builder.finish()
}

/// Log records: service, severity number and body; their trace is numbered by their second.
fn table(second: i64, records: &[(&str, i32, &str)]) -> LogTable {
    let trace_id = i128::from(second).to_be_bytes();
    let records: Vec<_> = records.iter().map(|(service, number, body)| (trace_id, *service, *number, *body)).collect();
    table_of_traces(second, &records)
}

/// Writes, in each of some seconds, what `lines` says; lines are repeated `times` that it says.
fn write(logs: &mut Logs, seconds: std::ops::Range<i64>, lines: impl Fn(i64) -> Vec<(usize, &'static str)>) {
    for second in seconds {
        let repeated = lines(second).into_iter().flat_map(|(times, line)| std::iter::repeat_n(("pay", 9, line), times));
        let records: Vec<_> = repeated.collect();
        logs.read(&table(BEGIN_S + second, &records), i64::MAX);
    }
}

/// Says what stands out with the onset in a second, and traffic that grew by a factor since then.
fn found(logs: &Logs, onset_s: i64, now_s: i64, growth: Option<f64>) -> Vec<String> {
    let block = |second: i64| (BEGIN_S + second).div_euclid(10);
    let traffic = |from, _| growth.map(|growth| if from >= block(onset_s) { growth } else { 1.0 });
    let tested = logs.watched("pay", block(onset_s), block(now_s) - 1).unwrap_or(0);
    let findings = logs.findings("pay", (block(onset_s), block(now_s) - 1), tested, traffic);
    let mut said: Vec<String> = findings
        .iter()
        .map(|one| format!("{:?} {} {} -> {}", one.stand, one.template.text(), one.before, one.now))
        .collect();
    said.sort();
    said
}

const HISTORY_S: i64 = 1_800;

fn usual(logs: &mut Logs, seconds: std::ops::Range<i64>) {
    write(logs, seconds, |second| match second % 5 {
        0 => vec![(2, "charged 5 EUR"), (1, "cache has 17 entries")],
        _ => vec![(2, "charged 5 EUR")],
    });
}

#[test]
fn what_is_new_what_surges_and_what_falls_silent_stands_out() {
    let mut logs = Logs::default();
    usual(&mut logs, 0..HISTORY_S);
    write(&mut logs, HISTORY_S..HISTORY_S + 120, |_| {
        vec![(2, "charged 5 EUR"), (2, "cache has 3 entries"), (1, "no connection left in pool 7")]
    });
    let said = found(&logs, HISTORY_S, HISTORY_S + 120, Some(1.0));
    assert_eq!(said, ["New no connection left in pool <*> 0 -> 120", "Surging cache has <*> entries 348 -> 240"]);
    write(&mut logs, HISTORY_S + 120..HISTORY_S + 500, |_| vec![(1, "cache has 3 entries")]);
    let later = found(&logs, HISTORY_S + 120, HISTORY_S + 500, Some(1.0));
    assert!(later.contains(&"Silent charged <*> EUR 3600 -> 0".to_owned()), "{later:?}");
}

#[test]
fn what_grows_with_traffic_or_is_as_usual_does_not_stand_out() {
    let mut logs = Logs::default();
    usual(&mut logs, 0..HISTORY_S);
    write(&mut logs, HISTORY_S..HISTORY_S + 200, |second| match second % 5 {
        0 => vec![(8, "charged 5 EUR"), (4, "cache has 17 entries")],
        _ => vec![(8, "charged 5 EUR")],
    });
    let none: [&str; 0] = [];
    // As spans tell, or as the other lines do.
    assert_eq!(found(&logs, HISTORY_S, HISTORY_S + 200, Some(4.0)), none);
    assert_eq!(found(&logs, HISTORY_S, HISTORY_S + 200, None), none);
    assert_eq!(found(&logs, HISTORY_S, HISTORY_S + 200, Some(1.0)).len(), 2, "four times as often, without traffic");
}

#[test]
fn lines_that_come_in_bursts_stand_out_only_when_a_burst_is_larger() {
    let mut logs = Logs::default();
    let burst = |second: i64| if second % 600 < 10 { vec![(6, "row written")] } else { vec![(1, "polled")] };
    write(&mut logs, 0..HISTORY_S, burst);
    // The next burst, as each ten minutes.
    write(&mut logs, HISTORY_S..HISTORY_S + 60, burst);
    let said = found(&logs, HISTORY_S, HISTORY_S + 60, Some(1.0));
    assert!(said.iter().all(|one| !one.contains("row written")), "{said:?}");
}

#[test]
fn nothing_is_new_before_there_was_time_to_watch_or_after_lines_were_missed() {
    let none: [&str; 0] = [];
    let fault = |_| vec![(2, "charged 5 EUR"), (3, "no connection left in pool 7")];
    let mut logs = Logs::default();
    usual(&mut logs, 0..300);
    write(&mut logs, 300..400, fault);
    assert_eq!(found(&logs, 300, 400, Some(1.0)), none);

    let mut logs = Logs::default();
    usual(&mut logs, 0..HISTORY_S);
    logs.miss((BEGIN_S + HISTORY_S - 300) * SECOND_NS);
    write(&mut logs, HISTORY_S..HISTORY_S + 100, fault);
    assert_eq!(found(&logs, HISTORY_S, HISTORY_S + 100, Some(1.0)), none);
}

#[test]
fn a_single_line_is_told_only_where_new_ones_are_rare() {
    const WORDS: [&str; 40] = [
        "alpha", "bravo", "carol", "delta", "echo", "fox", "golf", "hotel", "india", "jul", "kilo", "lima", "mike",
        "nov", "oscar", "papa", "queb", "romeo", "sierra", "tango", "unif", "victor", "whisky", "xray", "yank", "zulu",
        "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "elf", "zwo", "drei", "vier",
    ];
    for (is_chatty, wanted) in [(false, 1), (true, 0)] {
        let mut logs = Logs::default();
        usual(&mut logs, 0..HISTORY_S);
        if is_chatty {
            for (second, word) in (600..).step_by(30).zip(WORDS) {
                logs.read(&table(BEGIN_S + second, &[("pay", 9, &format!("{word} {word} was seen {word}"))]), i64::MAX);
            }
        }
        usual(&mut logs, HISTORY_S..HISTORY_S + 60);
        logs.read(&table(BEGIN_S + HISTORY_S - 20, &[("pay", 13, "leader changed to node 7")]), i64::MAX);
        let said = found(&logs, HISTORY_S, HISTORY_S + 60, Some(1.0));
        assert_eq!(said.len(), wanted, "{said:?}");
    }
}

#[test]
fn unique_lines_are_folded_within_bounds_and_what_comes_back_is_not_new() {
    let mut logs = Logs::default();
    let word = |number: i64| {
        format!("{:x}", number * 2_654_435_761 % 0xff_ffff_ffff).replace(|it: char| it.is_ascii_digit(), "z")
    };
    let unique = |number: i64| format!("{} {} {}", word(number), word(number * 31), word(number * 977));
    for second in 0..HISTORY_S {
        for service in ["pay", "cart", "web"] {
            let lines: Vec<String> = (0..12).map(|number| unique(second * 12 + number)).collect();
            let records: Vec<_> = lines.iter().map(|line| (service, 9, line.as_str())).collect();
            logs.read(&table(BEGIN_S + second, &records), i64::MAX);
        }
    }
    let templates: usize = logs.services.iter().map(|service| service.miner.len()).sum();
    assert_eq!(templates, logs.templates_count);
    assert!(logs.services.iter().all(|service| service.miner.len() <= miner::TEMPLATES_MAX));
    assert!(logs.folded.count > 10_000 && logs.folded.generations.iter().all(|it| it.len() <= FOLDED_MAX));
    let first_again = unique((HISTORY_S - 60) * 12);
    (0..5).for_each(|second| logs.read(&table(BEGIN_S + HISTORY_S + second, &[("pay", 9, &first_again)]), i64::MAX));
    let findings = logs.findings("pay", ((BEGIN_S + HISTORY_S) / 10, (BEGIN_S + HISTORY_S) / 10 + 6), 200, |_, _| None);
    assert!(findings.iter().all(|one| one.stand != Stand::New), "{findings:?}");
}

#[test]
fn services_and_templates_in_all_are_bounded() {
    let mut logs = Logs::default();
    for service in 0..SERVICES_MAX + 50 {
        let name = format!("service-{service}");
        let lines: Vec<String> = (0..8u32)
            .map(|line| format!("{} words", ["a", "b", "c", "d", "e", "f", "g", "h"][line as usize]))
            .collect();
        let records: Vec<_> = lines.iter().map(|line| (name.as_str(), 9, line.as_str())).collect();
        logs.read(&table(BEGIN_S, &records), i64::MAX);
    }
    assert_eq!((logs.services.len(), logs.ids.len()), (SERVICES_MAX, SERVICES_MAX));
    assert!(logs.templates_count <= TEMPLATES_MAX + SERVICES_MAX, "{}", logs.templates_count);
    assert_eq!(logs.at_bounds()[1], ("log_records_of_further_services", 400));
    // Who is silent for longer than is kept makes room.
    logs.read(&table(BEGIN_S + BLOCKS_KEPT * 10 + 10, &[("newcomer", 9, "here")]), i64::MAX);
    assert!(logs.service("newcomer").is_some() && logs.services.len() == SERVICES_MAX);
    assert_eq!(logs.templates_count, logs.services.iter().map(|service| service.miner.len()).sum::<usize>());
    let too_old = logs.too_old;
    logs.read(&table(BEGIN_S, &[("newcomer", 9, "here")]), i64::MAX);
    assert_eq!(logs.too_old, too_old + 1);
}

#[test]
fn examples_are_real_lines_with_their_traces_and_bounded() {
    let mut logs = Logs::default();
    for second in 0..400 {
        let body =
            format!("order {second} failed\n  at somewhere {}", "x".repeat(100_000 * usize::from(second == 399)));
        logs.read(&table(BEGIN_S + second, &[("pay", 17, &body)]), i64::MAX);
    }
    let service = logs.service("pay").unwrap();
    let template = service.miner.iter().next().unwrap();
    assert_eq!((template.text().as_str(), service.miner.len()), ("order <*> failed", 1));
    let examples = template.examples();
    assert_eq!(examples.len(), 5);
    assert!(examples.iter().all(|one| one.text.len() <= mask::LINE_BYTES_MAX && one.trace_id.is_some()));
    assert!(examples[4].text.starts_with("order 390 failed"), "{}", examples[4].text);
}
