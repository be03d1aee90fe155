//! Ranks several sets of weights in one file and notes the choice.

/// Ranks the weights under `place` (keys or a prefix) among otherwise equal sets; the largest rank is chosen.
///
/// An exponential moving average of the weights (`ema`) ranks first, then a teacher (DINO), then everything else.
pub fn preference(place: &str) -> usize {
    let mut words = place.split(|letter: char| !letter.is_ascii_alphanumeric());
    match words.any(|word| word.eq_ignore_ascii_case("ema")) {
        true => 2,
        false => usize::from(place.contains("teacher")),
    }
}

/// Returns how well `place` matches the caller's `key`, or `None` if it does not match.
///
/// A place that equals the key matches best, then one that ends with it, then one that contains it between dots.
pub fn answers(place: &str, key: &str) -> Option<usize> {
    let (place, key) = (place.trim_end_matches('.'), key.trim_end_matches('.'));
    if place == key {
        return Some(3);
    }
    let inside = format!(".{place}.");
    match inside.find(&format!(".{key}.")) {
        Some(_) if inside.ends_with(&format!(".{key}.")) => Some(2),
        Some(_) => Some(1),
        None => None,
    }
}

/// Returns the note that the weights at `chosen` were taken and those at `others` were not.
pub fn choice(chosen: &str, others: &[String]) -> String {
    let others: Vec<_> = others.iter().take(8).map(|other| format!("'{other}'")).collect();
    format!("weights taken from '{chosen}', not from {} (--key chooses)", others.join(", "))
}
