//! Reads a request's body within the bounds of size, time and memory in flight. Called by `intake` for both protocols.
//! Copies nothing when the body comes in one piece, which is how small requests come.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout, timeout_at};

use crate::in_flight::{InFlight, Reservation};
use crate::refusal::Refusal;
use crate::{Config, RefusalReason};

/// One byte "is compressed" and four bytes length before each message (gRPC over HTTP/2, "Length-Prefixed-Message").
pub(crate) const GRPC_PREFIX_BYTES: usize = 5;
/// A length that a sender only claims is believed up to here; a longer body grows as it comes.
const CLAIMED_BYTES_MAX: usize = 4 << 20;
/// Messages that come in several pieces are put together from a multiple of this on, so that they can be written to the
/// log from where they lie.
const ALIGNMENT: usize = 4_096;
/// Bodies whose memory is used again: as many as a core decodes while others are being logged.
const SPARE_MAX: usize = 8;
/// Longer ones are given back: what senders claimed at once.
const SPARE_BYTES_MAX: usize = CLAIMED_BYTES_MAX + ALIGNMENT;
/// How long the rest of a refused body is read and thrown away, so that the sender gets to read the answer: many
/// clients write the whole request before they look, and a closed connection would hide the code from them.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// What stands before the message in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Nothing: the body is the message.
    None,
    /// gRPC's prefix.
    Grpc,
}

/// A body as sent, and its share of the bytes in flight.
pub(crate) struct ReadBody {
    pub(crate) bytes: Bytes,
    pub(crate) reservation: Reservation,
}

/// Memory of bodies that are done with, for the next ones: fresh memory of megabytes costs about as much as filling it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spare(Arc<Mutex<Vec<BytesMut>>>);

impl Spare {
    /// Returns room for so many bytes.
    fn take(&self, bytes: usize) -> BytesMut {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let free = spare.iter_mut().position(|room| room.try_reclaim(bytes));
        let room = free.map(|free| spare.swap_remove(free));
        room.unwrap_or_else(|| BytesMut::with_capacity(bytes))
    }

    /// Returns what was written, and has its memory be used again once nobody reads it any more.
    fn give(&self, mut written: BytesMut) -> Bytes {
        let bytes = written.split().freeze();
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes.len() <= SPARE_BYTES_MAX {
            // The oldest goes: it is the one that somebody still reads.
            if spare.len() == SPARE_MAX {
                spare.remove(0);
            }
            spare.push(written);
        }
        bytes
    }
}

/// Pieces that came so far.
enum Pieces {
    None,
    One(Bytes),
    Many(Gathered),
}

/// Pieces that were put together.
struct Gathered {
    room: BytesMut,
    /// Where in the room the body begins.
    begin: usize,
}

/// Reads a body of at most `body_bytes_max` bytes and its frame.
///
/// # Errors
/// If it is too large, comes too slowly, breaks off, or there is no room for it.
pub(crate) async fn read(
    config: &Config,
    in_flight: &InFlight,
    spare: &Spare,
    mut body: Incoming,
    framing: Framing,
) -> Result<ReadBody, Refusal> {
    let read = read_within_bounds(config, in_flight, spare, &mut body, framing).await;
    if read.is_err() {
        discard(body).await;
    }
    read
}

/// Reads and throws away what is left of a body.
pub(crate) async fn discard(mut body: Incoming) {
    let discard = async { while let Some(Ok(_)) = body.frame().await {} };
    // Whether the rest came in time does not matter: the request is refused either way.
    let _ = timeout(DISCARD_TIMEOUT, discard).await;
}

async fn read_within_bounds(
    config: &Config,
    in_flight: &InFlight,
    spare: &Spare,
    body: &mut Incoming,
    framing: Framing,
) -> Result<ReadBody, Refusal> {
    let bytes_max = config.body_bytes_max.saturating_add(framing.bytes());
    let claimed = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if claimed > bytes_max {
        return Err(Refusal::too_large(config.body_bytes_max));
    }
    let ends = Instant::now() + config.body_timeout;
    let mut reservation = in_flight.reserve();
    let mut pieces = Pieces::None;
    loop {
        let pause_ends = ends.min(Instant::now() + config.body_idle_timeout);
        let frame = match timeout_at(pause_ends, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok(ReadBody { bytes: pieces.into_bytes(spare), reservation }),
            Ok(Some(Err(_))) => {
                return Err(Refusal::new(RefusalReason::Disconnected, "the body ended before its end"));
            }
            Err(_) => return Err(Refusal::too_slow()),
        };
        let Ok(piece) = frame.into_data() else { continue };
        let claimed = claimed.max(framing.claimed(&piece, &pieces));
        if claimed > bytes_max || pieces.len() + piece.len() > bytes_max {
            return Err(Refusal::too_large(config.body_bytes_max));
        }
        if !reservation.grow(piece.len()) {
            return Err(Refusal::in_flight());
        }
        pieces.push(piece, claimed, framing, spare);
    }
}

