//! Interprets pickles as data.
//!
//! The interpreter knows a fixed list of opcodes and builds [`Value`]s. A call in the pickle either rebuilds a tensor,
//! an array or a dictionary (see `rebuild`) or leaves a [`Value::Object`] that only knows its class. The interpreter
//! imports nothing and runs nothing.
//!
//! Names and bytes stay in the input. Every other allocation is charged, before it is made, to one budget: a constant
//! plus a small multiple of the file's length. Time and memory are therefore linear in the file's length.

use super::limits::{ALLOCATION, BOX_COST, MOST_DIMENSIONS, NAME_LIMIT};
use super::reason::PickleReason;
use super::rebuild;
use super::value::{Place, Ref, Storage, Value};
use std::borrow::Cow;
use std::collections::HashMap;

/// The result of reading a part of a pickle; the caller adds the file's path to an error.
pub(super) type Parse<T> = Result<T, PickleReason>;

/// The interpreter's state, and the values of all pickles that it has read.
pub(super) struct Machine<'a> {
    input: &'a [u8],
    at: usize,
    values: Vec<Value<'a>>,
    stack: Vec<Ref>,
    marks: Vec<u32>,
    /// Value that the pickle keeps under each number, or [`UNSET`].
    memo: Vec<Ref>,
    /// Number of entries that are set.
    memoised: usize,
    /// Bytes that may still be allocated.
    pub budget: usize,
    /// Members or letters that may still be copied.
    copies: usize,
}

/// Bytes that any pickle may allocate, and further bytes for each byte of its file. A list that grows holds up to three
/// times its content, so the memory that is held reaches three times these numbers.
const BUDGET: [usize; 2] = [2 << 20, 8];
/// Bytes charged for one value: its own size and that of a reference to it.
const VALUE_COST: usize = size_of::<Value>() + size_of::<Ref>();
/// References to the first values of every machine: `None`, `Other`, and the integers from 0 to 255.
const NONE: Ref = 0;
const OTHER: Ref = 1;
const FIRST_INT: Ref = 2;
/// Marker of a memo entry that was never set.
const UNSET: Ref = Ref::MAX;

impl<'a> Machine<'a> {
    /// Creates a machine for the pickles in `input`, which lie in a file of `length` bytes.
    pub fn new(input: &'a [u8], length: usize) -> Self {
        let mut values = vec![Value::None, Value::Other];
        values.extend((0..256).map(Value::Int));
        Self {
            input,
            at: 0,
            values,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            memoised: 0,
            budget: length.saturating_mul(BUDGET[1]).saturating_add(BUDGET[0]),
            copies: input.len(),
        }
    }

    /// Accounts for copying `amount` members or letters.
    ///
    /// The memo would otherwise let a small pickle ask for the same copy again and again.
    pub fn spend(&mut self, amount: usize) -> Parse<()> {
        self.copies = self.copies.checked_sub(amount).ok_or(PickleReason::Unfolds)?;
        Ok(())
    }

    /// Accounts for `bytes` bytes of memory before they are allocated.
    pub fn charge(&mut self, bytes: usize) -> Parse<()> {
        self.budget = self.budget.checked_sub(bytes).ok_or(PickleReason::Unfolds)?;
        Ok(())
    }

