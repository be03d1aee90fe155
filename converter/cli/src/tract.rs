//! Runs a network in tract, an inference engine that shares no code with ours: the independent judge.

use std::sync::Arc;

use prost::Message;
use rayon::prelude::*;
use resmlp_checkpoint::export::{self, Batch};
use resmlp_checkpoint::onnx::{OnnxGraph, OnnxInput};
use resmlp_network::Network;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;

use crate::error::{Error, Result};

/// A network that is optimised and ready to run in tract.
///
/// Pictures run side by side on rayon's current pool, each on one thread: measured to be faster than batches.
pub struct TractReference {
    plan: Arc<TypedRunnableModel>,
    /// What the user's own graph reads; `None` for a graph that we exported.
    own: Option<OnnxInput>,
    /// Pictures a run takes: one, unless the user's own graph fixes another number.
    batch: usize,
    image: [usize; 2],
    input_type: DatumType,
}

/// What one picture gives on its way through the network.
#[derive(Clone, Debug)]
pub struct Trace {
    /// `[outputs]`.
    pub logits: Vec<f32>,
    /// The residual stream after the patch embedding and after each half block, `[tokens, dim]` each, in the order of
    /// [`resmlp_network::stage_names`]; empty unless the reference was made [with stages](TractReference::with_stages).
    pub stages: Vec<Vec<f32>>,
}

impl TractReference {
    /// Exports `network` unfolded and prepares it.
    pub fn from_network(network: &Network) -> Result<Self> {
        Self::export(network, false)
    }

    /// As [`Self::from_network`], with the residual streams as further results.
    pub fn with_stages(network: &Network) -> Result<Self> {
        Self::export(network, true)
    }

    fn export(network: &Network, stages: bool) -> Result<Self> {
        let model = export::to_onnx(network, Batch::Fixed(1), stages);
        Self::prepare(&model.encode_to_vec(), None, network.image)
    }

    /// Prepares the user's own graph, which holds nothing but what the reader understood.
    pub fn from_onnx(graph: &OnnxGraph) -> Result<Self> {
        Self::prepare(&graph.model.encode_to_vec(), Some(graph.input.clone()), graph.input.image)
    }

    fn prepare(model: &[u8], own: Option<OnnxInput>, image: [usize; 2]) -> Result<Self> {
        // What the file says of later shapes is for any batch; tract derives them from the input's.
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

    /// The logits of every picture; `pixels` is `[pictures, 3, height, width]`, normalised.
    pub fn logits(&self, pixels: &[f32]) -> Result<Vec<Vec<f32>>> {
        Ok(self.traces(pixels)?.into_iter().map(|trace| trace.logits).collect())
    }

    /// The logits and residual streams of every picture; `pixels` is `[pictures, 3, height, width]`, normalised.
    ///
    /// Memory: `(2 · depth + 1) · tokens · dim` floats a picture when the reference was made with stages.
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

    /// One vector of floats for every picture of the batch.
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

    /// Values of one picture.
    fn picture_len(&self) -> usize {
        3 * self.image[0] * self.image[1]
    }
}

fn failure(error: &TractError) -> Error {
    Error::Tract(format!("{error:#}"))
}
