//! Checks that each kind of ONNX graph that exporters write is read as the network that it computes, or refused by
//! name.

#[path = "common/edited.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod edited;

use edited::{Edited, SHAPE, equal, float, int, ints, network, node};
use resmlp_checkpoint::LoadOptions;
use resmlp_checkpoint::export::{Batch, LOGITS, to_onnx};
use resmlp_checkpoint::onnx::proto::{AttributeProto, DataType, FunctionProto, GraphProto, NodeProto};
use resmlp_network::{Activation, AffinePlacement, Network};
use resmlp_testing::Random;

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
                    node("Dropout", &["end.0"], "end.1", &[]),
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
fn arithmetic_on_the_pixels_becomes_mean_and_std() {
    let network = network();
    let (mean, std) = ([0.5f32, 0.25, 0.125], [0.25f32, 0.5, 0.75]);
    // The graph reads bytes with the colours last. It casts them, divides by 255, subtracts the mean, divides by the
    // standard deviation, and moves the colours to the front.
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
    // `pixels` turns the normalised pixels back into the bytes that they come from, with the colours last.
    let pixels: Vec<f32> = (0..72).map(|at| (at * 3) as f32).collect();
    let normal = |at: usize| (pixels[at % 24 * 3 + at / 24] / 255.0 - mean[at / 24]) / std[at / 24];
    assert_eq!(input.pixels(&(0..72).map(normal).collect::<Vec<_>>()), pixels);
    // This graph maps pixels from the range 0 to 1 to the range -1 to 1.
    let unit = Edited::of(&network).floats("two", &[], &[2.0]).floats("one", &[1, 1, 1], &[1.0]).between(
        "pixels",
        "end",
        &[node("Mul", &["pixels", "two"], "m", &[]), node("Sub", &["m", "one"], "end", &[])],
    );
    assert_eq!(unit.load().unwrap().normalisation, Some(([0.5; 3], [0.5; 3])));
    // A clip that no pixel of 8 bits reaches changes nothing, before the division and behind it.
    let clipped = |data_type, from: &str, low: f32, high: f32| {
        let chain = ["pixels", "floats", "unit", "centred"];
        let rest = chain.iter().position(|name| *name == from).unwrap() + 1;
        let names: Vec<&str> = chain[..rest].iter().chain(&["clipped"]).chain(&chain[rest..]).copied().collect();
        let nodes: Vec<NodeProto> = names
            .windows(2)
            .map(|pair| match pair[1] {
                "floats" => node("Cast", &[pair[0]], "floats", &[int("to", 1)]),
                "unit" => node("Div", &[pair[0], "most"], "unit", &[]),
                "centred" => node("Sub", &[pair[0], "mean"], "centred", &[]),
                _ => node("Clip", &[pair[0], "low", "high"], "clipped", &[]),
            })
            .chain([node("Div", &[names.last().unwrap(), "std"], "end", &[])])
            .collect();
        Edited::of(&network)
            .input(data_type, &[1, 3, 4, 6])
            .floats("most", &[], &[255.0])
            .floats("mean", &[3, 1, 1], &mean)
            .floats("std", &[3, 1, 1], &std)
            .floats("low", &[], &[low])
            .floats("high", &[], &[high])
            .between("pixels", "end", &nodes)
            .load()
    };
    for (from, low, high) in [("floats", 0.0, 255.0), ("unit", 0.0, 1.0), ("centred", -0.5, 1.0)] {
        let checkpoint = clipped(DataType::Uint8, from, low, high).unwrap();
        assert_eq!(checkpoint.normalisation, Some((mean, std)));
        equal(&checkpoint.network, &network, from);
        for [low, high] in [[low + 0.1, high], [low, high * 0.8]] {
            let error = clipped(DataType::Uint8, from, low, high).unwrap_err();
            assert!(error.contains("'clipped' (Clip): a clip to"), "{error}");
        }
        // Nobody knows how large a float of a picture is.
        assert!(clipped(DataType::Float, from, low, high).is_err());
    }
    // Arithmetic that rounds, wraps, differs from place to place or mixes colours is not a normalisation.
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
    assert!(error.contains("the colours in another order"), "{error}");
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
    // A graph may also output probabilities; a second head makes the choice ambiguous.
    let probabilities = node("Softmax", &[LOGITS], "probabilities", &[]);
    let mut both = Edited::of(&network).between("none", "none", &[probabilities]).output("probabilities");
    both.graph().output.reverse();
    let checkpoint = both.load().unwrap();
    equal(&checkpoint.network, &network, "probabilities");
    assert!(checkpoint.notes.iter().all(|note| !note.contains("left out")), "{:?}", checkpoint.notes);
    let second = node("MatMul", &["final.mean", "logits.weight"], "second", &[]);
    let error = Edited::of(&network).between("none", "none", &[second]).output("second").load().unwrap_err();
    assert!(error.contains("'logits' and 'second' may both be meant; name one with --onnx-output"), "{error}");
    // An output beside the logits may hold anything.
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
    // A mean over the pictures of a batch changes the function.
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
    // The graph joins the parts of an activation in another order.
    let mut split = node("Split", &["block.0.mix"], "a", &[int("axis", 1)]);
    split.output.push("b".into());
    let joined = node("Concat", &["b", "a"], "end", &[int("axis", 1)]);
    assert!(within(&[split, joined]).contains("activations side by side"));
    // The file defines an operator of its own with the name of one of ONNX's.
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
    // Each node comes after those that it reads.
    let place = |name: &String| graph.node.iter().position(|node| node.output.contains(name));
    for (at, node) in graph.node.iter().enumerate() {
        assert!(node.input.iter().all(|name| place(name).is_none_or(|before| before < at)), "{node:?}");
    }
}
