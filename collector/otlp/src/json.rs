//! OTLP/JSON into protobuf bytes, in one walk over the text, by the tables in `schema`. Called by `decode`.
//! One decoder then serves both encodings, so that both have the same limits and give the same rows; serde's derived
//! decoding of the generated types refuses null lists, NaN and absent keys, all of which senders write.
//! Errors are fixed texts: serde_json's own ones quote the input.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost::encoding::{WireType, encode_key, encode_varint};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::schema::{Field, Kind, Message};
use crate::{DecodeError, Limits};

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING);

/// Bytes kept free for a nested message's length, which is known only after its content was written. The length is
/// then written as a varint of exactly this many bytes (padded, which protobuf allows), so nothing has to be moved.
const LENGTH_BYTES: usize = 5;

/// What an id becomes whose text is not hex: one byte, a length that no id has, so that only its item is rejected.
const NOT_AN_ID: [u8; 1] = [0xff];

/// Returns the request as protobuf.
///
/// # Errors
/// If the text is not JSON, a value has the wrong type, or messages nest too deeply.
pub(crate) fn to_protobuf(root: &'static Message, text: &[u8], limits: &Limits) -> Result<Vec<u8>, DecodeError> {
    let mut writer =
        Writer { bytes: Vec::with_capacity(text.len() / 2), depth: 0, depth_max: limits.nesting_max, fault: None };
    let mut json = serde_json::Deserializer::from_slice(text);
    let outcome = MessageSeed { message: root, writer: &mut writer }.deserialize(&mut json).and_then(|()| json.end());
    match outcome {
        Ok(()) => Ok(writer.bytes),
        Err(error) => Err(describe(&error, writer.fault, limits)),
    }
}

/// Why a value was refused; kept beside serde's error, whose text is not used.
#[derive(Clone, Copy)]
enum Fault {
    Nested,
    Value(&'static str),
}

struct Writer {
    bytes: Vec<u8>,
    depth: usize,
    depth_max: usize,
    fault: Option<Fault>,
}

fn describe(error: &serde_json::Error, fault: Option<Fault>, limits: &Limits) -> DecodeError {
    let what = match (fault, error.classify()) {
        (Some(Fault::Nested), _) => return DecodeError::Nested { max: limits.nesting_max },
        (Some(Fault::Value(what)), _) => what,
        (None, Category::Eof) => "unexpected end",
        (None, Category::Data) => "a value of the wrong type",
        (None, Category::Syntax | Category::Io) => "not valid JSON",
    };
    DecodeError::Json { what, line: error.line(), column: error.column() }
}

impl Writer {
    fn refuse<E: Error>(&mut self, fault: Fault) -> E {
        self.fault = Some(fault);
        E::custom("refused")
    }

    fn varint(&mut self, field: &Field, value: u64) {
        encode_key(field.number, WireType::Varint, &mut self.bytes);
        encode_varint(value, &mut self.bytes);
    }

    fn fixed64(&mut self, field: &Field, value: [u8; 8]) {
        encode_key(field.number, WireType::SixtyFourBit, &mut self.bytes);
        self.bytes.extend_from_slice(&value);
    }

    fn content(&mut self, field: &Field, content: &[u8]) {
        encode_key(field.number, WireType::LengthDelimited, &mut self.bytes);
        encode_varint(content.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(content);
    }

    /// Writes a nested message's key and room for its length; returns where the room begins.
    fn open(&mut self, field: &Field) -> usize {
        encode_key(field.number, WireType::LengthDelimited, &mut self.bytes);
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; LENGTH_BYTES]);
        at
    }

    fn close(&mut self, at: usize) {
        let length = self.bytes.len() - at - LENGTH_BYTES;
        for (index, byte) in self.bytes[at..at + LENGTH_BYTES].iter_mut().enumerate() {
            let more = if index + 1 < LENGTH_BYTES { 0x80 } else { 0 };
            *byte = ((length >> (7 * index)) & 0x7f) as u8 | more;
        }
    }

    /// Writes an integer given as a number or as decimal text.
    fn integer<E: Error>(&mut self, field: &Field, value: i128) -> Result<(), E> {
        const RANGE: Fault = Fault::Value("an integer out of range");
        match field.kind {
            Kind::Uint32 => match u32::try_from(value) {
                Ok(value) => self.varint(field, u64::from(value)),
                Err(_) => return Err(self.refuse(RANGE)),
            },
            // Negative ones are sign-extended to 64 bits, as protobuf does.
            Kind::Enum(_) => match i32::try_from(value) {
                Ok(value) => self.varint(field, i64::from(value) as u64),
                Err(_) => return Err(self.refuse(RANGE)),
            },
            Kind::Uint64 => match u64::try_from(value) {
                Ok(value) => self.varint(field, value),
                Err(_) => return Err(self.refuse(RANGE)),
            },
            Kind::Int64 => match i64::try_from(value) {
                Ok(value) => self.varint(field, value as u64),
                Err(_) => return Err(self.refuse(RANGE)),
            },
            Kind::Sint32 => match i32::try_from(value) {
                Ok(value) => self.varint(field, u64::from(((value << 1) ^ (value >> 31)) as u32)),
                Err(_) => return Err(self.refuse(RANGE)),
            },
            Kind::Fixed32 => match u32::try_from(value) {
                Ok(value) => {
                    encode_key(field.number, WireType::ThirtyTwoBit, &mut self.bytes);
                    self.bytes.extend_from_slice(&value.to_le_bytes());
                }
                Err(_) => return Err(self.refuse(RANGE)),
            },
            Kind::Fixed64 => match u64::try_from(value) {
                Ok(value) => self.fixed64(field, value.to_le_bytes()),
                Err(_) => return Err(self.refuse(RANGE)),
            },
            Kind::Sfixed64 => match i64::try_from(value) {
                Ok(value) => self.fixed64(field, value.to_le_bytes()),
                Err(_) => return Err(self.refuse(RANGE)),
            },
            Kind::Bool | Kind::Double | Kind::Text | Kind::Bytes | Kind::Id | Kind::Message(_) => {
                return Err(self.refuse(Fault::Value("a number where another type belongs")));
            }
        }
        Ok(())
    }

