//! Network rows: what the grid is made of, each valid from an event time on; the newest version wins.
//!
//! Powers are fixed-point; impedances, taps and per-unit voltages are [`Real`]s on the region's base power and the
//! bus's base voltage, as network files state them. Sign: positive power flows into the bus.

use crate::ids::{BranchId, BusId, DcLineId, GeneratorId, LoadId, ShuntId, StorageId, SwitchId, ZoneId};
use crate::input::Input;
use crate::row::Real;
use crate::units::{MicroPerMwh, MicroVolts, MilliVars, MilliVoltAmperes, MilliWattHours, MilliWatts, PartsPerMillion};

crate::code! {
    /// What the network file says a bus holds fixed in a power flow.
    pub enum BusKind {
        /// Active and reactive injection.
        Load = 1,
        /// Active injection and voltage magnitude.
        Generator = 2,
        /// Voltage magnitude and angle.
        Reference = 3,
        /// Not connected.
        Isolated = 4,
    }

    /// Primary energy of a generating unit.
    pub enum Fuel {
        /// Not stated.
        Other = 0,
        /// Hard coal or lignite.
        Coal = 1,
        /// Natural gas.
        Gas = 2,
        /// Fuel oil.
        Oil = 3,
        /// Fission.
        Nuclear = 4,
        /// Water.
        Hydro = 5,
        /// Wind.
        Wind = 6,
        /// Photovoltaic or concentrating solar.
        Solar = 7,
        /// Biomass.
        Biomass = 8,
        /// No primary energy: synchronous condenser.
        None = 9,
    }

    /// Priority of a load when supply is short; a greater number is shed earlier.
    pub enum LoadClass {
        /// Hospitals, water, communications, police: shed only when nothing else suffices.
        Critical = 1,
        /// Homes.
        Residential = 2,
        /// Shops and offices.
        Commercial = 3,
        /// Industry.
        Industrial = 4,
        /// Under an interruptible contract.
        Interruptible = 5,
    }

    /// What a switch is built to do.
    pub enum SwitchKind {
        /// Breaks fault current.
        Breaker = 1,
        /// Isolates without current.
        Disconnector = 2,
        /// Breaks load current.
        LoadBreak = 3,
    }

    /// What kind of equipment an id names.
    pub enum EquipmentKind {
        /// A bus.
        Bus = 1,
        /// A branch.
        Branch = 2,
        /// A generating unit.
        Generator = 3,
        /// A load.
        Load = 4,
        /// A shunt.
        Shunt = 5,
        /// A storage unit.
        Storage = 6,
        /// A direct-current link.
        DcLine = 7,
        /// A zone as a whole.
        Zone = 8,
        /// A feeder as a whole: meters below a bus.
        Feeder = 9,
    }

    /// Which end of a branch.
    pub enum Side {
        /// Not a branch.
        None = 0,
        /// The end the file names first.
        From = 1,
        /// The other end.
        To = 2,
    }
}

