//! What a power flow keeps of a network from one solve to the next: admittances, components, and the analysed Jacobian.
//!
//! Each part is kept as long as what it was made of is unchanged, compared value by value, and made anew otherwise, so that
//! a cache may change the speed of a solve and never a bit of it.

use crate::admittance::{Admittance, End, ends};
use crate::case::Case;
use crate::sparse::{Block2, BlockLu, Lu, Pattern};

/// The symbolic part of earlier solves, and admittances that did not change since.
#[derive(Clone, Debug, Default)]
pub struct Cache(Option<Network>);

impl Cache {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is kept, up to date with `case`.
    pub(super) fn of(&mut self, case: &Case) -> &mut Network {
        let kept = self.0.take().filter(|network| network.has_shape_of(case));
        let network = match kept {
            Some(mut network) => {
                network.update(case);
                network
            }
            None => Network::new(case),
        };
        self.0.insert(network)
    }
}

/// What the admittances of a branch follow from: r, x, b, tap and shift.
type Values = [f64; 5];

#[derive(Clone, Debug)]
pub(super) struct Network {
    branch_ends: Vec<(usize, usize)>,
    branch_values: Vec<Values>,
    shunts: Vec<(f64, f64)>,
    /// Lowest bus of each bus's component.
    pub(super) components: Vec<usize>,
    pub(super) ends: Vec<[End; 2]>,
    pub(super) admittance: Admittance,
    pub(super) jacobian: Jacobian,
}

fn values(branch: &crate::case::CaseBranch) -> Values {
    [branch.r, branch.x, branch.b, branch.tap, branch.shift]
}

impl Network {
    fn new(case: &Case) -> Self {
        let admittance = Admittance::new(case);
        Self {
            branch_ends: case.branches.iter().map(|branch| (branch.from, branch.to)).collect(),
            branch_values: case.branches.iter().map(values).collect(),
            shunts: case.buses.iter().map(|bus| (bus.g, bus.b)).collect(),
            components: case.components(),
            ends: case.branches.iter().map(ends).collect(),
            jacobian: Jacobian::new(&admittance.pattern),
            admittance,
        }
    }

    fn has_shape_of(&self, case: &Case) -> bool {
        let same = |(kept, branch): (&(usize, usize), &crate::case::CaseBranch)| *kept == (branch.from, branch.to);
        self.shunts.len() == case.buses.len()
            && self.branch_ends.len() == case.branches.len()
            && self.branch_ends.iter().zip(&case.branches).all(same)
    }

    fn update(&mut self, case: &Case) {
        let mut changed = false;
        for ((kept, branch), both) in self.branch_values.iter_mut().zip(&case.branches).zip(&mut self.ends) {
            if *kept != values(branch) {
                (*kept, *both, changed) = (values(branch), ends(branch), true);
            }
        }
        for (kept, bus) in self.shunts.iter_mut().zip(&case.buses) {
            if *kept != (bus.g, bus.b) {
                (*kept, changed) = ((bus.g, bus.b), true);
            }
        }
        if changed {
            self.admittance.refill(case, &self.ends);
        }
    }
}

/// The Jacobian in blocks of (∂P/∂θ, ∂P/∂ln V, ∂Q/∂θ, ∂Q/∂ln V), one per entry of the admittance matrix, and its factor.
///
/// What a bus does not leave free has an identity in place of its equation, so that one analysis serves all roles of buses.
#[derive(Clone, Debug)]
pub(super) struct Jacobian {
    pub(super) blocks: Vec<Block2>,
    lu: BlockLu,
    /// The factorisation that chooses pivots, once it was needed.
    pivoting: Option<Pivoting>,
    takes_pivots: bool,
}

/// The same matrix of single values.
#[derive(Clone, Debug)]
struct Pivoting {
    slots: Vec<[usize; 4]>,
    values: Vec<f64>,
    lu: Lu,
}

