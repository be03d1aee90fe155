//! Compares neighbouring stages of the way from checkpoint to packed model, on pictures.
//!
//! ```text
//! tract, unfolded f32 ── folding error ── folded f32 ── quantisation noise ── packed model on its kernels
//! ```
//!
//! tract shares no code with the other two. Where the checkpoint is ONNX, its own graph gives the logits.

use std::path::Path;

use rayon::prelude::*;
use resmlp_runtime::Dims;
use serde::Serialize;

use crate::classify::{self, normalise, rank, top};
use crate::error::{Error, Result};
use crate::export::stage_names;
use crate::fold::{FoldedNetwork, fold};
use crate::network::{AffinePlacement, Network};
use crate::packed::PackedModel;
use crate::picture::Preprocess;
use crate::source::Checkpoint;
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
        let (own, notes) = classify::own_graph(path, checkpoint);
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
        let pixels: Vec<f32> = pictures.iter().flat_map(|picture| normalise(picture, &self.preprocess)).collect();
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

/// How far values are from those they should be.
struct Difference {
    signal: f64,
    noise: f64,
    largest: f64,
    low: f64,
    high: f64,
}

impl Default for Difference {
    fn default() -> Self {
        Self { signal: 0.0, noise: 0.0, largest: 0.0, low: f64::INFINITY, high: f64::NEG_INFINITY }
    }
}

impl Difference {
    fn add(&mut self, exact: &[f32], found: &[f32]) {
        for (exact, found) in exact.iter().zip(found).map(|(&e, &f)| (f64::from(e), f64::from(f))) {
            let error = (exact - found).abs();
            // Where there is no number there is no agreement.
            let error = if error.is_nan() { f64::INFINITY } else { error };
            self.signal += exact * exact;
            self.noise += error * error;
            self.largest = self.largest.max(error);
            self.low = self.low.min(exact);
            self.high = self.high.max(exact);
        }
    }

    fn range(&self) -> f64 {
        (self.high - self.low).max(0.0)
    }

    fn relative(&self) -> f64 {
        self.largest / self.range().max(f64::MIN_POSITIVE)
    }

    fn sqnr_db(&self) -> f64 {
        10.0 * (self.signal.max(1e-30) / self.noise.max(1e-30)).log10()
    }
}

/// Whether both put the same class first.
pub fn agree(a: &[f32], b: &[f32]) -> bool {
    top(a, &[], 1).first().is_some_and(|first| rank(b, first.index) == Some(0))
}

/// Cosine of two vectors: 1 where both are zero, -1 where a value is no number.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let lengths = (product(a, a) * product(b, b)).sqrt();
    match product(a, b) / lengths {
        cosine if cosine.is_finite() => cosine.clamp(-1.0, 1.0),
        _ if lengths == 0.0 && product(a, a) == product(b, b) => 1.0,
        _ => -1.0,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines() {
        assert_eq!(cosine(&[1.0, 0.0], &[2.0, 0.0]), 1.0);
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 2.0]), 0.0);
        assert_eq!(cosine(&[0.0], &[0.0]), 1.0);
        assert_eq!([cosine(&[0.0], &[1.0]), cosine(&[1.0], &[f32::NAN])], [-1.0; 2]);
    }

    #[test]
    fn differences_are_relative_to_what_should_be() {
        let mut difference = Difference::default();
        difference.add(&[-3.0, 1.0], &[-3.0, 1.5]);
        difference.add(&[5.0], &[4.0]);
        assert_eq!((difference.largest, difference.range(), difference.relative()), (1.0, 8.0, 0.125));
        assert!((difference.sqnr_db() - 10.0 * (35.0f64 / 1.25).log10()).abs() < 1e-12);
        difference.add(&[0.0], &[f32::NAN]);
        assert_eq!((difference.largest, difference.sqnr_db()), (f64::INFINITY, f64::NEG_INFINITY));
    }

    #[test]
    fn agreement_is_about_the_first_class() {
        assert!(agree(&[1.0, 3.0, 2.0], &[0.0, 0.2, 0.1]));
        assert!(!agree(&[1.0, 3.0], &[3.0, 1.0]));
        assert!(!agree(&[1.0, 3.0], &[f32::NAN, 3.0]));
    }
}
