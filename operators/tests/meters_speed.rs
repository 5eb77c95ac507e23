//! What a bound of seven days costs: meters that report once a quarter of an hour, for eight days, in telemetry and in the
//! accounts behind it, without a dataflow.
//!
//! `cargo test --release -p gridflow-operators --test meters_speed -- --ignored --nocapture`. Prints CPU time and memory a
//! reading, what an epoch without rows costs, and what readings cost that come days late. Fails where one of them is
//! beyond what can be lived with.

#![allow(clippy::print_stdout, reason = "its purpose")]

use gridflow_inputs::ids::{FeederId, SensorId, SourceId, ZoneId};
use gridflow_inputs::input::{Measurement, Quality, Quantity, Sensor};
use gridflow_inputs::log::EpochBatch;
use gridflow_inputs::network::{EquipmentKind, Side};
use gridflow_inputs::{Epoch, Input};
use gridflow_operators::accounts::{AccountInput, Accounts};
use gridflow_operators::state::State as _;
use gridflow_operators::telemetry::{Telemetry, TelemetryOutput};
use rustix::time::{ClockId, clock_gettime};

const METERS: u32 = 2_000;
const BUSES: u32 = 400;
const MINUTE: i64 = 60_000;
const QUARTER: i64 = 15 * MINUTE;
const DAY: i64 = 96 * QUARTER;
const BEGIN: i64 = 18_262 * DAY;

/// CPU time of this thread, nanoseconds.
fn now() -> i64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn meter(id: u32) -> Input {
    Sensor {
        id: SensorId(id),
        valid_from_ms: BEGIN,
        quantity: Quantity::MeteredPower,
        element: EquipmentKind::Feeder,
        element_id: id % BUSES,
        side: Side::None,
        sigma: 0,
        range_min: 0,
        range_max: 1_000_000_000,
        feeder: FeederId(id % BUSES),
        zone: ZoneId(id % BUSES % 10),
        period_ms: QUARTER,
        source: SourceId(id % 16),
    }
    .into()
}

fn reading(id: u32, event_ms: i64) -> Input {
    let value = i64::from(id.wrapping_mul(2_654_435_761) ^ (event_ms / 1_000) as u32) % 20_000_000;
    Measurement { sensor: SensorId(id), event_ms, revision: 0, value, quality: Quality::Good }.into()
}

struct Region {
    telemetry: Telemetry,
    accounts: Accounts,
    told: Vec<TelemetryOutput>,
    rows: usize,
}

impl Region {
    /// Takes an epoch; the CPU time it took, nanoseconds.
    fn take(&mut self, epoch: i64, rows: impl Iterator<Item = Input>) -> i64 {
        let batch = EpochBatch::new(epoch as Epoch, rows);
        let start = now();
        self.telemetry.apply(&batch, &mut self.told);
        let partials = |told| if let TelemetryOutput::Partial(partial) = told { Some(AccountInput::Partial(partial)) } else { None };
        self.rows += self.told.len();
        let mut inputs: Vec<AccountInput> = self.told.drain(..).filter_map(partials).collect();
        let mut out = Vec::new();
        self.accounts.apply(batch.epoch, &mut inputs, &mut out);
        self.rows += out.len();
        now() - start
    }
}

#[test]
#[ignore = "a measurement: needs a release build"]
fn a_bound_of_seven_days_can_be_lived_with() {
    let mut region = Region { telemetry: Telemetry::new(0, 1), accounts: Accounts::new(1), told: Vec::new(), rows: 0 };
    region.take(BEGIN, (0..METERS).map(meter));
    let (mut readings, mut spent, mut dearest) = (0i64, 0, 0);
    for minute in 1..8 * 24 * 60 {
        let at = BEGIN + minute * MINUTE;
        // Each meter has its minute of the quarter.
        let due = (0..METERS).filter(|id| i64::from(id / BUSES * 3 + id % 3) == minute % 15);
        let rows: Vec<Input> = due.map(|id| reading(id, at - 1_000)).collect();
        readings += rows.len() as i64;
        let took = region.take(at, rows.into_iter());
        spent += took;
        dearest = dearest.max(took);
    }
    let held = i64::from(METERS) * 7 * 96;
    let parts: Vec<(&str, usize)> = region.telemetry.memory_bytes().into_iter().chain(region.accounts.memory_bytes()).collect();
    let bytes = parts.iter().map(|(_, bytes)| *bytes as i64).sum::<i64>();
    println!(
        "{readings} readings, {} rows told: {} ns of CPU a reading, the dearest epoch {} ms",
        region.rows,
        spent / readings,
        dearest / 1_000_000
    );
    println!("{} bytes a reading held: {parts:?}", bytes / held);

    let end = BEGIN + 8 * DAY;
    let empty: Vec<i64> = (1..50).map(|second| region.take(end + second * 1_000, std::iter::empty())).collect();
    let mut sorted = empty.clone();
    sorted.sort_unstable();
    println!("an epoch without rows: {} us, the dearest {} us", sorted[sorted.len() / 2] / 1_000, sorted[sorted.len() - 1] / 1_000);

    let late = |place: u32| reading(place * 7 % METERS, end - i64::from(place % 6_000) * 100_000 - 50_500);
    let took = region.take(end + 50_000, (0..METERS).map(late)) / i64::from(METERS);
    println!("readings up to seven days late: {took} ns each");
    let start = now();
    let saved = region.telemetry.save();
    let mut resumed = Telemetry::new(0, 1);
    resumed.load(&saved, &|_| true).expect("it was saved");
    println!("{} MB saved and loaded in {} ms", saved.len() >> 20, (now() - start) / 1_000_000);
    assert!(resumed.save() == saved, "what was loaded is what was saved");
    assert!(bytes / held < 400 && sorted[sorted.len() / 2] < 1_000_000 && spent / readings < 20_000 && took < 200_000);
}
