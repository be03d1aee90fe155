//! Tests that damaged, random and malicious checkpoints give an error, never panic, and take only as much memory as the
//! file justifies.

#[path = "common/memory.rs"]
mod memory;
#[path = "common/onnx.rs"]
mod onnx;

use std::path::{Path, PathBuf};

use resmlp_checkpoint::{LoadOptions, load, load_bytes};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

const EXAMPLES: [&str; 6] = [
    "safetensors/deit-f32.safetensors",
    "pth/timm-zip-f32.pth",
    "pth/lucidrains-legacy-f32.pth",
    "pth/deit-strided-zip.pth",
    "onnx/deit-torchscript-17-dynamic.onnx",
    "onnx/lucidrains-dynamo-20-static.onnx",
];

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Loads `bytes`, checks how much memory that takes, and returns the network or the error's text.
    fn load(&self, bytes: &[u8]) -> Result<resmlp_network::Network, String> {
        let path = self.0.path().join("checkpoint");
        std::fs::write(&path, bytes).unwrap();
        let outcome = memory::limited(bytes.len(), 0, || load(&path, &LoadOptions::default()));
        outcome.map(|checkpoint| checkpoint.network).map_err(|error| error.to_string())
    }
}

/// A generator of pseudorandom numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit
    }
}

#[test]
fn a_truncated_checkpoint_is_refused() {
    let scratch = Scratch::new();
    let mut numbers = Numbers(1);
    for example in EXAMPLES {
        let whole = std::fs::read(fixtures().join(example)).unwrap();
        let network = scratch.load(&whole).unwrap();
        let near_the_ends = (0..40).chain(whole.len() - 40..whole.len());
        let anywhere = (0..200).map(|_| numbers.below(whole.len()));
        for length in near_the_ends.chain(anywhere.collect::<Vec<_>>()) {
            match scratch.load(&whole[..length]) {
                Err(error) => assert!(error.contains("checkpoint"), "{example} cut at {length}: {error}"),
                // An ONNX file may lose what follows its graph and its opset without any effect on the network.
                Ok(found) => assert!(example.ends_with("onnx") && found == network, "{example} cut at {length} loads"),
            }
        }
    }
}

#[test]
fn random_bytes_after_each_formats_beginning_are_refused() {
    let scratch = Scratch::new();
    let mut numbers = Numbers(2);
    for example in EXAMPLES {
        let whole = std::fs::read(fixtures().join(example)).unwrap();
        for round in 0..100 {
            let kept = [0, 8, 16, 64, 256][round % 5].min(whole.len());
            let mut bytes = whole[..kept].to_vec();
            bytes.extend((0..numbers.below(4000)).map(|_| numbers.next() as u8));
            assert!(scratch.load(&bytes).is_err(), "{example}, round {round}");
        }
    }
}

#[test]
fn changed_bytes_neither_panic_nor_take_memory() {
    let scratch = Scratch::new();
    let mut numbers = Numbers(3);
    for example in EXAMPLES {
        let whole = std::fs::read(fixtures().join(example)).unwrap();
        for _ in 0..200 {
            let mut bytes = whole.clone();
            for _ in 0..1 + numbers.below(4) {
                let reach = [256, bytes.len()][numbers.below(2)].min(bytes.len());
                let at = numbers.below(reach);
                let flipped = bytes[at] ^ 1 << numbers.below(8);
                bytes[at] = [numbers.next() as u8, 0, 0xff, flipped][numbers.below(4)];
            }
            let _ = scratch.load(&bytes);
        }
    }
}

#[test]
fn a_changed_weight_in_a_zip_is_noticed() {
    let scratch = Scratch::new();
    let mut bytes = std::fs::read(fixtures().join("pth/timm-zip-f32.pth")).unwrap();
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes.clone())).unwrap();
    let entry = archive.file_names().find(|name| name.ends_with("/data/0")).unwrap().to_string();
    let start = archive.by_name(&entry).unwrap().data_start().unwrap();
    bytes[start as usize] ^= 1;
    assert!(scratch.load(&bytes).unwrap_err().to_lowercase().contains("checksum"));
}

