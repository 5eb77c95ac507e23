//! The admittance matrix Y = G + jB and the power through a branch: the pi model with tap and shift at the `from` side.
//!
//! With y = 1/(r + jx), charging b and tap a∠φ: `Yff = (y + jb/2)/a²`, `Yft = -y/(a e^{-jφ})`, `Ytf = -y/(a e^{jφ})`,
//! `Ytt = y + jb/2` (MATPOWER manual, section 3.2). Bus shunts are part of Y, so `S = V conj(Y V)` is what generation,
//! loads and all else but branches and shunts put into the bus. All per unit and radians.

use crate::case::{Case, CaseBranch};
use crate::sparse::Pattern;

/// One end of a branch: the admittances its power follows from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct End {
    /// Conductance of its own voltage.
    pub g_own: f64,
    /// Susceptance of its own voltage.
    pub b_own: f64,
    /// Conductance of the other end's voltage.
    pub g_other: f64,
    /// Susceptance of the other end's voltage.
    pub b_other: f64,
}

/// Power leaving an end, and its derivatives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EndPower {
    /// Active power.
    pub p: f64,
    /// Reactive power.
    pub q: f64,
    /// ∂p by own angle, own magnitude, other magnitude; by the other angle it is minus that by the own.
    pub p_derivatives: [f64; 3],
    /// ∂q likewise.
    pub q_derivatives: [f64; 3],
}

impl End {
    /// Power leaving this end at the own voltage `v`, the other's `v_other` and angle difference `angle` (own - other):
    /// `P = g_own v² + v v_other (g cos + b sin)`, `Q = -b_own v² + v v_other (g sin - b cos)`.
    #[must_use]
    pub fn power(&self, v: f64, v_other: f64, angle: f64) -> EndPower {
        let (sin, cos) = libm::sincos(angle);
        let (c, s) = (self.g_other * cos + self.b_other * sin, self.g_other * sin - self.b_other * cos);
        let product = v * v_other;
        EndPower {
            p: self.g_own * v * v + product * c,
            q: -self.b_own * v * v + product * s,
            p_derivatives: [-product * s, 2.0 * self.g_own * v + v_other * c, v * c],
            q_derivatives: [product * c, -2.0 * self.b_own * v + v_other * s, v * s],
        }
    }
}

/// The ends of a branch, `from` first.
#[must_use]
pub fn ends(branch: &CaseBranch) -> [End; 2] {
    let square = branch.r * branch.r + branch.x * branch.x;
    let (g, b) = (branch.r / square, -branch.x / square);
    let (sin, cos) = libm::sincos(branch.shift);
    let tap = branch.tap;
    // -y e^{jφ}/a and -y e^{-jφ}/a.
    let from = End {
        g_own: g / (tap * tap),
        b_own: (b + 0.5 * branch.b) / (tap * tap),
        g_other: -(g * cos - b * sin) / tap,
        b_other: -(b * cos + g * sin) / tap,
    };
    let to = End { g_own: g, b_own: b + 0.5 * branch.b, g_other: -(g * cos + b * sin) / tap, b_other: -(b * cos - g * sin) / tap };
    [from, to]
}

/// Power leaving both sides of a branch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BranchFlow {
    /// Active power leaving the `from` side.
    pub p_from: f64,
    /// Reactive power leaving the `from` side.
    pub q_from: f64,
    /// Active power leaving the `to` side.
    pub p_to: f64,
    /// Reactive power leaving the `to` side.
    pub q_to: f64,
}

/// Flows of all branches of a case at magnitudes `v` and angles `va`, one of each per bus.
///
/// # Panics
/// When there are fewer voltages than buses.
#[must_use]
pub fn branch_flows(case: &Case, v: &[f64], va: &[f64]) -> Vec<BranchFlow> {
    let ends = Vec::from_iter(case.branches.iter().map(ends));
    flows_at(case, &ends, &rectangular(v, va))
}

/// Complex voltages (real, imaginary part) of magnitudes and angles.
#[must_use]
pub fn rectangular(v: &[f64], va: &[f64]) -> Vec<(f64, f64)> {
    let of = |(v, va): (&f64, &f64)| {
        let (sin, cos) = libm::sincos(*va);
        (v * cos, v * sin)
    };
    v.iter().zip(va).map(of).collect()
}

