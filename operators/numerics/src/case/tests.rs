//! What becomes a case and what is refused, on a network of two connected buses and an isolated one.

use super::{Case, CaseError, Cost, MergedBus, merge};
use gridflow_inputs::ids::{BranchId, BusId, GeneratorId, LoadId, ShuntId, StorageId, ZoneId};
use gridflow_inputs::network::{Branch, Bus, BusKind, Fuel, Generator, Load, LoadClass, Network, Shunt, Storage};
use gridflow_inputs::row::Real;
use gridflow_inputs::units::{MicroPerMwh, MicroVolts, MilliVars, MilliVoltAmperes, MilliWattHours, MilliWatts, PartsPerMillion};

fn real(value: f64) -> Real {
    Real::new(value).unwrap()
}

fn bus(id: u32, kind: BusKind) -> Bus {
    Bus {
        id: BusId(id),
        valid_from_ms: 0,
        name: String::new(),
        kind,
        zone: ZoneId(1),
        base_voltage: MicroVolts(0),
        v_min_pu: real(0.9),
        v_max_pu: real(1.1),
        v_start_pu: real(0.0),
        angle_start_rad: Real::ZERO,
    }
}

fn branch(id: u32, from: u32, to: u32) -> Branch {
    Branch {
        id: BranchId(id),
        valid_from_ms: 0,
        name: String::new(),
        from: BusId(from),
        to: BusId(to),
        r_pu: real(0.01),
        x_pu: real(0.1),
        b_pu: Real::ZERO,
        tap_ratio: Real::ONE,
        shift_rad: Real::ZERO,
        rating: MilliVoltAmperes(0),
        rating_long_term: MilliVoltAmperes(0),
        rating_short_term: MilliVoltAmperes(0),
        angle_min_rad: real(-std::f64::consts::TAU),
        angle_max_rad: real(0.5),
        in_service: true,
    }
}

fn generator(id: u32, bus: u32) -> Generator {
    Generator {
        id: GeneratorId(id),
        valid_from_ms: 0,
        name: String::new(),
        bus: BusId(bus),
        fuel: Fuel::Gas,
        p: MilliWatts(50_000_000_000),
        q: MilliVars(0),
        p_min: MilliWatts(0),
        p_max: MilliWatts(200_000_000_000),
        q_min: MilliVars(-1),
        q_max: MilliVars(1),
        v_setpoint_pu: Real::ONE,
        variable: false,
        in_service: true,
        cost_polynomial: vec![real(1.0), real(20.0)],
        cost_points: vec![],
        ramp_per_minute: MilliWatts(0),
        start_up_cost: Real::ZERO,
        min_up_ms: 0,
        min_down_ms: 0,
        emission_t_per_mwh: Real::ZERO,
    }
}

fn load(id: u32, bus: u32) -> Load {
    Load {
        id: LoadId(id),
        valid_from_ms: 0,
        name: String::new(),
        bus: BusId(bus),
        load_p: MilliWatts(10_000_000_000),
        load_q: MilliVars(0),
        class: LoadClass::Critical,
        interruption_cost: MicroPerMwh(5_000_000),
        in_service: true,
    }
}

fn shunt(id: u32, bus: u32) -> Shunt {
    Shunt { id: ShuntId(id), valid_from_ms: 0, bus: BusId(bus), load_p: MilliWatts(0), q: MilliVars(5_000_000_000), in_service: true }
}

fn storage(id: u32, bus: u32) -> Storage {
    Storage {
        id: StorageId(id),
        valid_from_ms: 0,
        name: String::new(),
        bus: BusId(bus),
        capacity: MilliWattHours(40_000_000_000),
        charge_max: MilliWatts(10_000_000_000),
        discharge_max: MilliWatts(10_000_000_000),
        charge_efficiency: PartsPerMillion(950_000),
        discharge_efficiency: PartsPerMillion(950_000),
        soc_min: PartsPerMillion(100_000),
        soc_max: PartsPerMillion(900_000),
        soc_start: PartsPerMillion(500_000),
        wear_cost: MicroPerMwh(0),
        in_service: true,
    }
}

/// Buses 9, 4 (connected) and 7 (isolated), rows in no order.
fn network() -> Network {
    Network {
        buses: vec![bus(9, BusKind::Load), bus(4, BusKind::Reference), bus(7, BusKind::Isolated)],
        branches: vec![branch(2, 9, 7), branch(3, 4, 9), branch(1, 9, 4)],
        generators: vec![generator(2, 4), generator(1, 7)],
        loads: vec![load(9, 9), load(7, 7)],
        shunts: vec![shunt(2, 9), shunt(1, 9)],
        storages: vec![storage(1, 9)],
        ..Network::default()
    }
}

