//! Looks for code that a Cortex-A53 (Raspberry Pi 3, Zero 2 W) computes wrongly. No emulator shows these faults.

/// Counts the places in AArch64 code where a 64-bit multiply-accumulate directly follows a load or store. By Cortex-A53
/// erratum 835769 the result of such a pair may be wrong. The compiler can be told to put a `nop` between the two.
pub fn sequences_of_835769(code: &[u8]) -> usize {
    let (words, _) = code.as_chunks();
    let words: Vec<u32> = words.iter().map(|&word| u32::from_le_bytes(word)).collect();
    words.windows(2).filter(|pair| is_memory(pair[0]) && is_multiply_accumulate(pair[1])).count()
}

/// Returns whether an instruction is a load, a store or a prefetch.
fn is_memory(word: u32) -> bool {
    word & 0x0a00_0000 == 0x0800_0000
}

/// Returns whether an instruction is a 64-bit `madd`, `msub` or widening form of these. Instructions that add nothing
/// (`mul`) or return the upper half of the product (`umulh`) are not affected.
fn is_multiply_accumulate(word: u32) -> bool {
    let [addend, kind] = [word >> 10 & 0x1f, word >> 21 & 0b111];
    word & 0xff00_0000 == 0x9b00_0000 && addend != 31 && kind & 0b11 != 0b10
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(words: &[u32]) -> usize {
        sequences_of_835769(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>())
    }

    #[test]
    fn only_affected_sequences_are_counted() {
        // ldr x9, [x28]; str x6, [sp, #128]; madd x12, x11, x13, x12; smaddl x10, w28, w10, x11; msub x9, x8, x9, x24
        let [load, store, madd, smaddl, msub] = [0xf940_0389, 0xf900_43e6, 0x9b0d_316c, 0x9b2a_2f8a, 0x9b09_e109];
        for (words, expected) in [
            (&[load, madd][..], 1),
            (&[store, smaddl], 1),
            (&[load, msub, madd, store, madd], 2),
            // nop; mul x0, x1, x2; umulh x0, x1, x2; madd w0, w1, w2, w3
            (&[load, 0xd503_201f, madd], 0),
            (&[load, 0x9b02_7c20], 0),
            (&[load, 0x9bc2_7c20], 0),
            (&[load, 0x1b02_0c20], 0),
        ] {
            assert_eq!(count(words), expected, "{words:x?}");
        }
    }
}