/// Flows of all branches of a case, of their `ends`, at complex voltages.
///
/// # Panics
/// When there are fewer voltages than buses.
#[must_use]
pub fn flows_at(case: &Case, ends: &[[End; 2]], voltages: &[(f64, f64)]) -> Vec<BranchFlow> {
    let leaving = |end: &End, own: (f64, f64), other: (f64, f64)| {
        let square = own.0 * own.0 + own.1 * own.1;
        let (cos, sin) = (own.0 * other.0 + own.1 * other.1, own.1 * other.0 - own.0 * other.1);
        (end.g_own * square + (end.g_other * cos + end.b_other * sin), -end.b_own * square + (end.g_other * sin - end.b_other * cos))
    };
    let flow = |(branch, [from, to]): (&CaseBranch, &[End; 2])| {
        let (at_from, at_to) = (voltages[branch.from], voltages[branch.to]);
        let ((p_from, q_from), (p_to, q_to)) = (leaving(from, at_from, at_to), leaving(to, at_to, at_from));
        BranchFlow { p_from, q_from, p_to, q_to }
    };
    case.branches.iter().zip(ends).map(flow).collect()
}

/// The admittance matrix by row. Its pattern is symmetric, so that `pattern.column(i)` are also the columns of row i.
#[derive(Clone, Debug, PartialEq)]
pub struct Admittance {
    /// Bus pairs joined by a branch, and the diagonal.
    pub pattern: Pattern,
    /// Conductance of row i and column `pattern.indices()[slot]` for each slot of `pattern.slots(i)`.
    pub g: Vec<f64>,
    /// Susceptance likewise.
    pub b: Vec<f64>,
    /// Slot of each bus's own admittance.
    pub diagonal: Vec<usize>,
    /// Slots of each branch: from-from, from-to, to-from, to-to.
    branch_slots: Vec<[usize; 4]>,
}

impl Admittance {
    /// The matrix of a case: shunts first, then branches by id.
    #[must_use]
    pub fn new(case: &Case) -> Self {
        let n = case.buses.len();
        let mut places = Vec::from_iter((0..n).map(|bus| (bus, bus)));
        for branch in &case.branches {
            // By row: (column, row).
            places.extend([(branch.from, branch.from), (branch.to, branch.from), (branch.from, branch.to), (branch.to, branch.to)]);
        }
        let (pattern, slots) = Pattern::from_places(n, n, &places);
        let values = vec![0.0; pattern.len()];
        let branch_slots = slots[n..].chunks_exact(4).map(|slots| [slots[0], slots[1], slots[2], slots[3]]).collect();
        let mut admittance = Self { pattern, g: values.clone(), b: values, diagonal: slots[..n].to_vec(), branch_slots };
        admittance.refill(case, &Vec::from_iter(case.branches.iter().map(ends)));
        admittance
    }

    /// Takes the values of another case with the same buses and the same ends of branches; the same bits as a new matrix.
    ///
    /// # Panics
    /// When there are fewer buses or ends than in the case this was made of.
    pub fn refill(&mut self, case: &Case, ends: &[[End; 2]]) {
        self.g.fill(0.0);
        self.b.fill(0.0);
        for (bus, slot) in case.buses.iter().zip(&self.diagonal) {
            self.g[*slot] += bus.g;
            self.b[*slot] += bus.b;
        }
        for ([from, to], slots) in ends.iter().zip(&self.branch_slots) {
            let values = [(from.g_own, from.b_own), (from.g_other, from.b_other), (to.g_other, to.b_other), (to.g_own, to.b_own)];
            for (slot, (conductance, susceptance)) in slots.iter().zip(values) {
                self.g[*slot] += conductance;
                self.b[*slot] += susceptance;
            }
        }
    }

    /// Active and reactive injections of all buses at magnitudes `v` and angles `va`:
    /// `P_i = V_i Σ V_k (G cos + B sin)`, `Q_i = V_i Σ V_k (G sin - B cos)`, of θ_i - θ_k, in the order of k.
    ///
    /// # Panics
    /// When there are fewer voltages than buses.
    #[must_use]
    pub fn injections(&self, v: &[f64], va: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let rotors = Vec::from_iter(va.iter().map(|angle| libm::sincos(*angle)));
        let n = self.diagonal.len();
        let (mut p, mut q) = (vec![0.0; n], vec![0.0; n]);
        for i in 0..n {
            for slot in self.pattern.slots(i) {
                let k = self.pattern.indices()[slot];
                let (active, reactive) = self.term(slot, rotors[i], rotors[k]);
                p[i] += v[k] * active;
                q[i] += v[k] * reactive;
            }
            p[i] *= v[i];
            q[i] *= v[i];
        }
        (p, q)
    }

    /// `(G cos + B sin, G sin - B cos)` of the entry at `slot`, given (sin, cos) of the row's and the column's angle.
    #[must_use]
    pub fn term(&self, slot: usize, own: (f64, f64), other: (f64, f64)) -> (f64, f64) {
        let cos = own.1 * other.1 + own.0 * other.0;
        let sin = own.0 * other.1 - own.1 * other.0;
        (self.g[slot] * cos + self.b[slot] * sin, self.g[slot] * sin - self.b[slot] * cos)
    }
}