crate::record! {
    /// A bus.
    pub struct Bus {
        /// Its number in the network file.
        id: BusId,
        /// Valid from this event time on, UTC milliseconds.
        valid_from_ms: i64,
        /// Its name.
        name: String,
        /// What a power flow holds fixed here.
        kind: BusKind,
        /// Its zone.
        zone: ZoneId,
        /// Base voltage, line to line.
        base_voltage: MicroVolts,
        /// Lowest permitted voltage.
        v_min_pu: Real,
        /// Highest permitted voltage.
        v_max_pu: Real,
        /// Start value of the voltage magnitude.
        v_start_pu: Real,
        /// Start value of the voltage angle.
        angle_start_rad: Real,
    }

    /// A line or the electrical side of a transformer: a pi section, tap and phase shift on the `from` side.
    pub struct Branch {
        /// Its 1-based row in the network file.
        id: BranchId,
        /// Valid from this event time on.
        valid_from_ms: i64,
        /// Its name.
        name: String,
        /// First end.
        from: BusId,
        /// Other end.
        to: BusId,
        /// Series resistance.
        r_pu: Real,
        /// Series reactance.
        x_pu: Real,
        /// Total line charging susceptance.
        b_pu: Real,
        /// Off-nominal turns ratio; 1 for a line.
        tap_ratio: Real,
        /// Phase shift; positive delays the `to` side.
        shift_rad: Real,
        /// Normal rating; 0 is unlimited.
        rating: MilliVoltAmperes,
        /// Long-term emergency rating; 0 where none is stated: then the normal one holds.
        rating_long_term: MilliVoltAmperes,
        /// Short-term emergency rating; 0 where none is stated: then the long-term one holds.
        rating_short_term: MilliVoltAmperes,
        /// Least angle difference from minus to.
        angle_min_rad: Real,
        /// Greatest angle difference from minus to.
        angle_max_rad: Real,
        /// Whether it is in service when its switches are closed.
        in_service: bool,
    }

    /// The controllable side of a transformer; its impedance is the [`Branch`] of the same id.
    pub struct Transformer {
        /// The branch it belongs to.
        branch: BranchId,
        /// Valid from this event time on.
        valid_from_ms: i64,
        /// Rated power; 0 when not stated.
        rated: MilliVoltAmperes,
        /// Least tap ratio.
        tap_min: Real,
        /// Greatest tap ratio.
        tap_max: Real,
        /// Step of the tap; 0 for a fixed ratio.
        tap_step: Real,
        /// Bus whose voltage the tap controls, if any.
        controlled_bus: Option<BusId>,
    }

    /// A switch in series with a piece of equipment: open, it takes the equipment (or that end of it) out.
    pub struct Switch {
        /// Its number.
        id: SwitchId,
        /// Valid from this event time on.
        valid_from_ms: i64,
        /// Its name.
        name: String,
        /// What it can do.
        kind: SwitchKind,
        /// Kind of the equipment it connects.
        equipment: EquipmentKind,
        /// Number of that equipment.
        equipment_id: u32,
        /// Which end, for a branch.
        side: Side,
        /// Its state until a status row says otherwise.
        normally_closed: bool,
    }

    /// A switch between two buses, which are connectivity nodes then: closed, they are one bus of the grid.
    pub struct NodeSwitch {
        /// Its number, among those of all switches.
        id: SwitchId,
        /// Valid from this event time on.
        valid_from_ms: i64,
        /// Its name.
        name: String,
        /// What it can do.
        kind: SwitchKind,
        /// First node.
        from: BusId,
        /// Other node.
        to: BusId,
        /// Its state until a status row says otherwise.
        normally_closed: bool,
    }

    /// A generating unit.
    pub struct Generator {
        /// Its 1-based row in the network file.
        id: GeneratorId,
        /// Valid from this event time on.
        valid_from_ms: i64,
        /// Its name.
        name: String,
        /// Its bus.
        bus: BusId,
        /// Primary energy.
        fuel: Fuel,
        /// Set point of active power in the file.
        p: MilliWatts,
        /// Set point of reactive power in the file.
        q: MilliVars,
        /// Least output when running.
        p_min: MilliWatts,
        /// Greatest output.
        p_max: MilliWatts,
        /// Least reactive output.
        q_min: MilliVars,
        /// Greatest reactive output.
        q_max: MilliVars,
        /// Voltage set point at its bus.
        v_setpoint_pu: Real,
        /// Whether its output is bounded by weather (wind, solar) rather than by `p_max` alone.
        variable: bool,
        /// Whether it is in service.
        in_service: bool,
        /// Cost in currency per hour as a polynomial of MW, lowest power first; empty when `cost_points` is used.
        cost_polynomial: Vec<Real>,
        /// Cost in currency per hour as points of a piecewise-linear convex curve; empty when the polynomial is used.
        cost_points: Vec<(MilliWatts, Real)>,
        /// Ramp per minute; 0 when not limited.
        ramp_per_minute: MilliWatts,
        /// Cost of a cold start, in currency.
        start_up_cost: Real,
        /// Least time running after a start, milliseconds.
        min_up_ms: i64,
        /// Least time standing after a stop, milliseconds.
        min_down_ms: i64,
        /// Emitted CO2 in tonnes per MWh.
        emission_t_per_mwh: Real,
    }

    /// A load.
    pub struct Load {
        /// Its number.
        id: LoadId,
        /// Valid from this event time on.
        valid_from_ms: i64,
        /// Its name.
        name: String,
        /// Its bus.
        bus: BusId,
        /// Nominal active power, positive.
        load_p: MilliWatts,
        /// Nominal reactive power.
        load_q: MilliVars,
        /// Priority when supply is short.
        class: LoadClass,
        /// What an interruption costs.
        interruption_cost: MicroPerMwh,
        /// Whether it is connected.
        in_service: bool,
    }

    /// A shunt: its power at a voltage of 1 per unit.
    pub struct Shunt {
        /// Its number.
        id: ShuntId,
        /// Valid from this event time on.
        valid_from_ms: i64,
        /// Its bus.
        bus: BusId,
        /// Active power drawn.
        load_p: MilliWatts,
        /// Reactive power given.
        q: MilliVars,
        /// Whether it is connected.
        in_service: bool,
    }

    /// What makes a [`Shunt`] a bank of equal sections; the shunt's powers are those of one.
    pub struct ShuntBank {
        /// The shunt.
        shunt: ShuntId,
        /// Valid from this event time on.
        valid_from_ms: i64,
        /// How many sections it has.
        sections: u16,
        /// Sections connected until a row says otherwise.
        normally_on: u16,
        /// Bus whose voltage it controls, if any.
        controlled_bus: Option<BusId>,
        /// Voltage it holds there.
        v_setpoint_pu: Real,
    }

    /// What makes a [`Generator`] a static var compensator: its reactive limits are those at a voltage of 1 per unit, and go
    /// with the square of the voltage.
    pub struct StaticVar {
        /// The generator.
        generator: GeneratorId,
        /// Valid from this event time on.
        valid_from_ms: i64,
    }

    /// A storage unit.
    pub struct Storage {
        /// Its number.
        id: StorageId,
        /// Valid from this event time on.
        valid_from_ms: i64,
        /// Its name.
        name: String,
        /// Its bus.
        bus: BusId,
        /// Energy it can hold.
        capacity: MilliWattHours,
        /// Greatest charging power, positive.
        charge_max: MilliWatts,
        /// Greatest discharging power, positive.
        discharge_max: MilliWatts,
        /// One-way efficiency of charging.
        charge_efficiency: PartsPerMillion,
        /// One-way efficiency of discharging.
        discharge_efficiency: PartsPerMillion,
        /// Least state of charge.
        soc_min: PartsPerMillion,
        /// Greatest state of charge.
        soc_max: PartsPerMillion,
        /// State of charge until telemetry says otherwise.
        soc_start: PartsPerMillion,
        /// Cost of wear per MWh discharged.
        wear_cost: MicroPerMwh,
        /// Whether it is in service.
        in_service: bool,
    }

    /// A direct-current link: power leaves at `from` and arrives, less its losses, at `to`.
    pub struct DcLine {
        /// Its number.
        id: DcLineId,
        /// Valid from this event time on.
        valid_from_ms: i64,
        /// Its name.
        name: String,
        /// Sending end.
        from: BusId,
        /// Receiving end.
        to: BusId,
        /// Scheduled power leaving `from`.
        p: MilliWatts,
        /// Least power.
        p_min: MilliWatts,
        /// Greatest power.
        p_max: MilliWatts,
        /// Loss that does not depend on power.
        loss: MilliWatts,
        /// Share of the power lost.
        loss_ratio: PartsPerMillion,
        /// Whether it is in service.
        in_service: bool,
    }
}

