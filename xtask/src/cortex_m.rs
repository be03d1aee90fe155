//! `cargo xtask cortex-m`: the programs for microcontrollers, with a model in their flash; and whether they do what they should.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Result, run};
use crate::tally::Tally;
use crate::toolchain::Toolchain;
use crate::tools::{self, Tool};
use crate::transcript::{self, Leeway};
use crate::{device, emulator, qemu_system, uf2, workspace};

/// What the boards are built for.
pub const TARGETS: [&str; 2] = ["thumbv7em-none-eabihf", "thumbv8m.main-none-eabihf"];

/// A board of `firmware/cortex_m`: the feature of this name, and the emulator's machine.
struct Board {
    name: &'static str,
    target: &'static str,
    is_emulated: bool,
}

const BOARDS: [Board; 4] = [
    Board { name: "mps2-an386", target: TARGETS[0], is_emulated: true },
    Board { name: "mps2-an500", target: TARGETS[0], is_emulated: true },
    Board { name: "mps2-an505", target: TARGETS[1], is_emulated: true },
    Board { name: "pico2", target: TARGETS[1], is_emulated: false },
];

/// What the converter calls these cores.
const TARGET: &str = "cortex-m";
/// The programs; the second one's feature has its name.
const PROGRAM: &str = "resmlp-cortex-m";
const TESTS: &str = "kernel-tests";
/// In cargo's output folder.
const FOLDER: &str = "device/cortex-m";
const LOGITS: &str = "logits, bits:";
/// Compilers differ, and the model is made anew, whose last bits depend on the machine that makes it: the logits must be those
/// of this machine.
const LEEWAY: Leeway =
    Leeway { timed: &[], measured: &["thumb-dsp:", "scalar:", "flash:", "RAM:", "  "], elsewhere: &[LOGITS] };

/// What is linked into a program.
struct Input {
    model: PathBuf,
    picture: PathBuf,
}

impl Input {
    /// The demo's model, laid out for `target`, and a photograph of the demo's.
    fn demo(target: &str) -> Result<Self> {
        let folder = workspace::made(FOLDER)?;
        let model = device::demo_model(&folder.join(format!("demo-{target}.rmlp")), target)?;
        Ok(Self { model, picture: package().join("pictures/horse.ppm") })
    }

    /// The logits as this machine computes them: their bits in hexadecimal.
    fn logits(&self) -> Result<String> {
        Ok(device::logit_bits(&self.model, &[&self.picture])?.concat())
    }
}

/// Builds `target/device/cortex-m/<board>.elf` for all boards, and the file to drop on a Pico 2; prints their paths.
///
/// A model of one's own goes only on the boards with a Pico 2's memory: the others may be too small.
pub fn build(options: &[&str]) -> Result<()> {
    let demos = options.is_empty();
    let input = match options {
        [] => Input::demo(TARGET)?,
        ["--model", model, "--picture", picture] | ["--picture", picture, "--model", model] => {
            Input { model: found(model)?, picture: found(picture)? }
        }
        _ => return Err("`cortex-m` takes no options, or --model MODEL.rmlp --picture PICTURE.ppm".to_string()),
    };
    let arm = Toolchain::for_targets(&TARGETS)?;
    for board in BOARDS.iter().filter(|board| demos || board.has_pico2_memory()) {
        println!("{}", board.build(&arm, &input)?.display());
        if !board.is_emulated {
            println!("{}", write_uf2(&board.elf())?.display());
        }
    }
    Ok(())
}

/// Runs the boards that can be emulated, and compares what they print with the committed transcripts, or renews these.
pub fn emulate(overwrite: bool) -> Result<()> {
    tools::ensure(&[Tool::QemuArm])?;
    let arm = Toolchain::for_targets(&TARGETS)?;
    let input = Input::demo(TARGET)?;
    let expected = input.logits()?;
    for board in BOARDS.iter().filter(|board| board.is_emulated) {
        let text = board.run_demo(&arm, &input, &expected, overwrite)?;
        println!("{text}");
    }
    Ok(())
}

/// On M4, M7 and M33: the logits are this machine's, every table of kernels computes what the scalar one does, and the program
/// for a Pico 2 links.
pub fn check(arm: &Toolchain) -> Result<Tally> {
    let input = Input::demo(TARGET)?;
    let expected = input.logits()?;
    let mut tally = Tally::default();
    tally.record("clippy", lint(arm, &input));
    // Before that board's program is built with the model that it is to be left with.
    if let Some(board) = BOARDS.iter().find(|board| board.is_emulated && board.has_pico2_memory()) {
        tally.record("another layout", board.run_another_layout(arm, &expected));
    }
    for board in &BOARDS {
        if board.is_emulated {
            tally.record(board.name, board.run_demo(arm, &input, &expected, false).map(|_| ()));
            match board.compare_kernels(arm, &input) {
                Ok(compared) => tally.passed += compared,
                Err(reason) => tally.record(&format!("{}, kernels", board.name), Err(reason)),
            }
        } else {
            tally.record(board.name, board.build(arm, &input).and_then(|_| write_uf2(&board.elf())).map(|_| ()));
        }
    }
    Ok(tally)
}

/// Clippy: the kernels, the program for a real board, and the one that compares kernels in an emulated one.
fn lint(arm: &Toolchain, input: &Input) -> Result<()> {
    let mut runtime = arm.cargo("clippy");
    runtime.args(["--release", "--package", "resmlp-runtime", "--no-default-features", "--features", "bare-metal"]);
    run(runtime.args(["--target", TARGETS[0], "--", "--deny", "warnings"]))?;
    let [.., emulated, pico2] = &BOARDS;
    for (board, program, features) in
        [(pico2, PROGRAM, [pico2.name].as_slice()), (emulated, TESTS, &[emulated.name, TESTS])]
    {
        let mut clippy = board.cargo(arm, "clippy", features, input);
        run(clippy.args(["--bin", program, "--", "--deny", "warnings"]))?;
    }
    Ok(())
}

