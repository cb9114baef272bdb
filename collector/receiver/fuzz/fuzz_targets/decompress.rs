//! Any bytes as a compressed body.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| collector_receiver::fuzzed_decompression(body));
