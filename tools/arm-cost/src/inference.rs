//! Counts the executed instructions of one inference on emulated ARM cores.
//!
//! The network is the official S12 shape with random weights, on one thread. The counts are those of a process with one
//! inference minus those of a process with none.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::Check;
use crate::instructions::{self, Counts, Function, Kind};

/// A core, the kernels that are best on it, and what an inference may cost at most.
struct Core {
    /// The emulator's name of the core.
    name: &'static str,
    board: &'static str,
    kernels: &'static str,
    /// The precision of the model's weights, as `random_model` calls it.
    precision: &'static str,
    /// The largest allowed number of instructions, in millions.
    most: f64,
    /// The largest allowed share of the epilogue: everything that is done to sums and activations outside the loops of
    /// the products. Two kinds of core have no limit. With i8mm the loops are so short that the epilogue is not short
    /// beside them, and with f16 the GELU is computed instead of looked up.
    most_epilogue: Option<f64>,
}

const CORES: [Core; 5] = [
    Core {
        name: "cortex-a76",
        board: "Raspberry Pi 5",
        kernels: "aarch64-dotprod",
        precision: "int8",
        most: 235.0,
        most_epilogue: Some(0.08),
    },
    Core {
        name: "cortex-a72",
        board: "Raspberry Pi 4",
        kernels: "aarch64-neon",
        precision: "int8",
        most: 720.0,
        most_epilogue: Some(0.08),
    },
    Core {
        name: "max",
        board: "has all extensions",
        kernels: "aarch64-i8mm",
        precision: "int8",
        most: 135.0,
        most_epilogue: None,
    },
    Core {
        name: "cortex-a76",
        board: "Raspberry Pi 5",
        kernels: "aarch64-dotprod",
        precision: "f16",
        most: 610.0,
        most_epilogue: None,
    },
    Core {
        name: "cortex-a72",
        board: "Raspberry Pi 4",
        kernels: "aarch64-neon",
        precision: "f16",
        most: 1070.0,
        most_epilogue: None,
    },
];

/// Prints a table of what one inference executes on each core, and checks every core's limits.
///
/// # Errors
///
/// Returns an error if the emulator fails or its plugin writes something unexpected.
pub fn count_all(program: &Path, emulator: &str, plugin: &Path) -> Result<Vec<Check>, String> {
    // The cores are counted at the same time: the emulator computes 16-bit numbers in software, which takes it minutes.
    let counted = thread::scope(|scope| {
        let count = |core| scope.spawn(move || Inference::count(core, program, emulator, plugin));
        let threads = CORES.each_ref().map(count);
        threads.map(|thread| thread.join().unwrap_or_else(|_| Err("a thread that counts has panicked".to_owned())))
    });
    let mut checks = Vec::new();
    println!("\nExecuted instructions of one S12 inference, in millions:\n\n{}", Inference::HEADING);
    for (core, inference) in CORES.iter().zip(counted) {
        let inference = inference?;
        println!("{}", inference.line(core));
        let name = format!("instructions::{}::{}", core.name, core.precision);
        checks.push(Check { name, outcome: inference.check(core) });
    }
    println!(
        "\nThe epilogue is quantising or converting, GELU, requantising, scaling, and adding to the residual stream, without \
         the loops of the products.\n"
    );
    Ok(checks)
}

/// What one inference executes.
struct Inference {
    all: Counts,
    /// Number of instructions in the loops of the products.
    products: i64,
    /// Number of instructions in the rest of the kernels.
    epilogue: i64,
}

impl Inference {
    const HEADING: &'static str = "\
| core | kernels | total | products' loops | epilogue | other | sdot | smmla | smull, smlal | sadalp | fmla | vector loads | other SIMD |
|---|---|---|---|---|---|---|---|---|---|---|---|---|";

    fn count(core: &Core, program: &Path, emulator: &str, plugin: &Path) -> Result<Self, String> {
        let mut functions = BTreeMap::new();
        for (inferences, sign) in [("0", -1), ("1", 1)] {
            let written = plugin.with_file_name(format!("{}-{}-{inferences}.txt", core.name, core.precision));
            let mut command = Command::new(emulator);
            command.args(["-cpu", core.name, "-plugin"]);
            command.arg(format!("{},out={}", plugin.display(), written.display()));
            command.arg(program).args([core.kernels, inferences, "1", core.precision]);
            let failed = |what: &dyn std::fmt::Display| format!("{emulator} as {}: {what}", core.name);
            let output = command.output().map_err(|error| failed(&error))?;
            if !output.status.success() {
                return Err(failed(&format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr))));
            }
            let text = fs::read_to_string(&written).map_err(|error| {
                failed(&format!("cannot read {}: {error}; this needs qemu-user 7.2 to 8", written.display()))
            })?;
            instructions::add(&mut functions, &text, sign)?;
        }
        Ok(Self::sum(&functions))
    }

    fn sum(functions: &BTreeMap<String, Function>) -> Self {
        let mut inference = Self { all: Counts::default(), products: 0, epilogue: 0 };
        for (symbol, function) in functions {
            inference.all += function.products;
            inference.all += function.other;
            inference.products += function.products.total();
            if is_epilogue(symbol) {
                inference.epilogue += function.other.total();
            }
        }
        inference
    }

    fn line(&self, core: &Core) -> String {
        let millions = |count: i64| format!("{:.1}", count as f64 / 1e6);
        let share = 100.0 * self.share_of_epilogue();
        let other = self.all.total() - self.products - self.epilogue;
        let kinds = [
            Kind::Dot,
            Kind::MatrixMultiply,
            Kind::Multiply,
            Kind::AddPairs,
            Kind::Fused,
            Kind::VectorLoad,
            Kind::OtherVector,
        ];
        let kinds: Vec<String> = kinds.iter().map(|&kind| millions(self.all.of_kind(kind))).collect();
        format!(
            "| {} ({}) | {}, {} | **{}** | {} | {} ({share:.1} %) | {} | {} |",
            core.name,
            core.board,
            core.kernels,
            core.precision,
            millions(self.all.total()),
            millions(self.products),
            millions(self.epilogue),
            millions(other),
            kinds.join(" | ")
        )
    }

    fn share_of_epilogue(&self) -> f64 {
        self.epilogue as f64 / self.all.total() as f64
    }

    /// Compares the counts with the core's limits.
    fn check(&self, core: &Core) -> Result<(), String> {
        let Core { name, precision, most, .. } = core;
        let (total, share) = (self.all.total() as f64 / 1e6, 100.0 * self.share_of_epilogue());
        if self.products <= 0 {
            return Err(format!("{name}, {precision}: no instruction was counted in the loops of the products"));
        }
        if total > *most {
            return Err(format!("{name}, {precision}: {total:.1} million instructions, expected {most} at most"));
        }
        match core.most_epilogue {
            Some(most) if share > 100.0 * most => Err(format!(
                "{name}, {precision}: the epilogue is {share:.2} % of all instructions, expected {} % at most",
                100.0 * most
            )),
            _ => Ok(()),
        }
    }
}

/// Returns whether a symbol is a kernel, or the function that cuts the operands of kernels. The instructions of all
/// other symbols bring the pixels into panels, compute the mean over tokens, and do the bookkeeping.
fn is_epilogue(symbol: &str) -> bool {
    let kernels = ["4gelu17h", "3mix17h", "3add17h", "13quantise_rows17h", "16quantise_columns17h", "4sums17h"];
    symbol.contains("kernels") && kernels.iter().any(|name| symbol.contains(name))
}
