//! A scan of protobuf bytes before prost decodes them: how deep messages nest and how much memory they will take.
//! Called by `decode` and `values` wherever prost is. Keeps its own stack, so that no input can exhaust the thread's.

use crate::schema::{Field, Kind, Message};
use crate::{DecodeError, Limits};

/// Places that a vector has for each of its items at most: its capacity is doubled when it is full.
const VECTOR_GROWTH: usize = 2;

/// Checks that the body stays within the limits on nesting and memory.
///
/// # Errors
/// If it does not, or if the bytes are not protobuf.
pub(crate) fn check(root: &'static Message, body: &[u8], limits: &Limits) -> Result<(), DecodeError> {
    let mut reader = Reader { body, at: 0 };
    let mut memory_bytes = 0_usize;
    let mut open = vec![(root, body.len())];
    while let Some(&(message, end)) = open.last() {
        if reader.at == end {
            open.pop();
            continue;
        }
        let Some((field, content_end)) = reader.field(message, end)? else { continue };
        match field.map(|field| (field.kind, field.is_repeated)) {
            Some((Kind::Message(inner), is_repeated)) => {
                if open.len() >= limits.nesting_max {
                    return Err(DecodeError::Nested { max: limits.nesting_max });
                }
                // A single message lies within its parent's struct.
                if is_repeated {
                    memory_bytes += inner.struct_bytes * VECTOR_GROWTH;
                }
                open.push((inner, content_end));
            }
            Some(_) => {
                memory_bytes += content_end - reader.at;
                reader.at = content_end;
            }
            None => reader.at = content_end,
        }
        if memory_bytes > limits.decoded_bytes_max {
            return Err(DecodeError::TooLarge { max: limits.decoded_bytes_max });
        }
    }
    Ok(())
}

/// Field, if known, and end of a content with a length.
type Content = (Option<&'static Field>, usize);

struct Reader<'a> {
    body: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// Reads a key and, unless the field has a length, its content too. Returns the end of a content that has a
    /// length, and its field if that is known.
    fn field(&mut self, message: &Message, end: usize) -> Result<Option<Content>, DecodeError> {
        let key = self.varint(end)?;
        match key & 7 {
            0 => {
                self.varint(end)?;
                Ok(None)
            }
            1 => self.skip(8, end).map(|()| None),
            5 => self.skip(4, end).map(|()| None),
            2 => {
                let length = usize::try_from(self.varint(end)?).unwrap_or(usize::MAX);
                if length > end - self.at {
                    return Err(self.damage("length beyond the end"));
                }
                let number = u32::try_from(key >> 3).map_err(|_| self.damage("field number out of range"))?;
                Ok(Some((message.field(number), self.at + length)))
            }
            // Groups (3, 4) left protobuf before OTLP was born; 6 and 7 never existed.
            _ => Err(self.damage("unknown wire type")),
        }
    }

    fn varint(&mut self, end: usize) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            if self.at == end {
                return Err(self.damage("unexpected end"));
            }
            let byte = self.body[self.at];
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.damage("number longer than ten bytes"))
    }

    fn skip(&mut self, bytes: usize, end: usize) -> Result<(), DecodeError> {
        if bytes > end - self.at {
            return Err(self.damage("unexpected end"));
        }
        self.at += bytes;
        Ok(())
    }

    fn damage(&self, what: &'static str) -> DecodeError {
        DecodeError::Wire { what, offset: self.at }
    }
}
