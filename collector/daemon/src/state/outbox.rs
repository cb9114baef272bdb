//! The outbox in the state: events, and for each target that wants one a delivery with its attempts.
//! Filled by `incidents` and by tests of a target, worked off by `notify`. A delivery is marked only after the answer, so
//! that a crash leads to a second attempt under the same id and never to none.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use sha2::{Digest as _, Sha256};

use super::delivery::{AttemptRecord, DeliveryFilter, DeliveryRow, DeliveryState, DueDelivery, NextStep, TestEvent};
use super::{State, StateError};

/// Deliveries that wait for one target. Beyond it the oldest is given up, and says so.
pub(super) const PENDING_PER_TARGET_MAX: i64 = 10_000;
/// Finished deliveries that are kept to be looked at.
const FINISHED_KEPT_MAX: i64 = 10_000;
/// Finished deliveries are kept this long: thirty days, in milliseconds.
const FINISHED_KEPT_MS: i64 = 30 * 24 * 3600 * 1000;
/// Rows of one listing.
const LISTED_MAX: i64 = 1000;

/// An event that is new.
pub(super) struct NewEvent {
    /// What it is about; a second event of the same occasion is the first one.
    pub(super) occasion: String,
    pub(super) event_type: String,
    pub(super) incident_number: Option<i64>,
    /// Deliveries of one lane stay in order; none: a lane of its own.
    pub(super) lane: Option<String>,
    pub(super) body: String,
}

impl State {
    /// Queues a test event and returns its id; a key that was used before is the same event, which is sent again only
    /// if it was given up.
    ///
    /// # Errors
    /// When nothing was queued.
    pub async fn enqueue_test(&self, test: TestEvent, now_ms: i64) -> Result<String, StateError> {
        self.transact("queueing a test event", move |transaction| {
            let event = NewEvent {
                // A digest, because a key may be of any length.
                occasion: format!("test/{}/{}", test.target, STANDARD.encode(Sha256::digest(test.key.as_bytes()))),
                event_type: "test".to_owned(),
                incident_number: None,
                lane: None,
                body: test.body,
            };
            let id = insert_event(transaction, &event, now_ms)?;
            transaction.execute(
                "INSERT INTO deliveries (event_id, target, lane, state, may_retry, attempts, next_attempt_ms)
                 VALUES (?1, ?2, ?1, 'pending', ?3, 0, ?4)
                 ON CONFLICT DO UPDATE SET state = 'pending', may_retry = ?3, attempts = 0, next_attempt_ms = ?4,
                    last_attempt_ms = NULL WHERE state = 'dead'",
                params![id, test.target, test.may_retry, now_ms],
            )?;
            prune(transaction, now_ms)?;
            Ok(id)
        })
        .await
    }

