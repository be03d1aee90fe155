//! How long a forward pass takes: cold, warm, and stage by stage.

use resmlp_runtime::{ParallelFor, RunError};

use crate::arena::Arena;
use crate::classify::Classifier;
use crate::clock::{Clock, Span};

/// Runs between the cold one and the timed ones.
pub const WARM_UP: usize = 3;

/// Runs that are watched stage by stage, after the timed ones.
pub const WATCHED: usize = 10;

/// The fastest run of a stage.
pub type StageTime = Span;

/// What [`measure`] found.
#[derive(Debug)]
pub struct Measured<'a> {
    /// The very first run.
    pub cold: Span,
    /// The timed runs.
    pub runs: &'a [Span],
    /// The fastest run of each stage, in the order of the stages.
    pub stages: &'a [StageTime],
}

/// Runs the network on `picture`, which has run once and `cold`: some times to warm up, `runs` times timed, and some watched
/// stage by stage.
///
/// # Errors
/// Those of the engine; [`RunError::Scratch`] where there is too little memory for the times.
pub fn measure<'m, P: ParallelFor, C: Clock>(
    classifier: &mut Classifier<'m, P>,
    picture: &[u8],
    cold: Span,
    clock: &C,
    runs: usize,
    arena: &mut Arena<'m>,
) -> Result<Measured<'m>, RunError> {
    let depth = classifier.engine().model().dims().depth;
    let memory = RunError::Scratch { found: arena.left(), expected: size_of::<Span>() * (runs + 2 * depth + 2) };
    let times: &mut [Span] = arena.zeros(runs).ok_or(memory)?;
    let stages: &mut [StageTime] = arena.zeros(2 * depth + 2).ok_or(memory)?;

    for _ in 0..WARM_UP {
        classifier.run(picture, clock, &mut |_| {})?;
    }
    for time in times.iter_mut() {
        *time = classifier.run(picture, clock, &mut |_| {})?;
    }
    stages.fill(Span { ticks: u64::MAX, cycles: u64::MAX });
    for _ in 0..runs.min(WATCHED) {
        let mut places = stages.iter_mut();
        let mut last = Span::now(clock);
        classifier.run(picture, clock, &mut |_| {
            let now = Span::now(clock);
            if let Some(fastest) = places.next() {
                *fastest = fastest.least(now.since(last));
            }
            last = now;
        })?;
    }
    Ok(Measured { cold, runs: times, stages })
}

/// The least of `spans` that `percent` % of them do not exceed; ticks and cycles apart. Zeros where there are none.
pub fn percentile(spans: &[Span], percent: usize) -> Span {
    let rank = (spans.len() * percent).div_ceil(100).max(1);
    let of = |key: fn(&Span) -> u64| {
        let reaches_rank = |value: &u64| spans.iter().filter(|span| key(span) <= *value).count() >= rank;
        spans.iter().map(key).filter(reaches_rank).min().unwrap_or(0)
    };
    Span { ticks: of(|span| span.ticks), cycles: of(|span| span.cycles) }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn percentiles_are_values_that_occur() {
        let spans: Vec<Span> = (0..200).map(|i| Span { ticks: (i * 7) % 200, cycles: 1000 - i }).collect();
        let percentiles = [0, 50, 99, 100].map(|percent| percentile(&spans, percent));
        assert_eq!(percentiles.map(|span| span.ticks), [0, 99, 197, 199]);
        assert_eq!(percentiles.map(|span| span.cycles), [801, 900, 998, 1000]);
        assert_eq!(percentile(&[], 50), Span::default());
        assert_eq!(percentile(&spans[..1], 99), spans[0]);
    }
}
