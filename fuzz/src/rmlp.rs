//! Reads packed models that are damaged, forged with a correct checksum, or changed in any field or tensor.

use arbitrary::{Result, Unstructured};
use resmlp_runtime::format::{HEADER_LEN, MAGIC, Slot, VERSION, field};
use resmlp_runtime::{AlignedBytes, Model, checksum};

use crate::differential::{dims, model, on_every_table};
use crate::without_memory;

/// Reads the bytes as they are, and then again with magic, version, length and checksum corrected, which a forger can
/// do as well.
pub fn bytes(data: &[u8]) {
    let mut file = AlignedBytes::from(data);
    let _ = without_memory(|| Model::parse(&file).is_ok());
    if file.len() < HEADER_LEN {
        return;
    }
    let len = file.len() as u64;
    put(&mut file, field::MAGIC, &MAGIC);
    put(&mut file, field::VERSION, &VERSION.to_le_bytes());
    put(&mut file, field::FILE_LEN, &len.to_le_bytes());
    seal(&mut file);
    use_it(&file, data);
}

/// Reads a valid model in which a few fields and bytes are changed.
pub fn fields(data: &[u8]) {
    let _ = changed(&mut Unstructured::new(data), data);
}

fn changed(input: &mut Unstructured, data: &[u8]) -> Result<()> {
    let dims = dims(input)?;
    let mut file = model::random_model(&dims);
    let (changes, forged) = (input.int_in_range(1..=8)?, input.ratio(7, 8)?);
    for _ in 0..changes {
        let value: u32 = match input.int_in_range(0..=3)? {
            0 => input.arbitrary()?,
            1 => *input.choose(&[0, 1, 2, 65, 127, 128, 129, 1 << 15, (1 << 15) + 1, i32::MAX as u32, u32::MAX])?,
            2 => input.choose(&[f32::NAN, f32::INFINITY, 1e30, -1e9, 1e-42, -0.0])?.to_bits(),
            _ => input.int_in_range(0..=70)?,
        };
        if input.arbitrary()? {
            let fields = (HEADER_LEN - field::VERSION) / 4 - 1;
            put(&mut file, field::VERSION + 4 * input.int_in_range(0..=fields)?, &value.to_le_bytes());
        } else {
            let at = input.int_in_range(0..=file.len() - 1)?;
            let size = input.int_in_range(1..=4)?;
            put(&mut file, at, &value.to_le_bytes()[..size]);
        }
    }
    if input.ratio(1, 8)? {
        let len = input.int_in_range(0..=2 * file.len())?;
        let mut other = AlignedBytes::zeroed(len);
        other.iter_mut().zip(file.iter()).for_each(|(to, from)| *to = *from);
        put(&mut other, field::FILE_LEN, &(len as u64).to_le_bytes());
        file = other;
    }
    if forged {
        seal(&mut file);
    }
    use_it(&file, data);
    Ok(())
}

fn put(file: &mut [u8], at: usize, value: &[u8]) {
    file.iter_mut().skip(at).zip(value).for_each(|(to, from)| *to = *from);
}

/// Corrects the checksum.
fn seal(file: &mut [u8]) {
    let sum = checksum(file);
    put(file, field::CHECKSUM, &sum.to_le_bytes());
}

/// Uses the model, if it is accepted: every view, and every kernel table with pixels out of `data`.
fn use_it(file: &AlignedBytes, data: &[u8]) {
    let Ok(model) = without_memory(|| Model::parse(file)) else { return };
    let labels = model.labels().count();
    assert!(labels == 0 || labels == model.dims().outputs);
    let tensors = Slot::ALL.iter().filter_map(|slot| slot.len(model.dims()));
    assert!(tensors.sum::<usize>() < file.len(), "tensors that lie outside of the file");
    assert!(model.provenance().len() <= file.len());
    on_every_table(&model, data);
}
