//! Compares decoding and resizing with what Pillow and torchvision made of the same pictures (`pictures/make.py`).

use std::fs;
use std::path::{Path, PathBuf};

use resmlp_picture::{Fit, Picture, Preprocess, ResizeMode};

/// How closely the samples of two pictures agree.
struct Agreement {
    /// Share of the samples that are the same in both.
    identical: f64,
    /// Share of the samples that differ by one at most.
    within_one: f64,
    /// Largest difference.
    largest: u8,
}

fn agreement(ours: &[u8], theirs: &[u8]) -> Agreement {
    assert_eq!(ours.len(), theirs.len());
    let differences: Vec<u8> = ours.iter().zip(theirs).map(|(a, b)| a.abs_diff(*b)).collect();
    let share = |limit| differences.iter().filter(|&&d| d <= limit).count() as f64 / differences.len() as f64;
    Agreement { identical: share(0), within_one: share(1), largest: differences.iter().copied().max().unwrap_or(0) }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures")
}

fn demo_pictures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo/pictures")
}

/// Returns the files of a folder of fixtures, sorted by name.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(fixtures().join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} is empty");
    files
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_string()
}

#[test]
fn decoding_agrees_with_pillow() {
    for path in files("inputs") {
        let ours = Picture::open(&path).unwrap();
        let theirs = Picture::open(fixtures().join("decoded").join(name(&path) + ".png")).unwrap();
        assert_eq!([ours.height(), ours.width()], [theirs.height(), theirs.width()], "{}", path.display());
        let Agreement { identical, within_one, largest } = agreement(ours.rgb(), theirs.rgb());
        println!("{}: {identical:.4} identical, {within_one:.4} within 1, at most {largest}", name(&path));
        // JPEG decoders may differ in the inverse DCT, and in how they enlarge subsampled chroma.
        if path.extension().unwrap() == "jpg" {
            assert!(within_one >= 0.96 && largest <= 4, "{}: {within_one}, {largest}", path.display());
        } else {
            assert!(identical == 1.0, "{}: {identical}", path.display());
        }
    }
}

#[test]
fn preparing_agrees_with_torchvision() {
    for path in files("prepared") {
        let name = name(&path);
        let (picture, spec) = name.strip_suffix(".png").unwrap().split_once("g.").unwrap();
        let picture = format!("{picture}g");
        let [mode, size, fit] = spec.split('_').collect::<Vec<_>>().try_into().unwrap();
        let size: usize = size.parse().unwrap();
        let source = [fixtures().join("inputs").join(&picture), demo_pictures().join(&picture)];
        let source = source.iter().find(|path| path.exists()).unwrap();
        let preprocess = Preprocess {
            fit: if fit == "squash" { Fit::Squash } else { Fit::Crop },
            // A squashed picture makes no use of the crop.
            crop: fit.parse().unwrap_or(0.5),
            resize: if mode == "bicubic" { ResizeMode::Bicubic } else { ResizeMode::Bilinear },
            ..Preprocess::imagenet([size, size])
        };
        let ours = preprocess.apply(&Picture::open(source).unwrap()).unwrap();
        let theirs = Picture::open(&path).unwrap();
        let Agreement { identical, within_one, largest } = agreement(&ours, theirs.rgb());
        println!("{name}: {identical:.4} identical, {within_one:.4} within 1, at most {largest}");
        assert!(within_one >= 0.99 && largest <= 3, "{name}: {within_one}, {largest}");
        // Decoding a PNG is exact, so that only the resizing can differ.
        if picture.ends_with(".png") {
            assert!(identical >= 0.99 && within_one >= 0.999, "{name}: {identical}, {within_one}");
        }
    }
}

