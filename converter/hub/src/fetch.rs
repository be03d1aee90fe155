//! Finds out which files of a repository are needed, and makes them part of the cache.

use std::io::Read;
use std::path::PathBuf;

use serde_json::Value;

use crate::address::Address;
use crate::cache::{Cache, is_commit, named_digest};
use crate::client::{Client, Request};
use crate::download::Source;
use crate::error::{Error, Result};
use crate::settings::Settings;

/// Length in bytes of the longest description of a repository.
const MAX_DESCRIPTION: u64 = 16 << 20;
/// Length in bytes of the longest file beside the weights.
const MAX_BESIDE: u64 = 16 << 20;
/// Length in bytes of the longest file of weights. The largest public ResMLP has 0.5 GB.
const MAX_WEIGHTS: u64 = 16 << 30;
/// Number of a repository's files that an error names.
const NAMED_FILES: usize = 8;

/// What is wanted of a repository.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Names of the weights; the first that the repository has is taken.
    pub weights: &'a [&'a str],
    /// Name of the file that is taken too, if the repository has it.
    pub beside: &'a str,
}

/// What happens during [`fetch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A part of a file has arrived.
    Progress {
        /// Name of the file.
        file: &'a str,
        /// Bytes that are there.
        done: u64,
        /// Bytes of the whole file.
        size: u64,
    },
    /// Another program downloads the file, and this one waits for it.
    Waiting {
        /// Name of the file.
        file: &'a str,
    },
    /// Something that the user should know.
    Note(&'a str),
}

/// Files of a repository in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
    /// Path of the weights. The file beside them lies in the same folder.
    pub weights: PathBuf,
}

/// Makes the wanted files of a repository part of the cache, and returns where they lie.
///
/// The hub is asked what the revision is now. It is not asked if the address names a commit and the cache has all of
/// its files, or if the settings are offline. If it does not answer, the commit that the cache remembers is taken, with
/// a note.
///
/// # Errors
/// Returns an error where the repository, the revision or the weights do not exist, where the hub refuses, where a
/// file arrives damaged, or where the cache has no files and the hub cannot be asked.
pub fn fetch(address: &Address, settings: &Settings, wanted: Wanted, tell: &mut dyn FnMut(Event)) -> Result<Snapshot> {
    let cache = Cache::new(&settings.cache, address);
    let kept = || kept(&cache, wanted);
    if settings.offline {
        let snapshot = kept().ok_or_else(|| offline(address, settings, &cache, wanted))?;
        return checked(&cache, snapshot, wanted, tell);
    }
    if is_commit(address.revision())
        && let Some(snapshot) = kept()
        && cache.snapshot(&snapshot.commit, wanted.beside).is_file()
        && let Ok(snapshot) = checked(&cache, snapshot, wanted, tell)
    {
        return Ok(snapshot);
    }
    match download(address, settings, &cache, wanted, tell) {
        Err(Error::Unreachable { host, reason, .. }) if kept().is_some() => {
            let snapshot = kept().ok_or_else(|| offline(address, settings, &cache, wanted))?;
            let commit = &snapshot.commit;
            let note =
                format!("{address}: {host} does not answer ({reason}), so the commit {commit} in the cache is used");
            tell(Event::Note(&note));
            checked(&cache, snapshot, wanted, tell)
        }
        result => result,
    }
}

/// Downloads what the cache does not have of the revision's present commit.
fn download(
    address: &Address,
    settings: &Settings,
    cache: &Cache,
    wanted: Wanted,
    tell: &mut dyn FnMut(Event),
) -> Result<Snapshot> {
    let client = Client::new(settings, address.to_string())?;
    let Description { commit, files } = describe(&client, address)?;
    let has = |name: &str| files.iter().any(|file| file == name);
    let Some(weights) = wanted.weights.iter().find(|name| has(name)) else {
        return Err(no_weights(address, wanted, &files));
    };
    let source =
        |file, limit| Source { client: &client, repository: address.repository(), commit: &commit, file, limit };
    if has(wanted.beside) {
        source(wanted.beside, MAX_BESIDE).fetch(cache, tell)?;
    }
    let weights = source(weights, MAX_WEIGHTS).fetch(cache, tell)?;
    cache.remember(&commit)?;
    Ok(Snapshot { commit, weights })
}

