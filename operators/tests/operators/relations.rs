//! Relational operators, the newest-row keeper and the audit, recomputed from scratch after every epoch under random
//! inserts and retractions.
//!
//! What a solver reads is compared at the epoch of the message it comes in, as solvers read it: rows of a collection
//! may travel in messages of an earlier epoch, and must not be taken for rows of that epoch.

use std::collections::{BTreeMap, BTreeSet};

use gridflow_inputs::Epoch;
use gridflow_inputs::ids::{BusId, IslandId, SensorId, StorageId, ZoneId};
use gridflow_inputs::input::{Quantity, Sensor, StorageTelemetry};
use gridflow_inputs::network::EquipmentKind;
use gridflow_inputs::units::{MilliCelsius, MilliWattHours, MilliWatts, PartsPerMillion};
use gridflow_operators::audit::{AuditInput, Used, UsedReading, audit};
use gridflow_operators::decision::{EstimateAudit, Output, StatusError, StatusErrorKind};
use gridflow_operators::features::{Origin, Part, Quarter, QuarterKey, quarters};
use gridflow_operators::grid::{GridRow, changes, solver_rows};
use gridflow_operators::islands::{Idle, IdleState, IslandRow, Place};
use gridflow_operators::newest::newest;
use gridflow_operators::placement::by_island;
use gridflow_operators::sealed::Rows;
use gridflow_operators::solver::SolverInput;
use gridflow_operators::telemetry::{Correction, Reading};
use proptest::prelude::*;
use timely::dataflow::operators::vec::Map;

use crate::harness::{State, Told, consolidated, part, run};

/// Epochs of a run, a second apart.
fn epochs(count: usize) -> Vec<Epoch> {
    (1..=count as u64).map(|second| second * 1_000).collect()
}

/// Runs one epoch of rows after another and gives what was told at each, without what cancels.
fn told<I, D, B>(workers: usize, fed: &[Vec<I>], build: B) -> Vec<Vec<(D, i64)>>
where
    I: Clone + Send + Sync + 'static,
    D: Ord + Clone + Send + 'static,
    B: for<'scope> Fn(Rows<'scope, I>) -> Rows<'scope, (D, i64)> + Send + Sync + 'static,
{
    let (epochs, shared) = (epochs(fed.len()), fed.to_vec());
    let share = move |worker: usize, workers: usize, place: usize| part(&shared[place], worker, workers, place);
    let mut told: Told<(D, i64)> = run(workers, &epochs, share, build);
    let by_epoch = epochs.iter().map(|epoch| consolidated(told.remove(epoch).unwrap_or_default())).collect();
    assert!(told.is_empty(), "something is told at an epoch that was not fed");
    by_epoch
}

/// Changes between successive states: what must be told.
fn changes_of<D: Ord + Clone>(states: impl IntoIterator<Item = BTreeSet<D>>) -> Vec<Vec<(D, i64)>> {
    let mut before = BTreeSet::new();
    let difference = |after: BTreeSet<D>| {
        let gone = before.difference(&after).map(|row| (row.clone(), -1));
        let come = after.difference(&before).map(|row| (row.clone(), 1));
        let rows = consolidated(gone.chain(come).collect::<Vec<_>>());
        before = after;
        rows
    };
    states.into_iter().map(difference).collect()
}

/// Changes of one epoch.
type ChangesOf<D> = Vec<(D, i64)>;

