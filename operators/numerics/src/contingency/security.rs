//! Whether a grid holds, and holds after each single outage: AC for the grid itself, DC for the outages on top.
//!
//! The case is what is left of a grid from which equipment was taken. Its parts without a unit are dead and their load is
//! lost; in each of the others what is open between load, losses and generation is covered by units in proportion to their
//! headroom, whatever stood at the reference bus before, and an AC power flow says what follows. Outages are solved from its
//! outputs, with losses as so much more load. Reactive limits of units are not enforced.

use super::dc::{Analysis, Options};
use super::participation::Participation;
use super::{Cover, Element, Outcome, each_branch, each_generator};
use crate::case::{Case, Island};
use crate::power_flow::violations::{Limit, Violation, violations};
use crate::power_flow::{self, Cache, PowerFlowError, Slack, Start};
use gridflow_inputs::ids::{BranchId, GeneratorId};
use gridflow_inputs::network::BusKind;

/// What fails besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outage {
    /// A branch.
    Branch(BranchId),
    /// A unit.
    Generator(GeneratorId),
}

/// An outage that overloads a branch, cuts load off or has no solution.
#[derive(Clone, Debug, PartialEq)]
pub struct Insecure {
    /// What fails.
    pub outage: Outage,
    /// Its outcome; indices are those of [`Security::case`].
    pub outcome: Outcome,
}

/// How secure a grid is; per unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Security {
    /// What of it is energised, with units and loads as the outages were solved.
    pub case: Case,
    /// Its islands, dead ones too.
    pub islands: Vec<Island>,
    /// Ratings, voltages and active outputs beyond their limits.
    pub violations: Vec<Violation>,
    /// Outages it would not bear, branches first, in the order of their numbers.
    pub insecure: Vec<Insecure>,
    /// What loads were scaled by for the outages, so that they carry the losses.
    pub with_losses: f64,
}

