use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::cast;

use super::{LogFields, LogTable, LogTableBuilder};
use crate::{SpanId, TableName, TraceId, ValueType};

fn drawn() -> LogTable {
    let mut builder = LogTableBuilder::default();
    for (number, service) in (1_u8..).zip(["shop", "bank"]) {
        builder.push_resource_attribute("host.name", service, ValueType::String);
        builder.push_attribute("thread.id", "7", ValueType::Int);
        builder.append(&LogFields {
            time_ns: i64::from(number),
            observed_ns: 0,
            trace_id: (number == 1).then_some(TraceId([1; 16])),
            span_id: (number == 1).then_some(SpanId([2; 8])),
            flags: 1,
            severity_number: 9,
            severity_text: (number == 2).then_some("WARN"),
            body: "[1]",
            body_type: ValueType::Json,
            event_name: None,
            service_name: service,
            service_instance: None,
            service_version: Some("2"),
            scope_name: None,
            dropped_attributes_count: 4,
        });
    }
    builder.finish()
}

fn text(table: &LogTable) -> String {
    let lines = table.rows().map(|row| {
        let ids = (row.trace_id.map(|id| id.0[0]), row.span_id.map(|id| id.0[0]));
        let attributes: Vec<_> = row.attributes.iter().collect();
        let severity = (row.severity_number, row.severity_text);
        format!("{} {ids:?} {severity:?} {} {:?} {attributes:?}", row.time_ns, row.service_name, row.body)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn rows_are_the_same_in_the_memory_form_and_in_a_query_s_result() {
    let table = drawn();
    let schema = TableName::Logs.sql_schema();
    let columns = schema.fields().iter().map(|field| match field.name().as_str() {
        "attributes" => Arc::new(StringArray::from(vec![r#"{"thread.id":7}"#; 2])) as ArrayRef,
        name => cast(table.batch().column_by_name(name).unwrap(), field.data_type()).unwrap(),
    });
    let sql = RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
    let again = LogTable::from_batch(sql).unwrap();
    assert_eq!((text(&again), again.batch()), (text(&table), table.batch()));
    insta::assert_snapshot!(text(&table), @r#"
    1 (Some(1), Some(2)) (9, None) shop "[1]" [("thread.id", "7", Int)]
    2 (None, None) (9, Some("WARN")) bank "[1]" [("thread.id", "7", Int)]
    "#);
}
