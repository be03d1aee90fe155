//! Computes the stages of the forward pass in floating-point arithmetic, with weights of 16 bits.

use core::ops::Range;

use super::{Pass, RunError, embed, patches, rescale, sum_over_tokens};
use crate::format::{Extent, Slot};
use crate::kernels::{FloatColumns, Mismatch, MixColumns, MixRows, RightFloats, RightHalves, Rows, part_of};
use crate::model::Model;
use crate::parallel::{Block, Cut, ParallelFor, Side, WHOLE};
use crate::plan::aligned;

/// Embeds the patches: `y[n,:] = We · patch[n] + be`.
pub(super) fn stem<P: ParallelFor>(pass: &mut Pass<P>, image: &[u8]) -> Result<(), RunError> {
    let (kernels, dims) = (pass.kernels, pass.model.dims());
    let (panel, k) = (dims.layout.rows as usize, dims.patch_len());
    let layer = Layer::new(pass.model, [Slot::StemWeights, Slot::StemBias, Slot::StemScale], 0);
    let cut = Cut::shares([panel, layer.weights.width]);
    let mut stream = Block::new(pass.stream, pass.plan.dim);
    for tile in pass.plan.tiles() {
        let (first, rows) = (tile.start, tile.len());
        let mut stream = stream.part(tile, 0..WHOLE);
        let patches = floats(pass.scratch, rows * k)?;
        let copies = (Side::Left, Block::new(patches, k));
        pass.cores.for_each_share(stream.whole(), copies, [1, WHOLE], |[tokens, _], mut stream, mut copies| {
            for (row, token) in tokens.enumerate() {
                stream.row_mut(row).fill(0.0);
                let values = patches::values(dims, image, first + token);
                copies.row_mut(row).iter_mut().zip(values).for_each(|(copy, v)| *copy = f32::from(v));
            }
            Ok(())
        })?;
        let left = Rows { data: patches, stride: k, rows };
        pass.cores.for_each_block(stream, cut, |[tokens, channels], mut stream| {
            let (weights, columns) = layer.part(&channels);
            kernels.add_f16(left.part(&tokens), weights, columns, &mut stream)
        })?;
    }
    Ok(())
}

/// Mixes the patches: `y[n,d] += s[d] · Σ_m Wt[n,m] · y[m,d] + p[d] · r[n] + q[d] · bt[n]`.
///
/// Every worker copies a block of channels before it changes them.
pub(super) fn mix<P: ParallelFor>(pass: &mut Pass<P>, block: usize) -> Result<(), RunError> {
    let (model, kernels, dims) = (pass.model, pass.kernels, pass.model.dims());
    let panel = dims.layout.rows as usize;
    let left: &[u16] = model.tensor(Slot::MixWeights, block);
    let [scale, sum, bias] =
        [Slot::MixRowScale, Slot::MixRowSum, Slot::MixRowBias].map(|s| model.tensor::<f32>(s, block));
    let rows = MixRows { correction: &[], scale, sum, bias };
    let [scale, sum_gain, bias_gain] =
        [Slot::MixScale, Slot::MixSumGain, Slot::MixBiasGain].map(|s| model.tensor::<f32>(s, block));
    let of_columns = MixColumns { scale, sum_gain, bias_gain };
    let gain: &[f32] = model.tensor(Slot::MixStreamGain, block);
    let stream = Block::new(pass.stream, pass.plan.dim);
    let width = dims.layout.columns as usize;
    let cut = Cut { unit: [WHOLE, width], most: [1, kernels.tile_sizes().f16.mix_panels] };
    pass.cores.for_each_block_with(stream, cut, pass.scratch, |[_, channels], mut stream, scratch| {
        let right = floats(scratch, stream.rows() * channels.len())?;
        let panels = right.chunks_exact_mut((width * stream.rows()).max(1));
        for (panel, first) in panels.zip((0..channels.len()).step_by(width.max(1))) {
            for (row, copy) in panel.chunks_exact_mut(width.max(1)).enumerate() {
                let values = part_of(stream.row(row), &(first..first + width));
                copy.iter_mut().zip(values).for_each(|(copy, &y)| *copy = y);
            }
        }
        let right = RightFloats { data: right, width };
        rescale(&mut stream, gain, &channels);
        kernels.mix_f16(panel, left, right, rows, of_columns.part(&channels), &mut stream)
    })
}

/// Applies the channel MLP: `y[n,:] += W2 · activation(W1 · y[n,:] + b1) + b2`, one tile of tokens after the other.
pub(super) fn mlp<P: ParallelFor>(pass: &mut Pass<P>, block: usize) -> Result<(), RunError> {
    let (model, kernels, dims) = (pass.model, pass.kernels, pass.model.dims());
    let (panel, hidden) = (dims.layout.rows as usize, dims.padded(Extent::Hidden));
    let expand = Layer::new(model, [Slot::ExpandWeights, Slot::ExpandBias, Slot::ExpandScale], block);
    let contract = Layer::new(model, [Slot::ContractWeights, Slot::ContractBias, Slot::ContractScale], block);
    let gain: &[f32] = model.tensor(Slot::MlpStreamGain, block);
    let cut = Cut::shares([panel, expand.weights.width]);
    let mut stream = Block::new(pass.stream, pass.plan.dim);
    for tile in pass.plan.tiles() {
        let rows = tile.len();
        let stream = stream.part(tile, 0..WHOLE);
        let activations = floats(pass.scratch, rows * hidden)?;
        let left = Rows { data: stream.as_slice(), stride: stream.stride(), rows };
        pass.cores.for_each_block(Block::new(activations, hidden), cut, |[tokens, units], mut activations| {
            let (weights, columns) = expand.part(&units);
            kernels.hidden_f16(model.activation(), left.part(&tokens), weights, columns, &mut activations)
        })?;
        let left = Rows { data: activations, stride: hidden, rows };
        pass.cores.for_each_block(stream, cut, |[tokens, channels], mut stream| {
            rescale(&mut stream, gain, &channels);
            let (weights, columns) = contract.part(&channels);
            kernels.add_f16(left.part(&tokens), weights, columns, &mut stream)
        })?;
    }
    Ok(())
}

/// Classifies: `logits = Wh · mean_n(y) + bh`.
///
/// Every worker sums over the tokens by itself and reads its share of the classifier's weights.
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
        let right = RightHalves { data: part_of(weights, &(first * dim..(first + padded) * dim)), width };
        let columns = FloatColumns { bias, scale }.part(&(first..first + padded));
        kernels.add_f16(left, right, columns, &mut Block::new(out, padded))?;
        logits.iter_mut().zip(out).for_each(|(logit, out)| *logit = *out);
        Ok(())
    })
}

/// Returns the first `len` numbers that lie in `bytes`.
fn floats(bytes: &mut [u8], len: usize) -> Result<&mut [f32], Mismatch> {
    bytemuck::try_cast_slice_mut(bytes.get_mut(..4 * len).ok_or(Mismatch)?).map_err(|_| Mismatch)
}

/// A linear layer whose weights are in right panels.
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

    fn part(&self, columns: &Range<usize>) -> (RightHalves<'_>, FloatColumns<'_>) {
        (self.weights.part(columns, self.columns.bias.len()), self.columns.part(columns))
    }
}
