//! Reads what `torch.save` has written since PyTorch 1.6.
//!
//! Such a file is an uncompressed zip archive with one pickle and one entry for each storage.

use super::archive::Archive;
use super::pickle::Machine;
use super::reason::PthReason;
use super::value::{Place, Storage};
use super::views::{Wanted, state_dict};
use crate::error::{Error, Result};
use crate::tensors::StateDict;
use std::collections::HashMap;
use std::path::Path;

/// Reads every floating-point tensor of the state dict in the archive.
pub(crate) fn read(path: &Path, bytes: &[u8], wanted: Wanted) -> Result<StateDict> {
    let fail = |reason: PthReason| Error::file(path, reason);
    let archive = Archive::open(bytes).map_err(fail)?;
    let mut torch = TorchArchive::new(archive).map_err(fail)?;
    let pickle = torch.entry("data.pkl").map_err(fail)?;
    if torch.has("constants.pkl") {
        return Err(fail(PthReason::TorchScript));
    }
    if torch.has("byteorder") && torch.entry("byteorder").map_err(fail)? == b"big" {
        return Err(fail(PthReason::BigEndian));
    }
    let mut machine = Machine::new(pickle, bytes.len());
    let root = machine.pickle().map_err(|reason| fail(PthReason::DataPickle(reason)))?;
    let mut checked: HashMap<&str, &[u8]> = HashMap::new();
    state_dict(path, bytes.len(), &machine, root, wanted, |storage| {
        let Place::Key(key) = storage.place else {
            return Err(PthReason::Tensor("a storage without a key"));
        };
        if let Some(bytes) = checked.get(key) {
            return Ok(bytes);
        }
        let bytes = torch.storage(key, storage)?;
        checked.insert(key, bytes);
        Ok(bytes)
    })
}

/// An archive whose entries lie in one folder, as torch writes it.
struct TorchArchive<'a> {
    archive: Archive<'a>,
    folder: String,
}

impl<'a> TorchArchive<'a> {
    fn new(archive: Archive<'a>) -> std::result::Result<Self, PthReason> {
        let folder = archive.names().find_map(|name| name.strip_suffix("data.pkl")).map(str::to_string);
        match folder {
            Some(folder) => Ok(Self { archive, folder }),
            None => Err(other_archive(&archive)),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.archive.has(&format!("{}{name}", self.folder))
    }

    fn entry(&mut self, name: &str) -> std::result::Result<&'a [u8], PthReason> {
        self.archive.entry(&format!("{}{name}", self.folder)).map_err(|reason| match reason {
            PthReason::Entry { problem, .. } => PthReason::Entry { name: name.into(), problem },
            other => other,
        })
    }

    /// Returns the bytes of `storage`, whose number must fit its type and its number of elements.
    fn storage(&mut self, key: &str, storage: &Storage) -> std::result::Result<&'a [u8], PthReason> {
        let bytes = self.entry(&format!("data/{key}"))?;
        let Storage { kind, elements, .. } = storage;
        if elements.checked_mul(kind.size) != Some(bytes.len()) {
            let found = format!("{} bytes", bytes.len());
            let expected = format!("{elements} elements of {} bytes", kind.size);
            return Err(PthReason::StorageLength { key: key.into(), found, expected });
        }
        Ok(bytes)
    }
}

/// Returns the reason for refusing an archive that `torch.save` did not write, which says what the archive is.
fn other_archive(archive: &Archive) -> PthReason {
    let any = |is: &dyn Fn(&str) -> bool| archive.names().any(is);
    let (kind, way_out) = if any(&|name| name.ends_with("model.weights.h5")) {
        ("a Keras model (.keras)", "export it from Keras: model.export(\"model.onnx\", format=\"onnx\")")
    } else if any(&|name| name.ends_with(".npy")) {
        (
            "a NumPy archive (.npz)",
            "in Python, save its arrays with safetensors.numpy.save_file(dict(numpy.load(\"FILE\")), \
             \"model.safetensors\")",
        )
    } else if any(&|name| name.ends_with("archive_format") || name.ends_with("serialized_exported_program.json")) {
        (
            "an exported PyTorch program (.pt2)",
            "in Python, torch.save(torch.export.load(\"FILE\").state_dict, \"weights.pth\")",
        )
    } else if any(&|name| name.contains(".mlpackage/") || name == "Manifest.json") {
        ("a Core ML package", "use the checkpoint that it was made from")
    } else if any(&|name| {
        [".pth", ".pt", ".bin", ".safetensors", ".onnx"].iter().any(|extension| name.ends_with(extension))
    }) {
        ("a packed folder", "unpack it and give the checkpoint inside")
    } else {
        ("no checkpoint (it has no data.pkl)", "expected what torch.save writes")
    };
    PthReason::OtherArchive { kind, way_out }
}
