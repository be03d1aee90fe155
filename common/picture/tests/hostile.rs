//! Measures memory and time of files that are built to exhaust a machine.
//!
//! A file that is refused must have cost next to nothing; one that is decoded, what its pixels need.

use std::path::Path;
use std::time::{Duration, Instant};

use resmlp_picture::{Limits, Picture, Preprocess, ResizeMode};

#[path = "hostile/bmp_files.rs"]
mod bmp_files;
#[path = "hostile/jpeg_files.rs"]
mod jpeg_files;
#[path = "../../../fuzz/src/memory.rs"]
mod memory;
#[path = "hostile/png_files.rs"]
mod png_files;

use jpeg_files::{BASELINE, COLOR, GREY, INKS, LOSSLESS, PROGRESSIVE, SUBSAMPLED, head, scan, segment, table};
use memory::Bound;
use png_files::{BLACK_AND_WHITE, RGB, RGBA16, black, chunk, png, zeros};

/// Memory for everything but pixels: copies of metadata, and the decoders' own tables and windows. Bytes.
const BOUND: Bound = Bound { per_byte: 6, base: 1 << 20 };

/// Returns the most bytes of memory that the pixels of a picture take while they are decoded.
///
/// A JPEG is stored in units of at most 32 × 32 pixels (four blocks of eight pixels a side, ITU-T T.81, A.1.1) and is
/// decoded in whole units, so a picture of 1 × 9217 pixels takes the memory of 32 × 9248. A lossless JPEG takes eight
/// bytes for each sample of a pixel, of which there are at most four. The other kinds take at most eight bytes for a
/// stored pixel and three for an RGB pixel.
fn pixel_memory(file: &[u8], picture: &Picture) -> usize {
    let (unit, bytes) = if file.starts_with(&[0xff, 0xd8]) { (32, 8 * 4) } else { (1, 8 + 3) };
    let [width, height] = [picture.width(), picture.height()].map(|side| (side as usize).next_multiple_of(unit));
    bytes * width * height
}

/// Longest time for any file in these tests, on a machine that does other work too.
const PATIENCE: Duration = Duration::from_secs(10);

/// Decodes a file and checks what that costs, and that it is within the limits of a desktop computer.
fn decode(what: &str, file: &[u8]) -> Result<Picture, String> {
    let start = Instant::now();
    let pixels = |outcome: &Result<Picture, String>| outcome.as_ref().map_or(0, |picture| pixel_memory(file, picture));
    let (outcome, peak) =
        memory::peak_of_all_threads(|| BOUND.hold(file.len(), || Picture::decode(file), |outcome| pixels(outcome)));
    let time = start.elapsed();
    let found = match &outcome {
        Ok(picture) => format!("{} × {}", picture.width(), picture.height()),
        Err(message) => message.clone(),
    };
    println!("{what}: {} bytes, {:.1} MB, {:.2} s: {found}", file.len(), peak as f64 / 1e6, time.as_secs_f64());
    assert!(time < PATIENCE, "{what}: {time:?}");
    let allowed = Limits::desktop().memory(file.len() as u64) as usize + BOUND.base;
    assert!(peak <= allowed, "{what}: {peak} bytes, expected at most {allowed}");
    outcome
}

fn refused(what: &str, file: &[u8], reason: &str) {
    let message = decode(what, file).expect_err(what);
    assert!(message.contains(reason), "{what}: {message}");
}

fn accepted(what: &str, file: &[u8], size: [u32; 2]) {
    let picture = decode(what, file).unwrap_or_else(|message| panic!("{what}: {message}"));
    assert_eq!([picture.width(), picture.height()], size, "{what}");
}

#[test]
fn needles_are_refused() {
    let _alone = memory::alone();
    for side in [65_501, 1_000_000, 89_000_000] {
        refused("tall PNG", &black([1, side], png_files::GREY, false), "expected at most 65500 pixels a side");
        refused("wide PNG", &black([side, 1], png_files::GREY, false), "expected at most 65500 pixels a side");
    }
    refused("tall BMP", &bmp_files::run_lengths([1, 65_535], &[0, 1]), "expected at most 65500 pixels a side");
    refused("wide JPEG", &jpeg_files::black(BASELINE, [65_535, 1], GREY), "expected at most 65500 pixels a side");
}

