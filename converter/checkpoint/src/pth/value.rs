//! The values that a pickle can describe: plain data, storages and tensors. None of them can run.
//!
//! Values borrow names and bytes from the file, so that no pickle can ask for copies of them.

use crate::tensors::Float;

/// Index of a [`Value`] among the machine's values.
pub(super) type Ref = u32;

/// One value of a pickle.
///
/// Containers refer to their members by index, so that shared and cyclic data need no copies.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    None,
    Int(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
    /// Bytes that an old pickle writes as a text with one letter for each byte.
    Latin1(&'a str),
    List(Vec<Ref>),
    Tuple(Vec<Ref>),
    Dict(Vec<(Ref, Ref)>),
    /// The module and the name of a class or function, both texts.
    Global(Ref, Ref),
    Storage(Box<Storage<'a>>),
    Tensor(Box<View>),
    /// A NumPy element type.
    Dtype(Dtype<'a>),
    /// A NumPy array whose numbers have not been set yet.
    EmptyArray,
    /// A tensor that cannot be read, with the reason.
    UnreadTensor(Box<Obstacle<'a>>),
    /// An instance of a subclass of `torch.nn.Module`; the field refers to its class.
    Module(Ref),
    /// An instance of a class that this reader does not know; the field refers to the class.
    Object(Ref),
    /// Data that no checkpoint needs: floats, booleans, large integers.
    Other,
}

/// Why a tensor cannot be read.
#[derive(Clone, Debug)]
pub(super) enum Obstacle<'a> {
    /// The tensor has a type or a form of this name.
    Kind(&'a str),
    /// The tensor has the type of this class.
    Class(Ref),
    /// The file holds only a part of the tensor: the shape of the part, then that of the whole tensor.
    Shard(Vec<usize>, Vec<usize>),
}

/// The memory of one or several tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Storage<'a> {
    pub place: Place<'a>,
    pub kind: Element<'a>,
    /// Number of elements.
    pub elements: usize,
}

/// Where a storage's bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// A part of the file outside the pickle, under this key.
    Key(&'a str),
    /// The pickle's value that holds the bytes.
    Inline(Ref),
}

/// Type of a storage's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    /// Name of the type for messages.
    pub name: &'a str,
    /// Size of one element in bytes.
    pub size: usize,
    /// Floating-point format of the elements; `None` for types that cannot be read.
    pub float: Option<Float>,
}

/// A NumPy element type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dtype<'a> {
    /// NumPy's code of the type, such as `f4`.
    pub code: &'a str,
    pub is_big_endian: bool,
}

impl<'a> Dtype<'a> {
    /// Returns the element type; only little-endian floats can be read.
    pub fn element(self) -> Element<'a> {
        let Self { code, is_big_endian } = self;
        let (name, float) = match code.trim_start_matches(['<', '=', '|']) {
            "f2" => ("F16", Some(Float::F16)),
            "f4" => ("F32", Some(Float::F32)),
            "f8" => ("F64", Some(Float::F64)),
            "i1" => ("I8", None),
            "i2" => ("I16", None),
            "i4" => ("I32", None),
            "i8" => ("I64", None),
            "u1" => ("U8", None),
            "b1" => ("BOOL", None),
            other => (other, None),
        };
        let size = code.bytes().last().filter(u8::is_ascii_digit).map_or(1, |digit| usize::from(digit - b'0'));
        match is_big_endian && size > 1 {
            true => Element { name: "big-endian numbers", size, float: None },
            false => Element { name, size, float },
        }
    }
}

impl Element<'_> {
    /// Returns the element type of the storage class `name`, or `None` if torch has no such class.
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
