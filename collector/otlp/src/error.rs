//! Why a whole request cannot be decoded. The text goes to the sender, so it names places and limits, never content.

/// A request that is refused as a whole; sending it again cannot help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not protobuf.
    #[error("reading protobuf: {what} at byte {offset}")]
    Wire {
        /// Kind of damage.
        what: &'static str,
        /// Where it was noticed.
        offset: usize,
    },
    /// The bytes are protobuf, but a field does not fit the OTLP messages (such as text that is not UTF-8).
    #[error("reading the OTLP message")]
    Message(#[source] prost::DecodeError),
    /// The text is not JSON, or a value has the wrong type.
    #[error("reading JSON: {what} at line {line} column {column}")]
    Json {
        /// Kind of damage.
        what: &'static str,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// Values are nested too deeply.
    #[error("reading the request: values are nested more than {max} messages deep")]
    Nested {
        /// [`crate::Limits::nesting_max`].
        max: usize,
    },
    /// The messages would take too much memory.
    #[error("reading the request: it would take more than {max} bytes of memory")]
    TooLarge {
        /// [`crate::Limits::decoded_bytes_max`].
        max: usize,
    },
}
