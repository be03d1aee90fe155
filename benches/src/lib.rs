//! Offers networks to measure, and forward passes of several engines behind one interface. The benchmarks and examples
//! share them.

#[path = "../../runtime/examples/random_model/model.rs"]
mod model;
mod network;
pub mod passes;
mod peak;
#[path = "../../runtime/examples/random_model/shapes.rs"]
mod shapes;
#[cfg(feature = "peers")]
mod unpack;

pub use model::random_model;
pub use network::{demo_file, random_network};
pub use peak::Peak;
pub use shapes::{NAMES, shape};
