use std::io::Write as _;

use flate2::write::GzEncoder;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::in_flight::InFlight;

const BYTES_MAX: usize = 1 << 20;

/// Decompresses with a bound; returns the outcome and how many bytes were reserved for it.
fn within(compression: Compression, body: &[u8], bytes_max: usize) -> (Result<Vec<u8>, Refusal>, usize) {
    let mut reservation = InFlight::new(usize::MAX).reserve();
    let outcome = decompress(compression, body, bytes_max, &mut reservation);
    (outcome, reservation.bytes())
}

fn compressed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    match compression {
        Compression::Identity => bytes.to_vec(),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => zstd::encode_all(bytes, 1).unwrap(),
    }
}

fn any_compression() -> impl Strategy<Value = Compression> {
    prop_oneof![Just(Compression::Gzip), Just(Compression::Zstd)]
}

proptest! {
    #[test]
    fn what_was_compressed_comes_back(bytes in vec(any::<u8>(), 0..100_000), compression in any_compression()) {
        let (outcome, reserved) = within(compression, &compressed(compression, &bytes), BYTES_MAX);
        prop_assert!(reserved >= bytes.len());
        prop_assert_eq!(outcome.ok(), Some(bytes));
    }

    #[test]
    fn damaged_bodies_are_refused_or_stay_within_the_bound(
        bytes in vec(any::<u8>(), 0..5_000),
        repeat in 1..500_usize,
        damage in vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<proptest::sample::Index>(),
        compression in any_compression(),
    ) {
        let mut body = compressed(compression, &bytes.repeat(repeat));
        for (at, byte) in damage {
            let at = at.index(body.len());
            body[at] = byte;
        }
        body.truncate(cut.index(body.len() + 1));
        let (outcome, reserved) = within(compression, &body, BYTES_MAX);
        prop_assert!(outcome.is_err() || outcome.is_ok_and(|out| out.len() <= BYTES_MAX));
        prop_assert!(reserved <= 2 * BYTES_MAX, "{} bytes reserved", reserved);
    }

    #[test]
    fn any_bytes_are_refused_or_stay_within_the_bound(body in vec(any::<u8>(), 0..2_000), compression in any_compression()) {
        let (outcome, _) = within(compression, &body, BYTES_MAX);
        prop_assert!(outcome.is_err() || outcome.is_ok_and(|out| out.len() <= BYTES_MAX));
    }
}
