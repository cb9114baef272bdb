use collector_table::{SpanFields, SpanId, SpanKind, SpanTableBuilder, StatusCode, TableName, TraceId};

use super::*;

const BATCHES: u32 = 3;
const ROWS: u32 = 111;

/// Attributes of a row: some have none, some a key twice, some a number where others have a text.
fn attributes(n: u32) -> Vec<(&'static str, String, ValueType)> {
    let mut attributes = Vec::new();
    for (key, every) in [("order", 2), ("size", 3), ("order", 5), ("seldom", 50)] {
        if n.is_multiple_of(every) {
            let value_type = if key == "size" && n.is_multiple_of(4) { ValueType::Int } else { ValueType::String };
            attributes.push((key, (n * every).to_string(), value_type));
        }
    }
    attributes
}

fn batch(numbers: Range<u32>) -> RecordBatch {
    let mut spans = SpanTableBuilder::default();
    for n in numbers {
        for (key, value, value_type) in attributes(n) {
            spans.push_attribute(key, &value, value_type);
        }
        spans.append(&SpanFields {
            trace_id: TraceId([1; 16]),
            span_id: SpanId((u64::from(n) + 1).to_be_bytes()),
            parent_span_id: None,
            trace_state: None,
            flags: 0,
            service_name: "shop",
            service_instance: None,
            service_version: None,
            name: "checkout",
            kind: SpanKind::Server,
            start_ns: i64::from(n),
            end_ns: i64::from(n),
            status_code: StatusCode::Unset,
            status_message: None,
            scope_name: None,
            scope_version: None,
            dropped: [0; 3],
        });
    }
    spans.finish().batch().clone()
}

/// What the columns and the rest of a row should be.
fn expected(n: u32, columns: &[Column]) -> (Vec<Option<String>>, Option<String>) {
    let mut texts = vec![None; columns.len()];
    let mut rest = ObjectWriter::default();
    let mut is_left = false;
    for (key, value, value_type) in attributes(n) {
        let place = columns.iter().position(|column| column.key == key && column.value_type == value_type.byte());
        match place.filter(|place| texts[*place].is_none()) {
            Some(place) => texts[place] = Some(value),
            None => {
                rest.push(key, &value, value_type);
                is_left = true;
            }
        }
    }
    (texts, is_left.then(|| rest.finish().to_owned()))
}

/// Returns the text of each row.
fn texts_of(column: &SparseTexts) -> Vec<Option<String>> {
    let mut texts = column.texts().iter().flatten().map(|text| String::from_utf8(text.to_vec()).unwrap());
    let found = column.valid().iter().map(|is_valid| is_valid.then(|| texts.next().unwrap())).collect();
    assert_eq!(texts.next(), None, "as many texts as rows that have one");
    found
}

#[test]
fn rows_from_anywhere_have_their_attributes_in_columns_or_in_the_rest() {
    let batches: Vec<RecordBatch> = (0..BATCHES).map(|at| batch(at * ROWS..(at + 1) * ROWS)).collect();
    let promoted = Promoted::default().learn(TableName::Spans, &batches, 2);
    let mut source = AttributeSource::new(&batches, &promoted);
    // Every row once, those that follow each other far apart.
    let numbers: Vec<u32> = (0..BATCHES * ROWS).map(|n| n * 100 % (BATCHES * ROWS)).collect();
    for count in [numbers.len(), ROWS_AT_ONCE, ROWS_AT_ONCE - 1, 1, 0] {
        let numbers = &numbers[..count];
        let rows: Vec<Row> = numbers.iter().map(|n| Row { batch: n / ROWS, row: n % ROWS }).collect();
        let (rest, columns) = source.columns(&rows);
        let columns: Vec<Vec<Option<String>>> = columns.iter().map(texts_of).collect();
        assert_eq!((rest.len(), columns.len()), (count, 2));
        for (at, n) in numbers.iter().enumerate() {
            let found = columns.iter().map(|column| column[at].clone()).collect();
            let rest = rest.as_string::<i32>().iter().nth(at).unwrap().map(str::to_owned);
            assert_eq!((found, rest), expected(*n, promoted.columns()), "row {n}");
        }
    }
    assert_eq!(source.keys_in_rest().collect::<Vec<_>>(), ["order", "size"]);
}
