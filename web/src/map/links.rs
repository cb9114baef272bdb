//! Addresses of the map: every state is one. Used by the page, its drawing and its tables.

use super::Params;
use crate::text;

/// The state that links keep.
pub(super) struct Links {
    focus: String,
    hops: String,
    t: String,
    from: String,
    to: String,
}

impl Links {
    pub(super) fn of(params: &Params) -> Self {
        let Params { focus, hops, t, from, to, .. } = params;
        Self { focus: focus.clone(), hops: hops.clone(), t: t.clone(), from: from.clone(), to: to.clone() }
    }

    /// Returns the map around a node.
    pub(super) fn focus(&self, id: &str) -> String {
        self.url(id, "")
    }

    /// Returns the map with the breakdown of an edge.
    pub(super) fn edge(&self, id: &str) -> String {
        format!("{}#edge", self.url(&self.focus, id))
    }

    /// Returns the map without a focus, and without an edge.
    pub(super) fn whole(&self) -> String {
        text::url_with("/map", &[("t", &self.t), ("from", &self.from), ("to", &self.to)])
    }

    /// Returns the same as JSON.
    pub(super) fn json(&self) -> String {
        self.with("/api/v1/map", &self.focus, "")
    }

    fn url(&self, focus: &str, edge: &str) -> String {
        self.with("/map", focus, edge)
    }

    fn with(&self, path: &str, focus: &str, edge: &str) -> String {
        let params = [
            ("focus", focus),
            ("hops", &self.hops),
            ("t", &self.t),
            ("from", &self.from),
            ("to", &self.to),
            ("edge", edge),
        ];
        text::url_with(path, &params)
    }
}
