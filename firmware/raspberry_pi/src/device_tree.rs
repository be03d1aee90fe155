//! Looks up properties in flattened device trees (Devicetree Specification 0.4, chapter 5).
//!
//! The published crates for this panic on damaged trees, and an image with a reachable panic does not link.

/// A view of a tree's bytes. A damaged part of the tree reads as missing.
#[derive(Clone, Copy, Debug)]
pub struct DeviceTree<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
}

/// The first four bytes of a tree, big-endian.
const MAGIC: u32 = 0xd00d_feed;

enum Token<'a> {
    Begin(&'a [u8]),
    End,
    Property(&'a [u8], &'a [u8]),
}

/// Returns the length in bytes of the tree that begins with these 8 bytes, or `None` if no tree begins so.
pub fn length(start: &[u8]) -> Option<usize> {
    (number(start, 0)? == MAGIC).then_some(number(start, 4)? as usize)
}

impl<'a> DeviceTree<'a> {
    /// Creates a view of the tree in `bytes`, or returns `None` if they hold none.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let tree = bytes.get(..length(bytes)?)?;
        let block = |offset, size| tree.get(number(tree, offset)? as usize..)?.get(..number(tree, size)? as usize);
        Some(Self { structure: block(8, 36)?, strings: block(12, 32)? })
    }

    /// Returns the property `name` of the node at `path`, which goes from the root downwards. A name without `@address`
    /// matches any address.
    pub fn property(&self, path: &[&str], name: &str) -> Option<&'a [u8]> {
        let mut tokens = Tokens { rest: self.structure, strings: self.strings };
        // The root has no name and is at depth 1. So the last matched node of the path is at depth `matched + 1`.
        let (mut depth, mut matched) = (0usize, 0usize);
        while let Some(token) = tokens.next() {
            match token {
                Token::Begin(node) => {
                    depth += 1;
                    if depth == matched + 2 && path.get(matched).is_some_and(|part| is_named(node, part)) {
                        matched += 1;
                    }
                }
                Token::End => {
                    if depth == matched + 1 {
                        matched = matched.checked_sub(1)?;
                    }
                    depth -= 1;
                }
                Token::Property(found, value) => {
                    if matched == path.len() && depth == matched + 1 && found == name.as_bytes() {
                        return Some(value);
                    }
                }
            }
        }
        None
    }

    /// Returns a property that is a number of 4 or 8 bytes. See [`DeviceTree::property`].
    pub fn number(&self, path: &[&str], name: &str) -> Option<u64> {
        let value = self.property(path, name)?;
        match value.len() {
            4 => cells(value, 0, 1),
            8 => cells(value, 0, 2),
            _ => None,
        }
    }

    /// Returns a property that is a text. See [`DeviceTree::property`].
    pub fn text(&self, path: &[&str], name: &str) -> Option<&'a str> {
        let (text, _) = until_zero(self.property(path, name)?)?;
        core::str::from_utf8(text).ok()
    }
}

/// Returns the number in `count` cells of 4 bytes, after the first `first` cells.
pub fn cells(value: &[u8], first: usize, count: usize) -> Option<u64> {
    (first..first.checked_add(count)?)
        .try_fold(0u64, |sum, cell| Some(sum << 32 | u64::from(number(value, cell.checked_mul(4)?)?)))
}

fn number(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

fn is_named(node: &[u8], name: &str) -> bool {
    let rest = node.strip_prefix(name.as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'@'))
}

fn until_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    bytes.split_at_checked(end)
}

