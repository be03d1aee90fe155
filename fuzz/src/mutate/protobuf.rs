//! Mutates one field of a protobuf message, at any depth, and states the lengths of the messages around it anew.

use std::ops::Range;

use super::Mutator;

/// A field of a message.
#[derive(Debug)]
pub(super) struct Field {
    /// Place of the whole field in the message.
    place: Range<usize>,
    /// Number of the field and its wire type.
    key: u64,
    /// Place of the content in the message, for a field whose length is stated.
    content: Option<Range<usize>>,
}

/// The most fields of a message that is taken apart.
const MOST_FIELDS: usize = 20_000;

/// The deepest message that is changed. The messages of ONNX nest less deeply, except in graphs inside nodes.
const DEEPEST: usize = 12;

impl Mutator<'_> {
    /// Returns the message with one changed field, or `None` if the bytes are not a message.
    pub fn message(&mut self, message: &[u8], depth: usize) -> Option<Vec<u8>> {
        let fields = fields(message)?;
        let field = fields.get(self.dice.below(fields.len()))?;
        let room = self.most.saturating_sub(message.len());
        let (before, after) = (&message[..field.place.start], &message[field.place.end..]);
        let whole = &message[field.place.clone()];
        let changed = match (&field.content, self.dice.below(20)) {
            (_, 0) => Vec::new(),
            (_, 1) => whole.repeat(2),
            (_, 2) => [whole, &message[fields.get(self.dice.below(fields.len()))?.place.clone()]].concat(),
            (_, 3) => {
                let most = 1usize << self.dice.below(20);
                whole.repeat(1 + most.min(room) / whole.len().max(1))
            }
            (_, 4) => {
                // The field gets another number, or another type.
                let mut changed = Vec::new();
                varint(field.key ^ 1 << self.dice.below(8), &mut changed);
                changed.extend(&whole[1..]);
                changed
            }
            (None, _) => {
                let mut changed = whole.to_vec();
                self.change(&mut changed, room);
                changed
            }
            (Some(content), _) => {
                let content = &message[content.clone()];
                let inner =
                    if depth < DEEPEST && !self.dice.one_in(6) { self.message(content, depth + 1) } else { None };
                let inner = inner.unwrap_or_else(|| {
                    let mut content = content.to_vec();
                    self.change(&mut content, room);
                    content
                });
                let mut changed = Vec::new();
                varint(field.key, &mut changed);
                varint(inner.len() as u64, &mut changed);
                changed.extend(inner);
                changed
            }
        };
        Some([before, &changed, after].concat())
    }
}

/// Returns the fields of a message, or `None` if the bytes are no message, or an empty one.
pub(super) fn fields(message: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    let mut at = 0;
    while at < message.len() {
        let start = at;
        let key = number(message, &mut at)?;
        let content = match key & 7 {
            0 => {
                number(message, &mut at)?;
                None
            }
            1 => {
                at += 8;
                None
            }
            2 => {
                let length = usize::try_from(number(message, &mut at)?).ok()?;
                let content = at..at.checked_add(length)?;
                at = content.end;
                Some(content)
            }
            5 => {
                at += 4;
                None
            }
            _ => return None,
        };
        if at > message.len() || fields.len() == MOST_FIELDS {
            return None;
        }
        fields.push(Field { place: start..at, key, content });
    }
    (!fields.is_empty()).then_some(fields)
}

fn number(message: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *message.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn varint(mut value: u64, to: &mut Vec<u8>) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}
