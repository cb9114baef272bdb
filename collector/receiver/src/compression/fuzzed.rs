//! What must hold for any bytes that are decompressed. The fuzz target calls it, and so do the tests.

use std::io::Write as _;

use flate2::write::GzEncoder;

use super::{Compression, STEP_BYTES, decompress};
use crate::in_flight::InFlight;
use crate::refusal::Refusal;

/// Bound of what a body may be.
pub(super) const BYTES_MAX: usize = 1 << 20;

/// Decompresses bytes as they are, and the same bytes after compressing them.
///
/// # Panics
/// If a bound is passed, or if what was compressed does not come back.
#[cfg_attr(not(fuzzing), allow(unreachable_pub, reason = "the fuzz target reaches it, and tests"))]
pub fn fuzzed_decompression(body: &[u8]) {
    for compression in [Compression::Identity, Compression::Gzip, Compression::Zstd] {
        let (outcome, reserved) = within(compression, body, BYTES_MAX);
        assert!(outcome.is_err() || outcome.is_ok_and(|out| out.len() <= BYTES_MAX && out.len() <= reserved));
        assert!(reserved <= 2 * (BYTES_MAX + STEP_BYTES), "{reserved} bytes reserved");
        let (outcome, _) = within(compression, &compressed(compression, body), BYTES_MAX);
        assert!(outcome.ok().is_none_or(|out| out == body), "{} comes back changed", compression.as_str());
    }
}

/// Decompresses with a bound; returns the outcome and how many bytes were reserved for it.
pub(super) fn within(compression: Compression, body: &[u8], bytes_max: usize) -> (Result<Vec<u8>, Refusal>, usize) {
    let mut reservation = InFlight::new(usize::MAX).reserve();
    let outcome = decompress(compression, body, bytes_max, &mut reservation);
    (outcome, reservation.bytes())
}

pub(super) fn compressed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    let written = "a vector takes all that is written";
    match compression {
        Compression::Identity => bytes.to_vec(),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).expect(written);
            encoder.finish().expect(written)
        }
        Compression::Zstd => zstd::encode_all(bytes, 1).expect(written),
    }
}
