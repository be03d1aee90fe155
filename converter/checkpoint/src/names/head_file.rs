//! Reads a linear classifier from a file of its own, such as the file that DINO's `eval_linear.py` saves.

use super::foreign::only_head;
use super::reason::NamesReason;
use super::take::Taker;
use crate::error::{Error, Result};
use crate::tensors::StateDict;
use resmlp_network::Linear;
use std::path::Path;

/// Takes the linear layer that the tensors of the file `path` form, for a network of `dim` channels.
///
/// # Errors
/// Returns an error if the tensors do not form exactly one linear layer, or if the layer does not fit the network.
pub(crate) fn linear(path: &Path, state: StateDict, dim: usize) -> Result<Linear> {
    let mut taker = Taker::new(path, state.tensors, state.unreadable)?;
    let Some((weight, _)) = only_head(&taker) else {
        let names: Vec<_> = taker.names().take(4).cloned().collect();
        let found = match (names.len(), taker.names().count()) {
            (0, _) => "no tensors".into(),
            (_, count) => format!("{count} tensors: {}", names.join(", ")),
        };
        return Err(Error::file(path, NamesReason::NoHead { dim, found }));
    };
    let module = weight.trim_end_matches(".weight").to_string();
    taker.linear(&module, None, Some(dim))
}
