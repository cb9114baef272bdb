//! Declared sagas in the configuration: stages and what undoes each, by service and operation. Called by `Config::load`.
//! Says everything that is wrong with them at once; one that is wrong is left out.

use std::sync::Arc;

use analyzer::expect::{Declared, DeclaredStage, Pattern};
use serde_json::{Map, Value};

use super::Origin;
use super::reader::{Reader, suggestion};
use super::units;

const SAGAS: &str = "stitching.sagas";
const SAGA_KEYS: [&str; 3] = ["name", "type", "stages"];
const STAGE_KEYS: [&str; 2] = ["operation", "compensation"];
/// Sagas at most: each is looked for in every transaction type.
const SAGAS_MAX: usize = 50;
/// Stages of one saga at most, half of what a transaction type has.
const STAGES_MAX: usize = 32;
const TEXT_BYTES_MAX: usize = 300;

/// Takes the declared sagas.
pub(super) fn read(reader: &mut Reader) -> Vec<Declared> {
    let entry = reader.take_entry(SAGAS);
    let items = match units::list(&entry.value) {
        Ok(items) if items.len() <= SAGAS_MAX => items,
        Ok(items) => {
            let problem = format!("there are {} sagas, more than {SAGAS_MAX}", items.len());
            reader.complain(SAGAS, &entry.origin, problem, "remove some");
            Vec::new()
        }
        Err(problem) => {
            reader.complain(SAGAS, &entry.origin, problem, "write a list of {name, type, stages}");
            Vec::new()
        }
    };
    if items.is_empty() {
        reader.explain(SAGAS, "[]", entry.origin.clone());
    }
    let mut sagas: Vec<Declared> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let mut at = At { key: format!("{SAGAS}[{index}]"), origin: &entry.origin, reader };
        let Some(saga) = at.saga(item) else { continue };
        if sagas.iter().any(|other| other.name == saga.name) {
            at.complain(
                ".name",
                format!("the name {:?} is taken by an earlier saga", saga.name),
                "give each its own name",
            );
        }
        let shown = at.key.clone();
        reader.explain(&shown, &item.to_string(), entry.origin.clone());
        sagas.push(saga);
    }
    sagas
}

/// Where in the list it is being read.
struct At<'a> {
    key: String,
    origin: &'a Origin,
    reader: &'a mut Reader,
}

impl At<'_> {
    fn complain(&mut self, field: &str, problem: impl Into<String>, remedy: &str) {
        self.reader.complain(&format!("{}{field}", self.key), self.origin, problem, remedy);
    }

    fn saga(&mut self, item: &Value) -> Option<Declared> {
        let fields = self.fields(item, "", &SAGA_KEYS, "write {name, type, stages}")?;
        let name = self.text(fields, "", "name", true);
        let transaction_type = self.text(fields, "", "type", false);
        let stages = match fields.get("stages").map(units::list) {
            Some(Ok(stages)) if (1..=STAGES_MAX).contains(&stages.len()) => stages,
            Some(Ok(stages)) => {
                let problem = format!("there are {} stages, and 1 to {STAGES_MAX} are possible", stages.len());
                self.complain(".stages", problem, "name the operations that change something, in their order");
                return None;
            }
            _ => {
                self.complain(".stages", "expected a list", "write a list of {operation, compensation}");
                return None;
            }
        };
        let read: Vec<Option<DeclaredStage>> =
            stages.iter().enumerate().map(|(index, stage)| self.stage(index, stage)).collect();
        let stages: Option<Vec<DeclaredStage>> = read.into_iter().collect();
        let name = Arc::from(name.flatten()?);
        Some(Declared { name, transaction_type: transaction_type?.map(|text| Pattern::new(&text)), stages: stages? })
    }

    fn stage(&mut self, index: usize, item: &Value) -> Option<DeclaredStage> {
        let place = format!(".stages[{index}]");
        let fields = self.fields(item, &place, &STAGE_KEYS, "write {operation, compensation}")?;
        let operation = self.text(fields, &place, "operation", true);
        let compensation = self.text(fields, &place, "compensation", false);
        let operation = Pattern::new(&operation.flatten()?);
        Some(DeclaredStage { operation, compensation: compensation?.map(|text| Pattern::new(&text)) })
    }

    fn fields<'v>(
        &mut self,
        item: &'v Value,
        place: &str,
        known: &[&str],
        remedy: &str,
    ) -> Option<&'v Map<String, Value>> {
        let Value::Object(fields) = item else {
            self.complain(place, "expected a mapping", remedy);
            return None;
        };
        for field in fields.keys().filter(|field| !known.contains(&field.as_str())) {
            self.complain(&format!("{place}.{field}"), "there is no such key", &suggestion(field, known));
        }
        Some(fields)
    }

    /// Returns a text, or nothing where it may be left out; complained about, it is none at all.
    fn text(
        &mut self,
        fields: &Map<String, Value>,
        place: &str,
        field: &str,
        is_needed: bool,
    ) -> Option<Option<String>> {
        let place = format!("{place}.{field}");
        match fields.get(field).map(units::text) {
            None if !is_needed => Some(None),
            Some(Ok(text)) if !text.is_empty() && text.len() <= TEXT_BYTES_MAX => Some(Some(text)),
            Some(Ok(text)) => {
                self.complain(
                    &place,
                    format!("{text:?} has not 1 to {TEXT_BYTES_MAX} bytes"),
                    "shorten it, or say something",
                );
                None
            }
            Some(Err(problem)) => {
                self.complain(&place, problem, "write one value");
                None
            }
            None => {
                self.complain(&place, "it is missing", "say a service and an operation, or a name");
                None
            }
        }
    }
}
