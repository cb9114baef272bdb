//! The incident's JSON is a contract with others: the type, the documented example and the schema must say the same.
//! Must never be made to pass by taking a field away.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use serde_json::Value;

const EXAMPLE: &str = include_str!("../docs/incident.example.json");
const SCHEMA: &str = include_str!("../docs/incident.schema.json");

#[test]
fn documented_incident_is_what_the_type_reads_and_writes() {
    let incident: analyzer::Incident = serde_json::from_str(EXAMPLE).unwrap();
    let written = serde_json::to_value(incident).unwrap();
    let documented: Value = serde_json::from_str(EXAMPLE).unwrap();
    assert_eq!(written, documented);
}

#[test]
fn schema_names_exactly_the_fields_of_the_example_at_every_depth() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let example: Value = serde_json::from_str(EXAMPLE).unwrap();
    compare(&schema, &schema, &example, "incident");
}

fn compare(root: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).unwrap();
        return compare(root, target, value, at);
    }
    if let Some(known) = schema["enum"].as_array() {
        assert!(known.contains(value), "{at}: {value} is not in the schema");
    }
    match value {
        Value::Object(fields) if schema["properties"].is_object() => {
            let properties = schema["properties"].as_object().unwrap();
            let required: BTreeSet<_> =
                schema["required"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
            assert_eq!(fields.keys().map(String::as_str).collect::<BTreeSet<_>>(), required, "{at}");
            assert_eq!(properties.keys().map(String::as_str).collect::<BTreeSet<_>>(), required, "{at}");
            for (name, field) in fields {
                compare(root, &properties[name], field, &format!("{at}.{name}"));
            }
        }
        Value::Array(items) if schema["items"].is_object() => {
            for item in items {
                compare(root, &schema["items"], item, &format!("{at}[]"));
            }
        }
        _ => {}
    }
}
