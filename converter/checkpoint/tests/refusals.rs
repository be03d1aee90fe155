//! Tests checkpoints that hold several sets of weights, or something else. Notes state what is taken, and errors name
//! what is refused.

#[path = "common/onnx.rs"]
mod onnx;

use std::path::Path;

use resmlp_checkpoint::{LoadOptions, load_bytes};

/// Writes the part of the pickle format that `torch.save` used before PyTorch 1.6.
mod pickle {
    pub fn text(text: &str) -> Vec<u8> {
        [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
    }

    pub fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let entries: Vec<u8> = entries.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
        [b"}(", &entries[..], b"u"].concat()
    }

    fn global(module: &str, name: &str) -> Vec<u8> {
        format!("c{module}\n{name}\n").into_bytes()
    }

    fn tuple(members: &[Vec<u8>]) -> Vec<u8> {
        [b"(", &members.concat()[..], b"t"].concat()
    }

    fn number(number: u8) -> Vec<u8> {
        vec![b'K', number]
    }

    /// Pickles a storage of one element of torch's storage class `class`.
    fn storage(class: &str) -> Vec<u8> {
        let id = [text("storage"), global("torch", class), text(class), text("cpu"), number(1), b"N".to_vec()];
        [tuple(&id), b"Q".to_vec()].concat()
    }

    /// Pickles a call of torch's function `function` with a storage, a shape, strides of 0 and the arguments `more`.
    fn rebuilt(function: &str, class: &str, shape: &[u8], more: &[Vec<u8>]) -> Vec<u8> {
        let lengths: Vec<_> = shape.iter().map(|length| number(*length)).collect();
        let strides: Vec<_> = shape.iter().map(|_| number(0)).collect();
        let arguments = [storage(class), number(0), tuple(&lengths), tuple(&strides), b"\x89".to_vec(), b"N".to_vec()];
        [global("torch._utils", function), tuple(&[&arguments, more].concat()), b"R".to_vec()].concat()
    }

    pub fn tensor(class: &str, shape: &[u8]) -> Vec<u8> {
        rebuilt("_rebuild_tensor_v2", class, shape, &[])
    }

    /// Pickles a tensor of a type that has no storage class.
    pub fn newer_tensor(dtype: &str, shape: &[u8]) -> Vec<u8> {
        rebuilt("_rebuild_tensor_v3", "UntypedStorage", shape, &[global("torch", dtype)])
    }

    /// Pickles a tensor that negates the stored numbers.
    pub fn negated_tensor(class: &str, shape: &[u8]) -> Vec<u8> {
        rebuilt("_rebuild_tensor_v2", class, shape, &[dict(&[("neg", b"\x88".to_vec())])])
    }

    pub fn sparse_tensor() -> Vec<u8> {
        [global("torch._utils", "_rebuild_sparse_tensor"), tuple(&[]), b"R".to_vec()].concat()
    }

    /// Pickles an instance of `module.name` with the state `state`.
    pub fn object(module: &str, name: &str, state: &[(&str, Vec<u8>)]) -> Vec<u8> {
        [global(module, name), b")\x81".to_vec(), dict(state), b"b".to_vec()].concat()
    }

    /// Pickles a whole `torch.nn.Module` of the class `module.name`.
    pub fn network(module: &str, name: &str) -> Vec<u8> {
        object(module, name, &[("training", b"\x88".to_vec()), ("_parameters", dict(&[])), ("_modules", dict(&[]))])
    }

    /// Returns the file with the data `root`; it holds the storage of floats, if `root` names it, and no other.
    pub fn file(root: &[u8]) -> Vec<u8> {
        let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
        let mut file =
            [&magic[..], b"\x80\x02M\xe9\x03.", b"\x80\x02}.", b"\x80\x02", root, b".", b"\x80\x02"].concat();
        if root.windows(12).any(|name| name == b"FloatStorage") {
            let storage = [&1u64.to_le_bytes()[..], &0.5f32.to_le_bytes()].concat();
            file.extend([b"](", &text("FloatStorage")[..], b"e.", &storage].concat());
        } else {
            file.extend(b"].");
        }
        file
    }
}

use pickle::{dict, negated_tensor, network, newer_tensor, object, sparse_tensor, tensor};

