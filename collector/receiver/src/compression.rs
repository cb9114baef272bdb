//! Decompression that stops at a bound, the same for both protocols: a bomb costs no more than the bound.

use std::io::Read;

use flate2::read::MultiGzDecoder;

use crate::in_flight::Reservation;
use crate::refusal::Refusal;

/// Bytes decompressed between two looks at the bounds.
const STEP_BYTES: usize = 64 << 10;
/// Largest zstd window, as a power of two: 8 MiB, what RFC 8878 recommends to support; larger ones cost memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compression {
    /// Not at all.
    Identity,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Compression {
    /// What senders are told is accepted.
    pub(crate) const ACCEPTED: &'static str = "identity,gzip,zstd";

    /// Returns the word used in headers, counters and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Returns the compression that a header's value names, if it is offered.
    pub(crate) fn from_header(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        if value.is_empty() || value.eq_ignore_ascii_case(b"identity") {
            Some(Self::Identity)
        } else if value.eq_ignore_ascii_case(b"gzip") || value.eq_ignore_ascii_case(b"x-gzip") {
            Some(Self::Gzip)
        } else if value.eq_ignore_ascii_case(b"zstd") {
            Some(Self::Zstd)
        } else {
            None
        }
    }
}

/// Returns the decompressed body; `reservation` grows with it.
///
/// # Errors
/// If it is damaged or reaches a bound.
pub(crate) fn decompress(
    compression: Compression,
    body: &[u8],
    bytes_max: usize,
    reservation: &mut Reservation,
) -> Result<Vec<u8>, Refusal> {
    let name = compression.as_str();
    let mut reader: Box<dyn Read + '_> = match compression {
        Compression::Identity => Box::new(body),
        Compression::Gzip => Box::new(MultiGzDecoder::new(body)),
        Compression::Zstd => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(body).map_err(|_| Refusal::bad_compression(name))?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|_| Refusal::bad_compression(name))?;
            Box::new(decoder)
        }
    };
    let mut out = Vec::new();
    loop {
        if out.capacity() - out.len() < STEP_BYTES {
            // Doubled, so that bytes are not copied again and again, but never much more than the bound.
            let rest_bytes = bytes_max.saturating_add(STEP_BYTES).saturating_sub(out.capacity());
            let more_bytes = out.capacity().min(rest_bytes).max(STEP_BYTES);
            if !reservation.grow(more_bytes) {
                return Err(Refusal::in_flight());
            }
            out.reserve_exact(out.capacity() - out.len() + more_bytes);
        }
        let step = (&mut reader).take(STEP_BYTES as u64).read_to_end(&mut out);
        let read = step.map_err(|_| Refusal::bad_compression(name))?;
        if out.len() > bytes_max {
            return Err(Refusal::too_large(bytes_max));
        }
        if read < STEP_BYTES {
            return Ok(out);
        }
    }
}

#[cfg(any(test, fuzzing))]
mod fuzzed;
#[cfg(test)]
mod tests;

#[cfg(fuzzing)]
pub use fuzzed::fuzzed_decompression;
