//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread::available_parallelism;

use lexopt::Arg::{Long, Short, Value};
use lexopt::{Parser, ValueExt};

use crate::error::{Error, Result};

pub const USAGE: &str = "\
Runs and measures packed ResMLP models.

Usage: resmlp-device run MODEL.rmlp PICTURE… [options]
       resmlp-device bench MODEL.rmlp [options]

PICTURE is a file, or - for standard input, of height × width × RGB bytes in the model's size, bare or as PPM (P6).

  --threads N     threads that work at the same time [default: one a core]
  --kernels NAME  kernels by name [default: the fastest that this CPU has]
  --json          one JSON object on stdout instead of text
  --runs N        bench: measured runs [default: what fits into three seconds]
  --warmup N      bench: runs before them [default: 10]
";

/// Most threads, and most runs, that can be asked for.
const MAX_THREADS: usize = 1024;
const MAX_RUNS: usize = 1_000_000;

/// What to do.
#[derive(Debug)]
pub enum Command {
    Help,
    Version,
    Run(Run),
    Bench(Bench),
}

/// What every verb is told.
#[derive(Debug)]
pub struct Common {
    pub model: PathBuf,
    pub threads: usize,
    pub kernels: Option<String>,
    pub json: bool,
}

/// `run`.
#[derive(Debug)]
pub struct Run {
    pub common: Common,
    /// At least one; `-` is standard input.
    pub pictures: Vec<PathBuf>,
}

/// `bench`.
#[derive(Debug)]
pub struct Bench {
    pub common: Common,
    pub runs: Option<usize>,
    pub warmup: Option<usize>,
}

/// Understands the words behind the program's name.
pub fn parse(mut parser: Parser) -> Result<Command> {
    let (mut threads, mut kernels, mut json) = (None, None, false);
    let (mut runs, mut warmup) = (None, None);
    let mut words: Vec<PathBuf> = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Short('V') | Long("version") => return Ok(Command::Version),
            Long("json") => json = true,
            Long("threads") => threads = Some(number(&mut parser, "--threads", MAX_THREADS)?),
            Long("kernels") => kernels = Some(parser.value()?.string()?),
            Long("runs") => runs = Some(number(&mut parser, "--runs", MAX_RUNS)?),
            Long("warmup") => warmup = Some(number(&mut parser, "--warmup", MAX_RUNS)?),
            Value(word) => words.push(word.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    let mut words = words.into_iter();
    let verb = words.next().ok_or_else(|| usage("expected a verb: run or bench"))?;
    let model = |word: Option<PathBuf>| word.ok_or_else(|| usage("expected a MODEL.rmlp behind the verb"));
    let common = |model| {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_THREADS);
        Common { model, threads: threads.unwrap_or(cores), kernels, json }
    };
    match verb.to_str() {
        Some("run") => {
            let common = common(model(words.next())?);
            let pictures: Vec<PathBuf> = words.collect();
            match (pictures.is_empty(), runs.or(warmup)) {
                (true, _) => Err(usage("expected a PICTURE behind the model")),
                (_, Some(_)) => Err(usage("--runs and --warmup are for bench")),
                _ => Ok(Command::Run(Run { common, pictures })),
            }
        }
        Some("bench") => {
            let common = common(model(words.next())?);
            match words.next() {
                Some(word) => Err(usage(&format!("bench takes one model, found '{}' behind it", word.display()))),
                None => Ok(Command::Bench(Bench { common, runs, warmup })),
            }
        }
        _ => Err(usage(&format!("'{}' is no verb, expected run or bench", verb.display()))),
    }
}

fn number(parser: &mut Parser, option: &str, most: usize) -> Result<usize> {
    let value = parser.value()?;
    let number = value.to_str().and_then(|text| text.parse().ok()).filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| usage(&format!("{option}: '{}' found, expected a number from 1 to {most}", value.display())))
}

fn usage(message: &str) -> Error {
    Error::Usage(format!("{message}; `resmlp-device --help` lists what there is"))
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
            assert_eq!((bench.runs, bench.warmup, bench.common.threads), (Some(7), None, 3));
            assert!(bench.common.json && bench.common.model.ends_with("m.rmlp"));
        }
        let Ok(Command::Run(run)) = parse("run m.rmlp - b.ppm --kernels scalar") else { panic!("run") };
        assert_eq!(run.pictures, [PathBuf::from("-"), "b.ppm".into()]);
        assert_eq!(run.common.kernels.as_deref(), Some("scalar"));
        assert!(run.common.threads >= 1 && !run.common.json);
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        for words in [
            "",
            "dance m.rmlp",
            "run",
            "run m.rmlp",
            "run m.rmlp p.ppm --runs 3",
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
