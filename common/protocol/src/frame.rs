//! The header before a payload and the checksum behind it.

/// The bytes that every frame begins with.
pub const MAGIC: [u8; 4] = [0xa7, b'R', b'M', b'L'];

/// Bytes of a frame before its payload.
pub const HEADER_LEN: usize = 16;

/// Bytes of a frame before and behind its payload.
pub const OVERHEAD: usize = HEADER_LEN + 4;

/// The fields of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub kind: u32,
    /// Bytes of the payload.
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

    /// Returns the checksum that stands behind `payload`, the payload of this header.
    ///
    /// The checksum covers the header too. If it covered the payload alone, a header behind a frame that was cut off could pass
    /// for that frame's payload: its first 12 bytes are followed by a checksum of them.
    pub fn checksum(self, payload: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&MAGIC);
        hasher.update(&self.kind.to_le_bytes());
        hasher.update(&self.length.to_le_bytes());
        hasher.update(payload);
        hasher.finalize()
    }

    /// Reads a header; `None` if the bytes are no header or a damaged one.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let &[_, _, _, _, k0, k1, k2, k3, l0, l1, l2, l3, ..] = bytes;
        let header = Self { kind: u32::from_le_bytes([k0, k1, k2, k3]), length: u32::from_le_bytes([l0, l1, l2, l3]) };
        (header.to_bytes() == *bytes).then_some(header)
    }
}
