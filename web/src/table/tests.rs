//! Results that are larger as text than they may be.

use std::sync::Arc;

use arrow::array::StringArray;
use arrow::datatypes::{Field, Schema};

use super::*;

/// Returns two batches of three rows; values contain what separates rows.
fn result() -> QueryResult {
    let schema = Arc::new(Schema::new(vec![Field::new("say", DataType::Utf8, true)]));
    let batch = |values: [Option<&str>; 3]| {
        RecordBatch::try_new(schema.clone(), vec![Arc::new(StringArray::from(values.to_vec()))]).unwrap()
    };
    let batches = vec![batch([Some("a\nb"), None, Some("c,\"d\"")]), batch([Some(""), Some("é"), Some("last")])];
    QueryResult::new(schema, batches)
}

fn parsed(written: &Written) -> serde_json::Value {
    let value: serde_json::Value = serde_json::from_slice(&written.text).unwrap();
    assert_eq!(value["truncated"], written.is_cut);
    value
}

#[test]
fn json_of_any_size_is_whole_rows_in_order() {
    let whole = parsed(&json(&result(), 1_000).unwrap());
    let all = whole["rows"].as_array().unwrap();
    assert_eq!((all.len(), &all[0]["say"], &all[5]["say"]), (6, &json!("a\nb"), &json!("last")));
    assert_eq!(whole["columns"], json!([{ "name": "say", "type": "Utf8" }]));
    let mut counts = std::collections::BTreeSet::new();
    for bytes_max in 0..120 {
        let written = json(&result(), bytes_max).unwrap();
        let cut = parsed(&written);
        let rows = cut["rows"].as_array().unwrap();
        assert_eq!(rows[..], all[..rows.len()], "{bytes_max}");
        assert_eq!(written.is_cut, rows.len() < all.len(), "{bytes_max}");
        counts.insert(rows.len());
    }
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn csv_ends_at_a_row_when_it_is_full() {
    let text = |bytes_max| {
        let written = csv(&result(), bytes_max).unwrap();
        (String::from_utf8(written.text).unwrap(), written.is_cut)
    };
    let all = "say\n\"a\nb\"\n\n\"c,\"\"d\"\"\"\n\né\nlast\n";
    assert_eq!(text(all.len()), (all.to_owned(), false));
    assert_eq!(text(all.len() - 1), (all.trim_end_matches("last\n").to_owned(), true));
    assert_eq!(text(9), ("say\n".to_owned(), true));
}

#[test]
fn no_rows_are_an_empty_list_and_the_stores_cut_is_said() {
    let mut empty = result();
    empty.batches.clear();
    empty.truncated = true;
    assert_eq!(parsed(&json(&empty, 1_000).unwrap())["rows"], json!([]));
    assert!(json(&empty, 1_000).unwrap().is_cut && csv(&empty, 1_000).unwrap().is_cut);
}
