//! What a span says about other traces: links, names of messages, and values of business keys. Called by the reader for
//! rows that may say something; what it finds is held beside the spans by `joining`, because most spans say nothing.

use std::hash::BuildHasher;

use collector_table::{SpanId, SpanKind, TraceId, ValueType};

use super::keys::{KeyBook, KeyId, NO_KEY, Use, looks_like_id};
use crate::join::Rule;

/// Names of roles in messaging, old and new; of several keys the first that is present counts.
const MESSAGING: [(&str, Part); 26] = [
    ("messaging.system", Part::System),
    ("messaging.destination.name", Part::Destination),
    ("messaging.destination", Part::Destination),
    ("messaging.destination_publish.name", Part::Published),
    ("messaging.source.name", Part::Published),
    ("messaging.source", Part::Published),
    ("messaging.message.id", Part::MessageId),
    ("messaging.message_id", Part::MessageId),
    ("messaging.message.conversation_id", Part::Conversation),
    ("messaging.conversation_id", Part::Conversation),
    ("messaging.destination.partition.id", Part::Partition),
    ("messaging.kafka.destination.partition", Part::Partition),
    ("messaging.kafka.source.partition", Part::Partition),
    ("messaging.kafka.partition", Part::Partition),
    ("messaging.kafka.message.offset", Part::Offset),
    ("messaging.kafka.offset", Part::Offset),
    ("messaging.operation.type", Part::Operation),
    ("messaging.operation", Part::Operation),
    ("messaging.operation.name", Part::Operation),
    ("messaging.rabbitmq.destination.routing_key", Part::Published),
    ("messaging.rabbitmq.routing_key", Part::Published),
    ("messaging.destination.subscription.name", Part::Published),
    ("messaging.consumer.group.name", Part::Group),
    ("messaging.kafka.consumer.group", Part::Group),
    ("messaging.kafka.consumer_group", Part::Group),
    ("messaging.consumer_group", Part::Group),
];

/// What an attribute says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    System,
    Destination,
    /// Another name of where a message was or went: ids that are short are looked for under each.
    Published,
    MessageId,
    Conversation,
    Partition,
    Offset,
    Operation,
    /// Who share the messages of a queue among them.
    Group,
}

/// Parts of which one value is kept; of [`Part::Published`] there may be several.
const PARTS: usize = 9;
/// Further names of destinations that are looked at in one span.
const PUBLISHED_MAX: usize = 3;
/// Bytes from which an id of a message is taken to be unique by itself, whatever queue it passes.
const STRONG_ID_BYTES: usize = 16;

/// What an attribute key is to stitching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Nothing,
    Message(Part, u8),
    Key(KeyId),
}

/// On which side of a message a span stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Producer,
    Consumer,
    /// Time tells: the earlier is the cause.
    Either,
}

/// How easily values that look alike are equal by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueForm {
    /// Plain digits: amounts and sizes look the same.
    Number,
    /// A short word with a digit.
    Short,
    /// As long as UUIDs and hashes are, or nearly.
    Strong,
}

impl ValueForm {
    fn of(value: &str) -> Self {
        if value.len() < STRONG_ID_BYTES && value.bytes().all(|byte| byte.is_ascii_digit()) {
            Self::Number
        } else if value.len() < STRONG_ID_BYTES {
            Self::Short
        } else {
            Self::Strong
        }
    }
}

/// Something that a span shares with spans of other traces, named by the hash of what it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fact {
    pub(super) token: u64,
    pub(super) span_id: SpanId,
    pub(super) start_ns: i64,
    pub(super) key: KeyId,
    pub(super) rule: Rule,
    pub(super) side: Side,
    /// How easily values of a business key like this one are equal by chance.
    pub(super) form: ValueForm,
}

/// A link as a span states it.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinkFact {
    pub(super) span_id: SpanId,
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
}

