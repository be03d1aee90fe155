//! The files that each Raspberry Pi needs on its card.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::target::Target;

/// A machine for which card images are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
pub enum Board {
    /// Raspberry Pi 3, 3+ and Zero 2 W.
    #[value(name = "raspberry-pi-3")]
    #[serde(rename = "raspberry-pi-3")]
    RaspberryPi3,
    /// Raspberry Pi 4, 400 and Compute Module 4.
    #[value(name = "raspberry-pi-4")]
    #[serde(rename = "raspberry-pi-4")]
    RaspberryPi4,
}

/// Name of the bare-metal program on the card.
pub(crate) const KERNEL: &str = "kernel8.img";
/// Name of the packed model on the card.
pub(crate) const MODEL: &str = "model.rmlp";
/// Name of the file with the firmware's settings on the card.
pub(crate) const CONFIG: &str = "config.txt";

/// Sentences that say where to get the boot files.
const SOURCES: &str = "Raspberry Pi OS has all of them in /boot/firmware. Debian has the firmware in the package raspi-firmware (of \
                       non-free-firmware; /usr/lib/raspi-firmware) and the .dtb files in linux-image-arm64 \
                       (/usr/lib/linux-image-*/broadcom). \
                       https://github.com/raspberrypi/firmware/tree/stable/boot has all of them too. \
                       --boot-files may be given several times";

/// Start of the names that Linux gives to device trees. The firmware looks for other names unless `config.txt` says so.
const UPSTREAM: &str = "bcm2837-";

/// Device tree for the 3 A+ in Linux. In Raspberry Pi's Linux the 3 A+ and the 3 B+ share a tree.
const UPSTREAM_3_A_PLUS: &str = "bcm2837-rpi-3-a-plus.dtb";

/// Names of the device tree of a Compute Module 4: the one that Linux gives it, and the one for which the firmware
/// looks.
const CM4: [&str; 2] = ["bcm2711-rpi-cm4-io.dtb", "bcm2711-rpi-cm4.dtb"];

/// Returns the name of a boot file on the card.
pub(super) fn name_on_card(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let [linux, own] = CM4;
    if name == linux { own.to_owned() } else { name.into_owned() }
}

/// Returns whether a device tree has the name that Linux gives it.
fn is_upstream(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(UPSTREAM))
}

