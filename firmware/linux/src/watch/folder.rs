//! Waits for files that arrive in a folder, until they are whole.

use std::collections::VecDeque;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};

use crate::output::say;

/// The files that arrive in a folder. A file arrives when its writer closes it or when it is moved into the folder, so
/// that it is never half-written.
pub struct Arrivals {
    folder: PathBuf,
    inotify: Inotify,
    /// Files that the kernel has reported and that were not returned yet, oldest first.
    waiting: VecDeque<PathBuf>,
    is_gone: bool,
}

impl Arrivals {
    /// Watches `folder` from now on, without its sub-folders.
    ///
    /// # Errors
    /// Returns the system's error if `folder` is no folder or cannot be watched.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
        let files = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO;
        let itself = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_ONLYDIR;
        inotify.add_watch(folder, files | itself)?;
        Ok(Self { folder: folder.to_owned(), inotify, waiting: VecDeque::new(), is_gone: false })
    }

    /// Waits for the next file and returns its path, or `None` when the folder is gone. Hidden files are left out,
    /// because copying programs give unfinished files hidden names.
    ///
    /// # Errors
    /// Returns the system's error if the folder cannot be watched any more.
    pub fn next(&mut self) -> io::Result<Option<PathBuf>> {
        loop {
            if let Some(path) = self.waiting.pop_front() {
                return Ok(Some(path));
            }
            if self.is_gone {
                return Ok(None);
            }
            match self.inotify.read_events() {
                Err(Errno::EINTR) => {}
                events => events?.into_iter().for_each(|event| self.take(event)),
            }
        }
    }

    fn take(&mut self, event: InotifyEvent) {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            say(
                "warning",
                "files arrived faster than they were classified, and the kernel has dropped some of them: those are not classified",
            );
        }
        let gone = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_IGNORED;
        self.is_gone |= event.mask.intersects(gone);
        let is_folder = event.mask.contains(AddWatchFlags::IN_ISDIR);
        if let Some(name) = event.name.filter(|name| !is_folder && !name.as_bytes().starts_with(b".")) {
            self.waiting.push_back(self.folder.join(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;

    use super::*;

    #[test]
    fn files_are_reported_when_they_are_whole() {
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
        assert_eq!(arrivals.next().unwrap(), None);
    }

    #[test]
    fn a_file_instead_of_a_folder_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Arrivals::of(file.path()).is_err());
    }
}
