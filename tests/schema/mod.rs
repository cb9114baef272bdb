//! Checks an incident's JSON against the documented schema. Used by the tests that look at an incident's contract.
//! Stricter than the schema on purpose: it must never let a field be missing, or one be there that the schema lacks.

use std::collections::BTreeSet;

use serde_json::Value;

/// Fields that only some incidents have.
const OPTIONAL: [&str; 2] = ["incident.evidence.logs", "incident.evidence.rate"];
const SCHEMA: &str = include_str!("../../docs/incident.schema.json");

/// Fails unless the value has exactly the fields of the schema, optional ones aside, at every depth, and only words that it knows.
pub(crate) fn expect_incident(incident: &Value) {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    compare(&schema, &schema, incident, "incident");
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
            let known: BTreeSet<_> = properties.keys().map(String::as_str).collect();
            let found: BTreeSet<_> = fields.keys().map(String::as_str).collect();
            assert!(required.is_subset(&found), "{at}: {required:?} are not all in {found:?}");
            assert!(found.is_subset(&known), "{at}: {found:?} are not all known, only {known:?}");
            let optional: Vec<_> = known.difference(&required).map(|name| format!("{at}.{name}")).collect();
            assert!(optional.iter().all(|name| OPTIONAL.contains(&name.as_str())), "{optional:?}");
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
