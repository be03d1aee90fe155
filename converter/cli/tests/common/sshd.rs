//! An ssh server of one test's own: on a free port of this machine alone, with keys made for it, ended with the test.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server; dropping it ends it.
pub struct Sshd {
    process: Child,
    folder: PathBuf,
    port: u16,
}

impl Sshd {
    /// Starts a server whose files lie in `folder`.
    pub fn start(folder: &Path) -> Self {
        let sshd = find("sshd").expect("OpenSSH's server is installed");
        let keygen = find("ssh-keygen").expect("OpenSSH's client is installed");
        for name in ["host_key", "user_key", "stranger_key"] {
            let mut make = Command::new(&keygen);
            let made = make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.join(name)).status().unwrap();
            assert!(made.success());
        }
        std::fs::copy(folder.join("user_key.pub"), folder.join("authorized_keys")).unwrap();
        std::fs::create_dir(temporary(folder)).unwrap();
        if user() == "root" {
            // Started by the system, it would find this folder made; as another user it does without.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        // Another program may take the free port first.
        (0..3).find_map(|_| Self::start_once(&sshd, folder)).unwrap_or_else(|| panic!("{}", log(folder)))
    }

    fn start_once(sshd: &Path, folder: &Path) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let files = folder.display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {files}/host_key\nAuthorizedKeysFile {files}/authorized_keys\n\
             AuthenticationMethods publickey\nPidFile none\nUsePAM no\nStrictModes no\nSetEnv TMPDIR=\"{}\"\n",
            temporary(folder).display()
        );
        std::fs::write(folder.join("sshd_config"), config).unwrap();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let mut command = Command::new(sshd);
        command.arg("-D").arg("-e").arg("-f").arg(folder.join("sshd_config"));
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut server = Self { process, folder: folder.to_owned(), port };
        server.accepts_connections().then_some(server)
    }

    /// Waits until it does; false where it ends instead.
    fn accepts_connections(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            match TcpStream::connect(("127.0.0.1", self.port)) {
                Ok(_) => return true,
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    /// `user@127.0.0.1`.
    pub fn host(&self) -> String {
        format!("{}@127.0.0.1", user())
    }

    /// The same with its port: `ssh://user@127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("ssh://{}:{}", self.host(), self.port)
    }

    /// What ssh needs to know to reach it.
    pub fn options(&self) -> Vec<String> {
        self.options_with("user_key")
    }

    /// The same with a key that it does not know.
    pub fn options_with_another_key(&self) -> Vec<String> {
        self.options_with("stranger_key")
    }

    fn options_with(&self, key: &str) -> Vec<String> {
        let (port, files) = (self.port, self.folder.display());
        vec![
            format!("Port={port}"),
            format!("IdentityFile={files}/{key}"),
            "IdentitiesOnly=yes".to_owned(),
            "IdentityAgent=none".to_owned(),
            "BatchMode=yes".to_owned(),
            "StrictHostKeyChecking=accept-new".to_owned(),
            format!("UserKnownHostsFile={files}/known_hosts"),
        ]
    }

    /// Where its users' temporary files go.
    pub fn temporary(&self) -> PathBuf {
        temporary(&self.folder)
    }

    /// What the server has said so far.
    pub fn log(&self) -> String {
        log(&self.folder)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

fn temporary(folder: &Path) -> PathBuf {
    folder.join("the board")
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The program's absolute path; servers are not always in PATH.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}