/// Returns a legacy file's first three pickles, followed by `pickle`.
fn legacy(pickle: &[u8]) -> Vec<u8> {
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    [magic, b"\x80\x02M\xe9\x03." as &[u8], b"\x80\x02}.", b"\x80\x02", pickle].concat()
}

#[test]
fn a_pickle_that_multiplies_itself_is_refused() {
    let scratch = Scratch::new();
    // The pickle makes a list of 20,000 pairs and calls OrderedDict on it 20,000 times.
    let mut pickle = b"ccollections\nOrderedDict\nq\x00](".to_vec();
    pickle.extend(b"K\x01K\x02\x86".repeat(20_000));
    pickle.extend(b"e\x85q\x01");
    pickle.extend(b"h\x00h\x01R".repeat(20_000));
    pickle.push(b'.');
    assert!(scratch.load(&legacy(&pickle)).unwrap_err().contains("unfolds to more than its own length"));
    // The pickle uses one list of 20,000 members as the class of 20,000 modules.
    let mut pickle = b"(X\x06\0\0\0module](".to_vec();
    pickle.extend(b"K\x01".repeat(20_000));
    pickle.extend(b"etq\x00");
    pickle.extend(b"h\x00Q".repeat(20_000));
    pickle.push(b'.');
    assert!(scratch.load(&legacy(&pickle)).is_err());
    // The pickle uses one long name as the module and the class of many globals.
    let mut pickle = b"X\x40\x42\x0f\x00".to_vec();
    pickle.extend(vec![b'a'; 1_000_000]);
    pickle.extend(b"q\x00");
    pickle.extend(b"h\x00h\x00\x93".repeat(10_000));
    pickle.push(b'.');
    assert!(scratch.load(&legacy(&pickle)).unwrap_err().contains("a name of 1000000 letters"));
    // The pickle nests 200,000 lists in each other.
    let mut pickle = b"]".repeat(200_000);
    pickle.extend(b"a".repeat(199_999));
    pickle.push(b'.');
    assert!(scratch.load(&legacy(&pickle)).is_err());
}

/// Bytes that the reader of a PyTorch file may hold for each byte of the file, and further bytes for any file.
const PTH_LIMIT: [usize; 2] = [32, 8 << 20];

/// Reads `bytes` as a checkpoint, which must fail, and returns the error's text.
///
/// Panics if reading takes more memory than [`PTH_LIMIT`] allows or more than 20 seconds.
fn read_within_limits(what: &str, bytes: Vec<u8>) -> String {
    let length = bytes.len();
    let start = std::time::Instant::now();
    let read = || load_bytes(Path::new("hostile.pth"), bytes, &LoadOptions::default());
    let (outcome, peak) = memory::peak(read);
    let limit = PTH_LIMIT[0] * length + PTH_LIMIT[1];
    assert!(peak <= limit, "{what}: {peak} bytes held for a file of {length}, {} a byte", peak / length);
    assert!(start.elapsed().as_secs() < 20, "{what}: {:?} for a file of {length}", start.elapsed());
    outcome.expect_err(what).to_string()
}

