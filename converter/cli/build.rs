//! Links `resmlp` at a fixed address on Linux. A program that may lie anywhere reads the table of its relocations, and writes to
//! what they name, before it starts: four megabytes in every run.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo:rustc-link-arg-bin=resmlp=-no-pie");
    }
}
