//! Any bytes as a protobuf request of each signal; for traces and logs the walk must agree with the oracle.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/fuzzed/mod.rs"]
mod fuzzed;
#[path = "../../tests/oracle/mod.rs"]
mod oracle;

fuzz_target!(|body: &[u8]| fuzzed::protobuf(body));
