//! The simulator as its users see it: what a run of a network gives, counted from its rows and not from its summary.

use super::*;
use gridflow_inputs::ids::{SensorId, ZoneId};
use gridflow_inputs::input::{Kind, Measurement, Quantity, Sensor};
use gridflow_inputs::network::EquipmentKind;
use gridflow_inputs::profiles::{Series, SeriesKey};
use gridflow_inputs::{matpower, profiles, rts_gmlc};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub(super) fn ieee14() -> NetworkFile {
    matpower::read("ieee14.m", matpower::IEEE14).expect("the embedded case is well-formed")
}

pub(super) fn config(seed: u64, minutes: u32) -> SimulationConfig {
    SimulationConfig { seed, minutes, ..SimulationConfig::default() }
}

/// A run with everything it gave.
pub(super) struct Run {
    pub(super) epochs: Vec<SimulatedEpoch>,
    pub(super) simulation: Simulation,
}

pub(super) fn run(config: SimulationConfig, file: NetworkFile, profiles: Option<Profiles>) -> Run {
    let mut simulation = Simulation::new(config, file, profiles).expect("the simulation is possible");
    let epochs = simulation.by_ref().map(|epoch| epoch.expect("every epoch succeeds")).collect();
    Run { epochs, simulation }
}

impl Run {
    fn rows(&self) -> impl Iterator<Item = (i64, &Input)> {
        self.epochs.iter().flat_map(|epoch| epoch.rows.iter().map(|row| (epoch.epoch as i64, row)))
    }

    pub(super) fn measurements(&self) -> impl Iterator<Item = (i64, &Measurement)> {
        self.rows().filter_map(|(epoch, row)| if let Input::Measurement(row) = row { Some((epoch, row)) } else { None })
    }

