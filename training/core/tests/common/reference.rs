//! The network in `f64`, from a vector of parameters in `f64`: differences of its loss are exact enough to judge
//! gradients.

use std::ops::Range;

use resmlp_network::AffinePlacement;
use resmlp_train_core::{AffineAt, Layout, LinearAt};

/// Computes the logits of one normalised picture, `[3, height, width]`, with a factor for each branch.
pub fn logits(layout: &Layout, parameters: &[f64], pixels: &[f32], keep: &[f32]) -> Vec<f64> {
    let shape = &layout.shape;
    let of = |range: &Range<usize>| &parameters[range.clone()];
    let linear = |at: &LinearAt, x: &[f64]| -> Vec<f64> {
        let rows = of(&at.weight).chunks_exact(x.len());
        rows.zip(of(&at.bias)).map(|(row, bias)| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + bias).collect()
    };
    let affine = |at: &AffineAt, x: &[f64]| -> Vec<f64> {
        of(&at.alpha).iter().zip(x).zip(of(&at.beta)).map(|((alpha, x), beta)| alpha * x + beta).collect()
    };
    let mut stream: Vec<Vec<f64>> = patches(layout, pixels).iter().map(|patch| linear(&layout.stem, patch)).collect();
    for (block, keep) in layout.blocks.iter().zip(keep.chunks_exact(2)) {
        let scaled: Vec<Vec<f64>> = stream.iter().map(|token| affine(&block.mix_affine, token)).collect();
        if shape.placement == AffinePlacement::Stream {
            stream.clone_from(&scaled);
        }
        for (d, scale) in of(&block.mix_scale).iter().enumerate() {
            let column: Vec<f64> = scaled.iter().map(|token| token[d]).collect();
            for (token, mixed) in stream.iter_mut().zip(linear(&block.mix, &column)) {
                token[d] += f64::from(keep[0]) * scale * mixed;
            }
        }
        for token in &mut stream {
            let scaled = affine(&block.mlp_affine, token);
            if shape.placement == AffinePlacement::Stream {
                token.clone_from(&scaled);
            }
            let mut hidden = linear(&block.expand, &scaled);
            hidden.iter_mut().for_each(|x| *x = resmlp_testing::activate(shape.activation, *x));
            let added = linear(&block.contract, &hidden);
            for ((x, y), scale) in token.iter_mut().zip(added).zip(of(&block.mlp_scale)) {
                *x += f64::from(keep[1]) * scale * y;
            }
        }
    }
    let tokens = stream.len() as f64;
    let mut mean = vec![0.0; shape.dim];
    for token in &stream {
        mean.iter_mut().zip(affine(&layout.final_affine, token)).for_each(|(sum, x)| *sum += x / tokens);
    }
    layout.head.as_ref().map_or(mean.clone(), |head| linear(head, &mean))
}

/// Cuts a picture into patches, each flattened as (colour, row, column).
fn patches(layout: &Layout, pixels: &[f32]) -> Vec<Vec<f64>> {
    let ([height, width], patch) = (layout.shape.image, layout.shape.patch);
    let at = |colour: usize, y: usize, x: usize| f64::from(pixels[(colour * height + y) * width + x]);
    let places = (0..height).step_by(patch).flat_map(|top| (0..width).step_by(patch).map(move |left| (top, left)));
    places
        .map(|(top, left)| {
            let inside = (0..3).flat_map(|c| (0..patch).flat_map(move |y| (0..patch).map(move |x| (c, y, x))));
            inside.map(|(c, y, x)| at(c, top + y, left + x)).collect()
        })
        .collect()
}
