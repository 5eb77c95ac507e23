//! The estimator as a pure function of rows.

use gridflow_inputs::ids::{FeederId, SensorId, SourceId, ZoneId};
use gridflow_inputs::input::Sensor;
use gridflow_inputs::network::{BusKind, EquipmentKind, Network, Side};
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
            rows.push(GridRow::Reading(Reading { sensor: sensor.into(), event_ms: 9_000, value }));
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
    Problem { key: 1, epoch: 10_000, effect: 10_000, retry: false, rows: Arc::new(rows), shared, previous }
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

/// The IEEE network at its power flow, and sensors of it.
struct Lab {
    network: Network,
    case: Case,
    flow: gridflow_numerics::power_flow::PowerFlow,
    sensors: Vec<Sensor>,
    now_ms: i64,
    changed_ms: i64,
    /// Sensors that report no more: their last reading and when it was taken.
    silent: BTreeMap<SensorId, (i64, i64)>,
}

impl Lab {
    fn new() -> Self {
        let network = gridflow_inputs::matpower::read("ieee14.m", gridflow_inputs::matpower::IEEE14).expect("it is whole").network;
        Self::of(network)
    }

    fn of(network: Network) -> Self {
        let case = Case::new(100.0, &network).expect("it is a case");
        let options = gridflow_numerics::power_flow::Options { tolerance: 1e-12, ..Default::default() };
        let flow = gridflow_numerics::power_flow::solve(&case, &options, &mut Default::default()).expect("it has a flow");
        Self { network, case, flow, sensors: Vec::new(), now_ms: 1_000_000, changed_ms: 0, silent: BTreeMap::new() }
    }

    /// A branch opens just now.
    fn open(self, branch: gridflow_inputs::ids::BranchId) -> Self {
        let Self { mut network, mut sensors, now_ms, silent, .. } = self;
        network.branches.retain(|row| row.id != branch);
        sensors.retain(|sensor| (sensor.element, sensor.element_id) != (EquipmentKind::Branch, branch.0));
        Self { sensors, now_ms, changed_ms: now_ms + 1_000, silent, ..Self::of(network) }
    }

    fn sensor(&mut self, quantity: Quantity, element: EquipmentKind, element_id: u32, side: Side) {
        let sensor = Sensor {
            id: SensorId(self.sensors.len() as u32 + 1),
            valid_from_ms: 0,
            quantity,
            element,
            element_id,
            side,
            sigma: match quantity {
                Quantity::VoltageMagnitude => 300_000_000,
                Quantity::VoltageAngle => 1_000,
                Quantity::CurrentMagnitude => 1_000_000,
                _ => 500_000_000,
            },
            range_min: i64::MIN,
            range_max: i64::MAX,
            feeder: FeederId(element_id),
            zone: ZoneId(1),
            period_ms: 0,
            source: SourceId(1),
        };
        self.sensors.push(sensor);
    }

    fn at_buses(&mut self, quantity: Quantity) {
        let buses: Vec<u32> = self.network.buses.iter().map(|bus| bus.id.0).collect();
        buses.into_iter().for_each(|bus| self.sensor(quantity, EquipmentKind::Bus, bus, Side::None));
    }

    fn at_branches(&mut self, quantity: Quantity) {
        let branches: Vec<u32> = self.network.branches.iter().map(|branch| branch.id.0).collect();
        branches.into_iter().for_each(|branch| self.sensor(quantity, EquipmentKind::Branch, branch, Side::From));
    }

