//! Protobuf's wire format, field by field, without copying. Read by `walk`.
//! Must never panic: every length is checked against what is left.

/// The bytes are not what was expected. Only `decode` says why, by decoding them the slow way: an error is rare, and
/// what it carried would be paid for by every field that is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damaged;

/// What is left of a message.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

/// A field's content, by wire type.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> Reader<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Returns number and content of the next field, or nothing at the end of the message. Inlined wherever it is used,
    /// so that the content goes straight to the field that it is of.
    #[inline(always)]
    pub(crate) fn field(&mut self) -> Result<Option<(u32, Content<'a>)>, Damaged> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = u32::try_from(self.varint()?).map_err(|_| Damaged)?;
        let content = match key & 7 {
            0 => Content::Varint(self.varint()?),
            1 => Content::Fixed64(u64::from_le_bytes(self.take_chunk()?)),
            2 => Content::Bytes(self.take_delimited()?),
            5 => Content::Fixed32(u32::from_le_bytes(self.take_chunk()?)),
            // Groups (3, 4) left protobuf before OTLP was born; 6 and 7 never existed.
            _ => return Err(Damaged),
        };
        // There is no field 0.
        if key < 8 { Err(Damaged) } else { Ok(Some((key >> 3, content))) }
    }

    /// Returns what is left of the message, if its fields fill it exactly.
    pub(crate) fn whole(self) -> Result<&'a [u8], Damaged> {
        let mut fields = self;
        while fields.field()?.is_some() {}
        Ok(self.rest)
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Damaged> {
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            [low, high, rest @ ..] if *high < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*high) << 7 | u64::from(*low & 0x7f))
            }
            _ => self.long_varint(),
        }
    }

    #[cold]
    fn long_varint(&mut self) -> Result<u64, Damaged> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(Damaged)?;
            self.rest = rest;
            // The tenth byte has room for one bit.
            if shift == 63 && *byte > 1 {
                return Err(Damaged);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Damaged)
    }

    #[inline(always)]
    fn take_chunk<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (chunk, rest) = self.rest.split_first_chunk().ok_or(Damaged)?;
        self.rest = rest;
        Ok(*chunk)
    }

    #[inline(always)]
    fn take_delimited(&mut self) -> Result<&'a [u8], Damaged> {
        let length = usize::try_from(self.varint()?).map_err(|_| Damaged)?;
        let (content, rest) = self.rest.split_at_checked(length).ok_or(Damaged)?;
        self.rest = rest;
        Ok(content)
    }
}

impl<'a> Content<'a> {
    /// Returns a text that is not checked yet, bytes, or a message.
    #[inline]
    pub(crate) fn bytes(self) -> Result<&'a [u8], Damaged> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(Damaged) }
    }

    #[inline]
    pub(crate) fn message(self) -> Result<Reader<'a>, Damaged> {
        self.bytes().map(Reader::new)
    }

    #[inline]
    pub(crate) fn text(self) -> Result<&'a str, Damaged> {
        text(self.bytes()?)
    }

    #[inline]
    pub(crate) fn varint(self) -> Result<u64, Damaged> {
        if let Self::Varint(value) = self { Ok(value) } else { Err(Damaged) }
    }

    /// Returns an `int32` or an enum: the low 32 bits, as protobuf does.
    #[inline]
    pub(crate) fn int32(self) -> Result<i32, Damaged> {
        Ok(self.varint()? as i32)
    }

    /// Returns an `uint32`: the low 32 bits, as protobuf does.
    #[inline]
    pub(crate) fn uint32(self) -> Result<u32, Damaged> {
        Ok(self.varint()? as u32)
    }

    #[inline]
    pub(crate) fn fixed64(self) -> Result<u64, Damaged> {
        if let Self::Fixed64(value) = self { Ok(value) } else { Err(Damaged) }
    }

    #[inline]
    pub(crate) fn fixed32(self) -> Result<u32, Damaged> {
        if let Self::Fixed32(value) = self { Ok(value) } else { Err(Damaged) }
    }
}

/// Returns the text, checked.
#[inline]
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Damaged> {
    std::str::from_utf8(bytes).map_err(|_| Damaged)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert_eq, prop_oneof, proptest};
    use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};

    use super::{Damaged, Reader};

    /// Returns where each field ends, by way of prost; groups are refused.
    fn ends_of_prost(body: &[u8]) -> Result<Vec<(u32, usize)>, Damaged> {
        let mut rest = body;
        let mut ends = Vec::new();
        while !rest.is_empty() {
            let (number, wire_type) = decode_key(&mut rest).map_err(|_| Damaged)?;
            if matches!(wire_type, WireType::StartGroup | WireType::EndGroup) {
                return Err(Damaged);
            }
            skip_field(wire_type, number, &mut rest, DecodeContext::default()).map_err(|_| Damaged)?;
            ends.push((number, body.len() - rest.len()));
        }
        Ok(ends)
    }

    fn ends(body: &[u8]) -> Result<Vec<(u32, usize)>, Damaged> {
        let mut reader = Reader::new(body);
        let mut ends = Vec::new();
        while let Some((number, _)) = reader.field()? {
            ends.push((number, body.len() - reader.rest.len()));
        }
        Ok(ends)
    }

    proptest! {
        #[test]
        fn fields_end_where_prost_says(body in vec(prop_oneof![any::<u8>(), 0_u8..20, 0x7e_u8..0x83, 0xfe_u8..=0xff], 0..40)) {
            prop_assert_eq!(ends(&body), ends_of_prost(&body));
        }

        #[test]
        fn numbers_of_any_length_are_read_as_prost_reads_them(last in 0_u8..4, middle in 7_usize..11, key in 8_u8..16) {
            let body = [vec![key & !7], vec![0xff; middle], vec![last]].concat();
            prop_assert_eq!(ends(&body), ends_of_prost(&body));
        }
    }
}
