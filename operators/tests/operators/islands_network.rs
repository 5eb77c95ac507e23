//! Rows of networks for judging and measuring the islands operator, and a network of any size: a lattice of lines with
//! radial feeders hanging on it, the same every time.

use gridflow_inputs::ids::{BranchId, BusId, DcLineId, GeneratorId, LoadId, ShuntId, StorageId, SwitchId, ZoneId};
use gridflow_inputs::input::{Quality, Switch, SwitchStatus};
use gridflow_inputs::network::{
    Branch, Bus, BusKind, DcLine, EquipmentKind, Fuel, Generator, Load, LoadClass, NodeSwitch, Shunt, Side, Storage, SwitchKind,
    Transformer,
};
use gridflow_inputs::row::Real;
use gridflow_inputs::units::{MicroPerMwh, MicroVolts, MilliVars, MilliVoltAmperes, MilliWattHours, MilliWatts, PartsPerMillion};
use gridflow_inputs::{Epoch, Input, Sequenced};
use gridflow_operators::islands::IslandInput;

pub(crate) fn bus(id: u32, kind: BusKind, valid_from_ms: i64) -> Input {
    let (name, one) = (String::new(), Real::ONE);
    let base_voltage = MicroVolts(110_000_000_000);
    Bus {
        id: BusId(id),
        valid_from_ms,
        name,
        kind,
        zone: ZoneId(1),
        base_voltage,
        v_min_pu: one,
        v_max_pu: one,
        v_start_pu: one,
        angle_start_rad: Real::ZERO,
    }
    .into()
}

pub(crate) fn branch(id: u32, from: u32, to: u32, in_service: bool, valid_from_ms: i64) -> Input {
    let (zero, unlimited) = (Real::ZERO, MilliVoltAmperes(0));
    Branch {
        id: BranchId(id),
        valid_from_ms,
        name: String::new(),
        from: BusId(from),
        to: BusId(to),
        r_pu: zero,
        x_pu: Real::ONE,
        b_pu: zero,
        tap_ratio: Real::ONE,
        shift_rad: zero,
        rating: unlimited,
        rating_long_term: unlimited,
        rating_short_term: unlimited,
        angle_min_rad: zero,
        angle_max_rad: zero,
        in_service,
    }
    .into()
}

pub(crate) fn node_switch(id: u32, from: u32, to: u32, normally_closed: bool, valid_from_ms: i64) -> Input {
    let (name, kind) = (String::new(), SwitchKind::Disconnector);
    NodeSwitch { id: SwitchId(id), valid_from_ms, name, kind, from: BusId(from), to: BusId(to), normally_closed }.into()
}

pub(crate) fn transformer(branch: u32, rated: i64, valid_from_ms: i64) -> Input {
    let (one, rated) = (Real::ONE, MilliVoltAmperes(rated));
    Transformer { branch: BranchId(branch), valid_from_ms, rated, tap_min: one, tap_max: one, tap_step: Real::ZERO, controlled_bus: None }
        .into()
}

pub(crate) fn unit(id: u32, bus: u32, p_max: i64, in_service: bool, valid_from_ms: i64) -> Input {
    let (p, q, zero) = (MilliWatts(0), MilliVars(0), Real::ZERO);
    Generator {
        id: GeneratorId(id),
        valid_from_ms,
        name: String::new(),
        bus: BusId(bus),
        fuel: Fuel::Other,
        p,
        q,
        p_min: p,
        p_max: MilliWatts(p_max),
        q_min: q,
        q_max: q,
        v_setpoint_pu: Real::ONE,
        variable: false,
        in_service,
        cost_polynomial: Vec::new(),
        cost_points: Vec::new(),
        ramp_per_minute: p,
        start_up_cost: zero,
        min_up_ms: 0,
        min_down_ms: 0,
        emission_t_per_mwh: zero,
    }
    .into()
}

pub(crate) fn load(id: u32, bus: u32, in_service: bool, valid_from_ms: i64) -> Input {
    let (load_p, load_q, class, interruption_cost) = (MilliWatts(1), MilliVars(0), LoadClass::Residential, MicroPerMwh(0));
    Load { id: LoadId(id), valid_from_ms, name: String::new(), bus: BusId(bus), load_p, load_q, class, interruption_cost, in_service }
        .into()
}

