//! Reads `.pth` files of `torch.save` as data: the pickle in them is interpreted, never executed.

mod archive;
mod legacy;
mod limits;
mod pickle;
mod reason;
mod rebuild;
mod select;
mod value;
mod views;
mod zip;

pub(crate) use legacy::{MAGIC as LEGACY_MAGIC, read as read_legacy};
pub use reason::{PickleReason, PthReason};
pub(crate) use views::Wanted;
pub(crate) use zip::read as read_zip;
