//! Flags that several verbs share. The same word means the same thing for every verb.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use resmlp_checkpoint::LoadOptions;
use resmlp_cli::error::{Error, Result};
use resmlp_network::Activation;
use resmlp_picture::{Fit, Preprocess, ResizeMode};

/// How a checkpoint is read, where its file alone does not say it.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Reading a checkpoint")]
pub struct CheckpointFlags {
    /// Set of weights to read from a file that nests several, such as model, model_ema, student or teacher [default:
    /// the usual one, which a note names]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// TOML file that maps the checkpoint's tensor names onto timm's, for code that names its layers in its own way
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,

    /// File with a linear classifier that is joined to a checkpoint without one, such as DINO's linear evaluation
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,

    /// Activation of the channel MLPs, which a state dict does not say [default: that of the file, else gelu]
    #[arg(long, value_name = "NAME", value_parser = activation_parser())]
    activation: Option<Activation>,

    /// Read the network as an embedding model: a classifier in the file is left out
    #[arg(long)]
    embedding: bool,

    /// Output of an ONNX graph that holds the logits, where the graph has several
    #[arg(long, value_name = "NAME")]
    onnx_output: Option<String>,

    /// Height and width in pixels of the pictures that the network takes; needed where the patches do not form a square
    #[arg(long, value_name = "HxW", value_parser = height_and_width)]
    pub image_size: Option<[usize; 2]>,
}

impl CheckpointFlags {
    /// Returns what the reader of checkpoints is told.
    pub fn load_options(&self) -> LoadOptions {
        let Self { key, names, head, activation, embedding, onnx_output, image_size } = self.clone();
        LoadOptions { image: image_size, activation, key, names, head, embedding, output: onnx_output }
    }

    /// Returns whether the user names the activation.
    pub fn names_activation(&self) -> bool {
        self.activation.is_some()
    }

    /// Checks that no flag is given for the packed model at `path`, whose network is fixed.
    ///
    /// # Errors
    /// Returns a sentence that names the flags which were given.
    pub fn refuse_for_model(&self, path: &Path) -> Result<()> {
        let Self { key, names, head, activation, embedding, onnx_output, image_size } = self;
        let given = [
            ("--key", key.is_some()),
            ("--names", names.is_some()),
            ("--head", head.is_some()),
            ("--activation", activation.is_some()),
            ("--embedding", *embedding),
            ("--onnx-output", onnx_output.is_some()),
            ("--image-size", image_size.is_some()),
        ];
        refuse(path, "its network was fixed when it was converted", &given)
    }
}

/// How pictures are prepared for a checkpoint. The defaults are the usual ones for ImageNet.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Preparing pictures for a checkpoint (a packed model carries its own settings)")]
pub struct PreprocessFlags {
    /// Mean of red, green and blue that training subtracted from pixels in 0..1 [default: that of the file, else
    /// ImageNet's]
    #[arg(long, value_name = "R,G,B", value_parser = mean, allow_hyphen_values = true)]
    mean: Option<[f32; 3]>,

    /// Standard deviation of red, green and blue by which training divided [default: that of the file, else ImageNet's]
    #[arg(long, value_name = "R,G,B", value_parser = std, allow_hyphen_values = true)]
    std: Option<[f32; 3]>,

    /// How a picture of another shape is fitted to the network's input [default: crop]
    #[arg(long, value_name = "FIT")]
    fit: Option<Fit>,

    /// Share of the resized picture's shorter side that the centre crop keeps; 1.0 keeps all of it [default: 0.9]
    #[arg(long, value_name = "SHARE")]
    crop: Option<f32>,

    /// Interpolation with which pictures are resized [default: bicubic]
    #[arg(long, value_name = "MODE")]
    resize_mode: Option<ResizeMode>,
}

impl PreprocessFlags {
    /// Checks that no flag is given for the packed model at `path`, which carries its own preprocessing.
    ///
    /// # Errors
    /// Returns a sentence that names the flags which were given.
    pub fn refuse_for_model(&self, path: &Path) -> Result<()> {
        let Self { mean, std, fit, crop, resize_mode } = self;
        let given = [
            ("--mean", mean.is_some()),
            ("--std", std.is_some()),
            ("--fit", fit.is_some()),
            ("--crop", crop.is_some()),
            ("--resize-mode", resize_mode.is_some()),
        ];
        refuse(path, "it carries its own preprocessing", &given)
    }

