//! The forward pass with 8-bit weights and activations.

use super::{Pass, RunError, embed, part, patches, rescale, sum_over_tokens};
use crate::format::{Dims, Extent, Layout, Slot};
use crate::kernels::{
    GeluColumns, Hidden, Mismatch, MixColumns, MixRows, Product, Quantiser, StreamColumns, round_clamp,
};
use crate::model::Model;
use crate::parallel::{Cut, ParallelFor};
use crate::plan::aligned;

/// `y[n,:] = We · patch[n] + be`
pub(super) fn stem<P: ParallelFor>(pass: &mut Pass<P>, image: &[u8]) -> Result<(), RunError> {
    let (model, kernels, dims) = (pass.model, pass.kernels, pass.model.dims());
    let (layout, k) = (dims.layout, dims.padded(Extent::Patch));
    let right = model.tensor(Slot::StemWeights, 0);
    let columns = StreamColumns { bias: model.tensor(Slot::StemBias, 0), scale: model.tensor(Slot::StemScale, 0) };
    pass.for_each_block(pass.plan.tiles, |first, mut tile, scratch| {
        let rows = tile.rows();
        let left = scratch.get_mut(..panel_rows(dims, rows) * k).ok_or(Mismatch)?;
        for row in 0..rows {
            tile.row_mut(row).fill(0.0);
            pack_pixels(dims, image, first + row, row, left);
        }
        kernels.add(Product { layout, k, rows, left, right }, columns, &mut tile)
    })
}

/// Puts the pixels of `token` into row `row` of left panels, as 8-bit activations `pixel - 128`.
fn pack_pixels(dims: &Dims, image: &[u8], token: usize, row: usize, panels: &mut [u8]) {
    let (layout, k) = (dims.layout, dims.padded(Extent::Patch));
    let shift = (layout.offset as u8).wrapping_sub(128);
    let group = layout.group as usize;
    let places = panels.get_mut(layout.index(layout.rows as usize, k, row, 0)..).unwrap_or_default();
    let step = (group * layout.rows as usize).max(1);
    let lines = patches::rows(dims, image, token);
    match group {
        4 if (3 * dims.patch).is_multiple_of(4) => pack_groups::<4>(places, step, lines, shift),
        8 if (3 * dims.patch).is_multiple_of(8) => pack_groups::<8>(places, step, lines, shift),
        16 if (3 * dims.patch).is_multiple_of(16) => pack_groups::<16>(places, step, lines, shift),
        _ => {
            let places = places.chunks_mut(step).flat_map(|places| places.iter_mut().take(group));
            places.zip(lines.flatten()).for_each(|(place, pixel)| *place = pixel.wrapping_add(shift));
        }
    }
}

/// Puts whole groups of pixels at every `step` bytes of `places`.
fn pack_groups<'a, const GROUP: usize>(
    places: &mut [u8],
    step: usize,
    lines: impl Iterator<Item = &'a [u8]>,
    shift: u8,
) {
    let mut at = 0;
    for line in lines {
        for pixels in line.as_chunks::<GROUP>().0 {
            if let Some(place) = places.get_mut(at..).and_then(|places| places.first_chunk_mut()) {
                *place = pixels.map(|pixel| pixel.wrapping_add(shift));
            }
            at += step;
        }
    }
}

