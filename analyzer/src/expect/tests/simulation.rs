//! Simulated systems: a pipeline of events that loses messages, a saga that sometimes is not compensated, a cache, an
//! early exit, a consumer of which half is sampled, spans that are lost. Seed → traffic → delay, shuffle → what is said to
//! be missing, compared with what is. Names are drawn, so that nothing can be fitted to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use collector_table::{SpanTable, TraceId};

use super::super::{LackingState, SagaState};
use super::{MS_NS, SECOND_NS};
use crate::fixture::dice::Dice;
use crate::fixture::{lines, table};
use crate::{Analyzer, AnalyzerLimits, Outcome, Transaction};

/// Transactions of which nothing is asked: what is usual is not known yet.
const WARM_UP: u64 = 4_500;
const TRANSACTIONS: u64 = 14_000;

impl Dice {
    /// Milliseconds in a queue: mostly short, now and then long.
    fn queue_ms(&mut self) -> u64 {
        if self.is(60) { 5_000 + self.below(35_000) } else { 5 + self.below(600) }
    }
}

/// What was made, and what of it is missing.
struct World {
    dice: Dice,
    names: Vec<String>,
    /// Tables with when they arrive.
    sent: Vec<(i64, SpanTable)>,
    /// By transaction: operations that did not come.
    missing: BTreeSet<(TraceId, String)>,
    uncompensated: BTreeSet<TraceId>,
    /// Transactions of which spans were lost.
    broken: BTreeSet<TraceId>,
    after: BTreeSet<TraceId>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let word = |dice: &mut Dice| (0..5).map(|_| char::from(b'a' + (dice.below(26) as u8))).collect::<String>();
        let names = (0..12).map(|number| format!("{}{number}", word(&mut dice))).collect();
        let (missing, uncompensated) = (BTreeSet::new(), BTreeSet::new());
        let (broken, after) = (BTreeSet::new(), BTreeSet::new());
        Self { dice, names, sent: Vec::new(), missing, uncompensated, broken, after }
    }

    fn make(&mut self) {
        for number in 1..=TRANSACTIONS {
            let id = TraceId(u128::from(number * 8).to_be_bytes());
            if number > WARM_UP {
                self.after.insert(id);
            }
            let mut text = match number % 4 {
                0 => self.pipeline(id, number),
                1 => self.saga(id),
                2 => self.cached(),
                _ => self.sampled(number),
            };
            if self.dice.is(250) && number % 4 == 1 {
                // The call's own span is lost, and what it called is there.
                text = text.replacen("\n  flow client", "\n  flow lostly", 1);
                let at = text.find("lostly").unwrap();
                let end = at + text[at..].find('\n').unwrap();
                text.insert_str(end, " lost");
                text = text.replacen("lostly", "client", 1);
                self.broken.insert(id);
            }
            self.send(&text, number);
        }
        self.sent.sort_by_key(|(at_ns, _)| *at_ns);
    }

    fn send(&mut self, text: &str, number: u64) {
        let begin_ms = i64::try_from(number * 80).unwrap();
        let mut traces: Vec<Vec<_>> = Vec::new();
        let text = text.replace("flow ", &format!("{} ", self.names[0]));
        for one in lines(&text) {
            match traces.last_mut() {
                Some(trace) if one.is_of(&trace[0]) => trace.push(one),
                _ => traces.push(vec![one]),
            }
        }
        for (trace, id) in traces.iter_mut().zip(number * 8..) {
            trace.iter_mut().for_each(|one| one.at(begin_ms, id));
            let table = table(trace);
            let columns = table.columns();
            let ends = columns.starts_ns.iter().zip(columns.durations_ns).map(|(start, duration)| start + duration);
            let export_ns = i64::try_from(self.dice.below(5_000)).unwrap() * MS_NS;
            self.sent.push((ends.max().unwrap() + export_ns, table));
        }
    }

    /// Three services that each tell the next; a message is lost now and then, and with it all that would follow.
    fn pipeline(&mut self, id: TraceId, number: u64) -> String {
        let names: Vec<String> = self.names[1..5].to_vec();
        let mut text = format!(
            "{} begin 0..40\n  {} producer to-{} 30..35 messaging.message.id=m-{number:016}-0\n",
            names[0], names[0], names[1]
        );
        let mut at = 35;
        for (hop, name) in names.iter().enumerate().skip(1) {
            if self.dice.is(150) {
                self.missing.insert((id, format!("do-{name}")));
                break;
            }
            at += self.dice.queue_ms();
            let (from, to) = (at, at + 10 + self.dice.below(90));
            write!(text, "\n{name} consumer do-{name} {from}..{to} messaging.message.id=m-{number:016}-{}\n", hop - 1)
                .unwrap();
            if let Some(next) = names.get(hop + 1) {
                writeln!(
                    text,
                    "  {name} producer to-{next} {}..{to} messaging.message.id=m-{number:016}-{hop}",
                    to - 3
                )
                .unwrap();
            }
            at = to;
        }
        text
    }

    /// One service that calls three, each of which may fail; what was done is then undone, mostly.
    fn saga(&mut self, id: TraceId) -> String {
        let names: Vec<String> = self.names[5..8].to_vec();
        let failing = if self.dice.is(4) { usize::try_from(self.dice.below(3)).unwrap() } else { usize::MAX };
        let forgets = failing < 3 && failing > 0 && self.dice.is(25);
        let error = if failing < 3 { " error" } else { "" };
        let mut text = format!("flow order 0..900{error}\n");
        let mut at = 10;
        let mut call = |dice: &mut Dice, name: &str, verb: &str, error: &str| {
            let (from, to) = (at, at + 4 + dice.below(60));
            at = to + 5;
            let (callee_from, callee_to) = (from + 1, to - 1);
            format!(
                "  flow client {verb}-{name} {from}..{to}{error}\n    {name} {verb} {callee_from}..{callee_to}{error}\n"
            )
        };
        for (place, name) in names.iter().enumerate() {
            text += &call(&mut self.dice, name, "do", if place == failing { " error" } else { "" });
            if place == failing {
                break;
            }
        }
        if failing < 3 && !forgets {
            names[..failing].iter().rev().for_each(|name| text += &call(&mut self.dice, name, "undo", ""));
        }
        if forgets {
            self.uncompensated.insert(id);
        }
        text
    }

    /// A cache that is asked first; rarely the request is refused before, without an error.
    fn cached(&mut self) -> String {
        let name = &self.names[8];
        let mut text = format!("{name} item 0..100\n");
        if self.dice.is(150) {
            return text;
        }
        writeln!(text, "  {name} client get 10..12 db.system=redis").unwrap();
        if !self.dice.is(120) {
            writeln!(text, "  {name} client select 20..60 db.system=postgresql").unwrap();
        }
        text
    }

    /// A consumer that sends every second trace.
    fn sampled(&mut self, number: u64) -> String {
        let (from, to) = (&self.names[9], &self.names[10]);
        let mut text =
            format!("{from} note 0..40\n  {from} producer noted 30..35 messaging.message.id=n-{number:016}\n");
        if self.dice.is(2) {
            let at = 35 + self.dice.queue_ms();
            write!(text, "\n{to} consumer keep {at}..{} messaging.message.id=n-{number:016}\n", at + 20).unwrap();
        }
        text
    }
}

