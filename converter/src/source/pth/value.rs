//! What a pickle can describe: plain data, storages and tensors. Nothing here can run.

use super::super::tensors::Float;

/// Index of a [`Value`] among the machine's values.
pub(super) type Ref = usize;

/// One value of a pickle. Containers refer to their members, so shared and cyclic data cost nothing.
#[derive(Clone, Debug)]
pub(super) enum Value {
    None,
    Int(i64),
    Text(String),
    List(Vec<Ref>),
    Tuple(Vec<Ref>),
    Dict(Vec<(Ref, Ref)>),
    /// The name of a class or function.
    Global(String, String),
    Storage(Storage),
    Tensor(View),
    /// An instance of a class that this reader knows nothing of, by name.
    Object(String),
    /// Data that no checkpoint needs: floats, bytes, booleans, large integers.
    Other,
}

/// The memory of one or several tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Storage {
    pub key: String,
    pub kind: Element,
    /// Number of elements.
    pub elements: usize,
}

/// Element type of a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    /// Bytes of one element.
    pub size: usize,
    /// How to read it, where it is a float.
    pub float: Option<Float>,
}

impl Element {
    /// The element type of the storage class `name` of the module `torch` or `torch.storage`.
    pub fn of_storage(name: &str) -> Option<Self> {
        let float = |f: Float| Some(Self { size: f.size(), float: Some(f) });
        let other = |size| Some(Self { size, float: None });
        match name {
            "HalfStorage" => float(Float::F16),
            "BFloat16Storage" => float(Float::Bf16),
            "FloatStorage" => float(Float::F32),
            "DoubleStorage" => float(Float::F64),
            "ByteStorage" | "CharStorage" | "BoolStorage" | "UntypedStorage" => other(1),
            "QInt8Storage" | "QUInt8Storage" => other(1),
            "ShortStorage" => other(2),
            "IntStorage" | "QInt32Storage" => other(4),
            "LongStorage" | "ComplexFloatStorage" => other(8),
            "ComplexDoubleStorage" => other(16),
            _ => None,
        }
    }
}

/// A strided view of a storage; offset and strides count elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub storage: Ref,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}
