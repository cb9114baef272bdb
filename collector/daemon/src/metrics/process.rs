//! What the daemon as a whole uses and may use.

use super::{Metric, Numbers, Sample};

pub(super) fn metrics(numbers: &Numbers<'_>) -> Vec<Metric> {
    let limits = numbers.limits.iter().map(|(bound, bytes)| Sample::of(*bytes as f64).with("bound", *bound));
    let pending = numbers.outbox_pending.map(|pending| Sample::of(pending as f64));
    vec![
        Metric::gauge("throughline_resident_bytes", "Memory of the process.", numbers.memory.resident_bytes()),
        Metric::gauge(
            "throughline_memory_exceeded",
            "1 while requests are refused because memory is above its limit.",
            u64::from(numbers.memory.is_over()),
        ),
        Metric::gauges("throughline_limit_bytes", "Bounds of memory in force.", limits),
        Metric::gauges("throughline_outbox_pending", "Deliveries of webhooks that wait.", pending),
    ]
}
