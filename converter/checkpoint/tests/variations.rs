//! Tests many variations of checkpoints, which are made here from random networks. Each is read as the network that was
//! written, or refused with an error that names the tensor.

#[path = "common/state.rs"]
mod state;

use resmlp_checkpoint::{GELU_IS_ASSUMED, LoadOptions, Tensor, Tensors};
use resmlp_network::{Activation, Dialect, Network};
use resmlp_testing::evaluate;
use state::{
    DIALECTS, Pickle, dict, network, number, pth, read, read_with, refusal, renamed, safetensors, tensor, tensors,
};

fn is_close(found: &Network, wanted: &Network) -> bool {
    let [found, wanted] = [found, wanted].map(|network| evaluate(network, &state::picture()).logits);
    found.len() == wanted.len() && found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-5)
}

/// Returns the network without its classifier.
fn embedding(network: &Network) -> Network {
    Network { head: None, ..network.clone() }
}

// Nothing is left out ------------------------------------------------------------------------------------------------

/// Returns whether the error names the tensor.
fn calls(error: &str, name: &str) -> bool {
    error.contains(&format!("'{name}'")) || error.contains(&format!("found {name} ("))
}

/// Checks the outcome of changing one tensor.
///
/// A change that only adds a stranger must leave the network as it was; any other must be refused with one of `names`.
fn is_sound(changed: &Tensors, original: &Network, names: &[&str], is_stranger: bool) -> Result<(), String> {
    match read(changed) {
        Ok(found) if is_stranger && found.network == *original => Ok(()),
        Ok(found) => Err(format!("{names:?}: read, with the notes {:?}", found.notes)),
        Err(error) if !is_stranger && names.iter().any(|name| calls(&error, name)) => Ok(()),
        Err(error) => Err(format!("{names:?}: {error}")),
    }
}

#[test]
fn one_tensor_more_less_or_renamed_is_a_known_stranger_or_refused_by_its_name() {
    let mut failures = Vec::new();
    for (dialect, prefix) in
        DIALECTS.into_iter().flat_map(|dialect| ["", "module.", "model.backbone."].map(|p| (dialect, p)))
    {
        let original = network(7, dialect);
        let whole = renamed(tensors(&original), |name| format!("{prefix}{name}"));
        assert_eq!(read(&whole).unwrap().network, original);
        let mut judge = |what: &str, changed: &Tensors, names: &[&str], is_stranger| {
            if let Err(message) = is_sound(changed, &original, names, is_stranger) {
                failures.push(format!("{} '{prefix}' {what} {message}", dialect.name()));
            }
        };
        for name in whole.keys() {
            let mut without = whole.clone();
            let tensor = without.remove(name).unwrap();
            judge("without", &without, &[name], false);
            let (module, last) = name.rsplit_once('.').unwrap();
            for new in [
                format!("{name}x"),
                format!("{module}.x.{last}"),
                format!("x{name}"),
                format!("{module}x.{last}"),
                last.into(),
            ] {
                let mut changed = without.clone();
                changed.insert(new.clone(), tensor.clone());
                judge("renamed", &changed, &[name, &new], false);
            }
            for new in [
                format!("{name}x"),
                format!("{module}.x.{last}"),
                format!("{module}.running_mean"),
                format!("{module}x.{last}"),
            ] {
                let mut changed = whole.clone();
                changed.insert(new.clone(), tensor.clone());
                judge("with", &changed, &[&new], false);
            }
            let counter = format!("{module}.num_batches_tracked");
            let mut changed = whole.clone();
            changed.insert(counter.clone(), tensor.clone());
            judge("with", &changed, &[&counter], true);
        }
        let extra = || tensor(&[3], &[1.0, 2.0, 3.0]);
        for new in [
            "pos_embed",
            "fc_norm.weight",
            "fc_norm.alpha",
            "cls_token",
            "head_dist.weight",
            "neck.weight",
            "norm_pre.alpha",
            "extra",
            "fc.weight",
        ] {
            for place in ["", prefix] {
                let new = format!("{place}{new}");
                let mut changed = whole.clone();
                changed.insert(new.clone(), extra());
                judge("with", &changed, &[&new], false);
            }
        }
        for new in ["n_averaged", "optimizer.state.0.exp_avg", "criterion.weight", "epoch"] {
            let mut changed = whole.clone();
            changed.insert(new.into(), extra());
            judge("with", &changed, &[new], true);
        }
    }
    assert!(failures.is_empty(), "{} fail:\n{}", failures.len(), failures.join("\n"));
}

