//! `cargo xtask cortex-m`: builds the programs for microcontrollers, with a model in their flash, and checks them on
//! emulated boards. The checks are the tests in `firmware/cortex_m/emulated`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::{self, build_programs, copy};
use crate::demo;
use crate::firmware_tests::FirmwareTests;
use crate::packages::{CORTEX_M_KERNEL_TESTS, CORTEX_M_PROGRAM, CORTEX_M_TESTS, RUNTIME, UF2};
use crate::process::{Result, run};
use crate::qemu_system;
use crate::tally::Tally;
use crate::targets::{CORTEX_M, CORTEX_M4, CORTEX_M33};
use crate::toolchain::Toolchain;
use crate::tools::{self, Tool};
use crate::workspace;

/// A board of `firmware/cortex_m`. The board's feature has this name, and so has the emulator's machine.
struct Board {
    name: &'static str,
    target: &'static str,
    is_emulated: bool,
}

const BOARDS: [Board; 4] = [
    Board { name: "mps2-an386", target: CORTEX_M4, is_emulated: true },
    Board { name: "mps2-an500", target: CORTEX_M4, is_emulated: true },
    Board { name: "mps2-an505", target: CORTEX_M33, is_emulated: true },
    Board { name: "pico2", target: CORTEX_M33, is_emulated: false },
];

/// The converter's name for the layout of weights for these cores.
const LAYOUT: &str = "cortex-m";
/// The converter's name for the layout of weights that every machine accepts.
const OTHER_LAYOUT: &str = "any";
/// The folder of the programs, in cargo's output folder.
const FOLDER: &str = "device/cortex-m";

/// The inputs that are linked into a program.
struct Input {
    model: PathBuf,
    picture: PathBuf,
}

impl Input {
    /// Makes the demo's model in a layout, and takes a photograph of the demo's.
    fn demo(layout: &str) -> Result<Self> {
        let model = workspace::made(FOLDER)?.join(format!("demo-{layout}.rmlp"));
        demo::make_model(&model, layout)?;
        Ok(Self { model, picture: package().join("pictures/horse.ppm") })
    }
}

/// Builds `target/device/cortex-m/<board>.elf` for all boards, and the file to copy to a Pico 2. Prints their paths.
///
/// A model of the user's own is built only for the boards with a Pico 2's memory, because the other boards may be too
/// small.
pub fn build(options: &[&str]) -> Result<()> {
    let is_demo = options.is_empty();
    let input = match options {
        [] => Input::demo(LAYOUT)?,
        ["--model", model, "--picture", picture] | ["--picture", picture, "--model", model] => {
            Input { model: found(model)?, picture: found(picture)? }
        }
        _ => {
            return Err("`cortex-m` takes no options, or both --model MODEL.rmlp and --picture PICTURE.ppm".to_string());
        }
    };
    let arm = Toolchain::for_targets(&CORTEX_M)?;
    for board in BOARDS.iter().filter(|board| is_demo || board.has_pico2_memory()) {
        for file in board.build_for_users(&arm, &input)? {
            println!("{}", file.display());
        }
    }
    Ok(())
}

/// Runs the demo on the boards that can be emulated, and compares what they print with the committed transcripts, or
/// writes these anew if `overwrite`.
pub fn emulate(overwrite: bool) -> Result<()> {
    tools::ensure(&[Tool::QemuArm])?;
    let arm = Toolchain::for_targets(&CORTEX_M)?;
    let input = Input::demo(LAYOUT)?;
    for board in BOARDS.iter().filter(|board| board.is_emulated) {
        board.build(&arm, &input, &board.elf(""))?;
    }
    tests(&workspace::made(FOLDER)?, &workspace::target_dir().join("release")).show("transcript", overwrite)
}

/// Builds every program, and runs the tests on emulated boards.
pub fn check(arm: &Toolchain) -> Result<Tally> {
    let other = Input::demo(OTHER_LAYOUT)?;
    let input = Input::demo(LAYOUT)?;
    let mut tally = Tally::default();
    lint(arm, &input, &mut tally);
    // This program is built first, because the program with the proper model has the same name and must be the one that
    // remains.
    if let Some(board) = BOARDS.iter().find(|board| board.is_emulated && board.has_pico2_memory()) {
        tally.record_failure("build with another layout", board.build(arm, &other, &board.elf("-other-layout")));
    }
    for board in &BOARDS {
        if board.is_emulated {
            tally.record_failure(&format!("build for {}", board.name), board.build(arm, &input, &board.elf("")));
            tally.record_failure(&format!("kernel tests for {}", board.name), board.build_kernel_tests(arm, &input));
        } else {
            tally.record(board.name, board.build_for_users(arm, &input).map(|_| ()));
        }
    }
    tally += tests(&workspace::made(FOLDER)?, &workspace::target_dir().join("release")).check()?;
    Ok(tally)
}

