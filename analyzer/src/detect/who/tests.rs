//! Drawn transactions with values of a few keys, and what is told of those that are hurt.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use collector_table::TraceId;
use insta::assert_snapshot;

use super::sample::{Members, Sample, Value};
use super::search::COMBINED_MAX;
use super::{CHANCE_MAX, over_represented, search};
use crate::detect::recent::Brief;
use crate::detect::traits::{Said, TraitId, Traits};
use crate::fixture;
use crate::fixture::dice::Dice;

/// Keys and how many values each has.
const KEYS: [(&str, u64); 5] =
    [("app.tenant", 8), ("cloud.region", 4), ("app.plan", 3), ("app.is_new", 2), ("host.name", 6)];

/// A place of each key's value: tenant, region, plan, newness, host.
type Values = [u64; KEYS.len()];

/// Knows all values of the keys, numbered in their order.
fn known() -> Traits {
    let mut text = "web GET / 0..10".to_owned();
    for (key, values) in KEYS {
        (0..values).for_each(|value| write!(text, " {key}={value}").unwrap());
    }
    let mut traits = Traits::default();
    traits.read(&fixture::table(&fixture::lines(&text)), 0);
    traits
}

fn number(key: usize, value: u64) -> TraitId {
    let before: u64 = KEYS[..key].iter().map(|(_, values)| values).sum();
    TraitId::try_from(before + value).unwrap()
}

fn brief(values: Values, is_hurt: bool) -> Brief {
    let said = (0..).zip(values).map(|(key, value)| Said::Value(number(key, value))).collect();
    Brief {
        id: TraceId::default(),
        block: 0,
        type_id: 0,
        path_id: 0,
        duration_ms: if is_hurt { 200.0 } else { 100.0 },
        expected_ms: 100.0,
        extra_by_service: Vec::new(),
        said,
        is_joined: false,
    }
}

fn is_hurt(brief: &Brief) -> bool {
    brief.duration_ms > brief.expected_ms
}

/// Draws transactions, each value as often as the others of its key unless `bend` changes it.
fn drawn(
    seed: u64,
    count: usize,
    bend: impl Fn(&mut Values, &mut Dice),
    hurt_percent: impl Fn(&Values) -> u64,
) -> Vec<Brief> {
    let mut dice = Dice(seed);
    let draw = |_| {
        let mut values = KEYS.map(|(_, values)| dice.below(values));
        bend(&mut values, &mut dice);
        let is_hurt = dice.below(100) < hurt_percent(&values);
        brief(values, is_hurt)
    };
    (0..count).map(draw).collect()
}

fn as_drawn(_: &mut Values, _: &mut Dice) {}

fn told(briefs: &[Brief]) -> Vec<String> {
    over_represented(&known(), briefs.iter(), &BTreeSet::new(), is_hurt).into_iter().map(|over| over.text).collect()
}

/// Counts of how many seeds the names that are told begin with each text.
fn told_of(
    seeds: u64,
    count: usize,
    bend: impl Fn(&mut Values, &mut Dice) + Copy,
    hurt_percent: impl Fn(&Values) -> u64 + Copy,
) -> String {
    let mut counts = std::collections::BTreeMap::<String, u64>::new();
    for seed in 0..seeds {
        let texts = told(&drawn(seed, count, bend, hurt_percent));
        let names: Vec<&str> = texts.iter().map(|text| text.split(':').next().unwrap()).collect();
        *counts.entry(names.join("; ")).or_default() += 1;
    }
    let mut text = String::new();
    counts.iter().for_each(|(names, count)| writeln!(text, "{count} x {names}").unwrap());
    text
}

#[test]
fn labels_by_chance_tell_nothing() {
    assert_eq!(told_of(300, 400, as_drawn, |_| 20), "300 x \n");
    assert_eq!(told_of(100, 60, as_drawn, |_| 50), "100 x \n");
}

#[test]
fn mistakes_are_no_more_frequent_than_their_chance() {
    let traits = known();
    let is_wrong = |seed: &u64| {
        let briefs = drawn(*seed, 300, as_drawn, |_| 30);
        let sample = Sample::of(&traits, briefs.iter(), &BTreeSet::new(), is_hurt);
        !search::over_represented(&sample, 0.3).is_empty()
    };
    let wrong = (0..300).filter(is_wrong).count();
    assert!((1..=90).contains(&wrong), "{wrong} of 300 at a chance of 0.3");
}

