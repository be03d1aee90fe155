//! Mutates files that state a length or a checksum at their beginning.

use resmlp_runtime::checksum;
use resmlp_runtime::format::{HEADER_LEN, field};

use super::Mutator;

impl Mutator<'_> {
    /// Returns a safetensors file with a changed header or changed data, whose stated length of the header is right.
    pub fn safetensors(&mut self, file: &[u8]) -> Option<Vec<u8>> {
        let (length, rest) = file.split_first_chunk::<8>()?;
        let (header, data) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        let (mut header, mut data) = (header.to_vec(), data.to_vec());
        let room = self.most.saturating_sub(file.len());
        if self.dice.one_in(4) {
            self.change(&mut data, room);
        } else {
            self.change(&mut header, room);
        }
        Some([&(header.len() as u64).to_le_bytes()[..], &header, &data].concat())
    }

    /// Returns a changed packed model whose stated length and checksum are right.
    pub fn packed(&mut self, file: &[u8]) -> Option<Vec<u8>> {
        let mut file = file.to_vec();
        let room = if self.dice.one_in(4) { self.most.saturating_sub(file.len()) } else { 0 };
        self.change(&mut file, room);
        if file.len() < HEADER_LEN {
            return None;
        }
        let length = file.len() as u64;
        file[field::FILE_LEN..][..8].copy_from_slice(&length.to_le_bytes());
        let sum = checksum(&file);
        file[field::CHECKSUM..][..4].copy_from_slice(&sum.to_le_bytes());
        Some(file)
    }
}
