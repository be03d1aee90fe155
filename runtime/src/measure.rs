//! Measures how long a forward pass takes: as a whole, over many runs after a warm-up, and stage by stage.

use std::string::{String, ToString};
use std::time::{Duration, Instant};
use std::vec;
use std::vec::Vec;

use crate::engine::{Engine, RunError, Stage};
use crate::format::Dims;
use crate::parallel::ParallelFor;

/// Total time for the measured runs if the caller leaves their number open.
const TIME: Duration = Duration::from_secs(3);

/// Fewest and most measured runs if the caller leaves their number open.
const RUNS: [usize; 2] = [10, 1000];

/// Most runs that are timed stage by stage, after the measured ones.
const WATCHED_RUNS: usize = 30;

/// How often a model runs.
#[derive(Clone, Copy, Debug)]
pub struct Repeats {
    /// Runs before the measured ones, at least 1.
    pub warmup: usize,
    /// Measured runs, at least 1. `None` chooses as many as fit into three seconds, but between 10 and 1000.
    pub runs: Option<usize>,
}

impl Default for Repeats {
    fn default() -> Self {
        Self { warmup: 10, runs: None }
    }
}

/// The result of [`measure`].
#[derive(Clone, Debug)]
pub struct Measured {
    /// Runs that were measured.
    pub runs: usize,
    /// Latency of a whole forward pass.
    pub latency: Latency,
    /// Time of each measured run, in the order of the runs.
    pub times: Vec<Duration>,
    /// Time of each warm-up run, in the order of the runs. The first run starts with cold caches.
    pub warmup_times: Vec<Duration>,
    /// Time of each stage, in the order of execution. Stages are timed in extra runs, so that reading the clock does
    /// not disturb the measured ones.
    pub layers: Vec<Layer>,
    /// Multiply-accumulate operations of a forward pass.
    pub macs: u64,
    /// Bytes of the model.
    pub model_bytes: usize,
    /// Bytes of scratch memory.
    pub scratch_bytes: usize,
}

impl Measured {
    /// Returns 10^9 multiply-accumulate operations per second, at the median latency.
    pub fn gmac_per_s(&self) -> f64 {
        self.macs as f64 / (self.latency.median_ms * 1e6).max(f64::MIN_POSITIVE)
    }
}

/// Latencies in milliseconds. A percentile is the shortest measured time that at least this share of the runs did not
/// exceed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    /// The fastest run.
    pub min_ms: f64,
    /// Half of the runs took no longer.
    pub median_ms: f64,
    /// 90 % of the runs took no longer.
    pub p90_ms: f64,
    /// 99 % of the runs took no longer.
    pub p99_ms: f64,
    /// The slowest run.
    pub max_ms: f64,
}

impl Latency {
    /// Sorts `times` and summarises them. The result is all zeros if `times` is empty.
    pub fn of(times: &mut [Duration]) -> Self {
        times.sort_unstable();
        let percentile = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).map_or(0.0, milliseconds)
        };
        let [min_ms, median_ms, p90_ms, p99_ms, max_ms] = [0, 50, 90, 99, 100].map(percentile);
        Self { min_ms, median_ms, p90_ms, p99_ms, max_ms }
    }
}

/// One stage of the forward pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Name of the stage, such as `stem`, `block.3.mix`, `block.3.mlp` or `head`.
    pub name: String,
    /// Median time, milliseconds.
    pub ms: f64,
    /// Multiply-accumulate operations.
    pub macs: u64,
}

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A warm-up run, before the measured ones.
    WarmUp,
    /// A measured run.
    Measured,
    /// An extra run after the measured ones, timed stage by stage.
    Layers,
}

/// Is told when a run begins and ends, outside the measured time. The implementation for `()` does nothing.
pub trait Watch {
    /// Is called just before a run begins.
    fn begins(&mut self, _phase: Phase) {}
    /// Is called just after a run has ended.
    fn ended(&mut self, _phase: Phase) {}
}

impl Watch for () {}

/// Times forward passes of `engine` on [`picture`]. Nothing is allocated inside a timed interval.
///
/// # Errors
/// Returns the errors of [`Engine::run`].
pub fn measure<P: ParallelFor>(engine: &Engine<P>, repeats: Repeats) -> Result<Measured, RunError> {
    measure_watched(engine, repeats, &mut ())
}

/// Times forward passes as [`measure`] does, and tells `watch` when each run begins and ends.
///
/// # Errors
/// Returns the errors of [`Engine::run`].
pub fn measure_watched<P: ParallelFor>(
    engine: &Engine<P>,
    repeats: Repeats,
    watch: &mut impl Watch,
) -> Result<Measured, RunError> {
    let dims = engine.model().dims();
    let mut pass = Pass {
        engine,
        picture: picture(dims),
        scratch: vec![0; engine.scratch_len()],
        logits: vec![0.0; dims.outputs],
    };
    let mut warmup_times = vec![Duration::ZERO; repeats.warmup.max(1)];
    pass.time(&mut warmup_times, Phase::WarmUp, watch)?;
    let warm = || Latency::of(&mut warmup_times.clone()).median_ms;
    let runs = repeats.runs.unwrap_or_else(|| fitting_runs(warm())).max(1);
    let mut times = vec![Duration::ZERO; runs];
    pass.time(&mut times, Phase::Measured, watch)?;
    Ok(Measured {
        runs,
        latency: Latency::of(&mut times.clone()),
        times,
        warmup_times,
        layers: pass.time_layers(runs.min(WATCHED_RUNS), watch)?,
        macs: dims.macs(),
        model_bytes: engine.model().bytes().len(),
        scratch_bytes: engine.scratch_len(),
    })
}

