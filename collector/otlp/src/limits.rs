//! Bounds of decoding. The receiver's configuration carries them; every decoder here obeys them.

/// Bounds on one request. What happens at each is counted in the batch or refused with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages inside one another, counted from the request (1). Deeper requests are refused. A list in an attribute
    /// takes two, a key-value list three. At most 90, so that prost's own limit of 100 is never the one that speaks.
    pub nesting_max: usize,
    /// Attributes an item, event or link keeps; the rest is cut and counted.
    pub attributes_max: usize,
    /// Bytes of an attribute's key and of its value as text; longer ones are cut at a character and counted.
    pub attribute_bytes_max: usize,
    /// Memory that the decoded protobuf messages may take. Two bytes on the wire can become a span of 300 bytes in
    /// memory, so the size of the body alone bounds nothing. Larger requests are refused.
    pub decoded_bytes_max: usize,
    /// Memory that the rows of one request may take; resource attributes count once for every row, because every row
    /// carries them. Items beyond it are rejected. At most 2 GiB, the range of an Arrow string column.
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
