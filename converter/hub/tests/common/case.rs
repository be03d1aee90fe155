//! A hub with a repository and an empty cache, for one test.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use resmlp_hub::{Address, Event, Result, Settings, Snapshot, Wanted, fetch};

use super::server::{COMMIT, REPOSITORY, Server, sha256};

pub const CONFIG: &[u8] = br#"{"architecture": "resmlp"}"#;
pub const WANTED: Wanted = Wanted { weights: &["model.safetensors", "pytorch_model.bin"], beside: "config.json" };

/// A hub with a repository, and an empty cache.
pub struct Case {
    pub server: Server,
    pub folder: tempfile::TempDir,
    pub weights: Vec<u8>,
    pub token: Option<String>,
    pub offline: bool,
}

impl Case {
    pub fn new() -> Self {
        let weights: Vec<u8> = (0..3_000_000u32).flat_map(|i| (i * 7).to_le_bytes()).take(2_500_000).collect();
        Self::with(&[("README.md", b"#"), ("config.json", CONFIG), ("model.safetensors", &weights)], weights.clone())
    }

    pub fn with(files: &[(&str, &[u8])], weights: Vec<u8>) -> Self {
        let (server, folder) = (Server::start(files), tempfile::tempdir().unwrap());
        Self { server, folder, weights, token: None, offline: false }
    }

    pub fn settings(&self) -> Settings {
        Settings {
            endpoint: self.server.endpoint.clone(),
            cache: self.folder.path().join("hub"),
            token: self.token.clone(),
            offline: self.offline,
            silence: Duration::from_secs(20),
            certificates: None,
        }
    }

    pub fn fetch(&self) -> Result<Snapshot> {
        self.fetch_of(&format!("hf:{REPOSITORY}"))
    }

    pub fn fetch_of(&self, address: &str) -> Result<Snapshot> {
        fetch(&Address::parse(address)?, &self.settings(), WANTED, &mut |_| ())
    }

    pub fn error(&self) -> String {
        self.fetch().unwrap_err().to_string()
    }

    /// Fetches and returns the notes.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = vec![];
        let mut tell = |event: Event| {
            if let Event::Note(note) = event {
                notes.push(note.to_owned());
            }
        };
        let address = Address::parse(&format!("hf:{REPOSITORY}")).unwrap();
        fetch(&address, &self.settings(), WANTED, &mut tell).unwrap();
        notes
    }

    /// Returns a path in the repository's part of the cache.
    pub fn kept(&self, path: &str) -> PathBuf {
        self.folder.path().join("hub/models--timm--tiny_resmlp.of_tests").join(path)
    }

    pub fn blob(&self) -> PathBuf {
        self.kept("blobs").join(sha256(&self.weights))
    }

    pub fn incomplete(&self) -> PathBuf {
        self.blob().with_extension("incomplete")
    }

    pub fn assert_is_whole(&self, snapshot: &Snapshot) {
        assert_eq!(snapshot.commit, COMMIT);
        assert!(fs::read(&snapshot.weights).unwrap() == self.weights);
        assert_eq!(fs::read(snapshot.weights.with_file_name("config.json")).unwrap(), CONFIG);
        assert!(!self.incomplete().exists());
    }

    /// Asserts that nothing is in the cache under a name that promises whole contents.
    pub fn assert_nothing_is_kept(&self) {
        assert!(!self.blob().exists() && !self.kept("refs").exists());
        assert!(!self.kept(&format!("snapshots/{COMMIT}/model.safetensors")).exists());
    }
}
