//! Checks that the committed header is what cbindgen generates from the sources. `RESMLP_OVERWRITE=1 cargo test -p
//! resmlp-c` renews it.

use std::fs;
use std::path::Path;

#[test]
fn the_header_is_current() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(package.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::Builder::new().with_crate(package).with_config(config).generate().unwrap();
    let mut generated = Vec::new();
    bindings.write(&mut generated);
    // The `# Safety` sections are Rust's convention and mean nothing in C. The header lists the rules at its top
    // instead.
    let generated = String::from_utf8(generated).unwrap();
    let generated = generated.replace(" *\n * # Safety\n * The rules at the top of the header.\n", "");
    let path = package.join("include/resmlp.h");
    if std::env::var_os("RESMLP_OVERWRITE").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "{} is out of date: renew it with RESMLP_OVERWRITE=1", path.display());
}
