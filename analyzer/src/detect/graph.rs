//! Who calls whom, and who sends to whom, as the signals know it. Made once a block by the life of incidents, when
//! something stands out, and asked for what lies below or above a service. Bounded as signals are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::rates::Rates;
use super::signals::{Scope, Signals};

/// Services that are looked at on the way down or up from one.
const STEPS_MAX: usize = 64;

/// Services and peers by service.
type Edges = BTreeMap<Arc<str>, Vec<Arc<str>>>;

/// Who waits for whom.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// Called ones by caller: who sends a message does not wait.
    called: Edges,
    /// Callers and senders by who is called or sent to.
    callers: Edges,
}

impl Graph {
    /// Returns the graph of all hops that are watched.
    pub(super) fn of(signals: &Signals, rates: &Rates) -> Self {
        let mut graph = Self::default();
        for (_, scope, _) in signals.list.iter() {
            let Scope::Hop(from, to) = scope else { continue };
            graph.callers.entry(to.clone()).or_default().push(from.clone());
            if !rates.are_adjacent(from, to) {
                graph.called.entry(from.clone()).or_default().push(to.clone());
            }
        }
        graph
    }

    /// Returns the services and peers that a service calls, and those that they call.
    pub(super) fn below(&self, service: &str) -> BTreeSet<Arc<str>> {
        reach(&self.called, service)
    }

    /// Returns the services that call or send to one, and those that do so to them.
    pub(super) fn above(&self, service: &str) -> BTreeSet<Arc<str>> {
        reach(&self.callers, service)
    }

    /// Returns how many services call or send to one.
    pub(super) fn callers(&self, service: &str) -> usize {
        self.callers.get(service).map_or(0, Vec::len)
    }
}

fn reach(edges: &Edges, from: &str) -> BTreeSet<Arc<str>> {
    let mut found: BTreeSet<Arc<str>> = BTreeSet::new();
    let mut next: Vec<&str> = vec![from];
    while let Some(at) = next.pop() {
        for to in edges.get(at).into_iter().flatten() {
            if found.len() < STEPS_MAX && found.insert(to.clone()) {
                next.push(to);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(pairs: &[(&str, &str)]) -> Edges {
        let mut edges = Edges::new();
        for (from, to) in pairs {
            edges.entry((*from).into()).or_default().push((*to).into());
        }
        edges
    }

    #[test]
    fn what_is_reached_is_found_once_also_around_a_circle_and_up_to_a_bound() {
        let circle = edges(&[("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("x", "a")]);
        let names: Vec<Arc<str>> = reach(&circle, "b").into_iter().collect();
        assert_eq!(names, ["a", "b", "c", "d"].map(Arc::<str>::from));
        assert!(reach(&circle, "d").is_empty());
        let star: Vec<String> = (0..STEPS_MAX + 9).map(|number| format!("s{number}")).collect();
        let star: Vec<(&str, &str)> = star.iter().map(|name| ("hub", name.as_str())).collect();
        assert_eq!(reach(&edges(&star), "hub").len(), STEPS_MAX);
    }
}