#[test]
fn all_orientations_give_the_same_upright_picture() {
    let open = |n: u32| Picture::open(fixtures().join(format!("inputs/orientation{n}.jpg"))).unwrap();
    let stored = open(1);
    let (height, width) = (stored.height() as usize, stored.width() as usize);
    for orientation in 1..=8 {
        let turned = open(orientation);
        let size = [turned.height() as usize, turned.width() as usize];
        assert_eq!(size, if orientation < 5 { [height, width] } else { [width, height] });
        for y in 0..size[0] {
            for x in 0..size[1] {
                // EXIF says at which row and column this pixel of the upright picture is stored.
                let (row, column) = match orientation {
                    1 => (y, x),
                    2 => (y, width - 1 - x),
                    3 => (height - 1 - y, width - 1 - x),
                    4 => (height - 1 - y, x),
                    5 => (x, y),
                    6 => (height - 1 - x, y),
                    7 => (height - 1 - x, width - 1 - y),
                    _ => (x, width - 1 - y),
                };
                let pixel = |p: &Picture, i: usize| p.rgb()[i * 3..][..3].to_vec();
                let (ours, expected) = (pixel(&turned, y * size[1] + x), pixel(&stored, row * width + column));
                assert_eq!(ours, expected, "orientation {orientation}, row {y}, column {x}");
            }
        }
    }
}

#[test]
fn sixteen_bit_grey_keeps_its_high_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grey16.png");
    let levels = [0u16, 255, 256, 0x7fff, 0x80ff, 0xffff];
    let mut encoder = png::Encoder::new(fs::File::create(&path).unwrap(), 6, 1);
    encoder.set_depth(png::BitDepth::Sixteen);
    let samples: Vec<u8> = levels.into_iter().flat_map(u16::to_be_bytes).collect();
    encoder.write_header().unwrap().write_image_data(&samples).unwrap();
    let expected: Vec<u8> = [0, 0, 1, 0x7f, 0x80, 0xff].iter().flat_map(|&grey| [grey; 3]).collect();
    assert_eq!(Picture::open(&path).unwrap().rgb(), expected);
}

#[test]
fn broken_files_are_errors_that_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.jpg");
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&broken, bytes).unwrap();
        let message = Picture::open(&broken).expect_err(what).to_string();
        assert!(message.starts_with(&broken.display().to_string()), "{what}: {message}");
        message
    };
    for name in ["quality50_420.jpg", "progressive.jpg", "rgb.png", "rgb.bmp"] {
        let whole = fs::read(fixtures().join("inputs").join(name)).unwrap();
        for length in [0, 1, 2, 3, 20, whole.len() / 3, whole.len() / 2, whole.len() * 9 / 10] {
            refused(&whole[..length], &format!("{name} cut to {length} bytes"));
        }
    }
    assert!(refused(b"garbage that is no picture", "garbage").contains("not a picture, expected JPEG, PNG or BMP"));
    assert!(refused(b"GIF89a\x01\0\x01\0", "GIF").contains("Gif picture, expected"));
    // A header that promises 60000 × 60000 pixels.
    let mut bomb = fs::read(fixtures().join("inputs/rgb.bmp")).unwrap();
    bomb[18..22].copy_from_slice(&60_000u32.to_le_bytes());
    bomb[22..26].copy_from_slice(&60_000u32.to_le_bytes());
    assert!(refused(&bomb, "bomb").contains("60000 × 60000 pixels"));
    let missing = Picture::open("no/such/picture.jpg").unwrap_err().to_string();
    assert!(missing.starts_with("no/such/picture.jpg: "), "{missing}");
}

#[test]
fn damaged_files_never_panic() {
    for name in ["quality50_420.jpg", "progressive.jpg", "restart.jpg", "cmyk.jpg", "palette.png", "rgb.bmp"] {
        let whole = fs::read(fixtures().join("inputs").join(name)).unwrap();
        for position in 0..whole.len().min(1500) {
            let mut damaged = whole.clone();
            damaged[position] ^= 1 << (position % 8);
            let _ = Picture::decode(&damaged);
            damaged[position] = 0xff;
            let _ = Picture::decode(&damaged);
        }
    }
}
