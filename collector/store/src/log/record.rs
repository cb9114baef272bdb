//! Bytes of a log file: a header, then records `[len u32][crc32 u32][seq u64][kind u8][payload]`, little-endian, with
//! consecutive `seq`. The checksum covers everything but itself. The writer encodes, recovery scans. Records of the kind
//! [`PADDING`] carry nothing, and a reader of the log is not shown them.
//!
//! Damage costs the records it touches and no more: a record whose checksum is wrong is stepped over by its length if
//! the next record stands there, else the file is searched byte by byte for the next record with a later `seq`.

/// First bytes of a log file: a name and the version of the format.
pub(crate) const FILE_HEADER: [u8; 8] = *b"TLWAL\0\0\x01";
pub(super) const RECORD_HEADER_BYTES: usize = 17;
/// Kind of the records that only move the next one to where a block begins. No request is of it.
pub(super) const PADDING: u8 = u8::MAX;

/// One request in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) seq: u64,
    pub(crate) kind: u8,
    pub(crate) payload: &'a [u8],
}

/// Returns what stands before a record's payload. The payload is shorter than 4 GiB: the handle refuses longer ones.
pub(crate) fn header(record: Record<'_>) -> [u8; RECORD_HEADER_BYTES] {
    let len = u32::try_from(record.payload.len()).expect("the handle refuses payloads of 4 GiB");
    let mut header = [0; RECORD_HEADER_BYTES];
    header[..4].copy_from_slice(&len.to_le_bytes());
    header[4..8].copy_from_slice(&checksum(len, record).to_le_bytes());
    header[8..16].copy_from_slice(&record.seq.to_le_bytes());
    header[16] = record.kind;
    header
}

/// Records of one log file, in order.
pub(crate) struct Records<'a> {
    bytes: &'a [u8],
    offset: usize,
    expected: u64,
    damaged: u64,
}

impl<'a> Records<'a> {
    /// Starts reading a file whose name says that it begins with `first_seq`. A damaged header is counted and otherwise
    /// ignored, because every record carries its own checksum.
    pub(crate) fn new(bytes: &'a [u8], first_seq: u64) -> Self {
        // An empty one was created and not written yet.
        let is_whole = bytes.is_empty() || bytes.starts_with(&FILE_HEADER);
        Self { bytes, offset: FILE_HEADER.len(), expected: first_seq, damaged: u64::from(!is_whole) }
    }

    /// Returns how many damaged places were met so far.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged
    }

    fn read(&self, offset: usize) -> Option<Record<'a>> {
        let header = self.bytes.get(offset..)?.first_chunk::<RECORD_HEADER_BYTES>()?;
        let seq = u64::from_le_bytes(*header[8..].first_chunk()?);
        // Checked before the checksum, so that a search does not compute one at every byte.
        if !self.is_plausible(offset, seq) {
            return None;
        }
        let len = u32::from_le_bytes(*header.first_chunk()?);
        let start = offset + RECORD_HEADER_BYTES;
        let payload = self.bytes.get(start..start.checked_add(usize::try_from(len).ok()?)?)?;
        let record = Record { seq, kind: header[16], payload };
        let stated = u32::from_le_bytes(*header[4..].first_chunk()?);
        (checksum(len, record) == stated).then_some(record)
    }

    /// Returns whether a record with this number can stand here: the expected one right after the last good one, and
    /// further on only as many later as fit in between.
    fn is_plausible(&self, offset: usize, seq: u64) -> bool {
        let skipped = seq.checked_sub(self.expected);
        let fit = u64::try_from((offset - self.offset) / RECORD_HEADER_BYTES).unwrap_or(u64::MAX);
        skipped.is_some_and(|skipped| skipped <= fit && (skipped == 0) == (offset == self.offset))
    }

    /// Returns where to go on after a damaged record.
    fn resume(&self) -> Option<usize> {
        let by_length = || {
            let len = u32::from_le_bytes(*self.bytes.get(self.offset..)?.first_chunk()?);
            let next = self.offset.checked_add(RECORD_HEADER_BYTES)?.checked_add(usize::try_from(len).ok()?)?;
            self.read(next).filter(|record| record.seq == self.expected + 1).map(|_| next)
        };
        by_length().or_else(|| (self.offset + 1..self.bytes.len()).find(|offset| self.read(*offset).is_some()))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        std::iter::from_fn(|| self.next_of_any_kind()).find(|record| record.kind != PADDING)
    }
}

impl<'a> Records<'a> {
    fn next_of_any_kind(&mut self) -> Option<Record<'a>> {
        if self.offset >= self.bytes.len() {
            return None;
        }
        let mut found = self.read(self.offset);
        if found.is_none() {
            self.damaged += 1;
            let next = self.resume();
            found = next.and_then(|offset| self.read(offset));
            self.offset = next.unwrap_or(self.bytes.len());
        }
        let record = found?;
        self.offset += RECORD_HEADER_BYTES + record.payload.len();
        self.expected = record.seq + 1;
        Some(record)
    }
}

fn checksum(len: u32, record: Record<'_>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&len.to_le_bytes());
    hasher.update(&record.seq.to_le_bytes());
    hasher.update(&[record.kind]);
    hasher.update(record.payload);
    hasher.finalize()
}
