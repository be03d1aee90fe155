//! The flags that name what a training reads and writes.

use std::path::PathBuf;

use resmlp_cli::terminal;
use resmlp_train::Result;
use resmlp_train_data::{Dataset, Options};

use super::session::{self, Manner, Outputs};

/// Flags that name the pictures.
#[derive(clap::Args)]
pub struct DataFlags {
    /// Labelled pictures: a folder with a folder for each class, a .tar of one, a folder with IDX files, or a sheet
    #[arg(value_name = "DIR")]
    data: PathBuf,

    /// Held-out pictures [default: those that the data set has, else a tenth of it]
    #[arg(long, value_name = "DIR")]
    val: Option<PathBuf>,

    /// Share of the pictures that is held out where there is no other choice
    #[arg(long, value_name = "X", default_value_t = 0.1)]
    val_fraction: f64,
}

impl DataFlags {
    /// Returns the training pictures and the held-out pictures for a network whose input has `side` pixels.
    ///
    /// Training keeps larger pictures at twice that size, so that most data sets fit into memory.
    ///
    /// # Errors
    /// Returns an error where a data set cannot be used.
    pub fn open(&self, side: usize) -> Result<(Dataset, Option<Dataset>)> {
        let shorter_side = u32::try_from(2 * side).ok();
        let options = Options { shorter_side, ..Options::default() };
        let (training, own) = Dataset::open_parts(&self.data, &options)?;
        if let Some(path) = &self.val {
            let held_out = Dataset::open_held_out(path, &options, &training)?;
            return Ok((training, Some(held_out)));
        }
        if own.is_some() {
            return Ok((training, own));
        }
        let all = training.len();
        let (training, held_out) = training.split(self.val_fraction, 0)?;
        terminal::note(&format!("{} of {all} pictures are held out; --val DIR chooses others", held_out.len()));
        Ok((training, Some(held_out)))
    }
}

/// Flags that name the results, and flags that change how a training is run but not what it gives.
#[derive(clap::Args)]
pub struct OutputFlags {
    /// Checkpoint to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Also write the packed int8 model
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,

    /// Also write a report with curves, examples and mistakes
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Threads [default: one on each core]; their number does not change the result
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Go on with an interrupted training; all other flags must be the same
    #[arg(long)]
    resume: bool,
}

impl OutputFlags {
    /// Returns where results go.
    pub fn outputs(&self) -> Outputs<'_> {
        Outputs { checkpoint: &self.output, model: self.model.as_deref(), report: self.report.as_deref() }
    }

    /// Starts the threads and returns how the training is run.
    ///
    /// # Errors
    /// Returns an error where the system refuses so many threads.
    pub fn manner(&self, json: bool) -> Result<Manner> {
        Ok(Manner { threads: session::start_threads(self.threads.map(usize::from))?, resume: self.resume, json })
    }
}
