//! `analyze --stored`: replays a data folder slice by slice. A daemon may be using the folder: it seals and merges
//! meanwhile, so a file that was listed can be gone when its turn comes. Must never write there.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, bail};
use collector_store::Reader;
use indicatif::ProgressBar;

use super::{Replay, styled};
use crate::slices::{Arrival, ROWS_MANY, Slice, Slices, only_time};
use crate::stored;

/// Times in a row that a slice that cannot be read is tried again, on the folder as it is by then.
const TRIES_MAX: u32 = 3;

/// Replays what started between two times; everything where they are left out.
pub(super) fn replay(dir: &Path, period: (Option<i64>, Option<i64>), replay: &mut Replay) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(replay_all(dir, period, replay))
}

async fn replay_all(dir: &Path, period: (Option<i64>, Option<i64>), replay: &mut Replay) -> anyhow::Result<()> {
    let reader = stored::open(dir).await?;
    let started_ns = period_of(&reader, dir, period).await?;
    let (mut tries, from_ns) = (0, started_ns.start);
    let seconds = u64::try_from((started_ns.end - from_ns) / 1_000_000_000).unwrap_or(0);
    let progress = styled(ProgressBar::new(seconds), "{bar:40} {percent} % of the time, {eta} left");
    let mut slices = Slices::new(reader, started_ns, ROWS_MANY);
    loop {
        match slices.next().await {
            Ok(Some(slice)) => {
                tries = 0;
                progress.set_position(u64::try_from((slice.started_ns.end - from_ns) / 1_000_000_000).unwrap_or(0));
                take(slice, replay)?;
            }
            Ok(None) => break,
            Err(error) if tries >= TRIES_MAX => return Err(error),
            Err(_) => {
                tries += 1;
                slices.read_from(stored::open(dir).await?);
            }
        }
    }
    progress.finish_and_clear();
    replay.report.truncated = slices.truncated();
    Ok(())
}

/// Returns the period that is asked for, within what is stored.
async fn period_of(
    reader: &Reader,
    dir: &Path,
    (from_ns, until_ns): (Option<i64>, Option<i64>),
) -> anyhow::Result<Range<i64>> {
    let mut ends = Vec::new();
    for sql in ["SELECT min(start_time) FROM spans", "SELECT max(start_time) FROM spans"] {
        ends.extend(only_time(&reader.query(sql).await.context("finding out what is stored")?));
    }
    let &[first_ns, last_ns] = ends.as_slice() else { bail!("{} holds no spans", dir.display()) };
    let from_ns = from_ns.unwrap_or(first_ns).max(first_ns);
    let until_ns = until_ns.unwrap_or(i64::MAX).min(last_ns.saturating_add(1));
    if from_ns >= until_ns {
        let [first, last] = [first_ns, last_ns].map(analyzer::time::rfc3339);
        bail!("no span started between these times; those in {} did from {first} to {last}", dir.display());
    }
    Ok(from_ns..until_ns)
}

fn take(slice: Slice, replay: &mut Replay) -> anyhow::Result<()> {
    if slice.lacks_logs {
        replay.analyzer.miss_logs(slice.started_ns.end);
    }
    for Arrival { now_ns, logs, spans } in slice.arrivals {
        replay.arrival.now_ns = now_ns;
        if let Some(logs) = logs {
            replay.report.logs += logs.len() as u64;
            replay.analyzer.push_logs(&logs, now_ns);
        }
        if let Some(spans) = spans {
            replay.report.spans += spans.len() as u64;
            let outcome = replay.analyzer.push(&spans, now_ns);
            replay.keep(outcome)?;
        }
    }
    Ok(())
}
