//! The few calls of a checkpoint's pickle that mean something here: those that rebuild tensors and dictionaries.

use super::pickle::{Machine, Parse, name_of_sane_length};
use super::value::{Element, Ref, Storage, Value, View};

/// What `callable(*arguments)` leaves: a tensor or a dictionary for torch's own functions, else an object with a name.
pub(super) fn call(machine: &mut Machine, callable: Ref, arguments: Ref) -> Parse<Ref> {
    let Value::Global(module, name) = machine.value(callable) else {
        return Ok(machine.add(Value::Object("?".into())));
    };
    let value = match (module.as_str(), name.as_str()) {
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => tensor(machine, arguments)?,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
            return argument(machine, arguments, 0);
        }
        ("torch._utils", "_rebuild_tensor_v3") => {
            Value::UnreadTensor(class_name(machine, argument(machine, arguments, DTYPE_OF_V3)?))
        }
        ("torch._utils", other) if other.starts_with("_rebuild_") => {
            Value::UnreadTensor(other.trim_start_matches("_rebuild_").into())
        }
        ("torch._tensor", "_rebuild_from_type_v2") => return subclass(machine, arguments),
        ("collections", "OrderedDict") => return dictionary(machine, arguments),
        ("collections", "defaultdict") => Value::Dict(Vec::new()),
        ("torch", "Size") => return argument(machine, arguments, 0),
        _ if runs_programs(module, name) => {
            return Err(format!("the pickle calls {module}.{name}, which no checkpoint needs; nothing of it was run"));
        }
        _ => Value::Object(class_name(machine, callable)),
    };
    Ok(machine.add(value))
}

/// Which argument of `_rebuild_tensor_v3` is the type: it rebuilds tensors of types without a storage class.
const DTYPE_OF_V3: usize = 6;

/// Whether a call is there to run something. Nothing ever runs here; but whoever loads such a file elsewhere is at risk.
fn runs_programs(module: &str, name: &str) -> bool {
    const MODULES: [&str; 10] =
        ["os", "posix", "nt", "subprocess", "sys", "pty", "runpy", "importlib", "socket", "shutil"];
    const BUILTINS: [&str; 5] = ["eval", "exec", "compile", "__import__", "open"];
    let package = module.split('.').next().unwrap_or(module);
    MODULES.contains(&package) || (["builtins", "__builtin__"].contains(&module) && BUILTINS.contains(&name))
}

/// What torch's persistent id names: the storage of `('storage', class, key, location, elements, …)`, the class of
/// `('module', class, …)`.
pub(super) fn persistent(machine: &mut Machine, id: Ref) -> Parse<Ref> {
    let members = machine.members(id).ok_or("a persistent id that is no tuple")?;
    if let [tag, class, ..] = members
        && machine.text(*tag) == Some("module")
    {
        return Ok(*class);
    }
    let [tag, class, key, _location, elements, rest @ ..] = members else {
        return Err("a persistent id that is not torch's".into());
    };
    if machine.text(*tag) != Some("storage") {
        return Err("a persistent id that is not torch's".into());
    }
    if rest.first().is_some_and(|view| !matches!(machine.value(*view), Value::None)) {
        return Err("a storage that is a view of another; save the checkpoint with PyTorch 0.4 or later".into());
    }
    let Value::Global(_, name) = machine.value(*class) else {
        return Err("a storage without a class".into());
    };
    let kind = Element::of_storage(name).ok_or_else(|| format!("the storage class '{name}'; expected torch's"))?;
    let key = name_of_sane_length(machine.text(*key).ok_or("a storage whose key is no text")?)?;
    let elements = count(machine, *elements).ok_or("a storage without a length")?;
    Ok(machine.add(Value::Storage(Storage { key, kind, elements })))
}

/// The dotted name of a class or function.
pub(super) fn class_name(machine: &Machine, reference: Ref) -> String {
    match machine.value(reference) {
        Value::Global(module, name) => format!("{module}.{name}"),
        _ => "?".into(),
    }
}

