//! Attributes and values as they lie in the request, until their item is known to be good.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use collector_table::json::ObjectWriter;
use collector_table::{AttributesBuilder, ValueType};

use crate::tally::ENTRY_BYTES;
use crate::values::plain_number;
use crate::wire::{Content, Damaged, Reader, text};
use crate::{Limits, values};

/// Bytes that a number or a boolean takes as text at most.
const NUMBER_BYTES_MAX: usize = 32;

/// Keys on the wire (number and wire type): `KeyValue.key` and `AnyValue.string_value` are both field 1.
const TEXT_KEY: u8 = 1 << 3 | 2;
const VALUE_KEY: u8 = 2 << 3 | 2;
const BOOL_KEY: u8 = 2 << 3;
const INT_KEY: u8 = 3 << 3;
const DOUBLE_KEY: u8 = 4 << 3 | 1;

/// An `AnyValue`. Every payload is of whole words: values are moved often, and bytes at odd places move slowly.
pub(super) enum Value<'a> {
    /// Not checked yet to be UTF-8.
    Text(&'a [u8]),
    Int(i64),
    Double(f64),
    True,
    False,
    Bytes(&'a [u8]),
    /// What is rare: lists, values that were given in pieces, and what a limit has cut.
    Owned(Box<(String, ValueType)>),
}

/// A `KeyValue`, its key not checked yet to be UTF-8.
pub(super) struct Attribute<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: Value<'a>,
}

/// Attributes of the item, event or resource that is being read.
pub(super) struct Cutter<'l> {
    limits: &'l Limits,
    kept: usize,
    /// Attributes beyond the limit on their number.
    pub(super) left_out: u32,
    /// Attributes that were left out or shortened.
    pub(super) cut: u64,
}

impl<'l> Cutter<'l> {
    pub(super) fn new(limits: &'l Limits) -> Self {
        Self { limits, kept: 0, left_out: 0, cut: 0 }
    }

    /// Reads an attribute of a message at a depth; nothing if it is one too many.
    #[inline(always)]
    pub(super) fn read<'a>(&mut self, content: Content<'a>, depth: usize) -> Result<Option<Attribute<'a>>, Damaged> {
        let message = content.bytes()?;
        if let Some(attribute) = Attribute::read_plain(message)
            && self.kept < self.limits.attributes_max
            && self.fits(&attribute)
        {
            self.kept += 1;
            return Ok(Some(attribute));
        }
        self.read_any(message, depth)
    }

    fn read_any<'a>(&mut self, message: &'a [u8], depth: usize) -> Result<Option<Attribute<'a>>, Damaged> {
        let attribute = Attribute::read(message, depth, self.limits)?;
        if self.kept == self.limits.attributes_max {
            attribute.check()?;
            self.left_out = self.left_out.saturating_add(1);
            self.cut += 1;
            return Ok(None);
        }
        self.kept += 1;
        if self.fits(&attribute) {
            return Ok(Some(attribute));
        }
        self.shorten(&attribute, self.limits.attribute_bytes_max).map(Some)
    }

    #[inline]
    fn fits(&self, attribute: &Attribute<'_>) -> bool {
        let max = self.limits.attribute_bytes_max;
        attribute.key.len() <= max && attribute.value.text_bytes_max() <= max
    }

    #[cold]
    fn shorten<'a>(&mut self, attribute: &Attribute<'a>, max: usize) -> Result<Attribute<'a>, Damaged> {
        let key = text(attribute.key)?;
        let (mut value, mut value_type) = (attribute.value.as_text()?.into_owned(), attribute.value.value_type());
        let is_cut = value.len() > max;
        if is_cut {
            value.truncate(value.floor_char_boundary(max));
            // What is left of a number or of JSON is only text.
            value_type = ValueType::String;
        }
        self.cut += u64::from(is_cut || key.len() > max);
        let key = &attribute.key[..key.floor_char_boundary(max)];
        Ok(Attribute { key, value: Value::owned(value, value_type) })
    }
}

