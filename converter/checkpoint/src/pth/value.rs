//! What a pickle can describe: plain data, storages and tensors. Nothing here can run.
//!
//! Names and bytes stay where they lie in the file, so that no pickle can ask for copies of them.

use crate::tensors::Float;

/// Index of a [`Value`] among the machine's values.
pub(super) type Ref = u32;

/// One value of a pickle. Containers refer to their members, so shared and cyclic data cost nothing.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    None,
    Int(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
    /// Bytes that an old pickle spells as a text, a letter each.
    Latin1(&'a str),
    List(Vec<Ref>),
    Tuple(Vec<Ref>),
    Dict(Vec<(Ref, Ref)>),
    /// The module and the name of a class or function, both texts.
    Global(Ref, Ref),
    Storage(Box<Storage<'a>>),
    Tensor(Box<View>),
    /// NumPy's type of numbers, by its code such as `f4`.
    Dtype(Dtype<'a>),
    /// A NumPy array that a state will fill.
    EmptyArray,
    /// A tensor that is not read, and why.
    UnreadTensor(Box<Obstacle<'a>>),
    /// An instance of a subclass of `torch.nn.Module`, by its class.
    Module(Ref),
    /// An instance of a class that this reader knows nothing of, by its class.
    Object(Ref),
    /// Data that no checkpoint needs: floats, booleans, large integers.
    Other,
}

/// Why a tensor is not read.
#[derive(Clone, Debug)]
pub(super) enum Obstacle<'a> {
    /// It has a type or a form of this name.
    Kind(&'a str),
    /// It has the type of this class.
    Class(Ref),
    /// The file holds a part of it, of the first shape; the second is the whole tensor's.
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
    /// Outside the pickle, under this key.
    Key(&'a str),
    /// In the pickle: the value that holds the bytes.
    Inline(Ref),
}

/// Type of a storage's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    /// The type's name for people.
    pub name: &'a str,
    /// Bytes of one element.
    pub size: usize,
    /// How to read it, where it is a float.
    pub float: Option<Float>,
}

/// NumPy's type of numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dtype<'a> {
    pub code: &'a str,
    pub is_big_endian: bool,
}

impl<'a> Dtype<'a> {
    /// The element type, of which only little-endian floats can be read.
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
