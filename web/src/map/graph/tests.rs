//! The map from rows drawn as text, seen as text: nodes, then edges with what is usual beside now.

use std::fmt::Write;

use insta::assert_snapshot;

use super::*;
use crate::map::view::{Focus, View};
use crate::map::words;

/// Reads edges: `kind name [system name] > kind name : kind calls p95-ms`. A name has no blanks; `-` is an empty one.
pub(crate) fn rows(text: &str) -> Vec<EdgeRow> {
    let row = |line: &str| {
        let (ends, numbers) = line.split_once(" : ").unwrap();
        let words: Vec<&str> = numbers.split_whitespace().collect();
        let (caller, callee) = ends.split_once(" > ").unwrap();
        let part = |side: &str, at: usize| {
            let word = side.split_whitespace().nth(at).unwrap_or_default();
            if word == "-" { String::new() } else { word.to_owned() }
        };
        EdgeRow {
            ends: EdgeEnds {
                kind: words[0].to_owned(),
                caller_kind: part(caller, 0),
                caller: part(caller, 1),
                callee_kind: part(callee, 0),
                callee: part(callee, 1),
                system: part(callee, 2),
                namespace: part(callee, 3),
            },
            broker: String::new(),
            numbers: EdgeNumbers {
                calls: words[1].parse().unwrap(),
                p95_ns: words.get(2).map(|ms| ms.parse::<f64>().unwrap() * 1e6),
                ..EdgeNumbers::default()
            },
        }
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(row).collect()
}

/// Draws the map of rows now and usually, as far as a view of so many nodes shows it.
fn map(now: &str, usual: &str, focus: Option<(&str, usize)>, nodes_max: usize) -> String {
    let map = Map::of(&rows(now), &rows(usual), &[], Vec::new());
    let focus = focus.map(|(name, hops)| Focus { node: map.find(name).unwrap(), hops });
    let view = View::of(&map, focus, nodes_max);
    let mut told = String::new();
    for &node in &view.nodes {
        writeln!(told, "{} ({})", map.nodes[node].name, words::detail(&map.nodes[node])).unwrap();
    }
    for &edge in &view.edges {
        let edge = &map.edges[edge];
        let ends = format!("{} -> {}", map.nodes[edge.from].id, map.nodes[edge.to].id);
        writeln!(told, "{ends}: {}", words::edge(edge, 10.0).whole).unwrap();
    }
    if !view.others.is_empty() {
        let count = |calls: &BTreeMap<usize, i64>| calls.values().sum::<i64>();
        let (to, from) = (count(&view.to_others), count(&view.from_others));
        writeln!(told, "others {}: {to} to them, {from} from them", view.others.len()).unwrap();
    }
    told
}

#[test]
fn what_is_slow_new_or_gone_is_told_beside_what_is_usual() {
    let now = "
        client c > service web : call 200 30
        service web > service pay : call 200 300
        service web > queue orders : message 190 2
        queue orders > service mail : message 190 50
        service pay > service new : call 5 900
    ";
    let usual = "
        client c > service web : call 9000 29
        service web > service pay : call 9000 20
        service pay > service new : call 9000 9
        service pay > peer old:80 : call 700 12
    ";
    assert_snapshot!(map(now, usual, None, 60), @r"
    clients (send no telemetry)
    old:80 (no telemetry)
    orders (queue)
    mail (service)
    new (service)
    pay (service)
    web (service)
    client -> service:web: 20/min, p95 30 ms, usually 29 ms
    service:web -> service:pay: 20/min, p95 300 ms, usually 20 ms, ▲ 15× usual
    queue:orders -> service:mail: 19/min, p95 50 ms
    service:web -> queue:orders: 19/min, p95 2.0 ms
    service:pay -> service:new: 0.5/min, p95 900 ms, usually 9.0 ms
    service:pay -> peer:old:80: 0/min, usually 12 ms
    ");
}

#[test]
fn databases_are_told_apart_by_system_address_and_name_and_those_without_an_address_by_their_caller() {
    assert_snapshot!(map("
        service a > database db:5432 postgresql shop : database 4 1
        service b > database db:5432 postgresql shop : database 3 1
        service b > database db:5432 postgresql mail : database 3 1
        service a > database sqlite sqlite - : database 2 1
        service b > database sqlite sqlite - : database 2 1
        service a > database localhost:6379 redis 0 : database 2 1
        service b > database 127.0.0.1:6379 redis 0 : database 2 1
        service a > peer localhost:9000 : call 1 1
        service b > peer localhost:9000 : call 1 1
    ", "", None, 60), @r"
    mail (database, postgresql db:5432)
    shop (database, postgresql db:5432)
    0 (database, redis 127.0.0.1:6379 of b)
    0 (database, redis localhost:6379 of a)
    sqlite (database, of a)
    sqlite (database, of b)
    localhost:9000 (no telemetry, beside a)
    localhost:9000 (no telemetry, beside b)
    a (service)
    b (service)
    service:a -> database:postgresql db:5432 shop: 0.4/min, p95 1.0 ms
    service:b -> database:postgresql db:5432 mail: 0.3/min, p95 1.0 ms
    service:b -> database:postgresql db:5432 shop: 0.3/min, p95 1.0 ms
    service:a -> database:redis localhost:6379 0 of a: 0.2/min, p95 1.0 ms
    service:a -> database:sqlite sqlite of a: 0.2/min, p95 1.0 ms
    service:b -> database:redis 127.0.0.1:6379 0 of b: 0.2/min, p95 1.0 ms
    service:b -> database:sqlite sqlite of b: 0.2/min, p95 1.0 ms
    service:a -> peer:localhost:9000 of a: 0.1/min, p95 1.0 ms
    service:b -> peer:localhost:9000 of b: 0.1/min, p95 1.0 ms
    ");
}

#[test]
fn a_focus_shows_what_lies_around_it_and_folds_the_rest() {
    let chain = "
        service a > service b : call 90 1
        service b > service c : call 80 1
        service c > service d : call 70 1
        service d > service e : call 60 1
        service e > service a : call 50 1
        service x > service y : call 10 1
    ";
    assert_snapshot!(map(chain, "", Some(("c", 1)), 60), @r"
    b (service)
    c (service)
    d (service)
    service:b -> service:c: 8.0/min, p95 1.0 ms
    service:c -> service:d: 7.0/min, p95 1.0 ms
    others 4: 60 to them, 90 from them
    ");
    assert_snapshot!(map(chain, "", Some(("service:x", 6)), 60), @r"
    x (service)
    y (service)
    service:x -> service:y: 1.0/min, p95 1.0 ms
    others 5: 0 to them, 0 from them
    ");
    assert_snapshot!(map(chain, "", None, 3), @r"
    a (service)
    b (service)
    c (service)
    service:a -> service:b: 9.0/min, p95 1.0 ms
    service:b -> service:c: 8.0/min, p95 1.0 ms
    others 4: 70 to them, 50 from them
    ");
}

#[test]
fn a_name_means_a_service_before_a_queue_and_an_id_means_itself() {
    let map = Map::of(
        &rows("service web > queue orders : message 1 1\nqueue orders > service orders : message 1 1"),
        &[],
        &[],
        Vec::new(),
    );
    let found = |text: &str| map.find(text).map(|node| map.nodes[node].id.as_str());
    assert_eq!(
        [found("orders"), found("queue:orders"), found("nobody")],
        [Some("service:orders"), Some("queue:orders"), None]
    );
}

#[test]
fn a_service_that_calls_nobody_is_there_and_has_instances_and_versions() {
    let process = |instance: &str, version: &str| ProcessRow {
        service: "cron".to_owned(),
        instance: instance.to_owned(),
        version: version.to_owned(),
    };
    let processes = [process("a", "1"), process("b", "2"), process("b", "1"), process("", "")];
    let map = Map::of(&[], &[], &processes, vec!["cron".to_owned()]);
    assert_eq!(words::detail(&map.nodes[0]), "2 instances, 2 versions");
}

#[test]
fn rows_without_calls_and_waits_are_no_edges() {
    assert!(Map::of(&rows("service a > service b : call 0"), &[], &[], Vec::new()).edges.is_empty());
}
