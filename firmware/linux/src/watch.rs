//! `watch`: classifies pictures as they arrive in a folder or come from a camera.

mod camera;
mod folder;
mod frame;
mod v4l2;

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use resmlp_command_line::{Guess, SHOWN, guesses, to_json};
use resmlp_picture::{Limits, Picture, Preprocess};
use resmlp_runtime::{Engine, Threads};
use serde::Serialize;

use crate::arguments::Watch;
use crate::contain;
use crate::error::{Error, Result};
use crate::model::{self, Opened};
use crate::output::{print, say};
use crate::picture;

/// Time between two attempts to open a camera that was unplugged.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);

/// The result of one picture.
#[derive(Serialize)]
struct Seen<'a> {
    /// Path of the file or of the camera.
    source: &'a str,
    /// Number of the picture, from 1.
    number: usize,
    /// Time to decode and resize the picture.
    prepare_ms: f64,
    /// Time of the forward pass.
    latency_ms: f64,
    /// The most probable classes; empty for an embedding model.
    top: Vec<Guess>,
    /// The output of an embedding model.
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding: Option<&'a [f32]>,
}

/// Classifies until `--count` is reached or nobody reads the output any more.
///
/// # Errors
/// Returns an error if the folder was removed, or if folder or camera cannot be opened.
pub fn execute(options: &Watch) -> Result<()> {
    let opened = model::open(&options.common)?;
    let engine = opened.engine()?;
    let mut viewer = Viewer::new(&opened, &engine, options)?;
    let source = &options.source;
    let about = |error: std::io::Error| Error::about(source.display(), &error);
    if std::fs::metadata(source).map_err(about)?.is_dir() {
        let mut arrivals = folder::Arrivals::of(source).map_err(about)?;
        say("note", &format!("watching {}", source.display()));
        while let Some(path) = arrivals.next().map_err(about)? {
            if !viewer.file(&path)? {
                return Ok(());
            }
        }
        return Err(Error::Failed(format!("{}: the folder was removed", source.display())));
    }
    let open = || v4l2::Capture::open(source, viewer_size(&engine));
    let name = source.display().to_string();
    camera::frames(&name, open, REOPEN_PAUSE, &mut |picture| viewer.frame(&name, &picture))
}

/// Returns the network's height and width. A smaller picture from the camera would have to be enlarged.
fn viewer_size(engine: &Engine<Threads>) -> [u32; 2] {
    engine.model().dims().image.map(|side| u32::try_from(side).unwrap_or(u32::MAX))
}

/// Runs the network on pictures and prints the results.
struct Viewer<'a> {
    opened: &'a Opened,
    engine: &'a Engine<'a, Threads>,
    preprocess: Preprocess,
    /// Memory and work that one picture may cost.
    limits: Limits,
    labels: Vec<&'a str>,
    scratch: Vec<u8>,
    logits: Vec<f32>,
    json: bool,
    number: usize,
    count: Option<usize>,
    /// The last file that was classified.
    last_file: Option<Version>,
}

/// Properties of a file that stay the same when it is renamed, and change when it is written to.
#[derive(PartialEq)]
struct Version {
    device_and_file: [u64; 2],
    length: u64,
    written: [i64; 2],
}

impl Version {
    fn of(file: &Metadata) -> Self {
        Self {
            device_and_file: [file.dev(), file.ino()],
            length: file.len(),
            written: [file.mtime(), file.mtime_nsec()],
        }
    }
}

impl<'a> Viewer<'a> {
    fn new(opened: &'a Opened, engine: &'a Engine<'a, Threads>, options: &Watch) -> Result<Self> {
        let model = engine.model();
        let preprocess = Preprocess::of(model);
        preprocess.validate().map_err(|error| opened.failure(&error))?;
        Ok(Self {
            opened,
            engine,
            preprocess,
            limits: picture::limits(),
            labels: model.labels().collect(),
            scratch: vec![0; engine.scratch_len()],
            logits: vec![0.0; model.dims().outputs],
            json: options.common.json,
            number: 0,
            count: options.count,
            last_file: None,
        })
    }

    /// Classifies a picture file and returns whether to go on. A file that is not a picture, or not yet complete, is
    /// named in a note and skipped. A file that was only renamed since it was classified is not classified again.
    fn file(&mut self, path: &Path) -> Result<bool> {
        let start = Instant::now();
        let found = path.metadata().ok();
        if found.as_ref().is_some_and(|found| !found.is_file()) {
            pass_over(&format!("{}: not a regular file", path.display()));
            return Ok(true);
        }
        let version = found.map(|found| Version::of(&found));
        if version.is_some() && version == self.last_file {
            return Ok(true);
        }
        let source = path.display().to_string();
        let about = |problem: String| format!("{source}: {problem}");
        let prepared = contain::panics(|| {
            let picture = Picture::open_within(path, &self.limits).map_err(|error| error.to_string())?;
            self.preprocess.apply(&picture).map_err(|error| about(error.to_string()))
        });
        match prepared.map_err(about).flatten() {
            Ok(pixels) => {
                self.last_file = version;
                self.classify(&source, start, &pixels)
            }
            Err(problem) => {
                pass_over(&problem);
                Ok(true)
            }
        }
    }

    /// Classifies a camera's frame and returns whether to go on. A frame that cannot be prepared is passed over with a
    /// note.
    fn frame(&mut self, source: &str, frame: &Picture) -> Result<bool> {
        let start = Instant::now();
        let prepared = contain::panics(|| self.preprocess.apply(frame).map_err(|error| error.to_string()));
        match prepared.flatten() {
            Ok(pixels) => self.classify(source, start, &pixels),
            Err(problem) => {
                pass_over(&format!("{source}: {problem}"));
                Ok(true)
            }
        }
    }

    /// Classifies pixels, `[height, width, 3]` in the network's size, whose preparation began at `start`. Returns
    /// whether to go on.
    fn classify(&mut self, source: &str, start: Instant, pixels: &[u8]) -> Result<bool> {
        let prepared = Instant::now();
        self.engine.run(pixels, &mut self.scratch, &mut self.logits).map_err(|error| self.opened.failure(&error))?;
        let (prepare, latency) = (prepared - start, prepared.elapsed());
        self.number += 1;
        let has_head = self.engine.model().dims().has_head;
        let seen = Seen {
            source,
            number: self.number,
            prepare_ms: prepare.as_secs_f64() * 1e3,
            latency_ms: latency.as_secs_f64() * 1e3,
            top: if has_head { guesses::<SHOWN>(&self.logits, &self.labels) } else { vec![] },
            embedding: (!has_head).then_some(&*self.logits),
        };
        let line = if self.json { to_json(&seen).map_err(|error| Error::about("JSON", &error))? } else { text(&seen) };
        let is_read = print(&line)?;
        Ok(is_read && self.count.is_none_or(|count| self.number < count))
    }
}

/// Writes a note about a picture that is not classified.
fn pass_over(problem: &str) {
    say("note", &format!("passed over: {problem}"));
}

fn text(seen: &Seen) -> String {
    let best = match (seen.top.first(), seen.embedding) {
        (Some(guess), _) => format!("{:5.1} %  {}", guess.probability * 100.0, guess.name()),
        (None, Some(embedding)) => format!("embedding of {} channels", embedding.len()),
        (None, None) => "no class".to_owned(),
    };
    format!("{}  {best}  {:.3} ms", seen.source, seen.latency_ms)
}
