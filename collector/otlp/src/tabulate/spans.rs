//! Spans into rows of the `spans` table.

use collector_table::{EventFields, LinkFields, SpanFields, SpanId, SpanKind, SpanTableBuilder, StatusCode, TraceId};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::trace::v1 as trace;

use super::resource::Origin;
use super::tally::{Attribute, ENTRY_BYTES, Tally, attribute_bytes, present, time_ns};
use crate::{DecodedBatch, Limits, RejectReason, Signal};

/// Returns one row for every valid span.
pub(crate) fn spans(request: &ExportTraceServiceRequest, limits: &Limits) -> DecodedBatch {
    let mut tally = Tally::new(limits);
    let mut table = SpanTableBuilder::default();
    for resource_spans in &request.resource_spans {
        let origin = Origin::new(resource_spans.resource.as_ref(), &mut tally);
        for scope_spans in &resource_spans.scope_spans {
            for span in &scope_spans.spans {
                let added = add_span(&origin, scope_spans.scope.as_ref(), span, &mut tally, &mut table);
                if let Err(reason) = added {
                    tally.reject(reason);
                }
            }
        }
    }
    tally.finish(Signal::Traces, table.finish().batch().clone())
}

/// Events, links and attributes of a span that were found good, before anything is appended.
struct Parts<'a> {
    attributes: Vec<Attribute<'a>>,
    events: Vec<(EventFields<'a>, Vec<Attribute<'a>>)>,
    links: Vec<(LinkFields<'a>, Vec<Attribute<'a>>)>,
    dropped: [u32; 3],
}

fn add_span(
    origin: &Origin<'_>,
    scope: Option<&InstrumentationScope>,
    span: &trace::Span,
    tally: &mut Tally<'_>,
    table: &mut SpanTableBuilder,
) -> Result<(), RejectReason> {
    let trace_id = TraceId::from_otlp(&span.trace_id).ok_or(RejectReason::InvalidTraceId)?;
    let span_id = SpanId::from_otlp(&span.span_id).ok_or(RejectReason::InvalidSpanId)?;
    let parent_span_id = parent(&span.parent_span_id)?;
    let start_ns = time_ns(span.start_time_unix_nano)?;
    let end_ns = time_ns(span.end_time_unix_nano)?;
    let parts = parts(span, tally);
    let status = span.status.as_ref();
    let fields = SpanFields {
        trace_id,
        span_id,
        parent_span_id,
        trace_state: present(&span.trace_state),
        flags: span.flags,
        service_name: origin.service_name(),
        service_instance: origin.service_instance(),
        service_version: origin.service_version(),
        name: &span.name,
        kind: SpanKind::from_number(span.kind),
        start_ns,
        end_ns,
        status_code: StatusCode::from_number(status.map_or(0, |status| status.code)),
        status_message: status.and_then(|status| present(&status.message)),
        scope_name: scope.and_then(|scope| present(&scope.name)),
        scope_version: scope.and_then(|scope| present(&scope.version)),
        dropped: parts.dropped,
    };
    tally.admit(origin.row_bytes + text_bytes(&fields, &parts))?;
    push_parts(origin, &parts, table);
    table.append(&fields);
    Ok(())
}

/// Returns the parent; all zeros mean none, because some senders write a root so.
fn parent(bytes: &[u8]) -> Result<Option<SpanId>, RejectReason> {
    match bytes.len() {
        0 => Ok(None),
        8 => Ok(SpanId::from_otlp(bytes)),
        _ => Err(RejectReason::InvalidParentSpanId),
    }
}

/// Returns the parts within the limits. An event or link that is invalid is dropped, not its span: it is counted
/// with those that the sender dropped.
fn parts<'a>(span: &'a trace::Span, tally: &mut Tally<'_>) -> Parts<'a> {
    let (attributes, cut) = tally.cut(&span.attributes);
    let mut dropped =
        [span.dropped_attributes_count.saturating_add(cut), span.dropped_events_count, span.dropped_links_count];
    let mut events = Vec::with_capacity(span.events.len());
    for event in &span.events {
        match time_ns(event.time_unix_nano) {
            Ok(time_ns) => {
                let (attributes, cut) = tally.cut(&event.attributes);
                let dropped_attributes_count = event.dropped_attributes_count.saturating_add(cut);
                events.push((EventFields { time_ns, name: &event.name, dropped_attributes_count }, attributes));
            }
            Err(_) => dropped[1] = dropped[1].saturating_add(1),
        }
    }
    let mut links = Vec::with_capacity(span.links.len());
    for link in &span.links {
        match (TraceId::from_otlp(&link.trace_id), SpanId::from_otlp(&link.span_id)) {
            (Some(trace_id), Some(span_id)) => {
                let fields = LinkFields { trace_id, span_id, trace_state: present(&link.trace_state) };
                links.push((fields, tally.cut(&link.attributes).0));
            }
            _ => dropped[2] = dropped[2].saturating_add(1),
        }
    }
    Parts { attributes, events, links, dropped }
}

fn text_bytes(fields: &SpanFields<'_>, parts: &Parts<'_>) -> usize {
    let optional = |text: Option<&str>| text.map_or(0, str::len);
    let events = parts.events.iter().map(|(event, attributes)| event.name.len() + attribute_bytes(attributes));
    let links = parts.links.iter().map(|(link, attributes)| optional(link.trace_state) + attribute_bytes(attributes));
    fields.name.len()
        + optional(fields.trace_state)
        + optional(fields.status_message)
        + optional(fields.scope_name)
        + optional(fields.scope_version)
        + attribute_bytes(&parts.attributes)
        + events.map(|bytes| bytes + ENTRY_BYTES).sum::<usize>()
        + links.map(|bytes| bytes + ENTRY_BYTES).sum::<usize>()
}

fn push_parts(origin: &Origin<'_>, parts: &Parts<'_>, table: &mut SpanTableBuilder) {
    for attribute in &parts.attributes {
        table.push_attribute(attribute.key, &attribute.value, attribute.value_type);
    }
    for attribute in &origin.attributes {
        table.push_resource_attribute(attribute.key, &attribute.value, attribute.value_type);
    }
    for (event, attributes) in &parts.events {
        for attribute in attributes {
            table.push_event_attribute(attribute.key, &attribute.value, attribute.value_type);
        }
        table.push_event(event);
    }
    for (link, attributes) in &parts.links {
        for attribute in attributes {
            table.push_link_attribute(attribute.key, &attribute.value, attribute.value_type);
        }
        table.push_link(link);
    }
}
