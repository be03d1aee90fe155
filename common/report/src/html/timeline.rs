//! Draws clock and temperature, one below the other over the same time.

use std::fmt::Write;

use resmlp_runtime::measure::Phase;

use super::scale::Scale;
use crate::Sample;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 640.0;
/// Top and bottom of each of the two drawings.
const PANELS: [[f64; 2]; 2] = [[34.0, 124.0], [160.0, 250.0]];
const HEIGHT: f64 = 286.0;

/// Number of colours for groups of cores; further groups repeat them.
const COLOURS: usize = 3;

/// Draws clock and temperature. A sentence takes the place of each that is not known.
pub fn svg(samples: &[Sample]) -> String {
    let groups = samples.iter().map(|sample| sample.mhz.len()).max().unwrap_or(0);
    let clocks = (0..groups).map(|group| curve(samples, |sample| sample.mhz.get(group).copied())).collect();
    let temperatures = vec![curve(samples, |sample| sample.temperature_c)];
    let end = samples.last().map_or(0.0, |sample| sample.seconds);
    let x = Scale::new([0.0, end.max(0.001)], [LEFT, RIGHT]);
    let label = "Clock and temperature over time";
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label}\">");
    phases(&mut svg, samples, x, end);
    panel(&mut svg, PANELS[0], x, "clock", "MHz", clocks);
    panel(&mut svg, PANELS[1], x, "temperature", "°C", temperatures);
    // Writing to a string cannot fail.
    for (value, label) in x.ticks(8) {
        let _ =
            write!(svg, "<text class=\"middle\" x=\"{:.1}\" y=\"{}\">{label}</text>", x.place(value), HEIGHT - 18.0);
    }
    let _ = write!(svg, "<text class=\"end\" x=\"{RIGHT}\" y=\"{}\">seconds</text>", HEIGHT - 3.0);
    svg + "</svg>"
}

type Curve = Vec<[f64; 2]>;

/// Returns time in seconds and value of every sample that has a value.
fn curve(samples: &[Sample], value: impl Fn(&Sample) -> Option<f64>) -> Curve {
    samples.iter().filter_map(|sample| Some([sample.seconds, value(sample)?])).collect()
}

/// Shades the time of the measured runs behind both drawings, and labels the phases.
fn phases(svg: &mut String, samples: &[Sample], x: Scale, end: f64) {
    let start_of = |phase| samples.iter().find(|sample| sample.phase == phase).map_or(end, |sample| sample.seconds);
    let (start, stop) = (x.place(start_of(Phase::Measured)), x.place(start_of(Phase::Layers)));
    let (top, bottom) = (PANELS[0][0], PANELS[1][1]);
    let shape = format!("x=\"{start:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{}\"", stop - start, bottom - top);
    let _ = write!(svg, "<rect class=\"band\" {shape}/>");
    let _ = write!(svg, "<text class=\"middle\" x=\"{:.1}\" y=\"14\">measured runs</text>", (start + stop) / 2.0);
    let _ = write!(svg, "<text x=\"{:.1}\" y=\"14\">layers</text>", stop.max(RIGHT - 40.0) + 2.0);
}

fn panel(svg: &mut String, [top, bottom]: [f64; 2], x: Scale, name: &str, unit: &str, curves: Vec<Curve>) {
    let values = || curves.iter().flatten().map(|[_, value]| *value);
    let _ = write!(svg, "<text class=\"strong\" x=\"{LEFT}\" y=\"{}\">{name}, {unit}</text>", top - 7.0);
    if values().next().is_none() {
        let _ =
            write!(svg, "<text x=\"{LEFT}\" y=\"{}\">This machine does not report it.</text>", (top + bottom) / 2.0);
        return;
    }
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    // The axis spans at least this much, so that noise in the last digit does not fill the drawing.
    let margin = (0.1 * (most - least)).max(0.05 * most.abs());
    let y = Scale::new([least - margin, most + margin], [bottom, top]);
    for (value, label) in y.ticks(3) {
        let at = y.place(value);
        let _ = write!(svg, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>");
        let _ = write!(svg, "<text class=\"end\" x=\"{}\" y=\"{:.1}\">{label}</text>", LEFT - 8.0, at + 4.0);
    }
    for (index, curve) in curves.iter().enumerate() {
        let colour = index % COLOURS;
        let points = curve.iter().map(|[seconds, value]| format!("{:.1},{:.1}", x.place(*seconds), y.place(*value)));
        let _ =
            write!(svg, "<polyline class=\"curve c{colour}\" points=\"{}\"/>", points.collect::<Vec<_>>().join(" "));
        for [seconds, value] in curve {
            let (cx, cy) = (x.place(*seconds), y.place(*value));
            let title = format!("{seconds:.1} s: {value:.1} {unit}");
            let _ = write!(
                svg,
                "<circle class=\"dot c{colour}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"2.5\"><title>{title}</title></circle>"
            );
        }
        if let Some([_, last]) = curve.last() {
            let (at, digits) = (y.place(*last) + 4.0, usize::from(unit != "MHz"));
            let _ =
                write!(svg, "<text class=\"strong\" x=\"{}\" y=\"{at:.1}\">{last:.digits$} {unit}</text>", RIGHT + 8.0);
        }
    }
}
