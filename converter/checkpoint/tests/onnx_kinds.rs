//! Kinds of ONNX graphs that exporters write: each is read as the network that it computes, or refused by name.

use std::path::Path;

use prost::Message;
use resmlp_checkpoint::export::{Batch, LOGITS, to_onnx};
use resmlp_checkpoint::onnx::proto::{
    AttributeProto, AttributeType, DataType, FunctionProto, GraphProto, Length, ModelProto, NodeProto,
    OperatorSetIdProto, TensorProto, ValueInfoProto,
};
use resmlp_checkpoint::{Checkpoint, LoadOptions, load_bytes};
use resmlp_network::{Activation, AffinePlacement, Network};
use resmlp_testing::{Random, Shape, evaluate};

const SHAPE: Shape = Shape { image: [4, 6], patch: 2, dim: 4, hidden: 6, depth: 2, classes: Some(3) };

fn network() -> Network {
    Random(3).network(&SHAPE, AffinePlacement::Branch)
}

/// An exported graph that is changed by hand.
struct Edited(ModelProto);

impl Edited {
    fn of(network: &Network) -> Self {
        Self(to_onnx(network, Batch::Any, false))
    }

    fn graph(&mut self) -> &mut GraphProto {
        self.0.graph.as_mut().unwrap()
    }

    fn opset(mut self, version: i64) -> Self {
        self.0.opset_import[0].version = version;
        self
    }

    /// Puts `nodes` in the place of the node that makes `output`.
    fn instead(mut self, output: &str, nodes: &[NodeProto]) -> Self {
        let at = self.graph().node.iter().position(|node| node.output[0] == output).unwrap();
        self.graph().node.splice(at..=at, nodes.iter().cloned());
        self
    }

    /// Has all nodes that read `from` read `to`, which `nodes` make.
    fn between(mut self, from: &str, to: &str, nodes: &[NodeProto]) -> Self {
        for name in self.graph().node.iter_mut().flat_map(|node| &mut node.input).filter(|name| *name == from) {
            *name = to.into();
        }
        self.graph().node.extend_from_slice(nodes);
        self
    }

    fn floats(mut self, name: &str, dims: &[i64], data: &[f32]) -> Self {
        let raw_data = data.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>().into();
        let (name, dims) = (name.into(), dims.into());
        let tensor = TensorProto { name, data_type: DataType::Float as i32, dims, raw_data, ..Default::default() };
        self.graph().initializer.push(tensor);
        self
    }

    fn integers(mut self, name: &str, data: &[i64]) -> Self {
        let (name, dims, int64_data) = (name.into(), vec![data.len() as i64], data.into());
        let tensor = TensorProto { name, data_type: DataType::Int64 as i32, dims, int64_data, ..Default::default() };
        self.graph().initializer.push(tensor);
        self
    }

    /// Changes the input's type and shape.
    fn input(mut self, data_type: DataType, shape: &[i64]) -> Self {
        let tensor = self.graph().input[0].r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
        tensor.elem_type = data_type as i32;
        for (dimension, length) in tensor.shape.as_mut().unwrap().dim.iter_mut().zip(shape) {
            dimension.value = Some(Length::DimValue(*length));
        }
        self
    }

    fn output(mut self, name: &str) -> Self {
        self.graph().output.push(ValueInfoProto { name: name.into(), r#type: None });
        self
    }

    fn load_with(&self, options: &LoadOptions) -> Result<Checkpoint, String> {
        load_bytes(Path::new("my.onnx"), self.0.encode_to_vec(), options).map_err(|error| error.to_string())
    }

    fn load(&self) -> Result<Checkpoint, String> {
        self.load_with(&LoadOptions::default())
    }
}

fn node(operator: &str, inputs: &[&str], output: &str, attributes: &[AttributeProto]) -> NodeProto {
    let (domain, operator) = operator.rsplit_once(':').unwrap_or(("", operator));
    NodeProto {
        op_type: operator.into(),
        domain: domain.into(),
        input: inputs.iter().map(|name| (*name).into()).collect(),
        output: vec![output.into()],
        attribute: attributes.to_vec(),
        ..Default::default()
    }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Ints as i32, ints: ints.into(), ..Default::default() }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Int as i32, i, ..Default::default() }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Float as i32, f, ..Default::default() }
}

fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::String as i32, s: s.into(), ..Default::default() }
}

