//! Checks that `watch` goes on whatever arrives in its folder.

use std::fs;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, mpsc};
use std::thread::spawn;
use std::time::Duration;

use serde_json::Value;

use crate::place::{DIMS, Place};
use crate::watch::JPEG;

/// Files that are not pictures, and what the note about each says.
const BAD: [(&str, &str); 10] = [
    ("empty.jpg", "not a picture, expected JPEG, PNG or BMP"),
    ("cut.jpg", "broken or truncated JPEG"),
    ("noise.jpg", "broken or truncated JPEG"),
    ("noise.png", "broken or truncated PNG"),
    ("large.bmp", "60000 × 60000"),
    ("pipe.jpg", "not a regular file"),
    ("loop.jpg", "Too many levels of symbolic links"),
    ("dangling.jpg", "No such file"),
    ("to-a-folder.jpg", "not a regular file"),
    ("too-tall.png", "found 1 × 2000000 pixels"),
];

/// A picture with more rows than any picture may have.
static TOO_TALL: LazyLock<Vec<u8>> = LazyLock::new(|| tall_png(2_000_000));

/// Makes the file `name` of [`BAD`].
fn make(name: &str, path: &Path) {
    let noise = |start: &[u8]| [start, &(0..2000u32).map(|i| ((i * i) >> 3) as u8).collect::<Vec<_>>()].concat();
    match name {
        "empty.jpg" => fs::write(path, []).unwrap(),
        "cut.jpg" => fs::write(path, &JPEG[..500]).unwrap(),
        "noise.jpg" => fs::write(path, noise(b"\xff\xd8\xff\xe0")).unwrap(),
        "noise.png" => fs::write(path, noise(b"\x89PNG\r\n\x1a\n")).unwrap(),
        "large.bmp" => fs::write(path, bmp_header(60_000, 60_000)).unwrap(),
        "pipe.jpg" => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
        "loop.jpg" => symlink("loop.jpg", path).unwrap(),
        "dangling.jpg" => symlink("nowhere", path).unwrap(),
        "to-a-folder.jpg" => symlink(".", path).unwrap(),
        "too-tall.png" => fs::write(path, &*TOO_TALL).unwrap(),
        _ => panic!("{name}"),
    }
}

/// Returns the header of a BMP with 24 bits a pixel, without any pixels.
fn bmp_header(width: u32, height: u32) -> Vec<u8> {
    let file = [b"BM".as_slice(), &[0; 8], &54u32.to_le_bytes()].concat();
    let fields = [40, width, height, 1 | 24 << 16, 0, 0, 0, 0, 0, 0];
    [file, fields.iter().flat_map(|field: &u32| field.to_le_bytes()).collect()].concat()
}

/// Returns a grey PNG that is one pixel wide.
fn tall_png(height: u32) -> Vec<u8> {
    let mut png = Cursor::new(Vec::new());
    image::GrayImage::new(1, height).write_to(&mut png, image::ImageFormat::Png).unwrap();
    png.into_inner()
}

/// Returns the largest resident set of a process so far, in bytes.
fn peak_memory(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}

/// Returns a function that waits for the next line of `stream`, but not for ever: a line that never comes fails the
/// test.
fn lines(stream: impl Read + Send + 'static) -> impl FnMut() -> Option<String> {
    let (sender, receiver) = mpsc::channel();
    spawn(move || BufReader::new(stream).lines().map(|line| line.unwrap()).try_for_each(|line| sender.send(line)));
    move || match receiver.recv_timeout(Duration::from_secs(60)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("no line for a minute"),
        line => line.ok(),
    }
}

/// A thousand bad pictures arrive among a thousand good ones. Each bad one is named, and memory stays flat.
#[test]
fn watching_outlives_every_picture() {
    const ROUNDS: usize = 1000 / BAD.len();
    let place = Place::new(&DIMS);
    let folder = place.path("incoming");
    fs::create_dir(&folder).unwrap();
    // Each file is made elsewhere and moved into the folder, so that it arrives whole.
    let arrives = |name: &str, make: &dyn Fn(&Path)| {
        make(&place.path(name));
        fs::rename(place.path(name), folder.join(name)).unwrap();
    };
    let count = ROUNDS * BAD.len() + 2;
    let mut command = place.program(&format!("watch m.rmlp incoming --json --count {count}"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut note = lines(child.stderr.take().unwrap());
    let mut result = lines(child.stdout.take().unwrap());
    let mut source = || serde_json::from_str::<Value>(&result().unwrap()).unwrap()["source"].clone();
    while note().unwrap() != "note: watching incoming" {}

    let mut after_first_round = 0;
    for round in 0..ROUNDS {
        arrives("folder.jpg", &|path| fs::create_dir(path).unwrap());
        for (name, problem) in BAD {
            arrives(name, &|path| make(name, path));
            let found = note().unwrap();
            let expected = format!("note: passed over: incoming/{name}: ");
            assert!(found.starts_with(&expected) && found.contains(problem), "{name}: {found}");
            arrives("good.jpg", &|path| fs::write(path, JPEG).unwrap());
            assert_eq!(source(), "incoming/good.jpg");
        }
        fs::remove_dir(folder.join("folder.jpg")).unwrap();
        if round == 0 {
            after_first_round = peak_memory(&child);
        }
    }
    let grown = peak_memory(&child) - after_first_round;
    assert!(grown < 4 << 20, "{grown} bytes more than after the first of {ROUNDS} rounds");

    // A picture that is one pixel wide is still a picture.
    arrives("tall.png", &|path| fs::write(path, tall_png(60_000)).unwrap());
    assert_eq!(source(), "incoming/tall.png");
    arrives("last.jpg", &|path| fs::write(path, JPEG).unwrap());
    assert_eq!(source(), "incoming/last.jpg");
    assert!(child.wait().unwrap().success());
    assert_eq!(note(), None, "no other file is passed over");
}
