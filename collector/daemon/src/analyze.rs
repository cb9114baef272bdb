//! `throughline analyze`: replays recordings at event time, as fast as it can, with the same analysis as the daemon.
//! Reads what the OpenTelemetry Collector's file exporter writes; deterministic: the same input gives the same output.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use analyzer::{Analyzer, AnalyzerLimits, Incident, Outcome};
use anyhow::Context as _;
use collector_otlp::recording::{BODY_BYTES_MAX, Recording};
use collector_otlp::{DecodedBatch, Limits, PayloadKind, Signal, decode};
use collector_table::SpanTable;
use indicatif::{ProgressBar, ProgressStyle};

/// What to replay and what to write.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Recordings of traces, replayed one after the other; `-` is standard input.
    pub traces: Vec<PathBuf>,
    /// Recordings of logs: read and counted; nothing is concluded from them yet.
    pub logs: Vec<PathBuf>,
    /// Where incidents go, one JSON object a line; `-` is standard output.
    pub incidents: PathBuf,
    /// Where transactions go, one JSON object a line for every revision.
    pub transactions: Option<PathBuf>,
    /// Bounds and settings of the analysis.
    pub limits: AnalyzerLimits,
}

/// What was read and found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Spans read.
    pub spans: u64,
    /// Log records read.
    pub logs: u64,
    /// Items left out because they are invalid.
    pub rejected: u64,
    /// Transactions written, revisions included.
    pub transactions: u64,
    /// Incidents written.
    pub incidents: u64,
}

/// Replays the recordings and writes what the analysis finds.
///
/// # Errors
/// When a file cannot be read or written, or is not a recording.
pub fn run(plan: &Plan) -> anyhow::Result<Report> {
    let mut replay = Replay {
        analyzer: Analyzer::new(plan.limits.clone()),
        incidents: BTreeMap::new(),
        transactions: plan.transactions.as_deref().map(create).transpose()?,
        arrival: Arrival::default(),
        report: Report::default(),
    };
    let mut incidents = create(&plan.incidents)?;
    let progress = progress_of(plan);
    for path in &plan.traces {
        read(path, Signal::Traces, &progress, |batch| replay.take(batch))?;
    }
    for path in &plan.logs {
        read(path, Signal::Logs, &progress, |batch| {
            replay.report.logs += batch.accepted as u64;
            replay.report.rejected += batch.rejected_count();
            Ok(())
        })?;
    }
    let outcome = replay.analyzer.finish(replay.arrival.now_ns);
    replay.keep(outcome)?;
    progress.finish_and_clear();
    for incident in replay.incidents.values() {
        write_line(&mut incidents, incident)?;
        replay.report.incidents += 1;
    }
    incidents.flush().context("writing incidents")?;
    if let Some(mut transactions) = replay.transactions {
        transactions.flush().context("writing transactions")?;
    }
    Ok(replay.report)
}

struct Replay {
    analyzer: Analyzer,
    /// By number, as each was last told.
    incidents: BTreeMap<u64, Incident>,
    transactions: Option<Box<dyn Write>>,
    /// Event time of arrival.
    arrival: Arrival,
    report: Report,
}

/// When requests of a recording arrived, told from when their spans ended. Never goes back; goes far ahead only when
/// several requests in a row say so, so that one sender's wrong clock does not end the time of all others.
#[derive(Default)]
struct Arrival {
    now_ns: i64,
    ahead: u32,
}

/// From here on, a request's time is far ahead: a minute.
const AHEAD_NS: i64 = 60_000_000_000;
/// Requests in a row that must be far ahead before they are believed.
const AHEAD_REQUESTS: u32 = 5;

impl Arrival {
    fn note(&mut self, ended_ns: i64) {
        let is_ahead = self.now_ns > 0 && ended_ns.saturating_sub(self.now_ns) > AHEAD_NS;
        self.ahead = if is_ahead { self.ahead + 1 } else { 0 };
        if !is_ahead || self.ahead >= AHEAD_REQUESTS {
            self.now_ns = self.now_ns.max(ended_ns);
            self.ahead = 0;
        }
    }
}

