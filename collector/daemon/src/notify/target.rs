//! A webhook target as an operator names it: where to, for which events, signed with what.
//! Made by the configuration and by the API, kept by the state, used by the worker that delivers to it.

use reqwest::Url;

use super::secret::Secret;

/// The only shape of a body so far: the Standard Webhooks envelope around an incident.
pub const PRESET_STANDARD: &str = "standard";
/// Event types that a target may ask for. A test event goes to whichever target is tested.
pub const EVENT_TYPES: [&str; 3] = ["incident.opened", "incident.updated", "incident.resolved"];

const NAME_CHARS_MAX: usize = 64;
const URL_BYTES_MAX: usize = 2048;
/// A path segment longer than this is taken for a token and not shown.
const SEGMENT_SHOWN_CHARS_MAX: usize = 20;

/// A checked target.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Unique; letters, digits, `-`, `_` and `.`, at most 64.
    pub name: String,
    /// `http` or `https`, with a host.
    pub url: Url,
    /// Signs the bodies; without one they go unsigned.
    pub secret: Option<Secret>,
    /// Event types that it wants; empty is all.
    pub events: Vec<String>,
}

/// What is wrong with a target, in words for whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TargetError(pub String);

impl Target {
    /// Checks the parts of a target, all but where its address leads: that is the egress guard's work.
    ///
    /// # Errors
    /// When the name, address or an event type cannot be used.
    pub fn new(name: &str, url: &str, secret: Option<Secret>, events: Vec<String>) -> Result<Self, TargetError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(is_plain) {
            let rule = "a name has 1 to 64 letters, digits, dots, hyphens or underscores";
            return Err(TargetError(rule.to_owned()));
        }
        if url.len() > URL_BYTES_MAX {
            return Err(TargetError(format!("the address is longer than {URL_BYTES_MAX} bytes")));
        }
        let url = Url::parse(url).map_err(|cause| TargetError(format!("the address is not a URL: {cause}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(TargetError("the address must begin with http:// or https:// and name a host".to_owned()));
        }
        if let Some(unknown) = events.iter().find(|event| !EVENT_TYPES.contains(&event.as_str())) {
            let known = EVENT_TYPES.join(", ");
            return Err(TargetError(format!("there is no event type {unknown:?}; there are {known}")));
        }
        Ok(Self { name: name.to_owned(), url, secret, events })
    }

    /// Returns the address as it may be shown: without password and query, and without path segments that look like
    /// tokens, because many services put the secret there.
    pub fn shown_url(&self) -> String {
        let mut shown = format!("{}://", self.url.scheme());
        if !self.url.username().is_empty() || self.url.password().is_some() {
            shown.push_str("…@");
        }
        shown.push_str(self.url.host_str().unwrap_or_default());
        if let Some(port) = self.url.port() {
            shown.push_str(&format!(":{port}"));
        }
        for segment in self.url.path().split('/').skip(1) {
            shown.push('/');
            shown.push_str(if segment.len() > SEGMENT_SHOWN_CHARS_MAX { "…" } else { segment });
        }
        if self.url.query().is_some() {
            shown.push_str("?…");
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_an_address_are_not_shown() {
        let shown = |url| Target::new("a", url, None, Vec::new()).unwrap().shown_url();
        assert_eq!(shown("https://hooks.example/alerts?token=abc"), "https://hooks.example/alerts?…");
        assert_eq!(shown("http://me:pw@[::1]:8080/"), "http://…@[::1]:8080/");
        assert_eq!(shown("https://chat.example/T0/XXXXXXXXXXXXXXXXXXXXXXXX"), "https://chat.example/T0/…");
    }

    #[test]
    fn what_cannot_be_called_is_no_target() {
        let wrong = |name, url| Target::new(name, url, None, Vec::new()).unwrap_err().0;
        assert!(wrong("", "https://a.example").contains("name"));
        assert!(wrong("a b", "https://a.example").contains("name"));
        assert!(wrong("a", "file:///etc/passwd").contains("http"));
        assert!(wrong("a", "example").contains("URL"));
        let events = vec!["incident.closed".to_owned()];
        assert!(Target::new("a", "https://a.example", None, events).unwrap_err().0.contains("incident.resolved"));
    }
}
