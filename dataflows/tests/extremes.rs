//! Rows that decode and say absurd things: through the whole region, none may stop it, and none may vanish.
//!
//! A sound small region is recorded; then rows of every kind come, of which one field, several or all are extreme. What
//! the door refuses must be in `rejected`, once; what it lets through, the operators and solvers behind it must bear.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use gridflow_dataflows::region::{self, Leads, Pools};
use gridflow_inputs::ids::{FeederId, SensorId, SourceId, ZoneId};
use gridflow_inputs::input::{History, Measurement, Quality, Quantity, Region, Sensor, StorageTelemetry, Tick, Timer, WeatherForecast};
use gridflow_inputs::log::EpochBatch;
use gridflow_inputs::matpower::{self, IEEE14};
use gridflow_inputs::network::{EquipmentKind, Network, Side};
use gridflow_inputs::row::{Canonical, Column};
use gridflow_inputs::units::{
    MAX_MAGNITUDE, MicroHertz, MicroPerMwh, MilliCelsius, MilliVoltAmperes, MilliWattHours, MilliWatts, PartsPerMillion,
};
use gridflow_inputs::{Epoch, Input, Kind, MAX_EPOCH, Sequenced};
use gridflow_inputs::{input, row};
use gridflow_operators::decision::{Output, Reason, Stream};
use gridflow_operators::hygiene::malformed;
use gridflow_operators::sealed::{Clock, Feed};
use gridflow_operators::solver::{inline_blocks, inline_pool};
use gridflow_operators::state::Registry;
use timely::dataflow::InputHandle;
use timely::dataflow::operators::{Input as _, Probe};

/// Rows made from the schema, as the log's own tests make them; it reads `crate::input` and `crate::row`.
#[path = "../../inputs/src/log/strategy.rs"]
#[allow(dead_code)] // the log's tests use the rest
mod strategy;

const START: Epoch = 1_577_836_800_000;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// `row` with some fields replaced by extreme ones; a value its type does not allow leaves the field as it was.
fn mutated(row: &Input, fields: usize, random: &mut Random) -> Input {
    const NUMBERS: [i64; 12] =
        [i64::MIN, i64::MIN + 1, i64::MAX, MAX_MAGNITUDE, -MAX_MAGNITUDE, MAX_MAGNITUDE + 1, 10 * MAX_MAGNITUDE, 0, 1, -1, 2, 1 << 40];
    const REALS: [f64; 9] = [0.0, 1e300, -1e300, 1e15, -1e15, 1.0, -1.0, f64::MIN_POSITIVE / 4.0, 1e-15];
    let kind = row.kind();
    let mut row = row.clone();
    for _ in 0..fields {
        let mut columns: Vec<Column> = kind.fields().iter().map(|(_, storage)| Column::new(*storage)).collect();
        row.push(&mut columns);
        let count = columns.len();
        match &mut columns[random.below(count)] {
            Column::Integers(values) => values[0] = NUMBERS[random.below(NUMBERS.len())],
            Column::Bytes { ends, data } if data.len() == 8 => {
                *data = f64::to_le_bytes(REALS[random.below(REALS.len())]).to_vec();
                *ends = vec![8];
            }
            Column::Bytes { ends, data } => {
                // Lists, texts and options: empty.
                *data = vec![0];
                *ends = vec![1];
            }
        }
        if let Ok(changed) = kind.pull(&columns, 0) {
            row = changed;
        }
    }
    row
}

fn region_row() -> Region {
    Region {
        name: "extremes".into(),
        currency: "EUR".into(),
        base_power: MilliVoltAmperes(100_000_000_000),
        epoch_ms: 1_000,
        utc_offset_ms: 0,
        frequency: MicroHertz(50_000_000),
        lateness_scada_ms: 900_000,
        lateness_meter_ms: 604_800_000,
    }
}