#[test]
fn values_that_are_hurt_together_are_told_together() {
    let both = |values: &Values| if values[0] == 1 && values[1] == 2 { 95 } else { 2 };
    assert_snapshot!(told_of(100, 1_000, as_drawn, both), @r"
    94 x app.tenant = 1 and cloud.region = 2
    5 x app.tenant = 1; cloud.region = 2
    1 x cloud.region = 2; app.tenant = 1
    ");
    assert_snapshot!(told(&drawn(7, 1_000, as_drawn, both)).join("\n"), @"app.tenant = 1 and cloud.region = 2: 58% of those hurt, 0% of the others");
    let often = |values: &Values| if values[0] == 1 && values[1] == 2 { 30 } else { 0 };
    assert_snapshot!(told_of(30, 3_000, as_drawn, often), @"30 x app.tenant = 1 and cloud.region = 2");
}

#[test]
fn value_that_suffices_is_told_alone() {
    let one = |values: &Values| if values[0] == 1 { 95 } else { 2 };
    assert_snapshot!(told_of(100, 600, as_drawn, one), @"100 x app.tenant = 1");
}

#[test]
fn value_that_only_goes_with_the_one_that_is_hurt_is_not_combined_with_it() {
    let mostly_there = |values: &mut Values, dice: &mut Dice| {
        if values[0] == 1 && !dice.is(5) {
            values[1] = 2;
        }
    };
    let by_tenant = |values: &Values| if values[0] == 1 { 90 } else { 2 };
    assert_snapshot!(told_of(100, 600, mostly_there, by_tenant), @"100 x app.tenant = 1; cloud.region = 2");
}

#[test]
fn either_of_two_values_is_not_told_as_both() {
    let either = |values: &Values| if values[0] == 1 || values[1] == 2 { 90 } else { 2 };
    assert_snapshot!(told_of(100, 600, as_drawn, either), @"100 x cloud.region = 2; app.tenant = 1");
}

#[test]
fn three_values_that_are_hurt_together_are_told_together() {
    let all = |values: &Values| if values[0] == 1 && values[1] == 2 && values[3] == 1 { 95 } else { 1 };
    assert_snapshot!(told_of(50, 3_000, as_drawn, all), @"50 x app.is_new = 1 and app.tenant = 1 and cloud.region = 2");
}

/// A sample in which two values are hurt together, beside so many that are surer by themselves.
fn beside(sure: usize) -> Sample {
    let (hurt, all) = (200, 1_000);
    let members = |is_member: &dyn Fn(usize) -> bool| {
        let mut members = Members::default();
        (0..all).filter(|number| is_member(*number)).for_each(|number| members.add(number));
        members
    };
    let is_hurt = |number: usize| number < hurt;
    let mut sample = Sample { hurt: members(&is_hurt), count: all, values: Vec::new() };
    let mut add = |is_member: &dyn Fn(usize) -> bool| {
        let found = TraitId::try_from(sample.values.len()).unwrap();
        sample.values.push(Value { found, service: None, members: members(is_member) });
    };
    add(&|number| is_hurt(number) || number < 680);
    add(&|number| is_hurt(number) || number >= 680);
    // Of the others they have the same ones, so that together they say no more.
    (0..sure)
        .for_each(|place| add(&|number| if is_hurt(number) { (number + place) % hurt < 160 } else { number < 280 }));
    sample
}

#[test]
fn values_beyond_the_bound_are_not_combined() {
    let is_told = |sure: usize| {
        let groups = search::over_represented(&beside(sure), CHANCE_MAX);
        groups.iter().any(|group| group.places == [0, 1])
    };
    assert!(is_told(COMBINED_MAX - 2));
    assert!(!is_told(COMBINED_MAX));
}

#[test]
fn too_few_on_either_side_are_not_compared() {
    let some = |hurt: usize, others: usize| {
        let briefs: Vec<Brief> =
            (0..hurt + others).map(|number| brief([u64::from(number < hurt), 0, 0, 0, 0], number < hurt)).collect();
        told(&briefs).len()
    };
    assert_eq!((some(7, 100), some(100, 7), some(20, 100)), (0, 0, 1));
}
