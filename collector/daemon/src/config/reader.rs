//! Takes typed values out of what was written and collects every complaint on the way. Called by `Config::load`.
//! A bad value is complained about and read as its default, so that one mistake never hides another.

use serde_json::Value;

use super::units::Parsed;
use super::written::{Entry, Written};
use super::{Complaint, Explained, Origin};

/// Reads keys one after another.
pub(super) struct Reader {
    written: Written,
    defaults: Written,
    pub(super) explained: Vec<Explained>,
    pub(super) complaints: Vec<Complaint>,
}

impl Reader {
    /// Returns a reader; `defaults` has every key there is.
    pub(super) fn new(written: Written, defaults: Written, complaints: Vec<Complaint>) -> Self {
        Self { written, defaults, explained: Vec::new(), complaints }
    }

    /// Takes a plain value.
    pub(super) fn take<T>(&mut self, key: &str, parse: impl Fn(&Value) -> Parsed<T>) -> T {
        let Entry { value, origin } = self.take_entry(key);
        self.explain(key, &shown(&value), origin.clone());
        parse(&value).unwrap_or_else(|problem| {
            let default = self.defaults.0[key].value.clone();
            self.complain(key, &origin, problem, &format!("the default is {}", shown(&default)));
            parse(&default).expect("the commented example's values parse; a test loads it")
        })
    }

    /// Takes a value of which the caller explains the parts.
    pub(super) fn take_entry(&mut self, key: &str) -> Entry {
        let default = self.defaults.0.get(key).expect("every key is in the commented example; a test loads it");
        self.written.0.remove(key).unwrap_or_else(|| default.clone())
    }

    /// Notes what is in force.
    pub(super) fn explain(&mut self, key: &str, value: &str, origin: Origin) {
        self.explained.push(Explained { key: key.to_owned(), value: value.to_owned(), origin });
    }

    /// Notes what is wrong.
    pub(super) fn complain(&mut self, key: &str, origin: &Origin, problem: impl Into<String>, remedy: &str) {
        self.complaints.push(Complaint::new(key, origin, problem, remedy));
    }

    /// Returns where a key's value came from.
    pub(super) fn origin(&self, key: &str) -> Origin {
        let explained = self.explained.iter().find(|explained| explained.key == key);
        explained.map_or(Origin::Default, |explained| explained.origin.clone())
    }

    /// Complains about every key that was written and that nobody asked for.
    pub(super) fn refuse_rest(&mut self) {
        let known: Vec<&str> = self.defaults.0.keys().map(String::as_str).collect();
        for (key, entry) in std::mem::take(&mut self.written.0) {
            let section = format!("{key}.");
            let inside: Vec<&str> = known.iter().filter(|known| known.starts_with(&section)).copied().collect();
            let complaint = if inside.is_empty() {
                Complaint::new(&key, &entry.origin, "there is no such key", &suggestion(&key, &known))
            } else {
                let remedy = format!("set one of {}", inside.join(", "));
                Complaint::new(&key, &entry.origin, "this is a section, not a value", &remedy)
            };
            self.complaints.push(complaint);
        }
    }
}

/// Returns what to write instead of an unknown name.
pub(super) fn suggestion(name: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|candidate| (distance(name, candidate), *candidate)).min();
    match nearest {
        Some((distance, candidate)) if distance <= (candidate.len() / 3).max(2) => format!("did you mean {candidate}?"),
        _ => "remove it; the commented example lists every key".to_owned(),
    }
}

/// Returns how many characters have to be changed, added or removed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a_char) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b_char) in b.iter().enumerate() {
            let changed = diagonal + usize::from(a_char != *b_char);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "empty".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