#[test]
fn what_is_in_service_and_connected_is_in_the_case_by_id() {
    let mut rows = network();
    rows.branches[1].in_service = false;
    let case = Case::new(100.0, &rows).unwrap();
    assert_eq!(Vec::from_iter(case.buses.iter().map(|bus| bus.id.0)), [4, 9]);
    assert_eq!(Vec::from_iter(case.branches.iter().map(|branch| (branch.id.0, branch.from, branch.to))), [(1, 1, 0)]);
    assert_eq!(Vec::from_iter(case.generators.iter().map(|unit| (unit.id.0, unit.bus))), [(2, 0)]);
    assert_eq!((case.loads.len(), case.loads[0].p, case.loads[0].interruption_cost_per_mwh), (1, 0.1, 5.0));
    assert_eq!((case.buses[1].b, case.buses[1].base_kv, case.buses[1].v_start), (0.1, 1.0, 1.0));
    assert_eq!((case.branches[0].rating, case.branches[0].angle_min, case.branches[0].angle_max), (f64::INFINITY, f64::NEG_INFINITY, 0.5));
    assert_eq!((case.generators[0].p, case.generators[0].ramp_per_minute), (0.5, f64::INFINITY));
    assert_eq!(case.generators[0].cost, Cost::Polynomial([1.0, 20.0, 0.0]));
    assert_eq!((case.storages[0].capacity, case.storages[0].soc), (0.4, 0.5));
    assert_eq!((case.bus_index(BusId(9)), case.bus_index(BusId(7)), case.bus_index(BusId(8))), (Some(1), None, None));
    assert_eq!((case.branch_index(BranchId(1)), case.branch_index(BranchId(3))), (Some(0), None));
}

#[test]
fn the_order_of_rows_makes_no_difference() {
    let case = Case::new(100.0, &network()).unwrap();
    let mut rows = network();
    rows.buses.reverse();
    rows.branches.reverse();
    rows.generators.reverse();
    rows.shunts.reverse();
    assert_eq!(Case::new(100.0, &rows).unwrap(), case);
}

#[test]
fn components_are_named_by_their_lowest_bus() {
    let mut rows = network();
    rows.buses.extend([bus(1, BusKind::Load), bus(20, BusKind::Load)]);
    rows.branches.push(branch(8, 20, 1));
    assert_eq!(Case::new(100.0, &rows).unwrap().components(), [0, 1, 1, 0]);
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let refused = |change: fn(&mut Network)| {
        let mut rows = network();
        change(&mut rows);
        Case::new(100.0, &rows).unwrap_err()
    };
    assert!(matches!(refused(|rows| rows.buses.clear()), CaseError::UnknownBus { .. } | CaseError::NoBus));
    assert_eq!(refused(|rows| rows.buses.iter_mut().for_each(|bus| bus.kind = BusKind::Isolated)), CaseError::NoBus);
    assert_eq!(refused(|rows| rows.loads[0].bus = BusId(5)).to_string(), "load 9 is connected to bus 5, which does not exist");
    assert_eq!(refused(|rows| rows.branches[1].id = BranchId(1)).to_string(), "there are two rows for branch 1");
    let zero = |rows: &mut Network| (rows.branches[2].r_pu, rows.branches[2].x_pu) = (Real::ZERO, Real::ZERO);
    assert_eq!(refused(zero), CaseError::ZeroImpedance(BranchId(1)));
    assert_eq!(refused(|rows| rows.branches[2].tap_ratio = Real::ZERO), CaseError::Tap { branch: BranchId(1), tap: 0.0 });
    assert_eq!(refused(|rows| rows.branches[2].from = BusId(4)), CaseError::Loop { branch: BranchId(1), bus: BusId(4) });
    let message = refused(|rows| rows.generators[0].p_min = MilliWatts(300_000_000_000)).to_string();
    assert_eq!(message, "generator 2 has a least output (MW) of 300 above its greatest of 200");
    assert!(matches!(refused(|rows| rows.buses[1].v_min_pu = Real::new(1.2).unwrap()), CaseError::Limits { .. }));
    assert!(matches!(refused(|rows| rows.generators[0].v_setpoint_pu = Real::ZERO), CaseError::Range { .. }));
    assert!(matches!(refused(|rows| rows.storages[0].soc_start = PartsPerMillion(1_000_001)), CaseError::Range { .. }));
    assert!(matches!(refused(|rows| rows.generators[0].cost_polynomial = vec![Real::ONE; 4]), CaseError::Cost { .. }));
    for base in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(Case::new(base, &network()), Err(CaseError::BasePower(_))));
    }
}

