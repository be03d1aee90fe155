//! Parses the command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread::available_parallelism;

use lexopt::Arg::{Long, Short, Value};
use lexopt::{Parser, ValueExt};

use crate::affinity::{self, Pin};
use crate::error::{Error, Result};

pub const USAGE: &str = "\
Runs and measures packed ResMLP models.

Usage: resmlp-device run MODEL.rmlp PICTURE… [options]
       resmlp-device bench MODEL.rmlp [options]
       resmlp-device watch MODEL.rmlp FOLDER|/dev/videoN [options]

PICTURE is a JPEG, PNG or BMP file of any size, a PPM (P6) of the model's size, or height × width × RGB bytes of the
model's size. - stands for standard input. watch classifies the JPEG, PNG and BMP files that arrive in a folder, or the
frames of a camera, until it is interrupted.

  --threads N     number of threads [default: one per core]
  --pin CPUS      pin one thread to each of these cores, such as 0-3; auto chooses the fastest cores
  --kernels NAME  use these kernels [default: the fastest ones of this CPU]
  --json          print one JSON object instead of text

bench
  --runs N        number of measured runs [default: as many as fit into three seconds, 10 to 1000]
  --warmup N      number of runs before the measured ones [default: 10]
  --cool-down C   wait at most five minutes until the processor has cooled down to C °C
  --html FILE     also write the report as a page for a browser
  --name TEXT     name of the model in the report [default: its path]

watch
  --count N       end after N pictures
";

/// Temperatures that `--cool-down` accepts, in °C.
const COOL: std::ops::RangeInclusive<f64> = 0.0..=150.0;

/// Largest numbers that `--threads` and `--runs` accept.
const MAX_THREADS: usize = 1024;
const MAX_RUNS: usize = 1_000_000;

/// The command that the user gives.
#[derive(Debug)]
pub enum Command {
    Help,
    Version,
    Run(Run),
    Bench(Bench),
    Watch(Watch),
}

/// Arguments and options that every verb takes.
#[derive(Debug)]
pub struct Common {
    pub model: PathBuf,
    pub threads: usize,
    /// Cores of the threads; if there is none, the system moves threads between cores.
    pub pin: Option<Pin>,
    pub kernels: Option<String>,
    pub json: bool,
}

/// Arguments of `run`.
#[derive(Debug)]
pub struct Run {
    pub common: Common,
    /// At least one picture; `-` stands for standard input.
    pub pictures: Vec<PathBuf>,
}

/// Arguments of `bench`.
#[derive(Debug)]
pub struct Bench {
    pub common: Common,
    pub options: BenchOptions,
}

/// Arguments of `watch`.
#[derive(Debug)]
pub struct Watch {
    pub common: Common,
    /// Path of a folder or a camera.
    pub source: PathBuf,
    /// Number of pictures after which the program ends.
    pub count: Option<usize>,
}

/// Options that only `bench` takes.
#[derive(Debug, Default, PartialEq)]
pub struct BenchOptions {
    pub runs: Option<usize>,
    pub warmup: Option<usize>,
    /// Temperature to wait for, in °C.
    pub cool_down: Option<f64>,
    /// Path of the HTML page.
    pub html: Option<PathBuf>,
    /// Name of the model in the report.
    pub name: Option<String>,
}

/// Parses the words after the program's name.
///
/// # Errors
/// Returns [`Error::Usage`] with what was found and what was expected.
pub fn parse(mut parser: Parser) -> Result<Command> {
    let (mut threads, mut pin, mut kernels, mut json) = (None, None, None, false);
    let (mut bench, mut count) = (BenchOptions::default(), None);
    let mut words: Vec<PathBuf> = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Short('V') | Long("version") => return Ok(Command::Version),
            Long("json") => json = true,
            Long("threads") => threads = Some(number(&mut parser, "--threads", MAX_THREADS)?),
            Long("kernels") => kernels = Some(parser.value()?.string()?),
            Long("pin") => pin = Some(cores(&mut parser)?),
            Long("runs") => bench.runs = Some(number(&mut parser, "--runs", MAX_RUNS)?),
            Long("warmup") => bench.warmup = Some(number(&mut parser, "--warmup", MAX_RUNS)?),
            Long("cool-down") => bench.cool_down = Some(celsius(&mut parser)?),
            Long("count") => count = Some(number(&mut parser, "--count", usize::MAX)?),
            Long("name") => bench.name = Some(parser.value()?.string()?),
            Long("html") => bench.html = Some(parser.value()?.into()),
            Value(word) => words.push(word.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    let mut words = words.into_iter();
    let verb = words.next().ok_or_else(|| usage("expected a verb: run, bench or watch"))?;
    let model = |word: Option<PathBuf>| word.ok_or_else(|| usage("expected a MODEL.rmlp after the verb"));
    let common = |model| {
        let cores = match &pin {
            Some(Pin::Cpus(cpus)) => cpus.len(),
            _ => available_parallelism().map_or(1, NonZeroUsize::get),
        };
        Common { model, threads: threads.unwrap_or(cores.min(MAX_THREADS)), pin, kernels, json }
    };
    let verb = verb.to_str().unwrap_or_default();
    if verb != "bench" && bench != BenchOptions::default() {
        return Err(usage("only bench takes --runs, --warmup, --cool-down, --html and --name"));
    }
    if verb != "watch" && count.is_some() {
        return Err(usage("only watch takes --count"));
    }
    match verb {
        "run" => {
            let common = common(model(words.next())?);
            let pictures: Vec<PathBuf> = words.collect();
            if pictures.is_empty() {
                return Err(usage("expected a PICTURE after the model"));
            }
            Ok(Command::Run(Run { common, pictures }))
        }
        "bench" => {
            let common = common(model(words.next())?);
            no_more(words.next(), "bench takes one model")?;
            Ok(Command::Bench(Bench { common, options: bench }))
        }
        "watch" => {
            let common = common(model(words.next())?);
            let source = words.next().ok_or_else(|| usage("expected a FOLDER or /dev/videoN after the model"))?;
            no_more(words.next(), "watch takes one folder or camera")?;
            Ok(Command::Watch(Watch { common, source, count }))
        }
        _ => Err(usage(&format!("found the verb '{verb}', expected run, bench or watch"))),
    }
}

fn no_more(word: Option<PathBuf>, expected: &str) -> Result<()> {
    match word {
        Some(word) => Err(usage(&format!("{expected}, found '{}' after it", word.display()))),
        None => Ok(()),
    }
}

fn number(parser: &mut Parser, option: &str, most: usize) -> Result<usize> {
    let value = parser.value()?;
    let number = value.to_str().and_then(|text| text.parse().ok()).filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| usage(&format!("{option}: found '{}', expected a number from 1 to {most}", value.display())))
}

