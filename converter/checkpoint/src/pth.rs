//! Reads `.pth` files of `torch.save` as data: the pickle in them is interpreted, never executed.

mod legacy;
mod pickle;
mod rebuild;
mod select;
mod value;
mod views;
mod zip;

pub(crate) use legacy::{MAGIC as LEGACY_MAGIC, read as read_legacy};
pub(crate) use zip::read as read_zip;
