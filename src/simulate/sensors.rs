//! The sensor fleet: which sensors there are, in which order, how exact they are, and what each would read.
//!
//! Order: voltage at every bus; active and reactive injection at every bus; active and reactive flow at both ends of
//! every branch; active and reactive power of every load; of every unit. That is the basic fleet. Beyond it: a second set
//! of voltages and flows, then meters below the buses with load, each with its seeded share of the bus. Equipment out of
//! service in the file has none. Sigma is the accuracy times the sensor's typical size at the start, with a floor.
//! Values in billionths of MW, Mvar and kV, as rows have them.

use super::config::Accuracy;
use super::outcome::SimulationError;
use super::random::Random;
use super::state::State;
use gridflow_inputs::ids::{FeederId, SensorId, SourceId};
use gridflow_inputs::input::{Quantity, Sensor};
use gridflow_inputs::network::{EquipmentKind, Side};
use gridflow_inputs::units::MAX_MAGNITUDE;
use gridflow_numerics::case::Case;
use std::ops::Range;

/// All quantities of the fleet have billionths of the customary unit.
const PER_ONE: f64 = 1e9;
/// Typical sizes are no smaller than this, MVA: nothing is exact because it happens to be small.
const LEAST_TYPICAL: f64 = 1.0;
/// Bounds of plausibility end here, so that a value outside them still fits in a row.
const RANGE_LIMIT: i64 = MAX_MAGNITUDE / 10 * 8;
/// Who sends: the control centre's telemetry, and the meters' concentrator.
const SCADA: SourceId = SourceId(1);
const METERS: SourceId = SourceId(2);

/// What a sensor reads; indices of the whole case.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Target {
    Voltage(u32),
    Injection(u32, bool),
    /// Branch, and place in the state's four powers.
    Flow(u32, u8),
    Load(u32, bool),
    Generation(u32, bool),
    /// Bus, and share of its load.
    Meter(u32, f64),
}

/// A sensor as the simulation needs it while it runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instrument {
    pub(super) id: SensorId,
    target: Target,
    pub(super) sigma: i64,
    pub(super) range: (i64, i64),
    /// Time of its reading within the period.
    pub(super) phase_ms: i64,
}

/// All sensors, by phase.
pub(super) struct Fleet {
    instruments: Vec<Instrument>,
    /// Where the instruments of each second of the period lie.
    seconds: Vec<Range<usize>>,
}

impl Fleet {
    /// The fleet at a first state, and its rows by id, valid from `start_ms`.
    pub(super) fn new(
        case: &Case,
        loads: usize,
        state: &State,
        accuracy: &Accuracy,
        wanted: Option<usize>,
        period_ms: i64,
        random: &mut Random,
    ) -> Result<(Self, Vec<Sensor>), SimulationError> {
        let targets = targets(case, loads, state, wanted, random)?;
        let mut instruments = Vec::with_capacity(targets.len());
        let mut rows = Vec::with_capacity(targets.len());
        for (place, target) in targets.into_iter().enumerate() {
            let (instrument, row) = instrument(case, state, accuracy, period_ms, place as u32 + 1, target, random);
            instruments.push(instrument);
            rows.push(row);
        }
        instruments.sort_by_key(|instrument| (instrument.phase_ms, instrument.id));
        let boundary = |second: i64| instruments.partition_point(|instrument| instrument.phase_ms < second * 1_000);
        let seconds = (0..period_ms / 1_000).map(|second| boundary(second)..boundary(second + 1)).collect();
        Ok((Self { instruments, seconds }, rows))
    }

    /// The instruments that read within a second of the period, by time.
    pub(super) fn second(&self, second: usize) -> &[Instrument] {
        &self.instruments[self.seconds[second].clone()]
    }

    pub(super) fn len(&self) -> usize {
        self.instruments.len()
    }
}

impl Instrument {
    /// What it would read without error.
    pub(super) fn true_value(&self, case: &Case, state: &State) -> f64 {
        let pick = |(p, q): (f64, f64), reactive: bool| if reactive { q } else { p };
        let value = match self.target {
            Target::Voltage(bus) => state.v_pu[bus as usize] * case.buses[bus as usize].base_kv,
            Target::Injection(bus, reactive) => pick(state.injection[bus as usize], reactive),
            Target::Flow(branch, place) => state.flow[branch as usize][place as usize],
            Target::Load(load, reactive) => pick(state.load[load as usize], reactive),
            Target::Generation(unit, reactive) => pick(state.generation[unit as usize], reactive),
            Target::Meter(bus, share) => state.bus_load[bus as usize] * share,
        };
        value * PER_ONE
    }
}

