//! Lists the strangers: tensors that may lie beside a network without being part of it, and that are left out.

use std::collections::BTreeSet;

/// First words of strangers' names behind the prefix of the network or of a wrapper, each with what it stands for.
const MODULES: [(&str, &str); 20] = [
    ("optimizer", "the optimiser's state"),
    ("optimizers", "the optimiser's state"),
    ("optimizer_state", "the optimiser's state"),
    ("optimizer_state_dict", "the optimiser's state"),
    ("lr_scheduler", "the learning rate's schedule"),
    ("scheduler", "the learning rate's schedule"),
    ("scaler", "the loss scaler's state"),
    ("loss", "the loss function's state"),
    ("loss_fn", "the loss function's state"),
    ("loss_func", "the loss function's state"),
    ("criterion", "the loss function's state"),
    ("dino_loss", "the loss function's state"),
    ("ibot_patch_loss", "the loss function's state"),
    ("dino_head", "DINO's projection head"),
    ("ibot_head", "DINO's projection head"),
    ("metrics", "a metric's state"),
    ("train_metrics", "a metric's state"),
    ("val_metrics", "a metric's state"),
    ("train_acc", "a metric's state"),
    ("val_acc", "a metric's state"),
];

/// Counters that averages of weights and training loops keep.
const COUNTERS: [&str; 10] = [
    "n_averaged",
    "num_updates",
    "num_averaged",
    "initted",
    "decay",
    "step",
    "steps",
    "global_step",
    "epoch",
    "iteration",
];

/// Last words of the names of tensors in an optimiser's state.
const MOMENTS: [&str; 4] = ["exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer"];

/// Returns a description of the tensor `name` if it is a known stranger, which changes nothing in the network.
///
/// `places` are the prefixes of the network and of its wrappers, the network's own first. `heads` are the prefixes of
/// the parts of DINO's projection heads, which [`projection_heads`] returns.
pub(super) fn stranger(name: &str, places: &[String], heads: &BTreeSet<String>) -> Option<&'static str> {
    let last = name.rsplit('.').next().unwrap_or(name);
    if last == "num_batches_tracked" {
        return Some("a counter");
    }
    let at_a_place = places.iter().find_map(|place| {
        let rest = name.strip_prefix(place.as_str())?;
        let first = rest.split('.').next().unwrap_or(rest);
        if COUNTERS.contains(&rest) {
            return Some("a counter");
        }
        if !rest.contains("blocks") && MOMENTS.contains(&last) {
            return Some("the optimiser's state");
        }
        MODULES.iter().find(|(module, _)| *module == first).map(|(_, what)| *what)
    });
    at_a_place.or_else(|| heads.iter().any(|head| name.starts_with(head)).then_some("DINO's projection head"))
}

/// Returns the prefixes of the parts of DINO's projection heads.
///
/// A module `head` with a `last_layer` is such a head; its parts are `head.mlp.` and `head.last_layer.`.
pub(super) fn projection_heads<'a>(names: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
    let heads = names.filter_map(|name| {
        let at = name.find("head.last_layer.")?;
        (at == 0 || name[..at].ends_with('.')).then(|| name[..at + "head.".len()].to_string())
    });
    heads.flat_map(|head| [format!("{head}mlp."), format!("{head}last_layer.")]).collect()
}
