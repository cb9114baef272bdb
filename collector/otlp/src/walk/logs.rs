//! `ExportLogsServiceRequest` into rows of the `logs` table (opentelemetry/proto/logs/v1).

use collector_table::{LogEntry, LogTableBuilder, SpanId, TraceId};

use super::attribute::{Cutter, Value, join};
use super::{Items, Origin, request};
use crate::tally::{Tally, present, time_ns};
use crate::wire::{Content, Damaged, Reader};
use crate::{DecodedBatch, Limits, RejectReason, Signal};

/// Depth of a log record, counted from the request (1).
const RECORD_DEPTH: usize = 4;

/// Returns one row for every valid log record.
pub(crate) fn logs(body: &[u8], limits: &Limits) -> Result<DecodedBatch, Damaged> {
    let mut tally = Tally::new(limits);
    let mut records = Records { limits, table: LogTableBuilder::default(), attributes: Vec::new() };
    request(body, limits, &mut records, &mut tally)?;
    let table = records.table.try_finish().map_err(|_| Damaged)?;
    Ok(tally.finish(Signal::Logs, table.batch().clone()))
}

struct Records<'a, 'l> {
    limits: &'l Limits,
    table: LogTableBuilder,
    /// Attributes of the record that is being read, by number of the key.
    attributes: Vec<(u32, Value<'a>)>,
}

/// Fields of a record, as read so far.
struct Parts<'a, 'l> {
    time_unix_ns: u64,
    observed_unix_ns: u64,
    severity_number: i32,
    severity_text: &'a str,
    body: Option<&'a [u8]>,
    /// The body, when it was given in several pieces.
    body_pieces: Vec<u8>,
    dropped_attributes_count: u32,
    flags: u32,
    trace_id: &'a [u8],
    span_id: &'a [u8],
    event_name: &'a str,
    attribute_bytes: usize,
    cutter: Cutter<'l>,
}

impl<'a> Items<'a> for Records<'a, '_> {
    fn read(&mut self, item: Content<'a>, origin: &mut Origin<'a>, tally: &mut Tally) -> Result<(), Damaged> {
        let record = self.read_record(item.message()?)?;
        let body = record.body_value(self.limits)?;
        let appended = record.times_ns().and_then(|times_ns| {
            tally.cut_attributes += record.cutter.cut;
            self.append(&record, &body, times_ns, origin, tally)
        });
        if let Err(reason) = appended {
            tally.reject(reason);
            // What is appended is checked at the end, what is rejected here.
            body.check()?;
            self.attributes.iter().try_for_each(|(_, value)| value.check())?;
        }
        Ok(())
    }
}

impl<'a, 'l> Records<'a, 'l> {
    fn read_record(&mut self, mut message: Reader<'a>) -> Result<Parts<'a, 'l>, Damaged> {
        self.attributes.clear();
        let mut record = Parts::new(self.limits);
        while let Some((number, content)) = message.field()? {
            match number {
                1 => record.time_unix_ns = content.fixed64()?,
                2 => record.severity_number = content.int32()?,
                3 => record.severity_text = content.text()?,
                5 => {
                    if let Some(before) = record.body.replace(content.bytes()?) {
                        join(&mut record.body_pieces, before, content.message()?)?;
                    }
                }
                6 => {
                    if let Some(attribute) = record.cutter.read(content, RECORD_DEPTH)? {
                        let key = self.table.attributes().key(attribute.key).map_err(|_| Damaged)?;
                        record.attribute_bytes += attribute.value.row_bytes();
                        self.attributes.push((key, attribute.value));
                    }
                }
                7 => record.dropped_attributes_count = content.uint32()?,
                8 => record.flags = content.fixed32()?,
                9 => record.trace_id = content.bytes()?,
                10 => record.span_id = content.bytes()?,
                11 => record.observed_unix_ns = content.fixed64()?,
                12 => record.event_name = content.text()?,
                _ => {}
            }
        }
        Ok(record)
    }

    /// Appends the record that was read, or says that there is no room.
    fn append(
        &mut self,
        record: &Parts<'a, 'l>,
        body: &Value<'_>,
        (time_ns, observed_ns): (i64, i64),
        origin: &mut Origin<'a>,
        tally: &mut Tally,
    ) -> Result<(), RejectReason> {
        let texts_bytes = body.text_bytes_max() + record.severity_text.len() + record.event_name.len();
        tally.admit(record.attribute_bytes + texts_bytes)?;
        let table = &mut self.table;
        let resource = origin.resource_number(tally, |fields| table.resource(fields));
        let scope = origin.scope_number(tally, |name, _| table.scope(name));
        for (key, value) in &self.attributes {
            value.push_to(*key, table.attributes());
        }
        body.with_bytes(|text| {
            table.append_entry(&LogEntry {
                time_ns,
                observed_ns,
                // An invalid id means "not in a trace" (logs.proto, trace_id); the record itself is good.
                trace_id: TraceId::from_otlp(record.trace_id),
                span_id: SpanId::from_otlp(record.span_id),
                flags: record.flags,
                severity_number: record.severity_number,
                severity_text: present(record.severity_text),
                body: text,
                body_type: body.value_type(),
                event_name: present(record.event_name),
                resource,
                scope,
                dropped_attributes_count: record.dropped_attributes_count.saturating_add(record.cutter.left_out),
            });
        });
        Ok(())
    }
}

impl<'a, 'l> Parts<'a, 'l> {
    fn new(limits: &'l Limits) -> Self {
        Self {
            time_unix_ns: 0,
            observed_unix_ns: 0,
            severity_number: 0,
            severity_text: "",
            body: None,
            body_pieces: Vec::new(),
            dropped_attributes_count: 0,
            flags: 0,
            trace_id: &[],
            span_id: &[],
            event_name: "",
            attribute_bytes: 0,
            cutter: Cutter::new(limits),
        }
    }

    fn body_value(&self, limits: &Limits) -> Result<Value<'a>, Damaged> {
        match self.body {
            _ if !self.body_pieces.is_empty() => Value::of_pieces(&self.body_pieces, RECORD_DEPTH + 1, limits),
            Some(body) => Value::read(body, RECORD_DEPTH + 1, limits),
            None => Ok(Value::Text(&[])),
        }
    }

    /// Returns the record's time, which is that of its observation when it has none, and the observation's.
    fn times_ns(&self) -> Result<(i64, i64), RejectReason> {
        let observed_ns = time_ns(self.observed_unix_ns)?;
        let time_ns = time_ns(self.time_unix_ns)?;
        Ok((if time_ns == 0 { observed_ns } else { time_ns }, observed_ns))
    }
}
