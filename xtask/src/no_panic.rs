//! Checks with `runtime/no_panic` that no panic can be reached from the runtime: with a reachable panic the program
//! does not link.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::packages::NO_PANIC;
use crate::process::{Result, expect_no_link, run};
use crate::tally::Tally;
use crate::targets::{AARCH64, LINUX};
use crate::toolchain::{self, Toolchain};
use crate::{tools, workspace};

/// The function that the program's panic handler calls, and that is defined nowhere.
const MISSING: &str = "resmlp_panic_is_reachable";

/// A target to link the program for, and the modules of the runtime that must be in it.
struct Case<'a> {
    toolchain: &'a Toolchain,
    target: &'a str,
    modules: &'a [&'a str],
}

/// Links the program for this machine, for aarch64 Linux and for aarch64 without a system. For each, the same program
/// with a panic in it must not link.
pub fn check(arm: &Toolchain) -> Result<Tally> {
    let host = toolchain::host()?;
    let x86 = [
        "scalar",
        "x86_64::int8_amx",
        "x86_64::int8_avx2",
        "x86_64::int8_avx2_winograd",
        "x86_64::int8_avx_vnni",
        "x86_64::int8_avx512_vnni",
        "x86_64::f16_f16c",
        "x86_64::f16_avx512",
    ];
    let aarch64 = [
        "scalar",
        "aarch64::int8_neon",
        "aarch64::int8_neon_in_order",
        "aarch64::int8_dotprod",
        "aarch64::int8_dotprod_in_order",
        "aarch64::int8_i8mm",
        "aarch64::f16_widening",
        "aarch64::f16_native",
    ];
    let mut cases = vec![
        Case { toolchain: arm, target: LINUX, modules: &aarch64 },
        Case { toolchain: arm, target: AARCH64, modules: &aarch64 },
    ];
    if host.starts_with("x86_64") {
        cases.push(Case { toolchain: &Toolchain::Current, target: &host, modules: &x86 });
    }
    let mut tally = Tally::default();
    for case in &cases {
        tally.record(&format!("{} links", case.target), case.links());
        tally.record(&format!("{} does not link with a panic", case.target), case.does_not_link_with_a_panic());
    }
    Ok(tally)
}

impl Case<'_> {
    /// Returns the command that builds the program.
    fn build(&self, features: &str) -> Result<Command> {
        let mut cargo = self.toolchain.cargo("build");
        cargo.args(["--profile", "freestanding", "--package", NO_PANIC, "--target", self.target]);
        cargo.args(["--features", features]);
        if self.target == AARCH64 {
            cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_NONE_RUSTFLAGS", "-Clink-arg=--entry=main");
        }
        tools::link_for_aarch64(&mut cargo)?;
        Ok(cargo)
    }

    fn program(&self) -> PathBuf {
        workspace::target_dir().join(self.target).join("freestanding/no_panic")
    }

    /// Links the program and checks that the kernels' names are among its symbols. A program without the kernels would
    /// prove nothing.
    fn links(&self) -> Result<()> {
        run(&mut self.build("freestanding")?)?;
        let program = self.program();
        let bytes = fs::read(&program).map_err(|error| format!("cannot read {}: {error}", program.display()))?;
        let is_in = |module: &str| {
            let path: String = module.split("::").map(|name| format!("{}{name}", name.len())).collect();
            let symbol = format!("kernels{path}");
            bytes.windows(symbol.len()).any(|window| window == symbol.as_bytes())
        };
        match self.modules.iter().find(|module| !is_in(module)) {
            None => Ok(()),
            Some(missing) => Err(format!("{} contains no function of kernels::{missing}", program.display())),
        }
    }

    fn does_not_link_with_a_panic(&self) -> Result<()> {
        expect_no_link(&mut self.build("freestanding,with-a-panic")?, MISSING)
    }
}
