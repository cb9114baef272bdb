//! Scores the analysis on simulated systems and prints tables: faults by kind and strength, false incidents over harmless
//! changes, and stitching by system. Run with `just score [faults] [harmless] [stitching] [seeds N] [from N] [only WORD]
//! [systems WORD] [strength WORD] [every] [verbose]`; without a word, all of it. Each seed takes another system for each
//! kind, or all systems with `every`. It asserts nothing: `tests/simulated.rs` does.

mod drive;

use collector_simulator::fault::{self, Period, Strength};
use collector_simulator::score::{Found, Row, Verdict, table};
use collector_simulator::{Change, Effect, Fault, System, harmless, systems};

/// Seconds for which a system is watched before something happens.
const BEFORE_S: f64 = 1_200.0;
/// Seconds that a fault lasts; one that creeps lasts for hours.
const FAULT_S: f64 = 600.0;
const CREEP_S: f64 = 3.0 * 3_600.0;
/// Share of the traffic that is left in the hours in which something creeps: less is enough, and takes less time.
const CREEP_TRAFFIC: f64 = 0.3;
/// Seconds in which a fault grows that does not come at once.
const RAMP_S: f64 = 180.0;
/// Seconds in which something harmless goes on.
const HARMLESS_S: f64 = 1_800.0;
/// Seconds for which stitching is scored.
const STITCHING_S: usize = 300;
const WEEK_S: f64 = 7.0 * 86_400.0;

/// What is asked for on the command line.
struct Asked {
    words: Vec<String>,
}

impl Asked {
    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|known| known == word)
    }

    fn after(&self, word: &str) -> Option<&str> {
        let at = self.words.iter().position(|known| known == word)?;
        self.words.get(at + 1).map(String::as_str)
    }

    fn number(&self, word: &str, usual: u64) -> u64 {
        self.after(word).and_then(|number| number.parse().ok()).unwrap_or(usual)
    }

    fn is_all(&self) -> bool {
        !["faults", "harmless", "stitching"].into_iter().any(|word| self.has(word))
    }

    fn seeds(&self) -> impl Iterator<Item = u64> + use<> {
        let from = self.number("from", 1);
        from..from + self.number("seeds", 1)
    }

    fn wants(&self, filter: &str, name: &str) -> bool {
        self.after(filter).is_none_or(|word| name.contains(word))
    }

    /// Returns the systems of a seed: those that were written down, and two that are drawn.
    fn systems(&self, seed: u64) -> Vec<System> {
        let mut all = systems::written();
        all.extend([systems::drawn(2 * seed), systems::drawn(2 * seed + 1)]);
        all.retain(|system| self.wants("systems", &system.name));
        all
    }
}

fn main() {
    let asked = Asked { words: std::env::args().skip(1).collect() };
    if asked.has("stitching") || asked.is_all() {
        stitching(&asked);
    }
    if asked.has("faults") || asked.is_all() {
        faults(&asked);
    }
    if asked.has("harmless") || asked.is_all() {
        quiet(&asked);
    }
}

fn stitching(asked: &Asked) {
    println!("\nstitching: pairs of spans that belong together, and owners of critical paths");
    println!("{:<20} {:>9} {:>9} {:>7} {:>9}", "system", "precision", "recall", "owner", "pairs");
    for seed in asked.seeds() {
        for system in asked.systems(seed) {
            let (score, mistakes) = drive::stitching(&system, seed, STITCHING_S);
            println!(
                "{:<20} {:>9.5} {:>9.5} {:>7.4} {:>9}",
                system.name,
                score.precision(),
                score.recall(),
                score.owner_share(),
                score.pairs_right + score.pairs_missed
            );
            if asked.has("verbose") {
                mistakes.iter().take(8).for_each(|(text, count)| println!("    {count:>5} owner is {text}"));
            }
        }
    }
}

