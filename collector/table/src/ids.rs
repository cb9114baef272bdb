//! Trace and span ids: fixed bytes that print as lower-case hex, as in the W3C Trace Context specification.

use std::fmt;
use std::str::FromStr;

/// An id was not the expected number of hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reading an id: expected {expected} hex digits")]
pub struct IdError {
    /// Hex digits that a valid id has.
    pub expected: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// Returns the id, or nothing if the length is wrong or all bytes are zero (both mean "invalid" in OTLP).
            pub fn from_otlp(bytes: &[u8]) -> Option<Self> {
                let id = Self(bytes.try_into().ok()?);
                (id.0 != [0; $bytes]).then_some(id)
            }

            /// Returns the bytes.
            pub fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut bytes = [0; $bytes];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| IdError { expected: $bytes * 2 })?;
                Ok(Self(bytes))
            }
        }
    };
}

id!(
    /// 16-byte trace id. Also names a transaction: the id of the trace in which it began.
    TraceId, 16
);
id!(
    /// 8-byte span id, unique within its trace.
    SpanId, 8
);
