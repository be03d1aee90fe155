//! `run`: classifies pictures.

use std::fmt::Write;

use resmlp_command_line::{Guess, SHOWN, guesses, to_json};
use resmlp_picture::Preprocess;
use serde::Serialize;

use crate::arguments::Run;
use crate::error::{Error, Result};
use crate::{model, picture};

#[derive(Serialize)]
struct Outcome {
    kernels: &'static str,
    results: Vec<Classified>,
}

/// The result of one picture. `top` is empty for an embedding model.
#[derive(Serialize)]
struct Classified {
    image: String,
    logits: Vec<f32>,
    top: Vec<Guess>,
}

/// Classifies the pictures and returns the results, as text or as JSON.
pub fn execute(options: &Run) -> Result<String> {
    let opened = model::open(&options.common)?;
    let engine = opened.engine()?;
    let dims = *engine.model().dims();
    let preprocess = Preprocess::of(engine.model());
    let labels: Vec<&str> = engine.model().labels().collect();
    let mut scratch = vec![0; engine.scratch_len()];
    let mut results = Vec::new();
    for path in &options.pictures {
        let picture = picture::read(path, &preprocess)?;
        let mut logits = vec![0.0; dims.outputs];
        engine.run(&picture, &mut scratch, &mut logits).map_err(|error| opened.failure(&error))?;
        let top = if dims.has_head { guesses::<SHOWN>(&logits, &labels) } else { vec![] };
        results.push(Classified { image: path.display().to_string(), logits, top });
    }
    let outcome = Outcome { kernels: engine.kernels().name(), results };
    if options.common.json {
        to_json(&outcome).map_err(|error| Error::about("JSON", &error))
    } else {
        Ok(text(&outcome))
    }
}

fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    for result in &outcome.results {
        text += &format!("{}\n", result.image);
        for guess in &result.top {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {:5.1} %  {}", guess.probability * 100.0, guess.name());
        }
        if result.top.is_empty() {
            let _ = writeln!(text, "  embedding of {} channels (--json prints it)", result.logits.len());
        }
    }
    text + "kernels: " + outcome.kernels
}
