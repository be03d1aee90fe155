//! The programs that the steps call, and how to install them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::{self, Package};
use crate::process::{Result, find_program, output_of};
use crate::targets::LINUX;
use crate::{cargo, qemu_system, toolchain};

/// The folder of the libraries for cross-compiling to aarch64, in Debian.
const AARCH64_ROOT: &str = "/usr/aarch64-linux-gnu";
/// The C compiler for aarch64 Linux, which also links Rust programs.
pub const AARCH64_GCC: &str = "aarch64-linux-gnu-gcc";

/// The emulator that can load plugins. The one whose name ends in `-static` cannot.
pub const QEMU_WITH_PLUGINS: &str = "qemu-aarch64";

/// One or several programs that steps need beside cargo and rustc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// The program behind `cargo fmt`.
    Rustfmt,
    /// The program behind `cargo clippy`.
    Clippy,
    /// Links programs for aarch64 Linux. A machine that runs aarch64 Linux already has it.
    Aarch64Linker,
    /// Runs programs for aarch64 Linux as on one of several cores.
    QemuUser,
    /// The same emulator, linked so that it loads plugins. If it is missing or too new (Debian 13), no instructions
    /// are counted.
    QemuUserPlugins,
    /// Compiles C for this machine.
    CCompiler,
    /// LLVM's models of cores. Distributions without the package skip what needs them.
    Mca,
    /// Runs firmware as on one of several boards.
    QemuArm,
    /// Compiles the device tree for an emulated board.
    DeviceTreeCompiler,
    /// LLVM's libFuzzer, as a library.
    Fuzzer,
    /// Runs programs and watches their memory.
    Valgrind,
    /// Compiles C++, for this machine.
    Cxx,
    /// The ssh server that the tests of `resmlp deploy` connect to. If it is missing, these tests are skipped.
    SshServer,
    /// Shows the page of `resmlp-device bench --html`. Distributions without the package (Ubuntu) skip that test.
    Browser,
    /// Checks and reads the card images of `resmlp image`.
    FatTools,
}

impl Tool {
    /// Returns the packages of Debian and its relatives that hold the tool.
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

    /// Returns whether the tool is installed, or cannot be and is not required.
    fn is_there(self, host: &str) -> bool {
        let cargo_has = |subcommand: &str| output_of(cargo::cargo(subcommand).arg("--version")).is_some();
        match self {
            Self::Rustfmt => cargo_has("fmt"),
            Self::Clippy => cargo_has("clippy"),
            // Both forms of the C library are needed: a static program takes the .a, and the emulator loads the .so.
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
            Self::Fuzzer => libfuzzer().is_ok() && find_program("c++").is_some(),
            Self::Valgrind => find_program("valgrind").is_some(),
            Self::Cxx => find_program("c++").is_some(),
            // If systemd runs, installing the package would start the server and open the machine to the network.
            // That is for its user to choose, so nothing is installed there.
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

/// Returns the name of the emulator of programs. Newer distributions have it without the suffix.
fn qemu_user() -> Option<&'static str> {
    ["qemu-aarch64-static", "qemu-aarch64"].into_iter().find(|name| find_program(name).is_some())
}

/// Returns whether the emulator loads plugins with the interface of QEMU 7.2 and 8. Later versions have another
/// interface, and Debian 13's version loads no plugins.
pub fn counts_instructions() -> bool {
    let version = output_of(Command::new(QEMU_WITH_PLUGINS).arg("--version")).unwrap_or_default();
    ["version 7.2", "version 8."].iter().any(|known| version.contains(known))
}

/// Returns the name of llvm-mca, in a version whose models are known to be good.
pub fn mca() -> Option<&'static str> {
    ["llvm-mca-22", "llvm-mca-21", "llvm-mca-20"].into_iter().find(|name| find_program(name).is_some())
}

/// Returns the path of LLVM's libFuzzer, of the newest version that is installed.
pub fn libfuzzer() -> Result<PathBuf> {
    let host = toolchain::host()?;
    let architecture = host.split('-').next().unwrap_or("x86_64");
    let list = format!("ls /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-{architecture}.a");
    let found = output_of(Command::new("sh").args(["-c", &list])).unwrap_or_default();
    found
        .lines()
        .last()
        .map(PathBuf::from)
        .ok_or_else(|| "libFuzzer was not found: install the package libclang-rt-dev".into())
}

/// Returns the name of the disassembler for aarch64.
pub fn aarch64_objdump() -> Result<&'static str> {
    let name = if toolchain::host()? == LINUX { "objdump" } else { "aarch64-linux-gnu-objdump" };
    find_program(name)
        .map(|_| name)
        .ok_or_else(|| format!("the disassembler {name} is missing: install the package binutils-aarch64-linux-gnu"))
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

/// Installs those of the tools that are missing, and fails if one of them is still missing afterwards.
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
        return Err(format!(
            "tools are missing, and there is no apt to install them: on Debian they are in the packages {}",
            names.join(", ")
        ));
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

/// Tells cargo how to link programs for aarch64 Linux that need no libraries at run time.
///
/// The linker also changes every instruction sequence that a Cortex-A53 (Raspberry Pi 3, Zero 2 W) may compute wrongly,
/// by its errata 835769 and 843419. It does so in the standard library and the C library, too.
pub fn static_for_aarch64(cargo: &mut Command) -> Result<()> {
    cargo.env(
        "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
        "-Ctarget-feature=+crt-static -Clink-args=-Wl,--fix-cortex-a53-835769,--fix-cortex-a53-843419",
    );
    link_for_aarch64(cargo)
}

/// Tells cargo how to run programs for aarch64 Linux as on `core`, a name that QEMU knows.
pub fn emulate_aarch64(cargo: &mut Command, core: &str) -> Result<()> {
    let mut runner =
        qemu_user().ok_or("the emulator qemu-user is missing: install the package qemu-user-static")?.to_string();
    if toolchain::host()? != LINUX {
        // Without the variable, threads hang if the package libc6:arm64 is installed too, because two C libraries get
        // mixed.
        runner += &format!(" -L {AARCH64_ROOT} -E LD_LIBRARY_PATH={AARCH64_ROOT}/lib");
    }
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", runner).env("QEMU_CPU", core);
    Ok(())
}

/// Returns the command that runs a static program for aarch64 Linux as on `core`.
pub fn emulated(program: &Path, core: &str) -> Result<Command> {
    let mut command =
        Command::new(qemu_user().ok_or("the emulator qemu-user is missing: install the package qemu-user-static")?);
    command.arg(program).env("QEMU_CPU", core);
    Ok(command)
}
