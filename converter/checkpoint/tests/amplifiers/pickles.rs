//! Makes pickles that each ask for as much memory as possible.

use super::Kind;

/// Returns a legacy file whose fourth pickle, the one with the data, is `pickle`.
pub fn legacy(pickle: &[u8]) -> Vec<u8> {
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    [magic, b"\x80\x02M\xe9\x03." as &[u8], b"\x80\x02}.", b"\x80\x02", pickle, b"\x80\x02]."].concat()
}

/// Repeats `unit` to about `size` bytes.
fn fill(unit: &[u8], size: usize) -> Vec<u8> {
    unit.repeat(size / unit.len())
}

/// Returns a file whose pickle is `before`, many times `unit`, and `after`.
fn many(before: &[&[u8]], unit: &[u8], after: &[u8], size: usize) -> Vec<u8> {
    legacy(&[&before.concat(), &fill(unit, size), after].concat())
}

/// Returns the opcode of a text.
fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// Returns a text of a thousand letters, the longest name that is allowed.
fn long(letter: &str) -> Vec<u8> {
    text(&letter.repeat(1000))
}

/// Returns a long name of a tensor that the reader knows.
fn alpha() -> Vec<u8> {
    text(&format!("{:x>1000}", ".blocks.0.norm1.alpha"))
}

const REBUILD: &[u8] = b"ctorch._utils\n_rebuild_tensor_v2\n";

/// Returns the arguments that rebuild a tensor of sixteen dimensions, each of this length.
fn arguments(length: u8) -> Vec<u8> {
    let storage =
        [b"(", &text("storage")[..], b"ctorch\nFloatStorage\n", &text("0"), &text("cpu"), b"K\x01tQ"].concat();
    let shape = [b"(", &[b'K', length].repeat(16)[..], b"t"].concat();
    [b"(", &storage[..], b"K\0", &shape, &shape, b"\x89Nt"].concat()
}

fn tensor(length: u8) -> Vec<u8> {
    [REBUILD, &arguments(length), b"R"].concat()
}

/// Returns a dictionary of many different short names, all with the value that `value` puts on the stack. The value has
/// the memo's number 0.
fn dictionary(value: &[u8], size: usize) -> Vec<u8> {
    let entries: Vec<u8> = (0..size / 11)
        .flat_map(|n| [text(std::str::from_utf8(&digits(n)).unwrap_or("?")), b"h\0".to_vec()].concat())
        .collect();
    legacy(&[value, b"q\0}(", &entries, b"u."].concat())
}

/// Returns a number in four digits of base 64.
fn digits(number: usize) -> [u8; 4] {
    [18, 12, 6, 0].map(|shift| b'0' + (number >> shift & 63) as u8)
}

/// Returns five dictionaries inside each other, up to where the innermost one's value goes.
fn deep() -> Vec<u8> {
    (0..5).flat_map(|_| [b"}", &text(&"k".repeat(40))[..]].concat()).collect()
}

/// An unknown class with long names, memoised as number 1.
fn class() -> Vec<u8> {
    [b"c", "m".repeat(1000).as_bytes(), b"\n", "n".repeat(1000).as_bytes(), b"\nq\x01"].concat()
}

