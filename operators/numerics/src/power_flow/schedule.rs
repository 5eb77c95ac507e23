//! What a power flow is to meet: the role of each bus, its scheduled injection, who takes part in the slack; and, from a
//! solution, what each unit puts out.

use super::newton::Solution;
use super::{PowerFlowError, Slack};
use crate::case::Case;
use gridflow_inputs::network::BusKind;

/// What is held at a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Active and reactive injection.
    Load,
    /// Active injection and magnitude.
    Generator,
    /// Angle and magnitude.
    Reference,
}

/// The schedule of a case; one value per bus unless said otherwise.
pub(super) struct Schedule {
    pub(super) roles: Vec<Role>,
    /// Lowest bus of each bus's component.
    pub(super) components: Vec<usize>,
    /// Reference bus of each component, ascending by the component's lowest bus.
    pub(super) references: Vec<usize>,
    /// Reference bus of each bus's component.
    pub(super) reference: Vec<usize>,
    /// Active injection.
    pub(super) p: Vec<f64>,
    /// Reactive injection; that of units only where the magnitude is not held.
    pub(super) q: Vec<f64>,
    /// Magnitude where it is held.
    pub(super) v: Vec<f64>,
    /// Share of the component's slack; its shares add up to 1.
    pub(super) share: Vec<f64>,
    /// Share of each unit in the slack of its component.
    generator_share: Vec<f64>,
    /// Whether anything but reference buses takes part in the slack.
    pub(super) distributed: bool,
    /// Reactive output of all units of a bus where a limit keeps it from holding its magnitude.
    limited: Vec<Option<f64>>,
}

impl Schedule {
    pub(super) fn new(case: &Case, components: &[usize], slack: &Slack) -> Result<Self, PowerFlowError> {
        let n = case.buses.len();
        let mut roles = Vec::from_iter(case.buses.iter().map(|bus| match bus.kind {
            BusKind::Reference => Role::Reference,
            _ => Role::Load,
        }));
        let mut v = Vec::from_iter(case.buses.iter().map(|bus| bus.v_start));
        for unit in &case.generators {
            if case.buses[unit.bus].kind == BusKind::Generator {
                roles[unit.bus] = Role::Generator;
            }
            v[unit.bus] = unit.v_setpoint;
        }
        let (p, q) = (case.scheduled_p(), case.scheduled_q());
        let (references, reference) = references(case, components)?;
        let components = components.to_vec();
        let (share, limited) = (vec![0.0; n], vec![None; n]);
        let mut schedule =
            Self { roles, components, references, reference, p, q, v, share, generator_share: vec![], distributed: false, limited };
        schedule.take_shares(case, slack)?;
        Ok(schedule)
    }

    /// Lets a generator bus give the reactive output `q` in place of holding its magnitude.
    pub(super) fn limit(&mut self, bus: usize, q: f64) {
        self.roles[bus] = Role::Load;
        self.q[bus] += q;
        self.limited[bus] = Some(q);
    }

    fn take_shares(&mut self, case: &Case, slack: &Slack) -> Result<(), PowerFlowError> {
        let by_size = |unit: &crate::case::CaseGenerator| unit.p_max.max(0.0);
        let mut weights = match slack {
            Slack::Reference => {
                let at_reference = |unit: &crate::case::CaseGenerator| self.roles[unit.bus] == Role::Reference;
                Vec::from_iter(case.generators.iter().map(|unit| if at_reference(unit) { by_size(unit) } else { 0.0 }))
            }
            Slack::Distributed => Vec::from_iter(case.generators.iter().map(by_size)),
            Slack::Weighted(weights) if weights.len() != case.generators.len() => {
                return Err(PowerFlowError::Given("slack weights are not one per unit"));
            }
            Slack::Weighted(weights) if weights.iter().any(|weight| !weight.is_finite() || *weight < 0.0) => {
                return Err(PowerFlowError::Given("slack weights have one that is negative or no number"));
            }
            Slack::Weighted(weights) => weights.clone(),
        };
        let mut total = vec![0.0; case.buses.len()];
        let mut units = vec![0usize; case.buses.len()];
        for (unit, weight) in case.generators.iter().zip(&weights) {
            total[self.components[unit.bus]] += weight;
            units[unit.bus] += 1;
        }
        self.distributed = *slack != Slack::Reference;
        for (unit, weight) in case.generators.iter().zip(&mut weights) {
            let total = total[self.components[unit.bus]];
            if total > 0.0 {
                *weight /= total;
            } else if !self.distributed && self.roles[unit.bus] == Role::Reference {
                *weight = 1.0 / units[unit.bus] as f64;
            }
            self.share[unit.bus] += *weight;
        }
        for &bus in &self.references {
            if !self.distributed {
                // Also without a unit: the reference then stands for the grid beyond.
                self.share[bus] = 1.0;
            } else if total[self.components[bus]] <= 0.0 {
                return Err(PowerFlowError::NoParticipation { bus: case.buses[self.components[bus]].id });
            }
        }
        self.generator_share = weights;
        Ok(())
    }

