//! State estimation: exact measurements, noisy ones, and too few.

use crate::dense::{derivatives, rank, unit};
use crate::measurements::{all_kinds, buses_of, flat, measured, readings, reference, truth};
use crate::support::{Noise, published};
use gridflow_inputs::ids::{BranchId, BusId, FeederId, SensorId, SourceId, ZoneId};
use gridflow_inputs::input::{Quantity, Sensor};
use gridflow_inputs::network::{EquipmentKind, Side};
use gridflow_numerics::admittance::branch_flows;
use gridflow_numerics::case::{Case, CaseMeasurement, MeasurementKind as Kind};
use gridflow_numerics::estimation::{Cache, Estimate, EstimationError, Options, estimate};

fn solved(case: &Case, measurements: &[CaseMeasurement], options: &Options) -> Estimate {
    estimate(case, reference(case), measurements, options, &mut Cache::new()).unwrap_or_else(|error| panic!("{error}"))
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn exact_measurements_give_back_the_power_flow() {
    for name in ["pglib_opf_case14_ieee", "pglib_opf_case118_ieee", "case1354pegase", "case_ACTIVSg2000", "case9241pegase"] {
        let Some(case) = published(name) else { return };
        let truth = truth(&case);
        let kinds = all_kinds(&case);
        let measurements = measured(&kinds, &readings(&case, &kinds, &truth.v, &truth.va), || 0.0);
        let found = solved(&case, &measurements, &flat(&case));
        assert_eq!((&found.unobservable[..], &found.held[..]), (&[][..], &[][..]), "{name}");
        assert!(distance(&found.v, &truth.v) < 1e-8 && distance(&found.va, &truth.va) < 1e-8, "{name}");
        assert!(found.objective < 1e-6 && found.used.iter().all(|used| *used), "{name}: J = {}", found.objective);
        assert_eq!(found.degrees_of_freedom, kinds.len() + 1 - 2 * case.buses.len());
    }
}

#[test]
fn injections_and_voltages_alone_determine_a_network() {
    for name in ["case1354pegase", "case9241pegase"] {
        let Some(case) = published(name) else { return };
        let truth = truth(&case);
        let n = case.buses.len();
        let kinds = Vec::from_iter(all_kinds(&case).into_iter().take(3 * n));
        let measurements = measured(&kinds, &readings(&case, &kinds, &truth.v, &truth.va), || 0.0);
        let found = solved(&case, &measurements, &Options::default());
        assert_eq!((found.unobservable.len(), found.degrees_of_freedom), (0, n + 1), "{name}");
        assert!(distance(&found.v, &truth.v) < 1e-7 && distance(&found.va, &truth.va) < 1e-6, "{name}");
    }
}

// REQ: GRID-10
#[test]
fn noise_of_one_percent_leaves_an_error_of_less_than_one_percent() {
    let Some(case) = published("pglib_opf_case118_ieee") else { return };
    let truth = truth(&case);
    let kinds = all_kinds(&case);
    let values = readings(&case, &kinds, &truth.v, &truth.va);
    for seed in 0..20 {
        let mut noise = Noise(seed);
        let measurements = measured(&kinds, &values, || noise.normal());
        let found = solved(&case, &measurements, &Options::default());
        let degrees = found.degrees_of_freedom as f64;
        let deviations = (found.objective - degrees) / (2.0 * degrees).sqrt();
        assert!(deviations.abs() < 4.0, "seed {seed}: J is {deviations} standard deviations off");
        let flows = branch_flows(&case, &found.v, &found.va);
        let loaded = case.branches.iter().zip(flows.iter().zip(&truth.flows));
        let loaded = loaded.filter(|(branch, (_, truth))| truth.p_from.abs() > 0.05 * branch.rating);
        let errors = Vec::from_iter(loaded.map(|(_, (found, truth))| ((found.p_from - truth.p_from) / truth.p_from).abs()));
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        let voltage = distance(&found.v, &truth.v);
        assert!(errors.len() > 100 && mean <= 0.01, "seed {seed}: mean error {mean} of {} flows", errors.len());
        assert!(voltage <= 0.01, "seed {seed}: a voltage is off by {voltage}");
    }
}

#[test]
fn a_gross_error_lifts_the_objective_above_its_threshold() {
    let Some(case) = published("pglib_opf_case14_ieee") else { return };
    let truth = truth(&case);
    let kinds = all_kinds(&case);
    let mut noise = Noise(7);
    let mut measurements = measured(&kinds, &readings(&case, &kinds, &truth.v, &truth.va), || noise.normal());
    let found = solved(&case, &measurements, &Options::default());
    assert!(found.objective < found.threshold.expect("redundant"), "{} {:?}", found.objective, found.threshold);
    let wrong = kinds.iter().position(|kind| *kind == Kind::ActiveFlowFrom(2)).expect("it is measured");
    measurements[wrong].value += 20.0 * measurements[wrong].sigma;
    let found = solved(&case, &measurements, &Options::default());
    assert!(found.objective > found.threshold.expect("redundant"));
}

#[test]
fn a_bus_without_measurement_is_named_and_the_rest_is_estimated() {
    let Some(case) = published("pglib_opf_case118_ieee") else { return };
    let truth = truth(&case);
    // A bus at the end of a single line.
    let ends = |bus: usize| case.branches.iter().filter(|branch| branch.from == bus || branch.to == bus).count();
    let blind = (0..case.buses.len()).find(|bus| ends(*bus) == 1).expect("a leaf");
    let line = case.branches.iter().position(|branch| branch.from == blind || branch.to == blind).expect("its line");
    let neighbour = case.branches[line].from + case.branches[line].to - blind;
    let mut kinds = all_kinds(&case);
    let balance = [Kind::ActiveInjection(neighbour), Kind::ReactiveInjection(neighbour)];
    kinds.retain(|kind| !buses_of(&case, *kind).contains(&blind) && !balance.contains(kind));
    let measurements = measured(&kinds, &readings(&case, &kinds, &truth.v, &truth.va), || 0.0);
    let found = solved(&case, &measurements, &Options::default());
    assert_eq!(found.unobservable, [blind]);
    assert_eq!(found.held, [blind]);
    assert_eq!((found.v[blind], found.va[blind]), (case.buses[blind].v_start, case.buses[blind].va_start));
    for bus in (0..case.buses.len()).filter(|bus| *bus != blind) {
        assert!((found.v[bus] - truth.v[bus]).abs() < 1e-8 && (found.va[bus] - truth.va[bus]).abs() < 1e-8);
    }
    // An injection at the neighbour alone does determine it, through the balance there.
    kinds.extend([Kind::ActiveInjection(neighbour), Kind::ReactiveInjection(neighbour)]);
    let measurements = measured(&kinds, &readings(&case, &kinds, &truth.v, &truth.va), || 0.0);
    let found = solved(&case, &measurements, &Options::default());
    assert!(found.unobservable.is_empty() && distance(&found.va, &truth.va) < 1e-8);
}

/// Buses with a state that is not in the row space of H, by dense ranks; none when these are not clear.
fn unobservable_by_rank(case: &Case, kinds: &[Kind], origin_free: bool) -> Option<Vec<usize>> {
    let n = case.buses.len();
    let rows = unit(derivatives(case, kinds, &vec![1.0; n], &vec![0.0; n], origin_free));
    let states = Vec::from_iter((0..2 * n).filter(|state| origin_free || *state != 2 * reference(case)));
    let full = rank(rows.clone())?;
    let mut buses = Vec::new();
    for (column, state) in states.iter().enumerate() {
        let mut others = rows.clone();
        others.iter_mut().for_each(|row| {
            row.remove(column);
        });
        if rank(others)? == full {
            buses.push(state / 2);
        }
    }
    buses.dedup();
    Some(buses)
}

#[test]
fn the_unobservable_buses_are_exactly_those_of_the_null_space() {
    let Some(case) = published("pglib_opf_case14_ieee") else { return };
    let truth = truth(&case);
    let (mut some, mut unclear) = (0, 0);
    for seed in 0..300 {
        let mut noise = Noise(seed);
        // Thinned everywhere, and more so around a bus that moves with the seed.
        let share = 3 + seed % 8;
        let mut kinds = all_kinds(&case);
        kinds.extend((0..case.buses.len()).map(Kind::VoltageAngle).filter(|_| seed % 3 == 0));
        let blind = (noise.bits() % 14) as usize;
        let near = |kind: &Kind| buses_of(&case, *kind).contains(&blind);
        kinds.retain(|kind| noise.bits() % if near(kind) { 48 } else { 10 } < share);
        let without_angles = Vec::from_iter(kinds.iter().copied().filter(|kind| !matches!(kind, Kind::VoltageAngle(_))));
        let by_angles = unobservable_by_rank(&case, &kinds, true);
        let by_reference = unobservable_by_rank(&case, &without_angles, false);
        let (Some(by_angles), Some(by_reference)) = (by_angles, by_reference) else {
            unclear += 1;
            continue;
        };
        let expected = if by_reference.len() < by_angles.len() { by_reference } else { by_angles };
        let measurements = measured(&kinds, &readings(&case, &kinds, &truth.v, &truth.va), || 0.0);
        let start = Some((truth.v.clone(), truth.va.clone()));
        let found = solved(&case, &measurements, &Options { start, ..Options::default() });
        assert_eq!(found.unobservable, expected, "seed {seed}");
        some += usize::from(!expected.is_empty() && expected.len() < case.buses.len());
        assert!(found.unobservable.iter().all(|bus| found.held.contains(bus)));
    }
    assert!(some > 30 && unclear < 10, "{some} cases had some but not all buses unobservable, {unclear} were unclear");
}

#[test]
fn nothing_measured_is_nothing_observed() {
    let Some(case) = published("pglib_opf_case14_ieee") else { return };
    let found = solved(&case, &[], &Options::default());
    assert_eq!(found.unobservable, Vec::from_iter(0..14));
    assert_eq!((found.objective, found.degrees_of_freedom, found.threshold, found.iterations), (0.0, 0, None, 0));
    assert_eq!(found.v, Vec::from_iter(case.buses.iter().map(|bus| bus.v_start)));
}

#[test]
fn angle_measurements_set_the_origin_and_wrap() {
    let Some(case) = published("pglib_opf_case14_ieee") else { return };
    let truth = truth(&case);
    let mut kinds = all_kinds(&case);
    kinds.extend((0..14).map(Kind::VoltageAngle));
    // The whole network turned by three radians: some angles are beyond π and are measured on the other side.
    let turned = Vec::from_iter(truth.va.iter().map(|va| va + 3.3));
    let mut values = readings(&case, &kinds, &truth.v, &turned);
    values.iter_mut().zip(&kinds).filter(|(_, kind)| matches!(kind, Kind::VoltageAngle(_))).for_each(|(value, _)| {
        if *value > std::f64::consts::PI {
            *value -= 2.0 * std::f64::consts::PI;
        }
    });
    let measurements = measured(&kinds, &values, || 0.0);
    let start = Some((vec![1.0; 14], vec![3.0; 14]));
    let found = solved(&case, &measurements, &Options { start, ..Options::default() });
    assert!(distance(&found.va, &turned) < 1e-8 && found.objective < 1e-12);
    assert_eq!(found.degrees_of_freedom, kinds.len() - 28);
}

#[test]
fn a_cache_never_changes_a_bit() {
    let Some(case) = published("pglib_opf_case118_ieee") else { return };
    let truth = truth(&case);
    let kinds = all_kinds(&case);
    let values = readings(&case, &kinds, &truth.v, &truth.va);
    let mut noise = Noise(3);
    let mut without_line = case.clone();
    without_line.branches[8].r *= 2.0;
    let mut cache = Cache::new();
    for round in 0..6 {
        let mut measurements = measured(&kinds, &values, || noise.normal());
        measurements.truncate(kinds.len() - 40 * (round % 2));
        let case = if round % 3 == 2 { &without_line } else { &case };
        let with = estimate(case, reference(case), &measurements, &Options::default(), &mut cache);
        assert_eq!(with, estimate(case, reference(case), &measurements, &Options::default(), &mut Cache::new()));
        assert!(with.is_ok());
    }
}

#[test]
fn measurements_that_cannot_be_are_refused_by_sensor() {
    let Some(case) = published("pglib_opf_case14_ieee") else { return };
    let good = CaseMeasurement { sensor: SensorId(5), kind: Kind::VoltageMagnitude(0), value: 1.0, sigma: 0.01 };
    let bad = [
        CaseMeasurement { kind: Kind::VoltageMagnitude(14), ..good },
        CaseMeasurement { kind: Kind::ReactiveFlowTo(99), ..good },
        CaseMeasurement { value: f64::NAN, ..good },
        CaseMeasurement { sigma: 0.0, ..good },
    ];
    for measurement in bad {
        let error = estimate(&case, 0, &[good, measurement], &Options::default(), &mut Cache::new()).unwrap_err();
        assert!(matches!(error, EstimationError::Measurement { sensor: SensorId(5), .. }), "{error}");
    }
    assert_eq!(estimate(&case, 14, &[good], &Options::default(), &mut Cache::new()), Err(EstimationError::Reference(14)));
    let options = Options { start: Some((vec![1.0; 3], vec![0.0; 3])), ..Options::default() };
    assert_eq!(estimate(&case, 0, &[good], &options, &mut Cache::new()), Err(EstimationError::Start));
}

#[test]
fn contradicting_measurements_end_in_an_answer_or_a_named_failure() {
    let Some(case) = published("pglib_opf_case14_ieee") else { return };
    let kinds = all_kinds(&case);
    for seed in 0..30 {
        let mut noise = Noise(seed);
        let values = Vec::from_iter(kinds.iter().map(|_| 100.0 * noise.normal()));
        let measurements = measured(&kinds, &values, || 0.0);
        match estimate(
            &case,
            0,
            &Vec::from_iter(measurements.into_iter().filter(|m| m.sigma > 0.0)),
            &Options::default(),
            &mut Cache::new(),
        ) {
            Ok(found) => assert!(found.objective > found.threshold.expect("redundant")),
            Err(error) => assert!(error.steps().is_some_and(|steps| steps <= 20), "{error}"),
        }
    }
}

#[test]
fn a_state_of_no_grid_is_told_as_such() {
    let Some(case) = published("pglib_opf_case14_ieee") else { return };
    // Phasors determine the state by themselves; no grid has twenty times its nominal voltage.
    let phasors = |bus| [Kind::VoltageMagnitude(bus), Kind::VoltageAngle(bus)];
    let kinds = Vec::from_iter((0..case.buses.len()).flat_map(phasors));
    let values = Vec::from_iter(kinds.iter().map(|kind| {
        if *kind == Kind::VoltageMagnitude(4) { 20.0 } else { f64::from(u8::from(matches!(kind, Kind::VoltageMagnitude(_)))) }
    }));
    let found = estimate(&case, reference(&case), &measured(&kinds, &values, || 0.0), &flat(&case), &mut Cache::new());
    let Err(error @ EstimationError::Implausible { iterations, bus }) = found else { panic!("{found:?}") };
    assert_eq!((error.steps(), bus), (Some(iterations), case.buses[4].id));
}

#[test]
fn sensors_convert_to_per_unit_and_back() {
    let Some(case) = published("case1354pegase") else { return };
    let sensor = |quantity, element, element_id, side| Sensor {
        id: SensorId(9),
        valid_from_ms: 0,
        quantity,
        element,
        element_id,
        side,
        sigma: 0,
        range_min: i64::MIN,
        range_max: i64::MAX,
        feeder: FeederId(0),
        zone: ZoneId(0),
        period_ms: 1000,
        source: SourceId(0),
    };
    let bus = case.bus_index(BusId(26)).expect("it exists");
    assert_eq!(case.buses[bus].base_kv, 380.0);
    let at = |sensor: &Sensor, value| case.measurement(sensor, value, 1_000_000_000).map(|m| (m.kind, m.value, m.sigma));
    let volts = sensor(Quantity::VoltageMagnitude, EquipmentKind::Bus, 26, Side::None);
    assert_eq!(at(&volts, 399_000_000_000), Some((Kind::VoltageMagnitude(bus), 1.05, 1.0 / 380.0)));
    let angle = sensor(Quantity::VoltageAngle, EquipmentKind::Bus, 26, Side::None);
    assert_eq!(at(&angle, -500_000), Some((Kind::VoltageAngle(bus), -0.5, 1000.0)));
    let flow = sensor(Quantity::ReactiveFlow, EquipmentKind::Branch, 7, Side::To);
    let branch = case.branch_index(BranchId(7)).expect("it exists");
    assert_eq!(at(&flow, -25_000_000_000), Some((Kind::ReactiveFlowTo(branch), -0.25, 0.01)));
    let injection = sensor(Quantity::ActiveInjection, EquipmentKind::Bus, 26, Side::None);
    assert_eq!(case.measurement(&injection, 0, 0).map(|m| m.sigma), Some(1e-6));
    for other in [
        sensor(Quantity::ActiveFlow, EquipmentKind::Branch, 7, Side::None),
        sensor(Quantity::ActiveFlow, EquipmentKind::Bus, 26, Side::From),
        sensor(Quantity::ActiveInjection, EquipmentKind::Bus, 27, Side::None),
        sensor(Quantity::MeteredPower, EquipmentKind::Feeder, 26, Side::None),
        sensor(Quantity::Frequency, EquipmentKind::Bus, 26, Side::None),
    ] {
        assert_eq!(case.measurement(&other, 1, 1), None);
    }
    assert_eq!(case.mw(-0.25).map(|p| p.0), Some(-25_000_000_000));
    assert_eq!(case.microvolts(bus, 1.05).map(|v| v.0), Some(399_000_000_000));
    assert_eq!(case.microradians(-0.5).map(|va| va.0), Some(-500_000));
    assert_eq!(case.mvar(f64::NAN), None);
}