type Entries = Vec<(&'static str, Vec<u8>)>;

/// Reads the checkpoint with these entries and returns its notes, or the error's text.
fn notes(root: &[(&str, Vec<u8>)]) -> Result<Vec<String>, String> {
    let checkpoint = load_bytes(Path::new("my.pth"), pickle::file(&dict(root)), &LoadOptions::default());
    checkpoint.map(|checkpoint| checkpoint.notes).map_err(|error| error.to_string())
}

fn refusal(root: &[(&str, Vec<u8>)]) -> String {
    notes(root).unwrap_err()
}

/// Returns the state dict of a network of one patch, 3 channels, 5 hidden units, 1 block and 2 classes.
fn state() -> Entries {
    let shapes: [(&str, &[u8]); 18] = [
        ("stem.proj.weight", &[3, 3, 4, 4]),
        ("stem.proj.bias", &[3]),
        ("blocks.0.norm1.alpha", &[3]),
        ("blocks.0.norm1.beta", &[3]),
        ("blocks.0.linear_tokens.weight", &[1, 1]),
        ("blocks.0.linear_tokens.bias", &[1]),
        ("blocks.0.ls1", &[3]),
        ("blocks.0.norm2.alpha", &[3]),
        ("blocks.0.norm2.beta", &[3]),
        ("blocks.0.mlp_channels.fc1.weight", &[5, 3]),
        ("blocks.0.mlp_channels.fc1.bias", &[5]),
        ("blocks.0.mlp_channels.fc2.weight", &[3, 5]),
        ("blocks.0.mlp_channels.fc2.bias", &[3]),
        ("blocks.0.ls2", &[3]),
        ("norm.alpha", &[3]),
        ("norm.beta", &[3]),
        ("head.weight", &[2, 3]),
        ("head.bias", &[2]),
    ];
    shapes.into_iter().map(|(name, shape)| (name, tensor("FloatStorage", shape))).collect()
}

/// Returns the entries of [`state`] with the tensor `name` added or replaced.
fn state_with(name: &'static str, tensor: Vec<u8>) -> Entries {
    let mut entries = state();
    entries.retain(|(other, _)| *other != name);
    entries.push((name, tensor));
    entries
}

#[test]
fn an_average_is_taken_whatever_lies_beside_the_other_weights() {
    let stray = || dict(&state_with("loss.weight", tensor("FloatStorage", &[3])));
    for (name, taken) in [
        ("model_ema", "weights taken from 'model_ema', not from 'model' (--key chooses)"),
        ("state_dict.EMA", "weights taken from 'state_dict.EMA', not from 'model' (--key chooses)"),
        ("teacher", "weights taken from 'teacher', not from 'model' (--key chooses)"),
        ("schema", "weights taken from 'model', not from 'schema' (--key chooses)"),
        ("cinema", "weights taken from 'model', not from 'cinema' (--key chooses)"),
    ] {
        for root in [[("model", stray()), (name, dict(&state()))], [(name, dict(&state())), ("model", stray())]] {
            let notes = notes(&root).unwrap();
            assert!(notes.iter().any(|note| note == taken), "{notes:?}, expected {taken}");
        }
    }
}

#[test]
fn a_whole_network_is_named_wherever_it_lies() {
    let whole = "my.pth: 'model' is a pickled object of class 'timm.models.MlpMixer'; expected tensors by name: save \
                 model.state_dict() instead";
    let of = || network("timm.models", "MlpMixer");
    let epoch = b"K\x07".to_vec();
    let moments = || dict(&[("exp_avg", tensor("FloatStorage", &[3]))]);
    assert_eq!(refusal(&[("model", of()), ("epoch", epoch.clone())]), whole);
    assert_eq!(refusal(&[("optimizer", moments()), ("model", of())]), whole);
    assert!(refusal(&[("run", dict(&[("net", of())]))]).contains("'run.net' is a pickled object"));
    // A whole network beside weights is ignored, and so is any other object.
    assert!(notes(&[("model", of()), ("state_dict", dict(&state()))]).is_ok());
    let arguments = || object("argparse", "Namespace", &[("lr", b"K\x01".to_vec())]);
    assert!(
        refusal(&[("args", arguments()), ("optimizer", moments())]).contains("not a ResMLP: found 1 tensors: exp_avg")
    );
    assert!(refusal(&[("args", arguments())]).contains("no dictionary of tensors"));
}

#[test]
fn a_tensor_of_another_type_is_named_with_its_type() {
    let eight_bits: Entries =
        state().into_iter().map(|(name, _)| (name, newer_tensor("float8_e4m3fn", &[3]))).collect();
    let error = refusal(&[("model", dict(&eight_bits)), ("loss", dict(&[("weight", tensor("FloatStorage", &[3]))]))]);
    let expected = "expected F16, BF16, F32 or F64";
    assert_eq!(error, format!("my.pth: tensor 'stem.proj.weight': its type is torch.float8_e4m3fn; {expected}"));
    let name = "blocks.0.norm1.alpha";
    assert_eq!(refusal(&eight_bits), error);
    for (tensor, kind) in [
        (tensor("LongStorage", &[3]), "I64"),
        (tensor("ComplexFloatStorage", &[3]), "C64"),
        (sparse_tensor(), "sparse_tensor"),
    ] {
        let error = refusal(&state_with(name, tensor));
        assert_eq!(error, format!("my.pth: tensor '{name}': its type is {kind}; {expected}"));
    }
    // The type does not matter for a tensor outside the network or in a dictionary that is not taken.
    assert!(notes(&state_with("num_batches_tracked", tensor("LongStorage", &[3]))).is_ok());
    let mask: Entries = state().into_iter().map(|(name, _)| (name, tensor("BoolStorage", &[3]))).collect();
    assert!(notes(&[("mask", dict(&mask)), ("model", dict(&state()))]).is_ok());
}

#[test]
fn no_part_of_the_network_is_left_out_for_its_type() {
    for (name, _) in state() {
        let error = refusal(&state_with(name, tensor("CharStorage", &[3])));
        assert_eq!(error, format!("my.pth: tensor '{name}': its type is I8; expected F16, BF16, F32 or F64"));
    }
    let array = || object("numpy", "ndarray", &[]);
    for (tensor, kind) in [
        (tensor("LongStorage", &[3]), "I64"),
        (newer_tensor("float8_e4m3fn", &[3]), "torch.float8_e4m3fn"),
        (sparse_tensor(), "sparse_tensor"),
        (negated_tensor("FloatStorage", &[2, 3]), "a view that negates what is stored"),
        (array(), "'numpy.ndarray'"),
    ] {
        // A classifier of which no tensor can be read must not count as missing.
        let mut entries = state_with("head.weight", tensor.clone());
        entries.retain(|(name, _)| *name != "head.bias");
        entries.push(("head.bias", tensor));
        let error = refusal(&[("model", dict(&entries))]);
        assert_eq!(error, format!("my.pth: tensor 'head.weight': its type is {kind}; expected F16, BF16, F32 or F64"));
    }
    let mut packed = state_with("blocks.0.linear_tokens._packed_params._packed_params", b")".to_vec());
    packed.retain(|(name, _)| !name.starts_with("blocks.0.linear_tokens.weight"));
    let error = refusal(&packed);
    assert!(error.contains("'blocks.0.linear_tokens.weight': its type is quantised, packed by torch.ao"), "{error}");
    // A network without a classifier is read as an embedding, with a note. A network whose classifier cannot be read is
    // refused.
    let mut body = state();
    body.retain(|(name, _)| !name.starts_with("head."));
    let notes = notes(&body).unwrap();
    let embedding = "no classifier 'head.weight': the result is an embedding of 3 numbers";
    assert_eq!(notes, [embedding, resmlp_checkpoint::GELU_IS_ASSUMED]);
    body.push(("classifier.weight", array()));
    let error = refusal(&body);
    assert!(error.contains("tensor 'classifier.weight': its type is 'numpy.ndarray'"), "{error}");
}

#[test]
fn what_comes_after_the_logits_is_named() {
    let refusal = |nodes: &[Vec<u8>]| {
        let stem = [onnx::weight("w", &[4, 3, 2, 2]), onnx::node("Conv", &["x", "w"], "c", &[2, 2])];
        let bytes = onnx::model(4, &[&stem, nodes].concat());
        load_bytes(Path::new("my.onnx"), bytes, &LoadOptions::default()).unwrap_err().to_string()
    };
    let pooled = [onnx::node("GlobalAveragePool", &["c"], "p", &[]), onnx::node("Flatten", &["p"], "f", &[])];
    for operator in ["Softmax", "LogSoftmax"] {
        // The reader skips the softmax and refuses the network before it, which has no block.
        let error = refusal(&[&pooled[..], &[onnx::node(operator, &["f"], "y", &[])]].concat());
        assert!(
            error.contains("node 'p' (GlobalAveragePool)") && error.contains("expected residual blocks"),
            "{error}"
        );
        let error = refusal(&[onnx::node(operator, &["c"], "y", &[])]);
        assert_eq!(error, format!("my.onnx: node 'y' ({operator}): not a ResMLP: it has no such operator"));
    }
    for operator in ["Sigmoid", "ArgMax", "TopK"] {
        let error = refusal(&[&pooled[..], &[onnx::node(operator, &["f"], "y", &[])]].concat());
        let expected =
            format!("my.onnx: node 'y' ({operator}): expected logits; export the network without this operator");
        assert_eq!(error, expected);
        // Without pooling, the same operator makes the graph another kind of network.
        let error = refusal(&[onnx::node(operator, &["c"], "y", &[])]);
        let is_no_vector = error.contains("the output 'y' has shape [1, 4, 2, 2]; expected one vector of logits");
        assert!(is_no_vector || error.contains("not a ResMLP"), "{error}");
    }
    for operator in ["QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "MatMulInteger"] {
        let error = refusal(&[onnx::node(operator, &["c"], "y", &[])]);
        let expected = "a quantised graph; expected the one of floats that it was made from";
        assert_eq!(error, format!("my.onnx: node 'y' ({operator}): {expected}"));
    }
}