pub(crate) fn shunt(id: u32, bus: u32, in_service: bool, valid_from_ms: i64) -> Input {
    let (load_p, q) = (MilliWatts(0), MilliVars(0));
    Shunt { id: ShuntId(id), valid_from_ms, bus: BusId(bus), load_p, q, in_service }.into()
}

pub(crate) fn storage(id: u32, bus: u32, in_service: bool, valid_from_ms: i64) -> Input {
    let (power, parts) = (MilliWatts(0), PartsPerMillion(0));
    Storage {
        id: StorageId(id),
        valid_from_ms,
        name: String::new(),
        bus: BusId(bus),
        capacity: MilliWattHours(0),
        charge_max: power,
        discharge_max: power,
        charge_efficiency: parts,
        discharge_efficiency: parts,
        soc_min: parts,
        soc_max: parts,
        soc_start: parts,
        wear_cost: MicroPerMwh(0),
        in_service,
    }
    .into()
}

pub(crate) fn dc_line(id: u32, from: u32, to: u32, in_service: bool, valid_from_ms: i64) -> Input {
    let zero = MilliWatts(0);
    let (from, to, name, loss_ratio) = (BusId(from), BusId(to), String::new(), PartsPerMillion(0));
    let (p, p_min, p_max, loss) = (zero, zero, zero, zero);
    DcLine { id: DcLineId(id), valid_from_ms, name, from, to, p, p_min, p_max, loss, loss_ratio, in_service }.into()
}

pub(crate) fn switch(id: u32, equipment: EquipmentKind, equipment_id: u32, normally_closed: bool, valid_from_ms: i64) -> Input {
    let (name, kind, side) = (String::new(), SwitchKind::Breaker, Side::None);
    Switch { id: SwitchId(id), valid_from_ms, name, kind, equipment, equipment_id, side, normally_closed }.into()
}

pub(crate) fn status(id: u32, event_ms: i64, closed: bool) -> SwitchStatus {
    SwitchStatus { switch: SwitchId(id), event_ms, closed, quality: Quality::Good }
}

/// Rows as an epoch brings them to the operator.
pub(crate) fn at(epoch: Epoch, rows: impl IntoIterator<Item = Input>) -> Vec<IslandInput> {
    let mut inputs: Vec<IslandInput> =
        (0..).zip(rows).map(|(sequence, input)| IslandInput::Row(Sequenced { epoch, sequence, input })).collect();
    inputs.sort_unstable();
    inputs
}

/// A lattice of `side` by `side` buses, on which the other buses hang as radial feeders of ten; a load at every bus, a
/// unit at every fiftieth, and in every branch a breaker of the same number.
pub(crate) fn meshed(buses: u32, side: u32) -> Vec<Input> {
    let lattice = side * side;
    let mut ends = Vec::new();
    for bus in 1..=lattice {
        if bus % side != 0 {
            ends.push((bus, bus + 1));
        }
        if bus + side <= lattice {
            ends.push((bus, bus + side));
        }
    }
    for bus in lattice + 1..=buses {
        let (feeder, place) = ((bus - lattice - 1) / 10, (bus - lattice - 1) % 10);
        ends.push((if place == 0 { feeder * 43 % lattice + 1 } else { bus - 1 }, bus));
    }
    let mut rows: Vec<Input> = (1..=buses).map(|id| bus(id, BusKind::Load, 0)).collect();
    rows.extend((1..).zip(&ends).map(|(id, (from, to))| branch(id, *from, *to, true, 0)));
    rows.extend((1..=buses / 50).map(|id| unit(id, id * 50, i64::from(id * 7 % 50 + 1), true, 0)));
    rows.extend((1..=buses).map(|id| load(id, id, true, 0)));
    rows.extend((1..).zip(&ends).map(|(id, _)| switch(id, EquipmentKind::Branch, id, true, 0)));
    rows
}

/// Numbers that look random and are the same every time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}
