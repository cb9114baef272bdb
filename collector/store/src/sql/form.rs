//! The SQL form over what is stored: rewrites expressions on columns that queries see into expressions on the columns
//! that a segment or a batch in memory has. A promoted attribute becomes a plain column, so that statistics, filters
//! during decoding and the choice of columns work on it. The scans of `scan` and `memory` call this once per file.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{ScalarValue, exec_err};
use datafusion::config::ConfigOptions;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Operator, ScalarUDF};
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_expr_adapter::{PhysicalExprAdapter, PhysicalExprAdapterFactory};

use collector_table::ValueType;

use super::attribute::Attribute;
use crate::promote::KEYS_IN_REST;

mod functions;

use functions::{Step, StepFunction, StoredColumns};

type Expr = Arc<dyn PhysicalExpr>;

/// Column that promoted attributes come from, and the start of the names of their columns.
const ATTRIBUTES: &str = "attributes";
const PROMOTED_PREFIX: &str = "attributes.";

/// Makes a rewriter for each file.
#[derive(Debug)]
pub(super) struct SqlForm;

impl PhysicalExprAdapterFactory for SqlForm {
    fn create(&self, sql: SchemaRef, stored: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>, DataFusionError> {
        Ok(Arc::new(Rewriter { sql, stored }))
    }
}

/// Rewrites expressions for one file.
#[derive(Debug)]
struct Rewriter {
    sql: SchemaRef,
    stored: SchemaRef,
}

impl PhysicalExprAdapter for Rewriter {
    fn rewrite(&self, expr: Expr) -> Result<Expr, DataFusionError> {
        let rewritten = expr.transform_down(|expr| {
            if let Some(attribute) = self.attribute(&expr)? {
                return Ok(Transformed::new(attribute, true, TreeNodeRecursion::Jump));
            }
            if let Some(column) = expr.downcast_ref::<Column>() {
                return Ok(Transformed::new(self.column(column.name())?, true, TreeNodeRecursion::Jump));
            }
            Ok(Transformed::no(expr))
        })?;
        Ok(rewritten.data)
    }
}

impl Rewriter {
    /// Returns what `attribute(column, 'key')` is in this file; nothing for other expressions.
    fn attribute(&self, expr: &Expr) -> Result<Option<Expr>, DataFusionError> {
        let Some(call) = ScalarFunctionExpr::try_downcast_func::<Attribute>(expr.as_ref()) else { return Ok(None) };
        let [of, key] = call.args() else { return Ok(None) };
        let key = key.downcast_ref::<Literal>().and_then(|key| key.value().try_as_str().flatten());
        let Some((of, key)) = of.downcast_ref::<Column>().zip(key) else { return Ok(None) };
        let Some((index, stored)) = self.stored.column_with_name(of.name()) else { return Ok(None) };
        let column: Expr = Arc::new(Column::new(of.name(), index));
        if matches!(stored.data_type(), DataType::List(_)) {
            return Ok(Some(step(Step::AttributeOfList(key.to_owned()), vec![column])));
        }
        if let DataType::Dictionary(_, _) = stored.data_type() {
            return Ok(Some(step(Step::AttributeOfDictionary(key.to_owned()), vec![column])));
        }
        let promoted = format!("{PROMOTED_PREFIX}{key}");
        let Some((index, field)) = self.stored.column_with_name(&promoted).filter(|_| of.name() == ATTRIBUTES) else {
            return Ok(None);
        };
        let promoted: Expr = Arc::new(Column::new(&promoted, index));
        let letter = functions::letter(field);
        let text = if functions::is_own_sql_text(ValueType::from_byte(letter)) {
            cast(promoted, DataType::Utf8View)
        } else {
            step(Step::SqlText(letter), vec![promoted])
        };
        Ok(Some(if self.rest_may_hold(key) {
            step(Step::ColumnOrRest(key.to_owned()), vec![text, column])
        } else {
            text
        }))
    }

    /// Returns what a column that queries see is in this file.
    fn column(&self, name: &str) -> Result<Expr, DataFusionError> {
        let sql = self.sql.field_with_name(name)?;
        let Some((index, stored)) = self.stored.column_with_name(name) else { return self.missing(sql) };
        let column: Expr = Arc::new(Column::new(name, index));
        Ok(match (sql.data_type(), stored.data_type()) {
            (_, DataType::List(_)) if name == ATTRIBUTES => step(Step::JsonOfList, vec![column]),
            (_, DataType::Utf8 | DataType::Utf8View) if name == ATTRIBUTES => self.json(column),
            (DataType::Utf8View, DataType::UInt8) if name == "kind" => step(Step::Kind, vec![column]),
            (DataType::Utf8View, DataType::UInt8) => step(Step::Status, vec![column]),
            (_, DataType::Dictionary(_, _)) => step(Step::Text, vec![column]),
            (DataType::UInt32, DataType::UInt32) if stored.is_nullable() && !sql.is_nullable() => {
                step(Step::OrZero, vec![column])
            }
            (sql, stored) if sql == stored => column,
            (sql, _) => cast(column, sql.clone()),
        })
    }

    /// Returns a column that is computed or that the file is too old to have.
    fn missing(&self, sql: &Field) -> Result<Expr, DataFusionError> {
        if sql.name() == "end_time" {
            let start = cast(self.column("start_time")?, DataType::Int64);
            let end = BinaryExpr::new(start, Operator::Plus, self.column("duration_ns")?);
            return Ok(cast(Arc::new(end), sql.data_type().clone()));
        }
        if !sql.is_nullable() {
            return exec_err!("a segment has no column {}", sql.name());
        }
        Ok(Arc::new(Literal::new(ScalarValue::try_from(sql.data_type())?)))
    }

    /// Returns the JSON text of all attributes, of the rest and the promoted columns.
    fn json(&self, rest: Expr) -> Expr {
        let promoted = StoredColumns::of(&self.stored, PROMOTED_PREFIX);
        let columns = promoted.indexes().map(|index| {
            let column: Expr = Arc::new(Column::new(self.stored.field(index).name(), index));
            column
        });
        let columns = std::iter::once(rest).chain(columns).collect();
        step(Step::JsonOfColumns(promoted), columns)
    }

    /// Returns whether some row of the file may have this promoted key among what is not promoted.
    fn rest_may_hold(&self, key: &str) -> bool {
        let listed = self.stored.metadata().get(KEYS_IN_REST);
        listed.is_none_or(|keys| keys.lines().any(|listed| listed == key))
    }
}

fn cast(expr: Expr, to: DataType) -> Expr {
    Arc::new(CastExpr::new(expr, to, None))
}

fn step(step: Step, args: Vec<Expr>) -> Expr {
    let field = Arc::new(Field::new(step.name(), step.return_type(), true));
    let function = Arc::new(ScalarUDF::from(StepFunction::new(step)));
    Arc::new(ScalarFunctionExpr::new(
        function.name(),
        Arc::clone(&function),
        args,
        field,
        Arc::new(ConfigOptions::default()),
    ))
}
