//! Reads the names of the classes from a text file or from JSON.
//!
//! | contents of the file | where the form is used |
//! |---|---|
//! | one name on each line, in the order of the logits | most label files |
//! | `7 cat`, `7: cat`, `7,cat` … on every line, numbered from 0 or 1 | numbered lists, in any order |
//! | `n02123045 tabby, tabby cat` on every line | ImageNet's synsets |
//! | `["cat", "dog"]` | a JSON list |
//! | `{"0": "cat", "1": "dog"}` | index → name, such as `id2label` |
//! | `{"0": ["n02123045", "tabby"]}` | ImageNet's `class_index.json` |
//! | `{"cat": 0, "dog": 1}` | torchvision's `class_to_idx` |

use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};

/// Length in bytes of the longest file of labels that is read.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Why a file of labels cannot be used.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum LabelsReason {
    /// The file is too long.
    #[error("longer than {} MiB, expected one label a line", MAX_FILE_BYTES >> 20)]
    Long,
    /// The file is not UTF-8 text; the field is the position of the first invalid byte.
    #[error("not UTF-8 at byte {0}, expected one label a line")]
    NotUtf8(usize),
    /// A line before the last label is blank; the field is its number, from 1.
    #[error("line {0} is blank, expected one label a line")]
    Blank(usize),
    /// The number of labels differs from the number of classes.
    #[error("{found} labels, expected {expected} (one for each class of the network)")]
    Count {
        /// Number of labels.
        found: usize,
        /// Number of classes.
        expected: usize,
    },
    /// The JSON has none of the known forms.
    #[error(
        "JSON that does not name the classes; expected a list of names, names by index ({{\"0\": \"cat\"}}) or indices by \
         name ({{\"cat\": 0}})"
    )]
    Json,
    /// A class has no name, because its index is missing or another index is given twice or too large.
    #[error("{names} names, but none for class {missing}; expected the classes 0 to {}", .names - 1)]
    Index {
        /// Number of names.
        names: usize,
        /// The first class without a name of its own.
        missing: usize,
    },
}

/// Reads the labels of `classes` classes from the file at `path`, in any form of the [module's table](self).
///
/// # Errors
/// Returns an error if the file cannot be read, is longer than 16 MiB, is not UTF-8, has a blank line among the labels,
/// is JSON that does not name the classes, or does not have exactly `classes` labels.
pub fn read(path: impl AsRef<Path>, classes: usize) -> Result<Vec<String>> {
    let path = path.as_ref();
    let bytes = crate::read_small(path, MAX_FILE_BYTES)?.ok_or_else(|| Error::file(path, LabelsReason::Long))?;
    parse(&bytes, classes).map_err(|reason| Error::file(path, reason))
}

type Parse<T> = std::result::Result<T, LabelsReason>;

fn parse(bytes: &[u8], classes: usize) -> Parse<Vec<String>> {
    let text = std::str::from_utf8(bytes).map_err(|e| LabelsReason::NotUtf8(e.valid_up_to()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_end();
    let labels = match serde_json::from_str::<Value>(text) {
        Ok(json @ (Value::Array(_) | Value::Object(_))) => of_json(&json)?,
        _ => of_lines(text, classes)?,
    };
    match labels.len() == classes {
        true => Ok(labels),
        false => Err(LabelsReason::Count { found: labels.len(), expected: classes }),
    }
}

/// Number of lines for the braces of a printed Python dictionary.
const BRACES: usize = 2;

fn of_lines(text: &str, classes: usize) -> Parse<Vec<String>> {
    if let Some(blank) = text.lines().position(|line| line.trim().is_empty()) {
        return Err(LabelsReason::Blank(blank + 1));
    }
    // Lines are counted before they are collected, because a line of two bytes takes a hundred in memory.
    let found = text.lines().count();
    if found > classes + BRACES {
        return Err(LabelsReason::Count { found, expected: classes });
    }
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let python = || lines.iter().map(|line| python_line(line)).collect::<Vec<_>>();
    let labels = match (numbered(&lines), text.starts_with('{') && text.ends_with('}')) {
        (Some(labels), _) => labels,
        (None, true) => numbered(&python()).unwrap_or_else(|| lines.clone()),
        (None, false) => lines.iter().map(|line| synset(line)).collect::<Option<_>>().unwrap_or_else(|| lines.clone()),
    };
    Ok(labels.into_iter().map(str::to_string).collect())
}

/// Returns the names on lines that all begin with a number, in the order of the numbers.
///
/// Returns `None` if a line has no number, a name is empty, or the numbers do not count up from 0 or 1.
fn numbered<'a>(lines: &[&'a str]) -> Option<Vec<&'a str>> {
    let split = |line: &&'a str| {
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = line.split_at(digits);
        let name = rest.trim_start_matches([':', ',', ';', '.', ')', '=']).trim();
        let is_apart = rest.starts_with(|letter: char| !letter.is_alphanumeric());
        let name = name.strip_prefix(['\'', '"']).and_then(|name| name.strip_suffix(['\'', '"'])).unwrap_or(name);
        (is_apart && !name.is_empty()).then_some((number.parse::<usize>().ok()?, name))
    };
    let mut numbered: Vec<_> = lines.iter().map(split).collect::<Option<_>>()?;
    numbered.sort_by_key(|(number, _)| *number);
    let first = numbered.first()?.0;
    let counts = numbered.iter().enumerate().all(|(index, (number, _))| *number == first + index);
    (first <= 1 && counts).then(|| numbered.into_iter().map(|(_, name)| name).collect())
}

