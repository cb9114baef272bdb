//! What was written, key by key, before anyone judged it: the commented example, then the file, the environment and
//! the command line, each over the one before. Called by `Config::load` only.
//! Must never drop a key in silence: what nobody asks for becomes a complaint.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use serde_json::Value;

use super::interpolate::interpolate;
use super::{Complaint, Origin, Override};

/// A configuration larger than this is a mistake, bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Environment variables with this prefix are keys.
const ENV_PREFIX: &str = "THROUGHLINE_";
/// Variables with the prefix that belong to the command line and are no keys.
const ENV_RESERVED: [&str; 1] = ["THROUGHLINE_CONFIG"];

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// Everything that was written: dotted key → value.
#[derive(Debug, Default)]
pub(super) struct Written(pub(super) BTreeMap<String, Entry>);

impl Written {
    /// Reads text that is known to be right: the example that states the defaults.
    pub(super) fn defaults(yaml: &str) -> Self {
        let mut written = Self::default();
        let value = parse(yaml).expect("the commented example is YAML; a test loads it");
        written.flatten(String::new(), value, &|_| Origin::Default);
        written
    }

    /// Lays the file over what is there.
    pub(super) fn overlay_file(
        &mut self,
        path: &Path,
        env: &BTreeMap<String, String>,
        complaints: &mut Vec<Complaint>,
    ) {
        let whole = Origin::File { path: path.to_path_buf(), line: None };
        let text = match read_bounded(path) {
            Ok(text) => text,
            Err(problem) => {
                return complaints.push(Complaint::new("", &whole, problem, "name a readable YAML file"));
            }
        };
        let mut value = match parse(&text) {
            Ok(value @ (Value::Object(_) | Value::Null)) => value,
            Ok(_) => {
                let problem = "the file is not a mapping";
                return complaints.push(Complaint::new("", &whole, problem, "write `key: value` lines"));
            }
            Err(problem) => {
                return complaints.push(Complaint::new("", &whole, problem, "mend the YAML at that place"));
            }
        };
        let lines = key_lines(&text);
        let origin = |key: &str| Origin::File { path: path.to_path_buf(), line: lines.get(key).copied() };
        interpolate(&mut value, "", env, &mut |key, problem| {
            let remedy = "set the variable, or give a default as in ${env:NAME:-default}; a plain $ is written $$";
            complaints.push(Complaint::new(key, &origin(plain(key)), problem, remedy));
        });
        self.flatten(String::new(), value, &origin);
    }

    /// Lays `THROUGHLINE_A__B` over what is there, as `a.b`. `known` has every key there is.
    pub(super) fn overlay_env(&mut self, env: &BTreeMap<String, String>, known: &Self) {
        for (name, value) in env {
            let Some(rest) = name.strip_prefix(ENV_PREFIX) else { continue };
            if ENV_RESERVED.contains(&name.as_str()) {
                continue;
            }
            let key = rest.to_lowercase().replace("__", ".");
            if !known.0.contains_key(&key) && is_service_link(rest, value) {
                continue;
            }
            self.0.insert(key, Entry { value: Value::String(value.clone()), origin: Origin::Env(name.clone()) });
        }
    }

    /// Lays the command line over what is there.
    pub(super) fn overlay_flags(&mut self, flags: Vec<Override>) {
        for Override { key, value, flag } in flags {
            self.0.insert(key.to_owned(), Entry { value: Value::String(value), origin: Origin::Flag(flag) });
        }
    }

    /// Sections are taken apart; lists and plain values are leaves. An empty value leaves what is below.
    fn flatten(&mut self, key: String, value: Value, origin: &dyn Fn(&str) -> Origin) {
        match value {
            Value::Object(section) => {
                for (name, value) in section {
                    let key = if key.is_empty() { name } else { format!("{key}.{name}") };
                    self.flatten(key, value, origin);
                }
            }
            Value::Null => {}
            value => {
                let origin = origin(&key);
                self.0.insert(key, Entry { value, origin });
            }
        }
    }
}

/// Returns the variables that are UTF-8. Others are nobody's business here, unless they are meant for us.
pub(super) fn readable(
    env: impl IntoIterator<Item = (OsString, OsString)>,
    complaints: &mut Vec<Complaint>,
) -> BTreeMap<String, String> {
    let mut readable = BTreeMap::new();
    for (name, value) in env {
        let shown = name.to_string_lossy().into_owned();
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => {
                readable.insert(name, value);
            }
            // A reserved one is read elsewhere, and may be any path.
            _ if shown.starts_with(ENV_PREFIX) && !ENV_RESERVED.contains(&shown.as_str()) => {
                complaints.push(Complaint::new("", &Origin::Env(shown), "it is not UTF-8", "set it anew, or unset it"));
            }
            _ => {}
        }
    }
    readable
}

/// Whether Kubernetes made the variable for a Service whose name begins with `throughline`, as it does in every pod of
/// the namespace: `…_SERVICE_HOST`, `…_SERVICE_PORT`, `…_PORT=tcp://10.0.0.1:4317`, `…_PORT_4317_TCP_ADDR`.
/// `THROUGHLINE_PORT=9000` is a person's mistake and stays a complaint.
fn is_service_link(rest: &str, value: &str) -> bool {
    let name = format!("_{rest}");
    let is_port_of_protocol =
        name.split_once("_PORT_").is_some_and(|(_, port)| port.starts_with(|c: char| c.is_ascii_digit()));
    // Only our own names have two underscores in a row.
    !rest.contains("__")
        && (name.ends_with("_SERVICE_HOST")
            || name.ends_with("_SERVICE_PORT")
            || name.contains("_SERVICE_PORT_")
            || name.ends_with("_PORT") && value.contains("://")
            || is_port_of_protocol)
}

/// Returns a key without the position in a list: `webhooks.targets[0].url` → `webhooks.targets`.
fn plain(key: &str) -> &str {
    key.split_once('[').map_or(key, |(list, _)| list)
}

fn read_bounded(path: &Path) -> Result<String, String> {
    let bytes = std::fs::metadata(path).map_err(|cause| cause.to_string())?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!("the file has {bytes} bytes, more than {FILE_BYTES_MAX}"));
    }
    std::fs::read_to_string(path).map_err(|cause| cause.to_string())
}

/// Goes through YAML's own value, because that refuses a key that is written twice.
fn parse(yaml: &str) -> Result<Value, String> {
    let value: serde_norway::Value = serde_norway::from_str(yaml).map_err(|cause| cause.to_string())?;
    serde_json::to_value(value).map_err(|cause| cause.to_string())
}

/// Finds the line of each key that is written in block style, which is how people write. Others go without a line.
fn key_lines(yaml: &str) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    let mut open: Vec<(usize, &str)> = Vec::new();
    for (index, line) in yaml.lines().enumerate() {
        let text = line.trim_start();
        let Some((key, _)) = text.split_once(':') else { continue };
        let key = key.trim_matches(['"', '\'', ' ']);
        if !key.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) || text.starts_with('-') {
            continue;
        }
        let indent = line.len() - text.len();
        while open.last().is_some_and(|(outer, _)| *outer >= indent) {
            open.pop();
        }
        open.push((indent, key));
        let keys: Vec<&str> = open.iter().map(|(_, key)| *key).collect();
        lines.entry(keys.join(".")).or_insert(index + 1);
    }
    lines
}
