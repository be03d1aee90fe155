//! Links `resmlp` at a fixed address on Linux. A position-independent program reads its table of relocations and
//! changes the places that the table names before it starts, which would take four megabytes of memory in every run.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo:rustc-link-arg-bin=resmlp=-no-pie");
    }
}
