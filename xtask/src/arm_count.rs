//! `cargo xtask arm-count`: what an inference costs on ARM cores that are not at hand, in executed instructions and, for the
//! inner loops, in cycles of LLVM's model of the core.
//!
//! Counted is a model of the official S12 shape with random weights (`runtime/examples/random_model`), on one thread: a process
//! with one inference less one with none. Counts are the same in every run; they are no cycles and know no caches.

mod instructions;
mod loops;
mod pairs;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::process::{Result, run};
use crate::tally::Tally;
use crate::toolchain::{LINUX, Toolchain};
use crate::tools::{self, Tool};
use crate::workspace;
use instructions::{Counts, Function, Kind};

/// What counting takes, beside a toolchain for [`LINUX`].
pub const TOOLS: [Tool; 4] = [Tool::Aarch64Linker, Tool::CCompiler, Tool::QemuUserPlugins, Tool::Mca];

/// A core, the kernels that are best on it, and what an inference may cost at most.
struct Core {
    name: &'static str,
    board: &'static str,
    kernels: &'static str,
    /// Of the model's weights, as `random_model` calls it.
    precision: &'static str,
    /// Millions of instructions.
    most: f64,
    /// Share of what is done to sums and activations outside the products' loops. Nothing is asked where the loops are so short that
    /// nothing else could be short beside them (i8mm), and of f16, whose GELU is computed and not looked up.
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

/// Prints both tables, and says which of them this machine cannot make.
pub fn print() -> Result<()> {
    tools::ensure(&TOOLS)?;
    let tally = check(&Toolchain::for_targets(&[LINUX])?)?;
    tally.skipped.iter().for_each(|what| eprintln!("skipped: {what}"));
    Ok(())
}

/// Prints both tables, and fails where something costs more than it may. What this machine cannot count is skipped, by name.
pub fn check(arm: &Toolchain) -> Result<Tally> {
    let program = build(arm)?;
    let mut tally = Tally::default();
    let mut dear = Vec::new();
    if tools::counts_instructions() {
        dear.extend(count(&program, &mut tally)?);
    } else {
        tally.skipped.push("instructions of an inference (needs qemu-user 7.2 or 8, such as Debian 12's)".to_owned());
    }
    if let Some(mca) = tools::mca() {
        let costs = loops::of(&program, mca)?;
        println!("{}", costs.table);
        dear.extend(costs.too_slow);
        tally.passed += costs.loops;
    } else {
        tally.skipped.push("inner loops in models of cores (needs llvm-mca 20 or newer)".to_owned());
    }
    if dear.is_empty() { Ok(tally) } else { Err(dear.join("\n")) }
}

/// Prints what an inference executes on each core, and says what is too much.
fn count(program: &Path, tally: &mut Tally) -> Result<Vec<String>> {
    let plugin = &build_plugin()?;
    // The emulator computes 16-bit numbers in software, which takes it minutes.
    let counted = thread::scope(|scope| {
        let count = |core| scope.spawn(move || Inference::count(core, program, plugin));
        let threads = CORES.each_ref().map(count);
        threads.map(|thread| thread.join().unwrap_or_else(|_| Err("a thread that counts has panicked".to_owned())))
    });
    let mut dear = Vec::new();
    println!("\nExecuted instructions of one S12 inference, in millions:\n\n{}", Inference::HEADING);
    for (core, inference) in CORES.iter().zip(counted) {
        let inference = inference?;
        println!("{}", inference.line(core));
        dear.extend(inference.too_dear(core));
        tally.passed += 1;
    }
    println!(
        "\nepilogue: quantising or converting, GELU and requantising, scaling and adding to the stream; without the products' loops\n"
    );
    Ok(dear)
}

fn build(arm: &Toolchain) -> Result<PathBuf> {
    let mut cargo = arm.cargo("build");
    cargo.args(["--release", "--package", "resmlp-runtime", "--example", "random_model", "--target", LINUX]);
    tools::static_for_aarch64(&mut cargo)?;
    run(&mut cargo)?;
    Ok(workspace::target_dir().join(LINUX).join("release/examples/random_model"))
}

fn build_plugin() -> Result<PathBuf> {
    let source = workspace::root().join("xtask/plugin/blocks.c");
    let plugin = workspace::made("arm-count")?.join("blocks.so");
    run(Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&plugin).arg(source))?;
    Ok(plugin)
}

/// What one inference executes.
struct Inference {
    all: Counts,
    products: i64,
    epilogue: i64,
}

impl Inference {
    const HEADING: &'static str = "\
| core | kernels | total | products' loops | epilogue | other | sdot | smmla | smull, smlal | sadalp | fmla | vector loads | other SIMD |
|---|---|---|---|---|---|---|---|---|---|---|---|---|";

    fn count(core: &Core, program: &Path, plugin: &Path) -> Result<Self> {
        let mut functions = BTreeMap::new();
        for (inferences, sign) in [("0", -1), ("1", 1)] {
            let written = plugin.with_file_name(format!("{}-{}-{inferences}.txt", core.name, core.precision));
            let mut emulator = Command::new(tools::QEMU_WITH_PLUGINS);
            emulator.args(["-cpu", core.name, "-plugin"]);
            emulator.arg(format!("{},out={}", plugin.display(), written.display()));
            run(emulator.arg(program).args([core.kernels, inferences, "1", core.precision]))?;
            let text = fs::read_to_string(&written).map_err(|error| {
                format!("{}: {error}; this needs qemu-user 7.2 to 8 with plugins", written.display())
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

    fn too_dear(&self, core: &Core) -> Vec<String> {
        let mut dear = Vec::new();
        let (total, share) = (self.all.total() as f64 / 1e6, self.share_of_epilogue());
        if self.products <= 0 || total > core.most {
            dear.push(format!(
                "{}, {}: {total:.1} million instructions, expected at most {}",
                core.name, core.precision, core.most
            ));
        }
        if core.most_epilogue.is_some_and(|most| share > most) {
            dear.push(format!(
                "{}, {}: the epilogue is {:.2} % of all instructions",
                core.name,
                core.precision,
                100.0 * share
            ));
        }
        dear
    }
}

/// Whether a symbol is a kernel's, or the function's that cuts its operands. What is left is the pixels' way into panels, the
/// mean over tokens, and bookkeeping.
fn is_epilogue(symbol: &str) -> bool {
    let kernels = ["4gelu17h", "3mix17h", "3add17h", "13quantise_rows17h", "16quantise_columns17h", "4sums17h"];
    symbol.contains("kernels") && kernels.iter().any(|name| symbol.contains(name))
}
