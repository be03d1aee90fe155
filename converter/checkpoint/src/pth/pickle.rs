//! A pickle interpreter for data only.
//!
//! It knows a fixed list of opcodes and builds [`Value`]s. A call in the pickle either rebuilds a tensor or a
//! dictionary (see `rebuild`) or leaves an [`Value::Object`] that only has a name: nothing is imported, nothing is run.
//! Every opcode takes time and memory linear in what it consumes, so the whole stays linear in the pickle's length.

use super::rebuild;
use super::value::{Ref, Storage, Value};
use std::collections::HashMap;

/// An error of a pickle; the caller adds the file.
pub(super) type Parse<T> = Result<T, String>;

/// Values of pickles that were read, and where the interpreter stands.
pub(super) struct Machine<'a> {
    input: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Ref>,
    marks: Vec<usize>,
    memo: HashMap<u64, Ref>,
    budget: usize,
}

impl<'a> Machine<'a> {
    pub fn new(input: &'a [u8]) -> Self {
        Self {
            input,
            at: 0,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            budget: input.len(),
        }
    }

    /// Accounts for copying `amount` members or letters, which the memo lets a small pickle ask for again and again.
    pub fn spend(&mut self, amount: usize) -> Parse<()> {
        self.budget = self.budget.checked_sub(amount).ok_or("a pickle that unfolds to more than its own length")?;
        Ok(())
    }

    /// The input that no pickle has consumed yet.
    pub fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    /// The value behind `reference`.
    pub fn value(&self, reference: Ref) -> &Value {
        self.values.get(reference).unwrap_or(&Value::None)
    }

