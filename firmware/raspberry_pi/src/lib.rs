//! The parts of the bare-metal image that need no hardware: they read what the boot firmware has left in memory,
//! measure, report, and answer frames. The image itself is `main.rs`.
//!
//! ```text
//! device tree or ATAGs ── boot_info ──► where the initramfs lies ── payload ──► model, pictures
//!                                                                                  │
//!      serial line ◄── serve ── classify ◄─────────────────────────────────────────┤
//!      serial line ◄── report ◄── measure ◄────────────────────────────────────────┘
//! ```
//!
//! Nothing here allocates, and nothing can panic: an image with a reachable panic does not link.
#![no_std]

#[cfg(test)]
extern crate std;

mod arena;
mod atags;
mod boot_info;
mod classify;
mod clock;
mod device_tree;
mod led;
mod measure;
mod options;
mod payload;
mod report;
mod serve;

pub use arena::{Arena, largest_gap};
pub use boot_info::{BootInfo, LedPin};
pub use classify::{Classifier, guesses};
pub use clock::{Clock, Span, core_clock};
pub use led::{Failure, flash};
pub use measure::{Measured, StageTime, measure, percentile};
pub use options::Options;
pub use payload::{Payload, PayloadError};
pub use report::{describe_model, print_classes, print_core_clock, print_latency, print_layers};
pub use serve::Server;
