//! Makes the demo's model and pictures, which many steps run, and the logits that this machine computes for them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::build_programs;
use crate::packages::{CONVERTER_PROGRAM, DEVICE};
use crate::process::{Result, report_of, run, shown};
use crate::workspace;

/// The pictures that the demo's model is tried on. The file holds one picture of 32 × 32 RGB bytes after another.
const PICTURES: &str = "converter/checkpoint/tests/fixtures/pictures/32x32.u8";

/// The demo's model, and the results that it computes on this machine.
pub struct Demo {
    pub model: PathBuf,
    /// Pictures of the model's size, each a file of RGB bytes.
    pub pictures: Vec<PathBuf>,
    /// The logits of each picture, as [`logits`] returns them.
    pub logits: Vec<String>,
}

impl Demo {
    /// Makes the model in the layout that runs anywhere, and computes the logits of its pictures.
    pub fn new() -> Result<Self> {
        let folder = workspace::made("device")?;
        let model = folder.join("demo.rmlp");
        let programs = make_model(&model, "any")?;
        let pictures = write_pictures(&folder)?;
        let logits = logits(Command::new(programs.join(DEVICE)).arg("run").arg(&model).args(&pictures).arg("--json"))?;
        let distinct: BTreeSet<&String> = logits.iter().collect();
        if distinct.len() < 2 {
            return Err(format!("{} computes the same logits for every picture: {logits:?}", model.display()));
        }
        Ok(Self { model, pictures, logits })
    }
}

/// Converts the checkpoint in this repository to an int8 model, laid out for `target`. Returns the folder of this
/// machine's `resmlp` and `resmlp-device`.
pub fn make_model(model: &Path, target: &str) -> Result<PathBuf> {
    let programs = build_programs(&[CONVERTER_PROGRAM, DEVICE])?;
    let demo = workspace::root().join("demo");
    let mut convert = Command::new(programs.join(CONVERTER_PROGRAM));
    convert.arg("convert").arg(demo.join("resmlp_cifar10.safetensors")).arg("--output").arg(model);
    convert.args(["--target", target]);
    convert.arg("--calibrate").arg(demo.join("calibration")).arg("--labels").arg(demo.join("cifar10_labels.txt"));
    run(convert.args(["--mean=0.4914,0.4822,0.4465", "--std=0.2470,0.2435,0.2616", "--crop=1.0"]))?;
    Ok(programs)
}

/// Writes pictures of the demo model's size to `picture-0.rgb`, `picture-1.rgb` and so on, and returns their paths.
pub fn write_pictures(folder: &Path) -> Result<Vec<PathBuf>> {
    let all = workspace::root().join(PICTURES);
    let bytes = fs::read(&all).map_err(|error| format!("cannot read {}: {error}", all.display()))?;
    let mut paths = Vec::new();
    for (index, picture) in bytes.chunks_exact(32 * 32 * 3).enumerate() {
        let path = folder.join(format!("picture-{index}.rgb"));
        fs::write(&path, picture).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        paths.push(path);
    }
    Ok(paths)
}

/// Runs `resmlp-device run … --json` and returns the logits of every picture as the report writes them, which is the
/// shortest text that gives their bits.
pub fn logits(command: &mut Command) -> Result<Vec<String>> {
    let report = report_of(command)?;
    let results = report.split("\"logits\":[").skip(1);
    let logits: Vec<String> = results.filter_map(|rest| Some(rest.split_once(']')?.0.to_owned())).collect();
    if logits.is_empty() { Err(format!("`{}` reports no logits: {report}", shown(command))) } else { Ok(logits) }
}
