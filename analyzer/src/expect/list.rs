//! What is known of transaction types, for lists: expected stages with their share and delay, and the saga. Asked by
//! pages through the snapshot.

use std::sync::Arc;

use super::model::{TypeModel, members};
use super::saga::in_order;
use super::{Expectations, judge};

/// What is expected of transactions of a type.
#[derive(Debug, Clone, PartialEq)]
pub struct TypeExpectation {
    /// Whole transactions that it was learned from.
    pub transactions: u64,
    /// Transactions that lacked spans; with too many of them, nothing is said to be missing.
    pub broken: u64,
    /// Stages that nearly all have, in their usual order.
    pub stages: Vec<ExpectedStage>,
    /// Its saga, if there is one.
    pub saga: Option<SagaShape>,
}

/// An expected stage.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedStage {
    /// Who does it.
    pub service: Arc<str>,
    /// What is done.
    pub operation: Arc<str>,
    /// Share of those that went the way to it which had it, 0 to 1.
    pub share: f64,
    /// How many went the way to it.
    pub of: u32,
    /// Nanoseconds from its cause at which half had begun.
    pub usual_delay_ns: Option<i64>,
    /// Transactions that lacked it although it was expected.
    pub missing: u64,
}

/// The stages of a saga, in their usual order.
#[derive(Debug, Clone, PartialEq)]
pub struct SagaShape {
    /// As declared; none if it was learned.
    pub name: Option<Arc<str>>,
    /// Failed transactions of the type.
    pub failed: u32,
    /// Stages.
    pub stages: Vec<SagaShapeStage>,
}

/// A stage of a saga, and what undoes it.
#[derive(Debug, Clone, PartialEq)]
pub struct SagaShapeStage {
    /// Who does it.
    pub service: Arc<str>,
    /// What is done.
    pub operation: Arc<str>,
    /// Who undoes it, by what.
    pub compensation: Option<(Arc<str>, Arc<str>)>,
}

impl Expectations {
    /// Returns what is expected of a type; nothing before its first whole transaction.
    pub fn of(&self, service: &str, operation: &str) -> Option<TypeExpectation> {
        let is_it = |model: &&Arc<TypeModel>| &*model.root.service == service && &*model.root.operation == operation;
        let model = self.types.values().find(is_it).filter(|model| model.transactions > 0)?;
        // What a call leads to speaks for the call.
        let speaks = |number: &u8| {
            let stage = model.stage(*number);
            !stage.is_outgoing() || members(stage.children & model.usual).next().is_none()
        };
        let usual: Vec<u8> = members(model.usual).filter(speaks).collect();
        Some(TypeExpectation {
            transactions: model.transactions,
            broken: model.broken,
            stages: in_order(model, usual).into_iter().map(|number| expected(model, number)).collect(),
            saga: model.saga.as_ref().map(|saga| SagaShape {
                name: saga.name.clone(),
                failed: model.failed,
                stages: saga.stages.iter().map(|number| shape_stage(model, saga, *number)).collect(),
            }),
        })
    }
}

fn expected(model: &TypeModel, number: u8) -> ExpectedStage {
    let stage = model.stage(number);
    let odds = model.stage(stage.parent).variants.odds_overall(number);
    let (service, operation) = judge::name(model, number);
    ExpectedStage {
        service,
        operation,
        share: odds.share(),
        of: odds.of,
        usual_delay_ns: stage.delays.quantile_ns(0.5),
        missing: stage.missing,
    }
}

fn shape_stage(model: &TypeModel, saga: &super::saga::Saga, number: u8) -> SagaShapeStage {
    let (service, operation) = judge::name(model, number);
    let compensation = saga.compensations.iter().find(|one| one.of == number);
    let compensation = compensation.map(|one| one.declared.clone().unwrap_or_else(|| judge::name(model, one.by)));
    SagaShapeStage { service, operation, compensation }
}
