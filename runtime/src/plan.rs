//! Divides the scratch memory. `scratch_len` and `run` share one plan, so that they cannot disagree.

use core::ops::Range;

use crate::format::{ALIGNMENT, Dims, Extent};
use crate::kernels::{TileBytes, TileSizes};
use crate::parallel::{Cut, WHOLE};
use crate::storage::Arithmetic;

/// Largest size of a block's channel-MLP weights, in bytes, at which they stay in a cache from one tile of tokens to
/// the next.
const CACHED_WEIGHTS: usize = 5 << 18;

/// The division of the scratch memory. Lengths are in bytes unless a field says otherwise, and every part starts at a
/// multiple of [`ALIGNMENT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Number of workers that share the memory.
    pub workers: usize,
    /// Rows of the residual stream: tokens.
    pub tokens: usize,
    /// Columns of the residual stream: channels, padded.
    pub dim: usize,
    /// How the tokens are cut into tiles, which go through a layer one after the other. Every tile reads all weights of
    /// the channel MLP, so the tiles are few.
    tiles: Cut,
    /// Largest number of left panels of a patch-mixing task in 8-bit arithmetic. The weights of so many panels stay in
    /// a cache from one channel to the next.
    pub mixed_panels: usize,
    /// Length of the residual stream: four bytes for each of `tokens * dim` numbers, padded.
    pub stream: usize,
    /// Length of the memory that follows. In some stages all workers share it, in others every worker has a part of its
    /// own.
    pub shared: usize,
}

impl Plan {
    /// Lays out the memory of a forward pass with tiles of these sizes on `workers` workers. Returns `None` if its
    /// length overflows a `usize`.
    pub fn new(dims: &Dims, sizes: &TileSizes, workers: usize) -> Option<Self> {
        let [rows, columns] = [dims.layout.rows, dims.layout.columns].map(|v| (v as usize).max(1));
        let [dim, hidden, patch] = [Extent::Dim, Extent::Hidden, Extent::Patch].map(|e| dims.padded(e));
        let [tokens, tokens_k] = [dims.tokens(), dims.padded(Extent::Tokens)];
        let size = dims.arithmetic().activation_len();
        // In the stem, a tile holds its tokens' patches. In the channel MLP, it holds the hidden activations and the
        // layer's input, which in floating-point arithmetic is the stream itself.
        let per_token = match dims.arithmetic() {
            Arithmetic::Int8 => patch.max(dim + hidden),
            Arithmetic::Float => patch.max(hidden),
        };
        let panels = tokens.div_ceil(rows).max(1);
        let workers = workers.min(panels).max(1);
        let per_panel = (rows * per_token).checked_mul(size)?.max(1);
        let tiles = panels.div_ceil((tile_bytes(dims, sizes) / per_panel).max(1)).max(1);
        let tile_panels = panels.div_ceil(tiles);
        // Patch mixing holds all quantised tokens, or in floating-point arithmetic a block of channels for each worker.
        let (mix, block) = match dims.arithmetic() {
            Arithmetic::Int8 => (tokens_k.checked_mul(dim)?, 0),
            Arithmetic::Float => {
                let panels = (dim / columns).div_ceil(workers).min(sizes.f16.mix_panels);
                (0, tokens_k.checked_mul(panels * columns)?.checked_mul(size)?)
            }
        };
        let per_worker = block.max(Self::head_len(dims)).checked_next_multiple_of(ALIGNMENT)?;
        let shared = tile_panels.checked_mul(per_panel)?.max(mix).max(per_worker.checked_mul(workers)?);
        let plan = Self {
            workers,
            tokens,
            dim,
            tiles: Cut { unit: [rows, WHOLE], most: [tile_panels, WHOLE] },
            mixed_panels: (sizes.int8.cached / rows.checked_mul(tokens_k)?.max(1)).max(1),
            stream: tokens.checked_mul(dim)?.checked_mul(4)?.checked_next_multiple_of(ALIGNMENT)?,
            // The multiple makes the workers' equal shares aligned.
            shared: shared.checked_next_multiple_of(ALIGNMENT * workers)?,
        };
        plan.checked_len().map(|_| plan)
    }

