//! How the scratch memory is divided. `scratch_len` and `run` share one plan, so they cannot disagree.

use crate::format::{ALIGNMENT, Dims, Extent, Precision};
use crate::parallel::{Along, Cut};

/// Memory that all workers' tiles of tokens together may take, bytes: small enough for an L2 cache, and half of S12's tokens on one
/// worker or two. If the weights of a block do not stay in a cache from one tile to the next, they come from further away for every
/// tile, so that tiles are few: each worker may take as much.
const TILE_BYTES: usize = 210 << 10;
/// Weights of a block that stay in a cache.
const CACHED_WEIGHTS: usize = 5 << 18;

/// Lengths in bytes unless said otherwise; every part starts at a multiple of [`ALIGNMENT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub workers: usize,
    /// Rows of the residual stream: tokens.
    pub tokens: usize,
    /// Columns of the residual stream: channels, padded.
    pub dim: usize,
    /// How the stream is cut into tiles of tokens: every tile reads all weights of the channel MLP, so they are few.
    pub tiles: Cut,
    /// How it is cut into the tokens of a patch-mixing task, 8-bit: their weights stay in a cache from one channel to the next, and
    /// every task reads all quantised tokens.
    pub mixed: Cut,
    /// How the stream is cut into the channels of a patch-mixing task, f16.
    pub channels: Cut,
    /// The stream: `tokens * dim` times 4.
    pub stream: usize,
    /// A worker's own memory; all of it together holds all quantised tokens during patch mixing, 8-bit.
    pub per_worker: usize,
}

impl Plan {
    /// Lays out the memory of a forward pass on `workers` workers; `None` where it exceeds an address space.
    pub fn new(dims: &Dims, workers: usize) -> Option<Self> {
        let [rows, columns] = [dims.layout.rows, dims.layout.columns].map(|v| (v as usize).max(1));
        let [dim, hidden, patch] = [Extent::Dim, Extent::Hidden, Extent::Patch].map(|e| dims.padded(e));
        let [tokens, tokens_k] = [dims.tokens(), dims.padded(Extent::Tokens)];
        let size = match dims.precision {
            Precision::Int8 => 1,
            Precision::F16 => 4,
        };
        // A tile holds its tokens' patches, or the channel MLP's input, which is the stream itself for f16, and hidden activations.
        let per_token = match dims.precision {
            Precision::Int8 => patch.max(dim + hidden),
            Precision::F16 => patch.max(hidden),
        };
        let panels = tokens.div_ceil(rows).max(1);
        let workers = workers.min(panels).max(1);
        let per_panel = (rows * per_token).checked_mul(size)?.max(1);
        let share = panels.div_ceil(workers);
        let tiles = share.div_ceil((tile_bytes(dims, workers) / per_panel).max(1)).max(1);
        let tile_panels = share.div_ceil(tiles);
        let mixed_panels = (TILE_BYTES / workers / rows.checked_mul(tokens_k)?.max(1)).max(1);
        let head = Self::head_len(dims);
        // All workers' memory holds all quantised tokens in turn; f16, a worker's holds a panel's channels.
        let mix = match dims.precision {
            Precision::Int8 => tokens_k.checked_mul(dim)?.div_ceil(workers),
            Precision::F16 => tokens_k.checked_mul(columns)?.checked_mul(size)?,
        };
        let per_worker = (tile_panels.checked_mul(per_panel)?).max(mix).max(head);
        let plan = Self {
            workers,
            tokens,
            dim,
            tiles: Cut { along: Along::Rows, unit: rows, panel: rows, most: tile_panels },
            mixed: Cut { along: Along::Rows, unit: rows, panel: rows, most: mixed_panels },
            channels: Cut { along: Along::Columns, unit: columns, panel: columns, most: 1 },
            stream: tokens.checked_mul(dim)?.checked_mul(4)?.checked_next_multiple_of(ALIGNMENT)?,
            per_worker: per_worker.checked_next_multiple_of(ALIGNMENT)?,
        };
        plan.checked_len().map(|_| plan)
    }

    /// Bytes that the head needs: the sums over tokens; then, 8-bit, those in panels and one tile of results, or all results.
    fn head_len(dims: &Dims) -> usize {
        let [rows, columns] = [dims.layout.rows, dims.layout.columns].map(|v| v as usize);
        let dim = dims.padded(Extent::Dim);
        let rest = match dims.precision {
            Precision::Int8 => aligned((rows + 1) * dim) + aligned(4 * 2 * columns),
            Precision::F16 => aligned(4 * dims.padded(Extent::Outputs)),
        };
        aligned(4 * dim) + rest
    }

    fn checked_len(&self) -> Option<usize> {
        self.per_worker.checked_mul(self.workers)?.checked_add(self.stream)?.checked_add(ALIGNMENT - 1)
    }

