//! Measures how long a forward pass takes: cold, warm, and stage by stage.

use resmlp_runtime::{ParallelFor, RunError};

use crate::arena::Arena;
use crate::classify::Classifier;
use crate::clock::{Clock, Span};

/// Number of runs between the cold one and the timed ones.
pub const WARM_UP: usize = 3;

/// Largest number of extra runs that are timed stage by stage, after the timed ones.
pub const WATCHED: usize = 10;

/// Least time of a stage.
pub type StageTime = Span;

/// The result of [`measure`].
#[derive(Debug)]
pub struct Measured<'a> {
    /// Time of the very first run.
    pub cold: Span,
    /// Time of each timed run.
    pub runs: &'a [Span],
    /// Least time of each stage, in the order of the stages.
    pub stages: &'a [StageTime],
}

/// Runs the network on `picture`: `WARM_UP` times to warm up, `runs` times timed, and up to `WATCHED` times timed
/// stage by stage. `cold` is the time of the very first run, which has happened before.
///
/// # Errors
/// Returns the errors of the engine, and [`RunError::Scratch`] if there is too little memory for the times.
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

/// Returns the least of `spans` that `percent` % of them do not exceed, for ticks and cycles separately. Without spans
/// both are 0.
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
