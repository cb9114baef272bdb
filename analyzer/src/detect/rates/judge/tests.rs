//! Rates over time, drawn block by block: which stand out, and when they are back.

use std::sync::Arc;

use collector_table::SpanKind;

use super::*;
use crate::fixture::dice::Dice;
use crate::span::{Repeat, Site};

/// Blocks of usual time before anything happens: twenty minutes.
const USUAL_BLOCKS: i64 = 120;
/// Blocks of most tests.
const BLOCKS: i64 = 240;

fn site() -> Arc<Site> {
    let name: Arc<str> = "shop".into();
    Arc::new(Site {
        service: name.clone(),
        operation: name,
        instance: None,
        version: None,
        kind: SpanKind::Server,
        peer: None,
        system: None,
        target: None,
        is_database: false,
        has_error: false,
        is_resend: false,
        repeat: Repeat::Unknown,
        keyed_by: None,
        number: 1,
        process: 1,
        shape: 1,
        peer_hash: 0,
    })
}

fn example() -> super::super::Example {
    let id = collector_table::TraceId([1; 16]);
    super::super::Example { id, root: None, duration_ms: 1.0, site: None }
}

/// One rate, block by block.
struct Drawn {
    occasions: Occasions,
    id: usize,
    needed: f64,
    hot: Vec<i64>,
}

impl Drawn {
    fn new() -> Self {
        let mut occasions = Occasions::new(10);
        let by = (Arc::from("shop"), Arc::from("GET /"));
        let id = occasions.slots.id(Occasion { of: Of::Execution, by, to: None }, 0).unwrap();
        Self { occasions, id, needed: needed(1.0, 0), hot: Vec::new() }
    }

    /// Counts `of` occasions in a block, of which `wrong` fail, and judges it.
    fn block(&mut self, block: i64, of: u64, wrong: u64) {
        for number in 0..of {
            self.occasions.begin();
            self.occasions.occurs(self.id, block, 0, &site());
            if number < wrong {
                self.occasions.goes_wrong(self.id, (Wrong::Fails, 0.0), block, example);
            }
        }
        if !self.occasions.watch(block, self.needed, true).is_empty() {
            self.hot.push(block);
        }
    }

    /// Draws every block by chance.
    fn run(seed: u64, of: impl Fn(i64) -> u64, share: impl Fn(i64) -> f64) -> Self {
        Self::run_for(BLOCKS, seed, of, share)
    }

    fn run_for(blocks: i64, seed: u64, of: impl Fn(i64) -> u64, share: impl Fn(i64) -> f64) -> Self {
        let (mut drawn, mut dice) = (Self::new(), Dice(seed));
        for block in 0..blocks {
            let of = of(block);
            let wrong = (0..of).filter(|_| (dice.below(1_000_000) as f64) < share(block) * 1e6).count() as u64;
            drawn.block(block, of, wrong);
        }
        drawn
    }
}

fn since_usual(block: i64, usual: f64, then: f64) -> f64 {
    if block < USUAL_BLOCKS { usual } else { then }
}

#[test]
fn larger_share_is_found_within_two_minutes_and_the_usual_one_never() {
    for (of, usual, then) in [(100, 0.001, 0.05), (20, 0.0, 0.2), (50, 0.02, 0.15), (3, 0.0, 0.6)] {
        for seed in 0..10 {
            let drawn = Drawn::run(seed, |_| of, |block| since_usual(block, usual, then));
            let first = drawn.hot.first().copied().unwrap_or(i64::MAX);
            assert!(
                (USUAL_BLOCKS..USUAL_BLOCKS + 12).contains(&first),
                "seed {seed}: {then} after {usual} of {of} a block stands out at {first}"
            );
        }
    }
}

#[test]
fn rare_traffic_is_found_with_more_patience() {
    // Two a minute: after three hours it is known what is usual, and ten minutes are enough to see that it is not so.
    let (from, of) = (3 * 360, |block: i64| u64::from(block % 3 == 0));
    for seed in 0..10 {
        let drawn = Drawn::run_for(from + 90, seed, of, |block| if block < from { 0.0 } else { 0.6 });
        assert!(drawn.hot.first().is_some_and(|first| *first >= from), "seed {seed}: {:?}", drawn.hot);
    }
}

