//! A model is in memory only once, in whatever layout it was packed.

use resmlp_runtime::{Dims, Layout, WeightStorage};

use super::{
    json,
    model::random_model,
    shapes::{NAMES, shape},
    string,
};

/// Number of bytes that everything but the model may take: program, libraries, scratch memory and picture.
const REST: u64 = 8_000_000;

#[test]
#[cfg(target_os = "linux")]
fn bench_takes_the_models_size_and_eight_megabytes() {
    let folder = tempfile::tempdir().unwrap();
    // On any CPU at least one of these layouts is rearranged at load.
    for layout in [Layout::DEFAULT, Layout::VNNI] {
        let s12 = Dims { layout, ..shape(NAMES[0], WeightStorage::Int8).unwrap() };
        let model = random_model(&s12);
        let path = folder.path().join("s12.rmlp");
        std::fs::write(&path, &*model).unwrap();
        // The peak varies by some hundred KB from run to run, and more beside other work, so the smallest one counts.
        let run = || {
            let found = json(&["bench", string(&path), "--json", "--runs", "1", "--warmup", "1", "--threads", "2"]);
            ["peak_memory_bytes", "model_bytes"].map(|name| found[name].as_u64().unwrap())
        };
        let [peak, model] = [run(), run(), run()].into_iter().min().unwrap();
        assert!(peak > model && peak <= model + REST, "{layout:?}: {peak} bytes for a model of {model}");
    }
}
