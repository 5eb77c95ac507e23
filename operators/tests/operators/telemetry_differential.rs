//! One-minute windows of feeders by relations alone: what telemetry replaced, kept as its judge. Slow, and it forgets nothing.
//!
//! Readings by (sensor, event time) are reduced to their winners, joined with the places of sensors and the feeders of
//! buses, each valid from one time to another (to meters, whose readings stay open longer, apart from the others), and added up: count, sum and sum of squares in the difference, least and
//! greatest by reducing ever fewer buckets. Facts are what is decided once, at arrival: whether a row is taken, and
//! that a late version moves nothing that is final. All else is a function of the collections, in any order of rows.

use std::collections::{BTreeMap, BTreeSet};

use differential_dataflow::AsCollection;
use gridflow_inputs::ids::SensorId;
use gridflow_inputs::input::{Quantity, Sensor};
use gridflow_inputs::{Epoch, Input};
use gridflow_operators::decision::{Output, Window, WindowScope};
use gridflow_operators::grid::changes;
use gridflow_operators::sealed::{Changes, Rows};
use proptest::prelude::*;
use timely::dataflow::operators::vec::Map;

use crate::harness::{State, part, run};
use crate::telemetry::{resumed_sums, storms};
use crate::telemetry_reference::Log;

const MINUTE: i64 = 60_000;
const SETTLE: i64 = 5_000;
/// Of buckets, so many meet in one of the next level.
const FAN: u64 = 4;

/// Feeder, quantity and start of the minute.
type Key = (u32, Quantity, i64);
/// Count, sum and sum of squares.
type Sums = (i64, i128, i128);
type Extremes = (i64, i64);
type Windows = BTreeMap<Key, (Sums, Extremes)>;
/// Numbers of sensors, buses and feeders of two logs are so far apart.
const APART: u32 = 1_000;

/// A row of one of the three collections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fact {
    /// Sensor, event time; revision, epoch, sequence; the value where it is good.
    Reading(u32, i64, (u16, Epoch, u32), Option<i64>),
    /// Sensor; from, to; quantity, bus.
    Sensor(u32, (i64, i64), Quantity, u32),
    /// Whether to meters, bus; from, to; feeder.
    Feeder((bool, u32), (i64, i64), u32),
}

impl Fact {
    fn apart(self, by: u32) -> Self {
        match self {
            Self::Reading(sensor, event_ms, rank, value) => Self::Reading(sensor + by, event_ms, rank, value),
            Self::Sensor(sensor, span, quantity, bus) => Self::Sensor(sensor + by, span, quantity, bus + by),
            Self::Feeder((metered, bus), span, feeder) => Self::Feeder((metered, bus + by), span, feeder + by),
        }
    }
}

/// What holds from which time on; the first from ever.
#[derive(Clone, Debug)]
struct Timeline<T> {
    stated: BTreeMap<i64, T>,
    holds: BTreeMap<i64, T>,
}

impl<T> Default for Timeline<T> {
    fn default() -> Self {
        Self { stated: BTreeMap::new(), holds: BTreeMap::new() }
    }
}

impl<T: Clone> Timeline<T> {
    /// Of two from the same time on the later row holds; nothing changes before `horizon`.
    fn state(&mut self, from_ms: i64, what: T, horizon: i64) {
        self.stated.insert(from_ms, what);
        let mut times = self.stated.iter();
        let mut now: BTreeMap<i64, T> = times.next().map(|(_, what)| (i64::MIN, what.clone())).into_iter().collect();
        now.extend(times.map(|(from, what)| (*from, what.clone())));
        if self.holds.is_empty() {
            self.holds = now;
            return;
        }
        let at_horizon = now.range(..=horizon).next_back().map(|(_, what)| (horizon, what.clone()));
        self.holds.split_off(&horizon);
        self.holds.extend(at_horizon);
        self.holds.extend(now.split_off(&horizon));
    }

    fn at(&self, time: i64) -> Option<&T> {
        self.holds.range(..=time).next_back().map(|(_, what)| what)
    }

