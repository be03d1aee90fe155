//! Goes the whole way from a trained network to the bytes of a model file: fold, calibrate, quantise, pack.

use std::collections::HashSet;

use resmlp_network::{FoldedNetwork, Network, fold};
use resmlp_runtime::format::{Layout, WeightStorage};

use crate::error::ConvertError;
use crate::pack::{self, Extras};
use crate::quantise::{Quantised, StageLoss, quantise};
use crate::sensitivity::{self, LayerCost};

/// Largest number of calibration pictures, unless the user asks for another number.
pub(crate) const CALIBRATION_PICTURES: usize = 512;

/// Number of multiply-accumulate operations that the forward passes of calibration may take by default.
const CALIBRATION_MACS: u64 = 250_000_000_000;

/// A trained network and what it is converted into.
pub struct Request<'a> {
    /// The trained network.
    pub network: &'a Network,
    /// What the model carries besides its numbers. The mean and the standard deviation in it are folded into the stem.
    pub extras: &'a Extras,
    /// Storage of the weights.
    pub weights: WeightStorage,
    /// Layout of the panels of an int8 model. Every f16 model has the same layout.
    pub layout: Layout,
    /// Calibration pictures of an int8 model, height × width × RGB bytes each.
    pub pictures: &'a [Vec<u8>],
    /// Whether to measure what quantising each layer of an int8 model alone costs.
    pub sensitivity: bool,
}

/// A packed model and what was measured while it was made.
pub struct Converted {
    /// Contents of the model file.
    pub bytes: Vec<u8>,
    /// Noise after each stage; empty for f16.
    pub losses: Vec<StageLoss>,
    /// What quantising each layer alone costs; empty unless the request asks for it.
    pub costs: Vec<LayerCost>,
    /// Number of channel scales that could not be folded.
    pub explicit_scales: usize,
}

/// Returns the number of pictures with which calibration takes a reasonable time, from 64 to 512.
/// `macs` is the number of multiply-accumulate operations of one forward pass; the larger the network, the fewer the
/// pictures.
pub fn calibration_pictures(macs: u64) -> usize {
    usize::try_from(CALIBRATION_MACS / macs.max(1)).unwrap_or(usize::MAX).clamp(64, CALIBRATION_PICTURES)
}

/// Number of different pictures below which calibration is doubtful.
const FEW_PICTURES: usize = 32;

/// Returns reasons to doubt the requested model, one sentence each.
pub fn doubts(request: &Request) -> Vec<String> {
    match request.weights {
        WeightStorage::Int8 => few_pictures(request.pictures).into_iter().collect(),
        WeightStorage::F16 if request.layout == Layout::DSP => {
            let doubt = "Cortex-M cores multiply floating-point numbers one at a time, so an int8 model is many times \
                         faster there";
            vec![doubt.to_owned()]
        }
        WeightStorage::F16 => Vec::new(),
    }
}

/// Returns a sentence where fewer than [`FEW_PICTURES`] pictures differ. Pictures of one colour do not count.
fn few_pictures(pictures: &[Vec<u8>]) -> Option<String> {
    let is_plain = |picture: &[u8]| picture.chunks_exact(3).all(|pixel| Some(pixel) == picture.get(..3));
    let different: HashSet<&[u8]> = pictures.iter().map(Vec::as_slice).filter(|picture| !is_plain(picture)).collect();
    let (found, all) = (different.len(), pictures.len());
    (found < FEW_PICTURES).then(|| {
        format!(
            "there are few pictures to calibrate with: {found} of {all} differ and have more than one colour, expected \
             {FEW_PICTURES} at least; values beyond those of these pictures will be clipped"
        )
    })
}

/// Returns how often [`convert`] calls `progress`.
pub fn steps(request: &Request) -> usize {
    match request.weights {
        WeightStorage::Int8 => {
            let steps = 2 * request.network.blocks.len() + 2;
            if request.sensitivity { 2 * steps } else { steps }
        }
        WeightStorage::F16 => 0,
    }
}

/// Converts a trained network. `progress` is called once for each of [`steps`].
///
/// # Errors
/// Returns an error where an int8 model has no calibration pictures, where activations are not finite, and where a
/// size, a number or the activation function does not fit the packed format.
pub fn convert(request: &Request, progress: impl FnMut()) -> Result<Converted, ConvertError> {
    let folded = fold(request.network, request.extras.preprocessing.mean, request.extras.preprocessing.std);
    let explicit_scales = folded.explicit_scales();
    let (bytes, losses, costs) = match request.weights {
        WeightStorage::F16 => (pack::f16(&folded, request.extras)?, Vec::new(), Vec::new()),
        WeightStorage::Int8 => {
            let (quantised, costs) = int8(request, &folded, progress)?;
            (pack::int8(&quantised.network, request.layout, request.extras)?, quantised.losses, costs)
        }
    };
    Ok(Converted { bytes, losses, costs, explicit_scales })
}

/// Quantises the folded network and, where the request asks for it, measures what each layer alone costs.
fn int8(
    request: &Request,
    folded: &FoldedNetwork,
    mut progress: impl FnMut(),
) -> Result<(Quantised, Vec<LayerCost>), ConvertError> {
    if request.pictures.is_empty() {
        return Err(ConvertError::NoPictures);
    }
    let quantised = quantise(folded, request.pictures, &mut progress)?;
    let mut costs = Vec::new();
    if request.sensitivity {
        let count = sensitivity::default_pictures(folded, request.network.macs());
        let step = request.pictures.len().div_ceil(count).max(1);
        let pictures: Vec<_> = request.pictures.iter().step_by(step).cloned().collect();
        costs = sensitivity::sensitivity(folded, &quantised.network, &pictures, progress);
    }
    Ok((quantised, costs))
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
            (enough[1..].to_vec(), "31 of 31 differ"),
            (vec![picture(3); 512], "1 of 512 differ"),
            ([&enough[1..], &[vec![7; 6]]].concat(), "31 of 32 differ"),
        ] {
            let doubt = few_pictures(&pictures).unwrap();
            assert!(doubt.contains(&format!("calibrate with: {found}")), "{doubt}");
        }
    }
}