impl Board {
    /// An M33, with the memory of an RP2350.
    fn has_pico2_memory(&self) -> bool {
        self.target == TARGETS[1]
    }

    fn elf(&self) -> PathBuf {
        workspace::target_dir().join(FOLDER).join(self.name).with_extension("elf")
    }

    /// `cargo <subcommand>` in the firmware's own workspace, with what it links in.
    fn cargo(&self, arm: &Toolchain, subcommand: &str, features: &[&str], input: &Input) -> Command {
        let mut cargo = arm.cargo(subcommand);
        cargo.arg("--manifest-path").arg(package().join("Cargo.toml"));
        cargo.args(["--release", "--target", self.target, "--features", &features.join(",")]);
        cargo.env("CARGO_TARGET_DIR", workspace::target_dir());
        cargo.env("RESMLP_MODEL", &input.model).env("RESMLP_PICTURE", &input.picture);
        // The target alone means any ARMv8-M core.
        cargo.env("CARGO_TARGET_THUMBV8M_MAIN_NONE_EABIHF_RUSTFLAGS", "-Ctarget-cpu=cortex-m33");
        cargo
    }

    /// Builds the program and returns where it lies.
    fn build(&self, arm: &Toolchain, input: &Input) -> Result<PathBuf> {
        run(self.cargo(arm, "build", &[self.name], input).args(["--bin", PROGRAM]))?;
        copy(&self.built(PROGRAM), &self.elf())?;
        Ok(self.elf())
    }

    fn built(&self, program: &str) -> PathBuf {
        workspace::target_dir().join(self.target).join("release").join(program)
    }

    /// Classifies the picture in the emulator; returns the transcript.
    fn run_demo(&self, arm: &Toolchain, input: &Input, expected: &str, overwrite: bool) -> Result<String> {
        let text = self.classify(arm, input, expected)?;
        let committed = package().join("transcripts").join(self.name).with_extension("txt");
        transcript::compare(&committed, &text, &LEEWAY, overwrite)?;
        Ok(text)
    }

    /// A model that is laid out for other kernels has the same logits, and the program says that it takes longer.
    fn run_another_layout(&self, arm: &Toolchain, expected: &str) -> Result<()> {
        let text = self.classify(arm, &Input::demo("any")?, expected)?;
        let says_so = text.lines().any(|line| line.starts_with("note: the weights are not laid out for thumb-dsp"));
        if says_so { Ok(()) } else { Err(format!("it does not say that it takes other kernels:\n{text}")) }
    }

    /// What the program prints in the emulator; its logits must be the expected ones.
    fn classify(&self, arm: &Toolchain, input: &Input, expected: &str) -> Result<String> {
        let text = self.emulate(&self.build(arm, input)?)?;
        let logits = text.lines().find_map(|line| line.strip_prefix(LOGITS)).unwrap_or_default();
        if logits.trim() != expected {
            return Err(format!("{}: its logits are not this machine's, {expected}:\n{text}", self.name));
        }
        Ok(text)
    }

    /// Compares the tables of kernels in the emulator; returns how many comparisons there were.
    fn compare_kernels(&self, arm: &Toolchain, input: &Input) -> Result<usize> {
        let mut build = self.cargo(arm, "build", &[self.name, TESTS], input);
        run(build.args(["--bin", TESTS]))?;
        let text = self.emulate(&self.built(TESTS))?;
        eprint!("{text}");
        let passed = text.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ... ok")).count();
        let has_table = text.lines().next().is_some_and(|line| line.contains("thumb-dsp"));
        if has_table && passed > 0 { Ok(passed) } else { Err(format!("nothing was compared:\n{text}")) }
    }

    /// An instruction takes a nanosecond of the machine's time, so its timer counts them: the same on every computer.
    fn emulate(&self, program: &Path) -> Result<String> {
        let mut qemu = qemu_system::command("qemu-system-arm");
        qemu.args(["-M", self.name, "-display", "none", "-monitor", "none", "-serial", "none"]);
        qemu.args(["-semihosting-config", "enable=on,target=native", "-icount", "shift=0,sleep=off", "-kernel"]);
        let ended = emulator::run(qemu.arg(program), b"")?;
        match ended.code {
            Some(0) => Ok(ended.text()),
            code => Err(format!("{}: ended with {code:?}, expected 0:\n{}", self.name, ended.text())),
        }
    }
}

fn write_uf2(elf: &Path) -> Result<PathBuf> {
    let path = elf.with_extension("uf2");
    let bytes = fs::read(elf).map_err(|error| format!("cannot read {}: {error}", elf.display()))?;
    let uf2 = uf2::from_elf(&bytes, uf2::RP2350_ARM_S).map_err(|error| format!("{}: {error}", elf.display()))?;
    fs::write(&path, uf2).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(path)
}

/// The absolute path of a file that someone has named.
fn found(path: &str) -> Result<PathBuf> {
    fs::canonicalize(path).map_err(|error| format!("cannot find {path}: {error}"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = fs::copy(from, to).map(|_| ());
    copied.map_err(|error| format!("cannot copy {} to {}: {error}", from.display(), to.display()))
}

/// The program's package, a workspace of its own.
fn package() -> PathBuf {
    workspace::root().join("firmware/cortex_m")
}

/// Tells cargo's formatter to look at that package too.
pub fn format_check() -> Command {
    let mut cargo = Toolchain::Current.cargo("fmt");
    cargo.args([OsStr::new("--manifest-path"), package().join("Cargo.toml").as_os_str(), OsStr::new("--check")]);
    cargo
}