fn short(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// Returns pickles of about `size` bytes that each ask for as much memory as possible, with their names.
fn amplifiers(size: usize) -> Vec<(&'static str, Vec<u8>)> {
    let repeat = |unit: &[u8]| unit.repeat(size / unit.len());
    let long = |letter: &str| letter.repeat(1000);
    let storage =
        [b"(", &short("storage")[..], b"ctorch\nFloatStorage\n", &short("0"), &short("cpu"), b"K\x01tQ"].concat();
    let ones = [b"(", &b"K\x01".repeat(16)[..], b"t"].concat();
    let arguments = [b"(", &storage[..], b"K\x00", &ones, &ones, b"\x89Nt"].concat();
    let rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n";
    let tensor = [rebuild, &arguments[..], b"R"].concat();
    let alpha = short(&format!("{:x>1000}", ".blocks.0.norm1.alpha"));
    let deep: Vec<u8> = (0..5).flat_map(|_| [b"}", &short(&"k".repeat(40))[..]].concat()).collect();
    let state = [b"}", &alpha[..], &tensor, b"s"].concat();
    vec![
        ("empty lists", repeat(b"]")),
        ("empty dictionaries", repeat(b"}")),
        ("empty tuples", repeat(b")")),
        ("nested tuples", [b"N", &repeat(b"\x85")[..]].concat()),
        ("marks", repeat(b"(")),
        ("singletons", repeat(b"N")),
        ("small numbers", repeat(b"K\x07")),
        ("large numbers", repeat(b"M\x07\x07")),
        ("copies of the top", [b"N", &repeat(b"2")[..]].concat()),
        ("memo entries", [b"N", &repeat(b"\x94")[..]].concat()),
        ("a far memo entry", [b"Nr\xff\xff\xff\x7f", &repeat(b"N")[..]].concat()),
        (
            "globals",
            [&short(&long("m"))[..], b"q\0", &short(&long("n")), b"q\x01", &repeat(b"h\0h\x01\x930"), b"}."].concat(),
        ),
        (
            "objects",
            [b"c", long("m").as_bytes(), b"\n", long("n").as_bytes(), b"\nq\0", &repeat(b"h\0)R0"), b"}."].concat(),
        ),
        ("one name many times", [&alpha[..], b"q\0", &tensor, b"q\x01}(", &repeat(b"h\0h\x01"), b"u."].concat()),
        ("tensors", [rebuild, &b"q\0"[..], &arguments, b"q\x01", &repeat(b"h\0h\x01R"), b"l."].concat()),
        ("state dicts", [&alpha[..], b"q\0", &tensor, b"q\x01(", &repeat(b"}h\0h\x01s"), b"l."].concat()),
        ("state dicts below a path", [&deep[..], b"(", &repeat(&state), b"l", b"sssss."].concat()),
        ("lists below a path", [&deep[..], b"(", &repeat(b"]"), b"l", b"sssss."].concat()),
        (
            "ordered dictionaries",
            [&b"ccollections\nOrderedDict\nq\0)q\x01("[..], &repeat(b"h\0h\x01R"), b"l."].concat(),
        ),
        ("instances", [&b"("[..], &repeat(b"(ia\nb\n"), b"l."].concat()),
        ("arrays", [&b"cnumpy.core.multiarray\n_reconstruct\nq\0)q\x01("[..], &repeat(b"h\0h\x01R"), b"l."].concat()),
        ("texts as bytes", {
            let text = short(&"a".repeat(size / 2));
            let encode = b"c_codecs\nencode\nX\x06\0\0\0latin1q\0";
            let half = b"h\x01h\0\x86h\x02R".repeat(size / 16);
            [&encode[..], b"00c_codecs\nencode\nq\x02", &text, b"q\x01(", &half, b"l."].concat()
        }),
    ]
}

#[test]
fn a_pickle_of_any_size_takes_memory_in_proportion() {
    for size in [1 << 20, 4 << 20] {
        for (what, pickle) in amplifiers(size) {
            read_within_limits(what, [legacy(&pickle), b"\x80\x02].".to_vec()].concat());
        }
    }
}

#[test]
fn an_archive_is_read_in_time_that_grows_with_its_length() {
    // The first file is full of end records, each of which promises a directory at the file's beginning.
    let header = b"PK\x01\x02".iter().copied().chain([0; 42]).collect::<Vec<_>>();
    for size in [1 << 20, 4 << 20] {
        let end = b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0";
        let records = [b"PK\x03\x04", &header.repeat(1000)[..], &end.repeat(size / end.len())].concat();
        let error = read_within_limits("end records", records);
        assert!(error.contains("a damaged zip archive"), "{error}");
        let directory = [b"PK\x03\x04", &header.repeat(size / header.len())[..], end].concat();
        assert!(read_within_limits("a directory", directory).contains("a damaged zip archive"));
    }
    // In the last file, renaming an entry makes two entries have the same name, which torch never writes.
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    archive.start_file("a/data.pkl", stored).unwrap();
    std::io::Write::write_all(&mut archive, b"\x80\x02}.").unwrap();
    archive.start_file("a/data.pkk", stored).unwrap();
    let mut bytes = archive.finish().unwrap().into_inner();
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"data.pkk")).collect();
    places.iter().for_each(|at| bytes[*at..*at + 8].copy_from_slice(b"data.pkl"));
    assert!(read_within_limits("a name twice", bytes).contains("two entries have the same name"));
}