    /// Returns the bytes that a worker needs in the head.
    ///
    /// They hold the sums over tokens. In 8-bit arithmetic they also hold the quantised sums in panels and one tile of
    /// results, and in floating-point arithmetic all results.
    fn head_len(dims: &Dims) -> usize {
        let [rows, columns] = [dims.layout.rows, dims.layout.columns].map(|v| v as usize);
        let dim = dims.padded(Extent::Dim);
        let rest = match dims.arithmetic() {
            Arithmetic::Int8 => aligned((rows + 1) * dim) + aligned(4 * 2 * columns),
            Arithmetic::Float => aligned(4 * dims.padded(Extent::Outputs)),
        };
        aligned(4 * dim) + rest
    }

    fn checked_len(&self) -> Option<usize> {
        self.shared.checked_add(self.stream)?.checked_add(ALIGNMENT - 1)
    }

    /// Returns the length of the scratch memory in bytes. The memory may start at any address.
    pub fn len(&self) -> usize {
        self.checked_len().unwrap_or(usize::MAX)
    }

    /// Cuts `scratch` into the stream and the memory after it. Returns `None` if it is too short.
    pub fn cut<'s>(&self, scratch: &'s mut [u8]) -> Option<(&'s mut [f32], &'s mut [u8])> {
        let skip = scratch.as_ptr().align_offset(ALIGNMENT);
        let (stream, rest) = scratch.get_mut(skip..)?.split_at_mut_checked(self.stream)?;
        let stream = bytemuck::try_cast_slice_mut(stream).ok()?.get_mut(..self.tokens * self.dim)?;
        Some((stream, rest.get_mut(..self.shared)?))
    }

    /// Returns the tiles of tokens, in their order.
    pub fn tiles(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        self.tiles.blocks(0, 0..self.tokens)
    }
}

/// Returns the bytes that a tile of tokens may take.
fn tile_bytes(dims: &Dims, sizes: &TileSizes) -> usize {
    if dims.arithmetic() == Arithmetic::Float {
        return sizes.f16.bytes;
    }
    let weights = dims.padded(Extent::Dim).saturating_mul(dims.padded(Extent::Hidden)).saturating_mul(2);
    let TileBytes { cached, streamed } = sizes.int8;
    if weights <= CACHED_WEIGHTS { cached } else { streamed }
}