/// `y[n,d] += s[d] · Σ_m Wt[n,m] · y[m,d] + p[d] · r[n] + q[d] · bt[n]`: first every worker quantises its tokens for all to see, then
/// it sums up for its tokens. So cores hardly need each other's parts of the stream, but those bytes.
pub(super) fn mix<P: ParallelFor>(pass: &mut Pass<P>, block: usize) -> Result<(), RunError> {
    let (model, kernels, dims) = (pass.model, pass.kernels, pass.model.dims());
    let layout = dims.layout;
    let [k, dim] = [Extent::Tokens, Extent::Dim].map(|e| dims.padded(e));
    let width = layout.columns as usize;
    let panels = dim.checked_div(width).unwrap_or(0);
    let quantiser = PerChannel::new(model, Slot::MixInputScale, Slot::MixInputOffset, block);
    let gain: &[f32] = model.tensor(Slot::MixStreamGain, block);
    pass.for_each_share(layout.group as usize, panels, k * width, |mut tokens, mut panels| {
        let rows = tokens.rows();
        for panel in 0..panels.rows() {
            let first = panel * width;
            let channels = tokens.part(0..rows, first..first + width);
            kernels.quantise_columns(layout, &channels, quantiser.part(first, width)?, panels.row_mut(panel))?;
        }
        rescale(&mut tokens, gain);
        Ok(())
    })?;
    let left: &[u8] = model.tensor(Slot::MixWeights, block);
    let correction: &[i32] = model.tensor(Slot::MixRowCorrection, block);
    let factors = [Slot::MixRowScale, Slot::MixRowSum, Slot::MixRowBias].map(|s| model.tensor::<f32>(s, block));
    let [scale, sum_gain, bias_gain] =
        [Slot::MixScale, Slot::MixSumGain, Slot::MixBiasGain].map(|s| model.tensor::<f32>(s, block));
    let columns = MixColumns { scale, sum_gain, bias_gain };
    pass.for_each_block_seeing(pass.plan.mixed, |first, mut tile, panels| {
        let (rows, padded) = (tile.rows(), panel_rows(dims, tile.rows()));
        let [scale, sum, bias] = factors.map(|values| part(values, first, padded));
        let mix_rows = MixRows { correction: part(correction, first, padded)?, scale: scale?, sum: sum?, bias: bias? };
        let right = panels.get(..k * dim).ok_or(Mismatch)?;
        let product = Product { layout, k, rows, left: part(left, first * k, padded * k)?, right };
        kernels.mix(product, mix_rows, columns, &mut tile)
    })
}

/// `y[n,:] += W2 · gelu(W1 · y[n,:] + b1) + b2`: every task has tokens of its own, whose hidden activations stay in cache.
pub(super) fn mlp<P: ParallelFor>(pass: &mut Pass<P>, block: usize) -> Result<(), RunError> {
    let (model, kernels, dims) = (pass.model, pass.kernels, pass.model.dims());
    let layout = dims.layout;
    let [dim, hidden] = [Extent::Dim, Extent::Hidden].map(|e| dims.padded(e));
    let quantiser = PerChannel::new(model, Slot::MlpInputScale, Slot::MlpInputOffset, block);
    let [expand, contract] = [Slot::ExpandWeights, Slot::ContractWeights].map(|s| model.tensor::<u8>(s, block));
    let (table, shift) = model.gelu(block).ok_or(Mismatch)?;
    let gelu = GeluColumns {
        bias: model.tensor(Slot::ExpandBias, block),
        scale: model.tensor(Slot::ExpandScale, block),
        requantise: model.tensor(Slot::HiddenScale, block),
        zero: model.tensor(Slot::HiddenZero, block),
        table,
        shift,
    };
    let [bias, scale] = [Slot::ContractBias, Slot::ContractScale];
    let columns = StreamColumns { bias: model.tensor(bias, block), scale: model.tensor(scale, block) };
    let gain: &[f32] = model.tensor(Slot::MlpStreamGain, block);
    // No weights lie by tokens here, so that shares need not begin at a panel of them.
    pass.for_each_block(Cut { unit: 1, ..pass.plan.tiles }, |_, mut tile, scratch| {
        let (rows, padded) = (tile.rows(), panel_rows(dims, tile.rows()));
        let (input, rest) = scratch.split_at_mut_checked(padded * dim).ok_or(Mismatch)?;
        let activations = rest.get_mut(..padded * hidden).ok_or(Mismatch)?;
        kernels.quantise_rows(layout, &tile, quantiser.part(0, dim)?, input)?;
        let product = Product { layout, k: dim, rows, left: input, right: expand };
        kernels.gelu(product, gelu, Hidden { panels: &mut *activations, k: hidden, first: 0 })?;
        rescale(&mut tile, gain);
        kernels.add(Product { layout, k: hidden, rows, left: activations, right: contract }, columns, &mut tile)
    })
}

