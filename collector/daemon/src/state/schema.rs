//! The tables of the state file and their history. Called once, when the file is opened.
//! A step that was released is never changed; a new one is added at the end.

use rusqlite::{Connection, TransactionBehavior};

/// Step `n` brings a file from version `n` to `n + 1`; SQLite's `user_version` says how far it is.
const STEPS: [&str; 1] = ["
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;

    -- `body` is the incident as JSON. `event_time_ns` is that of its latest event, by which a replay is recognised.
    CREATE TABLE incidents (
        id TEXT PRIMARY KEY,
        number INTEGER NOT NULL,
        status TEXT NOT NULL,
        event_time_ns INTEGER NOT NULL,
        body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX incidents_number ON incidents (number);

    -- `events` is a JSON list of event types; empty is all. `disabled` says why nothing is sent any more.
    CREATE TABLE targets (
        name TEXT PRIMARY KEY,
        url TEXT NOT NULL,
        secret TEXT,
        events TEXT NOT NULL,
        origin TEXT NOT NULL,
        disabled TEXT
    ) STRICT;

    -- One event is one id and one body, for all targets and all attempts.
    CREATE TABLE events (
        id TEXT PRIMARY KEY,
        occasion TEXT NOT NULL UNIQUE,
        type TEXT NOT NULL,
        incident_number INTEGER,
        body TEXT NOT NULL,
        created_ms INTEGER NOT NULL
    ) STRICT;

    -- Within a target, deliveries of one lane (an incident) go out in the order of `seq`.
    CREATE TABLE deliveries (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        event_id TEXT NOT NULL REFERENCES events (id),
        target TEXT NOT NULL,
        lane TEXT NOT NULL,
        state TEXT NOT NULL,
        may_retry INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        next_attempt_ms INTEGER,
        last_attempt_ms INTEGER,
        duration_ms REAL,
        status INTEGER,
        error TEXT,
        answer TEXT,
        UNIQUE (event_id, target)
    ) STRICT;
    CREATE INDEX deliveries_pending ON deliveries (target, lane, seq) WHERE state = 'pending';
    CREATE INDEX deliveries_attempted ON deliveries (target, last_attempt_ms);
"];

/// Brings the file up to date, each step in its own transaction.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version > STEPS.len() as i64 {
        return Err(format!("the file has version {version}, this program knows up to {}", STEPS.len()).into());
    }
    for (next, step) in (1_i64..).zip(STEPS).skip_while(|(next, _)| *next <= version) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", next)?;
        transaction.commit()?;
    }
    Ok(())
}
