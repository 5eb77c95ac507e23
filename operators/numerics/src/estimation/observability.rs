//! Which states the measurements determine: the null space of H.
//!
//! H is taken at the flat state, so that the answer depends on the network and on what is measured where, never on values or
//! on an earlier estimate. Its rows are scaled to unit length, which changes no null space's support and lets one
//! tolerance serve all networks and accuracies. The system of an estimate at that state that can be factored, and whose inverse
//! magnifies nothing beyond [`MAGNIFIED`], says that the null space is empty: the usual case, and cheap. Otherwise H itself is
//! eliminated.

use super::model::{Model, Rows};
use crate::case::{AtBus, MeasurementKind, Place};
use crate::sparse::{Matrix, NullSpace, Pattern};

/// An entry of a null vector below this is zero.
const ZERO_ENTRY: f64 = 1e-6;
/// Combinations of null vectors looked at, so that no entry stays small by chance in all of them.
const COMBINATIONS: u64 = 3;
/// An inverse that magnifies more than this may be one of a singular matrix.
pub(super) const MAGNIFIED: f64 = 1e9;
const HELD: usize = usize::MAX;

/// What can be estimated, and from what.
pub(super) struct Observability {
    /// Buses with an undetermined state, ascending.
    pub(super) unobservable: Vec<usize>,
    /// States that are not estimated (angle of bus i: 2i, magnitude: 2i + 1).
    pub(super) held: Vec<bool>,
    /// Whether the reference angle is held as the origin of angles.
    pub(super) reference_held: bool,
    /// Rows of H that touch no held state but the origin and share that origin.
    pub(super) used: Vec<bool>,
}

/// Finds what the rows of H determine; `rows` are those of `kinds` at the flat state.
pub(super) fn analyze(model: &Model, reference: usize, kinds: &[MeasurementKind], rows: &Rows) -> Observability {
    let states = 2 * model.buses();
    let origin = 2 * reference;
    let mut held = vec![false; states];
    let mut used = vec![true; kinds.len()];
    // Angles are those of their measurements where these reach far enough; else the reference bus is their origin and
    // measurements of angles and phasors, which have another, take no part: whichever leaves less open.
    let mut reference_held = !kinds.iter().any(|kind| is_absolute(*kind));
    held[origin] = reference_held;
    let order = gain_order(model.buses(), rows);
    let mut open = undetermined(rows, &held, &used, &order);
    if open.contains(&origin) {
        let without_angles = Vec::from_iter(kinds.iter().map(|kind| !is_absolute(*kind)));
        let mut with_origin = held.clone();
        with_origin[origin] = true;
        let otherwise = undetermined(rows, &with_origin, &without_angles, &order);
        if count_buses(&otherwise) < count_buses(&open) {
            (reference_held, held, used, open) = (true, with_origin, without_angles, otherwise);
        }
    }
    let mut unobservable = Vec::from_iter(open.iter().map(|state| state / 2));
    unobservable.dedup();
    // What touches an undetermined state says nothing about the others, unless in a difference with its like; without these
    // rows it may be that more is undetermined.
    while !open.is_empty() {
        open.iter().for_each(|state| held[*state] = true);
        for (index, used) in used.iter_mut().enumerate() {
            let blocks = |state: &usize| held[*state] && !(*state == origin && reference_held);
            *used = *used && !rows.row(index).0.iter().any(blocks);
        }
        open = undetermined(rows, &held, &used, &order);
    }
    Observability { unobservable, held, reference_held, used }
}

/// Whether a measurement tells of angles against the time reference, not of differences.
pub(super) fn is_absolute(kind: MeasurementKind) -> bool {
    use MeasurementKind as Kind;
    matches!(kind.place(), Place::Bus(_, AtBus::Angle))
        || matches!(kind, Kind::CurrentRealFrom(_) | Kind::CurrentRealTo(_) | Kind::CurrentImaginaryFrom(_) | Kind::CurrentImaginaryTo(_))
}