struct Said {
    /// By transaction, as it was given out last.
    last: BTreeMap<TraceId, Transaction>,
    /// What was said to be missing when it was decided.
    decided: BTreeSet<(TraceId, String)>,
    analyzer: Analyzer,
    now_ns: i64,
}

fn said(sent: Vec<(i64, SpanTable)>) -> Said {
    let mut said = Said {
        last: BTreeMap::new(),
        decided: BTreeSet::new(),
        analyzer: Analyzer::new(AnalyzerLimits::default()),
        now_ns: 0,
    };
    for (at_ns, table) in sent {
        while said.now_ns + SECOND_NS < at_ns {
            said.now_ns += SECOND_NS;
            let outcome = said.analyzer.advance(said.now_ns);
            said.keep(outcome);
        }
        said.now_ns = said.now_ns.max(at_ns);
        let outcome = said.analyzer.push(&table, said.now_ns);
        said.keep(outcome);
    }
    for _ in 0..400 {
        said.now_ns += SECOND_NS;
        let outcome = said.analyzer.advance(said.now_ns);
        said.keep(outcome);
    }
    said
}

impl Said {
    fn keep(&mut self, outcome: Outcome) {
        for one in outcome.transactions {
            self.decided.extend(missing_in(&one));
            if one.superseded_by.is_some() {
                self.last.remove(&one.id);
            } else {
                self.last.insert(one.id, one);
            }
        }
        let named = outcome.missing.into_iter().map(|one| (one.transaction, one.operation.to_string()));
        self.decided.extend(named);
    }
}

