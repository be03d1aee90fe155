//! Cycles of a loop on the cores that issue up to two instructions at a time, in order, by rules that were measured on
//! them.
//!
//! LLVM's models of these cores let no instruction end before an older one. In these models, an integer instruction or
//! a load beside a product of vectors costs a cycle of its own. On the real cores it does not. The rules of Cortex-A53
//! and A55 are:
//!
//! * Vector arithmetic on 128 bits is issued first. Behind it, the same cycle can issue an integer instruction, a
//!   prefetch, or a load to a general register. On an A55 the same cycle can also issue a load of 64 bits to a vector
//!   register, or an insertion from a general register.
//! * A load of 128 bits takes two cycles by itself. A load of several registers takes two cycles for each 128 bits.
//! * A load of 64 bits and an insertion are issued together, and so are two insertions, unless both write the same
//!   register.
//!
//! The rules come from ncnn's `docs/developer-guide/arm-a53-a55-dual-issue.md`, and for the A53 also from the
//! instruction benchmarks of <https://github.com/daniestevez/qsdr>. The model knows no caches.

use std::collections::HashMap;
use std::fmt;

/// A core that issues in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Core {
    CortexA53,
    CortexA55,
}

impl fmt::Display for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CortexA53 => "cortex-a53",
            Self::CortexA55 => "cortex-a55",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Arithmetic on vectors.
    Vector,
    /// A load of this many vector registers of 128 bits.
    LoadVectors(u32),
    /// A load of 64 bits to a vector register.
    LoadHalf,
    /// A load to a general register.
    LoadGeneral,
    /// A move from a general register to the upper half of a vector register.
    Insert,
    /// Integer arithmetic, prefetches and jumps.
    Other,
}

/// An instruction, and the registers that it writes and reads. General registers are listed only for loads and
/// insertions.
#[derive(Debug)]
struct Instruction {
    kind: Kind,
    writes: Vec<String>,
    reads: Vec<String>,
}

impl Instruction {
    fn new(name: &str, operands: &str) -> Self {
        // Brackets hold an address or a lane, and are left out.
        let named: Vec<&str> = operands.split(", [").next().unwrap_or_default().split([',', '-', '{', '}']).collect();
        let registers: Vec<&str> = named
            .iter()
            .map(|text| text.trim().split('.').next().unwrap_or_default())
            .filter(|r| !r.is_empty())
            .collect();
        let vector = |register: &str| {
            let number = register.strip_prefix(['v', 'q', 'd'])?;
            number.parse::<u8>().ok().map(|number| format!("v{number}"))
        };
        let mut vectors: Vec<String> = registers.iter().filter_map(|r| vector(r)).collect();
        if let Some((first, last)) = range(operands) {
            vectors = (first..=last).map(|number| format!("v{number}")).collect();
        }
        let general = |at: usize| registers.get(at).map(|r| (*r).to_owned()).into_iter().collect();
        let is_load = name.starts_with("ld");
        let kind = match registers.first().and_then(|r| r.chars().next()) {
            Some('q' | 'v') if is_load => Kind::LoadVectors(vectors.len() as u32),
            Some('d') if is_load => Kind::LoadHalf,
            _ if is_load => Kind::LoadGeneral,
            Some('v') if name == "mov" && vectors.len() == 1 => Kind::Insert,
            Some('v') => Kind::Vector,
            _ => Kind::Other,
        };
        let (writes, reads) = match kind {
            // `mul` begins a sum, and does not read the register of its result.
            Kind::Vector => {
                let begins = usize::from(name.contains("mul"));
                (vectors.iter().take(1).cloned().collect(), vectors.into_iter().skip(begins).collect())
            }
            Kind::LoadVectors(_) | Kind::LoadHalf => (vectors, Vec::new()),
            Kind::LoadGeneral => (general(0), Vec::new()),
            Kind::Insert => (vectors.clone(), vectors.into_iter().chain(general(1)).collect()),
            Kind::Other => (Vec::new(), Vec::new()),
        };
        Self { kind, writes, reads }
    }

    /// Returns the cycles until the next instruction can be issued.
    fn busy(&self) -> u64 {
        match self.kind {
            Kind::LoadVectors(count) => 2 * u64::from(count.max(1)),
            _ => 1,
        }
    }

    /// Returns the cycles until the result can be read.
    fn latency(&self) -> u64 {
        match self.kind {
            Kind::Vector => 4,
            Kind::LoadVectors(_) => self.busy() + 2,
            Kind::LoadHalf | Kind::LoadGeneral => 3,
            Kind::Insert => 2,
            Kind::Other => 1,
        }
    }

