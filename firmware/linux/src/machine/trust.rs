//! Whether a latency can be trusted, and if not, why.

use super::{Machine, State};

/// Load from which on other programs are in the way.
const BUSY: f64 = 0.5;

/// What the low four bits of `get_throttled` mean. The same bits 16 higher: so it has been since the board was started.
const THROTTLED: [&str; 4] = [
    "the supply's voltage is too low",
    "the clock is capped",
    "the clock is throttled",
    "the temperature limit is reached",
];

/// Everything that speaks against figures taken between two states; empty where nothing does.
pub fn warnings(machine: &Machine, threads: usize, before: &State, after: &State) -> Vec<String> {
    let mut warnings = Vec::new();
    if machine.cpu.is_none() {
        warnings.push("the processor has no name: this may be an emulator".to_owned());
    }
    if threads > machine.cores {
        warnings.push(format!("{threads} threads share {} cores", machine.cores));
    }
    if let Some(load) = before.load.filter(|&load| load > BUSY) {
        warnings.push(format!("other programs were running: the load was {load}"));
    }
    warnings.extend(clock_warnings(before));
    warnings.extend(throttle_warnings(before.throttled, after.throttled));
    warnings
}

fn clock_warnings(state: &State) -> Vec<String> {
    let mut warnings = Vec::new();
    if state.clocks.is_empty() {
        warnings.push("the clock and its governor are not known".to_owned());
    }
    for clock in &state.clocks {
        let cpus = clock.cpus.as_deref().unwrap_or("?");
        let governor = clock.governor.as_deref().unwrap_or("not known");
        if governor != "performance" {
            warnings.push(format!("the governor of CPU {cpus} is {governor}, not performance: the clock changes"));
        }
        if let (Some(limit), Some(max)) = (clock.limit_mhz, clock.max_mhz)
            && limit < max
        {
            warnings.push(format!("the clock of CPU {cpus} is limited to {limit} of {max} MHz"));
        }
    }
    warnings
}

/// The firmware tells what is the case and what has been; a thing that had been before may have been again, unseen.
fn throttle_warnings(before: Option<u32>, after: Option<u32>) -> Vec<String> {
    let (Some(before), Some(after)) = (before, after) else { return vec![] };
    let mut warnings = Vec::new();
    for (bit, what) in THROTTLED.iter().enumerate() {
        let (now, once) = (1 << bit, 1 << (bit + 16));
        if (before | after) & now != 0 || (after & !before) & once != 0 {
            warnings.push(format!("while measuring: {what}"));
        } else if before & once != 0 {
            warnings.push(format!("since the board was started, and perhaps while measuring: {what}"));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::super::state::Clock;
    use super::*;

    fn machine() -> Machine {
        let cpu = Some("4 × Cortex-A72".into());
        Machine { architecture: "aarch64", board: None, cpu, cores: 4, memory_bytes: None }
    }

    fn quiet() -> State {
        let clock = Clock {
            cpus: Some("0 1 2 3".into()),
            governor: Some("performance".into()),
            mhz: Some(1500.0),
            limit_mhz: Some(1500.0),
            max_mhz: Some(1500.0),
        };
        State { clocks: vec![clock], temperature_c: Some(50.0), throttled: Some(0), load: Some(0.1) }
    }

    #[test]
    fn a_quiet_board_is_trusted() {
        assert_eq!(warnings(&machine(), 4, &quiet(), &quiet()), Vec::<String>::new());
        let not_a_raspberry_pi = State { throttled: None, ..quiet() };
        assert_eq!(warnings(&machine(), 4, &not_a_raspberry_pi, &not_a_raspberry_pi), Vec::<String>::new());
    }

    #[test]
    fn every_doubt_is_told() {
        let mut slow = quiet();
        slow.clocks[0].governor = Some("ondemand".into());
        let mut limited = quiet();
        limited.clocks[0].limit_mhz = Some(600.0);
        for (machine, threads, before, told) in [
            (Machine { cpu: None, ..machine() }, 4, quiet(), "emulator"),
            (machine(), 5, quiet(), "5 threads share 4 cores"),
            (machine(), 4, State { load: Some(2.5), ..quiet() }, "load was 2.5"),
            (machine(), 4, State { clocks: vec![], ..quiet() }, "not known"),
            (machine(), 4, slow, "CPU 0 1 2 3 is ondemand"),
            (machine(), 4, limited, "limited to 600 of 1500 MHz"),
        ] {
            let found = warnings(&machine, threads, &before, &quiet());
            assert!(found.len() == 1 && found[0].contains(told), "{told}: {found:?}");
        }
    }

    #[test]
    fn throttling_is_told_as_it_happened() {
        for (before, after, told) in [
            (0, 0x50005, vec!["while measuring: the supply's", "while measuring: the clock is throttled"]),
            (0x1, 0x10000, vec!["while measuring: the supply's"]),
            (0, 0x80000, vec!["while measuring: the temperature"]),
            (0x20000, 0x20000, vec!["since the board was started, and perhaps while measuring: the clock is capped"]),
            (0x20000, 0x20002, vec!["while measuring: the clock is capped"]),
        ] {
            let found = throttle_warnings(Some(before), Some(after));
            let matches = found.iter().zip(&told).all(|(found, told)| found.starts_with(told));
            assert!(found.len() == told.len() && matches, "{before:x} {after:x}: {found:?}");
        }
        assert!(throttle_warnings(Some(1), None).is_empty() && throttle_warnings(None, Some(1)).is_empty());
    }
}
