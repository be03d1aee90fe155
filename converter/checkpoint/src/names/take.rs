//! Takes tensors by name and checks each against the shape that the other tensors imply.

use super::dialects::Words;
use super::reason::NamesReason;
use super::reparametrise::PAIRS;
use super::wrappers::unwrapped;
use crate::error::{Error, Reason, Result};
use crate::tensors::{Tensor, Tensors, Unread, Unreadable};
use resmlp_network::{Affine, Linear, Matrix};
use std::collections::BTreeMap;
use std::path::Path;

/// Length in bytes of the longest name of a tensor.
const NAME_LIMIT: usize = 1000;

/// Description of a parameter whose largest singular value PyTorch keeps at 1.
const SPECTRAL: &str = "spectral normalisation, which torch.nn.utils.remove_spectral_norm takes out before saving";

/// The tensors of a checkpoint that have not been taken yet.
///
/// The methods that take tensors expect names without the prefix; a "full name" includes it.
pub(super) struct Taker<'a> {
    path: &'a Path,
    tensors: Tensors,
    unreadable: Unreadable,
    /// Names in the file, by the full names that replace them here; names that stay the same are absent.
    origin: BTreeMap<String, String>,
    prefix: String,
    /// Whether linear layers are stored as `[inputs, outputs]`.
    is_in_out: bool,
}

impl<'a> Taker<'a> {
    /// Creates the collection of a checkpoint's tensors.
    ///
    /// The constructor takes wrappers out of the names and multiplies out parameters that are stored in two halves.
    ///
    /// # Errors
    /// Returns an error if a name is too long, or if two names become the same without their wrappers.
    pub fn new(path: &'a Path, tensors: Tensors, unreadable: Unreadable) -> Result<Self> {
        let (prefix, origin) = (String::new(), BTreeMap::new());
        let mut taker =
            Self { path, tensors: Tensors::new(), unreadable: Unreadable::new(), origin, prefix, is_in_out: false };
        for (name, tensor) in tensors {
            let plain = taker.plain(name)?;
            taker.tensors.insert(plain, tensor);
        }
        for (name, unread) in unreadable {
            let plain = taker.plain(name)?;
            taker.unreadable.insert(plain, unread);
        }
        taker.multiply_out();
        Ok(taker)
    }

    fn plain(&mut self, name: String) -> Result<String> {
        if name.len() > NAME_LIMIT {
            let begin = name.chars().take(40).collect::<String>();
            return Err(Error::tensor(self.path, format!("{begin}…"), NamesReason::LongName(name.len())));
        }
        let plain = unwrapped(&name);
        if self.tensors.contains_key(&plain) || self.unreadable.contains_key(&plain) {
            let other = self.file_name(&plain);
            return Err(Error::tensor(self.path, name, NamesReason::SameName(other)));
        }
        if plain != name {
            self.origin.insert(plain.clone(), name);
        }
        Ok(plain)
    }

    fn multiply_out(&mut self) {
        for pair in &PAIRS {
            let parameters = self.tensors.keys().filter_map(|name| pair.parameter_of(name));
            let parameters: Vec<_> = parameters.filter(|name| !self.tensors.contains_key(name)).collect();
            for parameter in parameters {
                let [first, second] = pair.halves_of(&parameter);
                let halves = self.tensors.get(&first).zip(self.tensors.get(&second));
                if let Some(whole) = halves.and_then(|(first, second)| pair.multiply(first, second)) {
                    self.tensors.remove(&first);
                    self.tensors.remove(&second);
                    self.tensors.insert(parameter, whole);
                }
            }
        }
    }

    /// Sets the prefix that later calls put before every name.
    pub fn set_prefix(&mut self, prefix: &str) {
        self.prefix = prefix.to_string();
    }

    /// Sets whether later calls read the weights of linear layers as `[inputs, outputs]`.
    pub fn set_in_out(&mut self, is_in_out: bool) {
        self.is_in_out = is_in_out;
    }

    /// Renames every tensor to what `rename` returns for its full name.
    ///
    /// If `rename` returns `None`, the tensor keeps its name with `behind` put before it, so that it cannot be mixed up
    /// with a renamed one.
    pub fn rename(&mut self, behind: &str, rename: impl Fn(&str) -> Option<String>) {
        let origin = std::mem::take(&mut self.origin);
        let mut renamed = |old: String| {
            let new = rename(&old).unwrap_or_else(|| format!("{behind}{old}"));
            self.origin.insert(new.clone(), origin.get(&old).cloned().unwrap_or(old));
            new
        };
        let tensors = std::mem::take(&mut self.tensors);
        self.tensors = tensors.into_iter().map(|(name, tensor)| (renamed(name), tensor)).collect();
        let unreadable = std::mem::take(&mut self.unreadable);
        self.unreadable = unreadable.into_iter().map(|(name, unread)| (renamed(name), unread)).collect();
    }

    /// Returns the full name of every tensor that has not been taken, whether it can be read or not.
    ///
    /// An object that is not a tensor counts as one if its name has a dot, as the names in a state dict have.
    pub fn names(&self) -> impl Iterator<Item = &String> + Clone {
        let is_tensor = |(name, unread): &(&String, &Unread)| unread.is_tensor() || name.contains('.');
        self.tensors.keys().chain(self.unreadable.iter().filter(is_tensor).map(|(name, _)| name))
    }

    /// Returns the full names and the shapes of the readable tensors that have not been taken.
    pub fn shapes(&self) -> impl Iterator<Item = (&String, &[usize])> {
        self.tensors.iter().map(|(name, tensor)| (name, tensor.shape.as_slice()))
    }

    /// Returns the file's name for the tensor with the full name `full`.
    pub fn file_name(&self, full: &str) -> String {
        self.origin.get(full).cloned().unwrap_or_else(|| full.to_string())
    }

