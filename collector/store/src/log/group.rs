//! How a group of requests lies in the log: it begins and ends where a block does, and a payload that lies in blocks of
//! memory lies in blocks of the file as well. Then the disk can write it without a copy (`disk`).

use super::record::{FILE_HEADER, PADDING, RECORD_HEADER_BYTES, Record};
use crate::disk::{BLOCK, blocks_in_place};

/// Shorter payloads are copied rather than moved to a block's begin: the space would cost more than the copy.
const MOVED_BYTES_MIN: usize = 8 * BLOCK;
const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Returns the records of a group, numbered from `first_seq` on: the requests, and what moves them.
pub(super) fn lay_out<'a>(
    first_seq: u64,
    begins_file: bool,
    requests: impl Iterator<Item = (u8, &'a [u8])>,
) -> Vec<Record<'a>> {
    let mut group = Group { first_seq, end: if begins_file { FILE_HEADER.len() } else { 0 }, records: Vec::new() };
    for (kind, payload) in requests {
        if payload.len() >= MOVED_BYTES_MIN && blocks_in_place(payload) > 0 {
            group.fill_up_to_block_less(RECORD_HEADER_BYTES);
        }
        group.push(kind, payload);
    }
    group.fill_up_to_block_less(0);
    group.records
}

struct Group<'a> {
    first_seq: u64,
    /// Bytes since the block in which the group begins.
    end: usize,
    records: Vec<Record<'a>>,
}

impl<'a> Group<'a> {
    fn push(&mut self, kind: u8, payload: &'a [u8]) {
        let seq = self.first_seq + self.records.len() as u64;
        self.records.push(Record { seq, kind, payload });
        self.end += RECORD_HEADER_BYTES + payload.len();
    }

    /// Pads until so many bytes are missing to the end of a block.
    fn fill_up_to_block_less(&mut self, bytes: usize) {
        let end = self.end + bytes;
        let missing = end.next_multiple_of(BLOCK) - end;
        if missing > 0 {
            // Padding has a header too; where that does not fit, one more block is filled.
            let payload = missing.checked_sub(RECORD_HEADER_BYTES).unwrap_or(missing + BLOCK - RECORD_HEADER_BYTES);
            self.push(PADDING, &ZEROS[..payload]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::{Records, record};

    /// A file of groups, and where the payloads lie in it; a request is how long it is and how far from a block's begin.
    fn file(groups: &[Vec<(usize, usize)>], memory: &[u8]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut places, mut seq) = (FILE_HEADER.to_vec(), Vec::new(), 1);
        for group in groups {
            let requests = group.iter().map(|(len, offset)| (1, &memory[*offset..offset + len]));
            let records = lay_out(seq, seq == 1, requests);
            for record in &records {
                bytes.extend_from_slice(&record::header(*record));
                if record.kind != PADDING {
                    places.push(bytes.len());
                }
                bytes.extend_from_slice(record.payload);
            }
            seq += records.len() as u64;
            assert!(bytes.len().is_multiple_of(BLOCK));
        }
        (bytes, places)
    }

    proptest! {
        #[test]
        fn requests_are_read_as_written_and_large_ones_lie_in_blocks(
            groups in prop::collection::vec(
                prop::collection::vec((prop_oneof![0..200_usize, 0..3 * MOVED_BYTES_MIN], prop_oneof![Just(0), 0..BLOCK]), 1..4),
                1..4,
            ),
        ) {
            let memory: Vec<u8> = (0..5 * MOVED_BYTES_MIN).map(|n| (n % 251) as u8).collect();
            let memory = &memory[memory.as_ptr().align_offset(BLOCK)..];
            let (bytes, places) = file(&groups, memory);
            let requests: Vec<_> = groups.concat();
            let mut records = Records::new(&bytes, 1);
            let read: Vec<&[u8]> = records.by_ref().map(|record| record.payload).collect();
            prop_assert_eq!(records.damaged(), 0);
            let sent: Vec<&[u8]> = requests.iter().map(|(len, offset)| &memory[*offset..offset + len]).collect();
            prop_assert!(read == sent);
            for ((len, offset), place) in requests.iter().zip(places) {
                let is_moved = *len >= MOVED_BYTES_MIN && *offset == 0;
                prop_assert!(!is_moved || place.is_multiple_of(BLOCK));
            }
        }
    }
}
