//! The activation function between the two layers of the channel MLP, as a model's header names it.

/// The function that a channel MLP applies to its hidden units.
///
/// In int8 models the table of each block holds the function, and this name serves only as information. In f16 models
/// this name selects the formula.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// The exact GELU, `x · Φ(x)`.
    #[default]
    Gelu,
    /// The tanh approximation of GELU.
    GeluTanh,
    /// The rectifier, `max(x, 0)`.
    Relu,
}

impl Activation {
    /// All activations, in the order of their codes.
    pub const ALL: [Self; 3] = [Self::Gelu, Self::GeluTanh, Self::Relu];

    /// Returns the number that stands for the activation in a file's header.
    pub const fn code(self) -> u32 {
        match self {
            Self::Gelu => 0,
            Self::GeluTanh => 1,
            Self::Relu => 2,
        }
    }

    /// Returns the activation that a number in a file's header stands for.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|activation| activation.code() == code)
    }

    /// Returns the activation's name, as users write and read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu-tanh",
            Self::Relu => "relu",
        }
    }
}