pub const KINDS: &[Kind] = &[
    ("empty lists", |size| many(&[], b"]", b".", size)),
    ("empty dictionaries", |size| many(&[], b"}", b".", size)),
    ("empty tuples", |size| many(&[], b")", b".", size)),
    ("nested tuples", |size| many(&[b"N"], b"\x85", b".", size)),
    ("nested lists", |size| legacy(&[&fill(b"]", size / 2)[..], &fill(b"a", size / 2 - 1), b"."].concat())),
    ("a list in itself", |size| many(&[b"]q\0"], b"h\0a", b".", size)),
    ("lists in each other", |size| many(&[b"]q\0"], b"]h\0ah\0\x85aq\0", b".", size)),
    ("marks", |size| many(&[], b"(", b".", size)),
    ("tuples of marks", |size| many(&[], b"(t", b".", size)),
    ("singletons", |size| many(&[], b"N", b".", size)),
    ("small numbers", |size| many(&[], b"K\x07", b".", size)),
    ("large numbers", |size| many(&[], b"M\x07\x07", b".", size)),
    ("numbers as lines", |size| many(&[], b"I1\n", b".", size)),
    ("long numbers without bytes", |size| many(&[], b"\x8a\0", b".", size)),
    ("empty texts", |size| many(&[], b"U\0", b".", size)),
    ("copies of the top", |size| many(&[b"N"], b"2", b".", size)),
    ("memo entries", |size| many(&[b"N"], b"\x94", b".", size)),
    ("a far memo entry", |size| many(&[b"Nr\xff\xff\xff\x7f"], b"N", b".", size)),
    ("memo entries far apart", |size| {
        let entries: Vec<u8> =
            (0..size as u32 / 6).flat_map(|n| [b"Nr", &(n * 2).to_le_bytes()[..]].concat()).collect();
        legacy(&[&entries[..], b"."].concat())
    }),
    ("globals", |size| many(&[&long("m"), b"q\0", &long("n"), b"q\x01"], b"h\0h\x01\x930", b"}.", size)),
    ("objects", |size| many(&[&class()], b"h\x01)R0", b"}.", size)),
    ("objects in a dictionary", |size| dictionary(&[&class()[..], b")R"].concat(), size)),
    ("tensors of a class in a dictionary", |size| {
        let call = [&b"ctorch._utils\n_rebuild_tensor_v3\n(NNNNNN"[..], &class(), b"tR"].concat();
        dictionary(&call, size)
    }),
    ("shards in a dictionary", |size| {
        let whole = [b"(NN(", &b"K\x02".repeat(16)[..], b"tt"].concat();
        let state = [b"}", &text("_local_tensor")[..], &tensor(1), b"s"].concat();
        let function = b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_wrapper_subclass\n";
        dictionary(&[&function[..], b"ca\nb\n", &whole, &state, b"tR"].concat(), size)
    }),
    ("empty tensors in a dictionary", |size| dictionary(&tensor(0), size)),
    ("tensors of one element in a dictionary", |size| dictionary(&tensor(1), size)),
    ("one name many times", |size| many(&[&alpha(), b"q\0", &tensor(1), b"q\x01}("], b"h\0h\x01", b"u.", size)),
    ("tensors", |size| many(&[REBUILD, b"q\0", &arguments(1), b"q\x01"], b"h\0h\x01R", b"l.", size)),
    ("state dicts", |size| many(&[&alpha(), b"q\0", &tensor(1), b"q\x01("], b"}h\0h\x01s", b"l.", size)),
    ("state dicts below a path", |size| {
        let state = [b"}", &alpha()[..], &tensor(1), b"s"].concat();
        many(&[&deep(), b"("], &state, b"lsssss.", size)
    }),
    ("lists below a path", |size| many(&[&deep(), b"("], b"]", b"lsssss.", size)),
    ("ordered dictionaries", |size| many(&[b"ccollections\nOrderedDict\nq\0)q\x01("], b"h\0h\x01R", b"l.", size)),
    ("copies of an ordered dictionary", |size| {
        let items = [&b"ccollections\nOrderedDict\nq\0]("[..], &b"NN\x86".repeat(1000), b"e\x85q\x01("].concat();
        many(&[&items], b"h\0h\x01R", b"l.", size)
    }),
    ("instances", |size| many(&[b"("], b"(ia\nb\n", b"l.", size)),
    ("persistent ids", |size| {
        let id =
            [b"(", &text("storage")[..], b"ctorch\nFloatStorage\n", &text("0"), &text("cpu"), b"K\x01tq\0("].concat();
        many(&[&id], b"h\0Q", b"l.", size)
    }),
    ("arrays", |size| many(&[b"cnumpy.core.multiarray\n_reconstruct\nq\0)q\x01("], b"h\0h\x01R", b"l.", size)),
    ("texts as bytes", |size| {
        let encode = b"X\x06\0\0\0latin1q\x010c_codecs\nencode\nq\0";
        let text = text(&"a".repeat(size / 2));
        many(&[encode, &text, b"q\x020("], b"h\0h\x02h\x01\x86R", b"l.", size / 2)
    }),
    ("types of numbers", |size| {
        let dtype = b"cnumpy\ndtype\nX\x02\0\0\0f4\x85q\x010q\0(";
        many(&[dtype], b"h\0h\x01R", b"l.", size)
    }),
];
