//! The format UF2, as <https://github.com/microsoft/uf2> describes it: blocks of 512 bytes, each with its own address.

/// The family of programs that run in secure state on the ARM cores of an RP2350, the chip of a Pico 2.
pub const RP2350_ARM_S: u32 = 0xe48b_ff59;

/// Bytes of the program in one block.
const PAYLOAD: usize = 256;
/// Bytes of a block with its header and its trailer.
const BLOCK: usize = 512;
/// The flag which says that the last word of the header is a family.
const FAMILY_PRESENT: u32 = 0x2000;
/// The longest gap between two segments, in bytes. A program with a longer one was not made for this chip's flash.
const LONGEST_GAP: usize = 1 << 20;

/// Converts the segments that an ELF program keeps in flash to UF2 blocks for chips of `family`.
///
/// # Errors
///
/// Returns an error if `elf` is not a 32-bit little-endian ELF program, is cut off, or leaves a gap of over a megabyte.
pub fn from_elf(elf: &[u8], family: u32) -> Result<Vec<u8>, String> {
    let (start, image) = flash_image(elf)
        .ok_or("expected a 32-bit little-endian ELF program for a Pico 2; the file is none, or is damaged")?;
    let count = image.len().div_ceil(PAYLOAD) as u32;
    let blocks = image.chunks(PAYLOAD).zip(0..).flat_map(|(payload, number)| {
        let address = start + number * PAYLOAD as u32;
        let header = [0x0a32_4655, 0x9e5d_5157, FAMILY_PRESENT, address, PAYLOAD as u32, number, count, family]
            .map(u32::to_le_bytes);
        let mut block = header.concat();
        block.extend(payload);
        block.resize(BLOCK - 4, 0);
        block.extend(0x0ab1_6f30_u32.to_le_bytes());
        block
    });
    Ok(blocks.collect())
}

/// Returns the lowest address of all loaded segments, and the bytes of flash memory from there on.
fn flash_image(elf: &[u8]) -> Option<(u32, Vec<u8>)> {
    let word = |at: usize| Some(u32::from_le_bytes(*elf.get(at..)?.first_chunk()?));
    let half = |at: usize| Some(u16::from_le_bytes(*elf.get(at..)?.first_chunk()?) as usize);
    // The first bytes of an ELF file: its magic number, the class (32 bits) and the byte order (little-endian).
    if !elf.starts_with(b"\x7fELF\x01\x01") {
        return None;
    }
    let (headers, size, count) = (word(28)? as usize, half(42)?, half(44)?);
    let mut segments = Vec::new();
    for header in (0..count).map(|i| headers + i * size) {
        let [kind, offset, _, address, len] = [0, 4, 8, 12, 16].map(|field| word(header + field));
        let (offset, len) = (offset? as usize, len? as usize);
        // Kind 1 is a loaded segment. A segment without bytes in the file is memory that the program clears itself.
        if kind? == 1 && len > 0 {
            segments.push((address?, elf.get(offset..)?.get(..len)?));
        }
    }
    let start = segments.iter().map(|(address, _)| *address).min()?;
    let mut image = Vec::new();
    for (address, bytes) in segments {
        let at = (address - start) as usize;
        if at > image.len() + LONGEST_GAP {
            return None;
        }
        image.resize(image.len().max(at + bytes.len()), 0);
        image[at..at + bytes.len()].copy_from_slice(bytes);
    }
    Some((start, image))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes an ELF program of two segments: 300 bytes at 0x1000_0000, and 8 bytes at 0x1000_0200 that run in RAM.
    fn elf() -> Vec<u8> {
        let mut elf = vec![0; 52];
        elf[..6].copy_from_slice(b"\x7fELF\x01\x01");
        elf[28..32].copy_from_slice(&52u32.to_le_bytes());
        elf[42..44].copy_from_slice(&32u16.to_le_bytes());
        elf[44..46].copy_from_slice(&2u16.to_le_bytes());
        for header in
            [[1, 116, 0x1000_0000, 0x1000_0000, 300, 300, 5, 4], [1, 416, 0x2000_0000, 0x1000_0200, 8, 8, 6, 4]]
        {
            elf.extend(header.iter().flat_map(|word: &u32| word.to_le_bytes()));
        }
        elf.extend([7; 300]);
        elf.extend([9; 8]);
        elf
    }

    #[test]
    fn segments_are_placed_at_their_addresses_in_flash() {
        let uf2 = from_elf(&elf(), RP2350_ARM_S).unwrap();
        assert_eq!(uf2.len(), 3 * BLOCK);
        let word = |at: usize| u32::from_le_bytes(*uf2[at..].first_chunk().unwrap());
        for block in 0..3 {
            let at = block * BLOCK;
            let header = [0, 4, 8, 12, 16, 20, 24, 28, 508].map(|field| word(at + field));
            let address = 0x1000_0000 + 256 * block as u32;
            let number = block as u32;
            assert_eq!(header, [0x0a32_4655, 0x9e5d_5157, 0x2000, address, 256, number, 3, RP2350_ARM_S, 0x0ab1_6f30]);
        }
        assert_eq!(uf2[BLOCK + 32..][..45], [[7; 44].as_slice(), &[0]].concat());
        assert_eq!(uf2[2 * BLOCK + 32..][..9], [9, 9, 9, 9, 9, 9, 9, 9, 0]);
    }

    #[test]
    fn files_that_are_not_programs_are_refused() {
        assert!(from_elf(b"RESMLP\r\n", RP2350_ARM_S).is_err());
        assert!(from_elf(&elf()[..400], RP2350_ARM_S).is_err());
    }
}
