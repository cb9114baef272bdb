//! Edges of the dependency map, as sums over rows of `dependencies`. Asked for by the map's page and API through
//! [`super::Source`]; the statements are here, their running is the store source's. Never reads spans.

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampNanosecondType};
use collector_store::{QueryParam, QueryResult};

use super::store::Statement;

/// Edges in one answer; of more, those with the most traffic.
pub(crate) const EDGES_MAX: usize = 5_000;
/// Rows of one edge's breakdown.
const PARTS_MAX: usize = 200;
/// Instances of all services in one answer.
const PROCESSES_MAX: usize = 20_000;
const MINUTE_NS: i64 = 60_000_000_000;

/// What the callee is; segments from before it was stored say it by other columns.
const CALLEE_KIND: &str = "coalesce(callee_kind, CASE WHEN instrumented THEN 'service' WHEN kind = 'database' \
     THEN 'database' WHEN kind = 'message' THEN 'queue' ELSE 'peer' END)";
const CALLER_KIND: &str = "coalesce(caller_kind, 'service')";
/// The columns of [`EdgeNumbers`].
const NUMBERS: &str = "sum(count) AS calls, sum(errors) AS errors, coalesce(sum(retries), 0) AS retries, \
     sketch_quantile(duration_sketch, 0.5) AS p50, sketch_quantile(duration_sketch, 0.95) AS p95, \
     sketch_quantile(duration_sketch, 0.99) AS p99, sum(gap_sum_ns) AS gap_sum, sum(gap_count) AS gap_count, \
     sketch_quantile(gap_sketch, 0.95) AS gap_p95, min(minute) AS first, max(minute) AS last";

/// Between whom something passes, and what: what tells edges apart. Texts are empty where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct EdgeEnds {
    /// `call`, `message` or `database`.
    pub kind: String,
    /// `service`, `queue` or `client`.
    pub caller_kind: String,
    /// Service or queue.
    pub caller: String,
    /// `service`, `queue`, `database` or `peer`.
    pub callee_kind: String,
    /// Service, queue, or address or system of what sends no telemetry.
    pub callee: String,
    /// System of a database.
    pub system: String,
    /// Name of a database.
    pub namespace: String,
}

/// What was counted of an edge, or of a part of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EdgeNumbers {
    /// Calls or messages, every attempt included.
    pub calls: i64,
    /// Those that failed.
    pub errors: i64,
    /// Attempts beyond the first of one call.
    pub retries: i64,
    /// Median duration, nanoseconds; none when no duration is known.
    pub p50_ns: Option<f64>,
    /// 95th percentile, nanoseconds.
    pub p95_ns: Option<f64>,
    /// 99th percentile, nanoseconds.
    pub p99_ns: Option<f64>,
    /// Calls with a gap, or messages with a wait.
    pub gap_count: i64,
    /// All gaps or waits together, nanoseconds.
    pub gap_sum_ns: i64,
    /// 95th percentile of them, nanoseconds.
    pub gap_p95_ns: Option<f64>,
    /// First minute with any, unix nanoseconds.
    pub first_ns: i64,
    /// Last minute with any, unix nanoseconds.
    pub last_ns: i64,
}

/// An edge.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EdgeRow {
    /// Between whom.
    pub ends: EdgeEnds,
    /// System of the queue, as far as either side says it.
    pub broker: String,
    /// How much.
    pub numbers: EdgeNumbers,
}

/// By what an edge is broken down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeBy {
    /// Instance and version: of the callee, or of the caller where the callee sends no telemetry.
    Instance,
    /// Operation of both sides.
    Operation,
}

/// A part of an edge.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EdgePart {
    /// Instance, version of the called one and version of the caller; or operation of the caller and of the called one.
    /// Empty where there is none.
    pub names: Vec<String>,
    /// How much.
    pub numbers: EdgeNumbers,
}

/// An instance of a service, as its callers saw it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessRow {
    /// `service.name`.
    pub service: String,
    /// Instance, pod or host; empty when it is not stated.
    pub instance: String,
    /// `service.version`; empty when it is not stated.
    pub version: String,
}

/// Returns the question for all edges of a time.
pub(super) fn edges_statement(from_ns: i64, to_ns: i64) -> Statement {
    let mut statement = Statement::new(&format!(
        "SELECT {CALLER_KIND} AS caller_kind, caller_service, {CALLEE_KIND} AS callee_kind, callee_service, kind, \
         CASE WHEN kind = 'database' THEN coalesce(system, '') ELSE '' END AS system, \
         CASE WHEN kind = 'database' THEN coalesce(namespace, '') ELSE '' END AS namespace, \
         coalesce(max(system), '') AS broker, {NUMBERS} FROM dependencies WHERE "
    ));
    within(&mut statement, from_ns, to_ns);
    let order = " GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY calls DESC, caller_service, callee_service, 1, 3, 5, 6, 7";
    statement.push(order);
    statement.paged(EDGES_MAX, 0)
}

