//! Limits the memory and the work that a picture file may cost.
//!
//! A compressed picture can be a thousand times larger than its file, so a limit on the file alone bounds nothing. The
//! limits here follow the file's length instead: every file may take a fixed base, and more for each of its bytes.
//! Photographs and screenshots stay far below these limits; files that are built to exhaust a machine do not.

/// Base of [`Limits::desktop`], in bytes.
const BASE: u64 = 48 << 20;

/// Bytes of memory that each byte of a file adds to the base.
const PER_BYTE: u64 = 31;

/// Most bytes of memory that [`Limits::desktop`] allows for one picture.
const MOST: u64 = 1 << 30;

/// Longest file that [`Limits::desktop`] allows, in bytes.
const LONGEST: u64 = 256 << 20;

/// Share of a machine's memory that [`Limits::for_machine`] allows for one picture.
const SHARE: u64 = 4;

/// Number of samples that a JPEG's scans may visit for each byte of memory that the file may take.
///
/// The ten scans of an ordinary progressive JPEG visit about as many samples as its decoding takes bytes of memory.
const WORK: u64 = 2;

/// Largest number of pixels in a picture. Pillow warns of a decompression bomb above the same number.
const PIXELS: u64 = 89_478_485;

/// Largest height or width of a picture, in pixels. It is libjpeg's limit, applied to every kind of file.
const SIDE: u32 = 65_500;

/// Limits of the memory and the work that a picture file may cost.
///
/// Decoding a file of *n* bytes may take `base + 31 · n` bytes of memory beside the file itself, and never more than
/// `most`. For one picture at a time, [`Limits::desktop`] keeps a program below 64 MiB + 32 · *n*. Programs that decode
/// on several threads take as much for each thread.
///
/// Whatever the machine, a picture has at most 89 megapixels and at most 65,500 pixels a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory that any file may take.
    base: u64,
    /// Most bytes of memory that a file may take, however long it is.
    most: u64,
    /// Longest file, in bytes.
    longest: u64,
}

impl Limits {
    /// Returns limits for a desktop computer: 48 MiB plus 31 bytes for each byte of the file, but at most 1 GiB, and
    /// files of at most 256 MiB.
    pub const fn desktop() -> Self {
        Self { base: BASE, most: MOST, longest: LONGEST }
    }

    /// Returns limits for a machine with `memory` bytes of memory in all.
    ///
    /// One picture and its file may take a quarter of the memory, and never more than [`Limits::desktop`] allows. On a
    /// board of 512 MiB that is 128 MiB: enough for a photograph of 20 megapixels.
    pub fn for_machine(memory: u64) -> Self {
        let share = memory / SHARE;
        let longest = LONGEST.min(share / 4);
        let most = MOST.min(share - longest);
        Self { base: BASE.min(most), most, longest }
    }

    /// Returns the longest file that is read, in bytes.
    pub const fn longest_file(&self) -> u64 {
        self.longest
    }

    /// Returns how many bytes of memory decoding a file of `length` bytes may take beside the file itself.
    pub fn memory(&self, length: u64) -> u64 {
        self.base.saturating_add(length.saturating_mul(PER_BYTE)).min(self.most)
    }

    /// Returns how many samples the scans of a JPEG of `length` bytes may visit: two for each byte of
    /// [`Limits::memory`].
    pub fn work(&self, length: u64) -> u64 {
        self.memory(length).saturating_mul(WORK)
    }

    /// Refuses a file that is too long.
    pub(crate) fn check_file(&self, length: u64) -> Result<(), String> {
        if length > self.longest {
            return Err(format!("found more than {} bytes, expected a picture of at most that length", self.longest));
        }
        Ok(())
    }
}

impl Default for Limits {
    /// Returns [`Limits::desktop`].
    fn default() -> Self {
        Self::desktop()
    }
}

