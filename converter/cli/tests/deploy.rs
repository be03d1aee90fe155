//! Tests of `resmlp deploy`, with a stand-in for a board and through a real ssh server on this machine.
#![cfg(unix)]

#[path = "common/sshd.rs"]
mod sshd;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sshd::Sshd;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the error line of a command that must have failed.
fn error(output: &Output) -> String {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or(&stderr).to_owned()
}

fn resmlp(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_resmlp"));
    command.args(words);
    command
}

/// Writes a shell script that can be run as a program.
fn write_program(folder: &Path, name: &str, script: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Returns a report of `resmlp-device bench`.
fn report() -> Value {
    serde_json::from_str(include_str!("../../../common/report/tests/report.json")).unwrap()
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

/// Calls `look` until it returns a value, for at most 20 seconds.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("waited in vain: {what}");
}

/// Returns whether `kill`, given these words, reached a process.
fn kill(words: &[&str]) -> bool {
    Command::new("kill").args(words).stderr(Stdio::null()).status().unwrap().success()
}

/// A stand-in for a board. A script takes the place of ssh and runs the commands on this machine.
struct StandIn {
    folder: tempfile::TempDir,
    /// Folder in which the board makes its temporary folders.
    temporary: PathBuf,
}

impl StandIn {
    /// Creates a board on which `uname -m` prints `processor`.
    fn new(processor: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let temporary = folder.path().join("the board");
        std::fs::create_dir(&temporary).unwrap();
        std::fs::write(folder.path().join("some model.rmlp"), "model").unwrap();
        let board = Self { folder, temporary };
        let options = "while [ \"$1\" != -- ]; do case \"$1\" in -o) shift;; esac; shift; done; shift";
        let recorded = board.folder.path().join("ssh arguments");
        let record = format!("echo \"$*\" >>'{}'", recorded.display());
        let known = "case \"$1\" in pi@board|pi@::1|::1) ;; *) exit 9;; esac";
        board.write("ssh", &format!("{record}; {options}; {known}; greet; exec sh -c \"$2\""));
        board.write("greet", "");
        board.write("uname", &format!("[ \"$1\" = -m ] && echo {processor}"));
        board
    }

    fn write(&self, name: &str, script: &str) -> PathBuf {
        write_program(self.folder.path(), name, script)
    }

    /// Writes a program that records its arguments and prints this report.
    fn reporting(&self, report: &Value) -> PathBuf {
        let [json, words] = ["the report", "the words"].map(|name| self.folder.path().join(name));
        std::fs::write(&json, report.to_string()).unwrap();
        self.write("resmlp-device", &format!("echo \"$@\" >'{}'; cat '{}'", words.display(), json.display()))
    }

    /// Returns the arguments that ssh was given so far, one line for each call.
    fn ssh_arguments(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("ssh arguments")).unwrap_or_default()
    }

    fn deploy(&self, program: &Path) -> Output {
        self.deploy_with(program, &[])
    }

    fn deploy_with(&self, program: &Path, others: &[&str]) -> Output {
        self.deploy_to("pi@board", program, others)
    }

    fn deploy_to(&self, host: &str, program: &Path, others: &[&str]) -> Output {
        let output = self.command(host, program).arg("--json").args(others).output().unwrap();
        assert!(is_empty(&self.temporary), "the board is left as it was");
        output
    }

    fn command(&self, host: &str, program: &Path) -> Command {
        let own = std::iter::once(self.folder.path().to_owned());
        let path = std::env::join_paths(own.chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())));
        let mut command = resmlp(&["deploy", host, "--threads", "4", "--kernels", "neon", "--model"]);
        command.arg(self.folder.path().join("some model.rmlp")).arg("--program").arg(program);
        command.env("PATH", path.unwrap()).env("TMPDIR", &self.temporary);
        command
    }
}

#[test]
fn the_boards_report_comes_back() {
    let board = StandIn::new("aarch64");
    let mut expected = report();
    expected["warnings"] = json!(["it is hot"]);
    // A newer program may report more.
    let mut sent = expected.clone();
    sent["fan"] = json!({"rpm": 3000});
    let page = board.folder.path().join("page.html");
    let output = board.deploy_with(&board.reporting(&sent), &["--html", page.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("warning: it is hot"), "{}", text(&output.stderr));
    let model = board.folder.path().join("some model.rmlp").display().to_string();
    expected["model"] = json!(model);
    // The page holds the report as well.
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains(&format!("<h1>{model}</h1>")), "{page}");
    let inside = page.split_once("id=\"report\">").and_then(|(_, rest)| rest.split_once("</script>")).unwrap().0;
    assert_eq!(serde_json::from_str::<Value>(inside).unwrap(), expected);
    expected["host"] = json!("pi@board");
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), expected);

    let words = std::fs::read_to_string(board.folder.path().join("the words")).unwrap();
    let words: Vec<&str> = words.split_once(" --").unwrap().1.split_whitespace().collect();
    assert_eq!(words.join(" "), "json --threads 4 --kernels neon");
}

