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
    /// Sets up the serial line. Returns `None` for a board whose address is 0.
    ///
    /// # Safety
    /// No other console exists at the same time.
    pub unsafe fn new(board: &Board) -> Option<Self> {
        // SAFETY: the caller guarantees that there is no other console.
        let mut console = unsafe { Self::take_over(board)? };
        if let (Some(clock), Some(pins)) = (board.uart_clock, Pins::of(board)) {
            pins.select_serial_line();
            let config = LineConfig { data_bits: DataBits::Bits8, parity: Parity::None, stop_bits: StopBits::One };
            // This fails only for rates that the clock cannot make, and 115200 baud is none of them.
            let _ = console.0.enable(config, BAUD, clock);
        }
        Some(console)
    }

    /// Takes the serial line as it is, without setting it up. The exception handler prints through it.
    ///
    /// # Safety
    /// The former owner of the console does not use it any more.
    pub unsafe fn take_over(board: &Board) -> Option<Self> {
        let registers = NonNull::new(core::ptr::with_exposed_provenance_mut::<PL011Registers>(board.uart))?;
        // SAFETY: the address is that of the board's PL011, the page tables map it as a device for ever, and the caller
        // guarantees that nothing else uses it.
        Some(Self(Uart::new(unsafe { UniqueMmioPointer::new(registers) })))
    }

    /// Returns a received byte, if there is one. A byte that arrived damaged is left out; the checksum of its frame
    /// shows that.
    pub fn read(&mut self) -> Option<u8> {
        self.0.read_word().ok().flatten()
    }

    /// Sends bytes unchanged.
    pub fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            while self.0.is_tx_fifo_full() {}
            self.0.write_word(byte);
        }
    }

    /// Waits until the last byte has been sent.
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
