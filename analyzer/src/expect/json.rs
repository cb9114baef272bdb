//! Completeness and saga of a transaction as JSON, in the words of `docs/transactions.md`. Used by the transaction's JSON.

use serde::Serialize;

use super::judge::{Completeness, Lacking, LackingState};
use super::saga::{CompensationOutcome, CompensationState, SagaOutcome, SagaStage, SagaStageState, SagaState};

/// A transaction's completeness.
#[derive(Debug, Serialize)]
pub(crate) struct CompletenessJson {
    expected: usize,
    missing: Vec<LackingJson>,
}

#[derive(Debug, Serialize)]
struct LackingJson {
    service: String,
    operation: String,
    state: LackingState,
    share: f64,
    of: u32,
    delay_ms: f64,
    usual_delay_ms: Option<f64>,
}

/// A transaction's saga.
#[derive(Debug, Serialize)]
pub(crate) struct SagaJson {
    name: Option<String>,
    state: SagaState,
    stages: Vec<StageJson>,
}

#[derive(Debug, Serialize)]
struct StageJson {
    service: String,
    operation: String,
    state: SagaStageState,
    #[serde(skip_serializing_if = "Option::is_none")]
    compensation: Option<CompensationJson>,
}

#[derive(Debug, Serialize)]
struct CompensationJson {
    service: String,
    operation: String,
    state: CompensationState,
    share: f64,
    of: u32,
}

impl CompletenessJson {
    pub(crate) fn of(completeness: &Completeness) -> Self {
        Self { expected: completeness.expected, missing: completeness.lacking.iter().map(lacking).collect() }
    }
}

impl SagaJson {
    pub(crate) fn of(saga: &SagaOutcome) -> Self {
        let name = saga.name.as_deref().map(str::to_owned);
        Self { name, state: saga.state, stages: saga.stages.iter().map(stage).collect() }
    }
}

fn lacking(one: &Lacking) -> LackingJson {
    let ms = |ns: i64| ns as f64 / 1e6;
    LackingJson {
        service: one.service.to_string(),
        operation: one.operation.to_string(),
        state: one.state,
        share: one.share,
        of: one.of,
        delay_ms: ms(one.delay_ns),
        usual_delay_ms: one.usual_delay_ns.map(ms),
    }
}

fn stage(one: &SagaStage) -> StageJson {
    StageJson {
        service: one.service.to_string(),
        operation: one.operation.to_string(),
        state: one.state,
        compensation: one.compensation.as_ref().map(compensation),
    }
}

fn compensation(one: &CompensationOutcome) -> CompensationJson {
    CompensationJson {
        service: one.service.to_string(),
        operation: one.operation.to_string(),
        state: one.state,
        share: one.share,
        of: one.of,
    }
}