    /// What a sensor truly reads.
    fn read(&self, sensor: &Sensor) -> i64 {
        let Self { case, flow, .. } = self;
        let id = sensor.element_id;
        let bus = || case.bus_index(BusId(id)).expect("it is there");
        let load = || &case.loads[case.load_index(gridflow_inputs::ids::LoadId(id)).expect("it is there")];
        let unit = || case.generators[case.generator_index(gridflow_inputs::ids::GeneratorId(id)).expect("it is there")].bus;
        let drawn = |bus: usize, part: fn(&gridflow_numerics::case::CaseLoad) -> f64| -> f64 {
            case.loads.iter().filter(|load| load.bus == bus).map(part).sum()
        };
        let branch = || case.branch_index(gridflow_inputs::ids::BranchId(id)).expect("it is there");
        let value = match sensor.quantity {
            Quantity::VoltageMagnitude => flow.v[bus()] * case.buses[bus()].base_kv * 1e9,
            Quantity::VoltageAngle => flow.va[bus()] * 1e6,
            Quantity::ActiveInjection => flow.p[bus()] * 1e11,
            Quantity::ReactiveInjection => flow.q[bus()] * 1e11,
            Quantity::ActiveFlow => flow.flows[branch()].p_from * 1e11,
            Quantity::ReactiveFlow => flow.flows[branch()].q_from * 1e11,
            Quantity::ActiveLoad => load().p * 1e11,
            Quantity::ReactiveLoad => load().q * 1e11,
            Quantity::ActiveGeneration => (flow.p[unit()] + drawn(unit(), |load| load.p)) * 1e11,
            Quantity::ReactiveGeneration => (flow.q[unit()] + drawn(unit(), |load| load.q)) * 1e11,
            Quantity::CurrentMagnitude => {
                let (place, from) = (branch(), case.branches[branch()].from);
                let (p, q) = (flow.flows[place].p_from, flow.flows[place].q_from);
                (p * p + q * q).sqrt() / flow.v[from] * 100.0 / (3f64.sqrt() * case.buses[from].base_kv) * 1e9
            }
            other => unreachable!("no sensor here reads {other:?}"),
        };
        value.round() as i64
    }

    /// A scan five seconds later; `change` has the last word on what each sensor reads, none for one that does not.
    fn scan(
        &mut self,
        previous: Option<EstimationState>,
        change: impl Fn(&Sensor, i64) -> Option<i64>,
    ) -> (Vec<EstimationRow>, EstimationState) {
        self.now_ms += 5_000;
        let mut rows: Vec<GridRow> = self.network.clone().into_rows().into_iter().map(|row| GridRow::Element(Arc::new(row))).collect();
        rows.push(GridRow::Island(IslandRow { reference: BusId(1), changed_ms: self.changed_ms }));
        for sensor in &self.sensors {
            if let Some((value, event_ms)) = self.silent.get(&sensor.id) {
                rows.push(GridRow::Reading(Reading { sensor: sensor.clone().into(), event_ms: *event_ms, value: *value }));
            } else if let Some(value) = change(sensor, self.read(sensor)) {
                rows.push(GridRow::Reading(Reading { sensor: sensor.clone().into(), event_ms: self.now_ms - 100, value }));
            }
        }
        rows.sort();
        let Problem { shared, .. } = problem(100.0, None);
        let epoch = self.now_ms as u64;
        let Answer { previous, rows } =
            estimate(Problem { key: 1, epoch, effect: epoch, retry: false, rows: Arc::new(rows), shared, previous });
        (rows, previous)
    }

    /// Greatest distance of an estimate from the truth, per unit and radians.
    fn distance(&self, row: &Estimate) -> f64 {
        let far = |(index, state): (usize, &BusState)| {
            let v = (state.voltage.kv() / self.case.buses[index].base_kv - self.flow.v[index]).abs();
            v.max((state.angle.rad() - self.flow.va[index]).abs())
        };
        row.buses.iter().enumerate().map(far).fold(0.0, f64::max)
    }
}

fn estimate_of(rows: &[EstimationRow]) -> &Estimate {
    let found = rows.iter().find_map(|row| if let EstimationRow::Row(Output::Estimate(row)) = row { Some(row) } else { None });
    found.unwrap_or_else(|| panic!("no estimate: {rows:?}"))
}

