//! Which segments are merged. Pure: the list of segments in, a range of it out.
//!
//! Segments fall into tiers by powers of [`FAN_IN`] of their rows. Of neighbours in one tier or below, [`FAN_IN`] are
//! merged, so there are fewer than that of each tier, and a row is merged once a tier; large row groups are copied as
//! they are. Above [`Limits`] files only grow in number: at most about two for each `bytes_max` and `span_ns_max`.

use std::ops::Range;
use std::sync::Arc;

use crate::Config;
use crate::segment::{Kept, Segment};

/// Segments that become one.
const FAN_IN: usize = 8;
/// A merged file spans at most this part of the time that it is kept, so that what expires is gone soon after.
const RETENTION_PARTS: u32 = 8;
/// A merged file is at most this part of the bytes that are kept.
const RETENTION_BYTES_PARTS: u64 = 16;

/// How large a merged file may become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) bytes_max: u64,
    pub(crate) span_ns_max: i64,
}

impl Limits {
    pub(crate) fn of(config: &Config) -> Self {
        let of_retention = config.retention.bytes.map_or(u64::MAX, |bytes| bytes / RETENTION_BYTES_PARTS);
        let span = config.retention.time.map(|time| time / RETENTION_PARTS);
        let span_ns_max = span.and_then(|span| i64::try_from(span.as_nanos()).ok()).unwrap_or(i64::MAX);
        Self { bytes_max: config.segment_bytes_max.min(of_retention), span_ns_max }
    }

    fn allow(&self, run: &Run, next: &Segment) -> bool {
        let (earliest, latest) = run.with_time_of(next);
        run.bytes + next.bytes <= self.bytes_max && latest.saturating_sub(earliest) <= self.span_ns_max
    }
}

/// Neighbours that could become one file.
struct Run {
    count: usize,
    bytes: u64,
    time_range: (i64, i64),
}

impl Run {
    fn with_time_of(&self, next: &Segment) -> (i64, i64) {
        // Segments without times (there are none with rows) do not count.
        let (earliest, latest) = next.time_range.unwrap_or((i64::MAX, i64::MIN));
        (self.time_range.0.min(earliest), self.time_range.1.max(latest))
    }
}

/// Returns which neighbours become one file next, those of the lowest tier first.
pub(crate) fn next_merge(segments: &[Arc<Segment>], limits: &Limits) -> Option<Range<usize>> {
    let highest = segments.iter().map(|segment| tier(segment)).max()?;
    (0..=highest).find_map(|tier_max| {
        (0..segments.len()).find_map(|from| run_from(&segments[from..], tier_max, limits).map(|len| from..from + len))
    })
}

/// Returns how many segments, from the first of these on, are to be merged.
fn run_from(segments: &[Arc<Segment>], tier_max: u32, limits: &Limits) -> Option<usize> {
    let mut run = Run { count: 0, bytes: 0, time_range: (i64::MAX, i64::MIN) };
    for (index, segment) in segments.iter().enumerate() {
        let is_next = index == 0 || are_neighbours(&segments[index - 1], segment);
        if tier(segment) > tier_max || !is_next {
            return None;
        }
        if !limits.allow(&run, segment) {
            // As large as it may become.
            return (run.count >= 2 && run.bytes >= limits.bytes_max / 2).then_some(run.count);
        }
        run = Run { count: run.count + 1, bytes: run.bytes + segment.bytes, time_range: run.with_time_of(segment) };
        if run.count == FAN_IN {
            return Some(FAN_IN);
        }
    }
    None
}

/// Returns whether no request lies between the two, so that the merged file covers nothing but them. Between files of
/// evidence others have expired.
fn are_neighbours(one: &Segment, next: &Segment) -> bool {
    one.kept == next.kept && (one.kept == Kept::AsEvidence || one.seqs.to + 1 == next.seqs.from)
}

fn tier(segment: &Segment) -> u32 {
    segment.rows.max(1).ilog(FAN_IN as u64)
}
