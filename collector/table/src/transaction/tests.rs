use arrow::array::{Array, ListArray, RecordBatch, StringArray};

use super::{CompletenessFields, LackingFields, SegmentFields, TransactionFields, TransactionTableBuilder};
use crate::TraceId;

fn row(trace_ids: &[TraceId], critical_path: &[SegmentFields<'_>]) -> RecordBatch {
    let mut builder = TransactionTableBuilder::default();
    builder.append(&fields(trace_ids, critical_path));
    builder.finish()
}

fn fields<'a>(trace_ids: &'a [TraceId], critical_path: &'a [SegmentFields<'a>]) -> TransactionFields<'a> {
    TransactionFields {
        transaction_id: TraceId([1; 16]),
        revision: 1,
        service_name: "shop",
        operation: "POST /order",
        started_ns: 1,
        duration_ns: 2,
        status: "ok",
        is_complete: true,
        close_reason: "settled",
        spans_count: 3,
        errors_count: 0,
        path_id: 0,
        clock_skew_ns: 0,
        trace_ids,
        services: &["shop", "bank"],
        critical_path,
        completeness: None,
        saga: None,
    }
}

fn text<'a>(batch: &'a RecordBatch, column: &str) -> &'a str {
    batch.column_by_name(column).unwrap().as_any().downcast_ref::<StringArray>().unwrap().value(0)
}

#[test]
fn a_critical_path_is_merged_by_owner_largest_first_and_keeps_its_sum() {
    let segment = |service_name, cause, self_ns| SegmentFields { service_name, operation: "o", cause, self_ns };
    let path = [segment("a", "self", 5), segment("b\"", "self", 7), segment("a", "self", 4), segment("a", "gap", 1)];
    let batch = row(&[TraceId([1; 16])], &path);
    assert_eq!(text(&batch, "critical_path"), r#"[["a","o","self",9],["b\"","o","self",7],["a","o","gap",1]]"#);
    assert_eq!(text(&batch, "services"), "shop, bank");
    assert_eq!(text(&batch, "type"), "shop POST /order");

    let names: Vec<String> = (0..20).map(|number| format!("s{number:02}")).collect();
    let many: Vec<_> = names.iter().zip(1..).map(|(name, ns)| segment(name.as_str(), "self", ns)).collect();
    let batch = row(&[], &many);
    let json = text(&batch, "critical_path");
    assert!(json.starts_with(r#"[["s19","o","self",20],"#) && json.ends_with(r#"["","","other",10]]"#), "{json}");
}

#[test]
fn trace_ids_are_null_when_there_is_only_the_one_that_names_the_transaction() {
    let lists = [vec![], vec![TraceId([1; 16])], vec![TraceId([2; 16])], vec![TraceId([1; 16]), TraceId([2; 16])]];
    let lengths = lists.map(|ids| {
        let batch = row(&ids, &[]);
        let column: &ListArray = batch.column_by_name("trace_ids").unwrap().as_any().downcast_ref().unwrap();
        column.is_valid(0).then(|| column.value_length(0))
    });
    assert_eq!(lengths, [None, None, Some(1), Some(2)]);
}

#[test]
fn what_a_transaction_lacks_is_listed_and_the_worst_of_it_is_its_completeness() {
    let stage = |service_name, state| LackingFields { service_name, operation: "o\"", state };
    let cases: [Option<&[LackingFields<'_>]>; 4] = [
        None,
        Some(&[]),
        Some(&[stage("a", "waiting")]),
        Some(&[stage("a", "waiting"), stage("b", "missing"), stage("c", "overdue")]),
    ];
    let mut builder = TransactionTableBuilder::default();
    for lacking in cases {
        let completeness = lacking.map(|lacking| CompletenessFields { expected_count: 7, lacking });
        let saga = lacking.and(Some("compensated"));
        builder.append(&TransactionFields { completeness, saga, ..fields(&[], &[]) });
    }
    let batch = builder.finish();
    let texts = |column: &str| -> Vec<Option<String>> {
        let texts = batch.column_by_name(column).unwrap().as_any().downcast_ref::<StringArray>().unwrap();
        texts.iter().map(|text| text.map(str::to_owned)).collect()
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(texts("completeness"), [None, some("whole"), some("waiting"), some("missing")]);
    let all = r#"[["a","o\"","waiting"],["b","o\"","missing"],["c","o\"","overdue"]]"#;
    assert_eq!(texts("lacking"), [None, None, some(r#"[["a","o\"","waiting"]]"#), some(all)]);
    assert_eq!(texts("saga"), [None, some("compensated"), some("compensated"), some("compensated")]);
    assert_eq!(batch.column_by_name("expected_count").unwrap().null_count(), 1);
}
