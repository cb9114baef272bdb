use collector_table::SpanTable;

use super::traces_json;
use crate::{Encoding, Limits, PayloadKind, Signal, decode};

#[test]
fn types_ids_and_grouping_are_those_of_otlp_json() {
    let span = |id: &str| {
        format!(
            r#"{{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"{id}","name":"n","kind":2,"startTimeUnixNano":"1700000000000000000"}}"#
        )
    };
    let resource = |service: &str, spans: &[String]| {
        format!(
            r#"{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"{service}"}}}},{{"key":"pid","value":{{"intValue":7}}}},
            {{"key":"nan","value":{{"doubleValue":"NaN"}}}},{{"key":"tags","value":{{"arrayValue":{{"values":[{{"intValue":1}},{{"doubleValue":1}},{{}}]}}}}}}]}},
            "scopeSpans":[{{"scope":{{"name":"lib"}},"spans":[{}]}}]}}"#,
            spans.join(",")
        )
    };
    let first = [span("eee19b7ec3c1b171"), span("eee19b7ec3c1b172")];
    let again = [span("eee19b7ec3c1b174")];
    let resources =
        [resource("a", &first), resource("b", &[span("eee19b7ec3c1b173")]), resource("a", &again)].join(",");
    let body = format!(r#"{{"resourceSpans":[{resources}]}}"#);
    let kind = PayloadKind { signal: Signal::Traces, encoding: Encoding::Json };
    let batch = decode(kind, body.as_bytes(), &Limits::default()).unwrap();
    let table = SpanTable::from_batch(batch.rows).unwrap();
    let exported = traces_json(table.rows());
    let resources = exported["resourceSpans"].as_array().unwrap();
    let ids = |index: usize| -> Vec<&str> {
        let spans = resources[index]["scopeSpans"][0]["spans"].as_array().unwrap();
        spans.iter().map(|span| span["spanId"].as_str().unwrap()).collect()
    };
    assert_eq!(resources.len(), 2);
    assert_eq!(ids(0), ["eee19b7ec3c1b171", "eee19b7ec3c1b172", "eee19b7ec3c1b174"]);
    assert_eq!(ids(1), ["eee19b7ec3c1b173"]);
    insta::assert_snapshot!(resources[1].to_string(), @r#"{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"b"}},{"key":"pid","value":{"intValue":"7"}},{"key":"nan","value":{"doubleValue":"NaN"}},{"key":"tags","value":{"arrayValue":{"values":[{"intValue":"1"},{"doubleValue":1.0},{}]}}}]},"scopeSpans":[{"scope":{"name":"lib"},"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b173","name":"n","kind":2,"startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"0","attributes":[],"events":[],"links":[],"status":{}}]}]}"#);
}
