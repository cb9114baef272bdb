//! What transactions waited for when they were written, and which it then turned out to be too late for. Kept by the file
//! of transactions, which says so in the last line of each.

use std::collections::HashMap;

use analyzer::expect::NeverCame;
use collector_table::TraceId;
use serde_json::Value;

/// Transactions that are remembered, about 300 bytes each; of further ones the line says that they wait.
const MISSING_MAX: usize = 500_000;

/// Stages that never came, by transaction.
#[derive(Default)]
pub(super) struct Missing(HashMap<TraceId, Vec<NeverCame>>);

impl Missing {
    /// Notes a stage that never came.
    pub(super) fn note(&mut self, one: NeverCame) {
        if self.0.len() < MISSING_MAX || self.0.contains_key(&one.transaction) {
            self.0.entry(one.transaction).or_default().push(one);
        }
    }

    /// Returns the line of a transaction with what is known now, or nothing if that is what it says.
    pub(super) fn decided(&self, id: TraceId, line: &[u8]) -> Option<Vec<u8>> {
        let never_came = self.0.get(&id)?;
        let mut json: Value = serde_json::from_slice(line).ok()?;
        let mut has_changed = false;
        let lacking = json.pointer_mut("/completeness/missing").and_then(Value::as_array_mut);
        for one in lacking.into_iter().flatten() {
            has_changed |= decide(one, never_came);
        }
        let mut lacks_compensation = false;
        let stages = json.pointer_mut("/saga/stages").and_then(Value::as_array_mut);
        for stage in stages.into_iter().flatten() {
            lacks_compensation |= stage.get_mut("compensation").is_some_and(|one| decide(one, never_came));
        }
        if let Some(state) = json.pointer_mut("/saga/state").filter(|_| lacks_compensation) {
            *state = "compensation_missing".into();
        }
        if !has_changed && !lacks_compensation {
            return None;
        }
        let mut decided = serde_json::to_vec(&json).ok()?;
        decided.push(b'\n');
        Some(decided)
    }
}

/// Says of something that is waited for that it is missing, if it never came.
fn decide(one: &mut Value, never_came: &[NeverCame]) -> bool {
    let is_it = |known: &NeverCame| one["service"] == *known.service && one["operation"] == *known.operation;
    let is_missing = one["state"] == "waiting" && never_came.iter().any(is_it);
    if is_missing {
        one["state"] = "missing".into();
    }
    is_missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_waited_for_and_never_came_is_missing_in_the_end() {
        let id = TraceId([1; 16]);
        let mut missing = Missing::default();
        missing.note(NeverCame { transaction: id, service: "stock".into(), operation: "reserve".into() });
        let line = br#"{"completeness":{"expected":2,"missing":[{"service":"stock","operation":"reserve","state":"waiting"},{"service":"mail","operation":"send","state":"waiting"}]}}"#;
        let decided = String::from_utf8(missing.decided(id, line).unwrap()).unwrap();
        insta::assert_snapshot!(
            decided.trim(),
            @r#"{"completeness":{"expected":2,"missing":[{"service":"stock","operation":"reserve","state":"missing"},{"service":"mail","operation":"send","state":"waiting"}]}}"#
        );
        // A later revision has it, and says nothing of it.
        assert_eq!(missing.decided(id, br#"{"completeness":{"expected":2,"missing":[]}}"#), None);
        assert_eq!(missing.decided(TraceId([2; 16]), line), None);
        let saga = br#"{"saga":{"state":"compensation_waiting","stages":[{"compensation":{"service":"stock","operation":"reserve","state":"waiting"}}]}}"#;
        let decided = String::from_utf8(missing.decided(id, saga).unwrap()).unwrap();
        assert!(decided.contains(r#""state":"compensation_missing""#) && !decided.contains("waiting"), "{decided}");
    }
}
