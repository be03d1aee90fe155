//! Draws the time of each stage.

use std::fmt::Write;

use super::escape::escape;
use super::scale::Scale;
use crate::Layer;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 104.0;
const RIGHT: f64 = 548.0;
const ROW: f64 = 20.0;

/// Draws one bar for each stage, with its figures to the right.
pub fn svg(layers: &[Layer]) -> String {
    let longest = layers.iter().map(|layer| layer.ms).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let total: f64 = layers.iter().map(|layer| layer.ms).sum::<f64>().max(f64::MIN_POSITIVE);
    let x = Scale::new([0.0, longest], [LEFT, RIGHT]);
    let height = ROW * layers.len() as f64 + 8.0;
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Time of each layer\">");
    for (index, layer) in layers.iter().enumerate() {
        let (top, end, name) = (ROW * index as f64 + 4.0, x.place(layer.ms), escape(&layer.name));
        let (middle, ms, rate) = (top + 13.0, layer.ms, layer.gmac_per_s);
        let title = format!("{name}: {ms:.4} ms, {:.1} % of all, {} MAC", 100.0 * ms / total, layer.macs);
        let shape = format!("x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\"", top + 2.0, end - LEFT, ROW - 6.0);
        // Writing to a string cannot fail.
        let _ = write!(svg, "<text class=\"end strong\" x=\"{}\" y=\"{middle}\">{name}</text>", LEFT - 8.0);
        let _ = write!(svg, "<rect class=\"bar\" {shape} rx=\"1.5\"><title>{title}</title></rect>");
        let _ = write!(svg, "<text x=\"{:.1}\" y=\"{middle}\">{ms:.3} ms · {rate:.2} GMAC/s</text>", end + 6.0);
    }
    svg + "</svg>"
}
