//! Mutates files of a known structure so that they stay readable on the outside: lengths, checksums and directories are
//! written anew around the changed part.
//!
//! Random changes of bytes alone rarely get past a checksum or the length of a message. libFuzzer still makes each
//! change; the modules here choose the part that it changes.

mod archive;
mod framed;
mod protobuf;

use resmlp_runtime::format::MAGIC;

/// A source of choices that follow from libFuzzer's seed.
pub(crate) struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit.max(1)
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// The mutations of libFuzzer itself: changes bytes so that at most `most` of them result.
pub type Plain<'a> = dyn FnMut(&mut Vec<u8>, usize) + 'a;

/// Changes one part of a file, or several bytes anywhere.
struct Mutator<'a> {
    dice: Dice,
    plain: &'a mut Plain<'a>,
    most: usize,
}

impl Mutator<'_> {
    /// Changes `part`, which may grow by `room` bytes. Some changes repeat a stretch of bytes very often, because a
    /// file whose memory grows faster than its length is long and repetitive.
    fn change(&mut self, part: &mut Vec<u8>, room: usize) {
        if part.is_empty() || !self.dice.one_in(50) {
            let most = part.len() + room;
            return (self.plain)(part, most);
        }
        let start = self.dice.below(part.len());
        let length = 1 + self.dice.below((part.len() - start).min(64));
        let most = 1 << self.dice.below(usize::BITS as usize - room.leading_zeros() as usize + 1);
        let count = most.min(room) / length;
        let unit = part[start..start + length].to_vec();
        part.splice(start..start, unit.repeat(count));
    }
}

/// Mutates `file` to at most `most` bytes, with choices that follow from `seed`.
pub fn mutate(file: &mut Vec<u8>, most: usize, seed: u32, plain: &mut Plain) {
    let mut mutator = Mutator { dice: Dice(u64::from(seed)), plain: &mut |part, most| plain(part, most), most };
    let is_plain = mutator.dice.one_in(8);
    let changed = match file.as_slice() {
        _ if is_plain => None,
        [b'P', b'K', ..] => mutator.archive(file),
        _ if file.starts_with(&MAGIC) => mutator.packed(file),
        [_, _, _, _, 0, 0, 0, 0, b'{', ..] => mutator.safetensors(file),
        [0x80, ..] => None, // a pickle has neither lengths nor checksums around it
        _ => mutator.message(file, 0),
    };
    match changed.filter(|changed| changed.len() <= most) {
        Some(changed) => *file = changed,
        None => {
            let room = most.saturating_sub(file.len());
            mutator.change(file, room);
            file.truncate(most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    /// Mutates every input of a corpus often and returns how many of the results `keeps` accepts, and their number.
    fn kept(corpus: &str, plain: &mut Plain, keeps: impl Fn(&[u8]) -> bool) -> [usize; 2] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpora").join(corpus);
        let mut counts = [0; 2];
        for entry in fs::read_dir(folder).unwrap() {
            let file = fs::read(entry.unwrap().path()).unwrap();
            if !keeps(&file) {
                continue;
            }
            for seed in 0..200 {
                let mut changed = file.clone();
                mutate(&mut changed, file.len() + 5000, seed, plain);
                assert!(changed.len() <= file.len() + 5000);
                counts[0] += usize::from(changed != file && keeps(&changed));
                counts[1] += 1;
            }
        }
        counts
    }

    /// Changes the last byte of a part and appends another one.
    fn append(part: &mut Vec<u8>, most: usize) {
        part.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1);
        if part.len() < most {
            part.push(7);
        }
    }

    #[test]
    fn most_changed_archives_can_be_opened() {
        let opens =
            |file: &[u8]| zip::ZipArchive::new(std::io::Cursor::new(file)).is_ok_and(|archive| !archive.is_empty());
        let [kept, all] = kept("pth", &mut append, opens);
        assert!(all > 0 && 2 * kept > all, "{kept} of {all}");
    }

    #[test]
    fn most_changed_headers_have_their_length() {
        let framed = |file: &[u8]| {
            let Some((length, rest)) = file.split_first_chunk::<8>() else { return false };
            rest.first() == Some(&b'{') && u64::from_le_bytes(*length) <= rest.len() as u64
        };
        let [kept, all] = kept("safetensors", &mut append, framed);
        assert!(all > 0 && 2 * kept > all, "{kept} of {all}");
    }

    #[test]
    fn most_changed_messages_can_be_taken_apart() {
        let [kept, all] = kept("onnx", &mut append, |file| protobuf::fields(file).is_some());
        assert!(all > 0 && 2 * kept > all, "{kept} of {all}");
    }
}
