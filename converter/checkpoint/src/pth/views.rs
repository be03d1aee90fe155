//! Reads tensors, which may be strided views, from the storages of a `.pth` file.

use super::pickle::Machine;
use super::reason::PthReason;
use super::select;
use super::value::{Place, Ref, Storage, Value, View};
use crate::error::{Error, Result};
use crate::names::Vocabulary;
use crate::tensors::{StateDict, Tensor, Tensors, volume};
use std::path::Path;

/// The caller's choice among a file's tensors.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Names by which a network's dictionary is recognised.
    pub vocabulary: &'a Vocabulary,
    /// Key of the dictionary to read, or prefix of its names, if the caller gives one.
    pub key: Option<&'a str>,
}

/// Reads the state dict under `root`.
///
/// `bytes_of` returns the bytes of a storage that lies outside the pickle. `length` is the file's length in bytes and
/// bounds the number of elements that are read.
pub(super) fn state_dict<'a>(
    path: &Path,
    length: usize,
    machine: &Machine<'a>,
    root: Ref,
    wanted: Wanted,
    mut bytes_of: impl FnMut(&Storage<'a>) -> std::result::Result<&'a [u8], PthReason>,
) -> Result<StateDict> {
    let selection =
        select::select(machine, root, wanted.vocabulary, wanted.key).map_err(|reason| Error::file(path, reason))?;
    let mut budget = element_budget(length);
    let mut tensors = Tensors::new();
    for (name, view) in selection.tensors {
        let tensor = match machine.value(view.storage) {
            Value::Storage(storage) => match storage.place {
                Place::Key(_) => bytes_of(storage).and_then(|bytes| take(storage, bytes, view, &mut budget)),
                Place::Inline(data) => {
                    let bytes = machine.bytes_of(data).unwrap_or_default();
                    take(storage, &bytes, view, &mut budget)
                }
            },
            _ => Err(PthReason::Tensor("a tensor without a storage")),
        };
        let tensor = tensor.map_err(|reason| Error::tensor(path, name, reason))?;
        tensors.insert(name.to_string(), tensor);
    }
    let select::Selection { unreadable, notes, key_is_used, .. } = selection;
    Ok(StateDict { tensors, unreadable, notes, key_is_used })
}

/// Reads the tensor `view` from its storage's bytes. `budget` is the number of elements that may still be read.
///
/// Tensors may share a storage and a stride may be zero, so without the budget a small file could ask for any amount
/// of memory.
fn take(storage: &Storage, bytes: &[u8], view: &View, budget: &mut usize) -> std::result::Result<Tensor, PthReason> {
    let float = storage.kind.float.ok_or(PthReason::Tensor("a storage of integers; expected floats"))?;
    let elements = volume(&view.shape).ok_or(PthReason::Tensor("a shape that overflows"))?;
    *budget = budget.checked_sub(elements).ok_or(PthReason::Unfolds)?;
    if elements == 0 {
        return Ok(Tensor { shape: view.shape.clone(), data: Vec::new() });
    }
    let end = last(view).and_then(|last| last.checked_add(1)).ok_or(PthReason::Tensor("strides that overflow"))?;
    if end > bytes.len() / float.size() {
        return Err(PthReason::View { end, elements: storage.elements });
    }
    let window = bytes.get(view.offset * float.size()..end * float.size()).unwrap_or_default();
    let element = |index: usize| window.get(index * float.size()..).and_then(|bytes| float.first(bytes));
    let data = match is_contiguous(view) {
        true => float.decode(window),
        false => indices(view).map(|index| element(index).unwrap_or(f32::NAN)).collect(),
    };
    Ok(Tensor { shape: view.shape.clone(), data })
}

/// Returns the index of the view's last element in its storage, or `None` if it overflows.
fn last(view: &View) -> Option<usize> {
    view.shape.iter().zip(&view.strides).try_fold(view.offset, |index, (length, stride)| {
        index.checked_add(length.checked_sub(1)?.checked_mul(*stride)?)
    })
}

fn is_contiguous(view: &View) -> bool {
    let mut expected = 1;
    view.shape.iter().zip(&view.strides).rev().all(|(length, stride)| {
        let fits = *length == 1 || *stride == expected;
        expected *= length;
        fits
    })
}

/// Returns the index of every element of the view, relative to its offset, in row-major order.
fn indices(view: &View) -> impl Iterator<Item = usize> + '_ {
    let elements: usize = view.shape.iter().product();
    (0..elements).map(|position| {
        let mut rest = position;
        let dimensions = view.shape.iter().zip(&view.strides).rev();
        dimensions.fold(0, |index, (length, stride)| {
            let along = rest % length;
            rest /= length;
            index + along * stride
        })
    })
}

/// Returns the number of elements that the tensors of a file of `length` bytes may have together.
fn element_budget(length: usize) -> usize {
    length.saturating_add(1 << 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pth::value::Element;
    use crate::tensors::Float;

    fn storage(values: &[f32]) -> (Storage<'static>, Vec<u8>) {
        let kind = Element { name: "F32", size: 4, float: Some(Float::F32) };
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        (Storage { place: Place::Key("0"), kind, elements: values.len() }, bytes)
    }

    fn view(offset: usize, shape: &[usize], strides: &[usize]) -> View {
        View { storage: 0, offset, shape: shape.to_vec(), strides: strides.to_vec() }
    }

    #[test]
    fn a_transposed_view_at_an_offset_is_gathered() {
        let (storage, bytes) = storage(&[9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let tensor = take(&storage, &bytes, &view(1, &[3, 2], &[1, 3]), &mut 100).unwrap();
        assert_eq!(tensor.data, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    #[test]
    fn a_view_past_its_storage_is_refused() {
        let (storage, bytes) = storage(&[1.0; 6]);
        let error = take(&storage, &bytes, &view(1, &[3, 2], &[2, 1]), &mut 100).unwrap_err().to_string();
        assert!(error.contains("ends at element 7"), "{error}");
        assert!(take(&storage, &bytes, &view(usize::MAX, &[2], &[1]), &mut 100).is_err());
        assert!(take(&storage, &bytes, &view(0, &[2], &[usize::MAX]), &mut 100).is_err());
    }

    #[test]
    fn a_view_that_repeats_its_storage_without_end_is_refused() {
        let (storage, bytes) = storage(&[1.0]);
        let mut budget = element_budget(4);
        let error = take(&storage, &bytes, &view(0, &[1 << 40], &[0]), &mut budget).unwrap_err();
        assert!(error.to_string().contains("far more"), "{error}");
    }
}
