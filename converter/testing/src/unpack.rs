//! Reads an int8 model by the offsets, the order and the formulas of `runtime/FORMAT.md`. It shares no code with the
//! runtime.

use resmlp_network::Activation;
use resmlp_quantise::{
    GeluTable, QuantisedBlock, QuantisedHead, QuantisedLinear, QuantisedMix, QuantisedMlp, QuantisedNetwork, Quantiser,
};

/// The fields of a header, as `runtime/FORMAT.md` documents them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Header {
    pub version: u32,
    pub file_len: u64,
    pub precision: u32,
    pub image: [usize; 2],
    pub patch: usize,
    pub dim: usize,
    pub hidden: usize,
    pub depth: usize,
    pub outputs: usize,
    pub has_head: bool,
    pub rows: usize,
    pub columns: usize,
    pub group: usize,
    pub offset: i32,
    pub resize: u32,
    pub crop: f32,
    pub mean: [f32; 3],
    pub std: [f32; 3],
    pub labels_len: usize,
    pub provenance_len: usize,
    pub has_gains: bool,
    pub activation: u32,
    pub fit: u32,
}

/// The contents of a model file.
pub struct Unpacked {
    /// Fields of the header.
    pub header: Header,
    /// Names of the classes, each with a line break behind it.
    pub labels: String,
    /// JSON text that says where the model comes from.
    pub provenance: String,
    /// The tensors, without panels and padding.
    pub network: QuantisedNetwork,
}

fn header(file: &[u8]) -> Header {
    let u32_at = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let f32_at = |at: usize| f32::from_bits(u32_at(at));
    let size = |at: usize| u32_at(at) as usize;
    assert_eq!(&file[..8], b"RESMLP\r\n");
    Header {
        version: u32_at(8),
        file_len: u64::from_le_bytes(file[16..24].try_into().unwrap()),
        precision: u32_at(24),
        image: [size(28), size(32)],
        patch: size(36),
        dim: size(40),
        hidden: size(44),
        depth: size(48),
        outputs: size(52),
        has_head: u32_at(56) == 1,
        rows: size(60),
        columns: size(64),
        group: size(68),
        offset: u32_at(72) as i32,
        resize: u32_at(76),
        crop: f32_at(80),
        mean: [84, 88, 92].map(f32_at),
        std: [96, 100, 104].map(f32_at),
        labels_len: size(108),
        provenance_len: size(112),
        has_gains: u32_at(116) == 1,
        activation: u32_at(120),
        fit: u32_at(124),
    }
}

/// Walks through the tensors of a file, one after the other.
struct Cursor<'f> {
    file: &'f [u8],
    at: usize,
    header: Header,
}

impl<'f> Cursor<'f> {
    fn bytes(&mut self, len: usize) -> &'f [u8] {
        let bytes = &self.file[self.at..self.at + len];
        self.at += len;
        self.align();
        bytes
    }

    /// Moves to the next multiple of 64 bytes. Everything on the way must be zero.
    fn align(&mut self) {
        while !self.at.is_multiple_of(64) {
            assert_eq!(self.file[self.at], 0, "padding at {}", self.at);
            self.at += 1;
        }
    }

    /// Reads a vector of `exact` elements of `N` bytes. Padding up to `padded` elements must be zero.
    fn vector<const N: usize, T>(&mut self, exact: usize, padded: usize, element: fn([u8; N]) -> T) -> Vec<T> {
        let elements: Vec<[u8; N]> = self.bytes(N * padded).as_chunks::<N>().0.to_vec();
        assert!(elements[exact..].iter().all(|e| *e == [0; N]), "padding of a vector before {}", self.at);
        elements[..exact].iter().map(|&e| element(e)).collect()
    }

    /// Reads a matrix in panels of `panel` rows. The result is row-major and without padding.
    fn matrix(&mut self, panel: usize, [rows, k]: [usize; 2], [rows_padded, k_padded]: [usize; 2]) -> Vec<i8> {
        let bytes = self.bytes(rows_padded * k_padded);
        let g = self.header.group;
        let mut out = vec![0; rows * k];
        for i in 0..rows_padded * k_padded {
            let (r, c) = (i / k_padded, i % k_padded);
            let at = (r / panel) * panel * k_padded + (c / g) * panel * g + (r % panel) * g + c % g;
            if r < rows && c < k {
                out[r * k + c] = bytes[at] as i8;
            } else {
                assert_eq!(bytes[at], 0, "padding of a matrix before {}", self.at);
            }
        }
        out
    }
}

fn lcm(a: usize, b: usize) -> usize {
    (1..).map(|i| i * a).find(|m| m.is_multiple_of(b)).unwrap()
}

/// Returns the biases without the corrections for `offset`.
fn plain(bias: &[i32], weights: &[i8], offset: i32) -> Vec<i32> {
    let rows = weights.chunks_exact(weights.len() / bias.len());
    rows.zip(bias).map(|(row, b)| b + offset * row.iter().map(|&w| i32::from(w)).sum::<i32>()).collect()
}