/// Rounds `n` up to a multiple of [`ALIGNMENT`].
pub(crate) fn aligned(n: usize) -> usize {
    n.next_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::Plan;
    use crate::format::{Dims, Extent, Layout, WeightStorage};
    use crate::kernels::{Kernels, TileBytes, TileSizes};

    const S12: Dims = Dims {
        weights: WeightStorage::Int8,
        image: [224, 224],
        patch: 16,
        dim: 384,
        hidden: 1536,
        depth: 12,
        outputs: 1000,
        has_head: true,
        has_gains: false,
        layout: Layout::DEFAULT,
    };

    fn scalar() -> TileSizes {
        Kernels::scalar().tile_sizes()
    }

    fn tiles(dims: &Dims, workers: usize) -> Vec<usize> {
        Plan::new(dims, &scalar(), workers).unwrap().tiles().map(|tile| tile.len()).collect()
    }

    #[test]
    fn s12_fits_half_a_megabyte_on_any_number_of_workers() {
        for workers in 1..=25 {
            let len = Plan::new(&S12, &scalar(), workers).unwrap().len();
            assert!(len <= 512 << 10, "{workers} workers: {len}");
        }
    }

    #[test]
    fn tiles_are_as_even_as_panels_allow_and_cover_all_tokens() {
        for workers in [1, 2, 4, 100] {
            assert_eq!(tiles(&S12, workers), [96, 100]);
            assert_eq!(tiles(&Dims { layout: Layout::AMX, ..S12 }, workers), [98, 98]);
        }
        let large = Dims { image: [448, 448], ..S12 };
        let plan = Plan::new(&large, &scalar(), 3).unwrap();
        assert_eq!(plan.tiles().flatten().collect::<Vec<_>>(), (0..784).collect::<Vec<_>>());
    }

    #[test]
    fn tiles_of_networks_whose_weights_exceed_the_cache_are_few() {
        let b24 = Dims { dim: 768, hidden: 3072, ..S12 };
        let of_size = |layout, int8| {
            let plan = Plan::new(&Dims { layout, ..b24 }, &TileSizes { int8, ..scalar() }, 2).unwrap();
            plan.tiles().map(|tile| tile.len()).collect::<Vec<_>>()
        };
        assert_eq!(of_size(Layout::DEFAULT, TileBytes::SMALL_CACHE), [96, 100]);
        assert_eq!(of_size(Layout::VNNI, TileBytes::LARGE_CACHE), [196]);
        assert_eq!(of_size(Layout::AMX, TileBytes::LARGE_CACHE), [196]);
    }

    #[test]
    fn tiles_and_blocks_of_16_bit_models_are_what_the_kernels_want() {
        let dims = Dims { weights: WeightStorage::F16, layout: Layout::F16, ..S12 };
        let per_token = 4 * dims.hidden;
        for (kernels, workers) in Kernels::supported().flat_map(|k| [1, 2, 3, 100].map(|workers| (k, workers))) {
            let plan = Plan::new(&dims, &kernels.tile_sizes(), workers).unwrap();
            let tiles: Vec<_> = plan.tiles().map(|tile| tile.len()).collect();
            let most = kernels.tile_sizes().f16.bytes / per_token / 8 * 8;
            assert!(tiles.iter().all(|&rows| rows <= most && plan.shared >= rows * per_token), "{kernels:?} {tiles:?}");
            assert_eq!(tiles.len(), 196usize.div_ceil(most), "{kernels:?} {tiles:?}");
            let channels = 8 * kernels.tile_sizes().f16.mix_panels.min(48usize.div_ceil(plan.workers));
            assert!(plan.shared / plan.workers >= 4 * 196 * channels, "{kernels:?} {workers}");
        }
    }

    #[test]
    fn the_memory_holds_a_tile_all_quantised_tokens_and_the_head() {
        let layouts =
            [Layout::DEFAULT, Layout::NEON, Layout::I8MM, Layout::AVX_VNNI, Layout::VNNI, Layout::AMX, Layout::DSP];
        let networks = [
            S12,
            Dims { image: [24, 24], patch: 1, hidden: 8, ..S12 },
            Dims { image: [448, 448], ..S12 },
            Dims { image: [7, 7], patch: 7, dim: 33, hidden: 17, outputs: 1, ..S12 },
            Dims { image: [5, 35], patch: 5, dim: 1, hidden: 1, ..S12 },
        ];
        for (dims, layout) in networks.iter().flat_map(|dims| layouts.map(|layout| (dims, layout))) {
            let dims = Dims { layout, ..*dims };
            for workers in 1..=100 {
                let plan = Plan::new(&dims, &scalar(), workers).unwrap();
                assert!(plan.shared >= dims.padded(Extent::Tokens) * plan.dim, "{dims:?}, {workers}");
                let each = plan.shared / plan.workers;
                assert!(each.is_multiple_of(64) && each >= Plan::head_len(&dims), "{dims:?}, {workers}");
                let mixed = plan.mixed_panels * layout.rows as usize * dims.padded(Extent::Tokens);
                assert!(plan.mixed_panels == 1 || mixed <= scalar().int8.cached, "{dims:?}, {workers}");
                for tile in plan.tiles() {
                    let rows = tile.len().next_multiple_of(layout.rows as usize);
                    assert!(plan.shared >= rows * (plan.dim + dims.padded(Extent::Hidden)), "{dims:?}, {workers}");
                    assert!(plan.shared >= rows * dims.padded(Extent::Patch), "{dims:?}, {workers}");
                }
            }
        }
    }

    #[test]
    fn scratch_may_start_anywhere() {
        let plan = Plan::new(&S12, &scalar(), 2).unwrap();
        let mut memory = vec![0; plan.len() + 64];
        for start in 0..64 {
            assert!(plan.cut(&mut memory[start..][..plan.len()]).is_some());
        }
        assert!(plan.cut(&mut memory[..plan.len() - 64]).is_none());
    }
}
