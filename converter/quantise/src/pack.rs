//! Writes packed models. The module `resmlp_runtime::format` defines where every number lies; this file puts it there.

use half::f16;
use resmlp_runtime::format::{
    Activation, Dims, Element, GELU_ENTRIES, HEADER_LEN, Layout, MAGIC, MAX_MULTIPLIER, Map, Preprocessing, Resize,
    Shape, Slot, WeightStorage, field, version_for,
};
use resmlp_runtime::{Model, checksum};

use crate::network::{QuantisedHead, QuantisedLinear, QuantisedNetwork, Quantiser};
use resmlp_network::Linear;
use resmlp_network::forward::row_sums;
use resmlp_network::{FoldedNetwork, Head};

/// What a model carries besides its tensors.
#[derive(Clone, Debug)]
pub struct Extras {
    /// One name for each class, or none at all.
    pub labels: Vec<String>,
    /// Settings with which pictures are prepared.
    pub preprocessing: Preprocessing,
    /// JSON text that says where the model comes from.
    pub provenance: String,
}

/// A reason why a network cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A size exceeds what the format or its 32-bit sums allow.
    #[error("a dimension is out of the packed format's range: {0:?}")]
    Dims(Dims),
    /// A number is not finite or too large for the format.
    #[error(
        "tensor {slot:?} of block {block} has the value {value}, expected a finite number of at most {MAX_MULTIPLIER}"
    )]
    Value {
        /// Tensor that holds the number.
        slot: Slot,
        /// Index of the block.
        block: usize,
        /// First value that does not fit.
        value: f32,
    },
    /// A fixed-point multiplier is out of the format's range.
    #[error("tensor {slot:?} of block {block} has the value {value}, expected a number from 0 to less than 1/2")]
    Fraction {
        /// Tensor that holds the number.
        slot: Slot,
        /// Index of the block.
        block: usize,
        /// First value that does not fit.
        value: f32,
    },
    /// The runtime refuses the bytes that were written.
    #[error("the runtime does not accept the packed model: {0}")]
    Invalid(#[from] resmlp_runtime::ModelError),
}

/// Returns the bytes of an int8 model whose weights are laid out in the panels of `layout`.
///
/// # Errors
/// Returns an error where a size or a number is out of the format's range.
pub fn int8(network: &QuantisedNetwork, layout: Layout, extras: &Extras) -> Result<Vec<u8>, PackError> {
    let outputs = match &network.head {
        QuantisedHead::Classifier { bias, .. } | QuantisedHead::Embedding { bias, .. } => bias.len(),
    };
    let gains = network.blocks.iter().flat_map(|b| b.mix.gain.iter().chain(&b.mlp.gain));
    let dims = Dims {
        weights: WeightStorage::Int8,
        image: network.image,
        patch: network.patch,
        dim: network.dim,
        hidden: network.hidden,
        depth: network.blocks.len(),
        outputs,
        has_head: matches!(network.head, QuantisedHead::Classifier { .. }),
        has_gains: gains.into_iter().any(|&g| g != 1.0),
        layout,
    };
    let mut file = Writer::new(dims, network.activation, extras)?;
    file.linear([Slot::StemWeights, Slot::StemBias, Slot::StemScale], 0, &network.stem)?;
    for (i, block) in network.blocks.iter().enumerate() {
        let mix = &block.mix;
        file.quantiser([Slot::MixInputScale, Slot::MixInputOffset], i, &mix.input)?;
        file.int8_weights(Slot::MixWeights, i, &mix.weights);
        file.i32s(Slot::MixRowCorrection, i, &file.corrections(&mix.weights, mix.row_scale.len()));
        file.f32s(Slot::MixRowScale, i, &mix.row_scale)?;
        file.f32s(Slot::MixRowSum, i, &mix.row_sum)?;
        file.f32s(Slot::MixRowBias, i, &mix.row_bias)?;
        file.f32s(Slot::MixScale, i, &mix.scale)?;
        file.f32s(Slot::MixSumGain, i, &mix.sum_gain)?;
        file.f32s(Slot::MixBiasGain, i, &mix.bias_gain)?;
        let mlp = &block.mlp;
        file.quantiser([Slot::MlpInputScale, Slot::MlpInputOffset], i, &mlp.input)?;
        file.sums([Slot::ExpandWeights, Slot::ExpandBias], i, &mlp.expand);
        file.fractions(Slot::ExpandScale, i, &mlp.expand.scale)?;
        file.gelu(i, &mlp.gelu.entries, mlp.gelu.shift);
        file.elements(Slot::HiddenScale, i, mlp.hidden_scale.iter().map(|v| v.to_le_bytes()));
        file.elements(Slot::HiddenZero, i, mlp.hidden_zero.iter().map(|v| v.to_le_bytes()));
        file.linear([Slot::ContractWeights, Slot::ContractBias, Slot::ContractScale], i, &mlp.contract)?;
        if dims.has_gains {
            file.f32s(Slot::MixStreamGain, i, &mix.gain)?;
            file.f32s(Slot::MlpStreamGain, i, &mlp.gain)?;
        }
    }
    let (scale, bias) = match &network.head {
        QuantisedHead::Embedding { scale, bias } => (scale, bias),
        QuantisedHead::Classifier { input, weights, scale, bias } => {
            file.quantiser([Slot::HeadInputScale, Slot::HeadInputOffset], 0, input)?;
            file.int8_weights(Slot::HeadWeights, 0, weights);
            file.i32s(Slot::HeadCorrection, 0, &file.corrections(weights, bias.len()));
            (scale, bias)
        }
    };
    file.f32s(Slot::HeadScale, 0, scale)?;
    file.f32s(Slot::HeadBias, 0, bias)?;
    file.finish(extras)
}

