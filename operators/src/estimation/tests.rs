//! The estimator as a pure function of rows.

use gridflow_inputs::ids::{FeederId, SensorId, SourceId, ZoneId};
use gridflow_inputs::input::Sensor;
use gridflow_inputs::network::{BusKind, EquipmentKind, Side};
use gridflow_inputs::units::{MicroHertz, MilliVoltAmperes};

use super::*;
use crate::telemetry::Reading;

/// The IEEE network with voltages and injections measured everywhere, on a base of so many MVA.
fn problem(base_mva: f64, previous: Option<EstimationState>) -> Problem<GridRow, EstimationState> {
    let file = gridflow_inputs::matpower::read("ieee14.m", gridflow_inputs::matpower::IEEE14).expect("the embedded network is whole");
    let buses = file.network.buses.clone();
    let reference = buses.iter().find(|bus| bus.kind == BusKind::Reference).expect("there is one").id;
    let mut rows: Vec<GridRow> = file.network.into_rows().into_iter().map(|row| GridRow::Element(Arc::new(row))).collect();
    rows.push(GridRow::Island(IslandRow { reference, changed_ms: 0 }));
    for (place, bus) in (0u32..).zip(&buses) {
        let injected = if place == 0 { 65_000_000 } else { -5_000_000 };
        for (kind, (quantity, value)) in (0u32..).zip([
            (Quantity::VoltageMagnitude, bus.base_voltage.0),
            (Quantity::ActiveInjection, injected),
            (Quantity::ReactiveInjection, 0),
        ]) {
            let sensor = Sensor {
                id: SensorId(3 * place + kind),
                valid_from_ms: 0,
                quantity,
                element: EquipmentKind::Bus,
                element_id: bus.id.0,
                side: Side::None,
                sigma: 1_000_000,
                range_min: i64::MIN,
                range_max: i64::MAX,
                feeder: FeederId(bus.id.0),
                zone: ZoneId(1),
                period_ms: 1_000,
                source: SourceId(1),
            };
            rows.push(GridRow::Reading(Arc::new(Reading { sensor, event_ms: 9_000, value })));
        }
    }
    rows.sort();
    let region = Region {
        name: "test".to_owned(),
        currency: "EUR".to_owned(),
        base_power: MilliVoltAmperes::from_mva(base_mva).expect("it is a power"),
        epoch_ms: 1_000,
        utc_offset_ms: 0,
        frequency: MicroHertz(50_000_000),
        lateness_scada_ms: 0,
        lateness_meter_ms: 0,
    };
    let shared = Arc::new(vec![GridRow::Region(Arc::new(region))]);
    Problem { key: 1, epoch: 10_000, effect: 10_000, rows: Arc::new(rows), shared, previous }
}

/// What a checkpoint keeps of a state.
fn resumed(state: &EstimationState) -> EstimationState {
    crate::state::decode(&crate::state::encode(state)).expect("it was saved")
}

#[test]
fn a_base_that_changes_is_not_answered_from_what_followed_from_the_old_one() {
    let first = estimate(problem(100.0, None));
    let estimated = |rows: &[EstimationRow]| rows.iter().any(|row| matches!(row, EstimationRow::Row(Output::Estimate(_))));
    assert!(estimated(&first.rows), "{:?}", first.rows);
    let saved = resumed(&first.previous);
    let straight = estimate(problem(50.0, Some(first.previous)));
    let fresh = estimate(problem(50.0, Some(saved)));
    assert_eq!(straight.rows, fresh.rows);
    // Impedances per unit of another base are others.
    assert!(estimated(&fresh.rows) && fresh.rows != first.rows);
}
