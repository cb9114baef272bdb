//! In which order rows stand in a segment: spans trace by trace, traces by their first start, so that a trace is found
//! in one place and every page covers little time; logs and metrics by time.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampNanosecondType;
use collector_table::TableName;

/// Where a row stands in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) batch: u32,
    pub(crate) row: u32,
}

/// The rows of one trace.
struct Trace<'a> {
    id: &'a [u8],
    first_ns: i64,
    rows: u32,
}

/// Returns the rows of all batches in order.
pub(super) fn of(table: TableName, batches: &[RecordBatch]) -> Vec<Row> {
    let times: Vec<&[i64]> = batches.iter().map(|batch| times(table, batch)).collect();
    if table == TableName::Spans { by_trace(batches, &times) } else { by_time(&times) }
}

fn times(table: TableName, batch: &RecordBatch) -> &[i64] {
    let column = batch.column_by_name(table.time_column()).expect("the handle checked the schema");
    column.as_primitive::<TimestampNanosecondType>().values()
}

fn rows<'a>(times: &'a [&'a [i64]]) -> impl Iterator<Item = (Row, i64)> + 'a {
    let number = |index: usize| u32::try_from(index).expect("rows in memory are fewer than 2^32");
    times.iter().enumerate().flat_map(move |(batch, times)| {
        times.iter().enumerate().map(move |(row, time)| (Row { batch: number(batch), row: number(row) }, *time))
    })
}

fn by_time(times: &[&[i64]]) -> Vec<Row> {
    let mut timed: Vec<(i64, Row)> = rows(times).map(|(row, time)| (time, row)).collect();
    timed.sort_by_key(|(time, _)| *time);
    timed.into_iter().map(|(_, row)| row).collect()
}

fn by_trace(batches: &[RecordBatch], times: &[&[i64]]) -> Vec<Row> {
    // Ids are the sender's choice: hashed with a random key, so that nobody can make them collide.
    let mut numbers: HashMap<&[u8], u32, ahash::RandomState> = HashMap::default();
    let mut traces: Vec<Trace<'_>> = Vec::new();
    let mut trace_of_row: Vec<u32> = Vec::new();
    for (batch, times) in batches.iter().zip(times) {
        let ids = batch.column_by_name("trace_id").expect("the handle checked the schema").as_fixed_size_binary();
        for (row, start) in times.iter().enumerate().take(ids.len()) {
            let id = ids.value(row);
            let number = *numbers.entry(id).or_insert_with(|| {
                traces.push(Trace { id, first_ns: *start, rows: 0 });
                u32::try_from(traces.len() - 1).expect("rows in memory are fewer than 2^32")
            });
            let trace = &mut traces[number as usize];
            trace.first_ns = trace.first_ns.min(*start);
            trace.rows += 1;
            trace_of_row.push(number);
        }
    }
    let places = places(&traces);
    let mut placed: Vec<(i64, Row)> = vec![(0, Row { batch: 0, row: 0 }); trace_of_row.len()];
    let mut next = places.clone();
    for ((row, start), number) in rows(times).zip(trace_of_row) {
        let place = &mut next[number as usize];
        placed[*place as usize] = (start, row);
        *place += 1;
    }
    for (from, trace) in places.into_iter().zip(&traces) {
        placed[from as usize..(from + trace.rows) as usize].sort_by_key(|(start, _)| *start);
    }
    placed.into_iter().map(|(_, row)| row).collect()
}

/// Returns where the first row of each trace goes.
fn places(traces: &[Trace<'_>]) -> Vec<u32> {
    let mut sorted: Vec<usize> = (0..traces.len()).collect();
    sorted.sort_unstable_by_key(|number| (traces[*number].first_ns, traces[*number].id));
    let mut places = vec![0; traces.len()];
    let mut next = 0;
    for number in sorted {
        places[number] = next;
        next += traces[number].rows;
    }
    places
}
