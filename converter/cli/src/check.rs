//! Compares neighbouring stages of the way from checkpoint to packed model, on pictures.
//!
//! ```text
//! tract, unfolded f32 ── folding error ── folded f32 ── quantisation noise ── packed model on its kernels
//! ```
//!
//! tract shares no code with the other two. Where the checkpoint is ONNX, its own graph gives the logits.

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

/// Multiply-accumulate operations that a check may spend on each of the three forward passes by default.
const MACS: u64 = 200_000_000_000;

/// Bytes that the residual streams of one [`Check::add`] may take in each of the three.
const STREAM_BYTES: usize = 128 << 20;

/// How many pictures make a good statement in reasonable time: fewer for a larger network.
pub fn default_pictures(macs: u64) -> usize {
    usize::try_from(MACS / macs.max(1)).unwrap_or(usize::MAX).clamp(16, 1000)
}

/// A check under way: pictures go in by [`Check::add`], [`Check::finish`] gives what they showed.
pub struct Check<'a> {
    model: &'a PackedModel,
    preprocess: Preprocess,
    folded: FoldedNetwork,
    /// The unfolded network with its residual streams.
    unfolded: TractReference,
    /// The user's own ONNX graph, which gives the logits.
    own: Option<TractReference>,
    /// Whether the folded network stores the residual stream as the unfolded one has it.
    same_stream: bool,
    has_head: bool,
    stages: Vec<Stage>,
    logits: Logits,
    notes: Vec<String>,
}

/// What a check found.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// Largest difference of folded and unfolded logits, relative to the range of the logits.
    pub fold_error: f64,
    /// Share of the pictures for which the packed model and tract put the same class first; none for an embedding.
    pub top1_agreement: Option<f64>,
    /// Smallest cosine of a picture's packed and unfolded logits.
    pub cosine_min: f64,
    /// Its mean over the pictures.
    pub cosine_mean: f64,
    /// Largest difference of packed and unfolded logits.
    pub max_abs: f64,
    /// From the smallest to the largest unfolded logit.
    pub logits_range: f64,
    /// The residual stream after each stage.
    pub layers: Vec<StageFindings>,
    /// Pictures that were compared.
    pub images: usize,
}

/// The residual stream after one stage.
#[derive(Clone, Debug, Serialize)]
pub struct StageFindings {
    /// `stem`, `block.3.mix`, `block.3.mlp`.
    pub name: String,
    /// Signal to noise of the packed model against the folded network, dB; the noise of all earlier stages included.
    pub sqnr_db: f64,
    /// Largest difference of the same.
    pub max_abs: f64,
    /// Largest difference of folded and unfolded, relative to the range of the unfolded stream. None where the Affs act on
    /// the stream itself: what the folded network stores is then scaled and shifted per channel.
    pub fold_error: Option<f64>,
}

impl<'a> Check<'a> {
    /// Prepares the comparison of `model` with the `checkpoint` of the file `path`, pictures prepared by `preprocess`.
    ///
    /// # Errors
    /// Where their shapes differ, or tract refuses the network.
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

    /// What was chosen while preparing, one sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Pictures that [`Check::add`] should get at a time, for the sake of memory.
    pub fn chunk(&self) -> usize {
        let picture = self.stages.len() * self.folded.tokens() * self.folded.dim() * size_of::<f32>();
        (STREAM_BYTES / picture.max(1)).clamp(1, 64)
    }

    /// Runs pictures, each as [`Preprocess::apply`] makes them, through all three.
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

    /// What the pictures showed.
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
    /// Packed against folded.
    noise: Difference,
    /// Folded against unfolded.
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
    folding: Difference,
    packing: Difference,
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

/// Refuses a model that was made from a network of another shape.
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
    let message = format!("not made from {}: {}", path.display(), differences.join("; "));
    Err(Error::file(model.path(), message))
}

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
