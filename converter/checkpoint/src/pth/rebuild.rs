//! Interprets the few calls in a checkpoint's pickle that matter: those that rebuild tensors, arrays and dictionaries.

use super::limits::MOST_DIMENSIONS;
use super::pickle::{Machine, Parse, sane_name};
use super::reason::PickleReason;
use super::value::{Dtype, Element, Obstacle, Place, Ref, Storage, Value, View};
use crate::tensors::volume;

/// Returns the value of `callable(*arguments)`.
///
/// For a known function the value is a tensor, an array, a dictionary or other data. For any other it is an object of
/// which only the class is kept.
///
/// # Errors
/// Returns an error if the arguments do not fit a known function, or if the call is one that would run a program.
pub(super) fn call(machine: &mut Machine, callable: Ref, arguments: Ref) -> Parse<Ref> {
    let Some([module, name]) = machine.global(callable) else {
        return machine.add(Value::Object(callable));
    };
    let value = match (module, name) {
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => tensor(machine, arguments)?,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
            return argument(machine, arguments, 0);
        }
        ("torch._utils", "_rebuild_tensor_v3") => {
            Value::UnreadTensor(Box::new(Obstacle::Class(argument(machine, arguments, DTYPE_OF_V3)?)))
        }
        ("torch._utils", other) if other.starts_with("_rebuild_") => {
            Value::UnreadTensor(Box::new(Obstacle::Kind(other.trim_start_matches("_rebuild_"))))
        }
        ("torch._tensor", "_rebuild_from_type_v2") => return subclass(machine, arguments),
        ("collections", "OrderedDict") => return dictionary(machine, arguments),
        ("collections", "defaultdict") => Value::Dict(Vec::new()),
        ("torch", "Size") => return argument(machine, arguments, 0),
        ("_codecs", "encode") => encoded(machine, arguments),
        ("numpy", "dtype") => dtype(machine, arguments),
        ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Value::EmptyArray,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => scalar(machine, arguments),
        ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => return from_buffer(machine, arguments),
        _ if runs_programs(module, name) => return Err(PickleReason::Calls(format!("{module}.{name}"))),
        _ => Value::Object(callable),
    };
    machine.add(value)
}

/// Index of the argument of `_rebuild_tensor_v3` that is the element type.
///
/// PyTorch writes this function for tensors whose type has no storage class.
const DTYPE_OF_V3: usize = 6;

/// Returns whether a call is there to run a program or code.
///
/// This reader never runs anything, but such a file endangers everyone who loads it with another reader.
fn runs_programs(module: &str, name: &str) -> bool {
    const MODULES: [&str; 10] =
        ["os", "posix", "nt", "subprocess", "sys", "pty", "runpy", "importlib", "socket", "shutil"];
    const BUILTINS: [&str; 5] = ["eval", "exec", "compile", "__import__", "open"];
    let package = module.split('.').next().unwrap_or(module);
    MODULES.contains(&package) || (["builtins", "__builtin__"].contains(&module) && BUILTINS.contains(&name))
}

/// Gives the value that `target` refers to its `state`.
///
/// An array receives its numbers, and a NumPy type its byte order. An object only records whether it is a network.
pub(super) fn build(machine: &mut Machine, target: Ref, state: Ref) -> Parse<()> {
    match machine.value(target) {
        Value::Object(class) => {
            let class = *class;
            let is_network = match machine.value(state) {
                Value::Dict(entries) => {
                    entries.iter().take(64).any(|(key, _)| machine.text(*key) == Some("_parameters"))
                }
                _ => false,
            };
            if is_network {
                machine.set(target, Value::Module(class));
            }
        }
        Value::Dtype(dtype) => {
            let order = machine.members(state).and_then(|state| machine.text(*state.get(1)?));
            let dtype = Dtype { is_big_endian: order == Some(">"), ..*dtype };
            machine.set(target, Value::Dtype(dtype));
        }
        Value::EmptyArray => {
            let Some(&[_version, shape, dtype, is_fortran, data]) = machine.members(state) else {
                return Err(PickleReason::Shape("a NumPy array whose state does not have five parts"));
            };
            let is_fortran = !matches!(machine.value(is_fortran), Value::Int(0));
            let array = array(machine, data, dtype, shape, is_fortran)?;
            machine.set(target, array);
        }
        _ => {}
    }
    Ok(())
}

