//! Reads the `.pth` files that `torch.save` writes. The pickle in them is interpreted as data and never executed.

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
