//! The dependency map as nodes and edges, of what was counted now and usually. Made by the map's page and API; knows
//! nothing of how it is drawn. Never larger than what the source gives.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::source::{EDGES_MAX, EdgeEnds, EdgeNumbers, EdgeRow, ProcessRow};

/// Calls, now and usually, from which on times are compared: fewer say little of a 95th percentile.
const CALLS_TOLD_MIN: i64 = 20;
/// An edge whose 95th percentile is so many times the usual one is off its usual.
const SLOW_FACTOR: f64 = 1.5;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum NodeKind {
    Client,
    Service,
    Queue,
    Database,
    Peer,
}

impl NodeKind {
    /// Returns the word used in JSON and ids.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Service => "service",
            Self::Queue => "queue",
            Self::Database => "database",
            Self::Peer => "peer",
        }
    }

    fn of(word: &str) -> Self {
        match word {
            "client" => Self::Client,
            "queue" => Self::Queue,
            "database" => Self::Database,
            "peer" => Self::Peer,
            _ => Self::Service,
        }
    }
}

/// Somebody who calls or is called.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// `kind:name`, and what else tells it apart; the same in every period.
    pub(super) id: String,
    pub(super) kind: NodeKind,
    pub(super) name: String,
    /// System and address of what is no service; empty when the name says all.
    pub(super) detail: String,
    pub(super) instances: usize,
    pub(super) versions: Vec<String>,
    /// Calls and messages to and from it, now.
    pub(super) traffic: i64,
}

/// Calls or messages between two nodes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Edge {
    /// Stable by its ends.
    pub(super) id: String,
    /// Index of the caller among the nodes.
    pub(super) from: usize,
    /// Index of the callee among the nodes.
    pub(super) to: usize,
    pub(super) ends: EdgeEnds,
    /// Nothing counted when it is only usual.
    pub(super) now: EdgeNumbers,
    pub(super) usual: Option<EdgeNumbers>,
}

impl Edge {
    /// Returns how many times the usual 95th percentile it takes now; none when too little is known to say.
    pub(super) fn times_usual(&self) -> Option<f64> {
        let usual = self.usual.as_ref().filter(|usual| usual.calls >= CALLS_TOLD_MIN)?;
        let (now, usual) = (self.now.p95_ns?, usual.p95_ns?);
        (self.now.calls >= CALLS_TOLD_MIN && usual > 0.0).then_some(now / usual)
    }

    /// Returns whether it takes much longer than usual.
    pub(super) fn is_slow(&self) -> bool {
        self.times_usual().is_some_and(|times| times >= SLOW_FACTOR)
    }
}

/// All that is known of who calls whom.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Map {
    /// By id.
    pub(super) nodes: Vec<Node>,
    /// The busiest first.
    pub(super) edges: Vec<Edge>,
    /// Whether there may be more edges than were read.
    pub(super) is_cut: bool,
}

impl Map {
    /// Makes the map of what was counted now and usually. `services` sent spans, also if nobody calls them.
    pub(super) fn of(now: &[EdgeRow], usual: &[EdgeRow], processes: &[ProcessRow], services: Vec<String>) -> Self {
        let is_cut = now.len() >= EDGES_MAX || usual.len() >= EDGES_MAX;
        let mut edges: BTreeMap<&EdgeEnds, (Option<&EdgeRow>, Option<&EdgeRow>)> = BTreeMap::new();
        // A message may be waited for at a time at which nothing was counted.
        let counts = |row: &&EdgeRow| row.numbers.calls > 0 || row.numbers.gap_count > 0;
        now.iter().filter(counts).for_each(|row| edges.entry(&row.ends).or_default().0 = Some(row));
        usual.iter().filter(counts).for_each(|row| edges.entry(&row.ends).or_default().1 = Some(row));

        let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
        for (ends, (now, usual)) in &edges {
            let broker = now.iter().chain(usual).map(|row| row.broker.as_str()).find(|broker| !broker.is_empty());
            let traffic = now.map_or(0, |row| row.numbers.calls);
            for node in [caller(ends, broker.unwrap_or_default()), callee(ends, broker.unwrap_or_default())] {
                let known = nodes.entry(node.id.clone()).or_insert(node.clone());
                known.traffic = known.traffic.saturating_add(traffic);
                if known.detail.is_empty() {
                    known.detail = node.detail;
                }
            }
        }
        for name in services {
            let node = plain(NodeKind::Service, &name, String::new());
            nodes.entry(node.id.clone()).or_insert(node);
        }
        let mut nodes: Vec<Node> = nodes.into_values().collect();
        add_processes(&mut nodes, processes);
        let place: HashMap<&str, usize> =
            nodes.iter().enumerate().map(|(index, node)| (node.id.as_str(), index)).collect();
        let edge = |(ends, (now, usual)): (&EdgeEnds, (Option<&EdgeRow>, Option<&EdgeRow>))| Edge {
            id: edge_id(ends),
            from: place[caller(ends, "").id.as_str()],
            to: place[callee(ends, "").id.as_str()],
            ends: ends.clone(),
            now: now.map(|row| row.numbers.clone()).unwrap_or_default(),
            usual: usual.map(|row| row.numbers.clone()),
        };
        let mut edges: Vec<Edge> = edges.into_iter().map(edge).collect();
        edges.sort_by(|left, right| right.now.calls.cmp(&left.now.calls).then_with(|| left.ends.cmp(&right.ends)));
        Self { nodes, edges, is_cut }
    }