/// Returns what a persistent id of torch names.
///
/// The id `('storage', class, key, location, elements, …)` names a storage, and `('module', class, …)` names a class.
pub(super) fn persistent(machine: &mut Machine, id: Ref) -> Parse<Ref> {
    let members = machine.members(id).ok_or(PickleReason::Shape("a persistent id that is no tuple"))?;
    if let [tag, class, ..] = members
        && machine.text(*tag) == Some("module")
    {
        return Ok(*class);
    }
    let not_torchs = PickleReason::Shape("a persistent id that is not torch's");
    let [tag, class, key, _location, elements, rest @ ..] = members else {
        return Err(not_torchs);
    };
    if machine.text(*tag) != Some("storage") {
        return Err(not_torchs);
    }
    if rest.first().is_some_and(|view| !matches!(machine.value(*view), Value::None)) {
        return Err(PickleReason::Shape(
            "a storage that is a view of another; save the checkpoint with PyTorch 0.4 or later",
        ));
    }
    let [_, name] = machine.global(*class).ok_or(PickleReason::Shape("a storage without a class"))?;
    let kind = Element::of_storage(name).ok_or_else(|| PickleReason::StorageClass(name.into()))?;
    let key = sane_name(machine.text(*key).ok_or(PickleReason::Shape("a storage whose key is no text"))?)?;
    let elements = count(machine, *elements).ok_or(PickleReason::Shape("a storage without a length"))?;
    machine.add(Value::Storage(Box::new(Storage { place: Place::Key(key), kind, elements })))
}

/// Returns the dotted name of the class or function that `reference` refers to, or `?` for other values.
pub(super) fn class_name(machine: &Machine, reference: Ref) -> String {
    machine.global(reference).map_or("?".into(), |[module, name]| format!("{module}.{name}"))
}

/// Rebuilds the tensor of `_rebuild_tensor(storage, offset, shape, strides, …)`.
fn tensor<'a>(machine: &Machine<'a>, arguments: Ref) -> Parse<Value<'a>> {
    let Some([storage, offset, shape, strides, rest @ ..]) = machine.members(arguments) else {
        return Err(PickleReason::Shape("a tensor with too few arguments"));
    };
    if rest.get(2).is_some_and(|flags| is_negated(machine, *flags)) {
        return Ok(Value::UnreadTensor(Box::new(Obstacle::Kind("a view that negates what is stored"))));
    }
    if !matches!(machine.value(*storage), Value::Storage(_)) {
        return Err(PickleReason::Shape("a tensor without a storage"));
    }
    let offset = count(machine, *offset).ok_or(PickleReason::Shape("a tensor whose storage offset is no count"))?;
    let shape = counts(machine, *shape).ok_or(PickleReason::Shape("a tensor whose shape is no list of counts"))?;
    let strides =
        counts(machine, *strides).ok_or(PickleReason::Shape("a tensor whose strides are no list of counts"))?;
    if shape.len() != strides.len() {
        return Err(PickleReason::Shape("a tensor whose shape and strides differ in length"));
    }
    Ok(Value::Tensor(Box::new(View { storage: *storage, offset, shape, strides })))
}

/// Returns whether the last argument of `_rebuild_tensor_v2` states that the stored numbers are to be negated.
fn is_negated(machine: &Machine, flags: Ref) -> bool {
    let is_set = |(key, value): &(Ref, Ref)| {
        machine.text(*key) == Some("neg") && !matches!(machine.value(*value), Value::Int(0))
    };
    matches!(machine.value(flags), Value::Dict(flags) if flags.iter().take(64).any(is_set))
}

