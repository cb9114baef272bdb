//! Simulates systems, what happens to them, and the telemetry that they send, by a seed and in virtual time. Used by the
//! score of the analysis, by tests, and by whoever wants traffic with known faults. It is pure: no clock, no files, no
//! chance but from the seed. Must never know how telemetry is judged.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod change;
pub mod dice;
pub mod fault;
pub mod harmless;
pub mod score;
pub mod survey;
pub mod system;
pub mod systems;
mod world;

pub use change::{Change, Effect, Scope};
pub use fault::Fault;
pub use system::System;
pub use world::{BEGIN_NS, Chunk, SpanTruth, WorkTruth, World};
