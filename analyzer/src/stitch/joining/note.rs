//! What arriving spans say of other traces, indexed by what they share; and what closed traces teach about keys.

use collector_table::{SpanId, TraceId};

use super::Joiner;
use crate::hash::{FNV_SEED, Map, fnv};
use crate::join::{Refusal, Rule};
use crate::span::Span;
use crate::stitch::discovery::{ValueNews, ValueState};
use crate::stitch::facts::{Fact, Found, LinkFact};
use crate::stitch::graph::{Graph, Group, Held, NOWHERE, Node, Ready, find};
use crate::stitch::keys::{KeyId, NO_KEY, differ};
use crate::stitch::limits::StitcherLimits;

/// Spans of one trace that are remembered to carry one value.
const CARRIERS_MAX: usize = 8;
/// Latest facts of a trace that are looked at for whether they say the same.
const LATEST_FACTS: usize = 64;
/// Refusals that are remembered for one trace.
const REFUSED_MAX: usize = 4;
/// Crowded values that are remembered; beyond it all are forgotten, and gather their crowd anew.
const CROWDED_MAX: usize = 50_000;

/// How a trace begins: when, which it is, and what is done there and whether it fails.
type Begun = (i64, TraceId, (u64, bool));

impl Joiner {
    /// Takes in what a span, or a log record, of a trace says.
    pub(in crate::stitch) fn note(&mut self, limits: &StitcherLimits, id: TraceId, found: &Found, now_ns: i64) {
        if self.is_sealed(id) {
            return;
        }
        for link in &found.links {
            let node = self.graph.nodes.entry(id).or_default();
            if node.links.len() >= limits.facts_per_trace_max {
                self.stats.facts_left_out += 1;
                break;
            }
            let is_known = |known: &LinkFact| known.span_id == link.span_id && known.span == link.span;
            if link.trace == id || node.links.iter().rev().take(LATEST_FACTS).any(is_known) {
                continue;
            }
            node.links.push(*link);
            let linkers = self.graph.linkers.entry(link.trace).or_default();
            // One more than the bound says that it is broken.
            if linkers.len() <= limits.links_to_trace_max && !linkers.contains(&id) {
                linkers.push(id);
            }
            self.graph.changed();
        }
        for fact in &found.facts {
            self.note_fact(limits, id, fact, now_ns);
        }
    }

    fn note_fact(&mut self, limits: &StitcherLimits, id: TraceId, fact: &Fact, now_ns: i64) {
        if let Some(seen_ns) = self.crowded.get_mut(&fact.token) {
            *seen_ns = now_ns;
            self.graph.discovery.note_crowd(fact.key, false);
            self.note_refused(id, fact, Refusal::FanIn);
            return;
        }
        let node = self.graph.nodes.entry(id).or_default();
        let same = node.facts.iter().rev().take(LATEST_FACTS).filter(|held| held.fact.token == fact.token);
        let mut carriers = 0;
        for held in same {
            if held.fact.span_id == fact.span_id {
                return;
            }
            carriers += 1;
        }
        if carriers >= CARRIERS_MAX {
            return;
        }
        let is_full = self.graph.groups.len() >= limits.join_values_max && !self.graph.groups.contains_key(&fact.token);
        if node.facts.len() >= limits.facts_per_trace_max || is_full {
            self.stats.facts_left_out += 1;
            return;
        }
        node.facts.push(Held { fact: *fact, at: NOWHERE });
        let group = self.graph.groups.entry(fact.token).or_insert_with(|| Group {
            rule: fact.rule,
            key: fact.key,
            traces: Vec::with_capacity(1),
            noted: 0,
            noted_at: 0,
            state: ValueState::Unknown,
            refused: None,
        });
        if group.traces.contains(&id) {
            return;
        }
        group.traces.push(id);
        if group.traces.len() > fan_in_max(limits, fact.rule) {
            self.crowd(fact, id, now_ns);
        }
    }

    /// Lets go of a value that joins too much; what it had joined is looked at again.
    fn crowd(&mut self, fact: &Fact, id: TraceId, now_ns: i64) {
        let Some(mut group) = self.graph.groups.remove(&fact.token) else { return };
        // Of a key that is only watched nothing was asked.
        if fact.rule != Rule::DiscoveredKey || self.graph.discovery.joins(fact.key) {
            self.graph.refusals.note_group(&mut group, Refusal::FanIn, id);
        }
        self.graph.discovery.note_crowd(fact.key, true);
        if self.crowded.len() >= CROWDED_MAX {
            self.crowded.clear();
        }
        self.crowded.insert(fact.token, now_ns);
        for trace in group.traces {
            self.note_refused(trace, fact, Refusal::FanIn);
            self.stirred.insert(trace);
        }
        self.graph.changed();
    }

