//! Reads the options among the words of the kernel's command line, which is `cmdline.txt` on a card. Other words are
//! ignored.

/// The options of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// `cores=N`: number of cores to use.
    pub cores: usize,
    /// `runs=N`: number of timed runs, at most [`Options::MOST_RUNS`].
    pub runs: usize,
    /// `emulator`: the run ends by itself with an exit code, by semihosting, and the watchdog stays off. A board would
    /// take an exception.
    pub emulator: bool,
    /// `frames=N`: in an emulator, the run ends after this many frames.
    pub frames: usize,
    /// `test-fault`: reads an address that is not mapped, to show what an exception prints.
    pub test_fault: bool,
}

impl Options {
    /// Largest number of timed runs.
    pub const MOST_RUNS: usize = 1000;

    /// Reads the words of `line`. A value that is no number leaves the default.
    pub fn parse(line: &str) -> Self {
        let mut options = Self { cores: usize::MAX, runs: 100, emulator: false, frames: 0, test_fault: false };
        for word in line.split_ascii_whitespace() {
            let end = word.bytes().position(|byte| byte == b'=').unwrap_or(word.len());
            let (name, value) = word.split_at_checked(end).unwrap_or_default();
            let value = value.strip_prefix('=').unwrap_or_default();
            let number = value.parse().ok();
            match name {
                "cores" => options.cores = number.unwrap_or(options.cores).max(1),
                "runs" => options.runs = number.unwrap_or(options.runs).clamp(1, Self::MOST_RUNS),
                "frames" => options.frames = number.unwrap_or(options.frames),
                "emulator" => options.emulator = true,
                "test-fault" => options.test_fault = true,
                _ => {}
            }
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_others_ignored() {
        let options = Options::parse("console=serial0,115200 cores=2  runs=5000 emulator\n");
        assert_eq!(options, Options { cores: 2, runs: 1000, emulator: true, frames: 0, test_fault: false });
        assert_eq!(Options::parse("cores=0 runs=x emulators"), Options { cores: 1, ..Options::parse("") });
    }
}
