//! The address of a repository on the hub.

use std::fmt;
use std::path::Path;

use crate::error::{Error, Result};

/// Letters with which an address begins.
const PREFIX: &str = "hf:";
/// Length of the longest name that the hub gives to a repository, and of the longest revision that is accepted.
const MAX_LENGTH: usize = 200;

/// A repository of models on the hub, and the revision that is wanted of it: `hf:owner/name[@revision]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    repository: String,
    revision: Option<String>,
}

impl Address {
    /// Returns whether `path` is meant as an address. A file of such a name is reached as `./hf:…`.
    pub fn is_meant(path: &Path) -> bool {
        path.to_str().is_some_and(|text| text.starts_with(PREFIX))
    }

    /// Reads an address.
    ///
    /// # Errors
    /// Returns an error if `text` has another form than `hf:owner/name` or `hf:owner/name@revision`. Letters, digits,
    /// `.`, `_` and `-` are allowed; a revision may also contain `/`.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |found| Error::Address { text: text.chars().take(MAX_LENGTH).collect(), found };
        let rest = text.strip_prefix(PREFIX).ok_or_else(|| refuse("it does not begin with hf:"))?;
        let (repository, revision) = match rest.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (rest, None),
        };
        match repository.split('/').collect::<Vec<_>>().as_slice() {
            [owner, name] if is_plain(owner) && is_plain(name) => {}
            [_, _] => return Err(refuse("its owner or name has a character that no repository has")),
            _ => return Err(refuse("it is not an owner and a name with one / between them")),
        }
        if revision.is_some_and(|revision| !revision.split('/').all(is_plain)) {
            return Err(refuse("its revision is no name of a branch or tag and no commit"));
        }
        if rest.len() > MAX_LENGTH {
            return Err(refuse("it is too long"));
        }
        Ok(Self { repository: repository.to_owned(), revision: revision.map(str::to_owned) })
    }

    /// Returns the owner and the name of the repository, with a `/` between them.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the branch, the tag or the commit that is wanted; `main` if the address names none.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.repository)?;
        self.revision.as_ref().map_or(Ok(()), |revision| write!(f, "@{revision}"))
    }
}

/// Returns whether `name` can be one component of a path: it leads to no other folder and hides no file.
pub fn is_plain(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.chars().all(is_allowed) && !name.starts_with(['.', '-']) && !name.ends_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, repository, revision) in [
            ("hf:timm/resmlp_12_224.fb_distilled_in1k", "timm/resmlp_12_224.fb_distilled_in1k", "main"),
            ("hf:a/b@v1.0", "a/b", "v1.0"),
            ("hf:a-b/c@refs/pr/1", "a-b/c", "refs/pr/1"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.repository(), address.revision()), (repository, revision));
            assert_eq!(address.to_string(), text);
            assert!(Address::is_meant(Path::new(text)) && !Address::is_meant(&Path::new(".").join(text)));
        }
    }

    #[test]
    fn what_could_leave_the_cache_is_refused() {
        for text in [
            "hf:",
            "hf:name",
            "hf:/name",
            "hf:owner/",
            "hf:a/b/c",
            "hf:../b",
            "hf:a/..",
            "hf:a/.b",
            "hf:a/b@",
            "hf:a/b@..",
            "hf:a/b@x/../../y",
            "hf:a/b@/etc",
            "hf:a/b c",
            "hf:a/b?c",
            "hf:a/b%2e",
            "hf:a/b@-x",
            "hf:a/b@v1@v2",
            "a/b",
            "hf:a/b\n",
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.ends_with("such as hf:timm/resmlp_12_224.fb_distilled_in1k"), "{error}");
        }
        assert!(Address::parse(&format!("hf:a/{}", "b".repeat(MAX_LENGTH))).is_err());
    }
}
