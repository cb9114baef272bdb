//! Where `analyze` writes transactions. A file gets each one once, as it was known at the end: every revision goes to a file
//! beside it first, and only the last ones are copied. Anything else, such as a pipe, gets every revision as it comes.
//! Must never hold transactions: what is held is a few bytes for each that was revised.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use analyzer::Transaction;
use analyzer::expect::NeverCame;
use anyhow::Context as _;
use collector_table::TraceId;

use super::missing::Missing;

/// Revised transactions that are remembered, about 200 MiB. Of more, every revision is written, which is counted.
const REVISED_MAX: usize = 4_000_000;
/// Between what says of which transaction a line is, and the line.
const SEPARATOR: u8 = b' ';

/// A place for transactions.
pub(super) enum Transactions {
    /// Nobody wants them.
    Nowhere,
    /// A line for every revision.
    Every(Box<dyn Write>),
    /// A line for every transaction.
    Last(Last),
}

/// Lines of every revision, and which of them are the last.
pub(super) struct Last {
    path: PathBuf,
    part_path: PathBuf,
    part: BufWriter<File>,
    /// Highest revision of those that have more than one, and whether it says that it is part of another transaction.
    revised: HashMap<TraceId, Revised>,
    revised_max: usize,
    /// Lines of transactions that were revised and are not remembered.
    left_out: u64,
    missing: Missing,
}

#[derive(Clone, Copy)]
struct Revised {
    revision: u32,
    is_superseded: bool,
}

/// What was written in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) lines: u64,
    /// Lines that a later one replaces or takes back.
    pub(super) outdated: u64,
}

impl Transactions {
    /// Opens a place.
    ///
    /// # Errors
    /// When a file cannot be made.
    pub(super) fn create(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::Nowhere) };
        let is_stream = path == Path::new("-") || fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
        if is_stream {
            return Ok(Self::Every(super::create(path)?));
        }
        // What cannot be written is said before anything is read.
        File::create(path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self::Last(Last::create(path, REVISED_MAX)?))
    }

    /// Writes one revision.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&mut self, transaction: &Transaction) -> anyhow::Result<()> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Every(out) => super::write_line(out, &transaction.to_json()),
            Self::Last(last) => last.write(transaction),
        }
    }

    /// Notes what a transaction waited for when it was written, and for which it is too late now.
    pub(super) fn note_missing(&mut self, one: NeverCame) {
        if let Self::Last(last) = self {
            last.missing.note(one);
        }
    }

    /// Completes what was written, of so many revisions.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub(super) fn finish(self, revisions: u64) -> anyhow::Result<Written> {
        match self {
            Self::Nowhere => Ok(Written { lines: revisions, outdated: 0 }),
            Self::Every(mut out) => {
                out.flush().context("writing transactions")?;
                Ok(Written { lines: revisions, outdated: 0 })
            }
            Self::Last(last) => last.finish(),
        }
    }
}

