//! Opens data sets of all kinds, whole and damaged ones.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use resmlp_train_data::{DataError, Dataset, Options, Picture};

/// Encodes a grey picture as PNG.
fn png(height: u32, width: u32, grey: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(&vec![grey; (height * width) as usize]).unwrap();
    bytes
}

fn write(path: PathBuf, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn open(path: &Path) -> Result<Dataset, DataError> {
    Dataset::open(path, &Options::default())
}

/// Returns the label and the first value of each picture.
fn contents(dataset: &Dataset) -> Vec<(u32, u8)> {
    (0..dataset.len()).map(|i| (dataset.label(i), dataset.picture(i).unwrap().rgb()[0])).collect()
}

fn message(outcome: Result<Dataset, DataError>) -> String {
    outcome.unwrap_err().to_string()
}

/// Writes three classes, one of which has no readable picture.
fn write_tree(folder: &Path) {
    write(folder.join("dog/b.png"), &png(2, 3, 4));
    write(folder.join("dog/a.png"), &png(2, 3, 3));
    write(folder.join("cat/x.png"), &png(9, 9, 1));
    write(folder.join("bird/x.png"), b"no picture");
    write(folder.join("cat/.hidden.png"), &png(1, 1, 9));
    write(folder.join("cat/notes.txt"), b"no picture");
}

/// Returns a tar archive of a folder.
fn archive(folder: &Path, prefix: &str, path: &Path) {
    let mut builder = tar::Builder::new(fs::File::create(path).unwrap());
    builder.append_dir_all(prefix, folder).unwrap();
    builder.finish().unwrap();
}

#[test]
fn a_tree_and_its_archives_give_the_same_pictures() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("animals");
    write_tree(&folder);
    let mut opened = vec![open(&folder).unwrap()];
    for prefix in [".", "animals", "deep/animals"] {
        let path = temporary.path().join("animals.tar");
        archive(&folder, prefix, &path);
        opened.push(open(&path).unwrap());
    }
    for dataset in opened {
        assert_eq!(dataset.class_names(), ["cat", "dog"]);
        assert_eq!(contents(&dataset), [(0, 1), (1, 3), (1, 4)]);
        assert_eq!(dataset.class_sizes(), [1, 2]);
        assert_eq!(dataset.skipped().len(), 1);
        assert!(dataset.skipped()[0].name.ends_with("bird/x.png"), "{:?}", dataset.skipped());
        assert_eq!(dataset.warnings(), ["class \"bird\" has no picture that can be read, and is left out"]);
        assert!(dataset.name(2).ends_with("dog/b.png"));
        assert_eq!(dataset.smaller_than(3).map(|(count, _)| count), Some(2));
        assert!(dataset.smaller_than(2).is_none());
    }
}

#[test]
fn divided_data_sets_give_both_parts() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("animals");
    write(folder.join("train/cat/1.png"), &png(1, 1, 1));
    write(folder.join("train/dog/2.png"), &png(1, 1, 2));
    write(folder.join("test/dog/4.png"), &png(1, 1, 4));
    write(folder.join("val/dog/3.png"), &png(1, 1, 3));
    let tar = temporary.path().join("animals.tar");
    archive(&folder, "animals", &tar);
    for path in [&folder, &tar] {
        let (training, held_out) = Dataset::open_parts(path, &Options::default()).unwrap();
        assert_eq!(training.class_names(), ["cat", "dog"]);
        assert_eq!(contents(&training), [(0, 1), (1, 2)]);
        // The label is the one that the class has in training, and `val` comes before `test`.
        assert_eq!(contents(&held_out.unwrap()), [(1, 3)]);
    }
    write(folder.join("val/emu/5.png"), &png(1, 1, 5));
    let error = Dataset::open_parts(&folder, &Options::default()).unwrap_err();
    assert!(matches!(error, DataError::Classes { .. }), "{error}");
    assert!(error.to_string().contains("found the class \"emu\", expected a class of the training pictures: \"cat\""));
}

