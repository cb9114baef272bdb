//! The daemon: everything of Throughline that reads a clock, a file or a socket, wired together.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;
pub mod state;
pub mod notify;
pub mod telemetry;
pub mod metrics;
pub mod demo;
