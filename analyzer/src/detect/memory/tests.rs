//! A restart in between: what is kept goes on, what is of no use is left out with a reason.

use super::super::tests::{BEGIN_S, Run};
use super::*;
use crate::incident::{Incident, IncidentKind};

const SECOND_NS: i64 = 1_000_000_000;
const HOURS_S: i64 = 3 * 3_600;
/// When the daemon starts anew, and what it reads back of the time before.
const RESTART_S: i64 = 6_600;
const READ_BACK_S: i64 = 45 * 60;

/// A checkout whose facade takes 90 ms more after two hours, in six versions; it waits for the cart, which does not.
fn growing(second: i64, number: i64) -> String {
    let grown = (second - 3_600).max(0) * 90 / (HOURS_S - 3_600);
    let version = 1 + grown / 15;
    let from = 50 + grown + number * 7_919 % 31 / 4;
    format!(
        "web POST /checkout 0..{0} version={version}\n  web client GET {from}..{0}\n    cart GET /cart {1}..{0}",
        from + 40,
        from + 2
    )
}

/// Runs it over some seconds, one transaction each six.
fn run(run: &mut Run, seconds: std::ops::Range<i64>) {
    for turn in seconds.start / 6..seconds.end / 6 {
        run.second = turn * 6;
        run.seconds(1, 1, growing).seconds(5, 0, growing);
    }
}

/// Runs it with a restart, which takes over what `keep` makes of the memory as text; returns the end and what was told.
fn restarted(keep: impl Fn(String) -> Option<String>) -> (Run, Vec<Incident>) {
    let mut before = Run::new();
    run(&mut before, 0..RESTART_S);
    let kept = serde_json::to_string(&before.analyzer.remember().unwrap()).unwrap();
    let mut after = Run::new();
    let judged_ns = (BEGIN_S + RESTART_S) * SECOND_NS;
    after.analyzer.restore(Vec::new(), 1, judged_ns);
    if let Some(text) = keep(kept) {
        after.analyzer.recall(&serde_json::from_str(&text).unwrap(), judged_ns).unwrap();
    }
    run(&mut after, RESTART_S - READ_BACK_S..HOURS_S);
    let told = after.opened().into_iter().cloned().collect();
    (after, told)
}

fn usual(memory: &Option<LongMemory>) -> Usual {
    match memory {
        Some(LongMemory::V1(usual)) => usual.clone(),
        other => panic!("{other:?}"),
    }
}

fn creeps(told: &[Incident]) -> usize {
    told.iter().filter(|incident| incident.kind == IncidentKind::FacadeCreep).count()
}

#[test]
fn growth_that_began_before_a_restart_is_told_sooner_than_if_it_is_learned_anew() {
    let (after, told) = restarted(Some);
    assert_eq!(creeps(&told), 1, "{}", after.story());
    let started_s = crate::time::parse_rfc3339(&told[0].started_at).unwrap() / SECOND_NS - BEGIN_S;
    assert!((3_000..RESTART_S).contains(&started_s), "it began at {started_s} s");
    let told_s = |run: &Run| run.told[0].0;
    let (anew, _) = restarted(|_| None);
    assert!(told_s(&after) + 1_200 <= told_s(&anew), "{}{}", after.story(), anew.story());
}

#[test]
fn what_is_read_back_again_is_not_counted_twice() {
    let (after, _) = restarted(Some);
    let mut whole = Run::new();
    run(&mut whole, 0..HOURS_S);
    let (one, other) = (usual(&whole.analyzer.remember()), usual(&after.analyzer.remember()));
    let n = |usual: &Usual| -> f32 {
        let trends = usual.signals.iter().filter_map(|signal| signal.trend.as_ref());
        trends.flat_map(|trend| trend.buckets.iter().map(|(n, _)| n)).sum()
    };
    assert!((n(&one) - n(&other)).abs() <= 0.01 * n(&one), "{} and {}", n(&one), n(&other));
    assert_eq!(one.services, other.services);
}

