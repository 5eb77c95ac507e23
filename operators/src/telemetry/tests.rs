//! Memory of telemetry: what is final leaves, whatever the log does.

use gridflow_inputs::ids::{FeederId, SensorId, SourceId, ZoneId};
use gridflow_inputs::input::{Measurement, Quality, Sensor};
use gridflow_inputs::network::{EquipmentKind, Side};

use super::*;
use crate::state::State as _;

fn meter(id: u32) -> Sensor {
    Sensor {
        id: SensorId(id),
        valid_from_ms: 0,
        quantity: Quantity::ActiveLoad,
        element: EquipmentKind::Load,
        element_id: id,
        side: Side::None,
        sigma: 0,
        range_min: -100,
        range_max: 100,
        feeder: FeederId(id),
        zone: ZoneId(1),
        period_ms: INTERVAL_MS,
        source: SourceId(1),
    }
}

fn reading(sensor: u32, event_ms: i64, value: i64) -> gridflow_inputs::Input {
    Measurement { sensor: SensorId(sensor), event_ms, revision: 0, value, quality: Quality::Good }.into()
}

/// A meter that reports once a quarter, in its first minute, for ten days: what is final leaves memory all the same.
#[test]
fn memory_follows_the_lateness_bound_not_the_log() {
    let mut telemetry = Telemetry::new(0, 1);
    let mut out = Vec::new();
    telemetry.apply(&EpochBatch::new(0, [meter(1).into()]), &mut out);
    let mut sizes = Vec::new();
    for quarter in 1..960 {
        let epoch = quarter as Epoch * INTERVAL_MS as Epoch;
        telemetry.apply(&EpochBatch::new(epoch, [reading(1, quarter * INTERVAL_MS, 7)]), &mut out);
        sizes.push(telemetry.memory_bytes().iter().map(|(_, bytes)| bytes).sum::<usize>());
    }
    assert!(sizes[100..].iter().all(|size| *size <= sizes[50]), "{:?} {:?}", sizes[50], sizes.last());
    assert!(
        telemetry.revisable.iter().all(|revisable| revisable.minutes.list.len() <= 3 && revisable.restated.is_empty())
            && telemetry.before.is_empty()
    );
}

/// Readings of sensors nobody knows, of far times, and versions without end leave nothing behind.
#[test]
fn floods_grow_nothing() {
    let mut telemetry = Telemetry::new(0, 1);
    let mut out = Vec::new();
    let mut sizes = Vec::new();
    for second in 0..4_000i64 {
        let flood = (0..20u32).map(|number| reading(1_000 + number * 999_983 + second as u32, second * 1_000, 1));
        let moved = Sensor { valid_from_ms: second * 1_000, feeder: FeederId(second as u32 % 7), ..meter(1) };
        let wild = [reading(1, i64::MAX, 1), reading(1, i64::MIN, 1), reading(1, second * 1_000, second % 50)];
        let rows = std::iter::once(moved.into()).chain(flood).chain(wild);
        telemetry.apply(&EpochBatch::new(second as Epoch * 1_000, rows), &mut out);
        out.clear();
        sizes.push(telemetry.memory_bytes().iter().map(|(_, bytes)| bytes).sum::<usize>());
    }
    // Versions are dropped when the quarter they hold in is final, so that memory rises and falls with the quarters.
    let most = |sizes: &[usize]| sizes.iter().copied().max().expect("there are epochs");
    assert!(most(&sizes[3_000..]) <= most(&sizes[1_000..3_000]), "{} {}", most(&sizes[3_000..]), most(&sizes[1_000..3_000]));
    assert!(most(&sizes) < 1_000_000, "{}", most(&sizes));
}

/// Master data told again each hour: no reading is moved, and no window is looked at, for rows that say what is known.
#[test]
fn rows_told_again_touch_nothing() {
    let mut telemetry = Telemetry::new(0, 1);
    let mut out = Vec::new();
    let assigned = gridflow_inputs::input::FeederAssignment { bus: gridflow_inputs::ids::BusId(1), valid_from_ms: 0, feeder: FeederId(3) };
    let readings = (0..60).map(|second| reading(1, second * 1_000, 7));
    telemetry.apply(&EpochBatch::new(60_000, [meter(1).into(), assigned.clone().into()].into_iter().chain(readings)), &mut out);
    for number in 2..20 {
        telemetry.apply(&EpochBatch::new(60_000 * number, []), &mut out);
    }
    let define = |telemetry: &mut Telemetry, sensor: Sensor| {
        assert_eq!(telemetry.define(sensor), None);
        (telemetry.newest.len(), telemetry.before.len())
    };
    let before = telemetry.save();
    assert_eq!(define(&mut telemetry, meter(1)), (0, 0));
    let until = floor(telemetry.horizon(), INTERVAL_MS);
    assert_eq!(telemetry.places.room(1, 0, 3, until), places::Room::Known);
    assert_eq!(telemetry.save(), before);
    assert_ne!(define(&mut telemetry, Sensor { feeder: FeederId(2), ..meter(1) }), (0, 0));
}