/// Returns the question for the parts of an edge.
pub(super) fn parts_statement(ends: &EdgeEnds, by: EdgeBy, from_ns: i64, to_ns: i64) -> Statement {
    let (names, count) = match by {
        EdgeBy::Instance => (
            "coalesce(callee_instance, caller_instance, '') AS n0, coalesce(callee_version, '') AS n1, \
             coalesce(caller_version, '') AS n2",
            3,
        ),
        EdgeBy::Operation => ("caller_operation AS n0, callee_operation AS n1", 2),
    };
    let mut statement = Statement::new(&format!("SELECT {names}, {NUMBERS} FROM dependencies WHERE "));
    within(&mut statement, from_ns, to_ns);
    let equal = [
        (CALLER_KIND, &ends.caller_kind),
        ("caller_service", &ends.caller),
        (CALLEE_KIND, &ends.callee_kind),
        ("callee_service", &ends.callee),
        ("kind", &ends.kind),
    ];
    let of_database = [("coalesce(system, '')", &ends.system), ("coalesce(namespace, '')", &ends.namespace)];
    let of_database = of_database.into_iter().filter(|_| ends.kind == "database");
    for (expression, value) in equal.into_iter().chain(of_database) {
        statement.with(&format!(" AND {expression} = ?"), QueryParam::Text(value.clone()));
    }
    let group: Vec<String> = (1..=count).map(|column: usize| column.to_string()).collect();
    let group = group.join(", ");
    statement.push(&format!(" GROUP BY {group} ORDER BY calls DESC, {group}"));
    statement.paged(PARTS_MAX, 0)
}

/// Returns the question for the instances of all services that are called.
pub(super) fn processes_statement(from_ns: i64, to_ns: i64) -> Statement {
    let mut statement = Statement::new(
        "SELECT DISTINCT callee_service, coalesce(callee_instance, '') AS instance, \
         coalesce(callee_version, '') AS version FROM dependencies WHERE instrumented AND ",
    );
    within(&mut statement, from_ns, to_ns);
    statement.push(" ORDER BY 1, 2, 3");
    statement.paged(PROCESSES_MAX, 0)
}

/// Restricts to minutes; the one in which the period begins counts as part of it.
fn within(statement: &mut Statement, from_ns: i64, to_ns: i64) {
    let minute_ns = from_ns.saturating_sub(from_ns.rem_euclid(MINUTE_NS));
    statement.with("minute >= ?", QueryParam::TimestampNs(minute_ns));
    statement.with(" AND minute < ?", QueryParam::TimestampNs(to_ns));
}

/// Reads the answer to [`edges_statement`].
pub(super) fn edge_rows(result: &QueryResult) -> Vec<EdgeRow> {
    let mut rows = Vec::new();
    for batch in &result.batches {
        let names: Vec<StringArray> = (0..8).map(|column| texts(batch, column)).collect();
        let name = |column: usize, row: usize| names[column].value(row).to_owned();
        let numbers = Numbers::of(batch);
        rows.extend((0..batch.num_rows()).map(|row| EdgeRow {
            ends: EdgeEnds {
                caller_kind: name(0, row),
                caller: name(1, row),
                callee_kind: name(2, row),
                callee: name(3, row),
                kind: name(4, row),
                system: name(5, row),
                namespace: name(6, row),
            },
            broker: name(7, row),
            numbers: numbers.row(row),
        }));
    }
    rows
}

/// Reads the answer to [`parts_statement`].
pub(super) fn edge_parts(result: &QueryResult) -> Vec<EdgePart> {
    let mut parts = Vec::new();
    for batch in &result.batches {
        let named = batch.schema().fields().iter().take_while(|field| field.name().starts_with('n')).count();
        let names: Vec<StringArray> = (0..named).map(|column| texts(batch, column)).collect();
        let numbers = Numbers::of(batch);
        parts.extend((0..batch.num_rows()).map(|row| EdgePart {
            names: names.iter().map(|column| column.value(row).to_owned()).collect(),
            numbers: numbers.row(row),
        }));
    }
    parts
}

/// Reads the answer to [`processes_statement`].
pub(super) fn process_rows(result: &QueryResult) -> Vec<ProcessRow> {
    let mut rows = Vec::new();
    for batch in &result.batches {
        let names: Vec<StringArray> = (0..3).map(|column| texts(batch, column)).collect();
        let name = |column: usize, row: usize| names[column].value(row).to_owned();
        let row = |row| ProcessRow { service: name(0, row), instance: name(1, row), version: name(2, row) };
        rows.extend((0..batch.num_rows()).map(row));
    }
    rows
}

/// The columns of [`NUMBERS`] in one batch.
struct Numbers<'a> {
    batch: &'a RecordBatch,
}

impl<'a> Numbers<'a> {
    fn of(batch: &'a RecordBatch) -> Self {
        Self { batch }
    }

    fn row(&self, row: usize) -> EdgeNumbers {
        let column = |name: &str| self.batch.column_by_name(name).expect("the statement names this column");
        let int = |name| column(name).as_primitive_opt::<Int64Type>().map_or(0, |column| column.value(row));
        let float = |name| {
            let column = column(name).as_primitive_opt::<Float64Type>();
            column.filter(|column| column.is_valid(row)).map(|column| column.value(row))
        };
        let time =
            |name| column(name).as_primitive_opt::<TimestampNanosecondType>().map_or(0, |times| times.value(row));
        EdgeNumbers {
            calls: int("calls"),
            errors: int("errors"),
            retries: int("retries"),
            p50_ns: float("p50"),
            p95_ns: float("p95"),
            p99_ns: float("p99"),
            gap_count: int("gap_count"),
            gap_sum_ns: int("gap_sum"),
            gap_p95_ns: float("gap_p95"),
            first_ns: time("first"),
            last_ns: time("last"),
        }
    }
}

/// Returns a column of texts, in whatever form of text the engine made it.
fn texts(batch: &RecordBatch, column: usize) -> StringArray {
    let texts = cast(batch.column(column), &DataType::Utf8);
    texts.map_or_else(|_| StringArray::new_null(batch.num_rows()), |texts| texts.as_string::<i32>().clone())
}
