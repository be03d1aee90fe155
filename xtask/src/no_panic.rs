//! `runtime/no_panic`: a program that links only if no panic can be reached from the runtime.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::process::{Result, run, shown};
use crate::tally::Tally;
use crate::toolchain::{self, LINUX, Toolchain};
use crate::{tools, workspace};

const PACKAGE: &str = "resmlp-no-panic";
/// What the program's panic handler calls, and nothing defines.
const MISSING: &str = "resmlp_panic_is_reachable";
/// Raspberry Pi and others without an operating system.
pub const AARCH64: &str = "aarch64-unknown-none";

/// The program for a target, and modules of the runtime that must be in it.
struct Case<'a> {
    toolchain: &'a Toolchain,
    target: &'a str,
    modules: &'a [&'a str],
}

/// Links the program for this machine, aarch64 Linux and aarch64 without a system; and once with a panic, which must fail.
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
        case.links()?;
        case.does_not_link_with_a_panic()?;
        tally.passed += 2;
    }
    Ok(tally)
}

impl Case<'_> {
    fn build(&self, features: &str) -> Result<Command> {
        let mut cargo = self.toolchain.cargo("build");
        cargo.args(["--profile", "freestanding", "--package", PACKAGE, "--target", self.target]);
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

    /// A program without the kernels would prove nothing: their names must be among its symbols.
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
            Some(missing) => Err(format!("{} has nothing of kernels::{missing} in it", program.display())),
        }
    }

    fn does_not_link_with_a_panic(&self) -> Result<()> {
        let mut cargo = self.build("freestanding,with-a-panic")?;
        eprintln!("$ {}    # must not link", shown(&cargo));
        let output = cargo.output().map_err(|error| format!("cannot start `{}`: {error}", shown(&cargo)))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        if output.status.success() || !stderr.contains(MISSING) {
            return Err(format!("a panic should have been found by `{}`: {stderr}", shown(&cargo)));
        }
        Ok(())
    }
}