// Heads --------------------------------------------------------------------------------------------------------------

/// Returns the network's tensors with the classifier `head` renamed to `new`.
fn with_head(network: &Network, head: &str, new: &str) -> Tensors {
    renamed(tensors(network), |name| match name.strip_prefix(head) {
        Some(rest) if rest.starts_with('.') => format!("{new}{rest}"),
        _ => name.to_string(),
    })
}

#[test]
fn a_linear_layer_under_any_usual_name_is_the_classifier() {
    for (dialect, own) in [(Dialect::Timm, "head"), (Dialect::Deit, "head"), (Dialect::Rishikksh20, "mlp_head.0")] {
        let original = network(1, dialect);
        for new in ["head.1", "head.fc", "classifier", "classifier.0", "fc", "linear", "heads.head", "mlp_head.2"] {
            assert_eq!(read(&with_head(&original, own, new)).unwrap().network, original, "{new}");
        }
    }
}

#[test]
fn a_classifier_may_stand_beside_the_backbone() {
    let original = network(2, Dialect::Timm);
    for (backbone, head) in [
        ("backbone.", "classifier"),
        ("module.backbone.", "module.fc"),
        ("model.net.", "head.1"),
        ("encoder.", "linear"),
    ] {
        let moved = renamed(tensors(&original), |name| match name.strip_prefix("head") {
            Some(rest) => format!("{head}{rest}"),
            None => format!("{backbone}{name}"),
        });
        assert_eq!(read(&moved).unwrap().network, original, "{head}");
    }
}

#[test]
fn a_linear_layer_behind_the_network_in_a_sequential_is_the_classifier() {
    for (dialect, outer) in [(Dialect::Timm, ""), (Dialect::Deit, "model."), (Dialect::Rishikksh20, "module.net.")] {
        let original = network(2, dialect);
        let own = if dialect == Dialect::Rishikksh20 { "mlp_head.0" } else { "head" };
        let moved = |body: usize, head: usize| {
            renamed(tensors(&original), |name| match name.strip_prefix(own) {
                Some(rest) => format!("{outer}{head}{rest}"),
                None => format!("{outer}{body}.{name}"),
            })
        };
        for body in [0, 1] {
            assert_eq!(read(&moved(body, body + 1)).unwrap().network, original, "{outer}");
        }
        // What stands between them is not known, and a layer in front of the network is no classifier.
        for (body, head) in [(0, 2), (1, 0)] {
            let error = refusal(&moved(body, head));
            assert!(calls(&error, &format!("{outer}{head}.bias")), "{error}");
        }
        let mut deeper = moved(0, 1);
        deeper.insert(format!("{outer}2.weight"), tensor(&[4, 4], &[0.5; 16]));
        assert!(calls(&refusal(&deeper), &format!("{outer}2.weight")));
    }
}

#[test]
fn a_deeper_or_second_classifier_is_refused_by_name() {
    let original = network(3, Dialect::Timm);
    let deeper = |first: &str, second: &str| {
        let mut tensors = with_head(&original, "head", second);
        tensors.insert(format!("{first}.weight"), tensor(&[3, 3], &[0.5; 9]));
        tensors.insert(format!("{first}.bias"), tensor(&[3], &[0.5; 3]));
        refusal(&tensors)
    };
    for (first, second) in [("head.0", "head.2"), ("head.norm", "head.fc"), ("classifier.1", "classifier.4")] {
        let error = deeper(first, second);
        assert!(error.contains(&format!("{second}.weight")) && error.contains("several layers"), "{error}");
        assert!(error.contains("--embedding"), "{error}");
    }
    for (first, second) in [("head_dist", "head"), ("fc", "head"), ("classifier", "head.1")] {
        let error = deeper(first, second);
        assert!(error.contains(&format!("'{first}.bias'")) && error.contains("a second classifier"), "{error}");
    }
}

