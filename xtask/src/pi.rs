//! A Raspberry Pi without an operating system: `cargo xtask pi` builds its image, `cargo xtask qemu pi` runs it in an emulator.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::emulator::{self, Ended};
use crate::process::{Result, run, shown};
use crate::tally::Tally;
use crate::toolchain::{BARE_METAL, Toolchain};
use crate::tools::{self, Tool};
use crate::transcript::{self, Leeway};
use crate::{device, errata, qemu_system, workspace};

const PACKAGE: &str = "resmlp-raspberry-pi";

/// What it is compiled for.
pub const TARGET: &str = BARE_METAL[0];

/// What an emulated run takes.
const TOOLS: [Tool; 2] = [Tool::QemuArm, Tool::DeviceTreeCompiler];

/// The largest image, without a model, bytes.
const LARGEST_IMAGE: u64 = 256 << 10;

/// The model is made anew, and its last bits depend on the machine that makes it: the logits are compared with this machine's.
const LEEWAY: Leeway = Leeway {
    timed: &["ms ", "cycles ", "ticks ", "clock ", "stem ", "block.", "head "],
    measured: &["   "],
    elsewhere: &["  logits "],
};

/// One tick of the emulated board's counter is one instruction, of all cores together, and every run takes as many.
const COUNTING: [&str; 2] = ["-icount", "shift=4,sleep=off"];

/// Builds `target/device/kernel8.img` and prints its path.
pub fn build() -> Result<()> {
    println!("{}", build_with(&Toolchain::for_targets(&[TARGET])?)?.display());
    Ok(())
}

/// Runs the demo model on four cores and compares what is printed with the committed transcript, or renews that.
pub fn emulate(overwrite: bool) -> Result<()> {
    tools::ensure(&TOOLS)?;
    let board = Board::new(&Toolchain::for_targets(&[TARGET])?)?;
    let ended = board.run(&["runs=3"], &board.initramfs, &COUNTING, b"")?;
    print!("{}", ended.text());
    board.check_transcript(&ended, overwrite)
}

/// The step of `cargo xtask test`.
pub fn check(arm: &Toolchain) -> Result<Tally> {
    let mut clippy = arm.cargo("clippy");
    options(&mut clippy, "board");
    let mut tally = Tally::default();
    tally.record("clippy", run(clippy.args(["--", "--deny", "warnings"])));
    tally.record("no panic links", check_that_no_panic_links(arm));
    let board = Board::new(arm)?;
    type Check = fn(&Board) -> Result<()>;
    let checks: [(&str, Check); 10] = [
        ("errata", Board::check_errata),
        ("cores", Board::check_cores),
        ("without pictures", Board::check_without_pictures),
        ("card", Board::check_card),
        ("without a device tree", Board::check_without_device_tree),
        ("moved image", Board::check_moved_image),
        ("frames", Board::check_frames),
        ("damage", Board::check_damage),
        ("exception", Board::check_exception),
        ("watchdog", Board::check_watchdog),
    ];
    for (name, check) in checks {
        tally.record(name, check(&board));
    }
    Ok(tally)
}

/// With a panic in it the image must not link.
fn check_that_no_panic_links(arm: &Toolchain) -> Result<()> {
    let mut cargo = builder(arm, "board,with-a-panic");
    eprintln!("$ {}    # must not link", shown(&cargo));
    let output = cargo.output().map_err(|error| format!("cannot start `{}`: {error}", shown(&cargo)))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.success() || !stderr.contains("error: a panic is reachable") {
        return Err(format!("a panic should have been found by `{}`: {stderr}", shown(&cargo)));
    }
    Ok(())
}

fn options(cargo: &mut Command, features: &str) {
    cargo.args(["--profile", "freestanding", "--package", PACKAGE, "--features", features, "--bin", "kernel8"]);
    cargo.args(["--target", TARGET]);
}

/// The command that builds the image.
fn builder(toolchain: &Toolchain, features: &str) -> Command {
    let mut cargo = toolchain.cargo("build");
    options(&mut cargo, features);
    // The target is compiled for cores without an MMU, on which unaligned access faults. The image turns the MMU on before anything
    // else, and without unaligned access the kernels take a third more instructions. (The compiler warns that it does not know
    // these features by name; it passes them on.) The other one keeps a Cortex-A53's multiplications right: erratum 835769. Against
    // 843419 the linker acts by itself on this target.
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_NONE_RUSTFLAGS", "-Ctarget-feature=-strict-align,+fix-cortex-a53-835769");
    cargo
}

