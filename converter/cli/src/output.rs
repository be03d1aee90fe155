//! Writes result files completely or not at all.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// Checks before any work that [`write_atomically`] can write to `path` and that `path` is none of the `inputs`.
///
/// # Errors
/// Returns an error that names `path`.
pub fn check(path: &Path, inputs: &[&Path]) -> Result<()> {
    let target = target(path)?;
    if inputs.iter().any(|input| input.canonicalize().is_ok_and(|input| input == target)) {
        return Err(Error::file(
            path,
            "this is an input, which the result would replace; expected another file to write",
        ));
    }
    temporary(&target).map(drop).map_err(|error| Error::io(path, error))
}

/// Writes `bytes` to a temporary file in the same folder, which then takes the name `path`. Where `path` is a link, the
/// file to which it leads is written. A file that is replaced hands its access rights on: who could not read the old
/// one cannot read the new one.
///
/// Whatever goes wrong, `path` is either unchanged or complete.
///
/// # Errors
/// Returns an error where `path` is something else than a regular file, or where the system refuses to write.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let target = target(path)?;
    let write = || -> io::Result<()> {
        let mut file = temporary(&target)?;
        file.as_file_mut().write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(&target)?;
        Ok(())
    };
    write().map_err(|error| Error::io(path, error))
}

/// Returns the file that is written for `path`: the file to which links lead, or `path` itself where there is no file
/// yet.
fn target(path: &Path) -> Result<PathBuf> {
    match path.metadata() {
        Ok(found) if found.is_file() => path.canonicalize().map_err(|error| Error::io(path, error)),
        Ok(found) if found.is_dir() => Err(Error::file(path, "this is a folder, expected a file to write")),
        Ok(_) => Err(Error::file(
            path,
            "this is a device or a pipe, expected a file to write; copy that file to the device with dd",
        )),
        Err(_) if path.is_symlink() => {
            Err(Error::file(path, "this is a link that leads to no file, expected a file to write"))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(path.to_path_buf()),
        Err(error) => Err(Error::io(path, error)),
    }
}

/// Creates a file beside `target` with the access rights of `target`, or with those of any new file where there is no
/// `target` yet. The file is deleted unless it is persisted.
fn temporary(target: &Path) -> io::Result<NamedTempFile> {
    let folder = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // The files that tempfile creates by itself can be read by their owner alone, and their errors name the temporary
    // file instead of the file that the user named.
    tempfile::Builder::new().make_in(folder, |path| create_like(target, path))
}

/// Creates the file `path`, which from its first moment grants nobody more than the file `target` does.
#[cfg(unix)]
fn create_like(target: &Path, path: &Path) -> io::Result<File> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
    let old = match target.metadata() {
        Ok(old) => old,
        Err(error) if error.kind() == ErrorKind::NotFound => return File::create_new(path),
        Err(error) => return Err(error),
    };
    let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    let new = file.metadata()?;
    // The rights of a group are handed on only to the same group.
    let is_same_group = new.gid() == old.gid() || fchown(&file, None, Some(old.gid())).is_ok();
    let rights = old.permissions().mode() & if is_same_group { 0o777 } else { 0o707 };
    file.set_permissions(std::fs::Permissions::from_mode(rights))?;
    Ok(file)
}

/// Creates the file `path`. Elsewhere than on Unix, access rights come from the folder.
#[cfg(not(unix))]
fn create_like(_: &Path, path: &Path) -> io::Result<File> {
    File::create_new(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_a_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.rmlp");
        write_atomically(&path, b"first").unwrap();
        write_atomically(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_error_names_the_file_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        for refused in [path.as_path(), &folder.path().join("missing/model.rmlp")] {
            for result in [check(refused, &[]), write_atomically(refused, b"bytes")] {
                let message = result.unwrap_err().to_string();
                assert!(message.starts_with(refused.to_str().unwrap()), "{message}");
                assert_eq!(message.matches(folder.path().to_str().unwrap()).count(), 1, "{message}");
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_check_leaves_everything_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (new, old) = (folder.path().join("new"), folder.path().join("old"));
        std::fs::write(&old, "old").unwrap();
        check(&new, &[&old]).unwrap();
        check(&old, &[&new]).unwrap();
        let same = folder.path().join("./old");
        assert!(check(&same, &[&new, &old]).unwrap_err().to_string().ends_with("expected another file to write"));
        assert_eq!(std::fs::read(&old).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_replaced_file_hands_its_access_rights_on() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.rmlp");
        write_atomically(&path, b"first").unwrap();
        std::fs::write(folder.path().join("any"), "").unwrap();
        let rights = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(rights(&path), rights(&folder.path().join("any")));
        for mode in [0o600, 0o640, 0o444, 0o666] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let group = path.metadata().unwrap().gid();
            write_atomically(&path, b"second").unwrap();
            assert_eq!((rights(&path), path.metadata().unwrap().gid()), (mode, group));
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_pipes_refused() {
        use std::os::unix::fs::{FileTypeExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("model"), "old").unwrap();
        symlink("model", path("link")).unwrap();
        write_atomically(&path("link"), b"new").unwrap();
        assert!(path("link").is_symlink());
        assert_eq!(std::fs::read(path("model")).unwrap(), b"new");
        assert!(check(&path("link"), &[&path("model")]).is_err());

        symlink("nothing", path("dangling")).unwrap();
        assert!(write_atomically(&path("dangling"), b"new").unwrap_err().to_string().contains("leads to no file"));
        assert!(std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        assert!(write_atomically(&path("pipe"), b"new").unwrap_err().to_string().contains("with dd"));
        assert!(path("pipe").metadata().unwrap().file_type().is_fifo());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
    }
}
