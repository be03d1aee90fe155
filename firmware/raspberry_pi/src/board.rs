//! The type that describes what differs between boards.

use resmlp_raspberry_pi::LedPin;

/// Addresses and properties of a board.
#[derive(Debug)]
pub struct Board {
    /// Name of the board for people.
    pub name: &'static str,
    /// Name of the board for `resmlp convert --target`.
    pub target: &'static str,
    /// Part number of the board's cores in MIDR_EL1.
    pub part: u64,
    /// First address of the devices. Everything from there to the end of that gibibyte is mapped as devices.
    pub devices: usize,
    /// Address of the serial line's PL011.
    pub uart: usize,
    /// Clock of the PL011 in Hz. If it is `None`, the baud rate stays as the boot firmware has set it.
    pub uart_clock: Option<u32>,
    /// Address of the registers of the processor's pins.
    pub gpio: Option<usize>,
    /// Address of the mailbox, through which the boot firmware takes requests.
    pub mailbox: Option<usize>,
    /// Address of the power manager, to which the watchdog belongs.
    pub watchdog: Option<usize>,
    /// Pin of the activity LED, for boards whose device tree does not state it.
    pub led: Option<LedPin>,
    /// Rate of the system counter in Hz, for boot firmware that has not set CNTFRQ_EL0.
    pub counter: u64,
    /// The way to start the other cores.
    pub start: Start,
}

/// A way to start cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The cores wait until an address appears in memory: for core N at the place that the device tree states, or else
    /// at 0xd8 + 8 N.
    SpinTable,
    /// A call of the boot firmware (PSCI) starts a core.
    Psci,
}
