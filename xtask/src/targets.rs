//! The targets that cross-compilation builds for.

/// 64-bit Raspberry Pi OS, Jetson and other ARM machines with Linux.
pub const LINUX: &str = "aarch64-unknown-linux-gnu";
/// A Raspberry Pi without an operating system.
pub const AARCH64: &str = "aarch64-unknown-none";
/// Cortex-M4 and Cortex-M7.
pub const CORTEX_M4: &str = "thumbv7em-none-eabihf";
/// Cortex-M33.
pub const CORTEX_M33: &str = "thumbv8m.main-none-eabihf";
/// Everything without an operating system.
pub const BARE_METAL: [&str; 3] = [AARCH64, CORTEX_M4, CORTEX_M33];
/// All microcontrollers.
pub const CORTEX_M: [&str; 2] = [CORTEX_M4, CORTEX_M33];
