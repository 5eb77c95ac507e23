//! Measurements that would restore observability: as many as the null space of H has dimensions, each of which takes one away.

use super::model::Model;
use super::observability::{gain_order, is_absolute, null_space};
use super::plan::Plan;
use super::{Cache, EstimationError, Options, check};
use crate::case::{Case, CaseMeasurement, MeasurementKind as Kind};

/// Where something is determined only weakly, that more is missing shows when the rest is there.
const ROUNDS: usize = 4;

/// What a candidate, its row of length 1, must see of the null space, its vectors of size 1, that those chosen do not see: first
/// such as tell something new clearly, then any that do.
const NEW: [f64; 2] = [0.05, 1e-6];

/// Measurements that would make all buses observable, least in number: flows of branches at unobservable buses first (P, then Q, at
/// the `from` side, by branch), then voltage magnitudes, then injections. Empty when all are.
///
/// # Errors
/// When the input cannot be.
pub fn placements(
    case: &Case,
    reference: usize,
    measurements: &[CaseMeasurement],
    options: &Options,
    cache: &mut Cache,
) -> Result<Vec<Kind>, EstimationError> {
    check(case, reference, measurements, options)?;
    let kinds = measurements.iter().map(|measurement| measurement.kind);
    let (model, plan, _) = cache.plan(case, reference, kinds, &options.zero_injections);
    if plan.unobservable.is_empty() {
        return Ok(Vec::new());
    }
    let mut chosen = Vec::new();
    for _ in 0..ROUNDS {
        let more = choose(model, plan, reference, &options.zero_injections, &chosen);
        if more.is_empty() {
            break;
        }
        chosen.extend(more);
    }
    Ok(chosen)
}

/// What would make observable what `chosen` does not.
fn choose(model: &Model, plan: &Plan, reference: usize, idle: &[usize], chosen: &[Kind]) -> Vec<Kind> {
    let mut kinds = plan.kinds.clone();
    kinds.extend(chosen);
    kinds.extend(idle.iter().flat_map(|bus| [Kind::ActiveInjection(*bus), Kind::ReactiveInjection(*bus)]));
    let used = Vec::from_iter(kinds.iter().map(|kind| !plan.reference_held || !is_absolute(*kind)));
    let mut held = vec![false; plan.free.len()];
    held[2 * reference] = plan.reference_held;
    let known = model.flat_rows(&kinds);
    let (space, scales) = null_space(&known, &held, &used, &gain_order(model.buses(), &known));
    let mut open = vec![false; model.buses()];
    plan.unobservable.iter().for_each(|bus| open[*bus] = true);
    let at_open = |branch: &usize| model.branches[*branch].1.iter().any(|bus| open[*bus]);
    let flows = (0..model.branches.len()).filter(at_open).flat_map(|branch| [Kind::ActiveFlowFrom(branch), Kind::ReactiveFlowFrom(branch)]);
    let voltages = plan.unobservable.iter().map(|bus| Kind::VoltageMagnitude(*bus));
    let injections = plan.unobservable.iter().flat_map(|bus| [Kind::ActiveInjection(*bus), Kind::ReactiveInjection(*bus)]);
    let angle = (!plan.reference_held).then_some(Kind::VoltageAngle(reference));
    let candidates = Vec::from_iter(flows.chain(voltages).chain(injections).chain(angle));
    let rows = model.flat_rows(&candidates);
    let mut basis = space.basis();
    for vector in &mut basis {
        // The null space is one of scaled columns.
        vector.iter_mut().zip(&scales).for_each(|(value, scale)| *value /= scale);
        let size = vector.iter().fold(0.0f64, |size, value| size.max(value.abs()));
        vector.iter_mut().for_each(|value| *value /= size);
    }
    let squares = rows.squares(&held);
    let mut unknown = vec![usize::MAX; held.len()];
    (0..held.len()).filter(|state| !held[*state]).enumerate().for_each(|(place, state)| unknown[state] = place);
    // What each candidate sees of the null space, less what those chosen see, by Gram-Schmidt.
    let (mut chosen, mut seen) = (Vec::new(), Vec::<Vec<f64>>::new());
    for new in NEW {
        for (index, kind) in candidates.iter().enumerate() {
            if seen.len() == basis.len() {
                return chosen;
            }
            let (states, derivatives) = rows.row(index);
            let entries = states.iter().zip(derivatives).filter(|(state, _)| unknown[**state] != usize::MAX);
            let mut sees = vec![0.0; basis.len()];
            for (state, value) in entries {
                let place = unknown[*state];
                sees.iter_mut().zip(&basis).for_each(|(sum, vector)| *sum += value * vector[place]);
            }
            for _ in 0..2 {
                for other in &seen {
                    let share: f64 = other.iter().zip(&sees).map(|(a, b)| a * b).sum();
                    sees.iter_mut().zip(other).for_each(|(value, other)| *value -= share * other);
                }
            }
            let left = length(&sees);
            if left > new * squares[index].sqrt() && left > 0.0 {
                sees.iter_mut().for_each(|value| *value /= left);
                seen.push(sees);
                chosen.push(*kind);
            }
        }
    }
    chosen
}

fn length(vector: &[f64]) -> f64 {
    vector.iter().map(|value| value * value).sum::<f64>().sqrt()
}
