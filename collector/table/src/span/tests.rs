use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, StringViewArray};
use arrow::compute::cast;

use super::{EventFields, LinkFields, SpanFields, SpanKind, SpanTable, SpanTableBuilder, StatusCode};
use crate::json::ObjectWriter;
use crate::{SpanId, TableName, TraceId, ValueType};

/// Two spans of one resource and one of another; the second has an event, a link and a nameless parent.
fn drawn() -> SpanTable {
    let mut builder = SpanTableBuilder::default();
    for (number, service) in (1_u8..).zip(["shop", "shop", "bank"]) {
        builder.push_resource_attribute("host.name", service, ValueType::String);
        builder.push_resource_attribute("process.pid", "7", ValueType::Int);
        builder.push_attribute("ratio", "1", ValueType::Double);
        builder.push_attribute("order.id", &number.to_string(), ValueType::String);
        if number == 2 {
            builder.push_event_attribute("exception.type", "Timeout", ValueType::String);
            builder.push_event(&EventFields { time_ns: 5, name: "exception", dropped_attributes_count: 3 });
            builder.push_event(&EventFields { time_ns: 6, name: "", dropped_attributes_count: 0 });
            builder.push_link_attribute("why", "[1]", ValueType::Json);
            builder.push_link(&LinkFields {
                trace_id: TraceId([9; 16]),
                span_id: SpanId([8; 8]),
                trace_state: Some("a=b"),
            });
        }
        builder.append(&SpanFields {
            trace_id: TraceId([number; 16]),
            span_id: SpanId([number; 8]),
            parent_span_id: (number == 2).then_some(SpanId([1; 8])),
            trace_state: (number == 3).then_some("x=y"),
            flags: u32::from(number),
            service_name: service,
            service_instance: (number < 3).then_some("i1"),
            service_version: None,
            name: if number == 3 { "" } else { "GET /" },
            kind: SpanKind::ALL[usize::from(number)],
            start_ns: 100,
            end_ns: if number == 3 { 40 } else { 250 },
            status_code: StatusCode::ALL[usize::from(number - 1)],
            status_message: (number == 3).then_some("late"),
            scope_name: Some("lib"),
            scope_version: None,
            dropped: [0, 1, 2],
        });
    }
    builder.finish()
}

/// Draws everything that rows show.
fn text(table: &SpanTable) -> String {
    let mut lines = Vec::new();
    for row in table.rows() {
        let times = format!("{}..{} {:?}", row.start_ns, row.end_ns, row.dropped);
        let resource = (row.service_name, row.service_instance, row.service_version);
        let ids =
            (row.trace_id.0[0], row.span_id.0[0], row.parent_span_id.map(|id| id.0[0]), row.trace_state, row.flags);
        let status =
            (row.kind.as_str(), row.status_code.as_str(), row.status_message, row.scope_name, row.scope_version);
        lines.push(format!("{ids:?} {:?} {times} {status:?} {resource:?}", row.name));
        for (title, attributes) in [("attributes", row.attributes), ("resource", row.resource_attributes)] {
            let mut object = ObjectWriter::default();
            attributes.write_json(&mut object);
            lines.push(format!("  {title} {}", object.finish()));
        }
        for event in row.events() {
            let attributes: Vec<_> = event.attributes.iter().collect();
            lines.push(format!(
                "  event {} {:?} {} {attributes:?}",
                event.time_ns, event.name, event.dropped_attributes_count
            ));
        }
        for link in row.links() {
            let attributes: Vec<_> = link.attributes.iter().collect();
            lines.push(format!("  link {} {} {:?} {attributes:?}", link.trace_id, link.span_id, link.trace_state));
        }
    }
    lines.join("\n")
}