/// Returns the tests on emulated boards.
fn tests<'a>(firmware: &'a Path, programs: &'a Path) -> FirmwareTests<'a> {
    FirmwareTests { name: CORTEX_M_TESTS, firmware, programs, emulator: qemu_system::NAME }
}

/// Runs clippy on the kernels, on the program for a real board, and on the program that compares kernels on an emulated
/// one.
fn lint(arm: &Toolchain, input: &Input, tally: &mut Tally) {
    let mut runtime = arm.cargo("clippy");
    runtime.args(["--release", "--package", RUNTIME, "--no-default-features", "--features", "bare-metal"]);
    runtime.args(["--target", CORTEX_M4, "--", "--deny", "warnings"]);
    tally.record("clippy of the runtime", run(&mut runtime));
    let [.., emulated, pico2] = &BOARDS;
    for (board, program, features) in [
        (pico2, CORTEX_M_PROGRAM, [pico2.name].as_slice()),
        (emulated, CORTEX_M_KERNEL_TESTS, &[emulated.name, CORTEX_M_KERNEL_TESTS]),
    ] {
        let mut clippy = board.cargo(arm, "clippy", features, input);
        clippy.args(["--bin", program, "--", "--deny", "warnings"]);
        tally.record(&format!("clippy of {program} for {}", board.name), run(&mut clippy));
    }
}

impl Board {
    /// Returns whether the board has the core of an RP2350, an M33, and its memory.
    fn has_pico2_memory(&self) -> bool {
        self.target == CORTEX_M33
    }

    /// Returns the path of one of the board's programs; `kind` is the end of its name.
    fn elf(&self, kind: &str) -> PathBuf {
        workspace::target_dir().join(FOLDER).join(format!("{}{kind}.elf", self.name))
    }

    /// Returns `cargo <subcommand>` in the firmware's own workspace, with what is linked into the program.
    fn cargo(&self, arm: &Toolchain, subcommand: &str, features: &[&str], input: &Input) -> Command {
        let mut cargo = arm.cargo(subcommand);
        cargo.arg("--manifest-path").arg(package().join("Cargo.toml"));
        cargo.args(["--release", "--target", self.target, "--features", &features.join(",")]);
        cargo.env("CARGO_TARGET_DIR", workspace::target_dir());
        cargo.env("RESMLP_MODEL", &input.model).env("RESMLP_PICTURE", &input.picture);
        // The target alone means any core of ARMv8-M.
        cargo.env("CARGO_TARGET_THUMBV8M_MAIN_NONE_EABIHF_RUSTFLAGS", "-Ctarget-cpu=cortex-m33");
        cargo
    }

    /// Builds the program and, for a Pico 2, the file that its boot loader takes. Returns the paths of both.
    fn build_for_users(&self, arm: &Toolchain, input: &Input) -> Result<Vec<PathBuf>> {
        let elf = self.elf("");
        self.build(arm, input, &elf)?;
        if self.is_emulated {
            return Ok(vec![elf]);
        }
        let uf2 = elf.with_extension("uf2");
        run(Command::new(build_programs(&[UF2])?.join(UF2)).arg(&elf).arg(&uf2))?;
        Ok(vec![elf, uf2])
    }

    /// Builds the program that classifies a picture.
    fn build(&self, arm: &Toolchain, input: &Input, elf: &Path) -> Result<()> {
        self.build_program(arm, CORTEX_M_PROGRAM, &[self.name], input, elf)
    }

    /// Builds the program that compares the tables of kernels.
    fn build_kernel_tests(&self, arm: &Toolchain, input: &Input) -> Result<()> {
        let features = [self.name, CORTEX_M_KERNEL_TESTS];
        self.build_program(arm, CORTEX_M_KERNEL_TESTS, &features, input, &self.elf("-kernel-tests"))
    }

    fn build_program(
        &self,
        arm: &Toolchain,
        program: &str,
        features: &[&str],
        input: &Input,
        elf: &Path,
    ) -> Result<()> {
        // The program of an earlier build is removed first, so that it cannot be mistaken for this one if this build
        // fails.
        if elf.exists() {
            fs::remove_file(elf).map_err(|error| format!("cannot remove {}: {error}", elf.display()))?;
        }
        run(self.cargo(arm, "build", features, input).args(["--bin", program]))?;
        copy(&workspace::target_dir().join(self.target).join("release").join(program), elf)
    }
}

/// Returns the absolute path of a file that the user has named.
fn found(path: &str) -> Result<PathBuf> {
    fs::canonicalize(path).map_err(|error| format!("cannot find the file {path}: {error}"))
}

/// Returns the folder of the programs' package, which is a workspace of its own.
fn package() -> PathBuf {
    workspace::root().join("firmware/cortex_m")
}

/// Returns the command that checks the format of that workspace.
pub fn format_check() -> Command {
    let mut cargo = cargo::cargo("fmt");
    cargo.arg("--manifest-path").arg(package().join("Cargo.toml")).arg("--check");
    cargo
}
