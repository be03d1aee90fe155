//! The cache on the disk, laid out as Python's `huggingface_hub` has it.
//!
//! ```text
//! CACHEDIR.TAG                                    tells backup programs to leave the cache out
//! models--owner--name/blobs/HASH                  contents, named by their hash
//! models--owner--name/blobs/HASH.incomplete       a download that has not ended
//! models--owner--name/snapshots/COMMIT/FILE       links to the contents
//! models--owner--name/refs/REVISION               commits of branches and tags
//! .locks/models--owner--name/HASH.lock            held while HASH is downloaded
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use hf_hub::{CacheRepo, Repo, RepoType};

use crate::address::Address;
use crate::digest::Digest;
use crate::error::{Error, Result};

/// Contents of the file by which backup programs know a cache, which Python writes too.
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# This is a cache of the Hugging Face model hub; see \
                   https://bford.info/cachedir/\n";
/// Length in bytes of the longest file of a reference that is read.
const MAX_REFERENCE: u64 = 4096;

/// The part of the cache that belongs to one repository.
pub struct Cache {
    root: PathBuf,
    repository: Repo,
    layout: CacheRepo,
}

impl Cache {
    /// Creates the view of the repository's part of the cache in the folder `root`. Nothing is written yet.
    pub fn new(root: &Path, address: &Address) -> Self {
        let (name, revision) = (address.repository().to_owned(), address.revision().to_owned());
        let repository = Repo::with_revision(name, RepoType::Model, revision);
        let layout = hf_hub::Cache::new(root.to_path_buf()).repo(repository.clone());
        Self { root: root.to_path_buf(), repository, layout }
    }

    /// Returns the commit that the revision is, or was when the hub was last asked.
    pub fn commit(&self) -> Option<String> {
        let revision = self.repository.revision();
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let text = resmlp_files::read(&self.reference(), MAX_REFERENCE).ok()?;
        String::from_utf8(text).ok().map(|text| text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Writes down that the revision is `commit`.
    ///
    /// # Errors
    /// Returns an error where the system refuses to write.
    pub fn remember(&self, commit: &str) -> Result<()> {
        if self.repository.revision() == commit || self.commit().as_deref() == Some(commit) {
            return Ok(());
        }
        let reference = self.reference();
        create_parent(&reference)?;
        // Whoever reads the file meanwhile finds the old commit or the new one.
        let temporary = reference.with_file_name(format!(".{}.{}", commit, std::process::id()));
        fs::write(&temporary, commit).map_err(Error::io(&temporary))?;
        fs::rename(&temporary, &reference).map_err(Error::io(&reference))
    }

    /// Returns the path of `file` in the snapshot of `commit`, which may not exist.
    pub fn snapshot(&self, commit: &str, file: &str) -> PathBuf {
        self.layout.pointer_path(commit).join(file)
    }

    /// Returns the path of the contents with this hash, which may not exist.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.folder().join("blobs").join(digest.digits())
    }

    /// Returns the path of a download of these contents that has not ended.
    pub fn incomplete(&self, digest: &Digest) -> PathBuf {
        self.folder().join("blobs").join(format!("{}.incomplete", digest.digits()))
    }

    /// Locks the contents with this hash against other programs until the returned file is dropped. Calls `waiting` if
    /// another program holds the lock.
    ///
    /// # Errors
    /// Returns an error where the lock cannot be created.
    pub fn lock(&self, digest: &Digest, waiting: impl FnOnce()) -> Result<File> {
        let folder = self.root.join(".locks").join(self.repository.folder_name());
        let path = folder.join(format!("{}.lock", digest.digits()));
        let lock = || -> io::Result<File> {
            fs::create_dir_all(&folder)?;
            let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    waiting();
                    file.lock()?;
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            Ok(file)
        };
        lock().map_err(Error::io(&path))
    }

    /// Makes `file` of the snapshot of `commit` a link to the contents with this hash, and returns its path.
    ///
    /// # Errors
    /// Returns an error where the system refuses to write.
    pub fn link(&self, digest: &Digest, commit: &str, file: &str) -> Result<PathBuf> {
        let (blob, path) = (self.blob(digest), self.snapshot(commit, file));
        create_parent(&path)?;
        if let Ok(mut tag) = File::create_new(self.root.join("CACHEDIR.TAG")) {
            // The tag is a courtesy to backup programs: the cache works without it.
            let _ = tag.write_all(TAG.as_bytes());
        }
        let link = || -> io::Result<()> {
            if path.canonicalize().is_ok_and(|found| blob.canonicalize().is_ok_and(|blob| blob == found)) {
                return Ok(());
            }
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            match symlink(&Path::new("../../blobs").join(digest.digits()), &path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
                // Where there are no links, the contents move into the snapshot, as Python does it.
                Err(_) => fs::rename(&blob, &path),
                Ok(()) => Ok(()),
            }
        };
        link().map_err(Error::io(&path))?;
        Ok(path)
    }

    fn folder(&self) -> PathBuf {
        self.root.join(self.repository.folder_name())
    }

    fn reference(&self) -> PathBuf {
        self.folder().join("refs").join(self.repository.revision())
    }
}

/// Returns whether `text` is the name of a commit: 40 hexadecimal digits.
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && Digest::parse(text).is_some()
}

/// Returns the hash that the contents of `path` should have, if the path leads to contents that are named by it.
pub fn named_digest(path: &Path) -> Option<Digest> {
    Digest::parse(path.canonicalize().ok()?.file_name()?.to_str()?)
}

/// Creates the folder in which `path` lies.
///
/// # Errors
/// Returns an error where the system refuses to create it.
pub fn create_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), |folder| fs::create_dir_all(folder).map_err(Error::io(folder)))
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}
