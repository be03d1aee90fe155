//! A server on loopback that speaks the model hub's protocol, and misbehaves as a test asks.
//!
//! It has two ports. The first is the hub: it describes repositories, and redirects as the real hub does, large files
//! to the second port and small files to another path. The second port stands for the storage behind the hub: it
//! answers ranges, and refuses requests with a token.
#![allow(dead_code, reason = "each program that includes this file uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

/// The commit that `main` and the tag `v1.0` of every repository are.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// The repository that the server has.
pub const REPOSITORY: &str = "timm/tiny_resmlp.of_tests";

/// A request that the server has seen.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub range: Option<u64>,
    pub authorization: Option<String>,
    /// Whether the storage was asked, not the hub.
    pub is_storage: bool,
}

/// An answer of the server.
#[derive(Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Number of bytes of the body after which the connection is closed.
    pub cut: Option<usize>,
    /// Number of bytes of the body after which the server waits until the gate is opened.
    pub gate: Option<(usize, Arc<Gate>)>,
    /// Whether the body is sent again and again without a stated length.
    pub is_endless: bool,
}

impl Reply {
    pub fn new(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Self { status, headers, body: body.into(), ..Self::default() }
    }

    /// Returns the same answer with another value of a header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(found, _)| found != name);
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// A gate at which answers wait.
#[derive(Default)]
pub struct Gate {
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    /// Waits until the server waits at the gate.
    pub fn wait_for_server(&self) {
        let _state = self.changed.wait_while(self.state.lock().unwrap(), |(is_reached, _)| !*is_reached).unwrap();
    }

    pub fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 = true;
        self.changed.notify_all();
        let _state = self.changed.wait_while(state, |(_, is_open)| !*is_open).unwrap();
    }
}

/// Changes the honest answer to a request.
type Hook = Box<dyn Fn(&Seen, Reply) -> Reply + Send + Sync>;

struct State {
    files: Vec<(String, Vec<u8>)>,
    storage: String,
    hook: Mutex<Hook>,
    seen: Mutex<Vec<Seen>>,
}

/// A hub that serves on loopback until the test's process ends.
pub struct Server {
    pub endpoint: String,
    state: Arc<State>,
}

impl Server {
    /// Starts a hub whose repository [`REPOSITORY`] has these files.
    pub fn start(files: &[(&str, &[u8])]) -> Self {
        let [hub, storage] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let address = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let endpoint = address(&hub);
        let state = Arc::new(State {
            files: files.iter().map(|(name, bytes)| (name.to_string(), bytes.to_vec())).collect(),
            storage: address(&storage),
            hook: Mutex::new(Box::new(|_, reply| reply)),
            seen: Mutex::default(),
        });
        for (listener, is_storage) in [(hub, false), (storage, true)] {
            let state = state.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = state.clone();
                    // A client that goes away is no fault of the server.
                    std::thread::spawn(move || state.serve(stream, is_storage).unwrap_or_default());
                }
            });
        }
        Self { endpoint, state }
    }

    /// Lets `hook` change the honest answers from now on.
    pub fn answer(&self, hook: impl Fn(&Seen, Reply) -> Reply + Send + Sync + 'static) {
        *self.state.hook.lock().unwrap() = Box::new(hook);
    }

    /// Returns the requests so far.
    pub fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.state.seen.lock().unwrap()
    }

    /// Returns how often the contents of a large file were asked for.
    pub fn downloads(&self) -> usize {
        self.seen().iter().filter(|seen| seen.is_storage && seen.method == "GET").count()
    }
}

impl State {
    fn serve(&self, mut stream: TcpStream, is_storage: bool) -> std::io::Result<()> {
        let Some(seen) = read_request(&mut stream, is_storage)? else { return Ok(()) };
        self.seen.lock().unwrap().push(seen.clone());
        let honest = if is_storage { self.storage(&seen) } else { self.hub(&seen) };
        let reply = (self.hook.lock().unwrap())(&seen, honest);
        write_reply(&mut stream, &seen, &reply)
    }