    pub(super) fn sensors(&self) -> BTreeMap<SensorId, Sensor> {
        let sensors = self.rows().filter_map(|(_, row)| if let Input::Sensor(row) = row { Some(row) } else { None });
        sensors.map(|row| (row.id, row.clone())).collect()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for epoch in &self.epochs {
            bytes.extend(epoch.epoch.to_le_bytes());
            epoch.rows.iter().for_each(|row| row.write(&mut bytes));
            if let Some(truth) = &epoch.truth {
                truth.write_csv(&mut bytes).unwrap();
            }
        }
        bytes
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let bytes = |seed| run(config(seed, 6), ieee14(), None).bytes();
    let first = bytes(1);
    assert!(first == bytes(1), "two runs of one seed differ");
    assert!(first != bytes(2), "two seeds give the same rows");
}

#[test]
fn a_log_opens_with_region_network_sensors_and_the_past() {
    let run = run(config(1, 1), ieee14(), None);
    let first = &run.epochs[0];
    assert_eq!(first.epoch as i64, START_MS);
    assert!(matches!(&first.rows[0], Input::Region(region) if region.epoch_ms == 1_000 && region.currency == "USD"));
    let kinds = Vec::from_iter(first.rows.iter().map(Input::kind));
    let place = |kind| kinds.iter().position(|other| *other == kind);
    assert!(place(Kind::Bus) < place(Kind::Sensor) && place(Kind::Sensor) < place(Kind::History), "{kinds:?}");
    let zones = first.rows.iter().filter_map(|row| if let Input::Bus(bus) = row { Some(bus.zone) } else { None }).collect::<BTreeSet<_>>();
    let count = |kind| kinds.iter().filter(|other| **other == kind).count();
    assert_eq!(count(Kind::History), 28 * 96 * zones.len());
    assert_eq!(count(Kind::WeatherForecast), 36 * zones.len());
    assert_eq!(count(Kind::Price), 24 * zones.len());
    assert_eq!(count(Kind::Measurement), 0);
    for row in &first.rows {
        match row {
            Input::History(row) => assert!(row.start_ms + 900_000 <= START_MS, "{row:?} is not past"),
            Input::WeatherForecast(row) => assert!(row.available_at_ms <= START_MS && row.valid_at_ms > row.issued_at_ms, "{row:?}"),
            _ => {}
        }
    }
}

#[test]
fn epochs_are_every_second_and_rows_never_arrive_before_they_are_taken() {
    let run = run(config(3, 20), ieee14(), None);
    let epochs = Vec::from_iter(run.epochs.iter().map(|epoch| epoch.epoch as i64));
    assert_eq!(epochs, Vec::from_iter((0..=20 * 60).map(|second| START_MS + second * 1_000)));
    let known = run.sensors();
    let ahead = run.measurements().filter(|(epoch, row)| row.event_ms > *epoch && known.contains_key(&row.sensor)).count();
    assert_eq!(ahead as u64, run.simulation.summary().future);
    let rows = run.rows().count() as u64;
    assert_eq!(rows, run.simulation.summary().rows);
}

/// Power in equals power out, at every bus and as a whole, in MW.
#[track_caller]
fn assert_balance(truth: &Truth) {
    let (case, state) = (&truth.whole, &truth.state);
    let mut leaving =
        Vec::from_iter(case.buses.iter().zip(&state.v_pu).map(|(bus, v)| (bus.g * v * v * case.base_mva, -bus.b * v * v * case.base_mva)));
    for (branch, flow) in case.branches.iter().zip(&state.flow) {
        leaving[branch.from].0 += flow[0];
        leaving[branch.from].1 += flow[1];
        leaving[branch.to].0 += flow[2];
        leaving[branch.to].1 += flow[3];
    }
    for ((bus, injection), leaving) in case.buses.iter().zip(&state.injection).zip(&leaving) {
        let error = (injection.0 - leaving.0).abs().max((injection.1 - leaving.1).abs());
        assert!(error < 1e-4, "bus {}: {injection:?} MVA come in, {leaving:?} go out", bus.id);
    }
    let mut own = vec![0.0; case.buses.len()];
    case.generators.iter().zip(&state.generation).for_each(|(unit, (p, _))| own[unit.bus] += p);
    case.loads.iter().zip(&state.load).for_each(|(load, (p, _))| own[load.bus] -= p);
    if case.dc_lines.is_empty() && truth.storages.is_empty() {
        for ((bus, injection), own) in case.buses.iter().zip(&state.injection).zip(&own) {
            assert!((injection.0 - own).abs() < 1e-4, "bus {}: units and loads give {own} MW, the injection is {}", bus.id, injection.0);
        }
    }
}

#[test]
fn every_true_state_balances_and_events_take_their_equipment_out() {
    let mut simulation = Simulation::new(config(9, 30), ieee14(), None).unwrap();
    let mut statuses = Vec::new();
    let total = |simulation: &Simulation| simulation.truth.state.bus_load.iter().sum::<f64>();
    let mut before = total(&simulation);
    while let Some(epoch) = simulation.next() {
        for row in epoch.unwrap().rows {
            if let Input::SwitchStatus(status) = row {
                statuses.push(status);
            }
        }
        assert_balance(&simulation.truth);
        let load = total(&simulation);
        assert!((load / before - 1.0).abs() < 0.01, "the load jumps from {before} to {load} MW");
        before = load;
        for &branch in &simulation.truth.branches_out {
            assert_eq!(simulation.truth.state.flow[branch], [0.0; 4]);
        }
        for &unit in &simulation.truth.units_out {
            assert_eq!(simulation.truth.state.generation[unit], (0.0, 0.0));
        }
    }
    let summary = simulation.summary();
    let happened = Vec::from_iter(summary.happenings.iter().map(|(_, happening)| happening.clone()));
    use Happening::*;
    assert!(
        matches!(
            happened[..],
            [BranchOpened(a), BranchClosed(b), BranchTripped(c), BranchRestored(d), UnitTripped(e), UnitRestored(f)] if a == b && c == d && e == f
        ),
        "{happened:?}"
    );
    assert_eq!(Vec::from_iter(statuses.iter().map(|status| status.closed)), [false, true, false, true, false, true]);
    assert_eq!(
        Vec::from_iter(statuses.iter().map(|status| status.event_ms)),
        Vec::from_iter(summary.happenings.iter().map(|(time, _)| *time))
    );
    assert_eq!([summary.retried_flat, summary.held_loads, summary.held_state, summary.dispatches_by_merit], [0; 4]);
}

#[test]
fn a_smaller_fleet_is_the_first_of_the_order_and_a_larger_one_adds_second_sets_and_meters() {
    let fleet = |sensors| run(SimulationConfig { sensors, ..config(1, 1) }, ieee14(), None).sensors();
    let same = |a: &Sensor, b: &Sensor| (a.quantity, a.element, a.element_id, a.side) == (b.quantity, b.element, b.element_id, b.side);
    let basic = fleet(None);
    let case = Case::new(100.0, &ieee14().network).unwrap();
    let expected = 3 * case.buses.len() + 4 * case.branches.len() + 2 * case.loads.len() + 2 * case.generators.len();
    assert_eq!(basic.len(), expected);
    let small = fleet(Some(20));
    assert!(small.len() == 20 && small.values().zip(basic.values()).all(|(a, b)| same(a, b)));
    let large = fleet(Some(1_000));
    let kinds = |quantity| large.values().filter(|sensor| sensor.quantity == quantity).count();
    assert_eq!([large.len(), kinds(Quantity::VoltageMagnitude), kinds(Quantity::ActiveFlow)], [1_000, 28, 80]);
    assert_eq!(kinds(Quantity::MeteredPower), 1_000 - expected - 14 - 80);
    assert!(
        large.values().filter(|sensor| sensor.quantity == Quantity::MeteredPower).all(|sensor| sensor.element == EquipmentKind::Feeder)
    );
}

#[test]
fn the_meters_below_a_bus_add_up_to_its_load() {
    let simulation = Simulation::new(SimulationConfig { sensors: Some(700), ..config(1, 1) }, ieee14(), None).unwrap();
    let (case, state) = (&simulation.truth.whole, &simulation.truth.state);
    let sensors = simulation.opening.iter().filter_map(|row| if let Input::Sensor(row) = row { Some((row.id, row)) } else { None });
    let sensors: BTreeMap<_, _> = sensors.filter(|(_, row)| row.quantity == Quantity::MeteredPower).collect();
    let mut metered: BTreeMap<u32, f64> = BTreeMap::new();
    for instrument in (0..10).flat_map(|second| simulation.fleet.second(second)) {
        if let Some(sensor) = sensors.get(&instrument.id) {
            *metered.entry(sensor.element_id).or_default() += instrument.true_value(case, state) / 1e9;
        }
    }
    assert_eq!(metered.len(), 11);
    for (bus, load) in case.buses.iter().zip(&state.bus_load).filter(|(_, load)| **load > 0.0) {
        assert!((metered[&bus.id.0] - load).abs() < 1e-9, "bus {}: {load} MW, metered {}", bus.id, metered[&bus.id.0]);
    }
}

/// Load of all zones of the 14-bus case: the file's, and from the middle of the run on `surge` times as much.
fn surge(surge: f64) -> Profiles {
    let mut profiles = Profiles::default();
    let network = ieee14().network;
    for zone in network.buses.iter().map(|bus| bus.zone).collect::<BTreeSet<_>>() {
        let buses = BTreeSet::from_iter(network.buses.iter().filter(|bus| bus.zone == zone).map(|bus| bus.id));
        let nominal: f64 = network.loads.iter().filter(|load| buses.contains(&load.bus)).map(|load| load.load_p.mw()).sum();
        let values = (0..20).map(|minute| if minute < 10 { nominal } else { nominal * surge }).collect();
        profiles.series.insert(SeriesKey::ZoneLoad(zone), Series { start_ms: START_MS, step_ms: 60_000, values });
    }
    profiles
}

#[test]
fn a_load_the_grid_cannot_carry_is_held_and_counted() {
    let config = SimulationConfig { start_ms: Some(START_MS), events: no_events(), ..config(2, 20) };
    let run = run(config.clone(), ieee14(), Some(surge(12.0)));
    let summary = run.simulation.summary();
    assert!(summary.held_loads > 50 && summary.held_state == 0, "{summary:?}");
    assert_eq!(summary.steps, 121);
    let beyond = Simulation::new(SimulationConfig { minutes: 21, ..config }, ieee14(), Some(surge(1.0)));
    assert!(matches!(beyond.err(), Some(SimulationError::ProfileRange { zone: ZoneId(_), .. })));
}

fn no_events() -> EventConfig {
    EventConfig { breaker_operation: (0.0, 0.0), line_outage: (0.0, 0.0), unit_trip: (0.0, 0.0), ..EventConfig::default() }
}

#[test]
fn settings_that_make_no_sense_are_typed_errors() {
    let refused = |change: &dyn Fn(&mut SimulationConfig)| {
        let mut config = config(1, 1);
        change(&mut config);
        match Simulation::new(config, ieee14(), None).err() {
            Some(SimulationError::Setting { setting, .. }) => setting,
            other => panic!("no refusal but {other:?}"),
        }
    };
    assert_eq!(refused(&|config| config.minutes = 0), "minutes");
    assert_eq!(refused(&|config| config.period_s = 0), "period_s");
    assert_eq!(refused(&|config| config.sensors = Some(0)), "sensors");
    assert_eq!(refused(&|config| config.start_ms = Some(START_MS + 1)), "start_ms");
    assert_eq!(refused(&|config| config.channel.loss = f64::NAN), "channel.loss");
    assert_eq!(refused(&|config| config.events.unit_trip = (0.6, 0.2)), "events.unit_trip");
    assert_eq!(refused(&|config| config.currency = "dollars".to_owned()), "currency");
    let mut empty = ieee14();
    empty.network.generators.clear();
    assert_eq!(Simulation::new(config(1, 1), empty, None).err(), Some(SimulationError::NoGenerator));
}

fn data() -> PathBuf {
    #[allow(clippy::disallowed_methods)] // where the test data lies is no part of a result
    let named = std::env::var("GRIDFLOW_DATA").ok();
    named.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from)
}

