//! The two hashes by which the hub names contents.

use std::fmt::Write;
use std::io::{self, Read};
use std::path::Path;

use ring::digest::{Algorithm, Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// Number of bytes that are hashed at a time.
const CHUNK: usize = 1 << 18;

/// A hash that the hub announces for a file. The cache uses its digits as the file's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    digits: String,
}

impl Digest {
    /// Reads the digits of a hash: 64 for SHA-256, by which large files are named, or 40 for git's name of a small
    /// file. Returns `None` for anything else, so that a hash is also a safe name of a file.
    pub fn parse(digits: &str) -> Option<Self> {
        let is_hash = matches!(digits.len(), 40 | 64) && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        is_hash.then(|| Self { digits: digits.to_owned() })
    }

    /// Returns the digits in hexadecimal.
    pub fn digits(&self) -> &str {
        &self.digits
    }

    /// Returns the hash's name for messages.
    pub fn kind(&self) -> &'static str {
        if self.is_of_git() { "git hash" } else { "SHA-256" }
    }

    /// Returns the hash of the file `path`, of the same kind as this hash.
    ///
    /// # Errors
    /// Returns the system's error where the file cannot be read.
    pub fn of_file(&self, path: &Path) -> io::Result<Self> {
        let mut file = resmlp_files::open(path)?;
        let mut context = self.context(file.metadata()?.len());
        let mut buffer = vec![0; CHUNK];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(finish(context)),
                count => context.update(&buffer[..count]),
            }
        }
    }

    fn is_of_git(&self) -> bool {
        self.digits.len() == 40
    }

    /// Starts the hash of a file of `length` bytes.
    fn context(&self, length: u64) -> Context {
        let algorithm: &'static Algorithm = if self.is_of_git() { &SHA1_FOR_LEGACY_USE_ONLY } else { &SHA256 };
        let mut context = Context::new(algorithm);
        if self.is_of_git() {
            // git hashes a header in front of the contents.
            context.update(format!("blob {length}\0").as_bytes());
        }
        context
    }
}

fn finish(context: Context) -> Digest {
    let digits = context.finish().as_ref().iter().fold(String::new(), |mut digits, byte| {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    });
    Digest { digits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_git_and_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "hello\n").unwrap();
        // `git hash-object` and `sha256sum` print these.
        for digits in [
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        ] {
            let expected = Digest::parse(digits).unwrap();
            assert_eq!(expected.of_file(&path).unwrap(), expected);
            assert_eq!(expected.digits(), digits);
        }
    }

    #[test]
    fn only_hashes_are_names() {
        for text in ["", "../../x", &"a".repeat(39), &"A".repeat(40), &"g".repeat(64), &"/".repeat(64), &"a".repeat(32)]
        {
            assert_eq!(Digest::parse(text), None);
        }
    }
}
