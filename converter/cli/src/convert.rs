//! Checkpoint to packed model: fold, calibrate, quantise, pack.

use std::collections::HashSet;
use std::path::Path;

use resmlp_runtime::format::{Layout, Precision, VERSION};
use serde_json::json;

use crate::error::{Error, Result};
use crate::fold::{FoldedNetwork, fold};
use crate::pack::{self, Extras};
use crate::picture::Preprocess;
use crate::quantise::{Quantised, StageLoss, quantise};
use crate::sensitivity::{self, LayerCost};
use crate::source::Checkpoint;

/// Pictures that calibration looks at unless the user wants another number.
pub const CALIBRATION_PICTURES: usize = 512;

/// Multiply-accumulate operations that calibration may spend on the forward pass by default.
const CALIBRATION_MACS: u64 = 250_000_000_000;

/// What to make of a checkpoint.
pub struct Request<'a> {
    /// The checkpoint's file, for messages and provenance.
    pub path: &'a Path,
    /// The checkpoint.
    pub checkpoint: &'a Checkpoint,
    /// How pictures are prepared.
    pub preprocess: &'a Preprocess,
    /// One label a class, or none.
    pub labels: Vec<String>,
    /// Storage of the weights.
    pub precision: Precision,
    /// The panels of an int8 model.
    pub layout: Layout,
    /// Pictures to calibrate an int8 model with, as [`Preprocess::apply`] makes them.
    pub pictures: &'a [Vec<u8>],
    /// Whether to find out what each layer of an int8 model costs alone.
    pub sensitivity: bool,
}

/// A packed model and what its making found out.
pub struct Converted {
    /// The file.
    pub bytes: Vec<u8>,
    /// Loss after each stage; empty for f16.
    pub losses: Vec<StageLoss>,
    /// What each layer costs alone; empty unless it was asked for.
    pub costs: Vec<LayerCost>,
    /// Channel scales that could not be folded.
    pub explicit_scales: usize,
}

/// How many pictures are worth calibrating with: fewer for a larger network.
pub fn calibration_pictures(macs: u64) -> usize {
    usize::try_from(CALIBRATION_MACS / macs.max(1)).unwrap_or(usize::MAX).clamp(64, CALIBRATION_PICTURES)
}

/// Different pictures below which calibration is doubtful.
const FEW_PICTURES: usize = 32;

/// What speaks against the model that is asked for.
pub fn doubts(request: &Request) -> Vec<String> {
    match request.precision {
        Precision::Int8 => few_pictures(request.pictures).into_iter().collect(),
        Precision::F16 if request.layout == Layout::DSP => {
            let doubt = "Cortex-M cores multiply floating-point numbers one at a time: an int8 model is many times as fast there";
            vec![doubt.to_owned()]
        }
        Precision::F16 => Vec::new(),
    }
}

fn few_pictures(pictures: &[Vec<u8>]) -> Option<String> {
    let is_plain = |picture: &[u8]| picture.chunks_exact(3).all(|pixel| Some(pixel) == picture.get(..3));
    let different: HashSet<&[u8]> = pictures.iter().map(Vec::as_slice).filter(|picture| !is_plain(picture)).collect();
    let (found, all) = (different.len(), pictures.len());
    (found < FEW_PICTURES).then(|| {
        format!(
            "few pictures to calibrate with: {found} of {all} that differ and are not of one colour, expected {FEW_PICTURES} at least; \
             what others have beyond them is clipped"
        )
    })
}

/// Steps that `progress` of [`convert`] is told of.
pub fn steps(request: &Request) -> usize {
    match request.precision {
        Precision::Int8 => {
            let steps = 2 * request.checkpoint.network.blocks.len() + 2;
            if request.sensitivity { 2 * steps } else { steps }
        }
        Precision::F16 => 0,
    }
}

/// Converts a checkpoint.
///
/// # Errors
/// Where an int8 model has no calibration pictures, or a number does not fit the format.
pub fn convert(request: &Request, progress: impl FnMut()) -> Result<Converted> {
    let Preprocess { mean, std, .. } = *request.preprocess;
    let folded = fold(&request.checkpoint.network, mean, std);
    let explicit_scales = folded.explicit_scales();
    let extras = Extras {
        labels: request.labels.clone(),
        preprocessing: request.preprocess.packed(),
        provenance: provenance(request),
    };
    let (packed, losses, costs) = match request.precision {
        Precision::F16 => (pack::f16(&folded, &extras), Vec::new(), Vec::new()),
        Precision::Int8 => {
            let (quantised, costs) = int8(request, &folded, progress)?;
            (pack::int8(&quantised.network, request.layout, &extras), quantised.losses, costs)
        }
    };
    let bytes = packed.map_err(|error| Error::file(request.path, format!("cannot be packed: {error}")))?;
    Ok(Converted { bytes, losses, costs, explicit_scales })
}

fn int8(request: &Request, folded: &FoldedNetwork, mut progress: impl FnMut()) -> Result<(Quantised, Vec<LayerCost>)> {
    if request.pictures.is_empty() {
        let message = "an int8 model needs pictures to calibrate with: --calibrate DIR";
        return Err(Error::Usage(message.into()));
    }
    let quantised = quantise(folded, request.pictures, &mut progress);
    let mut costs = Vec::new();
    if request.sensitivity {
        let count = sensitivity::default_pictures(folded, request.checkpoint.network.macs());
        let step = request.pictures.len().div_ceil(count).max(1);
        let pictures: Vec<_> = request.pictures.iter().step_by(step).cloned().collect();
        costs = sensitivity::sensitivity(folded, &quantised.network, &pictures, progress);
    }
    Ok((quantised, costs))
}

fn provenance(request: &Request) -> String {
    let name = request.path.file_name().map(|name| name.to_string_lossy().into_owned());
    json!({
        "checkpoint": name,
        "format": request.checkpoint.format.name(),
        "dialect": request.checkpoint.network.dialect.name(),
        "parameters": request.checkpoint.parameters,
        "calibration_pictures": request.pictures.len(),
        "converter": concat!("resmlp ", env!("CARGO_PKG_VERSION")),
        "format_version": VERSION,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::few_pictures;

    #[test]
    fn few_pictures_are_doubted_and_so_are_copies_and_plain_ones() {
        let picture = |i: u8| vec![i, i, i, 0, 1, 2];
        let enough: Vec<_> = (0..32).map(picture).collect();
        assert_eq!(few_pictures(&enough), None);
        for (pictures, found) in [
            (enough[1..].to_vec(), "31 of 31 "),
            (vec![picture(3); 512], "1 of 512 "),
            ([&enough[1..], &[vec![7; 6]]].concat(), "31 of 32 "),
        ] {
            let doubt = few_pictures(&pictures).unwrap();
            assert!(doubt.contains(&format!("calibrate with: {found}")), "{doubt}");
        }
    }
}
