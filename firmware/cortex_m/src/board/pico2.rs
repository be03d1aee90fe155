//! Raspberry Pi Pico 2 (RP2350, Arm cores): it prints through UART0 on GPIO 0 (pin 1), 115200 baud, 8N1, and counts
//! clock cycles.
//!
//! No board has run this yet. The public emulator rp2350js 2.0.1 has booted the image from the RP2350's own boot ROM
//! A2, after four faults of the emulator were corrected in a private copy: it lacked SXTB16 and SMLAD, ran VMINNM and
//! VMAXNM as VSEL, and was off by one in the width of USAT.
//!
//! The boot ROM accepts the image definition and starts the program. The registers of the clocks and of UART0 receive
//! the values that the datasheet asks for. The logits equal those of the transcripts bit for bit. Clocks and pads are
//! stubs in that emulator, which always report that they are ready, so it shows nothing about a real crystal, PLL or
//! pad, and nothing about the time that a forward pass takes.

use core::fmt;

use cortex_m::peripheral::{DCB, DWT};
use rp235x_pac::{CLOCKS, IO_BANK0, PADS_BANK0, PLL_SYS, Peripherals, RESETS, UART0, XOSC};

/// The board and its core.
pub const NAME: &str = "Raspberry Pi Pico 2 (Cortex-M33)";

/// Unit of [`Board::count`].
pub const COUNTED: &str = "cycles at 150 MHz";

/// The image definition, by which the boot ROM starts an Arm program in secure state (datasheet, section 5.9.5.1).
#[unsafe(link_section = ".image_definition")]
#[used]
static IMAGE_DEFINITION: [u32; 5] = [0xffff_ded3, 0x1021_0142, 0x0000_01ff, 0x0000_0000, 0xab12_3579];

/// The board, which prints through UART0.
pub struct Board {
    uart: UART0,
    /// Cycles from the start until the counter was last read.
    counted: u64,
}

impl Board {
    /// Starts the clocks, the UART and the cycle counter.
    pub fn start() -> Self {
        // SAFETY: the program calls this once, and nothing else uses the peripherals.
        let (chip, mut core) = unsafe { (Peripherals::steal(), cortex_m::Peripherals::steal()) };
        start_clocks(&chip.XOSC, &chip.PLL_SYS, &chip.CLOCKS, &chip.RESETS);
        start_uart(&chip.UART0, &chip.IO_BANK0, &chip.PADS_BANK0, &chip.RESETS);
        start_counter(&mut core.DCB, &mut core.DWT);
        Self { uart: chip.UART0, counted: 0 }
    }

    /// Returns the number of cycles since the start. The counter has 32 bits, so this must be called at least every 28
    /// seconds.
    pub fn count(&mut self) -> u64 {
        let passed = DWT::cycle_count().wrapping_sub(self.counted as u32);
        self.counted += u64::from(passed);
        self.counted
    }

    /// Stops the program. Its outcome has been printed.
    pub fn end(self, _succeeded: bool) -> ! {
        loop {
            cortex_m::asm::wfi();
        }
    }
}

impl fmt::Write for Board {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.put(b'\r');
            }
            self.put(byte);
        }
        Ok(())
    }
}

impl Board {
    fn put(&mut self, byte: u8) {
        while self.uart.uartfr().read().txff().bit_is_set() {}
        // SAFETY: the field takes any byte.
        self.uart.uartdr().write(|w| unsafe { w.data().bits(byte) });
    }
}

/// Makes 150 MHz for the cores and the UART from the crystal's 12 MHz: 12 · 125 / 5 / 2 = 150.
fn start_clocks(crystal: &XOSC, pll: &PLL_SYS, clocks: &CLOCKS, resets: &RESETS) {
    // SAFETY: the field takes any value. 282 · 256 cycles of 12 MHz are the six milliseconds that the manufacturer's
    // own programs give the crystal to start.
    crystal.startup().write(|w| unsafe { w.delay().bits(282) });
    crystal.ctrl().write(|w| w.freq_range()._1_15mhz().enable().enable());
    while crystal.status().read().stable().bit_is_clear() {}

    // The cores may run from the PLL, so they leave it before it is reset.
    clocks.clk_ref_ctrl().modify(|_, w| w.src().xosc_clksrc());
    while clocks.clk_ref_selected().read().bits() != 1 << 2 {}
    clocks.clk_sys_ctrl().modify(|_, w| w.src().clk_ref());
    while clocks.clk_sys_selected().read().bits() != 1 << 0 {}
    resets.reset().modify(|_, w| w.pll_sys().set_bit());
    resets.reset().modify(|_, w| w.pll_sys().clear_bit());
    while resets.reset_done().read().pll_sys().bit_is_clear() {}

    // SAFETY: the oscillator's 1500 MHz lie within its limits of 750 and 1600 MHz, and both fields take these values.
    unsafe {
        pll.cs().write(|w| w.refdiv().bits(1));
        pll.fbdiv_int().write(|w| w.fbdiv_int().bits(125));
    }
    pll.pwr().modify(|_, w| w.pd().clear_bit().vcopd().clear_bit());
    while pll.cs().read().lock().bit_is_clear() {}
    // SAFETY: both dividers are within 1 to 7.
    pll.prim().write(|w| unsafe { w.postdiv1().bits(5).postdiv2().bits(2) });
    pll.pwr().modify(|_, w| w.postdivpd().clear_bit());

    clocks.clk_sys_ctrl().modify(|_, w| w.auxsrc().clksrc_pll_sys());
    clocks.clk_sys_ctrl().modify(|_, w| w.src().clksrc_clk_sys_aux());
    while clocks.clk_sys_selected().read().bits() != 1 << 1 {}
    clocks.clk_peri_ctrl().write(|w| w.auxsrc().clk_sys().enable().set_bit());
}

fn start_uart(uart: &UART0, pins: &IO_BANK0, pads: &PADS_BANK0, resets: &RESETS) {
    resets.reset().modify(|_, w| w.io_bank0().clear_bit().pads_bank0().clear_bit().uart0().clear_bit());
    loop {
        let done = resets.reset_done().read();
        if done.io_bank0().bit_is_set() && done.pads_bank0().bit_is_set() && done.uart0().bit_is_set() {
            break;
        }
    }
    // SAFETY: any values are safe here. They are those of 115200 baud: 150 MHz / (16 · 115200) = 81 + 24/64.
    unsafe {
        uart.uartibrd().write(|w| w.baud_divint().bits(81));
        uart.uartfbrd().write(|w| w.baud_divfrac().bits(24));
        uart.uartlcr_h().write(|w| w.wlen().bits(0b11).fen().set_bit());
    }
    uart.uartcr().write(|w| w.uarten().set_bit().txe().set_bit());
    pins.gpio(0).gpio_ctrl().write(|w| w.funcsel().uart());
    pads.gpio(0).modify(|_, w| w.od().clear_bit().iso().clear_bit());
}

fn start_counter(debug: &mut DCB, counter: &mut DWT) {
    debug.enable_trace();
    counter.set_cycle_count(0);
    counter.enable_cycle_counter();
}
