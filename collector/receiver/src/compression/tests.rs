use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::fuzzed::{BYTES_MAX, compressed, fuzzed_decompression, within};
use super::*;

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
        fuzzed_decompression(&body);
    }

    #[test]
    fn any_bytes_are_refused_or_stay_within_the_bound(body in vec(any::<u8>(), 0..2_000)) {
        fuzzed_decompression(&body);
    }
}
