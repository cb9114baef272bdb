//! Sites of all spans that are held, each once. Filled by reading; the stitcher has it let go of what is unused.
//! Both its maps are bounded: beyond the bound, names and sites are folded into "(others)" and counted.

use std::sync::Arc;

use collector_table::SpanKind;

use crate::hash::{FNV_SEED, Map, fnv};
use crate::span::{Repeat, Site};

/// Distinct names of services, operations, instances, versions and peers.
const NAMES_MAX: usize = 50_000;
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

/// Who works: what the spans of one resource share.
#[derive(Debug, Clone)]
pub(super) struct Process {
    service: Name,
    instance: Option<Name>,
    version: Option<Name>,
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

/// Names that a site may have besides that of what it does.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OtherNames<'a> {
    pub(super) peer: Option<&'a Name>,
    /// See [`Site::keyed_by`].
    pub(super) keyed_by: Option<&'a Name>,
}

/// Names of a site.
const NAMES: usize = 6;

/// What tells two sites apart. Numbers of names are never given twice, so a key that outlives its names finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    /// Service, instance, version, operation, peer, what it is keyed by; 0 for none.
    names: [u64; NAMES],
    manner: Manner,
}

/// Shares equal names and equal sites.
#[derive(Debug)]
pub(super) struct Sites {
    names: Map<Arc<str>, u64>,
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
        let (names, sites) = (Map::default(), Map::default());
        Self { names, sites, names_max, sites_max, last_number: 0, folded: 0 }
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

    /// Returns a process by its service, instance and version.
    pub(super) fn process(&mut self, service: &str, instance: Option<&str>, version: Option<&str>) -> Process {
        Process {
            service: self.name(service),
            instance: instance.map(|instance| self.name(instance)),
            version: version.map(|version| self.name(version)),
        }
    }

    /// Returns the site of an operation of a process.
    pub(super) fn site(
        &mut self,
        process: &Process,
        operation: &Name,
        others: OtherNames<'_>,
        manner: Manner,
    ) -> Arc<Site> {
        let OtherNames { peer, keyed_by } = others;
        let number = |name: Option<&Name>| name.map_or(0, |name| name.number);
        let (instance, version) = (process.instance.as_ref(), process.version.as_ref());
        let (service, of) = (process.service.number, operation.number);
        let names = [service, number(instance), number(version), of, number(peer), number(keyed_by)];
        let key = Key { names, manner };
        if let Some(site) = self.sites.get(&key) {
            return site.clone();
        }
        if self.sites.len() >= self.sites_max {
            self.folded += 1;
            return self.others(manner);
        }
        let text = |name: Option<&Name>| name.map(|name| name.text.clone());
        self.insert(key, &process.service.text, &operation.text, [instance, version, peer, keyed_by].map(text))
    }

    /// Returns the site that stands for all beyond the bound, one a manner.
    fn others(&mut self, manner: Manner) -> Arc<Site> {
        let name = self.name(OTHERS);
        let key = Key { names: [name.number, 0, 0, name.number, 0, 0], manner };
        let found = self.sites.get(&key).cloned();
        found.unwrap_or_else(|| self.insert(key, &name.text, &name.text, [None, None, None, None]))
    }

    fn insert(
        &mut self,
        key: Key,
        service: &Arc<str>,
        operation: &Arc<str>,
        [instance, version, peer, keyed_by]: [Option<Arc<str>>; 4],
    ) -> Arc<Site> {
        let shape = fnv(fnv(fnv(FNV_SEED, service.as_bytes()), &[0]), operation.as_bytes());
        let target = peer.as_deref().map_or(0, |peer| fnv(FNV_SEED, peer.as_bytes()));
        let instance_name = instance.as_deref().unwrap_or_default();
        let process = fnv(fnv(fnv(FNV_SEED, service.as_bytes()), &[0]), instance_name.as_bytes());
        let site = Arc::new(Site {
            service: service.clone(),
            operation: operation.clone(),
            instance,
            version,
            kind: key.manner.kind,
            peer,
            is_database: key.manner.is_database,
            has_error: key.manner.has_error,
            is_resend: key.manner.is_resend,
            repeat: key.manner.repeat,
            keyed_by,
            number: self.next_number(),
            process,
            shape,
            target,
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
    }

    /// Returns how often a name or a site was folded into "(others)".
    pub(super) fn folded(&self) -> u64 {
        self.folded
    }
}