struct Tokens<'a> {
    rest: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Tokens<'a> {
    /// Returns the next token, or `None` at the end and if the tree is damaged.
    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            match self.number()? {
                1 => {
                    let (name, _) = until_zero(self.rest)?;
                    self.skip(name.len() + 1)?;
                    return Some(Token::Begin(name));
                }
                2 => return Some(Token::End),
                3 => {
                    let length = self.number()? as usize;
                    let (name, _) = until_zero(self.strings.get(self.number()? as usize..)?)?;
                    let value = self.rest.get(..length)?;
                    self.skip(length)?;
                    return Some(Token::Property(name, value));
                }
                4 => {}
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<u32> {
        let number = number(self.rest, 0)?;
        self.skip(4)?;
        Some(number)
    }

    /// Skips `length` bytes and the padding to a multiple of four.
    fn skip(&mut self, length: usize) -> Option<()> {
        self.rest = self.rest.get(length.checked_next_multiple_of(4)?..)?;
        Some(())
    }
}

#[cfg(test)]
pub mod tests {
    use std::vec::Vec;

    use super::*;

    /// Builds trees for tests.
    #[derive(Default)]
    pub struct Builder {
        structure: Vec<u8>,
        strings: Vec<u8>,
    }

    impl Builder {
        pub fn begin(mut self, name: &str) -> Self {
            self.structure.extend(1u32.to_be_bytes());
            self.structure.extend(name.bytes().chain([0]));
            self.pad()
        }

        pub fn end(mut self) -> Self {
            self.structure.extend(2u32.to_be_bytes());
            self
        }

        pub fn property(mut self, name: &str, value: &[u8]) -> Self {
            for number in [3, value.len() as u32, self.strings.len() as u32] {
                self.structure.extend(number.to_be_bytes());
            }
            self.structure.extend(value);
            self.strings.extend(name.bytes().chain([0]));
            self.pad()
        }

        pub fn cells(self, name: &str, cells: &[u32]) -> Self {
            self.property(name, &cells.iter().flat_map(|cell| cell.to_be_bytes()).collect::<Vec<u8>>())
        }

        fn pad(mut self) -> Self {
            self.structure.resize(self.structure.len().next_multiple_of(4), 0);
            self
        }

        pub fn build(mut self) -> Vec<u8> {
            self.structure.extend(9u32.to_be_bytes());
            let (structure, strings) = (self.structure.len() as u32, self.strings.len() as u32);
            let total = 40 + structure + strings;
            let header = [MAGIC, total, 40, 40 + structure, 40, 17, 16, 0, strings, structure];
            let header = header.iter().flat_map(|number| number.to_be_bytes());
            header.chain(self.structure).chain(self.strings).collect()
        }
    }

    fn tree() -> Vec<u8> {
        Builder::default()
            .begin("")
            .cells("#address-cells", &[2])
            .begin("cpus")
            .begin("cpu@1")
            .cells("release", &[0, 0xe0])
            .end()
            .end()
            .begin("chosen-not")
            .cells("start", &[1])
            .end()
            .begin("chosen")
            .begin("inner")
            .cells("start", &[2])
            .end()
            .cells("start", &[3])
            .property("bootargs", b"cores=1\0")
            .end()
            .end()
            .build()
    }

    #[test]
    fn properties_are_found_by_path() {
        let bytes = tree();
        let tree = DeviceTree::parse(&bytes).unwrap();
        assert_eq!(tree.number(&[], "#address-cells"), Some(2));
        assert_eq!(tree.number(&["cpus", "cpu@1"], "release"), Some(0xe0));
        assert_eq!(tree.number(&["cpus", "cpu"], "release"), Some(0xe0));
        assert_eq!(tree.number(&["chosen"], "start"), Some(3));
        assert_eq!(tree.number(&["chosen", "inner"], "start"), Some(2));
        assert_eq!(tree.text(&["chosen"], "bootargs"), Some("cores=1"));
        assert_eq!(tree.number(&["cpus", "cpu@2"], "release"), None);
        assert_eq!(tree.number(&["cpus"], "release"), None);
    }

    #[test]
    fn damaged_trees_do_not_cause_a_panic() {
        let whole = tree();
        for length in 0..whole.len() {
            assert!(DeviceTree::parse(&whole[..length]).is_none());
        }
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Some(tree) = DeviceTree::parse(&damaged) {
                let _ = tree.property(&["chosen", "inner"], "none");
            }
        }
    }
}
