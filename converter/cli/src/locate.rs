//! Finds the checkpoint that the user names: a path, or an address of the model hub.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use resmlp_checkpoint::config;
use resmlp_hub::{Address, Event, Settings, Wanted};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::terminal;

/// A checkpoint, and where it comes from.
pub struct Located {
    /// Path of the file or folder.
    pub path: PathBuf,
    /// The hub's commit; `None` for a path.
    pub origin: Option<Origin>,
}

/// A commit of the model hub.
#[derive(Clone, Debug, Serialize)]
pub struct Origin {
    /// Owner and name of the repository, with a `/` between them.
    pub repository: String,
    /// The branch, the tag or the commit that the user names; `main` by default.
    pub revision: String,
    /// The commit that the revision was, 40 hexadecimal digits.
    pub commit: String,
}

/// Returns the path of the checkpoint that the user names. The files of an address `hf:owner/name[@revision]` are
/// downloaded unless the cache has them.
///
/// # Errors
/// Returns an error where `named` begins with `hf:` but is no address, or where the files cannot be downloaded.
pub fn locate(named: &Path) -> Result<Located> {
    if !Address::is_meant(named) {
        return Ok(Located { path: named.to_path_buf(), origin: None });
    }
    let address = Address::parse(&named.to_string_lossy()).map_err(|error| Error::Usage(error.to_string()))?;
    let settings = Settings::from_environment()?;
    let wanted = Wanted { weights: &config::WEIGHTS, beside: config::CONFIG };
    let mut bar = DownloadBar::default();
    let snapshot = resmlp_hub::fetch(&address, &settings, wanted, &mut |event| bar.show(event))?;
    let (repository, revision) = (address.repository().to_owned(), address.revision().to_owned());
    let origin = Origin { repository, revision, commit: snapshot.commit };
    Ok(Located { path: snapshot.weights, origin: Some(origin) })
}

/// The progress bar of the file that is being downloaded.
#[derive(Default)]
struct DownloadBar(Option<(String, ProgressBar)>);

impl DownloadBar {
    fn show(&mut self, event: Event) {
        match event {
            Event::Note(note) => terminal::note(note),
            Event::Waiting { file } => terminal::note(&format!("another program downloads {file}; waiting for it")),
            Event::Progress { file, done, size } => self.of(file, size).set_position(done),
        }
    }

    /// Returns the bar of `file`, which takes the place of the bar of the file before.
    fn of(&mut self, file: &str, size: u64) -> &ProgressBar {
        if self.0.as_ref().is_none_or(|(name, _)| name != file) {
            self.finish();
        }
        &self.0.get_or_insert_with(|| (file.to_owned(), terminal::download(file, size))).1
    }

    fn finish(&mut self) {
        if let Some((_, bar)) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for DownloadBar {
    fn drop(&mut self) {
        self.finish();
    }
}