    fn spans(&self) -> impl Iterator<Item = ((i64, i64), &T)> {
        let ends = self.holds.keys().skip(1).copied().chain([i64::MAX]);
        self.holds.iter().zip(ends).map(|((from, what), to)| ((*from, to), what))
    }
}

/// Decides at arrival, row by row, and gives the changes of the collections at each epoch.
#[derive(Default)]
struct Door {
    /// Of meters and of others.
    lateness: BTreeMap<bool, i64>,
    horizon: BTreeMap<bool, i64>,
    sensors: BTreeMap<SensorId, Timeline<Sensor>>,
    feeders: BTreeMap<(bool, u32), Timeline<u32>>,
    told: BTreeSet<Fact>,
}

impl Door {
    fn takes(&self, now: i64, row: &gridflow_inputs::input::Measurement) -> bool {
        let Some(sensor) = self.sensors.get(&row.sensor) else { return false };
        let bound = 1_000_000_000_000_000;
        if !(-bound..=bound).contains(&row.value) || !(-bound..=bound).contains(&row.event_ms) || row.event_ms > now + 10_000 {
            return false;
        }
        let start = row.event_ms.div_euclid(MINUTE) * MINUTE;
        let sensor = sensor.at(row.event_ms).expect("the first version holds from ever");
        let metered = is_metered(sensor.quantity);
        let in_time = start >= self.horizon[&metered] && now <= start + MINUTE + self.lateness[&metered];
        in_time && (row.quality.is_bad() || (sensor.range_min..=sensor.range_max).contains(&row.value))
    }

    fn bus(&mut self, metered: bool, bus: u32) -> &mut Timeline<u32> {
        self.feeders.entry((metered, bus)).or_insert_with(|| {
            let mut own = Timeline::default();
            own.state(i64::MIN, bus, i64::MIN);
            own
        })
    }

    fn epoch(&mut self, epoch: Epoch, rows: &[Input]) -> Vec<(Fact, i64)> {
        let now = epoch as i64;
        // The first minute with now <= its end + what it is held for.
        for (metered, horizon) in &mut self.horizon {
            let held = self.lateness[metered].max(SETTLE) + MINUTE;
            *horizon = (*horizon).max((now - held + MINUTE - 1).div_euclid(MINUTE) * MINUTE);
        }
        let mut changes = Vec::new();
        for (sequence, row) in (0u32..).zip(rows) {
            match row {
                Input::Region(row) => self.lateness = BTreeMap::from([(false, row.lateness_scada_ms), (true, row.lateness_meter_ms)]),
                Input::Sensor(row) if row.range_min <= row.range_max => {
                    let known = self.sensors.entry(row.id).or_default();
                    if known.at(0).is_none_or(|known| known.quantity == row.quantity) {
                        let metered = is_metered(row.quantity);
                        known.state(row.valid_from_ms, row.clone(), self.horizon[&metered]);
                        self.bus(metered, row.feeder.0);
                    }
                }
                Input::FeederAssignment(row) => {
                    for metered in [false, true] {
                        let horizon = self.horizon[&metered];
                        self.bus(metered, row.bus.0).state(row.valid_from_ms, row.feeder.0, horizon);
                    }
                }
                Input::Measurement(row) if self.takes(now, row) => {
                    let value = (!row.quality.is_bad()).then_some(row.value);
                    changes.push((Fact::Reading(row.sensor.0, row.event_ms, (row.revision, epoch, sequence), value), 1));
                }
                _ => {}
            }
        }
        let of_sensor = |(id, known): (&SensorId, &Timeline<Sensor>)| {
            let fact = |(span, row): ((i64, i64), &Sensor)| Fact::Sensor(id.0, span, row.quantity, row.feeder.0);
            known.spans().map(fact).collect::<Vec<_>>()
        };
        let of_bus = |(bus, known): (&(bool, u32), &Timeline<u32>)| {
            known.spans().map(|(span, feeder)| Fact::Feeder(*bus, span, *feeder)).collect::<Vec<_>>()
        };
        let holds: BTreeSet<Fact> = self.sensors.iter().flat_map(of_sensor).chain(self.feeders.iter().flat_map(of_bus)).collect();
        changes.extend(self.told.difference(&holds).map(|fact| (fact.clone(), -1)));
        changes.extend(holds.difference(&self.told).map(|fact| (fact.clone(), 1)));
        self.told = holds;
        changes
    }
}

