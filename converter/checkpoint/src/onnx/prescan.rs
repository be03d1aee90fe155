//! Estimates the memory that an ONNX file takes once decoded, because an empty message of two bytes in the file becomes
//! a structure of two hundred bytes in memory.

use super::proto::{
    AttributeProto, Dimension, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// Number of bytes that the decoded messages may take for each byte of the file.
const FACTOR: usize = 4;
/// Number of bytes that the decoded messages may take in addition, so that small files with many nodes are accepted.
const BASE: usize = 2 << 20;

/// A reason why a file is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrescanError {
    /// The bytes are not a protobuf message.
    #[error("a damaged ONNX file; expected a complete ModelProto")]
    Damaged,
    /// The decoded messages would be far larger than the file.
    #[error(
        "the file's messages unfold to far more than the file's size; expected at most {FACTOR} bytes in memory for \
         each of its bytes"
    )]
    TooLarge,
}

/// Checks that the decoded messages of `file` take no more memory than the limits allow.
pub(super) fn check(file: &[u8]) -> Result<(), PrescanError> {
    let left = file.len().saturating_mul(FACTOR).saturating_add(BASE);
    Scan { left }.message(file, Kind::Model)
}

/// A type of message that the decoder reads.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    OperatorSet,
    Function,
    Graph,
    Node,
    Attribute,
    Tensor,
    Entry,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    Dimension,
}

/// The memory that a field takes outside the structure of its message.
enum Field {
    Message(Kind),
    Text,
    /// Numbers, each of this many bytes in memory.
    Numbers(usize),
    /// No memory of its own: a field inside the structure itself, or a field that the decoder skips.
    Plain,
}

impl Kind {
    /// Returns the size of the decoded structure in bytes.
    fn size(self) -> usize {
        match self {
            Self::Model => size_of::<ModelProto>(),
            Self::OperatorSet => size_of::<OperatorSetIdProto>(),
            Self::Function => size_of::<FunctionProto>(),
            Self::Graph => size_of::<GraphProto>(),
            Self::Node => size_of::<NodeProto>(),
            Self::Attribute => size_of::<AttributeProto>(),
            Self::Tensor => size_of::<TensorProto>(),
            Self::Entry => size_of::<StringStringEntryProto>(),
            Self::ValueInfo => size_of::<ValueInfoProto>(),
            Self::Type => size_of::<TypeProto>(),
            Self::TensorType => size_of::<TensorTypeProto>(),
            Self::Shape => size_of::<TensorShapeProto>(),
            Self::Dimension => size_of::<Dimension>(),
        }
    }

    /// Returns the memory that the field `tag` takes.
    fn field(self, tag: u64) -> Field {
        match (self, tag) {
            (Self::Model, 7) => Field::Message(Self::Graph),
            (Self::Model, 8) => Field::Message(Self::OperatorSet),
            (Self::Model, 25) => Field::Message(Self::Function),
            (Self::Graph, 1) => Field::Message(Self::Node),
            (Self::Graph, 5) => Field::Message(Self::Tensor),
            (Self::Graph, 11 | 12) => Field::Message(Self::ValueInfo),
            (Self::Node, 1 | 2) => Field::Text,
            (Self::Node, 5) => Field::Message(Self::Attribute),
            (Self::Attribute, 5) => Field::Message(Self::Tensor),
            (Self::Attribute, 7) | (Self::Tensor, 4 | 5) => Field::Numbers(4),
            (Self::Attribute, 8) | (Self::Tensor, 1 | 7 | 10) => Field::Numbers(8),
            (Self::Tensor, 13) => Field::Message(Self::Entry),
            (Self::ValueInfo, 2) => Field::Message(Self::Type),
            (Self::Type, 1) => Field::Message(Self::TensorType),
            (Self::TensorType, 2) => Field::Message(Self::Shape),
            (Self::Shape, 1) => Field::Message(Self::Dimension),
            _ => Field::Plain,
        }
    }

    /// Returns whether the numbers of the field `tag` have a fixed width in the file rather than being varints.
    fn is_fixed_width(self, tag: u64) -> bool {
        matches!((self, tag), (Self::Attribute, 7) | (Self::Tensor, 4 | 10))
    }
}

struct Scan {
    /// Number of bytes that the messages not yet seen may take.
    left: usize,
}

impl Scan {
    fn charge(&mut self, bytes: usize) -> Result<(), PrescanError> {
        self.left = self.left.checked_sub(bytes).ok_or(PrescanError::TooLarge)?;
        Ok(())
    }

    /// Walks over one message. The recursion is as deep as the message types nest in [`Kind::field`], which has no
    /// cycle.
    fn message(&mut self, mut bytes: &[u8], kind: Kind) -> Result<(), PrescanError> {
        self.charge(kind.size())?;
        while !bytes.is_empty() {
            let key = varint(&mut bytes)?;
            let (tag, wire) = (key >> 3, key & 7);
            let payload = match wire {
                0 => {
                    varint(&mut bytes)?;
                    None
                }
                1 => Some(take(&mut bytes, 8)?),
                2 => {
                    let length = usize::try_from(varint(&mut bytes)?).map_err(|_| PrescanError::Damaged)?;
                    Some(take(&mut bytes, length)?)
                }
                5 => Some(take(&mut bytes, 4)?),
                _ => return Err(PrescanError::Damaged),
            };
            match (kind.field(tag), payload) {
                (Field::Message(inner), Some(payload)) if wire == 2 => self.message(payload, inner)?,
                (Field::Text, _) => self.charge(size_of::<String>())?,
                (Field::Numbers(size), Some(packed)) if wire == 2 => {
                    let count = match kind.is_fixed_width(tag) {
                        true => packed.len() / size,
                        false => packed.iter().filter(|byte| **byte < 0x80).count(),
                    };
                    self.charge(count.saturating_mul(size))?;
                }
                (Field::Numbers(size), _) => self.charge(size)?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], PrescanError> {
    let (first, rest) = bytes.split_at_checked(length).ok_or(PrescanError::Damaged)?;
    *bytes = rest;
    Ok(first)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, PrescanError> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or(PrescanError::Damaged)?;
        *bytes = rest;
        value |= u64::from(first & 0x7f).checked_shl(shift).unwrap_or(0);
        if *first < 0x80 {
            return Ok(value);
        }
    }
    Err(PrescanError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_messages_are_weighed_before_they_are_decoded() {
        // A graph of a million empty nodes, each of two bytes, is too large.
        let nodes = [0x0a, 0x00].repeat(1 << 20);
        let graph = [&[0x3a, 0x80, 0x80, 0x80, 0x01][..], &nodes].concat();
        assert_eq!(check(&graph), Err(PrescanError::TooLarge));
        // A thousand such nodes are harmless.
        let nodes = [0x0a, 0x00].repeat(1000);
        assert_eq!(check(&[&[0x3a, 0xd0, 0x0f][..], &nodes].concat()), Ok(()));
    }

    #[test]
    fn lengths_past_the_end_are_damage() {
        assert_eq!(check(&[0x3a, 0x05, 0x0a]), Err(PrescanError::Damaged));
        assert_eq!(check(&[0xff; 20]), Err(PrescanError::Damaged));
        assert_eq!(check(&[0x0b]), Err(PrescanError::Damaged));
    }
}
