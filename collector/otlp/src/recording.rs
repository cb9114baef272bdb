//! Recordings: what the OpenTelemetry Collector's file exporter writes, as a sequence of request bodies. Either frames
//! of [4-byte big-endian length][Export…ServiceRequest] or lines of OTLP/JSON; the first byte tells which.
//! Called by `analyze`, which opens and decompresses the file. Never holds more than one body.

use std::io::{self, BufRead, BufReader, Read};

use crate::Encoding;

/// Largest body by default: more than any exporter sends at once, and small enough to hold.
pub const BODY_BYTES_MAX: usize = 256 << 20;

/// One request of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Encoding.
    pub encoding: Encoding,
    /// The request, ready for [`crate::decode`].
    pub bytes: Vec<u8>,
    /// Where its frame or line begins in the decompressed recording, in bytes.
    pub offset: u64,
}

/// A recording that cannot be read further.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be read, or its compression is damaged.
    #[error("reading the recording at byte {offset}")]
    Read {
        /// Beginning of the frame or line.
        offset: u64,
        /// The reader's answer.
        #[source]
        cause: io::Error,
    },
    /// The recording ends within a frame.
    #[error("the recording ends within the frame at byte {offset}")]
    Truncated {
        /// Beginning of the frame.
        offset: u64,
    },
    /// A frame or line is larger than allowed; mostly this means that the file is no recording.
    #[error("the frame at byte {offset} is larger than {max} bytes: is this a recording of the file exporter?")]
    TooLarge {
        /// Beginning of the frame or line.
        offset: u64,
        /// The bound.
        max: usize,
    },
}

/// Reads a recording body by body; after an error it yields nothing more.
pub struct Recording<R> {
    reader: BufReader<R>,
    offset: u64,
    bytes_max: usize,
    has_lines: bool,
    is_over: bool,
}

impl<R: Read> Recording<R> {
    /// Reads decompressed bytes; a body may have at most `bytes_max` bytes.
    pub fn new(reader: R, bytes_max: usize) -> Self {
        Self { reader: BufReader::new(reader), offset: 0, bytes_max, has_lines: false, is_over: false }
    }

    fn read_body(&mut self) -> Result<Option<Body>, RecordingError> {
        let read = |offset| move |cause| RecordingError::Read { offset, cause };
        // Only between lines: in a frame's length, a byte that looks blank is a digit.
        if self.has_lines {
            self.skip_blank().map_err(read(self.offset))?;
        }
        let offset = self.offset;
        match self.reader.fill_buf().map_err(read(offset))?.first() {
            None => Ok(None),
            // A frame that began with this byte would be over 2 GiB long.
            Some(b'{') => self.read_line().map(Some),
            Some(_) => self.read_frame().map(Some),
        }
    }

    fn skip_blank(&mut self) -> io::Result<()> {
        loop {
            let buffered = self.reader.fill_buf()?;
            let blank = buffered.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            if blank == 0 {
                return Ok(());
            }
            self.reader.consume(blank);
            self.offset += blank as u64;
        }
    }

    fn read_line(&mut self) -> Result<Body, RecordingError> {
        let offset = self.offset;
        self.has_lines = true;
        let mut bytes = Vec::new();
        let line = self.reader.by_ref().take(self.bytes_max as u64 + 1).read_until(b'\n', &mut bytes);
        self.offset += line.map_err(|cause| RecordingError::Read { offset, cause })? as u64;
        if bytes.len() > self.bytes_max {
            return Err(RecordingError::TooLarge { offset, max: self.bytes_max });
        }
        Ok(Body { encoding: Encoding::Json, bytes, offset })
    }

    fn read_frame(&mut self) -> Result<Body, RecordingError> {
        let offset = self.offset;
        let mut header = Vec::with_capacity(4);
        let read = self.reader.by_ref().take(4).read_to_end(&mut header);
        read.map_err(|cause| RecordingError::Read { offset, cause })?;
        let header: [u8; 4] = header.try_into().map_err(|_| RecordingError::Truncated { offset })?;
        let length = u32::from_be_bytes(header) as usize;
        if length > self.bytes_max {
            return Err(RecordingError::TooLarge { offset, max: self.bytes_max });
        }
        // Read as it comes: the length alone, which may be damaged, must not take memory.
        let mut bytes = Vec::new();
        let read = self.reader.by_ref().take(length as u64).read_to_end(&mut bytes);
        if read.map_err(|cause| RecordingError::Read { offset, cause })? < length {
            return Err(RecordingError::Truncated { offset });
        }
        self.offset += 4 + length as u64;
        Ok(Body { encoding: Encoding::Protobuf, bytes, offset })
    }
}

impl<R: Read> Iterator for Recording<R> {
    type Item = Result<Body, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let body = self.read_body().transpose();
        self.is_over = !matches!(body, Some(Ok(_)));
        body
    }
}

#[cfg(test)]
mod tests;
