//! Runs a network in tract, an inference engine that shares no code with this project. Its results judge those of the
//! folded and the packed network.

use std::sync::Arc;

use prost::Message;
use rayon::prelude::*;
use resmlp_checkpoint::export::{self, Batch};
use resmlp_checkpoint::onnx::{OnnxGraph, OnnxInput};
use resmlp_network::Network;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;

use crate::error::{Error, Result};

/// Largest number of nodes of a user's graph. tract takes longer for each node the more nodes there are. Exported
/// networks of 24 blocks have about 600 nodes.
const MOST_NODES: usize = 4096;

/// A network that is ready to run in tract.
///
/// Pictures run side by side on rayon's current pool, each on one thread, which was measured to be faster than batches.
pub struct TractReference {
    plan: Arc<TypedRunnableModel>,
    /// Description of the user's own graph's input; `None` for a graph that this program exported.
    own: Option<OnnxInput>,
    /// Number of pictures that one run takes: one, unless the user's own graph fixes another number.
    batch: usize,
    /// Height and width of the picture in pixels.
    image: [usize; 2],
    /// Type of the numbers that the graph reads.
    input_type: DatumType,
}

/// The result for one picture, and the residual streams on the way to it.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Result for the picture, `[outputs]`.
    pub logits: Vec<f32>,
    /// The residual stream after the patch embedding and after each half block, `[tokens, dim]` each, in the order of
    /// [`resmlp_network::stage_names`]; empty unless the reference was made [with stages](TractReference::with_stages).
    pub stages: Vec<Vec<f32>>,
}

impl TractReference {
    /// Exports `network` unfolded and prepares it.
    ///
    /// # Errors
    /// Returns tract's error where it refuses the graph.
    pub fn from_network(network: &Network) -> Result<Self> {
        Self::export(network, false)
    }

    /// Exports `network` unfolded and prepares it so that [`Self::traces`] also returns the residual streams.
    ///
    /// # Errors
    /// Returns tract's error where it refuses the graph.
    pub fn with_stages(network: &Network) -> Result<Self> {
        Self::export(network, true)
    }

    fn export(network: &Network, stages: bool) -> Result<Self> {
        let model = export::to_onnx(network, Batch::Fixed(1), stages);
        Self::prepare(&model.encode_to_vec(), None, network.image)
    }

    /// Prepares the user's own graph, which holds nothing but what the reader understood.
    ///
    /// # Errors
    /// Returns an error where the graph has more than 4,096 nodes, and tract's error where it refuses the
    /// graph.
    pub fn from_onnx(graph: &OnnxGraph) -> Result<Self> {
        let nodes = graph.model.graph.as_ref().map_or(0, |graph| graph.node.len());
        if nodes > MOST_NODES {
            return Err(Error::Tract(format!(
                "the ONNX graph needs {nodes} nodes, expected at most {MOST_NODES}, which tract can run in time; \
                 convert it and run the packed model"
            )));
        }
        Self::prepare(&graph.model.encode_to_vec(), Some(graph.input.clone()), graph.input.image)
    }

    fn prepare(model: &[u8], own: Option<OnnxInput>, image: [usize; 2]) -> Result<Self> {
        // The shapes that the file states may hold for another batch size. tract derives them from the input's shape.
        let reader = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
        let model = reader.model_for_read(&mut &*model).map_err(|error| failure(&error))?;
        let fact = model.input_fact(0).map_err(|error| failure(&error))?;
        let input_type = fact.datum_type.concretize().unwrap_or(DatumType::F32);
        let shape = own.as_ref().map_or([1, 3, image[0], image[1]], OnnxInput::shape);
        let plan = model
            .with_input_fact(0, InferenceFact::dt_shape(input_type, shape))
            .and_then(|model| model.into_optimized())
            .and_then(|model| model.into_runnable())
            .map_err(|error| failure(&error))?;
        Ok(Self { plan, own, batch: shape[0], image, input_type })
    }

    /// Returns the logits of every picture. `pixels` are normalised pictures, `[pictures, 3, height, width]`.
    ///
    /// # Errors
    /// Returns an error where `pixels` is no whole number of pictures or tract fails.
    pub fn logits(&self, pixels: &[f32]) -> Result<Vec<Vec<f32>>> {
        Ok(self.traces(pixels)?.into_iter().map(|trace| trace.logits).collect())
    }

    /// Returns the logits and residual streams of every picture. `pixels` are normalised pictures,
    /// `[pictures, 3, height, width]`.
    ///
    /// A reference that was made with stages returns `(2 · depth + 1) · tokens · dim` numbers for each picture.
    ///
    /// # Errors
    /// Returns an error where `pixels` is no whole number of pictures or tract fails.
    pub fn traces(&self, pixels: &[f32]) -> Result<Vec<Trace>> {
        let picture = self.picture_len();
        if !pixels.len().is_multiple_of(picture) {
            let message = format!("found {} pixel values, expected a multiple of {picture}", pixels.len());
            return Err(Error::Tract(message));
        }
        let batches: Result<Vec<_>> = pixels.par_chunks(self.batch * picture).map(|chunk| self.run(chunk)).collect();
        Ok(batches?.into_iter().flatten().collect())
    }

    /// Runs at most one batch.
    fn run(&self, pixels: &[f32]) -> Result<Vec<Trace>> {
        let [height, width] = self.image;
        let count = pixels.len() / self.picture_len();
        let mut padded = pixels.to_vec();
        padded.resize(self.batch * self.picture_len(), 0.0);
        let (shape, padded) = match &self.own {
            Some(input) => (input.shape(), input.pixels(&padded)),
            None => ([self.batch, 3, height, width], padded),
        };
        let fail = |error: TractError| failure(&error);
        let input = Tensor::from_shape(&shape, &padded).map_err(fail)?;
        let input = input.cast_to_dt(self.input_type).map_err(fail)?.into_owned();
        let outputs = self.plan.run(tvec![input.into()]).map_err(fail)?;
        let outputs: Vec<_> = outputs.iter().map(|output| self.split(output)).collect::<Result<_>>()?;
        let (logits, stages) = outputs.split_first().ok_or_else(|| Error::Tract("the graph has no output".into()))?;
        let trace = |index: usize| {
            let stages = stages.iter().map(|stage| stage[index].clone()).collect();
            Trace { logits: logits[index].clone(), stages }
        };
        Ok((0..count).map(trace).collect())
    }

    /// Splits an output into one vector of `f32` for every picture of the batch.
    fn split(&self, output: &Tensor) -> Result<Vec<Vec<f32>>> {
        let fail = |error: TractError| failure(&error);
        let floats = output.cast_to_dt(DatumType::F32).map_err(fail)?;
        let view = floats.to_plain_array_view::<f32>().map_err(fail)?;
        let is_batch = self.batch == 1 || view.shape().first() == Some(&self.batch);
        if !is_batch || view.is_empty() {
            let message = format!("an output has shape {:?}, expected {} pictures first", view.shape(), self.batch);
            return Err(Error::Tract(message));
        }
        let values: Vec<f32> = view.iter().copied().collect();
        Ok(values.chunks_exact(values.len() / self.batch).map(<[f32]>::to_vec).collect())
    }

    /// Returns the number of values of one picture.
    fn picture_len(&self) -> usize {
        3 * self.image[0] * self.image[1]
    }
}

fn failure(error: &TractError) -> Error {
    Error::Tract(format!("{error:#}"))
}
