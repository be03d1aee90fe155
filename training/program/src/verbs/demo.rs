//! `resmlp-train demo`: from a sheet of handwritten digits to a packed model, in about a minute.

use std::path::{Path, PathBuf};

use resmlp_cli::terminal;
use resmlp_train::course::End;
use resmlp_train::recipe::{Recipe, Sizes};
use resmlp_train::{Error, Result};
use resmlp_train_data::augment::{Crop, Padding};
use resmlp_train_data::{Augmentation, Dataset, Options};

use super::session::{self, Manner, Outputs, Start};
use super::train::statistics;

#[derive(clap::Args)]
pub struct Args {
    /// Folder for the results, which is made if need be
    #[arg(short, long, value_name = "DIR", default_value = "target/digits")]
    output: PathBuf,
}

/// Trains on the repository's handwritten digits.
pub fn execute(args: &Args, json: bool) -> Result<End> {
    let manner = Manner { threads: session::start_threads(None)?, resume: false, json };
    let sheet = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo/digits/digits.json");
    let sets = Dataset::open_parts(sheet, &Options::default())?;
    let mut recipe = recipe();
    (recipe.preprocess.mean, recipe.preprocess.std) = statistics(&sets.0)?;
    std::fs::create_dir_all(&args.output)
        .map_err(|error| Error::Converter(resmlp_cli::error::Error::io(&args.output, error)))?;
    let path = |name: &str| args.output.join(name);
    let [checkpoint, model, report] = ["digits.safetensors", "digits.rmlp", "report.html"].map(path);
    let outputs = Outputs { checkpoint: &checkpoint, model: Some(&model), report: Some(&report) };
    let start = Start::random(&recipe, sets.0.class_names().len())?;
    let end = session::run(sets, &recipe, start, &outputs, &manner)?;
    if end == End::Complete && !json {
        let (model, report) = (model.display(), report.display());
        terminal::print(&format!(
            "\nOpen {report} in a browser to see how training went.\n\
             Measure the model: cargo run --release -- bench {model}\n\
             Train on your own pictures: cargo run --release -p resmlp-train -- train DIR -o mine.safetensors --model \
             mine.rmlp\n"
        ))?;
    }
    Ok(end)
}

/// Returns the recipe for digits of 8 × 8 pixels. A mirrored digit is no digit, so pictures are only shifted by a
/// pixel.
fn recipe() -> Recipe {
    let sizes = Sizes { patch: 2, dim: 64, hidden: 256, depth: 4 };
    Recipe {
        augmentation: Augmentation {
            crop: Crop::Padded { pixels: 1, padding: Padding::Zero },
            smoothing: 0.1,
            ..Augmentation::none()
        },
        epochs: 30,
        batch: 16,
        rate: 4e-3,
        mean: 0.99,
        ..Recipe::new(sizes, 8)
    }
}
