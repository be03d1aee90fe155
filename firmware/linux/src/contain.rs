//! Contains faults of the picture decoders.

use std::panic::{UnwindSafe, catch_unwind};

/// Calls `decode` and returns what it returns. If it panics, the error says so.
///
/// The decoders are libraries of others and read whatever bytes a stranger sends. They promise errors for damaged
/// files, but a fault in one of them would be a panic, and a program that has watched a folder for weeks must not end
/// because of one file. Only decoding and resizing go through this function: the bound [`UnwindSafe`] makes sure that
/// they share no value with the rest of the program that a panic could leave half-changed. The panic's own message has
/// been written to stderr by then.
pub fn panics<T>(decode: impl FnOnce() -> T + UnwindSafe) -> Result<T, String> {
    catch_unwind(decode).map_err(|_| "a picture decoder panicked; please report this file as a fault".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        assert_eq!(panics(|| 7), Ok(7));
        let bytes: &[u8] = &[];
        let problem = panics(|| bytes[0]).unwrap_err();
        assert!(problem.contains("decoder panicked"), "{problem}");
    }
}