fn of<'scope, D: Clone + 'static>(facts: &Rows<'scope, (Fact, i64)>, take: impl Fn(Fact) -> Option<D> + 'static) -> Changes<'scope, D> {
    changes(facts.clone().flat_map(move |(fact, change)| take(fact).map(|row| (row, change))))
}

fn is_metered(quantity: Quantity) -> bool {
    quantity == Quantity::MeteredPower
}

fn within(time: i64, (from, to): (i64, i64)) -> bool {
    from <= time && time < to
}

/// What a bucket of readings comes to: least and greatest.
fn least_and_greatest<'a>(values: impl Iterator<Item = &'a Extremes>) -> Extremes {
    values.fold((i64::MAX, i64::MIN), |(least, greatest), next| (least.min(next.0), greatest.max(next.1)))
}

/// Reduces each bucket to its least and greatest, which go to fewer buckets.
fn level<'scope>(buckets: Changes<'scope, ((Key, u64), Extremes)>, name: &str) -> Changes<'scope, ((Key, u64), Extremes)> {
    buckets
        .reduce_named(name, |_, values, out| out.push((least_and_greatest(values.iter().map(|(value, _)| *value)), 1)))
        .map(|((key, bucket), extremes)| ((key, bucket / FAN), extremes))
}

/// A window and its change, with the epoch it is of.
type Told = (Epoch, Key, Sums, Extremes, i64);

