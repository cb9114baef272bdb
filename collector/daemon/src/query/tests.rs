//! SQL over a folder: what is in it, and that asking leaves no trace.

use std::path::Path;

use analyzer::incident::{IncidentEvent, IncidentStatus};
use insta::assert_snapshot;

use super::{Format, Place, run};
use crate::state::State;
use crate::state::tests::{happening, incident};

/// Returns the rows as CSV.
async fn rows(sql: &str, dir: &Path) -> String {
    let mut out = Vec::new();
    run(sql, &Place::Folder(dir.to_owned()), Format::Csv, &mut out).await.unwrap();
    String::from_utf8(out).unwrap()
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_folder_without_a_state_has_no_incidents_and_gets_no_file() {
    let folder = tempfile::tempdir().unwrap();
    assert_snapshot!(rows("SELECT count(*) AS n FROM incidents", folder.path()).await.trim(), @r"
    n
    0
    ");
    assert_eq!(files(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_file_that_is_no_state_counts_as_no_incidents() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("state.db"), "this is no database, whatever its name says").unwrap();
    assert!(rows("SELECT count(*) AS n FROM incidents", folder.path()).await.ends_with("0\n"));
}

#[tokio::test]
async fn the_incidents_of_a_running_daemon_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    let opened = happening(incident("a", 7, IncidentStatus::Open), IncidentEvent::Opened, 10);
    state.record(&opened, "{}".to_owned(), 0).await.unwrap();
    let before = files(folder.path());
    assert!(rows("SELECT number, status FROM incidents", folder.path()).await.ends_with("7,open\n"));
    assert_eq!(files(folder.path()), before);
}

#[tokio::test]
async fn the_incidents_of_a_stopped_daemon_are_read_without_a_trace() {
    let (daemon, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let state = State::open(daemon.path()).unwrap();
    let opened = happening(incident("a", 7, IncidentStatus::Open), IncidentEvent::Opened, 10);
    state.record(&opened, "{}".to_owned(), 0).await.unwrap();
    let file = rusqlite::Connection::open(daemon.path().join("state.db")).unwrap();
    file.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    // A daemon that stops in order leaves this one file.
    std::fs::copy(daemon.path().join("state.db"), stopped.path().join("state.db")).unwrap();
    assert!(rows("SELECT number, status FROM incidents", stopped.path()).await.ends_with("7,open\n"));
    assert_eq!(files(stopped.path()), ["state.db"]);
}
