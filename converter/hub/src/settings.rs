//! What the environment says about the hub, under the names that Python's `huggingface_hub` reads.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::Uri;

use crate::error::{Error, Result};

/// The hub that is asked if `HF_ENDPOINT` names no other one.
const ENDPOINT: &str = "https://huggingface.co";
/// Longest silence of a server if `HF_HUB_DOWNLOAD_TIMEOUT` states no other one.
const SILENCE: Duration = Duration::from_secs(30);
/// Length in bytes of the longest token that is read from a file.
const MAX_TOKEN: u64 = 4096;

/// How the hub is reached, and where its files are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The hub's address, without a slash at the end.
    pub endpoint: String,
    /// Folder of the cache.
    pub cache: PathBuf,
    /// Secret that shows the user's rights to the hub.
    pub token: Option<String>,
    /// Whether the cache alone may be used.
    pub offline: bool,
    /// Time after which a silent server is given up.
    pub silence: Duration,
    /// File of certificates that are trusted instead of the built-in ones.
    pub certificates: Option<PathBuf>,
}

impl Settings {
    /// Reads the settings from the environment.
    ///
    /// | variable | meaning |
    /// |---|---|
    /// | `HF_HUB_CACHE` | folder of the cache; the default is `hub` in `HF_HOME` |
    /// | `HF_HOME` | the default is `huggingface` in `XDG_CACHE_HOME`, which is `~/.cache` by default |
    /// | `HF_ENDPOINT` | the hub or a mirror |
    /// | `HF_TOKEN` | token; without it, the one in the file `HF_TOKEN_PATH`, by default `token` in `HF_HOME` |
    /// | `HF_HUB_OFFLINE` | `1`, `ON`, `YES` or `TRUE`: the network is not used |
    /// | `HF_HUB_DOWNLOAD_TIMEOUT` | seconds after which a silent server is given up |
    /// | `SSL_CERT_FILE` | certificates in PEM that are trusted instead of the built-in ones |
    ///
    /// # Errors
    /// Returns an error that names the variable whose value cannot be used.
    pub fn from_environment() -> Result<Self> {
        Self::read(&|name| std::env::var_os(name).filter(|value| !value.is_empty()), std::env::home_dir())
    }

    fn read(variable: &dyn Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Result<Self> {
        let folder = |name| variable(name).map(PathBuf::from).map(|path| without_tilde(path, home.as_deref()));
        let cache_home = folder("XDG_CACHE_HOME").or_else(|| home.as_ref().map(|home| home.join(".cache")));
        let hf_home = folder("HF_HOME").or_else(|| cache_home.map(|cache| cache.join("huggingface")));
        let cache = folder("HF_HUB_CACHE").or_else(|| hf_home.as_ref().map(|home| home.join("hub")));
        let cache = cache.ok_or(Error::Variable {
            name: "HF_HOME",
            found: "is not set, and there is no home folder".into(),
            expected: "the folder in which downloads are kept",
        })?;
        let file = folder("HF_TOKEN_PATH").or_else(|| hf_home.map(|home| home.join("token")));
        let is_true =
            |value: OsString| matches!(value.to_string_lossy().to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE");
        Ok(Self {
            endpoint: endpoint(variable("HF_ENDPOINT"))?,
            cache,
            token: token(variable("HF_TOKEN"), file.as_deref())?,
            offline: variable("HF_HUB_OFFLINE").is_some_and(is_true),
            silence: silence(variable("HF_HUB_DOWNLOAD_TIMEOUT"))?,
            certificates: folder("SSL_CERT_FILE"),
        })
    }
}

/// Replaces a `~` at the start of a path by the home folder, as Python does.
fn without_tilde(path: PathBuf, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}

fn endpoint(value: Option<OsString>) -> Result<String> {
    let text = value.map_or(ENDPOINT.to_owned(), |value| value.to_string_lossy().trim_end_matches('/').to_owned());
    let uri: Option<Uri> = text.parse().ok();
    let is_usable = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some() && uri.query().is_none()
    });
    match is_usable {
        true => Ok(text),
        false => Err(Error::Variable {
            name: "HF_ENDPOINT",
            found: format!("is {text}"),
            expected: "the address of a hub, such as https://huggingface.co",
        }),
    }
}

/// Returns the token that the environment states, or else the one in `file`.
fn token(value: Option<OsString>, file: Option<&Path>) -> Result<Option<String>> {
    let from_file =
        |path: &Path| Some(String::from_utf8_lossy(&resmlp_files::read(path, MAX_TOKEN).ok()?).into_owned());
    let found = value.map(|value| value.to_string_lossy().into_owned()).or_else(|| file.and_then(from_file));
    let token = found.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
    match token {
        Some(token) if !token.chars().all(|c| c.is_ascii_graphic()) => Err(Error::Variable {
            name: "HF_TOKEN",
            found: "or the file of the token has a character that no token has".into(),
            expected: "a token such as hf_… from the settings of the hub",
        }),
        token => Ok(token),
    }
}

fn silence(value: Option<OsString>) -> Result<Duration> {
    let Some(value) = value else { return Ok(SILENCE) };
    let text = value.to_string_lossy();
    let seconds = text.trim().parse::<u32>().ok().filter(|seconds| *seconds > 0);
    seconds.map(|seconds| Duration::from_secs(seconds.into())).ok_or_else(|| Error::Variable {
        name: "HF_HUB_DOWNLOAD_TIMEOUT",
        found: format!("is {text}"),
        expected: "a whole number of seconds over 0",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings> {
        let value = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        Settings::read(&value, Some("/home/me".into()))
    }

    #[test]
    fn the_cache_lies_where_python_has_it() {
        for (variables, cache) in [
            (&[][..], "/home/me/.cache/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/h")], "/h/hub"),
            (&[("HF_HOME", "~/h")], "/home/me/h/hub"),
            (&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c")], "/c"),
        ] {
            assert_eq!(read(variables).unwrap().cache, Path::new(cache));
        }
    }

    #[test]
    fn the_token_comes_from_the_environment_or_its_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "hf_file\n").unwrap();
        let home = folder.path().to_str().unwrap();
        let of = |variables: &[_]| read(variables).unwrap().token;
        assert_eq!(of(&[("HF_HOME", home)]).as_deref(), Some("hf_file"));
        assert_eq!(of(&[("HF_HOME", home), ("HF_TOKEN", "hf_variable")]).as_deref(), Some("hf_variable"));
        assert_eq!(of(&[("HF_HOME", home), ("HF_TOKEN_PATH", "/missing")]), None);
        assert!(read(&[("HF_TOKEN", "hf_a\r\nHost: b")]).is_err());
    }

    #[test]
    fn other_values_are_understood_or_refused_by_name() {
        let settings = read(&[("HF_ENDPOINT", "http://mirror:80/hub/"), ("HF_HUB_OFFLINE", "yes")]).unwrap();
        assert_eq!((settings.endpoint.as_str(), settings.offline), ("http://mirror:80/hub", true));
        let settings = read(&[("HF_HUB_OFFLINE", "0"), ("HF_HUB_DOWNLOAD_TIMEOUT", "5")]).unwrap();
        assert_eq!((settings.endpoint.as_str(), settings.offline), (ENDPOINT, false));
        assert_eq!(settings.silence, Duration::from_secs(5));
        for (name, value) in
            [("HF_ENDPOINT", "mirror"), ("HF_ENDPOINT", "ftp://x"), ("HF_HUB_DOWNLOAD_TIMEOUT", "soon")]
        {
            assert!(read(&[(name, value)]).unwrap_err().to_string().contains(name));
        }
    }
}
