//! Stitches spans into transactions and finds those that became slow without failing.
//! The daemon feeds it tables and event time; pages use its types. It is pure: no I/O, no clock, no randomness.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod analyzer;
mod dependencies;
pub mod detect;
pub mod expect;
#[cfg(test)]
mod fixture;
pub mod flow;
mod hash;
pub mod hazards;
mod hops;
pub mod incident;
pub mod join;
mod paths;
pub mod progress;
pub mod span;
pub mod stitch;
pub mod summary;
pub mod time;
mod told;
pub mod transaction;

pub use analyzer::{Analyzer, AnalyzerLimits, Outcome};
pub use dependencies::Dependencies;
pub use expect::Expectations;
pub use flow::{FlowKind, flow_kind};
pub use hops::hops;
pub use incident::{Incident, IncidentEvent};
pub use join::{Join, Proposal, Refusal, Refused, Rule};
pub use paths::{PathStep, TypePath};
pub use summary::{JoinSummary, Summary};
pub use transaction::Transaction;
