//! Separates how weights are stored from how products with them are computed.
//!
//! The storage defines the bytes of a weight in a file. The arithmetic defines the type of the activations and the
//! kernels that multiply them. Several kinds of storage can share one arithmetic: weights of fewer bits, for example,
//! could be decoded to 8-bit weights. Everything that depends on the storage alone is in this file.

/// The type of activations and of the sums of products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// 8-bit activations and 32-bit integer sums, which are exact and therefore the same on every CPU.
    Int8,
    /// `f32` activations and sums.
    Float,
}

impl Arithmetic {
    /// Returns the size of an activation in scratch memory, in bytes.
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
    /// Each weight is a signed byte from -127 to 127.
    Int8,
    /// Each weight is an IEEE half-precision number (16 bits).
    F16,
}

impl WeightStorage {
    /// Every kind of storage, in the order of [`WeightStorage::code`].
    pub const ALL: [Self; 2] = [Self::Int8, Self::F16];

    /// Returns the number that stands for the storage in a file's header.
    pub const fn code(self) -> u32 {
        match self {
            Self::Int8 => 0,
            Self::F16 => 1,
        }
    }

    /// Returns the storage that a number in a file's header stands for, or `None` if there is no such storage.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|storage| storage.code() == code)
    }

    /// Returns the storage's name, as users write it on the command line and read it in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::F16 => "f16",
        }
    }

    /// Returns the arithmetic that computes products with these weights.
    pub const fn arithmetic(self) -> Arithmetic {
        match self {
            Self::Int8 => Arithmetic::Int8,
            Self::F16 => Arithmetic::Float,
        }
    }

    /// Returns the size of `count` weights in bytes, or `None` if it overflows a `usize`.
    pub const fn len(self, count: usize) -> Option<usize> {
        match self {
            Self::Int8 => Some(count),
            Self::F16 => count.checked_mul(2),
        }
    }

    /// Returns whether every weight has a value that the format allows.
    pub(crate) fn are_valid(self, panels: &[u8]) -> bool {
        // No early return, so that the loops are vectorised.
        match self {
            // -128 is excluded, because a sum of two products with it can overflow 16 bits.
            Self::Int8 => panels.iter().fold(true, |valid, &weight| valid & (weight as i8 != i8::MIN)),
            // A number is infinite or NaN if all bits of its exponent are set.
            Self::F16 => panels
                .as_chunks()
                .0
                .iter()
                .fold(true, |valid, &weight| valid & (u16::from_le_bytes(weight) & 0x7c00 != 0x7c00)),
        }
    }

    /// Returns whether weight number `index` exists and is zero.
    pub(crate) fn is_zero(self, panels: &[u8], index: usize) -> bool {
        match self {
            Self::Int8 => panels.get(index) == Some(&0),
            Self::F16 => panels.as_chunks().0.get(index) == Some(&[0; 2]),
        }
    }
}

#[cfg(feature = "std")]
impl WeightStorage {
    /// Copies weight number `from` of `source` to place `to` of `target`, if both exist.
    pub(crate) fn copy(self, (source, from): (&[u8], usize), (target, to): (&mut [u8], usize)) {
        match self {
            Self::Int8 => copy_element::<1>(source, from, target, to),
            Self::F16 => copy_element::<2>(source, from, target, to),
        }
    }

    /// Returns weight number `index` as the integer that 8-bit arithmetic multiplies, or 0 if the weights are
    /// floating-point.
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
