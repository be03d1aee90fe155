//! Tells the linker how the image is laid out.

fn main() {
    println!("cargo::rerun-if-changed=kernel.ld");
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::rustc-link-arg-bin=kernel8=-T{folder}/kernel.ld");
    // The boot firmware takes the bytes as they are to lie in memory.
    println!("cargo::rustc-link-arg-bin=kernel8=--oformat=binary");
}
