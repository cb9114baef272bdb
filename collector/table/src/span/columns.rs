//! The memory form of spans column by column, for the analysis: what depends on a name, a resource or an attribute key
//! is worked out once an entry of a dictionary and not once a span.

use arrow::array::{
    Array, FixedSizeBinaryArray, Int64Array, ListArray, RecordBatch, StringArray, TimestampNanosecondArray, UInt8Array,
};

use crate::attributes::AttributeColumns;
use crate::columns::{Texts, column, id, optional_id, text};
use crate::json::{elements, find, value};
use crate::{SpanId, SpanKind, StatusCode, TraceId};

/// Columns of a span table; all have one item a span but the entries that keys refer to.
#[derive(Clone, Copy)]
pub struct SpanColumns<'a> {
    trace_ids: &'a FixedSizeBinaryArray,
    span_ids: &'a FixedSizeBinaryArray,
    parent_span_ids: &'a FixedSizeBinaryArray,
    /// Unix nanoseconds.
    pub starts_ns: &'a [i64],
    /// Nanoseconds from start to end; negative when the sender's clock jumped.
    pub durations_ns: &'a [i64],
    /// Name of each span, as a number below `names.len()`.
    pub name_keys: &'a [u32],
    /// Span names of the batch.
    pub names: &'a StringArray,
    kinds: &'a [u8],
    status_codes: &'a [u8],
    /// Resource of each span, as a number below [`Self::resources_len`].
    pub resource_keys: &'a [u32],
    service_names: &'a StringArray,
    service_instances: &'a StringArray,
    service_versions: &'a StringArray,
    resource_attributes: &'a StringArray,
    links: &'a StringArray,
    /// Attributes of the spans.
    pub attributes: AttributeColumns<'a>,
}

impl<'a> SpanColumns<'a> {
    pub(super) fn of(batch: &'a RecordBatch) -> Self {
        let name = Texts::of(batch, "name");
        let service_name = Texts::of(batch, "service_name");
        let entries = |name| -> &'a StringArray { Texts::of(batch, name).values };
        Self {
            trace_ids: column(batch, "trace_id"),
            span_ids: column(batch, "span_id"),
            parent_span_ids: column(batch, "parent_span_id"),
            starts_ns: column::<TimestampNanosecondArray>(batch, "start_time").values(),
            durations_ns: column::<Int64Array>(batch, "duration_ns").values(),
            name_keys: name.keys,
            names: name.values,
            kinds: column::<UInt8Array>(batch, "kind").values(),
            status_codes: column::<UInt8Array>(batch, "status_code").values(),
            resource_keys: service_name.keys,
            service_names: service_name.values,
            service_instances: entries("service_instance"),
            service_versions: entries("service_version"),
            resource_attributes: entries("resource_attributes"),
            links: column(batch, "links"),
            attributes: AttributeColumns::of(column::<ListArray>(batch, "attributes")),
        }
    }

    /// Returns how many spans there are.
    pub fn len(&self) -> usize {
        self.starts_ns.len()
    }

    /// Returns whether there is no span.
    pub fn is_empty(&self) -> bool {
        self.starts_ns.is_empty()
    }

    /// Returns a span's trace.
    pub fn trace_id(&self, row: usize) -> TraceId {
        TraceId(id(self.trace_ids, row))
    }

    /// Returns a span's id.
    pub fn span_id(&self, row: usize) -> SpanId {
        SpanId(id(self.span_ids, row))
    }

    /// Returns the caller of a span.
    pub fn parent_span_id(&self, row: usize) -> Option<SpanId> {
        optional_id(self.parent_span_ids, row).map(SpanId)
    }

    /// Returns a span's kind.
    pub fn kind(&self, row: usize) -> SpanKind {
        SpanKind::from_number(i32::from(self.kinds[row]))
    }

    /// Returns a span's status code.
    pub fn status_code(&self, row: usize) -> StatusCode {
        StatusCode::from_number(i32::from(self.status_codes[row]))
    }

    /// Returns the spans that a span links to, by trace and span, if it has links at all.
    pub fn links(&self, row: usize) -> Option<impl Iterator<Item = (TraceId, SpanId)> + use<'a>> {
        let links = text(self.links, row)?;
        Some(elements(links).filter_map(|link| {
            let id = |key: &str| find(link, key).map(value).map(|(id, _)| id);
            Some((id("trace_id")?.parse().ok()?, id("span_id")?.parse().ok()?))
        }))
    }

    /// Returns how many resources the batch has.
    pub fn resources_len(&self) -> usize {
        self.service_names.len()
    }

    /// Returns a resource's `service.name`.
    pub fn service_name(&self, resource: usize) -> &'a str {
        self.service_names.value(resource)
    }

    /// Returns a resource's instance, pod or host.
    pub fn service_instance(&self, resource: usize) -> Option<&'a str> {
        text(self.service_instances, resource)
    }

    /// Returns a resource's `service.version`.
    pub fn service_version(&self, resource: usize) -> Option<&'a str> {
        text(self.service_versions, resource)
    }

    /// Returns a resource's attributes as a JSON object ([`crate::json`]).
    pub fn resource_attributes(&self, resource: usize) -> &'a str {
        self.resource_attributes.value(resource)
    }
}
