//! Lists the names of this project's packages and programs, as cargo knows them. No other file of xtask contains these
//! names.

/// The inference runtime.
pub const RUNTIME: &str = "resmlp-runtime";
/// The runtime's example that runs models on changing threads for a long time.
pub const ENDURANCE: &str = "endurance";
/// The runtime's example that runs a few models of all precisions on every table of kernels.
pub const FEW_SHAPES: &str = "few_shapes";
/// The runtime's example that runs a model of random weights, for counting instructions.
pub const RANDOM_MODEL: &str = "random_model";
/// A program that links only if no panic can be reached from the runtime.
pub const NO_PANIC: &str = "resmlp-no-panic";
/// The command line that converts checkpoints.
pub const CONVERTER_PROGRAM: &str = "resmlp";
/// The program for boards with Linux; its package has the same name.
pub const DEVICE: &str = "resmlp-device";
/// The image for a Raspberry Pi without an operating system, and its tests on an emulated board.
pub const RASPBERRY_PI: &str = "resmlp-raspberry-pi";
pub const RASPBERRY_PI_IMAGE: &str = "kernel8";
pub const RASPBERRY_PI_TESTS: &str = "emulated_raspberry_pi";
/// The programs for Cortex-M. They are in a workspace of their own; their tests on emulated boards are in this one.
pub const CORTEX_M_PROGRAM: &str = "resmlp-cortex-m";
pub const CORTEX_M_KERNEL_TESTS: &str = "kernel-tests";
pub const CORTEX_M_TESTS: &str = "emulated_cortex_m";
/// The library for C.
pub const C_LIBRARY: &str = "resmlp-c";
/// The fuzz targets.
pub const FUZZ: &str = "resmlp-fuzz";
/// The tools that steps call.
pub const ARM_COST: &str = "arm-cost";
pub const UF2: &str = "uf2";