fn suspects_of(rows: &[EstimationRow]) -> Vec<crate::decision::Suspect> {
    let suspect = |row: &EstimationRow| if let EstimationRow::Row(Output::Suspect(row)) = row { Some(row.clone()) } else { None };
    rows.iter().filter_map(suspect).collect()
}

#[test]
fn meters_of_all_that_is_connected_and_currents_make_an_estimate() {
    let mut lab = Lab::new();
    lab.sensor(Quantity::VoltageMagnitude, EquipmentKind::Bus, 1, Side::None);
    for load in lab.network.loads.clone() {
        for quantity in [Quantity::ActiveLoad, Quantity::ReactiveLoad] {
            lab.sensor(quantity, EquipmentKind::Load, load.id.0, Side::None);
        }
    }
    for unit in lab.network.generators.clone() {
        for quantity in [Quantity::ActiveGeneration, Quantity::ReactiveGeneration] {
            lab.sensor(quantity, EquipmentKind::Generator, unit.id.0, Side::None);
        }
    }
    // Injections of 13 buses, of which one injects nothing and is no measurement.
    let (rows, state) = lab.scan(None, |_, value| Some(value));
    let row = estimate_of(&rows);
    assert!(row.unobservable.is_empty() && row.resting.is_empty(), "{row:?}");
    assert_eq!((row.measurements, row.degrees_of_freedom, row.pseudo), (27, 2, 0));
    assert!(lab.distance(row) < 2e-6, "{}", lab.distance(row));
    // Currents check them.
    lab.at_branches(Quantity::CurrentMagnitude);
    let (rows, _) = lab.scan(Some(state), |_, value| Some(value));
    let row = estimate_of(&rows);
    assert!(row.measurements > 40 && lab.distance(row) < 2e-6 && row.objective_ppm < 1_000, "{row:?}");
    // Without one meter of a bus its injection is not known: two of them are more than is to spare.
    let lost = [lab.network.loads[4].id.0, lab.network.loads[5].id.0];
    let (rows, _) = lab.scan(None, |sensor, value| {
        let lost =
            sensor.element == EquipmentKind::Load && lost.contains(&sensor.element_id) || sensor.quantity == Quantity::CurrentMagnitude;
        (!lost).then_some(value)
    });
    assert!(!estimate_of(&rows).resting.is_empty());
}

#[test]
fn a_node_that_becomes_a_bus_of_its_own_was_in_the_island_and_one_that_was_away_comes() {
    let mut network = gridflow_inputs::matpower::read("ieee14.m", gridflow_inputs::matpower::IEEE14).expect("it is whole").network;
    let (node, bus) = (BusId(15), BusId(14));
    let twin = network.buses.iter().find(|row| row.id == bus).cloned().expect("it is there");
    network.buses.push(gridflow_inputs::network::Bus { id: node, ..twin });
    network.branches.iter_mut().filter(|row| (row.from, row.to) == (BusId(9), bus)).for_each(|row| row.to = node);
    let coupler = gridflow_inputs::network::NodeSwitch {
        id: gridflow_inputs::ids::SwitchId(900),
        valid_from_ms: 0,
        name: "coupler".to_owned(),
        kind: gridflow_inputs::network::SwitchKind::Breaker,
        from: bus,
        to: node,
        normally_closed: true,
    };
    let grid = |network: Network| {
        let rows: Vec<GridRow> = network.into_rows().into_iter().map(|row| GridRow::Element(Arc::new(row))).collect();
        Grid::new(&rows, BusId(1), MilliVoltAmperes::from_mva(100.0).expect("it is a power")).expect("it is a case")
    };
    let joined = grid(Network { node_switches: vec![coupler], ..network.clone() });
    let parted = grid(network.clone());
    network.buses.retain(|row| row.id != node);
    network.branches.retain(|row| row.to != node);
    let away = grid(network);

    let mut state = EstimationState::default();
    state.connect(&joined, 10);
    state.connect(&parted, 20);
    assert!(state.since.came_ms.is_empty() && state.since.connected_ms.get(&node) == Some(&20), "{:?}", state.since);
    state.connect(&away, 30);
    state.connect(&parted, 40);
    assert_eq!(state.since.came_ms.get(&node), Some(&40));
}

