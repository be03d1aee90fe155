//! Fits the patch mixing of a trained network to another number of patches.

use resmlp_network::{Linear, Matrix, Network};

/// Returns the network for pictures of another size, with the same patches.
///
/// A patch mixing is a matrix over the grid of patches on both sides. The new one resamples its input to the old grid,
/// applies the old matrix, and resamples the result to the new grid; everything else stays. The resampling is linear
/// and, where the grid becomes coarser, averages, as Pillow's bilinear filter does. The network has to be fine-tuned
/// afterwards.
///
/// # Panics
/// Panics if a side of `image` is no multiple of the patch.
pub fn regrid(network: &Network, image: [usize; 2]) -> Network {
    let grid = |image: [usize; 2]| {
        assert!(image.iter().all(|side| side.is_multiple_of(network.patch)), "whole patches");
        image.map(|side| side / network.patch)
    };
    let (old, new) = (grid(network.image), grid(image));
    let (to_old, to_new) = (plane(new, old), plane(old, new));
    let mut result = network.clone();
    result.image = image;
    for block in &mut result.blocks {
        let Linear { weight, bias } = &block.mix;
        let bias = Matrix { rows: bias.len(), cols: 1, data: bias.clone() };
        block.mix = Linear { weight: product(&product(&to_new, weight), &to_old), bias: product(&to_new, &bias).data };
    }
    result
}

/// Returns the matrix that resamples a plane of patches, `[to, from]`.
fn plane(from: [usize; 2], to: [usize; 2]) -> Matrix {
    let [rows, cols] = [0, 1].map(|axis| line(from[axis], to[axis]));
    let mut matrix = Matrix::zeros(to[0] * to[1], from[0] * from[1]);
    for (at, row) in matrix.data.chunks_exact_mut(from[0] * from[1]).enumerate() {
        for (source, value) in row.iter_mut().enumerate() {
            let vertical = rows.row(at / to[1])[source / from[1]];
            *value = vertical * cols.row(at % to[1])[source % from[1]];
        }
    }
    matrix
}

/// Returns the matrix that resamples a line, `[to, from]`, with a triangle filter that becomes wider where the line
/// becomes shorter.
fn line(from: usize, to: usize) -> Matrix {
    let scale = from as f64 / to as f64;
    let width = scale.max(1.0);
    let mut matrix = Matrix::zeros(to, from);
    for at in 0..to {
        let centre = (at as f64 + 0.5) * scale;
        let weight = |source: usize| (1.0 - ((source as f64 + 0.5 - centre) / width).abs()).max(0.0);
        let sum: f64 = (0..from).map(weight).sum();
        for (source, value) in matrix.row_mut(at).iter_mut().enumerate() {
            *value = (weight(source) / sum) as f32;
        }
    }
    matrix
}

/// Returns `a · b`, added up in `f64`.
fn product(a: &Matrix, b: &Matrix) -> Matrix {
    let mut out = Matrix::zeros(a.rows, b.cols);
    for r in 0..a.rows {
        let mut sums = vec![0f64; b.cols];
        for (k, &factor) in a.row(r).iter().enumerate().filter(|(_, factor)| **factor != 0.0) {
            sums.iter_mut().zip(b.row(k)).for_each(|(sum, &x)| *sum += f64::from(factor) * f64::from(x));
        }
        out.row_mut(r).iter_mut().zip(sums).for_each(|(to, sum)| *to = sum as f32);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use resmlp_network::AffinePlacement;
    use resmlp_testing::{Random, Shape, evaluate};

    fn network() -> Network {
        let shape = Shape { image: [4, 6], patch: 2, dim: 5, hidden: 7, depth: 2, classes: Some(3) };
        Random(3).network(&shape, AffinePlacement::Branch)
    }

    #[test]
    fn the_same_size_changes_nothing() {
        assert_eq!(regrid(&network(), [4, 6]), network());
    }

    #[test]
    fn a_picture_whose_patches_are_all_alike_keeps_its_logits() {
        // Every patch shows the same, so the stream is the same everywhere, if the biases of the mixing are, too.
        let mut network = network();
        for block in &mut network.blocks {
            let row = block.mix.weight.row(0).to_vec();
            (1..block.mix.weight.rows).for_each(|r| block.mix.weight.row_mut(r).copy_from_slice(&row));
            block.mix.bias.fill(0.25);
        }
        let picture = |[height, width]: [usize; 2]| -> Vec<f32> {
            (0..3 * height * width).map(|i| (i / (height * width)) as f32 + (i % width % 2) as f32 * 0.5).collect()
        };
        let expected = evaluate(&network, &picture([4, 6])).logits;
        for image in [[4, 6], [8, 12], [2, 6], [10, 2], [6, 10]] {
            let found = evaluate(&regrid(&network, image), &picture(image)).logits;
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{image:?}: {found}, not {expected}");
            }
        }
    }

    #[test]
    fn lines_are_resampled_as_pillow_does() {
        // Pillow 13: Image.fromarray(numpy.float32([[0, 0, 1, 0]])).resize((2, 1), BILINEAR), and (8, 1).
        let source = |matrix: Matrix| -> Vec<f32> { (0..matrix.rows).map(|r| matrix.row(r)[2]).collect() };
        assert_eq!(source(line(4, 2)), [0.142_857_15, 0.428_571_43]);
        assert_eq!(source(line(4, 8)), [0.0, 0.0, 0.0, 0.25, 0.75, 0.75, 0.25, 0.0]);
    }
}
