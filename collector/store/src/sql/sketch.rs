//! `sketch_quantile(duration_sketch, 0.99)`: the quantile, in nanoseconds, of all durations that a group's sketches hold.
//! Rows of `red` and `dependencies` are read with it. Bytes that are no sketch are an error, an empty group is null.

mod shared;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, Scalar};
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{DataType, Field, FieldRef};
use collector_table::SketchSum;
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};
use datafusion::physical_expr::expressions::Literal;

pub(super) use shared::ShareSums;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct SketchQuantile {
    signature: Signature,
}

impl Default for SketchQuantile {
    fn default() -> Self {
        Self { signature: Signature::exact(vec![DataType::Binary, DataType::Float64], Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for SketchQuantile {
    fn name(&self) -> &'static str {
        "sketch_quantile"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>, DataFusionError> {
        Ok(vec![Arc::new(Field::new(format!("{}[sketch]", args.name), DataType::Binary, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>, DataFusionError> {
        Ok(Box::new(Merged::one(Answer::Quantile(quantile(&args)?))))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>, DataFusionError> {
        Ok(Box::new(Merged::of_groups(Answer::Quantile(quantile(&args)?))))
    }
}

fn quantile(args: &AccumulatorArgs<'_>) -> Result<f64, DataFusionError> {
    let value = args.exprs.get(1).and_then(|expr| expr.downcast_ref::<Literal>()).map(Literal::value);
    match value {
        Some(ScalarValue::Float64(Some(value))) if (0.0..=1.0).contains(value) => Ok(*value),
        _ => plan_err!("sketch_quantile takes a number from 0 to 1"),
    }
}

/// What is asked of a sum.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Quantile(f64),
    /// The sum itself, as bytes.
    Sketch,
}

/// One sum a group; a single group is the first.
#[derive(Debug)]
struct Merged {
    answer: Answer,
    sums: Vec<SketchSum>,
}

impl Merged {
    fn one(answer: Answer) -> Self {
        Self { answer, sums: vec![SketchSum::default()] }
    }

    fn of_groups(answer: Answer) -> Self {
        Self { answer, sums: Vec::new() }
    }

    fn merge(&mut self, bytes: &[u8], group: usize) -> Result<(), DataFusionError> {
        self.sums[group].add(bytes).or_else(|error| exec_err!("sketch_quantile: {error}"))
    }
}

impl Accumulator for Merged {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<(), DataFusionError> {
        for bytes in values[0].as_binary::<i32>().iter().flatten() {
            self.merge(bytes, 0)?;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<(), DataFusionError> {
        Accumulator::update_batch(self, states)
    }

    fn evaluate(&mut self) -> Result<ScalarValue, DataFusionError> {
        Ok(match self.answer {
            Answer::Quantile(quantile) => ScalarValue::Float64(self.sums[0].quantile(quantile)),
            Answer::Sketch => ScalarValue::Binary(Some(encoded(&self.sums[0]))),
        })
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>, DataFusionError> {
        Ok(vec![ScalarValue::Binary(Some(encoded(&self.sums[0])))])
    }

    fn size(&self) -> usize {
        size(&self.sums)
    }
}

impl GroupsAccumulator for Merged {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<(), DataFusionError> {
        self.sums.resize(total_num_groups, SketchSum::default());
        for (row, (bytes, group)) in values[0].as_binary::<i32>().iter().zip(group_indices).enumerate() {
            let is_wanted = opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if let Some(bytes) = bytes.filter(|_| is_wanted) {
                self.merge(bytes, *group)?;
            }
        }
        Ok(())
    }

    fn merge_batch(
        &mut self,
        states: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<(), DataFusionError> {
        GroupsAccumulator::update_batch(self, states, group_indices, None, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef, DataFusionError> {
        let sums = emit_to.take_needed(&mut self.sums);
        Ok(match self.answer {
            Answer::Quantile(quantile) => {
                Arc::new(sums.iter().map(|sum| sum.quantile(quantile)).collect::<Float64Array>())
            }
            Answer::Sketch => Arc::new(BinaryArray::from_iter_values(sums.iter().map(encoded))),
        })
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>, DataFusionError> {
        let sums = emit_to.take_needed(&mut self.sums);
        Ok(vec![Arc::new(BinaryArray::from_iter_values(sums.iter().map(encoded)))])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>, DataFusionError> {
        Ok(vec![match opt_filter {
            Some(filter) => zip(filter, &values[0], &Scalar::new(BinaryArray::new_null(1)))?,
            None => ArrayRef::clone(&values[0]),
        }])
    }

    fn size(&self) -> usize {
        size(&self.sums)
    }
}

fn encoded(sum: &SketchSum) -> Vec<u8> {
    let mut bytes = Vec::new();
    sum.sketch().encode(&mut bytes);
    bytes
}

fn size(sums: &[SketchSum]) -> usize {
    sums.iter().map(SketchSum::size).sum()
}