/// Why it cannot be told.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SecurityError {
    /// Nothing is energised.
    #[error("no island has a unit: nothing is energised")]
    NothingEnergised,
    /// There is no power flow.
    #[error("it has no power flow: {0}")]
    PowerFlow(#[from] PowerFlowError),
    /// There is no analysis of outages.
    #[error("its outages cannot be analysed: {0}")]
    Contingency(#[from] super::ContingencyError),
}

/// Tells how secure a case is whose loads and units stand as now; `losses` are expected, as a share of load. Voltages start
/// at the start values of the case, or else flat.
///
/// # Errors
/// When nothing is energised, or there is no power flow.
pub fn security(case: &Case, losses: f64) -> Result<Security, SecurityError> {
    let mut referenced = case.clone();
    for bus in referenced.buses.iter_mut().filter(|bus| bus.kind == BusKind::Reference) {
        bus.kind = BusKind::Generator;
    }
    let (mut case, islands) = referenced.energised();
    if case.buses.is_empty() {
        return Err(SecurityError::NothingEnergised);
    }
    balance(&mut case, losses);
    let flow = ac(&case)?;
    let asked = |violation: &Violation| !matches!(violation.limit, Limit::ReactiveMin(_) | Limit::ReactiveMax(_));
    let violations = Vec::from_iter(violations(&case, &flow, false).into_iter().filter(asked));
    for (unit, p) in case.generators.iter_mut().zip(&flow.generator_p) {
        unit.p = *p;
    }
    let load: f64 = case.loads.iter().map(|load| load.p).sum();
    let with_losses = if load > 0.0 { 1.0 + flow.loss / load } else { 1.0 };
    case.loads.iter_mut().for_each(|load| load.p *= with_losses);
    let insecure = outages(&case)?;
    Ok(Security { case, islands, violations, insecure, with_losses })
}

/// Lets units cover what is open in their part, by headroom.
fn balance(case: &mut Case, losses: f64) {
    let participation = Participation::new(case, Cover::Headroom);
    let mut missing = vec![0.0; case.buses.len()];
    for (bus, p) in case.scheduled_p().into_iter().enumerate() {
        missing[participation.component[bus]] += case.buses[bus].g - p;
    }
    for load in &case.loads {
        missing[participation.component[load.bus]] += losses * load.p;
    }
    for index in 0..case.generators.len() {
        let missing = missing[participation.component[case.generators[index].bus]];
        case.generators[index].p += missing * participation.units(missing)[index];
    }
}

/// The power flow; what the balance left open is covered by what headroom is left.
fn ac(case: &Case) -> Result<power_flow::PowerFlow, PowerFlowError> {
    let component = case.components();
    let room = |unit: &crate::case::CaseGenerator| (unit.p_max - unit.p).max(0.0);
    let (mut rooms, mut cache) = (vec![0.0; case.buses.len()], Cache::new());
    case.generators.iter().for_each(|unit| rooms[component[unit.bus]] += room(unit));
    // Where nobody has any it falls on all by capacity, and the outputs tell.
    let weight = |unit: &crate::case::CaseGenerator| if rooms[component[unit.bus]] > 1e-6 { room(unit) } else { unit.p_max.max(0.0) };
    let slack = Slack::Weighted(case.generators.iter().map(weight).collect());
    let mut options = power_flow::Options { start: Start::File, slack, ..power_flow::Options::default() };
    power_flow::solve(case, &options, &mut cache).or_else(|_| {
        options.start = Start::Flat;
        power_flow::solve(case, &options, &mut cache)
    })
}

fn outages(case: &Case) -> Result<Vec<Insecure>, SecurityError> {
    let analysis = Analysis::new(case, Options::default())?;
    let list = Vec::from_iter(each_branch(case).into_iter().chain(each_generator(case)));
    let solved = list.iter().zip(analysis.solve(&list));
    let bad = |outcome: &Outcome| outcome.violates() || outcome.lost.as_ref().is_some_and(|lost| lost.load > 0.0);
    let named = |element: &Element| match *element {
        Element::Branch(branch) => Outage::Branch(case.branches[branch].id),
        Element::Generator(unit) => Outage::Generator(case.generators[unit].id),
    };
    Ok(solved.filter(|(_, outcome)| bad(outcome)).map(|(list, outcome)| Insecure { outage: named(&list[0]), outcome }).collect())
}

#[cfg(test)]
mod tests {
    use super::super::testing::network;
    use super::*;

    /// Seven buses in a row, units at the first, fourth and last, of 100, 103 and 106 MW; what is left of it without a branch.
    fn parted(without: usize) -> Case {
        let branches = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)];
        let mut case = network(7, &branches);
        case.branches.remove(without);
        case
    }

    #[test]
    fn each_part_is_balanced_by_the_headroom_of_its_own_units() {
        let case = parted(2);
        let secured = security(&case, 0.0).unwrap();
        assert_eq!(secured.islands.len(), 2);
        assert!(secured.islands.iter().all(|island| island.reference.is_some()), "both have a unit");
        // Three buses: 7 and 14 MW drawn, one unit. Four: 28 and 35 MW, units with 73 and 46 MW of room beyond 30 and 60.
        let p = Vec::from_iter(secured.case.generators.iter().map(|unit| unit.p * case.base_mva));
        let losses = |part: std::ops::Range<usize>| {
            let given: f64 = secured.case.generators.iter().filter(|unit| part.contains(&unit.bus)).map(|unit| unit.p).sum();
            given * case.base_mva
        };
        assert!((21.0..21.5).contains(&losses(0..3)), "{p:?}");
        assert!((63.0..64.5).contains(&losses(3..7)), "{p:?}");
        // 27 MW too much, taken back in proportion to what each gives.
        assert!((p[1] / p[2] - 30.0 / 60.0).abs() < 0.02, "{p:?}");
        // Any branch of a row cuts off; what has its own unit counts as lost too, for nobody prepared it.
        assert!(secured.insecure.iter().any(|row| row.outcome.lost.is_some()));
    }

    #[test]
    fn a_part_that_draws_more_than_its_units_give_says_so_and_a_dead_one_is_named() {
        let mut case = parted(2);
        case.loads.iter_mut().filter(|load| load.bus < 3).for_each(|load| load.p *= 10.0);
        let secured = security(&case, 0.0).unwrap();
        let beyond = secured.violations.iter().find(|violation| matches!(violation.limit, Limit::ActiveMax(_)));
        assert!(beyond.is_some_and(|violation| violation.value > 2.1 && violation.allowed == 1.0), "{:?}", secured.violations);

        let mut dead = parted(2);
        dead.generators.remove(0);
        let secured = security(&dead, 0.0).unwrap();
        assert_eq!(secured.islands.iter().map(|island| island.reference.is_some()).collect::<Vec<_>>(), [false, true]);
        assert!((secured.islands[0].load * dead.base_mva - 21.0).abs() < 1e-9);
        dead.generators.clear();
        assert_eq!(security(&dead, 0.0), Err(SecurityError::NothingEnergised));
    }

    #[test]
    fn what_is_too_much_is_taken_back_less_losses_and_conductances_and_no_unit_goes_below_its_least() {
        let (case, losses, conductance) = (parted(2), 0.1, 0.05);
        let mut case = case;
        case.buses[4].g = conductance;
        case.generators[1].p_min = 0.1;
        let secured = security(&case, losses).unwrap();
        // The part of buses 3 to 6: 30 and 60 MW for 63 MW of load.
        let lowered = 0.9 - 0.63 * (1.0 + losses) - conductance;
        let scheduled = [0.3 - lowered * 0.2 / 0.8, 0.6 - lowered * 0.6 / 0.8];
        let room = [1.03 - scheduled[0], 1.06 - scheduled[1]];
        let p = [1, 2].map(|unit: usize| secured.case.generators[unit].p);
        // What the power flow needs besides falls on all by the room they have.
        let open = p[0] + p[1] - scheduled[0] - scheduled[1];
        for (unit, p) in p.into_iter().enumerate() {
            let expected = scheduled[unit] + open * room[unit] / (room[0] + room[1]);
            assert!((p - expected).abs() < 1e-9, "{p} and not {expected}");
        }

        // In DC loads carry the losses that the power flow found.
        case.buses[4].g = 0.0;
        let secured = security(&case, losses).unwrap();
        let load: f64 = case.loads.iter().map(|load| load.p).sum();
        let given: f64 = secured.case.generators.iter().map(|unit| unit.p).sum();
        let carried: f64 = secured.case.loads.iter().map(|load| load.p).sum();
        assert!(secured.with_losses > 1.0 && (secured.with_losses - given / load).abs() < 1e-9, "{}", secured.with_losses);
        assert!((carried - given).abs() < 1e-9);
    }
}
