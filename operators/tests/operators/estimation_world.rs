//! A grid with meters whose truth is a power flow, for judging the estimator in its dataflow: breakers of branches, units and
//! loads move, islands split and join, loads follow a cycle, sensors fail to report.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use gridflow_inputs::ids::{BusId, FeederId, SensorId, SourceId, SwitchId, ZoneId};
use gridflow_inputs::input::{Quality, Quantity, Sensor, Switch, SwitchStatus};
use gridflow_inputs::network::{BusKind, EquipmentKind, Network, Side, SwitchKind};
use gridflow_inputs::units::{MAX_MAGNITUDE, MicroVolts, MilliWatts};
use gridflow_inputs::{Input, matpower};
use gridflow_numerics::case::Case;
use gridflow_numerics::power_flow::{self, PowerFlow};
use gridflow_operators::telemetry::Reading;

pub(crate) const BASE_MVA: f64 = 100.0;

/// Splitmix64, and sums of twelve for a normal distribution.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| (self.bits() >> 11) as f64 / (1u64 << 53) as f64).sum::<f64>() - 6.0
    }
}

/// A published network, when the data sets are there.
#[allow(clippy::print_stdout)] // a test that checks nothing has to say so
pub(crate) fn published(name: &str) -> Option<Network> {
    #[allow(clippy::disallowed_methods)] // where test data lies is no row of a log
    let given = std::env::var("GRIDFLOW_DATA").map(PathBuf::from);
    let data = given.unwrap_or_else(|_| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")));
    let Ok(text) = std::fs::read_to_string(data.join(format!("matpower/{name}.m"))) else {
        println!("skipped: {name}.m is not in the data directory");
        return None;
    };
    Some(matpower::read(name, &text).expect("a published file can be read").network)
}

/// An island as it truly is.
struct Truth {
    case: Case,
    flow: PowerFlow,
}

/// See the module.
pub(crate) struct World {
    pub(crate) network: Network,
    pub(crate) sensors: Vec<Sensor>,
    /// Equipment whose breaker is open.
    pub(crate) open: BTreeSet<(EquipmentKind, u32)>,
    truth: Vec<Truth>,
    pub(crate) level: f64,
    pub(crate) random: Random,
    /// The newest reading of each sensor.
    pub(crate) newest: BTreeMap<SensorId, Reading>,
}

/// Number of the breaker of a piece of equipment.
fn breaker(place: (EquipmentKind, u32)) -> SwitchId {
    SwitchId((place.0 as u32) << 24 | place.1)
}

impl World {
    /// All of a network metered: voltages, injections, flows at both ends; meters at units, and at every other load.
    pub(crate) fn new(network: Network, seed: u64) -> Self {
        let mut world = Self {
            network,
            sensors: Vec::new(),
            open: BTreeSet::new(),
            truth: Vec::new(),
            level: 1.0,
            random: Random(seed),
            newest: BTreeMap::new(),
        };
        world.solve().expect("the network as published has a power flow");
        let mut places = Vec::new();
        for bus in &world.network.buses {
            for quantity in [Quantity::VoltageMagnitude, Quantity::ActiveInjection, Quantity::ReactiveInjection] {
                places.push((quantity, EquipmentKind::Bus, bus.id.0, Side::None));
            }
        }
        for branch in &world.network.branches {
            for side in [Side::From, Side::To] {
                places.extend(
                    [Quantity::ActiveFlow, Quantity::ReactiveFlow].map(|quantity| (quantity, EquipmentKind::Branch, branch.id.0, side)),
                );
            }
        }
        for unit in &world.network.generators {
            places.extend(
                [Quantity::ActiveGeneration, Quantity::ReactiveGeneration].map(|q| (q, EquipmentKind::Generator, unit.id.0, Side::None)),
            );
        }
        for load in world.network.loads.iter().step_by(2) {
            places.extend([Quantity::ActiveLoad, Quantity::ReactiveLoad].map(|q| (q, EquipmentKind::Load, load.id.0, Side::None)));
        }
        for (id, (quantity, element, element_id, side)) in (1..).zip(places) {
            let mut sensor = Sensor {
                id: SensorId(id),
                valid_from_ms: 0,
                quantity,
                element,
                element_id,
                side,
                sigma: 0,
                range_min: -MAX_MAGNITUDE,
                range_max: MAX_MAGNITUDE,
                feeder: FeederId(element_id),
                zone: ZoneId(1),
                period_ms: 5_000,
                source: SourceId(1),
            };
            let typical = world.read(&sensor).unwrap_or(0);
            sensor.sigma = if quantity == Quantity::VoltageMagnitude { typical / 250 } else { (typical.abs() / 100).max(500_000_000) };
            world.sensors.push(sensor);
        }
        world
    }

    /// Rows of the network and of a breaker for each branch, unit and load.
    pub(crate) fn rows(&self) -> Vec<Input> {
        let places = self.breakers().into_iter().map(|place| {
            Input::from(Switch {
                id: breaker(place),
                valid_from_ms: 0,
                name: String::new(),
                kind: SwitchKind::Breaker,
                equipment: place.0,
                equipment_id: place.1,
                side: Side::None,
                normally_closed: true,
            })
        });
        self.network.clone().into_rows().into_iter().chain(places).collect()
    }

    /// Everything that has a breaker.
    pub(crate) fn breakers(&self) -> Vec<(EquipmentKind, u32)> {
        let branches = self.network.branches.iter().map(|row| (EquipmentKind::Branch, row.id.0));
        let units = self.network.generators.iter().map(|row| (EquipmentKind::Generator, row.id.0));
        let loads = self.network.loads.iter().map(|row| (EquipmentKind::Load, row.id.0));
        branches.chain(units).chain(loads).collect()
    }

    /// Moves a breaker, if the grid bears it; gives its status.
    pub(crate) fn turn(&mut self, place: (EquipmentKind, u32), event_ms: i64) -> Option<Input> {
        let turned = |open: &mut BTreeSet<_>| {
            if !open.remove(&place) {
                open.insert(place);
            }
        };
        turned(&mut self.open);
        if self.solve().is_none() {
            turned(&mut self.open);
            return None;
        }
        let closed = !self.open.contains(&place);
        Some(SwitchStatus { switch: breaker(place), event_ms, closed, quality: Quality::Good }.into())
    }

    /// Works out the truth: of each island that some unit feeds. None when one has no power flow: the truth before stands.
    pub(crate) fn solve(&mut self) -> Option<()> {
        let mut network = self.network.clone();
        let open = &self.open;
        network.branches.retain(|row| !open.contains(&(EquipmentKind::Branch, row.id.0)));
        network.generators.retain(|row| !open.contains(&(EquipmentKind::Generator, row.id.0)));
        network.loads.retain(|row| !open.contains(&(EquipmentKind::Load, row.id.0)));
        let whole = Case::new(BASE_MVA, &network).expect("it is a case");
        let components = whole.components();
        let mut truth = Vec::new();
        for root in (0..components.len()).filter(|root| components[*root] == *root) {
            let here = |bus: BusId| whole.bus_index(bus).is_some_and(|bus| components[bus] == root);
            let mut island = network.clone();
            island.buses.retain(|row| here(row.id));
            island.branches.retain(|row| here(row.from));
            island.generators.retain(|row| here(row.bus));
            island.loads.retain(|row| here(row.bus));
            island.shunts.retain(|row| here(row.bus));
            let largest =
                island.generators.iter().filter(|unit| unit.p_max.0 > 0).max_by_key(|unit| (unit.p_max, std::cmp::Reverse(unit.bus)));
            let Some(reference) = largest.map(|unit| unit.bus) else { continue };
            for bus in &mut island.buses {
                let fed = island.generators.iter().any(|unit| unit.bus == bus.id);
                bus.kind = if bus.id == reference {
                    BusKind::Reference
                } else if fed {
                    BusKind::Generator
                } else {
                    BusKind::Load
                };
            }
            let mut case = Case::new(BASE_MVA, &island).expect("it is a case");
            case.loads.iter_mut().for_each(|load| (load.p, load.q) = (self.level * load.p, self.level * load.q));
            // Units of an island share what it needs.
            let (load, given): (f64, f64) = (case.loads.iter().map(|load| load.p).sum(), case.generators.iter().map(|unit| unit.p).sum());
            if given > 0.0 {
                case.generators.iter_mut().for_each(|unit| unit.p *= load / given);
            }
            let flow = power_flow::solve(&case, &power_flow::Options::default(), &mut power_flow::Cache::new()).ok()?;
            if flow.v.iter().any(|v| !(0.7..1.3).contains(v)) {
                return None;
            }
            truth.push(Truth { case, flow });
        }
        self.truth = truth;
        Some(())
    }

    /// What a sensor truly sees; none when what it is at is dead or out.
    fn read(&self, sensor: &Sensor) -> Option<i64> {
        self.truth.iter().find_map(|truth| {
            let Truth { case, flow } = truth;
            let bus = || case.bus_index(BusId(sensor.element_id)).filter(|_| sensor.element == EquipmentKind::Bus);
            let branch = || case.branch_index(gridflow_inputs::ids::BranchId(sensor.element_id));
            let unit = || case.generator_index(gridflow_inputs::ids::GeneratorId(sensor.element_id));
            let load = || case.load_index(gridflow_inputs::ids::LoadId(sensor.element_id));
            // What flows in at a unit's bus, shared among its units.
            let share = |index: usize, injected: &[f64], drawn: fn(&gridflow_numerics::case::CaseLoad) -> f64| {
                let bus = case.generators[index].bus;
                let units = case.generators.iter().filter(|unit| unit.bus == bus).count() as f64;
                let here: f64 = case.loads.iter().filter(|load| load.bus == bus).map(drawn).sum();
                (injected[bus] + here) / units
            };
            let from = sensor.side == Side::From;
            let power = MilliWatts::PER_MW * BASE_MVA;
            Some(match sensor.quantity {
                Quantity::VoltageMagnitude => {
                    let bus = bus()?;
                    (flow.v[bus] * case.buses[bus].base_kv * MicroVolts::PER_KV).round()
                }
                Quantity::ActiveInjection => (flow.p[bus()?] * power).round(),
                Quantity::ReactiveInjection => (flow.q[bus()?] * power).round(),
                Quantity::ActiveFlow => {
                    let flow = &flow.flows[branch()?];
                    (if from { flow.p_from } else { flow.p_to } * power).round()
                }
                Quantity::ReactiveFlow => {
                    let flow = &flow.flows[branch()?];
                    (if from { flow.q_from } else { flow.q_to } * power).round()
                }
                Quantity::ActiveGeneration => (share(unit()?, &flow.p, |load| load.p) * power).round(),
                Quantity::ReactiveGeneration => (share(unit()?, &flow.q, |load| load.q) * power).round(),
                Quantity::ActiveLoad => (case.loads[load()?].p * power).round(),
                Quantity::ReactiveLoad => (case.loads[load()?].q * power).round(),
                _ => return None,
            } as i64)
        })
    }

    /// A scan: all sensors but one in `lost` read, with errors of `noise` standard deviations; gives readings that begin and cease.
    pub(crate) fn scan(&mut self, event_ms: i64, noise: f64, lost: usize) -> Vec<(Reading, i64)> {
        let mut changes = Vec::new();
        for place in 0..self.sensors.len() {
            let error = noise * self.random.normal();
            if lost > 0 && self.random.below(lost) == 0 {
                continue;
            }
            let sensor = self.sensors[place].clone();
            // What is out reads nothing.
            let value = self.read(&sensor).map_or(0, |value| value + (error * sensor.sigma as f64) as i64);
            let reading = Reading { event_ms, value, sensor: sensor.into() };
            changes.push((reading.clone(), 1));
            changes.extend(self.newest.insert(reading.sensor.id, reading).map(|before| (before, -1)));
        }
        changes
    }

    /// The true magnitude of a bus, per unit.
    pub(crate) fn voltage(&self, bus: BusId) -> Option<f64> {
        self.truth.iter().find_map(|truth| Some(truth.flow.v[truth.case.bus_index(bus)?]))
    }

    /// Islands that some unit feeds.
    pub(crate) fn islands(&self) -> usize {
        self.truth.len()
    }
}
