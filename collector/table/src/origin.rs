//! Where rows come from: their resource and their scope, each kept once a batch however many rows it has.
//! Shared by the builders of spans, log records and data points.

use arrow::array::ArrayRef;

use crate::dictionary::KeyedColumns;

/// A resource, as its rows refer to it.
pub struct ResourceFields<'a> {
    /// `service.name`.
    pub service_name: &'a str,
    /// `service.instance.id`, or else the pod or host.
    pub service_instance: Option<&'a str>,
    /// `service.version`.
    pub service_version: Option<&'a str>,
    /// All of its attributes as one JSON object ([`crate::json`]).
    pub attributes: &'a str,
}

/// Columns `service_name`, `service_instance`, `service_version` and `resource_attributes`.
pub(crate) struct Resources(KeyedColumns<4>);

impl Default for Resources {
    fn default() -> Self {
        Self(KeyedColumns::new([false, true, true, false]))
    }
}

impl Resources {
    /// Returns the number of the resource, which is added if it is new.
    pub(crate) fn intern(&mut self, resource: &ResourceFields<'_>) -> u32 {
        self.0.entries.intern([
            resource.service_name,
            resource.service_instance.unwrap_or_default(),
            resource.service_version.unwrap_or_default(),
            resource.attributes,
        ])
    }

    pub(crate) fn reserve(&mut self, rows: usize) {
        self.0.reserve(rows);
    }

    pub(crate) fn push(&mut self, resource: u32) {
        self.0.push(resource);
    }

    pub(crate) fn finish(self) -> [ArrayRef; 4] {
        self.0.finish()
    }
}

/// Columns `scope_name` and `scope_version`.
pub(crate) struct Scopes(KeyedColumns<2>);

impl Default for Scopes {
    fn default() -> Self {
        Self(KeyedColumns::new([true, true]))
    }
}

impl Scopes {
    /// Returns the number of the scope, which is added if it is new.
    pub(crate) fn intern(&mut self, name: Option<&str>, version: Option<&str>) -> u32 {
        self.0.entries.intern([name.unwrap_or_default(), version.unwrap_or_default()])
    }

    pub(crate) fn reserve(&mut self, rows: usize) {
        self.0.reserve(rows);
    }

    pub(crate) fn push(&mut self, scope: u32) {
        self.0.push(scope);
    }

    pub(crate) fn finish(self) -> [ArrayRef; 2] {
        self.0.finish()
    }
}
