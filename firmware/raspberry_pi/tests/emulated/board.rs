//! Sets up an emulated Raspberry Pi 3, and knows what it should compute.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, thread};

use resmlp_emulation::{Ended, Failure, Inputs, Leeway, Result, Transcript, output, read, run, write};
use resmlp_protocol::Message;

/// The model is made anew for the test, and its last bits depend on the machine that makes it. The logits are therefore
/// compared with those of this machine.
const LEEWAY: Leeway = Leeway {
    timed: &["ms ", "cycles ", "ticks ", "clock ", "stem ", "block.", "head "],
    measured: &["   "],
    elsewhere: &["  logits "],
};

/// An emulated Raspberry Pi 3.
pub struct Board {
    /// The paths of everything that was built for the tests.
    pub inputs: Inputs,
    /// The image that is tested.
    pub image: PathBuf,
    /// The demo's model, laid out for this board.
    pub model: PathBuf,
    /// Pictures of the model's size, each a file of RGB bytes.
    pub pictures: Vec<PathBuf>,
    /// The device tree of the emulated board.
    pub device_tree: PathBuf,
}

impl Board {
    /// Finds the image, the model and the pictures, and compiles the device tree.
    pub fn find() -> Result<Self> {
        let inputs = Inputs::find()?;
        let in_firmware = |name: &str| inputs.firmware.join(name);
        let (image, model) = (in_firmware("kernel8.img"), in_firmware("raspberry-pi-3.rmlp"));
        let pictures: Vec<PathBuf> =
            (0..).map(|i| in_firmware(&format!("picture-{i}.rgb"))).take_while(|p| p.is_file()).collect();
        if pictures.is_empty() {
            return Err(format!("{} has no picture-0.rgb", inputs.firmware.display()).into());
        }
        let device_tree = temporary("emulated.dtb");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("emulated.dts");
        output(Command::new("dtc").args(["-q", "-I", "dts", "-O", "dtb", "-o"]).arg(&device_tree).arg(source))?;
        Ok(Self { inputs, image, model, pictures, device_tree })
    }

    /// Returns a file with the model and the pictures after it, as a card holds it.
    pub fn demo(&self) -> Result<PathBuf> {
        let mut bytes = read(&self.model)?;
        for picture in &self.pictures {
            bytes.extend(read(picture)?);
        }
        let file = self.temporary("initramfs");
        write(&file, &bytes)?;
        Ok(file)
    }

    /// Runs the image with these words on its command line, a file after it in memory, and options of the emulator.
    pub fn run(&self, words: &[&str], initramfs: &Path, options: &[&str], input: &[u8]) -> Result<Ended> {
        let mut emulator = self.emulator(&self.image, words);
        run(emulator.arg("-dtb").arg(&self.device_tree).arg("-initrd").arg(initramfs).args(options), input)
    }

    /// Returns the command that runs an image with these words, and the word that says that it is emulated.
    pub fn emulator(&self, image: &Path, words: &[&str]) -> Command {
        let mut emulator = self.emulator_without_words(image);
        emulator.args(["-semihosting-config", "enable=on,target=native"]);
        emulator.arg("-append").arg(["emulator", &words.join(" ")].join(" "));
        emulator
    }

    /// Returns the command that runs an image as on a real board.
    pub fn emulator_without_words(&self, image: &Path) -> Command {
        let mut emulator = Command::new(&self.inputs.qemu);
        emulator.args(["-M", "raspi3b", "-serial", "stdio", "-display", "none", "-monitor", "none"]);
        emulator.arg("-kernel").arg(image);
        emulator
    }

    /// Checks that the run ended well and printed the logits that this machine computes for the pictures.
    pub fn check_logits(&self, ended: &Ended, pictures: &[PathBuf]) -> Result {
        ended.expect(0, &[])?;
        let expected = self.inputs.logits(&self.model, pictures)?;
        let text = ended.text();
        let found = text.lines().filter_map(|line| line.trim_start().strip_prefix("logits ")?.split_once(" crc "));
        let found: Vec<&str> = found.map(|(logits, _)| logits).collect();
        if found == expected {
            return Ok(());
        }
        Err(format!("expected the logits\n{}\nfound\n{text}", expected.join("\n")).into())
    }

    /// Returns the committed transcript of the demo.
    pub fn transcript(&self) -> Transcript {
        Transcript { file: Path::new(env!("CARGO_MANIFEST_DIR")).join("transcript.txt"), leeway: LEEWAY }
    }

    /// Returns the path of a file that belongs to the running test alone.
    pub fn temporary(&self, name: &str) -> PathBuf {
        temporary(name)
    }

    /// Makes a folder that belongs to the running test alone.
    pub fn temporary_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = temporary(name);
        let made = fs::create_dir_all(&folder).map(|()| folder.clone());
        made.map_err(|error| Failure::from(format!("cannot make {}: {error}", folder.display())))
    }
}

/// Returns the path of a file in a temporary folder of cargo's. The name of the test, which is the name of its thread,
/// keeps the files of tests apart that run at the same time.
fn temporary(name: &str) -> PathBuf {
    let test = thread::current().name().unwrap_or("test").replace("::", "-");
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{name}"))
}

/// Returns the root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Copies a file from the first partition of a card image, which begins after one mebibyte.
pub fn copy_from_card(card: &Path, name: &str, copy: &Path) -> Result {
    let mut mcopy = Command::new("mcopy");
    mcopy.args(["-n", "-i"]).arg(format!("{}@@1M", card.display())).arg(format!("::/{name}")).arg(copy);
    output(&mut mcopy).map(|_| ())
}

/// Encodes a message for the serial line.
pub fn frame(message: &Message) -> Vec<u8> {
    let mut buffer = vec![0; message.encoded_len()];
    message.encode(&mut buffer);
    buffer
}

/// Returns the bits of numbers in hexadecimal, as the board prints them.
pub fn bits(numbers: impl Iterator<Item = f32>) -> String {
    numbers.map(|number| format!("{:08x}", number.to_bits())).collect::<Vec<_>>().join(" ")
}
