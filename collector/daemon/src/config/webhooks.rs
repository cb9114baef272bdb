//! The webhook part of the configuration: targets with their secrets, and what the egress guard lets through.
//! Called by `Config::load`. Must never repeat a secret, neither in a complaint nor in what is explained.

use serde_json::{Map, Value};

use super::Origin;
use super::reader::{Reader, suggestion};
use super::units;
use crate::notify::{AllowRule, Secret, TARGETS_MAX, Target};

const TARGETS: &str = "webhooks.targets";
const ALLOW: &str = "webhooks.egress.allow";
const TARGET_KEYS: [&str; 5] = ["name", "url", "secret", "secret_file", "events"];
/// A file that holds a secret is no larger, bytes.
const SECRET_FILE_BYTES_MAX: u64 = 4096;

/// Takes the addresses that may be called although they are private.
pub(super) fn read_allow(reader: &mut Reader) -> Vec<AllowRule> {
    let entry = reader.take_entry(ALLOW);
    reader.explain(ALLOW, &entry.value.to_string(), entry.origin.clone());
    let mut rules = Vec::new();
    let texts =
        units::list(&entry.value).and_then(|items| items.iter().map(units::text).collect::<Result<Vec<_>, _>>());
    match texts {
        Err(problem) => reader.complain(ALLOW, &entry.origin, problem, "write a list such as [10.0.0.0/8]"),
        Ok(texts) => {
            for text in texts {
                match text.parse::<AllowRule>() {
                    Ok(rule) => rules.push(rule),
                    Err(wrong) => reader.complain(ALLOW, &entry.origin, wrong.to_string(), "mend or remove it"),
                }
            }
        }
    }
    rules
}

/// Takes the targets; one that is wrong is complained about and left out.
pub(super) fn read_targets(reader: &mut Reader) -> Vec<Target> {
    let entry = reader.take_entry(TARGETS);
    let items = match units::list(&entry.value) {
        Ok(items) if items.len() <= TARGETS_MAX => items,
        Ok(items) => {
            let problem = format!("there are {} targets, more than {TARGETS_MAX}", items.len());
            reader.complain(TARGETS, &entry.origin, problem, "remove some");
            Vec::new()
        }
        Err(problem) => {
            reader.complain(TARGETS, &entry.origin, problem, "write a list of {name, url, secret}");
            Vec::new()
        }
    };
    if items.is_empty() {
        reader.explain(TARGETS, "[]", entry.origin.clone());
    }
    let mut targets = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let at = At { key: format!("{TARGETS}[{index}]"), origin: &entry.origin };
        targets.extend(at.read_target(reader, item));
    }
    targets
}

/// Which target is being read.
struct At<'a> {
    key: String,
    origin: &'a Origin,
}

impl At<'_> {
    fn read_target(&self, reader: &mut Reader, item: &Value) -> Option<Target> {
        let Value::Object(fields) = item else {
            self.complain(reader, "", "expected a mapping", "write {name, url, secret}");
            return None;
        };
        for field in fields.keys().filter(|field| !TARGET_KEYS.contains(&field.as_str())) {
            self.complain(reader, &format!(".{field}"), "there is no such key", &suggestion(field, &TARGET_KEYS));
        }
        let name = self.read_text(reader, fields, "name");
        let url = self.read_text(reader, fields, "url");
        let secret = self.read_secret(reader, fields);
        let events = self.read_events(reader, fields);
        let (name, url) = (name?, url?);
        match Target::new(&name, &url, secret, events) {
            Ok(target) => {
                self.explain(reader, &target);
                Some(target)
            }
            Err(wrong) => {
                self.complain(reader, "", &wrong.0, "mend the target");
                None
            }
        }
    }

    fn read_text(&self, reader: &mut Reader, fields: &Map<String, Value>, field: &str) -> Option<String> {
        match fields.get(field).map(units::text) {
            Some(Ok(text)) => Some(text),
            Some(Err(problem)) => {
                self.complain(reader, &format!(".{field}"), &problem, "write one value");
                None
            }
            None => {
                self.complain(reader, &format!(".{field}"), "it is missing", "every target has a name and a url");
                None
            }
        }
    }

    fn read_secret(&self, reader: &mut Reader, fields: &Map<String, Value>) -> Option<Secret> {
        let (field, text) = match (fields.get("secret"), fields.get("secret_file")) {
            (None, None) => return None,
            (Some(secret), None) => (".secret", units::text(secret)),
            (None, Some(file)) => (".secret_file", units::text(file).and_then(|path| read_secret_file(&path))),
            (Some(_), Some(_)) => (".secret", Err("secret and secret_file are both set".to_owned())),
        };
        match text.and_then(|text| Secret::parse(&text).map_err(|wrong| wrong.to_string())) {
            Ok(secret) => Some(secret),
            Err(problem) => {
                let remedy = "make one: whsec_ and the output of `openssl rand -base64 32`, in one of the two keys";
                self.complain(reader, field, &problem, remedy);
                None
            }
        }
    }

    fn read_events(&self, reader: &mut Reader, fields: &Map<String, Value>) -> Vec<String> {
        let Some(value) = fields.get("events") else { return Vec::new() };
        let texts = units::list(value).and_then(|items| items.iter().map(units::text).collect::<Result<Vec<_>, _>>());
        texts.unwrap_or_else(|problem| {
            self.complain(reader, ".events", &problem, "write a list such as [incident.opened]");
            Vec::new()
        })
    }

    fn explain(&self, reader: &mut Reader, target: &Target) {
        let events = if target.events.is_empty() { "all".to_owned() } else { target.events.join(", ") };
        let secret = if target.secret.is_some() { "set" } else { "not set" };
        let parts =
            [("name", target.name.as_str()), ("url", &target.shown_url()), ("secret", secret), ("events", &events)];
        for (field, value) in parts {
            reader.explain(&format!("{}.{field}", self.key), value, self.origin.clone());
        }
    }

    fn complain(&self, reader: &mut Reader, field: &str, problem: &str, remedy: &str) {
        reader.complain(&format!("{}{field}", self.key), self.origin, problem, remedy);
    }
}

fn read_secret_file(path: &str) -> Result<String, String> {
    let bytes = std::fs::metadata(path).map_err(|cause| format!("{path}: {cause}"))?.len();
    if bytes > SECRET_FILE_BYTES_MAX {
        return Err(format!("{path} has {bytes} bytes, which is no secret"));
    }
    std::fs::read_to_string(path).map_err(|cause| format!("{path}: {cause}"))
}
