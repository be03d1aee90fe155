//! `resmlp demo`: goes the whole way from a trained checkpoint to a measured int8 model, with the files that come with
//! the source code.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use resmlp_checkpoint::labels;
use resmlp_checkpoint::{self as checkpoint, Checkpoint, LoadOptions};
use resmlp_cli::classifier::Classifier;
use resmlp_cli::error::{Error, Result};
use resmlp_cli::output::{self, write_atomically};
use resmlp_cli::packed::PackedModel;
use resmlp_cli::provenance::provenance;
use resmlp_cli::reference::CheckpointClassifier;
use resmlp_command_line::{SHOWN, guesses};
use resmlp_picture::Preprocess;
use resmlp_picture::dataset::Dataset;
use resmlp_quantise::{Extras, Request};
use resmlp_runtime::measure::Repeats;
use resmlp_runtime::{AlignedBytes, Kernels, Layout, Threads, WeightStorage};

use super::bench;
use super::check;
use super::convert::{self, Calibration};
use super::demo_text::{Classified, Line, Outcome};
use super::flags::ThreadFlags;

/// Name of the checkpoint in the demo's folder.
const CHECKPOINT: &str = "resmlp_cifar10.safetensors";

/// Time that the measurement of one line of the latency table may take.
const LINE: Duration = Duration::from_millis(700);

/// Number of measured runs of the slowest kernels in the latency table.
const FEWEST_RUNS: usize = 3;

#[derive(clap::Args)]
pub struct Args {
    /// Packed model to write [default: target/demo/resmlp_cifar10.rmlp in the folder of the source code]
    #[arg(short, long, visible_alias = "keep", value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    threads: ThreadFlags,
}

/// The demo's checkpoint, and how it is used.
struct Demo {
    /// Folder of the demo's files.
    folder: PathBuf,
    /// Path of the checkpoint.
    path: PathBuf,
    checkpoint: Checkpoint,
    preprocess: Preprocess,
    labels: Vec<String>,
}

