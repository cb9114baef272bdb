//! Edges of the made-up shop's dependency map, drawn as text: one line an edge.

use web::{EdgeEnds, EdgeNumbers, EdgeRow};

use super::NOW_NS;

/// Edges now: the bank is slow.
pub(crate) const NOW: &str = "
    client clients > service gateway : call 2220 p50 60 p95 1140
    service gateway > service pricing : call 6660 p50 9 p95 12 gap 2
    service gateway > service inventory : call 2220 p50 7 p95 10 gap 2
    service gateway > service payment : call 2115 p50 520 p95 1095 gap 3
    service payment > peer bank:9103 : call 2115 p50 15 p95 1071 failed 4 again 4
    service payment > database db:5432 postgresql charges : database 4230 p50 1 p95 4
    service inventory > database sqlite sqlite stock : database 2220 p50 1 p95 3
    service gateway > queue fulfil_order : message 2110 p50 5 p95 6
    queue fulfil_order > service fulfilment : message 2105 p50 70 p95 90 gap 320
    service fulfilment > service shipping : call 2105 p50 60 p95 71 gap 5
    service shipping > service gateway : call 12 p50 4 p95 9
";

/// The same usually.
pub(crate) const USUAL: &str = "
    client clients > service gateway : call 180000 p50 60 p95 310
    service gateway > service pricing : call 540000 p50 9 p95 12 gap 2
    service gateway > service inventory : call 180000 p50 7 p95 11 gap 2
    service gateway > service payment : call 170000 p50 40 p95 280 gap 3
    service payment > peer bank:9103 : call 170000 p50 15 p95 31
    service payment > database db:5432 postgresql charges : database 340000 p50 1 p95 4
    service inventory > database sqlite sqlite stock : database 180000 p50 1 p95 3
    service gateway > queue fulfil_order : message 170000 p50 5 p95 6
    queue fulfil_order > service fulfilment : message 170000 p50 70 p95 92 gap 12
    service fulfilment > service shipping : call 170000 p50 60 p95 74 gap 5
    service gateway > peer legacy:80 : call 900 p50 30 p95 40
";

/// Reads edges from text: names hold no blanks here.
pub(crate) fn edges(text: &str) -> Vec<EdgeRow> {
    text.lines().filter(|line| !line.trim().is_empty()).map(edge).collect()
}

fn edge(line: &str) -> EdgeRow {
    let (ends, told) = line.split_once(" : ").expect("an edge has numbers");
    let (caller, callee) = ends.split_once(" > ").expect("an edge has two ends");
    let caller: Vec<&str> = caller.split_whitespace().collect();
    let callee: Vec<&str> = callee.split_whitespace().collect();
    let told: Vec<&str> = told.split_whitespace().collect();
    let after = |word: &str| -> Option<f64> {
        let at = told.iter().position(|told| *told == word)?;
        Some(told[at + 1].parse().expect("a number follows its name"))
    };
    let name = |of: &[&str], at: usize| of.get(at).map(|name| (*name).to_owned()).unwrap_or_default();
    let calls: i64 = told[1].parse().expect("an edge has calls");
    let count = |word: &str| after(word).map_or(0, |value| value as i64);
    let ns = |word: &str| after(word).map(|ms| ms * 1e6);
    EdgeRow {
        ends: EdgeEnds {
            kind: name(&told, 0),
            caller_kind: name(&caller, 0),
            caller: name(&caller, 1),
            callee_kind: name(&callee, 0),
            callee: name(&callee, 1),
            system: name(&callee, 2),
            namespace: name(&callee, 3),
        },
        broker: if told[0] == "message" { "celery".to_owned() } else { String::new() },
        numbers: EdgeNumbers {
            calls,
            errors: count("failed"),
            retries: count("again"),
            p50_ns: ns("p50"),
            p95_ns: ns("p95"),
            p99_ns: ns("p95"),
            gap_count: after("gap").map_or(0, |_| calls),
            gap_sum_ns: count("gap") * calls * 1_000_000,
            gap_p95_ns: ns("gap"),
            first_ns: NOW_NS - 15 * 60_000_000_000,
            last_ns: NOW_NS,
        },
    }
}
