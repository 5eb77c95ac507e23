//! The DC model of an island: angles from injections, flows from angles, and how a flow follows an injection.
//!
//! `f = b (θ_from − θ_to − shift)`, θ_reference = 0. Powers in MW throughout, so angles here are radians times base
//! power. A limit on the angle difference is a limit on the flow of its branch; of the two the tighter one counts. One
//! LDLᵀ factor per case; reactances may be negative.

use super::{DispatchError, LimitKind};
use crate::case::Case;
use crate::power_flow::dc::Model;
use crate::sparse::{Ldlt, Pattern};
use gridflow_inputs::network::BusKind;

/// Bounds on the flow of a branch, MW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FlowLimit {
    pub(super) low: f64,
    pub(super) low_kind: LimitKind,
    pub(super) high: f64,
    pub(super) high_kind: LimitKind,
}

pub(super) struct DcNetwork {
    /// (from, to, susceptance) of each branch.
    branches: Vec<(usize, usize, f64)>,
    /// Flow of each branch when both angles are equal, MW: what a phase shift drives.
    offset: Vec<f64>,
    /// Injection by bus that stands for the phase shifts, MW.
    pub(super) shift_injection: Vec<f64>,
    pub(super) limits: Vec<FlowLimit>,
    /// Row of each bus in the reduced system; none for the reference.
    place: Vec<Option<usize>>,
    factor: Ldlt,
    base_mva: f64,
}

impl DcNetwork {
    pub(super) fn new(case: &Case, model: Model) -> Result<Self, DispatchError> {
        let buses = case.buses.len();
        let reference = case.buses.iter().position(|bus| bus.kind == BusKind::Reference).unwrap_or(0);
        check_connected(case, reference)?;
        let place: Vec<Option<usize>> =
            (0..buses).map(|bus| (bus != reference).then(|| if bus < reference { bus } else { bus - 1 })).collect();
        let (mut branches, mut offset, mut limits) = (Vec::new(), Vec::new(), Vec::new());
        let mut shift_injection = vec![0.0; buses];
        let (mut places, mut values) = (Vec::new(), Vec::new());
        for branch in &case.branches {
            let (susceptance, shift) = match model {
                Model::Pglib => (branch.x / (branch.r * branch.r + branch.x * branch.x), 0.0),
                Model::Exact => (1.0 / (branch.x * branch.tap), branch.shift),
            };
            if !susceptance.is_finite() || susceptance == 0.0 || !shift.is_finite() {
                return Err(DispatchError::Input(format!("branch {} has no reactance that a DC model could use", branch.id)));
            }
            let driven = -susceptance * shift * case.base_mva;
            shift_injection[branch.from] -= driven;
            shift_injection[branch.to] += driven;
            offset.push(driven);
            limits.push(flow_limit(branch.rating, (branch.angle_min - shift, branch.angle_max - shift), susceptance, case.base_mva));
            let ends = (place[branch.from], place[branch.to]);
            for (row, column, value) in [(ends.0, ends.0, 1.0), (ends.1, ends.1, 1.0), (ends.0, ends.1, -1.0), (ends.1, ends.0, -1.0)] {
                if let (Some(row), Some(column)) = (row, column) {
                    places.push((row, column));
                    values.push(value * susceptance);
                }
            }
            branches.push((branch.from, branch.to, susceptance));
        }
        let (pattern, slots) = Pattern::from_places(buses - 1, buses - 1, &places);
        let mut matrix = vec![0.0; pattern.len()];
        for (slot, value) in slots.iter().zip(&values) {
            matrix[*slot] += value;
        }
        let mut factor = Ldlt::analyze(&pattern);
        factor.factor(&matrix).map_err(|zero| {
            let bus = zero.row + usize::from(zero.row >= reference);
            DispatchError::Input(format!("the reactances around bus {} cancel: its angle is not determined", case.buses[bus].id))
        })?;
        Ok(Self { branches, offset, shift_injection, limits, place, factor, base_mva: case.base_mva })
    }

    /// Angles of balanced injections (shifts included).
    fn solve(&self, injection: &[f64]) -> Vec<f64> {
        let mut reduced = vec![0.0; self.place.len() - 1];
        for (bus, place) in self.place.iter().enumerate() {
            if let Some(place) = place {
                reduced[*place] = injection[bus];
            }
        }
        self.factor.solve(&mut reduced);
        self.place.iter().map(|place| place.map_or(0.0, |place| reduced[place])).collect()
    }

    /// Flows in MW and angles in radians of injections in MW, the reference taking up any imbalance.
    pub(super) fn flows(&self, injection: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let angles = self.solve(injection);
        let flow = |(&(from, to, b), offset): (&(usize, usize, f64), &f64)| b * (angles[from] - angles[to]) + offset;
        let flows = self.branches.iter().zip(&self.offset).map(flow).collect();
        (flows, angles.iter().map(|angle| angle / self.base_mva).collect())
    }

    /// Change of a branch's flow per injection at each bus and withdrawal at the reference.
    pub(super) fn distribution(&self, branch: usize) -> Vec<f64> {
        let (from, to, b) = self.branches[branch];
        let mut injection = vec![0.0; self.place.len()];
        injection[from] += b;
        injection[to] -= b;
        self.solve(&injection)
    }

    /// The part of a branch's flow that no injection makes.
    pub(super) fn offset(&self, branch: usize) -> f64 {
        self.offset[branch]
    }
}

/// Bounds of a flow from rating and angle difference; `b` times an angle difference (less shift) is the flow.
fn flow_limit(rating: f64, angle: (f64, f64), b: f64, base_mva: f64) -> FlowLimit {
    let by_angle = if b > 0.0 { (b * angle.0, b * angle.1) } else { (b * angle.1, b * angle.0) };
    let tighter = |rating: f64, angle: f64| if rating <= angle { (rating, LimitKind::Rating) } else { (angle, LimitKind::Angle) };
    let (high, high_kind) = tighter(rating, by_angle.1);
    let (low, low_kind) = tighter(rating, -by_angle.0);
    FlowLimit { low: -low * base_mva, low_kind, high: high * base_mva, high_kind }
}

/// Every bus must be reached from the reference.
fn check_connected(case: &Case, reference: usize) -> Result<(), DispatchError> {
    let components = case.components();
    match components.iter().position(|component| *component != components[reference]) {
        Some(bus) => Err(DispatchError::Input(format!(
            "bus {} is not connected with bus {}: one island per dispatch",
            case.buses[bus].id, case.buses[reference].id
        ))),
        None => Ok(()),
    }
}
