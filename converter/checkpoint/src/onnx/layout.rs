//! Describes the dimensions of a tensor in terms of the network's axes.
//!
//! Exporters reshape and transpose at will. A tensor's dimension is therefore a product of [`Atom`]s: stretches of the
//! picture's rows or columns, of its colours, or of channels. Reshaping splits and joins atoms, and transposing moves
//! them. A batch of length 1 has no atoms.

/// An axis of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    Batch,
    Colour,
    Row,
    Column,
    Channel,
}

/// A stretch of an axis: `size` steps, each of which advances by `stride`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Atom {
    pub axis: Axis,
    pub stride: usize,
    pub size: usize,
}

/// One dimension of a tensor: a product of atoms, outermost first. No atom has size 1.
pub(super) type Dimension = Vec<Atom>;

/// Creates a dimension that steps through all of `axis`, which has length `size`.
pub(super) fn whole(axis: Axis, size: usize) -> Dimension {
    steps(axis, 1, size)
}

/// Creates a dimension of `size` steps along `axis`, each of which advances by `stride`.
pub(super) fn steps(axis: Axis, stride: usize, size: usize) -> Dimension {
    if size == 1 { Vec::new() } else { vec![Atom { axis, stride, size }] }
}

/// Returns the length of a dimension.
pub(super) fn length(dimension: &[Atom]) -> usize {
    dimension.iter().map(|atom| atom.size).product()
}

/// Returns the length of every dimension.
pub(super) fn shape(dimensions: &[Dimension]) -> Vec<usize> {
    dimensions.iter().map(|dimension| length(dimension)).collect()
}

/// Distributes the atoms of `dimensions` over dimensions of the lengths `target`, in row-major order.
pub(super) fn reshape(dimensions: &[Dimension], target: &[usize]) -> Result<Vec<Dimension>, String> {
    let fail = || format!("a reshape from {:?} to {target:?} that mixes the network's axes", shape(dimensions));
    let mut atoms = dimensions.iter().flatten().copied();
    let mut pending: Option<Atom> = None;
    let mut result = Vec::new();
    for wanted in target {
        let mut dimension = Dimension::new();
        let mut missing = *wanted;
        while missing > 1 {
            let atom = pending.take().or_else(|| atoms.next()).ok_or_else(fail)?;
            if missing.is_multiple_of(atom.size) {
                missing /= atom.size;
                dimension.push(atom);
            } else if atom.size.is_multiple_of(missing) {
                let inner = atom.size / missing;
                dimension.push(Atom { stride: atom.stride * inner, size: missing, ..atom });
                pending = Some(Atom { size: inner, ..atom });
                missing = 1;
            } else {
                return Err(fail());
            }
        }
        if missing == 0 {
            return Err(fail());
        }
        result.push(joined(dimension));
    }
    match pending.or_else(|| atoms.next()) {
        None => Ok(result),
        Some(_) => Err(fail()),
    }
}

/// Joins neighbouring atoms that together are one stretch of an axis.
fn joined(dimension: Dimension) -> Dimension {
    let mut result = Dimension::new();
    for atom in dimension {
        match result.last_mut() {
            Some(last) if last.axis == atom.axis && last.stride == atom.stride * atom.size => {
                *last = Atom { axis: atom.axis, stride: atom.stride, size: last.size * atom.size };
            }
            _ => result.push(atom),
        }
    }
    result
}

/// Returns, for each position along `atoms`, the index of its item among `count` items, such as patches or channels.
///
/// For an axis, `index_of` returns the length of one item along it, and the difference between the indices of two
/// neighbouring items. The result is `None` unless the positions visit every item exactly once.
pub(super) fn positions(
    atoms: &[Atom],
    count: usize,
    index_of: impl Fn(Axis) -> Option<(usize, usize)>,
) -> Option<Vec<usize>> {
    if atoms.iter().try_fold(1usize, |product, atom| product.checked_mul(atom.size)) != Some(count) {
        return None;
    }
    let mut indices = vec![0];
    for atom in atoms {
        let (unit, apart) = index_of(atom.axis)?;
        if !atom.stride.is_multiple_of(unit) {
            return None;
        }
        let step = (atom.stride / unit).checked_mul(apart)?;
        let steps = |start: usize| (0..atom.size).map(move |i| start.saturating_add(i.saturating_mul(step)));
        indices = indices.into_iter().flat_map(steps).collect();
    }
    let mut met = vec![false; count];
    for index in &indices {
        match met.get_mut(*index) {
            Some(met) if !*met => *met = true,
            _ => return None,
        }
    }
    Some(indices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_rearrangement_is_followed() {
        let picture = vec![vec![], whole(Axis::Colour, 3), whole(Axis::Row, 8), whole(Axis::Column, 12)];
        let split = reshape(&picture, &[1, 3, 2, 4, 3, 4]).unwrap();
        let moved: Vec<Dimension> = [0, 2, 4, 3, 5, 1].iter().map(|d| split[*d as usize].clone()).collect();
        let patches = reshape(&moved, &[1, 6, 48]).unwrap();
        assert_eq!(patches[1], [steps(Axis::Row, 4, 2), steps(Axis::Column, 4, 3)].concat());
        let tokens = |axis| match axis {
            Axis::Row => Some((4, 3)),
            Axis::Column => Some((4, 1)),
            _ => None,
        };
        assert_eq!(positions(&patches[1], 6, tokens), Some((0..6).collect()));
    }

    #[test]
    fn splitting_and_joining_gives_the_axis_back() {
        let rows = vec![whole(Axis::Row, 24)];
        let split = reshape(&rows, &[2, 3, 4]).unwrap();
        assert_eq!(reshape(&split, &[24]).unwrap(), rows);
    }

    #[test]
    fn a_reshape_across_axes_is_refused() {
        let pair = vec![whole(Axis::Row, 3), whole(Axis::Channel, 4)];
        assert!(reshape(&pair, &[4, 3]).is_err());
        assert!(reshape(&pair, &[3, 0]).is_err());
        assert!(reshape(&pair, &[3]).is_err());
    }
}
