use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::trace::v1::Span;

use super::*;

const FROM_NS: u64 = 1_790_000_000 * SECOND_NS;

fn shop(seed: u64, slowdown: Option<Slowdown>) -> Shop {
    Shop::new(seed, 12.0, slowdown)
}

fn spans(telemetry: &Telemetry) -> Vec<(String, Span)> {
    let mut spans = Vec::new();
    for resource in &telemetry.spans {
        let service = &resource.resource.as_ref().unwrap().attributes[0];
        assert_eq!(service.key, "service.name");
        let Some(opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue(service)) =
            service.value.as_ref().unwrap().value.clone()
        else {
            panic!("service.name is text");
        };
        for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
            spans.push((service.clone(), span.clone()));
        }
    }
    spans
}

#[test]
fn same_seed_tells_the_same_story_and_another_seed_another() {
    let (from, to) = (FROM_NS, FROM_NS + 10 * SECOND_NS);
    assert_eq!(shop(7, None).telemetry_between(from, to), shop(7, None).telemetry_between(from, to));
    assert_ne!(shop(7, None).telemetry_between(from, to), shop(8, None).telemetry_between(from, to));
}

#[test]
fn however_time_is_cut_the_same_spans_come_out() {
    let slow = Slowdown { from_ns: FROM_NS, ..recipes::SLOW };
    let shop = shop(7, Some(slow));
    let ids = |from, to| -> Vec<Vec<u8>> {
        spans(&shop.telemetry_between(from, to)).into_iter().map(|(_, span)| span.span_id).collect()
    };
    let whole = ids(FROM_NS, FROM_NS + 12 * SECOND_NS);
    let mut pieces = Vec::new();
    for piece in 0..40 {
        pieces.extend(ids(FROM_NS + piece * SECOND_NS * 3 / 10, FROM_NS + (piece + 1) * SECOND_NS * 3 / 10));
    }
    assert_eq!(pieces.len(), whole.len());
    assert_eq!(pieces.into_iter().collect::<BTreeSet<_>>(), whole.into_iter().collect::<BTreeSet<_>>());
}

#[test]
fn traces_are_whole_and_children_stand_within_their_parents() {
    // Everything that begins in 20 s; the margins let it end.
    let telemetry = shop(3, None).telemetry_between(FROM_NS, FROM_NS + 30 * SECOND_NS);
    let spans = spans(&telemetry);
    let by_id: BTreeMap<_, _> = spans.iter().map(|(_, span)| (span.span_id.clone(), span)).collect();
    assert_eq!(by_id.len(), spans.len(), "span ids are unique");
    let mut checked = 0;
    for (_, span) in &spans {
        assert!(span.start_time_unix_nano < span.end_time_unix_nano);
        let Some(parent) = by_id.get(&span.parent_span_id) else {
            let near_edge = span.start_time_unix_nano > FROM_NS + 25 * SECOND_NS;
            assert!(span.parent_span_id.is_empty() || near_edge, "{span:?} has lost its parent");
            continue;
        };
        assert_eq!(parent.trace_id, span.trace_id);
        assert!(parent.start_time_unix_nano <= span.start_time_unix_nano);
        if span.kind == SpanKind::Consumer as i32 {
            assert!(parent.end_time_unix_nano < span.start_time_unix_nano, "a message waits in its queue");
        } else {
            assert!(span.end_time_unix_nano <= parent.end_time_unix_nano);
        }
        checked += 1;
    }
    assert!(checked > 1_000);
}

#[test]
fn a_slow_step_takes_longer_and_only_it_and_who_waits_for_it() {
    let slow = Slowdown { from_ns: FROM_NS, ..recipes::SLOW };
    let before = medians_ms(&shop(5, None).telemetry_between(FROM_NS, FROM_NS + 60 * SECOND_NS));
    let after = medians_ms(&shop(5, Some(slow)).telemetry_between(FROM_NS, FROM_NS + 60 * SECOND_NS));
    let mut slower: Vec<String> = Vec::new();
    for (operation, before_ms) in &before {
        let after_ms = after[operation];
        if after_ms > before_ms * 1.2 {
            slower.push(operation.clone());
        }
    }
    assert_eq!(
        slower,
        [
            "checkout Client POST /charges",
            "checkout Server POST /checkout",
            "gateway Client POST /checkout",
            "gateway Server POST /checkout",
            "payment Server POST /charges",
        ]
    );
}

fn medians_ms(telemetry: &Telemetry) -> BTreeMap<String, f64> {
    let mut durations: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (service, span) in spans(telemetry) {
        assert!(span.status.is_none(), "nothing fails");
        let kind = SpanKind::try_from(span.kind).unwrap();
        let operation = format!("{service} {kind:?} {}", span.name);
        durations.entry(operation).or_default().push(span.end_time_unix_nano - span.start_time_unix_nano);
    }
    let mut medians = BTreeMap::new();
    for (operation, mut durations) in durations {
        durations.sort_unstable();
        medians.insert(operation, durations[durations.len() / 2] as f64 / 1e6);
    }
    medians
}

#[test]
fn the_slow_service_shows_its_new_version() {
    let slow = Slowdown { from_ns: FROM_NS + 5 * SECOND_NS, ..recipes::SLOW };
    let telemetry = shop(5, Some(slow)).telemetry_between(FROM_NS, FROM_NS + 10 * SECOND_NS);
    let mut versions = BTreeSet::new();
    for resource in &telemetry.spans {
        let text = format!("{:?}", resource.resource);
        for version in ["2.8.4", "2.9.0"] {
            if text.contains("\"payment\"") && text.contains(version) {
                versions.insert(version);
            }
        }
    }
    assert_eq!(versions.into_iter().collect::<Vec<_>>(), ["2.8.4", "2.9.0"]);
}

#[test]
fn log_records_belong_to_spans() {
    let telemetry = shop(9, None).telemetry_between(FROM_NS, FROM_NS + 10 * SECOND_NS);
    let ids: BTreeSet<_> = spans(&telemetry).into_iter().map(|(_, span)| (span.trace_id, span.span_id)).collect();
    let mut count = 0;
    for log in telemetry.logs.iter().flat_map(|it| &it.scope_logs).flat_map(|it| &it.log_records) {
        assert!(ids.contains(&(log.trace_id.clone(), log.span_id.clone())));
        count += 1;
    }
    assert!(count > 20, "{count} log records");
}

#[test]
fn recipes_name_services_of_the_shop_and_the_slow_step_is_one_of_theirs() {
    let mut operations = BTreeSet::new();
    for entry in recipes::entries() {
        collect(entry.step, &mut operations);
    }
    assert!(operations.contains(&(recipes::SLOW.service, recipes::SLOW.operation)));
    let used: BTreeSet<_> = operations.iter().map(|(service, _)| *service).collect();
    let known: BTreeSet<_> = recipes::services().iter().map(|service| service.name).collect();
    assert_eq!(used, known);
    let shares: f64 = recipes::entries().iter().map(|entry| entry.share).sum();
    assert!((shares - 1.0).abs() < 1e-9);
}

fn collect(step: &'static Step, into: &mut BTreeSet<(&'static str, &'static str)>) {
    into.insert((step.service, step.operation));
    collect_calls(step.calls, into);
}

fn collect_calls(calls: &'static [Call], into: &mut BTreeSet<(&'static str, &'static str)>) {
    for call in calls {
        match call {
            Call::Http(step) | Call::Publish { consumer: step, .. } => collect(step, into),
            Call::AtOnce(calls) => collect_calls(calls, into),
            Call::Query { .. } | Call::Outside { .. } => {}
        }
    }
}
