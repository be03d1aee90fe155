//! The image for a Raspberry Pi without an operating system, on an emulated Raspberry Pi 3: it computes the logits of
//! this machine, answers over the serial line, and says what is wrong with a damaged card.
//!
//! `cargo xtask test --only raspberry-pi` builds the image and runs these tests.

#[path = "emulated/board.rs"]
mod board;
#[path = "emulated/errata.rs"]
mod errata;

use board::Board;
use resmlp_emulation::{Ended, Result, output, read, write};
use resmlp_protocol::{Decoder, Message};

/// Makes one tick of the board's counter one instruction of any core, so that every run takes the same number of ticks.
const COUNTING: [&str; 2] = ["-icount", "shift=4,sleep=off"];

/// Prints the number of ticks that each phase of a run took.
fn print_ticks(ended: &Ended) {
    ended.text().lines().filter(|line| line.starts_with("ticks")).for_each(|line| println!("{line}"));
}

/// The image contains no instruction sequence affected by Cortex-A53 erratum 835769. Its constants may look like one by
/// chance, so a few are allowed.
#[test]
#[ignore = "needs an emulated board: cargo xtask test --only raspberry-pi"]
fn the_image_has_no_sequence_of_erratum_835769() -> Result {
    match errata::sequences_of_835769(&read(&Board::find()?.image)?) {
        0..=4 => Ok(()),
        found => {
            Err(format!("{found} multiplications follow a load or store, expected none but among constants").into())
        }
    }
}

#[test]
#[ignore = "needs an emulated board: cargo xtask test --only raspberry-pi"]
fn four_cores_print_the_committed_transcript() -> Result {
    let board = Board::find()?;
    let ended = board.run(&["runs=3"], &board.demo()?, &COUNTING, b"")?;
    print!("{}", ended.text());
    ended.expect(0, &["cores: 4\n"])?;
    board.check_logits(&ended, &board.pictures)?;
    board.transcript().compare(&ended.text(), board.inputs.overwrite)
}

#[test]
#[ignore = "needs an emulated board: cargo xtask test --only raspberry-pi"]
fn one_core_computes_the_same_logits() -> Result {
    let board = Board::find()?;
    let ended = board.run(&["runs=3 cores=1"], &board.demo()?, &COUNTING, b"")?;
    print_ticks(&ended);
    ended.expect(0, &["cores: 1\n"])?;
    board.check_logits(&ended, &board.pictures)
}

/// Without pictures after the model, the image classifies a picture of stripes.
#[test]
#[ignore = "needs an emulated board: cargo xtask test --only raspberry-pi"]
fn a_model_without_pictures_classifies_stripes() -> Result {
    let board = Board::find()?;
    let stripes: Vec<u8> = (0..=255).cycle().take(32 * 32 * 3).collect();
    let picture = board.temporary("stripes.rgb");
    write(&picture, &stripes)?;
    let ended = board.run(&["runs=1"], &board.model, &[], b"")?;
    board.check_logits(&ended, &[picture])
}

/// The files that `resmlp image` puts on a card boot. The emulator has no boot firmware, which would load the same
/// files.
#[test]
#[ignore = "needs an emulated board: cargo xtask test --only raspberry-pi"]
fn the_files_of_a_card_image_boot() -> Result {
    let board = Board::find()?;
    let folder = board.temporary_folder("card")?;
    for name in ["bootcode.bin", "start.elf", "fixup.dat"] {
        write(&folder.join(name), name.as_bytes())?;
    }
    write(&folder.join("bcm2710-rpi-3-b.dtb"), &read(&board.device_tree)?)?;
    let pictures = ["horse.png", "cat_face.jpg"].map(|name| board::repository().join("demo/pictures").join(name));
    let card = folder.join("sd.img");
    let mut image = board.inputs.program("resmlp");
    image.args(["image", "--board", "raspberry-pi-3", "--model"]).arg(&board.model).arg("--boot-files").arg(&folder);
    image.arg("--kernel").arg(&board.image).arg("--output").arg(&card);
    output(image.args(pictures.iter().flat_map(|picture| ["--picture".as_ref(), picture.as_os_str()])))?;

    let copies = board.temporary_folder("card/copies")?;
    let [kernel, model, device_tree] = ["kernel8.img", "model.rmlp", "bcm2710-rpi-3-b.dtb"].map(|name| {
        let copy = copies.join(name);
        board::copy_from_card(&card, name, &copy).map(|()| copy)
    });
    let mut emulator = board.emulator(&kernel?, &["runs=1"]);
    let ended = resmlp_emulation::run(emulator.arg("-dtb").arg(device_tree?).arg("-initrd").arg(model?), b"")?;
    board.check_logits(&ended, &pictures)
}

/// The boot firmware of some boards describes the machine by ATAGs instead of a device tree.
#[test]
#[ignore = "needs an emulated board: cargo xtask test --only raspberry-pi"]
fn the_image_starts_without_a_device_tree() -> Result {
    let board = Board::find()?;
    let mut emulator = board.emulator(&board.image, &["runs=1"]);
    let ended = resmlp_emulation::run(emulator.arg("-initrd").arg(board.demo()?), b"")?;
    ended.expect(0, &["started with ATAGs"])?;
    board.check_logits(&ended, &board.pictures)
}

