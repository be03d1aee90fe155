//! Rewrites ONNX files for rten, which reads a list of integers only if each integer has a tag of its own.
//!
//! Protobuf allows that form and the packed one; this project's exporter writes the packed one.

use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

/// Field numbers on the way to the integers of attributes: `ModelProto.graph`, `GraphProto.node`,
/// `NodeProto.attribute`, `AttributeProto.ints`.
const ATTRIBUTES: [u32; 4] = [7, 1, 5, 8];

/// Field numbers on the way to the shapes of tensors: `ModelProto.graph`, `GraphProto.initializer`, `TensorProto.dims`.
const SHAPES: [u32; 3] = [7, 5, 1];

/// Returns the model with the integers of all attributes and shapes unpacked.
pub fn integers(onnx: &[u8]) -> Vec<u8> {
    rewrite(&rewrite(onnx, &ATTRIBUTES), &SHAPES)
}

/// Returns `message` with the lists at the end of `path` unpacked.
fn rewrite(mut message: &[u8], path: &[u32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len());
    while !message.is_empty() {
        let start = message;
        let (tag, wire) = decode_key(&mut message).expect("a protobuf tag");
        let len = match wire {
            WireType::Varint => {
                decode_varint(&mut message).expect("a number");
                0
            }
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            _ => decode_varint(&mut message).expect("a length") as usize,
        };
        let (mut value, rest) = message.split_at(len);
        message = rest;
        match path {
            [last] if *last == tag && wire == WireType::LengthDelimited => {
                while !value.is_empty() {
                    encode_key(tag, WireType::Varint, &mut out);
                    encode_varint(decode_varint(&mut value).expect("an integer"), &mut out);
                }
            }
            [first, rest @ ..] if *first == tag && !rest.is_empty() => {
                let value = rewrite(value, rest);
                encode_key(tag, WireType::LengthDelimited, &mut out);
                encode_varint(value.len() as u64, &mut out);
                out.extend(value);
            }
            _ => out.extend(&start[..start.len() - message.len()]),
        }
    }
    out
}
