//! Proves that nothing in the runtime that firmware can call can panic.
//!
//! This program is only linked, not run. Its panic handler calls a function that is defined nowhere. If the compiler
//! cannot prove that an index, a division or a conversion never fails, it keeps a call of the handler, and the linker
//! reports the undefined symbol. The program contains every kernel table, because the list of tables refers to all of
//! them. It calls everything else with values that the compiler cannot know.
#![no_std]
#![no_main]

use core::fmt::{self, Write};
use core::hint::black_box;

use resmlp_runtime::{Dims, Engine, Kernels, Model, ModelError, ParallelFor, RunError, Serial, Stage, checksum, top};

unsafe extern "C" {
    /// This function is defined nowhere.
    fn resmlp_panic_is_reachable() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // SAFETY: the call is never executed, because no program that contains it can be linked.
    unsafe { resmlp_panic_is_reachable() }
}

#[cfg(target_os = "linux")]
#[link(name = "c")]
unsafe extern "C" {}

/// The precompiled `core` library refers to this symbol, because it was compiled for unwinding. It is never called,
/// because this program is compiled not to unwind.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// Calls the runtime with arguments that the compiler knows nothing about.
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    #[cfg(feature = "with-a-panic")]
    assert!(black_box(true));
    let bytes: &[u8] = black_box(&[]);
    let mut text = Text(0);
    let outcome =
        all_of(bytes, &mut text, Serial).and_then(|()| all_of(bytes, &mut text, black_box(&Serial) as &Cores));
    black_box(text);
    i32::from(outcome.is_err())
}

/// A `ParallelFor` whose implementation the compiler knows nothing about.
type Cores = dyn ParallelFor;

fn all_of<P: ParallelFor + Copy>(bytes: &[u8], text: &mut Text, parallel: P) -> Result<(), Failure> {
    black_box(checksum(bytes));
    let model = Model::parse(bytes).inspect_err(|error| text.show(error))?;
    text.describe(&model);
    let dims: &Dims = model.dims();
    for kernels in Kernels::supported().chain([
        Kernels::scalar(),
        Kernels::fastest(),
        Kernels::best(black_box(dims)),
        Kernels::named(black_box("")).unwrap_or(Kernels::scalar()),
    ]) {
        text.show(kernels.name());
        black_box((kernels.layout(), kernels.reads(dims)));
        let engine = Engine::new(model.clone(), kernels, parallel).inspect_err(|error| text.show(error))?;
        black_box((engine.model().dims(), engine.kernels().name()));
        let scratch: &mut [u8] = black_box(&mut []);
        let logits: &mut [f32] = black_box(&mut []);
        let image: &[u8] = black_box(&[]);
        black_box(engine.scratch_len());
        engine.run(image, scratch, logits).inspect_err(|error| text.show(error))?;
        let mut observe = |stage: Stage, stream: &[f32]| {
            text.show(stage);
            black_box(stream);
        };
        engine.run_observed(image, scratch, logits, &mut observe)?;
        black_box((top::<1>(logits), top::<5>(logits)));
    }
    Ok(())
}

enum Failure {
    Model,
    Run,
}

impl From<ModelError> for Failure {
    fn from(_: ModelError) -> Self {
        Self::Model
    }
}

impl From<RunError> for Failure {
    fn from(_: RunError) -> Self {
        Self::Run
    }
}

/// Accepts text and keeps only its length.
struct Text(usize);

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.wrapping_add(black_box(text).len());
        Ok(())
    }
}

impl Text {
    fn show(&mut self, what: impl fmt::Display) {
        let _ = write!(self, "{what}");
    }

    fn describe(&mut self, model: &Model) {
        model.labels().for_each(|label| self.show(label));
        self.show(model.provenance());
        black_box((model.activation().name(), model.preprocessing(), model.bytes(), model.dims().macs()));
        Stage::all(model.dims().depth).for_each(|stage| self.show(stage));
    }
}