/// Checks that `found` computes what `wanted` does.
fn equal(found: &Network, wanted: &Network, what: &str) {
    assert_eq!((found.image, found.outputs()), (wanted.image, wanted.outputs()), "{what}");
    let pixels = Random(9).vector(3 * found.image[0] * found.image[1], -2.0, 2.0);
    let (found, wanted) = (evaluate(found, &pixels).logits, evaluate(wanted, &pixels).logits);
    let error = found.iter().zip(&wanted).fold(0f64, |max, (a, b)| max.max((a - b).abs()));
    assert!(error < 1e-5, "{what}: {found:?}, expected {wanted:?}");
}

#[test]
fn attributes_of_old_opsets_are_read() {
    let network = network();
    let relu = Network { activation: Activation::Relu, ..network.clone() };
    for opset in 9..=12 {
        let end = node("Squeeze", &["end.1"], "end", &[ints("axes", &[1])]);
        let edited = Edited::of(&network)
            .opset(opset)
            .between(
                "block.0.mix",
                "end",
                &[
                    node("Unsqueeze", &["block.0.mix"], "end.0", &[ints("axes", &[1])]),
                    node("Dropout", &["end.0"], "end.1", if opset < 12 { &[] } else { &[] }),
                    end,
                ],
            )
            .instead(
                "final.mean",
                &[
                    node("ReduceSum", &["final.affine"], "sum", &[ints("axes", &[1]), int("keepdims", 0)]),
                    node("Div", &["sum", "count"], "final.mean", &[]),
                ],
            )
            .floats("count", &[], &[6.0]);
        equal(&edited.load().unwrap().network, &network, &format!("opset {opset}"));
        let clip: &[AttributeProto] = if opset < 11 { &[float("min", 0.0)] } else { &[] };
        let inputs: &[&str] = if opset < 11 { &["block.1.mlp.expand"] } else { &["block.1.mlp.expand", "zero"] };
        let edited = Edited::of(&relu)
            .opset(opset)
            .instead("block.1.mlp.gelu", &[node("Clip", inputs, "block.1.mlp.gelu", clip)])
            .floats("zero", &[], &[0.0]);
        equal(&edited.load().unwrap().network, &relu, &format!("clip, opset {opset}"));
    }
    let error = Edited::of(&network).opset(8).load().unwrap_err();
    assert_eq!(error, "my.onnx: ONNX opset 8; expected 9 to 20");
}

