//! stub
use std::borrow::Cow;
use collector_table::ValueType;
pub(super) fn value<'a>(text: &'a str, key: &str) -> Option<Cow<'a, str>> {
    let at = text.find(&format!("\"{key}\":\""))? + key.len() + 4;
    Some(Cow::Borrowed(&text[at..at + text[at..].find('"')?]))
}
#[derive(Default)]
pub(super) struct JsonObject(String);
impl JsonObject {
    pub(super) fn push(&mut self, key: &str, value: &str, _t: ValueType) {
        self.0.push(if self.0.is_empty() {'{'} else {','});
        self.0.push_str(&format!("\"{key}\":\"{value}\""));
    }
    pub(super) fn push_members(&mut self, text: &str) {
        self.0.push(if self.0.is_empty() {'{'} else {','});
        self.0.push_str(&text[1..text.len()-1]);
    }
    pub(super) fn finish(&mut self) -> String {
        let mut t = std::mem::take(&mut self.0);
        if t.is_empty() { t.push('{'); }
        t.push('}');
        t
    }
}
