//! timm's notation of RandAugment, such as `rand-m9-mstd0.5-inc1`.

use std::fmt;
use std::str::FromStr;

use super::{Interpolation, RandAugment};

impl fmt::Display for RandAugment {
    /// Writes the settings in timm's notation, which has no word for the interpolation.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { magnitude, layers, probability, deviation, .. } = self;
        write!(f, "rand-m{magnitude}-n{layers}-p{probability}-mstd{deviation}-inc1")
    }
}

impl FromStr for RandAugment {
    type Err = String;

    /// Reads timm's notation: `rand`, then in any order `m` (magnitude, 10 by default), `n` (layers, 2), `p`
    /// (probability, 0.5), `mstd` (deviation, 0) and `inc1`, each after a hyphen. The interpolation is bicubic.
    ///
    /// `inc1` must be there, because without it timm uses operations of which some become weaker with the magnitude,
    /// and these are not provided.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |found: &str, expected: &str| Err(format!("found {found:?} in {text:?}, expected {expected}"));
        let mut parts = text.split('-');
        if parts.next() != Some("rand") {
            return refused(text, "RandAugment in timm's notation, such as rand-m9-mstd0.5-inc1");
        }
        let mut settings = Self {
            magnitude: 10.0,
            deviation: 0.0,
            layers: 2,
            probability: 0.5,
            interpolation: Interpolation::Bicubic,
        };
        let mut is_increasing = false;
        for part in parts {
            let (key, value) = part.split_at(part.find(|c: char| c.is_ascii_digit()).unwrap_or(part.len()));
            let Ok(number) = value.parse::<f32>() else { return refused(part, "a number after the letters") };
            match key {
                "m" => settings.magnitude = number,
                "n" => settings.layers = number as u32,
                "p" => settings.probability = number,
                "mstd" => settings.deviation = number,
                "inc" => is_increasing = number == 1.0,
                _ => return refused(part, "m, n, p, mstd or inc1"),
            }
        }
        if !is_increasing {
            return refused(text, "inc1, because only the increasing operations are provided");
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timms_notation_is_read_and_written() {
        assert_eq!("rand-m9-mstd0.5-inc1".parse(), Ok(RandAugment::m9()));
        assert_eq!(RandAugment::m9().to_string(), "rand-m9-n2-p0.5-mstd0.5-inc1");
        let other = RandAugment { magnitude: 6.5, layers: 3, probability: 0.75, deviation: 0.0, ..RandAugment::m9() };
        assert_eq!(other.to_string().parse(), Ok(other));
    }

    #[test]
    fn what_is_not_provided_is_refused() {
        for (text, expected) in [
            ("augmix-m5", "RandAugment in timm's notation"),
            ("rand-m9-mstd0.5", "inc1, because"),
            ("rand-m9-inc0", "inc1, because"),
            ("rand-mx-inc1", "\"mx\""),
            ("rand-m9-tweights-inc1", "\"tweights\""),
            ("rand-m9-mmax20-inc1", "\"mmax20\""),
            ("rand--inc1", "a number after the letters"),
        ] {
            let message = text.parse::<RandAugment>().unwrap_err();
            assert!(message.contains(expected) && message.contains(text), "{message}");
        }
    }
}