#[test]
fn the_boards_report_is_text_for_people() {
    let board = StandIn::new("aarch64");
    let output = board.command("pi@board", &board.reporting(&report())).output().unwrap();
    let told = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(told.starts_with("host         pi@board\nboard        NVIDIA Jetson Orin Nano"), "{told}");
    assert!(told.lines().any(|line| line.starts_with("latency      0.479 ms median, 0.448 min")), "{told}");
    assert!(told.lines().any(|line| line.starts_with("block.0.mlp ")), "{told}");
}

#[test]
fn markup_from_a_board_stays_text() {
    let board = StandIn::new("aarch64");
    let hostile = "</title></script><script>alert(1)</script><img src=x onerror=alert(1)>";
    let mut sent = report();
    for pointer in ["/model", "/kernels", "/machine/board", "/machine/cpu", "/layers/0/name", "/energy/sensor"] {
        *sent.pointer_mut(pointer).unwrap() = json!(hostile);
    }
    (sent["warnings"], sent["not_known"], sent["trusted"]) = (json!([hostile]), json!([hostile]), json!(false));
    sent["html"] = json!(hostile);
    let path = board.folder.path().join("page.html");
    let output = board.deploy_with(&board.reporting(&sent), &["--html", path.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let page = std::fs::read_to_string(path).unwrap();
    assert_eq!((page.matches("<script").count(), page.matches("<img").count()), (1, 0), "{page}");
    assert!(page.matches("&lt;script&gt;alert(1)&lt;/script&gt;").count() >= 7, "{page}");
    assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\""), "{page}");
}

#[test]
fn a_report_that_no_board_can_have_measured_is_refused() {
    let board = StandIn::new("aarch64");
    let path = board.folder.path().join("page.html");
    for (pointer, value, told) in [
        ("/latency_ms", json!(null), "invalid type: null"),
        ("/times_ms/0", json!("<script>\n"), "invalid type: string"),
        ("/latency_ms/max", json!(-1), "a latency is -1e0, expected a number from 0"),
        ("/machine/board", json!("x".repeat(10_000)), "a text of machine.board has 10000 bytes"),
    ] {
        let mut sent = report();
        *sent.pointer_mut(pointer).unwrap() = value;
        let output = board.deploy_with(&board.reporting(&sent), &["--html", path.to_str().unwrap()]);
        let found = error(&output);
        assert!(found.starts_with("error: pi@board: bench: its report cannot be read: "), "{found}");
        assert!(found.contains(told) && text(&output.stderr).ends_with(&format!("{found}\n")), "{found}");
        assert!(!path.exists() && output.stdout.is_empty());
    }
    let mut sent = report();
    sent.as_object_mut().unwrap().remove("layers");
    assert!(error(&board.deploy(&board.reporting(&sent))).contains("missing field `layers`"));
}

#[test]
fn a_board_without_a_report_is_named() {
    let board = StandIn::new("aarch64");
    for script in ["exit 3", "echo no report"] {
        let found = error(&board.deploy(&board.write("resmlp-device", script)));
        assert!(found.contains("pi@board"), "{found}");
    }
}

#[test]
fn a_board_that_stops_answering_is_given_up() {
    let board = StandIn::new("aarch64");
    board.deploy_with(&board.reporting(&report()), &["--ssh-option", "ServerAliveInterval=3"]);
    for arguments in board.ssh_arguments().lines() {
        let at = |option| arguments.find(option).unwrap_or_else(|| panic!("{option} is not in: {arguments}"));
        // ssh takes the first value of an option.
        assert!(at("-o ServerAliveInterval=3 ") < at("-oServerAliveInterval=10 "), "{arguments}");
        at("-oServerAliveCountMax=6 ");
    }
}

