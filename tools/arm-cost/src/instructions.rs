//! Kinds of AArch64 instructions, told apart by their encoding (Arm Architecture Reference Manual, C4.1), and counts of
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;

/// A kind of instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `sdot` and `udot`.
    Dot,
    /// `smmla`, `ummla` and `usmmla`.
    MatrixMultiply,
    /// `smull`, `smlal` and their unsigned forms.
    Multiply,
    /// `sadalp` and `uadalp`.
    AddPairs,
    /// `fmla` with one element of a vector.
    Fused,
    /// A load to a vector register.
    VectorLoad,
    /// A store from a vector register.
    VectorStore,
    /// Any other instruction that touches a vector register.
    OtherVector,
    /// Any instruction that touches no vector register.
    Integer,
}

impl Kind {
    /// Returns the kind of an instruction word.
    pub fn of(word: u32) -> Self {
        let is = |mask: u32, value: u32| word & mask == value;
        // Bits 28 to 25 choose the group: x1x0 are loads and stores, x111 are vectors and floating point.
        match (word >> 25) & 0xf {
            group if group & 0b0101 == 0b0100 => match (word >> 26 & 1, is_load(word)) {
                (0, _) => Self::Integer,
                (_, true) => Self::VectorLoad,
                (_, false) => Self::VectorStore,
            },
            group if group & 0b0111 == 0b0111 => {
                // For three vectors, one of them wider, bits 15 to 12 hold the operation.
                let widening = is(0x9f20_0c00, 0x0e20_0000).then_some(word >> 12 & 0xf);
                if is(0x9f20_fc00, 0x0e00_9400) || is(0x9f00_f400, 0x0f00_e000) {
                    Self::Dot
                } else if is(0xdfe0_f400, 0x4e80_a400) {
                    Self::MatrixMultiply
                } else if matches!(widening, Some(0b1000 | 0b1100)) {
                    Self::Multiply
                } else if is(0x9f3f_fc00, 0x0e20_6800) {
                    Self::AddPairs
                } else if is(0xbfc0_f400, 0x0f80_1000) || is(0xbfc0_f400, 0x0f00_1000) {
                    Self::Fused
                } else {
                    Self::OtherVector
                }
            }
            _ => Self::Integer,
        }
    }

    /// Returns whether the runtime uses this kind in the inner loops of matrix products, and nowhere else.
    pub fn is_product(self) -> bool {
        matches!(self, Self::Dot | Self::MatrixMultiply | Self::Multiply | Self::AddPairs | Self::Fused)
    }
}

/// Returns whether a load or store instruction loads.
fn is_load(word: u32) -> bool {
    let (literal, register) = (word & 0x3b00_0000 == 0x1800_0000, word & 0x3a00_0000 == 0x3800_0000);
    // Of the two bits 23 and 22, the upper one is set for loads and for stores of 128 bits, so the lower one tells them
    // apart.
    literal
        || if register {
            word >> 22 & 1 == 1 || word >> 26 & 1 == 0 && word >> 23 & 1 == 1
        } else {
            word >> 22 & 1 == 1
        }
}

/// Numbers of executed instructions, one for each [`Kind`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([i64; 9]);

impl Counts {
    /// Counts `times` executions of these instructions.
    pub fn of(words: &[u32], times: i64) -> Self {
        let mut counts = Self::default();
        words.iter().for_each(|&word| counts.0[Kind::of(word) as usize] += times);
        counts
    }

    /// Returns the number of all instructions.
    pub fn total(&self) -> i64 {
        self.0.iter().sum()
    }

    /// Returns the number of instructions of one kind.
    pub fn of_kind(&self, kind: Kind) -> i64 {
        self.0[kind as usize]
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a += b);
    }
}

/// What one function executed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Function {
    /// Instructions in blocks that multiply.
    pub products: Counts,
    /// Instructions in all other blocks.
    pub other: Counts,
}

/// One line that the plugin `tools/qemu-plugin/blocks.c` writes: a block of instructions without a jump inside.
struct Block<'w> {
    executions: i64,
    symbol: &'w str,
    address: u64,
    words: Vec<u32>,
}

impl<'w> Block<'w> {
    fn parse(line: &'w str) -> Option<Self> {
        let mut fields = line.split(' ');
        let (executions, symbol) = (fields.next()?.parse().ok()?, fields.next()?);
        let address = u64::from_str_radix(fields.next()?, 16).ok()?;
        let words = fields.map(|word| u32::from_str_radix(word, 16).ok()).collect::<Option<_>>()?;
        Some(Self { executions, symbol, address, words })
    }

    fn multiplies(&self) -> bool {
        self.words.iter().any(|&word| Kind::of(word).is_product())
    }

    /// Returns the address at which execution goes on, if the block does not end in a jump. The emulator cuts a
    /// block where a page ends, and cuts long blocks.
    fn goes_on_at(&self) -> Option<u64> {
        let is_jump = |word: &u32| {
            let is = |mask: u32, value: u32| word & mask == value;
            let always = is(0x7c00_0000, 0x1400_0000); // b, bl
            let on_flags = is(0xfe00_0000, 0x5400_0000); // b.cond
            let on_register = is(0x7c00_0000, 0x3400_0000); // cbz, cbnz, tbz, tbnz
            let elsewhere = is(0xfc00_0000, 0xd400_0000); // br, blr, ret, svc
            always || on_flags || on_register || elsewhere
        };
        (!self.words.last().is_some_and(is_jump)).then(|| self.address + 4 * self.words.len() as u64)
    }
}