    /// Returns what to send next to a target: of each lane only the first, and of those the one that is due first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn next_delivery(&self, target: String) -> Result<Option<DueDelivery>, StateError> {
        const NEXT: &str = "
            SELECT seq, event_id, body, attempts, may_retry, created_ms, next_attempt_ms
            FROM deliveries JOIN events ON events.id = event_id
            WHERE seq IN (SELECT min(seq) FROM deliveries WHERE target = ?1 AND state = 'pending' GROUP BY lane)
            ORDER BY next_attempt_ms, seq LIMIT 1";
        self.transact("looking for the next delivery", move |transaction| {
            transaction.prepare(NEXT)?.query_row([target], due_delivery).optional()
        })
        .await
    }

    /// Notes an attempt and what follows from it.
    ///
    /// # Errors
    /// When it was not noted; the delivery will be attempted again under the same id.
    pub async fn record_attempt(&self, seq: i64, attempt: AttemptRecord) -> Result<(), StateError> {
        self.transact("recording a delivery", move |transaction| record_attempt(transaction, seq, &attempt)).await
    }

    /// Returns deliveries that fit, newest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn deliveries(&self, filter: DeliveryFilter) -> Result<Vec<DeliveryRow>, StateError> {
        const LIST: &str = "
            SELECT event_id, type, incident_number, target, state, attempts, created_ms, last_attempt_ms,
                next_attempt_ms, status, duration_ms, error, answer
            FROM deliveries JOIN events ON events.id = event_id
            WHERE (?1 IS NULL OR target = ?1) AND (?2 IS NULL OR incident_number = ?2) AND (?3 IS NULL OR event_id = ?3)
            ORDER BY seq DESC LIMIT ?4";
        self.transact("listing deliveries", move |transaction| {
            let incident = filter.incident.map(|number| i64::try_from(number).unwrap_or(i64::MAX));
            let limit = i64::try_from(filter.limit).map_or(LISTED_MAX, |limit| limit.min(LISTED_MAX));
            let mut query = transaction.prepare(LIST)?;
            query.query_map(params![filter.target, incident, filter.event_id, limit], delivery_row)?.collect()
        })
        .await
    }

    /// Returns how many deliveries wait, over all targets.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn pending_count(&self) -> Result<u64, StateError> {
        const COUNT: &str = "SELECT count(*) FROM deliveries WHERE state = 'pending'";
        let count = |row: &Row<'_>| row.get::<_, i64>(0).map(i64::unsigned_abs);
        self.transact("counting deliveries", move |transaction| transaction.query_row(COUNT, [], count)).await
    }
}

/// Queues an event for every target that wants it and is not disabled; returns their number.
pub(super) fn enqueue_for_all(transaction: &Transaction<'_>, event: &NewEvent, now_ms: i64) -> rusqlite::Result<usize> {
    const WANTED_BY: &str = "
        SELECT name FROM targets WHERE disabled IS NULL
            AND (events = '[]' OR EXISTS (SELECT 1 FROM json_each(events) WHERE json_each.value = ?1))";
    let targets: Vec<String> = transaction
        .prepare(WANTED_BY)?
        .query_map([&event.event_type], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    if targets.is_empty() {
        return Ok(0);
    }
    let id = insert_event(transaction, event, now_ms)?;
    for target in &targets {
        transaction.execute(
            "INSERT OR IGNORE INTO deliveries (event_id, target, lane, state, may_retry, attempts, next_attempt_ms)
             VALUES (?1, ?2, ?3, 'pending', 1, 0, ?4)",
            params![id, target, event.lane.as_ref().unwrap_or(&id), now_ms],
        )?;
        bound_pending(transaction, target)?;
    }
    prune(transaction, now_ms)?;
    Ok(targets.len())
}

/// Gives up what waits for targets that are gone.
pub(super) fn give_up_without_target(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE deliveries SET state = 'dead', next_attempt_ms = NULL, error = 'the target was removed'
         WHERE state = 'pending' AND target NOT IN (SELECT name FROM targets)",
        [],
    )?;
    Ok(())
}

/// Whether the occasion has an event already. Nothing is remembered of an occasion that no target wanted.
pub(super) fn has_occasion(transaction: &Transaction<'_>, occasion: &str) -> rusqlite::Result<bool> {
    transaction.query_row("SELECT EXISTS (SELECT 1 FROM events WHERE occasion = ?1)", [occasion], |row| row.get(0))
}

/// Returns the id of the occasion's event, which may exist already.
fn insert_event(transaction: &Transaction<'_>, event: &NewEvent, now_ms: i64) -> rusqlite::Result<String> {
    let fresh_id = format!("msg_{}", uuid::Uuid::now_v7().simple());
    transaction.query_row(
        "INSERT INTO events (id, occasion, type, incident_number, body, created_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (occasion) DO UPDATE SET occasion = occasion RETURNING id",
        params![fresh_id, event.occasion, event.event_type, event.incident_number, event.body, now_ms],
        |row| row.get(0),
    )
}

