//! The state of a symbolic run through a graph: the tensors, their layouts, and the budget of the run.

use super::constant::Constant;
use super::expr::{Coefficients, Expr, Exprs, Id, Spread};
use super::input::PictureInput;
use super::layout::{Atom, Axis, Dimension, positions, steps};
use super::proto::{DataType, TensorProto};
use std::collections::HashMap;
use std::rc::Rc;

/// A result whose error is a sentence; the caller adds the names of file and node.
pub(super) type Follow<T> = std::result::Result<T, String>;

/// A tensor of the graph.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Constant(Rc<Constant>),
    Activation(Activation),
    Part(Part),
    /// A tensor that cannot be followed, which is an error only if the network needs the tensor.
    Failed(Rc<Failure>),
}

/// The reason why a node cannot be followed.
#[derive(Debug)]
pub(super) struct Failure {
    /// Index of the node.
    pub node: usize,
    pub message: String,
}

/// A tensor that depends on the picture.
#[derive(Clone, Debug)]
pub(super) struct Activation {
    /// The step that computes the activation.
    pub id: Id,
    /// The layout of the tensor.
    pub dimensions: Vec<Dimension>,
    /// Number of channels; 0 before the patch embedding.
    pub channels: usize,
    /// Whether the numbers are integers, which may only be rearranged and cast.
    pub integers: bool,
}

impl Activation {
    /// Returns the length of every dimension.
    pub fn shape(&self) -> Vec<usize> {
        super::layout::shape(&self.dimensions)
    }

    /// Returns whether the activation is one vector of channels for each picture, as the logits are.
    pub fn is_vector(&self) -> bool {
        let atoms = self.dimensions.iter().flatten().filter(|atom| atom.axis != Axis::Batch);
        self.channels > 0 && atoms.map(|atom| atom.size).product::<usize>() == self.channels
    }
}

/// A stretch of one dimension of a tensor, such as an output of `Split`.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub whole: Activation,
    pub axis: usize,
    pub start: usize,
    pub length: usize,
}

/// The state of a run.
pub(super) struct Follower {
    pub values: HashMap<String, Value>,
    pub exprs: Exprs,
    /// The node that is being followed.
    pub at: usize,
    /// Version of ONNX's own operators.
    pub opset: i64,
    pub input: PictureInput,
    /// Edge of a patch; 0 before the patch embedding.
    pub patch: usize,
    /// Number of channels of the patch embedding.
    pub channels: usize,
    /// Factor and summand that the graph applies to the pixels of each colour before the patch embedding.
    pub pixels: [[f64; 2]; 3],
    /// Largest relative difference between a constant of the graph and the same constant of a formula.
    pub tolerance: f64,
    /// Count of numbers that the run may still create.
    left: usize,
}

impl Follower {
    /// Creates the state before the first node. `length` is the size in bytes of the model's file and of its external
    /// data.
    pub fn new(opset: i64, input: PictureInput, length: usize) -> Self {
        Self {
            values: HashMap::new(),
            exprs: Exprs::default(),
            at: usize::MAX,
            opset,
            input,
            patch: 0,
            channels: 0,
            pixels: [[1.0, 0.0]; 3],
            tolerance: 2e-5,
            left: length.saturating_mul(3).saturating_add(1 << 20),
        }
    }

    /// Charges the creation of `elements` numbers to the budget, because a small graph may ask for many copies of one
    /// weight.
    ///
    /// # Errors
    /// Returns a sentence where the budget is used up.
    pub fn spend(&mut self, elements: usize) -> Follow<()> {
        self.left = self.left.checked_sub(elements).ok_or("the graph unfolds to far more than the file's size")?;
        Ok(())
    }

    /// Reads a constant.
    pub fn constant(&mut self, tensor: &TensorProto) -> Follow<Constant> {
        let constant = Constant::read(tensor)?;
        self.rounded_to(DataType::try_from(tensor.data_type).unwrap_or(DataType::Undefined));
        self.spend(constant.data.len())?;
        Ok(constant)
    }

    /// Widens the tolerance for constants that were rounded to `data_type`.
    pub fn rounded_to(&mut self, data_type: DataType) {
        let rounding = match data_type {
            DataType::Float16 => 1e-3,
            DataType::Bfloat16 => 8e-3,
            _ => return,
        };
        self.tolerance = self.tolerance.max(rounding);
    }

    /// Adds the picture, which the graph calls `name`.
    pub fn picture(&mut self, name: &str) {
        let id = self.exprs.add(Expr::Picture, self.at);
        let activation =
            Activation { id, dimensions: self.input.dimensions(), channels: 0, integers: self.input.integers };
        self.values.insert(name.into(), Value::Activation(activation));
    }

    /// Adds the step `expr`, and returns its result as an activation laid out as `like`.
    pub fn step(&mut self, expr: Expr, like: &Activation) -> Activation {
        Activation { id: self.exprs.add(expr, self.at), ..like.clone() }
    }

