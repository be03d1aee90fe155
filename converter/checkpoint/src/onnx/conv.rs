//! Follows convolutions: the patch embedding, and linear layers written as convolutions of width 1.

use super::arithmetic;
use super::attributes;
use super::constant::Constant;
use super::layout::{Axis, whole};
use super::linear::{Weight, embed, linear};
use super::proto::NodeProto;
use super::state::{Activation, Follow, Follower, Inputs};
use resmlp_network::Matrix;

/// Follows `Conv`.
pub(super) fn conv(follower: &mut Follower, node: &NodeProto, inputs: &Inputs) -> Follow<Activation> {
    let x = inputs.activation(0)?;
    let weight = inputs.constant(1)?;
    let (outputs, channels, kernel) = match weight.shape.as_slice() {
        [outputs, channels, kernel @ ..] if kernel.len() + 2 == x.dimensions.len() => (*outputs, *channels, kernel),
        shape => return Err(format!("a kernel of shape {shape:?} for {} dimensions", x.dimensions.len())),
    };
    check_window(node, kernel)?;
    let data = weight.floats()?;
    let y = if kernel.iter().all(|length| *length == 1) {
        linear(follower, x, 1, &Weight { data, outputs, inputs: channels, inputs_first: false })?
    } else {
        let &[patch, other] = kernel else {
            return Err(format!("a kernel of {kernel:?}; expected a square patch"));
        };
        let [height, width] = follower.input.image;
        let picture = [whole(Axis::Colour, 3), whole(Axis::Row, height), whole(Axis::Column, width)];
        let is_picture = x.channels == 0 && x.dimensions.get(1..) == Some(&picture[..]);
        let is_whole = height.is_multiple_of(patch) && width.is_multiple_of(patch);
        if patch != other || channels != 3 || !is_picture || !is_whole {
            return Err(format!(
                "a kernel of shape {:?} over {height} × {width} pixels; expected [dim, 3, patch, patch] over the \
                 picture, whose edges are multiples of the patch",
                weight.shape
            ));
        }
        follower.spend(data.len())?;
        let weight = Matrix { rows: outputs, cols: 3 * patch * patch, data: data.to_vec() };
        let [rows, columns] = follower.patch_dimensions(patch);
        let batch = x.dimensions.first().cloned().unwrap_or_default();
        embed(follower, x, vec![batch, whole(Axis::Channel, outputs), rows, columns], patch, weight)?
    };
    match inputs.get(2) {
        None => Ok(y),
        Some(_) => {
            let bias = inputs.constant(2)?;
            if bias.shape != [outputs] {
                return Err(format!("a bias of shape {:?}; expected [{outputs}]", bias.shape));
            }
            let shape = std::iter::once(outputs).chain(kernel.iter().map(|_| 1)).collect();
            arithmetic::shifted(follower, &y, &Constant { shape, data: bias.data.clone() }, 1.0)
        }
    }
}

/// Checks that the convolution has no groups, and that its windows neither overlap, leave gaps nor reach beyond the
/// input.
fn check_window(node: &NodeProto, kernel: &[usize]) -> Follow<()> {
    let all = |name: &str, value: i64| attributes::ints(node, name).is_none_or(|list| list.iter().all(|v| *v == value));
    if attributes::int(node, "group", 1) != 1 || !all("pads", 0) || !all("dilations", 1) {
        return Err("groups, padding or dilation; expected a patch embedding without them".into());
    }
    if !["", "NOTSET", "VALID"].contains(&attributes::text(node, "auto_pad")) {
        return Err("automatic padding; expected a patch embedding without padding".into());
    }
    let lengths = |list: &[i64]| list.iter().map(|length| usize::try_from(*length).unwrap_or(0)).collect::<Vec<_>>();
    if let Some(stated) = attributes::ints(node, "kernel_shape").map(lengths)
        && stated != kernel
    {
        return Err(format!("a kernel of {kernel:?}, which the node calls {stated:?}"));
    }
    let strides = attributes::ints(node, "strides").map_or_else(|| vec![1; kernel.len()], lengths);
    if strides != kernel {
        return Err(format!(
            "a kernel of {kernel:?} with strides of {strides:?}; expected patches that do not overlap"
        ));
    }
    Ok(())
}