#[test]
fn an_embedding_is_made_on_request_or_where_there_is_no_classifier() {
    let original = network(4, Dialect::Deit);
    let options = LoadOptions { embedding: true, ..LoadOptions::default() };
    let mut deep = with_head(&original, "head", "head.2");
    deep.insert("head.0.weight".into(), tensor(&[3, 3], &[0.5; 9]));
    for tensors in [tensors(&original), deep] {
        let found = read_with(&tensors, &options).unwrap();
        assert_eq!(found.network, embedding(&original));
        assert!(found.notes.iter().any(|note| note.contains("'head' left out (--embedding)")), "{:?}", found.notes);
    }
    let bare = tensors(&embedding(&original));
    let found = read(&bare).unwrap();
    assert_eq!(found.network, embedding(&original));
    assert!(found.notes.iter().any(|note| note.contains("the result is an embedding of 3")), "{:?}", found.notes);
}

#[test]
fn a_classifier_from_another_file_is_joined() {
    let original = network(5, Dialect::Deit);
    let scratch = tempfile::tempdir().unwrap();
    let body = tensors(&embedding(&original));
    let linear = |name: &str, columns: usize| {
        let head = original.head.as_ref().unwrap();
        let data: Vec<f32> = head.weight.data.iter().copied().cycle().take(4 * columns).collect();
        Tensors::from([
            (format!("{name}.weight"), tensor(&[4, columns], &data)),
            (format!("{name}.bias"), tensor(&[4], &head.bias)),
        ])
    };
    let with = |body: &Tensors, head: Vec<u8>, is_embedding: bool| {
        let path = scratch.path().join("head");
        std::fs::write(&path, head).unwrap();
        read_with(body, &LoadOptions { head: Some(path), embedding: is_embedding, ..LoadOptions::default() })
    };
    for name in ["module.linear", "head", "module._orig_mod.fc"] {
        for bytes in [safetensors(&linear(name, 3)), pth(&linear(name, 3))] {
            assert_eq!(with(&body, bytes, false).unwrap().network, original);
        }
    }
    let mut nested = Pickle::default();
    let state = nested.state(&linear("module.linear", 3));
    let moments =
        ["step", "exp_avg", "exp_avg_sq"].map(|name| (name.to_string(), nested.tensor(&tensor(&[1], &[0.5]))));
    let optimizer = dict(&[("optimizer".into(), dict(&moments)), ("epoch".into(), number(3))]);
    let root = dict(&[("training".into(), optimizer), ("state_dict".into(), state)]);
    assert_eq!(with(&body, nested.file(&root), false).unwrap().network, original);
    // The network's own classifier is replaced only with the option `embedding`.
    let own = tensors(&original);
    assert!(
        with(&own, pth(&linear("fc", 3)), false).unwrap_err().contains("'head.bias': the checkpoint has a classifier")
    );
    assert_eq!(with(&own, pth(&linear("fc", 3)), true).unwrap().network, original);
    // A classifier for another network and a file without a classifier are refused.
    assert!(with(&body, pth(&linear("fc", 6)), false).unwrap_err().contains("shape [4, 6]; expected [any, 3]"));
    assert!(with(&body, pth(&own), false).unwrap_err().contains("expected one linear classifier for --head"));
    // The error for a classifier in place of a network says how to use the classifier.
    for name in ["module.linear", "fc"] {
        let error = refusal(&linear(name, 3));
        assert!(error.contains("only a linear classifier") && error.contains("--head"), "{error}");
    }
}

// An Aff behind the embedding ----------------------------------------------------------------------------------------

