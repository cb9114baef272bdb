//! Every way in which a request is refused: the reason that is counted, the text for the sender, and whether and when
//! to send again. `http` and `grpc` turn it into their codes; nothing else decides on codes.

use std::time::Duration;

use collector_otlp::DecodeError;

use crate::Refused;

/// When to send again if the one who refused did not say.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// When to send again while the daemon restarts.
const RETRY_AFTER_STOP: Duration = Duration::from_secs(5);

/// Why a request was refused as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefusalReason {
    /// The queue before the write-ahead log is full.
    Busy,
    /// Open requests hold all the memory they may hold.
    InFlight,
    /// The daemon holds all the memory it may hold.
    Memory,
    /// The disk is full.
    NoSpace,
    /// The daemon is stopping.
    Stopping,
    /// The body is larger than allowed, before or after decompression.
    TooLarge,
    /// The body cannot be decompressed.
    BadCompression,
    /// The body is not what its content type says.
    Malformed,
    /// Values nest too deeply.
    Nested,
    /// Content type that OTLP does not have.
    ContentType,
    /// Compression that is not offered.
    ContentEncoding,
    /// No such path or gRPC method.
    Path,
    /// HTTP method other than POST.
    Method,
    /// The body paused for too long, or took too long altogether.
    Timeout,
    /// The sender closed the connection within the body.
    Disconnected,
    /// A fault of the daemon; its log says more.
    Internal,
}

impl RefusalReason {
    /// Every reason.
    pub const ALL: [Self; 16] = [
        Self::Busy,
        Self::InFlight,
        Self::Memory,
        Self::NoSpace,
        Self::Stopping,
        Self::TooLarge,
        Self::BadCompression,
        Self::Malformed,
        Self::Nested,
        Self::ContentType,
        Self::ContentEncoding,
        Self::Path,
        Self::Method,
        Self::Timeout,
        Self::Disconnected,
        Self::Internal,
    ];

    /// Returns the word used in counters and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::InFlight => "in_flight",
            Self::Memory => "memory",
            Self::NoSpace => "no_space",
            Self::Stopping => "stopping",
            Self::TooLarge => "too_large",
            Self::BadCompression => "bad_compression",
            Self::Malformed => "malformed",
            Self::Nested => "nested",
            Self::ContentType => "content_type",
            Self::ContentEncoding => "content_encoding",
            Self::Path => "path",
            Self::Method => "method",
            Self::Timeout => "timeout",
            Self::Disconnected => "disconnected",
            Self::Internal => "internal",
        }
    }
}

/// A refusal on its way to the sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: RefusalReason,
    /// For the sender: what is wrong and what to do. Never contains input.
    pub(crate) message: String,
    /// Present exactly when sending the same request again can succeed.
    pub(crate) retry_after: Option<Duration>,
}

impl Refusal {
    pub(crate) fn new(reason: RefusalReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry_after: None }
    }

    pub(crate) fn too_large(max: usize) -> Self {
        let message = format!("the body is larger than {max} bytes; send smaller batches");
        Self::new(RefusalReason::TooLarge, message)
    }

    pub(crate) fn in_flight() -> Self {
        let message = "too many bytes are being received; send again later";
        Self { retry_after: Some(RETRY_AFTER), ..Self::new(RefusalReason::InFlight, message) }
    }

    pub(crate) fn too_slow() -> Self {
        let message = "the body came too slowly; send again";
        Self { retry_after: Some(RETRY_AFTER), ..Self::new(RefusalReason::Timeout, message) }
    }

    pub(crate) fn bad_compression(name: &'static str) -> Self {
        Self::new(RefusalReason::BadCompression, format!("the body is not valid {name}"))
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let (reason, message, retry_after) = match refused {
            Refused::Busy { retry_after } => (RefusalReason::Busy, "busy; send again later", retry_after),
            Refused::Memory { retry_after } => {
                (RefusalReason::Memory, "out of memory for now; send again later", retry_after)
            }
            Refused::NoSpace { retry_after } => {
                (RefusalReason::NoSpace, "no space on disk; send again later", retry_after)
            }
            Refused::Stopping => (RefusalReason::Stopping, "stopping; send again later", RETRY_AFTER_STOP),
        };
        Self { retry_after: Some(retry_after), ..Self::new(reason, message) }
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        let reason = match &error {
            DecodeError::Nested { .. } => RefusalReason::Nested,
            DecodeError::TooLarge { .. } => RefusalReason::TooLarge,
            DecodeError::Wire { .. } | DecodeError::Message(_) | DecodeError::Json { .. } => RefusalReason::Malformed,
        };
        // prost names message, field and kind of damage, but never a value.
        let message = match &error {
            DecodeError::Message(source) => format!("{error}: {source}"),
            _ => error.to_string(),
        };
        Self::new(reason, message)
    }
}
