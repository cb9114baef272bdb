//! Incidents in the state: saved together with the event that tells of the change, so that neither exists without the
//! other. A replay (after a restart, detection may see the same past again) changes nothing and tells nobody.

use analyzer::incident::{Incident, IncidentEvent, IncidentStatus};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::{State, StateError, outbox};

/// Resolved incidents that are kept; the oldest go first.
const RESOLVED_KEPT_MAX: i64 = 10_000;

/// A change in an incident's life.
#[derive(Debug, Clone, PartialEq)]
pub struct Happening {
    /// The incident as it is now.
    pub incident: Incident,
    /// What happened to it.
    pub event: IncidentEvent,
    /// When, Unix nanoseconds. With the incident's id and the event it is what a replay has in common with the first
    /// time. It may be before that of the change before: clocks step back.
    pub event_time_ns: i64,
}

/// What recording a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// Saved, and queued for this many targets.
    Told {
        /// Targets that want it.
        targets: usize,
    },
    /// Saved, but nothing that anybody has to be told.
    Saved,
    /// Seen before; nothing was changed.
    Known,
}

impl State {
    /// Saves an incident and queues the event for every target that wants it, in one transaction.
    /// `body` is what the targets are sent.
    ///
    /// # Errors
    /// When nothing was saved; the caller may try again.
    pub async fn record(&self, happening: &Happening, body: String, now_ms: i64) -> Result<Recorded, StateError> {
        const DOING: &str = "recording an incident";
        let incident = &happening.incident;
        let change = Change {
            id: incident.id.clone(),
            number: i64::try_from(incident.number).unwrap_or(i64::MAX),
            is_open: incident.status == IncidentStatus::Open,
            reopened: incident.reopened,
            event: happening.event,
            event_time_ns: happening.event_time_ns,
            json: serde_json::to_string(incident).map_err(|cause| StateError::Query {
                doing: DOING,
                cause: rusqlite::Error::ToSqlConversionFailure(cause.into()),
            })?,
        };
        self.transact(DOING, move |transaction| record(transaction, &change, body, now_ms)).await
    }

    /// Returns the newest incidents, highest number first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn load_incidents(&self, limit: usize) -> Result<Vec<Incident>, StateError> {
        self.transact("loading incidents", move |transaction| newest(transaction, limit)).await
    }

    /// Returns a number that no incident has had, also not before a restart.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn next_number(&self) -> Result<u64, StateError> {
        const NEXT: &str = "
            INSERT INTO counters VALUES ('incident_number', (SELECT coalesce(max(number), 0) FROM incidents) + 1)
            ON CONFLICT DO UPDATE SET value = max(value + 1, excluded.value) RETURNING value";
        let number = |row: &Row<'_>| row.get::<_, i64>(0).map(i64::unsigned_abs);
        self.transact("numbering an incident", move |transaction| transaction.query_row(NEXT, [], number)).await
    }
}

/// A [`Happening`] taken apart for the owning thread.
struct Change {
    id: String,
    number: i64,
    is_open: bool,
    reopened: bool,
    event: IncidentEvent,
    event_time_ns: i64,
    json: String,
}

/// Returns the newest incidents, highest number first.
pub(super) fn newest(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<Incident>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut query = connection.prepare("SELECT body FROM incidents ORDER BY number DESC LIMIT ?1")?;
    let mut incidents = Vec::new();
    for text in query.query_map([limit], |row| row.get::<_, String>(0))? {
        match serde_json::from_str(&text?) {
            Ok(incident) => incidents.push(incident),
            Err(cause) => tracing::warn!(%cause, "a stored incident cannot be read and is left out"),
        }
    }
    Ok(incidents)
}

fn record(transaction: &Transaction<'_>, change: &Change, body: String, now_ms: i64) -> rusqlite::Result<Recorded> {
    let stored: Option<(String, i64, String)> = transaction
        .query_row("SELECT status, event_time_ns, body FROM incidents WHERE id = ?1", [&change.id], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let occasion = format!("incident/{}/{}/{}", change.id, change.event.type_name(), change.event_time_ns);
    if stored.is_some() && outbox::has_occasion(transaction, &occasion)? {
        return Ok(Recorded::Known);
    }
    let is_news = match &stored {
        None => change.event != IncidentEvent::Resolved,
        Some((status, at_ns, json)) => match (change.event, status.as_str()) {
            (IncidentEvent::Opened, "open") if change.event_time_ns < *at_ns => return Ok(Recorded::Known),
            (IncidentEvent::Opened, "open") => false,
            (IncidentEvent::Opened, _) if !change.reopened => return Ok(Recorded::Known),
            (IncidentEvent::Opened, _) => true,
            (IncidentEvent::Updated, "open") => *json != change.json,
            (IncidentEvent::Resolved, "open") => true,
            (IncidentEvent::Updated | IncidentEvent::Resolved, _) => return Ok(Recorded::Known),
        },
    };
    // A clock that stepped back must not undo the order of an incident's changes.
    let after_stored_ns = stored.map_or(i64::MIN, |(_, at_ns, _)| at_ns.saturating_add(i64::from(is_news)));
    save(transaction, change, change.event_time_ns.max(after_stored_ns))?;
    if !is_news {
        return Ok(Recorded::Saved);
    }
    let event = outbox::NewEvent {
        occasion,
        event_type: change.event.type_name().to_owned(),
        incident_number: Some(change.number),
        lane: Some(change.id.clone()),
        body,
    };
    let targets = outbox::enqueue_for_all(transaction, &event, now_ms)?;
    Ok(Recorded::Told { targets })
}

fn save(transaction: &Transaction<'_>, change: &Change, event_time_ns: i64) -> rusqlite::Result<()> {
    const SAVE: &str = "
        INSERT INTO incidents (id, number, status, event_time_ns, body) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT (id) DO UPDATE SET number = excluded.number, status = excluded.status,
            event_time_ns = excluded.event_time_ns, body = excluded.body";
    const PRUNE: &str = "
        DELETE FROM incidents WHERE status = 'resolved' AND number <=
            (SELECT number FROM incidents WHERE status = 'resolved' ORDER BY number DESC LIMIT 1 OFFSET ?1)";
    let status = if change.is_open { "open" } else { "resolved" };
    transaction.execute(SAVE, params![change.id, change.number, status, event_time_ns, change.json])?;
    transaction.execute(PRUNE, [RESOLVED_KEPT_MAX])?;
    Ok(())
}