    /// Returns the polynomial `by` of `x`.
    pub fn polynomial(&mut self, x: &Activation, by: Coefficients) -> Follow<Activation> {
        let id = self.exprs.polynomial(x.id, by, self.at);
        Ok(Activation { id: id.ok_or("a polynomial of a high degree; a ResMLP has none")?, ..x.clone() })
    }

    /// Returns `factor · x`.
    pub fn scaled(&mut self, x: &Activation, factor: f64) -> Follow<Activation> {
        self.polynomial(x, [0.0, factor, 0.0, 0.0])
    }

    /// Returns the elementwise product of `by` and `x`.
    pub fn multiplied(&mut self, x: &Activation, by: Spread) -> Follow<Activation> {
        match by {
            Spread::All(by) => self.scaled(x, by),
            by if is_all(&by, 1.0) => Ok(x.clone()),
            by => Ok(self.step(Expr::Scale { x: x.id, by }, x)),
        }
    }

    /// Returns the elementwise sum of `x` and `by`.
    pub fn shifted(&mut self, x: &Activation, by: Spread) -> Follow<Activation> {
        match by {
            Spread::All(by) => self.polynomial(x, [by, 1.0, 0.0, 0.0]),
            by if is_all(&by, 0.0) => Ok(x.clone()),
            by => Ok(self.step(Expr::Shift { x: x.id, by }, x)),
        }
    }

    /// Returns the number of patches, which is 0 before the patch embedding.
    pub fn patches(&self) -> usize {
        let [height, width] = self.input.image;
        height.checked_div(self.patch).unwrap_or(0) * width.checked_div(self.patch).unwrap_or(0)
    }

    /// Returns the index of the patch at each position along `dimension`, if the dimension holds every patch.
    pub fn patch_order(&self, dimension: &[Atom]) -> Option<Vec<usize>> {
        let columns = self.input.image[1].checked_div(self.patch)?;
        positions(dimension, self.patches(), |axis| match axis {
            Axis::Row => Some((self.patch, columns)),
            Axis::Column => Some((self.patch, 1)),
            _ => None,
        })
    }

    /// Returns the channel at each position along `dimension`, if the dimension holds every channel.
    pub fn channel_order(&self, dimension: &[Atom], channels: usize) -> Option<Vec<usize>> {
        positions(dimension, channels, |axis| (axis == Axis::Channel).then_some((1, 1)))
    }

    /// Returns the rows and columns of the grid of patches, as dimensions.
    pub fn patch_dimensions(&self, patch: usize) -> [Dimension; 2] {
        let [height, width] = self.input.image;
        [steps(Axis::Row, patch, height / patch), steps(Axis::Column, patch, width / patch)]
    }

    /// Returns the factor and summand that the graph applies to the pixels of each colour up to step `id`.
    pub fn pixel_arithmetic(&self, id: Id) -> Follow<[[f64; 2]; 3]> {
        use super::expr::Kind;
        let chain = self.exprs.chain(id);
        if !matches!(self.exprs.get(chain.base), Expr::Picture) {
            return Err("arithmetic on the pixels that is more than a scale and a shift a colour".into());
        }
        let mut colours = [[1.0, 0.0]; 3];
        for link in &chain.steps {
            for (index, [scale, shift]) in colours.iter_mut().enumerate() {
                let at = |by: &Spread| match by {
                    Spread::All(by) => *by,
                    Spread::Channels(by) | Spread::Patches(by) => by.get(index).copied().unwrap_or(f64::NAN),
                };
                (*scale, *shift) = match link.kind {
                    Kind::Scale(by) => (*scale * at(by), *shift * at(by)),
                    Kind::Shift(by) => (*scale, *shift + at(by)),
                    Kind::Uniform(by, more) => (*scale * by, *shift * by + more),
                };
            }
        }
        Ok(colours)
    }
}

fn is_all(spread: &Spread, value: f64) -> bool {
    match spread {
        Spread::All(found) => *found == value,
        Spread::Channels(found) | Spread::Patches(found) => found.iter().all(|found| *found == value),
    }
}

/// The operands of a node.
pub(super) struct Inputs(pub Vec<Option<Value>>);

impl Inputs {
    /// Returns operand `index`, if the node has it.
    pub fn get(&self, index: usize) -> Option<&Value> {
        self.0.get(index).and_then(Option::as_ref)
    }

    /// Returns operand `index`, which must depend on the picture.
    pub fn activation(&self, index: usize) -> Follow<&Activation> {
        match self.get(index) {
            Some(Value::Activation(activation)) => Ok(activation),
            Some(Value::Part(_)) => Err(PART.into()),
            _ => Err(format!("input {index} is constant; expected one that depends on the picture")),
        }
    }

    /// Returns operand `index`, which must be constant.
    pub fn constant(&self, index: usize) -> Follow<&Rc<Constant>> {
        match self.get(index) {
            Some(Value::Constant(constant)) => Ok(constant),
            Some(_) => Err(format!("input {index} depends on the picture; expected a constant (a weight)")),
            None => Err(format!("input {index} is missing; expected a constant (a weight)")),
        }
    }
}

/// The message about a part of an activation that is used on its own.
pub(super) const PART: &str = "part of an activation (as a class token); a ResMLP takes none";
