//! The inner loops of the matrix products, cut from the program as it was built, in llvm-mca's models of cores.
//!
//! The models that are real: cortex-a53 and cortex-a55 in order, cortex-a57 (which LLVM also uses for A72), neoverse-n1 (an A76
//! for servers) and neoverse-n2. They know no caches. Those in order know little of what is issued together: for these cores there are
//! also [`pairs`].

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::pairs::{self, Core};
use crate::process::{Result, output_of};
use crate::tools;

/// A kind of loop: the instruction that shows it, by name and by the shape of its result, another that it has to have, and the least
/// products per cycle on cores, in LLVM's models of them and by the rules of [`pairs`].
struct Wanted {
    instruction: (&'static str, &'static str),
    beside: &'static str,
    cores: &'static [(&'static str, f64)],
    in_order: &'static [(Core, f64)],
}

const WANTED: [Wanted; 7] = [
    Wanted {
        instruction: ("sdot", ".4s"),
        beside: "ld1",
        cores: &[("neoverse-n1", 30.0), ("cortex-a55", 8.6)],
        in_order: &[(Core::CortexA55, 10.5)],
    },
    // For cores that issue in order, which load halves of registers.
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
    fn count(&self, instruction: &str, shape: &str) -> usize {
        let is_meant = |(name, operands): &&(String, String)| {
            name == instruction && operands.split(',').next().is_some_and(|result| result.ends_with(shape))
        };
        self.body.iter().filter(is_meant).count()
    }

    /// Products in one pass.
    fn products(&self) -> usize {
        let of_bytes = 16 * self.count("sdot", ".4s") + 32 * self.count("smmla", ".4s");
        let of_bytes = of_bytes + 8 * (self.count("smull", ".8h") + self.count("smlal2", ".8h"));
        // Sums in 16 bits begin with a product.
        of_bytes + 4 * self.count("fmla", ".4s") + 8 * (self.count("fmla", ".8h") + self.count("fmul", ".8h"))
    }

    /// With a label in the place of the address that it jumps to.
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

/// The table of all wanted loops on all their cores.
pub struct Costs {
    pub table: String,
    pub loops: usize,
    pub too_slow: Vec<String>,
}

/// Cuts the loops from `program` and runs llvm-mca on them.
pub fn of(program: &Path, mca: &str) -> Result<Costs> {
    let mut objdump = Command::new(tools::aarch64_objdump()?);
    objdump.args(["-d", "--no-show-raw-insn"]).arg(program);
    let listing = output_of(&mut objdump).ok_or_else(|| format!("objdump fails on {}", program.display()))?;
    let loops = loops(&listing);
    let mut costs = Costs {
        table: format!("Inner loops in {mca}:\n\n| loop | core | products per cycle |\n|---|---|---|\n"),
        loops: 0,
        too_slow: Vec::new(),
    };
    for wanted in &WANTED {
        let (instruction, shape) = wanted.instruction;
        // The unrolled one, which does nearly all the work, has the most; among equals, patch mixing has more to do beside them.
        let has_both =
            |l: &&Loop| l.count(instruction, shape) > 0 && l.body.iter().any(|(name, _)| name == wanted.beside);
        let cut = loops.iter().filter(has_both);
        let cut = cut.max_by_key(|l| (l.products(), Reverse(l.body.len())));
        let cut = cut.ok_or_else(|| format!("{} has no loop with {instruction} {shape}", program.display()))?;
        let name = format!("{instruction} {shape} beside {}", wanted.beside);
        let mut add = |core: &str, least: f64, cycles: f64| {
            let (products, instructions) = (cut.products(), cut.body.len());
            let rate = products as f64 / cycles;
            costs.table +=
                &format!("| {name}, {products} products in {instructions} instructions | {core} | {rate:.2} |\n");
            if rate < least {
                costs.too_slow.push(format!("{name} on {core}: {rate:.2} products a cycle, expected {least}"));
            }
        };
        for &(core, least) in wanted.cores {
            add(core, least, cycles(mca, core, &cut.assembler())?);
        }
        for &(core, least) in wanted.in_order {
            add(&format!("{core}, by measured pairs"), least, pairs::cycles(core, &cut.body));
        }
        costs.loops += 1;
    }
    Ok(costs)
}

/// Every loop without a jump inside that multiplies, each once.
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

/// Cycles of one pass, in the steady state.
fn cycles(mca: &str, core: &str, assembler: &str) -> Result<f64> {
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
    fn only_inner_loops_with_products_are_cut() {
        let loops = loops(LISTING);
        assert_eq!(loops.len(), 1);
        assert_eq!(loops[0].products(), 16);
        assert_eq!(
            loops[0].assembler(),
            ".Lstart:\nldr q24, [x0], #32\nsdot v0.4s, v26.16b, v24.4b[0]\nsubs x2, x2, #0x1\nb.ne .Lstart\n"
        );
    }
}
