//! The report as one page for a browser, without scripts and without anything loaded from elsewhere.

mod escape;
mod histogram;
mod layers;
mod scale;
mod timeline;

use crate::{Report, text};
use escape::escape;

/// The page with `{{slots}}` for what differs between reports.
const PAGE: &str = include_str!("html/page.html");

/// Returns the page of a report. Its element `#report` holds the report's JSON for programs.
///
/// # Errors
/// Returns serde's error if the report cannot be written as JSON.
pub fn page(report: &Report) -> Result<String, serde_json::Error> {
    let json = serde_json::to_string(report)?;
    let slots = [
        ("title", escape(&format!("{} – ResMLP latency", report.model))),
        ("model", escape(&report.model)),
        ("subtitle", escape(&subtitle(report))),
        ("verdict", verdict(report)),
        ("tiles", tiles(report)),
        ("histogram_caption", escape(&histogram::caption(report))),
        ("histogram", histogram::svg(report)),
        ("layers", layers::svg(&report.layers)),
        ("timeline", timeline::svg(&report.timeline)),
        ("table", table(report)),
        // Without `<`, no name in the JSON can end the element.
        ("json", json.replace('<', "\\u003c")),
    ];
    Ok(fill(PAGE, &slots))
}

/// Replaces each slot of `page` by its text, in one pass: a slot within a text is not replaced.
fn fill(page: &str, slots: &[(&str, String)]) -> String {
    let mut parts = page.split("{{");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap_or((part, ""));
        filled.extend(slots.iter().filter(|(slot, _)| *slot == name).map(|(_, text)| text.as_str()));
        filled += rest;
    }
    filled
}

fn subtitle(report: &Report) -> String {
    let machine = &report.machine;
    let names = [machine.board.as_deref(), machine.cpu.as_deref()].into_iter().flatten();
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.push(format!("{} kernels", report.kernels));
    names.push(format!("{} {}", report.threads, if report.threads == 1 { "thread" } else { "threads" }));
    names.join(" · ")
}

fn verdict(report: &Report) -> String {
    if report.trusted {
        return "<div class=\"verdict\">Nothing speaks against these figures.</div>".to_owned();
    }
    let items: String = report.warnings.iter().map(|warning| format!("<li>{}</li>", escape(warning))).collect();
    format!("<div class=\"verdict doubt\"><b>⚠ These figures are not to be trusted</b><ul>{items}</ul></div>")
}

fn tiles(report: &Report) -> String {
    let latency = &report.latency_ms;
    let mut tiles = vec![
        (format!("{:.3} ms", latency.median), "median".to_owned()),
        (format!("{:.3} ms", latency.p99), format!("99 % of {} runs", report.runs)),
        (format!("{:.2}", report.gmac_per_s), "GMAC/s".to_owned()),
    ];
    if let Some(peak) = &report.peak {
        tiles.push((format!("{:.1} %", 100.0 * peak.share), format!("of {:.1} GMAC/s int8 peak", peak.gmac_per_s)));
    }
    if let Some(energy) = &report.energy {
        tiles.push((format!("{:.2} mJ", energy.millijoules_per_run), format!("per run, at {:.2} W", energy.load_w)));
    }
    if let Some(bytes) = report.peak_memory_bytes {
        tiles.push((format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)), "all memory".to_owned()));
    }
    let tile = |(value, name): (String, String)| format!("<div class=\"tile\"><b>{value}</b><span>{name}</span></div>");
    tiles.into_iter().map(tile).collect::<Vec<_>>().join("\n")
}

fn table(report: &Report) -> String {
    let doubt = if report.trusted { "" } else { " (not to be trusted)" };
    let rows = text::board_rows(report).into_iter().chain(text::figure_rows(report, doubt));
    let missing = report.not_known.iter().map(|missing| ("not known", missing.clone()));
    let row = |(name, value): (&str, String)| format!("<tr><th>{name}</th><td>{}</td></tr>", escape(&value));
    rows.chain(missing).map(row).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_filled_once_and_none_is_left() {
        let slots = [("a", "{{b}}".to_owned()), ("b", "2".to_owned())];
        assert_eq!(fill("<{{a}}|{{b}}|{{c}}>", &slots), "<{{b}}|2|>");
    }
}