    /// Returns whether mean, standard deviation, fit, crop and resize mode are given, in this order.
    pub fn given(&self) -> [bool; 5] {
        let Self { mean, std, fit, crop, resize_mode } = self;
        [mean.is_some(), std.is_some(), fit.is_some(), crop.is_some(), resize_mode.is_some()]
    }

    /// Returns `default`, changed in what the flags say.
    ///
    /// # Errors
    /// Returns an error where a flag has a value that no picture can be prepared with.
    pub fn over(&self, default: &Preprocess) -> Result<Preprocess> {
        let preprocess = Preprocess {
            image: default.image,
            fit: self.fit.unwrap_or(default.fit),
            crop: self.crop.unwrap_or(default.crop),
            resize: self.resize_mode.unwrap_or(default.resize),
            mean: self.mean.unwrap_or(default.mean),
            std: self.std.unwrap_or(default.std),
        };
        preprocess.validate()?;
        Ok(preprocess)
    }
}

/// Refuses the flags that are given (name, whether it is given) for the packed model at `path`.
fn refuse(path: &Path, reason: &str, flags: &[(&str, bool)]) -> Result<()> {
    let given: Vec<&str> = flags.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    if given.is_empty() {
        return Ok(());
    }
    let (names, verb) = (given.join(" and "), if given.len() == 1 { "is" } else { "are" });
    let message = format!("this is a packed model, and {reason}: {names} {verb} for checkpoints alone");
    Err(Error::Usage(format!("{}: {message}", path.display())))
}

/// The choice of kernels for a packed model.
#[derive(Args, Clone, Debug, Default)]
pub struct KernelFlags {
    /// Kernels that run a packed model, by name, such as scalar [default: the fastest ones of this CPU]
    #[arg(long, value_name = "NAME")]
    pub kernels: Option<String>,
}

impl KernelFlags {
    /// Checks that the flag is not given for the checkpoint at `path`, which tract runs.
    ///
    /// # Errors
    /// Returns a sentence that names the flag, where it is given.
    pub fn refuse_for_checkpoint(&self, path: &Path) -> Result<()> {
        if self.kernels.is_some() {
            let message = "this is a checkpoint, which tract runs in f32: --kernels is for packed models alone";
            return Err(Error::Usage(format!("{}: {message}", path.display())));
        }
        Ok(())
    }
}

/// Names of the classes.
#[derive(Args, Clone, Debug, Default)]
pub struct LabelFlags {
    /// File with the names of the classes, one a line, in the order of the network's outputs
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
}

