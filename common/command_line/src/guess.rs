//! The most probable classes of a picture.

use resmlp_runtime::most_probable;
use serde::Serialize;

/// Number of classes that reports show for a picture.
pub const SHOWN: usize = 5;

/// A class and its probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Guess {
    /// Index of the class.
    pub index: usize,
    /// Name of the class, if the model carries names.
    pub label: Option<String>,
    /// Softmax of the logits, from 0 to 1.
    pub probability: f64,
}

impl Guess {
    /// Returns the label, or `class 7` for a class without one.
    pub fn name(&self) -> String {
        self.label.clone().unwrap_or_else(|| format!("class {}", self.index))
    }
}

/// Returns the `N` most probable classes, most probable first. Among equally probable classes, the lowest index comes
/// first.
pub fn guesses<const N: usize>(logits: &[f32], labels: &[impl AsRef<str>]) -> Vec<Guess> {
    let guess = |(index, probability)| Guess {
        index,
        label: labels.get(index).map(|label| label.as_ref().to_owned()),
        probability,
    };
    most_probable::<N>(logits, f64::exp).into_iter().map(guess).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_their_labels_and_fields() {
        let found = guesses::<2>(&[0.0, 3f32.ln(), -9.0], &["cat", "dog"]);
        assert_eq!(found.iter().map(Guess::name).collect::<Vec<_>>(), ["dog", "cat"]);
        let json = serde_json::to_value(guesses::<1>(&[1.0], &[""; 0])).unwrap();
        assert_eq!(json, serde_json::json!([{ "index": 0, "label": null, "probability": 1.0 }]));
        assert_eq!(guesses::<1>(&[0.0, 1.0], &["cat"])[0].name(), "class 1");
    }
}