fn record_attempt(transaction: &Transaction<'_>, seq: i64, attempt: &AttemptRecord) -> rusqlite::Result<()> {
    let (state, next_attempt_ms) = match attempt.next {
        NextStep::Delivered => ("delivered", None),
        NextStep::RetryAt { at_ms } => ("pending", Some(at_ms)),
        NextStep::GiveUp | NextStep::DisableTarget => ("dead", None),
    };
    let target: Option<String> = transaction
        .query_row(
            "UPDATE deliveries SET state = ?2, next_attempt_ms = ?3, attempts = attempts + 1, last_attempt_ms = ?4,
                duration_ms = ?5, status = ?6, error = ?7, answer = ?8
             WHERE seq = ?1 AND state = 'pending' RETURNING target",
            params![
                seq,
                state,
                next_attempt_ms,
                attempt.at_ms,
                attempt.duration_ms,
                attempt.status,
                attempt.error,
                attempt.answer
            ],
            |row| row.get(0),
        )
        .optional()?;
    let Some(target) = target else { return Ok(()) };
    match attempt.next {
        // Whoever answers a test after a 410 is back.
        NextStep::Delivered => {
            transaction.execute("UPDATE targets SET disabled = NULL WHERE name = ?1", [target])?;
        }
        NextStep::DisableTarget => disable(transaction, &target)?,
        NextStep::RetryAt { .. } | NextStep::GiveUp => {}
    }
    Ok(())
}

fn disable(transaction: &Transaction<'_>, target: &str) -> rusqlite::Result<()> {
    const WHY: &str = "the receiver answered 410 Gone; a test that arrives enables it again";
    transaction.execute("UPDATE targets SET disabled = ?2 WHERE name = ?1", [target, WHY])?;
    transaction.execute(
        "UPDATE deliveries SET state = 'dead', next_attempt_ms = NULL, error = 'the target was disabled'
         WHERE state = 'pending' AND target = ?1",
        [target],
    )?;
    Ok(())
}

fn bound_pending(transaction: &Transaction<'_>, target: &str) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE deliveries SET state = 'dead', next_attempt_ms = NULL, error = 'too many events wait for this target'
         WHERE state = 'pending' AND target = ?1 AND seq <= (
            SELECT seq FROM deliveries WHERE state = 'pending' AND target = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
        params![target, PENDING_PER_TARGET_MAX],
    )?;
    Ok(())
}

/// Forgets finished deliveries that are old or too many, and events that nobody is sent any more.
fn prune(transaction: &Transaction<'_>, now_ms: i64) -> rusqlite::Result<()> {
    transaction.execute(
        "DELETE FROM deliveries WHERE state <> 'pending' AND (last_attempt_ms < ?1 OR seq <= (
            SELECT seq FROM deliveries WHERE state <> 'pending' ORDER BY seq DESC LIMIT 1 OFFSET ?2))",
        [now_ms - FINISHED_KEPT_MS, FINISHED_KEPT_MAX],
    )?;
    transaction.execute("DELETE FROM events WHERE id NOT IN (SELECT event_id FROM deliveries)", [])?;
    Ok(())
}

fn due_delivery(row: &Row<'_>) -> rusqlite::Result<DueDelivery> {
    Ok(DueDelivery {
        seq: row.get(0)?,
        event_id: row.get(1)?,
        body: row.get(2)?,
        attempts: row.get(3)?,
        may_retry: row.get(4)?,
        created_ms: row.get(5)?,
        next_attempt_ms: row.get(6)?,
    })
}

fn delivery_row(row: &Row<'_>) -> rusqlite::Result<DeliveryRow> {
    let state: String = row.get(4)?;
    Ok(DeliveryRow {
        event_id: row.get(0)?,
        event_type: row.get(1)?,
        incident: row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs),
        target: row.get(3)?,
        state: match state.as_str() {
            "pending" => DeliveryState::Pending,
            "delivered" => DeliveryState::Delivered,
            _ => DeliveryState::Dead,
        },
        attempts: row.get(5)?,
        created_ms: row.get(6)?,
        last_attempt_ms: row.get(7)?,
        next_attempt_ms: row.get(8)?,
        status: row.get(9)?,
        duration_ms: row.get(10)?,
        error: row.get(11)?,
        answer: row.get(12)?,
    })
}
