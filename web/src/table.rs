//! Results of queries as people and programs read them: cells of text, CSV, JSON rows, or an Arrow stream.

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use collector_store::QueryResult;
use serde_json::json;

use crate::text;

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

/// Returns the first `rows_max` rows as text.
pub(crate) fn rows(result: &QueryResult, rows_max: usize) -> Result<Vec<Vec<String>>, ArrowError> {
    let mut rows = Vec::new();
    for batch in &result.batches {
        rows.extend(rows_of(batch, rows_max - rows.len())?);
    }
    Ok(rows)
}

fn rows_of(batch: &RecordBatch, rows_max: usize) -> Result<Vec<Vec<String>>, ArrowError> {
    let options = FormatOptions::default().with_null("");
    let columns: Vec<ArrayFormatter<'_>> =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options)).collect::<Result<_, _>>()?;
    let mut rows = Vec::new();
    for row in 0..batch.num_rows().min(rows_max) {
        rows.push(columns.iter().map(|column| column.value(row).try_to_string()).collect::<Result<_, _>>()?);
    }
    Ok(rows)
}

/// Returns all rows as CSV with a head.
pub(crate) fn csv(result: &QueryResult) -> Result<String, ArrowError> {
    let line = |cells: &[String]| cells.iter().map(|cell| text::csv_field(cell)).collect::<Vec<_>>().join(",") + "\n";
    let mut out = line(&columns(result).into_iter().map(|column| column.name).collect::<Vec<_>>());
    for row in rows(result, usize::MAX)? {
        out.push_str(&line(&row));
    }
    Ok(out)
}

/// Returns all rows as `{"columns":[…],"rows":[{…}],"truncated":bool}`.
pub(crate) fn json(result: &QueryResult) -> Result<serde_json::Value, ArrowError> {
    let mut writer = arrow::json::ArrayWriter::new(Vec::new());
    writer.write_batches(&result.batches.iter().collect::<Vec<_>>())?;
    writer.finish()?;
    let written = writer.into_inner();
    // The writer writes nothing at all for no rows.
    let rows: serde_json::Value = match written.is_empty() {
        true => json!([]),
        false => serde_json::from_slice(&written).map_err(|error| ArrowError::JsonError(error.to_string()))?,
    };
    let fields = result.schema.fields().iter();
    let columns: Vec<_> =
        fields.map(|field| json!({ "name": field.name(), "type": field.data_type().to_string() })).collect();
    Ok(json!({ "columns": columns, "rows": rows, "truncated": result.truncated }))
}

/// Returns all rows as an Arrow IPC stream.
pub(crate) fn arrow_stream(result: &QueryResult) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &result.schema)?;
    for batch in &result.batches {
        writer.write(batch)?;
    }
    writer.into_inner()
}
