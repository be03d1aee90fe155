//! Names of the classes, one a line.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

/// Longest file of labels that is read, in bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Reads the labels of `classes` classes from a UTF-8 file, one a line; blank lines at the end do not count.
///
/// Errors name the file: not UTF-8, a blank line among the labels, or another number of labels than `classes`.
pub fn read(path: impl AsRef<Path>, classes: usize) -> Result<Vec<String>> {
    let path = path.as_ref();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|e| Error::io(path, e))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::file(path, format!("longer than {} MiB, expected one label a line", MAX_FILE_BYTES >> 20)));
    }
    parse(&bytes, classes).map_err(|message| Error::file(path, message))
}

fn parse(bytes: &[u8], classes: usize) -> std::result::Result<Vec<String>, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| format!("not UTF-8 at byte {}, expected one label a line", e.valid_up_to()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_end();
    let labels: Vec<String> = text.lines().map(|line| line.trim().to_string()).collect();
    if let Some(blank) = labels.iter().position(String::is_empty) {
        return Err(format!("line {} is blank, expected one label a line", blank + 1));
    }
    if labels.len() != classes {
        return Err(format!("{} labels, expected {classes} (one for each class of the network)", labels.len()));
    }
    Ok(labels)
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
    fn errors_name_file_found_and_expected() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "cat\ndog\n").unwrap();
        let message = read(file.path(), 10).unwrap_err().to_string();
        assert!(message.starts_with(&file.path().display().to_string()), "{message}");
        assert!(message.contains("2 labels, expected 10"), "{message}");
        assert!(read("no/such/labels.txt", 2).unwrap_err().to_string().starts_with("no/such/labels.txt"));
        assert!(parse(b"cat\n\ndog", 3).unwrap_err().contains("line 2 is blank"));
        assert!(parse(b"cat\n\xff\n", 2).unwrap_err().contains("not UTF-8 at byte 4"));
        assert!(parse(b"", 2).unwrap_err().contains("0 labels, expected 2"));
    }
}
