//! Judges whether a latency can be trusted, and says why not.

use resmlp_report::{Machine, Sample, State};

use crate::machine::is_clock_of;

/// A load above this means that other programs disturbed the measurement.
const BUSY: f64 = 0.5;

/// A larger relative change of a clock is more than the inaccuracy of the reading.
const CLOCK_CHANGE: f64 = 0.01;

/// A larger relative difference between the first and the last runs is more than noise.
const DRIFT: f64 = 0.05;

/// Meanings of the low four bits of `get_throttled`. Bits 16 to 19 say that the same has happened at any time since the
/// board was started.
const THROTTLED: [&str; 4] = [
    "the supply's voltage is too low",
    "the clock is capped",
    "the clock is throttled",
    "the temperature limit is reached",
];

/// The facts by which a measurement is judged.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    pub machine: &'a Machine,
    pub threads: usize,
    /// The cores that the threads are pinned to; empty if they are not pinned.
    pub cpus: &'a [usize],
    pub before: &'a State,
    pub after: &'a State,
    /// Samples of the clocks during the measured runs.
    pub samples: &'a [Sample],
    /// Median of the first and of the last quarter of the measured runs, in milliseconds.
    pub drift_ms: [f64; 2],
    /// Clock in MHz by the cycle counter. It is known if the calling thread never waited for others.
    pub counted_mhz: Option<f64>,
}

/// Returns a sentence for each fact that speaks against the figures.
pub fn warnings(evidence: &Evidence) -> Vec<String> {
    let Evidence { machine, threads, before, after, .. } = *evidence;
    let mut warnings = Vec::new();
    if machine.cpu.is_none() {
        warnings.push("the machine does not tell which processor it has: it may be an emulator".to_owned());
    }
    if threads > machine.cores {
        warnings.push(format!("{threads} threads share {} cores", machine.cores));
    }
    if let Some(load) = before.load.filter(|&load| load > BUSY) {
        warnings.push(format!("other programs were running before the measurement: the load was {load}"));
    }
    warnings.extend(governor_warnings(before, evidence.cpus));
    warnings.extend(clock_warnings(evidence));
    warnings.extend(supply_warnings(before, after));
    warnings.extend(throttle_warnings(before.throttled, after.throttled));
    let [first, last] = evidence.drift_ms;
    if (last - first).abs() > DRIFT * first {
        let hint = "use a larger --warmup, or find out which other programs run";
        warnings.push(format!("the latency drifted from {first:.3} to {last:.3} ms while measuring: {hint}"));
    }
    warnings
}

