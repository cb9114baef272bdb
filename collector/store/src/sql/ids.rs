//! Lets ids be written as people see them: `trace_id = '4bf92f…'` and `trace_id = X'4bf92f…'` (and `IN (…)`) become
//! comparisons of fixed-size bytes. Without this the text is a type error, and bytes of no fixed size would make the
//! engine convert the column, which hides it from statistics and Bloom filters.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

/// The rule. Runs before types are checked.
#[derive(Debug)]
pub(super) struct IdLiterals;

impl AnalyzerRule for IdLiterals {
    fn name(&self) -> &'static str {
        "id_literals"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan, DataFusionError> {
        let rewritten = plan.transform_up_with_subqueries(|plan| {
            let schema = merge_schema(&plan.inputs());
            plan.map_expressions(|expr| expr.transform_up(|expr| Ok(rewrite(expr, &schema))))
        })?;
        Ok(rewritten.data)
    }
}

fn rewrite(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { mut left, op, mut right }) if op.supports_propagation() => {
            let changed = convert(&left, &mut right, schema) || convert(&right, &mut left, schema);
            Transformed::new_transformed(Expr::BinaryExpr(BinaryExpr { left, op, right }), changed)
        }
        Expr::InList(InList { expr, mut list, negated }) => {
            let mut changed = false;
            for literal in &mut list {
                changed |= convert(&expr, literal, schema);
            }
            Transformed::new_transformed(Expr::InList(InList { expr, list, negated }), changed)
        }
        other => Transformed::no(other),
    }
}

/// Turns the literal into fixed-size bytes if it is compared with such a column and fits. Returns whether it did.
fn convert(column: &Expr, literal: &mut Expr, schema: &DFSchema) -> bool {
    let Expr::Literal(value, metadata) = literal else { return false };
    let Some(bytes) = bytes_of(value) else { return false };
    let Ok(DataType::FixedSizeBinary(width)) = column.get_type(schema) else { return false };
    if usize::try_from(width) != Ok(bytes.len()) {
        return false;
    }
    *literal = Expr::Literal(ScalarValue::FixedSizeBinary(width, Some(bytes)), metadata.take());
    true
}

fn bytes_of(value: &ScalarValue) -> Option<Vec<u8>> {
    match value {
        ScalarValue::Binary(Some(bytes)) | ScalarValue::BinaryView(Some(bytes)) => Some(bytes.clone()),
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => from_hex(text),
        _ => None,
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
