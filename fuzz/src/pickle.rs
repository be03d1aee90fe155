//! Writes pickles whose opcodes fit together more often than random bytes do, in both of torch's containers.

use std::io::{Cursor, Write};

use arbitrary::{Result, Unstructured};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::readers::checkpoint;

/// Texts that have a meaning for the reader.
const TEXTS: [&str; 24] = [
    "storage",
    "module",
    "0",
    "1",
    "cpu",
    "model",
    "state_dict",
    "teacher",
    "stem.proj.weight",
    "stem.proj.bias",
    "patch_embed.proj.weight",
    "patch_embed.proj.bias",
    "blocks.0.linear_tokens.weight",
    "blocks.0.linear_tokens.bias",
    "blocks.0.norm1.alpha",
    "blocks.0.norm1.beta",
    "blocks.0.mlp_channels.fc1.weight",
    "blocks.0.ls1",
    "norm.alpha",
    "norm.beta",
    "head.weight",
    "head.bias",
    "torch",
    "FloatStorage",
];

/// Modules and names that the reader knows, and some that would run a program in Python.
const GLOBALS: [(&str, &str); 14] = [
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._tensor", "_rebuild_from_type_v2"),
    ("torch", "FloatStorage"),
    ("torch", "HalfStorage"),
    ("torch", "DoubleStorage"),
    ("torch", "LongStorage"),
    ("torch", "Size"),
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("os", "system"),
    ("builtins", "eval"),
    ("a", "b"),
];

/// Opcodes without an argument.
const PLAIN: &[u8] = b"(012N)]}lduteasbRQo\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94";

/// Builds a pickle out of `data` and reads it as a checkpoint.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let in_zip = input.arbitrary().unwrap_or(false);
    let mut pickle = b"\x80\x02".to_vec();
    while !input.is_empty() && opcode(&mut input, &mut pickle).is_ok() {}
    pickle.push(b'.');
    checkpoint(if in_zip { zipped(&pickle, data) } else { legacy(&pickle, data) });
}

/// Appends one opcode, or several that occur together in real files.
fn opcode(input: &mut Unstructured, pickle: &mut Vec<u8>) -> Result<()> {
    match input.int_in_range(0..=15)? {
        0..=4 => pickle.push(*input.choose(PLAIN)?),
        5 | 6 => text(input.choose(&TEXTS)?, pickle),
        7 => {
            let (module, name) = input.choose(&GLOBALS)?;
            pickle.extend(format!("c{module}\n{name}\n").bytes());
        }
        8 => pickle.extend([b'K', input.int_in_range(0..=8)?]),
        9 => pickle.extend([b"J".as_slice(), &input.arbitrary::<[u8; 4]>()?].concat()),
        10 => pickle.extend([*input.choose(b"qh")?, input.int_in_range(0..=15)?]),
        11 => storage(input, pickle)?,
        12 => tensor(input, pickle)?,
        13 => {
            // A key and a tensor, which `s` stores in the dictionary below them on the stack.
            text(input.choose(&TEXTS)?, pickle);
            tensor(input, pickle)?;
            pickle.push(b's');
        }
        14 => pickle
            .extend([&[*input.choose(&[0x8au8, 0x8c, b'U', b'C'])?, 4], &input.arbitrary::<[u8; 4]>()?[..]].concat()),
        _ => pickle.push(input.arbitrary()?),
    }
    Ok(())
}

/// Appends the opcode of a text.
fn text(text: &str, pickle: &mut Vec<u8>) {
    pickle.push(b'X');
    pickle.extend((text.len() as u32).to_le_bytes());
    pickle.extend(text.bytes());
}

/// Appends the persistent id of storage 0 or 1.
fn storage(input: &mut Unstructured, pickle: &mut Vec<u8>) -> Result<()> {
    pickle.push(b'(');
    text("storage", pickle);
    pickle.extend(format!("ctorch\n{}\n", input.choose(&["FloatStorage", "HalfStorage", "LongStorage"])?).bytes());
    text(input.choose(&["0", "1"])?, pickle);
    text("cpu", pickle);
    pickle.extend([b'K', input.int_in_range(0..=16)?]);
    pickle.extend(b"tQ");
    Ok(())
}

/// Appends a call that rebuilds a tensor of two dimensions.
fn tensor(input: &mut Unstructured, pickle: &mut Vec<u8>) -> Result<()> {
    pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n(");
    storage(input, pickle)?;
    let numbers: [u8; 5] = input.arbitrary()?;
    let [offset, rows, columns, row, column] = numbers.map(|number| number % 17);
    pickle.extend([b'K', offset, b'K', rows, b'K', columns, 0x86, b'K', row, b'K', column, 0x86, 0x89]);
    pickle.extend(b")R".iter().take(1));
    pickle.extend(b"tR");
    Ok(())
}

/// Wraps a pickle in the legacy container of `torch.save`: magic number, protocol, system, the pickle, keys, and one
/// storage of 16 numbers.
fn legacy(pickle: &[u8], data: &[u8]) -> Vec<u8> {
    let before = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";
    let mut file = [before, pickle, b"\x80\x02]X\x01\0\0\x000a."].concat();
    file.extend(16u64.to_le_bytes());
    file.extend(data.iter().chain(&[0; 64]).take(64));
    file
}

/// Wraps a pickle in the zip container that `torch.save` has written since PyTorch 1.6.
fn zipped(pickle: &[u8], data: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let numbers: Vec<u8> = data.iter().chain(&[0; 64]).take(64).copied().collect();
    for (name, bytes) in [("a/data.pkl", pickle), ("a/data/0", &numbers), ("a/data/1", &numbers[..32])] {
        let written = zip.start_file(name, options).map_err(std::io::Error::from).and_then(|()| zip.write_all(bytes));
        written.unwrap_or_else(|error| panic!("{error}"));
    }
    zip.finish().map_or_else(|error| panic!("{error}"), Cursor::into_inner)
}
