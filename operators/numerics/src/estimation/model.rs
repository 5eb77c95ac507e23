//! What measurements read at a state, h(x), and its derivatives H.
//!
//! States are numbered by bus: the angle of bus i is 2i, its magnitude 2i + 1. A measurement at a side of a branch depends on four:
//! own angle, own magnitude, other angle, other magnitude; an injection on angle and magnitude of each bus of its admittance
//! row. Sines and cosines are taken once per bus; those of differences follow by products.

use crate::admittance::{Admittance, End, ends};
use crate::case::{AtBus, AtEnd, Case, MeasurementKind, Place};
use crate::sparse::Pattern;

/// A value, and its derivatives by own angle, own magnitude, other angle, other magnitude.
pub(super) type Term = (f64, [f64; 4]);

/// A current below this, per unit, has no direction: its magnitude tells nothing of the state.
const NO_CURRENT: f64 = 1e-6;

/// Angles below this are turned by the series of sine and cosine.
const TURN: f64 = 1.0 / 64.0;

/// The measurement functions of a case, and where bus pairs lie in matrices by bus.
#[derive(Clone, Debug)]
pub(super) struct Model {
    /// Everything it follows from, as bits.
    pub(super) key: Vec<u64>,
    pub(super) admittance: Admittance,
    /// Conductance and susceptance of each bus's shunt.
    pub(super) shunts: Vec<[f64; 2]>,
    /// Ends of each branch and their buses, `from` first.
    pub(super) branches: Vec<([End; 2], [usize; 2])>,
    /// Pairs of buses joined by a branch (the lower first, as row) and each bus with itself.
    pub(super) pairs: Pattern,
    /// The order of elimination that reduces the fill of `pairs`.
    pub(super) order: Vec<usize>,
    /// Slot in `pairs` of each bus, of each branch, of each place of the admittance matrix.
    pub(super) of_bus: Vec<usize>,
    pub(super) of_branch: Vec<usize>,
    pub(super) of_admittance: Vec<usize>,
}

/// A state, with what follows from it bus by bus.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) v: Vec<f64>,
    pub(super) va: Vec<f64>,
    /// Sine and cosine of each angle.
    rotors: Vec<(f64, f64)>,
    /// Real and imaginary part of each voltage.
    pub(super) phasors: Vec<[f64; 2]>,
}

impl Point {
    pub(super) fn new(v: Vec<f64>, va: Vec<f64>) -> Self {
        let rotors = Vec::from_iter(va.iter().map(|angle| libm::sincos(*angle)));
        let phasors = v.iter().zip(&rotors).map(|(v, (sin, cos))| [v * cos, v * sin]).collect();
        Self { v, va, rotors, phasors }
    }

    /// All magnitudes 1, all angles 0.
    pub(super) fn flat(buses: usize) -> Self {
        Self::new(vec![1.0; buses], vec![0.0; buses])
    }

    /// Sine, cosine and phasors anew from the angles.
    pub(super) fn turn(&mut self) {
        self.rotors.iter_mut().zip(&self.va).for_each(|(rotor, angle)| *rotor = libm::sincos(*angle));
        let phasors = self.phasors.iter_mut().zip(self.v.iter().zip(&self.rotors));
        phasors.for_each(|(phasor, (v, (sin, cos)))| *phasor = [v * cos, v * sin]);
    }

    /// Moves by a change of each state (angle of bus i: 2i, magnitude: 2i + 1).
    pub(super) fn go(&mut self, changes: &[f64]) {
        let phasors = self.phasors.iter_mut().zip(&mut self.rotors);
        for ((change, (v, va)), (phasor, rotor)) in changes.chunks_exact(2).zip(self.v.iter_mut().zip(&mut self.va)).zip(phasors) {
            *va += change[0];
            *v += change[1];
            let (sin, cos) = *rotor;
            *rotor = if change[0].abs() < TURN {
                let (s, c) = turn(change[0]);
                (sin * c + cos * s, cos * c - sin * s)
            } else {
                libm::sincos(*va)
            };
            *phasor = [*v * rotor.1, *v * rotor.0];
        }
    }
}

/// Sine and cosine of an angle below [`TURN`], to the last digit: their series.
#[inline(always)]
fn turn(angle: f64) -> (f64, f64) {
    let square = angle * angle;
    let sin = angle * (1.0 - square * (1.0 / 6.0 - square * (1.0 / 120.0 - square * (1.0 / 5040.0))));
    let cos = 1.0 - square * (0.5 - square * (1.0 / 24.0 - square * (1.0 / 720.0)));
    (sin, cos)
}

