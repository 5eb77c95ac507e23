//! The embedded default: a small region on the 14-bus network the project carries, with wind, sun and a battery, and
//! with so little spare capacity that the trip of its largest unit forces load to be shed.

use std::collections::{BTreeMap, BTreeSet};

use gridflow_inputs::Epoch;
use gridflow_inputs::ids::{BusId, GeneratorId, StorageId, SwitchId};
use gridflow_inputs::input::{Generator, Storage, Switch};
use gridflow_inputs::matpower::{self, IEEE14};
use gridflow_inputs::network::{EquipmentKind, Fuel, Side, SwitchKind};
use gridflow_inputs::network_file::NetworkFile;
use gridflow_inputs::row::Real;
use gridflow_inputs::table::ParseError;
use gridflow_inputs::units::{MicroPerMwh, MilliVars, MilliWattHours, MilliWatts, PartsPerMillion};
use gridflow_operators::decision::{Output, SetpointSource, ShedReason};
use gridflow_operators::seal::Sealed;

use crate::replay::Watch;
use crate::simulate::{EventConfig, SimulationConfig};

/// Greatest outputs of the demo's thermal units, MW: in the afternoon the others could just replace the largest, at
/// dusk, with more load and no sun, they could not.
const P_MAX_MW: [f64; 5] = [120.0, 80.0, 50.0, 30.0, 22.0];
/// The demo begins in an afternoon: Wednesday, 29 January 2020, 15:00 UTC.
const START_MS: i64 = 1_580_310_000_000;

/// How the demo is simulated: a trip may leave too little capacity, so that load must be shed.
#[must_use]
pub fn simulation(minutes: u32, seed: u64) -> SimulationConfig {
    let events = EventConfig { capacity_left: 0.5, ..EventConfig::default() };
    SimulationConfig { minutes, seed, start_ms: Some(START_MS), events, ..SimulationConfig::default() }
}

fn mw(value: f64) -> MilliWatts {
    MilliWatts::from_mw(value).expect("the demo's powers are small")
}

fn variable_unit(id: u32, name: &str, bus: u32, fuel: Fuel, p_mw_max: f64) -> Generator {
    Generator {
        id: GeneratorId(id),
        valid_from_ms: 0,
        name: name.into(),
        bus: BusId(bus),
        fuel,
        p: MilliWatts(0),
        q: MilliVars(0),
        p_min: MilliWatts(0),
        p_max: mw(p_mw_max),
        q_min: MilliVars(0),
        q_max: MilliVars(0),
        v_setpoint_pu: Real::ONE,
        variable: true,
        in_service: true,
        cost_polynomial: vec![Real::ZERO],
        cost_points: Vec::new(),
        ramp_per_minute: MilliWatts(0),
        start_up_cost: Real::ZERO,
        min_up_ms: 0,
        min_down_ms: 0,
        emission_t_per_mwh: Real::ZERO,
    }
}

/// The demo's network.
///
/// # Errors
/// Never, unless the embedded file was damaged before it was compiled in.
pub fn network() -> Result<NetworkFile, ParseError> {
    let mut file = matpower::read("ieee14.m", IEEE14)?;
    file.name = "demo".into();
    let network = &mut file.network;
    for (unit, p_mw_max) in network.generators.iter_mut().zip(P_MAX_MW) {
        unit.p_max = mw(p_mw_max);
        unit.p_min = unit.p_min.min(mw(p_mw_max / 4.0));
        unit.p = unit.p.min(unit.p_max);
    }
    network.generators.push(variable_unit(6, "wind farm", 4, Fuel::Wind, 45.0));
    network.generators.push(variable_unit(7, "solar park", 9, Fuel::Solar, 30.0));
    for unit in [6, 7] {
        network.switches.push(Switch {
            id: SwitchId(100_000 + unit),
            valid_from_ms: 0,
            name: format!("breaker of unit {unit}"),
            kind: SwitchKind::Breaker,
            equipment: EquipmentKind::Generator,
            equipment_id: unit,
            side: Side::None,
            normally_closed: true,
        });
    }
    network.storages.push(Storage {
        id: StorageId(1),
        valid_from_ms: 0,
        name: "battery".into(),
        bus: BusId(5),
        capacity: MilliWattHours::from_mwh(20.0).expect("the demo's energies are small"),
        charge_max: mw(5.0),
        discharge_max: mw(5.0),
        charge_efficiency: PartsPerMillion(950_000),
        discharge_efficiency: PartsPerMillion(950_000),
        soc_min: PartsPerMillion(100_000),
        soc_max: PartsPerMillion(900_000),
        soc_start: PartsPerMillion(500_000),
        wear_cost: MicroPerMwh(500_000),
        in_service: true,
    });
    Ok(file)
}