impl Last {
    fn create(path: &Path, revised_max: usize) -> anyhow::Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let part_path = path.with_file_name(name);
        let part = File::create(&part_path).with_context(|| format!("creating {}", part_path.display()))?;
        let (path, part) = (path.to_path_buf(), BufWriter::new(part));
        Ok(Self {
            path,
            part_path,
            part,
            revised: HashMap::new(),
            revised_max,
            left_out: 0,
            missing: Missing::default(),
        })
    }

    fn write(&mut self, transaction: &Transaction) -> anyhow::Result<()> {
        let (id, revision) = (transaction.id, transaction.revision);
        if revision > 1 {
            if self.revised.len() < self.revised_max || self.revised.contains_key(&id) {
                let is_superseded = transaction.superseded_by.is_some();
                self.revised.insert(id, Revised { revision, is_superseded });
            } else {
                self.left_out += 1;
            }
        }
        write!(self.part, "{id} {revision} ").context("writing a line")?;
        super::write_line(&mut self.part, &transaction.to_json())
    }

    fn finish(mut self) -> anyhow::Result<Written> {
        self.part.flush().context("writing transactions")?;
        let shown = self.part_path.display();
        let mut lines = BufReader::new(File::open(&self.part_path).with_context(|| format!("reading {shown}"))?);
        let mut out = super::create(&self.path)?;
        let mut written = Written { lines: 0, outdated: self.left_out };
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).with_context(|| format!("reading {shown}"))? > 0 {
            if let Some((id, json)) = self.last(&line) {
                let decided = self.missing.decided(id, json);
                out.write_all(decided.as_deref().unwrap_or(json)).context("writing transactions")?;
                written.lines += 1;
            }
            line.clear();
        }
        out.flush().context("writing transactions")?;
        fs::remove_file(&self.part_path).with_context(|| format!("removing {shown}"))?;
        Ok(written)
    }

    /// Returns the line without what says of which transaction it is, if it is the last of it. Spans that came too late
    /// for their transaction are of revision 0: no revision of it has them.
    fn last<'a>(&self, line: &'a [u8]) -> Option<(TraceId, &'a [u8])> {
        let mut fields = line.splitn(3, |byte| *byte == SEPARATOR);
        let mut field = || std::str::from_utf8(fields.next()?).ok();
        let (id, revision): (TraceId, u32) = (field()?.parse().ok()?, field()?.parse().ok()?);
        let is_last = match self.revised.get(&id).filter(|_| revision > 0) {
            Some(revised) => revision == revised.revision && !revised.is_superseded,
            None => true,
        };
        fields.next().filter(|_| is_last).map(|json| (id, json))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use analyzer::stitch::assemble;
    use collector_table::{SpanFields, SpanId, SpanKind, SpanTableBuilder, StatusCode};

    fn transaction(id: u8, revision: u32) -> Transaction {
        let mut spans = SpanTableBuilder::default();
        spans.append(&SpanFields {
            trace_id: TraceId([id; 16]),
            span_id: SpanId([id; 8]),
            parent_span_id: None,
            trace_state: None,
            flags: 0,
            service_name: "shop",
            service_instance: None,
            service_version: None,
            name: "work",
            kind: SpanKind::Internal,
            start_ns: 1,
            end_ns: 2,
            status_code: StatusCode::Unset,
            status_message: None,
            scope_name: None,
            scope_version: None,
            dropped: [0; 3],
        });
        let mut transaction = assemble([&spans.finish()]).remove(0);
        transaction.revision = revision;
        transaction
    }

    /// Writes revisions and returns id and revision of each line, and what was written.
    fn lines(revised_max: usize, transactions: &[Transaction]) -> (Vec<(String, u64)>, Written) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("transactions.jsonl");
        let mut last = Last::create(&path, revised_max).unwrap();
        transactions.iter().for_each(|transaction| last.write(transaction).unwrap());
        let written = last.finish().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside the file");
        let read = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            (value["transaction_id"].as_str().unwrap()[..2].to_owned(), value["revision"].as_u64().unwrap())
        };
        (fs::read_to_string(&path).unwrap().lines().map(read).collect(), written)
    }

    fn superseded(id: u8, revision: u32) -> Transaction {
        let mut transaction = transaction(id, revision);
        transaction.superseded_by = Some(TraceId([9; 16]));
        transaction
    }

    #[test]
    fn only_the_last_revision_is_written_and_none_of_what_became_part_of_another() {
        let all = [transaction(1, 1), transaction(2, 1), transaction(2, 2), superseded(1, 2), transaction(3, 1)];
        let (lines, written) = lines(10, &all);
        assert_eq!(lines, [("02".to_owned(), 2), ("03".to_owned(), 1)]);
        assert_eq!(written, Written { lines: 2, outdated: 0 });
    }

    #[test]
    fn spans_that_came_too_late_stay_a_line_of_their_own() {
        let (lines, _) = lines(10, &[transaction(1, 1), transaction(1, 2), transaction(1, 0)]);
        assert_eq!(lines, [("01".to_owned(), 2), ("01".to_owned(), 0)]);
    }

    #[test]
    fn beyond_the_bound_of_revised_transactions_every_revision_is_written_and_counted() {
        let all = [transaction(1, 1), transaction(1, 2), transaction(2, 1), transaction(2, 2)];
        let (lines, written) = lines(1, &all);
        assert_eq!(lines, [("01".to_owned(), 2), ("02".to_owned(), 1), ("02".to_owned(), 2)]);
        assert_eq!(written, Written { lines: 3, outdated: 1 });
    }
}
