//! What an outage changes in the base case's equations: a correction of low rank of the frozen Jacobian.
//!
//! An outage changes the Jacobian to `J + E D Eᵀ`, E the unknowns at the ends of what failed. By Woodbury
//! `(J + E D Eᵀ)⁻¹ = J⁻¹ - J⁻¹ E M Eᵀ J⁻¹`, `M = (I + D Z)⁻¹ D`, `Z = Eᵀ J⁻¹ E`. Behind a bridge lies what is cut off; it is
//! eliminated in J with the bridge, so that on the near end alone D also takes back what that elimination put there:
//! `D = -own + J_es B⁻¹ J_se`, B being what eliminating the far side up to its end s leaves there: the corner of `Z⁻¹` that
//! belongs to s.

use super::base::{Base, NONE};
use crate::case::Case;
use crate::contingency::small::{MOST, Small, multiply, solve};

/// What is left of a pivot below which a correction would be rounding.
const SINGULAR: f64 = 1e-7;

pub(super) struct Correction {
    /// Places of the unknowns E.
    at: Vec<usize>,
    /// The ways from them to the roots of the elimination tree.
    path: Vec<usize>,
    m: Small,
}

impl Correction {
    /// For branches that fail together, at most two and no bridges; none when what is left is singular.
    pub(super) fn branches(base: &Base, case: &Case, branches: &[usize], vector: &mut [f64]) -> Option<Self> {
        let (mut at, mut d) = (Vec::with_capacity(MOST), [[0.0; MOST]; MOST]);
        for &branch in branches {
            let (places, block) = derivatives(base, case, branch);
            let first = at.len();
            let known = Vec::from_iter((0..4).filter(|k| places[*k] != NONE));
            for (row, &r) in known.iter().enumerate() {
                for (column, &c) in known.iter().enumerate() {
                    d[first + row][first + column] = -block[r][c];
                }
            }
            at.extend(known.iter().map(|k| places[*k]));
        }
        Self::new(base, at, d, vector)
    }

    /// For a bridge whose end `near` stays.
    pub(super) fn bridge(base: &Base, case: &Case, branch: usize, near: usize, vector: &mut [f64]) -> Option<Self> {
        let (places, block) = derivatives(base, case, branch);
        let ends = if case.branches[branch].from == near { [0, 1, 2, 3] } else { [2, 3, 0, 1] };
        let known = |ends: &[usize]| Vec::from_iter(ends.iter().copied().filter(|k| places[*k] != NONE));
        let (near, far) = (known(&ends[..2]), known(&ends[2..]));
        let all = Vec::from_iter(near.iter().chain(&far).map(|k| places[*k]));
        let mut path = Vec::new();
        base.factor.path(&all, &mut path);
        let z = inverse_at(base, &all, &path, vector);
        let mut one = [[0.0; MOST]; MOST];
        (0..MOST).for_each(|k| one[k][k] = 1.0);
        let schur = solve(z, one, all.len(), 0.0)?;
        let (mut corner, mut to_far) = ([[0.0; MOST]; MOST], [[0.0; MOST]; MOST]);
        for row in 0..far.len() {
            for column in 0..far.len() {
                corner[row][column] = schur[near.len() + row][near.len() + column];
            }
            for column in 0..near.len() {
                to_far[row][column] = block[far[row]][near[column]];
            }
        }
        // Columns beyond the far side's unknowns are those of the near side; the system is padded to the larger of both.
        let size = near.len().max(far.len());
        (far.len()..size).for_each(|k| corner[k][k] = 1.0);
        let through = solve(corner, to_far, size, 0.0)?;
        let mut d = [[0.0; MOST]; MOST];
        for (row, &r) in near.iter().enumerate() {
            for (column, &c) in near.iter().enumerate() {
                let back: f64 = far.iter().enumerate().map(|(k, &s)| block[r][s] * through[k][column]).sum();
                d[row][column] = back - block[r][c];
            }
        }
        Self::new(base, near.iter().map(|k| places[*k]).collect(), d, vector)
    }

    fn new(base: &Base, at: Vec<usize>, d: Small, vector: &mut [f64]) -> Option<Self> {
        let mut path = Vec::new();
        base.factor.path(&at, &mut path);
        let z = inverse_at(base, &at, &path, vector);
        let mut system = multiply(&d, &z, at.len());
        (0..at.len()).for_each(|k| system[k][k] += 1.0);
        let m = solve(system, d, at.len(), SINGULAR)?;
        Some(Self { at, path, m })
    }

    /// Takes `L⁻¹ E M Eᵀ J⁻¹` of a right-hand side from `L⁻¹` of it, of which `get` and `take` reach the values.
    pub(super) fn apply(&self, base: &Base, vector: &mut [f64], lane: usize, y: &mut [crate::sparse::Lanes]) {
        self.path.iter().for_each(|place| vector[*place] = y[*place].0[lane]);
        base.factor.backward_on(&self.path, vector);
        let mut x = [0.0; MOST];
        self.at.iter().zip(&mut x).for_each(|(place, x)| *x = vector[*place]);
        self.path.iter().for_each(|place| vector[*place] = 0.0);
        for (place, row) in self.at.iter().zip(&self.m) {
            let change: f64 = row.iter().zip(&x).take(self.at.len()).map(|(m, x)| m * x).sum();
            vector[*place] += change;
        }
        base.factor.forward_on(&self.path, vector);
        for place in &self.path {
            y[*place].0[lane] -= std::mem::take(&mut vector[*place]);
        }
    }
}

/// Places of the unknowns of a branch's ends (from's angle and magnitude, then to's) and the derivatives of the power leaving
/// it there.
fn derivatives(base: &Base, case: &Case, branch: usize) -> ([usize; 4], [[f64; 4]; 4]) {
    let row = &case.branches[branch];
    let (i, j) = (row.from, row.to);
    let [[ai, mi], [aj, mj]] = [base.unknowns[i], base.unknowns[j]];
    let mut block = [[0.0; 4]; 4];
    let voltage = |bus: usize| (base.e[bus], base.f[bus]);
    for (end, own, other, first, second) in [(0, i, j, 0, 2), (1, j, i, 2, 0)] {
        let end = &base.ends[branch][end];
        let ((e, f), (oe, of)) = (voltage(own), voltage(other));
        // Real and imaginary part of own · conj(other).
        let (re, im) = (e * oe + f * of, f * oe - e * of);
        let (c, s) = (end.g_other * re + end.b_other * im, end.g_other * im - end.b_other * re);
        let square = e * e + f * f;
        block[first][first] = -s;
        block[first][first + 1] = 2.0 * end.g_own * square + c;
        block[first][second] = s;
        block[first][second + 1] = c;
        block[first + 1][first] = c;
        block[first + 1][first + 1] = -2.0 * end.b_own * square + s;
        block[first + 1][second] = -c;
        block[first + 1][second + 1] = s;
    }
    ([ai, mi, aj, mj], block)
}

/// `Eᵀ J⁻¹ E`.
fn inverse_at(base: &Base, at: &[usize], path: &[usize], vector: &mut [f64]) -> Small {
    let mut z = [[0.0; MOST]; MOST];
    for (column, place) in at.iter().enumerate() {
        vector[*place] = 1.0;
        base.factor.forward_on(path, vector);
        base.factor.backward_on(path, vector);
        at.iter().enumerate().for_each(|(row, place)| z[row][column] = vector[*place]);
        path.iter().for_each(|place| vector[*place] = 0.0);
    }
    z
}