fn cores(parser: &mut Parser) -> Result<Pin> {
    let value = parser.value()?.string()?;
    if value == "auto" {
        return Ok(Pin::Auto);
    }
    affinity::parse(&value).map(Pin::Cpus).map_err(|problem| usage(&format!("--pin: {problem}, or auto")))
}

fn celsius(parser: &mut Parser) -> Result<f64> {
    let value = parser.value()?;
    let number = value.to_str().and_then(|text| text.parse().ok()).filter(|number| COOL.contains(number));
    number.ok_or_else(|| {
        usage(&format!("--cool-down: found '{}', expected a temperature from 0 to 150 °C", value.display()))
    })
}

fn usage(message: &str) -> Error {
    Error::Usage(format!("{message}; `resmlp-device --help` lists all verbs and options"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Command> {
        super::parse(Parser::from_args(words.split_whitespace()))
    }

    #[test]
    fn options_stand_anywhere() {
        for words in ["bench m.rmlp --runs 7 --json --threads=3", "--threads 3 --json bench --runs=7 m.rmlp"] {
            let Ok(Command::Bench(bench)) = parse(words) else { panic!("{words}") };
            assert_eq!((bench.options.runs, bench.options.warmup, bench.common.threads), (Some(7), None, 3));
            assert!(bench.common.json && bench.common.model.ends_with("m.rmlp"));
        }
        let Ok(Command::Run(run)) = parse("run m.rmlp - b.ppm --kernels scalar") else { panic!("run") };
        assert_eq!(run.pictures, [PathBuf::from("-"), "b.ppm".into()]);
        assert_eq!(run.common.kernels.as_deref(), Some("scalar"));
        assert!(run.common.threads >= 1 && !run.common.json && run.common.pin.is_none());
        let Ok(Command::Watch(watch)) = parse("watch m.rmlp /dev/video0 --count 3") else { panic!("watch") };
        assert_eq!((watch.source, watch.count), ("/dev/video0".into(), Some(3)));
        let Ok(Command::Bench(bench)) = parse("bench m.rmlp --pin 4-6 --cool-down 45.5 --html r.html") else {
            panic!()
        };
        assert_eq!((bench.common.pin, bench.common.threads), (Some(Pin::Cpus(vec![4, 5, 6])), 3));
        assert_eq!((bench.options.cool_down, bench.options.html), (Some(45.5), Some("r.html".into())));
    }

    #[test]
    fn wrong_command_lines_are_refused() {
        for words in [
            "",
            "dance m.rmlp",
            "run",
            "run m.rmlp",
            "run m.rmlp p.ppm --runs 3",
            "run m.rmlp p.ppm --html r.html",
            "run m.rmlp p.ppm --count 3",
            "watch m.rmlp",
            "watch m.rmlp a b",
            "watch m.rmlp a --runs 3",
            "bench m.rmlp --pin all",
            "bench m.rmlp --pin 1,1",
            "bench m.rmlp --cool-down warm",
            "bench m.rmlp --cool-down -1",
            "bench",
            "bench m.rmlp another",
            "bench m.rmlp --threads 0",
            "bench m.rmlp --threads 1025",
            "bench m.rmlp --runs many",
            "bench m.rmlp --runs",
            "bench m.rmlp --loud",
            "bench m.rmlp --json=yes",
        ] {
            assert!(matches!(parse(words), Err(Error::Usage(_))), "{words}");
        }
    }
}
