//! Makes zip archives that are costly to open.

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::Kind;

const END: &[u8] = b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0";

/// Returns an entry of a directory without a name.
fn header() -> Vec<u8> {
    b"PK\x01\x02".iter().copied().chain([0; 42]).collect()
}

/// Returns an archive with `entries`, and with as many storages of `length` bytes each as fit into `size` bytes.
fn archive(pickle: &[u8], size: usize, length: usize) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut add = |name: String, bytes: &[u8]| {
        zip.start_file(name, stored).unwrap();
        zip.write_all(bytes).unwrap();
    };
    add("a/data.pkl".into(), pickle);
    // An entry takes about 100 bytes in addition to its content and twice its name.
    (0..size / (length + 130)).for_each(|n| add(format!("a/data/{n}"), &vec![0; length]));
    zip.finish().unwrap().into_inner()
}

/// Returns a pickle of a dictionary of `count` tensors of one number, each with a storage of its own of `length`
/// numbers.
fn tensors(count: usize, length: usize) -> Vec<u8> {
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let before = [&b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\0ctorch\nFloatStorage\nq\x01"[..], b"00}("].concat();
    let entry = |n: usize| {
        let name = text(&n.to_string());
        let storage =
            [b"(", &text("storage")[..], b"h\x01", &name, b"NJ", &(length as u32).to_le_bytes(), b"tQ"].concat();
        [&name[..], b"h\0(", &storage, b"K\0K\x01\x85K\x01\x85\x89NtR"].concat()
    };
    [before, (0..count).flat_map(entry).collect(), b"u.".to_vec()].concat()
}

/// Returns an archive of about `size` bytes with a hundred storages, all of which lie in the same place.
pub fn overlapping(size: usize) -> Vec<u8> {
    const COUNT: usize = 100;
    let data = vec![0; size / 4 * 4];
    let shared = |n: usize| (format!("a/data/{n}"), &data[..]);
    let pickle = tensors(COUNT, data.len() / 4);
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    let number = |value: usize| (value as u32).to_le_bytes();
    let half = |value: usize| (value as u16).to_le_bytes();
    let mut entry = |(name, bytes): (String, &[u8]), header: usize| {
        let lengths = [crc32fast::hash(bytes).to_le_bytes(), number(bytes.len()), number(bytes.len())].concat();
        let sizes = [&lengths[..], &half(name.len()), &[0; 2]].concat();
        directory.extend([b"PK\x01\x02", &[0; 12][..], &sizes, &[0; 10], &number(header), name.as_bytes()].concat());
        [b"PK\x03\x04", &[0; 10][..], &sizes, name.as_bytes(), bytes].concat()
    };
    file.extend(entry(("a/data.pkl".into(), &pickle), 0));
    let place = file.len();
    file.extend(entry(shared(0), place));
    (1..COUNT).for_each(|n| drop(entry(shared(n), place)));
    let end = [&half(COUNT + 1)[..], &half(COUNT + 1), &number(directory.len()), &number(file.len()), &[0; 2]].concat();
    [file, directory, [b"PK\x05\x06\0\0\0\0", &end[..]].concat()].concat()
}

pub const KINDS: &[Kind] = &[
    // Each end record promises a directory at the file's beginning.
    ("end records", |size| [b"PK\x03\x04", &header().repeat(1000)[..], &END.repeat(size / END.len())].concat()),
    ("a directory of nothing", |size| [b"PK\x03\x04", &header().repeat(size / 46)[..], END].concat()),
    ("beginnings of entries", |size| [&b"PK\x03\x04".repeat(size / 4)[..], END].concat()),
    ("a comment of end records", |size| {
        let filling = vec![b'P'; size];
        let end = [&END[..20], &0xfff0u16.to_le_bytes()].concat();
        [b"PK\x03\x04", &filling[..], &end, &b"PK\x05\x06".repeat(0xfff0 / 4)].concat()
    }),
    ("storages in the same place", overlapping),
    ("empty storages", |size| archive(b"\x80\x02}.", size, 0)),
    ("storages of one number", |size| {
        let count = size / 230;
        archive(&tensors(count, 1), count * 134, 4)
    }),
];