/// `_rebuild_tensor(storage, offset, shape, strides, …)`.
fn tensor(machine: &Machine, arguments: Ref) -> Parse<Value> {
    let Some([storage, offset, shape, strides, rest @ ..]) = machine.members(arguments) else {
        return Err("a tensor with too few arguments".into());
    };
    if rest.get(2).is_some_and(|flags| is_negated(machine, *flags)) {
        return Ok(Value::UnreadTensor("a view that negates what is stored".into()));
    }
    if !matches!(machine.value(*storage), Value::Storage(_)) {
        return Err("a tensor without a storage".into());
    }
    let offset = count(machine, *offset).ok_or("a tensor whose storage offset is no count")?;
    let shape = counts(machine, *shape).ok_or("a tensor whose shape is no list of counts")?;
    let strides = counts(machine, *strides).ok_or("a tensor whose strides are no list of counts")?;
    if shape.len() != strides.len() {
        return Err("a tensor whose shape and strides differ in length".into());
    }
    Ok(Value::Tensor(View { storage: *storage, offset, shape, strides }))
}

/// Whether the last argument of `_rebuild_tensor_v2` says that the numbers have the other sign.
fn is_negated(machine: &Machine, flags: Ref) -> bool {
    let is_set = |(key, value): &(Ref, Ref)| {
        machine.text(*key) == Some("neg") && !matches!(machine.value(*value), Value::Int(0))
    };
    matches!(machine.value(flags), Value::Dict(flags) if flags.iter().take(64).any(is_set))
}

/// `_rebuild_from_type_v2(function, class, arguments, state)`: the plain tensor, whatever its class adds.
fn subclass(machine: &mut Machine, arguments: Ref) -> Parse<Ref> {
    let function = argument(machine, arguments, 0)?;
    let inner = argument(machine, arguments, 2)?;
    match machine.value(function) {
        Value::Global(module, _) if module == "torch._utils" => call(machine, function, inner),
        _ => Ok(machine.add(Value::Object(class_name(machine, function)))),
    }
}

/// `OrderedDict()` or `OrderedDict([(key, value), …])`.
fn dictionary(machine: &mut Machine, arguments: Ref) -> Parse<Ref> {
    let Some(&items) = machine.members(arguments).and_then(|members| members.first()) else {
        return Ok(machine.add(Value::Dict(Vec::new())));
    };
    if let Value::Dict(_) = machine.value(items) {
        return Ok(items);
    }
    machine.spend(machine.members(items).map_or(0, <[Ref]>::len))?;
    let items = machine.members(items).ok_or("an OrderedDict of something that is no list")?;
    let entries = items.iter().map(|item| match machine.members(*item) {
        Some([key, value]) => Ok((*key, *value)),
        _ => Err("an OrderedDict with an item that is no pair".to_string()),
    });
    let entries = entries.collect::<Parse<_>>()?;
    Ok(machine.add(Value::Dict(entries)))
}

fn argument(machine: &Machine, arguments: Ref, index: usize) -> Parse<Ref> {
    let members = machine.members(arguments).ok_or("a call whose arguments are no tuple")?;
    members.get(index).copied().ok_or_else(|| "a call with too few arguments".into())
}

fn count(machine: &Machine, reference: Ref) -> Option<usize> {
    match machine.value(reference) {
        Value::Int(number) => usize::try_from(*number).ok(),
        _ => None,
    }
}

/// Most dimensions a tensor may have; a weight has four at most.
const MOST_DIMENSIONS: usize = 16;

fn counts(machine: &Machine, reference: Ref) -> Option<Vec<usize>> {
    let members = machine.members(reference).filter(|members| members.len() <= MOST_DIMENSIONS)?;
    members.iter().map(|member| count(machine, *member)).collect()
}
