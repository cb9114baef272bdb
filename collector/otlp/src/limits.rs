//! Bounds of decoding. The receiver's configuration carries them; every decoder here obeys them.

/// Bounds on one request. What happens at each is counted in the batch or refused with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages inside one another, counted from the request (1). A value that lies deeper is refused with its request.
    /// A list in an attribute takes two, a key-value list three. The seven levels of OTLP itself are always read. At most
    /// 90, so that prost's own limit of 100 is never the one that speaks.
    pub nesting_max: usize,
    /// Attributes an item, event or link keeps; the rest is cut and counted.
    pub attributes_max: usize,
    /// Bytes of an attribute's key and of its value as text; longer ones are cut at a character and counted.
    pub attribute_bytes_max: usize,
    /// Memory that messages may take where they are decoded as messages: metrics, and values that are lists. Two bytes on
    /// the wire can become a message of 300 bytes in memory, so the size of the body alone bounds nothing. Larger requests
    /// are refused.
    pub decoded_bytes_max: usize,
    /// Memory that the rows of one request may take; a resource counts once for all of its rows. Items beyond it are
    /// rejected. At most 1 GiB, so that texts stay in the range of an Arrow column.
    pub rows_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            nesting_max: 64,
            attributes_max: 512,
            attribute_bytes_max: 64 << 10,
            decoded_bytes_max: 512 << 20,
            rows_bytes_max: 512 << 20,
        }
    }
}
