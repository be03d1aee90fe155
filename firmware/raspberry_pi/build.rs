//! Passes the layout of the image to the linker.

fn main() {
    println!("cargo::rerun-if-changed=kernel.ld");
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::rustc-link-arg-bin=kernel8=-T{folder}/kernel.ld");
    // The boot firmware loads the file to memory as it is, so it holds the bare bytes.
    println!("cargo::rustc-link-arg-bin=kernel8=--oformat=binary");
}
