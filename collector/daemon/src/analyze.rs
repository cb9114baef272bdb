//! `throughline analyze`: replays recordings or a data folder at event time, as fast as it can, with the same analysis as
//! the daemon. Reads what the OpenTelemetry Collector's file exporter writes, or what a daemon stored; deterministic: the
//! same input gives the same output.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use analyzer::{Analyzer, AnalyzerLimits, Incident, IncidentEvent, Outcome};
use anyhow::Context as _;
use collector_otlp::recording::{BODY_BYTES_MAX, Recording};
use collector_otlp::{DecodedBatch, Limits, PayloadKind, Signal, decode};
use collector_table::{LogTable, SpanTable};
use indicatif::{ProgressBar, ProgressStyle};
use transactions::Transactions;

mod missing;
mod stored;
mod transactions;

/// What to replay and what to write.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where spans and log records come from.
    pub input: Input,
    /// Where incidents go, one JSON object a line; `-` is standard output.
    pub incidents: PathBuf,
    /// Where transactions go, one JSON object a line: a file has each once, a stream has every revision.
    pub transactions: Option<PathBuf>,
    /// Bounds and settings of the analysis.
    pub limits: AnalyzerLimits,
}

/// What is replayed.
#[derive(Debug, Clone)]
pub enum Input {
    /// Recordings.
    Recordings {
        /// Of traces, replayed one after the other; `-` is standard input.
        traces: Vec<PathBuf>,
        /// Of logs, replayed beside the traces.
        logs: Vec<PathBuf>,
    },
    /// What is stored.
    Stored {
        /// The data folder; a daemon may be using it.
        dir: PathBuf,
        /// Unix nanoseconds; spans that started earlier are left out.
        from_ns: Option<i64>,
        /// Unix nanoseconds; spans that started then or later are left out.
        until_ns: Option<i64>,
    },
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
    /// Stretches of stored data that held more than a query returns.
    pub truncated: u64,
    /// Transactions written; to a stream with revisions included.
    pub transactions: u64,
    /// Lines of transactions that a later line replaces or takes back, because too many were revised to tell.
    pub outdated: u64,
    /// Incidents written.
    pub incidents: u64,
}

/// Replays the input and writes what the analysis finds.
///
/// # Errors
/// When a file or the data folder cannot be read, or a file is not a recording or cannot be written.
pub fn run(plan: &Plan) -> anyhow::Result<Report> {
    let mut replay = Replay {
        analyzer: Analyzer::new(plan.limits.clone()),
        incidents: BTreeMap::new(),
        transactions: Transactions::create(plan.transactions.as_deref())?,
        arrival: Arrival::default(),
        report: Report::default(),
    };
    let mut incidents = create(&plan.incidents)?;
    match &plan.input {
        Input::Recordings { traces, logs } => replay.take_recordings(traces, logs)?,
        Input::Stored { dir, from_ns, until_ns } => stored::replay(dir, (*from_ns, *until_ns), &mut replay)?,
    }
    let outcome = replay.analyzer.finish(replay.arrival.now_ns);
    replay.keep(outcome)?;
    for incident in replay.incidents.values() {
        write_line(&mut incidents, incident)?;
        replay.report.incidents += 1;
    }
    incidents.flush().context("writing incidents")?;
    let written = replay.transactions.finish(replay.report.transactions)?;
    Ok(Report { transactions: written.lines, outdated: written.outdated, ..replay.report })
}

struct Replay {
    analyzer: Analyzer,
    /// By number and by how often it had come back, as each was last told: what came back is a line of its own.
    incidents: BTreeMap<(u64, u32), Incident>,
    transactions: Transactions,
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
    fn take_recordings(&mut self, traces: &[PathBuf], logs: &[PathBuf]) -> anyhow::Result<()> {
        let progress = progress_of(traces.iter().chain(logs));
        let mut logs = Logs::new(logs, &progress);
        for path in traces {
            for batch in read(path, Signal::Traces, &progress)? {
                self.take(batch?, &mut logs)?;
            }
        }
        self.take_logs(&mut logs, i64::MAX)?;
        progress.finish_and_clear();
        Ok(())
    }

    fn take(&mut self, batch: DecodedBatch, logs: &mut Logs<'_>) -> anyhow::Result<()> {
        self.report.spans += batch.accepted as u64;
        self.report.rejected += batch.rejected_count();
        let table = SpanTable::from_batch(batch.rows).context("reading decoded spans")?;
        if let Some(ended_ns) = median_end_ns(&table) {
            self.arrival.note(ended_ns);
        }
        self.take_logs(logs, self.arrival.now_ns)?;
        let outcome = self.analyzer.push(&table, self.arrival.now_ns);
        self.keep(outcome)
    }

