//! The processor's cores: their names, and how many int8 multiply-accumulates each can do in a cycle.

use crate::files::Files;

/// The cores of a machine.
#[derive(Clone, Debug, Default)]
pub struct Cores {
    /// Name of the whole processor, which x86 states.
    model: Option<String>,
    /// Kind of each core by its number, which ARM states.
    cores: Vec<Core>,
}

#[derive(Clone, Debug, PartialEq)]
struct Core {
    number: usize,
    /// Name by its maker, or the ID of a core that is not in [`KINDS`].
    name: String,
    macs_per_cycle: Option<u32>,
}

/// For each kind of core its implementer and part numbers in MIDR_EL1, its name, and the int8 multiply-accumulates that
/// its vector units can retire in a cycle. A core without dot products does 8 of them, by SMLAL; a core with dot
/// products does 16 in each unit that has SDOT. `None` stands for cores whose maker has not published enough to tell.
const KINDS: [(&str, &str, &str, Option<u32>); 21] = [
    ("0x41", "0xd03", "Cortex-A53", Some(8)),
    ("0x41", "0xd04", "Cortex-A35", None),
    ("0x41", "0xd05", "Cortex-A55", Some(16)),
    ("0x41", "0xd07", "Cortex-A57", Some(8)),
    ("0x41", "0xd08", "Cortex-A72", Some(8)),
    ("0x41", "0xd09", "Cortex-A73", None),
    ("0x41", "0xd0a", "Cortex-A75", None),
    ("0x41", "0xd0b", "Cortex-A76", Some(32)),
    ("0x41", "0xd0c", "Neoverse-N1", Some(32)),
    ("0x41", "0xd0d", "Cortex-A77", Some(32)),
    ("0x41", "0xd40", "Neoverse-V1", None),
    ("0x41", "0xd41", "Cortex-A78", Some(32)),
    ("0x41", "0xd42", "Cortex-A78AE", Some(32)),
    ("0x41", "0xd49", "Neoverse-N2", None),
    ("0x41", "0xd4b", "Cortex-A78C", Some(32)),
    ("0x4e", "0x003", "Denver 2", None),
    ("0x4e", "0x004", "Carmel", None),
    // Qualcomm sells Arm's cores under names of its own: A53, A55 without dot products, A76 and A55.
    ("0x51", "0x801", "Kryo-2xx-Silver", Some(8)),
    ("0x51", "0x803", "Kryo-3xx-Silver", None),
    ("0x51", "0x804", "Kryo-4xx-Gold", Some(32)),
    ("0x51", "0x805", "Kryo-4xx-Silver", Some(16)),
];

impl Cores {
    /// Reads `/proc/cpuinfo` of a machine of this architecture.
    pub fn read(files: &Files, architecture: &str) -> Self {
        let cpuinfo = files.text("proc/cpuinfo").unwrap_or_default();
        let is_arm = matches!(architecture, "aarch64" | "arm");
        // A user-mode emulator of ARM shows the `/proc/cpuinfo` of the machine that it runs on.
        let model = value(&cpuinfo, "model name").filter(|_| !is_arm).map(str::to_owned);
        Self { model, cores: arm(&cpuinfo) }
    }

    /// Returns the processor's name, such as `4 × Cortex-A55, 4 × Cortex-A76` if its cores are of several kinds.
    pub fn name(&self) -> Option<String> {
        let mut kinds: Vec<(&str, usize)> = Vec::new();
        for core in &self.cores {
            match kinds.iter_mut().find(|(kind, _)| *kind == core.name) {
                Some((_, count)) => *count += 1,
                None => kinds.push((&core.name, 1)),
            }
        }
        let kinds: Vec<String> = kinds.into_iter().map(|(name, count)| format!("{count} × {name}")).collect();
        self.model.clone().or_else(|| (!kinds.is_empty()).then(|| kinds.join(", ")))
    }

    /// Returns the int8 multiply-accumulates that one of the cores `cpus` can do in a cycle, or one of all cores if
    /// `cpus` is empty.
    ///
    /// # Errors
    /// Returns the reason if the rate is not known: a core without a name or without a figure, or cores of several
    /// kinds.
    pub fn macs_per_cycle(&self, numbers: &[usize]) -> Result<u32, String> {
        let mut used = self.cores.iter().filter(|core| numbers.is_empty() || numbers.contains(&core.number));
        let first = used.next().ok_or("the kind of core is not known")?;
        if let Some(other) = used.find(|core| core.name != first.name) {
            return Err(format!("the cores are of several kinds ({}, {}): pin the threads", first.name, other.name));
        }
        first.macs_per_cycle.ok_or_else(|| format!("the int8 rate of a {} core is not known", first.name))
    }
}

fn arm(cpuinfo: &str) -> Vec<Core> {
    let core = |block: &str| {
        let implementer = value(block, "CPU implementer")?;
        let part = value(block, "CPU part")?;
        let kind = KINDS.iter().find(|(i, p, ..)| (*i, *p) == (implementer, part));
        Some(Core {
            number: value(block, "processor")?.parse().ok()?,
            name: kind.map_or_else(|| format!("{implementer}:{part}"), |(_, _, name, _)| (*name).to_owned()),
            macs_per_cycle: kind.and_then(|(.., macs)| *macs),
        })
    };
    cpuinfo.split("\n\n").filter_map(core).collect()
}

/// Returns the value of the first line `KEY : VALUE`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(parts: &[&str]) -> Cores {
        let core = |(number, part): (usize, &&str)| {
            format!("processor\t: {number}\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n")
        };
        let cpuinfo: String = parts.iter().enumerate().map(core).collect();
        Cores { model: None, cores: arm(&cpuinfo) }
    }

    #[test]
    fn arm_cores_are_counted_by_kind() {
        assert_eq!(cores(&["0xd08"; 4]).name().as_deref(), Some("4 × Cortex-A72"));
        let both = cores(&["0xd05", "0xd05", "0xd0b", "0xfff"]);
        assert_eq!(both.name().as_deref(), Some("2 × Cortex-A55, 1 × Cortex-A76, 1 × 0x41:0xfff"));
    }

    #[test]
    fn the_rate_is_that_of_the_cores_in_use() {
        assert_eq!(cores(&["0xd08"; 4]).macs_per_cycle(&[]), Ok(8));
        let both = cores(&["0xd05", "0xd0b", "0xd0b", "0xfff", "0xd09"]);
        assert_eq!(both.macs_per_cycle(&[1, 2]), Ok(32));
        for (numbers, told) in [
            (&[][..], "several kinds (Cortex-A55, Cortex-A76)"),
            (&[0, 1], "several kinds"),
            (&[3], "0x41:0xfff core is not known"),
            (&[4], "Cortex-A73 core is not known"),
            (&[9], "kind of core"),
        ] {
            let found = both.macs_per_cycle(numbers).unwrap_err();
            assert!(found.contains(told), "{numbers:?}: {found}");
        }
        assert!(Cores::default().macs_per_cycle(&[]).is_err());
    }

    #[test]
    fn x86_has_a_name_and_an_emulator_shows_none_of_arm() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("proc")).unwrap();
        let x86 = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\n\nprocessor\t: 1\nmodel name\t: Some CPU\n";
        std::fs::write(folder.path().join("proc/cpuinfo"), x86).unwrap();
        let files = Files::below(folder.path());
        assert_eq!(Cores::read(&files, "x86_64").name().as_deref(), Some("Some CPU @ 2.00GHz"));
        assert_eq!(Cores::read(&files, "aarch64").name(), None);
    }
}
