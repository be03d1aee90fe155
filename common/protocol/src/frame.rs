//! What surrounds a payload.

/// Every frame begins with these.
pub const MAGIC: [u8; 4] = [0xa7, b'R', b'M', b'L'];

/// Bytes before the payload.
pub const HEADER_LEN: usize = 16;

/// Bytes of a frame beside its payload.
pub const OVERHEAD: usize = HEADER_LEN + 4;

/// What a header says.
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

    /// What stands behind `payload`, which is this header's.
    ///
    /// The header is in it: were it the payload's alone, the 12 bytes and the checksum of a header behind a frame that was cut off
    /// would be taken for that frame's payload.
    pub fn checksum(self, payload: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&MAGIC);
        hasher.update(&self.kind.to_le_bytes());
        hasher.update(&self.length.to_le_bytes());
        hasher.update(payload);
        hasher.finalize()
    }

    /// `None` where the bytes are no header, or a damaged one.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let &[_, _, _, _, k0, k1, k2, k3, l0, l1, l2, l3, ..] = bytes;
        let header = Self { kind: u32::from_le_bytes([k0, k1, k2, k3]), length: u32::from_le_bytes([l0, l1, l2, l3]) };
        (header.to_bytes() == *bytes).then_some(header)
    }
}
