//! Kinds of AArch64 instructions, by their encoding (Arm ARM, C4.1), and counts of them.

use std::collections::BTreeMap;
use std::ops::AddAssign;

/// What is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `sdot`, `udot`.
    Dot,
    /// `smmla` and its like.
    MatrixMultiply,
    /// `smull`, `smlal` and their unsigned forms.
    Multiply,
    /// `sadalp`, `uadalp`.
    AddPairs,
    VectorLoad,
    VectorStore,
    OtherVector,
    /// Everything that touches no vector register.
    Integer,
}

impl Kind {
    /// Of an instruction word.
    pub fn of(word: u32) -> Self {
        let is = |mask: u32, value: u32| word & mask == value;
        // Bits 28 to 25 choose the group: x1x0 loads and stores, x111 vectors and floating point.
        match (word >> 25) & 0xf {
            group if group & 0b0101 == 0b0100 => match (word >> 26 & 1, is_load(word)) {
                (0, _) => Self::Integer,
                (_, true) => Self::VectorLoad,
                (_, false) => Self::VectorStore,
            },
            group if group & 0b0111 == 0b0111 => {
                // Three vectors of which one is wider: the operation is in bits 15 to 12.
                let widening = is(0x9f20_0c00, 0x0e20_0000).then_some(word >> 12 & 0xf);
                if is(0x9f20_fc00, 0x0e00_9400) || is(0x9f00_f400, 0x0f00_e000) {
                    Self::Dot
                } else if is(0xdfe0_f400, 0x4e80_a400) {
                    Self::MatrixMultiply
                } else if matches!(widening, Some(0b1000 | 0b1100)) {
                    Self::Multiply
                } else if is(0x9f3f_fc00, 0x0e20_6800) {
                    Self::AddPairs
                } else {
                    Self::OtherVector
                }
            }
            _ => Self::Integer,
        }
    }

    /// Whether it is part of a matrix product's inner loop, and of nothing else here.
    pub fn is_product(self) -> bool {
        matches!(self, Self::Dot | Self::MatrixMultiply | Self::Multiply | Self::AddPairs)
    }
}

/// Whether a load or store instruction loads.
fn is_load(word: u32) -> bool {
    let (literal, register) = (word & 0x3b00_0000 == 0x1800_0000, word & 0x3a00_0000 == 0x3800_0000);
    // Vector registers of 128 bits have the upper of two bits set, for loads and stores alike: the lower one counts.
    literal
        || if register {
            word >> 22 & 1 == 1 || word >> 26 & 1 == 0 && word >> 23 & 1 == 1
        } else {
            word >> 22 & 1 == 1
        }
}

/// Executed instructions by kind, as [`Kind`] numbers them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([i64; 8]);

impl Counts {
    /// `times` executions of these instructions.
    pub fn of(words: &[u32], times: i64) -> Self {
        let mut counts = Self::default();
        words.iter().for_each(|&word| counts.0[Kind::of(word) as usize] += times);
        counts
    }

    pub fn total(&self) -> i64 {
        self.0.iter().sum()
    }

    pub fn of_kind(&self, kind: Kind) -> i64 {
        self.0[kind as usize]
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a += b);
    }
}

/// What one function executed: in blocks with products, and in others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Function {
    pub products: Counts,
    pub other: Counts,
}

/// Adds what the plugin has written (see `plugin/blocks.c`), `sign` times, to the functions by symbol.
pub fn add(functions: &mut BTreeMap<String, Function>, written: &str, sign: i64) -> Result<(), String> {
    for line in written.lines() {
        let malformed = || format!("the emulator's plugin wrote `{line}`");
        let mut fields = line.split(' ');
        let executions: i64 = fields.next().and_then(|field| field.parse().ok()).ok_or_else(malformed)?;
        let symbol = fields.next().ok_or_else(malformed)?;
        let words: Option<Vec<u32>> = fields.map(|word| u32::from_str_radix(word, 16).ok()).collect();
        let words = words.ok_or_else(malformed)?;
        let counts = Counts::of(&words, sign * executions);
        let function = functions.entry(symbol.to_owned()).or_default();
        match words.iter().any(|&word| Kind::of(word).is_product()) {
            true => function.products += counts,
            false => function.other += counts,
        }
    }
    Ok(())
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
    fn blocks_with_products_are_counted_apart() {
        let mut functions = BTreeMap::new();
        add(&mut functions, "3 f 4f9ce300 91004021\n2 f 91004021\n", 1).unwrap();
        add(&mut functions, "1 f 4f9ce300 91004021\n", -1).unwrap();
        let f = functions["f"];
        assert_eq!((f.products.total(), f.products.of_kind(Kind::Dot), f.other.total()), (4, 2, 2));
        assert!(add(&mut functions, "x f 91004021", 1).is_err());
    }
}
