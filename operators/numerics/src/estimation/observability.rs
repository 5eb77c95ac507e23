//! Which states the measurements determine: the null space of H. A factor of HᵀH without zero pivots says that it is
//! empty, which is the usual case and cheap; otherwise H itself is eliminated.
//!
//! H is taken at the flat state, so that the answer depends on the network and on what is measured where, never on values or
//! on an earlier estimate. Its rows and then its columns are scaled to unit length, which changes no null space's
//! support and lets one tolerance serve all networks and accuracies.

use super::model::{Model, Rows};
use super::{Gain, HELD};
use crate::case::{CaseMeasurement, MeasurementKind};
use crate::sparse::{Ldlt, Matrix, NullSpace};

/// An entry of a null vector below this is zero.
const ZERO_ENTRY: f64 = 1e-6;
/// Combinations of null vectors looked at, so that no entry stays small by chance in all of them.
const COMBINATIONS: u64 = 3;

/// What can be estimated, and from what.
pub(super) struct Observability {
    /// Buses with an undetermined state, ascending.
    pub(super) unobservable: Vec<usize>,
    /// States that are not estimated (angle of bus i: 2i, magnitude: 2i + 1).
    pub(super) held: Vec<bool>,
    /// Whether the reference angle is held as the origin of angles.
    pub(super) reference_held: bool,
    /// Measurements that touch no held state but the origin and share that origin.
    pub(super) used: Vec<bool>,
}

/// Finds what the measurements determine.
pub(super) fn analyze(model: &Model, reference: usize, measurements: &[CaseMeasurement]) -> Observability {
    let states = 2 * model.buses();
    let origin = 2 * reference;
    let mut held = vec![false; states];
    let mut used = vec![true; measurements.len()];
    // Angles are those of their measurements where these reach far enough; else the reference bus is their origin and angle
    // measurements, which have another, take no part: whichever leaves less open.
    let is_angle = |measurement: &CaseMeasurement| matches!(measurement.kind, MeasurementKind::VoltageAngle(_));
    let mut reference_held = !measurements.iter().any(is_angle);
    held[origin] = reference_held;
    let mut open = undetermined(model, measurements, &held, &used);
    if open.contains(&origin) {
        let without_angles = Vec::from_iter(measurements.iter().map(|measurement| !is_angle(measurement)));
        let mut with_origin = held.clone();
        with_origin[origin] = true;
        let otherwise = undetermined(model, measurements, &with_origin, &without_angles);
        if count_buses(&otherwise) < count_buses(&open) {
            (reference_held, held, used, open) = (true, with_origin, without_angles, otherwise);
        }
    }
    let mut unobservable = Vec::from_iter(open.iter().map(|state| state / 2));
    unobservable.dedup();
    // What touches an undetermined state says nothing about the others, unless in a difference with its like; without these
    // rows it may be that more is undetermined.
    let all = Vec::from_iter(0..states);
    let everything = model.at_flat_state(measurements, &all, &used);
    while !open.is_empty() {
        open.iter().for_each(|state| held[*state] = true);
        for (index, used) in used.iter_mut().enumerate() {
            let blocks = |state: &usize| held[*state] && !(*state == origin && reference_held);
            *used = *used && !everything.row(index).0.iter().any(blocks);
        }
        open = undetermined(model, measurements, &held, &used);
    }
    Observability { unobservable, held, reference_held, used }
}

fn count_buses(states: &[usize]) -> usize {
    states.chunk_by(|a, b| a / 2 == b / 2).count()
}

/// States that are not held and not determined by the measurements in use, ascending.
fn undetermined(model: &Model, measurements: &[CaseMeasurement], held: &[bool], used: &[bool]) -> Vec<usize> {
    let free = Vec::from_iter((0..held.len()).filter(|state| !held[*state]));
    let mut unknown = vec![HELD; held.len()];
    for (index, state) in free.iter().enumerate() {
        unknown[*state] = index;
    }
    let rows = model.at_flat_state(measurements, &unknown, used);
    let null = null_space_support(free.len(), measurements.len(), &rows);
    free.iter().zip(null).filter(|(_, open)| *open).map(|(state, _)| *state).collect()
}

/// For each unknown whether some null vector of H differs from zero there.
fn null_space_support(unknowns: usize, count: usize, rows: &Rows) -> Vec<bool> {
    let gain = Gain::new(unknowns, (0..count).map(|index| rows.row(index).0));
    let weights = Vec::from_iter((0..count).map(|index| {
        let square: f64 = rows.row(index).1.iter().map(|derivative| derivative * derivative).sum();
        if square > 0.0 { 1.0 / square } else { 0.0 }
    }));
    let values = gain.values((0..count).map(|index| (weights[index], rows.row(index).1)));
    let mut open = vec![false; unknowns];
    let mut ldlt = Ldlt::analyze(&gain.pattern);
    if ldlt.factor_holding(&values).is_empty() {
        return open;
    }
    // HᵀH may only seem singular: its rounding hides what is determined weakly. H itself decides.
    let mut triplets = Vec::new();
    for (index, weight) in weights.iter().enumerate() {
        let (unknowns, derivatives) = rows.row(index);
        let scale = |unknown: usize| (weight / values[gain.diagonal(unknown)]).sqrt();
        triplets.extend(unknowns.iter().zip(derivatives).filter(|entry| *entry.1 != 0.0).map(|(k, value)| (index, *k, value * scale(*k))));
    }
    let space = NullSpace::new(&Matrix::from_triplets(count, unknowns, &triplets), ldlt.order());
    for combination in 0..COMBINATIONS {
        let vector = space.vector(|unknown| weight(combination << 32 | unknown as u64));
        for (open, entry) in open.iter_mut().zip(vector) {
            *open |= entry.abs() > ZERO_ENTRY;
        }
    }
    open
}

/// Numbers from 1 to 2 that stand in no relation to each other (the finaliser of splitmix64).
fn weight(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    1.0 + (z >> 11) as f64 / (1u64 << 53) as f64
}