/// Returns the bytes of an f16 model.
///
/// # Errors
/// Returns an error where a size or a number is out of the format's range.
pub fn f16(network: &FoldedNetwork, extras: &Extras) -> Result<Vec<u8>, PackError> {
    let dims = Dims {
        weights: WeightStorage::F16,
        image: network.image,
        patch: network.patch,
        dim: network.dim(),
        hidden: network.hidden(),
        depth: network.blocks.len(),
        outputs: network.outputs(),
        has_head: matches!(network.head, Head::Classifier(_)),
        has_gains: network.explicit_scales() > 0,
        layout: Layout::F16,
    };
    let mut file = Writer::new(dims, network.activation, extras)?;
    file.half_linear([Slot::StemWeights, Slot::StemBias, Slot::StemScale], 0, &network.stem, 1.0)?;
    for (i, block) in network.blocks.iter().enumerate() {
        let scale = file.half_weights(Slot::MixWeights, i, &block.mix);
        file.f32s(Slot::MixRowScale, i, &scale)?;
        file.f32s(Slot::MixRowSum, i, &row_sums(&block.mix))?;
        file.f32s(Slot::MixRowBias, i, &block.mix.bias)?;
        file.f32s(Slot::MixScale, i, &block.scale)?;
        file.f32s(Slot::MixSumGain, i, &block.sum_gain)?;
        file.f32s(Slot::MixBiasGain, i, &block.bias_gain)?;
        file.half_linear([Slot::ExpandWeights, Slot::ExpandBias, Slot::ExpandScale], i, &block.expand, 1.0)?;
        file.half_linear([Slot::ContractWeights, Slot::ContractBias, Slot::ContractScale], i, &block.contract, 1.0)?;
        if dims.has_gains {
            file.f32s(Slot::MixStreamGain, i, &block.mix_gain)?;
            file.f32s(Slot::MlpStreamGain, i, &block.mlp_gain)?;
        }
    }
    let share = 1.0 / network.tokens() as f32;
    match &network.head {
        Head::Classifier(head) => {
            file.half_linear([Slot::HeadWeights, Slot::HeadBias, Slot::HeadScale], 0, head, share)?;
        }
        Head::Embedding { scale, bias } => {
            file.f32s(Slot::HeadScale, 0, &scale.iter().map(|s| s * share).collect::<Vec<_>>())?;
            file.f32s(Slot::HeadBias, 0, bias)?;
        }
    }
    file.finish(extras)
}

/// A model file that is being written.
struct Writer {
    /// Sizes of the network.
    dims: Dims,
    /// Activation of the channel MLPs.
    activation: Activation,
    /// Place of every tensor in the file.
    map: Map,
    /// Contents of the file. Bytes that are not written yet are zero.
    bytes: Vec<u8>,
}

impl Writer {
    /// Creates a file of the right length and writes the labels and the provenance.
    fn new(dims: Dims, activation: Activation, extras: &Extras) -> Result<Self, PackError> {
        let labels = joined(&extras.labels);
        let map = Map::new(&dims, labels.len(), extras.provenance.len());
        let map = map.filter(|_| dims.is_valid()).ok_or(PackError::Dims(dims))?;
        let mut bytes = vec![0; map.file_len()];
        let text = &mut bytes[HEADER_LEN..];
        text[..labels.len()].copy_from_slice(labels.as_bytes());
        text[labels.len()..][..extras.provenance.len()].copy_from_slice(extras.provenance.as_bytes());
        Ok(Self { dims, activation, map, bytes })
    }

