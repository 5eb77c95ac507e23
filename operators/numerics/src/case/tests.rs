//! What becomes a case and what is refused, on a network of two connected buses and an isolated one.

use super::{Case, CaseError, Cost};
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
