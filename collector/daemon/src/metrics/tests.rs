use std::sync::Arc;
use std::time::Duration;

use insta::assert_snapshot;

use super::{Kind, LedgerSnapshot, Memory, Metric, Numbers, Sample, StoreStats, TellingCounts, all, render};

#[test]
fn metrics_are_prometheus_text() {
    let refused = Metric {
        name: "throughline_rejected_total",
        help: "Items refused, by cause.",
        kind: Kind::Counter,
        samples: vec![
            Sample::of(3.0).with("signal", "traces").with("cause", "too\n\"large\" \\"),
            Sample::of(f64::INFINITY).with("signal", "logs"),
        ],
    };
    let nothing = Metric {
        name: "throughline_nothing",
        help: "Has no samples and is left out.",
        kind: Kind::Counter,
        samples: Vec::new(),
    };
    let depth = Metric::single(Kind::Gauge, "throughline_queue_bytes", "Bytes that wait.", 0.5);
    assert_snapshot!(render(&[refused, nothing, depth]), @r#"
    # HELP throughline_rejected_total Items refused, by cause.
    # TYPE throughline_rejected_total counter
    throughline_rejected_total{signal="traces",cause="too\n\"large\" \\"} 3
    throughline_rejected_total{signal="logs"} +Inf
    # HELP throughline_queue_bytes Bytes that wait.
    # TYPE throughline_queue_bytes gauge
    throughline_queue_bytes 0.5
    "#);
}

/// Returns every metric's name, from numbers of which each list has an entry.
fn names() -> Vec<&'static str> {
    let memory = Memory::new(1);
    let telling = TellingCounts::default();
    let numbers = Numbers {
        ledger: LedgerSnapshot::default(),
        store: StoreStats::default(),
        summary: Arc::default(),
        lag: Duration::ZERO,
        telling: &telling,
        memory: &memory,
        outbox_pending: Some(0),
        limits: &[],
    };
    all(&numbers).iter().map(|metric| metric.name).collect()
}

#[test]
fn the_manual_explains_every_metric_and_no_other() {
    let manual = include_str!("../../../../docs/metrics.md");
    let names = names();
    for name in &names {
        assert!(manual.contains(&format!("| `{name}` |")), "docs/metrics.md lacks {name}");
    }
    for line in manual.lines().filter_map(|line| line.strip_prefix("| `throughline_")) {
        let name = format!("throughline_{}", line.split('`').next().unwrap_or_default());
        assert!(names.contains(&name.as_str()), "docs/metrics.md explains {name}, which is no more");
    }
}

#[test]
fn dashboards_show_only_metrics_that_exist() {
    let dashboard = include_str!("../../../../dashboards/throughline.json");
    let names = names();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for (at, _) in dashboard.match_indices("throughline_") {
        let name = dashboard[at..].split(|c| !is_name(c)).next().unwrap_or_default();
        assert!(names.contains(&name), "the dashboard shows {name}");
    }
}

#[test]
fn names_are_those_of_prometheus() {
    for metric in names() {
        assert!(metric.starts_with("throughline_"), "{metric}");
        assert!(
            metric.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
            "{metric}"
        );
    }
}
