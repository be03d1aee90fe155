//! Reads the processor's performance counters, if the kernel lets a program do so.

use perf_event::events::Hardware;
use perf_event::{Builder, Counter, Group};

/// Counts cycles and instructions of the calling thread outside the kernel. New counters are stopped.
pub struct Counters {
    group: Group,
    cycles: Counter,
    instructions: Counter,
}

/// Numbers of cycles and instructions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counted {
    pub cycles: u64,
    pub instructions: u64,
}

impl Counters {
    /// Creates counters that are stopped.
    ///
    /// # Errors
    /// Returns the system's error if there are no counters, as in a virtual machine, or if the kernel does not
    /// allow their use (`/proc/sys/kernel/perf_event_paranoid` above 2).
    pub fn new() -> std::io::Result<Self> {
        let mut group = Group::new()?;
        let cycles = Builder::new().group(&mut group).kind(Hardware::CPU_CYCLES).build()?;
        let instructions = Builder::new().group(&mut group).kind(Hardware::INSTRUCTIONS).build()?;
        Ok(Self { group, cycles, instructions })
    }

    /// Starts counting, from where it stopped. A counter that fails to start shows in [`Counters::read`].
    pub fn start(&mut self) {
        let _ = self.group.enable();
    }

    /// Stops counting until the next start.
    pub fn stop(&mut self) {
        let _ = self.group.disable();
    }

    /// Returns the sum of all that was counted, or `None` if the counters did not count.
    pub fn read(&mut self) -> Option<Counted> {
        let counts = self.group.read().ok()?;
        let counted = Counted { cycles: counts[&self.cycles], instructions: counts[&self.instructions] };
        (counted.cycles > 0 && counted.instructions > 0).then_some(counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs performance counters: allow them with kernel.perf_event_paranoid, on a machine that has them"]
    fn more_work_is_more_instructions() {
        let Ok(mut counters) = Counters::new() else {
            println!("skipped: more_work_is_more_instructions (needs performance counters)");
            return;
        };
        let mut count = |rounds: u64| {
            let before = counters.read().map_or(0, |counted| counted.instructions);
            counters.start();
            (0..rounds).for_each(|round| {
                std::hint::black_box(round);
            });
            counters.stop();
            counters.read().unwrap().instructions - before
        };
        let (few, many) = (count(1_000), count(1_000_000));
        assert!(few > 1_000 && many > 100 * few, "{few} {many}");
    }
}
