//! State changes of services that may be the reason for what follows: versions that were not seen before. New values of
//! attributes are told by whom they hurt (`who`). A change near an onset is a candidate, never proof. Bounded by services
//! and by versions of each.

use std::collections::HashMap;
use std::sync::Arc;

use super::block_start_ns;
use super::memory::VersionsMemory;
use crate::incident::Change;
use crate::span::Site;
use crate::time::rfc3339;

/// Services whose versions are known; more are not followed.
const SERVICES_MAX: usize = 5_000;
/// Versions kept of each service, the newest.
const VERSIONS_MAX: usize = 64;
/// Blocks before an onset in which a change may be its reason: 15 minutes.
const BEFORE_BLOCKS: i64 = 90;
/// Blocks after an onset in which a change may still be its reason: the onset is an estimate.
const AFTER_BLOCKS: i64 = 3;

/// Returns whether what changed in a block may be the reason for what began at an onset.
pub(super) fn is_near(onset: i64, block: i64) -> bool {
    (onset - BEFORE_BLOCKS..=onset + AFTER_BLOCKS).contains(&block)
}

/// Versions of every service with the block in which each was first seen.
#[derive(Debug, Default)]
pub(super) struct Changes {
    versions: HashMap<Arc<str>, Vec<(Arc<str>, i64)>>,
}

impl Changes {
    /// Notes the version of a site in a transaction that ended in `block`.
    pub(super) fn note(&mut self, site: &Site, block: i64) {
        let Some(version) = &site.version else { return };
        if !self.versions.contains_key(&site.service) && self.versions.len() >= SERVICES_MAX {
            return;
        }
        let versions = self.versions.entry(site.service.clone()).or_default();
        if versions.iter().any(|(known, _)| known == version) {
            return;
        }
        if versions.len() >= VERSIONS_MAX {
            versions.remove(0);
        }
        versions.push((version.clone(), block));
    }

    /// Returns every version of every service with the block in which it was first seen, in order of names.
    pub(super) fn kept(&self) -> Vec<VersionsMemory> {
        let versions = |(service, versions): (&Arc<str>, &Vec<(Arc<str>, i64)>)| VersionsMemory {
            service: service.to_string(),
            versions: versions.iter().map(|(version, block)| (version.to_string(), *block)).collect(),
        };
        let mut kept: Vec<VersionsMemory> = self.versions.iter().map(versions).collect();
        kept.sort_by(|a, b| a.service.cmp(&b.service));
        kept
    }

    /// Takes over versions that were kept, as far as there is room.
    pub(super) fn recall(&mut self, kept: &[VersionsMemory]) {
        for one in kept.iter().take(SERVICES_MAX) {
            let versions = one.versions.iter().rev().take(VERSIONS_MAX).rev();
            let versions = versions.map(|(version, block)| (Arc::from(version.as_str()), *block)).collect();
            self.versions.insert(one.service.as_str().into(), versions);
        }
    }

    /// Returns the version of a service that was first seen last, if that was in or after block `since` and not the first.
    pub(super) fn newest(&self, service: &str, since: i64) -> Option<Arc<str>> {
        let versions = self.versions.get(service).filter(|versions| versions.len() > 1)?;
        versions.last().filter(|(_, block)| *block >= since).map(|(version, _)| version.clone())
    }

    /// Returns what changed in the services near an onset, in order of time. The first version ever seen of a service
    /// is no change: that was when we began to look.
    pub(super) fn near(&self, onset: i64, is_concerned: impl Fn(&str) -> bool) -> Vec<Change> {
        self.between(onset - BEFORE_BLOCKS, onset + AFTER_BLOCKS, is_concerned)
    }

    /// Returns what changed in the services in blocks `from..=to`, in order of time.
    pub(super) fn between(&self, from: i64, to: i64, is_concerned: impl Fn(&str) -> bool) -> Vec<Change> {
        let mut changes = Vec::new();
        for (service, versions) in self.versions.iter().filter(|(service, _)| is_concerned(service)) {
            for pair in versions.windows(2) {
                let [(before, _), (after, block)] = pair else { continue };
                if (from..=to).contains(block) {
                    changes.push((*block, service, format!("{service} {before} → {after} first seen")));
                }
            }
        }
        changes.sort();
        let change = |(block, _, text)| Change { kind: "version".to_owned(), at: rfc3339(block_start_ns(block)), text };
        changes.into_iter().map(change).collect()
    }
}