fn count_buses(states: &[usize]) -> usize {
    states.chunk_by(|a, b| a / 2 == b / 2).count()
}

/// States that are not held and not determined by the rows in use, ascending.
fn undetermined(rows: &Rows, held: &[bool], used: &[bool], order: &[usize]) -> Vec<usize> {
    let free = Vec::from_iter((0..held.len()).filter(|state| !held[*state]));
    let (space, _) = null_space(rows, held, used, order);
    let mut open = vec![false; free.len()];
    if space.dimension() > 0 {
        for combination in 0..COMBINATIONS {
            let vector = space.vector(|unknown| weight(combination << 32 | unknown as u64));
            for (open, entry) in open.iter_mut().zip(vector) {
                *open |= entry.abs() > ZERO_ENTRY;
            }
        }
    }
    free.iter().zip(open).filter(|(_, open)| *open).map(|(state, _)| *state).collect()
}

/// The null space of the rows in use on the states that are not held, numbered among these, and what to divide its entries by for
/// their own units. States are eliminated in an order of [`gain_order`].
pub(super) fn null_space(rows: &Rows, held: &[bool], used: &[bool], order: &[usize]) -> (NullSpace, Vec<f64>) {
    let mut unknown = vec![HELD; held.len()];
    let mut unknowns = 0;
    for (state, _) in held.iter().enumerate().filter(|(_, held)| !**held) {
        unknown[state] = unknowns;
        unknowns += 1;
    }
    let squares = rows.squares(held);
    let mut columns = vec![0.0; unknowns];
    let mut entries = Vec::new();
    for index in (0..used.len()).filter(|index| used[*index] && squares[*index] > 0.0) {
        let (states, derivatives) = rows.row(index);
        for (state, value) in states.iter().zip(derivatives).filter(|(state, value)| unknown[**state] != HELD && **value != 0.0) {
            let scaled = value / squares[index].sqrt();
            columns[unknown[*state]] += scaled * scaled;
            entries.push((index, unknown[*state], scaled));
        }
    }
    // Columns too are scaled to unit length.
    let scales = Vec::from_iter(columns.iter().map(|square| if *square > 0.0 { square.sqrt() } else { 1.0 }));
    for (_, unknown, value) in &mut entries {
        *value /= scales[*unknown];
    }
    let order = Vec::from_iter(order.iter().map(|state| unknown[*state]).filter(|unknown| *unknown != HELD));
    (NullSpace::new(&Matrix::from_triplets(used.len(), unknowns, &entries), &order), scales)
}

/// An order of all states that reduces the fill of HᵀH: by bus, of which a row sees both states or, at its own, one.
pub(super) fn gain_order(buses: usize, rows: &Rows) -> Vec<usize> {
    let mut places = Vec::from_iter((0..buses).map(|bus| (bus, bus)));
    let (mut seen, mut before) = (Vec::new(), Vec::new());
    for index in 0..rows.len() {
        let (states, derivatives) = rows.row(index);
        seen.clear();
        seen.extend(states.iter().zip(derivatives).filter(|(_, value)| **value != 0.0).map(|(state, _)| state / 2));
        seen.sort_unstable();
        seen.dedup();
        // Active and reactive power of a place follow each other, and see the same buses.
        if seen == before {
            continue;
        }
        before.clone_from(&seen);
        for (k, a) in seen.iter().enumerate() {
            places.extend(seen[..k].iter().map(|b| (*b, *a)));
        }
    }
    let (pattern, _) = Pattern::from_places(buses, buses, &places);
    pattern.fill_reducing_order().into_iter().flat_map(|bus| [2 * bus, 2 * bus + 1]).collect()
}

/// Numbers from 1 to 2 that stand in no relation to each other (the finaliser of splitmix64).
pub(super) fn weight(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    1.0 + (z >> 11) as f64 / (1u64 << 53) as f64
}
