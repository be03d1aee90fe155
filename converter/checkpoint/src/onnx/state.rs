//! The state of a symbolic run through a graph: its tensors, what they are laid out as, and the budget of the run.

use super::constant::Constant;
use super::expr::{Expr, Exprs, Id};
use super::external::External;
use super::layout::{Atom, Axis, Dimension, length, positions, steps, whole};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use super::proto::{DataLocation, Length, TensorProto, ValueInfoProto};

/// A tensor of the graph.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Constant(Rc<Constant>),
    Activation(Activation),
}

/// A tensor that depends on the picture.
#[derive(Clone, Debug)]
pub(super) struct Activation {
    /// What it is.
    pub id: Id,
    /// How it is laid out.
    pub dimensions: Vec<Dimension>,
    /// Number of channels; 0 before the patch embedding.
    pub channels: usize,
}

impl Activation {
    /// How many numbers it has.
    fn numbers(&self) -> usize {
        self.dimensions.iter().map(|dimension| length(dimension)).product()
    }

    /// Whether it is one vector of channels, as the logits are.
    pub fn is_vector(&self) -> bool {
        self.channels > 0 && self.numbers() == self.channels
    }
}

/// Everything that [`super::recognise`] needs.
pub(super) struct Followed {
    pub exprs: Exprs,
    pub output: Id,
    pub image: [usize; 2],
    pub patch: usize,
    /// Number of channels of the patch embedding.
    pub channels: usize,
}

/// The state of a run.
pub(super) struct Follower<'a> {
    path: &'a Path,
    external: External,
    pub values: HashMap<String, Value>,
    pub exprs: Exprs,
    /// The node that is being followed.
    pub at: usize,
    pub image: [usize; 2],
    /// Edge of a patch; 0 before the patch embedding.
    pub patch: usize,
    /// Number of channels of the patch embedding.
    pub channels: usize,
    model_length: usize,
    spent: usize,
}

/// An error of a node; the caller adds file and node.
pub(super) type Follow<T> = std::result::Result<T, String>;

impl<'a> Follower<'a> {
    /// A run of the model at `path`, `length` bytes long.
    pub fn new(path: &'a Path, length: usize) -> Self {
        Self {
            path,
            external: External::beside(path),
            values: HashMap::new(),
            exprs: Exprs::default(),
            at: usize::MAX,
            image: [0; 2],
            patch: 0,
            channels: 0,
            model_length: length,
            spent: 0,
        }
    }

    /// Accounts for making `elements` numbers: a graph may ask for many copies of one weight, but not without end.
    pub fn spend(&mut self, elements: usize) -> Follow<()> {
        let external = usize::try_from(self.external.total()).unwrap_or(usize::MAX);
        let budget = self.model_length.saturating_add(external).saturating_mul(4).saturating_add(1 << 20);
        self.spent = self.spent.saturating_add(elements);
        if self.spent > budget {
            return Err("the graph unfolds to far more than the file's size".into());
        }
        Ok(())
    }

    /// Takes the initialisers that `is_needed`.
    pub fn constants(&mut self, tensors: Vec<TensorProto>, is_needed: impl Fn(&str) -> bool) -> Result<()> {
        // Also of those that are not needed: whoever runs the model itself, as `check` does, reads them all.
        let is_external = |tensor: &&TensorProto| tensor.data_location == DataLocation::External as i32;
        for tensor in tensors.iter().filter(is_external) {
            let checked = self.external.check(&tensor.external_data);
            checked.map_err(|message| Error::tensor(self.path, &tensor.name, message))?;
        }
        for tensor in tensors.into_iter().filter(|tensor| is_needed(&tensor.name)) {
            let constant = self.constant(&tensor).map_err(|message| Error::tensor(self.path, &tensor.name, message))?;
            self.values.insert(tensor.name, Value::Constant(Rc::new(constant)));
        }
        Ok(())
    }

    /// Reads a constant.
    pub fn constant(&mut self, tensor: &TensorProto) -> Follow<Constant> {
        let constant = Constant::read(tensor, &mut self.external)?;
        self.spend(constant.data.len())?;
        Ok(constant)
    }

    /// Takes the one input that is no initialiser: the picture, `[batch, 3, height, width]`.
    pub fn picture(
        &mut self,
        inputs: &[ValueInfoProto],
        is_needed: impl Fn(&str) -> bool,
        image: Option<[usize; 2]>,
    ) -> Result<()> {
        let is_input = |input: &&ValueInfoProto| is_needed(&input.name) && !self.values.contains_key(&input.name);
        let inputs: Vec<_> = inputs.iter().filter(is_input).collect();
        let [input] = inputs.as_slice() else {
            let message = format!("{} inputs; expected one, [batch, 3, height, width]", inputs.len());
            return Err(Error::file(self.path, message));
        };
        let [height, width] =
            picture_size(input, image).map_err(|message| Error::tensor(self.path, &input.name, message))?;
        self.image = [height, width];
        let dimensions = vec![Vec::new(), whole(Axis::Colour, 3), whole(Axis::Row, height), whole(Axis::Column, width)];
        let id = self.exprs.add(Expr::Picture, self.at);
        self.values.insert(input.name.clone(), Value::Activation(Activation { id, dimensions, channels: 0 }));
        Ok(())
    }

