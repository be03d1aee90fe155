//! Compares the neighbouring stages between a checkpoint and a packed model on pictures.
//!
//! ```text
//! tract, unfolded f32 ── folding error ── folded f32 ── quantisation noise ── packed model on its kernels
//! ```
//!
//! The inference engine tract shares no code with the other two. Where the checkpoint is an ONNX file, its own graph
//! gives the unfolded logits.

use std::path::Path;

use rayon::prelude::*;
use resmlp_checkpoint::Checkpoint;
use resmlp_network::metrics::{Difference, agree, cosine};
use resmlp_network::{AffinePlacement, FoldedNetwork, Network, fold, stage_names};
use resmlp_picture::Preprocess;
use resmlp_runtime::Dims;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::packed::PackedModel;
use crate::reference::own_graph;
use crate::tract::{Trace, TractReference};

/// Number of multiply-accumulate operations that each of the three forward passes may take by default.
const MACS: u64 = 200_000_000_000;

/// Number of bytes that the residual streams of one [`Check::add`] may take in each of the three forward passes.
const STREAM_BYTES: usize = 128 << 20;

/// Returns the number of pictures with which a check takes a reasonable time, from 16 to 1000. `macs` is the number of
/// multiply-accumulate operations of one forward pass; the larger the network, the fewer the pictures.
pub fn default_pictures(macs: u64) -> usize {
    usize::try_from(MACS / macs.max(1)).unwrap_or(usize::MAX).clamp(16, 1000)
}

/// A comparison under way. [`Check::add`] takes pictures in, [`Check::finish`] returns what they showed.
pub struct Check<'a> {
    model: &'a PackedModel,
    preprocess: Preprocess,
    folded: FoldedNetwork,
    /// The unfolded network, which also returns its residual streams.
    unfolded: TractReference,
    /// The user's own ONNX graph, whose logits take the place of the unfolded network's.
    own: Option<TractReference>,
    /// Whether the folded network stores the same residual stream as the unfolded one.
    same_stream: bool,
    has_head: bool,
    stages: Vec<Stage>,
    logits: Logits,
    notes: Vec<String>,
}

/// The findings of a check. They are fields of the JSON object of `resmlp check --json`.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// Largest difference between folded and unfolded logits, relative to `logits_range`.
    pub fold_error: f64,
    /// Share of the pictures for which the packed model and tract put the same class first, from 0 to 1; `null` for an
    /// embedding model.
    pub top1_agreement: Option<f64>,
    /// Smallest cosine between the packed and the unfolded logits of a picture.
    pub cosine_min: f64,
    /// Mean of this cosine over the pictures.
    pub cosine_mean: f64,
    /// Largest difference between packed and unfolded logits.
    pub max_abs: f64,
    /// Distance from the smallest to the largest unfolded logit of all pictures.
    pub logits_range: f64,
    /// Comparison of the residual stream after each stage, from the stem to the last block.
    pub layers: Vec<StageFindings>,
    /// Number of pictures that were compared.
    pub images: usize,
}

/// The comparison of the residual stream after one stage.
#[derive(Clone, Debug, Serialize)]
pub struct StageFindings {
    /// Name of the stage: `stem`, `block.3.mix` or `block.3.mlp`.
    pub name: String,
    /// Signal-to-noise ratio of the packed model against the folded network, in dB. The noise of all earlier stages is
    /// part of it.
    pub sqnr_db: f64,
    /// Largest difference between the packed model and the folded network.
    pub max_abs: f64,
    /// Largest difference between the folded and the unfolded stream, relative to the range of the unfolded one. It is
    /// `null` where the Affs act on the stream itself, because the folded stream is then scaled and shifted channel by
    /// channel.
    pub fold_error: Option<f64>,
}

impl<'a> Check<'a> {
    /// Prepares the comparison of `model` with the `checkpoint` of the file `path` on pictures that `preprocess`
    /// prepared.
    ///
    /// # Errors
    /// Returns an error where the shapes of the two differ or tract refuses the network.
    pub fn new(path: &Path, checkpoint: &Checkpoint, preprocess: &Preprocess, model: &'a PackedModel) -> Result<Self> {
        let network = &checkpoint.network;
        require_same_shape(path, network, model)?;
        let (own, notes) = own_graph(path, checkpoint);
        Ok(Self {
            model,
            preprocess: preprocess.clone(),
            folded: fold(network, preprocess.mean, preprocess.std),
            unfolded: TractReference::with_stages(network)?,
            own,
            same_stream: network.placement == AffinePlacement::Branch,
            has_head: network.head.is_some(),
            stages: stage_names(network).into_iter().map(Stage::new).collect(),
            logits: Logits::default(),
            notes,
        })
    }

    /// Returns what was chosen while preparing, one sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the number of pictures that [`Check::add`] should get at a time, so that memory stays within bounds.
    pub fn chunk(&self) -> usize {
        let picture = self.stages.len() * self.folded.tokens() * self.folded.dim() * size_of::<f32>();
        (STREAM_BYTES / picture.max(1)).clamp(1, 64)
    }