/// Rebuilds the plain tensor of `_rebuild_from_type_v2(function, class, arguments, state)`.
///
/// Whatever the class adds to the tensor is ignored.
fn subclass(machine: &mut Machine, arguments: Ref) -> Parse<Ref> {
    let function = argument(machine, arguments, 0)?;
    let inner = argument(machine, arguments, 2)?;
    match machine.global(function) {
        Some(["torch._utils", "_rebuild_wrapper_subclass"]) => distributed(machine, arguments, inner),
        Some(["torch._utils", _]) => call(machine, function, inner),
        _ => machine.add(Value::Object(function)),
    }
}

/// Rebuilds a distributed tensor (`DTensor`), which is readable if the local tensor in its state is the whole tensor.
fn distributed(machine: &mut Machine, arguments: Ref, inner: Ref) -> Parse<Ref> {
    let class = argument(machine, arguments, 1)?;
    let state = argument(machine, arguments, 3)?;
    let local = attribute(machine, state, "_local_tensor");
    let whole = argument(machine, inner, 2).ok().and_then(|shape| counts(machine, shape));
    let obstacle = match (local, local.map(|local| machine.value(local)), whole) {
        (Some(local), Some(Value::Tensor(view)), Some(whole)) if view.shape == whole => return Ok(local),
        (_, Some(Value::Tensor(view)), Some(whole)) => Obstacle::Shard(view.shape.clone(), whole),
        _ => Obstacle::Class(class),
    };
    machine.add(Value::UnreadTensor(Box::new(obstacle)))
}

/// Returns the attribute `name` in an object's state, which is a dictionary or a tuple of dictionaries.
fn attribute(machine: &Machine, state: Ref, name: &str) -> Option<Ref> {
    let in_dict = |dict: &Value| match dict {
        Value::Dict(entries) => entries.iter().take(64).find(|(key, _)| machine.text(*key) == Some(name)).map(|e| e.1),
        _ => None,
    };
    let parts = machine.members(state).unwrap_or_default();
    in_dict(machine.value(state)).or_else(|| parts.iter().take(4).find_map(|part| in_dict(machine.value(*part))))
}

/// Rebuilds the dictionary of `OrderedDict()` or `OrderedDict([(key, value), …])`.
fn dictionary(machine: &mut Machine, arguments: Ref) -> Parse<Ref> {
    let Some(&items) = machine.members(arguments).and_then(|members| members.first()) else {
        return machine.add(Value::Dict(Vec::new()));
    };
    if let Value::Dict(_) = machine.value(items) {
        return Ok(items);
    }
    let length = machine.members(items).map_or(0, <[Ref]>::len);
    machine.spend(length)?;
    machine.charge(length * size_of::<(Ref, Ref)>())?;
    let items = machine.members(items).ok_or(PickleReason::Shape("an OrderedDict of something that is no list"))?;
    let entries = items.iter().map(|item| match machine.members(*item) {
        Some([key, value]) => Ok((*key, *value)),
        _ => Err(PickleReason::Shape("an OrderedDict with an item that is no pair")),
    });
    let entries = entries.collect::<Parse<_>>()?;
    machine.add(Value::Dict(entries))
}

/// Rebuilds the bytes of `_codecs.encode(text, 'latin1')`, the call with which pickles of protocol 2 write bytes.
fn encoded<'a>(machine: &Machine<'a>, arguments: Ref) -> Value<'a> {
    match machine.members(arguments) {
        Some([text, codec]) if machine.text(*codec) == Some("latin1") => {
            machine.text(*text).map_or(Value::Other, Value::Latin1)
        }
        _ => Value::Other,
    }
}

/// Rebuilds the NumPy type of `numpy.dtype(code, …)`.
fn dtype<'a>(machine: &Machine<'a>, arguments: Ref) -> Value<'a> {
    let code = machine.members(arguments).and_then(|arguments| machine.text(*arguments.first()?));
    code.map_or(Value::Other, |code| Value::Dtype(Dtype { code, is_big_endian: code.starts_with('>') }))
}