/// A price, micro-currency per MWh, and the effect time it holds from.
pub type PriceAt = (i64, i64);

/// What a replay decided, collected for a reader.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// Estimates and how many of them found the measurements contradicting each other.
    pub estimates: (u64, u64),
    /// Forecast issues and the methods used.
    pub forecasts: (BTreeSet<Epoch>, BTreeMap<String, u64>),
    /// Plans that left, and intervals in which the last safe set points stood.
    pub plans: (BTreeSet<i64>, BTreeSet<i64>),
    /// Least and greatest price signal of each zone, micro-currency per MWh, with when.
    pub prices: BTreeMap<u32, (PriceAt, PriceAt)>,
    /// Greatest load shed at once, in milliwatts, when, and of how many loads.
    pub shed: Option<(MilliWatts, Epoch, usize, ShedReason)>,
    /// Loads that are shed now.
    shed_now: BTreeMap<u32, (MilliWatts, ShedReason)>,
    /// Numbers of refused rows and of late rows.
    pub refused: (u64, u64),
    /// Corrections that touched an estimate.
    pub audits: u64,
    /// Alarms raised.
    pub alarms: BTreeMap<String, u64>,
    /// Times the topology changed after the first epoch.
    pub switchings: BTreeSet<Epoch>,
    /// Violation rows, blocking or not.
    pub violations: u64,
    first: Option<Epoch>,
}

impl Watch for Story {
    fn fed(&mut self, epoch: Epoch) {
        self.first.get_or_insert(epoch);
    }

    fn sealed(&mut self, sealed: &Sealed) {
        let epoch = sealed.epoch;
        for (row, change) in &sealed.rows {
            if let Output::Shed(row) = row {
                if *change > 0 {
                    self.shed_now.insert(row.load.0, (row.load_p, row.reason));
                } else if self.shed_now.get(&row.load.0) == Some(&(row.load_p, row.reason)) {
                    self.shed_now.remove(&row.load.0);
                }
            }
            if *change < 0 {
                continue;
            }
            match row {
                Output::Estimate(row) => {
                    self.estimates.0 += 1;
                    self.estimates.1 += u64::from(row.threshold_ppm > 0 && row.objective_ppm > row.threshold_ppm);
                }
                Output::Forecast(row) => {
                    self.forecasts.0.insert(epoch);
                    *self.forecasts.1.entry(format!("{:?}", row.method)).or_default() += 1;
                }
                Output::Dispatch(row) => {
                    let intervals = if row.source == SetpointSource::Plan { &mut self.plans.0 } else { &mut self.plans.1 };
                    intervals.insert(row.effect_ms);
                }
                Output::Price(row) if row.scope == EquipmentKind::Zone => {
                    let price = (row.price.0, row.effect_ms);
                    let (least, greatest) = self.prices.entry(row.id).or_insert((price, price));
                    *least = (*least).min(price);
                    *greatest = (*greatest).max(price);
                }
                Output::Rejected(_) => self.refused.0 += 1,
                Output::Late(_) => self.refused.1 += 1,
                Output::EstimateAudit(_) => self.audits += 1,
                Output::Alarm(row) => *self.alarms.entry(format!("{:?}", row.kind)).or_default() += 1,
                Output::Topology(_) if self.first != Some(epoch) => {
                    self.switchings.insert(epoch);
                }
                Output::Violation(_) => self.violations += 1,
                _ => {}
            }
        }
        let total: MilliWatts = self.shed_now.values().map(|(p, _)| *p).sum();
        if total.0 > 0 && self.shed.is_none_or(|(most, ..)| total > most) {
            let reason = self.shed_now.values().next().map_or(ShedReason::Supply, |(_, reason)| *reason);
            self.shed = Some((total, epoch, self.shed_now.len(), reason));
        }
    }
}