    /// Bytes of scratch memory, wherever it starts.
    pub fn len(&self) -> usize {
        self.checked_len().unwrap_or(usize::MAX)
    }

    /// Cuts `scratch` into the stream and the workers' memory; `None` where it is too short.
    pub fn cut<'s>(&self, scratch: &'s mut [u8]) -> Option<(&'s mut [f32], &'s mut [u8])> {
        let skip = scratch.as_ptr().align_offset(ALIGNMENT);
        let (stream, rest) = scratch.get_mut(skip..)?.split_at_mut_checked(self.stream)?;
        let stream = bytemuck::try_cast_slice_mut(stream).ok()?.get_mut(..self.tokens * self.dim)?;
        Some((stream, rest.get_mut(..self.per_worker * self.workers)?))
    }
}

/// What a worker's tile may take.
fn tile_bytes(dims: &Dims, workers: usize) -> usize {
    let of_two_matrices = match dims.precision {
        Precision::Int8 => 2,
        Precision::F16 => 4,
    };
    let weights = dims.padded(Extent::Dim).saturating_mul(dims.padded(Extent::Hidden)).saturating_mul(of_two_matrices);
    if weights <= CACHED_WEIGHTS {
        return TILE_BYTES / workers.max(1);
    }
    // An offset says that it is a CPU with VNNI or AMX, whose cores have L2 caches of 1 or 2 MB; others have less.
    let alone = if dims.layout.offset == 128 { 4 * TILE_BYTES } else { 2 * TILE_BYTES };
    (alone / workers.max(1)).max(TILE_BYTES)
}

/// `n` rounded up to [`ALIGNMENT`].
pub(crate) fn aligned(n: usize) -> usize {
    n.next_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::{Plan, TILE_BYTES};
    use crate::format::{Dims, Extent, Layout, Precision};

    const S12: Dims = Dims {
        precision: Precision::Int8,
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

    #[test]
    fn s12_fits_half_a_megabyte_on_up_to_four_workers() {
        for workers in 1..=4 {
            let len = Plan::new(&S12, workers).unwrap().len();
            assert!(len <= 512 << 10, "{workers} workers: {len}");
        }
    }

    #[test]
    fn a_tile_is_as_large_as_fits_and_no_larger_than_it_must_be() {
        let most = [1, 2, 3, 4, 8, 25].map(|workers| Plan::new(&S12, workers).unwrap().tiles.most);
        assert_eq!(most, [13, 7, 3, 3, 1, 1]);
    }

    #[test]
    fn tiles_of_networks_whose_weights_exceed_the_cache_are_few() {
        let b24 = Dims { dim: 768, hidden: 3072, ..S12 };
        let rows = [Layout::DEFAULT, Layout::VNNI, Layout::AMX].map(|layout| {
            [S12, b24].map(|dims| {
                [1, 2, 4].map(|workers| {
                    let cut = Plan::new(&Dims { layout, ..dims }, workers).unwrap().tiles;
                    cut.most * cut.panel
                })
            })
        });
        assert_eq!(rows[0], [[104, 56, 24], [104, 56, 56]]);
        let f16 = Dims { precision: Precision::F16, layout: Layout::F16, ..S12 };
        let f16_rows = [1, 2, 4].map(|workers| Plan::new(&f16, workers).unwrap().tiles).map(|cut| cut.most * cut.panel);
        assert_eq!(f16_rows, [56, 32, 32]);
        assert_eq!(rows[1], [[104, 56, 24], [200, 104, 56]]);
        assert_eq!(rows[2], [[98, 49, 25], [196, 98, 49]]);
    }

    #[test]
    fn workers_memory_holds_a_tile_all_quantised_tokens_and_the_head() {
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
                let plan = Plan::new(&dims, workers).unwrap();
                assert!(
                    plan.workers * plan.per_worker >= dims.padded(Extent::Tokens) * plan.dim,
                    "{dims:?}, {workers}"
                );
                assert!(plan.per_worker >= Plan::head_len(&dims), "{dims:?}, {workers}");
                let mixed = plan.mixed.most * plan.mixed.panel * dims.padded(Extent::Tokens);
                assert!(plan.mixed.most == 1 || mixed <= TILE_BYTES / plan.workers, "{dims:?}, {workers}");
                let rows = plan.tiles.most * plan.tiles.panel;
                assert!(plan.per_worker >= rows * (plan.dim + dims.padded(Extent::Hidden)), "{dims:?}, {workers}");
            }
        }
    }

    #[test]
    fn scratch_may_start_anywhere() {
        let plan = Plan::new(&S12, 2).unwrap();
        let mut memory = vec![0; plan.len() + 64];
        for start in 0..64 {
            assert!(plan.cut(&mut memory[start..][..plan.len()]).is_some());
        }
        assert!(plan.cut(&mut memory[..plan.len() - 64]).is_none());
    }
}
