//! A network on dense indices, per unit and radians: the only door between rows and numerics.
//!
//! Indices follow ids in ascending order, so that a case does not depend on the order of rows. Only what is in
//! service is in a case: [`Case::new`] leaves the rest out. Base: the region's base power and
//! each bus's base voltage. Signs: injections positive into the bus.

mod build;
mod islands;
mod measurement;
mod merge;
mod nodes;
#[cfg(test)]
mod tests;

pub use build::CaseError;
pub use islands::Island;
pub(crate) use measurement::{AtBus, AtEnd, Place};
pub use measurement::{CaseMeasurement, MeasurementKind};
pub use merge::{Joint, MergeError, MergedBus, merge};
pub use nodes::Nodes;

use gridflow_inputs::ids::{BranchId, BusId, DcLineId, GeneratorId, LoadId, StorageId, ZoneId};
use gridflow_inputs::network::{BusKind, LoadClass};

/// A bus of a [`Case`].
#[derive(Clone, Debug, PartialEq)]
pub struct CaseBus {
    /// Its id.
    pub id: BusId,
    /// Its zone.
    pub zone: ZoneId,
    /// What the file holds fixed here.
    pub kind: BusKind,
    /// Base voltage in kV.
    pub base_kv: f64,
    /// Start value of the magnitude.
    pub v_start: f64,
    /// Start value of the angle.
    pub va_start: f64,
    /// Lowest permitted magnitude.
    pub v_min: f64,
    /// Highest permitted magnitude.
    pub v_max: f64,
    /// Shunt conductance (positive draws active power).
    pub g: f64,
    /// Shunt susceptance (positive gives reactive power).
    pub b: f64,
}

/// A branch of a [`Case`]: pi section with tap and shift on the `from` side.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseBranch {
    /// Its id.
    pub id: BranchId,
    /// Index of the `from` bus.
    pub from: usize,
    /// Index of the `to` bus.
    pub to: usize,
    /// Series resistance.
    pub r: f64,
    /// Series reactance.
    pub x: f64,
    /// Total charging susceptance.
    pub b: f64,
    /// Turns ratio.
    pub tap: f64,
    /// Phase shift.
    pub shift: f64,
    /// Normal rating; infinite when unlimited.
    pub rating: f64,
    /// What it may carry for hours; the normal rating where none is stated.
    pub rating_long_term: f64,
    /// What it may carry for minutes; the long-term one where none is stated.
    pub rating_short_term: f64,
    /// Least angle difference; minus infinity when unlimited (a file's -360 degrees or less, or 0 for both).
    pub angle_min: f64,
    /// Greatest angle difference.
    pub angle_max: f64,
}

/// Cost of a unit in currency per hour, of MW.
#[derive(Clone, Debug, PartialEq)]
pub enum Cost {
    /// Coefficients, lowest power first (at most quadratic, convex).
    Polynomial([f64; 3]),
    /// Points (MW, currency per hour) of a convex piecewise-linear curve.
    Points(Vec<(f64, f64)>),
}

/// A generating unit of a [`Case`].
#[derive(Clone, Debug, PartialEq)]
pub struct CaseGenerator {
    /// Its id.
    pub id: GeneratorId,
    /// Index of its bus.
    pub bus: usize,
    /// Set point of active power.
    pub p: f64,
    /// Set point of reactive power.
    pub q: f64,
    /// Least output.
    pub p_min: f64,
    /// Greatest output.
    pub p_max: f64,
    /// Least reactive output.
    pub q_min: f64,
    /// Greatest reactive output.
    pub q_max: f64,
    /// Whether its reactive limits are those at 1 per unit and go with the square of the voltage.
    pub static_var: bool,
    /// Voltage set point.
    pub v_setpoint: f64,
    /// Whether weather bounds its output.
    pub variable: bool,
    /// Its cost.
    pub cost: Cost,
    /// Ramp per minute; infinite when unlimited.
    pub ramp_per_minute: f64,
    /// Emitted CO2 in tonnes per MWh.
    pub emission_t_per_mwh: f64,
}

impl CaseGenerator {
    /// Least and greatest reactive output at a voltage at its bus.
    #[must_use]
    pub fn reactive_limits(&self, v: f64) -> (f64, f64) {
        let share = if self.static_var { v * v } else { 1.0 };
        (share * self.q_min, share * self.q_max)
    }
}

/// A load of a [`Case`].
#[derive(Clone, Debug, PartialEq)]
pub struct CaseLoad {
    /// Its id.
    pub id: LoadId,
    /// Index of its bus.
    pub bus: usize,
    /// Active power drawn.
    pub p: f64,
    /// Reactive power drawn.
    pub q: f64,
    /// Priority when supply is short.
    pub class: LoadClass,
    /// Cost of an interruption, currency per MWh.
    pub interruption_cost_per_mwh: f64,
}

