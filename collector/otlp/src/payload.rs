//! What a request body is: which signal, in which encoding. The receiver learns it from the path and the content
//! type; the write-ahead log stores it as one byte beside the body, so the byte's meaning must never change.

use collector_table::TableName;

/// One of OTLP's three stable signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// `ExportTraceServiceRequest`.
    Traces,
    /// `ExportLogsServiceRequest`.
    Logs,
    /// `ExportMetricsServiceRequest`.
    Metrics,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Logs, Self::Metrics];

    /// Returns the table that keeps this signal's items.
    pub fn table(self) -> TableName {
        match self {
            Self::Traces => TableName::Spans,
            Self::Logs => TableName::Logs,
            Self::Metrics => TableName::Metrics,
        }
    }

    /// Returns the word used in paths (`/v1/traces`), counters and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
        }
    }
}

/// How a request body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// Binary protobuf.
    Protobuf,
    /// OTLP/JSON (hex ids, 64-bit integers as strings or numbers).
    Json,
}

impl Encoding {
    /// Returns the word used in counters and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Protobuf => "protobuf",
            Self::Json => "json",
        }
    }

    /// Returns the media type of OTLP/HTTP.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// Signal and encoding of a body: what is needed to decode it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PayloadKind {
    /// The signal.
    pub signal: Signal,
    /// The encoding.
    pub encoding: Encoding,
}

/// A stored byte that names no payload kind; the log was written by a newer version or is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("reading a payload kind: unknown byte {0}")]
pub struct UnknownKind(pub u8);

const JSON_BIT: u8 = 0x10;

impl PayloadKind {
    /// Returns the byte that the write-ahead log keeps: the signal in the low bits, 0x10 for JSON.
    pub fn to_byte(self) -> u8 {
        let signal = match self.signal {
            Signal::Traces => 1,
            Signal::Logs => 2,
            Signal::Metrics => 3,
        };
        match self.encoding {
            Encoding::Protobuf => signal,
            Encoding::Json => signal | JSON_BIT,
        }
    }

    /// Returns the kind that a byte stands for.
    ///
    /// # Errors
    /// If no kind has this byte.
    pub fn from_byte(byte: u8) -> Result<Self, UnknownKind> {
        let signal = match byte & !JSON_BIT {
            1 => Signal::Traces,
            2 => Signal::Logs,
            3 => Signal::Metrics,
            _ => return Err(UnknownKind(byte)),
        };
        let encoding = if byte & JSON_BIT == 0 { Encoding::Protobuf } else { Encoding::Json };
        Ok(Self { signal, encoding })
    }
}

#[cfg(test)]
mod tests {
    use super::{Encoding, PayloadKind, Signal, UnknownKind};

    #[test]
    fn the_stored_bytes_never_change_and_no_other_byte_is_a_kind() {
        let stored = [
            (0x01, Signal::Traces, Encoding::Protobuf),
            (0x02, Signal::Logs, Encoding::Protobuf),
            (0x03, Signal::Metrics, Encoding::Protobuf),
            (0x11, Signal::Traces, Encoding::Json),
            (0x12, Signal::Logs, Encoding::Json),
            (0x13, Signal::Metrics, Encoding::Json),
        ];
        for byte in 0..=u8::MAX {
            let known = stored.iter().find(|(stored, _, _)| *stored == byte);
            let expected =
                known.map(|&(_, signal, encoding)| PayloadKind { signal, encoding }).ok_or(UnknownKind(byte));
            assert_eq!(PayloadKind::from_byte(byte), expected);
            assert!(expected.is_err() || expected.map(PayloadKind::to_byte) == Ok(byte));
        }
    }
}
