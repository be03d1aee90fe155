//! The programs that the steps call, and how to get them.

use std::path::Path;
use std::process::Command;

use crate::apt::{self, Package};
use crate::process::{Result, find_program, output_of};
use crate::toolchain::{self, LINUX};
use crate::workspace;

/// Where Debian puts aarch64's libraries for cross-compiling.
const AARCH64_ROOT: &str = "/usr/aarch64-linux-gnu";
pub const AARCH64_GCC: &str = "aarch64-linux-gnu-gcc";

/// A program, or several, that steps need beside cargo and rustc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `cargo fmt`.
    Rustfmt,
    /// `cargo clippy`.
    Clippy,
    /// Links programs for aarch64 Linux; on such a machine it is there already.
    Aarch64Linker,
    /// Runs programs for aarch64 Linux, as any of several cores.
    QemuUser,
    /// LLVM's libFuzzer, as a library.
    Fuzzer,
    /// Runs programs and watches their memory.
    Valgrind,
    /// Compiles C++, for this machine.
    Cxx,
    /// What the test of `resmlp deploy` reaches over ssh. Where it is missing that test is skipped.
    SshServer,
}

impl Tool {
    fn packages(self) -> &'static [Package] {
        match self {
            Self::Rustfmt => &[Package { name: "rustfmt-web", purpose: "check the code's format" }],
            Self::Clippy => &[Package { name: "rust-web-clippy", purpose: "lint" }],
            Self::Aarch64Linker => &[
                Package { name: "gcc-aarch64-linux-gnu", purpose: "link programs for aarch64 Linux" },
                Package { name: "libc6-dev-arm64-cross", purpose: "link programs for aarch64 Linux" },
            ],
            Self::QemuUser => &[Package { name: "qemu-user-static", purpose: "run the aarch64 tests" }],
            Self::Fuzzer => &[
                Package { name: "libclang-rt-dev", purpose: "fuzz" },
                Package { name: "g++", purpose: "link libFuzzer" },
            ],
            Self::Valgrind => &[Package { name: "valgrind", purpose: "check the kernels' memory" }],
            Self::Cxx => &[Package { name: "g++", purpose: "compile the C library's header as C++" }],
            Self::SshServer => &[
                Package { name: "openssh-server", purpose: "test `resmlp deploy`" },
                Package { name: "openssh-client", purpose: "test `resmlp deploy`" },
            ],
        }
    }

    fn is_there(self, host: &str) -> bool {
        let cargo_has = |subcommand: &str| {
            let mut cargo = Command::new("cargo");
            output_of(cargo.args([subcommand, "--version"]).current_dir(workspace::root())).is_some()
        };
        match self {
            Self::Rustfmt => cargo_has("fmt"),
            Self::Clippy => cargo_has("clippy"),
            // The C library is looked for twice: a static program takes the .a, and the emulator loads the .so.
            Self::Aarch64Linker => {
                let has_libc = |file: &str| Path::new(AARCH64_ROOT).join("lib").join(file).is_file();
                host == LINUX || find_program(AARCH64_GCC).is_some() && has_libc("libc.a") && has_libc("libc.so.6")
            }
            Self::QemuUser => qemu_user().is_some(),
            Self::Fuzzer => crate::fuzz::library().is_ok() && find_program("c++").is_some(),
            Self::Valgrind => find_program("valgrind").is_some(),
            Self::Cxx => find_program("c++").is_some(),
            // On a machine that systemd has started, the package would open it to the network: that is its user's choice.
            Self::SshServer => {
                let has_server = find_program("sshd").is_some() || Path::new("/usr/sbin/sshd").is_file();
                has_server && find_program("scp").is_some() || Path::new("/run/systemd/system").is_dir()
            }
        }
    }
}

/// The emulator; newer distributions have it without the suffix.
fn qemu_user() -> Option<&'static str> {
    ["qemu-aarch64-static", "qemu-aarch64"].into_iter().find(|name| find_program(name).is_some())
}

/// Installs those of the tools that are missing.
pub fn ensure(tools: &[Tool]) -> Result<()> {
    let host = toolchain::host()?;
    let missing = || tools.iter().copied().filter(|tool| !tool.is_there(&host)).collect::<Vec<_>>();

    let mut components = missing();
    components.retain(|tool| matches!(tool, Tool::Rustfmt | Tool::Clippy));
    let names: Vec<&str> =
        components.iter().map(|tool| if *tool == Tool::Clippy { "clippy" } else { "rustfmt" }).collect();
    if !names.is_empty() {
        toolchain::rustup_add("component", &names);
    }

    let packages: Vec<Package> = missing().iter().flat_map(|tool| tool.packages()).copied().collect();
    if packages.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = packages.iter().map(|package| package.name).collect();
    if !apt::is_there() {
        return Err(format!("missing, and no apt to install it: what Debian has in {}", names.join(", ")));
    }
    apt::update()?;
    apt::install(&packages)?;
    match missing().as_slice() {
        [] => Ok(()),
        still => Err(format!("installed {}, and yet cargo does not find {still:?}", names.join(", "))),
    }
}

/// Tells cargo how to link programs for aarch64 Linux on this machine.
pub fn link_for_aarch64(cargo: &mut Command) -> Result<()> {
    if toolchain::host()? != LINUX {
        cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", AARCH64_GCC);
    }
    Ok(())
}

/// Tells cargo how to run programs for aarch64 Linux as on `core`, a name that QEMU knows.
pub fn emulate_aarch64(cargo: &mut Command, core: &str) -> Result<()> {
    let mut runner = qemu_user().ok_or("qemu-user is missing")?.to_string();
    if toolchain::host()? != LINUX {
        // Without the variable, threads hang where the libc6:arm64 package is installed too: two libc's get mixed.
        runner += &format!(" -L {AARCH64_ROOT} -E LD_LIBRARY_PATH={AARCH64_ROOT}/lib");
    }
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", runner).env("QEMU_CPU", core);
    Ok(())
}

/// The command that begins an emulated run of a static program for aarch64 Linux as on `core`.
pub fn emulated(program: &Path, core: &str) -> Result<Command> {
    let mut command = Command::new(qemu_user().ok_or("qemu-user is missing")?);
    command.arg(program).env("QEMU_CPU", core);
    Ok(command)
}
