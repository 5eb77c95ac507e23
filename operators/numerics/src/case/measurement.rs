//! The same door for readings: from a sensor's fixed-point value to per unit and radians, and results back to rows.

use super::Case;
use gridflow_inputs::ids::{BranchId, BusId, SensorId};
use gridflow_inputs::input::{Quantity, Sensor};
use gridflow_inputs::network::{EquipmentKind, Side};
use gridflow_inputs::units::{MicroAmperes, MicroRadians, MicroVolts, MilliVars, MilliWatts};

/// Smallest standard deviation a measurement may have, per unit or radians: what is stated smaller counts as this much,
/// so that one sensor said to be perfect cannot drown the others in rounding.
const SIGMA_MIN: f64 = 1e-6;

/// What a [`CaseMeasurement`] measures; indices are those of the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum MeasurementKind {
    /// Voltage magnitude of a bus.
    VoltageMagnitude(usize),
    /// Voltage angle of a bus, against the time reference that all angle measurements share.
    VoltageAngle(usize),
    /// Active power into a bus from all that is connected to it but branches and shunts.
    ActiveInjection(usize),
    /// Reactive power likewise.
    ReactiveInjection(usize),
    /// Active power leaving the `from` side of a branch.
    ActiveFlowFrom(usize),
    /// Active power leaving the `to` side of a branch.
    ActiveFlowTo(usize),
    /// Reactive power leaving the `from` side of a branch.
    ReactiveFlowFrom(usize),
    /// Reactive power leaving the `to` side of a branch.
    ReactiveFlowTo(usize),
    /// Magnitude of the current through the `from` side of a branch.
    CurrentMagnitudeFrom(usize),
    /// Magnitude of the current through the `to` side of a branch.
    CurrentMagnitudeTo(usize),
    /// Real part of the current leaving the `from` side of a branch, against the time reference of the angles.
    CurrentRealFrom(usize),
    /// Real part of the current leaving the `to` side.
    CurrentRealTo(usize),
    /// Imaginary part of the current leaving the `from` side.
    CurrentImaginaryFrom(usize),
    /// Imaginary part of the current leaving the `to` side.
    CurrentImaginaryTo(usize),
}

/// What is measured at a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtBus {
    Magnitude,
    Angle,
    Active,
    Reactive,
}

/// What is measured at a side of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtEnd {
    Active,
    Reactive,
    CurrentMagnitude,
    CurrentReal,
    CurrentImaginary,
}

/// Where something is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At a bus.
    Bus(usize, AtBus),
    /// At side 0 (`from`) or 1 (`to`) of a branch.
    End(usize, usize, AtEnd),
}

impl MeasurementKind {
    /// The bus it is at, twice, or both ends of the branch.
    ///
    /// # Panics
    /// When the place is not one of the case.
    #[must_use]
    pub fn buses(self, case: &Case) -> [usize; 2] {
        match self.place() {
            Place::Bus(bus, _) => [bus; 2],
            Place::End(branch, ..) => [case.branches[branch].from, case.branches[branch].to],
        }
    }

    /// Where it is measured, and what there.
    pub(crate) fn place(self) -> Place {
        match self {
            Self::VoltageMagnitude(bus) => Place::Bus(bus, AtBus::Magnitude),
            Self::VoltageAngle(bus) => Place::Bus(bus, AtBus::Angle),
            Self::ActiveInjection(bus) => Place::Bus(bus, AtBus::Active),
            Self::ReactiveInjection(bus) => Place::Bus(bus, AtBus::Reactive),
            Self::ActiveFlowFrom(branch) => Place::End(branch, 0, AtEnd::Active),
            Self::ActiveFlowTo(branch) => Place::End(branch, 1, AtEnd::Active),
            Self::ReactiveFlowFrom(branch) => Place::End(branch, 0, AtEnd::Reactive),
            Self::ReactiveFlowTo(branch) => Place::End(branch, 1, AtEnd::Reactive),
            Self::CurrentMagnitudeFrom(branch) => Place::End(branch, 0, AtEnd::CurrentMagnitude),
            Self::CurrentMagnitudeTo(branch) => Place::End(branch, 1, AtEnd::CurrentMagnitude),
            Self::CurrentRealFrom(branch) => Place::End(branch, 0, AtEnd::CurrentReal),
            Self::CurrentRealTo(branch) => Place::End(branch, 1, AtEnd::CurrentReal),
            Self::CurrentImaginaryFrom(branch) => Place::End(branch, 0, AtEnd::CurrentImaginary),
            Self::CurrentImaginaryTo(branch) => Place::End(branch, 1, AtEnd::CurrentImaginary),
        }
    }
}

/// A measurement as the estimator takes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CaseMeasurement {
    /// The sensor it comes from.
    pub sensor: SensorId,
    /// What is measured.
    pub kind: MeasurementKind,
    /// The value, per unit or radians.
    pub value: f64,
    /// Standard deviation of its error, positive, per unit or radians.
    pub sigma: f64,
}

