//! Takes tensors by name, each with the shape that the others imply.

use super::dialects::Words;
use crate::error::{Error, Result};
use crate::tensors::wrong_type;
use crate::tensors::{Tensor, Tensors, Unreadable};
use resmlp_network::{Affine, Linear, Matrix};
use std::path::Path;

/// The tensors that are still to be taken. Names are given without the prefix.
pub(super) struct Taker<'a> {
    path: &'a Path,
    tensors: Tensors,
    unreadable: Unreadable,
    prefix: String,
}

impl<'a> Taker<'a> {
    pub fn new(path: &'a Path, tensors: Tensors, unreadable: Unreadable, prefix: String) -> Self {
        Self { path, tensors, unreadable, prefix }
    }

    /// What stands before every name.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether the module `name` has any weight or bias, of whatever type.
    pub fn has_any(&self, name: &str) -> bool {
        let mut parts = ["weight", "bias"].into_iter().map(|part| format!("{}{name}.{part}", self.prefix));
        parts.any(|part| self.tensors.contains_key(&part) || self.unreadable.contains_key(&part))
    }

    /// The tensor `name`, which must hold finite numbers.
    pub fn finite(&mut self, name: &str) -> Result<Tensor> {
        let full = format!("{}{name}", self.prefix);
        let tensor = self.tensors.remove(&full).ok_or_else(|| {
            let missing = "missing from the checkpoint; expected it beside the others of its kind";
            let message = self.unreadable.get(&full).map_or(missing.into(), |kind| wrong_type(kind));
            Error::tensor(self.path, &full, message)
        })?;
        match tensor.data.iter().position(|value| !value.is_finite()) {
            Some(index) => {
                let value = tensor.data.get(index).copied().unwrap_or(f32::NAN);
                Err(Error::tensor(self.path, full, format!("element {index} is {value}; expected finite numbers")))
            }
            None => Ok(tensor),
        }
    }

    /// The vector `name` of `length` numbers, stored as `[length]` or with leading ones (`[1, 1, length]`).
    pub fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>> {
        let Tensor { shape, data } = self.finite(name)?;
        match shape.split_last() {
            Some((last, rest)) if *last == length && rest.iter().all(|dimension| *dimension == 1) => Ok(data),
            _ => Err(self.wrong_shape(name, &shape, &format!("[{length}] or [1, 1, {length}]"))),
        }
    }

    /// The Aff `name` over `dim` channels.
    pub fn affine(&mut self, name: &str, words: &Words, dim: usize) -> Result<Affine> {
        Ok(Affine {
            alpha: self.vector(&format!("{name}.{}", words.alpha), dim)?,
            beta: self.vector(&format!("{name}.{}", words.beta), dim)?,
        })
    }

    /// The linear layer `name`, `[outputs, inputs]` or, as a convolution of width 1, `[outputs, inputs, 1]`.
    pub fn linear(&mut self, name: &str, outputs: Option<usize>, inputs: Option<usize>) -> Result<Linear> {
        let weight = format!("{name}.weight");
        let Tensor { shape, data } = self.finite(&weight)?;
        let (rows, cols) = match shape.as_slice() {
            [rows, cols] | [rows, cols, 1] => (*rows, *cols),
            _ => (0, 0),
        };
        let fits = |found: usize, expected: Option<usize>| found > 0 && expected.is_none_or(|e| e == found);
        if !fits(rows, outputs) || !fits(cols, inputs) {
            let length = |expected: Option<usize>| expected.map_or("any".into(), |e| e.to_string());
            let expected = format!("[{}, {}]", length(outputs), length(inputs));
            return Err(self.wrong_shape(&weight, &shape, &expected));
        }
        let bias = self.vector(&format!("{name}.bias"), rows)?;
        Ok(Linear { weight: Matrix { rows, cols, data }, bias })
    }

    /// The error for a tensor whose shape does not fit.
    pub fn wrong_shape(&self, name: &str, found: &[usize], expected: &str) -> Error {
        let message = format!("shape {found:?}; expected {expected}");
        Error::tensor(self.path, format!("{}{name}", self.prefix), message)
    }

    /// Accounts for what nobody took: an error inside the network, a note outside it.
    pub fn leftovers(&self, words: &Words, depth: usize, notes: &mut Vec<String>) -> Result<()> {
        for name in self.tensors.keys() {
            let inside = name.strip_prefix(&self.prefix).is_some_and(|name| words.owns(name, depth));
            if inside {
                return Err(Error::tensor(self.path, name, "unexpected; a ResMLP has no such tensor"));
            }
        }
        if let Some(first) = self.tensors.keys().next() {
            let count = self.tensors.len();
            notes.push(format!("{count} tensors outside the network left out, such as '{first}'"));
        }
        Ok(())
    }
}