/// Returns a picture of `image` height × width × 3 bytes with fixed pseudo-random noise, so that no run is faster
/// because of zeros.
pub fn picture(dims: &Dims) -> Vec<u8> {
    let mut state = 0x9e37_79b9u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    };
    (0..3 * dims.image.iter().product::<usize>()).map(|_| next()).collect()
}

/// Returns the number of multiply-accumulate operations of one stage.
pub fn stage_macs(dims: &Dims, stage: Stage) -> u64 {
    let [n, d, h] = [dims.tokens(), dims.dim, dims.hidden].map(|v| v as u64);
    match stage {
        Stage::Stem => n * d * dims.patch_len() as u64,
        Stage::Mix(_) => n * n * d,
        Stage::Mlp(_) => 2 * n * d * h,
        Stage::Head => {
            if dims.has_head {
                dims.outputs as u64 * d
            } else {
                0
            }
        }
    }
}

/// An engine and all the memory that its runs need.
struct Pass<'e, 'm, P> {
    engine: &'e Engine<'m, P>,
    picture: Vec<u8>,
    scratch: Vec<u8>,
    logits: Vec<f32>,
}

impl<P: ParallelFor> Pass<'_, '_, P> {
    /// Runs the engine once for each element of `times` and stores how long each run took.
    fn time(&mut self, times: &mut [Duration], phase: Phase, watch: &mut impl Watch) -> Result<(), RunError> {
        for time in times {
            watch.begins(phase);
            let start = Instant::now();
            self.engine.run(&self.picture, &mut self.scratch, &mut self.logits)?;
            *time = start.elapsed();
            watch.ended(phase);
        }
        Ok(())
    }

    /// Returns the median time of every stage over `runs` runs.
    fn time_layers(&mut self, runs: usize, watch: &mut impl Watch) -> Result<Vec<Layer>, RunError> {
        let dims = self.engine.model().dims();
        let mut stages: Vec<(Stage, Vec<Duration>)> =
            Stage::all(dims.depth).map(|stage| (stage, Vec::with_capacity(runs))).collect();
        for _ in 0..runs {
            let mut left = stages.iter_mut();
            watch.begins(Phase::Layers);
            let mut start = Instant::now();
            self.engine.run_observed(&self.picture, &mut self.scratch, &mut self.logits, &mut |_, _| {
                let end = Instant::now();
                if let Some((_, times)) = left.next() {
                    times.push(end - start);
                }
                start = Instant::now();
            })?;
            watch.ended(Phase::Layers);
        }
        let layer = |(stage, mut times): (Stage, Vec<Duration>)| Layer {
            name: stage.to_string(),
            ms: Latency::of(&mut times).median_ms,
            macs: stage_macs(dims, stage),
        };
        Ok(stages.into_iter().map(layer).collect())
    }
}

/// Returns how many runs of `ms` milliseconds fit into [`TIME`], within the limits of [`RUNS`].
fn fitting_runs(ms: f64) -> usize {
    let [fewest, most] = RUNS;
    // The cast saturates, so a time of zero gives the largest number of runs.
    ((milliseconds(&TIME) / ms) as usize).clamp(fewest, most)
}

fn milliseconds(time: &Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Layout, WeightStorage};

    const DIMS: Dims = Dims {
        weights: WeightStorage::Int8,
        image: [24, 16],
        patch: 8,
        dim: 9,
        hidden: 36,
        depth: 3,
        outputs: 5,
        has_head: true,
        has_gains: false,
        layout: Layout::DEFAULT,
    };

    #[test]
    fn percentiles_are_measured_times() {
        let mut times: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        let expected = Latency { min_ms: 1.0, median_ms: 100.0, p90_ms: 180.0, p99_ms: 198.0, max_ms: 200.0 };
        assert_eq!(Latency::of(&mut times), expected);
        let one = Latency::of(&mut [Duration::from_millis(3)]);
        assert_eq!([one.min_ms, one.median_ms, one.p90_ms, one.p99_ms, one.max_ms], [3.0; 5]);
        assert_eq!(Latency::of(&mut []), Latency::default());
    }

    #[test]
    fn the_number_of_runs_follows_from_the_time_of_one() {
        assert_eq!([0.0, 1.0, 30.0, 5000.0].map(fitting_runs), [1000, 1000, 100, 10]);
    }

    #[test]
    fn operations_of_all_stages_add_up_to_the_models() {
        let embedding = Dims { outputs: 9, has_head: false, ..DIMS };
        for dims in [DIMS, embedding] {
            assert_eq!(Stage::all(dims.depth).map(|stage| stage_macs(&dims, stage)).sum::<u64>(), dims.macs());
        }
        let names: Vec<_> = Stage::all(DIMS.depth).map(|stage| stage.to_string()).collect();
        let expected =
            ["stem", "block.0.mix", "block.0.mlp", "block.1.mix", "block.1.mlp", "block.2.mix", "block.2.mlp", "head"];
        assert_eq!(names, expected);
    }

    #[test]
    fn the_picture_is_noise_of_the_size_that_the_model_reads() {
        let picture = picture(&DIMS);
        assert_eq!(picture.len(), 24 * 16 * 3);
        let mean = picture.iter().map(|&p| f64::from(p)).sum::<f64>() / picture.len() as f64;
        assert!((mean - 127.5).abs() < 10.0, "{mean}");
    }
}
