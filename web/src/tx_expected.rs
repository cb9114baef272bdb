//! What is expected of a transaction type: its stages, and its saga. A section of the type's page.

use analyzer::expect::{ExpectedStage, SagaShape, TypeExpectation};

use crate::format;

/// The section.
pub(crate) struct ExpectedView {
    pub(crate) lead: String,
    pub(crate) stages: Vec<ExpectedLine>,
    pub(crate) saga_heading: String,
    /// Service, operation, and what undoes it.
    pub(crate) saga: Vec<(String, String, String)>,
}

/// An expected stage.
pub(crate) struct ExpectedLine {
    pub(crate) service: String,
    pub(crate) operation: String,
    pub(crate) share: String,
    pub(crate) delay: String,
    pub(crate) missing: String,
    pub(crate) is_missing: bool,
}

impl ExpectedView {
    pub(crate) fn new(known: &TypeExpectation) -> Self {
        Self {
            lead: lead(known),
            stages: known.stages.iter().map(line).collect(),
            saga_heading: known.saga.as_ref().map(saga_heading).unwrap_or_default(),
            saga: known.saga.iter().flat_map(|saga| &saga.stages).map(saga_line).collect(),
        }
    }
}

fn lead(known: &TypeExpectation) -> String {
    let learned = format!("Learned from {} whole transactions.", format::count(known.transactions));
    if known.broken > 0 {
        let broken = format::count(known.broken);
        return format!("{learned} {broken} more lacked spans; of those, nothing is said to be missing.");
    }
    if known.stages.is_empty() { format!("{learned} No stage is in nearly all of them yet.") } else { learned }
}

fn line(stage: &ExpectedStage) -> ExpectedLine {
    ExpectedLine {
        service: stage.service.to_string(),
        operation: stage.operation.to_string(),
        share: format!("{} of {}", format::share(stage.share), format::count(stage.of.into())),
        delay: stage.usual_delay_ns.map_or_else(|| "not known yet".to_owned(), format::nanos),
        missing: if stage.missing == 0 { "never".to_owned() } else { format::count(stage.missing) },
        is_missing: stage.missing > 0,
    }
}

fn saga_heading(saga: &SagaShape) -> String {
    match &saga.name {
        Some(name) => format!("Saga {name}, as declared"),
        None => format!("Saga, learned from {} that failed", format::count(saga.failed.into())),
    }
}

fn saga_line(stage: &analyzer::expect::SagaShapeStage) -> (String, String, String) {
    let by = stage.compensation.as_ref();
    let by = by.map_or_else(|| "nothing known".to_owned(), |(service, operation)| format!("{service} {operation}"));
    (stage.service.to_string(), stage.operation.to_string(), by)
}
