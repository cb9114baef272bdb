//! What is read from tables, and what is left alone.

use collector_table::TraceId;

use super::{KNOWN_BLOCKS, OF_TRACE_MAX, RESOURCES_MAX, Said, TRACES_MAX, TraitId, Traits};
use crate::detect::{BLOCK_S, SECOND_NS};
use crate::fixture;

const KNOWN_NS: i64 = KNOWN_BLOCKS * BLOCK_S * SECOND_NS;

/// Reads a drawing as the trace of a number, at a time.
fn read(traits: &mut Traits, text: &str, number: u64, now_ns: i64) {
    let mut drawn = fixture::lines(text);
    drawn.iter_mut().for_each(|one| one.at(0, number));
    traits.read(&fixture::table(&drawn), now_ns);
}

fn trace(number: u64) -> TraceId {
    TraceId(u128::from(number).to_be_bytes())
}

/// Says what a trace said, resources by their service.
fn told(traits: &mut Traits, number: u64) -> Vec<String> {
    let mut all: Vec<(&str, TraitId)> = Vec::new();
    let taken = traits.take(trace(number));
    for said in &taken {
        match said {
            Said::Value(found) => all.push(("", *found)),
            Said::Resource(resource) => {
                let resource = traits.resource(*resource).unwrap();
                all.extend(resource.traits.iter().map(|found| (&*resource.service, *found)));
            }
        }
    }
    let text = |(service, found)| {
        let (key, value) = traits.name(found)?;
        Some(format!("{service} {key}={value}").trim().to_owned())
    };
    all.into_iter().filter_map(text).collect()
}

#[test]
fn few_values_of_any_span_are_kept_and_ids_are_not() {
    let mut traits = Traits::default();
    for number in 0..200u64 {
        let text = format!(
            "web GET / 0..10 app.tenant=t{} app.order=o{number} http.route=/x app.is_beta={} app.tier={}
  web client GET 1..9 flag.variant=on db.table=x",
            number % 3,
            number % 2 == 0,
            number % 5
        );
        read(&mut traits, &text, number + 1, 0);
    }
    assert_eq!(told(&mut traits, 200), ["app.tenant=t1", "app.is_beta=false", "app.tier=4", "flag.variant=on"]);
    assert!(traits.take(trace(200)).is_empty(), "it was taken");
}

#[test]
fn resources_of_entries_say_what_not_all_of_them_say() {
    let mut traits = Traits::default();
    for number in 0..4u64 {
        let region = ["eu", "us"][usize::try_from(number % 2).unwrap()];
        let text = format!(
            "web GET / 0..10 in:cloud.region=eu in:deployment.environment=prod in:service.namespace=shop
  web client GET 1..9
    pay GET / 2..8 in:cloud.region={region} in:host.cpus={number}
      pay work 3..7 in:cloud.region=asia"
        );
        read(&mut traits, &text, number + 1, 0);
    }
    // The first time there was but one region, and one number.
    assert_eq!(told(&mut traits, 3), ["web cloud.region=eu", "pay cloud.region=eu", "pay host.cpus=2"]);
    assert_eq!(told(&mut traits, 4), ["web cloud.region=eu", "pay cloud.region=us", "pay host.cpus=3"]);
}

#[test]
fn value_is_new_if_its_key_was_known_for_a_while() {
    let mut traits = Traits::default();
    let mut first = |tenant: &str, now_ns: i64| {
        let place = traits.place("app.tenant", now_ns).unwrap();
        let found = traits.trait_of(place, tenant, now_ns).unwrap();
        traits.new_in(found)
    };
    assert_eq!(first("a", 0), None);
    assert_eq!(first("b", KNOWN_NS / 2), None, "values are still being met");
    assert_eq!(first("c", KNOWN_NS), Some(KNOWN_BLOCKS));
    assert_eq!(first("b", 2 * KNOWN_NS), None, "it is known");
}

#[test]
fn traces_beyond_the_bound_let_the_oldest_go() {
    let mut traits = Traits::default();
    for number in 0..TRACES_MAX as u64 + 10 {
        traits.note(trace(number), &[Said::Value(0)]);
    }
    assert_eq!((traits.traces.len(), traits.order.len()), (TRACES_MAX, TRACES_MAX));
    assert!(traits.take(trace(0)).is_empty());
}

#[test]
fn values_and_resources_beyond_their_bounds_are_left_out() {
    let mut traits = Traits::default();
    let many: Vec<Said> = (0..1_000).map(Said::Value).collect();
    traits.note(trace(1), &many);
    assert_eq!(traits.take(trace(1)).len(), OF_TRACE_MAX);
    let mut numbers = Vec::new();
    for number in 0..RESOURCES_MAX + 2 {
        let text = format!("{{\"cloud.region\":\"r{}\",\"number\":{number}}}", number % 2);
        numbers.extend(traits.read_resource(&format!("service-{number}"), &text, 0));
    }
    assert!(traits.texts.len() <= RESOURCES_MAX && traits.resources.len() <= RESOURCES_MAX);
    assert_eq!(traits.keys.iter().filter(|key| key.values.is_none()).count(), 1, "the number is an id");
    assert!(traits.resource(numbers[0]).is_none(), "it is forgotten");
    let last = numbers.pop().unwrap();
    assert_eq!(*traits.resource(last).unwrap().service, format!("service-{}", RESOURCES_MAX + 1));
}
