//! Keeps the house in order: dependency directions, purity, file headers and sizes, templates, metric names, links.
//! Run by `cargo test`, like any test. Must never need a build of what it reads: it looks at the tree as text.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which crates of ours each manifest may name (ARCHITECTURE.md, "One direction").
const ALLOWED: [(&str, &str, &[&str]); 10] = [
    ("collector-table", "collector/table", &[]),
    ("collector-otlp", "collector/otlp", &["collector-table"]),
    ("collector-otlp-fuzz", "collector/otlp/fuzz", &["collector-otlp", "collector-table"]),
    ("collector-receiver", "collector/receiver", &["collector-otlp", "collector-table"]),
    ("collector-receiver-fuzz", "collector/receiver/fuzz", &["collector-receiver"]),
    ("collector-simulator", "collector/simulator", &["collector-table"]),
    ("collector-store", "collector/store", &["collector-table"]),
    ("analyzer", "analyzer", &["collector-table"]),
    ("web", "web", &["analyzer", "collector-store", "collector-table"]),
    (
        "throughline",
        ".",
        &["analyzer", "collector-otlp", "collector-receiver", "collector-store", "collector-table", "web"],
    ),
];

/// Crates that compute and nothing else.
const PURE: [&str; 4] = ["collector/table", "collector/otlp", "collector/simulator", "analyzer"];
/// What would let a pure crate touch the world.
const IMPURE_DEPENDENCIES: [&str; 12] = [
    "axum",
    "datafusion",
    "futures",
    "hyper",
    "object_store",
    "parquet",
    "rand",
    "reqwest",
    "rusqlite",
    "tokio",
    "tonic",
    "tracing",
];
const IMPURE_WORDS: [&str; 9] = [
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant",
    "Timestamp::now",
    "Zoned::now",
];
/// Reads of the wall clock: the daemon's business alone.
const CLOCK_WORDS: [&str; 3] = ["SystemTime::now()", "Timestamp::now()", "Zoned::now()"];

/// Where files stop, tests not counted.
const LINES_MAX: usize = 500;
/// Files that are longer for now. A number may only shrink, and goes when its file fits.
const LONGER: [(&str, usize); 0] = [];

#[test]
fn dependencies_point_inward_at_the_table() {
    let ours: BTreeSet<&str> = ALLOWED.iter().map(|(name, ..)| *name).collect();
    let mut wrong = Vec::new();
    for (name, folder, allowed) in ALLOWED {
        for dependency in dependencies(&root().join(folder).join("Cargo.toml")) {
            if ours.contains(dependency.as_str()) && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{name} must not depend on {dependency}"));
            }
        }
    }
    let members = files("Cargo.toml").len();
    assert_eq!(members, ALLOWED.len(), "a new crate needs a line in ALLOWED");
    assert_none(&wrong);
}

#[test]
fn pure_crates_cannot_touch_the_world() {
    let mut wrong = Vec::new();
    for folder in PURE {
        for dependency in dependencies(&root().join(folder).join("Cargo.toml")) {
            if IMPURE_DEPENDENCIES.contains(&dependency.as_str()) {
                wrong.push(format!("{folder} must not depend on {dependency}"));
            }
        }
        for (path, code) in code_below(folder) {
            wrong.extend(IMPURE_WORDS.iter().filter(|word| code.contains(*word)).map(|word| format!("{path}: {word}")));
        }
    }
    assert_none(&wrong);
}

#[test]
fn only_the_daemon_reads_the_clock() {
    let mut wrong = Vec::new();
    for (path, code) in code_below("") {
        let is_edge = path.starts_with("collector/daemon/") || path.starts_with("tests/");
        if !is_edge {
            wrong.extend(CLOCK_WORDS.iter().filter(|word| code.contains(*word)).map(|word| format!("{path}: {word}")));
        }
    }
    assert_none(&wrong);
}

#[test]
fn files_begin_by_saying_what_they_are_for() {
    let mut wrong = Vec::new();
    for path in files(".rs") {
        // `foo/tests.rs` is what `foo` says, tested.
        if !path.ends_with("/tests.rs") && !read(&path).starts_with("//! ") {
            wrong.push(format!("{path} does not begin with //!"));
        }
    }
    assert_none(&wrong);
}

#[test]
fn files_stay_readable() {
    let known: BTreeMap<&str, usize> = LONGER.into();
    let mut wrong = Vec::new();
    for (path, code) in code_below("") {
        let lines = code.lines().count();
        let limit = known.get(path.as_str()).copied().unwrap_or(LINES_MAX);
        if lines > limit {
            wrong.push(format!("{path} has {lines} lines, of {limit}: split it"));
        }
        if code.contains("clippy::too_many_lines") {
            wrong.push(format!("{path} excuses a long function: split it"));
        }
    }
    for (path, was) in LONGER {
        let lines = code_of(path).lines().count();
        if lines < was {
            wrong.push(format!("{path} shrank from {was} to {lines} lines: say so in LONGER"));
        }
    }
    assert_none(&wrong);
}