#[test]
fn an_aff_behind_the_embedding_folds_and_nothing_else_does() {
    for (dialect, norm) in [
        (Dialect::Timm, "stem.norm"),
        (Dialect::Timm, "stem_norm"),
        (Dialect::Deit, "patch_embed.norm"),
        (Dialect::Deit, "stem_norm"),
        (Dialect::Rishikksh20, "stem_norm"),
    ] {
        let original = network(6, dialect);
        let (alpha, beta) = ([-2.0, 0.25, 1e-3], [0.5, -1.0, 3.0]);
        let mut wanted = original.clone();
        for row in 0..3 {
            wanted.stem.weight.row_mut(row).iter_mut().for_each(|weight| *weight *= alpha[row]);
            wanted.stem.bias[row] = wanted.stem.bias[row] * alpha[row] + beta[row];
        }
        let mut with = tensors(&original);
        with.insert(format!("{norm}.alpha"), tensor(&[1, 1, 3], &alpha));
        with.insert(format!("{norm}.beta"), tensor(&[3], &beta));
        let found = read(&with).unwrap();
        assert!(is_close(&found.network, &wanted) && !is_close(&found.network, &original), "{norm}");
        assert!(found.notes.iter().any(|note| note.contains(norm)), "{:?}", found.notes);
        with.remove(&format!("{norm}.beta"));
        assert!(refusal(&with).contains(&format!("tensor '{norm}.beta': missing")));
        let mut layer_norm = tensors(&original);
        layer_norm.insert(format!("{norm}.weight"), tensor(&[3], &alpha));
        layer_norm.insert(format!("{norm}.bias"), tensor(&[3], &beta));
        assert!(refusal(&layer_norm).contains(&format!("tensor '{norm}.bias': unexpected")));
    }
}

// Normalisation ------------------------------------------------------------------------------------------------------

#[test]
fn buffers_that_normalise_pixels_are_mean_and_std() {
    let original = network(8, Dialect::Timm);
    let (mean, std) = ([0.5, 0.25, 0.125], [0.25, 0.5, 0.75]);
    let with = |names: [&str; 2], prefix: &str, shape: &[usize], factor: f32| {
        let mut all = renamed(tensors(&original), |name| format!("{prefix}{name}"));
        for (name, values) in names.iter().zip([mean, std]) {
            all.insert((*name).into(), tensor(shape, &values.map(|value| value * factor)));
        }
        all
    };
    for (names, prefix) in [
        (["normalize.mean", "normalize.std"], "model."),
        (["0.mean", "0.std"], "1."),
        (["net.0.mean", "net.0.std"], "net.1."),
        (["pixel_mean", "pixel_std"], ""),
        (["module.mean", "module.std"], "module."),
    ] {
        for shape in [&[3][..], &[1, 3, 1, 1], &[3, 1, 1]] {
            for factor in [1.0, 255.0] {
                let found = read(&with(names, prefix, shape, factor)).unwrap();
                assert_eq!((found.network, found.normalisation), (original.clone(), Some((mean, std))), "{names:?}");
                assert!(found.notes.iter().any(|note| note.contains(names[0])), "{:?}", found.notes);
            }
        }
    }
    for (names, prefix) in [
        (["norm.mean", "norm.std"], ""),
        (["0.mean", "0.std"], "2."),
        (["blocks.0.mean", "blocks.0.std"], ""),
        (["normalize.mean", "normalize.var"], "model."),
        (["pixel_mean", "image_std"], ""),
    ] {
        let error = refusal(&with(names, prefix, &[3], 1.0));
        assert!(names.iter().any(|name| calls(&error, name)), "{names:?}: {error}");
    }
    let mut grey = tensors(&original);
    grey.extend(["pixel_mean", "pixel_std"].map(|name| (name.to_owned(), tensor(&[1], &[0.5]))));
    assert!(calls(&refusal(&grey), "pixel_mean"));
}

// Activations --------------------------------------------------------------------------------------------------------

#[test]
fn the_activation_is_what_the_caller_says_and_assumed_aloud_where_nobody_does() {
    let original = network(8, Dialect::Timm);
    for activation in Activation::ALL {
        let options = LoadOptions { activation: Some(activation), ..LoadOptions::default() };
        let found = read_with(&tensors(&original), &options).unwrap();
        assert_eq!(found.network, Network { activation, ..original.clone() });
        assert!(!found.notes.iter().any(|note| note == GELU_IS_ASSUMED));
    }
    assert!(read(&tensors(&original)).unwrap().notes.iter().any(|note| note == GELU_IS_ASSUMED));
}

