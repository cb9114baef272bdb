//! Sagas as an operator declares them: stages and what undoes each, by patterns of service and operation. Made by the
//! daemon's configuration; looked up in what is known of a transaction type.

use std::sync::Arc;

use super::model::{TypeModel, UNPLACED};
use super::saga::{Compensation, Saga, in_order};
use crate::span::Site;

/// A service and an operation, such as `payment POST /refund`; `*` stands for any text, also for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// A stage of a declared saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredStage {
    /// What is done.
    pub operation: Pattern,
    /// What undoes it.
    pub compensation: Option<Pattern>,
}

/// A declared saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: Arc<str>,
    /// Transaction types that it is of; none: all in which one of its stages occurs.
    pub transaction_type: Option<Pattern>,
    /// Stages in their order.
    pub stages: Vec<DeclaredStage>,
}

impl Pattern {
    /// Returns a pattern as written.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Returns its service and operation as written.
    fn split(&self) -> (Arc<str>, Arc<str>) {
        let (service, operation) = self.0.split_once(' ').unwrap_or(("", &self.0));
        (service.into(), operation.into())
    }

    /// Returns whether it fits an operation of a service.
    fn fits(&self, site: &Site) -> bool {
        fits(&self.0, &format!("{} {}", site.service, site.operation))
    }
}

impl Declared {
    /// Returns whether it is of transactions that begin so.
    pub(super) fn is_of(&self, root: &Site) -> bool {
        self.transaction_type.as_ref().is_none_or(|pattern| pattern.fits(root))
    }

    /// Returns it in numbers of a type's stages; nothing if none of its stages occurs.
    pub(super) fn find(&self, model: &TypeModel) -> Option<Saga> {
        let find = |pattern: &Pattern| {
            let numbers = (1..model.stages.len()).filter_map(|number| u8::try_from(number).ok());
            let fitting: Vec<u8> = numbers.filter(|number| pattern.fits(&model.stage(*number).site)).collect();
            // Where both the caller and the callee fit, the callee is meant.
            in_order(model, fitting).into_iter().min_by_key(|number| model.stage(*number).is_outgoing())
        };
        let mut saga = Saga { name: Some(self.name.clone()), stages: Vec::new(), compensations: Vec::new() };
        for stage in &self.stages {
            let Some(of) = find(&stage.operation).filter(|found| !saga.stages.contains(found)) else { continue };
            saga.stages.push(of);
            let Some(pattern) = &stage.compensation else { continue };
            let by = find(pattern).filter(|by| *by != of).unwrap_or(UNPLACED);
            saga.compensations.push(Compensation { by, of, declared: Some(pattern.split()) });
        }
        (!saga.stages.is_empty()).then_some(saga)
    }
}

/// Returns whether a pattern with `*` fits a text: each piece is looked for after the one before.
fn fits(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, is_fit) in [
            ("pay POST /refund", "pay POST /refund", true),
            ("pay POST /refund", "pay POST /refunds", false),
            ("pay *", "pay POST /refund", true),
            ("* /refund", "pay POST /refund", true),
            ("pay*POST*fund", "pay POST /refund", true),
            ("pay*GET*fund", "pay POST /refund", false),
            ("*", "", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(fits(pattern, text), is_fit, "{pattern} {text}");
        }
    }
}
