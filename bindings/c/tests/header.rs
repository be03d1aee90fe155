//! The committed header is what cbindgen makes of the sources. To renew it: `RESMLP_OVERWRITE=1 cargo test -p resmlp-c`.

use std::fs;
use std::path::Path;

#[test]
fn the_header_is_current() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(package.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::Builder::new().with_crate(package).with_config(config).generate().unwrap();
    let mut generated = Vec::new();
    bindings.write(&mut generated);
    // Rust's own heading of what a caller must keep means nothing in C: the header's rules stand at its top.
    let generated = String::from_utf8(generated).unwrap();
    let generated = generated.replace(" *\n * # Safety\n * The rules at the top of the header.\n", "");
    let path = package.join("include/resmlp.h");
    if std::env::var_os("RESMLP_OVERWRITE").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "{} is not what the sources give: run with RESMLP_OVERWRITE=1", path.display());
}