/// Returns the warnings about governors and limits of the clocks of the cores in use.
fn governor_warnings(state: &State, cpus: &[usize]) -> Vec<String> {
    let mut warnings = Vec::new();
    if state.clocks.is_empty() {
        warnings.push("the kernel does not tell the clock and its governor".to_owned());
    }
    for clock in state.clocks.iter().filter(|clock| is_clock_of(clock, cpus)) {
        let cpus = clock.cpus.as_deref().unwrap_or("?");
        let governor = clock.governor.as_deref().unwrap_or("not known");
        if governor != "performance" && !clock.is_fixed() {
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

/// Returns the warnings about clocks that changed during the measured runs. The cycle counter shows what the kernel's
/// figures may hide.
fn clock_warnings(evidence: &Evidence) -> Vec<String> {
    let mut warnings = Vec::new();
    let groups = evidence.samples.iter().map(|sample| sample.mhz.len()).max().unwrap_or(0);
    for group in 0..groups {
        let seen = || evidence.samples.iter().filter_map(|sample| sample.mhz.get(group)).copied();
        let (least, most) = (seen().fold(f64::INFINITY, f64::min), seen().fold(0.0, f64::max));
        if most - least > CLOCK_CHANGE * most {
            warnings.push(format!("the clock changed between {least:.0} and {most:.0} MHz while measuring"));
        }
    }
    let told: Vec<f64> = evidence.samples.iter().flat_map(|sample| sample.mhz.first()).copied().collect();
    let told = told.iter().sum::<f64>() / told.len() as f64;
    if let Some(counted) = evidence.counted_mhz
        && counted < (1.0 - DRIFT) * told
    {
        warnings.push(format!("the clock is {counted:.0} MHz by the cycle counter and {told:.0} MHz by the kernel: it is capped, or the runs were interrupted"));
    }
    warnings
}

fn supply_warnings(before: &State, after: &State) -> Vec<String> {
    let mut warnings = Vec::new();
    let firmware_tells = before.throttled.or(after.throttled).is_some();
    if !firmware_tells && [before, after].iter().any(|state| state.under_voltage == Some(true)) {
        warnings.push(format!("since the board was started, and perhaps while measuring: {}", THROTTLED[0]));
    }
    if let (Some(then), Some(now)) = (before.over_current_events, after.over_current_events)
        && now > then
    {
        warnings.push(format!(
            "while measuring: the board throttled itself {} times for drawing too much current",
            now - then
        ));
    }
    warnings
}

/// Returns the warnings about throttling. The firmware says what is the case now and what has been the case since the
/// start. What had been the case before the measurement may have happened again during it, unseen.
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
    use resmlp_report::Clock;
    use resmlp_runtime::measure::Phase;

    use super::*;
    use crate::files::tests::board;
    use crate::machine::{self, Cores};

    /// The facts of a board's committed files, with equal states before and after the runs.
    struct Case {
        machine: Machine,
        before: State,
        after: State,
        samples: Vec<Sample>,
        drift_ms: [f64; 2],
        counted_mhz: Option<f64>,
        threads: usize,
        cpus: Vec<usize>,
    }

    impl Case {
        fn of(name: &str) -> Self {
            let (_folder, files) = board(name);
            let machine = Machine { cores: 4, ..machine::describe(&files, &Cores::read(&files, "aarch64")) };
            let state = machine::state_now(&files);
            let mhz = state.clocks.iter().filter_map(|clock| clock.mhz).collect();
            let sample = Sample { seconds: 0.0, phase: Phase::Measured, mhz, temperature_c: None };
            let (before, after, samples) = (state.clone(), state, vec![sample; 2]);
            Self {
                machine,
                before,
                after,
                samples,
                drift_ms: [10.0, 10.1],
                counted_mhz: None,
                threads: 4,
                cpus: vec![],
            }
        }

        fn with(change: impl FnOnce(&mut Self)) -> Self {
            let mut case = Self::of("raspberry-pi-4");
            change(&mut case);
            case
        }

        fn warnings(&self) -> Vec<String> {
            let Self { machine, before, after, samples, drift_ms, counted_mhz, threads, cpus } = self;
            let (drift_ms, counted_mhz, threads) = (*drift_ms, *counted_mhz, *threads);
            warnings(&Evidence { machine, threads, cpus, before, after, samples, drift_ms, counted_mhz })
        }
    }

    #[test]
    fn quiet_boards_are_trusted() {
        for name in ["raspberry-pi-4", "raspberry-pi-5", "jetson-orin-nano"] {
            assert_eq!(Case::of(name).warnings(), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn only_the_clocks_of_cores_in_use_count() {
        let other = Clock { cpus: Some("4 5".to_owned()), governor: Some("ondemand".to_owned()), ..Clock::default() };
        let mut case = Case::with(|c| c.before.clocks.push(other));
        assert!(case.warnings().iter().any(|warning| warning.contains("CPU 4 5 is ondemand")));
        case.cpus = vec![0, 1];
        assert_eq!(case.warnings(), Vec::<String>::new());
        case.cpus = vec![3, 4];
        assert_eq!(case.warnings().len(), 1);
    }

    #[test]
    fn a_throttled_board_is_not() {
        let found = Case::of("raspberry-pi-4-throttled").warnings();
        for told in ["ondemand", "while measuring: the supply's voltage", "while measuring: the clock is throttled"] {
            assert!(found.iter().any(|warning| warning.contains(told)), "{told}: {found:?}");
        }
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn every_doubt_has_a_warning() {
        for (case, told) in [
            (Case::with(|c| c.machine.cpu = None), "emulator"),
            (Case::with(|c| c.threads = 5), "5 threads share 4 cores"),
            (Case::with(|c| c.before.load = Some(2.5)), "load was 2.5"),
            (Case::with(|c| c.before.clocks.clear()), "does not tell the clock"),
            (Case::with(|c| c.before.clocks[0].governor = Some("ondemand".into())), "CPU 0 1 2 3 is ondemand"),
            (Case::with(|c| c.before.clocks[0].limit_mhz = Some(600.0)), "limited to 600 of 1500 MHz"),
            (Case::with(|c| c.samples[1].mhz = vec![1000.0]), "between 1000 and 1500 MHz"),
            (Case::with(|c| c.counted_mhz = Some(1200.0)), "1200 MHz by the cycle counter and 1500 MHz by the kernel"),
            (Case::with(|c| c.drift_ms = [10.0, 11.0]), "drifted from 10.000 to 11.000"),
            (Case::with(|c| c.after.over_current_events = Some(3)), ""),
        ] {
            let found = case.warnings();
            let expected = usize::from(!told.is_empty());
            assert!(found.len() == expected && found.iter().all(|w| w.contains(told)), "{told}: {found:?}");
        }
    }

    #[test]
    fn over_current_and_under_voltage_are_reported() {
        let mut jetson = Case::of("jetson-orin-nano");
        jetson.after.over_current_events = Some(5);
        assert_eq!(
            jetson.warnings(),
            ["while measuring: the board throttled itself 3 times for drawing too much current"]
        );
        let alarmed = Case::with(|c| {
            (c.before.throttled, c.after.throttled) = (None, None);
            c.after.under_voltage = Some(true);
        });
        assert!(alarmed.warnings().len() == 1 && alarmed.warnings()[0].contains("voltage is too low"));
    }

    #[test]
    fn throttling_is_reported_with_the_time_when_it_happened() {
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
