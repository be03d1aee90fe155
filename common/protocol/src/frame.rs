//! Writes and reads the header before a payload and the checksum after it.

/// The bytes that every frame begins with.
pub const MAGIC: [u8; 4] = [0xa7, b'R', b'M', b'L'];

/// Number of bytes in a frame before its payload.
pub const HEADER_LEN: usize = 16;

/// Number of bytes in a frame before and after its payload.
pub const OVERHEAD: usize = HEADER_LEN + 4;

/// The fields of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub kind: u32,
    /// Length of the payload, in bytes.
    pub length: u32,
}

impl Header {
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let [m0, m1, m2, m3] = MAGIC;
        let [k0, k1, k2, k3] = self.kind.to_le_bytes();
        let [l0, l1, l2, l3] = self.length.to_le_bytes();
        let [c0, c1, c2, c3] = self.checksum(&[]).to_le_bytes();
        [m0, m1, m2, m3, k0, k1, k2, k3, l0, l1, l2, l3, c0, c1, c2, c3]
    }

    /// Returns the checksum that follows `payload`, the payload of this header.
    ///
    /// The checksum covers the header too. If it covered the payload alone, a frame that was cut off after its header
    /// could take the next frame's header for its payload, because the first 12 bytes of a header are followed by a
    /// checksum of them.
    pub fn checksum(self, payload: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&MAGIC);
        hasher.update(&self.kind.to_le_bytes());
        hasher.update(&self.length.to_le_bytes());
        hasher.update(payload);
        hasher.finalize()
    }

    /// Reads a header. Returns `None` if the bytes are not a header or are damaged.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let &[_, _, _, _, k0, k1, k2, k3, l0, l1, l2, l3, ..] = bytes;
        let header = Self { kind: u32::from_le_bytes([k0, k1, k2, k3]), length: u32::from_le_bytes([l0, l1, l2, l3]) };
        (header.to_bytes() == *bytes).then_some(header)
    }
}