fn build_with(toolchain: &Toolchain) -> Result<PathBuf> {
    run(&mut builder(toolchain, "board"))?;
    let built = workspace::target_dir().join(TARGET).join("freestanding/kernel8");
    let image = workspace::made("device")?.join("kernel8.img");
    let size = fs::copy(&built, &image)
        .map_err(|error| format!("cannot copy {} to {}: {error}", built.display(), image.display()))?;
    if size > LARGEST_IMAGE {
        return Err(format!("{} has {size} bytes, expected {LARGEST_IMAGE} at most", image.display()));
    }
    eprintln!("{} has {size} bytes of at most {LARGEST_IMAGE}", image.display());
    Ok(image)
}

/// An emulated Raspberry Pi 3, and what it is to compute.
struct Board {
    image: PathBuf,
    model: PathBuf,
    /// The demo model and pictures behind it.
    initramfs: PathBuf,
    pictures: Vec<PathBuf>,
    device_tree: PathBuf,
    /// The logits of the pictures on this machine: their bits in hexadecimal, as the board prints them.
    expected: Vec<String>,
}

impl Board {
    fn new(arm: &Toolchain) -> Result<Self> {
        let image = build_with(arm)?;
        let folder = workspace::made("device")?;
        let model = device::demo_model(&folder.join("raspberry-pi-3.rmlp"), "raspberry-pi-3")?;
        let pictures = device::demo_pictures()?;
        let expected = device::logit_bits(&model, &pictures)?;
        let initramfs = folder.join("initramfs");
        let mut bytes = read(&model)?;
        for picture in &pictures {
            bytes.extend(read(picture)?);
        }
        write(&initramfs, &bytes)?;
        let device_tree = folder.join("emulated.dtb");
        let source = workspace::root().join("firmware/raspberry_pi/emulated.dts");
        let mut dtc = Command::new("dtc");
        dtc.args(["-q", "-I", "dts", "-O", "dtb", "-o"]).arg(&device_tree).arg(source);
        run(&mut dtc)?;
        Ok(Self { image, model, initramfs, pictures, device_tree, expected })
    }

    /// Runs with these words on the command line, and options of the emulator.
    fn run(&self, words: &[&str], initramfs: &Path, options: &[&str], input: &[u8]) -> Result<Ended> {
        let mut emulator = self.emulator(&self.image, words);
        emulator.arg("-dtb").arg(&self.device_tree).arg("-initrd").arg(initramfs).args(options);
        emulator::run(&mut emulator, input)
    }

    fn emulator(&self, image: &Path, words: &[&str]) -> Command {
        let mut emulator = qemu_system::command("qemu-system-aarch64");
        emulator.args(["-M", "raspi3b", "-serial", "stdio", "-display", "none", "-monitor", "none"]);
        emulator.args(["-semihosting-config", "enable=on,target=native"]).arg("-kernel").arg(image);
        emulator.arg("-append").arg(["emulator", &words.join(" ")].join(" "));
        emulator
    }

    fn check_transcript(&self, ended: &Ended, overwrite: bool) -> Result<()> {
        let file = workspace::root().join("firmware/raspberry_pi/transcript.txt");
        transcript::compare(&file, &ended.text(), &LEEWAY, overwrite)
    }

    fn check_logits(&self, ended: &Ended) -> Result<()> {
        check_logits(ended, &self.expected)
    }

    /// The image has what a Cortex-A53 would compute wrongly nowhere; its constants may look like that, by chance.
    fn check_errata(&self) -> Result<()> {
        match errata::multiplications_behind_memory(&read(&self.image)?) {
            0..=4 => Ok(()),
            found => Err(format!("{found} multiplications behind loads and stores, expected none but among constants")),
        }
    }

    /// One core and four compute what this machine computes.
    fn check_cores(&self) -> Result<()> {
        let four = self.run(&["runs=3"], &self.initramfs, &COUNTING, b"")?;
        self.check_logits(&four)?;
        self.check_transcript(&four, false)?;
        let one = self.run(&["runs=3 cores=1"], &self.initramfs, &COUNTING, b"")?;
        self.check_logits(&one)?;
        for (ended, cores) in [(&one, "cores: 1\n"), (&four, "cores: 4\n")] {
            expect(ended, 0, &[cores])?;
            eprintln!("{cores}{}", ended.text().lines().filter(|line| line.starts_with("ticks")).collect::<String>());
        }
        Ok(())
    }