    /// Returns whether `next` can be issued in the same cycle.
    fn pairs_with(&self, next: &Self, core: Core) -> bool {
        let goes_together = match (self.kind, next.kind) {
            (Kind::LoadVectors(_), _) | (_, Kind::LoadVectors(_) | Kind::Vector) => false,
            (Kind::Vector, Kind::LoadHalf | Kind::Insert) => core == Core::CortexA55,
            (Kind::Vector | Kind::Other, _) | (_, Kind::Other) => true,
            (first, second) => first == Kind::Insert || second == Kind::Insert,
        };
        goes_together && !self.writes.iter().any(|r| next.reads.contains(r) || next.writes.contains(r))
    }
}

/// Returns the first and the last number of a range of registers, such as `{v4.16b-v7.16b}`.
fn range(operands: &str) -> Option<(u8, u8)> {
    let (first, last) = operands.strip_prefix("{v")?.split_once('}')?.0.split_once("-v")?;
    let number = |text: &str| text.split('.').next()?.parse().ok();
    Some((number(first)?, number(last)?))
}

/// Returns the cycles of one pass over `body` in the steady state. The body holds the names and the operands of
/// instructions as a disassembler writes them.
pub fn cycles(core: Core, body: &[(String, String)]) -> f64 {
    const PASSES: usize = 40;
    let body: Vec<Instruction> = body.iter().map(|(name, operands)| Instruction::new(name, operands)).collect();
    let mut ready: HashMap<&str, u64> = HashMap::new();
    let (mut now, mut half_way) = (0, 0);
    let mut all = (0..PASSES).flat_map(|pass| body.iter().map(move |instruction| (pass, instruction))).peekable();
    while let Some((pass, first)) = all.next() {
        let when = |i: &Instruction| i.reads.iter().filter_map(|r| ready.get(r.as_str())).copied().max().unwrap_or(0);
        now = when(first).max(now);
        let second = all.next_if(|(_, next)| first.pairs_with(next, core) && when(next) <= now);
        for instruction in [Some(first), second.map(|(_, next)| next)].into_iter().flatten() {
            ready.extend(instruction.writes.iter().map(|r| (r.as_str(), now + instruction.latency())));
        }
        now += first.busy();
        if pass < PASSES / 2 {
            half_way = now;
        }
    }
    (now - half_way) as f64 / (PASSES / 2) as f64
}

#[cfg(test)]
mod tests {
    use super::Core::{CortexA53, CortexA55};
    use super::{Core, cycles};

    fn of(core: Core, lines: &[&str]) -> f64 {
        let split = |line: &&str| {
            let (name, operands) = line.split_once(' ').unwrap();
            (name.to_owned(), operands.to_owned())
        };
        cycles(core, &lines.iter().map(split).collect::<Vec<_>>())
    }

    #[test]
    fn instructions_are_issued_together_as_on_the_cores() {
        // The first number was measured on a Cortex-A53 by the sources above, the second stands in ncnn's guide for the
        // A55.
        let cases: [(&[&str], [f64; 2]); 10] = [
            (&["smull v1.8h, v2.8b, v3.8b", "ldr x0, [x1]"], [1.0, 1.0]),
            (&["ldr x0, [x1]", "smull v1.8h, v2.8b, v3.8b", "smull v4.8h, v2.8b, v3.8b"], [2.0, 2.0]),
            (&["smull v1.8h, v2.8b, v3.8b", "ldr d5, [x1]"], [2.0, 1.0]),
            (
                &["smull v1.8h, v2.8b, v3.8b", "mov v5.d[1], x2", "smull v4.8h, v2.8b, v3.8b", "mov v6.d[1], x2"],
                [4.0, 2.0],
            ),
            (&["ldr d5, [x1]", "mov v6.d[1], x2", "ldr d5, [x1]", "mov v7.d[1], x2"], [2.0, 2.0]),
            (&["mov v5.d[1], x2", "mov v6.d[1], x2", "mov v7.d[1], x2", "mov v8.d[1], x2"], [2.0, 2.0]),
            (&["ldr d5, [x1]", "mov v5.d[1], x2"], [4.0, 4.0]),
            (&["smull v1.8h, v2.8b, v3.8b", "ldr q5, [x1]"], [3.0, 3.0]),
            (&["ldp q5, q6, [x1], #32"], [4.0, 4.0]),
            (&["ld1 {v4.16b-v6.16b}, [x1], #48"], [6.0, 6.0]),
        ];
        for (lines, expected) in cases {
            assert_eq!([of(CortexA53, lines), of(CortexA55, lines)], expected, "{lines:?}");
        }
    }

    #[test]
    fn an_instruction_waits_for_the_results_that_it_reads() {
        assert_eq!(of(CortexA53, &["sadalp v0.4s, v1.8h"]), 4.0);
        assert_eq!(of(CortexA53, &["ldr x2, [x1]", "mov v0.d[1], x2", "sadalp v3.4s, v0.8h"]), 5.0);
    }
}
