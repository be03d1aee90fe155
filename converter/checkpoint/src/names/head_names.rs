//! Lists the usual names of classifiers.

/// First words of the usual names of classifiers.
pub(super) const ROOTS: [&str; 23] = [
    "head",
    "heads",
    "classifier",
    "classifiers",
    "fc",
    "linear",
    "mlp_head",
    "cls_head",
    "class_head",
    "classification_head",
    "classifier_head",
    "linear_head",
    "linear_classifier",
    "head_fc",
    "head_dist",
    "fc_out",
    "last_linear",
    "predictions",
    "logits",
    "output",
    "out",
    "output_layer",
    "probe",
];

/// Returns the part of a name before its first dot.
pub(super) fn root(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Returns whether `name` is that of a tensor in a module with one of a classifier's usual names.
pub(super) fn is_head(name: &str) -> bool {
    root(name) != name && ROOTS.contains(&root(name))
}