#[test]
fn a_page_without_a_place_is_refused_before_anything_is_measured() {
    let board = StandIn::new("aarch64");
    let program = board.write("resmlp-device", "echo {}");
    let folder = board.folder.path();
    for page in [folder.to_owned(), folder.join("missing/page.html"), program.join("page.html")] {
        let found = error(&board.deploy_with(&program, &["--html", page.to_str().unwrap()]));
        assert!(found.contains(page.to_str().unwrap()), "{found}");
        assert_eq!(board.ssh_arguments(), "");
    }
}

#[test]
fn a_board_that_forbids_programs_in_its_temporary_folder_is_told_from_others() {
    let board = StandIn::new("aarch64");
    // Without a working chmod the program may not be executed, as on a file system that is mounted noexec.
    board.write("chmod", "");
    let found = error(&board.deploy(&board.write("resmlp-device", "echo {}")));
    for word in ["pi@board", board.temporary.to_str().unwrap(), "noexec", "TMPDIR"] {
        assert!(found.contains(word), "{found}");
    }
}

#[test]
fn an_ipv6_address_may_stand_in_brackets() {
    let board = StandIn::new("aarch64");
    let program = board.reporting(&report());
    for host in ["pi@[::1]", "[::1]", "pi@::1"] {
        let output = board.deploy_to(host, &program, &[]);
        assert!(output.status.success(), "{host}: {}", text(&output.stderr));
    }
}

#[test]
fn what_the_login_shell_prints_is_no_part_of_the_report() {
    let board = StandIn::new("aarch64");
    for greeting in ["Welcome to my Pi\\n/home/pi x86_64\\n{}\\n", "\\033[2J{"] {
        board.write("greet", &format!("printf '{greeting}'"));
        let output = board.deploy(&board.reporting(&report()));
        assert!(output.status.success(), "{}", text(&output.stderr));
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found["times_ms"], report()["times_ms"]);
    }
}

#[test]
fn a_board_that_talks_without_end_is_given_up() {
    let board = StandIn::new("aarch64");
    let program = board.write("resmlp-device", "yes");
    let found = error(&board.deploy(&program));
    assert!(found.contains("pi@board: ssh: printed more than"), "{found}");
    board.write("greet", "yes");
    let found = error(&board.deploy(&program));
    assert!(found.contains("pi@board: ssh: printed 1048576 bytes and no greeting"), "{found}");
}

#[test]
fn what_a_board_says_moves_no_cursor() {
    let board = StandIn::new("aarch64");
    let mut sent = report();
    (sent["warnings"], sent["machine"]["cpu"]) = (json!(["\u{1b}[2J"]), json!("\u{9b}\u{202e}"));
    let json = board.folder.path().join("report.json");
    std::fs::write(&json, sent.to_string()).unwrap();
    let script = format!("printf '\\033[2Jon stderr\\n' >&2; cat '{}'", json.display());
    let output = board.deploy(&board.write("resmlp-device", &script));
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("warning: \\u{1b}[2J") && stderr.contains("note: ssh: \\u{1b}[2Jon stderr"), "{stderr}");
    let is_obeyed = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    assert!(!stderr.contains(is_obeyed) && !stdout.contains(is_obeyed), "{stdout:?} {stderr:?}");
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["machine"]["cpu"], "\u{9b}\u{202e}");
}

#[test]
fn a_program_for_another_processor_is_refused() {
    // A Linux program begins with these 18 bytes, and the number of the processor follows.
    let elf = |machine: u8| [b"\x7fELF\x02\x01\x01", &[0; 11][..], &[machine, 0]].concat();
    for (processor, machine, built_for) in [("armv7l", 0xb7, "aarch64"), ("aarch64", 0x3e, "x86_64")] {
        let board = StandIn::new(processor);
        let program = board.folder.path().join("resmlp-device");
        std::fs::write(&program, elf(machine)).unwrap();
        let found = error(&board.deploy(&program));
        let told = format!("resmlp-device: built for {built_for}, but the processor of pi@board is {processor};");
        assert!(found.contains(&told), "{found}");
    }
}