/// Strips the braces and the final comma from one line of a printed Python dictionary, such as `{0: 'tench',`.
fn python_line(line: &str) -> &str {
    line.trim_start_matches('{').trim_end_matches('}').trim().trim_end_matches(',').trim()
}

/// Returns the name on a line that begins with a WordNet synset, such as `n02123045 tabby`.
fn synset(line: &str) -> Option<&str> {
    let (id, name) = line.split_once(char::is_whitespace)?;
    let digits = id.strip_prefix('n')?;
    (digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit())).then_some(name.trim()).filter(|n| !n.is_empty())
}

/// Reads the labels from a JSON value.
pub(crate) fn of_json(json: &Value) -> Parse<Vec<String>> {
    let object = match json {
        Value::Array(names) => return names.iter().map(|name| named(name).ok_or(LabelsReason::Json)).collect(),
        Value::Object(object) => object,
        _ => return Err(LabelsReason::Json),
    };
    for key in ["label_names", "id2label", "class_to_idx", "labels", "classes"] {
        if let Some(inner @ (Value::Array(_) | Value::Object(_))) = object.get(key) {
            return of_json(inner);
        }
    }
    let by_index = || object.iter().map(|(index, name)| Some((index.parse::<usize>().ok()?, named(name)?)));
    let by_name = || object.iter().map(|(name, index)| Some((usize::try_from(index.as_u64()?).ok()?, name.clone())));
    let pairs: Option<Vec<(usize, String)>> = by_index().collect::<Option<_>>().or_else(|| by_name().collect());
    let mut pairs = pairs.filter(|pairs| !pairs.is_empty()).ok_or(LabelsReason::Json)?;
    pairs.sort();
    match pairs.iter().enumerate().find(|(index, (number, _))| index != number) {
        Some((missing, _)) => Err(LabelsReason::Index { names: pairs.len(), missing }),
        None => Ok(pairs.into_iter().map(|(_, name)| name).collect()),
    }
}

/// Returns the name in a JSON value, which is a string or a pair of a synset and a name.
fn named(value: &Value) -> Option<String> {
    let name = match value {
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(_), Value::String(name)] => name,
            _ => return None,
        },
        Value::String(name) => name,
        _ => return None,
    };
    (!name.trim().is_empty()).then(|| name.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_label_a_line() {
        assert_eq!(parse(b"cat\ndog\n", 2).unwrap(), ["cat", "dog"]);
        assert_eq!(parse(b"cat\r\ndog, hound\r\n\r\n", 2).unwrap(), ["cat", "dog, hound"]);
        assert_eq!(parse("\u{feff}Käse\nраз".as_bytes(), 2).unwrap(), ["Käse", "раз"]);
        assert_eq!(parse(b"", 0).unwrap(), [""; 0]);
    }

    #[test]
    fn every_form_names_the_same_classes() {
        for text in [
            "cat\nlong dog",
            "0 cat\n1 long dog",
            "1: cat\n2: long dog",
            "1,long dog\n0,cat",
            "1. cat\n2. long dog",
            "n02123045 cat\nn02099601\tlong dog",
            "{0: 'cat',\n 1: \"long dog\"}",
            r#"["cat", "long dog"]"#,
            r#"[["n02123045", "cat"], ["n02099601", "long dog"]]"#,
            r#"{"1": "long dog", "0": "cat"}"#,
            r#"{"0": ["n02123045", "cat"], "1": ["n02099601", "long dog"]}"#,
            r#"{"long dog": 1, "cat": 0}"#,
            r#"{"architecture": "x", "label_names": ["cat", "long dog"]}"#,
        ] {
            assert_eq!(parse(text.as_bytes(), 2).unwrap(), ["cat", "long dog"], "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_another_form_is_taken_as_it_stands() {
        for (text, labels) in [
            ("0\n1", ["0", "1"]),
            ("3 wheels\n4 wheels", ["3 wheels", "4 wheels"]),
            ("0 cat\ndog", ["0 cat", "dog"]),
            ("n02123045\nn02099601", ["n02123045", "n02099601"]),
            ("0x\n1y", ["0x", "1y"]),
        ] {
            assert_eq!(parse(text.as_bytes(), 2).unwrap(), labels);
        }
    }

    #[test]
    fn errors_name_file_found_and_expected() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "cat\ndog\n").unwrap();
        let message = read(file.path(), 10).unwrap_err().to_string();
        assert!(message.starts_with(&file.path().display().to_string()), "{message}");
        assert!(message.contains("2 labels, expected 10"), "{message}");
        assert!(read("no/such/labels.txt", 2).unwrap_err().to_string().starts_with("no/such/labels.txt"));
        let message = |text: &[u8], classes| parse(text, classes).unwrap_err().to_string();
        assert!(message(b"cat\n\ndog", 3).contains("line 2 is blank"));
        assert!(message(b"cat\n\xff\n", 2).contains("not UTF-8 at byte 4"));
        assert!(message(b"", 2).contains("0 labels, expected 2"));
        assert!(message(br#"{"0": "cat", "2": "dog"}"#, 2).contains("none for class 1"));
        assert!(message(br#"{"cat": 0, "dog": "1"}"#, 2).contains("does not name the classes"));
        assert!(message(br#"["cat", 1]"#, 2).contains("does not name the classes"));
    }
}
