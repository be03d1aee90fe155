//! What differs between boards.

use resmlp_raspberry_pi::LedPin;

/// A board's addresses and habits.
#[derive(Debug)]
pub struct Board {
    /// What people call it.
    pub name: &'static str,
    /// What `resmlp convert --target` calls it.
    pub target: &'static str,
    /// Part number of its cores in MIDR_EL1.
    pub part: u64,
    /// First address of its devices. From there to the end of that gibibyte everything is mapped as devices.
    pub devices: usize,
    /// The serial line's PL011.
    pub uart: usize,
    /// What feeds it, Hz; where `None`, the boot firmware has set the baud rate and we leave it.
    pub uart_clock: Option<u32>,
    /// Pins of the processor.
    pub gpio: Option<usize>,
    /// Where the boot firmware takes requests.
    pub mailbox: Option<usize>,
    /// Power management, with the watchdog.
    pub watchdog: Option<usize>,
    /// The activity LED, where the boot firmware does not say.
    pub led: Option<LedPin>,
    /// Rate of the system counter, Hz, where the boot firmware has not set it.
    pub counter: u64,
    /// How the other cores are called.
    pub start: Start,
}

/// How cores are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// They wait until an address appears in memory: for core N at 0xd8 + 8 N, where the device tree does not say.
    SpinTable,
    /// The boot firmware starts them when it is called.
    Psci,
}