/// A storage unit of a [`Case`]; energies in per-unit hours.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseStorage {
    /// Its id.
    pub id: StorageId,
    /// Index of its bus.
    pub bus: usize,
    /// Energy it can hold.
    pub capacity: f64,
    /// Greatest charging power.
    pub charge_max: f64,
    /// Greatest discharging power.
    pub discharge_max: f64,
    /// One-way efficiency of charging, 0 to 1.
    pub charge_efficiency: f64,
    /// One-way efficiency of discharging, 0 to 1.
    pub discharge_efficiency: f64,
    /// Least state of charge, 0 to 1.
    pub soc_min: f64,
    /// Greatest state of charge, 0 to 1.
    pub soc_max: f64,
    /// Present state of charge, 0 to 1.
    pub soc: f64,
    /// Cost of wear per MWh discharged.
    pub wear_cost_per_mwh: f64,
}

/// A direct-current link of a [`Case`].
#[derive(Clone, Debug, PartialEq)]
pub struct CaseDcLine {
    /// Its id.
    pub id: DcLineId,
    /// Index of the sending bus.
    pub from: usize,
    /// Index of the receiving bus.
    pub to: usize,
    /// Scheduled power leaving the sending bus.
    pub p: f64,
    /// Least power.
    pub p_min: f64,
    /// Greatest power.
    pub p_max: f64,
    /// Loss that does not depend on power.
    pub loss: f64,
    /// Share of the power lost.
    pub loss_ratio: f64,
}

/// A network on dense indices.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Base power in MVA.
    pub base_mva: f64,
    /// Buses, by id.
    pub buses: Vec<CaseBus>,
    /// Branches in service, by id.
    pub branches: Vec<CaseBranch>,
    /// Units in service, by id.
    pub generators: Vec<CaseGenerator>,
    /// Connected loads, by id.
    pub loads: Vec<CaseLoad>,
    /// Storage units in service, by id.
    pub storages: Vec<CaseStorage>,
    /// Direct-current links in service, by id.
    pub dc_lines: Vec<CaseDcLine>,
    /// Nodes of its buses, where those are more than one.
    pub nodes: Nodes,
}

macro_rules! index_of {
    ($($(#[$doc:meta])* $name:ident, $list:ident, $id:ty;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(&self, id: $id) -> Option<usize> {
            self.$list.binary_search_by_key(&id, |row| row.id).ok()
        }
    )*};
}

impl Case {
    /// Index of a bus, or of the bus a node is part of; none when it is isolated or unknown.
    #[must_use]
    pub fn bus_index(&self, id: BusId) -> Option<usize> {
        self.buses.binary_search_by_key(&self.nodes.bus(id), |row| row.id).ok()
    }

    index_of! {
        /// Index of a branch; none when it is out of service or unknown.
        branch_index, branches, BranchId;
        /// Index of a unit; none when it is out of service or unknown.
        generator_index, generators, GeneratorId;
        /// Index of a load; none when it is not connected or unknown.
        load_index, loads, LoadId;
        /// Index of a storage unit; none when it is out of service or unknown.
        storage_index, storages, StorageId;
        /// Index of a direct-current link; none when it is out of service or unknown.
        dc_line_index, dc_lines, DcLineId;
    }

    /// Active injection of each bus as scheduled: what its units give less what its loads draw, and what direct-current links
    /// take and bring.
    #[must_use]
    pub fn scheduled_p(&self) -> Vec<f64> {
        let mut p = vec![0.0; self.buses.len()];
        self.generators.iter().for_each(|unit| p[unit.bus] += unit.p);
        self.loads.iter().for_each(|load| p[load.bus] -= load.p);
        for link in &self.dc_lines {
            p[link.from] -= link.p;
            p[link.to] += link.p - link.loss - link.loss_ratio * link.p.abs();
        }
        p
    }

    /// Reactive injection of each bus as scheduled; that of units only at load buses: others hold their magnitude.
    #[must_use]
    pub fn scheduled_q(&self) -> Vec<f64> {
        let mut q = vec![0.0; self.buses.len()];
        let at_load = |unit: &&CaseGenerator| matches!(self.buses[unit.bus].kind, BusKind::Load | BusKind::Isolated);
        self.generators.iter().filter(at_load).for_each(|unit| q[unit.bus] += unit.q);
        self.loads.iter().for_each(|load| q[load.bus] -= load.q);
        q
    }

    /// For each bus the lowest bus index of its component: buses joined by branches in service.
    #[must_use]
    pub fn components(&self) -> Vec<usize> {
        fn root(parent: &mut [usize], mut bus: usize) -> usize {
            while parent[bus] != bus {
                parent[bus] = parent[parent[bus]];
                bus = parent[bus];
            }
            bus
        }
        let mut parent = Vec::from_iter(0..self.buses.len());
        for branch in &self.branches {
            let (a, b) = (root(&mut parent, branch.from), root(&mut parent, branch.to));
            parent[a.max(b)] = a.min(b);
        }
        (0..self.buses.len()).map(|bus| root(&mut parent, bus)).collect()
    }
}
