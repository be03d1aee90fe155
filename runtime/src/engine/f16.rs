//! The forward pass with 16-bit floating-point weights: sums and activations are `f32`.

use super::{Pass, RunError, embed, part, patches, rescale, sum_over_tokens};
use crate::format::{Extent, Slot};
use crate::kernels::{FloatColumns, Mismatch, MixColumns, MixRows, RightHalves, Rows};
use crate::model::Model;
use crate::parallel::{Block, ParallelFor};
use crate::plan::aligned;

pub(super) fn stem<P: ParallelFor>(pass: &mut Pass<P>, image: &[u8]) -> Result<(), RunError> {
    let (kernels, dims) = (pass.kernels, pass.model.dims());
    let k = dims.patch_len();
    let layer = Layer::new(pass.model, [Slot::StemWeights, Slot::StemBias, Slot::StemScale], 0);
    pass.for_each_block(pass.plan.tiles, |first, mut tile, scratch| {
        let pixels = floats(scratch, tile.rows() * k)?;
        for (row, pixels) in pixels.chunks_exact_mut(k.max(1)).enumerate() {
            tile.row_mut(row).fill(0.0);
            pixels.iter_mut().zip(patches::values(dims, image, first + row)).for_each(|(p, v)| *p = f32::from(v));
        }
        let left = Rows { data: pixels, stride: k, rows: tile.rows() };
        kernels.add_f16(left, layer.weights, layer.columns, &mut tile)
    })
}

pub(super) fn mix<P: ParallelFor>(pass: &mut Pass<P>, block: usize) -> Result<(), RunError> {
    let (model, kernels, dims) = (pass.model, pass.kernels, pass.model.dims());
    let panel = dims.layout.rows as usize;
    let left: &[u16] = model.tensor(Slot::MixWeights, block);
    let [scale, sum, bias] =
        [Slot::MixRowScale, Slot::MixRowSum, Slot::MixRowBias].map(|s| model.tensor::<f32>(s, block));
    let rows = MixRows { correction: &[], scale, sum, bias };
    let gains = [Slot::MixScale, Slot::MixSumGain, Slot::MixBiasGain].map(|s| model.tensor::<f32>(s, block));
    let gain: &[f32] = model.tensor(Slot::MixStreamGain, block);
    pass.for_each_block(pass.plan.channels, |first, mut channels, scratch| {
        let width = channels.columns();
        let right = floats(scratch, channels.rows() * width)?;
        for (row, copy) in right.chunks_exact_mut(width.max(1)).enumerate() {
            copy.iter_mut().zip(channels.row(row)).for_each(|(copy, &y)| *copy = y);
        }
        rescale(&mut channels, part(gain, first, width).unwrap_or_default());
        let [scale, sum_gain, bias_gain] = gains.map(|g| part(g, first, width));
        let columns = MixColumns { scale: scale?, sum_gain: sum_gain?, bias_gain: bias_gain? };
        kernels.mix_f16(panel, left, right, rows, columns, &mut channels)
    })
}

pub(super) fn mlp<P: ParallelFor>(pass: &mut Pass<P>, block: usize) -> Result<(), RunError> {
    let (model, kernels, dims) = (pass.model, pass.kernels, pass.model.dims());
    let hidden = dims.padded(Extent::Hidden);
    let expand = Layer::new(model, [Slot::ExpandWeights, Slot::ExpandBias, Slot::ExpandScale], block);
    let contract = Layer::new(model, [Slot::ContractWeights, Slot::ContractBias, Slot::ContractScale], block);
    let gain: &[f32] = model.tensor(Slot::MlpStreamGain, block);
    pass.for_each_block(pass.plan.tiles, |_, mut tile, scratch| {
        let rows = tile.rows();
        let activations = floats(scratch, rows * hidden)?;
        let left = Rows { data: tile.as_slice(), stride: tile.stride(), rows };
        kernels.gelu_f16(left, expand.weights, expand.columns, &mut Block::new(activations, hidden))?;
        rescale(&mut tile, gain);
        let left = Rows { data: activations, stride: hidden, rows };
        kernels.add_f16(left, contract.weights, contract.columns, &mut tile)
    })
}

/// As the 8-bit one: every worker sums up for itself and reads its share of the weights.
pub(super) fn head<P: ParallelFor>(pass: &mut Pass<P>, logits: &mut [f32]) -> Result<(), RunError> {
    let (model, kernels, dims) = (pass.model, pass.kernels, pass.model.dims());
    let (dim, width) = (dims.padded(Extent::Dim), dims.layout.columns as usize);
    let [scale, bias] = [Slot::HeadScale, Slot::HeadBias].map(|s| model.tensor::<f32>(s, 0));
    let weights: &[u16] = model.tensor(Slot::HeadWeights, 0);
    pass.for_each_output(width, logits, |first, logits, stream, scratch| {
        if !dims.has_head {
            embed(stream, dim, [scale, bias], first, logits);
            return Ok(());
        }
        let (sums, rest) = scratch.split_at_mut_checked(aligned(4 * dim)).ok_or(Mismatch)?;
        let sums = floats(sums, dim)?;
        sum_over_tokens(stream, dim, 0, sums);
        let padded = logits.len().next_multiple_of(width.max(1));
        let out = floats(rest, padded)?;
        out.fill(0.0);
        let left = Rows { data: sums, stride: dim, rows: 1 };
        let right = RightHalves { data: part(weights, first * dim, padded * dim)?, width };
        let columns = FloatColumns { bias: part(bias, first, padded)?, scale: part(scale, first, padded)? };
        kernels.add_f16(left, right, columns, &mut Block::new(out, padded))?;
        logits.iter_mut().zip(out).for_each(|(logit, out)| *logit = *out);
        Ok(())
    })
}

fn floats(bytes: &mut [u8], len: usize) -> Result<&mut [f32], Mismatch> {
    bytemuck::try_cast_slice_mut(bytes.get_mut(..4 * len).ok_or(Mismatch)?).map_err(|_| Mismatch)
}

/// A linear layer in right panels.
struct Layer<'m> {
    weights: RightHalves<'m>,
    columns: FloatColumns<'m>,
}

impl<'m> Layer<'m> {
    fn new(model: &Model<'m>, [weights, bias, scale]: [Slot; 3], block: usize) -> Self {
        let weights = RightHalves { data: model.tensor(weights, block), width: model.dims().layout.columns as usize };
        let columns = FloatColumns { bias: model.tensor(bias, block), scale: model.tensor(scale, block) };
        Self { weights, columns }
    }
}
