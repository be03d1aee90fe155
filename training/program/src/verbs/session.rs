//! One whole training: the course with its progress, the checkpoint, the judgement and the report.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use resmlp_cli::output;
use resmlp_train::course::{Course, End, Observer, Step, judge};
use resmlp_train::finish::{Finished, Trained, finish};
use resmlp_train::recipe::Recipe;
use resmlp_train::state::{self, Epoch, State};
use resmlp_train::{Error, Result, checkpoint, report};
use resmlp_train_core::{Layout, Trainer, initial};
use resmlp_train_data::{Dataset, Loader};
use serde::Serialize;

use resmlp_cli::terminal;

/// Pictures of a batch in evaluation.
const JUDGED: usize = 256;

/// Files that a training writes.
pub struct Outputs<'a> {
    /// Checkpoint to write.
    pub checkpoint: &'a Path,
    /// Packed model to write, if one is wanted.
    pub model: Option<&'a Path>,
    /// Report to write, if one is wanted.
    pub report: Option<&'a Path>,
}

/// Parameters from which a training starts.
pub struct Start {
    /// Place of every tensor in the parameters.
    pub layout: Layout,
    /// The first parameters.
    pub parameters: Vec<f32>,
}

impl Start {
    /// Returns random parameters of the recipe's shape.
    ///
    /// # Errors
    /// Returns an error where no network has this shape.
    pub fn random(recipe: &Recipe, classes: usize) -> Result<Self> {
        let shape = recipe.shape(classes);
        shape.check()?;
        let layout = Layout::new(shape);
        let parameters = initial(&layout, recipe.layer_scale, recipe.seed);
        Ok(Self { layout, parameters })
    }
}

/// Settings that do not change the result of a training.
pub struct Manner {
    /// Threads that compute.
    pub threads: usize,
    /// Whether an interrupted training goes on.
    pub resume: bool,
    /// Whether stdout gets JSON.
    pub json: bool,
}

/// Outcome of a training. With `--json` these are the fields of the last line.
#[derive(Serialize)]
struct Outcome<'a> {
    /// Path of the checkpoint that was written.
    checkpoint: PathBuf,
    /// Path of the packed model that was written.
    model: Option<PathBuf>,
    /// Path of the report that was written.
    report: Option<PathBuf>,
    /// Number of trained parameters.
    parameters: usize,
    /// Number of training pictures.
    pictures: usize,
    /// Names of pictures that could not be read.
    skipped: Vec<&'a str>,
    /// Share of the held-out pictures that the network classifies rightly in f32.
    top1: Option<f64>,
    /// Pictures a second over the whole training, with everything that belongs to it.
    pictures_per_second: f64,
    /// Seconds that this call trained.
    seconds: f64,
    #[serde(flatten)]
    finished: &'a Finished,
}

/// Trains on a data set, writes the results and prints them.
///
/// # Errors
/// Returns the first error. Where training had begun, its saved state stays, so that `--resume` can go on.
pub fn run(
    (training, held_out): (Dataset, Option<Dataset>),
    recipe: &Recipe,
    start: Start,
    outputs: &Outputs,
    manner: &Manner,
) -> Result<End> {
    let saved = state::path_for(outputs.checkpoint);
    for path in [Some(outputs.checkpoint), outputs.model, outputs.report, Some(&saved)].into_iter().flatten() {
        output::check(path, &[])?;
    }
    let threads = manner.threads;
    let Start { layout, parameters } = start;
    let (training, held_out) = (Arc::new(training), held_out.map(Arc::new));
    training.warnings().iter().for_each(|warning| terminal::warning(warning));
    training.skipped().iter().for_each(|s| terminal::warning(&format!("{}: skipped: {}", s.name, s.reason)));
    let input = || recipe.preprocess.clone();
    let augmentation = recipe.augmentation.clone();
    let loader = Loader::training(training.clone(), augmentation, input(), recipe.batch, threads, recipe.seed)?;
    let judged = held_out.as_ref().map(|set| Loader::evaluation(set.clone(), input(), JUDGED, threads)).transpose()?;

    let state = match manner.resume {
        true => State::load(&saved, recipe, training.class_names(), &layout)?,
        false => State::new(recipe, &layout, parameters),
    };
    let started = state.progress.updates;
    let trainer = Trainer::new(layout.clone());
    let mut course = Course { recipe, training: &loader, held_out: judged.as_ref(), saved: &saved, trainer, state };
    let total = recipe.epochs * loader.batches_per_epoch() as u64;
    let mut screen = Screen { bar: terminal::batches(total), epochs: recipe.epochs, json: manner.json };
    let start = Instant::now();
    let end = course.run(interrupted()?, &mut screen)?;
    screen.bar.finish_and_clear();
    if end == End::Stopped {
        terminal::note(&format!("the state is saved in {}; the same command with --resume goes on", saved.display()));
        return Ok(end);
    }
    let seconds = start.elapsed();

    let Course { mut trainer, state, .. } = course;
    let parameters = &state.mean.parameters;
    checkpoint::write(outputs.checkpoint, &layout, parameters, &recipe.preprocess, training.class_names())?;
    let trained = Trained {
        path: outputs.checkpoint,
        layout: &layout,
        parameters,
        preprocess: &recipe.preprocess,
        training: &training,
        held_out: held_out.as_deref(),
    };
    let (finished, model) = finish(&trained, &mut trainer)?;
    if let Some(path) = outputs.model {
        output::write_atomically(path, &model)?;
    }
    if let Some(path) = outputs.report {
        let judged = judged.as_ref().map(|loader| judge(&mut trainer, parameters, loader)).transpose()?;
        let contents = report::Contents {
            recipe,
            parameters: layout.len(),
            history: &state.progress.history,
            training: &loader,
            held_out: held_out.as_deref().zip(judged.as_ref()),
            finished: &finished,
        };
        output::write_atomically(path, report::page(&contents)?.as_bytes())?;
    }
    // What is finished cannot be resumed. A file that cannot be deleted does no harm.
    let _ = std::fs::remove_file(&saved);
    let updates = state.progress.updates - started;
    let outcome = Outcome {
        checkpoint: outputs.checkpoint.to_path_buf(),
        model: outputs.model.map(Path::to_path_buf),
        report: outputs.report.map(Path::to_path_buf),
        parameters: layout.len(),
        pictures: training.len(),
        skipped: training.skipped().iter().map(|skipped| skipped.name.as_str()).collect(),
        top1: state.progress.history.last().and_then(|epoch| epoch.top1),
        pictures_per_second: (updates as usize * recipe.batch) as f64 / seconds.as_secs_f64(),
        seconds: seconds.as_secs_f64(),
        finished: &finished,
    };
    print(&if manner.json { json(&outcome)? } else { text(&outcome) })?;
    Ok(end)
}

