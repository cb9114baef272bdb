//! The incident's JSON is a contract with others: the type, the documented example and the schema must say the same.
//! Must never be made to pass by taking a field away.

#![allow(clippy::unwrap_used)]

mod schema;

use serde_json::Value;

const EXAMPLE: &str = include_str!("../docs/incident.example.json");

#[test]
fn documented_incident_is_what_the_type_reads_and_writes() {
    let incident: analyzer::Incident = serde_json::from_str(EXAMPLE).unwrap();
    let written = serde_json::to_value(incident).unwrap();
    let documented: Value = serde_json::from_str(EXAMPLE).unwrap();
    assert_eq!(written, documented);
}

#[test]
fn schema_names_exactly_the_fields_of_the_example_at_every_depth() {
    schema::expect_incident(&serde_json::from_str(EXAMPLE).unwrap());
}

#[test]
fn schema_names_exactly_what_an_incident_about_a_rate_has_beyond_that() {
    let mut incident: analyzer::Incident = serde_json::from_str(EXAMPLE).unwrap();
    incident.evidence.rate = Some(analyzer::incident::RateEvidence::default());
    schema::expect_incident(&serde_json::to_value(incident).unwrap());
}
