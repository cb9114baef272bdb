//! Reads a request's body within the bounds of size, time and memory in flight. Called by `intake` for both protocols.
//! Copies nothing when the body comes in one piece, which is how small requests come.

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

/// Pieces that came so far.
enum Pieces {
    None,
    One(Bytes),
    Many(BytesMut),
}

/// Reads a body of at most `body_bytes_max` bytes and its frame.
///
/// # Errors
/// If it is too large, comes too slowly, breaks off, or there is no room for it.
pub(crate) async fn read(
    config: &Config,
    in_flight: &InFlight,
    mut body: Incoming,
    framing: Framing,
) -> Result<ReadBody, Refusal> {
    let read = read_within_bounds(config, in_flight, &mut body, framing).await;
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
            Ok(None) => return Ok(ReadBody { bytes: pieces.into_bytes(), reservation }),
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
        pieces.push(piece, claimed);
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
            Self::Many(pieces) => pieces.len(),
        }
    }

    /// Adds a piece; `claimed` is the length of the whole body, if its sender said.
    fn push(&mut self, piece: Bytes, claimed: usize) {
        *self = match std::mem::replace(self, Self::None) {
            Self::None => Self::One(piece),
            Self::One(first) => {
                let least = first.len() + piece.len();
                let mut many = BytesMut::with_capacity(least.max(claimed.min(CLAIMED_BYTES_MAX)));
                many.extend_from_slice(&first);
                many.extend_from_slice(&piece);
                Self::Many(many)
            }
            Self::Many(mut many) => {
                many.extend_from_slice(&piece);
                Self::Many(many)
            }
        };
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::One(piece) => piece,
            Self::Many(many) => many.freeze(),
        }
    }
}
