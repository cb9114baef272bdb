//! `throughline sql`: one read-only statement over a data folder, or over a running daemon by its API, printed as asked.

use std::io::Write;
use std::path::{Path, PathBuf};

use analyzer::hazards::HazardReport;
use anyhow::{Context as _, bail};
use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::json::LineDelimitedWriter;
use arrow::util::pretty::pretty_format_batches_with_schema;
use parquet::arrow::ArrowWriter;

use crate::state::State;
use crate::telemetry::error_chain;
use crate::{hazard_table, incident_table, stored};

/// Incidents that SQL over a folder sees.
const INCIDENTS_MAX: usize = 10_000;

/// Where to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A data folder; a daemon may be using it.
    Folder(PathBuf),
    /// A running daemon's address, such as `http://127.0.0.1:8317`.
    Url(String),
}

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Lines and columns for people.
    Table,
    /// One JSON object a line.
    Json,
    /// Comma-separated values with a header.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    /// A Parquet file.
    Parquet,
}

/// Rows and their columns.
struct Rows {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

/// Runs the statement and writes its rows.
///
/// # Errors
/// When it cannot be asked, is refused, or cannot be written.
pub async fn run(sql: &str, place: &Place, format: Format, out: &mut (impl Write + Send)) -> anyhow::Result<()> {
    let rows = match place {
        Place::Folder(dir) => ask_folder(sql, dir).await?,
        Place::Url(url) => ask_daemon(sql, url).await?,
    };
    write(&rows, format, out).context("writing rows")
}

async fn ask_folder(sql: &str, dir: &Path) -> anyhow::Result<Rows> {
    let reader = stored::open(dir).await?;
    let incidents = State::peek_incidents(dir, INCIDENTS_MAX).unwrap_or_else(|cause| {
        eprintln!("the table incidents is empty: {}", error_chain(&cause));
        Vec::new()
    });
    reader.publish(incident_table::INCIDENTS, incident_table::rows(&incidents));
    // Inferred by a running daemon: without one they have no rows.
    let hazards = HazardReport::default();
    reader.publish(hazard_table::HAZARDS, hazard_table::rows(&hazards));
    reader.publish(hazard_table::CHAINS, hazard_table::chain_rows(&hazards));
    let found = reader.query(sql).await.context("running the statement")?;
    if found.truncated {
        eprintln!("the result was cut at the limits of one query; narrow it down or aggregate");
    }
    Ok(Rows { schema: found.schema, batches: found.batches })
}

async fn ask_daemon(sql: &str, url: &str) -> anyhow::Result<Rows> {
    crate::notify::install_tls();
    let endpoint = format!("{}/api/v1/sql", url.trim_end_matches('/'));
    let client = reqwest::Client::builder().no_proxy().build().context("building the HTTP client")?;
    let request = client.post(&endpoint).header("accept", "application/vnd.apache.arrow.stream");
    let answer = request.json(&serde_json::json!({ "query": sql })).send().await.context("asking the daemon")?;
    let status = answer.status();
    let body = answer.bytes().await.context("reading the daemon's answer")?;
    if !status.is_success() {
        bail!("the daemon answered {status}: {}", String::from_utf8_lossy(&body));
    }
    let reader = StreamReader::try_new(&body[..], None).context("reading the daemon's rows")?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>().context("reading the daemon's rows")?;
    Ok(Rows { schema, batches })
}

fn write(rows: &Rows, format: Format, out: &mut (impl Write + Send)) -> anyhow::Result<()> {
    match format {
        Format::Table => writeln!(out, "{}", pretty_format_batches_with_schema(rows.schema.clone(), &rows.batches)?)?,
        Format::Json => {
            let mut writer = LineDelimitedWriter::new(out);
            rows.batches.iter().try_for_each(|batch| writer.write(batch))?;
            writer.finish()?;
        }
        Format::Csv => {
            let mut writer = WriterBuilder::new().with_header(true).build(out);
            for batch in &rows.batches {
                writer.write(&flat(batch)?)?;
            }
        }
        Format::Arrow => {
            let mut writer = StreamWriter::try_new(out, &rows.schema)?;
            rows.batches.iter().try_for_each(|batch| writer.write(batch))?;
            writer.finish()?;
        }
        Format::Parquet => {
            let mut writer = ArrowWriter::try_new(out, rows.schema.clone(), None)?;
            rows.batches.iter().try_for_each(|batch| writer.write(batch))?;
            writer.close()?;
        }
    }
    Ok(())
}

/// CSV has no nested values: they become the text that a table shows.
fn flat(batch: &RecordBatch) -> anyhow::Result<RecordBatch> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let column = if field.data_type().is_nested() {
            let options = arrow::util::display::FormatOptions::default();
            let shown = arrow::util::display::ArrayFormatter::try_new(column, &options)?;
            let texts: arrow::array::StringArray =
                (0..column.len()).map(|row| Some(shown.value(row).to_string())).collect();
            std::sync::Arc::new(texts) as arrow::array::ArrayRef
        } else {
            column.clone()
        };
        anyhow::Ok((field.name().clone(), column))
    });
    Ok(RecordBatch::try_from_iter(columns.collect::<anyhow::Result<Vec<_>>>()?)?)
}

#[cfg(test)]
mod tests;