fn faults(asked: &Asked) {
    let mut verdicts = Vec::new();
    for seed in asked.seeds() {
        for (index, kind) in fault::kinds().enumerate().filter(|(_, kind)| asked.wants("only", kind)) {
            let mut systems = asked.systems(seed);
            let first = (seed as usize + 3 * index) % systems.len().max(1);
            systems.rotate_left(first);
            let with_place: Vec<&System> =
                systems.iter().filter(|system| placed(system, kind, Strength::Severe, seed).is_some()).collect();
            let count = if asked.has("every") { with_place.len() } else { 1 };
            for system in with_place.into_iter().take(count) {
                for strength in Strength::ALL.into_iter().filter(|it| asked.wants("strength", it.as_str())) {
                    let Some(fault) = placed(system, kind, strength, seed) else { continue };
                    verdicts.push(one_fault(asked, system, &fault, seed));
                }
            }
        }
    }
    println!("\nfaults, from {} s to {} s; those of a kind have all systems", BEFORE_S, BEFORE_S + FAULT_S);
    println!("{}", Row::heading());
    table(&verdicts).iter().for_each(|row| println!("{}", row.text()));
}

/// Returns a fault of a seed: every second one grows instead of being there at once.
fn placed(system: &System, kind: &str, strength: Strength, seed: u64) -> Option<Fault> {
    let is_creep = kind == "facade_creep";
    let length_s = if is_creep { CREEP_S } else { FAULT_S };
    let ramp_s = if (seed + kind.len() as u64).is_multiple_of(2) { 0.0 } else { RAMP_S };
    let period = Period { from_s: BEFORE_S, to_s: BEFORE_S + length_s, ramp_s };
    let mut fault = fault::place(system, kind, strength, period, seed)?;
    if is_creep {
        let less = Effect::Traffic { source: None, factor: CREEP_TRAFFIC };
        fault.changes.push(Change::between(0.0, f64::from(u32::MAX), less));
    }
    Some(fault)
}

fn one_fault(asked: &Asked, system: &System, fault: &Fault, seed: u64) -> Verdict {
    let (verdict, found) = drive::verdict(system, fault, seed);
    if asked.has("verbose") {
        let words = if verdict.is_found() { "found" } else { "MISSED" };
        println!("{} {} {} seed {seed}: {words}", system.name, fault.kind, fault.strength.as_str());
        println!("    at {:?} {:?} {:?}", fault.services, fault.operations, fault.scope);
        tell(&found);
    }
    verdict
}

fn quiet(asked: &Asked) {
    println!("\nharmless changes: false incidents");
    let (mut weeks, mut all) = (0.0, 0);
    for kind in harmless::kinds().filter(|kind| asked.wants("only", kind)) {
        let (mut incidents, mut hours) = (0, 0.0);
        for seed in asked.seeds() {
            for system in asked.systems(seed) {
                let period_s = (BEFORE_S, BEFORE_S + HARMLESS_S);
                let Some(change) = harmless::harmless(&system, kind, period_s, seed) else { continue };
                let seconds = BEFORE_S + HARMLESS_S + drive::AFTER_S;
                let found = drive::incidents(&change.system, seed, change.changes, seconds, None).found;
                if asked.has("verbose") && !found.is_empty() {
                    println!("{} seed {seed}, {kind}:", system.name);
                    tell(&found);
                }
                incidents += found.len();
                hours += seconds / 3_600.0;
            }
        }
        println!("{kind:<45} {incidents:>4} in {hours:>6.1} h");
        (weeks, all) = (weeks + hours * 3_600.0 / WEEK_S, all + incidents);
    }
    println!("{:<45} {:>4} in {weeks:.2} weeks: {:.2} a week", "all of them", all, f64::from(all as u32) / weeks);
}

fn tell(found: &[Found]) {
    for one in found {
        println!(
            "    {} told at {:.0} s, from {:.0} s, {} / {} / {:?}",
            one.kind, one.opened_s, one.started_s, one.root_service, one.root_operation, one.root_instance
        );
    }
}
