//! Text from strangers, made safe for a terminal.
//!
//! Labels, tensor names, file names and the messages of a board come from strangers. A terminal obeys the control
//! characters in them: these move the cursor, rename the window, or type a command that the user then runs. Characters
//! that set the direction of text make one name look like another. Everything that a program prints therefore goes
//! through [`printable`], [`one_line`] or [`to_json`].

use std::borrow::Cow;
use std::fmt::Write;

use serde::Serialize;

/// Returns `text` with each character that a terminal would obey written as its number, such as `\u{1b}`. Line breaks
/// and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_obeyed(c) && c != '\n' && c != '\t')
}

/// Characters of an error or a note that are shown from its beginning and from its end.
const SHOWN: [usize; 2] = [3000, 1000];

/// Returns `text` as [`printable`] does, but with line breaks as numbers too, so that an error or a note is one line.
/// If the text is very long, only its beginning and its end are returned.
pub fn one_line(text: &str) -> Cow<'_, str> {
    let [beginning, end] = SHOWN;
    let start = text.char_indices().nth(beginning).map(|(at, _)| at);
    let rest = text.char_indices().rev().nth(end - 1).map(|(at, _)| at);
    match (start, rest) {
        (Some(start), Some(rest)) if start < rest => {
            let text = format!("{} … {}", &text[..start], &text[rest..]);
            escaped(&text, |c| is_obeyed(c) && c != '\t').into_owned().into()
        }
        _ => escaped(text, |c| is_obeyed(c) && c != '\t'),
    }
}

/// Returns a value as JSON, with each character that a terminal would obey in escaped form, such as `\u009b`.
///
/// # Errors
/// Returns serde's error where the value cannot be written as JSON.
pub fn to_json(value: &(impl Serialize + ?Sized)) -> Result<String, serde_json::Error> {
    let json = serde_json::to_string(value)?;
    // JSON has none of these characters outside strings. Inside strings, serde has escaped those below the space.
    Ok(escaped_as(&json, is_obeyed, |text, c| {
        c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\u{unit:04x}");
        });
    })
    .into_owned())
}

/// Returns whether a terminal obeys the character instead of showing it. Such characters are the control characters C0
/// and C1, line separators, characters that set the direction of text (Unicode Standard Annex 9), and invisible tags.
fn is_obeyed(c: char) -> bool {
    let is_direction =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || is_direction || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

fn escaped(text: &str, is_bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    escaped_as(text, is_bad, |text, c| text.extend(c.escape_unicode()))
}

/// Replaces each bad character with the text that `write` appends for it.
fn escaped_as(text: &str, is_bad: impl Fn(char) -> bool, write: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if !text.contains(&is_bad) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_bad(c) { write(&mut safe, c) } else { safe.push(c) }
    }
    safe.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\x1b]0;x\x07\u{9b}2J\u{202e}\u{2066}\u{e0041}\r\n\té–猫";

    #[test]
    fn what_a_terminal_obeys_is_shown_as_a_number() {
        let expected = "a\\u{1b}]0;x\\u{7}\\u{9b}2J\\u{202e}\\u{2066}\\u{e0041}\\u{d}\n\té–猫";
        assert_eq!(printable(HOSTILE), expected);
        assert_eq!(one_line(HOSTILE), expected.replace('\n', "\\u{a}"));
        assert!(matches!(printable("plain: é–猫\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_very_long_error_is_shortened() {
        let short = "é".repeat(4000);
        assert_eq!(one_line(&short), short);
        let long = ["begin", &"é\x1b".repeat(1 << 20), "end"].concat();
        let shown = one_line(&long);
        assert!(shown.starts_with("beginé\\u{1b}") && shown.contains(" … ") && shown.ends_with("é\\u{1b}end"));
        assert!(shown.chars().count() < 20_000);
    }

    #[test]
    fn json_says_the_same_without_such_characters() {
        let json = to_json(&[HOSTILE]).unwrap();
        assert!(!json.contains(is_obeyed), "{json:?}");
        assert!(json.contains("\\u009b2J\\u202e\\u2066\\udb40\\udc41"), "{json}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&json).unwrap(), [HOSTILE]);
    }
}
