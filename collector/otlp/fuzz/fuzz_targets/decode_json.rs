//! Any bytes as an OTLP/JSON request of each signal.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/fuzzed/mod.rs"]
mod fuzzed;
#[path = "../../tests/oracle/mod.rs"]
mod oracle;

fuzz_target!(|body: &[u8]| fuzzed::json(body));
