//! Makes random operands for the comparisons, the same on every machine.

use alloc::vec;
use alloc::vec::Vec;

use crate::format::MAX_FIXED;

/// The generator SplitMix64, which gives the same cases on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub fn many<T>(&mut self, len: usize, make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let mut make = make;
        (0..len).map(|_| make(self)).collect()
    }

    /// Returns bytes of one of several kinds: any bytes, the same extreme everywhere, or mixed extremes.
    pub fn bytes(&mut self, len: usize, low: u8) -> Vec<u8> {
        let extreme = self.pick(&[low, 127, low, 127, 0]);
        match self.below(4) {
            0 => vec![extreme; len],
            1 => self.many(len, |r| r.pick(&[low, 127])),
            _ => self.many(len, |r| r.next() as u8),
        }
        .into_iter()
        .map(|b| if low == WEIGHT_LOW && b == 0x80 { low } else { b })
        .collect()
    }

    pub fn sum(&mut self) -> i32 {
        let any = self.next() as i32;
        self.pick(&[0, 1, any, any >> 8, any >> 16, i32::MAX, i32::MIN])
    }

    /// Returns multipliers that bring many sums to ties, that make every result zero, or that saturate every result.
    pub fn multiplier(&mut self) -> f32 {
        let any = (self.next() as i32 as f32) * power(-31);
        let exponent = self.below(60) as i32 - 40;
        self.pick(&[0.5, -0.25, 0.0, 0.125, any, any, any * power(exponent), power(30), power(-140)])
    }

    pub fn fraction(&mut self) -> i32 {
        let any = (self.next() >> 34) as i32;
        let exponent = self.below(31);
        self.pick(&[any >> exponent, any >> exponent, any, 0, 1, MAX_FIXED / 2, MAX_FIXED - 1])
    }

    pub fn number(&mut self) -> f32 {
        let any = (self.next() as i32 as f32) * power(-31);
        self.pick(&[any, any, 4.0 * any, 300.0 * any, 1e30 * any, 0.0, -0.0, 0.5, 1e-42])
    }
}

pub const WEIGHT_LOW: u8 = 0x81;
pub const ACTIVATION_LOW: u8 = 0x80;

/// Returns 2^exponent without the standard library.
pub fn power(exponent: i32) -> f32 {
    match exponent {
        ..-126 => f32::from_bits(1 << (exponent + 149)),
        _ => f32::from_bits(((exponent + 127) as u32) << 23),
    }
}