impl Replay {
    fn take(&mut self, batch: DecodedBatch) -> anyhow::Result<()> {
        self.report.spans += batch.accepted as u64;
        self.report.rejected += batch.rejected_count();
        let table = SpanTable::from_batch(batch.rows).context("reading decoded spans")?;
        if let Some(ended_ns) = median_end_ns(&table) {
            self.arrival.note(ended_ns);
        }
        let outcome = self.analyzer.push(&table, self.arrival.now_ns);
        self.keep(outcome)
    }

    fn keep(&mut self, outcome: Outcome) -> anyhow::Result<()> {
        self.report.transactions += outcome.transactions.len() as u64;
        if let Some(out) = &mut self.transactions {
            for transaction in &outcome.transactions {
                write_line(out, &transaction.to_json())?;
            }
        }
        for change in outcome.changes {
            self.incidents.insert(change.incident.number, change.incident);
        }
        Ok(())
    }
}

/// A request arrives when its spans end; the median keeps one wrong clock among them from moving time.
fn median_end_ns(table: &SpanTable) -> Option<i64> {
    let columns = table.columns();
    let spans = columns.starts_ns.iter().zip(columns.durations_ns);
    let mut ends: Vec<i64> = spans.map(|(start_ns, duration_ns)| start_ns.saturating_add(*duration_ns)).collect();
    let middle = ends.len() / 2;
    (!ends.is_empty()).then(|| *ends.select_nth_unstable(middle).1)
}

/// Calls `take` for every request of a recording.
fn read(
    path: &Path,
    signal: Signal,
    progress: &ProgressBar,
    mut take: impl FnMut(DecodedBatch) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let limits = Limits::default();
    let shown = path.display();
    let source = open(path, progress).with_context(|| format!("opening {shown}"))?;
    for body in Recording::new(source, BODY_BYTES_MAX) {
        let body = body.with_context(|| format!("reading {shown}"))?;
        let kind = PayloadKind { signal, encoding: body.encoding };
        let batch = decode(kind, &body.bytes, &limits)
            .with_context(|| format!("decoding {shown}, request at byte {} of its content", body.offset))?;
        take(batch)?;
    }
    Ok(())
}

/// Opens a file or standard input and sees through gzip and zstd by their first bytes.
fn open(path: &Path, progress: &ProgressBar) -> io::Result<Box<dyn Read>> {
    let raw: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(progress.wrap_read(File::open(path)?)) };
    let mut buffered = BufReader::with_capacity(1 << 20, raw);
    Ok(match buffered.fill_buf()? {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(buffered)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(buffered)?),
        _ => Box::new(buffered),
    })
}

fn create(path: &Path) -> anyhow::Result<Box<dyn Write>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufWriter::new(io::stdout())));
    }
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    Ok(Box::new(BufWriter::new(file)))
}

fn write_line(out: &mut impl Write, value: &impl serde::Serialize) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, value).context("writing a line")?;
    out.write_all(b"\n").context("writing a line")
}

/// A bar over the bytes of all files; hidden where standard error is no terminal.
fn progress_of(plan: &Plan) -> ProgressBar {
    let files = plan.traces.iter().chain(&plan.logs);
    let bytes = files.filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum();
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left");
    let bar = ProgressBar::new(bytes);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_clock_does_not_move_time_but_a_pause_does() {
        let second = 1_000_000_000;
        let mut arrival = Arrival::default();
        for at in [100, 101, 9_000, 102, 9_000, 103] {
            arrival.note(at * second);
        }
        assert_eq!(arrival.now_ns, 103 * second);
        for at in 5_000..5_010 {
            arrival.note(at * second);
        }
        assert_eq!(arrival.now_ns, 5_009 * second);
    }
}
