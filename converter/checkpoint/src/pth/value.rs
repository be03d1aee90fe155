//! What a pickle can describe: plain data, storages and tensors. Nothing here can run.

use crate::tensors::Float;

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
    /// A tensor that is not read, because of its type or because it is not dense, by what it is.
    UnreadTensor(String),
    /// An instance of a subclass of `torch.nn.Module`, by the class's name.
    Module(String),
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
    /// The type's name for people.
    pub name: &'static str,
    /// Bytes of one element.
    pub size: usize,
    /// How to read it, where it is a float.
    pub float: Option<Float>,
}

impl Element {
    /// The element type of the storage class `name` of the module `torch` or `torch.storage`.
    pub fn of_storage(name: &str) -> Option<Self> {
        let float = |name, f: Float| Some(Self { name, size: f.size(), float: Some(f) });
        let other = |name, size| Some(Self { name, size, float: None });
        match name {
            "HalfStorage" => float("F16", Float::F16),
            "BFloat16Storage" => float("BF16", Float::Bf16),
            "FloatStorage" => float("F32", Float::F32),
            "DoubleStorage" => float("F64", Float::F64),
            "ByteStorage" => other("U8", 1),
            "CharStorage" => other("I8", 1),
            "BoolStorage" => other("BOOL", 1),
            "UntypedStorage" => other("untyped bytes", 1),
            "QInt8Storage" => other("quantised I8", 1),
            "QUInt8Storage" => other("quantised U8", 1),
            "ShortStorage" => other("I16", 2),
            "IntStorage" => other("I32", 4),
            "QInt32Storage" => other("quantised I32", 4),
            "LongStorage" => other("I64", 8),
            "ComplexFloatStorage" => other("C64", 8),
            "ComplexDoubleStorage" => other("C128", 16),
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