/// Newer boot firmware may load the image at 2 MiB. The image then moves itself.
#[test]
#[ignore = "needs an emulated board: cargo xtask test --only raspberry-pi"]
fn an_image_that_is_loaded_at_2_mib_moves_itself() -> Result {
    let board = Board::find()?;
    // The emulator loads at 0x80000. A branch to 0x200000 is put there, and the image at 0x200000.
    let distance = 0x20_0000 - 0x8_0000;
    let branch: u32 = 0x1400_0000 | (distance / 4);
    let mut bytes = branch.to_le_bytes().to_vec();
    bytes.resize(distance as usize, 0);
    bytes.extend(read(&board.image)?);
    let moved = board.temporary("moved.img");
    write(&moved, &bytes)?;
    let mut emulator = board.emulator(&moved, &["runs=1"]);
    emulator.arg("-dtb").arg(&board.device_tree).arg("-initrd").arg(board.demo()?);
    board.check_logits(&resmlp_emulation::run(&mut emulator, b"")?, &board.pictures)
}

/// Pictures over the serial line give the same logits as pictures after the model, even after garbage on the line.
#[test]
#[ignore = "needs an emulated board: cargo xtask test --only raspberry-pi"]
fn pictures_over_the_serial_line_have_the_same_logits() -> Result {
    let board = Board::find()?;
    let mut input = b"garbage \xa7RML\x01".to_vec();
    input.extend(board::frame(&Message::Hello));
    for picture in &board.pictures {
        input.extend(board::frame(&Message::Picture(&read(picture)?)));
    }
    let frames = format!("frames={}", 1 + board.pictures.len());
    let ended = board.run(&["runs=1", &frames], &board.demo()?, &[], &input)?;
    ended.expect(0, &[])?;

    let mut buffer = vec![0; 1 << 20];
    let mut decoder = Decoder::new(&mut buffer);
    let (mut info, mut logits) = (None, Vec::new());
    let mut rest = ended.bytes.as_slice();
    while !rest.is_empty() {
        rest = &rest[decoder.push(rest)..];
        while let Some(frame) = decoder.take() {
            match frame {
                Ok(Message::Info(found)) => info = Some((found.image, found.classes, found.longest)),
                Ok(Message::Result(result)) => logits.push(board::bits(result.logits.iter())),
                _ => {}
            }
        }
    }
    let expected = board.inputs.logits(&board.model, &board.pictures)?;
    if info == Some(([32, 32], 10, 3072)) && logits == expected {
        return Ok(());
    }
    Err(format!("the board sent {info:?} and {logits:?}, expected the logits {expected:?}:\n{}", ended.text()).into())
}

/// With a card that was damaged, for example by a power cut, the board says what is wrong in words and by flashes.
#[test]
#[ignore = "needs an emulated board: cargo xtask test --only raspberry-pi"]
fn damage_is_told_in_words_and_by_flashes() -> Result {
    let board = Board::find()?;
    let whole = read(&board.demo()?)?;
    let (half, _) = whole.split_at(whole.len() / 2);
    let mut flipped = whole.clone();
    flipped[half.len()] ^= 0x10;
    let zeros = vec![0; whole.len()];
    let cases: [(&[u8], &str, usize); 5] = [
        (half, "cut off or damaged", 2),
        (&whole[..100], "too short for a model", 2),
        (&flipped, "checksum", 3),
        (&zeros, "not a packed ResMLP model", 3),
        (b"", "no initramfs", 1),
    ];
    let file = board.temporary("damaged");
    for (bytes, message, flashes) in cases {
        write(&file, bytes)?;
        let mut emulator = board.emulator(&board.image, &[]);
        emulator.arg("-dtb").arg(&board.device_tree);
        if !bytes.is_empty() {
            emulator.arg("-initrd").arg(&file);
        }
        let ended = resmlp_emulation::run(&mut emulator, b"")?;
        let pattern = "LED on\nLED off\n".repeat(flashes) + "\n";
        let times = format!("flashes {flashes} times, again and again\n{pattern}");
        ended.expect(10 + flashes as i32, &[message, &times])?;
    }
    Ok(())
}

#[test]
#[ignore = "needs an emulated board: cargo xtask test --only raspberry-pi"]
fn an_exception_is_printed_with_its_registers() -> Result {
    let board = Board::find()?;
    let ended = board.run(&["test-fault"], &board.demo()?, &[], b"")?;
    let parts =
        ["exception on core 0: synchronous exception, data abort", "ESR  0x96000005", "ELR", "FAR  0x0000000700000000"];
    ended.expect(15, &parts)
}

/// Without the word `emulator` the image starts the watchdog, as on a board. This emulator does not count the
/// watchdog's time, and resets at once.
#[test]
#[ignore = "needs an emulated board: cargo xtask test --only raspberry-pi"]
fn the_watchdog_is_started_and_resets_the_board() -> Result {
    let board = Board::find()?;
    let mut emulator = board.emulator_without_words(&board.image);
    emulator.arg("-no-reboot").arg("-dtb").arg(&board.device_tree).arg("-initrd").arg(board.demo()?);
    let ended = resmlp_emulation::run(&mut emulator, b"")?;
    ended.expect(0, &[])?;
    if ended.bytes.is_empty() { Ok(()) } else { Err(format!("expected a reset, found\n{}", ended.text()).into()) }
}