/// A sensor for each quantity the solvers use, with the value it reads.
fn sensors(network: &Network) -> Vec<(Sensor, i64)> {
    use EquipmentKind as Kind;
    let mut found: Vec<(Quantity, Kind, u32, i64)> = Vec::new();
    for bus in &network.buses {
        found.push((Quantity::VoltageMagnitude, Kind::Bus, bus.id.0, bus.base_voltage.0));
        let units = network.generators.iter().filter(|unit| unit.bus == bus.id).map(|unit| (unit.p.0, unit.q.0));
        let loads = network.loads.iter().filter(|load| load.bus == bus.id).map(|load| (-load.load_p.0, -load.load_q.0));
        let (p, q) = units.chain(loads).fold((0, 0), |(p, q), (unit_p, unit_q)| (p + unit_p, q + unit_q));
        found.push((Quantity::ActiveInjection, Kind::Bus, bus.id.0, p));
        found.push((Quantity::ReactiveInjection, Kind::Bus, bus.id.0, q));
    }
    found.extend(network.loads.iter().map(|load| (Quantity::ActiveLoad, Kind::Load, load.id.0, load.load_p.0)));
    found.extend(network.loads.iter().map(|load| (Quantity::ReactiveLoad, Kind::Load, load.id.0, load.load_q.0)));
    found.extend(network.generators.iter().map(|unit| (Quantity::ActiveGeneration, Kind::Generator, unit.id.0, unit.p.0)));
    let sensor = |(id, (quantity, element, element_id, value))| {
        let sensor = Sensor {
            id: SensorId(id),
            valid_from_ms: 0,
            quantity,
            element,
            element_id,
            side: Side::None,
            sigma: 1_000_000_000,
            range_min: -MAX_MAGNITUDE,
            range_max: MAX_MAGNITUDE,
            feeder: FeederId(element_id),
            zone: ZoneId(1),
            period_ms: 2_000,
            source: SourceId(1),
        };
        (sensor, value)
    };
    (1..).zip(found).map(sensor).collect()
}

fn reading(sensor: &Sensor, value: i64, epoch: Epoch) -> Input {
    Measurement { sensor: sensor.id, event_ms: epoch as i64, revision: 0, value, quality: Quality::Good }.into()
}

fn ticks(epoch: Epoch) -> Vec<Input> {
    Timer::ALL.iter().map(|timer| Tick { timer: *timer, event_ms: epoch as i64 }.into()).collect()
}

/// A sound log of seven epochs, into which `strange` puts rows: `(place, row)`.
fn log(strange: impl Fn(&[Input], &mut Vec<(usize, Input)>)) -> Vec<(Epoch, Vec<Input>)> {
    let file = matpower::read("ieee14.m", IEEE14).expect("the embedded network can be read");
    let sensors = sensors(&file.network);
    let mut first: Vec<Input> = vec![region_row().into()];
    let storage = gridflow_inputs::network::Storage {
        id: gridflow_inputs::ids::StorageId(1),
        valid_from_ms: 0,
        name: "battery".into(),
        bus: file.network.buses[4].id,
        capacity: MilliWattHours(20_000_000_000),
        charge_max: MilliWatts(5_000_000_000),
        discharge_max: MilliWatts(5_000_000_000),
        charge_efficiency: PartsPerMillion(950_000),
        discharge_efficiency: PartsPerMillion(950_000),
        soc_min: PartsPerMillion(100_000),
        soc_max: PartsPerMillion(900_000),
        soc_start: PartsPerMillion(500_000),
        wear_cost: MicroPerMwh(500_000),
        in_service: true,
    };
    first.extend(file.network.into_rows());
    first.push(storage.into());
    first.extend(sensors.iter().map(|(sensor, _)| Input::from(sensor.clone())));
    first.extend((1..200).map(|back| {
        let start_ms = START as i64 - back * 900_000;
        let (load, renewable) = (MilliWatts(200_000_000_000 + back), MilliWatts(back));
        Input::from(History { zone: ZoneId(1), start_ms, load, renewable, temperature: MilliCelsius(10_000) })
    }));
    let telemetry = |epoch: Epoch| {
        let mut rows: Vec<Input> = sensors.iter().map(|(sensor, value)| reading(sensor, *value, epoch)).collect();
        let (storage, event_ms) = (gridflow_inputs::ids::StorageId(1), epoch as i64);
        let soc = PartsPerMillion(500_000);
        let (p, temperature, capacity) = (MilliWatts(0), MilliCelsius(20_000), MilliWattHours(20_000_000_000));
        rows.push(StorageTelemetry { storage, event_ms, soc, p, temperature, milli_cycles: 0, capacity }.into());
        rows.push(
            WeatherForecast {
                station: gridflow_inputs::ids::StationId(1),
                valid_at_ms: event_ms + 3_600_000,
                issued_at_ms: event_ms - 3_600_000,
                available_at_ms: event_ms,
                zone: ZoneId(1),
                temperature,
                humidity: PartsPerMillion(0),
                wind_mm_per_s: 0,
                cloud_cover: PartsPerMillion(0),
                ghi_mw_per_m2: 0,
            }
            .into(),
        );
        rows
    };
    let mut epochs = vec![(START, first)];
    for after_ms in [1_000, 5_000, 10_000, 40_000, 1_000_000, 3_000_000] {
        let epoch = START + after_ms;
        let mut rows = telemetry(epoch);
        rows.extend(ticks(epoch));
        epochs.push((epoch, rows));
    }
    let sample: Vec<Input> = epochs[..2].iter().flat_map(|(_, rows)| rows.iter().cloned()).collect();
    let mut rows = Vec::new();
    strange(&sample, &mut rows);
    for (place, row) in rows {
        let (_, epoch) = &mut epochs[place];
        let at = epoch.len().min(epoch.len() - if place > 0 { Timer::ALL.len() } else { 0 });
        epoch.insert(at, row);
    }
    epochs
}

