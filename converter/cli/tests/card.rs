//! Tests of `resmlp image`: other programs can read the card image that it makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use resmlp_runtime::{AlignedBytes, Layout, Model, repack};
use serde_json::Value;

const FIRST_BYTE: usize = 1 << 20;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A temporary folder with a model, a kernel and the boot files of both boards.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let checkpoint =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../checkpoint/tests/fixtures/safetensors/deit-f32.safetensors");
        let model = place.path("m.rmlp");
        let mut convert = place.resmlp("convert --precision f16");
        let output = convert.arg("--output").arg(&model).arg(checkpoint).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        fs::write(place.path("kernel8.img"), b"kernel".repeat(1000)).unwrap();
        fs::create_dir(place.path("boot")).unwrap();
        for (name, len) in [
            ("bootcode.bin", 52_480),
            ("start.elf", 2_979_264),
            ("fixup.dat", 7_265),
            ("start4.elf", 2_256_992),
            ("fixup4.dat", 5_400),
            ("bcm2710-rpi-3-b.dtb", 33_000),
            ("bcm2711-rpi-4-b.dtb", 55_000),
            ("bcm2711-rpi-cm4-io.dtb", 54_000),
            ("LICENCE.broadcom", 1_594),
        ] {
            let contents: Vec<u8> = name.bytes().cycle().take(len).collect();
            fs::write(place.path("boot").join(name), contents).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn resmlp(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_resmlp"));
        command.args(words.split_whitespace()).current_dir(self.0.path());
        command
    }

    fn image(&self, board: &str, output: &str, options: &str) -> Output {
        let words = format!("image --board {board} --boot-files boot -o {output} --json {options}");
        self.resmlp(&words).output().unwrap()
    }
}

/// Checks a partition with `fsck.vfat`, which lies in `/usr/sbin` and so is not in every user's `PATH`.
fn fsck(partition: &Path) -> Output {
    let installed = Path::new("/usr/sbin/fsck.vfat");
    let program = if installed.is_file() { installed } else { Path::new("fsck.vfat") };
    Command::new(program).args(["-n", "-v"]).arg(partition).output().expect("dosfstools are installed")
}

#[test]
#[ignore = "needs mtools and dosfstools: install the two packages"]
fn the_card_holds_every_file() {
    let place = Place::new();
    for (board, names) in [
        ("raspberry-pi-3", &["bootcode.bin", "start.elf", "fixup.dat", "bcm2710-rpi-3-b.dtb", "LICENCE.broadcom"][..]),
        (
            "raspberry-pi-4",
            &["start4.elf", "fixup4.dat", "bcm2711-rpi-4-b.dtb", "bcm2711-rpi-cm4.dtb", "LICENCE.broadcom"],
        ),
    ] {
        let output = place.image(board, "sd.img", "--model m.rmlp --kernel kernel8.img");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let image = fs::read(place.path("sd.img")).unwrap();
        assert_eq!((found["bytes"].as_u64().unwrap(), &found["board"]), (image.len() as u64, &board.into()));
        fs::write(place.path("partition.img"), &image[FIRST_BYTE..]).unwrap();
        let check = fsck(&place.path("partition.img"));
        assert!(check.status.success(), "{}{}", text(&check.stdout), text(&check.stderr));

        // Linux and the firmware have different names for the device tree of a Compute Module 4.
        let original = |name: &str| place.path("boot").join(name.replace("cm4.dtb", "cm4-io.dtb"));
        let boot = names.iter().map(|name| (*name, original(name)));
        let own = [("kernel8.img", place.path("kernel8.img")), ("model.rmlp", place.path("m.rmlp"))];
        for (name, original) in boot.chain(own) {
            assert!(read_from(&place, name) == fs::read(original).unwrap(), "{name} is damaged");
        }
        let config = text(&read_from(&place, "config.txt"));
        for line in [
            "arm_64bit=1",
            "kernel=kernel8.img",
            "kernel_address=0x80000",
            "initramfs model.rmlp followkernel",
            "force_turbo=1",
        ] {
            assert!(config.lines().any(|found| found == line), "{line}: {config}");
        }
        assert_eq!(config.contains("\narm_boost=1\n"), board == "raspberry-pi-4", "{config}");
        assert_eq!(found["files"].as_array().unwrap().len(), names.len() + 3);
        let listed = Command::new("mdir").args(["-b", "-i"]).arg(disk(&place)).arg("::/").output().unwrap();
        assert_eq!(text(&listed.stdout).lines().count(), names.len() + 3, "{}", text(&listed.stdout));
    }
}

#[test]
fn the_card_has_one_partition_of_fat32() {
    let place = Place::new();
    for board in ["raspberry-pi-3", "raspberry-pi-4"] {
        let output = place.image(board, "sd.img", "--model m.rmlp --kernel kernel8.img");
        assert!(output.status.success(), "{}", text(&output.stderr));
        check_partition_table(&fs::read(place.path("sd.img")).unwrap());
    }
}

/// Returns the name by which mtools know the card's partition.
fn disk(place: &Place) -> String {
    format!("{}@@{FIRST_BYTE}", place.path("sd.img").display())
}