    /// Answers as the hub.
    fn hub(&self, seen: &Seen) -> Reply {
        let path = seen.path.as_str();
        let error = |code: &str| Reply::new(404, &[("x-error-code", code), ("x-error-message", "not here")], "");
        for revision in ["main", "v1.0", "refs%2Fpr%2F1", COMMIT] {
            if path == format!("/api/models/{REPOSITORY}/revision/{revision}") {
                let names: Vec<_> = self.files.iter().map(|(name, _)| format!(r#"{{"rfilename":"{name}"}}"#)).collect();
                let json = format!(r#"{{"id":"{REPOSITORY}","sha":"{COMMIT}","siblings":[{}]}}"#, names.join(","));
                return Reply::new(200, &[("content-type", "application/json")], json);
            }
        }
        if path.starts_with(&format!("/api/models/{REPOSITORY}/")) {
            return error("RevisionNotFound");
        }
        let resolved = format!("/{REPOSITORY}/resolve/{COMMIT}/");
        let cached = format!("/api/resolve-cache/{REPOSITORY}/");
        let (name, is_cached) = match (path.strip_prefix(&resolved), path.strip_prefix(&cached)) {
            (Some(name), _) => (name, false),
            (_, Some(name)) => (name, true),
            _ => return error("RepoNotFound"),
        };
        let Some((_, bytes)) = self.files.iter().find(|(found, _)| found == name) else {
            return error("EntryNotFound");
        };
        let commit = ("x-repo-commit", COMMIT);
        if is_large(name) {
            let (hash, size) = (sha256(bytes), bytes.len().to_string());
            let place = format!("{}/{hash}", self.storage);
            let tag = format!("\"{hash}\"");
            let headers = [("location", &*place), ("x-linked-etag", &tag), ("x-linked-size", &size), commit];
            return Reply::new(302, &headers, "");
        }
        match is_cached {
            false => Reply::new(307, &[("location", &*format!("{cached}{name}")), commit], ""),
            true => contents(bytes, seen.range, &git_hash(bytes)).with("x-repo-commit", COMMIT),
        }
    }

    /// Answers as the storage behind the hub.
    fn storage(&self, seen: &Seen) -> Reply {
        if seen.authorization.is_some() {
            return Reply::new(400, &[], "only one way to authenticate is allowed");
        }
        let found = self.files.iter().find(|(_, bytes)| seen.path == format!("/{}", sha256(bytes)));
        found.map_or(Reply::new(403, &[], ""), |(_, bytes)| contents(bytes, seen.range, "of the storage"))
    }
}

/// Returns the contents from the byte `from` on.
fn contents(bytes: &[u8], from: Option<u64>, tag: &str) -> Reply {
    let tag = format!("\"{tag}\"");
    match from {
        None => Reply::new(200, &[("etag", &tag)], bytes),
        Some(from) if from >= bytes.len() as u64 => Reply::new(416, &[], ""),
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            Reply::new(206, &[("etag", &*tag), ("content-range", &range)], &bytes[from as usize..])
        }
    }
}

/// Returns whether a file is kept in the storage behind the hub, as files of weights are.
fn is_large(name: &str) -> bool {
    !name.ends_with(".json")
}

fn read_request(stream: &mut TcpStream, is_storage: bool) -> std::io::Result<Option<Seen>> {
    let mut lines = BufReader::new(stream.take(1 << 16)).lines();
    let Some(first) = lines.next().transpose()? else { return Ok(None) };
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut seen = Seen { method, path, range: None, authorization: None, is_storage };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        match name.to_lowercase().as_str() {
            "range" => seen.range = value.trim().trim_start_matches("bytes=").trim_end_matches('-').parse().ok(),
            "authorization" => seen.authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    Ok(Some(seen))
}

fn write_reply(stream: &mut TcpStream, seen: &Seen, reply: &Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} OK\r\nconnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !reply.is_endless && !reply.headers.iter().any(|(name, _)| name == "content-length") {
        head += &format!("content-length: {}\r\n", reply.body.len());
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if seen.method == "HEAD" {
        return Ok(());
    }
    let body = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
    let (before, after) = body.split_at(reply.gate.as_ref().map_or(body.len(), |(at, _)| *at));
    stream.write_all(before)?;
    if let Some((_, gate)) = &reply.gate {
        stream.flush()?;
        gate.pass();
    }
    stream.write_all(after)?;
    if !reply.is_endless {
        return Ok(());
    }
    // The loop ends with an error when the client has gone away.
    loop {
        stream.write_all(body)?;
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(digest(&SHA256, bytes).as_ref())
}

pub fn git_hash(bytes: &[u8]) -> String {
    let text = [format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat();
    hexadecimal(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text).as_ref())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
