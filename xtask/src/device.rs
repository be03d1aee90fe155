//! `cargo xtask device`: the program that is copied to a Raspberry Pi or a Jetson; and whether it does what it should.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Result, run, shown};
use crate::tally::Tally;
use crate::toolchain::{LINUX, Toolchain};
use crate::tools::{self, Tool};
use crate::workspace;

/// The package, and its program.
pub const PACKAGE: &str = "resmlp-device";

/// The cores that it is tried on: Raspberry Pi 3, 4 and 5, and one that has everything.
pub const CORES: [&str; 4] = ["cortex-a53", "cortex-a72", "cortex-a76", "max"];

/// Builds `target/device/resmlp-device` and prints its path.
pub fn build() -> Result<()> {
    tools::ensure(&[Tool::Aarch64Linker])?;
    println!("{}", build_with(&Toolchain::for_targets(&[LINUX])?)?.display());
    Ok(())
}

/// Builds the program statically linked, so it runs whatever the device's C library is.
fn build_with(toolchain: &Toolchain) -> Result<PathBuf> {
    let mut cargo = toolchain.cargo("build");
    cargo.args(["--release", "--package", PACKAGE, "--target", LINUX]);
    tools::static_for_aarch64(&mut cargo)?;
    run(&mut cargo)?;

    let built = workspace::target_dir().join(LINUX).join("release").join(PACKAGE);
    let program = workspace::made("device")?.join(PACKAGE);
    fs::copy(&built, &program)
        .map_err(|error| format!("cannot copy {} to {}: {error}", built.display(), program.display()))?;
    Ok(program)
}

/// Runs the demo model on several emulated cores: the logits must be this machine's, bit for bit.
pub fn check(arm: &Toolchain) -> Result<Tally> {
    let program = build_with(arm)?;
    let mut pictures = demo_pictures()?;
    // Decoded, resized and cropped there.
    pictures.push(workspace::root().join("demo/pictures/cat_face.jpg"));
    let (model, expected) = demo(&pictures)?;
    let mut tally = Tally::default();
    for core in CORES {
        for threads in ["1", "4"] {
            let mut emulated = tools::emulated(&program, core)?;
            emulated.arg("run").arg(&model).args(&pictures).args(["--json", "--threads", threads]);
            if logits(&mut emulated)? != expected {
                return Err(format!("`{}` has other logits than this machine", shown(&emulated)));
            }
            tally.passed += 1;
        }
        check_bench(tools::emulated(&program, core)?.arg("bench").arg(&model))?;
        tally.passed += 1;
    }
    Ok(tally)
}

/// The demo model, and these pictures' logits on this machine.
pub fn demo(pictures: &[PathBuf]) -> Result<(PathBuf, Vec<String>)> {
    let model = demo_model(&workspace::made("device")?.join("demo.rmlp"), "any")?;
    let here = workspace::target_dir().join("release").join(PACKAGE);
    let logits = logits(Command::new(here).arg("run").arg(&model).args(pictures).arg("--json"))?;
    let distinct: BTreeSet<&String> = logits.iter().collect();
    if distinct.len() < 2 {
        return Err(format!("{} does not tell pictures apart: {logits:?}", model.display()));
    }
    Ok((model, logits))
}

/// The checkpoint that the repository ships, as an int8 model in the file `model`, laid out for `target`.
pub fn demo_model(model: &Path, target: &str) -> Result<PathBuf> {
    let mut build = Toolchain::Current.cargo("build");
    run(build.args(["--release", "--package", "resmlp-cli", "--package", PACKAGE]))?;
    let demo = workspace::root().join("demo");
    let mut convert = Command::new(workspace::target_dir().join("release/resmlp"));
    convert.arg("convert").arg(demo.join("resmlp_cifar10.safetensors")).arg("--output").arg(model);
    convert.args(["--target", target]);
    convert.arg("--calibrate").arg(demo.join("calibration")).arg("--labels").arg(demo.join("cifar10_labels.txt"));
    run(convert.args(["--mean=0.4914,0.4822,0.4465", "--std=0.2470,0.2435,0.2616", "--crop=1.0"]))?;
    Ok(model.to_path_buf())
}

/// Pictures of the demo model's size, which the fixtures keep behind each other in one file.
pub fn demo_pictures() -> Result<Vec<PathBuf>> {
    let fixture = workspace::root().join("converter/checkpoint/tests/fixtures/pictures/32x32.u8");
    let bytes = fs::read(&fixture).map_err(|error| format!("cannot read {}: {error}", fixture.display()))?;
    let mut paths = Vec::new();
    for (index, picture) in bytes.chunks_exact(32 * 32 * 3).enumerate() {
        let path = workspace::made("device")?.join(format!("picture-{index}.rgb"));
        fs::write(&path, picture).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        paths.push(path);
    }
    Ok(paths)
}

/// The logits of every picture, as the JSON report writes them: the shortest text that gives their bits.
pub fn logits(command: &mut Command) -> Result<Vec<String>> {
    let report = report_of(command)?;
    let results = report.split("\"logits\":[").skip(1);
    let logits: Vec<String> = results.filter_map(|rest| Some(rest.split_once(']')?.0.to_owned())).collect();
    if logits.is_empty() { Err(format!("`{}` gives no logits: {report}", shown(command))) } else { Ok(logits) }
}

/// The logits of pictures on this machine: for each the bits in hexadecimal.
pub fn logit_bits(model: &Path, pictures: &[impl AsRef<OsStr>]) -> Result<Vec<String>> {
    let here = workspace::target_dir().join("release").join(PACKAGE);
    let logits = logits(Command::new(here).arg("run").arg(model).args(pictures).arg("--json"))?;
    logits.iter().map(|logits| bits(logits)).collect()
}

/// The bits of numbers that a JSON report lists.
fn bits(numbers: &str) -> Result<String> {
    let bits = numbers.split(',').map(|number| Ok(format!("{:08x}", number.parse::<f32>()?.to_bits())));
    let bits: std::result::Result<Vec<String>, std::num::ParseFloatError> = bits.collect();
    Ok(bits.map_err(|error| format!("no numbers: {numbers}: {error}"))?.join(" "))
}

/// Says which kernels were chosen. Times in an emulator mean nothing, and the report must say so.
fn check_bench(bench: &mut Command) -> Result<()> {
    let report = report_of(bench.args(["--runs", "2", "--warmup", "1", "--pin", "0", "--json"]))?;
    let after = |part| report.split_once(part).map(|(_, rest)| rest);
    for part in [
        "\"runs\":2,",
        "\"latency_ms\":{\"min\":",
        "\"layers\":[{\"name\":\"stem\"",
        "\"trusted\":false",
        "\"pinned_to\":[0]",
    ] {
        after(part).ok_or_else(|| format!("`{}` reports no {part}: {report}", shown(bench)))?;
    }
    let kernels = after("\"kernels\":\"").and_then(|rest| rest.split_once('"')).map(|(name, _)| name);
    let kernels = kernels.ok_or_else(|| format!("`{}` names no kernels: {report}", shown(bench)))?;
    eprintln!("kernels: {kernels}");
    Ok(())
}

pub fn report_of(command: &mut Command) -> Result<String> {
    eprintln!("$ {}", shown(command));
    let output = command.output().map_err(|error| format!("cannot start `{}`: {error}", shown(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`{}` ended with {}: {stderr}", shown(command), output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
