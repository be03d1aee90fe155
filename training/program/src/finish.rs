//! What happens after the last epoch: the trained network is packed and judged before anybody relies on it.
//!
//! tract evaluates the checkpoint as it was written, unfolded and in f32. Its logits are compared with those of the
//! training's own forward pass, and then with those of the packed model on this machine's kernels.

use std::path::Path;

use resmlp_checkpoint::{Checkpoint, LoadOptions};
use resmlp_cli::check::{Check, Findings, default_pictures};
use resmlp_cli::classifier::Classifier;
use resmlp_cli::packed::PackedModel;
use resmlp_cli::provenance::provenance;
use resmlp_cli::target::Target;
use resmlp_cli::tract::TractReference;
use resmlp_picture::Preprocess;
use resmlp_quantise::{Converted, Extras, Request};
use resmlp_runtime::AlignedBytes;
use resmlp_runtime::format::WeightStorage;
use resmlp_train_core::{Layout, Trainer};
use resmlp_train_data::Dataset;
use serde::Serialize;

use crate::course::first;
use crate::error::{Error, Result};

/// Largest difference between tract's logits and the training's own, relative to their range. Rounding makes about 1e-6.
const LARGEST_ERROR: f64 = 1e-3;

/// The findings about a trained network.
#[derive(Debug, Serialize)]
pub struct Finished {
    /// Largest difference between tract's logits and those of the training's own forward pass, relative to the range of
    /// the logits.
    pub forward_error: f64,
    /// The packed model against tract, stage by stage.
    pub check: Findings,
    /// Share of the held-out pictures that the packed model classifies rightly; `null` without held-out pictures.
    pub int8_top1: Option<f64>,
    /// Length of the packed model in bytes.
    pub model_bytes: usize,
}

/// The parts of a trained network.
pub struct Trained<'a> {
    /// File of the checkpoint that was written.
    pub path: &'a Path,
    /// Place of every tensor in the parameters.
    pub layout: &'a Layout,
    /// Parameters that the checkpoint holds.
    pub parameters: &'a [f32],
    /// Preparation of pictures.
    pub preprocess: &'a Preprocess,
    /// Pictures for calibration.
    pub training: &'a Dataset,
    /// Held-out pictures.
    pub held_out: Option<&'a Dataset>,
}

/// Reads the checkpoint as a user would, packs it to int8, and judges both. The packed model's bytes are returned with
/// the findings.
///
/// # Errors
/// Returns an error where the checkpoint cannot be read back, computes something else in tract than in the training, or
/// does not fit the packed format.
pub fn finish(trained: &Trained, trainer: &mut Trainer) -> Result<(Finished, Vec<u8>)> {
    let checkpoint = resmlp_checkpoint::load(trained.path, &LoadOptions::default())?;
    let judged = trained.held_out.unwrap_or(trained.training);
    let most = default_pictures(checkpoint.network.macs());
    let pictures = prepared(judged, trained.preprocess, most)?;
    let forward_error = forward_error(trained, &checkpoint, trainer, &pictures)?;
    if forward_error.is_nan() || forward_error > LARGEST_ERROR {
        let message = format!(
            "tract's logits differ from the training's by {forward_error:.1e} of their range, expected at most \
             {LARGEST_ERROR:.0e}; do not use this checkpoint, and please report this"
        );
        return Err(Error::file(trained.path, message));
    }
    let bytes = pack(trained, &checkpoint)?;
    let aligned = AlignedBytes::from(bytes.as_slice());
    let model = PackedModel::new(trained.path, aligned, None)?;
    let mut check = Check::new(trained.path, &checkpoint, trained.preprocess, &model)?;
    for chunk in pictures.chunks(check.chunk()) {
        check.add(chunk)?;
    }
    let int8_top1 = trained.held_out.map(|dataset| top1(&model, dataset, trained.preprocess)).transpose()?;
    let finished = Finished { forward_error, check: check.finish(), int8_top1, model_bytes: bytes.len() };
    Ok((finished, bytes))
}

/// Returns the largest difference between tract's logits and the training's own, relative to the range of the logits.
fn forward_error(
    trained: &Trained,
    checkpoint: &Checkpoint,
    trainer: &mut Trainer,
    pictures: &[Vec<u8>],
) -> Result<f64> {
    let reference = TractReference::from_network(&checkpoint.network)?;
    let (mut worst, mut range) = (0f64, [f32::INFINITY, f32::NEG_INFINITY]);
    for chunk in pictures.chunks(64) {
        let pixels: Vec<f32> = chunk.iter().flat_map(|picture| trained.preprocess.normalise(picture)).collect();
        let expected = reference.logits(&pixels)?.concat();
        for (found, expected) in trainer.logits(trained.parameters, &pixels).iter().zip(expected) {
            worst = worst.max(f64::from((found - expected).abs()));
            range = [range[0].min(expected), range[1].max(expected)];
        }
    }
    Ok(worst / f64::from(range[1] - range[0]).max(f64::MIN_POSITIVE))
}

/// Packs the checkpoint to int8, calibrated with training pictures.
fn pack(trained: &Trained, checkpoint: &Checkpoint) -> Result<Vec<u8>> {
    let count = resmlp_quantise::calibration_pictures(checkpoint.network.macs());
    let pictures = prepared(trained.training, trained.preprocess, count)?;
    let extras = Extras {
        labels: trained.training.class_names().to_vec(),
        preprocessing: trained.preprocess.packed(),
        provenance: provenance(trained.path, None, checkpoint, trained.preprocess, pictures.len()),
    };
    let request = Request {
        network: &checkpoint.network,
        extras: &extras,
        weights: WeightStorage::Int8,
        layout: Target::Any.layout(),
        pictures: &pictures,
        sensitivity: false,
    };
    let converted = resmlp_quantise::convert(&request, || {});
    let Converted { bytes, .. } = converted.map_err(|error| Error::file(trained.path, error.to_string()))?;
    Ok(bytes)
}

/// Returns at most `count` pictures of a data set, taken evenly, as the network's input.
fn prepared(dataset: &Dataset, preprocess: &Preprocess, count: usize) -> Result<Vec<Vec<u8>>> {
    let (count, len) = (count.min(dataset.len()), dataset.len());
    (0..count).map(|i| Ok(preprocess.apply(&*dataset.original(i * len / count)?)?)).collect()
}

/// Returns the share of a data set's pictures that the packed model classifies rightly.
fn top1(model: &PackedModel, dataset: &Dataset, preprocess: &Preprocess) -> Result<f64> {
    let mut right = 0;
    let indices: Vec<usize> = (0..dataset.len()).collect();
    for chunk in indices.chunks(256) {
        let pictures = chunk.iter().map(|&i| Ok(preprocess.apply(&*dataset.original(i)?)?));
        let pictures: Vec<Vec<u8>> = pictures.collect::<Result<_>>()?;
        let slices: Vec<&[u8]> = pictures.iter().map(Vec::as_slice).collect();
        let logits = model.logits(&slices)?;
        right += chunk.iter().zip(logits).filter(|(i, logits)| first(logits) == dataset.label(**i) as usize).count();
    }
    Ok(right as f64 / dataset.len().max(1) as f64)
}
