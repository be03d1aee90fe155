//! Every checkpoint fixture loads and gives PyTorch's logits; damaged and foreign files give errors that say why.

use resmlp_converter::network::{Affine, AffinePlacement, Dialect, Linear, Matrix, Network};
use resmlp_converter::source::{Checkpoint, Format, LoadOptions, load};
use serde::Deserialize;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Expected {
    fixtures: Vec<Fixture>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Fixture {
    file: String,
    dialect: String,
    format: String,
    image: [usize; 2],
    patch: usize,
    tokens: usize,
    dim: usize,
    hidden: usize,
    depth: usize,
    classes: Option<usize>,
    mean: [f32; 3],
    std: [f32; 3],
    input: String,
    logits: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Refused {
    file: String,
    why: String,
    must_name: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn expected() -> Expected {
    serde_json::from_slice(&std::fs::read(folder().join("expected.json")).unwrap()).unwrap()
}

fn options(fixture: &Fixture) -> LoadOptions {
    LoadOptions { image: (fixture.image[0] != fixture.image[1]).then_some(fixture.image) }
}

// The network as its authors wrote it, in plain f32 ------------------------------------------------------------------

/// `rows` of the result are those of `x`: one a token, `weight · row + bias`.
fn linear(x: &Matrix, layer: &Linear) -> Matrix {
    let mut y = Matrix::zeros(x.rows, layer.weight.rows);
    for r in 0..x.rows {
        for (o, value) in y.row_mut(r).iter_mut().enumerate() {
            let products = layer.weight.row(o).iter().zip(x.row(r)).map(|(w, x)| *w as f64 * *x as f64);
            *value = (products.sum::<f64>() + layer.bias[o] as f64) as f32;
        }
    }
    y
}

fn transposed(x: &Matrix) -> Matrix {
    let mut y = Matrix::zeros(x.cols, x.rows);
    for r in 0..x.rows {
        for c in 0..x.cols {
            y.row_mut(c)[r] = x.row(r)[c];
        }
    }
    y
}

fn affine(x: &Matrix, affine: &Affine) -> Matrix {
    let mut y = x.clone();
    for r in 0..y.rows {
        for ((value, alpha), beta) in y.row_mut(r).iter_mut().zip(&affine.alpha).zip(&affine.beta) {
            *value = *value * alpha + beta;
        }
    }
    y
}

fn add_scaled(x: &mut Matrix, scale: &[f32], branch: &Matrix) {
    for r in 0..x.rows {
        for ((value, scale), branch) in x.row_mut(r).iter_mut().zip(scale).zip(branch.row(r)) {
            *value += scale * branch;
        }
    }
}

/// The error function by its Maclaurin series, which converges everywhere; exact to 1e-9 for |x| ≤ 4, ±1 beyond.
fn erf(x: f64) -> f64 {
    if x.abs() > 4.0 {
        return x.signum() * (1.0 - 1.5e-8);
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..120 {
        term *= -x * x / n as f64;
        sum += term / (2 * n + 1) as f64;
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

fn gelu(x: f32) -> f32 {
    (0.5 * x as f64 * (1.0 + erf(x as f64 * std::f64::consts::FRAC_1_SQRT_2))) as f32
}

/// Patches in row-major order, each flattened as (channel, row, column).
fn patches(network: &Network, pixels: &[f32]) -> Matrix {
    let ([_, width], p) = (network.image, network.patch);
    let columns = width / p;
    let mut x = Matrix::zeros(network.tokens(), 3 * p * p);
    for token in 0..x.rows {
        let (top, left) = (token / columns * p, token % columns * p);
        for (i, value) in x.row_mut(token).iter_mut().enumerate() {
            let (channel, row, column) = (i / (p * p), i / p % p, i % p);
            *value = pixels[((top + row) * width + left + column) * 3 + channel];
        }
    }
    x
}

fn logits(network: &Network, pixels: &[f32]) -> Vec<f32> {
    let mut x = linear(&patches(network, pixels), &network.stem);
    for block in &network.blocks {
        let stream = network.placement == AffinePlacement::Stream;
        let y = affine(&x, &block.mix_affine);
        let mixed = transposed(&linear(&transposed(&y), &block.mix));
        x = if stream { y } else { x };
        add_scaled(&mut x, &block.mix_scale, &mixed);
        let y = affine(&x, &block.mlp_affine);
        let mut hidden = linear(&y, &block.expand);
        hidden.data.iter_mut().for_each(|value| *value = gelu(*value));
        let mlp = linear(&hidden, &block.contract);
        x = if stream { y } else { x };
        add_scaled(&mut x, &block.mlp_scale, &mlp);
    }
    let x = transposed(&affine(&x, &network.final_affine));
    let mean = (0..x.rows).map(|d| x.row(d).iter().sum::<f32>() / x.cols as f32).collect();
    let pooled = Matrix { rows: 1, cols: x.rows, data: mean };
    network.head.as_ref().map_or(pooled.clone(), |head| linear(&pooled, head)).data
}

// Fixtures -----------------------------------------------------------------------------------------------------------

fn geometry(fixture: &Fixture, checkpoint: &Checkpoint) -> Result<(), String> {
    let network = &checkpoint.network;
    let found = (network.image, network.patch, network.tokens(), network.dim(), network.hidden(), network.blocks.len());
    let wanted = (fixture.image, fixture.patch, fixture.tokens, fixture.dim, fixture.hidden, fixture.depth);
    if found != wanted || network.head.as_ref().map(|head| head.weight.rows) != fixture.classes {
        return Err(format!("geometry {found:?}, expected {wanted:?}"));
    }
    let dialect = match (fixture.format.as_str(), fixture.dialect.as_str()) {
        ("onnx", _) => Dialect::Onnx,
        (_, "deit") => Dialect::Deit,
        (_, "timm") => Dialect::Timm,
        (_, "lucidrains") => Dialect::Lucidrains,
        (_, "rishikksh20") => Dialect::Rishikksh20,
        (_, other) => return Err(format!("dialect {other} in expected.json")),
    };
    let format = match fixture.format.as_str() {
        "safetensors" => Format::Safetensors,
        "onnx" => Format::Onnx,
        "legacy" => Format::PthLegacy,
        "zip" => Format::PthZip,
        other => return Err(format!("format {other} in expected.json")),
    };
    if (network.dialect, checkpoint.format) != (dialect, format) {
        return Err(format!("{:?} {:?}, expected {dialect:?} {format:?}", network.dialect, checkpoint.format));
    }
    Ok(())
}

fn agreement(fixture: &Fixture, network: &Network) -> Result<(), String> {
    let bytes = std::fs::read(folder().join(&fixture.input)).map_err(|e| e.to_string())?;
    let length = 3 * fixture.image[0] * fixture.image[1];
    for (picture, wanted) in bytes.chunks_exact(length).zip(&fixture.logits) {
        let normalised = |(i, v): (usize, &u8)| (*v as f32 / 255.0 - fixture.mean[i % 3]) / fixture.std[i % 3];
        let pixels: Vec<f32> = picture.iter().enumerate().map(normalised).collect();
        let found = logits(network, &pixels);
        let error = found.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        if found.len() != wanted.len() || error.is_nan() || error > 1e-4 {
            return Err(format!("logits differ by {error}: {found:?}, expected {wanted:?}"));
        }
    }
    Ok(())
}

fn all_fixtures_of(format: impl Fn(&Fixture) -> bool) {
    let fixtures: Vec<_> = expected().fixtures.into_iter().filter(format).collect();
    assert!(!fixtures.is_empty());
    let failures: Vec<String> = fixtures
        .iter()
        .filter_map(|fixture| {
            let checkpoint = load(&folder().join(&fixture.file), &options(fixture)).map_err(|e| e.to_string());
            let outcome = checkpoint.and_then(|checkpoint| {
                geometry(fixture, &checkpoint)?;
                agreement(fixture, &checkpoint.network)
            });
            outcome.err().map(|message| format!("{}: {message}", fixture.file))
        })
        .collect();
    assert!(failures.is_empty(), "{} of {} fail:\n{}", failures.len(), fixtures.len(), failures.join("\n"));
}

#[test]
fn safetensors_give_pytorchs_logits() {
    all_fixtures_of(|fixture| fixture.format == "safetensors");
}

#[test]
fn pth_gives_pytorchs_logits() {
    all_fixtures_of(|fixture| ["zip", "legacy"].contains(&fixture.format.as_str()));
}

#[test]
fn onnx_gives_pytorchs_logits() {
    all_fixtures_of(|fixture| fixture.format == "onnx");
}

#[test]
fn foreign_and_damaged_checkpoints_are_refused_by_name() {
    for refused in expected().refused {
        let path = folder().join(&refused.file);
        let error = load(&path, &LoadOptions::default()).map(|_| ()).expect_err(&refused.why).to_string();
        assert!(error.contains(&refused.must_name), "{}: {error}, expected {}", refused.why, refused.must_name);
        assert!(error.contains(&refused.file), "{error}");
    }
    let executed = "the-pickle-was-executed.tmp";
    assert!(![folder(), ".".into()].iter().any(|at: &PathBuf| at.join(executed).exists()));
}
