//! Writes packed models. `resmlp_runtime::format` says where everything lies; here it is put there.

use half::f16;
use resmlp_runtime::format::{
    Dims, Element, GELU_ENTRIES, HEADER_LEN, Layout, MAGIC, MAX_MULTIPLIER, Map, Preprocessing, Resize, Shape, Slot,
    VERSION, WeightStorage, field,
};
use resmlp_runtime::{Model, checksum};

use crate::network::{QuantisedHead, QuantisedLinear, QuantisedNetwork, Quantiser};
use resmlp_network::Linear;
use resmlp_network::forward::row_sums;
use resmlp_network::{Activation, FoldedNetwork, Head};

/// What a model carries besides its numbers.
#[derive(Clone, Debug)]
pub struct Extras {
    /// One label a class, or none.
    pub labels: Vec<String>,
    /// How pictures are prepared.
    pub preprocessing: Preprocessing,
    /// JSON text: where the model comes from.
    pub provenance: String,
}

/// Why a network cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The format or its 32-bit sums do not allow this size.
    #[error("a dimension is out of the format's range: {0:?}")]
    Dims(Dims),
    /// A number does not fit the format.
    #[error(
        "tensor {slot:?} of block {block} has the value {value}, expected a finite number of at most {MAX_MULTIPLIER}"
    )]
    Value {
        /// Which tensor.
        slot: Slot,
        /// In which block.
        block: usize,
        /// The first value that does not fit.
        value: f32,
    },
    /// A fixed-point multiplier does not fit the format.
    #[error("tensor {slot:?} of block {block} has the value {value}, expected 0 or more, and less than 1/2")]
    Fraction {
        /// Which tensor.
        slot: Slot,
        /// In which block.
        block: usize,
        /// The first value that does not fit.
        value: f32,
    },
    /// An f16 model computes the exact GELU alone.
    #[error("the activation is {}, and f16 models compute the exact GELU alone; convert to int8", .0.name())]
    Activation(Activation),
    /// The reader refuses what was written.
    #[error("the packed model does not validate: {0}")]
    Invalid(#[from] resmlp_runtime::ModelError),
}

/// An int8 model file.
///
/// # Errors
/// Where a dimension or a number is out of the format's range.
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
    let mut file = Writer::new(dims, extras)?;
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