/// What a query gives for a table: written by hand, from the rows.
fn sql_form(table: &SpanTable) -> RecordBatch {
    let schema = TableName::Spans.sql_schema();
    let rows: Vec<_> = table.rows().collect();
    let texts = |texts: Vec<String>| Arc::new(StringArray::from(texts)) as ArrayRef;
    let objects = |objects: Vec<_>| {
        let written = objects.into_iter().map(|attributes: crate::Attributes<'_>| {
            let mut object = ObjectWriter::default();
            attributes.write_json(&mut object);
            object.finish().to_owned()
        });
        written.collect::<Vec<_>>()
    };
    let columns = schema.fields().iter().map(|field| match field.name().as_str() {
        "kind" => texts(rows.iter().map(|row| row.kind.as_str().to_owned()).collect()),
        "status_code" => texts(rows.iter().map(|row| row.status_code.as_str().to_owned()).collect()),
        "attributes" => texts(objects(rows.iter().map(|row| row.attributes).collect())),
        "end_time" => table.batch().column_by_name("start_time").unwrap().clone(),
        name => cast(table.batch().column_by_name(name).unwrap(), field.data_type()).unwrap(),
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

#[test]
fn rows_are_the_same_in_the_memory_form_and_in_a_query_s_result() {
    let table = drawn();
    let again = SpanTable::from_batch(sql_form(&table)).unwrap();
    assert_eq!(text(&again), text(&table));
    assert_eq!(again.batch().schema(), TableName::Spans.memory_schema());
    insta::assert_snapshot!(text(&table), @r#"
    (1, 1, None, None, 1) "GET /" 100..250 [0, 1, 2] ("internal", "unset", None, Some("lib"), None) ("shop", Some("i1"), None)
      attributes {"ratio":1.0,"order.id":"1"}
      resource {"host.name":"shop","process.pid":7}
    (2, 2, Some(1), None, 2) "GET /" 100..250 [0, 1, 2] ("server", "ok", None, Some("lib"), None) ("shop", Some("i1"), None)
      attributes {"ratio":1.0,"order.id":"2"}
      resource {"host.name":"shop","process.pid":7}
      event 5 "exception" 3 [("exception.type", "Timeout", String)]
      event 6 "" 0 []
      link 09090909090909090909090909090909 0808080808080808 Some("a=b") [("why", "[1]", Json)]
    (3, 3, None, Some("x=y"), 3) "" 100..40 [0, 1, 2] ("client", "error", Some("late"), Some("lib"), None) ("bank", None, None)
      attributes {"ratio":1.0,"order.id":"3"}
      resource {"host.name":"bank","process.pid":7}
    "#);
}

#[test]
fn columns_name_each_resource_once() {
    for table in [drawn(), SpanTable::from_batch(sql_form(&drawn())).unwrap()] {
        let columns = table.columns();
        assert_eq!((columns.len(), columns.resources_len(), columns.resource_keys), (3, 2, &[0, 0, 1][..]));
        assert_eq!((columns.service_name(1), columns.service_instance(1)), ("bank", None));
        assert_eq!(columns.resource_attributes(0), r#"{"host.name":"shop","process.pid":7}"#);
        assert_eq!((columns.names.value(1), columns.name_keys), ("", &[0, 0, 1][..]));
        assert_eq!((columns.kind(1), columns.status_code(2)), (SpanKind::Server, StatusCode::Error));
        assert_eq!((columns.durations_ns, columns.parent_span_id(1)), (&[150, 150, -60][..], Some(SpanId([1; 8]))));
        let order = columns.attributes.key("order.id").unwrap();
        let orders = (0..3).map(|row| columns.attributes.row(row).keyed().find(|(key, _)| *key == order).unwrap().1);
        assert_eq!(orders.collect::<Vec<_>>(), ["1", "2", "3"]);
        assert_eq!(columns.attributes.key("never"), None);
    }
}

#[test]
fn a_slice_of_a_table_has_the_rows_of_the_slice() {
    let table = drawn();
    let slice = SpanTable::from_batch(table.batch().slice(1, 2)).unwrap();
    let whole = text(&table);
    assert!(whole.ends_with(&text(&slice)) && slice.len() == 2, "{}", text(&slice));
    assert_eq!((slice.columns().trace_id(0), slice.columns().resource_keys), (TraceId([2; 16]), &[0, 1][..]));
}

#[test]
fn a_batch_with_a_column_of_another_type_or_without_one_is_no_table() {
    let batch = sql_form(&drawn());
    let index = batch.schema().index_of("name").unwrap();
    let mut fewer = batch;
    fewer.remove_column(index);
    assert_eq!(SpanTable::from_batch(fewer).unwrap_err().column, "name");
    let mut memory = drawn().batch().clone();
    memory.remove_column(0);
    assert_eq!(SpanTable::from_batch(memory).unwrap_err().column, "trace_id");
}

#[test]
fn a_query_s_texts_may_be_views() {
    let batch = sql_form(&drawn());
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let views =
            column.as_any().downcast_ref::<StringArray>().map(|texts| Arc::new(StringViewArray::from(texts)) as _);
        (field.name().clone(), views.unwrap_or_else(|| column.clone()), true)
    });
    let views = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    assert_eq!(text(&SpanTable::from_batch(views).unwrap()), text(&drawn()));
}