    /// Writes a vector. The padding behind it stays 0.
    fn elements<const N: usize>(&mut self, slot: Slot, block: usize, values: impl Iterator<Item = [u8; N]>) {
        let places = self.bytes[self.map.range(slot, block)].chunks_exact_mut(N);
        places.zip(values).for_each(|(place, value)| place.copy_from_slice(&value));
    }

    /// Writes a vector of `f32` values.
    fn f32s(&mut self, slot: Slot, block: usize, values: &[f32]) -> Result<(), PackError> {
        debug_assert!(matches!(slot.shape(), Shape::Vector(Element::F32 | Element::Bias | Element::Fixed, _)));
        // The comparison is false for NaN, so NaN is out of range too.
        let in_range = |v: f32| v.abs() <= MAX_MULTIPLIER;
        match values.iter().find(|&&v| !in_range(v)) {
            Some(&value) => Err(PackError::Value { slot, block, value }),
            None => {
                self.elements(slot, block, values.iter().map(|v| v.to_le_bytes()));
                Ok(())
            }
        }
    }

    /// Writes a vector of fixed-point numbers: multiples of 2^-31.
    fn fractions(&mut self, slot: Slot, block: usize, values: &[f32]) -> Result<(), PackError> {
        debug_assert!(matches!(slot.shape(), Shape::Vector(Element::Fixed, _)));
        let in_range = |v: f32| (0.0..0.5).contains(&v);
        match values.iter().find(|&&v| !in_range(v)) {
            Some(&value) => Err(PackError::Fraction { slot, block, value }),
            None => {
                let fixed: Vec<i32> =
                    values.iter().map(|v| (v * (1u32 << 31) as f32).round_ties_even() as i32).collect();
                self.i32s(slot, block, &fixed);
                Ok(())
            }
        }
    }

    /// Writes a vector of `i32` values.
    fn i32s(&mut self, slot: Slot, block: usize, values: &[i32]) {
        self.elements(slot, block, values.iter().map(|v| v.to_le_bytes()));
    }

    /// Writes the table of the activation, and behind it the shift.
    fn gelu(&mut self, block: usize, entries: &[u8; GELU_ENTRIES], shift: u32) {
        self.elements(Slot::GeluTable, block, entries.iter().copied().chain([shift as u8]).map(|b| [b]));
    }

    /// Writes the scales and offsets of a quantiser.
    fn quantiser(&mut self, [scale, offset]: [Slot; 2], block: usize, quantiser: &Quantiser) -> Result<(), PackError> {
        self.f32s(scale, block, &quantiser.scale)?;
        self.f32s(offset, block, &quantiser.offset)
    }

    /// Writes weights, biases and scales of an int8 layer.
    fn linear(
        &mut self,
        [weights, bias, scale]: [Slot; 3],
        block: usize,
        l: &QuantisedLinear,
    ) -> Result<(), PackError> {
        self.sums([weights, bias], block, l);
        self.f32s(scale, block, &l.scale)
    }

    /// Writes the weights of an int8 layer, and its biases together with the corrections for the offset of activations.
    fn sums(&mut self, [weights, bias]: [Slot; 2], block: usize, l: &QuantisedLinear) {
        self.int8_weights(weights, block, &l.weights);
        let corrections = self.corrections(&l.weights, l.bias.len());
        let biases: Vec<i32> = l.bias.iter().zip(corrections).map(|(b, c)| b.wrapping_add(c)).collect();
        self.i32s(bias, block, &biases);
    }

    /// Returns the number for each row that cancels what the offset of stored activations adds to the row's sum.
    fn corrections(&self, weights: &[i8], rows: usize) -> Vec<i32> {
        let sum = |row: &[i8]| row.iter().map(|&w| i32::from(w)).sum::<i32>();
        weights.chunks_exact(weights.len() / rows).map(|row| -(self.dims.layout.offset as i32) * sum(row)).collect()
    }

    /// Writes 8-bit weights in panels.
    fn int8_weights(&mut self, slot: Slot, block: usize, weights: &[i8]) {
        self.panels(slot, block, weights.iter().map(|&w| [w as u8]));
    }

    /// Writes weights in 16 bits. Each row is divided by a power of two so that its largest weight is about 1; the
    /// powers are returned.
    fn half_weights(&mut self, slot: Slot, block: usize, layer: &Linear) -> Vec<f32> {
        let rows = layer.weight.data.chunks_exact(layer.weight.cols);
        let scale: Vec<f32> = rows.map(power_of_two).collect();
        let values = layer.weight.data.iter().enumerate().map(|(i, w)| w / scale[i / layer.weight.cols]);
        self.panels(slot, block, values.map(|w| f16::from_f32(w).to_le_bytes()));
        scale
    }

