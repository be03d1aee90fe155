//! Computes the stages of the forward pass in 8-bit arithmetic.

use super::{Cores, Pass, RunError, embed, patches, rescale, sum_over_tokens};
use crate::format::{Dims, Extent, Layout, Slot};
use crate::kernels::{GeluColumns, Hidden, Kernels, Mismatch, MixColumns, MixRows, Product, Quantiser, StreamColumns};
use crate::model::Model;
use crate::numerics::{head_digits, logit, quantise_head};
use crate::parallel::{Block, Cut, ParallelFor, Side, WHOLE};
use crate::plan::aligned;

/// Embeds the patches: `y[n,:] = We · patch[n] + be`.
pub(super) fn stem<P: ParallelFor>(pass: &mut Pass<P>, image: &[u8]) -> Result<(), RunError> {
    let (model, dims) = (pass.model, pass.model.dims());
    let (layout, k) = (dims.layout, dims.padded(Extent::Patch));
    let right = model.tensor(Slot::StemWeights, 0);
    let columns = StreamColumns { bias: model.tensor(Slot::StemBias, 0), scale: model.tensor(Slot::StemScale, 0) };
    let panel = layout.rows as usize;
    let mut stream = Block::new(pass.stream, pass.plan.dim);
    for tile in pass.plan.tiles() {
        let (first, rows) = (tile.start, tile.len());
        let mut stream = stream.part(tile, 0..WHOLE);
        let left = pass.scratch.get_mut(..panel_rows(dims, rows) * k).ok_or(Mismatch)?;
        let (panels, unit) = ((Side::Left, Block::new(left, panel * k)), [panel, WHOLE]);
        pass.cores.for_each_share(stream.whole(), panels, unit, |[tokens, _], mut stream, mut panels| {
            for (row, token) in tokens.enumerate() {
                stream.row_mut(row).fill(0.0);
                pack_pixels(dims, image, first + token, row, panels.as_mut_slice());
            }
            Ok(())
        })?;
        add(&pass.cores, pass.kernels, Product { layout, k, rows, left, right }, columns, stream)?;
    }
    Ok(())
}

/// Computes `stream += scale · (product + bias)` for a tile of tokens, on all workers.
fn add<P: ParallelFor>(
    cores: &Cores<P>,
    kernels: &Kernels,
    product: Product,
    of_columns: StreamColumns,
    stream: Block,
) -> Result<(), RunError> {
    let Layout { rows, columns, .. } = product.layout;
    cores.for_each_block(stream, Cut::shares([rows, columns].map(|n| n as usize)), |[rows, columns], mut stream| {
        kernels.add(product.part(rows, &columns), of_columns.part(&columns), &mut stream)
    })
}

/// Writes the pixels of `token` to row `row` of left panels, as 8-bit activations `pixel - 128`.
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

/// Writes whole groups of pixels to `places`, one every `step` bytes.
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

/// Mixes the patches: `y[n,d] += s[d] · Σ_m Wt[n,m] · y[m,d] + p[d] · r[n] + q[d] · bt[n]`.
///
/// Every worker quantises a share of the channels. If there are enough channels, it then multiplies the same share, so
/// that cores rarely need each other's parts of the stream.
pub(super) fn mix<P: ParallelFor>(pass: &mut Pass<P>, block: usize) -> Result<(), RunError> {
    let (model, kernels, dims) = (pass.model, pass.kernels, pass.model.dims());
    let layout = dims.layout;
    let [k, dim] = [Extent::Tokens, Extent::Dim].map(|e| dims.padded(e));
    let (rows, width) = (dims.tokens(), layout.columns as usize);
    let quantiser = quantiser(model, [Slot::MixInputScale, Slot::MixInputOffset], block);
    let gain: &[f32] = model.tensor(Slot::MixStreamGain, block);
    let mut stream = Block::new(pass.stream, dim);
    let right = pass.scratch.get_mut(..k * dim).ok_or(Mismatch)?;
    let (panels, unit) = ((Side::Right, Block::new(right, k * width)), [layout.group as usize, width]);
    pass.cores.for_each_share(stream.whole(), panels, unit, |[_, channels], mut stream, mut panels| {
        for (panel, first) in channels.clone().step_by(width.max(1)).enumerate() {
            let part = stream.part(0..WHOLE, panel * width..(panel + 1) * width);
            let quantiser = quantiser.part(&(first..first + width));
            kernels.quantise_columns(layout, &part, quantiser, panels.row_mut(panel))?;
        }
        rescale(&mut stream, gain, &channels);
        Ok(())
    })?;
    let [scale, sum, bias] =
        [Slot::MixRowScale, Slot::MixRowSum, Slot::MixRowBias].map(|s| model.tensor::<f32>(s, block));
    let of_rows = MixRows { correction: model.tensor(Slot::MixRowCorrection, block), scale, sum, bias };
    let [scale, sum_gain, bias_gain] =
        [Slot::MixScale, Slot::MixSumGain, Slot::MixBiasGain].map(|s| model.tensor::<f32>(s, block));
    let of_columns = MixColumns { scale, sum_gain, bias_gain };
    let product = Product { layout, k, rows, left: model.tensor(Slot::MixWeights, block), right };
    let cut = Cut { unit: [layout.rows as usize, width], most: [pass.plan.mixed_panels, WHOLE] };
    pass.cores.for_each_block(stream, cut, |[tokens, channels], mut stream| {
        let of_rows = of_rows.part(&(tokens.start..tokens.start + panel_rows(dims, tokens.len())));
        kernels.mix(product.part(tokens, &channels), of_rows, of_columns.part(&channels), &mut stream)
    })
}

