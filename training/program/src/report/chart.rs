//! Draws the curves of a training as SVG.

use std::fmt::Write;

use super::add;
use crate::state::Epoch;

/// Width and height of a chart's plane, and the margin at its left and below it.
const PLANE: [f64; 2] = [560.0, 160.0];
const MARGIN: [f64; 2] = [56.0, 24.0];

/// Adds the charts of loss, accuracy and learning rate.
pub(super) fn curves(page: &mut String, history: &[Epoch]) {
    let of = |value: fn(&Epoch) -> Option<f64>| -> Vec<(u64, f64)> {
        history.iter().filter_map(|epoch| Some((epoch.epoch, value(epoch)?))).collect()
    };
    let losses = [of(|epoch| Some(epoch.loss)), of(|epoch| epoch.held_out_loss)];
    chart(page, "Loss: varied training pictures (blue), held-out pictures (orange)", &losses);
    chart(page, "Accuracy on held-out pictures, per cent", &[of(|epoch| epoch.top1.map(|share| 100.0 * share))]);
    chart(page, "Learning rate", &[of(|epoch| Some(epoch.rate))]);
}

/// Adds one chart with a line for each series of (epoch, value).
fn chart(page: &mut String, title: &str, series: &[Vec<(u64, f64)>]) {
    let points = || series.iter().flatten();
    let Some(last) = points().map(|&(epoch, _)| epoch).max() else { return };
    let low = points().map(|&(_, value)| value).fold(f64::INFINITY, f64::min);
    let high = points().map(|&(_, value)| value).fold(f64::NEG_INFINITY, f64::max);
    let span = if high > low { high - low } else { 1.0 };
    let x = |epoch: u64| MARGIN[0] + PLANE[0] * (epoch - 1) as f64 / (last - 1).max(1) as f64;
    let y = |value: f64| 8.0 + PLANE[1] * (high - value) / span;
    let [width, height] = [PLANE[0] + MARGIN[0] + 8.0, PLANE[1] + MARGIN[1] + 8.0];
    add!(
        page,
        "<h2>{title}</h2><svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" font-size=\"11\" fill=\"#555\">"
    );
    for value in [low, low + span / 2.0, low + span] {
        let (at, label) = (y(value), short(value));
        let (left, right) = (MARGIN[0], MARGIN[0] + PLANE[0]);
        add!(page, "<path d=\"M{left} {at:.1}H{right}\" stroke=\"#ddd\"/>");
        add!(page, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", left - 6.0, at + 4.0);
    }
    let bottom = height - 6.0;
    add!(page, "<text x=\"{}\" y=\"{bottom}\">epoch 1</text>", MARGIN[0]);
    add!(page, "<text x=\"{}\" y=\"{bottom}\" text-anchor=\"end\">{last}</text>", MARGIN[0] + PLANE[0]);
    for (line, colour) in series.iter().zip(["#2a6fb0", "#d9822b"]) {
        let mut path = String::new();
        for (index, &(epoch, value)) in line.iter().enumerate() {
            add!(path, "{}{:.1} {:.1}", if index == 0 { 'M' } else { 'L' }, x(epoch), y(value));
        }
        add!(page, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
    }
    page.push_str("</svg>");
}

/// Returns a number with three significant digits.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if size < 0.01 => format!("{value:.1e}"),
        size if size < 10.0 => format!("{value:.2}"),
        _ => format!("{value:.1}"),
    }
}