    /// Runs pictures, as [`Preprocess::apply`] returns them, through all three forward passes.
    ///
    /// # Errors
    /// Returns an error where tract or the runtime fails.
    pub fn add(&mut self, pictures: &[Vec<u8>]) -> Result<()> {
        let pixels: Vec<f32> = pictures.iter().flat_map(|picture| self.preprocess.normalise(picture)).collect();
        let mut unfolded = self.unfolded.traces(&pixels)?;
        if let Some(own) = &self.own {
            let logits = own.logits(&pixels)?;
            unfolded.iter_mut().zip(logits).for_each(|(trace, logits)| trace.logits = logits);
        }
        let packed: Vec<Trace> = pictures
            .par_iter()
            .map(|picture| self.model.trace(picture).map(|(logits, stages)| Trace { logits, stages }))
            .collect::<Result<_>>()?;
        let (stages, same_stream) = (&mut self.stages, self.same_stream);
        let folded = self.folded.forward_observed(pictures, &mut |index, stream| {
            let picture = stream.len() / pictures.len().max(1);
            for (folded, (unfolded, packed)) in stream.chunks_exact(picture).zip(unfolded.iter().zip(&packed)) {
                stages[index].noise.add(folded, &packed.stages[index]);
                if same_stream {
                    stages[index].folding.add(&unfolded.stages[index], folded);
                }
            }
        });
        for ((unfolded, packed), folded) in unfolded.iter().zip(&packed).zip(folded.chunks(self.folded.outputs())) {
            self.logits.add(&unfolded.logits, folded, &packed.logits);
        }
        Ok(())
    }

    /// Returns what the pictures showed.
    pub fn finish(&self) -> Findings {
        let Logits { images, folding, packing, agreed, cosine_sum, cosine_min } = &self.logits;
        let count = (*images).max(1) as f64;
        let layer = |stage: &Stage| StageFindings {
            name: stage.name.clone(),
            sqnr_db: stage.noise.sqnr_db(),
            max_abs: stage.noise.largest,
            fold_error: self.same_stream.then(|| stage.folding.relative()),
        };
        Findings {
            fold_error: folding.relative(),
            top1_agreement: self.has_head.then_some(*agreed as f64 / count),
            cosine_min: *cosine_min,
            cosine_mean: cosine_sum / count,
            max_abs: packing.largest,
            logits_range: packing.range(),
            layers: self.stages.iter().map(layer).collect(),
            images: *images,
        }
    }
}

/// The comparison of one residual stream.
struct Stage {
    name: String,
    /// Packed stream against folded stream.
    noise: Difference,
    /// Folded stream against unfolded stream.
    folding: Difference,
}

impl Stage {
    fn new(name: String) -> Self {
        Self { name, noise: Difference::default(), folding: Difference::default() }
    }
}

/// The comparison of the logits.
struct Logits {
    images: usize,
    /// Folded logits against unfolded ones.
    folding: Difference,
    /// Packed logits against unfolded ones.
    packing: Difference,
    /// Number of pictures whose first class is the same, packed and unfolded.
    agreed: usize,
    cosine_sum: f64,
    cosine_min: f64,
}

impl Default for Logits {
    fn default() -> Self {
        let [folding, packing] = [Difference::default(), Difference::default()];
        Self { images: 0, folding, packing, agreed: 0, cosine_sum: 0.0, cosine_min: 1.0 }
    }
}

impl Logits {
    /// Adds the three vectors of logits of one picture.
    fn add(&mut self, unfolded: &[f32], folded: &[f32], packed: &[f32]) {
        self.images += 1;
        self.folding.add(unfolded, folded);
        self.packing.add(unfolded, packed);
        self.agreed += usize::from(agree(unfolded, packed));
        let cosine = cosine(unfolded, packed);
        self.cosine_sum += cosine;
        self.cosine_min = self.cosine_min.min(cosine);
    }
}

/// Refuses a model that was made from a network of another shape. The error names every difference.
fn require_same_shape(path: &Path, network: &Network, model: &PackedModel) -> Result<()> {
    let dims = *model.model()?.dims();
    let differences: Vec<String> = shapes(&dims)
        .into_iter()
        .zip(checkpoint_shapes(network))
        .filter(|(model, checkpoint)| model != checkpoint)
        .map(|((name, found), (_, expected))| format!("{name} {found}, expected {expected}"))
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    let message = format!("the model was not made from {}: {}", path.display(), differences.join("; "));
    Err(Error::file(model.path(), message))
}

/// Names and values of the sizes in which a model and its checkpoint must agree.
type Shapes = [(&'static str, String); 7];

fn shapes(dims: &Dims) -> Shapes {
    let outputs = outputs(dims.has_head, dims.outputs);
    named_shapes(dims.image, [dims.patch, dims.tokens(), dims.dim, dims.hidden, dims.depth], outputs)
}

fn checkpoint_shapes(network: &Network) -> Shapes {
    let outputs = outputs(network.head.is_some(), network.outputs());
    let sizes = [network.patch, network.tokens(), network.dim(), network.hidden(), network.blocks.len()];
    named_shapes(network.image, sizes, outputs)
}

fn named_shapes([height, width]: [usize; 2], sizes: [usize; 5], outputs: String) -> Shapes {
    let [patch, tokens, dim, hidden, depth] = sizes.map(|size| size.to_string());
    [
        ("picture", format!("{height} × {width}")),
        ("patch", patch),
        ("tokens", tokens),
        ("channels", dim),
        ("hidden", hidden),
        ("blocks", depth),
        ("outputs", outputs),
    ]
}

fn outputs(has_head: bool, count: usize) -> String {
    format!("{count} {}", if has_head { "classes" } else { "channels of an embedding" })
}