/// Adds what the plugin has written, `sign` times, to the functions, which are found by their symbols.
///
/// # Errors
///
/// Returns an error with the first line that is not in the plugin's form.
pub fn add(functions: &mut BTreeMap<String, Function>, written: &str, sign: i64) -> Result<(), String> {
    let parse = |line| Block::parse(line).ok_or_else(|| format!("the emulator's plugin wrote `{line}`"));
    let mut blocks: Vec<Block> = written.lines().map(parse).collect::<Result<_, _>>()?;
    blocks.sort_by_key(|block| block.address);
    for (block, multiplies) in blocks.iter().zip(in_products(&blocks)) {
        let function = functions.entry(block.symbol.to_owned()).or_default();
        let counts = if multiplies { &mut function.products } else { &mut function.other };
        *counts += Counts::of(&block.words, sign * block.executions);
    }
    Ok(())
}

/// Returns for each block whether the block, or the longer block that it was cut from, multiplies.
///
/// The blocks are in the order of their addresses. They may overlap: a loop is entered from above and from its end.
fn in_products(blocks: &[Block]) -> Vec<bool> {
    let mut multiply: Vec<bool> = blocks.iter().map(Block::multiplies).collect();
    let mut ends = BTreeSet::new();
    for (block, multiplies) in blocks.iter().zip(&mut multiply) {
        *multiplies |= ends.contains(&block.address);
        ends.extend(block.goes_on_at().filter(|_| *multiplies));
    }
    let mut starts = BTreeSet::new();
    for (block, multiplies) in blocks.iter().zip(&mut multiply).rev() {
        *multiplies |= block.goes_on_at().is_some_and(|at| starts.contains(&at));
        starts.extend(multiplies.then_some(block.address));
    }
    multiply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_encoding() {
        let words = [
            (0x4f9c_e300, Kind::Dot),            // sdot v0.4s, v24.16b, v28.4b[0]
            (0x4e82_9420, Kind::Dot),            // sdot v0.4s, v1.16b, v2.16b
            (0x4e9c_a700, Kind::MatrixMultiply), // smmla v0.4s, v24.16b, v28.16b
            (0x0e34_c218, Kind::Multiply),       // smull v24.8h, v16.8b, v20.8b
            (0x4e34_8218, Kind::Multiply),       // smlal2 v24.8h, v16.16b, v20.16b
            (0x4e20_6b07, Kind::AddPairs),       // sadalp v7.4s, v24.8h
            (0x4cdf_2018, Kind::VectorLoad),     // ld1 {v24.16b-v27.16b}, [x0], #64
            (0x4fb0_1b00, Kind::Fused),          // fmla v0.4s, v24.4s, v16.s[3]
            (0x4f30_1890, Kind::Fused),          // fmla v16.8h, v4.8h, v0.h[7]
            (0x4e22_cc20, Kind::OtherVector),    // fmla v0.4s, v1.4s, v2.4s
            (0x4fa3_9041, Kind::OtherVector),    // fmul v1.4s, v2.4s, v3.s[1]
            (0x3cc2_0418, Kind::VectorLoad),     // ldr q24, [x0], #32
            (0xacc1_861a, Kind::VectorLoad),     // ldp q26, q1, [x16], #48
            (0x3d80_0020, Kind::VectorStore),    // str q0, [x1]
            (0x3cc1_0c18, Kind::VectorLoad),     // ldr q24, [x0, #16]!
            (0xad00_0420, Kind::VectorStore),    // stp q0, q1, [x1]
            (0x4ea0_0400, Kind::OtherVector),    // shadd
            (0x6ea1_b420, Kind::OtherVector),    // sqrdmulh v0.4s, v1.4s, v1.4s
            (0xf940_0020, Kind::Integer),        // ldr x0, [x1]
            (0xf900_0020, Kind::Integer),        // str x0, [x1]
            (0x9100_4021, Kind::Integer),        // add x1, x1, #16
            (0x54ff_ff81, Kind::Integer),        // b.ne
        ];
        for (word, kind) in words {
            assert_eq!(Kind::of(word), kind, "{word:08x}");
        }
    }

    #[test]
    fn blocks_that_multiply_are_counted_separately() {
        let mut functions = BTreeMap::new();
        add(&mut functions, "2 f 2000 91004021\n3 f 1000 4f9ce300 91004021\n", 1).unwrap();
        add(&mut functions, "1 f 1000 4f9ce300 91004021\n", -1).unwrap();
        let f = functions["f"];
        assert_eq!((f.products.total(), f.products.of_kind(Kind::Dot), f.other.total()), (4, 2, 2));
        for malformed in ["x f 1000 91004021", "1 f 1000 x", "1 f"] {
            assert!(add(&mut functions, malformed, 1).is_err());
        }
    }

    #[test]
    fn the_pieces_of_a_cut_block_are_counted_as_one_block() {
        let products = |written: &str| {
            let mut functions = BTreeMap::new();
            add(&mut functions, written, 1).unwrap();
            functions["f"].products.total()
        };
        // The multiplication is in the first piece, then in the last piece.
        assert_eq!(products("5 f 1000 4f9ce300\n5 f 1004 91004021 54ffff81\n1 f 100c 91004021\n"), 15);
        assert_eq!(products("5 f 1000 91004021\n5 f 1004 4f9ce300 54ffff81\n"), 15);
        // Another block begins between the two pieces.
        assert_eq!(products("5 f 1000 4f9ce300 91004021\n2 f 1004 91004021\n5 f 1008 91004021 54ffff81\n"), 22);
        for jump in ["54ffff81", "14000001", "94000001", "b4000041", "36000041", "d65f03c0", "d4000001"] {
            assert_eq!(products(&format!("5 f 1000 4f9ce300 {jump}\n5 f 1008 91004021\n")), 10, "{jump}");
        }
    }
}
