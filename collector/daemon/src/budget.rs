//! How `limits.memory` is divided among everything that holds memory. `serve` hands each part its share, `config`
//! refuses what does not fit. There is no other place for these fractions; docs/configuration.md shows them.

/// Shares are told in this many parts of the whole.
const PARTS: usize = 32;
/// What a request's decompression takes beyond its size: the steps in which it grows.
const STEPS_BYTES: usize = 1 << 20;

/// A part of `limits.memory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Who holds it.
    pub name: &'static str,
    /// Of 32.
    pub parts: usize,
    /// What it is for, and what happens when it is used up.
    pub meaning: &'static str,
}

const IN_FLIGHT: Share = Share {
    name: "requests in flight",
    parts: 9,
    meaning: "bodies as sent, decompressed and decoded, until they are acknowledged; beyond it senders come back later",
};
const TABLES: Share = Share {
    name: "rows in memory",
    parts: 6,
    meaning: "rows of the last minute, half being collected and half being sealed; beyond it senders come back later",
};
const COMMITTED: Share = Share {
    name: "rows before the analysis",
    parts: 2,
    meaning: "kept rows that the analysis has not read; beyond it requests wait, then senders come back later",
};
const ANALYSIS: Share = Share {
    name: "spans of open transactions",
    parts: 5,
    meaning: "spans whose transaction may still grow, and traces that others may join; beyond it the oldest are closed early or let go of, and counted",
};
const QUERIES: Share = Share {
    name: "queries",
    parts: 4,
    meaning: "sorts, joins, aggregations and results of all queries together; beyond it a query fails and says so",
};
const REST: Share = Share {
    name: "everything else",
    parts: 6,
    meaning: "the program, its threads, connections, state, signals, a backtest, and what the allocator keeps",
};

/// Bytes for each part of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Of [`Budget::SHARES`]' first.
    pub in_flight_bytes: usize,
    /// Rows in memory: collected and sealing.
    pub tables_bytes: usize,
    /// Rows that the analysis has not read.
    pub committed_bytes: usize,
    /// Spans of open transactions.
    pub analysis_bytes: usize,
    /// All queries together.
    pub queries_bytes: usize,
}

impl Budget {
    /// With less, shares are too small to be of use.
    pub const BYTES_MIN: usize = 128 << 20;
    /// Every share, together the whole.
    pub const SHARES: [Share; 6] = [IN_FLIGHT, TABLES, COMMITTED, ANALYSIS, QUERIES, REST];

    /// Divides so many bytes.
    pub fn of(memory_bytes: usize) -> Self {
        let share = |share: Share| memory_bytes / PARTS * share.parts;
        Self {
            in_flight_bytes: share(IN_FLIGHT),
            tables_bytes: share(TABLES),
            committed_bytes: share(COMMITTED),
            analysis_bytes: share(ANALYSIS),
            queries_bytes: share(QUERIES),
        }
    }

    /// Returns the size of the largest request that has room when it is alone: as sent and decompressed, or decompressed
    /// and decoded.
    pub fn request_bytes_max(self) -> usize {
        (self.in_flight_bytes - STEPS_BYTES) / 2
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, PARTS};

    const MIB: usize = 1 << 20;

    #[test]
    fn shares_are_the_whole_and_no_more() {
        assert_eq!(Budget::SHARES.iter().map(|share| share.parts).sum::<usize>(), PARTS);
        for memory_bytes in [Budget::BYTES_MIN, 512 * MIB, 512 * MIB + 31, 64 << 30] {
            let budget = Budget::of(memory_bytes);
            let Budget { in_flight_bytes, tables_bytes, committed_bytes, analysis_bytes, queries_bytes } = budget;
            let given = in_flight_bytes + tables_bytes + committed_bytes + analysis_bytes + queries_bytes;
            assert!(given < memory_bytes, "{given} of {memory_bytes}: something is left for the rest");
        }
    }

    #[test]
    fn the_default_has_room_for_the_largest_request() {
        let budget = Budget::of(512 * MIB);
        let mib = [
            budget.in_flight_bytes,
            budget.tables_bytes,
            budget.committed_bytes,
            budget.analysis_bytes,
            budget.queries_bytes,
        ]
        .map(|bytes| bytes / MIB);
        assert_eq!(mib, [144, 96, 32, 80, 64]);
        assert!(budget.request_bytes_max() >= 64 * MIB);
    }

    #[test]
    fn the_manual_shows_every_share() {
        let manual = include_str!("../../../docs/configuration.md");
        for share in Budget::SHARES {
            let mib = share.parts * 512 / PARTS;
            let row = format!("| {} | {}/{PARTS} | {mib} MiB | {} |", share.name, share.parts, share.meaning);
            assert!(manual.contains(&row), "docs/configuration.md lacks {row}");
        }
    }
}
