//! Attribute keys whose values join traces: those that the operator named, and those that may be discovered. The reader
//! asks the [`KeyBook`] what to do with a key; [`super::discovery`] says which keys that are watched come into use.
//! It must never judge a key by what it is called, but for those that conventions define as something else.

use std::sync::Arc;

use collector_table::ValueType;

use crate::hash::Map;

/// Number of a key.
pub(super) type KeyId = u16;
/// Stands for no key: the fact is one of a message.
pub(super) const NO_KEY: KeyId = KeyId::MAX;

/// Keys that are watched; further ones are left out, and counted.
const KEYS_MAX: usize = 256;
/// Longest key or value that is looked at, in bytes.
const TEXT_BYTES_MAX: usize = 200;
/// What no business key begins with: conventions define it as a place, a protocol, a person or a message.
const NEVER: [&str; 40] = [
    "http.",
    "url.",
    "net.",
    "network.",
    "server.",
    "client.",
    "source.",
    "destination.",
    "peer.",
    "user_agent.",
    "thread.",
    "db.",
    "code.",
    "k8s.",
    "host.",
    "messaging.",
    "rpc.",
    "enduser.",
    "user.",
    "session.",
    "process.",
    "os.",
    "container.",
    "cloud.",
    "faas.",
    "telemetry.",
    "otel.",
    "service.",
    "exception.",
    "error.",
    "graphql.",
    "tls.",
    "browser.",
    "webengine.",
    "deployment.",
    "jvm.",
    "log.",
    "dns.",
    "artifact.",
    "span.",
];
/// What the reader does with values of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Every value joins.
    Named,
    /// Values that look like ids are told; whether they join is for discovery to say.
    Watched,
    /// Joins nothing any more; values that look like ids are still told as what executions work for.
    Told,
    /// Nothing.
    Dropped,
}

/// All keys by name.
#[derive(Debug)]
pub(super) struct KeyBook {
    /// By name without case and separators.
    ids: Map<Box<str>, KeyId>,
    /// Name without case and separators; its room is kept.
    plain: String,
    names: Vec<Arc<str>>,
    uses: Vec<Use>,
    left_out: u64,
    discovers: bool,
    pub(super) hasher: foldhash::fast::RandomState,
}

impl KeyBook {
    pub(super) fn new(named: &[String], discovers: bool) -> Self {
        let (ids, hasher) = (Map::default(), foldhash::fast::RandomState::default());
        let mut book =
            Self { ids, plain: String::new(), names: Vec::new(), uses: Vec::new(), left_out: 0, discovers, hasher };
        for key in named.iter().take(KEYS_MAX) {
            book.add(key, Use::Named);
        }
        book
    }

    fn add(&mut self, key: &str, to: Use) -> KeyId {
        let id = KeyId::try_from(self.names.len()).unwrap_or(NO_KEY);
        self.plain.clear();
        self.plain.extend(key.chars().filter(|char| char.is_alphanumeric()).flat_map(char::to_lowercase));
        self.ids.insert(self.plain.as_str().into(), id);
        self.names.push(key.into());
        self.uses.push(to);
        id
    }

    /// Returns the number of a key that may join traces; a new one is watched from now on. Services write one key in
    /// different ways, as `order.id`, `order_id` and `orderId`, so case and separators do not count.
    pub(super) fn id_of(&mut self, key: &str) -> Option<KeyId> {
        self.plain.clear();
        self.plain.extend(key.chars().filter(|char| char.is_alphanumeric()).flat_map(char::to_lowercase));
        if let Some(id) = self.ids.get(&*self.plain).copied() {
            return (self.use_of(id) != Use::Dropped).then_some(id);
        }
        if !self.discovers || self.plain.is_empty() || key.len() > TEXT_BYTES_MAX || is_never(key) {
            return None;
        }
        if self.names.len() >= KEYS_MAX {
            self.left_out += 1;
            return None;
        }
        Some(self.add(key, Use::Watched))
    }

    pub(super) fn use_of(&self, key: KeyId) -> Use {
        self.uses.get(usize::from(key)).copied().unwrap_or(Use::Dropped)
    }

    pub(super) fn put_to(&mut self, key: KeyId, to: Use) {
        if let Some(known) = self.uses.get_mut(usize::from(key)) {
            *known = to;
        }
    }

    pub(super) fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// Returns how often a key was not watched because there are too many.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }
}

fn is_never(key: &str) -> bool {
    NEVER.iter().any(|prefix| key.starts_with(prefix) || key == &prefix[..prefix.len() - 1])
}

/// Returns whether a value may be an id: a number of four digits or more, or one word with a digit in it that is no
/// address, version, date or decimal number.
pub(super) fn looks_like_id(value: &str, value_type: ValueType) -> bool {
    const WORD_BYTES_MIN: usize = 3;
    const NUMBER_DIGITS_MIN: usize = 4;
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let is_number = digits == value.len();
    let is_sized = if is_number { digits >= NUMBER_DIGITS_MIN } else { value.len() >= WORD_BYTES_MIN };
    let is_word_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':' | b'#' | b'.');
    let is_typed = match value_type {
        ValueType::Int => is_number,
        ValueType::String => value.bytes().all(is_word_byte),
        _ => false,
    };
    is_typed && is_sized && digits > 0 && value.len() <= TEXT_BYTES_MAX && !is_address_or_date(value)
}

fn is_address_or_date(value: &str) -> bool {
    let bytes = value.as_bytes();
    let is_dotted =
        value.contains('.') && bytes.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b':'));
    let is_date = bytes.len() >= 10
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && bytes[..4].iter().chain(&bytes[5..7]).chain(&bytes[8..10]).all(u8::is_ascii_digit);
    is_dotted || is_date
}

/// Pairs of a trace and a value of a named key say which traces a key must not join.
pub(super) fn differ(left: &[(KeyId, u64)], right: &[(KeyId, u64)]) -> bool {
    let other = |key: KeyId, token: u64| {
        let mut same_key = right.iter().filter(|(known, _)| *known == key).peekable();
        same_key.peek().is_some() && same_key.all(|(_, known)| *known != token)
    };
    left.iter().any(|&(key, token)| other(key, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_addresses_dates_versions_and_words() {
        let is_id = |value: &str| looks_like_id(value, ValueType::String);
        for id in ["o-17", "1042", "6f9619ff-8b86-d011-b42d-00c04fc964ff", "ORD#2024-7", "b77", "urn:order:9"] {
            assert!(is_id(id), "{id}");
        }
        for other in
            ["gold", "42", "10.0.0.7", "1.4.2", "10.0.0.7:443", "2026-11-29T10:00:00", "a b 7", "/cart/7", "x7@y", ""]
        {
            assert!(!is_id(other), "{other}");
        }
        assert!(looks_like_id("4599", ValueType::Int) && !looks_like_id("45.99", ValueType::Double));
        assert!(!looks_like_id("7", ValueType::Int) && !looks_like_id(&"7".repeat(300), ValueType::Int));
    }

    #[test]
    fn keys_are_one_however_they_are_written_and_none_if_conventions_say_what_they_are() {
        let mut book = KeyBook::new(&["order.id".to_owned()], true);
        let id = book.id_of("order.id");
        assert_eq!((book.id_of("orderId"), book.id_of("ORDER_ID")), (id, id));
        assert_eq!(book.use_of(id.unwrap()), Use::Named);
        for never in
            ["http.request.method", "url.path", "server.address", "user.id", "thread.id", "db.statement", "..."]
        {
            assert_eq!(book.id_of(never), None, "{never}");
        }
        assert_eq!(KeyBook::new(&[], false).id_of("order.id"), None);
    }
}
