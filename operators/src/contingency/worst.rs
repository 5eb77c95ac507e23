//! The worst outages by AC: apparent power against ratings, and voltages against their bands.
//!
//! From a power flow at the operating point: units hold the voltage they hold now, the reference bus covers losses. Reactive
//! limits are not enforced.

use gridflow_inputs::network::EquipmentKind;
use gridflow_inputs::units::{MAX_MAGNITUDE, MicroVolts, MilliVoltAmperes, PartsPerMillion, to_fixed};
use gridflow_numerics::case::Case;
use gridflow_numerics::contingency::ac::{Analysis, Options};
use gridflow_numerics::contingency::{self as numerics, ContingencyError, Element, Outcome, Rating};
use gridflow_numerics::power_flow::PowerFlowError;

use crate::decision::{Contingency, ContingencyMethod, Failure, RatingDuration};
use crate::standing::Failed;

use super::{FULL, share};

/// Puts into rows of outages what AC says of them. `case`: without losses in its loads.
pub(super) fn solve(case: &Case, rows: &mut [(numerics::Contingency, Contingency)], now_ms: i64) -> Result<(), Failed> {
    if rows.is_empty() {
        return Ok(());
    }
    let analysis = Analysis::new(case, Options::default()).map_err(|error| {
        let (failure, iterations) = match &error {
            ContingencyError::Base(PowerFlowError::Diverged { iterations, .. }) => (Failure::Diverged, *iterations as u32),
            _ => (Failure::BadNetwork, 0),
        };
        (failure, iterations, format!("the worst are told by DC alone: {error}"))
    })?;
    let outages = Vec::from_iter(rows.iter().map(|(outage, _)| outage.clone()));
    for ((_, row), outcome) in rows.iter_mut().zip(analysis.solve(&outages)) {
        put(case, row, &outcome, now_ms);
    }
    Ok(())
}

fn put(case: &Case, row: &mut Contingency, outcome: &Outcome, now_ms: i64) {
    (row.method, row.solved_ms, row.solved) = (ContingencyMethod::Ac, now_ms, outcome.unsolved.is_none());
    if let Some(unsolved) = &outcome.unsolved {
        // Branch and loading stay those of DC, for want of better ones.
        let mismatch = to_fixed(unsolved.mismatch * case.base_mva, MilliVoltAmperes::PER_MVA).unwrap_or(MAX_MAGNITUDE);
        row.duration = RatingDuration::Exceeded;
        (row.mismatch, row.mismatch_bus) = (MilliVoltAmperes(mismatch), Some(unsolved.bus));
        return;
    }
    row.loading = share(outcome.max_loading);
    row.duration = duration(outcome, row.loading);
    row.worst_branch = outcome.worst_branch.map(|index| case.branches[index].id);
    if let Some(outside) = &outcome.voltage {
        let bus = &case.buses[outside.bus];
        let volts = |v: f64| MicroVolts::from_kv(v * bus.base_kv).unwrap_or(MicroVolts(MAX_MAGNITUDE));
        let limit = if outside.v < bus.v_min { bus.v_min } else { bus.v_max };
        (row.voltage_bus, row.voltage, row.voltage_limit) = (Some(bus.id), volts(outside.v), volts(limit));
        row.buses_outside = outside.buses as u32;
    }
}

/// For how long branches may carry what they carry. A loading that is told as 100 % exceeds nothing.
pub(super) fn duration(outcome: &Outcome, loading: PartsPerMillion) -> RatingDuration {
    match outcome.within {
        Some(Rating::Normal) => RatingDuration::Normal,
        _ if outcome.unsolved.is_none() && loading <= FULL => RatingDuration::Normal,
        Some(Rating::LongTerm) => RatingDuration::LongTerm,
        Some(Rating::ShortTerm) => RatingDuration::ShortTerm,
        None => RatingDuration::Exceeded,
    }
}

/// An element of a row of the view.
pub(super) fn named(case: &Case, outage: Element) -> (EquipmentKind, u32) {
    match outage {
        Element::Branch(index) => (EquipmentKind::Branch, case.branches[index].id.0),
        Element::Generator(index) => (EquipmentKind::Generator, case.generators[index].id.0),
    }
}