    fn note_refused(&mut self, id: TraceId, fact: &Fact, why: Refusal) {
        // Of a key that is only watched nothing was asked.
        if fact.rule == Rule::DiscoveredKey && !self.graph.discovery.joins(fact.key) {
            return;
        }
        self.graph.nodes.entry(id).or_default();
        let life = self.lives.entry(id).or_default();
        let refused = (fact.rule, fact.key, why);
        if life.refused.len() < REFUSED_MAX && !life.refused.contains(&refused) {
            life.refused.push(refused);
        }
    }

    /// Finds the spans of a closed trace that its facts are of, and sorts the facts.
    pub(super) fn place_facts(&mut self, id: TraceId, mut ready: Ready) {
        let node = self.graph.nodes.entry(id).or_default();
        if !node.facts.is_empty() {
            let index = SpanIndex::of(&ready.spans, node.facts.len());
            let is_new = |held: &Held| held.at == NOWHERE;
            let noted: Vec<u64> = node.facts.iter().filter(|held| !is_new(held)).map(|held| held.fact.token).collect();
            for held in &mut node.facts {
                held.at = index.find(held.fact.span_id).unwrap_or(ready.root);
            }
            node.facts.sort_unstable_by_key(|held| (held.fact.token, held.fact.start_ns, held.at));
            let mut keys: Vec<KeyId> = node.tokens().map(|held| held.fact.key).collect();
            keys.sort_unstable();
            ready.many_valued = keys.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
            node.noted = noted;
        }
        node.ready = Some(ready);
    }

    /// Places what was noted of a trace after it closed.
    pub(in crate::stitch) fn place_again(&mut self, id: TraceId, now_ns: i64) {
        let Some(ready) = self.graph.nodes.get_mut(&id).and_then(|node| node.ready.take()) else {
            // Its spans may never come.
            self.keep_on(id, now_ns);
            return;
        };
        self.place_facts(id, ready);
        self.note_values(id);
        self.graph.changed();
        self.stirred.insert(id);
    }

    /// Tells discovery of the values of a closed trace that it was not told of before.
    pub(super) fn note_values(&mut self, id: TraceId) {
        let Some(node) = self.graph.nodes.get_mut(&id) else { return };
        let noted = std::mem::take(&mut node.noted);
        node.is_noted = true;
        let watched = node.tokens().filter(|held| held.fact.key != NO_KEY && !noted.contains(&held.fact.token));
        let facts: Vec<Fact> = watched.map(|held| held.fact).collect();
        let ready = node.ready.as_ref();
        let service = ready.map_or(0, |ready| fnv(FNV_SEED, ready.spans[ready.root as usize].service().as_bytes()));
        if let Some(own) = self.graph.begun(id) {
            facts.iter().for_each(|fact| self.graph.note_value(own, service, fact));
        }
        for key in self.graph.discovery.take_changed() {
            self.stats.keys_changed += 1;
            if self.graph.discovery.is_barred(key) {
                self.graph.refusals.note_once(id, Rule::NamedKey, key, Refusal::Recurs, id);
            }
            let groups = self.graph.groups.values().filter(|group| group.key == key && group.traces.len() > 1);
            self.stirred.extend(groups.flat_map(|group| group.traces.iter().copied()));
        }
    }
}

impl Graph {
    /// Returns how a trace of which discovery was told begins: when, which, what is done there and whether it fails.
    fn begun(&self, id: TraceId) -> Option<Begun> {
        let ready = self.nodes.get(&id).filter(|node| node.is_noted)?.ready.as_ref()?;
        let root = &ready.spans[ready.root as usize];
        Some((root.start_ns, id, (root.site.shape, root.has_error())))
    }