#[test]
fn held_out_pictures_elsewhere_get_the_labels_of_training() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name);
    write_tree(&path("training"));
    write(path("held-out/dog/1.png"), &png(1, 1, 7));
    write(path("unreadable/dog/1.png"), b"no picture");
    write(path("other/emu/1.png"), &png(1, 1, 7));
    let training = open(&path("training")).unwrap();
    let held_out = |name: &str| Dataset::open_held_out(path(name), &Options::default(), &training);
    assert_eq!(contents(&held_out("held-out").unwrap()), [(1, 7)]);
    assert_eq!(held_out("held-out").unwrap().class_names(), ["cat", "dog"]);
    for (name, expected) in [("unreadable", "no other can be read"), ("other", "found the class \"emu\"")] {
        let message = message(held_out(name));
        assert!(message.contains(expected) && message.contains(name), "{message}");
    }
}

/// Damages files at many places. Each either still opens and has at most as many pictures, or is refused by name.
#[test]
fn damage_anywhere_is_refused_or_costs_pictures() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name);
    write_tree(&path("animals"));
    archive(&path("animals"), "animals", &path("animals.tar"));
    write_idx(temporary.path(), "train", 7, true);
    write(path("sheet.png"), &png(4, 6, 1));
    write(
        path("sheet.json"),
        br#"{"picture": [2, 2], "classes": [{"name": "a", "count": 3}, {"name": "b", "count": 1}],
            "held_out_every": 2}"#,
    );
    let (mut opened, mut refused) = (0, 0);
    for (file, opens) in [
        ("animals.tar", "animals.tar"),
        ("train-images-idx3-ubyte.gz", "train-images-idx3-ubyte.gz"),
        ("train-labels-idx1-ubyte.gz", "train-images-idx3-ubyte.gz"),
        ("sheet.json", "sheet.json"),
        ("sheet.png", "sheet.json"),
    ] {
        let whole = fs::read(path(file)).unwrap();
        let most = open(&path(opens)).unwrap().len() + 1;
        for place in (0..whole.len()).step_by(whole.len() / 400 + 1) {
            for change in [0xff, 1] {
                let mut damaged = whole.clone();
                damaged[place] ^= change;
                fs::write(path(file), damaged).unwrap();
                match open(&path(opens)) {
                    Ok(dataset) => {
                        assert!(dataset.len() <= most, "{file}, byte {place}: {} pictures", dataset.len());
                        opened += 1;
                    }
                    Err(error) => {
                        let message = error.to_string();
                        assert!(
                            message.contains(temporary.path().to_str().unwrap()),
                            "{file}, byte {place}: {message}"
                        );
                        refused += 1;
                    }
                }
            }
        }
        fs::write(path(file), whole).unwrap();
    }
    assert!(opened > 100 && refused > 100, "{opened} files opened, {refused} were refused");
}

#[test]
fn a_class_may_be_called_train() {
    let temporary = tempfile::tempdir().unwrap();
    write(temporary.path().join("train/1.png"), &png(1, 1, 1));
    write(temporary.path().join("test/2.png"), &png(1, 1, 2));
    let (training, held_out) = Dataset::open_parts(temporary.path(), &Options::default()).unwrap();
    assert_eq!(training.class_names(), ["test", "train"]);
    assert!(held_out.is_none());
}

#[test]
fn what_is_no_data_set_is_refused_with_advice() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name);
    write(path("flat/a.png"), &png(1, 1, 1));
    write(path("one/cat/a.png"), &png(1, 1, 1));
    write(path("damaged/cat/a.png"), b"no picture");
    write(path("damaged/dog/a.png"), b"no picture");
    write(path("notes.txt"), b"no data set");
    write(
        path("text.tar"),
        b"no archive, and yet long enough to be read as the first block of one".repeat(20).as_slice(),
    );
    write(path("empty.tar"), &[0; 1024]);
    fs::create_dir(path("empty")).unwrap();
    for (name, expected) in [
        ("missing", "No such file"),
        ("empty", "no pictures in it"),
        ("flat", "lies outside the class folders"),
        ("one", "found only the class \"cat\", expected at least two classes"),
        ("damaged", "damaged/cat/a.png: not a picture"),
        ("notes.txt", "expected a folder DIR/<class>/*.jpg"),
        ("text.tar", "cannot be read as a tar archive"),
        ("empty.tar", "no picture files in it"),
    ] {
        let message = message(open(&path(name)));
        assert!(message.contains(expected) && message.contains(name), "{message}");
    }
}