    /// What `resmlp image` puts on a card boots. The boot firmware, which the emulator does not have, would load the same files.
    fn check_card(&self) -> Result<()> {
        let folder = workspace::made("device")?;
        let boot = workspace::made("device/boot")?;
        for name in ["bootcode.bin", "start.elf", "fixup.dat"] {
            write(&boot.join(name), name.as_bytes())?;
        }
        write(&boot.join("bcm2710-rpi-3-b.dtb"), &read(&self.device_tree)?)?;
        let (card, pictures) = (folder.join("sd.img"), ["horse.png", "cat_face.jpg"]);
        let pictures = pictures.map(|name| workspace::root().join("demo/pictures").join(name));
        let mut image = Command::new(workspace::target_dir().join("release/resmlp"));
        image.args(["image", "--board", "raspberry-pi-3", "--model"]).arg(&self.model).arg("--boot-files").arg(&boot);
        image.arg("--kernel").arg(&self.image).arg("--output").arg(&card);
        run(image.args(pictures.iter().flat_map(|picture| ["--picture".as_ref(), picture.as_os_str()])))?;
        let copies = workspace::made("device/card")?;
        let [kernel, model, device_tree] = ["kernel8.img", "model.rmlp", "bcm2710-rpi-3-b.dtb"].map(|name| {
            let copy = copies.join(name);
            (format!("::/{name}"), copy)
        });
        for (name, copy) in [&kernel, &model, &device_tree] {
            // The partition begins after a mebibyte.
            run(Command::new("mcopy").args(["-n", "-i"]).arg(format!("{}@@1M", card.display())).arg(name).arg(copy))?;
        }
        let mut emulator = self.emulator(&kernel.1, &["runs=1"]);
        let ended = emulator::run(emulator.arg("-dtb").arg(&device_tree.1).arg("-initrd").arg(&model.1), b"")?;
        check_logits(&ended, &device::logit_bits(&self.model, &pictures)?)
    }

    /// A model alone classifies stripes.
    fn check_without_pictures(&self) -> Result<()> {
        let stripes: Vec<u8> = (0..=255).cycle().take(32 * 32 * 3).collect();
        let picture = workspace::made("device")?.join("stripes.rgb");
        write(&picture, &stripes)?;
        let ended = self.run(&["runs=1"], &self.model, &[], b"")?;
        check_logits(&ended, &device::logit_bits(&self.model, &[picture])?)
    }

    /// The boot firmware may leave ATAGs instead.
    fn check_without_device_tree(&self) -> Result<()> {
        let mut emulator = self.emulator(&self.image, &["runs=1"]);
        let ended = emulator::run(emulator.arg("-initrd").arg(&self.initramfs), b"")?;
        expect(&ended, 0, &["started with ATAGs"])?;
        self.check_logits(&ended)
    }

    /// Newer boot firmware may load the image at 2 MiB: it moves itself.
    fn check_moved_image(&self) -> Result<()> {
        // The emulator loads at 0x80000: a branch to 0x200000, and there the image.
        let distance = 0x20_0000 - 0x8_0000;
        let branch: u32 = 0x1400_0000 | (distance / 4);
        let mut bytes = branch.to_le_bytes().to_vec();
        bytes.resize(distance as usize, 0);
        bytes.extend(read(&self.image)?);
        let moved = workspace::made("device")?.join("moved.img");
        write(&moved, &bytes)?;
        let mut emulator = self.emulator(&moved, &["runs=1"]);
        emulator.arg("-dtb").arg(&self.device_tree).arg("-initrd").arg(&self.initramfs);
        self.check_logits(&emulator::run(&mut emulator, b"")?)
    }