impl Transformer {
    /// The ratio at so many steps above the least; none beyond the greatest, or when the ratio is fixed.
    #[must_use]
    pub fn ratio(&self, step: i64) -> Option<Real> {
        let (least, greatest, width) = (self.tap_min.get(), self.tap_max.get(), self.tap_step.get());
        let ratio = least + step as f64 * width;
        // The greatest ratio is a step, whatever rounding makes of it.
        let is_step = width > 0.0 && least > 0.0 && step >= 0 && ratio <= greatest + 0.5 * width;
        Real::new(ratio).filter(|_| is_step)
    }

    /// Whether it has steps.
    #[must_use]
    pub fn is_stepped(&self) -> bool {
        self.ratio(0).is_some()
    }
}

/// The rows of a network, by kind: what importers return and what solvers are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // each field holds the records of that name
pub struct Network {
    pub buses: Vec<Bus>,
    pub branches: Vec<Branch>,
    pub transformers: Vec<Transformer>,
    pub switches: Vec<Switch>,
    pub node_switches: Vec<NodeSwitch>,
    pub generators: Vec<Generator>,
    pub static_vars: Vec<StaticVar>,
    pub loads: Vec<Load>,
    pub shunts: Vec<Shunt>,
    pub shunt_banks: Vec<ShuntBank>,
    pub storages: Vec<Storage>,
    pub dc_lines: Vec<DcLine>,
}

impl Network {
    /// Sorts the network rows out of `rows`; others are passed over.
    pub fn from_rows<'a>(rows: impl IntoIterator<Item = &'a Input>) -> Self {
        let mut network = Self::default();
        for row in rows {
            match row {
                Input::Bus(row) => network.buses.push(row.clone()),
                Input::Branch(row) => network.branches.push(row.clone()),
                Input::Transformer(row) => network.transformers.push(row.clone()),
                Input::Switch(row) => network.switches.push(row.clone()),
                Input::NodeSwitch(row) => network.node_switches.push(row.clone()),
                Input::Generator(row) => network.generators.push(row.clone()),
                Input::StaticVar(row) => network.static_vars.push(row.clone()),
                Input::Load(row) => network.loads.push(row.clone()),
                Input::Shunt(row) => network.shunts.push(row.clone()),
                Input::ShuntBank(row) => network.shunt_banks.push(row.clone()),
                Input::Storage(row) => network.storages.push(row.clone()),
                Input::DcLine(row) => network.dc_lines.push(row.clone()),
                _ => {}
            }
        }
        network
    }

    /// All rows, kind by kind.
    #[must_use]
    pub fn into_rows(self) -> Vec<Input> {
        let mut rows = Vec::new();
        rows.extend(self.buses.into_iter().map(Input::from));
        rows.extend(self.branches.into_iter().map(Input::from));
        rows.extend(self.transformers.into_iter().map(Input::from));
        rows.extend(self.switches.into_iter().map(Input::from));
        rows.extend(self.node_switches.into_iter().map(Input::from));
        rows.extend(self.generators.into_iter().map(Input::from));
        rows.extend(self.static_vars.into_iter().map(Input::from));
        rows.extend(self.loads.into_iter().map(Input::from));
        rows.extend(self.shunts.into_iter().map(Input::from));
        rows.extend(self.shunt_banks.into_iter().map(Input::from));
        rows.extend(self.storages.into_iter().map(Input::from));
        rows.extend(self.dc_lines.into_iter().map(Input::from));
        rows
    }
}