#[test]
fn pictures_that_do_not_fit_into_memory_are_decoded_when_needed() {
    let temporary = tempfile::tempdir().unwrap();
    for grey in 0..20 {
        let class = ["cat", "dog"][usize::from(grey % 2)];
        write(temporary.path().join(class).join(format!("{grey:02}.png")), &png(10, 20, grey));
    }
    let whole = open(temporary.path()).unwrap();
    let tight = Dataset::open(temporary.path(), &Options { memory: 0, ..Options::default() }).unwrap();
    assert_eq!(contents(&whole), contents(&tight));
    assert!(whole.warnings().is_empty());
    assert!(tight.warnings()[0].starts_with("20 of 20 pictures do not fit"), "{:?}", tight.warnings());
    fs::write(temporary.path().join("cat/00.png"), "no picture any more").unwrap();
    assert!(whole.picture(0).is_ok());
    let message = tight.picture(0).unwrap_err().to_string();
    assert!(message.contains("cat/00.png: not a picture"), "{message}");

    // Pictures that are shrunk keep their shape, and the original is still there.
    let shrunk = Dataset::open(temporary.path(), &Options { shorter_side: Some(4), ..Options::default() }).unwrap();
    let size = |picture: &Picture| [picture.height(), picture.width()];
    assert_eq!(size(&shrunk.picture(0).unwrap()), [4, 8]);
    assert_eq!(size(&shrunk.original(0).unwrap()), [10, 20]);
    assert_eq!(shrunk.skipped().len(), 1);
}

#[test]
fn a_split_takes_the_fraction_of_each_class() {
    let classes = ["a", "b", "c"].map(String::from).to_vec();
    let pictures = (0..111u8).map(|i| {
        let label = if i == 110 { 2 } else { u32::from(i >= 100) };
        (i.to_string(), Picture::from_rgb(1, 1, vec![i; 3]).unwrap(), label)
    });
    let dataset = Dataset::from_pictures(classes, pictures.collect()).unwrap();
    let (training, held_out) = dataset.clone().split(0.2, 7).unwrap();
    // The single picture of the last class stays in training.
    assert_eq!((training.class_sizes(), held_out.class_sizes()), (vec![80, 8, 1], vec![20, 2, 0]));
    let mut all = contents(&training);
    all.extend(contents(&held_out));
    all.sort_by_key(|(_, value)| *value);
    assert_eq!(all, contents(&dataset));

    let again = dataset.clone().split(0.2, 7).unwrap().1;
    assert_eq!(contents(&again), contents(&held_out));
    let other = dataset.clone().split(0.2, 8).unwrap().1;
    assert_ne!(contents(&other), contents(&held_out));
    // Even a tiny fraction holds out a picture, and a large one leaves a picture for training.
    assert_eq!(dataset.clone().split(0.001, 7).unwrap().1.class_sizes(), [1, 1, 0]);
    assert_eq!(dataset.clone().split(0.999, 7).unwrap().0.class_sizes(), [1, 1, 1]);
    for fraction in [0.0, 1.0, -0.1, f64::NAN] {
        let message = dataset.clone().split(fraction, 7).unwrap_err().to_string();
        assert!(message.starts_with("held-out fraction: found "), "{message}");
    }
    assert_eq!(dataset.take_of_each_class(3).class_sizes(), [3, 3, 1]);
}

/// Writes IDX files of pictures of 2 × 3 pixels: picture `i` has the value `i` and the label `i % 3`.
fn write_idx(folder: &Path, part: &str, count: u8, compressed: bool) {
    let mut pictures = [0u32.to_be_bytes(), u32::from(count).to_be_bytes(), 2u32.to_be_bytes(), 3u32.to_be_bytes()];
    pictures[0] = 0x0803u32.to_be_bytes();
    let mut pictures = pictures.concat();
    pictures.extend((0..count).flat_map(|i| [i; 6]));
    let mut labels = [0x0801u32.to_be_bytes(), u32::from(count).to_be_bytes()].concat();
    labels.extend((0..count).map(|i| i % 3));
    for (name, bytes) in [("images-idx3", pictures), ("labels-idx1", labels)] {
        let path = folder.join(format!("{part}-{name}-ubyte"));
        if compressed {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(&bytes).unwrap();
            write(path.with_extension("gz"), &encoder.finish().unwrap());
        } else {
            write(path, &bytes);
        }
    }
}

