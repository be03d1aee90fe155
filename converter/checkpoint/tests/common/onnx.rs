//! Writes the part of the protobuf encoding that small ONNX files need.

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

/// Encodes an initialiser `name` full of ones.
pub fn weight(name: &str, shape: &[usize]) -> Vec<u8> {
    let dims = shape.iter().flat_map(|length| number(1, *length as u64)).collect();
    let data = 1f32.to_le_bytes().repeat(shape.iter().product());
    bytes(5, &[dims, number(2, 1), bytes(8, name.as_bytes()), bytes(9, &data)].concat())
}

/// Encodes a node, with the attribute `strides` if that is not empty.
pub fn node(operator: &str, inputs: &[&str], output: &str, strides: &[u64]) -> Vec<u8> {
    let inputs = inputs.iter().flat_map(|name| bytes(1, name.as_bytes())).collect();
    let strides: Vec<u8> = strides.iter().flat_map(|stride| number(8, *stride)).collect();
    let attribute = match strides.is_empty() {
        true => Vec::new(),
        false => bytes(5, &[bytes(1, b"strides"), number(20, 7), strides].concat()),
    };
    let output = bytes(2, output.as_bytes());
    bytes(1, &[inputs, output, bytes(4, operator.as_bytes()), attribute].concat())
}

/// Encodes a model with the input `x`, a picture of `edge` × `edge` pixels, and the output `y`.
pub fn model(edge: usize, parts: &[Vec<u8>]) -> Vec<u8> {
    let lengths = [1, 3, edge, edge].map(|length| bytes(1, &number(1, length as u64))).concat();
    let tensor = [number(1, 1), bytes(2, &lengths)].concat();
    let input = [bytes(1, b"x"), bytes(2, &bytes(1, &tensor))].concat();
    let graph = [parts.concat(), bytes(11, &input), bytes(12, &bytes(1, b"y"))].concat();
    [number(1, 8), bytes(7, &graph), bytes(8, &number(2, 17))].concat()
}
