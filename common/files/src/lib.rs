//! Opens, reads and replaces files whose paths or contents come from strangers.
//!
//! Every model, checkpoint, picture and list of labels is opened here. A path may lead to a pipe on which a plain open
//! waits for ever, to a device that has no end, or to a file that grows while it is read. The functions of this crate
//! therefore open only regular files, never wait, and read no more bytes than their caller allows.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::Path;

/// Opens a regular file for reading, and never waits for another program.
///
/// The check is repeated on the open file, so that nobody can put another file in its place between the check and the
/// open. Links are followed.
///
/// # Errors
/// Returns the system's error where the file cannot be opened. Where the path leads to anything but a regular file,
/// such as a folder, a pipe or a device, the error has the kind [`ErrorKind::InvalidInput`] and says `not a regular
/// file`.
pub fn open(path: &Path) -> io::Result<File> {
    // Opening a device can have effects, so the path is also checked before the open.
    require_regular(&path.metadata()?)?;
    let file = options().open(path)?;
    require_regular(&file.metadata()?)?;
    Ok(file)
}

/// Opens a regular file for writing, or creates it, and never waits for another program. The file keeps its contents
/// until [`replace`] writes new ones.
///
/// # Errors
/// Returns the system's error where the file cannot be opened or created, and the error of [`open`] where the path
/// leads to anything but a regular file.
pub fn create(path: &Path) -> io::Result<File> {
    match path.metadata() {
        Ok(found) => require_regular(&found)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let file = options().read(false).write(true).create(true).truncate(false).open(path)?;
    require_regular(&file.metadata()?)?;
    Ok(file)
}

/// Replaces the contents of a file that [`create`] opened.
///
/// # Errors
/// Returns the system's error where the file cannot be written.
pub fn replace(file: &mut File, contents: &[u8]) -> io::Result<()> {
    file.rewind()?;
    file.set_len(0)?;
    file.write_all(contents)
}

/// Opens a regular file as [`open`] does and reads at most `most` bytes from its start.
///
/// A caller that accepts up to `n` bytes asks for `n + 1`, and learns from the length whether the file is longer.
///
/// # Errors
/// Returns the errors of [`open`], and those of [`read_rest`].
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_rest(&mut open(path)?, most)
}

/// Reads the rest of an open file, but at most `most` bytes.
///
/// # Errors
/// Returns the system's error where the file cannot be read, and an error of the kind [`ErrorKind::OutOfMemory`] where
/// the bytes do not fit into memory.
pub fn read_rest(file: &mut File, most: u64) -> io::Result<Vec<u8>> {
    // One byte more than the file's length lets `read_to_end` find the end without growing the memory.
    let expected = file.metadata()?.len().saturating_add(1).min(most);
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(expected).unwrap_or(usize::MAX))?;
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn require_regular(found: &std::fs::Metadata) -> io::Result<()> {
    if found.is_file() { Ok(()) } else { Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file")) }
}

/// Returns options with which opening a pipe does not wait, and opening a terminal does not make it this program's
/// controlling terminal. The standard library adds `O_CLOEXEC` by itself.
#[cfg(unix)]
fn options() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    options
}

#[cfg(not(unix))]
fn options() -> OpenOptions {
    let mut options = File::options();
    options.read(true);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_the_agreed_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "0123456789").unwrap();
        for (most, expected) in [(0, ""), (3, "012"), (10, "0123456789"), (u64::MAX, "0123456789")] {
            assert_eq!(read(&path, most).unwrap(), expected.as_bytes());
        }
        let mut file = open(&path).unwrap();
        assert_eq!(read_rest(&mut file, 4).unwrap(), b"0123");
        assert_eq!(read_rest(&mut file, 100).unwrap(), b"456789");
        assert_eq!(read(&folder.path().join("missing"), 1).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_file_keeps_its_contents_until_it_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page");
        create(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        std::fs::write(&path, "a long old text").unwrap();
        let mut file = create(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"a long old text");
        replace(&mut file, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert!(create(&folder.path().join("missing/page")).is_err());
    }

    #[test]
    fn a_file_that_has_no_room_in_memory_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hole");
        // The file is a hole of 2^52 bytes, which takes no room on the disk. Not every file system allows such a file.
        if File::create(&path).unwrap().set_len(1 << 52).is_ok() {
            assert_eq!(read(&path, u64::MAX).unwrap_err().kind(), ErrorKind::OutOfMemory);
            assert_eq!(read(&path, 5).unwrap(), [0; 5]);
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_refused_at_once() {
        use std::os::unix::fs::symlink;
        use std::os::unix::net::UnixListener;
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        symlink("pipe", path("link")).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        let places = [path("pipe"), path("link"), path("socket"), folder.path().to_owned(), "/dev/zero".into()];
        for place in places {
            for error in [open(&place).unwrap_err(), create(&place).unwrap_err()] {
                let expected = (ErrorKind::InvalidInput, "not a regular file".to_owned());
                assert_eq!((error.kind(), error.to_string()), expected, "{}", place.display());
            }
        }
    }

    /// Checks the case that a pipe replaces the file after the first check: opening it does not wait either.
    #[cfg(unix)]
    #[test]
    fn a_pipe_that_takes_the_place_of_a_file_is_opened_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let opened = options().open(&pipe).unwrap();
        assert!(require_regular(&opened.metadata().unwrap()).is_err());
        drop(opened);
        // Now nobody reads the pipe, so opening it for writing fails at once.
        assert!(options().read(false).write(true).open(&pipe).is_err());
    }
}
