//! Results of queries as people and programs read them: cells of text, CSV, JSON rows, or an Arrow stream.
//! Writing a large result is a core's work for a while: never call this on a thread that receives spans.

use std::io::Write;
use std::ops::ControlFlow;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use collector_store::QueryResult;
use serde_json::json;

use crate::text;

/// Largest CSV or JSON that is written of one result, bytes: as text, a result can be many times what it is in memory.
pub(crate) const TEXT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A column of a result.
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) type_name: String,
    pub(crate) is_number: bool,
}

/// Returns the columns.
pub(crate) fn columns(result: &QueryResult) -> Vec<Column> {
    let columns = result.schema.fields().iter().map(|field| Column {
        name: field.name().clone(),
        type_name: type_name(field.data_type()),
        is_number: field.data_type().is_numeric(),
    });
    columns.collect()
}

/// Returns a type in one word.
fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::Timestamp(..) => "time".to_owned(),
        DataType::FixedSizeBinary(_) | DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            "id".to_owned()
        }
        DataType::List(_) | DataType::LargeList(_) => "list".to_owned(),
        DataType::Map(..) => "map".to_owned(),
        DataType::Struct(_) => "struct".to_owned(),
        other => other.to_string().to_lowercase(),
    }
}

/// Hands each row's cells to `take`, as text, until that breaks. Only one row at a time is in memory as text.
pub(crate) fn each_row(
    result: &QueryResult,
    mut take: impl FnMut(Vec<String>) -> ControlFlow<()>,
) -> Result<(), ArrowError> {
    let options = FormatOptions::default().with_null("");
    for batch in &result.batches {
        let formatter = |column| ArrayFormatter::try_new(column, &options);
        let columns: Vec<ArrayFormatter<'_>> =
            batch.columns().iter().map(|column| formatter(column.as_ref())).collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|column| column.value(row).try_to_string()).collect::<Result<_, _>>()?;
            if take(cells).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A result as text.
pub(crate) struct Written {
    pub(crate) text: Vec<u8>,
    /// Whether rows are missing: cut by the store's limits, or by the limit on the text.
    pub(crate) is_cut: bool,
}

/// Returns rows as CSV with a head, as many as fit into `bytes_max`.
pub(crate) fn csv(result: &QueryResult, bytes_max: usize) -> Result<Written, ArrowError> {
    let line = |cells: &[String]| cells.iter().map(|cell| text::csv_field(cell)).collect::<Vec<_>>().join(",") + "\n";
    let head = line(&columns(result).into_iter().map(|column| column.name).collect::<Vec<_>>());
    let mut written = Written { text: head.into_bytes(), is_cut: result.truncated };
    each_row(result, |cells| {
        let row = line(&cells);
        if written.text.len() + row.len() > bytes_max {
            written.is_cut = true;
            return ControlFlow::Break(());
        }
        written.text.extend_from_slice(row.as_bytes());
        ControlFlow::Continue(())
    })?;
    Ok(written)
}

/// Returns `{"columns":[…],"rows":[{…}],"truncated":bool}`, with as many rows as fit into `bytes_max`.
pub(crate) fn json(result: &QueryResult, bytes_max: usize) -> Result<Written, ArrowError> {
    let (mut rows, is_cut) = json_lines(&result.batches, bytes_max)?;
    // JSON has no line feeds but those that we asked for, between rows.
    rows.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b',');
    rows.pop();
    let is_cut = is_cut || result.truncated;
    let fields = result.schema.fields().iter();
    let columns: Vec<_> =
        fields.map(|field| json!({ "name": field.name(), "type": field.data_type().to_string() })).collect();
    let head = format!(r#"{{"columns":{},"rows":["#, serde_json::Value::from(columns));
    rows.splice(..0, head.into_bytes());
    rows.extend_from_slice(format!(r#"],"truncated":{is_cut}}}"#).as_bytes());
    Ok(Written { text: rows, is_cut })
}

/// Returns each row as JSON on a line of its own, and whether some did not fit.
fn json_lines(batches: &[RecordBatch], bytes_max: usize) -> Result<(Vec<u8>, bool), ArrowError> {
    let mut writer = arrow::json::LineDelimitedWriter::new(Bounded { bytes: Vec::new(), bytes_max, is_cut: false });
    let outcome = batches.iter().try_for_each(|batch| writer.write(batch));
    let Bounded { mut bytes, is_cut, .. } = writer.into_inner();
    if !is_cut {
        return outcome.map(|()| (bytes, false));
    }
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    bytes.truncate(whole);
    Ok((bytes, true))
}

/// Takes bytes until it is full, then fails; the last row may then be there in part.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
    is_cut: bool,
}

impl Write for Bounded {
    fn write(&mut self, more: &[u8]) -> std::io::Result<usize> {
        let taken = more.len().min(self.bytes_max - self.bytes.len());
        self.bytes.extend_from_slice(&more[..taken]);
        self.is_cut |= taken < more.len();
        // Nothing taken is how a writer says that it is full.
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns all rows as an Arrow IPC stream.
pub(crate) fn arrow_stream(result: &QueryResult) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &result.schema)?;
    for batch in &result.batches {
        writer.write(batch)?;
    }
    writer.into_inner()
}

#[cfg(test)]
mod tests;