/// A message that a span takes in, or a request that carries an idempotency key, as detection needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taking {
    /// Tells apart what is to be done once; 0 if nothing does.
    pub(crate) token: u64,
    /// Queue, partition and group, and the place in it; 0 for none.
    pub(crate) partition: u64,
    pub(crate) offset: i64,
    /// Whether it says where the message comes from: by a parent, a link or a name of the message.
    pub(crate) has_cause: bool,
    /// Whether it is a request, and no message.
    pub(crate) is_request: bool,
}

/// A value of a business key as a span carries it, whether or not it joins traces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Carried {
    pub(super) token: u64,
    pub(super) span_id: SpanId,
    pub(super) key: KeyId,
    pub(super) form: ValueForm,
}

/// What one row says; its room is kept from row to row.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) facts: Vec<Fact>,
    pub(super) carried: Vec<Carried>,
    pub(super) links: Vec<LinkFact>,
    pub(super) taking: Option<Taking>,
}

impl Found {
    pub(super) fn clear(&mut self) {
        self.facts.clear();
        self.carried.clear();
        self.links.clear();
        self.taking = None;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.links.is_empty()
    }
}

/// Returns what a key is to stitching; a key that is new to the book is noted there.
pub(super) fn meaning(book: &mut KeyBook, key: &str) -> Meaning {
    if let Some(rank) = MESSAGING.iter().position(|(known, _)| *known == key) {
        return Meaning::Message(MESSAGING[rank].1, u8::try_from(rank).unwrap_or(u8::MAX));
    }
    book.id_of(key).map_or(Meaning::Nothing, Meaning::Key)
}

/// Who says it: the span that facts are of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speaker {
    pub(super) span_id: SpanId,
    pub(super) start_ns: i64,
    pub(super) kind: SpanKind,
}

/// Collects the facts of one row, attribute by attribute.
#[derive(Debug)]
pub(super) struct RowFacts<'a> {
    parts: [Option<&'a str>; PARTS],
    ranks: [u8; PARTS],
    published: [Option<&'a str>; PUBLISHED_MAX],
    is_message: bool,
}

impl Default for RowFacts<'_> {
    fn default() -> Self {
        Self { parts: [None; PARTS], ranks: [u8::MAX; PARTS], published: [None; PUBLISHED_MAX], is_message: false }
    }
}