/// Rebuilds the integer of NumPy's `scalar(dtype, bytes)`; any other number becomes [`Value::Other`].
fn scalar<'a>(machine: &Machine<'a>, arguments: Ref) -> Value<'a> {
    let number = || {
        let [dtype, bytes] = machine.members(arguments)? else { return None };
        let Value::Dtype(dtype) = machine.value(*dtype) else { return None };
        let is_integer = dtype.code.contains(['i', 'u']) && !dtype.is_big_endian;
        if matches!(machine.value(*bytes), Value::Latin1(text) if text.len() > 16) {
            return None; // Such a text is not a number, and the memo could ask for its copy again and again.
        }
        let bytes = machine.bytes_of(*bytes)?;
        let mut wide = [0; 8];
        wide.get_mut(..bytes.len())?.copy_from_slice(&bytes);
        is_integer.then(|| i64::from_le_bytes(wide))
    };
    number().map_or(Value::Other, Value::Int)
}

/// Rebuilds the array of `_frombuffer(bytes, dtype, shape, order)`, the call with which pickles of protocol 5 write it.
fn from_buffer(machine: &mut Machine, arguments: Ref) -> Parse<Ref> {
    let Some(&[data, dtype, shape, order]) = machine.members(arguments) else {
        return Err(PickleReason::Shape("a NumPy array with other arguments than NumPy's"));
    };
    let is_fortran = machine.text(order) == Some("F");
    let array = array(machine, data, dtype, shape, is_fortran)?;
    machine.add(array)
}

/// Returns the NumPy array with the bytes `data` as a tensor.
fn array<'a>(machine: &mut Machine<'a>, data: Ref, dtype: Ref, shape: Ref, is_fortran: bool) -> Parse<Value<'a>> {
    let Value::Dtype(dtype) = machine.value(dtype) else {
        return Ok(Value::UnreadTensor(Box::new(Obstacle::Kind("a NumPy array of objects"))));
    };
    let kind = dtype.element();
    let shape = counts(machine, shape).ok_or(PickleReason::Shape("a NumPy array whose shape is no list of counts"))?;
    let length = match *machine.value(data) {
        Value::Bytes(bytes) => bytes.len(),
        Value::Latin1(text) => {
            machine.spend(text.len())?;
            text.chars().count()
        }
        _ => return Ok(Value::UnreadTensor(Box::new(Obstacle::Kind("a NumPy array of objects")))),
    };
    let elements = volume(&shape).ok_or(PickleReason::Shape("a NumPy array whose shape overflows"))?;
    if kind.float.is_some() && elements.checked_mul(kind.size) != Some(length) {
        return Err(PickleReason::Shape("a NumPy array whose bytes do not fit its shape"));
    }
    let mut strides = vec![1; shape.len()];
    let mut product = 1usize;
    let mut along = |dimension: usize| {
        strides[dimension] = product;
        product = product.saturating_mul(shape[dimension]);
    };
    match is_fortran {
        true => (0..shape.len()).for_each(&mut along),
        false => (0..shape.len()).rev().for_each(&mut along),
    }
    let storage = machine.add(Value::Storage(Box::new(Storage { place: Place::Inline(data), kind, elements })))?;
    Ok(Value::Tensor(Box::new(View { storage, offset: 0, shape, strides })))
}

fn argument(machine: &Machine, arguments: Ref, index: usize) -> Parse<Ref> {
    let members = machine.members(arguments).ok_or(PickleReason::Shape("a call whose arguments are no tuple"))?;
    members.get(index).copied().ok_or(PickleReason::Shape("a call with too few arguments"))
}

fn count(machine: &Machine, reference: Ref) -> Option<usize> {
    match machine.value(reference) {
        Value::Int(number) => usize::try_from(*number).ok(),
        _ => None,
    }
}

fn counts(machine: &Machine, reference: Ref) -> Option<Vec<usize>> {
    let members = machine.members(reference).filter(|members| members.len() <= MOST_DIMENSIONS)?;
    members.iter().map(|member| count(machine, *member)).collect()
}