    /// Pictures over the serial line give the same logits as those behind the model; garbage is survived.
    fn check_frames(&self) -> Result<()> {
        let example = || {
            let mut cargo = Toolchain::Current.cargo("run");
            cargo.args(["--quiet", "--release", "--package", "resmlp-protocol", "--example", "frames", "--"]);
            cargo
        };
        let mut encode = example();
        encode.arg("encode").args(&self.pictures);
        eprintln!("$ {}", shown(&encode));
        let encoded = encode.output().map_err(|error| error.to_string())?.stdout;
        let input = [b"garbage \xa7RML\x01", encoded.as_slice()].concat();
        let frames = format!("frames={}", 1 + self.pictures.len());
        let ended = self.run(&["runs=1", &frames], &self.initramfs, &[], &input)?;
        let received = workspace::made("device")?.join("received.bin");
        write(&received, &ended.bytes)?;
        let file = fs::File::open(&received).map_err(|error| error.to_string())?;
        let output = example().arg("decode").stdin(file).output().map_err(|error| error.to_string())?;
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let found: Vec<&str> = lines.lines().filter_map(|line| Some(line.split_once(": logits ")?.1)).collect();
        let info = lines.starts_with("Info(") && lines.contains("image: [32, 32], classes: 10, longest: 3072,");
        if ended.code == Some(0) && info && found == self.expected {
            return Ok(());
        }
        Err(format!("the board ended with {:?} and sent\n{lines}", ended.code))
    }

    /// A card from which the power was cut, and others: what is wrong is said, by text and by flashes.
    fn check_damage(&self) -> Result<()> {
        let whole = read(&self.initramfs)?;
        let (half, _) = whole.split_at(whole.len() / 2);
        let mut flipped = whole.clone();
        flipped[half.len()] ^= 0x10;
        let zeros = vec![0; whole.len()];
        let cases: [(&[u8], &str, usize); 5] = [
            (half, "cut off or damaged", 2),
            (&whole[..100], "too short for a model", 2),
            (&flipped, "checksum", 3),
            (&zeros, "not a packed ResMLP model", 3),
            (b"", "no initramfs", 1),
        ];
        let file = workspace::made("device")?.join("damaged");
        for (bytes, message, flashes) in cases {
            write(&file, bytes)?;
            let mut emulator = self.emulator(&self.image, &[]);
            emulator.arg("-dtb").arg(&self.device_tree);
            if !bytes.is_empty() {
                emulator.arg("-initrd").arg(&file);
            }
            let ended = emulator::run(&mut emulator, b"")?;
            let pattern = "LED on\nLED off\n".repeat(flashes) + "\n";
            let times = format!("flashes {flashes} times, again and again\n{pattern}");
            expect(&ended, 10 + flashes as i32, &[message, &times])?;
        }
        Ok(())
    }

    /// As on a board the watchdog is started; this emulator does not count its time, and resets at once.
    fn check_watchdog(&self) -> Result<()> {
        let mut emulator = qemu_system::command("qemu-system-aarch64");
        emulator.args(["-M", "raspi3b", "-serial", "stdio", "-display", "none", "-monitor", "none", "-no-reboot"]);
        emulator.arg("-kernel").arg(&self.image).arg("-dtb").arg(&self.device_tree).arg("-initrd").arg(&self.initramfs);
        let ended = emulator::run(&mut emulator, b"")?;
        expect(&ended, 0, &[])?;
        if ended.bytes.is_empty() { Ok(()) } else { Err(format!("expected a reset, found\n{}", ended.text())) }
    }

    fn check_exception(&self) -> Result<()> {
        let ended = self.run(&["test-fault"], &self.initramfs, &[], b"")?;
        let parts = [
            "exception on core 0: synchronous exception, data abort",
            "ESR  0x96000005",
            "ELR",
            "FAR  0x0000000700000000",
        ];
        expect(&ended, 15, &parts)
    }
}

/// The run ended well, and each picture's logits are those expected.
fn check_logits(ended: &Ended, expected: &[String]) -> Result<()> {
    let text = ended.text();
    let found = text.lines().filter_map(|line| line.trim_start().strip_prefix("logits ")?.split_once(" crc "));
    let found: Vec<&str> = found.map(|(logits, _)| logits).collect();
    if ended.code == Some(0) && found == expected {
        return Ok(());
    }
    let expected = expected.join("\n");
    Err(format!("ended with {:?}, expected 0 and the logits\n{expected}\nfound\n{text}", ended.code))
}

/// The exit code is `code`, and all parts are printed.
fn expect(ended: &Ended, code: i32, parts: &[&str]) -> Result<()> {
    let text = ended.text();
    if ended.code != Some(code) {
        return Err(format!("ended with {:?}, expected {code}:\n{text}", ended.code));
    }
    match parts.iter().find(|part| !text.contains(*part)) {
        None => Ok(()),
        Some(missing) => Err(format!("expected `{missing}`, found\n{text}")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