/// Starts the threads that compute, one on each core by default, and returns their number. A verb calls this function
/// before it opens a data set, which uses them too.
///
/// # Errors
/// Returns an error where the system refuses so many threads.
pub fn start_threads(threads: Option<usize>) -> Result<usize> {
    let count = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    rayon::ThreadPoolBuilder::new()
        .num_threads(count)
        .build_global()
        .map_err(|error| Error::Usage(format!("cannot start {count} threads: {error}")))?;
    Ok(count)
}

/// Returns a flag that becomes true when the user presses Ctrl-C. A second Ctrl-C ends the program at once.
fn interrupted() -> Result<&'static AtomicBool> {
    static STOP: AtomicBool = AtomicBool::new(false);
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .map_err(|error| Error::Usage(format!("cannot watch for Ctrl-C: {error}")))?;
    Ok(&STOP)
}

/// Shows the progress.
struct Screen {
    bar: ProgressBar,
    epochs: u64,
    json: bool,
}

impl Observer for Screen {
    fn step(&mut self, state: &State, step: Step) {
        self.bar.set_position(state.progress.updates);
        let epoch = state.progress.epoch + 1;
        self.bar.set_message(format!("epoch {epoch}/{}, loss {:.3}", self.epochs, step.loss));
    }

    fn epoch(&mut self, _: &State, epoch: &Epoch) {
        if self.json {
            // A reader that has gone away is no reason to end a training.
            let _ = json(epoch).and_then(|line| print(&line));
            return;
        }
        let judged = epoch.top1.map_or(String::new(), |share| format!(", held-out {:.2} %", 100.0 * share));
        let line = format!("epoch {:>3}/{}: loss {:.4}{judged}", epoch.epoch, self.epochs, epoch.loss);
        self.bar.suspend(|| eprintln!("{line}"));
    }
}

/// Prints a line on stdout.
fn print(line: &str) -> Result<()> {
    Ok(terminal::print(&format!("{line}\n"))?)
}

/// Returns a value as one line of JSON.
fn json(value: &impl Serialize) -> Result<String> {
    resmlp_command_line::to_json(value).map_err(|error| Error::Usage(format!("cannot write JSON: {error}")))
}

/// Returns the outcome as text.
fn text(outcome: &Outcome) -> String {
    let percent = |share: Option<f64>| share.map_or("not known".to_owned(), |share| format!("{:.2} %", 100.0 * share));
    let finished = outcome.finished;
    let mut rows = vec![
        ("checkpoint", outcome.checkpoint.display().to_string()),
        ("parameters", outcome.parameters.to_string()),
        ("held out, f32", percent(outcome.top1)),
        ("held out, int8", percent(finished.int8_top1)),
        (
            "checked",
            format!(
                "tract and the training differ by {:.1e} of the logits' range; the int8 model has tract's first class \
                 for {} of {} pictures",
                finished.forward_error,
                percent(finished.check.top1_agreement),
                finished.check.images,
            ),
        ),
        ("trained", format!("{:.0} pictures a second", outcome.pictures_per_second)),
        ("time", format!("{:.1?}", Duration::from_secs_f64(outcome.seconds))),
    ];
    if let Some(model) = &outcome.model {
        rows.insert(1, ("model", format!("{}, {} bytes", model.display(), finished.model_bytes)));
    }
    if let Some(report) = &outcome.report {
        rows.push(("report", report.display().to_string()));
    }
    rows.iter().map(|(name, value)| format!("{name:<15} {value}")).collect::<Vec<_>>().join("\n")
}
