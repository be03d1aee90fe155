//! The processor's pins, and the activity LED as an embedded-hal pin.

use core::convert::Infallible;

use embedded_hal::digital::{ErrorType, OutputPin};
use resmlp_raspberry_pi::LedPin;

use crate::board::Board;
use crate::mailbox::Mailbox;
use crate::registers::Registers;

/// The processor's pins (BCM2835 ARM Peripherals, chapter 6; BCM2711 ARM Peripherals, chapter 5).
#[derive(Clone, Copy, Debug)]
pub struct Pins(Registers);

/// Function of the pins: ten pins in each register, three bits each.
const SELECT: usize = 0x00;
/// The registers from here on have 32 pins each.
const SET: usize = 0x1c;
const CLEAR: usize = 0x28;
const LEVEL: usize = 0x34;

const INPUT: u32 = 0b000;
const OUTPUT: u32 = 0b001;
const ALTERNATIVE_0: u32 = 0b100;

impl Pins {
    /// Returns the pins of a board whose address is known.
    pub fn of(board: &Board) -> Option<Self> {
        // SAFETY: the address is that of this board's GPIO block, which the page tables map as a device. Its registers
        // control pins and cannot touch memory.
        board.gpio.map(|address| Self(unsafe { Registers::new(address) }))
    }

    /// Connects the PL011 to pins 14 and 15, and disconnects it from pins 32 and 33, where the Bluetooth chip is. If
    /// the PL011 were connected to both, it would receive from both.
    pub fn select_serial_line(self) {
        self.select(32, INPUT);
        self.select(33, INPUT);
        self.select(14, ALTERNATIVE_0);
        self.select(15, ALTERNATIVE_0);
    }

    fn select(self, pin: u32, function: u32) {
        let (register, shift) = (SELECT + (pin / 10) as usize * 4, pin % 10 * 3);
        let others = self.0.read(register) & !(0b111 << shift);
        self.0.write(register, others | function << shift);
    }

    fn set(self, pin: u32, high: bool) {
        self.0.write(if high { SET } else { CLEAR } + (pin / 32) as usize * 4, 1 << (pin % 32));
    }

    fn is_high(self, pin: u32) -> bool {
        self.0.read(LEVEL + (pin / 32) as usize * 4) & 1 << (pin % 32) != 0
    }
}

/// The activity LED. As an output pin it is lit when it is set high, whatever the level of the real pin is then.
#[derive(Debug)]
pub struct Led {
    place: Option<Place>,
    pin: LedPin,
    /// The last state that was set.
    lit: Option<bool>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Processor(Pins),
    Expander(Mailbox),
}

impl Led {
    /// Creates the LED at `pin`. Without a pin, the LED takes every call and does nothing.
    pub fn new(board: &Board, pin: Option<LedPin>) -> Self {
        // Every processor has 54 pins, and every expander has 8.
        let fits = |pin: &LedPin| pin.pin < if pin.on_expander { 8 } else { 54 };
        let Some(pin) = pin.filter(fits) else {
            return Self { place: None, pin: LedPin { pin: 0, on_expander: false, active_low: false }, lit: None };
        };
        let place = match pin.on_expander {
            true => Mailbox::of(board).map(Place::Expander),
            false => Pins::of(board).map(Place::Processor),
        };
        if let Some(Place::Processor(pins)) = place {
            pins.select(pin.pin, OUTPUT);
        }
        Self { place, pin, lit: None }
    }

    /// Returns whether the LED is lit, or `None` if that cannot be read back.
    pub fn is_lit(&self) -> Option<bool> {
        match self.place {
            Some(Place::Processor(pins)) => Some(pins.is_high(self.pin.pin) != self.pin.active_low),
            _ => None,
        }
    }

    fn light(&mut self, on: bool) {
        // A request to the boot firmware takes time, so it is sent only if the state changes.
        if self.lit.replace(on) == Some(on) {
            return;
        }
        let high = on != self.pin.active_low;
        match self.place {
            Some(Place::Processor(pins)) => pins.set(self.pin.pin, high),
            Some(Place::Expander(mailbox)) => mailbox.set_expander_pin(self.pin.pin, high),
            None => {}
        }
    }
}

impl ErrorType for Led {
    type Error = Infallible;
}

impl OutputPin for Led {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.light(false);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.light(true);
        Ok(())
    }
}