/// Turns draws of rows per epoch into inserts and retractions of a set, and the sets after each epoch.
fn toggled<D: Ord + Clone>(draws: &[Vec<D>]) -> (Vec<ChangesOf<D>>, Vec<BTreeSet<D>>) {
    let mut held = BTreeSet::new();
    let toggle = |rows: &Vec<D>| {
        let rows: BTreeSet<D> = rows.iter().cloned().collect();
        let fed = rows.into_iter().map(|row| {
            let change = if held.remove(&row) { -1 } else { i64::from(held.insert(row.clone())) };
            (row, change)
        });
        let fed: Vec<(D, i64)> = fed.collect();
        (fed, held.clone())
    };
    draws.iter().map(toggle).unzip()
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Joined {
    Row(Place, u32),
    Placed(Place, IslandId),
}

fn wire_join(rows: Rows<'_, (Joined, i64)>) -> Rows<'_, ((u32, GridRow), i64)> {
    let elements = rows.clone().flat_map(|(row, change)| match row {
        Joined::Row(place, number) => Some(((place, GridRow::Island(IslandRow { reference: BusId(number), changed_ms: 0 })), change)),
        Joined::Placed(..) => None,
    });
    let placed = rows.clone().flat_map(|(row, change)| match row {
        Joined::Placed(place, island) => Some(((place, island), change)),
        Joined::Row(..) => None,
    });
    let idle = rows.flat_map(|_| None);
    solver_rows(by_island(changes(elements), changes(placed), changes(idle)).0).flat_map(|row| match row {
        SolverInput::Row { key, row, change } => Some(((key, row), change)),
        _ => None,
    })
}

fn join_draws() -> impl Strategy<Value = Vec<Vec<Joined>>> {
    let place = || (prop_oneof![Just(EquipmentKind::Bus), Just(EquipmentKind::Load)], 1..4u32);
    let row = prop_oneof![
        (place(), 0..3u32).prop_map(|(place, number)| Joined::Row(place, number)),
        (place(), 1..3u32).prop_map(|(place, island)| Joined::Placed(place, IslandId(island))),
    ];
    prop::collection::vec(prop::collection::vec(row, 0..5), 1..30)
}

/// Readings and what is without supply: a place, its sensor, event time and value; a place, since when, how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    Reading(Place, u32, i64, i64),
    Idle(Place, i64, IdleState),
}

/// Of each place a sensor of each quantity, with a standard deviation of 10.
const CLAIMED: [(EquipmentKind, Quantity); 6] = [
    (EquipmentKind::Branch, Quantity::ActiveFlow),
    (EquipmentKind::Branch, Quantity::ReactiveFlow),
    (EquipmentKind::Branch, Quantity::CurrentMagnitude),
    (EquipmentKind::Bus, Quantity::ActiveInjection),
    (EquipmentKind::Bus, Quantity::ReactiveInjection),
    (EquipmentKind::Bus, Quantity::VoltageMagnitude),
];

fn claimed(sensor: u32, (element, element_id): Place) -> Sensor {
    let quantity = CLAIMED[sensor as usize].1;
    Sensor { sigma: 10, element, element_id, ..crate::telemetry::sensor(sensor, quantity, element, element_id, 1, 1) }
}

fn wire_claims(rows: Rows<'_, (Claim, i64)>) -> Rows<'_, (StatusError, i64)> {
    let readings = rows.clone().flat_map(|(row, change)| match row {
        Claim::Reading(place, sensor, event_ms, value) => {
            let reading = Reading { sensor: claimed(sensor, place).into(), event_ms, value };
            Some(((place, GridRow::Reading(reading)), change))
        }
        Claim::Idle(..) => None,
    });
    let idle = rows.clone().flat_map(|(row, change)| match row {
        Claim::Idle(place, since_ms, state) => Some(((place, Idle { since_ms, state }), change)),
        Claim::Reading(..) => None,
    });
    let placed = rows.flat_map(|_| None);
    by_island(changes(readings), changes(placed), changes(idle)).1.inner.map(|(row, _, change)| (row, change))
}

/// The newest reading of each sensor and the state of each place, one step after another: late readings leave the newest as it
/// is, corrections replace it, withdrawals bring the one before back.
fn claim_draws() -> impl Strategy<Value = Vec<Vec<Claim>>> {
    let reading = (0..6u32, 1..3u32, 0..6i64, prop_oneof![Just(0i64), -32..33i64, Just(31i64), Just(-31i64), Just(30i64)]);
    let state = prop_oneof![Just(None), Just(Some(IdleState::Out)), Just(Some(IdleState::OpenAtBothEnds)), Just(Some(IdleState::Dead))];
    let idle = (prop_oneof![Just(EquipmentKind::Branch), Just(EquipmentKind::Bus)], 1..3u32, state);
    let epoch = (prop::collection::vec((reading, any::<bool>()), 0..5), prop::collection::vec(idle, 0..2));
    prop::collection::vec(epoch, 1..30).prop_map(|epochs| {
        let mut readings: BTreeMap<(u32, Place), BTreeMap<i64, i64>> = BTreeMap::new();
        let mut idle: BTreeMap<Place, (i64, IdleState)> = BTreeMap::new();
        let mut held: BTreeSet<Claim> = BTreeSet::new();
        let mut step = |(now, (drawn, states)): (i64, (Vec<_>, Vec<_>))| {
            for ((sensor, id, event_ms, value), withdrawn) in drawn {
                let of = readings.entry((sensor, (CLAIMED[sensor as usize].0, id))).or_default();
                if withdrawn {
                    of.remove(&event_ms)
                } else {
                    of.insert(event_ms, value)
                };
            }
            for (equipment, id, state) in states {
                match state {
                    None => drop(idle.remove(&(equipment, id))),
                    // Since when it is without supply does not change with the way it is.
                    Some(state) => idle.entry((equipment, id)).or_insert((now, state)).1 = state,
                }
            }
            let newest = |((sensor, place), of): (&(u32, Place), &BTreeMap<i64, i64>)| {
                of.last_key_value().map(|(event_ms, value)| Claim::Reading(*place, *sensor, *event_ms, *value))
            };
            let mut after: BTreeSet<Claim> = readings.iter().filter_map(newest).collect();
            after.extend(idle.iter().map(|(place, (since_ms, state))| Claim::Idle(*place, *since_ms, *state)));
            let drawn = held.symmetric_difference(&after).cloned().collect();
            held = after;
            drawn
        };
        (0..).map(|place: i64| place / 5).zip(epochs).map(&mut step).collect()
    })
}

/// What readings contradict, looked through one by one.
fn contradicted(held: &BTreeSet<Claim>) -> BTreeSet<StatusError> {
    let mut errors = BTreeSet::new();
    for claim in held {
        for other in held {
            let (Claim::Reading(at, sensor, event_ms, value), Claim::Idle(place, since_ms, state)) = (claim, other) else { continue };
            if at != place || event_ms <= since_ms || (-30..=30).contains(value) {
                continue;
            }
            let kind = match (*sensor, state) {
                (0..3, IdleState::Out) => StatusErrorKind::FlowOnOpenBranch,
                (0..3, IdleState::OpenAtBothEnds) => StatusErrorKind::FlowWithBothEndsOpen,
                (0..3, IdleState::Dead) => StatusErrorKind::FlowOnDeadBranch,
                (3..5, _) => StatusErrorKind::InjectionAtDeadBus,
                _ => continue,
            };
            let quantity = CLAIMED[*sensor as usize].1;
            errors.insert(StatusError { kind, equipment: place.0, id: place.1, sensor: SensorId(*sensor), quantity });
        }
    }
    errors
}

fn part_draws() -> impl Strategy<Value = Vec<Vec<(QuarterKey, Part)>>> {
    let origin = || prop_oneof![Just(Origin::History), (0..3i64).prop_map(Origin::Measured)];
    let part = prop_oneof![
        (origin(), 0..4i64).prop_map(|(origin, value)| Part::Load(origin, MilliWatts(value))),
        (origin(), 0..4i64).prop_map(|(origin, value)| Part::Renewable(origin, MilliWatts(value))),
        (origin(), 0..4i64).prop_map(|(origin, value)| Part::Temperature(origin, MilliCelsius(value))),
    ];
    let row = ((1..3u32).prop_map(ZoneId), 0..3i64, part).prop_map(|(zone, index, part)| ((zone, index), part));
    prop::collection::vec(prop::collection::vec(row, 0..5), 1..30)
}

/// A quarter from all its parts: of each quantity what was measured last, else history; of equal origins the greatest.
fn put_together(parts: &BTreeSet<(QuarterKey, Part)>) -> BTreeSet<(ZoneId, Quarter)> {
    let keys: BTreeSet<QuarterKey> = parts.iter().map(|(key, _)| *key).collect();
    let build = |key: QuarterKey| {
        let of = |take: fn(&Part) -> Option<(Origin, i64)>| {
            let mine = parts.iter().filter(|(other, _)| *other == key).filter_map(|(_, part)| take(part));
            let rank = |(origin, value): &(Origin, i64)| (if let Origin::Measured(at) = origin { Some(*at) } else { None }, *value);
            mine.max_by_key(rank).map(|(_, value)| value)
        };
        let load = of(|part| if let Part::Load(origin, p) = part { Some((*origin, p.0)) } else { None }).map(MilliWatts);
        let renewable = of(|part| if let Part::Renewable(origin, p) = part { Some((*origin, p.0)) } else { None }).map(MilliWatts);
        let temperature = of(|part| if let Part::Temperature(origin, t) = part { Some((*origin, t.0)) } else { None }).map(MilliCelsius);
        (key.0, Quarter { index: key.1, load, renewable, temperature })
    };
    keys.into_iter().map(build).collect()
}

fn report(storage: u32, event_ms: i64, soc: i64) -> StorageTelemetry {
    let (p, temperature) = (MilliWatts(0), MilliCelsius(0));
    StorageTelemetry {
        storage: StorageId(storage),
        event_ms,
        soc: PartsPerMillion(soc),
        p,
        temperature,
        milli_cycles: 0,
        capacity: MilliWattHours(1),
    }
}

type AuditEpoch = Vec<AuditInput>;
/// Island, and by sensor the event time and value it used.
type DrawnEstimate = (u32, BTreeMap<u32, (i64, i64)>);
/// Sensor, event time, sequence, new value.
type DrawnCorrection = (u32, i64, u32, Option<i64>);

/// Estimates at each epoch and corrections of what earlier ones used; an estimate's tick is its epoch.
fn audit_draws() -> impl Strategy<Value = Vec<AuditEpoch>> {
    let estimate = (1..3u32, prop::collection::btree_map(1..4u32, (0..4i64, 0..3i64), 0..4));
    let correction = (1..4u32, 0..4i64, 0..6u32, prop::option::of(0..3i64));
    prop::collection::vec((prop::option::of(estimate), prop::collection::vec(correction, 0..4)), 1..20).prop_map(|epochs| {
        let build = |(place, (estimate, corrections)): (usize, (Option<DrawnEstimate>, Vec<DrawnCorrection>))| {
            let mut rows: AuditEpoch = Vec::new();
            if let Some((island, readings)) = estimate {
                let reading = |(sensor, (event, value)): (u32, (i64, i64))| UsedReading {
                    sensor: SensorId(sensor),
                    event_ms: event * 1_000,
                    value,
                    estimated: 10 * value + 1,
                };
                let readings = std::sync::Arc::new(readings.into_iter().map(reading).collect());
                rows.push(AuditInput::Used(Used { island: IslandId(island), tick_ms: (place as i64 + 1) * 1_000, readings }));
            }
            rows.extend(corrections.into_iter().map(|(sensor, event, sequence, new)| {
                AuditInput::Correction(Correction { sensor: SensorId(sensor), event_ms: event * 1_000, sequence, old: 0, new })
            }));
            rows
        };
        epochs.into_iter().enumerate().map(build).collect()
    })
}

/// Every correction against every estimate made until then: a row where the estimate used another value.
fn audited(log: &[AuditEpoch]) -> Vec<Vec<(Output, i64)>> {
    let mut estimates: Vec<&Used> = Vec::new();
    let mut told = Vec::new();
    for rows in log {
        estimates.extend(rows.iter().filter_map(|row| if let AuditInput::Used(used) = row { Some(used) } else { None }));
        let corrections = || rows.iter().filter_map(|row| if let AuditInput::Correction(row) = row { Some(row) } else { None });
        let touched: BTreeSet<(SensorId, i64)> = corrections().map(|row| (row.sensor, row.event_ms)).collect();
        let mut state = State::default();
        for (sensor, event_ms) in touched {
            let mine = corrections().filter(|row| (row.sensor, row.event_ms) == (sensor, event_ms));
            let new = mine.max_by_key(|row| (row.sequence, row.new)).expect("it was touched").new;
            for used in &estimates {
                let readings = used.readings.iter().filter(|reading| (reading.sensor, reading.event_ms) == (sensor, event_ms));
                for reading in readings.filter(|reading| Some(reading.value) != new) {
                    let (old_residual, new_residual) = (reading.value - reading.estimated, new.map(|new| new - reading.estimated));
                    let (island, tick_ms) = (used.island, used.tick_ms);
                    state.add(EstimateAudit { island, tick_ms, sensor, event_ms, old_residual, new_residual }.into(), 1);
                }
            }
        }
        told.push(state.0.into_iter().collect());
    }
    told
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    // REQ: GRID-08
    #[test]
    fn status_errors_hold_as_long_as_the_newest_readings_contradict_the_switches(draws in claim_draws()) {
        let (fed, states) = toggled(&draws);
        let expected = changes_of(states.iter().map(contradicted));
        for workers in 1..3 {
            prop_assert_eq!(&told(workers, &fed, wire_claims), &expected, "{} workers", workers);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn solvers_are_given_the_rows_of_their_island_at_the_epoch_they_change(draws in join_draws()) {
        let (fed, states) = toggled(&draws);
        let expected = multiplicities(&states);
        for workers in 1..4 {
            let told = told(workers, &fed, wire_join);
            prop_assert_eq!(&told, &expected, "{} workers", workers);
        }
    }

    #[test]
    fn forecasters_are_given_the_quarters_of_their_zone_at_the_epoch_they_change(draws in part_draws()) {
        let (fed, states) = toggled(&draws);
        let expected = changes_of(states.iter().map(put_together));
        for workers in 1..4 {
            let told = told(workers, &fed, |rows| quarters(changes(rows), &gridflow_operators::state::Registry::default()).inner.map(|(row, _, change)| (row, change)));
            prop_assert_eq!(&told, &expected, "{} workers", workers);
        }
    }

    #[test]
    fn the_newest_row_of_a_key_holds_whatever_the_order_of_arrival(
        draws in prop::collection::vec(prop::collection::vec((1..4u32, 0..6i64, 0..3i64), 0..4), 1..20)
    ) {
        let mut seen: BTreeSet<(u32, i64, i64)> = BTreeSet::new();
        let states = draws.iter().map(|rows| {
            seen.extend(rows);
            let newest: BTreeMap<u32, (i64, i64)> = seen.iter().map(|(key, at, soc)| (*key, (*at, *soc))).collect();
            newest.into_iter().map(|(key, (at, soc))| (key, report(key, at, soc))).collect::<BTreeSet<_>>()
        });
        let expected = changes_of(states.collect::<Vec<_>>());
        let fed: Vec<Vec<(u32, i64, StorageTelemetry)>> =
            draws.iter().map(|rows| rows.iter().map(|(key, at, soc)| (*key, *at, report(*key, *at, *soc))).collect()).collect();
        for workers in 1..4 {
            let told = told(workers, &fed, |rows| newest(rows, "Newest", &gridflow_operators::state::Registry::default(), |key| u64::from(*key)).inner.map(|(row, _, change)| (row, change)));
            prop_assert_eq!(&told, &expected, "{} workers", workers);
        }
    }

    #[test]
    fn a_correction_is_held_against_every_estimate_that_used_the_reading(log in audit_draws()) {
        let expected = audited(&log);
        for workers in 1..4 {
            prop_assert_eq!(&told(workers, &log, |rows| audit(rows, &gridflow_operators::state::Registry::default())), &expected, "{} workers", workers);
        }
    }
}

/// Changes of the join's multiset from one epoch to the next.
fn multiplicities(states: &[BTreeSet<Joined>]) -> Vec<Vec<((u32, GridRow), i64)>> {
    let mut before: Vec<((u32, GridRow), i64)> = Vec::new();
    let step = |state: &BTreeSet<Joined>| {
        let mut after = Vec::new();
        for element in state {
            for placed in state {
                if let (Joined::Row(place, number), Joined::Placed(at, island)) = (element, placed)
                    && place == at
                {
                    after.push(((island.0, GridRow::Island(IslandRow { reference: BusId(*number), changed_ms: 0 })), 1));
                }
            }
        }
        let gone = before.iter().map(|(row, count)| (row.clone(), -count));
        let rows = consolidated(gone.chain(after.iter().cloned()).collect::<Vec<_>>());
        before = after;
        rows
    };
    states.iter().map(step).collect()
}

/// Many epochs in flight at once, each with a row of its own: a solver must see each at its own epoch.
#[test]
fn rows_that_are_joined_in_one_batch_still_come_at_their_own_epochs() {
    let place = (EquipmentKind::Bus, 1);
    let mut fed = vec![vec![(Joined::Placed(place, IslandId(1)), 1)]];
    fed.extend((1..200).map(|number| vec![(Joined::Row(place, number), 1)]));
    for workers in 1..3 {
        let told = told(workers, &fed, wire_join);
        let counts: Vec<usize> = told.iter().map(Vec::len).collect();
        assert_eq!(counts, [0].into_iter().chain([1; 199]).collect::<Vec<_>>(), "{workers} workers");
    }
}