#[test]
fn idx_files_are_read_with_and_without_compression() {
    let temporary = tempfile::tempdir().unwrap();
    for compressed in [false, true] {
        let folder = temporary.path().join(compressed.to_string());
        write_idx(&folder, "train", 7, compressed);
        write_idx(&folder, "t10k", 4, compressed);
        let (training, held_out) = Dataset::open_parts(&folder, &Options::default()).unwrap();
        assert_eq!(training.class_names(), ["0", "1", "2"]);
        assert_eq!(contents(&training), [(0, 0), (1, 1), (2, 2), (0, 3), (1, 4), (2, 5), (0, 6)]);
        assert_eq!(contents(&held_out.unwrap()), [(0, 0), (1, 1), (2, 2), (0, 3)]);
        let picture = training.picture(6).unwrap();
        assert_eq!((picture.height(), picture.width(), picture.rgb()), (2, 3, [6; 18].as_slice()));
        let file = if compressed { "t10k-images-idx3-ubyte.gz" } else { "t10k-images-idx3-ubyte" };
        assert_eq!(open(&folder.join(file)).unwrap().len(), 4);
    }
}

#[test]
fn damaged_idx_files_are_refused_by_name() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let pictures = folder.join("train-images-idx3-ubyte");
    write_idx(folder, "train", 7, false);
    let whole = fs::read(&pictures).unwrap();
    let with = |position: usize, value: u8| {
        let mut bytes = whole.clone();
        bytes[position] = value;
        bytes
    };
    for (bytes, expected) in [
        (whole[..whole.len() - 1].to_vec(), "shorter than its header says"),
        ([whole.clone(), vec![0]].concat(), "longer than its header says"),
        (whole[..9].to_vec(), "not a whole IDX file"),
        (with(3, 4), "begins with the bytes 00000804, expected 00000803"),
        (with(7, 8), "found 7 labels, expected 8"),
        (with(4, 255), "bytes of memory, expected at most"),
        (with(11, 0), "found pictures of 0 × 3 pixels"),
        (with(12, 255), "expected 1 to 65500 pixels a side"),
    ] {
        fs::write(&pictures, bytes).unwrap();
        let message = message(open(folder));
        assert!(message.contains(expected) && message.contains("train-"), "{message}");
    }
    fs::write(&pictures, whole).unwrap();
    fs::remove_file(folder.join("train-labels-idx1-ubyte")).unwrap();
    assert!(message(open(folder)).contains("expected the file train-labels-idx1-ubyte or"));
}

#[test]
#[ignore = "needs Fashion-MNIST: apt-get install dataset-fashion-mnist"]
fn fashion_mnist_is_read() {
    let folder = Path::new("/usr/share/datasets/fashion-mnist");
    let (training, held_out) = Dataset::open_parts(folder, &Options::default()).unwrap();
    assert_eq!(training.class_sizes(), [6000; 10]);
    assert_eq!(held_out.unwrap().class_sizes(), [1000; 10]);
}

/// Opens the training pictures of CIFAR-10, in the folder that the variable `RESMLP_SHARED` names.
#[test]
#[ignore = "needs the shared data: set RESMLP_SHARED"]
fn the_archive_of_cifar10_is_read() {
    let shared = PathBuf::from(std::env::var_os("RESMLP_SHARED").expect("RESMLP_SHARED names a folder"));
    let dataset = open(&shared.join("data/cifar10/train.tar")).unwrap();
    assert_eq!(dataset.class_sizes(), [5000; 10]);
    assert_eq!((dataset.class_names()[0].as_str(), dataset.class_names()[9].as_str()), ("airplane", "truck"));
    assert!(dataset.skipped().is_empty() && dataset.warnings().is_empty());
    assert!(dataset.name(50).ends_with("train.tar:train/airplane/0050.jpg"), "{}", dataset.name(50));
    // A folder of some of the pictures has the same classes.
    let calibration = open(&shared.join("data/cifar10/calibration")).unwrap();
    assert_eq!(calibration.class_names(), dataset.class_names());
    assert_eq!(calibration.class_sizes(), [100; 10]);
}