/// Runs a region on one worker over a log; gives its output changes.
fn run(log: &[(Epoch, Vec<Input>)]) -> Vec<(Epoch, Output, i64)> {
    let log = log.to_vec();
    timely::execute_directly(move |worker| {
        let out: Rc<RefCell<Vec<(Epoch, Output, i64)>>> = Rc::default();
        let kept = Rc::clone(&out);
        let mut input: InputHandle<Epoch, timely::container::CapacityContainerBuilder<Vec<Feed>>> = InputHandle::new_with_builder();
        let mut batches: InputHandle<Epoch, timely::container::CapacityContainerBuilder<Vec<Arc<EpochBatch>>>> =
            InputHandle::new_with_builder();
        let dataflow = worker.next_dataflow_index();
        let probe = worker.dataflow::<Epoch, _, _>(|scope| {
            let (feed, batches) = (scope.input_from(&mut input), scope.input_from(&mut batches));
            let take = move |sealed: gridflow_operators::seal::Sealed| {
                kept.borrow_mut().extend(sealed.rows.into_iter().map(|(row, change)| (sealed.epoch, row, change)));
            };
            region::build(
                feed,
                batches,
                Leads::default(),
                &Pools { stability: inline_pool(), security: inline_pool(), economy: inline_pool(), blocks: inline_blocks() },
                &Registry::default(),
                take,
            )
            .probe()
            .0
        });
        for (epoch, rows) in &log {
            batches.advance_to(*epoch);
            batches.send(Arc::new(EpochBatch::new(*epoch, rows.iter().cloned())));
            batches.advance_to(epoch + 1);
            input.advance_to(*epoch);
            let mut ticks = Vec::new();
            for (sequence, row) in (0u32..).zip(rows) {
                match row {
                    Input::Tick(tick) => ticks.push(tick.clone()),
                    Input::Region(_) | Input::Generator(_) => {
                        input.send(Feed::Everywhere(0, Sequenced { epoch: *epoch, sequence, input: row.clone() }));
                    }
                    _ => {}
                }
                if !matches!(row, Input::Measurement(_) | Input::Sensor(_)) {
                    input.send(Feed::Row(Sequenced { epoch: *epoch, sequence, input: row.clone() }));
                }
            }
            input.send(Feed::Clock(Clock { worker: 0, ticks }));
            input.flush();
            input.advance_to(epoch + 1);
            worker.step_while(|| probe.less_equal(epoch));
        }
        worker.drop_dataflow(dataflow);
        std::mem::take(&mut *out.borrow_mut())
    })
}