#[test]
fn every_spelling_of_an_activation_function_is_read() {
    let scaled = |of: &str| [format!("{of}.x"), format!("{of}.out")];
    let [x, out] = scaled("spelled");
    let tanh_inner = [
        node("Pow", &["x", "three"], "cube", &[]),
        node("Mul", &["cube", "cubic"], "weighted", &[]),
        node("Add", &["x", "weighted"], "inner", &[]),
        node("Mul", &["inner", "rootpi"], &x, &[]),
    ];
    let with = |more: &[NodeProto]| [&tanh_inner[..], more].concat();
    let spellings: Vec<(&str, Activation, Vec<NodeProto>)> = vec![
        ("Gelu", Activation::Gelu, vec![node("Gelu", &["x"], &out, &[])]),
        ("Gelu none", Activation::Gelu, vec![node("Gelu", &["x"], &out, &[text("approximate", "none")])]),
        ("Gelu tanh", Activation::GeluTanh, vec![node("Gelu", &["x"], &out, &[text("approximate", "tanh")])]),
        ("ORT Gelu", Activation::Gelu, vec![node("com.microsoft:Gelu", &["x"], &out, &[])]),
        ("FastGelu", Activation::GeluTanh, vec![node("com.microsoft:FastGelu", &["x"], &out, &[])]),
        ("Max", Activation::Relu, vec![node("Max", &["zero", "x"], &out, &[])]),
        ("Clip", Activation::Relu, vec![node("Clip", &["x", "zero", ""], &out, &[])]),
        (
            "erf, the half last",
            Activation::Gelu,
            vec![
                node("Div", &["x", "root2"], "e0", &[]),
                node("Erf", &["e0"], "e1", &[]),
                node("Add", &["one", "e1"], "e2", &[]),
                node("Mul", &["e2", "x"], "e3", &[]),
                node("Div", &["e3", "two"], &out, &[]),
            ],
        ),
        (
            "erf, the gate halved",
            Activation::Gelu,
            vec![
                node("Mul", &["x", "twice"], "e0", &[]),
                node("Div", &["e0", "two"], "e00", &[]),
                node("Div", &["e00", "root2"], "e01", &[]),
                node("Erf", &["e01"], "e1", &[]),
                node("Mul", &["half", "e1"], "e2", &[]),
                node("Add", &["e2", "half"], "e3", &[]),
                node("Mul", &["x", "e3"], &out, &[]),
            ],
        ),
        (
            "tanh with a power",
            Activation::GeluTanh,
            with(&[
                node("Tanh", &[&x], "t", &[]),
                node("Add", &["t", "one"], "gate", &[]),
                node("Mul", &["gate", "half"], "halved", &[]),
                node("Mul", &["x", "halved"], &out, &[]),
            ]),
        ),
        (
            "tanh as a sigmoid",
            Activation::GeluTanh,
            with(&[
                node("Mul", &[&x, "two"], "doubled", &[]),
                node("Sigmoid", &["doubled"], "gate", &[]),
                node("Mul", &["gate", "x"], &out, &[]),
            ]),
        ),
        (
            "tanh with a factor drawn out",
            Activation::GeluTanh,
            vec![
                node("Mul", &["x", "x"], "square", &[]),
                node("Mul", &["square", "cubicpi"], "s1", &[]),
                node("Add", &["s1", "rootpi"], "s2", &[]),
                node("Mul", &["s2", "x"], "s3", &[]),
                node("Tanh", &["s3"], "t", &[]),
                node("Add", &["t", "one"], "gate", &[]),
                node("Mul", &["x", "half"], "halved", &[]),
                node("Mul", &["halved", "gate"], &out, &[]),
            ],
        ),
    ];
    for (what, activation, nodes) in spellings {
        let network = Network { activation, ..network() };
        let mut edited = Edited::of(&network);
        edited.0.opset_import.push(OperatorSetIdProto { domain: "com.microsoft".into(), version: 1 });
        for (name, value) in [
            ("zero", 0.0),
            ("one", 1.0),
            ("half", 0.5),
            ("two", 2.0),
            ("twice", 2.0),
            ("three", 3.0),
            ("root2", std::f32::consts::SQRT_2),
            ("rootpi", 0.797_884_56),
            ("cubic", 0.044_715),
            ("cubicpi", 0.044_715 * 0.797_884_56),
        ] {
            edited = edited.floats(name, &[], &[value]);
        }
        for block in 0..2 {
            let (from, to) = (format!("block.{block}.mlp.expand"), format!("block.{block}.mlp.gelu"));
            let named = |name: &String| match name.as_str() {
                "x" => from.clone(),
                "spelled.out" => to.clone(),
                other if other.chars().any(|c| c.is_ascii_digit()) && !other.starts_with("root2") => {
                    format!("{block}.{other}")
                }
                "cube" | "weighted" | "inner" | "t" | "gate" | "halved" | "doubled" | "square" | "spelled.x" => {
                    format!("{block}.{name}")
                }
                other => other.into(),
            };
            let nodes: Vec<NodeProto> = nodes
                .iter()
                .map(|node| NodeProto {
                    input: node.input.iter().map(named).collect(),
                    output: node.output.iter().map(named).collect(),
                    ..node.clone()
                })
                .collect();
            edited = edited.instead(&to, &nodes);
        }
        let found = edited.load().unwrap_or_else(|error| panic!("{what}: {error}")).network;
        assert_eq!(found.activation, activation, "{what}");
        equal(&found, &network, what);
    }
}

#[test]
fn a_bias_inside_gelu_is_the_first_layers() {
    for (operator, activation) in [("BiasGelu", Activation::Gelu), ("FastGelu", Activation::GeluTanh)] {
        let network = Network { activation, ..network() };
        let mut edited = Edited::of(&network);
        for block in 0..2 {
            let part = |name: &str| format!("block.{block}.mlp.{name}");
            let (product, bias, to) = (part("expand.product"), part("expand.bias"), part("gelu"));
            edited = edited.instead(&to, &[node(&format!("com.microsoft:{operator}"), &[&product, &bias], &to, &[])]);
        }
        equal(&edited.load().unwrap().network, &network, operator);
    }
}