fn targets(case: &Case, loads: usize, state: &State, wanted: Option<usize>, random: &mut Random) -> Result<Vec<Target>, SimulationError> {
    let buses = 0..case.buses.len() as u32;
    let branches = 0..case.branches.len() as u32;
    let voltages = buses.clone().map(Target::Voltage);
    let flows = branches.flat_map(|branch| (0..4).map(move |place| Target::Flow(branch, place)));
    let both = |make: fn(u32, bool) -> Target, count: u32| (0..count).flat_map(move |index| [make(index, false), make(index, true)]);
    let basic = voltages
        .clone()
        .chain(both(Target::Injection, buses.end))
        .chain(flows.clone())
        .chain(both(Target::Load, loads as u32))
        .chain(both(Target::Generation, case.generators.len() as u32));
    let Some(wanted) = wanted else { return Ok(basic.collect()) };
    let mut targets = Vec::from_iter(basic.chain(voltages).chain(flows).take(wanted));
    let meters = wanted - targets.len();
    if meters == 0 {
        return Ok(targets);
    }
    let loaded = Vec::from_iter(buses.filter(|bus| state.bus_load[*bus as usize] > 0.0));
    if loaded.is_empty() {
        return Err(SimulationError::NothingToMeter { wanted, possible: targets.len() });
    }
    for (place, &bus) in loaded.iter().enumerate() {
        let count = meters / loaded.len() + usize::from(place < meters % loaded.len());
        let sizes = Vec::from_iter((0..count).map(|_| random.between(0.5, 1.5)));
        let total: f64 = sizes.iter().sum();
        targets.extend(sizes.into_iter().map(|size| Target::Meter(bus, size / total)));
    }
    Ok(targets)
}

/// Apparent power of a pair.
fn size((p, q): (f64, f64)) -> f64 {
    (p * p + q * q).sqrt()
}

fn instrument(
    case: &Case,
    state: &State,
    accuracy: &Accuracy,
    period_ms: i64,
    id: u32,
    target: Target,
    random: &mut Random,
) -> (Instrument, Sensor) {
    let mva = case.base_mva;
    // A branch belongs to its `from` bus.
    let (quantity, element, element_id, side, bus, share, typical, rating) = match target {
        Target::Voltage(bus) => {
            let row = &case.buses[bus as usize];
            (Quantity::VoltageMagnitude, EquipmentKind::Bus, row.id.0, Side::None, bus as usize, accuracy.voltage, row.base_kv, 0.0)
        }
        Target::Injection(bus, reactive) => {
            let quantity = if reactive { Quantity::ReactiveInjection } else { Quantity::ActiveInjection };
            let bus = bus as usize;
            let typical = size(state.injection[bus]).max(LEAST_TYPICAL);
            (quantity, EquipmentKind::Bus, case.buses[bus].id.0, Side::None, bus, accuracy.injection, typical, 0.0)
        }
        Target::Flow(branch, place) => {
            let (row, flow) = (&case.branches[branch as usize], state.flow[branch as usize]);
            let quantity = if place % 2 == 1 { Quantity::ReactiveFlow } else { Quantity::ActiveFlow };
            let (side, bus) = if place < 2 { (Side::From, row.from) } else { (Side::To, row.to) };
            let rating = if row.rating.is_finite() { row.rating * mva } else { 0.0 };
            let typical = size((flow[0], flow[1])).max(0.1 * rating).max(LEAST_TYPICAL);
            (quantity, EquipmentKind::Branch, row.id.0, side, bus, accuracy.flow, typical, rating)
        }
        Target::Load(load, reactive) => {
            let quantity = if reactive { Quantity::ReactiveLoad } else { Quantity::ActiveLoad };
            let row = &case.loads[load as usize];
            let typical = size((row.p * mva, row.q * mva)).max(LEAST_TYPICAL);
            (quantity, EquipmentKind::Load, row.id.0, Side::None, row.bus, accuracy.meter, typical, 0.0)
        }
        Target::Generation(unit, reactive) => {
            let quantity = if reactive { Quantity::ReactiveGeneration } else { Quantity::ActiveGeneration };
            let row = &case.generators[unit as usize];
            let typical = size(state.generation[unit as usize]).max(0.2 * row.p_max * mva).max(LEAST_TYPICAL);
            (quantity, EquipmentKind::Generator, row.id.0, Side::None, row.bus, accuracy.meter, typical, row.p_max * mva)
        }
        Target::Meter(bus, part) => {
            let bus = bus as usize;
            // Small meters are exact in their own measure: a floor of 1 kVA.
            let typical = (part * state.bus_load[bus]).abs().max(0.001);
            (Quantity::MeteredPower, EquipmentKind::Feeder, case.buses[bus].id.0, Side::None, bus, accuracy.meter, typical, 0.0)
        }
    };
    let sigma = billionths(share * typical).max(1);
    let range = if matches!(target, Target::Voltage(_)) {
        (0, billionths(2.0 * typical))
    } else {
        // Far beyond what the grid can carry: it is the estimator that judges what is unlikely.
        let limit = billionths((10.0 * typical).max(10.0 * rating).max(20.0 * mva));
        (-limit, limit)
    };
    let meter = matches!(target, Target::Meter(..));
    let row = Sensor {
        id: SensorId(id),
        valid_from_ms: 0,
        quantity,
        element,
        element_id,
        side,
        sigma,
        range_min: range.0,
        range_max: range.1,
        feeder: FeederId(case.buses[bus].id.0),
        zone: case.buses[bus].zone,
        period_ms,
        source: if meter { METERS } else { SCADA },
    };
    let phase_ms = random.milliseconds(0, period_ms - 1);
    (Instrument { id: row.id, target, sigma, range, phase_ms }, row)
}

/// As a row has it, at most the limit of plausibility.
fn billionths(value: f64) -> i64 {
    let limit = RANGE_LIMIT as f64;
    (value * PER_ONE).round_ties_even().clamp(-limit, limit) as i64
}