#[test]
fn needles_that_are_decoded_take_little_memory_to_resize() {
    let _alone = memory::alone();
    for size in [[1, 65_500], [65_500, 1], [3, 60_000], [60_000, 3]] {
        let [width, height] = size;
        let picture = decode("needle", &black(size, RGB, false)).unwrap();
        assert_eq!([picture.width(), picture.height()], [width, height]);
        for resize in [ResizeMode::Bicubic, ResizeMode::Bilinear] {
            for (image, crop) in [([224, 224], 0.9), ([384, 384], 1.0), ([32, 96], 0.875)] {
                let preprocess = Preprocess { resize, crop, ..Preprocess::imagenet(image) };
                let output = 3 * image[0] * image[1];
                let bound = Bound { per_byte: 4, base: 1 << 20 };
                let pixels = bound.hold(output, || preprocess.apply(&picture).unwrap(), |_| 0);
                assert_eq!(pixels, vec![0; output]);
            }
        }
    }
}

/// Units of 32 × 32 pixels make a JPEG that is one pixel wide take as much memory as one of 32 pixels.
#[test]
fn thin_jpeg_files_take_the_memory_of_whole_units() {
    let _alone = memory::alone();
    for frame in [BASELINE, PROGRESSIVE] {
        for factors in
            [GREY, COLOR, SUBSAMPLED, INKS, &[0x44], &[0x41, 0x11, 0x11], &[0x14, 0x11, 0x11], &[0x42, 0x11, 0x11]]
        {
            for [width, height] in [[1, 9217], [9217, 1], [13, 709], [709, 13]] {
                let file = jpeg_files::black(frame, [width, height], factors);
                accepted("thin JPEG", &file, [width, height].map(u32::from));
            }
        }
    }
    for factors in [GREY, COLOR, INKS, &[0x44]] {
        for [width, height] in [[1, 9217], [9217, 1], [115, 4120], [709, 13]] {
            let _ = decode("lossless JPEG", &jpeg_files::black(LOSSLESS, [width, height], factors));
        }
    }
}

#[test]
fn blank_pictures_are_refused_if_they_are_much_larger_than_their_files() {
    let _alone = memory::alone();
    let reason = "bytes of memory, expected at most";
    for kind in [BLACK_AND_WHITE, png_files::GREY, RGB, RGBA16] {
        for interlaced in [false, true] {
            // The header alone decides, so that data for all rows would only take time to make.
            refused("blank PNG", &png([9000, 9000], kind, interlaced, &[], &zeros(1 << 20)), reason);
            accepted("smaller blank PNG", &black([2000, 1500], kind, interlaced), [2000, 1500]);
        }
    }
    refused("empty BMP", &bmp_files::run_lengths([9000, 9000], &[0, 1]), reason);
    accepted("smaller empty BMP", &bmp_files::run_lengths([2000, 1500], &[0, 1]), [2000, 1500]);
    for frame in [BASELINE, PROGRESSIVE] {
        for factors in [GREY, COLOR, SUBSAMPLED, INKS] {
            refused("empty JPEG", &jpeg_files::black(frame, [9000, 9000], factors), reason);
            accepted("smaller empty JPEG", &jpeg_files::black(frame, [1600, 1200], factors), [1600, 1200]);
        }
    }
    refused("lossless JPEG", &jpeg_files::black(LOSSLESS, [9000, 9000], COLOR), reason);
    refused("too many pixels", &black([9500, 9500], BLACK_AND_WHITE, false), "expected at most 89 megapixels");
}

#[test]
fn metadata_of_png_files_are_not_decompressed() {
    let _alone = memory::alone();
    let rows = zeros(8 * 25);
    let bomb = zeros(32 << 20);
    let texts = |text: &[u8]| [b"Title\0\0", text].concat();
    let international = [&b"Title\0\x01\0\0\0"[..], &bomb].concat();
    for (what, before) in [
        ("colour profile", chunk(b"iCCP", &texts(&bomb))),
        ("many colour profiles", chunk(b"iCCP", &texts(&bomb)).repeat(30)),
        ("compressed text", chunk(b"zTXt", &texts(&bomb)).repeat(30)),
        ("international text", chunk(b"iTXt", &international).repeat(30)),
        ("plain text", chunk(b"tEXt", &texts(&[b'a'; 4 << 20]))),
        ("unknown chunks", chunk(b"abCd", b"").repeat(300_000)),
        ("animation", [chunk(b"acTL", &[0, 0, 255, 255, 0, 0, 0, 0]), chunk(b"fdAT", &bomb).repeat(0)].concat()),
    ] {
        accepted(what, &png([8, 8], RGB, false, &before, &rows), [8, 8]);
    }
}

