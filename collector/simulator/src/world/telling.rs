//! Telemetry on its way: spans and log records wait for the export of their instance, are lost or doubled, and leave as
//! tables, one for each second of arrival. Filled by the world; must never be read by it.

use std::collections::BTreeMap;
use std::sync::Arc;

use collector_table::{
    LinkFields, LinksWriter, LogFields, LogTable, LogTableBuilder, ResourceFields, SpanEntry, SpanId, SpanTable,
    SpanTableBuilder, StatusCode, TraceId, ValueType,
};

use super::sites::Sites;
use super::truth::{SpanTruth, Works};
use crate::dice::{Dice, mix};
use crate::system::Telemetry;

pub(super) const SECOND_NS: i64 = 1_000_000_000;
/// After how many seconds an export is sent again whose answer got lost.
const DOUBLED_AFTER_S: i64 = 7;

/// Key of an attribute that differs from span to span.
#[derive(Debug, Clone)]
pub(super) enum Name {
    Fixed(&'static str),
    Said(Arc<str>),
}

impl Name {
    fn as_str(&self) -> &str {
        match self {
            Self::Fixed(name) => name,
            Self::Said(name) => name,
        }
    }
}

/// A span as it will be sent. Times are the instance's own.
#[derive(Debug, Clone)]
pub(super) struct SpanRecord {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    pub(super) instance: usize,
    pub(super) site: u32,
    /// What failed; none if nothing did.
    pub(super) error: Option<&'static str>,
    pub(super) works: Works,
    pub(super) attributes: Vec<(Name, String, ValueType)>,
    pub(super) links: Vec<(TraceId, SpanId)>,
}

/// A log record as it will be sent.
#[derive(Debug, Clone)]
pub(super) struct LogRecord {
    pub(super) time_ns: i64,
    pub(super) instance: usize,
    pub(super) context: Option<(TraceId, SpanId)>,
    pub(super) is_error: bool,
    pub(super) body: Arc<str>,
    pub(super) attributes: Vec<(Name, String, ValueType)>,
}

/// Who sends: what is the same for all that an instance tells.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    pub(super) service: Arc<str>,
    pub(super) name: String,
    pub(super) version: String,
    /// All resource attributes as a JSON object.
    pub(super) resource: String,
    /// When its exports happen within the time between two.
    pub(super) phase_ns: i64,
}

/// What arrived within one second.
#[derive(Debug)]
pub struct Chunk {
    /// End of that second, unix nanoseconds.
    pub arrival_ns: i64,
    /// Spans in an order by chance.
    pub spans: SpanTable,
    /// Log records.
    pub logs: LogTable,
    /// What is true of the spans; empty unless it was asked for.
    pub span_truths: Vec<SpanTruth>,
    /// What is true of the pieces of work that came to their end in this second.
    pub work_truths: Vec<super::truth::WorkTruth>,
}

/// What was told and has not arrived.
#[derive(Debug)]
pub(super) struct Outbox {
    telemetry: Telemetry,
    seed: u64,
    dice: Dice,
    spans: BTreeMap<i64, Vec<SpanRecord>>,
    logs: BTreeMap<i64, Vec<LogRecord>>,
}

impl Outbox {
    pub(super) fn new(telemetry: Telemetry, seed: u64) -> Self {
        let dice = Dice::new(seed ^ 0x0b0c);
        Self { telemetry, seed, dice, spans: BTreeMap::new(), logs: BTreeMap::new() }
    }

    /// Returns the seconds at the end of which arrives what was told at a moment: one, or two, or none.
    fn arrivals(&mut self, sender: &Sender, instance: usize, now_ns: i64) -> [Option<i64>; 2] {
        if self.dice.is(self.telemetry.lost) {
            return [None; 2];
        }
        let every_ns = (self.telemetry.export_every_ms * 1e6).max(1.0) as i64;
        let number = (now_ns - sender.phase_ns).div_euclid(every_ns) + 1;
        let drawn = mix(self.seed ^ mix(number as u64 ^ ((instance as u64) << 40)));
        let delay_ns = 20_000_000 + (drawn % 200_000_000) as i64;
        let at_s = (sender.phase_ns + number * every_ns + delay_ns).div_euclid(SECOND_NS);
        let is_doubled = (mix(drawn) >> 11) as f64 / (1_u64 << 53) as f64 <= self.telemetry.doubled;
        [Some(at_s), is_doubled.then_some(at_s + DOUBLED_AFTER_S)]
    }