fn read_from(place: &Place, name: &str) -> Vec<u8> {
    let output = Command::new("mtype").arg("-i").arg(disk(place)).arg(format!("::/{name}")).output().unwrap();
    assert!(output.status.success(), "{name}: {}", text(&output.stderr));
    output.stdout
}

/// Checks that the card has one partition, which is FAT32 and goes from 1 MiB to the end of the card.
fn check_partition_table(image: &[u8]) {
    assert_eq!(image[510..512], [0x55, 0xaa]);
    let entry = &image[446..462];
    let number = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!((entry[4], number(8) * 512), (0x0c, FIRST_BYTE));
    assert_eq!(number(8) * 512 + number(12) * 512, image.len());
    assert!(image[462..510].iter().all(|&byte| byte == 0), "there are other partitions");
    assert_eq!(image[FIRST_BYTE + 82..FIRST_BYTE + 87], *b"FAT32");
}

#[test]
fn pictures_lie_behind_the_model() {
    let place = Place::new();
    let pixel = |x, y| image::Rgb([(x as u8).wrapping_mul(9), y as u8 * 7, 40]);
    // The model takes pictures of 24 × 24 pixels.
    image::RgbImage::from_fn(40, 30, pixel).save(place.path("p.png")).unwrap();
    let options = "--model m.rmlp --kernel kernel8.img --picture p.png --picture p.png";
    let output = place.image("raspberry-pi-4", "sd.img", options);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let on_card = found["files"].as_array().unwrap().iter().find(|file| file["name"] == "model.rmlp").unwrap();
    let model = fs::read(place.path("m.rmlp")).unwrap();
    assert_eq!(on_card["bytes"].as_u64().unwrap() as usize, model.len() + 2 * 24 * 24 * 3);
    let image = fs::read(place.path("sd.img")).unwrap();
    // Nothing else was written to the card before, so the file lies in one piece.
    let start = image.windows(64).position(|window| window == &model[..64]).unwrap();
    let (picture, again) = image[start + model.len()..].split_at(24 * 24 * 3);
    assert!(image[start..].starts_with(&model) && again.starts_with(picture));
    assert!(picture.iter().any(|&byte| byte != picture[0]), "it is no picture");
}

#[test]
fn weights_are_laid_out_for_the_board() {
    let place = Place::new();
    let calibration = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo/calibration");
    let checkpoint =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../checkpoint/tests/fixtures/safetensors/deit-f32.safetensors");
    let mut convert = place.resmlp("convert --target raspberry-pi-5 -o other.rmlp --calibrate");
    let output = convert.arg(calibration).arg(checkpoint).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = place.image("raspberry-pi-4", "sd.img", "--model other.rmlp --kernel kernel8.img");
    assert!(output.status.success(), "{}", text(&output.stderr));

    let original = AlignedBytes::from(&*fs::read(place.path("other.rmlp")).unwrap());
    let original = Model::parse(&original).unwrap();
    assert_ne!(original.dims().layout, Layout::NEON);
    let expected = repack(&original, Layout::NEON).unwrap();
    let image = fs::read(place.path("sd.img")).unwrap();
    assert!(image.windows(expected.len()).any(|window| window == &expected[..]));
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let place = Place::new();
    for name in ["first.img", "second.img"] {
        assert!(place.image("raspberry-pi-4", name, "--model m.rmlp --kernel kernel8.img").status.success());
        // The second image is made later, so that a time stamp would differ.
        std::thread::sleep(std::time::Duration::from_millis(2100));
    }
    assert!(fs::read(place.path("first.img")).unwrap() == fs::read(place.path("second.img")).unwrap());
}

#[test]
fn what_is_missing_is_named_and_nothing_is_written() {
    let place = Place::new();
    let model = fs::read(place.path("m.rmlp")).unwrap();
    fs::write(place.path("cut.rmlp"), &model[..model.len() / 2]).unwrap();
    fs::write(place.path("kernel.elf"), b"\x7fELF...").unwrap();
    fs::write(place.path("sd.img"), "as it was").unwrap();
    for name in ["start.elf", "bcm2710-rpi-3-b.dtb"] {
        fs::remove_file(place.path("boot").join(name)).unwrap();
    }
    for (board, options, told) in [
        (
            "raspberry-pi-3",
            "--model m.rmlp --kernel kernel8.img",
            "boot: boot files of a raspberry-pi-3 are missing: start.elf, bcm2710-rpi-3-b.dtb or ",
        ),
        ("raspberry-pi-4", "--model cut.rmlp --kernel kernel8.img", "cut.rmlp: "),
        (
            "raspberry-pi-4",
            "--model m.rmlp --kernel kernel.elf",
            "kernel.elf: this is an ELF file, expected the raw image",
        ),
        ("raspberry-pi-4", "--model m.rmlp", "target/device/kernel8.img: no such file; build it with `cargo xtask pi`"),
    ] {
        let output = place.image(board, "sd.img", options);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains(told), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert_eq!(fs::read(place.path("sd.img")).unwrap(), b"as it was");
    }
}
