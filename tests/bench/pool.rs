//! Requests encoded beforehand, so that the server and not the sender is measured. Before each use, ids and times are
//! written anew into the encoded bytes: both have a fixed width there.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use crate::shop::Shop;

/// Spans of all requests of a pool.
const POOL_SPANS: usize = 65_536;
/// Requests of a pool at least.
const POOL_REQUESTS_MIN: usize = 8;
/// Bytes before a gRPC message: not compressed, then its length.
const FRAME_BYTES: usize = 5;

/// The requests.
pub(crate) struct Pool {
    entries: Vec<Entry>,
    spans: usize,
    /// Event time that the whole pool covers, nanoseconds.
    period_ns: u64,
}

struct Entry {
    frame: Vec<u8>,
    ids: Vec<usize>,
    times: Vec<usize>,
}

impl Pool {
    /// Encodes requests of so many spans each.
    pub(crate) fn new(spans: usize) -> Self {
        let mut shop = Shop::default();
        let requests = (POOL_SPANS / spans).max(POOL_REQUESTS_MIN);
        let entries = (0..requests).map(|_| Entry::new(&shop.request(spans))).collect();
        Self { entries, spans, period_ns: shop.elapsed_ns() }
    }

    /// Returns how many spans a request has.
    pub(crate) fn spans(&self) -> usize {
        self.spans
    }

    /// Returns the gRPC frame of the `n`-th request, whose times begin at `start_ns` for the first of all.
    pub(crate) fn frame(&self, n: usize, start_ns: u64) -> Vec<u8> {
        let entry = &self.entries[n % self.entries.len()];
        let cycle = (n / self.entries.len()) as u64;
        let mut frame = entry.frame.clone();
        // An odd factor keeps masks of different cycles apart; the first cycle's is zero.
        let mask = cycle.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let shift = start_ns.wrapping_add(cycle.wrapping_mul(self.period_ns));
        entry.ids.iter().for_each(|&at| change(&mut frame, at, |id| id ^ mask));
        entry.times.iter().for_each(|&at| change(&mut frame, at, |time| time.wrapping_add(shift)));
        frame
    }
}

impl Entry {
    fn new(request: &ExportTraceServiceRequest) -> Self {
        let message = request.encode_to_vec();
        let mut frame = vec![0];
        frame.extend_from_slice(&u32::try_from(message.len()).expect("a request is far below 4 GiB").to_be_bytes());
        frame.extend_from_slice(&message);
        let mut entry = Self { frame: Vec::new(), ids: Vec::new(), times: Vec::new() };
        for resource_spans in fields(&frame, FRAME_BYTES, frame.len()) {
            for scope_spans in fields(&frame, resource_spans.from, resource_spans.to).filter(|field| field.number == 2)
            {
                for span in fields(&frame, scope_spans.from, scope_spans.to).filter(|field| field.number == 2) {
                    entry.find(&frame, &span);
                }
            }
        }
        entry.frame = frame;
        entry
    }

    /// Notes where ids and times of a span stand (opentelemetry/proto/trace/v1/trace.proto).
    fn find(&mut self, frame: &[u8], span: &Field) {
        for field in fields(frame, span.from, span.to) {
            match field.number {
                1 | 2 | 4 if field.to > field.from => self.ids.push(field.from),
                7 | 8 => self.times.push(field.from),
                _ => {}
            }
        }
    }
}

fn change(bytes: &mut [u8], at: usize, with: impl FnOnce(u64) -> u64) {
    let word: &mut [u8; 8] = (&mut bytes[at..at + 8]).try_into().expect("the slice is of this length");
    *word = with(u64::from_le_bytes(*word)).to_le_bytes();
}

/// A field of an encoded message: its number and where its content stands.
struct Field {
    number: u64,
    from: usize,
    to: usize,
}

/// Returns the fields of the message at `from..to`. Only for what was encoded here.
fn fields(bytes: &[u8], from: usize, to: usize) -> impl Iterator<Item = Field> {
    let mut at = from;
    std::iter::from_fn(move || {
        if at >= to {
            return None;
        }
        let key = varint(bytes, &mut at);
        let content = at;
        let from = match key & 7 {
            0 => {
                varint(bytes, &mut at);
                content
            }
            1 => {
                at += 8;
                content
            }
            2 => {
                let length = varint(bytes, &mut at);
                let from = at;
                at += usize::try_from(length).expect("it was encoded here");
                from
            }
            5 => {
                at += 4;
                content
            }
            other => panic!("wire type {other} in an own encoding"),
        };
        Some(Field { number: key >> 3, from, to: at })
    })
}

fn varint(bytes: &[u8], at: &mut usize) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}