impl Model {
    pub(super) fn new(case: &Case, key: Vec<u64>) -> Self {
        let branches = Vec::from_iter(case.branches.iter().map(|branch| (ends(branch), [branch.from, branch.to])));
        let admittance = Admittance::new(case);
        let n = case.buses.len();
        let mut places = Vec::from_iter((0..n).map(|bus| (bus, bus)));
        places.extend(branches.iter().map(|(_, [a, b])| (*a.min(b), *a.max(b))));
        for bus in 0..n {
            places.extend(admittance.pattern.column(bus).iter().map(|other| (bus.min(*other), bus.max(*other))));
        }
        let (pairs, mut slots) = Pattern::from_places(n, n, &places);
        let of_admittance = slots.split_off(n + branches.len());
        let of_branch = slots.split_off(n);
        let shunts = case.buses.iter().map(|bus| [bus.g, bus.b]).collect();
        let order = pairs.fill_reducing_order();
        Self { key, admittance, shunts, branches, pairs, order, of_bus: slots, of_branch, of_admittance }
    }

    pub(super) fn buses(&self) -> usize {
        self.of_bus.len()
    }

    /// Active and reactive power leaving a side of a branch.
    pub(super) fn power(&self, branch: usize, side: usize, at: &Point) -> [Term; 2] {
        let (ends, buses) = &self.branches[branch];
        let (end, own, other) = (&ends[side], buses[side], buses[1 - side]);
        let (v, v_other) = (at.v[own], at.v[other]);
        let ((own_sin, own_cos), (other_sin, other_cos)) = (at.rotors[own], at.rotors[other]);
        let (cos, sin) = (own_cos * other_cos + own_sin * other_sin, own_sin * other_cos - own_cos * other_sin);
        let (c, s) = (end.g_other * cos + end.b_other * sin, end.g_other * sin - end.b_other * cos);
        let product = v * v_other;
        let p = end.g_own * v * v + product * c;
        let q = -end.b_own * v * v + product * s;
        [
            (p, [-product * s, 2.0 * end.g_own * v + v_other * c, product * s, v * c]),
            (q, [product * c, -2.0 * end.b_own * v + v_other * s, -product * c, v * s]),
        ]
    }

    /// Real and imaginary part of the current leaving a side of a branch: `y_own V e^{jθ} + y_other V' e^{jθ'}`.
    pub(super) fn current(&self, branch: usize, side: usize, at: &Point) -> [Term; 2] {
        let (ends, buses) = &self.branches[branch];
        let (end, own, other) = (&ends[side], buses[side], buses[1 - side]);
        let ((own_sin, own_cos), (other_sin, other_cos)) = (at.rotors[own], at.rotors[other]);
        // Each part per unit of its voltage.
        let (re, im) = (end.g_own * own_cos - end.b_own * own_sin, end.g_own * own_sin + end.b_own * own_cos);
        let (re_other, im_other) = (end.g_other * other_cos - end.b_other * other_sin, end.g_other * other_sin + end.b_other * other_cos);
        let (v, v_other) = (at.v[own], at.v[other]);
        [
            (v * re + v_other * re_other, [-v * im, re, -v_other * im_other, re_other]),
            (v * im + v_other * im_other, [v * re, im, v_other * re_other, im_other]),
        ]
    }

    /// Magnitude of the current through a side of a branch; without derivatives where there is none.
    pub(super) fn current_magnitude(&self, branch: usize, side: usize, at: &Point) -> Term {
        let [(re, by_re), (im, by_im)] = self.current(branch, side, at);
        let magnitude = (re * re + im * im).sqrt();
        if magnitude < NO_CURRENT {
            return (magnitude, [0.0; 4]);
        }
        let mut by = [0.0; 4];
        for (by, (by_re, by_im)) in by.iter_mut().zip(by_re.iter().zip(&by_im)) {
            *by = (re * by_re + im * by_im) / magnitude;
        }
        (magnitude, by)
    }

    /// Any quantity of a side of a branch.
    pub(super) fn at_end(&self, branch: usize, side: usize, quantity: AtEnd, at: &Point) -> Term {
        match quantity {
            AtEnd::Active => self.power(branch, side, at)[0],
            AtEnd::Reactive => self.power(branch, side, at)[1],
            AtEnd::CurrentMagnitude => self.current_magnitude(branch, side, at),
            AtEnd::CurrentReal => self.current(branch, side, at)[0],
            AtEnd::CurrentImaginary => self.current(branch, side, at)[1],
        }
    }

