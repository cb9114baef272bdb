//! p50, p95 and p99 of the same sketches are read from one sum: a rule replaces several `sketch_quantile` of one column by
//! one `sketch_sum`, which the values are read from afterwards. Adding sketches up is most of what such a query does.

use std::sync::Arc;

use arrow::array::{AsArray, Float64Array};
use arrow::datatypes::{DataType, Field, FieldRef};
use collector_table::{Sketch, SketchError};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, ScalarValue, exec_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, Aggregate, AggregateUDF, AggregateUDFImpl, ColumnarValue, Expr, GroupsAccumulator, LogicalPlan,
    Projection, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};
use datafusion::optimizer::AnalyzerRule;

use super::{Answer, Merged, SketchQuantile};

/// The rule. Runs after types are checked.
#[derive(Debug)]
pub(in crate::sql) struct ShareSums;

impl AnalyzerRule for ShareSums {
    fn name(&self) -> &'static str {
        "share_sums"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan, DataFusionError> {
        let rewritten = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Aggregate(aggregate) => share(aggregate),
            other => Ok(Transformed::no(other)),
        })?;
        Ok(rewritten.data)
    }
}

fn share(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>, DataFusionError> {
    let asked: Vec<Option<(Expr, f64)>> = aggregate.aggr_expr.iter().map(quantile_of_sum).collect();
    let mut sums: Vec<Expr> = Vec::new();
    for (sum, _) in asked.iter().flatten() {
        if !sums.contains(sum) {
            sums.push(sum.clone());
        }
    }
    let is_grouping_set = aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_)));
    if is_grouping_set || sums.len() == asked.iter().flatten().count() {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let Aggregate { input, group_expr, aggr_expr, schema, .. } = aggregate;
    let groups = group_expr.len();
    let others = aggr_expr.into_iter().zip(&asked).filter(|(_, asked)| asked.is_none()).map(|(expr, _)| expr);
    let summed = Aggregate::try_new(input, group_expr, others.chain(sums).collect())?;
    let shown = schema.iter().enumerate().map(|(index, (qualifier, field))| {
        match index.checked_sub(groups).and_then(|index| asked[index].as_ref()) {
            None => Expr::Column(Column::new(qualifier.cloned(), field.name())),
            Some((sum, quantile)) => value_at(sum, *quantile).alias_qualified(qualifier.cloned(), field.name()),
        }
    });
    let shown: Vec<Expr> = shown.collect();
    let shown = Projection::try_new(shown, Arc::new(LogicalPlan::Aggregate(summed)))?;
    Ok(Transformed::yes(LogicalPlan::Projection(shown)))
}

/// Returns the sum of the sketches that an expression asks a quantile of, and which quantile; nothing for any other.
fn quantile_of_sum(expr: &Expr) -> Option<(Expr, f64)> {
    let Expr::AggregateFunction(call) = expr.clone().unalias() else { return None };
    call.func.inner().downcast_ref::<SketchQuantile>()?;
    let [sketch, Expr::Literal(ScalarValue::Float64(Some(quantile)), _)] = call.params.args.as_slice() else {
        return None;
    };
    let (sketch, quantile) = (sketch.clone(), *quantile);
    (0.0..=1.0).contains(&quantile).then(|| {
        let mut params = call.params;
        params.args = vec![sketch];
        let func = Arc::new(AggregateUDF::from(Sum::default()));
        (Expr::AggregateFunction(AggregateFunction { func, params }), quantile)
    })
}

fn value_at(sum: &Expr, quantile: f64) -> Expr {
    let sum = Expr::Column(Column::new_unqualified(sum.schema_name().to_string()));
    let function = Arc::new(ScalarUDF::from(ValueAt::default()));
    Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![sum, lit(quantile)]))
}

/// `sketch_sum(sketch)`: the sketches of a group as one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Sum {
    signature: Signature,
}

impl Default for Sum {
    fn default() -> Self {
        Self { signature: Signature::exact(vec![DataType::Binary], Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &'static str {
        "sketch_sum"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(DataType::Binary)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>, DataFusionError> {
        Ok(vec![Arc::new(Field::new(format!("{}[sketch]", args.name), DataType::Binary, true))])
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>, DataFusionError> {
        Ok(Box::new(Merged::one(Answer::Sketch)))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(
        &self,
        _args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>, DataFusionError> {
        Ok(Box::new(Merged::of_groups(Answer::Sketch)))
    }
}

/// `sketch_value(sketch, quantile)`: what [`SketchQuantile`] answers, of one sketch.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ValueAt {
    signature: Signature,
}

impl Default for ValueAt {
    fn default() -> Self {
        Self { signature: Signature::exact(vec![DataType::Binary, DataType::Float64], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for ValueAt {
    fn name(&self) -> &'static str {
        "sketch_value"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let [sketches, ColumnarValue::Scalar(ScalarValue::Float64(Some(quantile)))] = args.args.as_slice() else {
            return exec_err!("sketch_value takes sketches and a number");
        };
        let sketches = sketches.to_array(args.number_rows)?;
        let value = |bytes| Ok(Sketch::decode(bytes)?.quantile(*quantile));
        let values = sketches.as_binary::<i32>().iter().map(|bytes| bytes.map_or(Ok(None), value));
        match values.collect::<Result<Float64Array, SketchError>>() {
            Ok(values) => Ok(ColumnarValue::Array(Arc::new(values))),
            Err(error) => exec_err!("sketch_value: {error}"),
        }
    }
}
