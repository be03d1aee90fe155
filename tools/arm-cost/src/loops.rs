//! The inner loops of the matrix products, cut from the program as it was built, in models of cores.
//!
//! The first model is llvm-mca's. LLVM has real models of cortex-a53 and cortex-a55 (in order), cortex-a57 (which LLVM
//! also uses for the A72), neoverse-n1 (the server version of the A76) and neoverse-n2. None of them knows caches. The
//! models of the cores that issue in order know little about which instructions are issued together, so [`pairs`] is a
//! second model for these cores.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Check;
use crate::pairs::{self, Core};

/// A loop that the program must have, and how fast it must be.
struct Wanted {
    /// An instruction that only this kind of loop has: its name, and the shape of its result.
    instruction: (&'static str, &'static str),
    /// The name of another instruction that the loop has.
    beside: &'static str,
    /// The least products per cycle in LLVM's models of these cores.
    cores: &'static [(&'static str, f64)],
    /// The least products per cycle by the rules of [`pairs`].
    in_order: &'static [(Core, f64)],
}

const WANTED: [Wanted; 7] = [
    Wanted {
        instruction: ("sdot", ".4s"),
        beside: "ld1",
        cores: &[("neoverse-n1", 30.0), ("cortex-a55", 8.6)],
        in_order: &[(Core::CortexA55, 10.5)],
    },
    // This loop is for cores that issue in order. It loads halves of registers.
    Wanted {
        instruction: ("sdot", ".4s"),
        beside: "mov",
        cores: &[("cortex-a55", 9.5)],
        in_order: &[(Core::CortexA55, 15.5)],
    },
    Wanted {
        instruction: ("smull", ".8h"),
        beside: "ldp",
        cores: &[("cortex-a57", 7.8), ("cortex-a55", 3.8), ("cortex-a53", 3.46)],
        in_order: &[(Core::CortexA53, 3.9)],
    },
    Wanted {
        instruction: ("smull", ".8h"),
        beside: "mov",
        cores: &[("cortex-a53", 3.1)],
        in_order: &[(Core::CortexA53, 4.5)],
    },
    Wanted { instruction: ("smmla", ".4s"), beside: "ld1", cores: &[("neoverse-n2", 60.0)], in_order: &[] },
    Wanted {
        instruction: ("fmla", ".4s"),
        beside: "ldr",
        cores: &[("cortex-a57", 3.9), ("cortex-a55", 4.5), ("cortex-a53", 2.4)],
        in_order: &[],
    },
    Wanted {
        instruction: ("fmla", ".8h"),
        beside: "fmul",
        cores: &[("neoverse-n1", 12.5), ("cortex-a55", 6.2)],
        in_order: &[],
    },
];

/// A loop's instructions, as assembler text.
#[derive(Debug, Clone, PartialEq)]
struct Loop {
    body: Vec<(String, String)>,
}

impl Loop {
    /// Returns how often the loop has an instruction whose result has this shape.
    fn count(&self, instruction: &str, shape: &str) -> usize {
        let is_meant = |(name, operands): &&(String, String)| {
            name == instruction && operands.split(',').next().is_some_and(|result| result.ends_with(shape))
        };
        self.body.iter().filter(is_meant).count()
    }

    /// Returns the number of products in one pass.
    fn products(&self) -> usize {
        let of_bytes = 16 * self.count("sdot", ".4s") + 32 * self.count("smmla", ".4s");
        let of_bytes = of_bytes + 8 * (self.count("smull", ".8h") + self.count("smlal2", ".8h"));
        // A sum in 16 bits begins with a product, `fmul`.
        of_bytes + 4 * self.count("fmla", ".4s") + 8 * (self.count("fmla", ".8h") + self.count("fmul", ".8h"))
    }

    /// Returns the loop as text for an assembler, with a label in place of the address that the loop jumps to.
    fn assembler(&self) -> String {
        let mut text = String::from(".Lstart:\n");
        for (name, operands) in &self.body {
            text += &match name.as_str() {
                "b.ne" => "b.ne .Lstart\n".to_owned(),
                _ => format!("{name} {operands}\n"),
            };
        }
        text
    }
}

/// Cuts the loops from `program`, prints a table of their speed on all their cores, and checks their limits.
///
/// # Errors
///
/// Returns an error if `objdump` or `mca` fails, or the program lacks one of the loops.
pub fn check_all(program: &Path, objdump: &str, mca: &str) -> Result<Vec<Check>, String> {
    let loops = loops(&listing(program, objdump)?);
    let mut checks = Vec::new();
    println!("\nInner loops in {mca}:\n\n| loop | core | products per cycle |\n|---|---|---|");
    for wanted in &WANTED {
        let (instruction, shape) = wanted.instruction;
        let name = format!("loops::{instruction}{shape}-beside-{}", wanted.beside);
        let cut = wanted.find(&loops).ok_or_else(|| format!("{} has no loop {name}", program.display()))?;
        let mut rates = Vec::new();
        for &(core, least) in wanted.cores {
            rates.push((core.to_owned(), least, cycles(mca, core, &cut.assembler())?));
        }
        for &(core, least) in wanted.in_order {
            rates.push((format!("{core}, by measured pairs"), least, pairs::cycles(core, &cut.body)));
        }
        let mut too_slow = Vec::new();
        for (core, least, cycles) in rates {
            let (products, instructions) = (cut.products(), cut.body.len());
            let rate = products as f64 / cycles;
            let beside = wanted.beside;
            println!(
                "| {instruction} {shape} beside {beside}, {products} products in {instructions} instructions | {core} | {rate:.2} |"
            );
            if rate < least {
                too_slow.push(format!("{name} on {core}: {rate:.2} products per cycle, expected {least} at least"));
            }
        }
        checks.push(Check { name, outcome: if too_slow.is_empty() { Ok(()) } else { Err(too_slow.join("\n")) } });
    }
    println!();
    Ok(checks)
}

