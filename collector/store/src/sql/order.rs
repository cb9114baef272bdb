//! "The newest 20" reads the newest files and row groups first, also where segments and memory are read together:
//! the engine asks a scan for an order only where no union stands between.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::sort_pushdown::SortOrderPushdownResult;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};

/// The rule after which it runs.
const AFTER: &str = "PushdownSort";

/// Asks each part of a union for the order of the sort above; the sort stays.
#[derive(Debug)]
pub(super) struct OrderInUnions;

/// Puts the rule in its place.
pub(super) fn insert(rules: &mut Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>>) {
    let place = rules.iter().position(|rule| rule.name() == AFTER).map_or(rules.len(), |place| place + 1);
    rules.insert(place, Arc::new(OrderInUnions));
}

impl PhysicalOptimizerRule for OrderInUnions {
    fn name(&self) -> &'static str {
        "order_in_unions"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let ordered = plan.transform_down(|node| {
            let Some(sort) = node.downcast_ref::<SortExec>() else { return Ok(Transformed::no(node)) };
            let Some(union) = sort.input().downcast_ref::<UnionExec>() else { return Ok(Transformed::no(node)) };
            let mut parts = Vec::new();
            for part in union.inputs() {
                parts.push(match part.try_pushdown_sort(sort.expr())? {
                    SortOrderPushdownResult::Exact { inner } | SortOrderPushdownResult::Inexact { inner } => inner,
                    SortOrderPushdownResult::Unsupported => Arc::clone(part),
                });
            }
            let union = UnionExec::try_new(parts)?;
            Ok(Transformed::yes(replace_children_if_necessary(node, vec![union])?))
        })?;
        Ok(ordered.data)
    }
}