#[test]
fn what_is_kept_and_recalled_is_the_same() {
    let mut before = Run::new();
    run(&mut before, 0..RESTART_S);
    let kept = before.analyzer.remember().unwrap();
    let text = serde_json::to_string(&kept).unwrap();
    assert!(text.starts_with(r#"{"version":"1""#), "{}", &text[..40]);
    assert_eq!(serde_json::from_str::<LongMemory>(&text).unwrap(), kept);
    let mut after = Run::new();
    after.analyzer.recall(&kept, i64::MAX / 2).unwrap();
    assert_eq!(after.analyzer.remember(), None, "nothing was judged");
    run(&mut after, RESTART_S - 60..RESTART_S);
    let (one, other) = (usual(&Some(kept)), usual(&after.analyzer.remember()));
    assert_eq!((one.signals, one.pairs, one.services), (other.signals, other.pairs, other.services));
}

#[test]
fn what_is_of_no_use_is_left_out_with_a_reason() {
    let recall = |text: &str, last_ns: i64| {
        let memory: LongMemory = serde_json::from_str(text).unwrap();
        Run::new().analyzer.recall(&memory, last_ns)
    };
    let empty = r#"{"version":"1","judged_ns":9000000000000,"signals":[],"pairs":[],"services":[]}"#;
    assert_eq!(recall(empty, 9_000_000_000_000), Ok(()));
    assert_eq!(recall(r#"{"version":"2","trends":{"of":"tomorrow"}}"#, 0), Err(Unfit::UnknownVersion));
    assert_eq!(recall(empty, 0), Err(Unfit::Ahead));
    let mut begun = Run::new();
    run(&mut begun, 0..60);
    assert_eq!(begun.analyzer.recall(&serde_json::from_str(empty).unwrap(), i64::MAX), Err(Unfit::TooLate));
    assert_eq!(Unfit::UnknownVersion.to_string(), "its form is of another version of this program");
}

#[test]
fn trends_and_hours_that_cannot_be_are_left_out() {
    let sound = TrendMemory { first: 10, blocks: 30, buckets: vec![(1.0, 2.0); 3] };
    assert!(Trend::recalled(&sound, 400).is_some());
    for broken in [
        TrendMemory { blocks: 0, ..sound.clone() },
        TrendMemory { blocks: 31, ..sound.clone() },
        TrendMemory { first: i64::MAX, ..sound.clone() },
        TrendMemory { first: 100, ..sound.clone() },
        TrendMemory { buckets: vec![(1.0, 2.0); 10_000], ..sound.clone() },
        TrendMemory { buckets: vec![(f32::NAN, 2.0)], ..sound.clone() },
        TrendMemory { buckets: vec![(-1.0, 2.0)], ..sound },
    ] {
        assert!(Trend::recalled(&broken, 400).is_none(), "{broken:?}");
    }
    let mut season = Season::default();
    let hours = [(5, 0.5, 0.1), (9_000, 1.0, 1.0), (-9_000, 1.0, 1.0), (6, f32::INFINITY, 0.0), (7, 0.25, f32::NAN)];
    season.recall(&hours.map(|(number, shift, tail)| HourMemory(number, shift, tail)), 20);
    assert_eq!(season.kept(), [HourMemory(5, 0.5, 0.1)]);
}

#[test]
fn further_signals_than_the_bound_are_not_kept() {
    let mut detector = Detector::new(super::super::DetectorLimits::default());
    for number in 0..SIGNALS_MAX + 5 {
        let id = detector.signals.list.id(Scope::Service(format!("service-{number}").into()), 0).unwrap();
        detector.signals.list.get_mut(id).unwrap().trend.add(1.0, 0);
    }
    assert_eq!(detector.remember(), None);
    detector.judged = Some(1);
    let usual = usual(&detector.remember());
    assert_eq!(usual.signals.len(), SIGNALS_MAX);
    assert_eq!(usual.signals[0].about, About::Service("service-0".to_owned()));
}
