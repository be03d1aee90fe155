//! Tests `bench` as on boards that are not here: the program reads committed copies of their files.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{scope, sleep};
use std::time::Duration;

use serde_json::Value;

use crate::place::{DIMS, Place, text};
use crate::unpack::unpack;

/// Returns a place with a model, and the folder with the files of the board `name`.
pub fn place(name: &str) -> (Place, PathBuf) {
    let place = Place::new(&DIMS);
    let board = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/boards/{name}.txt"));
    let root = place.path("root");
    unpack(&std::fs::read_to_string(board).unwrap(), &root);
    (place, root)
}

fn bench(place: &Place, root: &Path, options: &str) -> Command {
    let mut command = place.program(&format!("bench m.rmlp --runs 40 --warmup 3 --threads 1 {options}"));
    command.env("RESMLP_DEVICE_ROOT", root);
    command
}

fn report(name: &str) -> Value {
    let (place, root) = place(name);
    let output = bench(&place, &root, "--json").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns the warnings without those that depend on how busy the machine is that runs the test.
fn warnings(report: &Value) -> Vec<String> {
    let warnings = report["warnings"].as_array().unwrap().iter().map(|warning| warning.as_str().unwrap().to_owned());
    warnings.filter(|warning| !warning.contains("drifted") && !warning.contains("cycle counter")).collect()
}

#[test]
fn a_quiet_raspberry_pi_4_is_trusted() {
    let found = report("raspberry-pi-4");
    assert_eq!(warnings(&found), Vec::<String>::new());
    assert_eq!(found["machine"]["board"], "Raspberry Pi 4 Model B Rev 1.4");
    assert_eq!(found["peak_memory_bytes"], 5_120 << 10);
    let (peak, rate) = (&found["peak"], found["gmac_per_s"].as_f64().unwrap());
    assert_eq!(peak["macs_per_cycle_and_core"], 8);
    assert!((peak["share"].as_f64().unwrap() * peak["gmac_per_s"].as_f64().unwrap() / rate - 1.0).abs() < 1e-9);
    assert_eq!(found["times_ms"].as_array().unwrap().len(), 40);
    assert_eq!(found["energy"], Value::Null);
    let timeline = found["timeline"].as_array().unwrap();
    for phase in ["warm-up", "measured", "layers"] {
        let sample = timeline.iter().find(|sample| sample["phase"] == phase).unwrap();
        assert_eq!((&sample["mhz"][0], &sample["temperature_c"]), (&1500.0.into(), &48.199.into()));
    }
}

#[test]
fn a_throttled_one_is_not_and_says_why() {
    let (place, root) = place("raspberry-pi-4-throttled");
    let output = bench(&place, &root, "").output().unwrap();
    assert!(output.status.success());
    let (told, warned) = (text(&output.stdout), text(&output.stderr));
    for doubt in ["the supply's voltage is too low", "the clock is throttled", "is ondemand, not performance"] {
        assert!(warned.contains(doubt), "{doubt}: {warned}");
    }
    for line in told.lines().filter(|line| line.starts_with("latency") || line.starts_with("rate")) {
        assert!(line.ends_with("(not to be trusted)"), "{line}");
    }
    assert_eq!(report("raspberry-pi-4-throttled")["trusted"], false);
}

#[test]
fn power_is_read_where_there_is_a_sensor() {
    for (name, sensor, watts) in [("raspberry-pi-5", "PMIC", 3.177_19), ("jetson-orin-nano", "INA3221: VDD_IN", 6.0)] {
        let found = report(name);
        assert_eq!(warnings(&found), Vec::<String>::new(), "{name}");
        let energy = &found["energy"];
        assert!(energy["sensor"].as_str().unwrap().starts_with(sensor), "{energy}");
        for power in ["idle_w", "load_w"] {
            assert!((energy[power].as_f64().unwrap() - watts).abs() < 1e-6, "{energy}");
        }
        // Ten readings are a third of what three seconds allow. On a fast machine all fall into the runs as well.
        assert!(energy["looks"].as_u64().unwrap() >= 10, "{energy}");
        let per_watt = energy["millijoules_per_run"].as_f64().unwrap() / watts;
        let least = found["latency_ms"]["min"].as_f64().unwrap();
        assert!(per_watt > 0.2 * least && per_watt < 100.0 * least, "{per_watt} ms, {least} ms");
    }
}

#[test]
fn a_clock_that_changes_is_noticed() {
    /// Time for which the model runs, and time between two changes of the clock.
    const RUNS_MS: f64 = 2000.0;
    const CHANGE: Duration = Duration::from_millis(200);
    // The fastest run of another measurement tells how many runs take so long on this machine.
    let (place, root) = place("raspberry-pi-4");
    let output = bench(&place, &root, "--json --kernels scalar").output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let runs = (RUNS_MS / found["latency_ms"]["min"].as_f64().unwrap()).clamp(1.0, 1e6);
    let options = format!("--json --runs {runs:.0} --kernels scalar");
    let mut child = bench(&place, &root, &options).stdout(Stdio::piped()).spawn().unwrap();
    let output = scope(|scope| {
        let stdout = child.stdout.take().unwrap();
        let reader = scope.spawn(|| std::io::read_to_string(stdout).unwrap());
        for kilohertz in [900_000, 1_500_000].iter().cycle() {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            // The program finds one of the two clocks, never an empty file.
            std::fs::write(root.join("clock"), format!("{kilohertz}\n")).unwrap();
            std::fs::rename(root.join("clock"), root.join("sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq"))
                .unwrap();
            sleep(CHANGE);
        }
        reader.join().unwrap()
    });
    let found: Value = serde_json::from_str(&output).unwrap();
    assert!(
        warnings(&found).iter().any(|w| w.contains("changed between 900 and 1500 MHz")),
        "{:?} {:?}",
        found["warnings"],
        found["timeline"]
    );
}

#[test]
fn threads_are_pinned_where_asked() {
    let (place, root) = place("raspberry-pi-4");
    let output = bench(&place, &root, "--json --pin auto").output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["pinned_to"].as_array().unwrap().len(), 1);
    // Two pinned threads are no more than the cores, which are counted before the threads are pinned.
    if std::thread::available_parallelism().unwrap().get() >= 2 {
        let mut two = place.program("bench m.rmlp --runs 40 --warmup 3 --threads 2 --json --pin auto");
        let found: Value =
            serde_json::from_slice(&two.env("RESMLP_DEVICE_ROOT", &root).output().unwrap().stdout).unwrap();
        assert_eq!(warnings(&found), Vec::<String>::new());
        assert!(found["machine"]["cores"].as_u64().unwrap() >= 2);
    }
    let stderr = place.fails("bench m.rmlp --pin 1023", 2);
    assert!(stderr.contains("--pin: this process may not use CPU 1023"), "{stderr}");
    let stderr = place.fails("bench m.rmlp --pin 0 --threads 2", 2);
    assert!(stderr.contains("--pin: 2 threads, but 1 cores"), "{stderr}");
}