#[test]
fn the_digits_of_the_demo_are_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo/digits");
    let (training, held_out) = Dataset::open_parts(folder.join("digits.json"), &Options::default()).unwrap();
    let held_out = held_out.unwrap();
    assert_eq!(training.class_sizes(), [143, 146, 142, 147, 145, 146, 145, 144, 140, 144]);
    assert_eq!(held_out.class_sizes(), [35, 36, 35, 36, 36, 36, 36, 35, 34, 36]);
    assert_eq!(held_out.class_names()[7], "7");
    assert!(held_out.name(1).ends_with("digits.png#0/9"), "{}", held_out.name(1));
    assert!(fs::metadata(folder.join("digits.png")).unwrap().len() < 100_000);

    // The first picture of the source, a zero, in its values from 0 to 16.
    let first = training.picture(0).unwrap();
    let values: Vec<u8> =
        first.rgb().iter().step_by(3).map(|&grey| ((u32::from(grey) * 16 + 128) / 255) as u8).collect();
    assert_eq!(values[..16], [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]);
    assert_eq!(values[56..], [0, 0, 6, 13, 10, 0, 0, 0]);
    // The path of the picture opens the same data set.
    assert_eq!(open(&folder.join("digits.png")).unwrap().len(), training.len());
}

#[test]
fn sheets_that_do_not_fit_their_description_are_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let description = temporary.path().join("sheet.json");
    write(temporary.path().join("sheet.png"), &png(4, 6, 1));
    for (text, expected) in [
        ("{}", "not the description of a sheet"),
        (r#"{"picture": [2, 2], "classes": []}"#, "describes no pictures"),
        (r#"{"picture": [2, 0], "classes": [{"name": "a", "count": 3}]}"#, "describes no pictures"),
        (
            r#"{"picture": [2, 2], "classes": [{"name": "a", "count": 3}]}"#,
            "found 4 × 6 pixels (height × width), expected 2 × 6",
        ),
        (
            r#"{"picture": [4294967295, 4294967295], "classes": [{"name": "a", "count": 4294967295}]}"#,
            "expected 4294967295 × 18446744065119617025",
        ),
    ] {
        fs::write(&description, text).unwrap();
        let message = message(open(&description));
        assert!(message.contains(expected) && message.contains("sheet."), "{message}");
    }
    let classes = r#"{"picture": [2, 2], "classes": [{"name": "a", "count": 3}, {"name": "b", "count": 1}]}"#;
    fs::write(&description, classes).unwrap();
    let (training, held_out) = Dataset::open_parts(&description, &Options::default()).unwrap();
    assert_eq!(training.class_sizes(), [3, 1]);
    assert!(held_out.is_none());

    // Many tiny pictures take more memory than their pixels do.
    let little = Options { memory: 1000, ..Options::default() };
    let message = message(Dataset::open(&description, &little));
    assert!(message.contains("bytes of memory, expected at most 1000"), "{message}");
}

#[test]
fn an_archive_that_is_cut_off_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("animals.tar");
    let mut builder = tar::Builder::new(Vec::new());
    for (name, grey) in [("cat/1.png", 1), ("cat/2.png", 2), ("dog/3.png", 3), ("dog/4.png", 4)] {
        let bytes = png(300, 300, grey);
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    let whole = builder.into_inner().unwrap();
    for length in (0..=whole.len()).rev().step_by(64) {
        fs::write(&path, &whole[..length]).unwrap();
        // Either one of the two blocks of zeros at the end is enough.
        if length >= whole.len() - 512 {
            assert_eq!(open(&path).unwrap().len(), 4);
        } else {
            let message = message(open(&path));
            assert!(message.contains("cannot be read as a tar archive"), "{length} bytes: {message}");
        }
    }
}