    /// Tells discovery that one more closed trace of a service carries a value.
    fn note_value(&mut self, own: Begun, service: u64, fact: &Fact) {
        let ((token, key), (start_ns, id, _)) = ((fact.token, fact.key), own);
        let Some(group) = self.groups.get(&token) else { return };
        let mut begun = vec![own];
        // Nearly always nothing else carries it.
        if group.traces.len() > 1 {
            begun.extend(group.traces.iter().filter(|other| **other != id).filter_map(|other| self.begun(*other)));
            begun.sort_unstable();
        }
        let others = begun.iter().filter(|other| other.1 != id);
        let nearest = others.min_by_key(|other| start_ns.saturating_sub(other.0).abs());
        let pause_ns = nearest.map_or(0, |other| start_ns.saturating_sub(other.0).abs());
        let nearest = nearest.map(|other| other.1);
        let state = ValueState::of(begun.iter().map(|(.., begun)| *begun));
        let (order, done) = (order_of(&begun, id), newly_done(&begun, id));
        let Some(group) = self.groups.get_mut(&token) else { return };
        group.noted += 1;
        let was = std::mem::replace(&mut group.state, state);
        if group.rule == Rule::DiscoveredKey && state == ValueState::Recurring && self.discovery.joins(key) {
            self.refusals.note_group(group, Refusal::Recurs, id);
        }
        let news = ValueNews { traces: group.noted, noted_at: group.noted_at, pause_ns, was, state, order, done };
        group.noted_at = self.discovery.note(key, fact.form, service, news);
        if let Some(other) = nearest {
            let (is_confirmed, is_contradicted) = self.other_rules(id, other, key);
            self.discovery.note_other_rules(key, is_confirmed, is_contradicted);
        }
    }

    /// Returns whether another rule joins two traces as well, and whether a named key tells them apart.
    fn other_rules(&self, left: TraceId, right: TraceId, key: KeyId) -> (bool, bool) {
        let (Some(one), Some(other)) = (self.nodes.get(&left), self.nodes.get(&right)) else { return (false, false) };
        let links =
            one.links.iter().any(|link| link.trace == right) || other.links.iter().any(|link| link.trace == left);
        let shares = one.tokens().any(|held| {
            held.fact.key != key && held.fact.rule != Rule::DiscoveredKey && !other.with(held.fact.token).is_empty()
        });
        let named = |node: &Node| node.values(|held| held.fact.rule == Rule::NamedKey);
        (links || shares, differ(&named(one), &named(other)))
    }
}

/// Finds spans by id: of a few that are asked for, looking through them costs less than an index.
pub(in crate::stitch) enum SpanIndex<'a> {
    Looks(&'a [Span]),
    Knows(Map<SpanId, u32>),
}

/// Spans that are looked at, together, before an index is made.
const LOOKS_MAX: usize = 512;

impl<'a> SpanIndex<'a> {
    pub(in crate::stitch) fn of(spans: &'a [Span], asked: usize) -> Self {
        if spans.len().saturating_mul(asked) <= LOOKS_MAX {
            return Self::Looks(spans);
        }
        Self::Knows((0u32..).zip(spans).map(|(at, span)| (span.span_id, at)).collect())
    }

    pub(in crate::stitch) fn find(&self, id: SpanId) -> Option<u32> {
        match self {
            Self::Looks(spans) => find(spans, id),
            Self::Knows(index) => index.get(&id).copied(),
        }
    }
}

/// Returns what a trace and the first of the others do, in order of time, unless they do the same.
fn order_of(begun: &[Begun], id: TraceId) -> Option<(u64, u64)> {
    let (first, own) = (begun.first()?, begun.iter().find(|one| one.1 == id)?);
    let later = if first.1 == id { begun.get(1)? } else { own };
    let (before, after) = (first.2.0, later.2.0);
    (before != after).then_some((before, after))
}

/// Returns what is done under a value that several traces share and was not known to be before a trace came: all of it
/// when it is the second.
fn newly_done(begun: &[Begun], id: TraceId) -> [Option<u64>; 2] {
    let own = begun.iter().find(|one| one.1 == id).map(|one| one.2.0);
    let mut others = begun.iter().filter(|one| one.1 != id).map(|one| one.2.0).peekable();
    let first = others.peek().copied().filter(|_| begun.len() == 2);
    let is_new = begun.len() > 1 && others.all(|other| Some(other) != own);
    [first, own.filter(|_| is_new)]
}

/// Returns how many traces may share one value.
fn fan_in_max(limits: &StitcherLimits, rule: Rule) -> usize {
    match rule {
        Rule::Link => limits.links_to_trace_max,
        Rule::MessageId | Rule::Offset | Rule::Conversation => limits.traces_per_message_max,
        Rule::NamedKey => limits.traces_per_named_value_max,
        Rule::DiscoveredKey => limits.traces_per_discovered_value_max,
    }
}
