//! `ExportTraceServiceRequest` into rows of the `spans` table (opentelemetry/proto/trace/v1).

use collector_table::json::ObjectWriter;
use collector_table::{
    EventFields, EventsWriter, LinkFields, LinksWriter, SpanEntry, SpanId, SpanKind, SpanTableBuilder, StatusCode,
    TraceId,
};

use super::attribute::{Cutter, Value};
use super::{Items, Origin, estimate, request};
use crate::tally::{ENTRY_BYTES, Tally, present, time_ns};
use crate::wire::{Content, Damaged, Reader, text};
use crate::{DecodedBatch, Limits, RejectReason, Signal};

/// Depths of messages, counted from the request (1).
const SPAN_DEPTH: usize = 4;
const STEP_DEPTH: usize = 5;

/// Bytes of a valid span at least: its ids and times.
const SPAN_BYTES_MIN: usize = 40;
/// What room is made for attributes: of one in so many bytes of the request, and for the values a part of them. Columns
/// that need more grow.
const ATTRIBUTE_BYTES: usize = 40;
const VALUES_PARTS: usize = 3;

/// Returns one row for every valid span.
pub(crate) fn spans(body: &[u8], limits: &Limits) -> Result<DecodedBatch, Damaged> {
    let mut tally = Tally::new(limits);
    // A count is the sender's to choose, so room is made for no more than its bytes can hold.
    let spans_count = estimate(body).min(body.len() / SPAN_BYTES_MIN);
    let table = SpanTableBuilder::with_room(spans_count, body.len() / ATTRIBUTE_BYTES, body.len() / VALUES_PARTS);
    let mut spans = Spans { limits, table, attributes: Vec::new(), steps: Steps::default() };
    request(body, limits, &mut spans, &mut tally)?;
    let table = spans.table.try_finish().map_err(|_| Damaged)?;
    Ok(tally.finish(Signal::Traces, table.batch().clone()))
}

struct Spans<'a, 'l> {
    limits: &'l Limits,
    table: SpanTableBuilder,
    /// Attributes of the span that is being read, by number of the key.
    attributes: Vec<(u32, Value<'a>)>,
    steps: Steps,
}

/// Events and links of the span that is being read.
#[derive(Default)]
struct Steps {
    events: EventsWriter,
    links: LinksWriter,
    object: ObjectWriter,
}

/// Fields of a span, as read so far.
struct Parts<'a, 'l> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    parent_span_id: &'a [u8],
    trace_state: &'a str,
    flags: u32,
    name: &'a [u8],
    kind: i32,
    start_unix_ns: u64,
    end_unix_ns: u64,
    status_message: &'a str,
    status_code: i32,
    dropped: [u32; 3],
    /// Events and links that are not valid.
    invalid: [u32; 2],
    attribute_bytes: usize,
    cutter: Cutter<'l>,
    /// Attributes of events and links that were cut.
    steps_cut: u64,
}

impl<'a> Items<'a> for Spans<'a, '_> {
    fn read(&mut self, item: Content<'a>, origin: &mut Origin<'a>, tally: &mut Tally) -> Result<(), Damaged> {
        let span = self.read_span(item.message()?)?;
        let name = self.table.name(span.name).map_err(|_| Damaged)?;
        let appended = span.identity().and_then(|identity| {
            tally.cut_attributes += span.cutter.cut + span.steps_cut;
            self.append(&span, &identity, name, origin, tally)
        });
        if let Err(reason) = appended {
            tally.reject(reason);
            // What is appended is checked at the end, what is rejected here.
            self.attributes.iter().try_for_each(|(_, value)| value.check())?;
        }
        Ok(())
    }
}