    /// The largest mismatch of what is not held and its bus, the lowest among equals; a value that is no number is the largest.
    pub(super) fn largest_mismatch(&self, active: impl Fn(usize) -> f64, reactive: impl Fn(usize) -> f64) -> (f64, usize) {
        let mut largest = (0.0, 0);
        for (bus, role) in self.roles.iter().enumerate() {
            let reactive = if *role == Role::Load { reactive(bus).abs() } else { 0.0 };
            for value in [active(bus).abs(), reactive] {
                if value.is_nan() {
                    return (value, bus);
                }
                if value > largest.0 {
                    largest = (value, bus);
                }
            }
        }
        largest
    }

    /// Active output of each unit, with what each reference bus adds to the schedule.
    pub(super) fn active_outputs(&self, case: &Case, slack: &[f64]) -> Vec<f64> {
        let units = case.generators.iter().zip(&self.generator_share);
        units.map(|(unit, share)| unit.p + share * slack[self.reference[unit.bus]]).collect()
    }

    /// Active and reactive output of each unit.
    pub(super) fn outputs(&self, case: &Case, solution: &Solution) -> (Vec<f64>, Vec<f64>) {
        let p = self.active_outputs(case, &solution.slack);
        let n = case.buses.len();
        let (mut units, mut least, mut range) = (vec![0usize; n], vec![0.0; n], vec![0.0; n]);
        for unit in &case.generators {
            units[unit.bus] += 1;
            least[unit.bus] += unit.q_min;
            range[unit.bus] += unit.q_max - unit.q_min;
        }
        let q = case.generators.iter().map(|unit| {
            let bus = unit.bus;
            if self.roles[bus] == Role::Load && self.limited[bus].is_none() {
                return unit.q;
            }
            let total = self.limited[bus].unwrap_or(solution.q[bus] - self.q[bus]);
            if range[bus] > 0.0 {
                unit.q_min + (total - least[bus]) * ((unit.q_max - unit.q_min) / range[bus])
            } else {
                unit.q_min + (total - least[bus]) / units[bus] as f64
            }
        });
        (p, q.collect())
    }
}

/// The reference bus of each component (ascending by its lowest bus), and for each bus that of its component.
fn references(case: &Case, components: &[usize]) -> Result<(Vec<usize>, Vec<usize>), PowerFlowError> {
    let mut found = vec![None; case.buses.len()];
    for (index, bus) in case.buses.iter().enumerate().filter(|(_, bus)| bus.kind == BusKind::Reference) {
        if let Some(first) = found[components[index]].replace(index) {
            let first: usize = first;
            return Err(PowerFlowError::SeveralReferences { first: case.buses[first].id, second: bus.id });
        }
    }
    let mut references = Vec::new();
    for (index, &component) in components.iter().enumerate() {
        match found[component] {
            None => {
                let buses = components.iter().filter(|other| **other == component).count();
                return Err(PowerFlowError::NoReference { bus: case.buses[component].id, buses });
            }
            Some(reference) if index == component => references.push(reference),
            Some(_) => {}
        }
    }
    let reference = components.iter().map(|component| found[*component].expect("every component has one by now")).collect();
    Ok((references, reference))
}