impl Wanted {
    /// Returns the loop that does nearly all the work: the unrolled one, which has the most products. Among loops with
    /// as many products, the shortest one is that of the channel MLP: patch mixing has more to do beside its products.
    fn find<'l>(&self, loops: &'l [Loop]) -> Option<&'l Loop> {
        let (instruction, shape) = self.instruction;
        let has_both =
            |l: &&Loop| l.count(instruction, shape) > 0 && l.body.iter().any(|(name, _)| name == self.beside);
        loops.iter().filter(has_both).max_by_key(|l| (l.products(), Reverse(l.body.len())))
    }
}

/// Returns the program's instructions as text.
fn listing(program: &Path, objdump: &str) -> Result<String, String> {
    let output = Command::new(objdump).args(["-d", "--no-show-raw-insn"]).arg(program).output();
    let output = output.map_err(|error| format!("cannot start {objdump}: {error}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{objdump} fails on {}: {stderr}", program.display()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns every loop that multiplies and has no jump inside. Loops with the same instructions are returned once.
fn loops(listing: &str) -> Vec<Loop> {
    let mut found = BTreeMap::new();
    let mut function: Vec<(u64, String, String)> = Vec::new();
    for line in listing.lines() {
        if line.ends_with(">:") {
            function.clear();
            continue;
        }
        let Some((address, instruction)) = line.trim_start().split_once(":\t") else { continue };
        let Ok(address) = u64::from_str_radix(address, 16) else { continue };
        let (name, operands) = instruction.split_once(['\t', ' ']).unwrap_or((instruction, ""));
        let operands = operands.split("//").next().unwrap_or_default().trim();
        function.push((address, name.to_owned(), operands.to_owned()));
        let target = operands.split(' ').next().and_then(|target| u64::from_str_radix(target, 16).ok());
        let Some(target) = target.filter(|&target| name == "b.ne" && target < address) else { continue };
        let body = function.iter().skip_while(|(at, ..)| *at < target);
        let body: Vec<_> = body.map(|(_, name, operands)| (name.clone(), operands.clone())).collect();
        let jumps = body.iter().filter(|(name, _)| name.starts_with('b') && name != "bfi" && name != "bif").count();
        let cut = Loop { body };
        if jumps == 1 && cut.products() > 0 {
            found.insert(cut.assembler(), cut);
        }
    }
    found.into_values().collect()
}

/// Returns the cycles of one pass in LLVM's model of `core`, as the average of many passes.
fn cycles(mca: &str, core: &str, assembler: &str) -> Result<f64, String> {
    const PASSES: usize = 400;
    let mut command = Command::new(mca);
    command.args(["-mtriple=aarch64", "-mattr=+dotprod,+i8mm,+fullfp16", &format!("-mcpu={core}")]);
    command.arg(format!("--iterations={PASSES}")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("cannot start {mca}: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(assembler.as_bytes()).map_err(|error| format!("{mca}: {error}"))?;
    }
    let output = child.wait_with_output().map_err(|error| format!("{mca}: {error}"))?;
    let report = String::from_utf8_lossy(&output.stdout);
    let total = report.lines().find_map(|line| line.strip_prefix("Total Cycles:")?.trim().parse::<f64>().ok());
    total
        .map(|total| total / PASSES as f64)
        .ok_or_else(|| format!("{mca} gives no cycles on {core}: {}", String::from_utf8_lossy(&output.stderr)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "\
0000000000021000 <f>:
   21000:\tmov\tx0, x1
   21004:\tldr\tq24, [x0], #32
   21008:\tsdot\tv0.4s, v26.16b, v24.4b[0]
   2100c:\tsubs\tx2, x2, #0x1
   21010:\tb.ne\t21004 <f+0x4>  // b.any
   21014:\tsubs\tx3, x3, #0x1
   21018:\tb.ne\t21000 <f>  // b.any

0000000000021020 <g>:
   21020:\tadd\tx0, x0, #0x1
   21024:\tb.ne\t21020 <g>  // b.any
";

    #[test]
    fn only_inner_loops_that_multiply_are_returned() {
        let loops = loops(LISTING);
        assert_eq!(loops.len(), 1);
        assert_eq!(loops[0].products(), 16);
        assert_eq!(
            loops[0].assembler(),
            ".Lstart:\nldr q24, [x0], #32\nsdot v0.4s, v26.16b, v24.4b[0]\nsubs x2, x2, #0x1\nb.ne .Lstart\n"
        );
    }
}