#[test]
fn a_first_estimate_waits_for_sensors_that_have_not_had_the_time_to_report() {
    let mut lab = Lab::new();
    [Quantity::VoltageMagnitude, Quantity::ActiveInjection, Quantity::ReactiveInjection]
        .into_iter()
        .for_each(|quantity| lab.at_buses(quantity));
    lab.sensors.iter_mut().for_each(|sensor| sensor.period_ms = 5_000);
    let early = |sensor: &Sensor| sensor.element_id < 10;
    let (rows, state) = lab.scan(None, |sensor, value| early(sensor).then_some(value));
    let outcome = rows.iter().find_map(|row| if let EstimationRow::Row(Output::Outcome(row)) = row { Some(row) } else { None });
    assert!(
        rows.len() == 1 && outcome.is_some_and(|row| row.failure == Failure::NoData && row.message.contains("time to report")),
        "{rows:?}"
    );
    // A tick later a period has passed: who is silent still is silent.
    let (rows, _) = lab.scan(Some(state), |sensor, value| early(sensor).then_some(value));
    assert!(!estimate_of(&rows).resting.is_empty());
    // When nobody is missed there is nothing to wait for.
    assert!(estimate_of(&lab.scan(None, |_, value| Some(value)).0).resting.is_empty());
}

#[test]
fn buses_that_no_reading_reaches_rest_on_usual_injections_and_are_named() {
    let mut lab = Lab::new();
    [Quantity::VoltageMagnitude, Quantity::ActiveInjection, Quantity::ReactiveInjection]
        .into_iter()
        .for_each(|quantity| lab.at_buses(quantity));
    let blind = [BusId(13), BusId(14)];
    // Nothing at two buses, and nothing at those beside them that would tell of them.
    let beside = [6, 9, 12];
    let seen = |sensor: &Sensor| {
        let injection = sensor.quantity != Quantity::VoltageMagnitude;
        !(blind.iter().any(|bus| bus.0 == sensor.element_id) || injection && beside.contains(&sensor.element_id))
    };
    let (rows, state) = lab.scan(None, |sensor, value| seen(sensor).then_some(value));
    let row = estimate_of(&rows);
    assert!(row.unobservable.is_empty(), "{row:?}");
    assert!(blind.iter().all(|bus| row.resting.contains(bus)), "{:?}", row.resting);
    assert!(row.pseudo >= 4);
    assert!(!rows.iter().any(|row| matches!(row, EstimationRow::Observable(_))), "what is usual is no reason to decide anything");
    let outcome = rows.iter().find_map(|row| if let EstimationRow::Row(Output::Outcome(row)) = row { Some(row) } else { None });
    assert!(outcome.is_some_and(|row| row.failure == Failure::Unobservable && row.message.contains("13, 14")), "{outcome:?}");
    // The loads stand at their nominal level here, and so what is usual is true.
    assert!(lab.distance(row) < 1e-3, "{}", lab.distance(row));
    // As soon as they are read they rest on nothing usual.
    let (rows, _) = lab.scan(Some(state), |_, value| Some(value));
    let row = estimate_of(&rows);
    assert!(row.resting.is_empty() && row.pseudo == 0 && lab.distance(row) < 2e-6);
    assert!(rows.iter().any(|row| matches!(row, EstimationRow::Observable(_))));
}

