//! Reads ATAGs, the list of tags that boot firmware leaves in memory if it has no device tree to hand over.

use core::ops::Range;

/// The content of the tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Atags<'a> {
    /// End of the memory that begins at address 0.
    pub memory_end: Option<usize>,
    /// Addresses of the initramfs.
    pub initramfs: Option<Range<usize>>,
    /// The kernel's command line.
    pub command_line: &'a [u8],
}

const CORE: u32 = 0x5441_0001;
const MEMORY: u32 = 0x5441_0002;
const INITRD: u32 = 0x5442_0005;
const COMMAND_LINE: u32 = 0x5441_0009;

/// Reads the list of tags at the beginning of `words`, or returns `None` if there is none.
pub fn parse(words: &[u32]) -> Option<Atags<'_>> {
    let mut rest = words;
    let mut found = Atags::default();
    if *rest.get(1)? != CORE {
        return None;
    }
    // Each tag begins with its number of words, which includes the two words of its header. The last tag has 0 words.
    while let [length, tag, ..] = *rest {
        let Some((whole, after)) = rest.split_at_checked(length as usize) else { break };
        let Some(body) = whole.get(2..) else { break };
        match (tag, body) {
            (MEMORY, &[size, 0, ..]) => found.memory_end = Some(size as usize),
            (INITRD, &[start, size, ..]) => {
                let start = start as usize;
                found.initramfs = Some(start..start.saturating_add(size as usize));
            }
            (COMMAND_LINE, text) => {
                let text: &[u8] = bytemuck::try_cast_slice(text).unwrap_or_default();
                let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
                found.command_line = text.get(..end).unwrap_or_default();
            }
            _ => {}
        }
        rest = after;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: [u32; 18] = [
        2,
        CORE, // without a body
        4,
        MEMORY,
        0x3c00_0000,
        0, // size, start
        4,
        INITRD,
        0x0800_0000,
        100, // start, size
        4,
        COMMAND_LINE,
        u32::from_le_bytes(*b"core"),
        u32::from_le_bytes(*b"s=1\0"), //
        0,
        0,
        7,
        7,
    ];

    #[test]
    fn tags_are_read_up_to_the_last() {
        let expected = Atags {
            memory_end: Some(0x3c00_0000),
            initramfs: Some(0x0800_0000..0x0800_0064),
            command_line: b"cores=1",
        };
        assert_eq!(parse(&LIST), Some(expected));
    }

    #[test]
    fn damaged_lists_do_not_cause_a_panic() {
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[2, 0x1234]), None);
        for length in 2..LIST.len() {
            assert!(parse(&LIST[..length]).is_some());
        }
        assert_eq!(parse(&[2, CORE, u32::MAX, INITRD, 1]), Some(Atags::default()));
        assert_eq!(parse(&[2, CORE, 1, INITRD, 1]), Some(Atags::default()));
    }
}