#[test]
fn branches_without_impedance_make_their_ends_one_bus() {
    let mut rows = network();
    rows.buses.extend([bus(12, BusKind::Load), bus(3, BusKind::Load)]);
    // 9-12 and 12-4 have none, 3-12 has; between 9 and 4 lies one that has, too.
    rows.branches.extend([branch(4, 9, 12), branch(5, 12, 4), branch(6, 3, 12)]);
    for index in [3, 4] {
        (rows.branches[index].r_pu, rows.branches[index].x_pu) = (Real::ZERO, Real::ZERO);
    }
    rows.branches[3].b_pu = real(0.02);
    rows.buses[0].v_min_pu = real(0.95);
    let (merged, buses) = merge(100.0, rows.clone()).unwrap();
    let one = |bus| MergedBus { bus: BusId(bus), into: BusId(4) };
    assert_eq!(buses, [one(9), one(12)]);
    let case = Case::new(100.0, &merged).unwrap();
    assert_eq!(Vec::from_iter(case.buses.iter().map(|bus| (bus.id.0, bus.kind))), [(3, BusKind::Load), (4, BusKind::Reference)]);
    assert_eq!(Vec::from_iter(case.branches.iter().map(|branch| (branch.id.0, branch.from, branch.to))), [(6, 0, 1)]);
    // Both shunts of bus 9 and the charging of branch 4.
    assert!((case.buses[1].b - 0.12).abs() < 1e-12 && case.buses[1].v_min == 0.95);
    assert_eq!((case.loads[0].bus, case.storages[0].bus, case.generators[0].bus), (1, 1, 1));
    rows.branches.reverse();
    rows.buses.reverse();
    assert_eq!(merge(100.0, rows.clone()).map(|(merged, _)| Case::new(100.0, &merged).unwrap()).unwrap(), case);

    let refused = |change: fn(&mut Network)| {
        let mut rows = network();
        (rows.branches[2].r_pu, rows.branches[2].x_pu) = (Real::ZERO, Real::ZERO);
        change(&mut rows);
        merge(100.0, rows).unwrap_err().to_string()
    };
    assert!(refused(|rows| rows.buses[0].base_voltage = MicroVolts(5)).contains("two base voltages"));
    assert!(refused(|rows| rows.branches[2].tap_ratio = real(0.9)).contains("branch 1 from bus 9 to bus 4 has a tap"));
    assert!(refused(|rows| rows.branches[1].tap_ratio = real(0.9)).contains("branch 3 from bus 4 to bus 9"));
    let (same, none) = merge(100.0, network()).unwrap();
    assert_eq!((same, none), (network(), vec![]));
}

#[test]
fn what_is_energised_has_a_reference_and_the_rest_is_told() {
    let mut rows = network();
    rows.buses.extend([1, 2, 3, 20].map(|id| bus(id, BusKind::Load)));
    // 1-2 with two units at 2 and a smaller one at 1; 3 alone with a unit that can give nothing; 20 alone with a load.
    rows.branches.push(branch(8, 2, 1));
    rows.generators.extend([generator(3, 1), generator(4, 2), generator(5, 2), generator(6, 3)]);
    rows.generators[2].p_max = MilliWatts(100_000_000_000);
    (rows.generators[5].p_min, rows.generators[5].p_max) = (MilliWatts(-50_000_000_000), MilliWatts(0));
    rows.loads.push(load(20, 20));
    let case = Case::new(100.0, &rows).unwrap();
    let (energised, islands) = case.energised();
    let told = Vec::from_iter(islands.iter().map(|island| (island.buses[0].0, island.buses.len(), island.reference.map(|bus| bus.0))));
    assert_eq!(told, [(1, 2, Some(2)), (3, 1, None), (4, 2, Some(4)), (20, 1, None)]);
    assert_eq!((islands[0].generation, islands[3].load), (1.5, 0.1));
    assert_eq!(Vec::from_iter(energised.buses.iter().map(|bus| bus.id.0)), [1, 2, 4, 9]);
    assert_eq!(
        Vec::from_iter(energised.generators.iter().map(|unit| (unit.id.0, energised.buses[unit.bus].id.0))),
        [(2, 4), (3, 1), (4, 2), (5, 2)]
    );
    assert_eq!((energised.buses[1].kind, energised.buses[0].kind), (BusKind::Reference, BusKind::Load));
    assert_eq!(energised.loads.len(), 1);
    assert_eq!(energised.energised().0, energised);
}