#[test]
fn a_gross_error_is_kept_out_and_named_until_it_fits_again() {
    let mut lab = Lab::new();
    [Quantity::VoltageMagnitude, Quantity::ActiveInjection, Quantity::ReactiveInjection]
        .into_iter()
        .for_each(|quantity| lab.at_buses(quantity));
    [Quantity::ActiveFlow, Quantity::ReactiveFlow].into_iter().for_each(|quantity| lab.at_branches(quantity));
    let wrong = lab.sensors.iter().find(|sensor| sensor.quantity == Quantity::ActiveInjection && sensor.element_id == 9).expect("it is").id;
    let (rows, mut state) = lab.scan(None, |_, value| Some(value));
    assert_eq!(suspects_of(&rows), []);
    let since = lab.now_ms + 5_000;
    for _ in 0..4 {
        let (rows, next) =
            lab.scan(Some(resumed(&state)), |sensor, value| Some(value + if sensor.id == wrong { 10_000_000_000 } else { 0 }));
        let suspects = suspects_of(&rows);
        assert_eq!(suspects.len(), 1, "{suspects:?}");
        assert_eq!((suspects[0].sensor, suspects[0].since_ms, suspects[0].removed), (wrong, since, true));
        assert!(suspects[0].normalized_milli > 10_000);
        assert!(lab.distance(estimate_of(&rows)) < 2e-6, "{}", lab.distance(estimate_of(&rows)));
        state = next;
    }
    // Three scans that fit, and it takes part again in the fourth.
    let told: Vec<(usize, u32)> = (0..4)
        .map(|_| {
            let (rows, next) = lab.scan(Some(std::mem::take(&mut state)), |_, value| Some(value));
            state = next;
            (suspects_of(&rows).len(), estimate_of(&rows).measurements)
        })
        .collect();
    let all = lab.sensors.len() as u32;
    assert_eq!(told, [(1, all - 1), (1, all - 1), (0, all - 1), (0, all)]);
}

#[test]
fn a_gross_error_is_named_though_a_sensor_has_been_silent_since_a_switch() {
    for error_mw in [100, 1_000] {
        let mut lab = Lab::new();
        [Quantity::VoltageMagnitude, Quantity::ActiveInjection, Quantity::ReactiveInjection]
            .into_iter()
            .for_each(|quantity| lab.at_buses(quantity));
        [Quantity::ActiveFlow, Quantity::ReactiveFlow].into_iter().for_each(|quantity| lab.at_branches(quantity));
        let at = |lab: &Lab, quantity, bus: u32| {
            lab.sensors.iter().find(|sensor| (sensor.quantity, sensor.element_id) == (quantity, bus)).expect("it is there").clone()
        };
        let (silent, wrong) = (at(&lab, Quantity::VoltageMagnitude, 10), at(&lab, Quantity::ActiveInjection, 6).id);
        let mut state = lab.scan(None, |_, value| Some(value)).1;
        lab.silent.insert(silent.id, (lab.read(&silent), lab.now_ms - 100));
        let branch = lab.network.branches.iter().find(|row| (row.from, row.to) == (BusId(9), BusId(10))).expect("it is there").id;
        lab = lab.open(branch);
        let since = lab.now_ms + 305_000;
        for _ in 0..60 {
            let (rows, next) = lab.scan(Some(state), |_, value| Some(value));
            assert_eq!(estimate_of(&rows).outdated, 1);
            state = next;
        }
        for _ in 0..2 {
            let error = error_mw * 1_000_000_000;
            let (rows, next) = lab.scan(Some(resumed(&state)), |sensor, value| Some(value + if sensor.id == wrong { error } else { 0 }));
            let (row, suspects) = (estimate_of(&rows), suspects_of(&rows));
            assert_eq!(row.tick_ms, lab.now_ms, "{error_mw} MW: the estimate goes on: {rows:?}");
            assert!(
                suspects.iter().any(|row| (row.sensor, row.since_ms, row.removed) == (wrong, since, true)),
                "{error_mw} MW: {suspects:?}"
            );
            state = next;
        }
    }
}

