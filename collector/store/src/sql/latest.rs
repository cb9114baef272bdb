//! `transactions` as queries see it: only rows of the highest revision of each transaction, and none of one that turned
//! out to be part of another. A view with a filter, so that time ranges and ids still reach the segments; used only while
//! some transaction has been revised, and none is superseded by its first revision.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, FixedSizeBinaryArray, UInt32Array};
use arrow::datatypes::DataType;
use collector_table::TableName;
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::datasource::provider_as_source;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, col, lit,
};

use crate::revisions::Revised;

/// Close reason of the last revision of a transaction that is part of another one.
const SUPERSEDED: &str = "superseded";

/// Returns the table without rows that a later revision replaced or took back.
pub(super) fn view(
    table: TableName,
    stored: Arc<dyn TableProvider>,
    revised: Arc<Revised>,
) -> Result<Arc<dyn TableProvider>, DataFusionError> {
    let is_latest = ScalarUDF::from(IsLatest::new(revised));
    let plan = LogicalPlanBuilder::scan(table.as_str(), provider_as_source(stored), None)?
        .filter(is_latest.call(vec![col("transaction_id"), col("revision")]))?
        .filter(col("close_reason").not_eq(lit(SUPERSEDED)))?
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// `is_latest(transaction_id, revision)`, for the revisions of one snapshot.
#[derive(Debug)]
struct IsLatest {
    revised: Arc<Revised>,
    signature: Signature,
}

impl IsLatest {
    fn new(revised: Arc<Revised>) -> Self {
        let arguments = vec![DataType::FixedSizeBinary(16), DataType::UInt32];
        Self { revised, signature: Signature::exact(arguments, Volatility::Immutable) }
    }
}

impl PartialEq for IsLatest {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.revised, &other.revised)
    }
}

impl Eq for IsLatest {}

impl Hash for IsLatest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.revised).hash(state);
    }
}

impl ScalarUDFImpl for IsLatest {
    fn name(&self) -> &'static str {
        "is_latest"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let ids = columns[0].as_any().downcast_ref::<FixedSizeBinaryArray>();
        let revisions = columns[1].as_any().downcast_ref::<UInt32Array>();
        let latest: BooleanArray = match ids.zip(revisions) {
            Some((ids, revisions)) => self.revised.are_highest(ids, revisions),
            None => return Err(DataFusionError::Internal("is_latest takes an id and a revision".to_owned())),
        };
        Ok(ColumnarValue::Array(Arc::new(latest)))
    }
}