    pub(super) fn span(&mut self, sender: &Sender, now_ns: i64, record: SpanRecord) {
        let [first, second] = self.arrivals(sender, record.instance, now_ns);
        if let Some(at_s) = second {
            self.spans.entry(at_s).or_default().push(record.clone());
        }
        if let Some(at_s) = first {
            self.spans.entry(at_s).or_default().push(record);
        }
    }

    pub(super) fn log(&mut self, sender: &Sender, now_ns: i64, record: LogRecord) {
        let [first, second] = self.arrivals(sender, record.instance, now_ns);
        if let Some(at_s) = second {
            self.logs.entry(at_s).or_default().push(record.clone());
        }
        if let Some(at_s) = first {
            self.logs.entry(at_s).or_default().push(record);
        }
    }

    /// Returns what arrives in a second.
    pub(super) fn take(&mut self, second: i64) -> (Vec<SpanRecord>, Vec<LogRecord>) {
        let mut spans = self.spans.remove(&second).unwrap_or_default();
        self.dice.shuffle(&mut spans);
        (spans, self.logs.remove(&second).unwrap_or_default())
    }
}

/// Returns the table of spans; `begin_ns` is when the simulation began.
pub(super) fn span_table(records: &[SpanRecord], sites: &Sites, senders: &[Sender], begin_ns: i64) -> SpanTable {
    let mut table = SpanTableBuilder::with_room(records.len(), records.len() * 6, records.len() * 60);
    let mut resources: Vec<Option<u32>> = vec![None; senders.len()];
    let scope = table.scope(Some("simulated"), None);
    let mut links = LinksWriter::default();
    for record in records {
        let sender = &senders[record.instance];
        let resource = *resources[record.instance].get_or_insert_with(|| {
            table.resource(&ResourceFields {
                service_name: &sender.service,
                service_instance: Some(&sender.name),
                service_version: Some(&sender.version),
                attributes: &sender.resource,
            })
        });
        let site = sites.get(record.site);
        for (key, value, value_type) in &site.attributes {
            table.push_attribute(key, value, *value_type);
        }
        if let Some((key, [success, failure])) = site.outcome {
            let value = if record.error.is_some() { failure } else { success };
            table.push_attribute(key, value, ValueType::Int);
        }
        for (key, value, value_type) in &record.attributes {
            table.push_attribute(key.as_str(), value, *value_type);
        }
        links.clear();
        for (trace_id, span_id) in &record.links {
            links.push(&LinkFields { trace_id: *trace_id, span_id: *span_id, trace_state: None }, "{}");
        }
        let name = table.name(site.name.as_bytes()).unwrap_or_default();
        table.append_entry(&SpanEntry {
            trace_id: record.trace,
            span_id: record.span,
            parent_span_id: record.parent,
            start_ns: begin_ns + record.start_ns,
            end_ns: begin_ns + record.end_ns,
            name,
            kind: site.kind,
            status_code: if record.error.is_some() { StatusCode::Error } else { StatusCode::Unset },
            status_message: record.error,
            trace_state: None,
            flags: 1,
            resource,
            scope,
            events: None,
            links: links.finish(),
            dropped: [0; 3],
        });
    }
    table.finish()
}

/// Returns the table of log records.
pub(super) fn log_table(records: &[LogRecord], senders: &[Sender], begin_ns: i64) -> LogTable {
    let mut table = LogTableBuilder::default();
    for record in records {
        let sender = &senders[record.instance];
        for (key, value, value_type) in &record.attributes {
            table.push_attribute(key.as_str(), value, *value_type);
        }
        table.append(&LogFields {
            time_ns: begin_ns + record.time_ns,
            observed_ns: begin_ns + record.time_ns,
            trace_id: record.context.map(|(trace, _)| trace),
            span_id: record.context.map(|(_, span)| span),
            flags: 1,
            severity_number: if record.is_error { 17 } else { 9 },
            severity_text: Some(if record.is_error { "ERROR" } else { "INFO" }),
            body: &record.body,
            body_type: ValueType::String,
            event_name: None,
            service_name: &sender.service,
            service_instance: Some(&sender.name),
            service_version: Some(&sender.version),
            scope_name: None,
            dropped_attributes_count: 0,
        });
    }
    table.finish()
}
