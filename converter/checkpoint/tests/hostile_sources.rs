//! Tests that damaged, random and malicious checkpoints give an error, never panic, and take only as much memory as the
//! file justifies.

#[path = "../../../fuzz/src/memory.rs"]
mod memory;
#[path = "common/onnx.rs"]
mod onnx;

use std::path::{Path, PathBuf};

use resmlp_checkpoint::{LoadOptions, load};

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

/// Memory that a reader may hold.
const BOUND: memory::Bound = memory::Bound { per_byte: 32, base: 8 << 20 };

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Loads `bytes`, checks how much memory that takes, and returns the network or the error's text.
    fn load(&self, bytes: &[u8]) -> Result<resmlp_network::Network, String> {
        let path = self.0.path().join("checkpoint");
        std::fs::write(&path, bytes).unwrap();
        let _alone = memory::alone();
        let outcome = BOUND.hold(bytes.len(), || load(&path, &LoadOptions::default()), |_| 0);
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
    assert!(scratch.load(&legacy(&pickle)).unwrap_err().contains("a name of 1000000 bytes"));
    // The pickle nests 200,000 lists in each other.
    let mut pickle = b"]".repeat(200_000);
    pickle.extend(b"a".repeat(199_999));
    pickle.push(b'.');
    assert!(scratch.load(&legacy(&pickle)).is_err());
}

#[test]
fn an_archive_with_a_name_twice_is_refused() {
    // Renaming an entry makes two entries have the same name, which torch never writes.
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    archive.start_file("a/data.pkl", stored).unwrap();
    std::io::Write::write_all(&mut archive, b"\x80\x02}.").unwrap();
    archive.start_file("a/data.pkk", stored).unwrap();
    let mut bytes = archive.finish().unwrap().into_inner();
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"data.pkk")).collect();
    places.iter().for_each(|at| bytes[*at..*at + 8].copy_from_slice(b"data.pkl"));
    assert!(Scratch::new().load(&bytes).unwrap_err().contains("two entries have the same name"));
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