impl<'a> RowFacts<'a> {
    /// Takes in one attribute.
    pub(super) fn attribute(
        &mut self,
        book: &KeyBook,
        meaning: Meaning,
        (value, value_type): (&'a str, ValueType),
        speaker: &Speaker,
        found: &mut Found,
    ) {
        match meaning {
            Meaning::Nothing => {}
            Meaning::Message(Part::Published, _) => {
                if let Some(free) = self.published.iter_mut().find(|place| place.is_none()) {
                    *free = Some(value);
                }
            }
            Meaning::Message(part, rank) => {
                let place = part as usize;
                self.is_message |= matches!(part, Part::MessageId | Part::Conversation | Part::Offset);
                if rank < self.ranks[place] && !value.is_empty() {
                    (self.ranks[place], self.parts[place]) = (rank, Some(value));
                }
            }
            Meaning::Key(key) => {
                let is_entry = matches!(speaker.kind, SpanKind::Server | SpanKind::Consumer);
                let rule = match book.use_of(key) {
                    Use::Named if !value.is_empty() => Some(Rule::NamedKey),
                    Use::Watched if looks_like_id(value, value_type) => Some(Rule::DiscoveredKey),
                    // It is told for what enters a service only: such keys are many, and it must cost next to nothing.
                    Use::Told if is_entry && looks_like_id(value, value_type) => None,
                    _ => return,
                };
                let token = book.hasher.hash_one((KEY_TOKEN, key, value));
                let form = ValueForm::of(value);
                found.carried.push(Carried { token, span_id: speaker.span_id, key, form });
                if let Some(rule) = rule {
                    found.facts.push(Fact { form, ..fact(speaker, token, key, rule, Side::Either) });
                }
            }
        }
    }

    /// Says what is taken in, after the row ended: by what it was found to name, and in which order.
    pub(super) fn taking(&self, book: &KeyBook, speaker: &Speaker, found: &Found, has_parent: bool) -> Option<Taking> {
        let part = |part: Part| self.parts[part as usize];
        if speaker.kind != SpanKind::Consumer || matches!(part(Part::Operation), Some("settle" | "ack" | "poll")) {
            return None;
        }
        let by = |rule: Rule| found.facts.iter().find(|fact| fact.rule == rule).map(|fact| fact.token);
        let name = by(Rule::MessageId).or_else(|| by(Rule::Offset));
        let group = part(Part::Group).unwrap_or_default();
        let offset = part(Part::Offset).and_then(|offset| offset.parse::<i64>().ok()).filter(|offset| *offset >= 0);
        let queue = part(Part::Destination).or(self.published[0]).unwrap_or_default();
        let place = part(Part::Partition).zip(offset);
        let partition =
            place.map_or(0, |(partition, _)| book.hasher.hash_one((Part::Partition as u8, queue, partition, group)));
        Some(Taking {
            token: name.map_or(0, |token| book.hasher.hash_one((token, group))),
            partition,
            offset: offset.unwrap_or(0),
            has_cause: has_parent || !found.links.is_empty() || self.is_message,
            is_request: false,
        })
    }

    /// Ends the row: says which message it was.
    pub(super) fn finish(&self, book: &KeyBook, speaker: &Speaker, found: &mut Found) {
        if !self.is_message {
            return;
        }
        let part = |part: Part| self.parts[part as usize];
        let side = side(part(Part::Operation), speaker.kind);
        let system = part(Part::System).unwrap_or_default();
        let names = || part(Part::Destination).into_iter().chain(self.published.into_iter().flatten());
        for (id, rule) in [(part(Part::MessageId), Rule::MessageId), (part(Part::Conversation), Rule::Conversation)] {
            let Some(id) = id else { continue };
            if is_strong(id) {
                let token = book.hasher.hash_one((rule, id));
                found.facts.push(fact(speaker, token, NO_KEY, rule, side));
                continue;
            }
            for name in names() {
                let token = book.hasher.hash_one((rule, system, name, id));
                found.facts.push(fact(speaker, token, NO_KEY, rule, side));
            }
        }
        if let (Some(partition), Some(offset)) = (part(Part::Partition), part(Part::Offset)) {
            for name in names() {
                let token = book.hasher.hash_one((Rule::Offset, system, name, partition, offset));
                found.facts.push(fact(speaker, token, NO_KEY, Rule::Offset, side));
            }
        }
    }
}

/// Tells tokens of keys from those of messages.
pub(super) const KEY_TOKEN: u8 = 255;

fn fact(speaker: &Speaker, token: u64, key: KeyId, rule: Rule, side: Side) -> Fact {
    Fact { token, span_id: speaker.span_id, start_ns: speaker.start_ns, key, rule, side, form: ValueForm::Strong }
}

/// Ids of this length with a digit in them, as UUIDs and hashes are, do not occur twice by chance.
fn is_strong(id: &str) -> bool {
    id.len() >= STRONG_ID_BYTES && id.bytes().any(|byte| byte.is_ascii_digit())
}

/// What is done to the message tells the side, and where it is not said, the kind of the span does.
fn side(operation: Option<&str>, kind: SpanKind) -> Side {
    match (operation, kind) {
        (_, SpanKind::Producer) => Side::Producer,
        (_, SpanKind::Consumer) => Side::Consumer,
        (Some("publish" | "send" | "create"), _) => Side::Producer,
        (Some("receive" | "process" | "deliver" | "settle" | "ack" | "poll"), _) => Side::Consumer,
        _ => Side::Either,
    }
}