#[test]
fn another_activation_function_is_refused_by_name() {
    let network = network();
    let with = |nodes: &[NodeProto]| Edited::of(&network).instead("block.1.mlp.gelu", nodes).load().unwrap_err();
    let relu = node("Relu", &["block.1.mlp.expand"], "block.1.mlp.gelu", &[]);
    assert!(with(&[relu]).contains("expected gelu as in the blocks before, found relu"));
    for operator in ["Selu", "HardSwish", "LeakyRelu", "Softplus", "com.microsoft:QuickGelu"] {
        let error = with(&[node(operator, &["block.1.mlp.expand"], "block.1.mlp.gelu", &[])]);
        assert!(error.starts_with("my.onnx: node 'block.1.mlp.gelu'"), "{error}");
    }
    let silu = [
        node("Sigmoid", &["block.1.mlp.expand"], "gate", &[]),
        node("Mul", &["block.1.mlp.expand", "gate"], "block.1.mlp.gelu", &[]),
    ];
    assert!(with(&silu).contains("expected a GELU"));
    let told = LoadOptions { activation: Some(Activation::Relu), ..LoadOptions::default() };
    let error = Edited::of(&network).load_with(&told).unwrap_err();
    assert!(error.contains("the graph applies gelu; --activation says relu"), "{error}");
}

#[test]
fn arithmetic_on_the_pixels_becomes_mean_and_std() {
    let network = network();
    let (mean, std) = ([0.5f32, 0.25, 0.125], [0.25f32, 0.5, 0.75]);
    // Colours last, bytes: cast, divide by 255, subtract the mean, divide by the deviation, move the colours to the front.
    let bytes = |last: &str| {
        Edited::of(&network)
            .input(DataType::Uint8, &[1, 4, 6, 3])
            .floats("most", &[1], &[255.0])
            .floats("mean", &[3], &mean)
            .floats("std", &[1, 1, 1, 3], &std)
            .between(
                "pixels",
                "end",
                &[
                    node("Cast", &["pixels"], "floats", &[int("to", 1)]),
                    node("Div", &["floats", "most"], "unit", &[]),
                    node("Sub", &["unit", "mean"], "centred", &[]),
                    node(last, &["centred", "std"], "normal", &[]),
                    node("Transpose", &["normal"], "end", &[ints("perm", &[0, 3, 1, 2])]),
                ],
            )
    };
    let checkpoint = bytes("Div").load().unwrap();
    assert_eq!(checkpoint.normalisation, Some((mean, std)));
    assert!(checkpoint.notes.iter().any(|note| note.contains("mean [0.5, 0.25, 0.125]")), "{:?}", checkpoint.notes);
    equal(&checkpoint.network, &network, "bytes");
    let input = checkpoint.onnx.unwrap().input;
    assert_eq!((input.shape(), input.integers), ([1, 4, 6, 3], true));
    // The graph reads the bytes that the normalised pixels come from, colours last.
    let pixels: Vec<f32> = (0..72).map(|at| (at * 3) as f32).collect();
    let normal = |at: usize| (pixels[at % 24 * 3 + at / 24] / 255.0 - mean[at / 24]) / std[at / 24];
    assert_eq!(input.pixels(&(0..72).map(normal).collect::<Vec<_>>()), pixels);
    // Pixels from 0 to 1, of which a graph makes -1 to 1.
    let unit = Edited::of(&network).floats("two", &[], &[2.0]).floats("one", &[1, 1, 1], &[1.0]).between(
        "pixels",
        "end",
        &[node("Mul", &["pixels", "two"], "m", &[]), node("Sub", &["m", "one"], "end", &[])],
    );
    assert_eq!(unit.load().unwrap().normalisation, Some(([0.5; 3], [0.5; 3])));
    // What rounds, wraps, differs from place to place or mixes colours is no normalisation.
    let refused = |data_type, nodes: &[NodeProto]| {
        let edited = Edited::of(&network).input(data_type, &[1, 3, 4, 6]).floats("most", &[], &[255.0]);
        let places = (0..24).map(|value| value as f32).collect::<Vec<_>>();
        let edited = edited.floats("places", &[4, 6], &places).integers("turn", &[2, 1, 0]);
        edited.between("pixels", "end", nodes).load().unwrap_err()
    };
    let error = refused(DataType::Uint8, &[node("Div", &["pixels", "most"], "end", &[])]);
    assert!(error.contains("arithmetic on integers"), "{error}");
    let error = refused(DataType::Float, &[node("Sub", &["pixels", "places"], "end", &[])]);
    assert!(error.contains("differs from place to place"), "{error}");
    let error = refused(DataType::Float, &[node("Gather", &["pixels", "turn"], "end", &[int("axis", 1)])]);
    assert!(error.contains("part of an activation"), "{error}");
    let error = refused(DataType::Float, &[node("Mul", &["pixels", "pixels"], "end", &[])]);
    assert!(error.contains("more than a scale and a shift"), "{error}");
}