    /// An activation laid out as `like`, computed by `expr`.
    pub fn step(&mut self, expr: Expr, like: &Activation) -> Activation {
        Activation { id: self.exprs.add(expr, self.at), ..like.clone() }
    }

    /// Number of patches; 0 before the patch embedding.
    pub fn patches(&self) -> usize {
        let [height, width] = self.image;
        height.checked_div(self.patch).unwrap_or(0) * width.checked_div(self.patch).unwrap_or(0)
    }

    /// The patch's number at each position along `dimension`, if the dimension holds every patch.
    pub fn patch_order(&self, dimension: &[Atom]) -> Option<Vec<usize>> {
        let columns = self.image[1].checked_div(self.patch)?;
        positions(dimension, self.patches(), |axis| match axis {
            Axis::Row => Some((self.patch, columns)),
            Axis::Column => Some((self.patch, 1)),
            _ => None,
        })
    }

    /// The channel at each position along `dimension`, if the dimension holds every channel.
    pub fn channel_order(&self, dimension: &[Atom], channels: usize) -> Option<Vec<usize>> {
        positions(dimension, channels, |axis| (axis == Axis::Channel).then_some((1, 1)))
    }

    /// What was followed up to `output`.
    pub fn finish(mut self, output: &str) -> Follow<Followed> {
        match self.values.remove(output) {
            Some(Value::Activation(activation)) => {
                let id = activation.id;
                if !activation.is_vector() {
                    let numbers = activation.numbers();
                    return Err(format!("the output '{output}' has {numbers} numbers; expected one vector of logits"));
                }
                let Self { exprs, image, patch, channels, .. } = self;
                Ok(Followed { exprs, output: id, image, patch, channels })
            }
            _ => Err(format!("the output '{output}' does not depend on the picture")),
        }
    }
}

/// The operands of a node.
pub(super) struct Inputs(pub Vec<Option<Value>>);

impl Inputs {
    /// Operand `index`, if the node has it.
    pub fn get(&self, index: usize) -> Option<&Value> {
        self.0.get(index).and_then(Option::as_ref)
    }

    /// Operand `index`, which must depend on the picture.
    pub fn activation(&self, index: usize) -> Follow<&Activation> {
        match self.get(index) {
            Some(Value::Activation(activation)) => Ok(activation),
            _ => Err(format!("input {index} is constant; expected one that depends on the picture")),
        }
    }

    /// Operand `index`, which must be constant.
    pub fn constant(&self, index: usize) -> Follow<&Rc<Constant>> {
        match self.get(index) {
            Some(Value::Constant(constant)) => Ok(constant),
            Some(_) => Err(format!("input {index} depends on the picture; expected a constant (a weight)")),
            None => Err(format!("input {index} is missing; expected a constant (a weight)")),
        }
    }
}

/// Height and width from the input's type, or from what the caller says where the graph leaves them open.
fn picture_size(input: &ValueInfoProto, image: Option<[usize; 2]>) -> Follow<[usize; 2]> {
    let Some(tensor) = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()) else {
        return Err("an input that is no tensor; expected [batch, 3, height, width]".into());
    };
    let lengths = tensor.shape.as_ref().map_or(&[][..], |shape| shape.dim.as_slice());
    let fixed: Vec<Option<i64>> = lengths
        .iter()
        .map(|length| match length.value {
            Some(Length::DimValue(value)) => Some(value),
            _ => None,
        })
        .collect();
    let shape = || {
        let lengths = fixed.iter().map(|length| length.map_or("?".into(), |length| length.to_string()));
        format!("shape [{}]", lengths.collect::<Vec<_>>().join(", "))
    };
    let [batch, colours, height, width] = fixed.as_slice() else {
        return Err(format!("{}; expected [batch, 3, height, width]", shape()));
    };
    if batch.is_some_and(|batch| batch != 1) {
        return Err(format!("{}; expected a batch of 1 or of any size", shape()));
    }
    if colours.is_some_and(|colours| colours != 3) {
        return Err(format!("{}; expected 3 colours: [batch, 3, height, width]", shape()));
    }
    let edge = |length: &Option<i64>, told: Option<usize>| match length {
        Some(length) => usize::try_from(*length).ok().filter(|length| (1..=EDGE_LIMIT).contains(length)),
        None => told.filter(|length| (1..=EDGE_LIMIT).contains(length)),
    };
    match (edge(height, image.map(|i| i[0])), edge(width, image.map(|i| i[1]))) {
        (Some(height), Some(width)) => Ok([height, width]),
        _ => Err(format!("{}; expected a fixed height and width, or --image-size HxW", shape())),
    }
}

/// Largest height or width of a picture in pixels.
const EDGE_LIMIT: usize = 1 << 14;

/// A dimension of patches: rows and columns of the patch grid.
pub(super) fn patch_dimensions(image: [usize; 2], patch: usize) -> [Dimension; 2] {
    let [height, width] = image;
    [steps(Axis::Row, patch, height / patch), steps(Axis::Column, patch, width / patch)]
}