fn wire(facts: Rows<'_, (Fact, i64)>) -> Rows<'_, Told> {
    let readings = of(&facts, |fact| match fact {
        Fact::Reading(sensor, event_ms, rank, value) => Some(((sensor, event_ms), (rank, value))),
        _ => None,
    });
    let sensors =
        of(&facts, |fact| if let Fact::Sensor(sensor, span, quantity, bus) = fact { Some((sensor, (span, quantity, bus))) } else { None });
    let feeders = of(&facts, |fact| if let Fact::Feeder(bus, span, feeder) = fact { Some((bus, (span, feeder))) } else { None });
    let adds = |quantity| matches!(quantity, Quantity::ActiveLoad | Quantity::ActiveGeneration | Quantity::MeteredPower);

    // Input comes in ascending order: the last has the greatest rank. A bad winner leaves nothing.
    let winners = readings
        .reduce_named("Winners", |_, readings, out| {
            let (_, value) = readings.last().expect("a key that is shown has a reading").0;
            out.extend(value.map(|value| (value, 1)));
        })
        .map(|((sensor, event_ms), value)| (sensor, (event_ms, value)));
    let at_bus = winners
        .join_map(sensors, |sensor, reading, place| (*sensor, *reading, *place))
        .filter(move |(_, (event_ms, _), (span, quantity, _))| within(*event_ms, *span) && adds(*quantity))
        .map(|(sensor, (event_ms, value), (_, quantity, bus))| ((is_metered(quantity), bus), (sensor, event_ms, value, quantity)));
    let counted = at_bus
        .join_map(feeders, |_, reading, place| (*reading, *place))
        .filter(|((_, event_ms, _, _), (span, _))| within(*event_ms, *span))
        .map(|((sensor, event_ms, value, quantity), (_, feeder))| {
            ((feeder, quantity, event_ms.div_euclid(MINUTE) * MINUTE), (u64::from(sensor) ^ (event_ms as u64 / 1_000), value))
        });

    let sums = counted
        .clone()
        .inner
        .map(|((key, (_, value)), epoch, change)| {
            let value = i128::from(value);
            (key, epoch, (change, value * i128::from(change), value * value * i128::from(change)))
        })
        .as_collection()
        .count_core::<i64>();
    let buckets = counted.map(|(key, (bucket, value))| ((key, bucket % (FAN * FAN)), (value, value)));
    let extremes = level(level(level(buckets, "Sixteen"), "Four"), "One").map(|((key, _), extremes)| (key, extremes));
    sums.join_map(extremes, |key, sums, extremes| (*key, *sums, *extremes))
        .inner
        .map(|((key, sums, extremes), epoch, change)| (epoch, key, sums, extremes, change))
}

/// What windows of feeders hold after each epoch of each log. The logs run beside each other, their numbers apart and one
/// epoch of each at a time, since most of the cost of a small dataflow is that there is one.
fn by_relations(logs: &[Log], workers: usize) -> Vec<Vec<Windows>> {
    let most = logs.iter().map(Vec::len).max().unwrap_or(0);
    let mut facts: Vec<Vec<(Fact, i64)>> = vec![Vec::new(); most];
    for (number, log) in (0u32..).zip(logs) {
        let lateness = BTreeMap::from([(false, 15 * MINUTE), (true, 7 * 24 * 60 * MINUTE)]);
        let horizon = BTreeMap::from([(false, i64::MIN), (true, i64::MIN)]);
        let mut door = Door { lateness, horizon, ..Door::default() };
        for (facts, (epoch, rows)) in facts.iter_mut().zip(log) {
            facts.extend(door.epoch(*epoch, rows).into_iter().map(|(fact, change)| (fact.apart(number * APART), change)));
        }
    }
    let epochs: Vec<Epoch> = (1..=most as Epoch).collect();
    let share = move |worker: usize, workers: usize, place: usize| part(&facts[place], worker, workers, place);
    // A batch of several epochs travels in messages of the first: each row says its own.
    let mut told: BTreeMap<Epoch, Vec<Told>> = BTreeMap::new();
    run(workers, &epochs, share, wire).into_values().flatten().for_each(|row| told.entry(row.0).or_default().push(row));
    let mut state = State::default();
    let mut pictures = vec![Vec::new(); logs.len()];
    for epoch in epochs {
        for (_, key, sums, extremes, change) in told.remove(&epoch).unwrap_or_default() {
            state.add((key, (sums, extremes)), change);
        }
        assert!(state.0.values().all(|count| *count == 1), "a window holds once: {state:?}");
        let mut now = vec![Windows::new(); logs.len()];
        for ((feeder, quantity, start), window) in state.0.keys() {
            now[(feeder / APART) as usize].insert((feeder % APART, *quantity, *start), *window);
        }
        pictures.iter_mut().zip(now).for_each(|(pictures, now)| pictures.push(now));
    }
    assert!(told.is_empty(), "something is told at an epoch that is not in the log");
    pictures
}

/// What telemetry and accounts hold of the same windows; one that was stated and has no reading left is none.
fn by_telemetry(log: &Log, workers: usize) -> Vec<Windows> {
    let window = |row: &Output| match row {
        Output::Window(Window {
            scope: WindowScope::Feeder,
            length_ms: MINUTE,
            id,
            quantity,
            start_ms,
            count,
            sum,
            sum_squares,
            min,
            max,
            ..
        }) => {
            let extremes = (*min).zip(*max)?;
            Some(((*id, *quantity, *start_ms), ((*count, *sum, *sum_squares), extremes)))
        }
        _ => None,
    };
    resumed_sums(log, &[(workers, false)]).iter().map(|picture| picture.outputs.0.keys().filter_map(window).collect()).collect()
}

proptest! {
    // Ten storms a case.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(30) })]

    // REQ: DQ-01
    #[test]
    fn windows_of_feeders_are_what_relations_say_after_every_epoch(logs in prop::collection::vec(storms(), 10), workers in 1usize..4) {
        for (log, expected) in logs.iter().zip(by_relations(&logs, workers)) {
            let found = by_telemetry(log, 1 + workers % 3);
            for ((epoch, rows), (found, expected)) in log.iter().zip(found.iter().zip(&expected)) {
                prop_assert_eq!(found, expected, "epoch {} of {} workers, rows {:#?}", epoch, workers, rows);
            }
        }
    }
}