impl<'a, 'l> Spans<'a, 'l> {
    fn read_span(&mut self, mut message: Reader<'a>) -> Result<Parts<'a, 'l>, Damaged> {
        self.attributes.clear();
        self.steps.events.clear();
        self.steps.links.clear();
        let mut span = Parts::new(self.limits);
        while let Some((number, content)) = message.field()? {
            match number {
                1 => span.trace_id = content.bytes()?,
                2 => span.span_id = content.bytes()?,
                3 => span.trace_state = content.text()?,
                4 => span.parent_span_id = content.bytes()?,
                5 => {
                    if !span.name.is_empty() {
                        text(span.name)?;
                    }
                    span.name = content.bytes()?;
                }
                6 => span.kind = content.int32()?,
                7 => span.start_unix_ns = content.fixed64()?,
                8 => span.end_unix_ns = content.fixed64()?,
                9 => {
                    if let Some(attribute) = span.cutter.read(content, SPAN_DEPTH)? {
                        let key = self.table.attributes().key(attribute.key).map_err(|_| Damaged)?;
                        span.attribute_bytes += attribute.value.row_bytes();
                        self.attributes.push((key, attribute.value));
                    }
                }
                10 => span.dropped[0] = content.uint32()?,
                11 => self.steps.read_event(content, &mut span, self.limits)?,
                12 => span.dropped[1] = content.uint32()?,
                13 => self.steps.read_link(content, &mut span, self.limits)?,
                14 => span.dropped[2] = content.uint32()?,
                15 => span.read_status(content.message()?)?,
                16 => span.flags = content.fixed32()?,
                _ => {}
            }
        }
        Ok(span)
    }

    /// Appends the span that was read, or says that there is no room.
    fn append(
        &mut self,
        span: &Parts<'a, 'l>,
        identity: &Identity,
        name: u32,
        origin: &mut Origin<'a>,
        tally: &mut Tally,
    ) -> Result<(), RejectReason> {
        let Steps { events, links, .. } = &mut self.steps;
        let (events, links) = (events.finish(), links.finish());
        let steps_bytes = events.map_or(0, str::len) + links.map_or(0, str::len);
        let texts_bytes = span.name.len() + span.trace_state.len() + span.status_message.len();
        tally.admit(span.attribute_bytes + steps_bytes + texts_bytes)?;
        let table = &mut self.table;
        let resource = origin.resource_number(tally, |fields| table.resource(fields));
        let scope = origin.scope_number(tally, |name, version| table.scope(name, version));
        let attributes = self.table.attributes();
        for (key, value) in &self.attributes {
            value.push_to(*key, attributes);
        }
        let [attributes_dropped, events_dropped, links_dropped] = span.dropped;
        self.table.append_entry(&SpanEntry {
            trace_id: identity.trace_id,
            span_id: identity.span_id,
            parent_span_id: identity.parent_span_id,
            start_ns: identity.start_ns,
            end_ns: identity.end_ns,
            name,
            kind: SpanKind::from_number(span.kind),
            status_code: StatusCode::from_number(span.status_code),
            status_message: present(span.status_message),
            trace_state: present(span.trace_state),
            flags: span.flags,
            resource,
            scope,
            events,
            links,
            dropped: [
                attributes_dropped.saturating_add(span.cutter.left_out),
                events_dropped.saturating_add(span.invalid[0]),
                links_dropped.saturating_add(span.invalid[1]),
            ],
        });
        Ok(())
    }
}

/// What must be valid for a span to be kept.
struct Identity {
    trace_id: TraceId,
    span_id: SpanId,
    parent_span_id: Option<SpanId>,
    start_ns: i64,
    end_ns: i64,
}

impl<'a, 'l> Parts<'a, 'l> {
    fn new(limits: &'l Limits) -> Self {
        Self {
            trace_id: &[],
            span_id: &[],
            parent_span_id: &[],
            trace_state: "",
            flags: 0,
            name: &[],
            kind: 0,
            start_unix_ns: 0,
            end_unix_ns: 0,
            status_message: "",
            status_code: 0,
            dropped: [0; 3],
            invalid: [0; 2],
            attribute_bytes: 0,
            cutter: Cutter::new(limits),
            steps_cut: 0,
        }
    }

