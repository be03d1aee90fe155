//! Runs an ssh server for one test. The server listens on a free port of this machine alone, has keys of its own, and
//! ends with the test.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server, which ends when it is dropped.
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
            // The system makes this folder where it starts the server. Only root's server needs the folder.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        // Another program may take the free port first, so there are several attempts.
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

    /// Waits until the server accepts connections. Returns false where it ends instead.
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

    /// Returns the host as `user@127.0.0.1`.
    pub fn host(&self) -> String {
        format!("{}@127.0.0.1", user())
    }

    /// Returns the host with its port, as `ssh://user@127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("ssh://{}:{}", self.host(), self.port)
    }

    /// Returns the options with which ssh reaches the server.
    pub fn options(&self) -> Vec<String> {
        self.options_with("user_key")
    }

    /// Returns options with a key that the server does not know.
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

    /// Returns the folder for the temporary files of the server's users.
    pub fn temporary(&self) -> PathBuf {
        temporary(&self.folder)
    }

    /// Returns the server's log so far.
    pub fn log(&self) -> String {
        log(&self.folder)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // The server may have ended by itself, so errors do not matter.
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

/// Returns the absolute path of a program. Servers are not in every user's `PATH`.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}
