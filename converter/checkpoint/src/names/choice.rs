//! Chooses among several sets of weights in one file, and says so.

/// How much the weights under `place` (keys or a prefix) are wanted among equals: an average of the weights the most, then a
/// teacher (DINO).
pub fn preference(place: &str) -> usize {
    let mut words = place.split(|letter: char| !letter.is_ascii_alphanumeric());
    match words.any(|word| word.eq_ignore_ascii_case("ema")) {
        true => 2,
        false => usize::from(place.contains("teacher")),
    }
}

/// The note that the weights of one place were chosen, where others have some too.
pub fn choice(chosen: &str, others: &[String]) -> String {
    let others: Vec<_> = others.iter().take(8).map(|other| format!("'{other}'")).collect();
    format!("weights taken from '{chosen}', not from {}", others.join(", "))
}
