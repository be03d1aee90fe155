//! Computes what decoding a JPEG costs, from its markers alone (ITU-T T.81, annex B).
//!
//! A scan is a pass over all blocks of its components and takes a few bytes in a file, because a decoder reads zeros
//! if a scan's data end too early. The memory of a JPEG therefore follows from its frame header, and the time from
//! its scans.

/// Least cost of a scan, in samples: its tables and threads take time even if it has one block.
const SCAN: u64 = 4096;

/// Bytes of memory that a segment of metadata takes in addition to its content, for its place in a list that grows by
/// doubling.
const SEGMENT: u64 = 128;

/// The work and memory that decoding a JPEG takes.
#[derive(Debug, PartialEq, Eq)]
pub struct Survey {
    frame: Frame,
    scans: usize,
    /// Number of samples that all scans visit in all components together.
    visited: u64,
    /// Bytes of memory for metadata.
    metadata: u64,
}

/// The contents of the frame header, `SOF`.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    process: Process,
    pixels: u64,
    /// Identifier, and number of samples in whole blocks, of each component.
    components: Vec<(u8, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    Sequential,
    Progressive,
    Lossless,
}

impl Survey {
    /// Surveys a file. Returns `None` if there is no frame header, or one that the decoder refuses.
    pub fn of(file: &[u8]) -> Option<Self> {
        let mut rest = file.get(2..)?;
        let mut frame = None;
        let (mut scans, mut visited, mut metadata) = (0, 0u64, 0);
        while let Some((kind, after)) = next_marker(rest) {
            rest = after;
            // The image ends here. Restart markers and others without a segment are skipped.
            if kind == 0xd9 {
                break;
            }
            if matches!(kind, 0x01 | 0xd0..=0xd8) {
                continue;
            }
            let Some(segment) = segment(rest) else { break };
            rest = rest.get(2 + segment.len()..)?;
            match kind {
                0xc0..=0xc3 if frame.is_none() => frame = Some(Frame::read(kind, segment)?),
                0xda => {
                    scans += 1;
                    let samples = frame.as_ref().map_or(0, |frame: &Frame| frame.samples_of_scan(segment));
                    visited = visited.saturating_add(samples.max(SCAN));
                }
                0xe0..=0xef => metadata += SEGMENT + segment.len() as u64,
                _ => {}
            }
        }
        Some(Self { frame: frame?, scans, visited, metadata })
    }

    pub fn scans(&self) -> usize {
        self.scans
    }

    /// Returns how many samples are decoded or transformed: those of every scan, and all of them once more at the end.
    pub fn work(&self) -> u64 {
        self.visited.saturating_add(self.frame.samples())
    }

    /// Returns the most bytes of memory that metadata take.
    pub fn metadata(&self) -> u64 {
        self.metadata
    }

    /// Returns the most bytes of memory that decoding takes, until there is RGB.
    ///
    /// `jpeg-decoder` hands rows of coefficients, two bytes each, to threads that turn them into samples, and does not
    /// wait for the threads. So all coefficients may be in memory together with all samples. A progressive file's
    /// coefficients are held twice.
    /// Once the coefficients are no longer needed, the picture is put together from the samples.
    pub fn memory(&self) -> u64 {
        let Frame { process, pixels, components } = &self.frame;
        let samples = self.frame.samples();
        let picture = components.len() as u64 * pixels;
        let decoding = match process {
            Process::Sequential => (3 * samples).max(samples + picture),
            Process::Progressive => (5 * samples).max(3 * samples + picture),
            // Each sample takes a difference of four bytes, and two results of two bytes.
            Process::Lossless => 8 * samples.max(picture),
        };
        // A grey picture is expanded to RGB in a second picture.
        let widening = if components.len() == 1 { 4 * pixels } else { 0 };
        decoding.max(widening)
    }
}

impl Frame {
    /// Reads a frame header as `jpeg-decoder` does. Returns `None` if `jpeg-decoder` refuses such a header.
    fn read(kind: u8, segment: &[u8]) -> Option<Self> {
        let &[_, height_high, height_low, width_high, width_low, _, ref components @ ..] = segment else { return None };
        let height = u64::from(u16::from_be_bytes([height_high, height_low]));
        let width = u64::from(u16::from_be_bytes([width_high, width_low]));
        let components = components.as_chunks::<3>().0;
        let factors = |packed: u8| (u64::from(packed >> 4), u64::from(packed & 15));
        let most_across = components.iter().map(|[_, packed, _]| factors(*packed).0).max()?;
        let most_down = components.iter().map(|[_, packed, _]| factors(*packed).1).max()?;
        if most_across == 0 || most_down == 0 {
            return None;
        }
        let units = width.div_ceil(8 * most_across) * height.div_ceil(8 * most_down);
        let samples = |packed| factors(packed).0 * factors(packed).1 * units * 64;
        let process = match kind {
            0xc2 => Process::Progressive,
            0xc3 => Process::Lossless,
            _ => Process::Sequential,
        };
        let components = components.iter().map(|&[identifier, packed, _]| (identifier, samples(packed))).collect();
        Some(Self { process, pixels: width * height, components })
    }

    fn samples(&self) -> u64 {
        self.components.iter().map(|(_, samples)| samples).sum()
    }

    /// Returns how many samples the scan visits whose header is `segment`.
    fn samples_of_scan(&self, segment: &[u8]) -> u64 {
        let Some((&count, selectors)) = segment.split_first() else { return 0 };
        let selected = selectors.as_chunks::<2>().0.iter().take(usize::from(count));
        let samples_of = |identifier| self.components.iter().find(|(known, _)| *known == identifier);
        selected.filter_map(|&[identifier, _]| samples_of(identifier)).map(|(_, samples)| samples).sum()
    }
}

/// Skips everything up to the next marker, and returns the marker's kind and the bytes after it.
///
/// In a scan's data, `00` follows each `FF`. Before a marker, `FF` may be repeated.
fn next_marker(mut bytes: &[u8]) -> Option<(u8, &[u8])> {
    loop {
        let start = bytes.iter().position(|&byte| byte == 0xff)?;
        bytes = bytes.get(start + 1..)?;
        let kind = bytes.iter().position(|&byte| byte != 0xff)?;
        let (&kind, rest) = bytes.get(kind..)?.split_first()?;
        bytes = rest;
        if kind != 0 {
            return Some((kind, rest));
        }
    }
}

/// Returns the content of a segment. The segment begins with its length, which includes the two bytes of the length
/// itself.
fn segment(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)).checked_sub(2)?)
}