impl Framing {
    fn bytes(self) -> usize {
        match self {
            Self::None => 0,
            Self::Grpc => GRPC_PREFIX_BYTES,
        }
    }

    /// Returns the length of the whole body, as far as the first piece says.
    fn claimed(self, piece: &Bytes, before: &Pieces) -> usize {
        let is_first = matches!(before, Pieces::None);
        if self == Self::None || !is_first || piece.len() < GRPC_PREFIX_BYTES {
            return 0;
        }
        let length = usize::try_from((&piece[1..]).get_u32()).unwrap_or(usize::MAX);
        length.saturating_add(GRPC_PREFIX_BYTES)
    }
}

impl Pieces {
    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(piece) => piece.len(),
            Self::Many(Gathered { room, begin }) => room.len() - begin,
        }
    }

    /// Adds a piece; `claimed` is the length of the whole body, if its sender said.
    fn push(&mut self, piece: Bytes, claimed: usize, framing: Framing, spare: &Spare) {
        match self {
            Self::None => *self = Self::One(piece),
            Self::One(first) => {
                let least = first.len() + piece.len();
                let mut room = spare.take(ALIGNMENT + least.max(claimed.min(CLAIMED_BYTES_MAX)));
                let message = room.spare_capacity_mut().as_ptr().wrapping_add(framing.bytes());
                let begin = message.align_offset(ALIGNMENT);
                room.resize(begin, 0);
                room.extend_from_slice(first);
                room.extend_from_slice(&piece);
                *self = Self::Many(Gathered { room, begin });
            }
            Self::Many(Gathered { room, .. }) => room.extend_from_slice(&piece),
        }
    }

    fn into_bytes(self, spare: &Spare) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::One(piece) => piece,
            Self::Many(Gathered { room, begin }) => spare.give(room).slice(begin..),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_once_nobody_reads_it() {
        let spare = Spare::default();
        let body = |byte: u8| {
            let mut room = spare.take(1_000);
            room.extend_from_slice(&[byte; 1_000]);
            spare.give(room)
        };
        let first = body(1);
        let begin = first.as_ptr();
        let second = body(2);
        assert!(first.iter().all(|byte| *byte == 1) && second.iter().all(|byte| *byte == 2));
        drop(first);
        assert_eq!(body(3).as_ptr(), begin);
    }

    #[test]
    fn bodies_that_are_kept_and_large_ones_leave_nothing_behind() {
        let spare = Spare::default();
        let kept: Vec<Bytes> = (0..=SPARE_MAX).map(|_| spare.give(BytesMut::zeroed(10))).collect();
        drop(spare.give(BytesMut::zeroed(SPARE_BYTES_MAX + 1)));
        let rooms = || spare.0.lock().map_or(0, |rooms| rooms.len());
        assert_eq!((kept.len(), rooms()), (SPARE_MAX + 1, SPARE_MAX));
        assert_eq!((spare.take(10).capacity(), rooms()), (10, SPARE_MAX));
    }

    #[test]
    fn message_that_is_put_together_begins_where_it_can_be_written_to_the_log() {
        let (spare, body) = (Spare::default(), Bytes::from_iter(0..200));
        for framing in [Framing::None, Framing::Grpc] {
            let mut pieces = Pieces::None;
            for piece in [0..3, 3..100, 100..200] {
                pieces.push(body.slice(piece), body.len(), framing, &spare);
            }
            assert_eq!(pieces.len(), body.len());
            let gathered = pieces.into_bytes(&spare);
            assert_eq!(gathered, body);
            assert!(gathered[framing.bytes()..].as_ptr().addr().is_multiple_of(ALIGNMENT));
        }
    }
}