pub fn execute(args: &Args) -> Result<Outcome> {
    args.threads.apply()?;
    let start = Instant::now();
    let root = source_folder();
    let output = args.output.clone().unwrap_or_else(|| root.join("target/demo/resmlp_cifar10.rmlp"));
    let demo = Demo::open(root.join("demo"))?;
    if let Some(folder) = output.parent() {
        std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
    }
    output::check(&output, &[&demo.path])?;
    let calibration = Calibration::load(&demo.folder.join("calibration"), None, &demo.checkpoint, &demo.preprocess)?;
    let bytes = demo.convert(&calibration)?;
    write_atomically(&output, &bytes)?;
    let convert_seconds = start.elapsed().as_secs_f64();
    let model = PackedModel::open(&output, None)?;
    let mut everything = Dataset::open(demo.folder.join("calibration"))?;
    everything.items.extend(Dataset::open(demo.folder.join("pictures"))?.items);
    let (check, _) = check::compare(&demo.path, &demo.checkpoint, &demo.preprocess, &model, &everything)?;
    let photographs = Photographs::load(&demo)?;
    let results = photographs.classify(&demo, &model)?;
    let (latency, bit_identical) = photographs.time(&output, &bytes)?;
    Ok(Outcome {
        dialect: demo.checkpoint.network.dialect.name(),
        parameters: demo.checkpoint.parameters,
        macs: demo.checkpoint.network.macs(),
        checkpoint: demo.path,
        calibration_pictures: calibration.pictures.len(),
        convert_seconds,
        model: output,
        model_bytes: bytes.len(),
        check,
        kernels: model.kernels().to_owned(),
        results,
        latency,
        bit_identical,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Returns the folder of the source code: the current folder where it has the demo, else the folder from which this
/// program was compiled.
fn source_folder() -> PathBuf {
    let here = PathBuf::new();
    if here.join("demo").join(CHECKPOINT).is_file() {
        return here;
    }
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

impl Demo {
    /// Reads the checkpoint and the labels.
    fn open(folder: PathBuf) -> Result<Self> {
        let path = folder.join(CHECKPOINT);
        let checkpoint = checkpoint::load(&path, &LoadOptions::default())?;
        let network = &checkpoint.network;
        // The network was trained with these settings; see demo/README.md.
        let preprocess = Preprocess {
            crop: 1.0,
            mean: [0.4914, 0.4822, 0.4465],
            std: [0.2470, 0.2435, 0.2616],
            ..Preprocess::imagenet(network.image)
        };
        let labels = labels::read(folder.join("cifar10_labels.txt"), network.outputs())?;
        Ok(Self { folder, path, checkpoint, preprocess, labels })
    }

    /// Converts the checkpoint to an int8 model and returns the file's contents.
    fn convert(&self, calibration: &Calibration) -> Result<Vec<u8>> {
        let extras = Extras {
            labels: self.labels.clone(),
            preprocessing: self.preprocess.packed(),
            provenance: provenance(&self.path, None, &self.checkpoint, &self.preprocess, calibration.pictures.len()),
        };
        let converted = convert::quantise(
            &self.path,
            &Request {
                network: &self.checkpoint.network,
                extras: &extras,
                weights: WeightStorage::Int8,
                layout: Layout::DEFAULT,
                pictures: &calibration.pictures,
                sensitivity: false,
            },
        )?;
        Ok(converted.bytes)
    }
}

/// The photographs that the demo classifies.
struct Photographs {
    /// Paths of the photographs.
    files: Vec<PathBuf>,
    /// The prepared photographs, height × width × RGB bytes each.
    pictures: Vec<Vec<u8>>,
}

impl Photographs {
    /// Reads and prepares the photographs.
    fn load(demo: &Demo) -> Result<Self> {
        let loaded = Dataset::open(demo.folder.join("pictures"))?.load(&demo.preprocess, &|| ())?;
        let (files, pictures) = loaded.samples.into_iter().map(|sample| (sample.path, sample.pixels)).unzip();
        Ok(Self { files, pictures })
    }

    fn slices(&self) -> Vec<&[u8]> {
        self.pictures.iter().map(Vec::as_slice).collect()
    }

    /// Classifies the photographs with the packed model and, in f32, with the checkpoint.
    fn classify(&self, demo: &Demo, model: &PackedModel) -> Result<Vec<Classified>> {
        let reference =
            CheckpointClassifier::new(&demo.path, &demo.checkpoint, demo.preprocess.clone(), demo.labels.clone())?;
        let logits = model.logits(&self.slices())?.into_iter().zip(reference.logits(&self.slices())?);
        let classified = |((packed, exact), file): ((Vec<f32>, Vec<f32>), &PathBuf)| Classified {
            image: file.clone(),
            top: guesses::<SHOWN>(&packed, model.labels()),
            f32_top1: guesses::<1>(&exact, reference.labels()).pop(),
        };
        Ok(logits.zip(&self.files).map(classified).collect())
    }

    /// Measures the model of these `bytes`. Returns the latency table, and whether all its lines gave the same logits.
    fn time(&self, path: &Path, bytes: &[u8]) -> Result<(Vec<Line>, bool)> {
        let (mut lines, mut all_logits) = (Vec::new(), Vec::new());
        for (index, kernels) in Kernels::supported().enumerate() {
            let model = PackedModel::new(path, AlignedBytes::from(bytes), Some(kernels.name()))?;
            // The fastest kernels also run on all cores. The other kernels run on one thread, for comparison.
            let most = if index == 0 { bench::cores() } else { 1 };
            for threads in (1..=most).rev().filter(|&threads| threads == most || threads == 1) {
                lines.push(line(&model, threads)?);
                all_logits.push(self.logits(&model, threads)?);
            }
        }
        let bit_identical = all_logits.windows(2).all(|pair| pair[0] == pair[1]);
        Ok((lines, bit_identical))
    }

    /// Returns the bits of the logits of all photographs.
    fn logits(&self, model: &PackedModel, threads: usize) -> Result<Vec<u32>> {
        let fail = |error: &dyn std::fmt::Display| Error::file(model.path(), error.to_string());
        let engine = model.engine(Threads::new(threads).map_err(|error| fail(&error))?)?;
        let mut scratch = vec![0; engine.scratch_len()];
        let mut logits = vec![0.0; engine.model().dims().outputs];
        let mut bits = Vec::new();
        for picture in &self.pictures {
            engine.run(picture, &mut scratch, &mut logits).map_err(|error| fail(&error))?;
            bits.extend(logits.iter().map(|logit| logit.to_bits()));
        }
        Ok(bits)
    }
}

/// Measures one line of the latency table.
fn line(model: &PackedModel, threads: usize) -> Result<Line> {
    let mut timed = bench::time(model, threads, Repeats { warmup: 1, runs: Some(FEWEST_RUNS) })?;
    let runs = (LINE.as_secs_f64() * 1e3 / timed.measured.latency.median_ms) as usize;
    if runs > FEWEST_RUNS {
        timed = bench::time(model, threads, Repeats { warmup: 3, runs: Some(runs.min(1000)) })?;
    }
    Ok(Line {
        kernels: timed.kernels,
        threads: timed.threads,
        runs: timed.measured.runs,
        gmac_per_s: timed.measured.gmac_per_s(),
        latency_ms: timed.measured.latency.into(),
        scratch_bytes: timed.measured.scratch_bytes,
    })
}