/// How often what was said is right, and what is right was said.
#[derive(Debug, Default)]
struct Score {
    right: usize,
    wrong: usize,
    unsaid: usize,
}

impl Score {
    fn of<T: Ord>(said: &BTreeSet<T>, is: &BTreeSet<T>) -> Self {
        let right = said.intersection(is).count();
        Self { right, wrong: said.len() - right, unsaid: is.len() - right }
    }

    fn precision(&self) -> f64 {
        self.right as f64 / (self.right + self.wrong).max(1) as f64
    }

    fn recall(&self) -> f64 {
        self.right as f64 / (self.right + self.unsaid).max(1) as f64
    }
}

fn missing_in(transaction: &Transaction) -> impl Iterator<Item = (TraceId, String)> + '_ {
    let lacking = transaction.completeness.iter().flat_map(|one| &one.lacking);
    let missing = lacking.filter(|one| one.state == LackingState::Missing);
    missing.map(|one| (transaction.id, one.operation.to_string()))
}

#[test]
fn what_is_said_to_be_missing_is_and_nearly_all_that_is_is_said() {
    let seed = 3;
    let mut world = World::new(seed);
    world.make();
    let said = said(std::mem::take(&mut world.sent));
    let is_asked = |id: &TraceId| world.after.contains(id);
    let asked = || said.last.values().filter(|one| is_asked(&one.id));
    let missing: BTreeSet<_> = world.missing.iter().filter(|(id, _)| is_asked(id)).cloned().collect();
    let uncompensated: BTreeSet<_> = world.uncompensated.iter().filter(|id| is_asked(id)).copied().collect();

    let decided: BTreeSet<_> = said.decided.iter().filter(|(id, _)| is_asked(id)).cloned().collect();
    let decided = Score::of(&decided, &missing);
    // As a page judges later, when all that could come has.
    let known = said.analyzer.expectations();
    let shown: Vec<Transaction> = asked()
        .cloned()
        .map(|mut one| {
            known.judge(&mut one, said.now_ns, false);
            one
        })
        .collect();
    let later: BTreeSet<_> = shown.iter().flat_map(missing_in).collect();
    let later = Score::of(&later, &missing);
    let is_missing =
        |one: &&Transaction| one.saga.as_ref().is_some_and(|saga| saga.state == SagaState::CompensationMissing);
    let told: BTreeSet<TraceId> = asked().filter(is_missing).map(|one| one.id).collect();
    let sagas = Score::of(&told, &uncompensated);
    assert!(missing.len() > 30 && uncompensated.len() > 5 && world.broken.len() > 5, "seed {seed}");
    assert!(decided.precision() >= 0.99 && decided.recall() >= 0.95, "seed {seed}: {decided:?}");
    assert!(later.precision() >= 0.99 && later.recall() >= 0.95, "seed {seed}: {later:?}");
    assert!(sagas.precision() >= 0.99 && sagas.recall() >= 0.95, "seed {seed}: {sagas:?}");
}