/// The limits for one file.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    /// Length of the file, in bytes.
    length: u64,
    /// Bytes of memory that decoding may take beside the file.
    pub memory: u64,
    /// Number of samples that a JPEG's scans may visit.
    work: u64,
}

impl Budget {
    pub fn new(limits: &Limits, file: &[u8]) -> Self {
        let length = file.len() as u64;
        Self { length, memory: limits.memory(length), work: limits.work(length) }
    }

    /// Refuses a picture of too many pixels, or of none.
    pub fn check_size(width: u32, height: u32) -> Result<(), String> {
        if width == 0 || height == 0 {
            return Err(format!("found {width} × {height} pixels, expected at least one"));
        }
        if width > SIDE || height > SIDE {
            return Err(format!("found {width} × {height} pixels, expected at most {SIDE} pixels a side"));
        }
        if u64::from(width) * u64::from(height) > PIXELS {
            let most = PIXELS / 1_000_000;
            return Err(format!("found {width} × {height} pixels, expected at most {most} megapixels"));
        }
        Ok(())
    }

    /// Refuses a picture whose decoding takes `bytes` of memory if fewer are allowed.
    pub fn check_memory(&self, bytes: u64) -> Result<(), String> {
        if bytes > self.memory {
            let Self { length, memory, .. } = self;
            return Err(format!(
                "decoding takes {bytes} bytes of memory, expected at most {memory} for a file of {length} bytes; \
                 make the picture smaller"
            ));
        }
        Ok(())
    }

    /// Refuses a JPEG whose scans visit `samples` if fewer are allowed.
    pub fn check_work(&self, samples: u64, scans: usize) -> Result<(), String> {
        if samples > self.work {
            let Self { length, work, .. } = self;
            return Err(format!(
                "found {scans} scans that visit {samples} samples, expected at most {work} samples for a file of \
                 {length} bytes; save the picture as a baseline JPEG"
            ));
        }
        Ok(())
    }
}

/// Allocates `length` zeros. The error says how many bytes the machine could not provide.
pub(crate) fn zeros<T: Clone + Default>(length: usize) -> Result<Vec<T>, String> {
    let mut values = Vec::new();
    values.try_reserve_exact(length).map_err(|_| {
        let bytes = length.saturating_mul(size_of::<T>());
        format!("the machine has no {bytes} bytes of memory left for the picture")
    })?;
    values.resize(length, T::default());
    Ok(values)
}

/// Checks that the machine can provide `bytes` of memory, for a decoder that would otherwise end the program.
pub(crate) fn require(bytes: u64) -> Result<(), String> {
    let failed = || format!("the machine has no {bytes} bytes of memory left for the picture");
    let length = usize::try_from(bytes).map_err(|_| failed())?;
    Vec::<u8>::new().try_reserve_exact(length).map_err(|_| failed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_allows_no_more_than_a_quarter_of_its_memory() {
        for megabytes in [0, 1, 64, 512, 1024, 4096, 1 << 20] {
            let memory = megabytes << 20;
            let limits = Limits::for_machine(memory);
            for length in [0, 1, limits.longest_file(), u64::MAX] {
                let file = length.min(limits.longest_file());
                assert!(limits.memory(length) + file <= memory / 4, "{megabytes} MiB: {limits:?}, file of {length}");
                assert!(limits.memory(length) <= Limits::desktop().memory(length), "{megabytes} MiB: {limits:?}");
            }
        }
        assert_eq!(Limits::for_machine(64 << 30), Limits::desktop());
    }

    #[test]
    fn memory_that_the_machine_cannot_give_is_an_error() {
        assert!(zeros::<u8>(usize::MAX).is_err());
        assert!(zeros::<u64>(usize::MAX / 4).unwrap_err().contains("bytes of memory left"));
        assert!(require(u64::MAX).is_err());
        assert_eq!(zeros(3), Ok(vec![0u8; 3]));
        assert_eq!(require(1000), Ok(()));
    }
}
