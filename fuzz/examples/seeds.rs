//! Writes the seeds of the target `rmlp`: small packed models of every precision, with and without a head and gains.
//!
//! ```text
//! cargo run --release -p resmlp-fuzz --example seeds -- fuzz/corpora/rmlp
//! ```

use resmlp_runtime::{Dims, Layout, WeightStorage};

#[path = "../../runtime/examples/random_model/model.rs"]
mod model;

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    for (index, (has_head, has_gains)) in [(true, false), (false, true), (true, true)].into_iter().enumerate() {
        for (name, weights, layout) in [
            ("int8", WeightStorage::Int8, Layout { rows: 2, columns: 2, group: 2, offset: 128 }),
            ("f16", WeightStorage::F16, Layout { rows: 2, columns: 2, ..Layout::F16 }),
        ] {
            let dims = Dims {
                weights,
                image: [4, 2],
                patch: 2,
                dim: 3,
                hidden: 5,
                depth: 1,
                outputs: 3,
                has_head,
                has_gains,
                layout,
            };
            std::fs::write(format!("{folder}/{name}-{index}.rmlp"), &*model::random_model(&dims))?;
        }
    }
    Ok(())
}
