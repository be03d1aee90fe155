//! Downloads checkpoints from the Hugging Face model hub.
//!
//! An [`Address`] such as `hf:timm/resmlp_12_224.fb_distilled_in1k` names a repository of the hub. [`fetch`] asks the
//! hub for the commit and the files of the repository, downloads the weights and the file beside them, and returns
//! where they lie. The files stay in the cache that Python's `huggingface_hub` uses, so that each program finds what
//! the other one downloaded.
//!
//! A file takes its place in the cache only when its length and its hash are those that the hub announced. A download
//! that breaks leaves a file `.incomplete`, which the next download continues. [`Settings`] holds what the environment
//! says: `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` and their relatives.
//!
//! The crate `hf-hub` gives the names of the folders in the cache. The downloads themselves are our own, because those
//! of `hf-hub` 0.5 verify neither length nor hash, append to a partial file even if the server starts from the
//! beginning, take paths from headers unchecked, and send the token to the host to which a download is redirected.
//! `hf-hub` 1.0 needs an asynchronous runtime and more than 200 other crates.

mod address;
mod cache;
mod client;
mod digest;
mod download;
mod error;
mod fetch;
mod settings;

pub use address::Address;
pub use error::{Error, Result};
pub use fetch::{Event, Snapshot, Wanted, fetch};
pub use settings::Settings;