    fn text<E: Error>(&mut self, field: &Field, text: &str) -> Result<(), E> {
        match field.kind {
            Kind::Text => self.content(field, text.as_bytes()),
            Kind::Id => match hex::decode(text) {
                Ok(id) => self.content(field, &id),
                Err(_) => self.content(field, &NOT_AN_ID),
            },
            Kind::Bytes => {
                let engine = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
                match engine.decode(text) {
                    Ok(bytes) => self.content(field, &bytes),
                    Err(_) => return Err(self.refuse(Fault::Value("bytes that are not base64"))),
                }
            }
            Kind::Enum(number_of) if text.parse::<i32>().is_err() => match number_of(text) {
                Some(number) => return self.integer(field, i128::from(number)),
                None => return Err(self.refuse(Fault::Value("an unknown enum name"))),
            },
            Kind::Bool | Kind::Message(_) | Kind::Double => {
                return Err(self.refuse(Fault::Value("a text where another type belongs")));
            }
            _ => match text.parse::<i128>() {
                Ok(value) => return self.integer(field, value),
                Err(_) => return Err(self.refuse(Fault::Value("a text that is not an integer"))),
            },
        }
        Ok(())
    }

    /// Writes a double from its own text: a number, a number in quotes, or one of protobuf's three names.
    fn double<E: Error>(&mut self, field: &Field, raw: &RawValue) -> Result<(), E> {
        let text = raw.get();
        let unquoted: Cow<'_, str> = if text.starts_with('"') {
            match serde_json::from_str::<String>(text) {
                Ok(text) => Cow::Owned(text),
                Err(_) => return Err(self.refuse(Fault::Value("a text that is not a number"))),
            }
        } else {
            Cow::Borrowed(text)
        };
        if unquoted == "null" {
            return Ok(());
        }
        // Rust reads "NaN", "Infinity" and "-Infinity" too.
        match unquoted.parse::<f64>() {
            Ok(value) => self.fixed64(field, value.to_le_bytes()),
            Err(_) => return Err(self.refuse(Fault::Value("a value that is not a number"))),
        }
        Ok(())
    }
}

/// Reads one JSON object as a message.
struct MessageSeed<'a> {
    message: &'static Message,
    writer: &'a mut Writer,
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if self.writer.depth == self.writer.depth_max {
            return Err(self.writer.refuse(Fault::Nested));
        }
        self.writer.depth += 1;
        while let Some(field) = map.next_key_seed(FieldName(self.message))? {
            match field {
                Some(field) => map.next_value_seed(ValueSeed { field, in_list: false, writer: self.writer })?,
                // serde_json skips without recursion, so an unknown field may be as deep as it likes.
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        self.writer.depth -= 1;
        Ok(())
    }
}

/// Reads a key as a field of the message, or nothing if it is unknown.
struct FieldName(&'static Message);

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.field_named(name))
    }
}

/// Reads a field's value, or one item of its list.
struct ValueSeed<'a> {
    field: &'static Field,
    in_list: bool,
    writer: &'a mut Writer,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        let is_item = self.in_list || !self.field.is_repeated;
        match self.field.kind {
            Kind::Double if is_item => {
                let raw = <&RawValue>::deserialize(json)?;
                self.writer.double(self.field, raw)
            }
            _ => json.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's value")
    }

    /// null means absent, for lists and messages too (protobuf's JSON mapping).
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.field.kind {
            Kind::Bool => {
                self.writer.varint(self.field, u64::from(value));
                Ok(())
            }
            _ => Err(self.writer.refuse(Fault::Value("a boolean where another type belongs"))),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.writer.integer(self.field, i128::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.writer.integer(self.field, i128::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        // JavaScript prints large integers as 1e21 and some printers write 5.0; both are integers to protobuf.
        if value.fract() != 0.0 || value.abs() >= 1e30 {
            return Err(self.writer.refuse(Fault::Value("a fraction where an integer belongs")));
        }
        self.writer.integer(self.field, value as i128)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.writer.text(self.field, text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if self.in_list || !self.field.is_repeated {
            return Err(self.writer.refuse(Fault::Value("a list where another type belongs")));
        }
        while list.next_element_seed(ValueSeed { field: self.field, in_list: true, writer: self.writer })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Kind::Message(message) = self.field.kind else {
            return Err(self.writer.refuse(Fault::Value("an object where another type belongs")));
        };
        if self.field.is_repeated && !self.in_list {
            return Err(self.writer.refuse(Fault::Value("an object where a list belongs")));
        }
        let at = self.writer.open(self.field);
        MessageSeed { message, writer: self.writer }.visit_map(map)?;
        self.writer.close(at);
        Ok(())
    }
}