    /// Writes weights, biases and scales of an f16 layer. The scales are multiplied by `share`.
    fn half_linear(
        &mut self,
        [weights, bias, scale]: [Slot; 3],
        block: usize,
        layer: &Linear,
        share: f32,
    ) -> Result<(), PackError> {
        let scales = self.half_weights(weights, block, layer);
        self.f32s(bias, block, &layer.bias)?;
        self.f32s(scale, block, &scales.iter().map(|s| s * share).collect::<Vec<_>>())
    }

    /// Writes a row-major matrix, cut into panels.
    fn panels<const N: usize>(&mut self, slot: Slot, block: usize, values: impl Iterator<Item = [u8; N]>) {
        let (Dims { layout, .. }, shape) = (self.dims, slot.shape());
        let (panel, k) = match shape {
            Shape::Left(_, k) => (layout.rows, k),
            Shape::Right(_, k) => (layout.columns, k),
            Shape::Vector(..) | Shape::Gelu => unreachable!("{slot:?} is no matrix"),
        };
        let (k_len, k_padded) = (self.dims.exact(k), self.dims.padded(k));
        let to = &mut self.bytes[self.map.range(slot, block)];
        for (i, value) in values.enumerate() {
            let at = layout.index(panel as usize, k_padded, i / k_len, i % k_len);
            to[N * at..][..N].copy_from_slice(&value);
        }
    }

    /// Writes the header and the checksum, and lets the runtime validate the file.
    fn finish(mut self, extras: &Extras) -> Result<Vec<u8>, PackError> {
        self.header(extras);
        let sum = checksum(&self.bytes);
        self.put(field::CHECKSUM, sum.to_le_bytes());
        let aligned = resmlp_runtime::AlignedBytes::from(&*self.bytes);
        Model::parse(&aligned)?;
        Ok(self.bytes)
    }

    /// Writes bytes at an offset of the file.
    fn put<const N: usize>(&mut self, at: usize, value: [u8; N]) {
        self.bytes[at..][..N].copy_from_slice(&value);
    }

    /// Writes every field of the header but the checksum.
    fn header(&mut self, extras: &Extras) {
        let d = self.dims;
        self.put(field::MAGIC, MAGIC);
        self.put(field::VERSION, version_for(self.activation, extras.preprocessing.fit).to_le_bytes());
        self.put(field::FILE_LEN, (self.bytes.len() as u64).to_le_bytes());
        let Preprocessing { resize, fit, crop, mean, std } = extras.preprocessing;
        let resize = match resize {
            Resize::Bilinear => 0,
            Resize::Bicubic => 1,
        };
        for (at, value) in [
            (field::PRECISION, d.weights.code() as usize),
            (field::IMAGE_HEIGHT, d.image[0]),
            (field::IMAGE_WIDTH, d.image[1]),
            (field::PATCH, d.patch),
            (field::DIM, d.dim),
            (field::HIDDEN, d.hidden),
            (field::DEPTH, d.depth),
            (field::OUTPUTS, d.outputs),
            (field::HAS_HEAD, usize::from(d.has_head)),
            (field::HAS_GAINS, usize::from(d.has_gains)),
            (field::ROWS, d.layout.rows as usize),
            (field::COLUMNS, d.layout.columns as usize),
            (field::GROUP, d.layout.group as usize),
            (field::OFFSET, d.layout.offset as usize),
            (field::RESIZE, resize),
            (field::ACTIVATION, self.activation.code() as usize),
            (field::FIT, fit.code() as usize),
            (field::LABELS_LEN, joined(&extras.labels).len()),
            (field::PROVENANCE_LEN, extras.provenance.len()),
        ] {
            self.put(at, (value as u32).to_le_bytes());
        }
        self.put(field::CROP, crop.to_le_bytes());
        for (i, (m, s)) in mean.iter().zip(std).enumerate() {
            self.put(field::MEAN + 4 * i, m.to_le_bytes());
            self.put(field::STD + 4 * i, s.to_le_bytes());
        }
    }
}

/// Joins the labels, one a line. A line break inside a label becomes a space.
fn joined(labels: &[String]) -> String {
    labels.iter().map(|l| format!("{}\n", l.replace(['\n', '\r'], " "))).collect()
}

/// Returns the power of two by which a row is divided before it is stored in 16 bits.
fn power_of_two(row: &[f32]) -> f32 {
    let largest = row.iter().fold(0f32, |m, w| m.max(w.abs()));
    if largest == 0.0 { 1.0 } else { largest.log2().floor().clamp(-60.0, 29.0).exp2() }
}
