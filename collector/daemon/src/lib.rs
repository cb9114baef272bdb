//! The daemon: everything of Throughline that reads a clock, a file or a socket, wired together.
//! `main.rs` calls [`cli::run`]; integration tests drive the parts that have no other boundary.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod analysis;
pub mod analyze;
pub mod budget;
pub mod cli;
pub mod config;
pub mod demo;
pub mod metrics;
pub mod notify;
pub mod query;
pub mod serve;
pub mod state;
pub mod telemetry;

mod backtest;
mod clock;
mod columns;
mod hazard_table;
mod incident_table;
mod intake;
mod memory;
mod slices;
mod stored;
mod views;
