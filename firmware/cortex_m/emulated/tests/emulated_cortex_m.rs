//! The programs for Cortex-M4, M7 and M33 on emulated boards: they compute the logits of this machine, and print what
//! they printed when their transcripts were committed.
//!
//! `cargo xtask test --only cortex-m` builds the programs and runs these tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use resmlp_emulation::{Inputs, Leeway, Result, Transcript, run};

/// The line with the logits of the demo's photograph.
const LOGITS: &str = "logits, bits:";

/// The model is made anew for the test, and its last bits depend on the machine that makes it. The logits are therefore
/// compared with those of this machine. Figures may differ because compilers differ.
const LEEWAY: Leeway =
    Leeway { timed: &[], measured: &["thumb-dsp:", "scalar:", "flash:", "RAM:", "  "], elsewhere: &[LOGITS] };

/// What the converter calls the layout of weights for these cores.
const LAYOUT: &str = "cortex-m";

/// The folder of the programs' sources.
fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a program on a board and returns what it prints.
fn emulate(inputs: &Inputs, board: &str, program: &Path) -> Result<String> {
    let mut qemu = Command::new(&inputs.qemu);
    qemu.args(["-M", board, "-display", "none", "-monitor", "none", "-serial", "none"]);
    // One instruction takes one nanosecond of the board's time, so its timer counts instructions: the same on every
    // computer.
    qemu.args(["-semihosting-config", "enable=on,target=native", "-icount", "shift=0,sleep=off", "-kernel"]);
    let ended = run(qemu.arg(program), b"")?;
    ended.expect(0, &[])?;
    Ok(ended.text())
}

/// Runs the program that classifies the demo's photograph, and compares its logits with those of this machine.
fn classify(inputs: &Inputs, board: &str, program: &str, layout: &str) -> Result<String> {
    let text = emulate(inputs, board, &inputs.firmware.join(program))?;
    let model = inputs.firmware.join(format!("demo-{layout}.rmlp"));
    let expected = inputs.logits(&model, &[package().join("pictures/horse.ppm")])?.concat();
    let found = text.lines().find_map(|line| line.strip_prefix(LOGITS)).unwrap_or_default().trim();
    if found != expected {
        return Err(format!("{board} computes the logits {found}, this machine {expected}:\n{text}").into());
    }
    Ok(text)
}

/// Classifies the demo's photograph, and compares everything that the board prints with the committed transcript.
fn demo(board: &str) -> Result {
    let inputs = Inputs::find()?;
    let text = classify(&inputs, board, &format!("{board}.elf"), LAYOUT)?;
    print!("{text}");
    let file = package().join("transcripts").join(board).with_extension("txt");
    Transcript { file, leeway: LEEWAY }.compare(&text, inputs.overwrite)
}

/// Runs the comparisons of all tables of kernels with the scalar one, which are a program of their own.
fn kernels(board: &str) -> Result {
    let inputs = Inputs::find()?;
    let text = emulate(&inputs, board, &inputs.firmware.join(format!("{board}-kernel-tests.elf")))?;
    let compared = text.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ... ok")).count();
    let has_table = text.lines().next().is_some_and(|line| line.contains("thumb-dsp"));
    if !has_table || compared == 0 {
        return Err(format!("{board} compared no kernels of the table thumb-dsp:\n{text}").into());
    }
    Ok(())
}

/// Makes the tests of a board: its module is named after its core.
macro_rules! board {
    ($core:ident, $board:literal) => {
        mod $core {
            use resmlp_emulation::Result;

            #[test]
            #[ignore = "needs an emulated board: cargo xtask test --only cortex-m"]
            fn the_demo_prints_the_committed_transcript() -> Result {
                crate::demo($board)
            }

            #[test]
            #[ignore = "needs an emulated board: cargo xtask test --only cortex-m"]
            fn every_kernel_computes_what_the_scalar_one_does() -> Result {
                crate::kernels($board)
            }
        }
    };
}

board!(cortex_m4, "mps2-an386");
board!(cortex_m7, "mps2-an500");
board!(cortex_m33, "mps2-an505");

/// A model with another layout gives the same logits, and the program says that it takes longer.
#[test]
#[ignore = "needs an emulated board: cargo xtask test --only cortex-m"]
fn a_model_for_another_machine_runs_and_says_that_it_is_slower() -> Result {
    let inputs = Inputs::find()?;
    let text = classify(&inputs, "mps2-an505", "mps2-an505-other-layout.elf", "any")?;
    if text.lines().any(|line| line.starts_with("note: the weights are not laid out for thumb-dsp")) {
        return Ok(());
    }
    Err(format!("the program does not say that the model is laid out for another machine:\n{text}").into())
}