#[test]
fn an_aff_behind_the_embedding_folds() {
    for placement in [AffinePlacement::Branch, AffinePlacement::Stream] {
        let network = Random(5).network(&SHAPE, placement);
        let (alpha, beta) = ([0.5f32, -2.0, 1.5, 0.25], [0.1f32, 0.2, -0.3, 0.4]);
        let found = Edited::of(&network)
            .floats("alpha", &[4], &alpha)
            .floats("beta", &[4], &beta)
            .between(
                "stem",
                "end",
                &[node("Mul", &["stem", "alpha"], "m", &[]), node("Add", &["m", "beta"], "end", &[])],
            )
            .load()
            .unwrap()
            .network;
        let mut wanted = network;
        for (row, (alpha, beta)) in alpha.iter().zip(beta).enumerate() {
            wanted.stem.weight.row_mut(row).iter_mut().for_each(|weight| *weight *= alpha);
            wanted.stem.bias[row] = wanted.stem.bias[row] * alpha + beta;
        }
        equal(&found, &wanted, &format!("{placement:?}"));
        assert_eq!(found.placement, placement);
    }
}

#[test]
fn the_logits_are_found_among_the_outputs() {
    let network = network();
    let with_features = || Edited::of(&network).output("final.mean");
    let checkpoint = with_features().load().unwrap();
    equal(&checkpoint.network, &network, "first");
    assert!(checkpoint.notes.iter().any(|note| note.contains("'logits'") && note.contains("'final.mean'")));
    let mut swapped = with_features();
    swapped.graph().output.reverse();
    equal(&swapped.load().unwrap().network, &network, "swapped");
    let named = |name: &str| LoadOptions { output: Some(name.into()), ..LoadOptions::default() };
    let features = swapped.load_with(&named("final.mean")).unwrap().network;
    equal(&features, &Network { head: None, ..network.clone() }, "features");
    let error = swapped.load_with(&named("nothing")).unwrap_err();
    assert_eq!(error, "my.onnx: no output 'nothing'; the graph's outputs are [\"final.mean\", \"logits\"]");
    // Probabilities beside the logits, and a second head.
    let probabilities = node("Softmax", &[LOGITS], "probabilities", &[]);
    let mut both = Edited::of(&network).between("none", "none", &[probabilities]).output("probabilities");
    both.graph().output.reverse();
    let checkpoint = both.load().unwrap();
    equal(&checkpoint.network, &network, "probabilities");
    assert!(checkpoint.notes.iter().all(|note| !note.contains("left out")), "{:?}", checkpoint.notes);
    let second = node("MatMul", &["final.mean", "logits.weight"], "second", &[]);
    let error = Edited::of(&network).between("none", "none", &[second]).output("second").load().unwrap_err();
    assert!(error.contains("'logits' and 'second' may both be meant; name one with --output"), "{error}");
    // What lies beside the logits may be anything.
    let odd = node("NonZero", &["stem"], "odd", &[]);
    equal(&Edited::of(&network).between("none", "none", &[odd]).output("odd").load().unwrap().network, &network, "odd");
    let checkpoint =
        Edited::of(&network).load_with(&LoadOptions { embedding: true, ..LoadOptions::default() }).unwrap();
    equal(&checkpoint.network, &Network { head: None, ..network }, "embedding");
}

#[test]
fn only_a_softmax_over_the_classes_is_left_out() {
    let network = network();
    let with = |opset: i64, axis: i64| {
        let mut edited = Edited::of(&network).opset(opset);
        edited.graph().output[0].name = "p".into();
        edited.between("none", "none", &[node("Softmax", &[LOGITS], "p", &[int("axis", axis)])]).load()
    };
    for (opset, axis) in [(17, -1), (17, 1), (11, 1), (11, -1), (11, 0)] {
        let checkpoint = with(opset, axis).unwrap();
        assert!(checkpoint.notes.iter().any(|note| note == "the Softmax behind the logits 'logits' is left out"));
        equal(&checkpoint.network, &network, "softmax");
        assert_eq!(checkpoint.onnx.unwrap().model.graph.unwrap().output[0].name, "logits");
    }
    assert!(with(17, 0).unwrap_err().contains("expected that of the 3 classes"));
}

