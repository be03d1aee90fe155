//! Classifies a picture with a model in flash, and prints what that takes.
//!
//! The model is linked in and read from flash. A forward pass needs one piece of RAM, whose size the build computes.
#![no_std]
#![no_main]

mod board;
mod input;
mod memory;
mod panic;

use core::fmt::{self, Write};

use board::Board;
use cortex_m_rt::entry;
use input::{MODEL, OUTPUTS, PICTURE, PICTURE_NAME, SCRATCH_LEN};
use resmlp_runtime::{Engine, Kernels, Model, ModelError, RunError, Serial, Stage, top};

/// Number of classes that are printed.
const SHOWN: usize = 5;

type Logits = [f32; OUTPUTS];

#[entry]
fn main() -> ! {
    static mut SCRATCH: [u8; SCRATCH_LEN] = [0; SCRATCH_LEN];
    // The logits are not on the stack, so that its size does not depend on the number of classes.
    static mut LOGITS: [Logits; 2] = [[0.0; OUTPUTS]; 2];
    memory::paint();
    let mut board = Board::start();
    let outcome = classify(&mut board, SCRATCH, LOGITS);
    if let Err(failure) = &outcome {
        let _ = writeln!(board, "error: {failure}");
    }
    board.end(outcome.is_ok())
}

/// The reason why there is no result.
enum Failure {
    Model(ModelError),
    Run(RunError),
    /// Two tables of kernels compute different logits.
    Different,
    /// The output does not accept text.
    Output,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(error) => write!(f, "the model: {error}"),
            Self::Run(error) => write!(f, "the forward pass: {error}"),
            Self::Different => f.write_str("the kernels give different logits"),
            Self::Output => f.write_str("no output"),
        }
    }
}

impl From<fmt::Error> for Failure {
    fn from(_: fmt::Error) -> Self {
        Self::Output
    }
}

/// Runs the model with the best kernels and with the scalar ones, compares the logits, and prints the results.
fn classify(board: &mut Board, scratch: &mut [u8], [logits, same]: &mut [Logits; 2]) -> Result<(), Failure> {
    writeln!(board, "board: {}", board::NAME)?;
    let model = Model::parse(&MODEL.0).map_err(Failure::Model)?;
    describe(board, &model)?;

    let best = Kernels::best(model.dims());
    if Kernels::fastest().name() != best.name() {
        writeln!(
            board,
            "note: the weights are not laid out for {}: {} is used",
            Kernels::fastest().name(),
            best.name()
        )?;
    }
    run(board, &model, best, scratch, logits)?;
    if best.name() != Kernels::scalar().name() {
        run(board, &model, Kernels::scalar(), scratch, same)?;
        if logits.iter().zip(same).any(|(logit, same)| logit.to_bits() != same.to_bits()) {
            return Err(Failure::Different);
        }
        writeln!(board, "the logits are the same, bit for bit")?;
    }
    show(board, &model, logits)?;
    report_memory(board)?;
    Ok(())
}

fn describe(board: &mut Board, model: &Model) -> fmt::Result {
    let dims = model.dims();
    let [height, width] = dims.image;
    writeln!(
        board,
        "model: {height} x {width} RGB, patch {}, {} tokens, {} channels",
        dims.patch,
        dims.tokens(),
        dims.dim
    )?;
    writeln!(
        board,
        "model: hidden {}, {} blocks, {} outputs, {} kMAC, {} bytes in flash",
        dims.hidden,
        dims.depth,
        dims.outputs,
        dims.macs() / 1000,
        MODEL.0.len()
    )
}

/// Names of the kinds of stages.
const STAGES: [&str; 4] = ["stem", "patch mixing", "channel MLP", "head"];

/// Returns the index of a stage's kind in [`STAGES`].
fn kind(stage: Stage) -> usize {
    match stage {
        Stage::Stem => 0,
        Stage::Mix(_) => 1,
        Stage::Mlp(_) => 2,
        Stage::Head => 3,
    }
}

/// Runs a forward pass and prints what it costs.
fn run(
    board: &mut Board,
    model: &Model,
    kernels: &'static Kernels,
    scratch: &mut [u8],
    logits: &mut Logits,
) -> Result<(), Failure> {
    let engine = Engine::new(model.clone(), kernels, Serial).map_err(Failure::Model)?;
    let mut counts = [0; STAGES.len()];
    let mut last = board.count();
    let start = last;
    let mut observe = |stage, _: &[f32]| {
        let now = board.count();
        if let Some(count) = counts.get_mut(kind(stage)) {
            *count += now - last;
        }
        last = now;
    };
    engine.run_observed(PICTURE, scratch, logits, &mut observe).map_err(Failure::Run)?;
    write!(board, "{}: {} thousand {} per inference", kernels.name(), (last - start) / 1000, board::COUNTED)?;
    for ((name, count), before) in STAGES.iter().zip(counts).zip([" (", ", ", ", ", ", "]) {
        write!(board, "{before}{name} {}", count / 1000)?;
    }
    writeln!(board, ")")?;
    Ok(())
}

fn show(board: &mut Board, model: &Model, logits: &Logits) -> fmt::Result {
    writeln!(board, "{PICTURE_NAME}, top {SHOWN}:")?;
    for (class, logit) in top::<SHOWN>(logits) {
        let thousandths = (logit * 1000.0) as i32;
        let sign = if thousandths < 0 { '-' } else { ' ' };
        let (whole, rest) = (thousandths.unsigned_abs() / 1000, thousandths.unsigned_abs() % 1000);
        writeln!(board, "  {sign}{whole}.{rest:03}  {}", model.labels().nth(class).unwrap_or("?"))?;
    }
    write!(board, "logits, bits:")?;
    logits.iter().try_for_each(|logit| write!(board, " {:08x}", logit.to_bits()))?;
    writeln!(board)
}

fn report_memory(board: &mut Board) -> fmt::Result {
    let used = memory::used();
    writeln!(
        board,
        "flash: {} of {} bytes, {} without the model",
        used.flash,
        used.flash_size,
        used.flash - MODEL.0.len()
    )?;
    writeln!(
        board,
        "RAM: {} of {} bytes: statics {} (scratch {SCRATCH_LEN}), stack at most {}",
        used.fixed + used.stack,
        used.ram_size,
        used.fixed,
        used.stack
    )
}
