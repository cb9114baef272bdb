//! The simulated shop of `throughline demo`: real OTLP over gRPC, first a back-dated history, then live, with one
//! service that turns slow after a while. Called by the `demo` command, which also runs the daemon it talks to.
//! Must never reach into the daemon: everything it tells goes through the receiver, as any exporter's data would.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

mod chance;
mod recipes;
mod sender;
pub mod shop;
mod telling;

use sender::{Sender, Stopped};
use shop::{Shop, Slowdown};

/// Event time that one request carries at most.
const BATCH: Duration = Duration::from_secs(2);
/// How often live telemetry is sent.
const LIVE_EVERY: Duration = Duration::from_secs(1);

/// What the demo will do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Same seed and times, same shop.
    pub seed: u64,
    /// How much back-dated telemetry is sent first, so that there is something usual to compare with.
    pub history: Duration,
    /// How long after the start the slow-down begins.
    pub slow_after: Duration,
    /// Mean number of transactions that begin each second, over all types.
    pub transactions_per_second: f64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            history: Duration::from_secs(20 * 60),
            slow_after: Duration::from_secs(45),
            transactions_per_second: 12.0,
        }
    }
}

impl Plan {
    /// Returns what will happen, for people to read before it does.
    pub fn story(&self) -> String {
        let slow = &recipes::SLOW;
        format!(
            "A shop of {} services sells things: first {} minutes of its past, then live, {} transactions a second.\n\
             In {} seconds version {} of {} is rolled out: its own work takes {} times as long, and nothing fails.\n\
             The bank that {} calls stays as quick as ever. Watch POST /checkout.",
            recipes::services().len(),
            self.history.as_secs() / 60,
            self.transactions_per_second,
            self.slow_after.as_secs(),
            slow.version,
            slow.service,
            slow.factor,
            slow.service,
        )
    }
}

/// Sends the shop's telemetry to an OTLP/gRPC endpoint, such as `http://127.0.0.1:4317`, until `shutdown` turns true.
/// While the endpoint is unavailable or overloaded, the batch is kept and sent again.
///
/// # Errors
/// When the endpoint is no URL, or refuses a batch for good.
pub async fn run(endpoint: String, plan: Plan, mut shutdown: watch::Receiver<bool>) -> anyhow::Result<()> {
    let mut sender = Sender::new(&endpoint, shutdown.clone())?;
    let started_ns = unix_ns(SystemTime::now());
    let slow_from_ns = started_ns + ns(plan.slow_after);
    let slowdown = Slowdown { from_ns: slow_from_ns, ..recipes::SLOW };
    let shop = Shop::new(plan.seed, plan.transactions_per_second, Some(slowdown));

    let mut sent_until_ns = started_ns - ns(plan.history);
    let mut is_live = false;
    let mut is_slow = false;
    let mut tick = tokio::time::interval(LIVE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !*shutdown.borrow() {
        let now_ns = unix_ns(SystemTime::now());
        let until_ns = now_ns.min(sent_until_ns + ns(BATCH));
        match sender.send(shop.telemetry_between(sent_until_ns, until_ns)).await {
            Ok(()) => sent_until_ns = until_ns,
            Err(Stopped::ByShutdown) => break,
            Err(Stopped::Refused(error)) => return Err(error),
        }
        if !is_slow && sent_until_ns >= slow_from_ns {
            is_slow = true;
            warn!(service = recipes::SLOW.service, factor = recipes::SLOW.factor, "demo: turned slow, without errors");
        }
        if until_ns < now_ns {
            continue;
        }
        if !is_live {
            is_live = true;
            info!(spans = sender.spans_count(), "demo: the past is sent, the shop is live");
        }
        tokio::select! {
            _ = tick.tick() => {}
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
    }
    info!(spans = sender.spans_count(), logs = sender.logs_count(), "demo: the shop is closed");
    Ok(())
}

fn unix_ns(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, ns)
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