    fn read_status(&mut self, mut message: Reader<'a>) -> Result<(), Damaged> {
        while let Some((number, content)) = message.field()? {
            match number {
                2 => self.status_message = content.text()?,
                3 => self.status_code = content.int32()?,
                _ => {}
            }
        }
        Ok(())
    }

    fn identity(&self) -> Result<Identity, RejectReason> {
        Ok(Identity {
            trace_id: TraceId::from_otlp(self.trace_id).ok_or(RejectReason::InvalidTraceId)?,
            span_id: SpanId::from_otlp(self.span_id).ok_or(RejectReason::InvalidSpanId)?,
            parent_span_id: parent(self.parent_span_id)?,
            start_ns: time_ns(self.start_unix_ns)?,
            end_ns: time_ns(self.end_unix_ns)?,
        })
    }
}

/// Returns the parent; all zeros mean none, because some senders write a root so.
fn parent(bytes: &[u8]) -> Result<Option<SpanId>, RejectReason> {
    match bytes.len() {
        0 => Ok(None),
        8 => Ok(SpanId::from_otlp(bytes)),
        _ => Err(RejectReason::InvalidParentSpanId),
    }
}

impl Steps {
    /// Reads an event. One that is invalid is dropped, not its span: it is counted with those that the sender dropped.
    fn read_event(&mut self, content: Content<'_>, span: &mut Parts<'_, '_>, limits: &Limits) -> Result<(), Damaged> {
        let (mut time_unix_ns, mut name, mut dropped) = (0, "", 0_u32);
        let mut cutter = Cutter::new(limits);
        self.object.clear();
        let mut message = content.message()?;
        while let Some((number, content)) = message.field()? {
            match number {
                1 => time_unix_ns = content.fixed64()?,
                2 => name = content.text()?,
                3 => self.read_attribute(content, &mut cutter)?,
                4 => dropped = content.uint32()?,
                _ => {}
            }
        }
        let Ok(time_ns) = time_ns(time_unix_ns) else {
            span.invalid[0] = span.invalid[0].saturating_add(1);
            return Ok(());
        };
        let dropped_attributes_count = dropped.saturating_add(cutter.left_out);
        self.events.push(&EventFields { time_ns, name, dropped_attributes_count }, self.object.finish());
        span.attribute_bytes += ENTRY_BYTES;
        span.steps_cut += cutter.cut;
        Ok(())
    }

    /// Reads a link, as an event is read.
    fn read_link(&mut self, content: Content<'_>, span: &mut Parts<'_, '_>, limits: &Limits) -> Result<(), Damaged> {
        let (mut trace_id, mut span_id, mut trace_state): (&[u8], &[u8], _) = (&[], &[], "");
        let mut cutter = Cutter::new(limits);
        self.object.clear();
        let mut message = content.message()?;
        while let Some((number, content)) = message.field()? {
            match number {
                1 => trace_id = content.bytes()?,
                2 => span_id = content.bytes()?,
                3 => trace_state = content.text()?,
                4 => self.read_attribute(content, &mut cutter)?,
                5 => drop(content.varint()?),
                6 => drop(content.fixed32()?),
                _ => {}
            }
        }
        let (Some(trace_id), Some(span_id)) = (TraceId::from_otlp(trace_id), SpanId::from_otlp(span_id)) else {
            span.invalid[1] = span.invalid[1].saturating_add(1);
            return Ok(());
        };
        self.links.push(&LinkFields { trace_id, span_id, trace_state: present(trace_state) }, self.object.finish());
        span.attribute_bytes += ENTRY_BYTES;
        span.steps_cut += cutter.cut;
        Ok(())
    }

    fn read_attribute(&mut self, content: Content<'_>, cutter: &mut Cutter<'_>) -> Result<(), Damaged> {
        match cutter.read(content, STEP_DEPTH)? {
            Some(attribute) => attribute.write_json(&mut self.object),
            None => Ok(()),
        }
    }
}
