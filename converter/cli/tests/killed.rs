//! `resmlp convert`, killed at any moment, leaves either the old model or the complete new one.
#![cfg(unix)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Instant;

use resmlp_runtime::{AlignedBytes, Model};

/// Number of conversions that are killed.
const KILLS: u32 = 60;

fn convert(output: &Path) -> Child {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo");
    let mut command = Command::new(env!("CARGO_BIN_EXE_resmlp"));
    command.arg("convert").arg(demo.join("resmlp_cifar10.safetensors")).arg("--output").arg(output);
    command.args(["--crop=1.0", "--precision", "f16"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_killed_conversion_never_leaves_a_broken_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.rmlp");
    let start = Instant::now();
    assert!(convert(&path).wait().unwrap().success());
    let whole = start.elapsed();
    let f16 = std::fs::read(&path).unwrap();
    let old = b"what was there before";
    let (mut kept, mut replaced) = (0, 0);
    for kill in 0..KILLS {
        std::fs::write(&path, old).unwrap();
        let mut conversion = convert(&path);
        // The kills are spread over the time of a conversion, and some come after its end.
        sleep(whole * kill * 5 / (KILLS * 4));
        if kill + 1 == KILLS {
            // The last conversion is complete, however busy the machine is.
            conversion.wait().unwrap();
        }
        // This sends SIGKILL.
        conversion.kill().unwrap();
        conversion.wait().unwrap();
        let found = std::fs::read(&path).unwrap();
        match found == old {
            true => kept += 1,
            false => {
                assert!(found == f16, "kill {kill} leaves {} bytes, expected {}", found.len(), f16.len());
                assert!(Model::parse(&AlignedBytes::from(&*found)).is_ok());
                replaced += 1;
            }
        }
    }
    assert!(kept > 0 && replaced > 0, "killed {kept} times before and {replaced} times after the model was written");
}