#[test]
fn what_is_unfinished_is_not_in_the_tree() {
    let mut wrong = Vec::new();
    for path in files(".rs").into_iter().filter(|path| path != "tests/tidy.rs") {
        let text = read(&path);
        for word in ["FIXME", "#[ignore", "todo!("] {
            if text.contains(word) {
                wrong.push(format!("{path}: {word}"));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn templates_escape_everything_and_fit_the_content_security_policy() {
    let mut wrong = Vec::new();
    let templates = files(".html");
    for path in &templates {
        let text = read(path);
        for word in
            ["|safe", "| safe", "style=\"", "<style", " onclick=", " onload=", "javascript:", "{% macro", "<script>"]
        {
            if text.contains(word) {
                wrong.push(format!("{path}: {word}"));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn dashboards_only_ask_for_metrics_that_exist() {
    let mut sources = String::new();
    for (path, code) in code_below("") {
        if !path.starts_with("tests/") {
            sources.push_str(&code);
        }
    }
    let mut wrong = Vec::new();
    let mut names = BTreeSet::new();
    for path in files(".json").into_iter().filter(|path| path.starts_with("dashboards/")) {
        let text = read(&path);
        let _: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        names.extend(metric_names(&text));
    }
    assert!(!names.is_empty(), "no dashboard asks for anything");
    for name in names {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let exists = |name: &str| sources.contains(&format!("\"{name}\""));
        if !exists(&name) && !histogram.is_some_and(exists) {
            wrong.push(format!("nobody makes {name}"));
        }
    }
    assert_none(&wrong);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    for path in files(".md") {
        let folder = Path::new(&path).parent().unwrap_or(Path::new(""));
        for link in links(&read(&path)) {
            let target = link.split('#').next().unwrap_or_default();
            let is_local = !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:");
            if is_local && !root().join(folder).join(target).exists() {
                wrong.push(format!("{path}: {link}"));
            }
        }
    }
    assert_none(&wrong);
}

fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n  {}\n", wrong.join("\n  "));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the names in `[dependencies]`; tests may reach further.
fn dependencies(manifest: &Path) -> Vec<String> {
    let text = fs::read_to_string(manifest).unwrap_or_else(|error| panic!("{}: {error}", manifest.display()));
    let mut names = Vec::new();
    let mut is_inside = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_inside = line == "[dependencies]";
            assert!(!line.starts_with("[dependencies."), "{}: one line a dependency", manifest.display());
        } else if is_inside {
            let name: String = line.chars().take_while(|it| it.is_alphanumeric() || "-_".contains(*it)).collect();
            names.extend((!name.is_empty()).then_some(name));
        }
    }
    names
}

/// Returns all files of the tree that end so, relative to its root, in order.
fn files(ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(root().join(&folder)).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
        for entry in entries {
            let entry = entry.expect("the tree can be read");
            let name = entry.file_name().into_string().expect("names are UTF-8");
            let path = folder.join(&name);
            if entry.file_type().expect("the tree can be read").is_dir() {
                let is_ours = !name.starts_with('.') && name != "target" && name != "node_modules";
                folders.extend(is_ours.then_some(path));
            } else if name.ends_with(ending) {
                found.push(path.to_str().expect("names are UTF-8").replace('\\', "/"));
            }
        }
    }
    found.sort();
    found
}

/// Returns path and text, without tests, of all Rust files below a folder.
fn code_below(folder: &str) -> Vec<(String, String)> {
    let paths = files(".rs").into_iter();
    let ours = paths.filter(|path| path.starts_with(folder) && !path.ends_with("/tests.rs") && !is_beside(path));
    ours.filter(|path| path != "tests/tidy.rs").map(|path| (path.clone(), code_of(&path))).collect()
}

/// Whether a file is no part of the crate that it lies below: tests, benchmarks and examples may touch the world.
fn is_beside(path: &str) -> bool {
    ["/tests/", "/benches/", "/examples/"].into_iter().any(|folder| path.contains(folder))
}

/// Returns the text above the file's own tests.
fn code_of(path: &str) -> String {
    let text = read(path);
    text.split_once("\n#[cfg(test)]\nmod tests {").map_or(text.clone(), |(code, _)| code.to_owned())
}

fn metric_names(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices("throughline_") {
        names.insert(text[at..].chars().take_while(|it| it.is_ascii_alphanumeric() || *it == '_').collect());
    }
    names
}

/// Returns the targets of `[text](target)`.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    for (at, _) in text.match_indices("](") {
        let rest = &text[at + 2..];
        links.extend(rest.find(')').map(|end| rest[..end].to_owned()));
    }
    links
}
