//! The names that people give classifiers.

/// First words of the names that people give classifiers.
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

/// Returns the first word of a name.
pub(super) fn root(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Returns whether `name` begins as a classifier's does.
pub(super) fn is_head(name: &str) -> bool {
    root(name) != name && ROOTS.contains(&root(name))
}