/// Runs a log; says what went wrong with it, if anything did.
fn verdict(log: &[(Epoch, Vec<Input>)]) -> Result<(), String> {
    let out = catch_unwind(AssertUnwindSafe(|| run(log))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        format!("it panicked: {}", text.unwrap_or_default())
    })?;
    let refused: Vec<(Epoch, u32)> = out
        .iter()
        .filter_map(|(_, row, change)| match row {
            Output::Rejected(row) if row.reason == Reason::Malformed => {
                assert_eq!(*change, 1);
                Some((row.epoch, row.sequence))
            }
            _ => None,
        })
        .collect();
    for (epoch, rows) in log {
        for (sequence, row) in (0..).zip(rows).filter(|(_, row)| malformed(row).is_some()) {
            let count = refused.iter().filter(|place| **place == (*epoch, sequence)).count();
            if count != 1 {
                return Err(format!("it was refused {count} times: {row:?}"));
            }
        }
    }
    Ok(())
}

/// Runs logs with strange rows and names every one that went wrong.
fn assert_borne(seeds: std::ops::Range<u64>, strange: impl Fn(u64, &[Input], &mut Vec<(usize, Input)>)) {
    let mut failures = Vec::new();
    for seed in seeds {
        let rows = RefCell::new(Vec::new());
        let log = log(|sample, out| {
            strange(seed, sample, out);
            rows.borrow_mut().clone_from(out);
        });
        if let Err(what) = verdict(&log) {
            failures.push(format!("seed {seed}: {what}\n    {:?}", rows.borrow()));
        }
    }
    assert!(failures.is_empty(), "{} logs went wrong:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_sound_log_is_estimated_forecast_and_dispatched() {
    let out = run(&log(|_, _| ()));
    let streams: BTreeSet<Stream> = out.iter().map(|(_, row, _)| row.stream()).collect();
    for stream in [Stream::Estimate, Stream::Forecast, Stream::Dispatch, Stream::Price, Stream::Window, Stream::Kpi, Stream::Topology] {
        assert!(streams.contains(&stream), "nothing in {}", stream.name());
    }
    assert!(!streams.contains(&Stream::Rejected) && !streams.contains(&Stream::Late));
}

#[test]
fn rows_of_any_kind_made_of_extremes_stop_nothing_and_none_vanishes() {
    assert_borne(0..40, |seed, _, out| {
        let mut random = Random(seed);
        for kind in Kind::ALL.iter().filter(|kind| **kind != Kind::Tick) {
            out.push((1 + random.below(5), strategy::row(*kind, seed)));
        }
    });
}

#[test]
fn a_sound_row_with_one_extreme_field_stops_nothing_and_none_vanishes() {
    assert_borne(0..120, |seed, sample, out| {
        let mut random = Random(seed ^ 0x5eed);
        // Each kind alike, not each row: readings and history would be almost all.
        let kinds: Vec<Kind> =
            sample.iter().map(Input::kind).collect::<BTreeSet<_>>().into_iter().filter(|kind| *kind != Kind::Tick).collect();
        let kind = kinds[seed as usize % kinds.len()];
        let of_kind: Vec<&Input> = sample.iter().filter(|row| row.kind() == kind).collect();
        for _ in 0..1 + random.below(3) {
            let row = of_kind[random.below(of_kind.len())];
            let fields = 1 + random.below(2);
            out.push((random.below(6), mutated(row, fields, &mut random)));
        }
    });
}

#[test]
fn epochs_at_either_end_of_time_stop_nothing() {
    for start in [0, MAX_EPOCH - 3_000_000] {
        let shifted: Vec<_> = log(|_, _| ()).into_iter().map(|(epoch, rows)| (epoch - START + start, rows)).collect();
        assert_eq!(verdict(&shifted), Ok(()));
    }
}

#[test]
fn the_samples_are_extreme_enough_to_be_refused_and_sound_enough_to_pass() {
    let mut random = Random(1);
    let row = Input::from(region_row());
    let rows: Vec<Input> = (0..200).map(|_| mutated(&row, 1, &mut random)).collect();
    let refused = rows.iter().filter(|row| malformed(row).is_some()).count();
    assert!((20..180).contains(&refused), "{refused}");
    assert_eq!(Canonical::implausible(&region_row()), None);
}
