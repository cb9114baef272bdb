//! A file that is only appended to, and past the page cache where the file system takes that (`O_DIRECT`, open(2)):
//! what is synced at once and hardly ever read gains nothing from a copy in the kernel, which costs as much as reading
//! the request over a socket.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::path::Path;

use super::DiskFile;

/// What direct writes begin at and consist of, in the file and in memory. Devices ask for 512 or 4,096.
pub(crate) const BLOCK: usize = 4_096;
/// Bytes that are copied together because they do not lie in blocks.
const STAGING_BYTES: usize = 1 << 20;
/// Pieces that are handed to the system at once, which takes no more.
const PIECES_MAX: usize = 1_024;

/// The file. A write that is no whole number of blocks ends direct writing, as does a file system that refuses it.
pub(super) struct DirectFile {
    file: File,
    is_direct: bool,
    staging: Vec<u8>,
}

/// What is written next.
enum Part<'a> {
    /// So many of the bytes that were copied.
    Copied(usize),
    /// Blocks where they lie.
    InPlace(&'a [u8]),
}

impl DirectFile {
    /// Creates the file, or empties the one that is there.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let (file, is_direct) = match open_direct(&options, path) {
            // That file systems without it say. Any other reason will be met again.
            Err(_) => (options.open(path)?, false),
            Ok(file) => (file, true),
        };
        Ok(Self { file, is_direct, staging: Vec::new() })
    }

    fn write_blocks(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let (begin, parts) = gather(&mut self.staging, pieces);
        let mut copied = &self.staging[begin..];
        let parts = parts.into_iter().map(|part| match part {
            Part::InPlace(blocks) => IoSlice::new(blocks),
            Part::Copied(bytes) => IoSlice::new(copied.split_off(..bytes).expect("so many were copied")),
        });
        self.file.write_vectored(&parts.collect::<Vec<_>>())
    }
}

/// Returns where the copied bytes begin in `staging`, and what to write, which may be less than all.
fn gather<'a>(staging: &mut Vec<u8>, pieces: &'a [IoSlice<'_>]) -> (usize, Vec<Part<'a>>) {
    staging.clear();
    staging.reserve_exact(STAGING_BYTES + BLOCK);
    let begin = staging.as_ptr().align_offset(BLOCK);
    staging.resize(begin, 0);
    let mut parts = Vec::new();
    for piece in pieces {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let copied = staging.len() - begin;
            let missing = BLOCK - copied % BLOCK;
            if missing == BLOCK && (copied == STAGING_BYTES || parts.len() + 1 >= PIECES_MAX) {
                return (begin, parts);
            }
            let bytes = if missing == BLOCK { blocks_in_place(rest) } else { 0 };
            if bytes > 0 {
                parts.push(Part::InPlace(&rest[..bytes]));
                rest = &rest[bytes..];
                continue;
            }
            let (now, later) = rest.split_at(rest.len().min(missing));
            staging.extend_from_slice(now);
            match parts.last_mut() {
                Some(Part::Copied(bytes)) => *bytes += now.len(),
                _ => parts.push(Part::Copied(now.len())),
            }
            rest = later;
        }
    }
    (begin, parts)
}

/// Returns how many bytes at the begin of these are blocks that can be written from where they lie.
pub(crate) fn blocks_in_place(bytes: &[u8]) -> usize {
    if bytes.as_ptr().addr().is_multiple_of(BLOCK) { bytes.len() / BLOCK * BLOCK } else { 0 }
}

impl Write for DirectFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.is_direct {
            match self.write_blocks(pieces) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    end_direct(&self.file)?;
                    self.is_direct = false;
                }
                written => return written,
            }
        }
        self.file.write_vectored(&pieces[..pieces.len().min(PIECES_MAX)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for DirectFile {
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }
}

#[cfg(target_os = "linux")]
fn open_direct(options: &OpenOptions, path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    options.clone().custom_flags(rustix::fs::OFlags::DIRECT.bits().cast_signed()).open(path)
}

#[cfg(target_os = "linux")]
fn end_direct(file: &File) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    Ok(rustix::fs::fcntl_setfl(file, flags - rustix::fs::OFlags::DIRECT)?)
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_: &OpenOptions, _: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn end_direct(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns so many bytes, at the begin of a block or not.
    fn piece(len: usize, is_aligned: bool, byte: u8) -> (Vec<u8>, usize) {
        let mut bytes = vec![byte; len + 2 * BLOCK];
        let begin = bytes.as_ptr().align_offset(BLOCK) + usize::from(!is_aligned);
        bytes.truncate(begin + len);
        (bytes, begin)
    }

    fn write_all(file: &mut DirectFile, pieces: &[(Vec<u8>, usize)]) {
        let mut slices: Vec<_> = pieces.iter().map(|(bytes, begin)| IoSlice::new(&bytes[*begin..])).collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            let written = file.write_vectored(rest).unwrap();
            IoSlice::advance_slices(&mut rest, written);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_what_the_pieces_are(
            lens in prop::collection::vec((1..3 * BLOCK, any::<bool>()), 1..8),
            is_whole in any::<bool>(),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("file");
            let mut pieces: Vec<_> = lens.iter().zip(1..).map(|((len, is_aligned), byte)| piece(*len, *is_aligned, byte)).collect();
            let bytes: usize = lens.iter().map(|(len, _)| len).sum();
            if is_whole {
                pieces.push(piece(bytes.next_multiple_of(BLOCK) - bytes, false, 0));
                pieces.retain(|(bytes, begin)| bytes.len() > *begin);
            }
            let mut file = DirectFile::create(&path).unwrap();
            write_all(&mut file, &pieces);
            write_all(&mut file, &pieces);
            let once: Vec<u8> = pieces.iter().flat_map(|(bytes, begin)| &bytes[*begin..]).copied().collect();
            prop_assert!(std::fs::read(&path).unwrap() == [&once[..], &once].concat());
        }
    }

    #[test]
    fn more_than_is_copied_or_handed_over_at_once_is_written_in_several_steps() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut file = DirectFile::create(&path).unwrap();
        write_all(&mut file, &[piece(3 * STAGING_BYTES, false, 1)]);
        // Every other block lies where it can be written, which no two of them can be together.
        let blocks: Vec<_> = (0..3 * PIECES_MAX).map(|n| piece(BLOCK, n % 2 == 0, 2)).collect();
        write_all(&mut file, &blocks);
        let read = std::fs::read(&path).unwrap();
        let (ones, twos) = read.split_at(3 * STAGING_BYTES);
        assert!(ones.iter().all(|byte| *byte == 1) && twos.iter().all(|byte| *byte == 2));
        assert_eq!(twos.len(), 3 * PIECES_MAX * BLOCK);
    }

    #[test]
    fn blocks_are_written_from_where_they_lie() {
        let (header, payload) = (piece(BLOCK, false, 1), piece(3 * BLOCK + 1, true, 2));
        let slices = [&header, &payload].map(|(bytes, begin)| IoSlice::new(&bytes[*begin..]));
        let (_, parts) = gather(&mut Vec::new(), &slices);
        let [Part::Copied(BLOCK), Part::InPlace(blocks), Part::Copied(1)] = parts[..] else { panic!("three parts") };
        assert_eq!(blocks.as_ptr(), payload.0[payload.1..].as_ptr());
    }
}
