//! Looks for what tests need beside a checkout and cargo.
//!
//! The repository has one rule for tests that need something. Such a test is marked like this:
//!
//! ```text
//! #[ignore = "needs NEED: HOW TO GET IT"]
//! ```
//!
//! NEED is one of the names in [`look_for`]. A plain `cargo test` reports the test as ignored, not as passed. The
//! command `cargo xtask test` looks for each need, runs the ignored tests whose need it finds, and reports the others
//! as skipped, by name. A test that runs without its need fails.
//!
//! Some needs can be found only by the test itself: see [`Need::AskTheTest`]. Such a test runs. If it finds its need
//! missing it prints `skipped: NAME (needs NEED)` and returns, and it, too, is reported as skipped.

use std::path::Path;

use crate::process::find_program;

/// Whether this machine has what a test needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The tests run.
    Present,
    /// The tests are skipped.
    Missing,
    /// The tests run, and find out by themselves.
    AskTheTest,
    /// The tests belong to a step of their own, which runs them; they are not counted here.
    OtherStep,
}

/// The folder of Debian's package `dataset-fashion-mnist`.
const FASHION_MNIST: &str = "/usr/share/datasets/fashion-mnist";

/// Looks for the need that the reason of an `#[ignore]` names. A reason that names none of these needs is missing.
pub fn look_for(reason: &str) -> Need {
    let named = reason.strip_prefix("needs ").unwrap_or_default();
    match named.split(':').next().unwrap_or_default().trim() {
        "the shared data" => shared_data(),
        "an ssh server" => ssh_server(),
        "mtools and dosfstools" => fat_tools(),
        "a browser" => browser(),
        "Fashion-MNIST" => present_if(Path::new(FASHION_MNIST).is_dir()),
        "performance counters" => Need::AskTheTest,
        "an emulated board" => Need::OtherStep,
        _ => Need::Missing,
    }
}

fn present_if(is_there: bool) -> Need {
    if is_there { Need::Present } else { Need::Missing }
}

/// Returns whether a program is in `PATH` or in a folder that is not in every user's `PATH`.
fn has_program(name: &str) -> bool {
    find_program(name).is_some() || Path::new("/usr/sbin").join(name).is_file()
}

fn shared_data() -> Need {
    present_if(std::env::var_os("RESMLP_SHARED").is_some_and(|folder| Path::new(&folder).is_dir()))
}

fn ssh_server() -> Need {
    present_if(["sshd", "ssh", "ssh-keygen"].into_iter().all(has_program))
}

fn fat_tools() -> Need {
    present_if(["mcopy", "fsck.vfat"].into_iter().all(has_program))
}

fn browser() -> Need {
    present_if(["chromium", "chromium-browser", "google-chrome"].into_iter().any(has_program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_need_is_found_by_its_name() {
        assert_eq!(look_for("needs an emulated board: cargo xtask test --only cortex-m"), Need::OtherStep);
        assert_eq!(look_for("needs performance counters"), Need::AskTheTest);
    }

    #[test]
    fn a_need_that_nobody_knows_is_missing() {
        for text in ["", "takes an hour", "needs a board", "needs an emulated"] {
            assert_eq!(look_for(text), Need::Missing, "{text}");
        }
    }
}