impl<'a> Attribute<'a> {
    /// Reads a `KeyValue` of a short key and then a short value, as encoders write it; nothing if it is another. Most of
    /// a request are such attributes: field by field they would take twice the time.
    #[inline]
    fn read_plain(message: &'a [u8]) -> Option<Self> {
        let [TEXT_KEY, length @ 0..0x80, rest @ ..] = message else { return None };
        let (key, rest) = rest.split_at_checked(usize::from(*length))?;
        let [VALUE_KEY, length @ 0..0x80, value @ ..] = rest else { return None };
        if value.len() != usize::from(*length) {
            return None;
        }
        Some(Self { key, value: Value::read_plain(value)? })
    }

    /// Reads a `KeyValue` that lies in a message at this depth, counted from the request (1).
    pub(super) fn read(message: &'a [u8], depth: usize, limits: &Limits) -> Result<Self, Damaged> {
        let mut message = Reader::new(message);
        let mut key: &[u8] = &[];
        let mut value: Option<&[u8]> = None;
        let mut pieces: Vec<u8> = Vec::new();
        while let Some((number, content)) = message.field()? {
            match number {
                1 => {
                    // Only the last one is kept and checked with the others.
                    text_if_any(key)?;
                    key = content.bytes()?;
                }
                2 => {
                    if let Some(before) = value.replace(content.bytes()?) {
                        join(&mut pieces, before, content.message()?)?;
                    }
                }
                3 => drop(content.varint()?),
                _ => {}
            }
        }
        let value = match value {
            _ if !pieces.is_empty() => Value::of_pieces(&pieces, depth + 2, limits)?,
            Some(value) => Value::read(value, depth + 2, limits)?,
            None => Value::none(),
        };
        Ok(Self { key, value })
    }

    /// Checks the texts of an attribute that is not kept.
    pub(super) fn check(&self) -> Result<(), Damaged> {
        text(self.key)?;
        self.value.check()
    }

    /// Appends the attribute to an object.
    pub(super) fn write_json(&self, object: &mut ObjectWriter) -> Result<(), Damaged> {
        object.push(text(self.key)?, &self.value.as_text()?, self.value.value_type());
        Ok(())
    }
}

/// Appends one more piece of a message: a message that is given twice is one message with the fields of both. Each piece
/// must be whole.
#[cold]
pub(super) fn join(pieces: &mut Vec<u8>, before: &[u8], piece: Reader<'_>) -> Result<(), Damaged> {
    if pieces.is_empty() {
        pieces.extend_from_slice(Reader::new(before).whole()?);
    }
    pieces.extend_from_slice(piece.whole()?);
    Ok(())
}

fn text_if_any(bytes: &[u8]) -> Result<(), Damaged> {
    if bytes.is_empty() { Ok(()) } else { text(bytes).map(drop) }
}

impl<'a> Value<'a> {
    fn owned(text: String, value_type: ValueType) -> Self {
        Self::Owned(Box::new((text, value_type)))
    }

    /// Reads an `AnyValue` of a single field with a short length, as encoders write it; nothing if it is another.
    #[inline]
    fn read_plain(message: &'a [u8]) -> Option<Self> {
        match message {
            [TEXT_KEY, length, text @ ..] if *length < 0x80 && text.len() == usize::from(*length) => {
                Some(Self::Text(text))
            }
            [DOUBLE_KEY, bits @ ..] => Some(Self::Double(f64::from_le_bytes(bits.try_into().ok()?))),
            [BOOL_KEY, 1] => Some(Self::True),
            [BOOL_KEY, 0] => Some(Self::False),
            [INT_KEY, number] if *number < 0x80 => Some(Self::Int(i64::from(*number))),
            [INT_KEY, low, high] if *high < 0x80 => Some(Self::Int(i64::from(*high) << 7 | i64::from(*low & 0x7f))),
            _ => None,
        }
    }

    /// An attribute without a value.
    pub(super) fn none() -> Self {
        Self::owned("null".to_owned(), ValueType::Json)
    }

