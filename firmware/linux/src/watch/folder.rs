//! Files that arrive in a folder, when they are whole.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use crate::say;

/// What the kernel tells of at once, at least one event.
const BUFFER: usize = 4096;

/// Tells of each file when its writer closes it, or when it is moved into the folder: never of a half-written one.
pub struct Arrivals {
    folder: PathBuf,
    inotify: OwnedFd,
    /// Told of already, oldest last.
    waiting: Vec<PathBuf>,
    is_gone: bool,
}

impl Arrivals {
    /// Of this folder, from now on; not of its sub-folders.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC)?;
        let what = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        inotify::add_watch(&inotify, folder, what | WatchFlags::ONLYDIR)?;
        Ok(Self { folder: folder.to_owned(), inotify, waiting: Vec::new(), is_gone: false })
    }

    /// Waits for the next file; `None` when the folder is gone. Hidden files, which is how copying programs name what
    /// they have not finished, are left out.
    pub fn next(&mut self) -> io::Result<Option<PathBuf>> {
        loop {
            if let Some(path) = self.waiting.pop() {
                return Ok(Some(path));
            }
            if self.is_gone {
                return Ok(None);
            }
            self.wait()?;
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            let event = events.next()?;
            let kind = event.events();
            if kind.contains(ReadFlags::QUEUE_OVERFLOW) {
                say("warning", "more files arrived than the kernel could remember: some are passed over");
            }
            self.is_gone |= kind.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED);
            if let Some(name) = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()))
                && !kind.contains(ReadFlags::ISDIR)
                && !name.as_bytes().starts_with(b".")
            {
                self.waiting.insert(0, self.folder.join(name));
            }
            if events.is_buffer_empty() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;

    use super::*;

    #[test]
    fn files_are_told_of_when_they_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("before"), "it was there").unwrap();
        let mut arrivals = Arrivals::of(folder.path()).unwrap();
        let mut slow = File::create(path("slow")).unwrap();
        slow.write_all(b"half").unwrap();
        fs::create_dir(path("sub-folder")).unwrap();
        fs::write(path(".unfinished"), "a").unwrap();
        fs::write(path("quick"), "b").unwrap();
        fs::rename(path(".unfinished"), path("moved")).unwrap();
        slow.write_all(b" and half").unwrap();
        drop(slow);
        let found: Vec<_> = (0..3).map(|_| arrivals.next().unwrap().unwrap()).collect();
        assert_eq!(found, ["quick", "moved", "slow"].map(path));
        folder.close().unwrap();
        while let Some(path) = arrivals.next().unwrap() {
            panic!("{}", path.display());
        }
    }

    #[test]
    fn a_file_is_no_folder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Arrivals::of(file.path()).is_err());
    }
}