    /// Returns the node that a text means: by its id, or else by its name, services first.
    pub(super) fn find(&self, text: &str) -> Option<usize> {
        let by_id = self.nodes.iter().position(|node| node.id == text);
        let named = || (0..self.nodes.len()).filter(|&index| self.nodes[index].name == text);
        by_id.or_else(|| named().min_by_key(|&index| (self.nodes[index].kind != NodeKind::Service, index)))
    }

    /// Returns how many nodes there are of a kind.
    pub(super) fn count(&self, kind: NodeKind) -> usize {
        self.nodes.iter().filter(|node| node.kind == kind).count()
    }
}

fn add_processes(nodes: &mut [Node], processes: &[ProcessRow]) {
    let mut by_service: HashMap<&str, (BTreeSet<&str>, BTreeSet<&str>)> = HashMap::new();
    for process in processes {
        let (instances, versions) = by_service.entry(&process.service).or_default();
        instances.insert(&process.instance);
        versions.insert(&process.version);
    }
    for node in nodes.iter_mut().filter(|node| node.kind == NodeKind::Service) {
        let Some((instances, versions)) = by_service.get(node.name.as_str()) else { continue };
        node.instances = instances.iter().filter(|name| !name.is_empty()).count();
        node.versions = versions.iter().filter(|name| !name.is_empty()).map(|name| (*name).to_owned()).collect();
    }
}

fn plain(kind: NodeKind, name: &str, detail: String) -> Node {
    let id = if kind == NodeKind::Client { kind.as_str().to_owned() } else { format!("{}:{name}", kind.as_str()) };
    Node { id, kind, name: name.to_owned(), detail, instances: 0, versions: Vec::new(), traffic: 0 }
}

fn caller(ends: &EdgeEnds, broker: &str) -> Node {
    match NodeKind::of(&ends.caller_kind) {
        NodeKind::Client => plain(NodeKind::Client, "clients", String::new()),
        NodeKind::Queue => plain(NodeKind::Queue, &ends.caller, broker.to_owned()),
        kind => plain(kind, &ends.caller, String::new()),
    }
}

fn callee(ends: &EdgeEnds, broker: &str) -> Node {
    match NodeKind::of(&ends.callee_kind) {
        NodeKind::Queue => plain(NodeKind::Queue, &ends.callee, broker.to_owned()),
        NodeKind::Database => database(ends),
        NodeKind::Peer if is_local(&ends.callee) => {
            let node = plain(NodeKind::Peer, &ends.callee, format!("beside {}", ends.caller));
            Node { id: format!("{} of {}", node.id, ends.caller), ..node }
        }
        kind => plain(kind, &ends.callee, String::new()),
    }
}

/// A database is told apart by its system, its address and its name there. One without an address, or with that of the
/// caller's own host, is the caller's own: what two services call `localhost` is not one database.
fn database(ends: &EdgeEnds) -> Node {
    let address = ends.callee.as_str();
    let has_address = !address.is_empty() && address != ends.system;
    let name = if ends.namespace.is_empty() { address } else { &ends.namespace };
    let is_own = !has_address || is_local(address);
    let owner = format!("of {}", ends.caller);
    let mut details = vec![ends.system.as_str()];
    details.extend((has_address && name != address).then_some(address));
    details.retain(|detail| !detail.is_empty() && *detail != name);
    details.extend(is_own.then_some(owner.as_str()));
    let mut node = plain(NodeKind::Database, name, details.join(" "));
    node.id = format!("database:{}", [&ends.system, address, &ends.namespace].join(" ").trim_end());
    if is_own {
        node.id = format!("{} {owner}", node.id);
    }
    node
}

/// Returns whether an address is that of whoever says it.
fn is_local(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    matches!(host, "localhost" | "[::1]" | "::1" | "0.0.0.0") || host.starts_with("127.")
}

/// Returns an id that is the same whenever the map is made (FNV-1a, 64 bit).
fn edge_id(ends: &EdgeEnds) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let parts =
        [&ends.kind, &ends.caller_kind, &ends.caller, &ends.callee_kind, &ends.callee, &ends.system, &ends.namespace];
    for part in parts {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests;
