//! Flashes the activity LED, for people without a serial cable.

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;
use resmlp_runtime::ModelError;

use crate::payload::PayloadError;

/// The reason why the board cannot go on. The LED flashes as often as the number says, pauses for a second, and begins
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The boot firmware loaded no model.
    NoModel = 1,
    /// The model was copied incompletely.
    CutOff = 2,
    /// The file is a damaged model, or no model.
    Damaged = 3,
    /// The model does not run, because of too little memory or a fault in the engine.
    NotRun = 4,
    /// The processor took an exception, which is a fault of this program.
    Fault = 5,
}

impl Failure {
    /// Returns the number of flashes.
    pub fn flashes(self) -> u32 {
        self as u32
    }

    /// Returns the exit code of an emulator.
    pub fn exit_code(self) -> u32 {
        10 + self.flashes()
    }
}

impl From<PayloadError> for Failure {
    fn from(error: PayloadError) -> Self {
        match error {
            PayloadError::Missing | PayloadError::Outside { .. } => Self::NoModel,
            PayloadError::Model(ModelError::TooShort { .. } | ModelError::Length { .. }) => Self::CutOff,
            PayloadError::Model(_) => Self::Damaged,
        }
    }
}

/// Flashes `count` times, each time a fifth of a second on and a fifth off, and then stays off for a second.
///
/// # Errors
/// Returns the errors of the pin.
pub fn flash<P: OutputPin>(led: &mut P, delay: &mut impl DelayNs, count: u32) -> Result<(), P::Error> {
    for _ in 0..count {
        led.set_high()?;
        delay.delay_ms(200);
        led.set_low()?;
        delay.delay_ms(200);
    }
    delay.delay_ms(1000);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::convert::Infallible;
    use std::vec::Vec;

    use super::*;

    #[derive(Debug, PartialEq)]
    enum Event {
        On,
        Off,
        Wait(u32),
    }

    struct Log<'a>(&'a RefCell<Vec<Event>>);

    impl embedded_hal::digital::ErrorType for Log<'_> {
        type Error = Infallible;
    }

    impl OutputPin for Log<'_> {
        fn set_low(&mut self) -> Result<(), Infallible> {
            self.0.borrow_mut().push(Event::Off);
            Ok(())
        }

        fn set_high(&mut self) -> Result<(), Infallible> {
            self.0.borrow_mut().push(Event::On);
            Ok(())
        }
    }

    impl DelayNs for Log<'_> {
        fn delay_ns(&mut self, ns: u32) {
            self.0.borrow_mut().push(Event::Wait(ns / 1_000_000));
        }

        fn delay_ms(&mut self, ms: u32) {
            self.0.borrow_mut().push(Event::Wait(ms));
        }
    }

    #[test]
    fn flashes_are_counted_and_followed_by_a_pause() {
        let log = RefCell::new(Vec::new());
        flash(&mut Log(&log), &mut Log(&log), 2).unwrap();
        use Event::{Off, On, Wait};
        let expected = [On, Wait(200), Off, Wait(200), On, Wait(200), Off, Wait(200), Wait(1000)];
        assert_eq!(log.into_inner(), expected);
    }

    #[test]
    fn every_failure_has_its_own_pattern() {
        let cut = PayloadError::Model(ModelError::Length { found: 1, expected: 2 });
        let damaged = PayloadError::Model(ModelError::Checksum { found: 1, expected: 2 });
        let failures = [PayloadError::Missing.into(), cut.into(), damaged.into(), Failure::NotRun, Failure::Fault];
        assert_eq!(failures.map(Failure::flashes), [1, 2, 3, 4, 5]);
        assert_eq!(Failure::CutOff.exit_code(), 12);
    }
}