    /// The text behind `reference`, if it is text.
    pub fn text(&self, reference: Ref) -> Option<&str> {
        match self.value(reference) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The members of a list or tuple, if `reference` is one.
    pub fn members(&self, reference: Ref) -> Option<&[Ref]> {
        match self.value(reference) {
            Value::List(members) | Value::Tuple(members) => Some(members),
            _ => None,
        }
    }

    /// Every storage that a pickle named, by its key.
    pub fn storages(&self) -> HashMap<&str, &Storage> {
        let storages = self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some((storage.key.as_str(), storage)),
            _ => None,
        });
        storages.collect()
    }

    /// Reads one pickle, up to its STOP, and returns its value.
    pub fn pickle(&mut self) -> Parse<Ref> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        loop {
            let start = self.at;
            let opcode = self.byte()?;
            if opcode == STOP {
                return self.pop();
            }
            self.step(opcode).map_err(|message| format!("{message} (opcode 0x{opcode:02x} at byte {start})"))?;
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

    /// Stack, memo and framing.
    fn bookkeeping(&mut self, opcode: u8) -> Parse<()> {
        match opcode {
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.pop_to_mark()?;
            }
            b'2' => self.stack.push(self.top()?),
            b'q' | b'r' | b'p' | 0x94 => {
                let key = match opcode {
                    0x94 => self.memo.len() as u64,
                    _ => self.memo_key(opcode)?,
                };
                self.memo.insert(key, self.top()?);
            }
            b'h' | b'j' | b'g' => {
                let key = self.memo_key(opcode)?;
                let reference = *self.memo.get(&key).ok_or("a memo entry that was never set")?;
                self.stack.push(reference);
            }
            0x80 => {
                let protocol = self.byte()?;
                if protocol > 5 {
                    return Err(format!("pickle protocol {protocol}; expected at most 5"));
                }
            }
            _ => {
                self.bytes(8)?; // the length of a frame, which only helps readers of streams
            }
        }
        Ok(())
    }

    fn memo_key(&mut self, opcode: u8) -> Parse<u64> {
        match opcode {
            b'q' | b'h' => Ok(self.byte()? as u64),
            b'r' | b'j' => self.unsigned(4),
            _ => self.line()?.parse().map_err(|_| "a memo key that is no number".to_string()),
        }
    }

    /// Numbers, texts, bytes and singletons.
    fn literal(&mut self, opcode: u8) -> Parse<()> {
        let value = match opcode {
            b'N' => Value::None,
            0x88 => Value::Int(1),
            0x89 => Value::Int(0),
            b'K' => Value::Int(self.unsigned(1)? as i64),
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
            b'V' => Value::Text(self.line()?.to_string()),
            b'S' => Value::Text(self.line()?.trim_matches(['\'', '"']).to_string()),
            b'C' => self.counted_bytes(1)?,
            b'B' => self.counted_bytes(4)?,
            0x8e | 0x96 => self.counted_bytes(8)?,
            _ => return Err("a pickle opcode that no checkpoint needs".into()),
        };
        self.push(value);
        Ok(())
    }

    /// Lists, tuples, dictionaries and sets (which are kept as lists).
    fn container(&mut self, opcode: u8) -> Parse<()> {
        match opcode {
            b']' | 0x8f => self.push(Value::List(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            b')' => self.push(Value::Tuple(Vec::new())),
            0x85..=0x87 => {
                let count = (opcode - 0x84) as usize;
                let from = self.stack.len().checked_sub(count).ok_or(EMPTY)?;
                let members = self.stack.split_off(from);
                self.push(Value::Tuple(members));
            }
            b't' => {
                let members = self.pop_to_mark()?;
                self.push(Value::Tuple(members));
            }
            b'l' | 0x91 => {
                let members = self.pop_to_mark()?;
                self.push(Value::List(members));
            }
            b'd' => {
                let entries = pairs(&self.pop_to_mark()?)?;
                self.push(Value::Dict(entries));
            }
            b'a' => {
                let member = self.pop()?;
                self.extend(vec![member])?;
            }
            b'e' | 0x90 => {
                let members = self.pop_to_mark()?;
                self.extend(members)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.insert(vec![(key, value)])?;
            }
            _ => {
                let entries = pairs(&self.pop_to_mark()?)?;
                self.insert(entries)?;
            }
        }
        Ok(())
    }

    /// Names, calls, instances and persistent ids: see `rebuild` for what comes of them.
    fn object(&mut self, opcode: u8) -> Parse<()> {
        let value = match opcode {
            b'c' => Value::Global(name_of_sane_length(self.line()?)?, name_of_sane_length(self.line()?)?),
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Some(module), Some(name)) = (self.text(module), self.text(name)) else {
                    return Err("a global whose name is no text".into());
                };
                let (module, name) = (name_of_sane_length(module)?, name_of_sane_length(name)?);
                Value::Global(module, name)
            }
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let reference = rebuild::call(self, callable, arguments)?;
                self.stack.push(reference);
                return Ok(());
            }
            0x92 => {
                let (_keywords, arguments, callable) = (self.pop()?, self.pop()?, self.pop()?);
                let reference = rebuild::call(self, callable, arguments)?;
                self.stack.push(reference);
                return Ok(());
            }
            b'b' => {
                let state = self.pop()?;
                return self.build(state);
            }
            b'Q' => {
                let id = self.pop()?;
                let reference = rebuild::persistent(self, id)?;
                self.stack.push(reference);
                return Ok(());
            }
            b'P' => return Err("a persistent id as text; expected torch's tuple".into()),
            b'i' => {
                let class = format!("{}.{}", name_of_sane_length(self.line()?)?, name_of_sane_length(self.line()?)?);
                self.pop_to_mark()?;
                Value::Object(class)
            }
            _ => {
                let members = self.pop_to_mark()?;
                Value::Object(members.first().map_or("?".into(), |class| rebuild::class_name(self, *class)))
            }
        };
        self.push(value);
        Ok(())
    }

    /// Gives the topmost value its `state`; all that is kept of it is whether it is a network's.
    fn build(&mut self, state: Ref) -> Parse<()> {
        let target = self.top()?;
        let is_network = match self.value(state) {
            Value::Dict(entries) => entries.iter().take(64).any(|(key, _)| self.text(*key) == Some("_parameters")),
            _ => false,
        };
        if let Some(value) = self.values.get_mut(target)
            && let Value::Object(class) = value
            && is_network
        {
            *value = Value::Module(std::mem::take(class));
        }
        Ok(())
    }

    fn extend(&mut self, members: Vec<Ref>) -> Parse<()> {
        let target = self.top()?;
        match self.values.get_mut(target) {
            Some(Value::List(list)) => list.extend(members),
            Some(Value::Object(_) | Value::Module(_)) => {}
            _ => return Err("members for something that is no list".into()),
        }
        Ok(())
    }

    fn insert(&mut self, entries: Vec<(Ref, Ref)>) -> Parse<()> {
        let target = self.top()?;
        match self.values.get_mut(target) {
            Some(Value::Dict(dict)) => dict.extend(entries),
            Some(Value::Object(_) | Value::Module(_)) => {}
            _ => return Err("entries for something that is no dictionary".into()),
        }
        Ok(())
    }

    /// Adds a value and returns its reference without pushing it.
    pub fn add(&mut self, value: Value) -> Ref {
        self.values.push(value);
        self.values.len() - 1
    }

    fn push(&mut self, value: Value) {
        let reference = self.add(value);
        self.stack.push(reference);
    }

    fn pop(&mut self) -> Parse<Ref> {
        self.stack.pop().ok_or_else(|| EMPTY.into())
    }

    fn top(&self) -> Parse<Ref> {
        self.stack.last().copied().ok_or_else(|| EMPTY.into())
    }

    fn pop_to_mark(&mut self) -> Parse<Vec<Ref>> {
        let mark = self.marks.pop().ok_or("a mark is missing")?;
        if mark > self.stack.len() {
            return Err("a mark above the stack".into());
        }
        Ok(self.stack.split_off(mark))
    }

    fn byte(&mut self) -> Parse<u8> {
        let byte = *self.input.get(self.at).ok_or(ENDS)?;
        self.at += 1;
        Ok(byte)
    }

    fn bytes(&mut self, length: u64) -> Parse<&'a [u8]> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length)).ok_or(ENDS)?;
        let bytes = self.input.get(self.at..end).ok_or(ENDS)?;
        self.at = end;
        Ok(bytes)
    }

    fn unsigned(&mut self, size: u64) -> Parse<u64> {
        Ok(self.bytes(size)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn line(&mut self) -> Parse<&'a str> {
        let length = self.rest().iter().position(|byte| *byte == b'\n').ok_or(ENDS)?;
        let line = self.bytes(length as u64)?;
        self.byte()?;
        std::str::from_utf8(line).map_err(|_| "a line that is not UTF-8".into())
    }

    fn counted_text(&mut self, size: u64) -> Parse<Value> {
        let length = self.unsigned(size)?;
        let bytes = self.bytes(length)?;
        Ok(std::str::from_utf8(bytes).map_or(Value::Other, |text| Value::Text(text.to_string())))
    }

    fn counted_bytes(&mut self, size: u64) -> Parse<Value> {
        let length = self.unsigned(size)?;
        self.bytes(length)?;
        Ok(Value::Other)
    }
}

const STOP: u8 = b'.';
const EMPTY: &str = "the pickle takes a value from an empty stack";
const ENDS: &str = "the pickle ends too early";

/// Longest name of a class, module or storage that is taken for one.
pub(super) const NAME_LIMIT: usize = 1000;

/// A copy of `name`, which must not be absurdly long: the memo could ask for many copies.
pub(super) fn name_of_sane_length(name: &str) -> Parse<String> {
    if name.len() > NAME_LIMIT {
        return Err(format!("a name of {} letters; expected at most {NAME_LIMIT}", name.len()));
    }
    Ok(name.to_string())
}

/// A little-endian two's complement integer of any length.
fn long(bytes: &[u8]) -> Value {
    if bytes.len() > 8 {
        return Value::Other;
    }
    let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
    Value::Int(bytes.iter().rev().fold(sign, |number, byte| number << 8 | i64::from(*byte)))
}

fn pairs(members: &[Ref]) -> Parse<Vec<(Ref, Ref)>> {
    let (pairs, rest) = members.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("a dictionary with a key but no value".into());
    }
    Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
}
