//! Prints the results. All numbers are printed as integers, because formatting floating-point numbers can panic.

use core::fmt::{Result, Write};

use resmlp_protocol::Guess;
use resmlp_runtime::{Model, Stage};

use crate::clock::{Clock, Span};
use crate::measure::{Measured, WARM_UP, percentile};

/// Largest number of logits that are printed. Of more logits the first ones and a checksum of all are printed.
const SHOWN: usize = 16;

/// Prints shapes and size of a model.
pub fn describe_model(out: &mut dyn Write, model: &Model) -> Result {
    let dims = model.dims();
    let precision = dims.weights.name();
    let [height, width] = dims.image;
    let name = if dims.has_head { "classes" } else { "channels" };
    writeln!(
        out,
        "model       {precision}, {height} x {width}, {} tokens, {} channels, {} blocks, {} {name}, {} bytes",
        dims.tokens(),
        dims.dim,
        dims.depth,
        dims.outputs,
        model.bytes().len(),
    )
}

/// Prints the most probable classes, and the bits of the logits, which are the same on every machine.
pub fn print_classes(out: &mut dyn Write, top: &[Guess], logits: &[f32]) -> Result {
    for guess in top {
        // Probabilities are from 0 to 1, and the cast makes NaN 0.
        let permille = (guess.probability * 1000.0 + 0.5) as u32;
        write!(out, "  {:>3}.{} %  ", permille / 10, permille % 10)?;
        match guess.label {
            "" => writeln!(out, "class {}", guess.index)?,
            label => writeln!(out, "{label}")?,
        }
    }
    write!(out, "  logits")?;
    for logit in logits.iter().take(SHOWN) {
        write!(out, " {:08x}", logit.to_bits())?;
    }
    let checksum = crc32fast::hash(bytemuck::try_cast_slice(logits).unwrap_or_default());
    writeln!(out, "{} crc {checksum:08x}", if logits.len() > SHOWN { " ..." } else { "" })
}

/// Prints the latency of a whole forward pass.
pub fn print_latency(out: &mut dyn Write, measured: &Measured, clock: &impl Clock, cores: usize) -> Result {
    let runs = measured.runs;
    let columns = [0, 50, 99, 100].map(|percent| percentile(runs, percent));
    let [min, p50, p99, max] = columns;
    let columns = [measured.cold, min, p50, p99, max];
    writeln!(
        out,
        "latency of one picture: cold, then {WARM_UP} runs to warm up, then {} runs; cores: {cores}",
        runs.len()
    )?;
    write!(out, "{:8}", "")?;
    for name in ["cold", "min", "p50", "p99", "max"] {
        write!(out, "{name:>14}")?;
    }
    write!(out, "\n{:8}", "ms")?;
    for span in columns {
        print_milliseconds(out, span, clock, 10)?;
    }
    write!(out, "\n{:8}", "cycles")?;
    for span in columns {
        write!(out, "{:>14}", span.cycles)?;
    }
    write!(out, "\n{:8}", "ticks")?;
    for span in columns {
        write!(out, "{:>14}", span.ticks)?;
    }
    writeln!(out, "  of {} Hz", clock.frequency())
}

/// Prints the core's clock before the runs and after them, which is given in Hz.
pub fn print_core_clock(out: &mut dyn Write, [before, after]: [u64; 2]) -> Result {
    let [before, after] = [before, after].map(|clock| clock.saturating_add(500_000) / 1_000_000);
    writeln!(out, "clock {before:>12} MHz before these runs, {after} MHz after them")?;
    if before.abs_diff(after) > before / 50 {
        writeln!(
            out,
            "note: the clock has changed: config.txt wants force_turbo=1, or the board is too hot, or its supply too weak"
        )?;
    }
    Ok(())
}

/// Prints the least time of each stage.
pub fn print_layers(out: &mut dyn Write, measured: &Measured, clock: &impl Clock, depth: usize) -> Result {
    writeln!(out, "{:16}{:>12}{:>14}  the fastest run of each", "layer", "ms", "cycles")?;
    for (stage, &time) in Stage::all(depth).zip(measured.stages) {
        match stage {
            Stage::Stem => write!(out, "{:16}", "stem")?,
            Stage::Mix(block) => write!(out, "block.{block:<3}.mix   ")?,
            Stage::Mlp(block) => write!(out, "block.{block:<3}.mlp   ")?,
            Stage::Head => write!(out, "{:16}", "head")?,
        }
        print_milliseconds(out, time, clock, 8)?;
        writeln!(out, "{:>14}", time.cycles)?;
    }
    Ok(())
}

/// Prints milliseconds with three decimals and `width` places before the point.
fn print_milliseconds(out: &mut dyn Write, span: Span, clock: &impl Clock, width: usize) -> Result {
    let microseconds = span.microseconds(clock);
    write!(out, "{:>width$}.{:03}", microseconds / 1000, microseconds % 1000)
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;

    struct Fixed;

    impl Clock for Fixed {
        fn ticks(&self) -> u64 {
            0
        }
        fn frequency(&self) -> u64 {
            54_000_000
        }
        fn cycles(&self) -> u64 {
            0
        }
        fn alive(&self) {}
    }

    #[test]
    fn classes_are_printed_with_percentages_and_bits() {
        let mut text = String::new();
        let guess = |index, probability, label| Guess { index, probability, label };
        let top = [guess(3, 0.77849, "horse"), guess(1, 1.0, ""), guess(0, f32::NAN, "x")];
        print_classes(&mut text, &top, &[1.0, -0.0]).unwrap();
        assert_eq!(
            text,
            "   77.8 %  horse\n  100.0 %  class 1\n    0.0 %  x\n  logits 3f800000 80000000 crc b55b67c6\n"
        );
    }

    #[test]
    fn a_clock_that_changes_is_noted() {
        let mut text = String::new();
        print_core_clock(&mut text, [1_199_700_000, 1_200_000_400]).unwrap();
        assert_eq!(text, "clock         1200 MHz before these runs, 1200 MHz after them\n");
        text.clear();
        print_core_clock(&mut text, [1_400_000_000, 600_000_000]).unwrap();
        assert!(
            text.starts_with(
                "clock         1400 MHz before these runs, 600 MHz after them\nnote: the clock has changed"
            )
        );
    }

    #[test]
    fn times_are_printed_in_milliseconds() {
        let mut text = String::new();
        let run = Span { ticks: 54_000_000, cycles: 9 };
        let measured = Measured { cold: run, runs: &[run], stages: &[run; 4] };
        print_latency(&mut text, &measured, &Fixed, 4).unwrap();
        print_layers(&mut text, &measured, &Fixed, 1).unwrap();
        let expected = "\
latency of one picture: cold, then 3 runs to warm up, then 1 runs; cores: 4
                  cold           min           p50           p99           max
ms            1000.000      1000.000      1000.000      1000.000      1000.000
cycles               9             9             9             9             9
ticks         54000000      54000000      54000000      54000000      54000000  of 54000000 Hz
layer                     ms        cycles  the fastest run of each
stem                1000.000             9
block.0  .mix       1000.000             9
block.0  .mlp       1000.000             9
head                1000.000             9
";
        assert_eq!(text, expected);
    }
}
