//! The serial line: 115200 baud, 8N1, on pins 14 and 15 (header pins 8 and 10).

use core::fmt;
use core::ptr::NonNull;

use arm_pl011_uart::{DataBits, LineConfig, PL011Registers, Parity, StopBits, Uart, UniqueMmioPointer};
use resmlp_protocol::BAUD;

use crate::board::Board;
use crate::gpio::Pins;

/// The serial line.
pub struct Console(Uart<'static>);

impl Console {
    /// Sets the line up.
    ///
    /// # Safety
    /// There is one console at a time.
    pub unsafe fn new(board: &Board) -> Option<Self> {
        // SAFETY: as this function demands.
        let mut console = unsafe { Self::take_over(board)? };
        if let (Some(clock), Some(pins)) = (board.uart_clock, Pins::of(board)) {
            pins.select_serial_line();
            let config = LineConfig { data_bits: DataBits::Bits8, parity: Parity::None, stop_bits: StopBits::One };
            // Fails for impossible rates only.
            let _ = console.0.enable(config, BAUD, clock);
        }
        Some(console)
    }

    /// The line as it is, for the exception handler.
    ///
    /// # Safety
    /// Whoever had the console before uses it no more.
    pub unsafe fn take_over(board: &Board) -> Option<Self> {
        let registers = NonNull::new(core::ptr::with_exposed_provenance_mut::<PL011Registers>(board.uart))?;
        // SAFETY: the board's PL011, mapped as a device, and not used elsewhere as this function demands.
        Some(Self(Uart::new(unsafe { UniqueMmioPointer::new(registers) })))
    }

    /// A received byte, if there is one. Bytes that arrived damaged are left out: checksums of frames find that.
    pub fn read(&mut self) -> Option<u8> {
        self.0.read_word().ok().flatten()
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            while self.0.is_tx_fifo_full() {}
            self.0.write_word(byte);
        }
    }

    /// Waits until everything is on the line.
    pub fn flush(&mut self) {
        while self.0.is_busy() {}
    }
}

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if byte == b'\n' {
                self.write(b"\r");
            }
            self.write(&[byte]);
        }
        Ok(())
    }
}