    /// Returns the input that no pickle has consumed yet.
    pub fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    /// Returns the value that `reference` refers to.
    pub fn value(&self, reference: Ref) -> &Value<'a> {
        self.values.get(reference as usize).unwrap_or(&Value::None)
    }

    /// Returns the number of values.
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// Returns the text that `reference` refers to, or `None` if the value is not a text.
    pub fn text(&self, reference: Ref) -> Option<&'a str> {
        match self.value(reference) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the bytes that `reference` refers to, or `None` if the value does not hold bytes.
    pub fn bytes_of(&self, reference: Ref) -> Option<Cow<'a, [u8]>> {
        match self.value(reference) {
            Value::Bytes(bytes) => Some(Cow::Borrowed(bytes)),
            Value::Latin1(text) => {
                text.chars().map(|letter| u8::try_from(letter).ok()).collect::<Option<Vec<u8>>>().map(Cow::Owned)
            }
            _ => None,
        }
    }

    /// Returns the members of the list or tuple that `reference` refers to, or `None` if the value is neither.
    pub fn members(&self, reference: Ref) -> Option<&[Ref]> {
        match self.value(reference) {
            Value::List(members) | Value::Tuple(members) => Some(members),
            _ => None,
        }
    }

    /// Returns the module and the name of the class or function that `reference` refers to, or `None` for other values.
    pub fn global(&self, reference: Ref) -> Option<[&'a str; 2]> {
        match self.value(reference) {
            Value::Global(module, name) => Some([self.text(*module)?, self.text(*name)?]),
            _ => None,
        }
    }

    /// Returns every storage that has a key, by its key.
    pub fn storages(&self) -> HashMap<&'a str, &Storage<'a>> {
        let storages = self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => match storage.place {
                Place::Key(key) => Some((key, &**storage)),
                Place::Inline(_) => None,
            },
            _ => None,
        });
        storages.collect()
    }

    /// Reads one pickle up to its `STOP` opcode and returns its value.
    pub fn pickle(&mut self) -> Parse<Ref> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        self.memoised = 0;
        loop {
            let start = self.at;
            let opcode = self.byte()?;
            if opcode == STOP {
                return self.pop();
            }
            self.step(opcode).map_err(|reason| PickleReason::At { reason: Box::new(reason), opcode, byte: start })?;
        }
    }

    fn step(&mut self, opcode: u8) -> Parse<()> {
        match opcode {
            b'c' | b'i' | b'o' | b'R' | b'b' | 0x81 | 0x92 | 0x93 | b'Q' | b'P' => self.object(opcode),
            b'(' | b'0' | b'1' | b'2' | b'q' | b'r' | b'p' | b'h' | b'j' | b'g' | 0x94 | 0x80 | 0x95 => {
                self.bookkeeping(opcode)
            }
            b'l' | b'd' | b't' | b']' | b'}' | b')' | 0x85..=0x87 | b'a' | b'e' | b's' | b'u' | 0x8f..=0x91 => {
                self.container(opcode)
            }
            _ => self.literal(opcode),
        }
    }

    /// Executes an opcode that only concerns the stack, the memo, the protocol or framing.
    fn bookkeeping(&mut self, opcode: u8) -> Parse<()> {
        match opcode {
            b'(' => self.marks.push(self.stack.len() as u32),
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.pop_to_mark()?;
            }
            b'2' => self.stack.push(self.top()?),
            b'q' | b'r' | b'p' | 0x94 => {
                let key = match opcode {
                    0x94 => self.memoised as u64,
                    _ => self.memo_key(opcode)?,
                };
                self.remember(key)?;
            }
            b'h' | b'j' | b'g' => {
                let key = self.memo_key(opcode)?;
                let entry = usize::try_from(key).ok().and_then(|key| self.memo.get(key)).copied();
                self.stack.push(entry.filter(|entry| *entry != UNSET).ok_or(PickleReason::Unset)?);
            }
            0x80 => {
                let protocol = self.byte()?;
                if protocol > 5 {
                    return Err(PickleReason::Protocol(protocol));
                }
            }
            _ => {
                self.bytes(8)?; // These bytes are the length of a frame, which only helps readers of streams.
            }
        }
        Ok(())
    }

    /// Keeps the topmost value under the number `key`. Python's own pickles number their entries from 0 or 1 upwards.
    fn remember(&mut self, key: u64) -> Parse<()> {
        let top = self.top()?;
        let key = usize::try_from(key).map_err(|_| PickleReason::MemoKey)?;
        if key >= self.memo.len() {
            self.charge((key + 1 - self.memo.len()).saturating_mul(size_of::<Ref>()))?;
            self.memo.resize(key + 1, UNSET);
        }
        self.memoised += usize::from(self.memo[key] == UNSET);
        self.memo[key] = top;
        Ok(())
    }

    fn memo_key(&mut self, opcode: u8) -> Parse<u64> {
        match opcode {
            b'q' | b'h' => Ok(self.byte()? as u64),
            b'r' | b'j' => self.unsigned(4),
            _ => self.line()?.parse().map_err(|_| PickleReason::MemoKey),
        }
    }

    /// Executes an opcode that pushes a number, a text, bytes or a singleton such as `None`.
    fn literal(&mut self, opcode: u8) -> Parse<()> {
        let value = match opcode {
            b'N' => return self.push_shared(NONE),
            0x88 => return self.push_shared(FIRST_INT + 1),
            0x89 => return self.push_shared(FIRST_INT),
            b'K' => {
                let number = self.byte()?;
                return self.push_shared(FIRST_INT + Ref::from(number));
            }
            b'M' => Value::Int(self.unsigned(2)? as i64),
            b'J' => Value::Int(self.unsigned(4)? as u32 as i32 as i64),
            b'I' | b'L' => self.line()?.trim_end_matches('L').parse().map_or(Value::Other, Value::Int),
            0x8a => {
                let length = self.unsigned(1)?;
                long(self.bytes(length)?)
            }
            0x8b => {
                let length = self.unsigned(4)?;
                long(self.bytes(length)?)
            }
            b'G' => self.bytes(8).map(|_| Value::Other)?,
            b'F' => self.line().map(|_| Value::Other)?,
            b'X' => self.counted_text(4)?,
            0x8c | b'U' => self.counted_text(1)?,
            0x8d => self.counted_text(8)?,
            b'T' => self.counted_text(4)?,
            b'V' => Value::Text(self.line()?),
            b'S' => Value::Text(self.line()?.trim_matches(['\'', '"'])),
            b'C' => self.counted_bytes(1)?,
            b'B' => self.counted_bytes(4)?,
            0x8e | 0x96 => self.counted_bytes(8)?,
            _ => return Err(PickleReason::Opcode),
        };
        self.push(value)
    }

    /// Executes an opcode that makes or fills a list, a tuple, a dictionary or a set; sets are kept as lists.
    fn container(&mut self, opcode: u8) -> Parse<()> {
        match opcode {
            b']' | 0x8f => self.push(Value::List(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            b')' => self.push(Value::Tuple(Vec::new())),
            0x85..=0x87 => {
                let count = (opcode - 0x84) as usize;
                let from = self.stack.len().checked_sub(count).ok_or(PickleReason::Empty)?;
                self.charge(ALLOCATION + count * size_of::<Ref>())?;
                let members = self.stack.split_off(from);
                self.push(Value::Tuple(members))
            }
            b't' => {
                let members = self.pop_to_mark()?;
                self.push(Value::Tuple(members))
            }
            b'l' | 0x91 => {
                let members = self.pop_to_mark()?;
                self.push(Value::List(members))
            }
            b'd' => {
                let entries = pairs(&self.pop_to_mark()?)?;
                self.push(Value::Dict(entries))
            }
            b'a' => {
                let member = self.pop()?;
                self.extend(vec![member])
            }
            b'e' | 0x90 => {
                let members = self.pop_to_mark()?;
                self.extend(members)
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.insert(vec![(key, value)])
            }
            _ => {
                let entries = pairs(&self.pop_to_mark()?)?;
                self.insert(entries)
            }
        }
    }

    /// Executes an opcode for a global name, a call, an instance or a persistent id.
    ///
    /// The module `rebuild` gives calls, instances' states and persistent ids their meaning.
    fn object(&mut self, opcode: u8) -> Parse<()> {
        let reference = match opcode {
            b'c' => {
                let [module, name] = self.global_lines()?;
                self.add(Value::Global(module, name))?
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Some(module_text), Some(name_text)) = (self.text(module), self.text(name)) else {
                    return Err(PickleReason::Shape("a global whose name is no text"));
                };
                sane_name(module_text)?;
                sane_name(name_text)?;
                self.add(Value::Global(module, name))?
            }
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                rebuild::call(self, callable, arguments)?
            }
            0x92 => {
                let (_keywords, arguments, callable) = (self.pop()?, self.pop()?, self.pop()?);
                rebuild::call(self, callable, arguments)?
            }
            b'b' => {
                let state = self.pop()?;
                let target = self.top()?;
                return rebuild::build(self, target, state);
            }
            b'Q' => {
                let id = self.pop()?;
                rebuild::persistent(self, id)?
            }
            b'P' => return Err(PickleReason::PersistentText),
            b'i' => {
                let [module, name] = self.global_lines()?;
                self.pop_to_mark()?;
                let class = self.add(Value::Global(module, name))?;
                self.add(Value::Object(class))?
            }
            _ => {
                let members = self.pop_to_mark()?;
                self.add(Value::Object(members.first().copied().unwrap_or(OTHER)))?
            }
        };
        self.stack.push(reference);
        Ok(())
    }

    fn global_lines(&mut self) -> Parse<[Ref; 2]> {
        let (module, name) = (sane_name(self.line()?)?, sane_name(self.line()?)?);
        Ok([self.add(Value::Text(module))?, self.add(Value::Text(name))?])
    }

    /// Replaces the value that `target` refers to.
    pub fn set(&mut self, target: Ref, value: Value<'a>) {
        if let Some(old) = self.values.get_mut(target as usize) {
            *old = value;
        }
    }

    fn extend(&mut self, members: Vec<Ref>) -> Parse<()> {
        let target = self.top()?;
        self.charge(ALLOCATION / 2 + members.len() * size_of::<Ref>())?;
        match self.values.get_mut(target as usize) {
            Some(Value::List(list)) => list.extend(members),
            Some(Value::Object(_) | Value::Module(_)) => {}
            _ => return Err(PickleReason::Shape("members for something that is no list")),
        }
        Ok(())
    }

    fn insert(&mut self, entries: Vec<(Ref, Ref)>) -> Parse<()> {
        let target = self.top()?;
        self.charge(ALLOCATION / 2 + entries.len() * size_of::<(Ref, Ref)>())?;
        match self.values.get_mut(target as usize) {
            Some(Value::Dict(dict)) => dict.extend(entries),
            Some(Value::Object(_) | Value::Module(_)) => {}
            _ => return Err(PickleReason::Shape("entries for something that is no dictionary")),
        }
        Ok(())
    }

    /// Adds a value and returns its reference without pushing it.
    pub fn add(&mut self, value: Value<'a>) -> Parse<Ref> {
        let boxed = match &value {
            Value::Tensor(view) => BOX_COST + 2 * view.shape.len() * size_of::<usize>(),
            Value::UnreadTensor(_) => BOX_COST + 4 * MOST_DIMENSIONS * size_of::<usize>(),
            Value::Storage(_) => BOX_COST,
            _ => 0,
        };
        self.charge(VALUE_COST + boxed)?;
        let reference = Ref::try_from(self.values.len()).map_err(|_| PickleReason::Unfolds)?;
        self.values.push(value);
        Ok(reference)
    }

    fn push(&mut self, value: Value<'a>) -> Parse<()> {
        let reference = self.add(value)?;
        self.stack.push(reference);
        Ok(())
    }

    fn push_shared(&mut self, reference: Ref) -> Parse<()> {
        self.stack.push(reference);
        Ok(())
    }

    fn pop(&mut self) -> Parse<Ref> {
        self.stack.pop().ok_or(PickleReason::Empty)
    }

    fn top(&self) -> Parse<Ref> {
        self.stack.last().copied().ok_or(PickleReason::Empty)
    }

    fn pop_to_mark(&mut self) -> Parse<Vec<Ref>> {
        let mark = self.marks.pop().ok_or(PickleReason::Mark)? as usize;
        if mark > self.stack.len() {
            return Err(PickleReason::Mark);
        }
        self.charge(ALLOCATION + (self.stack.len() - mark) * size_of::<Ref>())?;
        Ok(self.stack.split_off(mark))
    }

    fn byte(&mut self) -> Parse<u8> {
        let byte = *self.input.get(self.at).ok_or(PickleReason::Ends)?;
        self.at += 1;
        Ok(byte)
    }

    fn bytes(&mut self, length: u64) -> Parse<&'a [u8]> {
        let end =
            usize::try_from(length).ok().and_then(|length| self.at.checked_add(length)).ok_or(PickleReason::Ends)?;
        let bytes = self.input.get(self.at..end).ok_or(PickleReason::Ends)?;
        self.at = end;
        Ok(bytes)
    }

    fn unsigned(&mut self, size: u64) -> Parse<u64> {
        Ok(self.bytes(size)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn line(&mut self) -> Parse<&'a str> {
        let length = self.rest().iter().position(|byte| *byte == b'\n').ok_or(PickleReason::Ends)?;
        let line = self.bytes(length as u64)?;
        self.byte()?;
        std::str::from_utf8(line).map_err(|_| PickleReason::Shape("a line that is not UTF-8"))
    }

    fn counted_text(&mut self, size: u64) -> Parse<Value<'a>> {
        let length = self.unsigned(size)?;
        let bytes = self.bytes(length)?;
        Ok(std::str::from_utf8(bytes).map_or(Value::Other, Value::Text))
    }

    fn counted_bytes(&mut self, size: u64) -> Parse<Value<'a>> {
        let length = self.unsigned(size)?;
        Ok(Value::Bytes(self.bytes(length)?))
    }
}

const STOP: u8 = b'.';

/// Returns `name`, or an error if it is longer than [`NAME_LIMIT`] bytes.
pub(super) fn sane_name(name: &str) -> Parse<&str> {
    match name.len() > NAME_LIMIT {
        true => Err(PickleReason::LongName(name.len())),
        false => Ok(name),
    }
}

/// Reads a little-endian two's complement integer; one of more than 8 bytes becomes [`Value::Other`].
fn long(bytes: &[u8]) -> Value<'static> {
    if bytes.len() > 8 {
        return Value::Other;
    }
    let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
    Value::Int(bytes.iter().rev().fold(sign, |number, byte| number << 8 | i64::from(*byte)))
}

fn pairs(members: &[Ref]) -> Parse<Vec<(Ref, Ref)>> {
    let (pairs, rest) = members.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(PickleReason::Shape("a dictionary with a key but no value"));
    }
    Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
}