/// Applies the channel MLP: `y[n,:] += W2 · gelu(W1 · y[n,:] + b1) + b2`.
///
/// The tiles of tokens follow one another, so that a tile's hidden activations stay in a cache. Every worker computes a
/// share of the hidden units and then a share of the channels, so that no two workers read the same weights.
pub(super) fn mlp<P: ParallelFor>(pass: &mut Pass<P>, block: usize) -> Result<(), RunError> {
    let (model, kernels, dims) = (pass.model, pass.kernels, pass.model.dims());
    let layout = dims.layout;
    let [dim, hidden] = [Extent::Dim, Extent::Hidden].map(|e| dims.padded(e));
    let quantiser = quantiser(model, [Slot::MlpInputScale, Slot::MlpInputOffset], block);
    let (table, shift) = model.gelu(block).ok_or(Mismatch)?;
    let of_hidden = GeluColumns {
        bias: model.tensor(Slot::ExpandBias, block),
        scale: model.tensor(Slot::ExpandScale, block),
        requantise: model.tensor(Slot::HiddenScale, block),
        zero: model.tensor(Slot::HiddenZero, block),
        table,
        shift,
    };
    let [bias, scale] = [Slot::ContractBias, Slot::ContractScale];
    let of_channels = StreamColumns { bias: model.tensor(bias, block), scale: model.tensor(scale, block) };
    let gain: &[f32] = model.tensor(Slot::MlpStreamGain, block);
    let panel = layout.rows as usize;
    let mut stream = Block::new(pass.stream, dim);
    for tile in pass.plan.tiles() {
        let (rows, padded) = (tile.len(), panel_rows(dims, tile.len()));
        let mut stream = stream.part(tile, 0..WHOLE);
        let (input, rest) = pass.scratch.split_at_mut_checked(padded * dim).ok_or(Mismatch)?;
        let activations = rest.get_mut(..padded * hidden).ok_or(Mismatch)?;
        let (panels, unit) = ((Side::Left, Block::new(input, panel * dim)), [panel, dims.hidden_step()]);
        pass.cores.for_each_share(stream.whole(), panels, unit, |[_, channels], mut stream, mut panels| {
            kernels.quantise_rows(layout, &stream, quantiser.part(&channels), &mut panels)?;
            rescale(&mut stream, gain, &channels);
            Ok(())
        })?;
        let expand = Product { layout, k: dim, rows, left: input, right: model.tensor(Slot::ExpandWeights, block) };
        let (panels, cut) = (Block::new(activations, panel * hidden), Cut::shares([1, panel * dims.hidden_step()]));
        pass.cores.for_each_block(panels, cut, |[panels, bytes], mut activations| {
            let rows = panels.start * panel..(panels.end * panel).min(rows);
            let units = bytes.start / panel.max(1)..bytes.end / panel.max(1);
            let hidden = Hidden { panels: &mut activations, first: 0 };
            kernels.gelu(expand.part(rows, &units), of_hidden.part(&units), hidden)
        })?;
        let right = model.tensor(Slot::ContractWeights, block);
        add(&pass.cores, kernels, Product { layout, k: hidden, rows, left: activations, right }, of_channels, stream)?;
    }
    Ok(())
}

/// Classifies: `logits = Wh · mean_n(y) + bh`.
///
/// The mean has 16 bits, as two rows of 8 bits. Every worker sums over the tokens by itself, which is little work, and
/// reads its share of the classifier's weights.
pub(super) fn head<P: ParallelFor>(pass: &mut Pass<P>, logits: &mut [f32]) -> Result<(), RunError> {
    let (model, kernels, dims) = (pass.model, pass.kernels, pass.model.dims());
    let layout = dims.layout;
    let (dim, rows, width) = (dims.padded(Extent::Dim), panel_rows(dims, 2), layout.columns as usize);
    let [scale, bias] = [Slot::HeadScale, Slot::HeadBias].map(|s| model.tensor::<f32>(s, 0));
    let quantiser = quantiser(model, [Slot::HeadInputScale, Slot::HeadInputOffset], 0);
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
            for ((out, ((&high, &low), &correction)), (&scale, &bias)) in logits.iter_mut().zip(sums).zip(coefficients)
            {
                *out = logit([high, low].map(|sum| sum.wrapping_add(correction)), scale, bias);
            }
        }
        Ok(())
    })
}

/// Quantises sums over tokens to 16 bits, and writes their high digits to row 0 of left panels and their low digits to
/// row 1.
fn quantise_sums(layout: Layout, sums: &[f32], quantiser: &Quantiser, panels: &mut [u8]) {
    let (rows, k_len) = (layout.rows as usize, sums.len());
    for (k, ((&sum, &scale), &offset)) in sums.iter().zip(quantiser.scale).zip(quantiser.offset).enumerate() {
        for (row, digit) in head_digits(quantise_head(sum, scale, offset)).into_iter().enumerate() {
            if let Some(place) = panels.get_mut(layout.index(rows, k_len, row, k)) {
                *place = (digit as u8).wrapping_add(layout.offset as u8);
            }
        }
    }
}

/// Rounds `rows` up to whole left panels.
fn panel_rows(dims: &Dims, rows: usize) -> usize {
    rows.next_multiple_of((dims.layout.rows as usize).max(1))
}

/// Returns the quantiser of all channels that lies in these two slots.
fn quantiser<'m>(model: &Model<'m>, [scale, offset]: [Slot; 2], block: usize) -> Quantiser<'m> {
    Quantiser { scale: model.tensor(scale, block), offset: model.tensor(offset, block) }
}