/// An f16 model file.
///
/// # Errors
/// Where a dimension or a number is out of the format's range, or the activation is not the exact GELU.
pub fn f16(network: &FoldedNetwork, extras: &Extras) -> Result<Vec<u8>, PackError> {
    if network.activation != Activation::Gelu {
        return Err(PackError::Activation(network.activation));
    }
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
    let mut file = Writer::new(dims, extras)?;
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

struct Writer {
    dims: Dims,
    map: Map,
    bytes: Vec<u8>,
}

impl Writer {
    fn new(dims: Dims, extras: &Extras) -> Result<Self, PackError> {
        let labels = joined(&extras.labels);
        let map = Map::new(&dims, labels.len(), extras.provenance.len());
        let map = map.filter(|_| dims.is_valid()).ok_or(PackError::Dims(dims))?;
        let mut bytes = vec![0; map.file_len()];
        let text = &mut bytes[HEADER_LEN..];
        text[..labels.len()].copy_from_slice(labels.as_bytes());
        text[labels.len()..][..extras.provenance.len()].copy_from_slice(extras.provenance.as_bytes());
        Ok(Self { dims, map, bytes })
    }

    /// A vector; what pads it to whole panels stays 0.
    fn elements<const N: usize>(&mut self, slot: Slot, block: usize, values: impl Iterator<Item = [u8; N]>) {
        let places = self.bytes[self.map.range(slot, block)].chunks_exact_mut(N);
        places.zip(values).for_each(|(place, value)| place.copy_from_slice(&value));
    }

    fn f32s(&mut self, slot: Slot, block: usize, values: &[f32]) -> Result<(), PackError> {
        debug_assert!(matches!(slot.shape(), Shape::Vector(Element::F32 | Element::Bias | Element::Fixed, _)));
        // NaN is not in range either.
        let in_range = |v: f32| v.abs() <= MAX_MULTIPLIER;
        match values.iter().find(|&&v| !in_range(v)) {
            Some(&value) => Err(PackError::Value { slot, block, value }),
            None => {
                self.elements(slot, block, values.iter().map(|v| v.to_le_bytes()));
                Ok(())
            }
        }
    }

    /// In fixed point: as fractions of 2^31.
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

    fn i32s(&mut self, slot: Slot, block: usize, values: &[i32]) {
        self.elements(slot, block, values.iter().map(|v| v.to_le_bytes()));
    }

    fn gelu(&mut self, block: usize, entries: &[u8; GELU_ENTRIES], shift: u32) {
        self.elements(Slot::GeluTable, block, entries.iter().copied().chain([shift as u8]).map(|b| [b]));
    }

    fn quantiser(&mut self, [scale, offset]: [Slot; 2], block: usize, quantiser: &Quantiser) -> Result<(), PackError> {
        self.f32s(scale, block, &quantiser.scale)?;
        self.f32s(offset, block, &quantiser.offset)
    }

    fn linear(
        &mut self,
        [weights, bias, scale]: [Slot; 3],
        block: usize,
        l: &QuantisedLinear,
    ) -> Result<(), PackError> {
        self.sums([weights, bias], block, l);
        self.f32s(scale, block, &l.scale)
    }

    /// Weights, and biases that take the offset of stored activations out of the sums again.
    fn sums(&mut self, [weights, bias]: [Slot; 2], block: usize, l: &QuantisedLinear) {
        self.int8_weights(weights, block, &l.weights);
        let corrections = self.corrections(&l.weights, l.bias.len());
        let biases: Vec<i32> = l.bias.iter().zip(corrections).map(|(b, c)| b.wrapping_add(c)).collect();
        self.i32s(bias, block, &biases);
    }

    /// What takes the offset of stored activations out of the sums again, row by row.
    fn corrections(&self, weights: &[i8], rows: usize) -> Vec<i32> {
        let sum = |row: &[i8]| row.iter().map(|&w| i32::from(w)).sum::<i32>();
        weights.chunks_exact(weights.len() / rows).map(|row| -(self.dims.layout.offset as i32) * sum(row)).collect()
    }

    fn int8_weights(&mut self, slot: Slot, block: usize, weights: &[i8]) {
        self.panels(slot, block, weights.iter().map(|&w| [w as u8]));
    }

    /// Weights in 16 bits, each row divided by the power of two that is returned, so that its largest weight is about 1.
    fn half_weights(&mut self, slot: Slot, block: usize, layer: &Linear) -> Vec<f32> {
        let rows = layer.weight.data.chunks_exact(layer.weight.cols);
        let scale: Vec<f32> = rows.map(power_of_two).collect();
        let values = layer.weight.data.iter().enumerate().map(|(i, w)| w / scale[i / layer.weight.cols]);
        self.panels(slot, block, values.map(|w| f16::from_f32(w).to_le_bytes()));
        scale
    }

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

    /// A row-major matrix, cut into panels.
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

    fn finish(mut self, extras: &Extras) -> Result<Vec<u8>, PackError> {
        self.header(extras);
        let sum = checksum(&self.bytes);
        self.put(field::CHECKSUM, sum.to_le_bytes());
        let aligned = resmlp_runtime::AlignedBytes::from(&*self.bytes);
        Model::parse(&aligned)?;
        Ok(self.bytes)
    }

    fn put<const N: usize>(&mut self, at: usize, value: [u8; N]) {
        self.bytes[at..][..N].copy_from_slice(&value);
    }

    fn header(&mut self, extras: &Extras) {
        let d = self.dims;
        self.put(field::MAGIC, MAGIC);
        self.put(field::VERSION, VERSION.to_le_bytes());
        self.put(field::FILE_LEN, (self.bytes.len() as u64).to_le_bytes());
        let Preprocessing { resize, crop, mean, std } = extras.preprocessing;
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

/// One label a line.
fn joined(labels: &[String]) -> String {
    labels.iter().map(|l| format!("{}\n", l.replace(['\n', '\r'], " "))).collect()
}

/// The power of two by which a row is divided before it is stored in 16 bits.
fn power_of_two(row: &[f32]) -> f32 {
    let largest = row.iter().fold(0f32, |m, w| m.max(w.abs()));
    if largest == 0.0 { 1.0 } else { largest.log2().floor().clamp(-60.0, 29.0).exp2() }
}