#[test]
#[ignore = "needs an ssh server: install sshd, ssh and ssh-keygen (openssh-server, openssh-client)"]
fn through_a_real_ssh_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = Sshd::start(folder.path());
    let program = device_program();
    // Shells, pages and ssh must treat every character of this name as it is.
    let model = "host:it's <b> $HOME.rmlp";
    let checkpoint =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../checkpoint/tests/fixtures/safetensors/deit-f32.safetensors");
    let convert = resmlp(&["convert", "--precision", "f16", "--output"])
        .arg(model)
        .arg(checkpoint)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(convert.status.success(), "{}", text(&convert.stderr));
    let deploy = |host: &str, options: &[String], others: &[String]| {
        let mut command = resmlp(&["deploy", "--json", "--runs", "3", "--threads", "1", "--kernels", "scalar"]);
        command.arg(host).arg("--model").arg(model).arg("--program").arg(&program).current_dir(folder.path());
        command.args(options.iter().flat_map(|option| ["--ssh-option", option])).args(others).output().unwrap()
    };

    let page = folder.path().join("report.html");
    let with_page = ["--html", page.to_str().unwrap(), "--pin", "auto", "--cool-down", "150"].map(str::to_owned);
    let output = deploy(&server.host(), &server.options(), &with_page);
    assert!(output.status.success(), "{}{}", text(&output.stderr), server.log());
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["host"], server.host());
    assert_eq!(found["model"], model);
    assert_eq!((&found["kernels"], &found["runs"], &found["threads"]), (&"scalar".into(), &3.into(), &1.into()));
    assert!(found["latency_ms"]["median"].as_f64().unwrap() > 0.0);
    assert_eq!(found["machine"]["architecture"], std::env::consts::ARCH);
    assert_eq!(found["pinned_to"].as_array().unwrap().len(), 1);
    // The page shows the same measurement.
    let page = std::fs::read_to_string(page).unwrap();
    let inside = page.split_once("id=\"report\">").and_then(|(_, rest)| rest.split_once("</script>")).unwrap().0;
    let inside: Value = serde_json::from_str(inside).unwrap();
    assert!(page.contains("<h1>host:it's &lt;b&gt; $HOME.rmlp</h1>"), "{page}");
    assert_eq!((&inside["model"], &inside["times_ms"]), (&found["model"], &found["times_ms"]));
    // All calls of ssh share one connection.
    assert_eq!(server.log().matches("Accepted publickey").count(), 1, "{}", server.log());
    assert!(is_empty(&server.temporary()), "the board is left as it was");

    // The port may stand in the host's URL instead of the first option.
    let output = deploy(&server.url(), &server.options()[1..], &[]);
    assert!(output.status.success(), "{}{}", text(&output.stderr), server.log());

    // The server does not know this key.
    let stranger = server.options_with_another_key();
    assert!(error(&deploy(&server.host(), &stranger, &[])).contains(&server.host()));
}

#[test]
#[ignore = "needs an ssh server: install sshd, ssh and ssh-keygen (openssh-server, openssh-client)"]
fn whatever_ends_it_the_board_is_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let server = Sshd::start(folder.path());
    // This program runs for longer than the test waits.
    let program = write_program(folder.path(), "program", "echo $$ >\"$0.running\"; exec sleep 60");
    let own_temporary = folder.path().join("own");
    std::fs::create_dir(&own_temporary).unwrap();
    let running = || {
        let folders = std::fs::read_dir(server.temporary()).unwrap().map(|entry| entry.unwrap().path());
        let mut files = folders.map(|folder| folder.join("resmlp-device.running"));
        files.find_map(|file| std::fs::read_to_string(file).ok().filter(|pid| pid.ends_with('\n')))
    };

    // The first signal also ends ssh, as Ctrl-C in a terminal does, and with it the connection. The second one does not
    // reach ssh.
    for (signal, with_ssh) in [("-TERM", true), ("-KILL", false)] {
        let mut deploy = resmlp(&["deploy", &server.host(), "--model"]);
        deploy.arg(&program).arg("--program").arg(&program).env("TMPDIR", &own_temporary);
        deploy.args(server.options().iter().flat_map(|option| ["--ssh-option", option]));
        let mut deploy = deploy.stderr(Stdio::null()).process_group(0).spawn().unwrap();
        let pid = wait_for("the program runs", running);
        let ended = if with_ssh { format!("-{}", deploy.id()) } else { deploy.id().to_string() };
        assert!(kill(&[signal, "--", &ended]));
        assert!(!deploy.wait().unwrap().success());
        wait_for("the program is ended", || (!kill(&["-0", pid.trim()])).then_some(()));
        wait_for("its folder is gone", || is_empty(&server.temporary()).then_some(()));
    }
}

/// Builds `resmlp-device` for this machine and returns its path.
fn device_program() -> PathBuf {
    let resmlp = Path::new(env!("CARGO_BIN_EXE_resmlp"));
    let target = resmlp.ancestors().nth(2).unwrap();
    let cargo = std::env::var_os("CARGO").unwrap();
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--package", "resmlp-device", "--target-dir"]).arg(target);
    let output = build.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    target.join("release/resmlp-device")
}
