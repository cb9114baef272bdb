//! SQL as its users write it.

use super::*;
use crate::{QueryLimits, QueryParam, Reader, SqlError};

/// A store with one span in a segment and one in memory.
async fn two_spans(dir: &Path) -> Store {
    let (store, _) = open(dir).await;
    append(&store, "1 1 100 A-1").await.unwrap();
    store.seal().await;
    append(&store, "2 7 200").await.unwrap();
    store
}

#[tokio::test]
async fn attribute_is_read_by_its_name() {
    let dir = folder();
    let store = two_spans(dir.path()).await;
    let result = store.query("SELECT attributes['order.id'] AS o FROM spans ORDER BY start_time").await.unwrap();
    assert_eq!(table(&result.batches), "+-----+\n| o   |\n+-----+\n| A-1 |\n|     |\n+-----+");
    let by_order = "SELECT CAST(start_time AS BIGINT) FROM spans WHERE attributes['order.id'] = 'A-1'";
    assert_eq!(column(&store, by_order).await, ["100"]);
    let without = "SELECT CAST(start_time AS BIGINT) FROM spans WHERE attributes['order.id'] IS NULL";
    assert_eq!(column(&store, without).await, ["200"]);
    assert_eq!(count(&store, "SELECT count(*) FROM spans WHERE resource_attributes['none'] = 'x'").await, 0);
}

#[tokio::test]
async fn now_is_the_time_of_the_query() {
    let dir = folder();
    let store = two_spans(dir.path()).await;
    assert_eq!(count(&store, "SELECT count(*) FROM spans WHERE start_time < now()").await, 2);
}

#[tokio::test]
async fn ids_print_as_hex_and_compare_with_hex_or_bytes() {
    let dir = folder();
    let store = two_spans(dir.path()).await;
    let (first, second) = (trace(1).to_string(), trace(2).to_string());
    let result = store.query("SELECT trace_id FROM spans ORDER BY trace_id").await.unwrap();
    let printed = table(&result.batches);
    assert!(printed.contains(&first) && printed.contains(&second), "{printed}");
    for (id, start) in [(&first, "100"), (&second, "200")] {
        for condition in [
            format!("trace_id = '{id}'"),
            format!("'{}' = trace_id", id.to_uppercase()),
            format!("trace_id = X'{id}'"),
            format!("trace_id = decode('{id}', 'hex')"),
            format!("trace_id IN ('{id}', '{}')", "0".repeat(32)),
            format!("span_id <> '0000000000000009' AND encode(trace_id, 'hex') = '{id}'"),
        ] {
            let sql = format!("SELECT CAST(start_time AS BIGINT) FROM spans WHERE {condition}");
            let found = store.query(&sql).await.map(|result| table(&result.batches));
            assert!(found.as_ref().is_ok_and(|rows| rows.contains(start)), "{condition}: {found:?}");
            assert_eq!(column(&store, &sql).await, [start], "{condition}");
        }
    }
}

#[tokio::test]
async fn rows_are_ordered_cut_and_grouped_over_segments_and_memory() {
    let dir = folder();
    let store = two_spans(dir.path()).await;
    append(&store, "3 1 300\n4 1 50").await.unwrap();
    let newest = "SELECT CAST(start_time AS BIGINT) AS s FROM spans ORDER BY start_time DESC LIMIT 2";
    assert_eq!(column(&store, newest).await, ["300", "200"]);
    let oldest = "SELECT CAST(start_time AS BIGINT) AS s FROM spans WHERE start_time >= to_timestamp_nanos(60)
                  ORDER BY start_time LIMIT 2";
    assert_eq!(column(&store, oldest).await, ["100", "200"]);
    let by_minute = "SELECT count(*) FROM spans
                     GROUP BY date_bin(INTERVAL '1 minute', start_time), service_name
                     HAVING approx_percentile_cont(duration_ns, 0.99) = 5";
    assert_eq!(count(&store, by_minute).await, 4);
}

#[tokio::test]
async fn filters_reach_the_segments() {
    let dir = folder();
    let store = two_spans(dir.path()).await;
    let plan = format!(
        "EXPLAIN SELECT name FROM spans WHERE trace_id = '{}' AND start_time > to_timestamp_nanos(50)",
        trace(1)
    );
    let plan = table(&store.query(&plan).await.unwrap().batches);
    let pruning = plan.split("pruning_predicate=").nth(1).unwrap_or_else(|| panic!("no pruning in {plan}"));
    assert!(pruning.contains("trace_id_min") && pruning.contains("start_time_max"), "{plan}");
    // A segment of another time, or without the id, is not even part of the plan.
    for other in ["start_time > '2020-01-01'".to_owned(), format!("trace_id = '{}'", trace(9))] {
        let plan = table(&store.query(&format!("EXPLAIN SELECT name FROM spans WHERE {other}")).await.unwrap().batches);
        assert!(!plan.contains(".parquet"), "{other}: {plan}");
    }
}

