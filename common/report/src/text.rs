//! The report as text for people.

use std::fmt::Write;

use resmlp_command_line::Milliseconds;

use crate::{Report, State};

/// Returns a line with name and value for each figure, then a line for each layer.
pub fn text(report: &Report) -> String {
    let doubt = if report.trusted { "" } else { " (not to be trusted)" };
    let mut text = String::new();
    for (name, value) in board_rows(report).into_iter().chain(figure_rows(report, doubt)) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:12} {value}");
    }
    for missing in &report.not_known {
        let _ = writeln!(text, "{:12} {missing}", "not known");
    }
    let total: f64 = report.layers.iter().map(|layer| layer.ms).sum();
    for layer in &report.layers {
        let share = 100.0 * layer.ms / total.max(f64::MIN_POSITIVE);
        let _ = writeln!(text, "{:12} {:9.3} ms {share:5.1} % {:7.2} GMAC/s", layer.name, layer.ms, layer.gmac_per_s);
    }
    text
}

pub(crate) type Rows = Vec<(&'static str, String)>;

/// Returns names and values of the machine and its state.
pub(crate) fn board_rows(report: &Report) -> Rows {
    let unknown = || "not known".to_owned();
    let machine = &report.machine;
    let both = |tell: fn(&State) -> String| {
        let (before, after) = (tell(&report.before), tell(&report.after));
        if before == after { before } else { format!("{before} before, {after} after") }
    };
    let cpu = machine.cpu.clone().unwrap_or_else(unknown);
    let mut rows = vec![
        ("board", machine.board.clone().unwrap_or_else(unknown)),
        ("cpu", format!("{cpu}; {} {} available", machine.cores, if machine.cores == 1 { "core" } else { "cores" })),
        ("clock", both(clocks)),
        ("temperature", both(|state| known(state.temperature_c, |celsius| format!("{celsius:.1} °C")))),
    ];
    if report.after.throttled.is_some() {
        rows.push(("throttled", both(|state| known(state.throttled, |bits| format!("{bits:#x}")))));
    }
    if report.after.over_current_events.is_some() {
        rows.push((
            "over-current",
            both(|state| known(state.over_current_events, |events| format!("{events} events"))),
        ));
    }
    if let Some(mode) = &machine.power_mode {
        rows.push(("power mode", mode.clone()));
    }
    if let Some(cool_down) = &report.cool_down {
        let from = known(cool_down.from_c, |celsius| format!("{celsius:.1} °C"));
        rows.push(("cool-down", format!("{:.0} s, from {from}", cool_down.seconds)));
    }
    rows
}

/// Returns names and values of what was measured. `doubt` is appended to each value that depends on the clock.
pub(crate) fn figure_rows(report: &Report, doubt: &str) -> Rows {
    let Milliseconds { min, median, p90, p99, max } = report.latency_ms;
    let (warmup, cold, warm) = (report.warmup, report.warmup_ms.first, report.warmup_ms.median);
    let pinned = match report.pinned_to.as_slice() {
        [] => "not pinned".to_owned(),
        cpus => format!("pinned to CPU {}", cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    };
    let mut rows = vec![
        ("kernels", report.kernels.to_owned()),
        ("threads", format!("{}, {pinned}", report.threads)),
        ("warm-up", format!("{warmup} runs: the first {cold:.3} ms, median {warm:.3} ms")),
        ("runs", report.runs.to_string()),
        ("latency", format!("{median:.3} ms median, {min:.3} min, {p90:.3} p90, {p99:.3} p99, {max:.3} max{doubt}")),
        ("rate", format!("{:.2} GMAC/s{doubt}", report.gmac_per_s)),
    ];
    if let Some(peak) = &report.peak {
        let (share, all, mhz) = (100.0 * peak.share, peak.gmac_per_s, peak.mhz);
        let (macs, cores) = (peak.macs_per_cycle_and_core, peak.cores);
        let of = format!("{macs} per cycle × {mhz:.0} MHz × {cores} {}", if cores == 1 { "core" } else { "cores" });
        rows.push(("of the peak", format!("{share:.1} % of {all:.1} GMAC/s int8 = {of}{doubt}")));
    }
    if let Some(cycles) = &report.cycles {
        let (count, instructions) = (cycles.cycles_per_run, cycles.instructions_per_run);
        rows.push((
            "cycles",
            format!(
                "{count:.0} cycles and {instructions:.0} instructions per run on the first thread, {:.0} MHz",
                cycles.mhz
            ),
        ));
    }
    if let Some(energy) = &report.energy {
        let idle = known(energy.idle_w, |watts| format!("{watts:.2} W"));
        let (millijoules, load) = (energy.millijoules_per_run, energy.load_w);
        rows.push((
            "energy",
            format!("{millijoules:.2} mJ per run at {load:.2} W, idle {idle} ({}){doubt}", energy.sensor),
        ));
    }
    rows.push(("model", format!("{} bytes", report.model_bytes)));
    rows.push(("scratch", format!("{} bytes", report.scratch_bytes)));
    if let Some(bytes) = report.peak_memory_bytes {
        rows.push(("all memory", format!("{bytes} bytes")));
    }
    rows
}

fn clocks(state: &State) -> String {
    let clocks = state.clocks.iter().filter_map(|clock| {
        let governor = clock.governor.as_deref().unwrap_or("no governor");
        Some(format!("{:.0} MHz {governor}", clock.mhz?))
    });
    let clocks: Vec<String> = clocks.collect();
    if clocks.is_empty() { "not known".to_owned() } else { clocks.join(", ") }
}

fn known<T>(value: Option<T>, tell: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "not known".to_owned(), tell)
}