impl Board {
    /// Returns the name that the command line uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::RaspberryPi3 => "raspberry-pi-3",
            Self::RaspberryPi4 => "raspberry-pi-4",
        }
    }

    /// Returns the target of `resmlp convert --target` that has the same name.
    pub(super) fn target(self) -> Target {
        match self {
            Self::RaspberryPi3 => Target::RaspberryPi3,
            Self::RaspberryPi4 => Target::RaspberryPi4,
        }
    }

    /// Returns the names of the programs that run before the kernel. All of them are needed.
    fn firmware(self) -> &'static [&'static str] {
        match self {
            Self::RaspberryPi3 => &["bootcode.bin", "start.elf", "fixup.dat"],
            // A Raspberry Pi 4 has in a memory chip what a Raspberry Pi 3 has in bootcode.bin.
            Self::RaspberryPi4 => &["start4.elf", "fixup4.dat"],
        }
    }

    /// Returns the names of the device trees. The firmware picks the tree of its machine, and tells the kernel in it
    /// where the model lies. All names in a row belong to the same machine; a tree from at least one row is needed.
    fn device_trees(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::RaspberryPi3 => &[
                &["bcm2710-rpi-3-b.dtb", "bcm2837-rpi-3-b.dtb"],
                &["bcm2710-rpi-3-b-plus.dtb", "bcm2837-rpi-3-b-plus.dtb"],
                &["bcm2710-rpi-zero-2-w.dtb", "bcm2837-rpi-zero-2-w.dtb"],
            ],
            Self::RaspberryPi4 => &[&["bcm2711-rpi-4-b.dtb"], &["bcm2711-rpi-400.dtb"], &[CM4[1], CM4[0]]],
        }
    }

    /// Finds the boot files in `folders`.
    ///
    /// # Errors
    /// Returns an error that names a folder which does not exist, or else all missing files and where to get them.
    pub(super) fn boot_files(self, folders: &[PathBuf]) -> Result<Vec<PathBuf>> {
        if let Some(folder) = folders.iter().find(|folder| !folder.is_dir()) {
            return Err(Error::file(folder, format!("no such folder, expected one that holds boot files. {SOURCES}")));
        }
        let find = |name: &str| {
            let places = folders.iter().flat_map(|folder| [folder.join(name), folder.join("broadcom").join(name)]);
            places.into_iter().find(|path| path.is_file())
        };
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for name in self.firmware() {
            find(name).map_or_else(|| missing.push((*name).to_owned()), |path| found.push(path));
        }
        let trees = self.device_trees();
        let mut found_trees: Vec<PathBuf> =
            trees.iter().filter_map(|names| names.iter().find_map(|name| find(name))).collect();
        if found_trees.is_empty() {
            missing.push(trees.concat().join(" or "));
        }
        if found_trees.iter().any(|path| is_upstream(path)) {
            found_trees.extend(find(UPSTREAM_3_A_PLUS));
        }
        found.extend(found_trees);
        // The firmware may be passed on together with its licence only.
        found.extend(find("LICENCE.broadcom"));
        if missing.is_empty() {
            return Ok(found);
        }
        let folder = folders.first().map_or(Path::new(""), PathBuf::as_path);
        let message = format!("boot files of a {} are missing: {}. {SOURCES}", self.name(), missing.join(", "));
        Err(Error::file(folder, message))
    }

    /// Returns the contents of the file with the firmware's settings.
    pub(super) fn config(self, boot_files: &[PathBuf]) -> String {
        let mut lines = vec![
            format!(
                "# ResMLP on a {}: the firmware loads the kernel, and the model as its initial file system.",
                self.name()
            ),
            "arm_64bit=1".to_owned(),
            format!("kernel={KERNEL}"),
            "kernel_address=0x80000".to_owned(),
            format!("initramfs {MODEL} followkernel"),
            "# Without an operating system nothing else raises the clock above its minimum, 600 MHz.".to_owned(),
            "force_turbo=1".to_owned(),
        ];
        if self == Self::RaspberryPi4 {
            lines.push("# 1.8 GHz instead of 1.5 GHz, on boards that support it.".to_owned());
            lines.push("arm_boost=1".to_owned());
        }
        lines.extend([
            "# The serial line: 115200 baud, 8N1, on GPIO 14 (TX) and 15 (RX).".to_owned(),
            "enable_uart=1".to_owned(),
            "init_uart_clock=48000000".to_owned(),
        ]);
        if boot_files.iter().any(|path| is_upstream(path)) {
            lines.push("# The device trees have the names that Linux gives them.".to_owned());
            lines.push("upstream_kernel=1".to_owned());
        }
        lines.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for board in Board::value_variants() {
            assert_eq!(board.to_possible_value().unwrap().get_name(), board.name());
            assert_eq!(serde_json::to_value(board).unwrap(), board.name());
        }
    }

    #[test]
    fn files_may_lie_in_several_folders() {
        let folder = tempfile::tempdir().unwrap();
        let firmware = folder.path().join("raspi-firmware");
        let trees = folder.path().join("linux-image/broadcom");
        for (folder, names) in [
            (&firmware, &["bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat"][..]),
            (&trees, &["bcm2837-rpi-3-b.dtb", UPSTREAM_3_A_PLUS, "bcm2837-rpi-zero-2-w.dtb", "bcm2711-rpi-4-b.dtb"]),
        ] {
            std::fs::create_dir_all(folder).unwrap();
            names.iter().for_each(|name| std::fs::write(folder.join(name), name).unwrap());
        }
        let folders = [firmware.clone(), folder.path().join("linux-image")];
        let found = Board::RaspberryPi3.boot_files(&folders).unwrap();
        assert_eq!(found.len(), 6);
        assert!(found.contains(&trees.join(UPSTREAM_3_A_PLUS)), "{found:?}");
        assert!(Board::RaspberryPi3.config(&found).contains("\nupstream_kernel=1\n"));
        let found = Board::RaspberryPi4.boot_files(&folders).unwrap();
        assert_eq!(
            found,
            [firmware.join("start4.elf"), firmware.join("fixup4.dat"), trees.join("bcm2711-rpi-4-b.dtb")]
        );
        assert!(!Board::RaspberryPi4.config(&found).contains("upstream_kernel"));

        let message = Board::RaspberryPi3.boot_files(&folders[1..]).unwrap_err().to_string();
        assert!(message.contains("missing: bootcode.bin, start.elf, fixup.dat. Raspberry Pi OS"), "{message}");
        let message = Board::RaspberryPi3.boot_files(&folders[..1]).unwrap_err().to_string();
        assert!(message.contains("missing: bcm2710-rpi-3-b.dtb or bcm2837-rpi-3-b.dtb or "), "{message}");
        assert!(message.contains(" or bcm2837-rpi-zero-2-w.dtb. Raspberry Pi OS"), "{message}");

        let message = Board::RaspberryPi3.boot_files(&[firmware.clone(), trees.join("none")]).unwrap_err().to_string();
        assert!(message.contains("none: no such folder") && !message.contains("missing"), "{message}");

        // The device tree of one machine is enough.
        std::fs::remove_file(trees.join("bcm2837-rpi-3-b.dtb")).unwrap();
        assert_eq!(Board::RaspberryPi3.boot_files(&folders).unwrap().len(), 5);

        // With Raspberry Pi's own trees the 3 A+ needs no tree of its own.
        let own = folder.path().join("own");
        std::fs::create_dir(&own).unwrap();
        for name in ["bcm2710-rpi-3-b-plus.dtb", "bcm2710-rpi-zero-2-w.dtb"] {
            std::fs::write(own.join(name), name).unwrap();
        }
        let found = Board::RaspberryPi3.boot_files(&[firmware, own, folder.path().join("linux-image")]).unwrap();
        assert_eq!((found.len(), found.iter().any(|path| is_upstream(path))), (5, false));
    }
}