#[test]
fn usual_shares_open_nothing_whatever_the_traffic_does() {
    for seed in 0..20 {
        let of = |block: i64| if block < USUAL_BLOCKS { 20 } else { 80 };
        for share in [0.0, 0.004, 0.05, 0.4] {
            let drawn = Drawn::run(seed, of, |_| share);
            assert_eq!(drawn.hot, [0; 0], "seed {seed}, {share}");
        }
    }
}

#[test]
fn bursts_that_are_usual_open_nothing() {
    for seed in 0..20 {
        // Every five minutes twenty seconds of failures.
        let drawn = Drawn::run(seed, |_| 20, |block| if block % 30 < 2 { 0.5 } else { 0.001 });
        assert_eq!(drawn.hot, [0; 0], "seed {seed}");
    }
}

#[test]
fn one_short_burst_opens_nothing() {
    for wrong in [5, 20, 50] {
        let mut drawn = Drawn::new();
        for block in 0..BLOCKS {
            let is_burst = (USUAL_BLOCKS..USUAL_BLOCKS + 2).contains(&block);
            drawn.block(block, 50, if is_burst { wrong } else { 0 });
        }
        assert_eq!(drawn.hot, [0; 0], "{wrong}");
    }
}

#[test]
fn first_minutes_say_what_is_usual_and_open_nothing() {
    for seed in 0..20 {
        let drawn = Drawn::run(seed, |_| 20, |_| 0.1);
        assert_eq!(drawn.hot, [0; 0], "seed {seed}");
    }
}

#[test]
fn rate_is_back_when_its_share_is_and_not_when_nothing_happens() {
    let mut drawn = Drawn::new();
    for block in 0..USUAL_BLOCKS + 12 {
        drawn.block(block, 20, if block < USUAL_BLOCKS { 0 } else { 8 });
    }
    let occasion = drawn.occasions.slots.key(drawn.id).unwrap().clone();
    drawn.occasions.slots.get_mut(drawn.id).unwrap().held_from = Some(USUAL_BLOCKS);
    drawn.occasions.hold_rate(drawn.id, Wrong::Fails, USUAL_BLOCKS);
    let calm = |drawn: &Drawn, block| drawn.occasions.is_calm(&occasion, Wrong::Fails, block, 0.4);
    assert_eq!(calm(&drawn, USUAL_BLOCKS + 11), Some(false));
    for block in USUAL_BLOCKS + 12..USUAL_BLOCKS + 24 {
        drawn.block(block, 20, 0);
    }
    assert_eq!(calm(&drawn, USUAL_BLOCKS + 23), Some(true));
    assert_eq!(calm(&drawn, USUAL_BLOCKS + 60), None);
}

#[test]
fn occasions_beyond_the_bound_are_counted_and_blocks_are_let_go() {
    let mut occasions = Occasions::new(2);
    let of = |name: &str| Occasion { of: Of::Execution, by: (Arc::from(name), Arc::from("GET /")), to: None };
    let ids: Vec<Option<usize>> = ["a", "b", "c"].iter().map(|name| occasions.slots.id(of(name), 0)).collect();
    assert_eq!((ids[2], occasions.slots.left_out), (None, 1));
    for block in 0..1_000 {
        occasions.begin();
        occasions.occurs(ids[0].unwrap(), block, 0, &site());
        occasions.goes_wrong(ids[0].unwrap(), (Wrong::Fails, 1.0), block, example);
    }
    let place = occasions.slots.get(ids[0].unwrap()).unwrap();
    let kept = usize::try_from(super::super::occasion::KEPT_BLOCKS).unwrap() + 1;
    assert_eq!((place.blocks.len(), place.rates[0].blocks.len()), (kept, kept));
    assert!(place.rates[0].examples.len() <= super::super::occasion::EXAMPLES_MAX);
}
