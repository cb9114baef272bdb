//! `attributes['order.id']`: a subscript of JSON text is the function `attribute(json, key)`, which returns the value as
//! text, null when absent. The engine plans with it; before rows are read, `form` replaces it by what a file or a batch
//! in memory really has. Must never fail on text that is no JSON: it has no attributes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray, StringViewBuilder};
use arrow::datatypes::DataType;
use collector_table::json;
use datafusion::common::{DFSchema, ScalarValue, exec_err, plan_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawFieldAccessExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ExpressionPlacement, GetFieldAccess, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, lit,
};

/// Different texts of one batch whose value is remembered: resources repeat, attributes of spans do not.
const REMEMBERED_MAX: usize = 1024;

/// Plans a subscript of text.
#[derive(Debug)]
pub(super) struct Subscript;

impl ExprPlanner for Subscript {
    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>, DataFusionError> {
        let is_text =
            matches!(access.expr.get_type(schema), Ok(DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View));
        let key = match &access.field_access {
            GetFieldAccess::NamedStructField { name } if is_text => lit(name.clone()),
            GetFieldAccess::ListIndex { key } if is_text => Expr::clone(key),
            _ => return Ok(PlannerResult::Original(access)),
        };
        let attribute = Arc::new(ScalarUDF::from(Attribute::default()));
        let call = ScalarFunction::new_udf(attribute, vec![access.expr, key]);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}

/// `attribute(json, key)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Attribute {
    signature: Signature,
}

impl Default for Attribute {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Attribute {
    fn name(&self) -> &'static str {
        "attribute"
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String, DataFusionError> {
        match args {
            [of, Expr::Literal(key, _)] => Ok(format!("{}[{key}]", of.schema_name())),
            [of, key] => Ok(format!("{}[{}]", of.schema_name(), key.schema_name())),
            _ => plan_err!("attribute takes text and a key"),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>, DataFusionError> {
        let is_text = |kind: &DataType| kind.is_string() || kind.is_null();
        match arguments {
            [of, key] if is_text(of) && is_text(key) => Ok(vec![DataType::Utf8View, DataType::Utf8View]),
            _ => plan_err!("attribute takes text and a key"),
        }
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let [of, key] = args.args.as_slice() else { return exec_err!("attribute takes text and a key") };
        let of = of.to_array(args.number_rows)?;
        let Some(of) = of.as_string_view_opt() else { return exec_err!("attribute takes text") };
        let found = match key {
            ColumnarValue::Scalar(key) => match key.try_as_str().flatten() {
                Some(key) => values_of(of, key),
                None => return Ok(ColumnarValue::Scalar(ScalarValue::Utf8View(None))),
            },
            ColumnarValue::Array(keys) => match keys.as_string_view_opt() {
                Some(keys) => {
                    Arc::new(of.iter().zip(keys).map(|(of, key)| value(of?, key?)).collect::<StringViewArray>())
                }
                None => return exec_err!("attribute takes a key that is text"),
            },
        };
        Ok(ColumnarValue::Array(found))
    }

    /// Where rows are read is where an attribute may be a column of its own.
    fn placement(&self, args: &[ExpressionPlacement]) -> ExpressionPlacement {
        match args {
            [of, ExpressionPlacement::Literal] if of.should_push_to_leaves() => {
                ExpressionPlacement::MoveTowardsLeafNodes
            }
            _ => ExpressionPlacement::KeepInPlace,
        }
    }
}

/// Returns the value of one key in each text.
pub(super) fn values_of(texts: &StringViewArray, key: &str) -> ArrayRef {
    let mut found = StringViewBuilder::with_capacity(texts.len());
    let mut remembered: HashMap<u128, Option<String>> = HashMap::new();
    for (row, view) in texts.views().iter().enumerate() {
        if texts.is_null(row) {
            found.append_null();
        } else if let Some(value) = remembered.get(view) {
            found.append_option(value.as_deref());
        } else {
            let value = value(texts.value(row), key);
            found.append_option(value.as_deref());
            if remembered.len() < REMEMBERED_MAX {
                remembered.insert(*view, value.map(Into::into));
            }
        }
    }
    Arc::new(found.finish())
}

/// Returns what SQL shows of the value of a key.
fn value<'a>(object: &'a str, key: &str) -> Option<Cow<'a, str>> {
    json::find(object, key).map(json::sql_text)
}