#[test]
fn j_that_goes_up_and_down_about_its_threshold_is_searched_once_and_again_when_it_rises_beyond() {
    let mut lab = Lab::new();
    [Quantity::VoltageMagnitude, Quantity::ActiveInjection, Quantity::ReactiveInjection]
        .into_iter()
        .for_each(|quantity| lab.at_buses(quantity));
    [Quantity::ActiveFlow, Quantity::ReactiveFlow].into_iter().for_each(|quantity| lab.at_branches(quantity));
    // Sensors are off by up to so many standard deviations, one way or the other.
    let off =
        |most: i64| move |sensor: &Sensor, value: i64| Some(value + (i64::from(sensor.id.0 * 37 % 61) - 30) * most * sensor.sigma / 30);
    let (mut state, mut unexplained) = (None, 0.0);
    let mut searched = |most: &[i64]| {
        let mut counted = 0;
        for most in most {
            let (rows, next) = lab.scan(state.take(), off(*most));
            let row = estimate_of(&rows);
            assert_eq!(row.objective_ppm > row.threshold_ppm, *most > 1, "{row:?}");
            counted += usize::from(next.suspects.unexplained() > unexplained);
            unexplained = next.suspects.unexplained();
            state = Some(next);
        }
        counted
    };
    let unsteady = [3, 1].repeat(50);
    assert_eq!(searched(&unsteady), 1);
    assert_eq!(searched(&[4, 1]), 1, "it is another matter");
    assert_eq!(searched(&unsteady), 0);
}

#[test]
fn an_island_that_never_fits_is_searched_ever_more_rarely() {
    let mut lab = Lab::new();
    [Quantity::VoltageMagnitude, Quantity::ActiveInjection, Quantity::ReactiveInjection]
        .into_iter()
        .for_each(|quantity| lab.at_buses(quantity));
    [Quantity::ActiveFlow, Quantity::ReactiveFlow].into_iter().for_each(|quantity| lab.at_branches(quantity));
    // Every sensor is off by thirty times what it says, one way or the other.
    let off = |sensor: &Sensor, value: i64| Some(value + (i64::from(sensor.id.0 * 37 % 61) - 30) * sensor.sigma);
    let (mut state, mut paused) = (None, 0);
    for _ in 0..200 {
        let (rows, next) = lab.scan(state.take(), off);
        let row = estimate_of(&rows);
        assert!(row.objective_ppm > row.threshold_ppm, "nothing of this fits");
        assert!(suspects_of(&rows).iter().filter(|row| row.removed).count() <= 8, "it takes itself apart");
        paused += usize::from(next.suspects.is_paused());
        state = Some(next);
    }
    assert!(paused > 180, "{paused} scans of 200 without a search");
}

#[test]
fn angles_of_one_instant_take_part_however_far_they_have_turned() {
    let mut lab = Lab::new();
    [Quantity::VoltageMagnitude, Quantity::ActiveInjection, Quantity::ReactiveInjection, Quantity::VoltageAngle]
        .into_iter()
        .for_each(|quantity| lab.at_buses(quantity));
    let mut state = None;
    let turn = (2.0 * std::f64::consts::PI * 1e6) as i64;
    for turned in [0, 1_000_000, 3_100_000, -3_100_000, 2_000_000_000] {
        let (rows, next) = lab.scan(state.take(), |sensor, value| {
            let angle = (value + turned).rem_euclid(turn);
            Some(if sensor.quantity == Quantity::VoltageAngle { if angle > turn / 2 { angle - turn } else { angle } } else { value })
        });
        let row = estimate_of(&rows);
        assert_eq!(row.measurements as usize, lab.sensors.len());
        assert!(lab.distance(row) < 2e-5 && row.objective_ppm < 1_000_000 && row.buses[0].angle.0 == 0, "{turned}: {row:?}");
        state = Some(next);
    }
}