// Wrappers -----------------------------------------------------------------------------------------------------------

#[test]
fn wrappers_inside_names_are_taken_out() {
    for dialect in DIALECTS {
        let original = network(9, dialect);
        let segment = |name: &str, wrapper: &str| {
            let (first, rest) = name.split_once('.').unwrap();
            format!("{first}.{wrapper}.{rest}")
        };
        let wraps: [&dyn Fn(&str) -> String; 5] = [
            &|name| format!("_orig_mod.{name}"),
            &|name| format!("module._orig_mod.{name}"),
            &|name| segment(name, "_checkpoint_wrapped_module"),
            &|name| format!("_fsdp_wrapped_module.{}", segment(name, "_fsdp_wrapped_module._orig_mod")),
            &|name| format!("model.backbone.{name}"),
        ];
        for wrap in wraps {
            assert_eq!(read(&renamed(tensors(&original), wrap)).unwrap().network, original);
        }
    }
    // A checkpoint that has a name with and without the wrapper is refused, because either tensor could be meant.
    let mut twice = tensors(&network(9, Dialect::Timm));
    let norm = twice["norm.alpha"].clone();
    twice.insert("_orig_mod.norm.alpha".into(), norm);
    assert!(refusal(&twice).contains("the same name as '"));
}

/// Splits weights into weight-normed halves: a magnitude for each row, and directions three times as long as the rows.
fn halves(weight: &Tensor) -> [Tensor; 2] {
    let columns: usize = weight.shape[1..].iter().product();
    let norms: Vec<f32> =
        weight.data.chunks(columns).map(|row| row.iter().map(|v| v * v).sum::<f32>().sqrt()).collect();
    let mut shape = vec![1; weight.shape.len()];
    shape[0] = weight.shape[0];
    let direction = weight.data.iter().map(|value| value * 3.0).collect::<Vec<_>>();
    [tensor(&shape, &norms), tensor(&weight.shape, &direction)]
}

#[test]
fn pruned_and_weight_normed_parameters_are_multiplied_out() {
    let original = network(10, Dialect::Timm);
    for layer in ["blocks.0.mlp_channels.fc1", "blocks.1.linear_tokens", "head", "stem.proj"] {
        let name = format!("{layer}.weight");
        for halves_of in [
            [format!("{name}_g"), format!("{name}_v")],
            [
                format!("{layer}.parametrizations.weight.original0"),
                format!("{layer}.parametrizations.weight.original1"),
            ],
        ] {
            let mut changed = tensors(&original);
            let parts = halves(&changed.remove(&name).unwrap());
            halves_of.iter().zip(parts).for_each(|(half, part)| assert!(changed.insert(half.clone(), part).is_none()));
            assert!(is_close(&read(&changed).unwrap().network, &original), "{halves_of:?}");
            changed.remove(&halves_of[1]);
            let error = refusal(&changed);
            assert!(error.contains(&format!("tensor '{}': missing", halves_of[1])), "{error}");
        }
        let mut changed = tensors(&original);
        let weight = changed.remove(&name).unwrap();
        let mask: Vec<f32> = (0..weight.data.len()).map(|index| f32::from(index % 3 != 0)).collect();
        let pruned = weight.data.iter().zip(&mask).map(|(w, m)| w * m).collect::<Vec<_>>();
        changed.insert(format!("{name}_mask"), tensor(&weight.shape, &mask));
        changed.insert(format!("{name}_orig"), weight.clone());
        let mut wanted = tensors(&original);
        wanted.insert(name.clone(), tensor(&weight.shape, &pruned));
        assert_eq!(read(&changed).unwrap().network, read(&wanted).unwrap().network);
        let mut spectral = changed.clone();
        spectral.remove(&format!("{name}_mask"));
        spectral.insert(format!("{name}_u"), tensor(&[3], &[1.0, 0.0, 0.0]));
        assert!(refusal(&spectral).contains(&format!("tensor '{name}_orig': unexpected (spectral normalisation")));
        changed.remove(&format!("{name}_mask"));
        assert!(refusal(&changed).contains(&format!("tensor '{name}_mask': missing")));
    }
}
