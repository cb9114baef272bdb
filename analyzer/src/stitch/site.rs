//! Sites of all spans that are held, each once. Filled by reading; the stitcher has it let go of what is unused.
//! Both its maps are bounded: beyond the bound, names and sites are folded into "(others)" and counted.

use std::sync::Arc;

use collector_table::SpanKind;

use crate::hash::{FNV_SEED, Map, Set, fnv};
use crate::span::{Repeat, Site};

/// Distinct names of services, operations, instances, versions, peers, systems, databases and queues.
const NAMES_MAX: usize = 50_000;
/// Distinct names of databases and queues among them: queues that live for one answer must not crowd out services.
const TARGETS_MAX: usize = 5_000;
/// Distinct sites.
const SITES_MAX: usize = 100_000;
/// Longest name kept, in bytes: a hostile one may be of any length.
const NAME_BYTES_MAX: usize = 300;
/// Stands for every name beyond a bound.
const OTHERS: &str = "(others)";

/// A shared name.
#[derive(Debug, Clone)]
pub(super) struct Name {
    text: Arc<str>,
    number: u64,
}

impl Name {
    /// Returns what tells it apart.
    #[cfg(test)]
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

/// Who works: what the spans of one resource share.
#[derive(Debug, Clone)]
pub(super) struct Process {
    service: Name,
    instance: Option<Name>,
    version: Option<Name>,
}

/// Whom a site's spans speak to, as far as they say.
#[derive(Debug, Clone, Default)]
pub(super) struct Toward {
    pub(super) peer: Option<Name>,
    pub(super) system: Option<Name>,
    pub(super) target: Option<Name>,
    /// See [`Site::keyed_by`].
    pub(super) keyed_by: Option<Name>,
}

/// How a site's spans do what they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Manner {
    pub(super) kind: SpanKind,
    pub(super) is_database: bool,
    pub(super) has_error: bool,
    pub(super) is_resend: bool,
    pub(super) repeat: Repeat,
}

/// Names of a site.
const NAMES: usize = 8;

/// What tells two sites apart. Numbers of names are never given twice, so a key that outlives its names finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    /// Service, instance, version, operation, peer, system, target, what it is keyed by; 0 for none.
    names: [u64; NAMES],
    manner: Manner,
}

/// Shares equal names and equal sites.
#[derive(Debug)]
pub(super) struct Sites {
    names: Map<Arc<str>, u64>,
    /// Names of targets, by number.
    targets: Set<u64>,
    sites: Map<Key, Arc<Site>>,
    names_max: usize,
    sites_max: usize,
    last_number: u64,
    folded: u64,
}

impl Default for Sites {
    fn default() -> Self {
        Self::new(NAMES_MAX, SITES_MAX)
    }
}

impl Sites {
    pub(super) fn new(names_max: usize, sites_max: usize) -> Self {
        let (names, targets, sites) = (Map::default(), Set::default(), Map::default());
        Self { names, targets, sites, names_max, sites_max, last_number: 0, folded: 0 }
    }

    /// Returns the shared copy of a name, cut at [`NAME_BYTES_MAX`].
    pub(super) fn name(&mut self, text: &str) -> Name {
        let text = &text[..text.floor_char_boundary(NAME_BYTES_MAX)];
        if let Some((text, &number)) = self.names.get_key_value(text) {
            return Name { text: text.clone(), number };
        }
        if self.names.len() >= self.names_max && text != OTHERS {
            self.folded += 1;
            return self.name(OTHERS);
        }
        let text: Arc<str> = text.into();
        let number = self.next_number();
        self.names.insert(text.clone(), number);
        Name { text, number }
    }

    /// Returns the shared copy of the name of a database or queue.
    pub(super) fn target(&mut self, text: &str) -> Name {
        if self.targets.len() >= TARGETS_MAX {
            let known = self.names.get(text).is_some_and(|number| self.targets.contains(number));
            if !known {
                self.folded += 1;
                return self.name(OTHERS);
            }
        }
        let name = self.name(text);
        self.targets.insert(name.number);
        name
    }

    /// Returns a process by its service, instance and version.
    pub(super) fn process(&mut self, service: &str, instance: Option<&str>, version: Option<&str>) -> Process {
        Process {
            service: self.name(service),
            instance: instance.map(|instance| self.name(instance)),
            version: version.map(|version| self.name(version)),
        }
    }

    /// Returns the site of an operation of a process.
    pub(super) fn site(&mut self, process: &Process, operation: &Name, toward: &Toward, manner: Manner) -> Arc<Site> {
        let number = |name: &Option<Name>| name.as_ref().map_or(0, |name| name.number);
        let names = [
            process.service.number,
            number(&process.instance),
            number(&process.version),
            operation.number,
            number(&toward.peer),
            number(&toward.system),
            number(&toward.target),
            number(&toward.keyed_by),
        ];
        let key = Key { names, manner };
        if let Some(site) = self.sites.get(&key) {
            return site.clone();
        }
        if self.sites.len() >= self.sites_max {
            self.folded += 1;
            return self.others(manner);
        }
        self.insert(key, process, &operation.text, toward)
    }

    /// Returns the site that stands for all beyond the bound, one a manner.
    fn others(&mut self, manner: Manner) -> Arc<Site> {
        let process = self.process(OTHERS, None, None);
        let operation = process.service.clone();
        let key = Key { names: [operation.number, 0, 0, operation.number, 0, 0, 0, 0], manner };
        let found = self.sites.get(&key).cloned();
        found.unwrap_or_else(|| self.insert(key, &process, &operation.text, &Toward::default()))
    }

    fn insert(&mut self, key: Key, process: &Process, operation: &Arc<str>, toward: &Toward) -> Arc<Site> {
        let text = |name: &Option<Name>| name.as_ref().map(|name| name.text.clone());
        let (service, instance) = (&process.service.text, text(&process.instance));
        let version = text(&process.version);
        let shape = fnv(fnv(fnv(FNV_SEED, service.as_bytes()), &[0]), operation.as_bytes());
        let peer = text(&toward.peer);
        let peer_hash = peer.as_deref().map_or(0, |peer| fnv(FNV_SEED, peer.as_bytes()));
        let instance_name = instance.as_deref().unwrap_or_default();
        let process = fnv(fnv(fnv(FNV_SEED, service.as_bytes()), &[0]), instance_name.as_bytes());
        let site = Arc::new(Site {
            service: service.clone(),
            operation: operation.clone(),
            instance,
            version,
            kind: key.manner.kind,
            peer,
            system: text(&toward.system),
            target: text(&toward.target),
            is_database: key.manner.is_database,
            has_error: key.manner.has_error,
            is_resend: key.manner.is_resend,
            repeat: key.manner.repeat,
            keyed_by: text(&toward.keyed_by),
            number: self.next_number(),
            process,
            shape,
            peer_hash,
        });
        self.sites.insert(key, site.clone());
        site
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Lets go of sites that no span refers to and of names that no site refers to.
    pub(super) fn free_unused(&mut self) {
        self.sites.retain(|_, site| Arc::strong_count(site) > 1);
        self.names.retain(|name, _| Arc::strong_count(name) > 1);
        let held: Set<u64> = self.names.values().copied().collect();
        self.targets.retain(|number| held.contains(number));
    }

    /// Returns how often a name or a site was folded into "(others)".
    pub(super) fn folded(&self) -> u64 {
        self.folded
    }
}
