//! Checks that the reader of ONNX graphs recognises every spelling of an activation function, and refuses other
//! functions by name.

#[path = "common/edited.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod edited;

use edited::{Edited, equal, network, node, text};
use resmlp_checkpoint::LoadOptions;
use resmlp_checkpoint::onnx::proto::{NodeProto, OperatorSetIdProto};
use resmlp_network::{Activation, Network};

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
            ("rootpi", 0.797_884_6),
            ("cubic", 0.044_715),
            ("cubicpi", 0.044_715 * 0.797_884_6),
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
