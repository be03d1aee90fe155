//! The processor's name.

/// What `/proc/cpuinfo` of a machine of this architecture calls the processor, with its number of cores on ARM, where
/// they may be of several kinds; `None` where it names none.
pub fn name(cpuinfo: &str, architecture: &str) -> Option<String> {
    match architecture {
        "aarch64" | "arm" => arm(cpuinfo),
        _ => values(cpuinfo, "model name").next().map(str::to_owned),
    }
}

fn arm(cpuinfo: &str) -> Option<String> {
    let implementers = values(cpuinfo, "CPU implementer");
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for (implementer, part) in implementers.zip(values(cpuinfo, "CPU part")) {
        let name = core(implementer, part).map_or_else(|| format!("{implementer}:{part}"), str::to_owned);
        match kinds.iter_mut().find(|(kind, _)| *kind == name) {
            Some((_, count)) => *count += 1,
            None => kinds.push((name, 1)),
        }
    }
    let kinds: Vec<String> = kinds.into_iter().map(|(name, count)| format!("{count} × {name}")).collect();
    (!kinds.is_empty()).then(|| kinds.join(", "))
}

/// Values of the lines `KEY : VALUE`.
fn values<'a>(cpuinfo: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    pairs.filter(move |(name, _)| name.trim() == key).map(|(_, value)| value.trim())
}

/// The core with these numbers, as its maker calls it.
fn core(implementer: &str, part: &str) -> Option<&'static str> {
    let name = match (implementer, part) {
        ("0x41", "0xd03") => "Cortex-A53",
        ("0x41", "0xd04") => "Cortex-A35",
        ("0x41", "0xd05") => "Cortex-A55",
        ("0x41", "0xd07") => "Cortex-A57",
        ("0x41", "0xd08") => "Cortex-A72",
        ("0x41", "0xd09") => "Cortex-A73",
        ("0x41", "0xd0a") => "Cortex-A75",
        ("0x41", "0xd0b") => "Cortex-A76",
        ("0x41", "0xd0c") => "Neoverse-N1",
        ("0x41", "0xd40") => "Neoverse-V1",
        ("0x41", "0xd41") => "Cortex-A78",
        ("0x41", "0xd42") => "Cortex-A78AE",
        ("0x41", "0xd49") => "Neoverse-N2",
        ("0x4e", "0x003") => "Denver 2",
        ("0x4e", "0x004") => "Carmel",
        _ => return None,
    };
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::name;

    fn cores(parts: &[&str]) -> String {
        parts
            .iter()
            .map(|part| format!("BogoMIPS\t: 108.00\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n"))
            .collect()
    }

    #[test]
    fn arm_cores_are_counted_by_kind() {
        assert_eq!(name(&cores(&["0xd08"; 4]), "aarch64").as_deref(), Some("4 × Cortex-A72"));
        let both = cores(&["0xd05", "0xd05", "0xd0b", "0xfff"]);
        assert_eq!(name(&both, "aarch64").as_deref(), Some("2 × Cortex-A55, 1 × Cortex-A76, 1 × 0x41:0xfff"));
    }

    #[test]
    fn x86_has_a_name_and_an_emulator_shows_none_of_arm() {
        let x86 = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nmodel name\t: Some CPU @ 2.00GHz\n";
        assert_eq!(name(x86, "x86_64").as_deref(), Some("Some CPU @ 2.00GHz"));
        assert_eq!(name(x86, "aarch64"), None);
        assert_eq!(name("", "x86_64"), None);
    }
}