impl Case {
    /// A reading of `sensor` for the estimator: `value` and `sigma` in the unit of the sensor's quantity.
    ///
    /// None when the quantity is of no bus or side of a branch (load, generation, frequency, metered power) or the element is not in
    /// the case. A `sigma` below 10⁻⁶ per unit counts as that much.
    #[must_use]
    pub fn measurement(&self, sensor: &Sensor, value: i64, sigma: i64) -> Option<CaseMeasurement> {
        use MeasurementKind as Kind;
        let bus = || match sensor.element {
            EquipmentKind::Bus => self.bus_index(BusId(sensor.element_id)),
            _ => None,
        };
        let flow = |from: fn(usize) -> Kind, to: fn(usize) -> Kind| match (sensor.element, sensor.side) {
            (EquipmentKind::Branch, Side::From) => self.branch_index(BranchId(sensor.element_id)).map(from),
            (EquipmentKind::Branch, Side::To) => self.branch_index(BranchId(sensor.element_id)).map(to),
            _ => None,
        };
        let power = MilliWatts::PER_MW * self.base_mva;
        let (kind, units_per_one) = match sensor.quantity {
            Quantity::VoltageMagnitude => bus().map(|bus| (Kind::VoltageMagnitude(bus), MicroVolts::PER_KV * self.buses[bus].base_kv))?,
            Quantity::VoltageAngle => (Kind::VoltageAngle(bus()?), MicroRadians::PER_RAD),
            Quantity::ActiveInjection => (Kind::ActiveInjection(bus()?), power),
            Quantity::ReactiveInjection => (Kind::ReactiveInjection(bus()?), power),
            Quantity::ActiveFlow => (flow(Kind::ActiveFlowFrom, Kind::ActiveFlowTo)?, power),
            Quantity::ReactiveFlow => (flow(Kind::ReactiveFlowFrom, Kind::ReactiveFlowTo)?, power),
            Quantity::CurrentMagnitude => {
                let kind = flow(Kind::CurrentMagnitudeFrom, Kind::CurrentMagnitudeTo)?;
                (kind, MicroAmperes::PER_KA * self.customary(kind))
            }
            _ => return None,
        };
        let sigma = (sigma as f64 / units_per_one).max(SIGMA_MIN);
        Some(CaseMeasurement { sensor: sensor.id, kind, value: value as f64 / units_per_one, sigma })
    }

    /// One per unit of what is measured in the customary unit: pu, degrees, MW, Mvar or kA.
    ///
    /// # Panics
    /// When the place is not one of the case.
    #[must_use]
    pub fn customary(&self, kind: MeasurementKind) -> f64 {
        match kind.place() {
            Place::Bus(_, AtBus::Magnitude) => 1.0,
            Place::Bus(_, AtBus::Angle) => 180.0 / std::f64::consts::PI,
            Place::Bus(_, AtBus::Active | AtBus::Reactive) | Place::End(_, _, AtEnd::Active | AtEnd::Reactive) => self.base_mva,
            Place::End(branch, side, _) => {
                let branch = &self.branches[branch];
                // Three-phase power over line voltage.
                self.base_mva / (3f64.sqrt() * self.buses[if side == 0 { branch.from } else { branch.to }].base_kv)
            }
        }
    }

    /// A measurement of a value in the customary unit. A `sigma` below 10⁻⁶ per unit counts as that much.
    ///
    /// # Panics
    /// When the place is not one of the case.
    #[must_use]
    pub fn customary_measurement(&self, sensor: SensorId, kind: MeasurementKind, value: f64, sigma: f64) -> CaseMeasurement {
        let one = self.customary(kind);
        CaseMeasurement { sensor, kind, value: value / one, sigma: (sigma / one).max(SIGMA_MIN) }
    }

    /// Buses to which nothing is connected but branches and shunts, ascending: they inject exactly nothing.
    #[must_use]
    pub fn zero_injections(&self) -> Vec<usize> {
        let mut busy = vec![false; self.buses.len()];
        let attached = self.generators.iter().map(|unit| unit.bus).chain(self.loads.iter().map(|load| load.bus));
        let attached = attached.chain(self.storages.iter().map(|unit| unit.bus));
        attached.chain(self.dc_lines.iter().flat_map(|line| [line.from, line.to])).for_each(|bus| busy[bus] = true);
        (0..busy.len()).filter(|bus| !busy[*bus]).collect()
    }

    /// Active power of a per-unit value; none when it is beyond what a row may hold.
    #[must_use]
    pub fn mw(&self, p: f64) -> Option<MilliWatts> {
        MilliWatts::from_mw(p * self.base_mva)
    }

    /// Reactive power of a per-unit value; none when it is beyond what a row may hold.
    #[must_use]
    pub fn mvar(&self, q: f64) -> Option<MilliVars> {
        MilliVars::from_mvar(q * self.base_mva)
    }

    /// Voltage of bus `bus` at `v` per unit; none when it is beyond what a row may hold.
    ///
    /// # Panics
    /// When `bus` is no index of the case.
    #[must_use]
    pub fn microvolts(&self, bus: usize, v: f64) -> Option<MicroVolts> {
        MicroVolts::from_kv(v * self.buses[bus].base_kv)
    }

    /// Angle in rows; none when it is beyond what a row may hold.
    #[must_use]
    pub fn microradians(&self, va: f64) -> Option<MicroRadians> {
        MicroRadians::from_rad(va)
    }
}
