//! `${env:NAME:-default}` inside YAML values, with the words of the OpenTelemetry Collector. Called while a file is read.
//! Must never look at the process's environment: it is given one.

use std::collections::BTreeMap;

use serde_json::Value;

/// Replaces variables in every text of the value, and complains about each that cannot be replaced, by key.
pub(super) fn interpolate(
    value: &mut Value,
    key: &str,
    env: &BTreeMap<String, String>,
    complain: &mut dyn FnMut(&str, String),
) {
    match value {
        Value::String(text) => match replaced(text, env) {
            Ok(new) => *text = new,
            // Left out instead, so that there is no second complaint about what stands there.
            Err(problem) => {
                complain(key, problem);
                *value = Value::Null;
            }
        },
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                interpolate(item, &format!("{key}[{index}]"), env, complain);
            }
        }
        Value::Object(section) => {
            for (name, value) in section {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                interpolate(value, &key, env, complain);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn replaced(text: &str, env: &BTreeMap<String, String>) -> Result<String, String> {
    let mut new = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from_dollar) = rest.split_at(at);
        new.push_str(before);
        if let Some(after) = from_dollar.strip_prefix("$$") {
            new.push('$');
            rest = after;
        } else if let Some(inside) = from_dollar.strip_prefix("${") {
            let (reference, after) = inside.split_once('}').ok_or("`${` has no closing brace")?;
            new.push_str(looked_up(reference, env)?);
            rest = after;
        } else {
            new.push('$');
            rest = &from_dollar[1..];
        }
    }
    new.push_str(rest);
    Ok(new)
}

fn looked_up<'a>(reference: &'a str, env: &'a BTreeMap<String, String>) -> Result<&'a str, String> {
    let name = reference.strip_prefix("env:").ok_or_else(|| format!("`${{{reference}}}` is not `${{env:NAME}}`"))?;
    let (name, default) = match name.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (name, None),
    };
    // As in a shell, an empty variable counts as not set when there is a default.
    match (env.get(name).filter(|value| default.is_none() || !value.is_empty()), default) {
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default),
        (None, None) => Err(format!("the environment variable {name} is not set")),
    }
}
