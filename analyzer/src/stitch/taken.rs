//! Messages as they are taken in, span by span, before it is known what they belong to. Collected by `open`, asked for by
//! the analyzer's owner, who has repetitions and disorder counted.

use std::sync::Arc;

use collector_table::{SpanId, TraceId};

use super::facts::{Found, Taking};
use crate::hash::{FNV_SEED, fnv};
use crate::span::Site;

/// What a span took in; see [`Taking`].
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) taking: Taking,
    pub(crate) trace: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) start_ns: i64,
    pub(crate) site: Arc<Site>,
}

/// Takings that wait until they are asked for; further ones are left out.
pub(super) const TAKEN_MAX: usize = 100_000;

impl Taken {
    /// Gives what a span took in; of a batch that names its messages by links alone, each of them.
    pub(super) fn each(self, found: &Found, mut give: impl FnMut(Self)) {
        if self.taking.token != 0 || found.links.is_empty() {
            give(self);
            return;
        }
        for link in &found.links {
            let token = fnv(fnv(FNV_SEED, &link.trace.0), &link.span.0);
            give(Self { taking: Taking { token, ..self.taking }, ..self.clone() });
        }
    }
}