/// Reads a whole int8 file.
pub fn unpack(file: &[u8]) -> Unpacked {
    let h = header(file);
    // A file has the older version where that is enough.
    assert_eq!(
        (h.version, h.file_len, h.precision),
        (2 + u32::from([h.activation, h.fit] != [0; 2]), file.len() as u64, 0)
    );
    let text = |from: usize, len: usize| String::from_utf8(file[from..from + len].to_vec()).unwrap();
    let (labels, provenance) = (text(128, h.labels_len), text(128 + h.labels_len, h.provenance_len));
    let mut file = Cursor { file, at: 128 + h.labels_len + h.provenance_len, header: h };
    file.align();

    let tokens = (h.image[0] / h.patch) * (h.image[1] / h.patch);
    let patch = 3 * h.patch * h.patch;
    let both = lcm(h.columns, h.group);
    // Each of these pairs has the length of an extent and its padded length.
    let d = [h.dim, h.dim.next_multiple_of(both)];
    let hid = [h.hidden, h.hidden.next_multiple_of(both)];
    let t = [tokens, tokens.next_multiple_of(h.group)];
    let rows = [tokens, tokens.next_multiple_of(h.rows)];
    let p = [patch, patch.next_multiple_of(h.group)];
    let out = [h.outputs, h.outputs.next_multiple_of(h.columns)];
    let f32s = |file: &mut Cursor, [exact, padded]: [usize; 2]| file.vector(exact, padded, f32::from_le_bytes);
    let i32s = |file: &mut Cursor, [exact, padded]: [usize; 2]| file.vector(exact, padded, i32::from_le_bytes);
    let linear = |file: &mut Cursor, o: [usize; 2], k: [usize; 2]| {
        let weights = file.matrix(h.columns, [o[0], k[0]], [o[1], k[1]]);
        (weights, i32s(file, o), o)
    };
    let quantiser = |file: &mut Cursor| Quantiser { scale: f32s(file, d), offset: f32s(file, d) };

    let (weights, bias, _) = linear(&mut file, d, p);
    let stem = QuantisedLinear { bias: plain(&bias, &weights, h.offset), weights, scale: f32s(&mut file, d) };
    let mut blocks = Vec::new();
    for _ in 0..h.depth {
        let file = &mut file;
        let input = quantiser(file);
        let weights = file.matrix(h.rows, [tokens, tokens], [rows[1], t[1]]);
        let correction = i32s(file, rows);
        assert!(plain(&correction, &weights, h.offset).iter().all(|&c| c == 0));
        let [row_scale, row_sum, row_bias] = [0; 3].map(|_| f32s(file, rows));
        let mix_gain = if h.has_gains { f32s(file, d) } else { vec![1.0; h.dim] };
        let [scale, sum_gain, bias_gain] = [0; 3].map(|_| f32s(file, d));
        let mix =
            QuantisedMix { input, weights, row_scale, row_sum, row_bias, scale, sum_gain, bias_gain, gain: mix_gain };
        let input = quantiser(file);
        let (weights, bias, _) = linear(file, hid, d);
        let scale = i32s(file, hid).into_iter().map(|fraction| fraction as f32 / 2f32.powi(31)).collect();
        let expand = QuantisedLinear { bias: plain(&bias, &weights, h.offset), weights, scale };
        let table = file.bytes(257);
        let gelu = GeluTable { unit: 1.0, entries: table[..256].try_into().unwrap(), shift: u32::from(table[256]) };
        let hidden_scale = file.vector(hid[0], hid[1], i16::from_le_bytes);
        let hidden_zero = file.vector(hid[0], hid[1], i8::from_le_bytes);
        let weights = file.matrix(h.columns, [h.dim, h.hidden], [d[1], hid[1]]);
        let gain = if h.has_gains { f32s(file, d) } else { vec![1.0; h.dim] };
        let bias = plain(&i32s(file, d), &weights, h.offset);
        let contract = QuantisedLinear { weights, bias, scale: f32s(file, d) };
        let mlp = QuantisedMlp { input, expand, gelu, hidden_scale, hidden_zero, contract, gain };
        blocks.push(QuantisedBlock { mix, mlp });
    }
    let head = if h.has_head {
        let input = quantiser(&mut file);
        let (weights, correction, _) = linear(&mut file, out, d);
        assert!(plain(&correction, &weights, h.offset).iter().all(|&c| c == 0));
        QuantisedHead::Classifier { input, weights, scale: f32s(&mut file, out), bias: f32s(&mut file, out) }
    } else {
        QuantisedHead::Embedding { scale: f32s(&mut file, out), bias: f32s(&mut file, out) }
    };
    assert_eq!(file.at, file.file.len(), "the file ends with the last tensor");
    let activation = match h.activation {
        0 => Activation::Gelu,
        1 => Activation::GeluTanh,
        2 => Activation::Relu,
        other => panic!("activation {other}"),
    };
    let Header { image, patch, dim, hidden, .. } = h;
    let network = QuantisedNetwork { image, patch, dim, hidden, activation, stem, blocks, head };
    Unpacked { header: h, labels, provenance, network }
}
