//! Classifies pictures.

use resmlp_protocol::{Guess, Info, Logits, Outcome, Resizing, TOP, VERSION};
use resmlp_runtime::{Engine, Fit, Model, ParallelFor, Resize, RunError, Stage, most_probable};

use crate::arena::Arena;
use crate::clock::{Clock, Span};
use crate::payload::picture_length;

/// Longest label that is sent, in bytes. It bounds the length of a reply.
const LABEL: usize = 64;

/// Longest description of a model that is sent, in bytes.
const DESCRIPTION: usize = 512;

/// An engine with the memory for its runs.
#[derive(Debug)]
pub struct Classifier<'m, P> {
    engine: Engine<'m, P>,
    scratch: &'m mut [u8],
    logits: &'m mut [f32],
}

impl<'m, P: ParallelFor> Classifier<'m, P> {
    /// Creates a classifier with memory from `arena`, or returns `None` if there is too little.
    pub fn new(engine: Engine<'m, P>, arena: &mut Arena<'m>) -> Option<Self> {
        let scratch = arena.zeros(engine.scratch_len())?;
        let logits = arena.zeros(engine.model().dims().outputs)?;
        Some(Self { engine, scratch, logits })
    }

    /// Returns the engine.
    pub fn engine(&self) -> &Engine<'m, P> {
        &self.engine
    }

    /// Returns the logits of the last run.
    pub fn logits(&self) -> &[f32] {
        self.logits
    }

    /// Returns the length in bytes of the pictures that it takes.
    pub fn picture_length(&self) -> usize {
        picture_length(self.engine.model())
    }

    /// Runs the network on a picture and returns how long that took. Calls `observe` at the end of every stage.
    ///
    /// # Errors
    /// Returns the errors of [`Engine::run`].
    pub fn run<C: Clock>(
        &mut self,
        picture: &[u8],
        clock: &C,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Span, RunError> {
        let start = Span::now(clock);
        self.engine.run_observed(picture, self.scratch, self.logits, &mut |stage, _| {
            observe(stage);
            clock.alive();
        })?;
        Ok(Span::now(clock).since(start))
    }

    /// Returns the most probable classes of the last run, most probable first. An embedding model has none.
    pub fn top(&self) -> heapless::Vec<Guess<'m>, TOP> {
        if self.engine.model().dims().has_head {
            guesses(self.engine.model(), self.logits)
        } else {
            heapless::Vec::new()
        }
    }

    /// Returns the result of the last run as a reply.
    pub fn outcome(&self, latency_us: u32) -> Outcome<'_> {
        let mut top = self.top();
        for guess in &mut top {
            guess.label = shortened(guess.label, LABEL);
        }
        Outcome { latency_us, logits: Logits::new(self.logits), top }
    }

    /// Describes `board`, the model, and the pictures that it takes.
    pub fn info<'a>(&'a self, board: &'a str) -> Info<'a> {
        let model = self.engine.model();
        let dims = model.dims();
        let preprocessing = model.preprocessing();
        Info {
            version: VERSION,
            image: dims.image.map(|extent| extent as u32),
            classes: dims.outputs as u32,
            longest: self.picture_length() as u32,
            resizing: match preprocessing.resize {
                Resize::Bilinear => Resizing::Bilinear,
                Resize::Bicubic => Resizing::Bicubic,
            },
            is_squashed: preprocessing.fit == Fit::Squash,
            crop: preprocessing.crop,
            board,
            model: shortened(model.provenance(), DESCRIPTION),
        }
    }

    /// Returns the length of the longest reply, in bytes.
    pub fn longest_reply(&self) -> usize {
        let result = 4 * self.logits.len() + TOP * (12 + LABEL);
        result.max(DESCRIPTION + 2 * LABEL) + 64
    }
}

/// Returns the most probable classes, most probable first.
pub fn guesses<'m>(model: &Model<'m>, logits: &[f32]) -> heapless::Vec<Guess<'m>, TOP> {
    let mut guesses = heapless::Vec::new();
    for (index, probability) in most_probable::<TOP>(logits, libm::exp) {
        let label = model.labels().nth(index).unwrap_or_default();
        // `most_probable` returns at most `TOP` classes, all of which fit.
        let _ = guesses.push(Guess { index: index as u32, probability: probability as f32, label });
    }
    guesses
}

/// Returns the longest beginning of `text` that has at most `most` bytes.
fn shortened(text: &str, most: usize) -> &str {
    (0..=most).rev().find_map(|end| text.get(..end.min(text.len()))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(shortened("abc", 5), "abc");
        assert_eq!(shortened("abc", 2), "ab");
        assert_eq!(shortened("aéé", 4), "aé");
        assert_eq!(shortened("é", 1), "");
    }
}
