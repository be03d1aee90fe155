//! Draws a histogram of the latencies.

use std::fmt::Write;

use super::scale::Scale;
use crate::Report;

const BINS: usize = 48;

/// Size of the drawing, and the places of its axes.
const SIZE: [f64; 2] = [720.0, 250.0];
const LEFT: f64 = 48.0;
const RIGHT: f64 = 704.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 212.0;

/// Returns the sentence above the drawing.
pub fn caption(report: &Report) -> String {
    let (runs, warmup) = (report.runs, report.warmup);
    let (cold, warm) = (report.warmup_ms.first, report.warmup_ms.median);
    format!("{runs} runs, after {warmup} to warm up (the first of them {cold:.3} ms, their median {warm:.3} ms).")
}

/// Draws bars, and lines at the median and the percentiles. The last bar, in grey, counts the runs beyond the right end
/// of the axis.
pub fn svg(report: &Report) -> String {
    let latency = &report.latency_ms;
    // Were the axis to end at the slowest run, one interrupted run would squeeze all others into one bar.
    let end = latency.max.min(latency.p99 + 0.5 * (latency.p99 - latency.min).max(0.01 * latency.p99));
    let x = Scale::new([latency.min, end], [LEFT, RIGHT]);
    let (bins, beyond) = bins(&report.times_ms, [latency.min, end]);
    let most = bins.iter().copied().max().unwrap_or(0).max(beyond).max(1);
    let y = Scale::new([0.0, most as f64], [BOTTOM, TOP]);

    let mut svg =
        format!("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Latency histogram\">", SIZE[0], SIZE[1]);
    // Writing to a string cannot fail.
    for (value, label) in y.ticks(4).into_iter().filter(|(value, _)| value.fract() == 0.0) {
        let at = y.place(value);
        let _ = write!(svg, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>");
        let _ = write!(svg, "<text class=\"end\" x=\"{}\" y=\"{:.1}\">{label}</text>", LEFT - 8.0, at + 4.0);
    }
    let width = (RIGHT - LEFT) / BINS as f64;
    for (index, &count) in bins.iter().enumerate().filter(|(_, count)| **count > 0) {
        let share = |index: usize| latency.min + (end - latency.min) * index as f64 / BINS as f64;
        let title = format!("{:.3} to {:.3} ms: {count} runs", share(index), share(index + 1));
        bar(&mut svg, "bar", LEFT + width * index as f64, width, y.place(count as f64), &title);
    }
    if beyond > 0 {
        bar(&mut svg, "rest", RIGHT, width, y.place(beyond as f64), &format!("longer than {end:.3} ms: {beyond} runs"));
    }
    for (value, label) in x.ticks(8) {
        let _ =
            write!(svg, "<text class=\"middle\" x=\"{:.1}\" y=\"{}\">{label}</text>", x.place(value), BOTTOM + 18.0);
    }
    let _ = write!(svg, "<text class=\"end\" x=\"{RIGHT}\" y=\"{}\">ms</text>", BOTTOM + 34.0);
    let _ = write!(svg, "<text x=\"{LEFT}\" y=\"{}\">runs</text>", BOTTOM + 34.0);
    for (level, (name, value)) in
        [("median", latency.median), ("p90", latency.p90), ("p99", latency.p99)].into_iter().enumerate()
    {
        let (at, text_y) = (x.place(value), 14.0 + 15.0 * level as f64);
        let (anchor, text_x) = if at > RIGHT - 120.0 { ("end ", at - 5.0) } else { ("", at + 5.0) };
        let _ = write!(
            svg,
            "<line class=\"mark\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{BOTTOM}\"/>",
            text_y - 9.0
        );
        let _ =
            write!(svg, "<text class=\"{anchor}strong\" x=\"{text_x:.1}\" y=\"{text_y}\">{name} {value:.3} ms</text>");
    }
    svg + "</svg>"
}

fn bar(svg: &mut String, class: &str, left: f64, width: f64, top: f64, title: &str) {
    let (left, width, height) = (left + 1.0, width - 2.0, BOTTOM - top);
    let shape = format!("x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"1.5\"");
    let _ = write!(svg, "<rect class=\"{class}\" {shape}><title>{title}</title></rect>");
}

/// Counts the values in each of [`BINS`] equal parts of the span, and those beyond its end.
fn bins(values: &[f64], [least, most]: [f64; 2]) -> ([usize; BINS], usize) {
    let (mut bins, mut beyond) = ([0; BINS], 0);
    for value in values {
        // A quotient beyond the range of `usize` becomes its largest value.
        let index = ((value - least) / (most - least).max(f64::MIN_POSITIVE) * BINS as f64) as usize;
        match bins.get_mut(index) {
            Some(bin) => *bin += 1,
            None if *value <= most => bins[BINS - 1] += 1,
            None => beyond += 1,
        }
    }
    (bins, beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_is_in_one_bar() {
        let values: Vec<f64> = (0..=100).map(f64::from).collect();
        let (counts, beyond) = bins(&values, [0.0, 96.0]);
        assert_eq!(counts, {
            let mut expected = [2; BINS];
            expected[BINS - 1] = 3;
            expected
        });
        assert_eq!(beyond, 4);
        assert_eq!(bins(&[5.0; 3], [5.0, 5.0]).0[0], 3);
    }
}
