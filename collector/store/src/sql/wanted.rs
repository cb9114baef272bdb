//! What the filters of a query ask for that can be told without opening a file: a range of event time, and ids.
//! Segments that cannot hold it are left out of the plan. Filters it does not understand ask for everything.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{self, Between, Expr, Operator};
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal, in_list};
use datafusion::physical_expr::{PhysicalExpr, conjunction};

use crate::revisions::Id;

/// A range of event time, Unix nanoseconds, and ids if only rows with some are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) from_ns: i64,
    pub(super) to_ns: i64,
    pub(super) ids: Option<Vec<Id>>,
}

impl Wanted {
    /// Everything.
    pub(super) const ALL: Self = Self { from_ns: i64::MIN, to_ns: i64::MAX, ids: None };

    /// Reads filters that must all hold.
    pub(super) fn by(filters: &[Expr], time_column: &str, id_column: Option<&str>) -> Self {
        let mut wanted = Self::ALL;
        for filter in filters {
            wanted.narrow(filter, time_column);
            if wanted.ids.is_none() {
                wanted.ids = id_column.and_then(|column| ids(filter, column));
            }
        }
        wanted
    }

    /// Returns whether rows of this range of event time can be among what is asked for.
    pub(super) fn overlaps(&self, time_range: Option<(i64, i64)>) -> bool {
        time_range.is_none_or(|(earliest, latest)| earliest <= self.to_ns && latest >= self.from_ns)
    }

    /// Returns the filter that passes just what is wanted.
    pub(super) fn filter(
        &self,
        schema: &Schema,
        time_column: &str,
        id_column: Option<&str>,
    ) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
        let time: Arc<dyn PhysicalExpr> = Arc::new(Column::new_with_schema(time_column, schema)?);
        let bound = |op, ns| -> Arc<dyn PhysicalExpr> {
            let ns = ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into()));
            Arc::new(BinaryExpr::new(Arc::clone(&time), op, Arc::new(Literal::new(ns))))
        };
        let mut all = Vec::new();
        if self.from_ns > i64::MIN {
            all.push(bound(Operator::GtEq, self.from_ns));
        }
        if self.to_ns < i64::MAX {
            all.push(bound(Operator::LtEq, self.to_ns));
        }
        if let (Some(ids), Some(column)) = (&self.ids, id_column) {
            let id = |id: &Id| Literal::new(ScalarValue::FixedSizeBinary(16, Some(id.to_vec())));
            let column = Arc::new(Column::new_with_schema(column, schema)?);
            let list = ids.iter().map(|bytes| Arc::new(id(bytes)) as _).collect();
            all.push(in_list(column, list, &false, schema)?);
        }
        Ok(conjunction(all))
    }

    fn narrow(&mut self, filter: &Expr, time_column: &str) {
        match filter {
            Expr::BinaryExpr(logical_expr::BinaryExpr { left, op: Operator::And, right }) => {
                self.narrow(left, time_column);
                self.narrow(right, time_column);
            }
            Expr::BinaryExpr(logical_expr::BinaryExpr { left, op, right }) => {
                if is_column(left, time_column) {
                    self.compare(*op, right);
                } else if is_column(right, time_column)
                    && let Some(op) = op.swap()
                {
                    self.compare(op, left);
                }
            }
            Expr::Between(Between { expr, negated: false, low, high }) if is_column(expr, time_column) => {
                self.compare(Operator::GtEq, low);
                self.compare(Operator::LtEq, high);
            }
            _ => {}
        }
    }

    fn compare(&mut self, op: Operator, with: &Expr) {
        let Expr::Literal(ScalarValue::TimestampNanosecond(Some(ns), _), _) = with else { return };
        // One nanosecond more than asked for does no harm, so bounds need not be told apart.
        if matches!(op, Operator::Gt | Operator::GtEq | Operator::Eq) {
            self.from_ns = self.from_ns.max(*ns);
        }
        if matches!(op, Operator::Lt | Operator::LtEq | Operator::Eq) {
            self.to_ns = self.to_ns.min(*ns);
        }
    }
}

/// Returns the ids of which the column must be one.
fn ids(filter: &Expr, column: &str) -> Option<Vec<Id>> {
    match filter {
        Expr::BinaryExpr(logical_expr::BinaryExpr { left, op: Operator::Or, right }) => {
            let mut either = ids(left, column)?;
            either.extend(ids(right, column)?);
            Some(either)
        }
        Expr::BinaryExpr(logical_expr::BinaryExpr { left, op: Operator::And, right }) => {
            ids(left, column).or_else(|| ids(right, column))
        }
        Expr::BinaryExpr(logical_expr::BinaryExpr { left, op: Operator::Eq, right }) if is_column(left, column) => {
            Some(vec![id(right)?])
        }
        Expr::BinaryExpr(logical_expr::BinaryExpr { left, op: Operator::Eq, right }) if is_column(right, column) => {
            Some(vec![id(left)?])
        }
        Expr::InList(InList { expr, list, negated: false }) if is_column(expr, column) => list.iter().map(id).collect(),
        _ => None,
    }
}

fn id(literal: &Expr) -> Option<Id> {
    match literal {
        Expr::Literal(ScalarValue::FixedSizeBinary(_, Some(bytes)), _) => bytes.as_slice().try_into().ok(),
        _ => None,
    }
}

fn is_column(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Column(column) if column.name == name)
}