#[tokio::test]
async fn placeholders_take_values_and_never_become_sql() {
    let dir = folder();
    let store = two_spans(dir.path()).await;
    let sql = "SELECT CAST(start_time AS BIGINT) AS s FROM spans
               WHERE trace_id = $1 AND name = $2 AND start_time >= $3 AND duration_ns = $4 AND duration_ns < $5";
    let params = |name: &str| {
        vec![
            QueryParam::Bytes(Bytes::copy_from_slice(trace(2).as_bytes())),
            QueryParam::Text(name.to_owned()),
            QueryParam::TimestampNs(150),
            QueryParam::Int(5),
            QueryParam::Float(5.5),
        ]
    };
    let found = store.query_with(sql, params("checkout")).await.unwrap();
    assert!(table(&found.batches).contains("200"));
    let hostile = store.query_with(sql, params("x' OR '1' = '1")).await.unwrap();
    assert_eq!(hostile.batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
    assert!(matches!(store.query_with(sql, Vec::new()).await, Err(SqlError::Invalid { .. })));
}

#[tokio::test]
async fn only_reading_is_allowed() {
    let dir = folder();
    let store = two_spans(dir.path()).await;
    let target = dir.path().join("out.parquet");
    for sql in [
        "DROP TABLE spans".to_owned(),
        "DELETE FROM spans".to_owned(),
        "INSERT INTO spans SELECT * FROM spans".to_owned(),
        "UPDATE spans SET name = 'x'".to_owned(),
        "CREATE TABLE x AS SELECT 1".to_owned(),
        "CREATE VIEW x AS SELECT 1".to_owned(),
        format!("CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION '{}'", dir.path().join("spans").display()),
        format!("COPY spans TO '{}' STORED AS PARQUET", target.display()),
        "SET datafusion.execution.batch_size = 1".to_owned(),
        "RESET datafusion.execution.batch_size".to_owned(),
        "EXPLAIN ANALYZE INSERT INTO spans SELECT * FROM spans".to_owned(),
        "BEGIN".to_owned(),
        "SELECT 1; SELECT 2".to_owned(),
        "SELECT * FROM '/etc/passwd'".to_owned(),
        format!("SELECT * FROM '{}/spans/*.parquet'", dir.path().display()),
        "SELEC 1".to_owned(),
        String::new(),
    ] {
        let error = store.query(&sql).await.unwrap_err();
        assert!(matches!(error, SqlError::Refused { .. } | SqlError::Invalid { .. }), "{sql}: {error:?}");
    }
    assert!(!target.exists());
    assert_eq!(count(&store, "SELECT count(*) FROM spans").await, 2);
    for sql in ["SHOW TABLES", "DESCRIBE spans", "EXPLAIN SELECT 1", "WITH a AS (SELECT 1 AS x) SELECT x FROM a"] {
        assert!(store.query(sql).await.is_ok(), "{sql}");
    }
}

#[tokio::test]
async fn wrong_query_names_what_is_wrong() {
    let dir = folder();
    let store = two_spans(dir.path()).await;
    let error = store.query("SELECT durationn_ns FROM spans").await.unwrap_err();
    assert!(matches!(&error, SqlError::Invalid { message } if message.contains("durationn_ns")), "{error}");
}

#[tokio::test]
async fn empty_tables_have_their_columns() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    for name in TableName::ALL {
        let result = store.query(&format!("SELECT * FROM {name}")).await.unwrap();
        assert_eq!(result.schema.fields().len(), name.sql_schema().fields().len());
        assert!(!result.truncated);
        assert_eq!(count(&store, &format!("SELECT count(*) FROM {name}")).await, 0);
    }
}

#[tokio::test]
async fn published_table_is_replaced_as_a_whole() {
    let dir = folder();
    let store = two_spans(dir.path()).await;
    let incidents = |titles: &[&str]| {
        let titles = Arc::new(StringArray::from(titles.to_vec())) as _;
        RecordBatch::try_from_iter([("title", titles)]).unwrap()
    };
    store.publish("incidents", incidents(&["slow", "slower"]));
    store.publish("incidents", incidents(&["slowest"]));
    assert_eq!(column(&store, "SELECT title FROM incidents").await, ["slowest"]);
}

#[tokio::test]
async fn folder_is_read_beside_a_running_daemon_without_a_trace() {
    let dir = folder();
    let _store = two_spans(dir.path()).await;
    let before = copy(dir.path());
    let (reader, recovery) = Reader::open(dir.path().to_owned(), QueryLimits::default(), decode).await.unwrap();
    assert_eq!((recovery.already_sealed, recovery.replayed), (1, 1));
    let rows = reader.query("SELECT CAST(start_time AS BIGINT) AS s FROM spans ORDER BY s").await.unwrap();
    assert!(table(&rows.batches).contains("| 100 |\n| 200 |"));
    let names = |dir: &Path| {
        let mut names: Vec<PathBuf> = log_files(dir);
        names.extend(std::fs::read_dir(dir.join("spans")).unwrap().map(|entry| entry.unwrap().path()));
        names.into_iter().map(|path| path.strip_prefix(dir).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(dir.path()), names(before.path()));
}

#[tokio::test]
async fn folder_that_does_not_exist_is_an_error() {
    let dir = folder();
    let missing = dir.path().join("missing");
    assert!(Reader::open(missing, QueryLimits::default(), decode).await.is_err());
}
