//! Reads ONNX.
use super::{Checkpoint, LoadOptions};
use crate::error::{Error, Result};
use std::path::Path;
pub(super) fn begins_like_onnx(start: &[u8]) -> bool {
    matches!(start, [8, 1..=30, ..])
}
pub(super) fn load(path: &Path, _bytes: Vec<u8>, _options: &LoadOptions) -> Result<Checkpoint> {
    Err(Error::file(path, "todo"))
}