/// `logits = Wh · mean_n(y) + bh`, with the mean in 16 bits: two rows of 8 bits. Every worker sums up for itself, which is little, and
/// reads its share of the weights.
pub(super) fn head<P: ParallelFor>(pass: &mut Pass<P>, logits: &mut [f32]) -> Result<(), RunError> {
    let (model, kernels, dims) = (pass.model, pass.kernels, pass.model.dims());
    let layout = dims.layout;
    let (dim, rows, width) = (dims.padded(Extent::Dim), panel_rows(dims, 2), layout.columns as usize);
    let [scale, bias] = [Slot::HeadScale, Slot::HeadBias].map(|s| model.tensor::<f32>(s, 0));
    let quantiser = PerChannel::new(model, Slot::HeadInputScale, Slot::HeadInputOffset, 0);
    let correction: &[i32] = model.tensor(Slot::HeadCorrection, 0);
    let weights: &[u8] = model.tensor(Slot::HeadWeights, 0);
    pass.for_each_output(width, logits, |first, logits, stream, scratch| {
        if !dims.has_head {
            embed(stream, dim, [scale, bias], first, logits);
            return Ok(());
        }
        let (sums, rest) = scratch.split_at_mut_checked(aligned(4 * dim)).ok_or(Mismatch)?;
        let sums = bytemuck::try_cast_slice_mut(sums).map_err(|_| Mismatch)?.get_mut(..dim).ok_or(Mismatch)?;
        let (left, rest) = rest.split_at_mut_checked(aligned(rows * dim)).ok_or(Mismatch)?;
        let left = left.get_mut(..rows * dim).ok_or(Mismatch)?;
        let results = rest.get_mut(..4 * 2 * width).ok_or(Mismatch)?;
        let results: &mut [i32] = bytemuck::try_cast_slice_mut(results).map_err(|_| Mismatch)?;
        sum_over_tokens(stream, dim, 0, sums);
        quantise_sums(layout, sums, &quantiser, left);
        let panels = weights.get(first * dim..).unwrap_or_default().chunks_exact((width * dim).max(1));
        for ((at, logits), right) in (first..).step_by(width.max(1)).zip(logits.chunks_mut(width.max(1))).zip(panels) {
            kernels.sums(Product { layout, k: dim, rows: 2, left, right }, results)?;
            let (high, low) = results.split_at_checked(width).ok_or(Mismatch)?;
            let sums = high.iter().zip(low).zip(correction.iter().skip(at));
            let coefficients = scale.iter().zip(bias).skip(at);
            for ((logit, ((&high, &low), &correction)), (&scale, &bias)) in
                logits.iter_mut().zip(sums).zip(coefficients)
            {
                let [high, low] = [high, low].map(|s| s.wrapping_add(correction) as f32);
                *logit = (high * 256.0 + low) * scale + bias;
            }
        }
        Ok(())
    })
}

/// 16-bit activations as `256 · row 0 + row 1` of left panels.
fn quantise_sums(layout: Layout, sums: &[f32], quantiser: &PerChannel, panels: &mut [u8]) {
    let (rows, k_len) = (layout.rows as usize, sums.len());
    for (k, ((&sum, &scale), &offset)) in sums.iter().zip(quantiser.scale).zip(quantiser.offset).enumerate() {
        let x = round_clamp(sum * scale + offset, -32768.0, 32639.0);
        let high = (x + 128) >> 8;
        for (row, digit) in [high, x - 256 * high].into_iter().enumerate() {
            if let Some(place) = panels.get_mut(layout.index(rows, k_len, row, k)) {
                *place = (digit as u8).wrapping_add(layout.offset as u8);
            }
        }
    }
}

/// `rows` rounded up to whole left panels.
fn panel_rows(dims: &Dims, rows: usize) -> usize {
    rows.next_multiple_of((dims.layout.rows as usize).max(1))
}

struct PerChannel<'m> {
    scale: &'m [f32],
    offset: &'m [f32],
}

impl<'m> PerChannel<'m> {
    fn new(model: &Model<'m>, scale: Slot, offset: Slot, block: usize) -> Self {
        Self { scale: model.tensor(scale, block), offset: model.tensor(offset, block) }
    }

    fn part(&self, first: usize, len: usize) -> Result<Quantiser<'m>, Mismatch> {
        Ok(Quantiser { scale: part(self.scale, first, len)?, offset: part(self.offset, first, len)? })
    }
}