    /// Reads an `AnyValue` that is a message of this depth, counted from the request (1).
    #[inline]
    pub(super) fn read(message: &'a [u8], depth: usize, limits: &Limits) -> Result<Self, Damaged> {
        let mut reader = Reader::new(message);
        let mut value = None;
        while let Some((number, content)) = reader.field()? {
            let read = match number {
                1 => Self::Text(content.bytes()?),
                2 if content.varint()? != 0 => Self::True,
                2 => Self::False,
                3 => Self::Int(content.varint()? as i64),
                4 => Self::Double(f64::from_bits(content.fixed64()?)),
                7 => Self::Bytes(content.bytes()?),
                5 | 6 | 8 => return Self::of_pieces(message, depth, limits),
                _ => continue,
            };
            if value.is_some() {
                return Self::of_pieces(message, depth, limits);
            }
            value = Some(read);
        }
        Ok(value.unwrap_or_else(Self::none))
    }

    /// Reads what is not one plain value, by way of a message of prost's.
    #[cold]
    pub(super) fn of_pieces(message: &[u8], depth: usize, limits: &Limits) -> Result<Self, Damaged> {
        let (text, value_type) = values::read(message, depth, limits)?;
        Ok(Self::owned(text, value_type))
    }

    #[inline]
    pub(super) fn value_type(&self) -> ValueType {
        match self {
            Self::Text(_) => ValueType::String,
            Self::Int(_) => ValueType::Int,
            Self::Double(_) => ValueType::Double,
            Self::True | Self::False => ValueType::Bool,
            Self::Bytes(_) => ValueType::Bytes,
            Self::Owned(owned) => owned.1,
        }
    }

    /// Returns how long the text is at most.
    #[inline]
    pub(super) fn text_bytes_max(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Int(_) | Self::Double(_) | Self::True | Self::False => NUMBER_BYTES_MAX,
            Self::Bytes(bytes) => bytes.len().div_ceil(3) * 4,
            Self::Owned(owned) => owned.0.len(),
        }
    }

    /// Returns the memory that the value takes in a row.
    #[inline]
    pub(super) fn row_bytes(&self) -> usize {
        self.text_bytes_max() + ENTRY_BYTES
    }

    /// Returns the text, checked.
    pub(super) fn as_text(&self) -> Result<Cow<'_, str>, Damaged> {
        Ok(match self {
            Self::Text(bytes) => Cow::Borrowed(text(bytes)?),
            Self::Int(number) => Cow::Owned(number.to_string()),
            Self::Double(number) => Cow::Owned(plain_number(*number)),
            Self::True => Cow::Borrowed("true"),
            Self::False => Cow::Borrowed("false"),
            Self::Bytes(bytes) => Cow::Owned(STANDARD.encode(bytes)),
            Self::Owned(owned) => Cow::Borrowed(&owned.0),
        })
    }

    pub(super) fn check(&self) -> Result<(), Damaged> {
        if let Self::Text(bytes) = self { text(bytes).map(drop) } else { Ok(()) }
    }

    /// Appends the value to the row that is being built; a text is checked with all others at the end.
    #[inline]
    pub(super) fn push_to(&self, key: u32, row: &mut AttributesBuilder) {
        self.with_bytes(|text| row.push_keyed(key, text, self.value_type()));
    }

    /// Hands over the text, not checked.
    #[inline]
    pub(super) fn with_bytes(&self, use_text: impl FnOnce(&[u8])) {
        match self {
            Self::Text(text) => use_text(text),
            Self::Int(number) => use_text(itoa::Buffer::new().format(*number).as_bytes()),
            Self::True => use_text(b"true"),
            Self::False => use_text(b"false"),
            Self::Double(number) => use_text(plain_number(*number).as_bytes()),
            Self::Bytes(bytes) => use_text(STANDARD.encode(bytes).as_bytes()),
            Self::Owned(owned) => use_text(owned.0.as_bytes()),
        }
    }
}
