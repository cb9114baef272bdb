//! What has to hold between keys, and values that only the configuration knows. Called by `Config::load`.
//! Looks at nothing outside the configuration, so that `config check` and the daemon say the same.

use std::time::Duration;

use reqwest::Url;
use serde_json::Value;

use super::reader::Reader;
use super::units::{self, Parsed};
use super::{Config, Sync};
use crate::budget::Budget;
use crate::notify::EgressGuard;
use crate::telemetry::LogFormat;

const GRPC: &str = "receivers.otlp.protocols.grpc.endpoint";
const HTTP: &str = "receivers.otlp.protocols.http.endpoint";
const WEB: &str = "web.endpoint";
/// Every request is compared with each of them.
const ALLOWED_HOSTS_MAX: usize = 100;
/// Fewer than the keys that stitching watches, so that some are left to be discovered.
const JOIN_KEYS_MAX: usize = 100;
const JOIN_KEY_BYTES_MAX: usize = 255;
/// Longer, and the log could grow by seconds of traffic that nothing has synced.
const SYNC_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// prost's own limit is 100; ours must be the one that speaks.
const NESTING_MAX: usize = 90;
/// The bound of the domain name system (RFC 1035, section 2.3.4).
const HOST_NAME_BYTES_MAX: usize = 255;

/// Complains about values that are fine alone and wrong together.
pub(super) fn check(config: &Config, reader: &mut Reader) {
    check_addresses(config, reader);
    check_sizes(config, reader);
    check_retention(config, reader);
    check_targets(config, reader);
}

/// Returns the public address without a slash at the end; nothing when it is empty.
pub(super) fn public_url(value: &Value) -> Parsed<Option<String>> {
    let text = units::text(value)?;
    if text.is_empty() {
        return Ok(None);
    }
    let is_web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.host().is_some() && url.query().is_none();
    match Url::parse(&text) {
        Ok(url) if is_web(&url) => Ok(Some(text.trim_end_matches('/').to_owned())),
        _ => Err(format!("{text:?} is not an address that begins with http:// or https:// and names a host")),
    }
}

/// Returns host names in lower case, without scheme, port and path.
pub(super) fn host_names(value: &Value) -> Parsed<Vec<String>> {
    let items = units::list(value)?;
    if items.len() > ALLOWED_HOSTS_MAX {
        return Err(format!("there are {} hosts, more than {ALLOWED_HOSTS_MAX}", items.len()));
    }
    items.iter().map(host_name).collect()
}

fn host_name(value: &Value) -> Parsed<String> {
    let text = units::text(value)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.len() > HOST_NAME_BYTES_MAX || !text.chars().all(is_plain) {
        return Err(format!("{text:?} is not a host name alone, such as obs.example.com: no scheme, port or slash"));
    }
    Ok(text.to_ascii_lowercase())
}

/// Returns attribute keys, each once.
pub(super) fn join_keys(value: &Value) -> Parsed<Vec<String>> {
    let items = units::list(value)?;
    if items.len() > JOIN_KEYS_MAX {
        return Err(format!("there are {} keys, more than {JOIN_KEYS_MAX}", items.len()));
    }
    let mut keys = Vec::with_capacity(items.len());
    for item in &items {
        let key = units::text(item)?;
        if key.is_empty() || key.len() > JOIN_KEY_BYTES_MAX {
            return Err(format!("{key:?} is not an attribute's key of 1 to {JOIN_KEY_BYTES_MAX} bytes"));
        }
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// Returns how log lines look.
pub(super) fn log_format(value: &Value) -> Parsed<LogFormat> {
    match units::text(value)?.as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("{other:?} is neither text nor json")),
    }
}

