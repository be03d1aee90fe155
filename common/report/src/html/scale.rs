//! Maps values to places on a page, and finds round numbers for the axes.

/// A span of values and the two places between which it is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    least: f64,
    most: f64,
    start: f64,
    end: f64,
}

impl Scale {
    /// Creates a scale that draws `least..=most` between the places `start` and `end`. A span of length 0 is widened.
    pub fn new([least, most]: [f64; 2], [start, end]: [f64; 2]) -> Self {
        let half = if most > least { 0.0 } else { (least.abs() * 0.05).max(0.5) };
        Self { least: least - half, most: most + half, start, end }
    }

    /// Returns the place of a value.
    pub fn place(&self, value: f64) -> f64 {
        self.start + (value - self.least) / (self.most - self.least) * (self.end - self.start)
    }

    /// Returns about `count` round values of the span, and each as text with as many decimals as it needs.
    pub fn ticks(&self, count: usize) -> Vec<(f64, String)> {
        let rough = (self.most - self.least) / count.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        // A step of a latency, a clock or a temperature has few decimals, so the cast does not truncate.
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let first = (self.least / step).ceil();
        let values = (0..=2 * count).map(|index| (first + index as f64) * step);
        let inside = values.take_while(|value| *value <= self.most + step * 1e-6);
        inside.map(|value| (value, format!("{value:.decimals$}"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(span: [f64; 2]) -> Vec<String> {
        Scale::new(span, [0.0, 1.0]).ticks(5).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks([0.0, 10.0]), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(ticks([1.23, 1.31]), ["1.24", "1.26", "1.28", "1.30"]);
        assert_eq!(ticks([600.0, 1500.0]), ["600", "800", "1000", "1200", "1400"]);
    }

    #[test]
    fn one_value_has_a_place_too() {
        let scale = Scale::new([1500.0; 2], [100.0, 0.0]);
        assert_eq!(scale.place(1500.0), 50.0);
        assert!(!scale.ticks(3).is_empty());
        assert_eq!(Scale::new([0.0, 4.0], [10.0, 20.0]).place(1.0), 12.5);
    }
}
