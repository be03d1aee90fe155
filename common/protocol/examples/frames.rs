//! Writes and reads frames, for tests that use files instead of a serial line.
//!
//! ```text
//! frames encode [PICTURE]…    writes a hello and pictures, files of height × width × RGB bytes, to standard output
//! frames decode               reads frames from standard input and prints each on a line
//! ```

use std::io::{self, Read, Write};
use std::process::ExitCode;

use resmlp_protocol::{Decoder, Message};

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first().map(|(verb, files)| (verb.as_str(), files)) {
        Some(("encode", pictures)) => encode(pictures)?,
        Some(("decode", [])) => decode()?,
        _ => {
            eprintln!("usage: frames encode [PICTURE]… | frames decode");
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn encode(pictures: &[String]) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(&frame(&Message::Hello))?;
    for path in pictures {
        out.write_all(&frame(&Message::Picture(&std::fs::read(path)?)))?;
    }
    out.flush()
}

fn frame(message: &Message) -> Vec<u8> {
    let mut buffer = vec![0; message.encoded_len()];
    message.encode(&mut buffer);
    buffer
}

fn decode() -> io::Result<()> {
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes)?;
    let mut buffer = vec![0; 1 << 20];
    let mut decoder = Decoder::new(&mut buffer);
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        rest = &rest[decoder.push(rest)..];
        while let Some(frame) = decoder.take() {
            match frame {
                Ok(Message::Result(result)) => {
                    let logits: Vec<String> = result.logits.iter().map(|l| format!("{:08x}", l.to_bits())).collect();
                    let top = result.top.iter().map(|guess| format!("{} {:.3}", guess.label, guess.probability));
                    println!("result: {}: logits {}", top.collect::<Vec<_>>().join(", "), logits.join(" "));
                }
                Ok(other) => println!("{other:?}"),
                Err(error) => println!("broken frame: {error}"),
            }
        }
    }
    Ok(())
}