#[test]
fn large_exif_is_bounded() {
    let _alone = memory::alone();
    for megabytes in [0, 1, 8] {
        let exif = [&b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0"[..], &vec![7; megabytes << 20]]
            .concat();
        let file = png([8, 8], RGB, false, &chunk(b"eXIf", &exif), &zeros(8 * 25));
        accepted("EXIF in a PNG", &file, [8, 8]);
    }
    let exif = segment(0xe1, &[&b"Exif\0\0"[..], &[7; 60_000]].concat()).repeat(60);
    let profile = segment(0xe2, b"ICC_PROFILE\0\x01\x01a").repeat(200_000);
    for (what, before) in [("EXIF", exif), ("colour profiles", profile)] {
        let file = jpeg_files::black(BASELINE, [16, 16], COLOR);
        accepted(what, &[&file[..2], &before, &file[2..]].concat(), [16, 16]);
    }
}

#[test]
fn compressed_data_beyond_the_last_row_are_not_decompressed() {
    let _alone = memory::alone();
    for length in [201, 1 << 20, 64 << 20] {
        accepted("excess data", &png([8, 8], RGB, false, &[], &zeros(length)), [8, 8]);
    }
    let empty = chunk(b"IDAT", b"").repeat(100_000);
    accepted("empty data chunks", &png([8, 8], RGB, false, &empty, &zeros(200)), [8, 8]);
    refused("missing rows", &png([8, 8], RGB, false, &[], &zeros(150)), "PNG");
}

/// Each scan makes the decoder pass over all blocks, and takes only sixteen bytes of the file.
#[test]
fn jpeg_files_of_many_scans_are_refused() {
    let _alone = memory::alone();
    let first = |ac| [head(PROGRESSIVE, [1600, 1200], SUBSAMPLED, ac), scan(&[1, 2, 3], [0, 0], 0)].concat();
    // Every coefficient becomes -1, and every later scan looks at every coefficient.
    let refinements = [table(0x10, 0x01), scan(&[1], [1, 63], 1), table(0x10, 0xf0)].concat();
    let refine = scan(&[1], [1, 63], 0x10);
    for (what, scans) in [
        ("plain scans", scan(&[1], [1, 63], 0).repeat(500)),
        ("refining scans", [refinements.clone(), refine.repeat(500)].concat()),
        ("interleaved scans", scan(&[1, 2, 3], [0, 0], 0x10).repeat(500)),
    ] {
        let file = [first(0), scans, vec![0xff, 0xd9]].concat();
        refused(what, &file, "scans that visit");
    }
    // As many scans as the limits allow are decoded in time.
    let most = Limits::desktop().work(4096) / (1600 * 1200) - 8;
    let file = [first(0), refinements, refine.repeat(most as usize), vec![0xff, 0xd9]].concat();
    accepted("as many refining scans as are allowed", &file, [1600, 1200]);
    let file = [first(0), scan(&[1], [1, 63], 0).repeat(most as usize), vec![0xff, 0xd9]].concat();
    accepted("as many plain scans as are allowed", &file, [1600, 1200]);
    let small = [head(PROGRESSIVE, [8, 8], GREY, 0), scan(&[1], [0, 0], 0).repeat(500_000), vec![0xff, 0xd9]].concat();
    refused("a block of very many scans", &small, "scans that visit");
    let sequential = [head(BASELINE, [1600, 1200], COLOR, 0), scan(&[1, 2, 3], [0, 63], 0).repeat(500)].concat();
    refused("baseline with scans again and again", &sequential, "scans that visit");
}

/// Scans after the end of the image, which phones append, are not decoded and therefore not counted.
#[test]
fn scans_after_the_end_of_a_jpeg_do_not_count() {
    let _alone = memory::alone();
    let file = jpeg_files::black(BASELINE, [1600, 1200], COLOR);
    accepted("appended scans", &[&file[..], &scan(&[1], [0, 63], 0).repeat(10_000)].concat(), [1600, 1200]);
    let thumbnail = segment(0xe1, &[&b"Exif\0\0"[..], &scan(&[1], [0, 63], 0).repeat(5_000)].concat());
    accepted("scans in a thumbnail", &[&file[..2], &thumbnail, &file[2..]].concat(), [1600, 1200]);
}

#[test]
fn floods_of_markers_take_linear_time() {
    let _alone = memory::alone();
    let file = jpeg_files::black(BASELINE, [1024, 1024], GREY);
    let (before, end) = file.split_at(file.len() - 2);
    let restart = |n: usize| [0xff, 0xd0 + (n % 8) as u8];
    let restarts: Vec<u8> = (0..128 * 128 - 1).flat_map(|n| [&[0x3f][..], &restart(n)].concat()).collect();
    let interval = segment(0xdd, &[0, 1]);
    let start = before.len() - scan(&[1], [0, 63], 0).len();
    let with_restarts = [&before[..start], &interval, &before[start..], &restarts, end].concat();
    accepted("a restart marker after each block", &with_restarts, [1024, 1024]);
    for (what, flood) in [
        ("Huffman tables", table(0x10, 0).repeat(100_000)),
        ("quantisation tables", segment(0xdb, &[&[0][..], &[1; 64]].concat()).repeat(30_000)),
        ("comments", segment(0xfe, b"").repeat(500_000)),
        ("fill bytes", vec![0xff; 4 << 20]),
    ] {
        accepted(what, &[&file[..2], &flood, &file[2..]].concat(), [1024, 1024]);
    }
    let stray = [before, &restart(0).repeat(1 << 20), end].concat();
    accepted("stray restart markers", &stray, [1024, 1024]);
    refused("height in a later segment", &jpeg_files::black(BASELINE, [1024, 0], GREY), "JPEG");
}

#[test]
fn run_lengths_are_bounded() {
    let _alone = memory::alone();
    // Moves by 255 columns and rows, runs, and ends of rows.
    let runs: Vec<u8> = [[0, 2, 255, 1], [255, 3, 0, 0]].concat().repeat(100_000);
    let _ = decode("moves", &bmp_files::run_lengths([2000, 1500], &runs));
    let _ = decode("ends of rows", &bmp_files::run_lengths([2000, 1500], &[0; 1 << 20]));
    let _ = decode("empty runs", &bmp_files::run_lengths([2000, 1500], &[0, 2, 0, 0].repeat(1 << 20)));
}

/// A board of 512 MiB refuses what a desktop computer decodes, and names both numbers.
#[test]
fn small_boards_have_smaller_limits() {
    let _alone = memory::alone();
    let file = black([3000, 2000], RGB, false);
    let board = Limits::for_machine(64 << 20);
    assert!(Picture::decode(&file).is_ok());
    let (outcome, peak) = memory::peak_of_all_threads(|| Picture::decode_within(&file, &board));
    let message = outcome.unwrap_err();
    assert!(peak < 1 << 20, "{peak} bytes");
    assert!(message.contains("decoding takes 18") && message.contains("expected at most 12582912"), "{message}");
    assert!(Picture::decode_within(&file, &Limits::for_machine(512 << 20)).is_ok());
    let long = vec![0; board.longest_file() as usize + 1];
    let message = Picture::decode_within(&long, &board).unwrap_err();
    assert!(message.contains("expected a picture of at most that length"), "{message}");
}

#[test]
fn an_error_names_the_file() {
    let _alone = memory::alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("needle.png");
    std::fs::write(&path, black([1, 100_000], RGB, false)).unwrap();
    let message = Picture::open(&path).unwrap_err().to_string();
    let expected = "found 1 × 100000 pixels, expected at most 65500 pixels a side";
    assert_eq!(message, format!("{}: {expected}", path.display()));
    for path in [folder.path(), Path::new("/dev/null")] {
        let message = Picture::open(path).unwrap_err().to_string();
        assert_eq!(message, format!("{}: not a regular file", path.display()));
    }
}

/// Thousands of pictures, good and bad ones, leave nothing behind.
#[test]
fn memory_stays_flat_over_ten_thousand_pictures() {
    let _alone = memory::alone();
    let preprocess = Preprocess::imagenet([32, 32]);
    let files = [
        black([40, 30], RGB, false),
        jpeg_files::black(PROGRESSIVE, [40, 30], SUBSAMPLED),
        jpeg_files::black(BASELINE, [200, 150], COLOR),
        black([1, 100_000], RGB, false),
        jpeg_files::black(PROGRESSIVE, [9000, 9000], COLOR),
        bmp_files::run_lengths([40, 30], &[0, 1]),
    ];
    let pass = || {
        for file in &files {
            if let Ok(picture) = Picture::decode(file) {
                preprocess.apply(&picture).unwrap();
            }
        }
    };
    pass();
    let left = memory::left_by(|| (0..10_000 / files.len()).for_each(|_| pass()));
    assert!(left.abs() < 64 << 10, "{left} bytes are left");
}