    /// Takes in the log records that were written by then.
    fn take_logs(&mut self, logs: &mut Logs<'_>, until_ns: i64) -> anyhow::Result<()> {
        while let Some(LogBatch { table, rejected, .. }) = logs.next_until(until_ns)? {
            self.report.logs += table.len() as u64;
            self.report.rejected += rejected;
            self.analyzer.push_logs(&table, self.arrival.now_ns);
        }
        Ok(())
    }

    fn keep(&mut self, outcome: Outcome) -> anyhow::Result<()> {
        self.report.transactions += outcome.transactions.len() as u64;
        for transaction in &outcome.transactions {
            self.transactions.write(transaction)?;
        }
        outcome.missing.into_iter().for_each(|one| self.transactions.note_missing(one));
        for change in outcome.changes {
            let number = change.incident.number;
            let last = self.incidents.range((number, 0)..=(number, u32::MAX)).next_back().map(|((_, times), _)| *times);
            let is_new = change.event == IncidentEvent::Opened;
            let times = last.map_or(0, |times| times + u32::from(is_new));
            self.incidents.insert((number, times), change.incident);
        }
        Ok(())
    }
}

/// A request arrives when its spans end; the median keeps one wrong clock among them from moving time.
fn median_end_ns(table: &SpanTable) -> Option<i64> {
    let columns = table.columns();
    let spans = columns.starts_ns.iter().zip(columns.durations_ns);
    median(spans.map(|(start_ns, duration_ns)| start_ns.saturating_add(*duration_ns)).collect())
}

fn median(mut times_ns: Vec<i64>) -> Option<i64> {
    let middle = times_ns.len() / 2;
    (!times_ns.is_empty()).then(|| *times_ns.select_nth_unstable(middle).1)
}

/// The log records of all recordings, one request at a time, each when its time has come.
struct Logs<'a> {
    paths: std::slice::Iter<'a, PathBuf>,
    progress: &'a ProgressBar,
    open: Option<Box<dyn Iterator<Item = anyhow::Result<DecodedBatch>> + 'a>>,
    /// Read, and of a time that has not come.
    ahead: Option<LogBatch>,
}

struct LogBatch {
    table: LogTable,
    rejected: u64,
    written_ns: i64,
}

impl<'a> Logs<'a> {
    fn new(paths: &'a [PathBuf], progress: &'a ProgressBar) -> Self {
        Self { paths: paths.iter(), progress, open: None, ahead: None }
    }

    fn next_until(&mut self, until_ns: i64) -> anyhow::Result<Option<LogBatch>> {
        if self.ahead.is_none() {
            self.ahead = self.read()?;
        }
        Ok(self.ahead.take_if(|ahead| ahead.written_ns <= until_ns))
    }

    fn read(&mut self) -> anyhow::Result<Option<LogBatch>> {
        loop {
            let Some(open) = &mut self.open else {
                let Some(path) = self.paths.next() else { return Ok(None) };
                self.open = Some(Box::new(read(path, Signal::Logs, self.progress)?));
                continue;
            };
            let Some(batch) = open.next().transpose()? else {
                self.open = None;
                continue;
            };
            let rejected = batch.rejected_count();
            let table = LogTable::from_batch(batch.rows).context("reading decoded log records")?;
            let written_ns = median(table.rows().map(|row| row.time_ns).collect()).unwrap_or(i64::MIN);
            return Ok(Some(LogBatch { table, rejected, written_ns }));
        }
    }
}

/// Returns the requests of a recording.
fn read<'a>(
    path: &'a Path,
    signal: Signal,
    progress: &ProgressBar,
) -> anyhow::Result<impl Iterator<Item = anyhow::Result<DecodedBatch>> + 'a> {
    let limits = Limits::default();
    let shown = path.display();
    let source = open(path, progress).with_context(|| format!("opening {shown}"))?;
    Ok(Recording::new(source, BODY_BYTES_MAX).map(move |body| {
        let body = body.with_context(|| format!("reading {shown}"))?;
        let kind = PayloadKind { signal, encoding: body.encoding };
        decode(kind, &body.bytes, &limits)
            .with_context(|| format!("decoding {shown}, request at byte {} of its content", body.offset))
    }))
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
fn progress_of<'a>(files: impl Iterator<Item = &'a PathBuf>) -> ProgressBar {
    let bytes = files.filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum();
    styled(ProgressBar::new(bytes), "{bar:40} {bytes} of {total_bytes}, {eta} left")
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
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