impl Pivoting {
    fn new(pattern: &Pattern) -> Self {
        let mut places = Vec::with_capacity(4 * pattern.len());
        for row in 0..pattern.columns() {
            for &column in pattern.column(row) {
                places.extend([(2 * row, 2 * column), (2 * row, 2 * column + 1), (2 * row + 1, 2 * column), (2 * row + 1, 2 * column + 1)]);
            }
        }
        let (scalar, slots) = Pattern::from_places(2 * pattern.columns(), 2 * pattern.columns(), &places);
        let slots = slots.chunks_exact(4).map(|slots| [slots[0], slots[1], slots[2], slots[3]]).collect();
        Self { slots, values: vec![0.0; scalar.len()], lu: Lu::analyze(&scalar) }
    }
}

impl Jacobian {
    fn new(pattern: &Pattern) -> Self {
        Self { blocks: vec![[0.0; 4]; pattern.len()], lu: BlockLu::analyze(pattern), pivoting: None, takes_pivots: false }
    }

    /// Factors what stands in `blocks`. An error is the bus whose equations are singular.
    pub(super) fn factor(&mut self, pattern: &Pattern) -> Result<(), usize> {
        self.takes_pivots = self.lu.factor(&self.blocks).is_err();
        if !self.takes_pivots {
            return Ok(());
        }
        let pivoting = self.pivoting.get_or_insert_with(|| Pivoting::new(pattern));
        for (slots, block) in pivoting.slots.iter().zip(&self.blocks) {
            for (slot, value) in slots.iter().zip(block) {
                pivoting.values[*slot] = *value;
            }
        }
        // Pivots chosen for other values must not show in these.
        pivoting.lu.reset();
        pivoting.lu.refactor(&pivoting.values).map_err(|singular| singular.column / 2)
    }

    /// Solves with the last factor; `x` holds the right-hand side by bus and receives the solution.
    pub(super) fn solve(&self, x: &mut [[f64; 2]]) {
        match &self.pivoting {
            Some(pivoting) if self.takes_pivots => {
                let mut flat = Vec::from_iter(x.iter().flatten().copied());
                pivoting.lu.solve(&mut flat);
                for (value, pair) in x.iter_mut().zip(flat.chunks_exact(2)) {
                    *value = [pair[0], pair[1]];
                }
            }
            _ => self.lu.solve(x),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A · x by row.
    fn multiplied(pattern: &Pattern, blocks: &[Block2], x: &[[f64; 2]]) -> Vec<[f64; 2]> {
        let row = |row: usize| {
            pattern.slots(row).fold([0.0; 2], |sum, slot| {
                let (block, x) = (blocks[slot], x[pattern.indices()[slot]]);
                [sum[0] + block[0] * x[0] + block[1] * x[1], sum[1] + block[2] * x[0] + block[3] * x[1]]
            })
        };
        (0..x.len()).map(row).collect()
    }

    #[test]
    fn where_pivots_must_be_chosen_they_are_and_no_trace_is_left() {
        let (pattern, _) = Pattern::from_places(2, 2, &[(0, 0), (0, 1), (1, 0), (1, 1)]);
        let (sound, off) = ([5.0, 1.0, -1.0, 5.0], [1.0, 0.0, 0.0, 1.0]);
        let mut jacobian = Jacobian::new(&pattern);
        let expected = [[1.0, -2.0], [3.0, 0.5]];
        let solved = |jacobian: &mut Jacobian, blocks: [Block2; 4]| {
            jacobian.blocks = blocks.to_vec();
            jacobian.factor(&pattern).unwrap();
            let mut x = multiplied(&pattern, &blocks, &expected);
            jacobian.solve(&mut x);
            x
        };
        let first = solved(&mut jacobian, [sound, off, off, sound]);
        assert!(!jacobian.takes_pivots);
        // Diagonal blocks that are singular, in a matrix that is not.
        let singular = [0.0, 0.0, 0.0, 1e-9];
        let pivoted = solved(&mut jacobian, [singular, off, off, singular]);
        assert!(jacobian.takes_pivots);
        for x in [&first, &pivoted] {
            assert!(x.iter().flatten().zip(expected.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-9), "{x:?}");
        }
        assert_eq!(solved(&mut jacobian, [sound, off, off, sound]), first);
        jacobian.blocks = vec![off; 4];
        assert!(jacobian.factor(&pattern).is_err_and(|bus| bus < 2));
    }
}