/// Number of threads.
#[derive(Args, Clone, Debug, Default)]
pub struct ThreadFlags {
    /// Number of threads that work at the same time [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

impl ThreadFlags {
    /// Gives rayon's global pool this many threads. It must be called once, before rayon does any work.
    ///
    /// # Errors
    /// Returns an error where the system does not start the threads.
    pub fn apply(&self) -> Result<()> {
        let count = self.threads.map_or(0, usize::from);
        let built = rayon::ThreadPoolBuilder::new().num_threads(count).build_global();
        built.map_err(|error| Error::Usage(format!("--threads {count}: {error}")))
    }
}

/// Returns the parser of `--activation`, which lists the three names in the help text.
fn activation_parser() -> impl TypedValueParser<Value = Activation> {
    PossibleValuesParser::new(Activation::ALL.map(Activation::name)).map(|name| {
        let named = Activation::ALL.into_iter().find(|activation| activation.name() == name);
        // The parser has accepted one of these names.
        named.unwrap_or_default()
    })
}

fn mean(text: &str) -> std::result::Result<[f32; 3], String> {
    at_most(three_numbers(text)?, 1.0)
}

fn std(text: &str) -> std::result::Result<[f32; 3], String> {
    at_most(three_numbers(text)?, 2.0)
}

/// Refuses numbers beyond `most`: they belong to pixels in 0..255, and the network would see a nearly uniform picture.
fn at_most(numbers: [f32; 3], most: f32) -> std::result::Result<[f32; 3], String> {
    match numbers.iter().find(|number| number.abs() > most) {
        Some(number) => Err(format!("{number} is out of range, because pixels are 0..1; divide by 255?")),
        None => Ok(numbers),
    }
}

fn three_numbers(text: &str) -> std::result::Result<[f32; 3], String> {
    let numbers: std::result::Result<Vec<f32>, _> = text.split(',').map(|number| number.trim().parse()).collect();
    numbers.ok().and_then(|numbers| numbers.try_into().ok()).ok_or("expected three numbers: R,G,B".into())
}

fn height_and_width(text: &str) -> std::result::Result<[usize; 2], String> {
    let (height, width) = text.split_once('x').unwrap_or((text, text));
    let side = |side: &str| side.parse().ok().filter(|side| (1..=1 << 15).contains(side));
    match (side(height), side(width)) {
        (Some(height), Some(width)) => Ok([height, width]),
        _ => Err("expected HEIGHTxWIDTH in pixels, or one number for a square".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_threes() {
        assert_eq!(three_numbers("0.5, -1,2e-1"), Ok([0.5, -1.0, 0.2]));
        for text in ["", "1", "1,2", "1,2,3,4", "1,2,x"] {
            assert!(three_numbers(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_of_pixels_in_0_to_1() {
        assert_eq!((mean("-1,0.5,1"), std("0.25,2,1")), (Ok([-1.0, 0.5, 1.0]), Ok([0.25, 2.0, 1.0])));
        for refused in [mean("123.7,116.3,103.5"), mean("0,-1.5,0"), std("0.5,0.5,57.4"), std("inf,1,1")] {
            assert!(refused.unwrap_err().ends_with("divide by 255?"));
        }
    }

    #[test]
    fn every_flag_reaches_the_reader() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            flags: CheckpointFlags,
        }
        let parse = |words: &[&str]| <Line as clap::Parser>::try_parse_from([&["line"], words].concat());
        let words = ["--key=ema", "--names=n.toml", "--head=h.pth", "--activation=gelu-tanh", "--embedding"];
        let flags = parse(&[&words[..], &["--onnx-output=logits", "--image-size=32x48"]].concat()).ok().unwrap().flags;
        let LoadOptions { image, activation, key, names, head, embedding, output } = flags.load_options();
        assert_eq!((image, activation, embedding), (Some([32, 48]), Some(Activation::GeluTanh), true));
        assert_eq!((key.as_deref(), output.as_deref()), (Some("ema"), Some("logits")));
        assert_eq!((names, head), (Some("n.toml".into()), Some("h.pth".into())));
        for activation in Activation::ALL {
            let flags = parse(&["--activation", activation.name()]).ok().unwrap().flags;
            assert!(flags.names_activation() && flags.load_options().activation == Some(activation));
        }
        assert!(parse(&["--activation=swish"]).is_err());
    }

    #[test]
    fn a_packed_model_refuses_each_flag_by_name() {
        let path = Path::new("m.rmlp");
        assert!(CheckpointFlags::default().refuse_for_model(path).is_ok());
        let flags = CheckpointFlags { embedding: true, key: Some("ema".into()), ..CheckpointFlags::default() };
        assert_eq!(
            flags.refuse_for_model(path).unwrap_err().to_string(),
            "m.rmlp: this is a packed model, and its network was fixed when it was converted: --key and --embedding are \
             for checkpoints alone"
        );
        let flags = PreprocessFlags { crop: Some(1.0), ..PreprocessFlags::default() };
        assert_eq!(
            flags.refuse_for_model(path).unwrap_err().to_string(),
            "m.rmlp: this is a packed model, and it carries its own preprocessing: --crop is for checkpoints alone"
        );
    }

    #[test]
    fn sizes_are_squares_or_pairs() {
        assert_eq!(height_and_width("224"), Ok([224, 224]));
        assert_eq!(height_and_width("32x48"), Ok([32, 48]));
        for text in ["", "0", "x", "3x", "3x4x5", "-3", "99999"] {
            assert!(height_and_width(text).is_err(), "{text}");
        }
    }
}