/// What the hub says about a revision of a repository.
struct Description {
    commit: String,
    files: Vec<String>,
}

fn describe(client: &Client, address: &Address) -> Result<Description> {
    let (repository, revision) = (address.repository(), address.revision());
    let path = format!("/api/models/{repository}/revision/{}", revision.replace('/', "%2F"));
    let asked = format!("the question for the revision {revision} of {repository}");
    let answer = client.ask(Request::Get { from: 0 }, &path, &asked)?;
    let host = answer.host.clone();
    let wrong =
        |found: &str| client.wrong(&host, found, "a description of the repository in JSON, with sha and siblings");
    let mut text = Vec::new();
    let body = answer.response.into_body().into_reader();
    body.take(MAX_DESCRIPTION + 1).read_to_end(&mut text).map_err(|error| wrong(&format!("breaks off ({error})")))?;
    if text.len() as u64 > MAX_DESCRIPTION {
        return Err(wrong("sends more than 16 MiB of description"));
    }
    let json: Value = serde_json::from_slice(&text).map_err(|_| wrong("answers something else than JSON"))?;
    let commit = json["sha"].as_str().filter(|commit| is_commit(commit));
    let commit = commit.ok_or_else(|| wrong("names no commit"))?.to_owned();
    if is_commit(revision) && commit != revision {
        return Err(client.wrong(&host, format!("answers with the commit {commit}"), revision));
    }
    let files = json["siblings"].as_array().ok_or_else(|| wrong("lists no files"))?;
    let files = files.iter().filter_map(|file| file["rfilename"].as_str().map(str::to_owned)).collect();
    Ok(Description { commit, files })
}

fn no_weights(address: &Address, wanted: Wanted, files: &[String]) -> Error {
    let named: Vec<&str> = files.iter().take(NAMED_FILES).map(String::as_str).collect();
    let files = match files.len() {
        0 => "no files at all".to_owned(),
        count if count > NAMED_FILES => format!("{count} files: {} …", named.join(", ")),
        _ => named.join(", "),
    };
    Error::NoWeights { address: address.to_string(), wanted: wanted.weights.join(" and no "), files }
}

/// Returns the weights of the remembered commit that the cache has.
fn kept(cache: &Cache, wanted: Wanted) -> Option<Snapshot> {
    let commit = cache.commit()?;
    let paths = wanted.weights.iter().map(|name| cache.snapshot(&commit, name));
    let weights = paths.into_iter().find(|path| path.is_file())?;
    Some(Snapshot { commit, weights })
}

/// Checks that the files of a snapshot have the contents that their names promise.
fn checked(cache: &Cache, snapshot: Snapshot, wanted: Wanted, tell: &mut dyn FnMut(Event)) -> Result<Snapshot> {
    let beside = cache.snapshot(&snapshot.commit, wanted.beside);
    if !beside.is_file() {
        let (name, commit) = (wanted.beside, &snapshot.commit);
        let note = format!("the cache has no {name} of the commit {commit}; the repository may have one");
        tell(Event::Note(&note));
    }
    for path in [&snapshot.weights, &beside] {
        // Where there are no links, a file has no name that tells its contents.
        let Some(expected) = named_digest(path) else { continue };
        let found = expected.of_file(path).map_err(Error::io(path))?;
        if found != expected {
            let path = path.canonicalize().unwrap_or_else(|_| path.clone());
            return Err(Error::Damaged { path, kind: found.kind(), found: found.digits().to_owned() });
        }
    }
    Ok(snapshot)
}

fn offline(address: &Address, settings: &Settings, cache: &Cache, wanted: Wanted) -> Error {
    let missing = match cache.commit() {
        Some(commit) => format!("{} of its commit {commit}", wanted.weights.join(" or ")),
        None => format!("commit of {}", address.revision()),
    };
    Error::Offline { address: address.to_string(), cache: settings.cache.clone(), missing }
}