/// Runs a simulation epoch by epoch and demands that every power flow had a solution and the network every dispatch.
fn solved(config: SimulationConfig, file: NetworkFile, profiles: Option<Profiles>) -> SimulationSummary {
    let steps = u64::from(config.minutes) * 60 / u64::from(config.period_s) + 1;
    let mut simulation = Simulation::new(config, file, profiles).unwrap();
    for epoch in simulation.by_ref() {
        epoch.unwrap();
    }
    assert_balance(&simulation.truth);
    assert_plausible(&simulation.truth);
    let summary = simulation.summary().clone();
    eprintln!("{summary:?}");
    assert_eq!([summary.held_loads, summary.held_state, summary.dispatches_by_merit], [0; 3], "{summary:?}");
    assert_eq!((summary.steps, summary.happenings.len()), (steps, 6));
    summary
}

#[test]
fn an_hour_of_the_118_bus_case_always_has_a_solution() {
    let path = data().join("matpower/pglib_opf_case118_ieee.m");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: {} is not there", path.display());
        return;
    };
    let summary = solved(config(1, 60), matpower::read("case118", &text).unwrap(), None);
    assert!(summary.measurements > 400_000, "{summary:?}");
}

/// Voltages and outputs are those of a grid in operation.
#[track_caller]
fn assert_plausible(truth: &Truth) {
    let (case, state) = (&truth.whole, &truth.state);
    // Voltages are held at units only, as the file says (PGLib: 1 pu everywhere): far from units a few are poor.
    let poor = state.v_pu.iter().filter(|v| !(0.9..1.1).contains(*v)).count();
    let least = state.v_pu.iter().copied().fold(f64::INFINITY, f64::min);
    eprintln!("{poor} of {} voltages are outside 0.9 to 1.1 pu, the least is {least}", state.v_pu.len());
    assert!(poor * 50 <= state.v_pu.len() && least > 0.7, "{poor} voltages are outside 0.9 to 1.1 pu, the least is {least}");
    for (unit, (p, _)) in case.generators.iter().zip(&state.generation) {
        // The slack may lift a unit a little above its greatest output.
        let greatest = (1.05 * unit.p_max * case.base_mva).max(0.0) + 1.0;
        assert!(*p <= greatest, "unit {} gives {p} MW of {greatest}", unit.id);
    }
}

