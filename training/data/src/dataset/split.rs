//! Divides a data set, and brings the classes of two together.

use super::{Dataset, Sample};
use crate::error::{DataError, Result};
use crate::random::{Purpose, Random};

impl Dataset {
    /// Divides the data set into a training part and a held-out part, which gets `fraction` of each class.
    ///
    /// Which pictures are held out depends on the seed and on the order of the class's pictures. A class keeps at least
    /// one picture for training, and gives at least one away if it has two or more.
    ///
    /// # Errors
    /// Fails if the fraction is not between 0 and 1 (both exclusive).
    pub fn split(self, fraction: f64, seed: u64) -> Result<(Self, Self)> {
        if !(fraction > 0.0 && fraction < 1.0) {
            return Err(DataError::Setting {
                setting: "held-out fraction",
                found: fraction.to_string(),
                expected: "a number between 0 and 1",
            });
        }
        let mut is_held_out = vec![false; self.len()];
        let mut classes = vec![Vec::new(); self.class_names.len()];
        self.samples.iter().enumerate().for_each(|(index, sample)| classes[sample.label as usize].push(index));
        for (class, mut members) in (0..).zip(classes) {
            let count = (members.len() as f64 * fraction).round() as usize;
            let count = count.clamp(1, members.len().saturating_sub(1).max(1));
            Random::new(seed, 0, Purpose::Split, class).shuffle(&mut members);
            if members.len() > 1 {
                members.iter().take(count).for_each(|&index| is_held_out[index] = true);
            }
        }
        Ok(self.divide(|index| is_held_out[index]))
    }

    /// Divides the data set into the pictures that are not held out and those that are. Both keep their order.
    fn divide(mut self, is_held_out: impl Fn(usize) -> bool) -> (Self, Self) {
        let mut parts = [Vec::new(), Vec::new()];
        for (index, sample) in std::mem::take(&mut self.samples).into_iter().enumerate() {
            parts[usize::from(is_held_out(index))].push(sample);
        }
        let [training, held_out] = parts;
        let other = |samples: Vec<Sample>| Self {
            path: self.path.clone(),
            class_names: self.class_names.clone(),
            samples,
            skipped: Vec::new(),
            warnings: Vec::new(),
        };
        let held_out = other(held_out);
        self.samples = training;
        (self, held_out)
    }

    /// Keeps at most `count` pictures of each class, the first ones in the data set's order.
    pub fn take_of_each_class(mut self, count: usize) -> Self {
        let mut taken = vec![0; self.class_names.len()];
        self.samples.retain(|sample| {
            let taken = &mut taken[sample.label as usize];
            *taken += 1;
            *taken <= count
        });
        self
    }

    /// Renumbers the labels so that they are indices of the class names of `other`, such as a held-out folder's for
    /// the training folder.
    ///
    /// # Errors
    /// Fails if a class of this data set is not a class of `other`.
    pub fn with_classes_of(mut self, other: &Self) -> Result<Self> {
        let label = |name: &String| {
            let found = other.class_names.iter().position(|known| known == name);
            found.map(|label| label as u32).ok_or_else(|| {
                let known: Vec<_> = other.class_names.iter().take(10).map(|name| format!("{name:?}")).collect();
                let more = other.class_names.len().saturating_sub(10);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                DataError::Classes {
                    path: self.path.clone(),
                    message: format!(
                        "found the class {name:?}, expected a class of the training pictures: {}{more}",
                        known.join(", ")
                    ),
                }
            })
        };
        let labels = self.class_names.iter().map(label).collect::<Result<Vec<u32>>>()?;
        self.samples.iter_mut().for_each(|sample| sample.label = labels[sample.label as usize]);
        self.class_names.clone_from(&other.class_names);
        Ok(self)
    }
}