#[test]
fn names_without_number_or_end_take_time_in_proportion() {
    let header = |entries: String| {
        let header = format!("{{{entries}}}");
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
    };
    let entry = |name: &str| format!("\"{name}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}");
    let parts = ["norm1.alpha", "norm1.beta", "norm2.alpha", "norm2.beta", "ls1", "ls2"];
    let networks: Vec<_> = (0..2500).flat_map(|n| parts.map(|part| entry(&format!("n{n}.blocks.0.{part}")))).collect();
    read_within_limits("networks", header(networks.join(",")));
    let dots = "a.".repeat(100_000);
    let long: Vec<_> = parts.iter().map(|part| entry(&format!("{dots}blocks.0.{part}"))).collect();
    assert!(read_within_limits("long names", header(long.join(","))).contains("letters; expected at most 1000"));
    let blocks: Vec<_> = (0..20_000).map(|n| entry(&format!("blocks.{n}.norm1.alpha"))).collect();
    assert!(read_within_limits("blocks", header(blocks.join(","))).contains("missing"));
}

#[test]
fn the_length_of_a_text_is_not_believed() {
    let scratch = Scratch::new();
    assert!(scratch.load(&legacy(b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fx.")).unwrap_err().contains("ends too early"));
    assert!(scratch.load(&legacy(b"\x8b\xff\xff\xff\xffx.")).unwrap_err().contains("ends too early"));
    assert!(scratch.load(b"\xff\xff\xff\x00\x00\x00\x00\x00{").unwrap_err().contains("damaged safetensors"));
}

#[test]
fn a_graph_that_multiplies_its_weights_is_refused() {
    let scratch = Scratch::new();
    // In this graph 5,000 layers share one weight over channels.
    let mut shared = vec![onnx::weight("w", &[64, 3, 2, 2]), onnx::weight("v", &[64, 64, 1, 1])];
    shared.push(onnx::node("Conv", &["x", "w"], "y0", &[2, 2]));
    let name = |at: usize| if at == 5_000 { "y".into() } else { format!("y{at}") };
    shared.extend((0..5_000).map(|at| onnx::node("Conv", &[&name(at), "v"], &name(at + 1), &[1, 1])));
    let error = scratch.load(&onnx::model(4, &shared)).unwrap_err();
    assert!(error.contains("unfolds to far more than the file's size"), "{error}");
    // In this graph the sum of two vectors is a matrix of 100 million numbers.
    let sum = [
        onnx::weight("w", &[10_000, 1]),
        onnx::weight("v", &[1, 10_000]),
        onnx::node("Add", &["w", "v"], "s", &[]),
        onnx::node("Add", &["x", "s"], "y", &[]),
    ];
    assert!(scratch.load(&onnx::model(4, &sum)).unwrap_err().contains("unfolds to far more than the file's size"));
    // In this graph a picture has 268 million patches of one pixel.
    let patches = [onnx::weight("w", &[4, 3, 1, 1]), onnx::node("Conv", &["x", "w"], "y", &[1, 1])];
    let error = scratch.load(&onnx::model(1 << 14, &patches)).unwrap_err();
    assert!(error.contains("unfolds to far more than the file's size"), "{error}");
}
