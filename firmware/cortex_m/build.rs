//! Compiles in the board's memory layout, the model and the picture, and computes how much memory a forward pass needs.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use resmlp_runtime::{AlignedBytes, Engine, Kernels, Model, Serial};

/// The boards. Each has a feature and a memory layout of its name.
const BOARDS: [&str; 4] = ["mps2-an386", "mps2-an500", "mps2-an505", "pico2"];

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    let board = board()?;
    let memory = format!("memory/{board}.x");
    fs::copy(&memory, out.join("memory.x"))?;
    println!("cargo::rerun-if-changed={memory}");
    println!("cargo::rustc-link-search={}", out.display());
    for script in ["link.x", "memory-used.x"] {
        println!("cargo::rustc-link-arg=-T{script}");
    }
    fs::copy("memory/memory-used.x", out.join("memory-used.x"))?;
    println!("cargo::rerun-if-changed=memory/memory-used.x");

    let (model, picture) = (path_in("RESMLP_MODEL")?, path_in("RESMLP_PICTURE")?);
    let text = input(&model, &picture)?;
    fs::write(out.join("input.rs"), text)?;
    Ok(())
}

/// Returns the board whose feature is on.
fn board() -> Result<&'static str, String> {
    let wanted = |board: &&str| {
        let feature = board.replace('-', "_").to_uppercase();
        env::var_os(format!("CARGO_FEATURE_{feature}")).is_some()
    };
    match BOARDS.into_iter().filter(wanted).collect::<Vec<_>>().as_slice() {
        [board] => Ok(board),
        found => Err(format!("found {} boards among the features, expected one of {BOARDS:?}", found.len())),
    }
}

/// Returns the path of the file that an environment variable names.
fn path_in(variable: &str) -> Result<PathBuf, Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed={variable}");
    let path = env::var_os(variable).ok_or(format!("set {variable}, or build by `cargo xtask cortex-m`"))?;
    let path = fs::canonicalize(&path).map_err(|error| format!("{}: {error}", Path::new(&path).display()))?;
    println!("cargo::rerun-if-changed={}", path.display());
    Ok(path)
}

/// Returns Rust source with the model, the picture, and their sizes.
fn input(model: &Path, picture: &Path) -> Result<String, Box<dyn Error>> {
    let bytes = AlignedBytes::from(fs::read(model)?.as_slice());
    let parsed = Model::parse(&bytes).map_err(|error| format!("{}: {error}", model.display()))?;
    let dims = *parsed.dims();
    let pixels = pixels(&fs::read(picture)?, dims.image).map_err(|error| format!("{}: {error}", picture.display()))?;
    let copy = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?).join("picture.rgb");
    fs::write(&copy, &pixels)?;
    let name = picture.file_name().unwrap_or_default().display().to_string();
    // The scratch memory is that of one worker; all kernels need as much.
    let scratch = Engine::new(parsed, Kernels::scalar(), Serial)?.scratch_len();
    Ok(format!(
        "/// The packed model.\n\
         pub static MODEL: &Aligned<[u8; {}]> = &Aligned(*include_bytes!({model:?}));\n\
         /// The picture: height × width × RGB.\n\
         pub static PICTURE: &[u8; {}] = include_bytes!({copy:?});\n\
         /// The picture's file.\n\
         pub const PICTURE_NAME: &str = {name:?};\n\
         /// Bytes that a forward pass needs.\n\
         pub const SCRATCH_LEN: usize = {scratch};\n\
         /// Logits.\n\
         pub const OUTPUTS: usize = {};\n",
        bytes.len(),
        pixels.len(),
        dims.outputs,
    ))
}

/// Returns the pixels of a binary PPM of `[height, width]` with 8 bits a value.
fn pixels(ppm: &[u8], [height, width]: [usize; 2]) -> Result<Vec<u8>, String> {
    let (header, pixels) = header(ppm).ok_or("not a binary PPM (P6)")?;
    if header != [width, height, 255] {
        let [found_width, found_height, most] = header;
        return Err(format!(
            "found {found_width} x {found_height} pixels, values to {most}, expected {width} x {height}, values to 255"
        ));
    }
    let expected = height * width * 3;
    if pixels.len() != expected {
        return Err(format!("found {} bytes of pixels, expected {expected}", pixels.len()));
    }
    Ok(pixels.to_vec())
}

/// Returns width, height and largest value of a PPM, and the bytes after its header.
fn header(ppm: &[u8]) -> Option<([usize; 3], &[u8])> {
    let mut rest = ppm.strip_prefix(b"P6")?;
    let mut numbers = [0; 3];
    for number in &mut numbers {
        let blank = rest.len();
        loop {
            rest = rest.trim_ascii_start();
            let Some(comment) = rest.strip_prefix(b"#") else { break };
            rest = comment.iter().position(|&c| c == b'\n').and_then(|end| comment.get(end..))?;
        }
        let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
        let (text, after) = rest.split_at(digits);
        // White space or a comment must come before each number.
        *number = std::str::from_utf8(text).ok().filter(|_| rest.len() < blank)?.parse().ok()?;
        rest = after;
    }
    rest.split_first().filter(|(c, _)| c.is_ascii_whitespace()).map(|(_, pixels)| (numbers, pixels))
}
