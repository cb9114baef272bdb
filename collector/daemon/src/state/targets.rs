//! Webhook targets in the state: those of the configuration, brought up to date at each start, and those that the API
//! added. Secrets are in the file, because a restart has to sign as before.

use rusqlite::{Row, Transaction, params};

use super::{State, StateError, outbox};
use crate::notify::{Secret, Target};

/// Where a target was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetOrigin {
    /// In the configuration; goes when it is removed there.
    File,
    /// Through the API.
    Api,
}

/// A target and how it is doing.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTarget {
    /// The target.
    pub target: Target,
    /// Where it was made.
    pub origin: TargetOrigin,
    /// Why nothing is sent to it any more, if so.
    pub disabled: Option<String>,
    /// Why it must not be called at all, if so: what the file holds of it cannot be read. Its events wait.
    pub unusable: Option<String>,
    /// What went wrong at the latest attempt; from the receiver, so hostile.
    pub problem: Option<String>,
}

impl State {
    /// Makes the targets of the configuration those of the state. A target that the API added under the same name
    /// gives way. A target that said it wants nothing any more stays disabled until its address or secret changes. What
    /// waits for a target that is gone is given up.
    ///
    /// # Errors
    /// When nothing was changed.
    pub async fn sync_targets(&self, configured: Vec<Target>) -> Result<(), StateError> {
        self.transact("storing the configured webhook targets", move |transaction| {
            let names = serde_json::Value::from_iter(configured.iter().map(|target| target.name.as_str())).to_string();
            transaction.execute(
                "DELETE FROM targets WHERE origin = 'file' AND name NOT IN (SELECT value FROM json_each(?1))",
                [names],
            )?;
            for target in &configured {
                put(transaction, target)?;
            }
            outbox::give_up_without_target(transaction)
        })
        .await
    }

    /// Adds a target; returns false when the name is taken or there are too many.
    ///
    /// # Errors
    /// When nothing was changed.
    pub async fn add_target(&self, target: Target) -> Result<bool, StateError> {
        self.transact("adding a webhook target", move |transaction| {
            insert(transaction, &target, TargetOrigin::Api, "ON CONFLICT DO NOTHING").map(|rows| rows > 0)
        })
        .await
    }

    /// Returns every target, by name.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn targets(&self) -> Result<Vec<StoredTarget>, StateError> {
        const LIST: &str = "
            SELECT name, url, secret, events, origin, disabled,
                (SELECT error FROM deliveries WHERE target = targets.name AND last_attempt_ms IS NOT NULL
                 ORDER BY last_attempt_ms DESC, seq DESC LIMIT 1)
            FROM targets ORDER BY name";
        self.transact("listing webhook targets", |transaction| {
            let mut query = transaction.prepare(LIST)?;
            let rows = query.query_map([], stored_target)?;
            // A target that an older version took and this one does not is left out, not fatal.
            Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().flatten().collect())
        })
        .await
    }
}

/// Stores a configured target over the one of its name.
fn put(transaction: &Transaction<'_>, target: &Target) -> rusqlite::Result<usize> {
    const REPLACE: &str = "
        ON CONFLICT (name) DO UPDATE SET
            disabled = CASE WHEN url = excluded.url AND secret IS excluded.secret THEN disabled END,
            url = excluded.url, secret = excluded.secret, events = excluded.events, origin = excluded.origin";
    insert(transaction, target, TargetOrigin::File, REPLACE)
}

fn insert(
    transaction: &Transaction<'_>,
    target: &Target,
    origin: TargetOrigin,
    on_conflict: &'static str,
) -> rusqlite::Result<usize> {
    let origin = match origin {
        TargetOrigin::File => "file",
        TargetOrigin::Api => "api",
    };
    let events = serde_json::Value::from(target.events.clone()).to_string();
    let secret = target.secret.as_ref().map(Secret::expose);
    transaction.execute(
        &format!("INSERT INTO targets (name, url, secret, events, origin) VALUES (?1, ?2, ?3, ?4, ?5) {on_conflict}"),
        params![target.name, target.url.as_str(), secret, events, origin],
    )
}

fn stored_target(row: &Row<'_>) -> rusqlite::Result<Option<StoredTarget>> {
    let name: String = row.get(0)?;
    let url: String = row.get(1)?;
    let secret: Option<String> = row.get(2)?;
    let events: String = row.get(3)?;
    let origin: String = row.get(4)?;
    let origin = if origin == "file" { TargetOrigin::File } else { TargetOrigin::Api };
    let (secret, unusable) = match secret.map(|text| Secret::parse(&text)).transpose() {
        Ok(secret) => (secret, None),
        // Without it bodies would go out unsigned, which the receiver could not tell from a forgery.
        Err(wrong) => (None, Some(format!("its stored secret cannot be read ({wrong}); configure the target anew"))),
    };
    let events = serde_json::from_str(&events).unwrap_or_default();
    let Ok(target) = Target::new(&name, &url, secret, events) else { return Ok(None) };
    Ok(Some(StoredTarget { target, origin, disabled: row.get(5)?, unusable, problem: row.get(6)? }))
}