    /// Returns whether there is a value `name` of any type.
    pub fn has(&self, name: &str) -> bool {
        let full = format!("{}{name}", self.prefix);
        self.tensors.contains_key(&full) || self.unreadable.contains_key(&full)
    }

    /// Removes the tensors with these full names.
    pub fn leave_out(&mut self, full_names: &[String]) {
        for name in full_names {
            self.tensors.remove(name);
            self.unreadable.remove(name);
        }
    }

    /// Takes the tensor `name`.
    ///
    /// # Errors
    /// Returns an error if the tensor is missing, cannot be read, or holds a number that is not finite.
    pub fn finite(&mut self, name: &str) -> Result<Tensor> {
        let full = format!("{}{name}", self.prefix);
        let Some(tensor) = self.tensors.remove(&full) else {
            return Err(self.missing(&full));
        };
        match tensor.data.iter().position(|value| !value.is_finite()) {
            Some(index) => {
                let value = tensor.data.get(index).copied().unwrap_or(f32::NAN);
                Err(self.error(&full, NamesReason::NotFinite { index, value }))
            }
            None => Ok(tensor),
        }
    }

    /// Returns the error for a tensor that is missing or cannot be read as numbers.
    fn missing(&self, full: &str) -> Error {
        if let Some(unread) = self.unreadable.get(full) {
            return self.error(full, unread.clone());
        }
        let original = format!("{full}_orig");
        if self.tensors.contains_key(&format!("{full}_u")) && self.tensors.contains_key(&original) {
            return self.error(&original, NamesReason::Unexpected(Some(SPECTRAL)));
        }
        for [first, second] in PAIRS.iter().map(|pair| pair.halves_of(full)) {
            for (half, partner) in [(&first, &second), (&second, &first)] {
                if !self.tensors.contains_key(partner) {
                    continue;
                }
                return match self.unreadable.get(half) {
                    Some(unread) => self.error(half, unread.clone()),
                    None if self.tensors.contains_key(half) => {
                        let found = self.tensors.get(half).map_or(Vec::new(), |tensor| tensor.shape.clone());
                        let expected = format!("one that fits '{}'", self.file_name(partner));
                        self.error(half, NamesReason::Shape { found, expected })
                    }
                    None => self.error(half, NamesReason::HalfMissing { partner: self.file_name(partner) }),
                };
            }
        }
        self.error(full, NamesReason::Missing { unused: None })
    }

    /// Takes the vector `name` of `length` numbers, whose other dimensions, if any, have length 1 (`[1, 1, length]`).
    pub fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>> {
        let Tensor { shape, data } = self.finite(name)?;
        let others = shape.iter().filter(|dimension| **dimension != 1);
        match data.len() == length && !shape.is_empty() && others.count() <= 1 {
            true => Ok(data),
            false => Err(self.wrong_shape(name, &shape, &format!("[{length}] or [1, 1, {length}]"))),
        }
    }

    /// Takes the Aff `name` over `dim` channels.
    pub fn affine(&mut self, name: &str, words: &Words, dim: usize) -> Result<Affine> {
        Ok(Affine {
            alpha: self.vector(&format!("{name}.{}", words.alpha), dim)?,
            beta: self.vector(&format!("{name}.{}", words.beta), dim)?,
        })
    }

    /// Takes the linear layer `name`.
    ///
    /// Its weights have the shape `[outputs, inputs]` or that of a convolution of width 1, `[outputs, inputs, 1]`.
    /// An argument of `None` allows any number of outputs or inputs.
    pub fn linear(&mut self, name: &str, outputs: Option<usize>, inputs: Option<usize>) -> Result<Linear> {
        let weight = format!("{name}.weight");
        let Tensor { shape, data } = self.finite(&weight)?;
        let [rows, cols] = match (shape.as_slice(), self.is_in_out) {
            ([cols, rows], true) => [*rows, *cols],
            ([rows, cols], false) => [*rows, *cols],
            ([rows, cols, rest @ ..], _) if rest.len() <= 2 && rest.iter().all(|length| *length == 1) => [*rows, *cols],
            _ => [0, 0],
        };
        let fits = |found: usize, expected: Option<usize>| found > 0 && expected.is_none_or(|e| e == found);
        if !fits(rows, outputs) || !fits(cols, inputs) {
            let mut lengths = [outputs, inputs].map(|expected| expected.map_or("any".into(), |e| e.to_string()));
            if self.is_in_out {
                lengths.reverse();
            }
            return Err(self.wrong_shape(&weight, &shape, &format!("[{}]", lengths.join(", "))));
        }
        let data = if self.is_in_out && shape.len() == 2 { transposed(&data, rows) } else { data };
        let bias = self.vector(&format!("{name}.bias"), rows)?;
        Ok(Linear { weight: Matrix { rows, cols, data }, bias })
    }

    /// Returns the error for the tensor `name`, whose shape `found` is not the `expected` one.
    pub fn wrong_shape(&self, name: &str, found: &[usize], expected: &str) -> Error {
        let reason = NamesReason::Shape { found: found.to_vec(), expected: expected.into() };
        self.error(&format!("{}{name}", self.prefix), reason)
    }

    /// Returns an error about the tensor with the full name `full`.
    pub fn error(&self, full: &str, reason: impl Into<Reason>) -> Error {
        Error::tensor(self.path, self.file_name(full), reason)
    }
}

/// Transposes a matrix `[columns, rows]` into `[rows, columns]`.
fn transposed(data: &[f32], rows: usize) -> Vec<f32> {
    (0..rows).flat_map(|row| data.iter().skip(row).step_by(rows).copied()).collect()
}
