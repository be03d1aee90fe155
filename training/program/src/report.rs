//! Writes `report.html`: how training went and what the network still gets wrong, in one file without scripts.

mod chart;
mod picture;

use std::fmt::Write;

use resmlp_train_data::{Batch, Dataset, Loader};

use crate::course::{Judged, first};
use crate::error::Result;
use crate::finish::Finished;
use crate::recipe::Recipe;
use crate::state::Epoch;

/// Number of varied pictures that the report shows.
const VARIED: usize = 32;
/// Number of mistakes that the report shows.
const MISTAKES: usize = 24;
/// Largest number of classes whose confusion matrix is shown.
const MATRIX: usize = 40;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\
table{border-collapse:collapse}td,th{padding:.15rem .5rem;text-align:right}th{font-weight:600}\
figure{display:inline-block;margin:.2rem;text-align:center;font-size:12px;line-height:1.3;max-width:8rem}\
img{width:64px;height:64px;image-rendering:pixelated}svg{max-width:100%}.m td{border:1px solid #ddd}\
.m th{font-size:12px}";

/// Contents of a report.
pub struct Contents<'a> {
    /// Settings.
    pub recipe: &'a Recipe,
    /// Number of parameters.
    pub parameters: usize,
    /// Results of each epoch.
    pub history: &'a [Epoch],
    /// Training pictures.
    pub training: &'a Loader,
    /// Held-out pictures with their logits.
    pub held_out: Option<(&'a Dataset, &'a Judged)>,
    /// Findings about the trained network.
    pub finished: &'a Finished,
}

/// Returns the report as a page of HTML.
///
/// # Errors
/// Returns an error where a training picture cannot be loaded.
pub fn page(contents: &Contents) -> Result<String> {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         img-src data:\"><title>Training report</title><style>{STYLE}</style><h1>Training report</h1>"
    );
    summary(&mut page, contents);
    chart::curves(&mut page, contents.history);
    varied(&mut page, contents)?;
    if let Some((dataset, judged)) = contents.held_out {
        mistakes(&mut page, dataset, judged, contents.recipe);
        confusion(&mut page, dataset.class_names(), judged);
    }
    page.push_str("</html>\n");
    Ok(page)
}

/// Writes to the page. Writing to a string cannot fail.
macro_rules! add {
    ($page:expr, $($part:tt)*) => {{ let _ = write!($page, $($part)*); }};
}
use add;

fn summary(page: &mut String, contents: &Contents) {
    let Contents { recipe, parameters, history, training, finished, .. } = contents;
    let last = history.last();
    let percent = |share: Option<f64>| share.map_or("not known".to_owned(), |share| format!("{:.2} %", 100.0 * share));
    let data = training.dataset();
    let rows = [
        ("Training pictures", format!("{} of {} classes", data.len(), data.class_names().len())),
        ("Pictures that could not be read", data.skipped().len().to_string()),
        ("Parameters", parameters.to_string()),
        ("Epochs", history.len().to_string()),
        ("Pictures for each update", recipe.batch.to_string()),
        ("Held-out accuracy, f32", percent(last.and_then(|epoch| epoch.top1))),
        ("Held-out accuracy, int8", percent(finished.int8_top1)),
        ("Packed model", format!("{} bytes", finished.model_bytes)),
        ("Same first class as tract", percent(finished.check.top1_agreement)),
        ("Forward pass against tract", format!("{:.1e} of the logits' range", finished.forward_error)),
    ];
    page.push_str("<table>");
    for (name, value) in rows {
        add!(page, "<tr><th style=\"text-align:left\">{name}</th><td>{}</td></tr>", escaped(&value));
    }
    page.push_str("</table>");
}

fn varied(page: &mut String, contents: &Contents) -> Result<()> {
    let Some(batch) = contents.training.epoch(0, 0).next() else { return Ok(()) };
    let batch: Batch = batch?;
    let input = contents.training.input();
    let len = batch.images.len() / batch.len().max(1);
    page.push_str("<h2>Training pictures as the network sees them</h2>");
    for image in batch.images.chunks_exact(len).take(VARIED) {
        let picture = resmlp_train_data::loader::denormalise(image, input);
        add!(page, "<img alt=\"\" src=\"{}\">", picture::data_url(&picture));
    }
    Ok(())
}

fn mistakes(page: &mut String, dataset: &Dataset, judged: &Judged, recipe: &Recipe) {
    let mut wrong: Vec<(f64, usize, usize, usize)> = judged
        .rows()
        .enumerate()
        .filter(|(_, (logits, label))| first(logits) != *label)
        .map(|(row, (logits, label))| (probability(logits, first(logits)), row, label, first(logits)))
        .collect();
    wrong.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    add!(page, "<h2>The surest of {} mistakes</h2>", wrong.len());
    for (probability, row, label, taken) in wrong.into_iter().take(MISTAKES) {
        let index = judged.indices[row] as usize;
        let Ok(found) = dataset.original(index) else { continue };
        let Some(shown) = recipe.preprocess.apply(&found).ok().and_then(|rgb| {
            let [height, width] = recipe.preprocess.image;
            resmlp_picture::Picture::from_rgb(height as u32, width as u32, rgb)
        }) else {
            continue;
        };
        let name = |class: usize| escaped(dataset.class_names().get(class).map_or("?", String::as_str));
        let (title, url) = (escaped(dataset.name(index)), picture::data_url(&shown));
        let (label, taken, percent) = (name(label), name(taken), 100.0 * probability);
        add!(
            page,
            "<figure title=\"{title}\"><img alt=\"\" src=\"{url}\"><figcaption>{label}, taken for {taken} \
             ({percent:.0} %)</figcaption></figure>"
        );
    }
}

fn confusion(page: &mut String, classes: &[String], judged: &Judged) {
    if classes.len() > MATRIX {
        return;
    }
    let mut counts = vec![vec![0usize; classes.len()]; classes.len()];
    judged.rows().for_each(|(logits, label)| counts[label][first(logits)] += 1);
    page.push_str(
        "<h2>Confusion matrix</h2><p>A row is a class, a column what the network takes its pictures for.</p>",
    );
    page.push_str("<table class=\"m\"><tr><th></th>");
    classes.iter().for_each(|name| add!(page, "<th>{}</th>", escaped(name)));
    page.push_str("</tr>");
    for (label, (name, row)) in classes.iter().zip(&counts).enumerate() {
        let sum = row.iter().sum::<usize>().max(1) as f64;
        add!(page, "<tr><th>{}</th>", escaped(name));
        for (taken, &count) in row.iter().enumerate() {
            let colour = if taken == label { "34,139,84" } else { "200,50,50" };
            let strength = count as f64 / sum;
            add!(page, "<td style=\"background:rgba({colour},{strength:.2})\">{count}</td>");
        }
        page.push_str("</tr>");
    }
    page.push_str("</table>");
}

fn probability(logits: &[f32], class: usize) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let power = |x: f32| f64::from(x - largest).exp();
    power(logits[class]) / logits.iter().map(|&x| power(x)).sum::<f64>()
}

/// Returns text that HTML shows as it is.
fn escaped(text: &str) -> String {
    let text = resmlp_command_line::one_line(text);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
