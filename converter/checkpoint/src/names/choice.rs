//! Chooses among several sets of weights in one file, and says so.

/// Says how much the weights under `place` (keys or a prefix) are wanted among equals: an average of the weights the
/// most, then a teacher (DINO).
pub fn preference(place: &str) -> usize {
    let mut words = place.split(|letter: char| !letter.is_ascii_alphanumeric());
    match words.any(|word| word.eq_ignore_ascii_case("ema")) {
        true => 2,
        false => usize::from(place.contains("teacher")),
    }
}

/// Says how well `place` answers to the caller's `key`: it is the same, ends with it, or has it among its words.
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

/// Returns the note that the weights of one place were chosen, where others have some too.
pub fn choice(chosen: &str, others: &[String]) -> String {
    let others: Vec<_> = others.iter().take(8).map(|other| format!("'{other}'")).collect();
    format!("weights taken from '{chosen}', not from {} (--key chooses)", others.join(", "))
}