#[test]
fn a_fixed_batch_is_read_as_one_picture() {
    let network = network();
    let model = to_onnx(&network, Batch::Fixed(5), false);
    let checkpoint = Edited(model).load().unwrap();
    equal(&checkpoint.network, &network, "batch");
    assert_eq!(checkpoint.onnx.unwrap().input.batch, 5);
    assert_eq!(checkpoint.notes, ["the graph is for 5 pictures at once; the network is read for one"]);
    // A mean over the pictures of a batch is another function.
    let mean = node("ReduceMean", &["stem"], "end", &[ints("axes", &[0])]);
    let error = Edited(to_onnx(&network, Batch::Fixed(5), false)).between("stem", "end", &[mean]).load().unwrap_err();
    assert!(error.contains("expected one over all patches"), "{error}");
}

#[test]
fn what_looks_like_nothing_but_is_not_is_refused() {
    let network = network();
    let within = |nodes: &[NodeProto]| {
        let edited = Edited::of(&network).integers("zero", &[0]).integers("end.at", &[i64::MAX]);
        let edited = edited.integers("two", &[2]).integers("one", &[1]).integers("turned", &[1, 0, 2, 3, 4, 5]);
        edited.floats("ratio", &[], &[0.5]).between("block.0.mix", "end", nodes).load().unwrap_err()
    };
    let steps = node("Slice", &["block.0.mix", "zero", "end.at", "one", "two"], "end", &[]);
    assert!(within(&[steps]).contains("every so many numbers"));
    let from = node("Slice", &["block.0.mix", "one", "end.at", "one"], "end", &[]);
    assert!(within(&[from]).contains("part of an activation"));
    let turned = node("Gather", &["block.0.mix", "turned"], "end", &[int("axis", 1)]);
    assert!(within(&[turned]).contains("part of an activation"));
    let like = node("CastLike", &["block.0.mix", "one"], "end", &[]);
    assert!(within(&[like]).contains("a cast of an activation to the type of its second input"));
    let whole = node("Cast", &["block.0.mix"], "end", &[int("to", 7)]);
    assert!(within(&[whole]).contains("a cast of an activation to INT64"));
    let dropout = node("Dropout", &["block.0.mix", "ratio", "one"], "end", &[]);
    assert!(within(&[dropout]).contains("Dropout in training mode"));
    let clip = node("Clip", &["block.0.mix", "ratio"], "end", &[]);
    assert!(within(&[clip]).contains("a clip to 0.5"));
    let unknown = node("Identity", &["block.0.mix"], "end", &[float("alpha", 0.5)]);
    assert!(within(&[unknown]).contains("the attribute 'alpha', which this program does not know"));
    // The parts of an activation in another order.
    let mut split = node("Split", &["block.0.mix"], "a", &[int("axis", 1)]);
    split.output.push("b".into());
    let joined = node("Concat", &["b", "a"], "end", &[int("axis", 1)]);
    assert!(within(&[split, joined]).contains("activations side by side"));
    // An operator of the file's own, by the name of one of ONNX's.
    let mut own = Edited::of(&network);
    own.0.functions.push(FunctionProto { name: "Add".into(), domain: String::new() });
    assert!(own.load().unwrap_err().contains("an operator that the file defines itself"));
    own.0.functions[0].name = "Unused".into();
    equal(&own.load().unwrap().network, &network, "functions");
}

#[test]
fn the_graph_for_the_judge_holds_what_the_logits_need_and_nothing_else() {
    let network = network();
    let plain = Edited::of(&network);
    let mut edited = Edited::of(&network).floats("junk", &[2], &[1.0, 2.0]).between(
        "none",
        "none",
        &[node("Loop", &["junk"], "never", &[]), node("Add", &["junk", "stem"], "never.2", &[])],
    );
    edited.graph().node.reverse();
    edited.0.functions.push(FunctionProto { name: "Custom".into(), domain: "my".into() });
    let graph = edited.load().unwrap().onnx.unwrap().model;
    assert_eq!(graph.functions, []);
    let graph = graph.graph.unwrap();
    let names = |graph: &GraphProto| {
        let mut names: Vec<String> = graph.node.iter().map(|node| node.output[0].clone()).collect();
        names.extend(graph.initializer.iter().map(|tensor| tensor.name.clone()));
        names.sort();
        names
    };
    assert_eq!(names(&graph), names(plain.0.graph.as_ref().unwrap()));
    // Each node stands after those that it reads.
    let place = |name: &String| graph.node.iter().position(|node| node.output.contains(name));
    for (at, node) in graph.node.iter().enumerate() {
        assert!(node.input.iter().all(|name| place(name).is_none_or(|before| before < at)), "{node:?}");
    }
}