fn rts() -> Option<(NetworkFile, Option<Profiles>)> {
    let path = data().join("rts-gmlc");
    if !path.join("source/gen.csv").exists() {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    }
    Some((rts_gmlc::read(&path.join("source")).unwrap(), Some(profiles::read(&path.join("timeseries")).unwrap())))
}

#[test]
fn an_hour_of_rts_gmlc_always_has_a_solution() {
    let Some((file, profiles)) = rts() else { return };
    let summary = solved(config(1, 60), file, profiles);
    assert_eq!(summary.unused_profiles, Vec::<String>::new());
    assert!(summary.measurements > 350_000, "{summary:?}");
}

#[test]
#[ignore = "slow: run in release"]
fn a_summer_day_of_rts_gmlc_always_has_a_solution() {
    let Some((file, profiles)) = rts() else { return };
    // 2020-07-06 00:00 local time.
    solved(SimulationConfig { start_ms: Some(1_594_018_800_000), ..config(2, 24 * 60) }, file, profiles);
}

#[test]
#[ignore = "slow: run in release"]
fn hours_of_many_seeds_and_seasons_have_solutions() {
    let Some((file, profiles)) = rts() else { return };
    for seed in 1..=24 {
        let start_ms = Some(1_580_281_200_000 + seed as i64 * (13 * 86_400_000 + 5 * 3_600_000));
        solved(SimulationConfig { start_ms, ..config(seed, 60) }, file.clone(), profiles.clone());
        solved(SimulationConfig { start_ms, ..config(seed, 60) }, ieee14(), None);
    }
}

#[test]
#[ignore = "slow: run in release"]
fn large_published_cases_can_be_simulated() {
    for name in ["pglib_opf_case300_ieee", "pglib_opf_case1354_pegase", "case_ACTIVSg2000", "pglib_opf_case9241_pegase"] {
        let path = data().join(format!("matpower/{name}.m"));
        let Ok(text) = std::fs::read_to_string(&path) else {
            eprintln!("skipped: {} is not there", path.display());
            return;
        };
        eprintln!("{name}");
        solved(config(1, 10), matpower::read(name, &text).unwrap(), None);
    }
}
