//! The machines for which `resmlp convert --target` lays out weights.

use clap::ValueEnum;
use resmlp_runtime::Layout;

/// A machine or a family of machines whose fastest kernels read the same layout of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// The layout that most machines read without rearranging it
    Any,
    /// Raspberry Pi 3, 3+ and Zero 2 W
    #[value(name = "raspberry-pi-3")]
    RaspberryPi3,
    /// Raspberry Pi 4, 400 and Compute Module 4
    #[value(name = "raspberry-pi-4")]
    RaspberryPi4,
    /// Raspberry Pi 5
    #[value(name = "raspberry-pi-5")]
    RaspberryPi5,
    /// Jetson Nano
    JetsonNano,
    /// Jetson Orin
    JetsonOrin,
    /// Raspberry Pi Pico 2
    #[value(name = "raspberry-pi-pico-2")]
    RaspberryPiPico2,
    /// Cortex-M4, M7 and M33 with the DSP extension
    CortexM,
    /// Desktops and servers with x86-64 CPUs
    #[value(name = "x86-64")]
    X86_64,
}

impl Target {
    /// Returns the layout of weights that the machine's fastest kernels read.
    pub fn layout(self) -> Layout {
        match self {
            Self::Any | Self::RaspberryPi5 | Self::JetsonOrin | Self::X86_64 => Layout::DEFAULT,
            Self::RaspberryPi3 | Self::RaspberryPi4 | Self::JetsonNano => Layout::NEON,
            Self::RaspberryPiPico2 | Self::CortexM => Layout::DSP,
        }
    }
}
