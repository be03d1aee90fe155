//! How weights are stored, apart from how products with them are computed.
//!
//! A kind of storage says how panels of weights lie in a file; its arithmetic says what activations are and which
//! kernels multiply them. Several kinds can share one arithmetic: weights of fewer bits, say, are 8-bit weights once
//! they are decoded. Everything that depends on the storage alone is in this file.

/// What activations are and how products are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// 8-bit activations and 32-bit sums: bit-identical everywhere.
    Int8,
    /// `f32` activations and sums.
    Float,
}

impl Arithmetic {
    /// Returns the bytes that an activation takes in scratch memory.
    pub(crate) const fn activation_len(self) -> usize {
        match self {
            Self::Int8 => 1,
            Self::Float => 4,
        }
    }
}

/// How a model's weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightStorage {
    /// A signed byte each, from -127 to 127.
    Int8,
    /// A 16-bit floating-point number each.
    F16,
}

impl WeightStorage {
    /// Every kind, in the order of their codes.
    pub const ALL: [Self; 2] = [Self::Int8, Self::F16];

    /// Returns the number that stands for the storage in a file's header.
    pub const fn code(self) -> u32 {
        match self {
            Self::Int8 => 0,
            Self::F16 => 1,
        }
    }

    /// Returns the storage that a number in a file's header stands for.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|storage| storage.code() == code)
    }

    /// Returns the storage's name, as users write and read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::F16 => "f16",
        }
    }

    /// Returns the arithmetic that the weights are made for.
    pub const fn arithmetic(self) -> Arithmetic {
        match self {
            Self::Int8 => Arithmetic::Int8,
            Self::F16 => Arithmetic::Float,
        }
    }

    /// Returns the bytes of `count` weights; `None` where they exceed an address space.
    pub const fn len(self, count: usize) -> Option<usize> {
        match self {
            Self::Int8 => Some(count),
            Self::F16 => count.checked_mul(2),
        }
    }

    /// Returns whether all of these weights are numbers that an engine computes with.
    pub(crate) fn are_valid(self, panels: &[u8]) -> bool {
        // No early return, so that the loops are vectorised.
        match self {
            // -128 would let a 16-bit sum of two products overflow.
            Self::Int8 => panels.iter().fold(true, |valid, &weight| valid & (weight as i8 != i8::MIN)),
            // With all bits of the exponent set, a number is infinite or none.
            Self::F16 => panels
                .as_chunks()
                .0
                .iter()
                .fold(true, |valid, &weight| valid & (u16::from_le_bytes(weight) & 0x7c00 != 0x7c00)),
        }
    }

    /// Returns whether weight number `index` is zero; a weight that is not there is not.
    pub(crate) fn is_zero(self, panels: &[u8], index: usize) -> bool {
        match self {
            Self::Int8 => panels.get(index) == Some(&0),
            Self::F16 => panels.as_chunks().0.get(index) == Some(&[0; 2]),
        }
    }
}

#[cfg(feature = "std")]
impl WeightStorage {
    /// Copies weight number `from` of `source` to place `to` of `target`, where both exist.
    pub(crate) fn copy(self, (source, from): (&[u8], usize), (target, to): (&mut [u8], usize)) {
        match self {
            Self::Int8 => copy_element::<1>(source, from, target, to),
            Self::F16 => copy_element::<2>(source, from, target, to),
        }
    }

    /// Returns weight number `index` as the integer that 8-bit arithmetic multiplies with, or 0 in other arithmetic.
    pub(crate) fn integer(self, panels: &[u8], index: usize) -> i32 {
        match self {
            Self::Int8 => panels.get(index).map_or(0, |&weight| i32::from(weight as i8)),
            Self::F16 => 0,
        }
    }
}

#[cfg(feature = "std")]
fn copy_element<const SIZE: usize>(source: &[u8], from: usize, target: &mut [u8], to: usize) {
    let places = source.as_chunks::<SIZE>().0.get(from).zip(target.as_chunks_mut::<SIZE>().0.get_mut(to));
    if let Some((source, target)) = places {
        *target = *source;
    }
}