    /// Injections P, Q of bus i; `jacobian` receives `∂P/∂θ_k, ∂P/∂V_k, ∂Q/∂θ_k, ∂Q/∂V_k` for each bus k of its admittance row. With
    /// `T_k = G cos + B sin`, `U_k = G sin - B cos`: `P = V_i Σ V_k T_k`, `Q = V_i Σ V_k U_k`, and for k ≠ i
    /// `∂P/∂θ_k = V_i V_k U_k`, `∂Q/∂θ_k = -V_i V_k T_k`.
    pub(super) fn injection(&self, i: usize, at: &Point, jacobian: &mut [[f64; 4]]) -> (f64, f64) {
        let slots = self.admittance.pattern.slots(i);
        let (mut p, mut q) = (0.0, 0.0);
        let (mut p_by_angle, mut q_by_angle) = (0.0, 0.0);
        let mut own = 0;
        let v = at.v[i];
        for (place, slot) in slots.enumerate() {
            let k = self.admittance.pattern.indices()[slot];
            let (t, u) = self.admittance.term(slot, at.rotors[i], at.rotors[k]);
            p += at.v[k] * t;
            q += at.v[k] * u;
            if k == i {
                own = place;
            } else {
                p_by_angle -= v * at.v[k] * u;
                q_by_angle += v * at.v[k] * t;
            }
            jacobian[place] = [v * at.v[k] * u, v * t, -v * at.v[k] * t, v * u];
        }
        let [by_angle, by_magnitude, q_angle, q_magnitude] = &mut jacobian[own];
        (*by_angle, *q_angle) = (p_by_angle, q_by_angle);
        *by_magnitude += p;
        *q_magnitude += q;
        (v * p, v * q)
    }

    /// h of one measurement, and its derivatives by state in `row`.
    pub(super) fn row(&self, kind: MeasurementKind, at: &Point, row: &mut Vec<(usize, f64)>) -> f64 {
        row.clear();
        match kind.place() {
            Place::Bus(bus, AtBus::Angle) => {
                row.push((2 * bus, 1.0));
                at.va[bus]
            }
            Place::Bus(bus, AtBus::Magnitude) => {
                row.push((2 * bus + 1, 1.0));
                at.v[bus]
            }
            Place::Bus(bus, quantity) => {
                let buses = self.admittance.pattern.column(bus);
                let mut jacobian = vec![[0.0; 4]; buses.len()];
                let (p, q) = self.injection(bus, at, &mut jacobian);
                let first = if quantity == AtBus::Active { 0 } else { 2 };
                row.extend(buses.iter().zip(&jacobian).flat_map(|(k, by)| [(2 * k, by[first]), (2 * k + 1, by[first + 1])]));
                if quantity == AtBus::Active { p } else { q }
            }
            Place::End(branch, side, quantity) => {
                let buses = self.branches[branch].1;
                let (own, other) = (buses[side], buses[1 - side]);
                let (value, by) = self.at_end(branch, side, quantity, at);
                row.extend([(2 * own, by[0]), (2 * own + 1, by[1]), (2 * other, by[2]), (2 * other + 1, by[3])]);
                value
            }
        }
    }

    /// H at the flat state, where a current's magnitude tells nothing: it has a direction only where others determine the state.
    pub(super) fn flat_rows(&self, kinds: &[MeasurementKind]) -> Rows {
        let flat = Point::flat(self.buses());
        let mut rows = Rows { starts: vec![0], states: Vec::new(), derivatives: Vec::new() };
        let mut row = Vec::new();
        for kind in kinds {
            self.row(*kind, &flat, &mut row);
            let blank = matches!(kind.place(), Place::End(_, _, AtEnd::CurrentMagnitude));
            rows.states.extend(row.iter().map(|entry| entry.0));
            rows.derivatives.extend(row.iter().map(|entry| if blank { 0.0 } else { entry.1 }));
            rows.starts.push(rows.states.len());
        }
        rows
    }
}

/// H by row: states touched, and derivatives.
pub(super) struct Rows {
    starts: Vec<usize>,
    states: Vec<usize>,
    derivatives: Vec<f64>,
}

impl Rows {
    /// Number of measurements.
    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// States and derivatives of a measurement.
    pub(super) fn row(&self, index: usize) -> (&[usize], &[f64]) {
        let range = self.starts[index]..self.starts[index + 1];
        (&self.states[range.clone()], &self.derivatives[range])
    }

    /// Squared length of each row on the states that are free.
    pub(super) fn squares(&self, held: &[bool]) -> Vec<f64> {
        let square = |index| {
            let (states, derivatives) = self.row(index);
            states.iter().zip(derivatives).filter(|(state, _)| !held[**state]).map(|(_, value)| value * value).sum()
        };
        (0..self.len()).map(square).collect()
    }
}
