//! Downloads one file: what the hub announces, the contents, and the check that they are the same.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::cache::{Cache, create_parent};
use crate::client::{Answer, Client, Request};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fetch::Event;

/// Number of requests after which a download that breaks again and again is given up.
const ATTEMPTS: usize = 5;
/// Number of bytes that are read at a time.
const CHUNK: usize = 1 << 18;

/// A file of a commit.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The server that has it.
    pub client: &'a Client,
    /// Owner and name of the repository.
    pub repository: &'a str,
    /// The commit.
    pub commit: &'a str,
    /// The file's name.
    pub file: &'a str,
    /// Length in bytes of the longest file that is accepted.
    pub limit: u64,
}

/// What the hub says about a file before it is downloaded.
struct Announced {
    digest: Digest,
    size: u64,
}

impl Source<'_> {
    /// Makes the file part of the cache and returns its path there. What the cache already has is not downloaded again.
    ///
    /// # Errors
    /// Returns an error where the server refuses, breaks off, or sends something else than it announced, and where the
    /// system refuses to write.
    pub fn fetch(&self, cache: &Cache, tell: &mut dyn FnMut(Event)) -> Result<PathBuf> {
        let announced = self.announced()?;
        let path = cache.snapshot(self.commit, self.file);
        if is_complete(&path, &announced) {
            return Ok(path);
        }
        let _lock = cache.lock(&announced.digest, || tell(Event::Waiting { file: self.file }))?;
        let blob = cache.blob(&announced.digest);
        // Another program may have downloaded the file meanwhile.
        if !is_complete(&blob, &announced) {
            let incomplete = cache.incomplete(&announced.digest);
            create_parent(&incomplete)?;
            self.download(&announced, &incomplete, tell)?;
            fs::rename(&incomplete, &blob).map_err(Error::io(&blob))?;
        }
        cache.link(&announced.digest, self.commit, self.file)
    }

    /// Asks for the file's length and hash.
    fn announced(&self) -> Result<Announced> {
        let client = self.client;
        let answer = client.ask(Request::Head, &self.path(), &self.asked())?;
        let wrong = |found: String, expected: &str| Err(client.wrong(&answer.host, found, expected));
        if let Some(commit) = answer.header("x-repo-commit").filter(|commit| *commit != self.commit) {
            return wrong(format!("has {} of the commit {commit}", self.file), self.commit);
        }
        let tag = answer.header("x-linked-etag").or_else(|| answer.header("etag")).unwrap_or_default();
        let Some(digest) = Digest::parse(tag.trim_start_matches("W/").trim_matches('"')) else {
            return wrong(format!("names {} by \"{tag}\"", self.file), "a hash by which the file can be verified");
        };
        let size = answer.header("x-linked-size").or_else(|| answer.header("content-length"));
        match size.and_then(|size| size.parse().ok()) {
            Some(size) if size <= self.limit => Ok(Announced { digest, size }),
            Some(size) => {
                wrong(format!("announces {size} bytes for {}", self.file), &format!("at most {}", self.limit))
            }
            None => wrong(format!("does not say how long {} is", self.file), "its length in bytes"),
        }
    }

    /// Downloads the file to `incomplete`, continuing what is there, and verifies it.
    fn download(&self, announced: &Announced, incomplete: &Path, tell: &mut dyn FnMut(Event)) -> Result<()> {
        let is_continued = length(incomplete) > 0;
        self.receive_all(announced, incomplete, tell)?;
        match self.verify(announced, incomplete) {
            // What was there may have been wrong, so the file is downloaded once more, from the beginning.
            Err(Error::Hash { .. }) if is_continued => {
                self.receive_all(announced, incomplete, tell)?;
                self.verify(announced, incomplete)
            }
            result => result,
        }
    }

    /// Asks for the rest of the file until all of it is there.
    fn receive_all(&self, announced: &Announced, incomplete: &Path, tell: &mut dyn FnMut(Event)) -> Result<()> {
        let size = announced.size;
        let mut reason = String::new();
        for _ in 0..ATTEMPTS {
            let from = match length(incomplete) {
                // A file that is too long belongs to something else.
                found if found > size => 0,
                found => found,
            };
            if from == size && size > 0 {
                return Ok(());
            }
            match self.receive(size, from, incomplete, tell) {
                Ok(None) => return Ok(()),
                Ok(Some(broken)) => reason = broken,
                // The server has no such range, so what is there belongs to something else.
                Err(Error::Refused { status: 416, .. }) if from > 0 => delete(incomplete)?,
                Err(error) => return Err(error),
            }
        }
        let (address, file) = (self.client.address().to_owned(), self.file.to_owned());
        Err(Error::Broken { address, file, received: length(incomplete), size, reason })
    }

    /// Receives the bytes of one answer. Returns why the answer ended early, if it did.
    fn receive(&self, size: u64, from: u64, incomplete: &Path, tell: &mut dyn FnMut(Event)) -> Result<Option<String>> {
        let answer = self.client.ask(Request::Get { from }, &self.path(), &self.asked())?;
        let host = answer.host.clone();
        let mut done = self.start(&answer, from)?;
        let mut file = opened(incomplete, done).map_err(Error::io(incomplete))?;
        // One byte more than announced shows that there are too many.
        let mut body = answer.response.into_body().into_reader().take((size - done).saturating_add(1));
        let mut buffer = vec![0; CHUNK];
        loop {
            tell(Event::Progress { file: self.file, done: done.min(size), size });
            let count = match body.read(&mut buffer) {
                Ok(0) if done == size => break,
                Ok(0) => return Ok(Some("the connection was closed".into())),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Some(error.to_string())),
            };
            file.write_all(&buffer[..count]).map_err(Error::io(incomplete))?;
            done += count as u64;
            if done > size {
                delete(incomplete)?;
                return Err(self.client.wrong(
                    &host,
                    format!("sends more than {size} bytes of {}", self.file),
                    "as many as announced",
                ));
            }
        }
        file.sync_all().map_err(Error::io(incomplete))?;
        Ok(None)
    }

    /// Returns the number of the first byte in an answer to a request for the bytes from `from` on.
    fn start(&self, answer: &Answer, from: u64) -> Result<u64> {
        if answer.response.status() != 206 {
            // The server sends the file from the beginning.
            return Ok(0);
        }
        let range = answer.header("content-range").unwrap_or_default();
        let start = range.strip_prefix("bytes ").and_then(|range| range.split('-').next()?.parse::<u64>().ok());
        match start {
            Some(start) if start == from => Ok(from),
            _ => Err(self.client.wrong(
                &answer.host,
                format!("sends the range \"{range}\""),
                format!("bytes from {from} on"),
            )),
        }
    }

    /// Compares the hash of `path` with the announced one, and deletes a file that is another one.
    fn verify(&self, announced: &Announced, path: &Path) -> Result<()> {
        let found = announced.digest.of_file(path).map_err(Error::io(path))?;
        if found == announced.digest {
            return Ok(());
        }
        delete(path)?;
        Err(Error::Hash {
            address: self.client.address().to_owned(),
            file: self.file.to_owned(),
            found: format!("{} {}", found.kind(), found.digits()),
            expected: announced.digest.digits().to_owned(),
        })
    }

    fn path(&self) -> String {
        format!("/{}/resolve/{}/{}", self.repository, self.commit, self.file)
    }

    fn asked(&self) -> String {
        format!("the question for {} of the commit {}", self.file, self.commit)
    }
}

/// Opens a file for writing behind its first `length` bytes, and cuts off what is there already.
fn opened(path: &Path, length: u64) -> io::Result<File> {
    let mut file = File::options().write(true).create(true).truncate(false).open(path)?;
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length))?;
    Ok(file)
}

/// Returns whether `path` has the announced contents.
fn is_complete(path: &Path, announced: &Announced) -> bool {
    length(path) == announced.size && announced.digest.of_file(path).is_ok_and(|found| found == announced.digest)
}

/// Returns the length of a file; 0 where there is none.
fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |found| found.len())
}

fn delete(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(Error::io(path))
}
