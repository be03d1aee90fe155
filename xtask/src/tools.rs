//! The programs that the steps call, and how to get them.

use std::path::Path;
use std::process::Command;

use crate::apt::{self, Package};
use crate::process::{Result, find_program, output_of};
use crate::toolchain::{self, LINUX};
use crate::{qemu_system, workspace};

/// Where Debian puts aarch64's libraries for cross-compiling.
const AARCH64_ROOT: &str = "/usr/aarch64-linux-gnu";
pub const AARCH64_GCC: &str = "aarch64-linux-gnu-gcc";

/// The emulator that can load plugins; the one with `-static` behind its name cannot.
pub const QEMU_WITH_PLUGINS: &str = "qemu-aarch64";

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
    /// The same emulator, linked so that it loads plugins. Where it is missing or too new (Debian 13) nothing is counted.
    QemuUserPlugins,
    /// Compiles C for this machine.
    CCompiler,
    /// LLVM's models of cores. Where no package is known (older distributions) they are skipped.
    Mca,
    /// Runs firmware, as on any of several boards.
    QemuArm,
    /// Makes the device tree for an emulated board.
    DeviceTreeCompiler,
    /// LLVM's libFuzzer, as a library.
    Fuzzer,
    /// Runs programs and watches their memory.
    Valgrind,
    /// Compiles C++, for this machine.
    Cxx,
    /// What the test of `resmlp deploy` reaches over ssh. Where it is missing that test is skipped.
    SshServer,
    /// Shows the page of `resmlp-device bench --html`. Where no package is known (Ubuntu) that test is skipped.
    Browser,
    /// Checks and reads the card images of `resmlp image`.
    FatTools,
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
            Self::QemuUserPlugins => &[Package { name: "qemu-user", purpose: "count executed instructions" }],
            Self::CCompiler => {
                &[Package { name: "gcc", purpose: "compile C" }, Package { name: "libc6-dev", purpose: "compile C" }]
            }
            Self::Mca => &[Package { name: "llvm-22", purpose: "estimate the inner loops' cycles" }],
            Self::QemuArm => &[Package { name: qemu_system::NAME, purpose: "run the firmware" }],
            Self::DeviceTreeCompiler => {
                &[Package { name: "device-tree-compiler", purpose: "describe an emulated board to the firmware" }]
            }
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
            Self::Browser => &[Package { name: "chromium", purpose: "test the page of `resmlp-device bench --html`" }],
            Self::FatTools => &[
                Package { name: "dosfstools", purpose: "check the card images of `resmlp image`" },
                Package { name: "mtools", purpose: "read the card images of `resmlp image`" },
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
            Self::QemuUserPlugins => find_program(QEMU_WITH_PLUGINS).is_some() || apt::candidate("qemu-user").is_none(),
            Self::CCompiler => find_program("cc").is_some(),
            Self::Mca => mca().is_some() || apt::candidate("llvm-22").is_none(),
            Self::QemuArm => qemu_system::find(qemu_system::NAME).is_some(),
            Self::DeviceTreeCompiler => find_program("dtc").is_some(),
            Self::Fuzzer => crate::fuzz::library().is_ok() && find_program("c++").is_some(),
            Self::Valgrind => find_program("valgrind").is_some(),
            Self::Cxx => find_program("c++").is_some(),
            // On a machine that systemd has started, the package would open it to the network: that is its user's choice.
            Self::SshServer => {
                let has_server = find_program("sshd").is_some() || Path::new("/usr/sbin/sshd").is_file();
                has_server && find_program("ssh").is_some() || Path::new("/run/systemd/system").is_dir()
            }
            Self::Browser => {
                let has_one =
                    ["chromium", "chromium-browser", "google-chrome"].iter().any(|n| find_program(n).is_some());
                has_one || apt::candidate("chromium").is_none()
            }
            Self::FatTools => find_program("mcopy").is_some() && Path::new("/usr/sbin/fsck.vfat").is_file(),
        }
    }
}

/// The emulator; newer distributions have it without the suffix.
fn qemu_user() -> Option<&'static str> {
    ["qemu-aarch64-static", "qemu-aarch64"].into_iter().find(|name| find_program(name).is_some())
}

/// Whether the emulator loads plugins with the interface of QEMU 7.2 and 8; later ones have another, and Debian 13's loads none.
pub fn counts_instructions() -> bool {
    let version = output_of(Command::new(QEMU_WITH_PLUGINS).arg("--version")).unwrap_or_default();
    ["version 7.2", "version 8."].iter().any(|known| version.contains(known))
}

/// llvm-mca, of a release whose models are known to be good.
pub fn mca() -> Option<&'static str> {
    ["llvm-mca-22", "llvm-mca-21", "llvm-mca-20"].into_iter().find(|name| find_program(name).is_some())
}

/// The disassembler for aarch64.
pub fn aarch64_objdump() -> Result<&'static str> {
    let name = if toolchain::host()? == LINUX { "objdump" } else { "aarch64-linux-gnu-objdump" };
    find_program(name).map(|_| name).ok_or_else(|| format!("{name} is missing"))
}

/// A tool that could not be installed.
pub struct Missing {
    pub tool: Tool,
    /// What was tried and how it failed.
    pub reason: String,
}

/// Installs those of the tools that are missing, and returns the ones that are missing even then.
pub fn install(tools: &[Tool]) -> Vec<Missing> {
    let Err(reason) = ensure(tools) else { return Vec::new() };
    eprintln!("note: {reason}; the tools are now tried one by one");
    let alone = |&tool| ensure(&[tool]).err().map(|reason| Missing { tool, reason });
    tools.iter().filter_map(alone).collect()
}

/// Installs those of the tools that are missing; fails where one of them still is.
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

    let packages = || missing().iter().flat_map(|tool| tool.packages()).copied().collect::<Vec<Package>>();
    if packages().is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = packages().iter().map(|package| package.name).collect();
    if !apt::is_there() {
        return Err(format!("missing, and no apt to install it: what Debian has in {}", names.join(", ")));
    }
    apt::update()?;
    if missing().contains(&Tool::QemuArm) {
        qemu_system::unpack_if_it_conflicts()?;
    }
    if !packages().is_empty() {
        apt::install(&packages())?;
    }
    match missing().as_slice() {
        [] => Ok(()),
        still => Err(format!("{still:?} is missing, although these packages were installed: {}", names.join(", "))),
    }
}

/// Tells cargo how to link programs for aarch64 Linux on this machine.
pub fn link_for_aarch64(cargo: &mut Command) -> Result<()> {
    if toolchain::host()? != LINUX {
        cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", AARCH64_GCC);
    }
    Ok(())
}

/// The same, for programs that need no libraries at run time. What a Cortex-A53 (Raspberry Pi 3, Zero 2 W) may compute wrongly, by its
/// errata 835769 and 843419, the linker writes otherwise, in the standard and the C library too.
pub fn static_for_aarch64(cargo: &mut Command) -> Result<()> {
    cargo.env(
        "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
        "-Ctarget-feature=+crt-static -Clink-args=-Wl,--fix-cortex-a53-835769,--fix-cortex-a53-843419",
    );
    link_for_aarch64(cargo)
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