/// Returns when a request is acknowledged.
pub(super) fn sync(value: &Value) -> Parsed<Sync> {
    let text = units::text(value)?;
    if text == "always" {
        return Ok(Sync::Always);
    }
    let interval = text.strip_prefix("interval=").map(|interval| units::duration(&Value::String(interval.to_owned())));
    match interval {
        Some(Ok(interval)) if interval <= SYNC_INTERVAL_MAX => Ok(Sync::Interval(interval)),
        _ => Err(format!("{text:?} is neither always nor interval= and a time up to 10s, such as interval=200ms")),
    }
}

fn check_addresses(config: &Config, reader: &mut Reader) {
    let listeners = [(GRPC, config.receivers.grpc), (HTTP, config.receivers.http), (WEB, config.web.endpoint)];
    for (index, (key, address)) in listeners.iter().enumerate() {
        let origin = reader.origin(key);
        if !address.ip().is_loopback() && !config.allows_unauthenticated_remote {
            let problem = format!("{address} can be reached from other machines, and there is no authentication yet");
            let remedy = "bind 127.0.0.1, or say listen.allow_unauthenticated_remote: true if the network is trusted";
            reader.complain(key, &origin, problem, remedy);
        }
        // Port 0 asks for any free port, so two of them do not meet.
        if address.port() != 0
            && let Some((other, _)) = listeners[..index].iter().find(|(_, taken)| taken == address)
        {
            reader.complain(key, &origin, format!("{address} is taken by {other}"), "give each its own port");
        }
    }
}

fn check_sizes(config: &Config, reader: &mut Reader) {
    let limits = &config.limits;
    if limits.memory_bytes < Budget::BYTES_MIN {
        let problem = format!("{} bytes are too little for the daemon", limits.memory_bytes);
        let remedy = format!("give it at least {} MiB", Budget::BYTES_MIN >> 20);
        return reader.complain("limits.memory", &reader.origin("limits.memory"), problem, &remedy);
    }
    let request_bytes_max = Budget::of(limits.memory_bytes).request_bytes_max();
    if limits.request_bytes > request_bytes_max {
        let problem = format!(
            "{} bytes are more than limits.memory ({} bytes) has room for",
            limits.request_bytes, limits.memory_bytes
        );
        let remedy = format!("lower it to {} MiB, or raise limits.memory", request_bytes_max >> 20);
        reader.complain("limits.request_bytes", &reader.origin("limits.request_bytes"), problem, &remedy);
    }
    if limits.attribute_bytes > limits.request_bytes {
        let problem = format!("{} bytes are more than limits.request_bytes", limits.attribute_bytes);
        reader.complain("limits.attribute_bytes", &reader.origin("limits.attribute_bytes"), problem, "lower it");
    }
    if limits.nesting > NESTING_MAX {
        let problem = format!("{} is more than {NESTING_MAX}, which decoding can bear", limits.nesting);
        reader.complain("limits.nesting", &reader.origin("limits.nesting"), problem, "lower it");
    }
}

/// Evidence that goes before the rest would explain nothing.
fn check_retention(config: &Config, reader: &mut Reader) {
    let (all, evidence) = (config.retention.all.time, config.retention.evidence.time);
    if let Some(evidence) = evidence
        && all.is_none_or(|all| all > evidence)
    {
        let key = "retention.evidence.time";
        let problem = "evidence would be deleted before what is not evidence";
        reader.complain(key, &reader.origin(key), problem, "make it at least retention.time");
    }
}

fn check_targets(config: &Config, reader: &mut Reader) {
    let guard = EgressGuard::new(config.webhooks.egress_allow.clone());
    for (index, target) in config.webhooks.targets.iter().enumerate() {
        let key = format!("webhooks.targets[{index}].url");
        let origin = reader.origin(&key);
        if let Err(refusal) = guard.check_literal(&target.url) {
            reader.complain(&key, &origin, refusal.to_string(), "name an address that may be called");
        }
        if config.webhooks.targets[..index].iter().any(|other| other.name == target.name) {
            let problem = format!("the name {:?} is taken by an earlier target", target.name);
            reader.complain(&format!("webhooks.targets[{index}].name"), &origin, problem, "give each its own name");
        }
    }
}
