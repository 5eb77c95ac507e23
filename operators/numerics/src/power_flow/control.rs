//! Outer loops around the power flow: reactive limits of units, taps that hold a voltage, switched shunts.
//!
//! A round solves, then lets the first kind move that has to: limits, then taps, then shunts; the next one starts from its
//! solution. A bus whose units would have to give more than they can gives what they can and holds its voltage
//! no more; it holds it again once that voltage lies beyond its set point by more than the hysteresis, and after a number of
//! such returns no more. Limits of static var compensators go with the square of the voltage: at a limit they are a shunt, and
//! rounds go on until limit and voltage agree. Taps and shunts move by whole steps, as many as the linearised power flow calls for, and rest
//! within the deadband; one that turns round too often rests where it is. Reference buses are not
//! limited: they stand for the grid beyond (their excess is a [violation](super::violations)).
//! Rules after Stott (1974) and Chang and Brandwajn (1988). Per unit.

use super::network::Cache;
use super::{Options, PowerFlow, PowerFlowError, Start, newton, solve_limited};
use crate::admittance::{End, rectangular};
use crate::case::Case;
use gridflow_inputs::network::BusKind;

/// Output beyond a limit that counts as rounding.
const ROUNDING: f64 = 1e-6;

/// Change of a limit from round to round that counts as rounding.
const DRIFT: f64 = 1e-9;

/// A transformer that holds the voltage of a bus by its tap.
#[derive(Clone, Debug, PartialEq)]
pub struct TapControl {
    /// Index of its branch.
    pub branch: usize,
    /// Index of the bus whose voltage it holds.
    pub bus: usize,
    /// Voltage to hold.
    pub target: f64,
    /// Greatest distance from the target at which it rests.
    pub deadband: f64,
    /// Change of the ratio by one step, positive.
    pub step: f64,
    /// Least ratio.
    pub min: f64,
    /// Greatest ratio.
    pub max: f64,
}

/// A bank of equal shunts that holds the voltage of its bus.
#[derive(Clone, Debug, PartialEq)]
pub struct ShuntControl {
    /// Index of its bus.
    pub bus: usize,
    /// Voltage to hold.
    pub target: f64,
    /// Greatest distance from the target at which it rests.
    pub deadband: f64,
    /// Susceptance of one section: positive for capacitors, negative for reactors.
    pub step: f64,
    /// Sections that the bank has.
    pub sections: u32,
    /// Sections that are on and part of the bus's susceptance already.
    pub on: u32,
}

/// What may move, and how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Controls {
    /// Whether units keep their reactive limits.
    pub reactive_limits: bool,
    /// Transformers.
    pub taps: Vec<TapControl>,
    /// Shunts.
    pub shunts: Vec<ShuntControl>,
    /// Distance beyond the set point at which a limited bus holds its voltage again.
    pub hysteresis: f64,
    /// Returns of a limited bus, and turns of a tap or shunt, before it rests.
    pub max_switches: u32,
    /// Solves before giving up.
    pub max_rounds: usize,
}

impl Default for Controls {
    fn default() -> Self {
        Self { reactive_limits: false, taps: vec![], shunts: vec![], hysteresis: 1e-4, max_switches: 3, max_rounds: 60 }
    }
}

/// Which end of its range a bus or a control stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The least value.
    Min,
    /// The greatest value.
    Max,
}

/// A bus whose units stand at their reactive limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitedBus {
    /// Index of the bus.
    pub bus: usize,
    /// Which limit.
    pub bound: Bound,
    /// Whether it could hold its voltage again but has switched too often.
    pub switched_too_often: bool,
}

/// Why a control rests outside its deadband.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Within the deadband.
    Held,
    /// At an end of its range.
    Bound(Bound),
    /// It moves the voltage it is to hold by less than a millionth a step.
    WithoutEffect,
    /// It has turned round too often: the deadband is narrower than a step.
    Hunting,
}

/// Where a control ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// The ratio of a transformer, the sections on of a bank.
    pub value: f64,
    /// Whether it holds its voltage, or why not.
    pub rest: Rest,
}

/// A power flow whose outer loops have settled.
#[derive(Clone, Debug, PartialEq)]
pub struct Controlled {
    /// The solution; its iterations are those of all rounds.
    pub flow: PowerFlow,
    /// The case with taps and shunts where they ended; none when there are no controls of that kind.
    pub case: Option<Case>,
    /// Buses at a reactive limit, ascending.
    pub limited: Vec<LimitedBus>,
    /// Each tap control.
    pub taps: Vec<Position>,
    /// Each shunt control.
    pub shunts: Vec<Position>,
    /// Solves.
    pub rounds: usize,
}

/// What an outer loop remembers of one bus.
#[derive(Clone, Copy, Debug, Default)]
struct Limited {
    bound: Option<Bound>,
    returns: u32,
}

/// What an outer loop remembers of one tap or shunt.
#[derive(Clone, Copy, Debug, Default)]
struct Mover {
    direction: f64,
    turns: u32,
    rest: Option<Rest>,
}

/// Solves the power flow of a case with its controls.
///
/// # Errors
/// When a control makes no sense, a round has no power flow, or the rounds are up; see [`PowerFlowError`].
pub fn solve(case: &Case, options: &Options, controls: &Controls, cache: &mut Cache) -> Result<Controlled, PowerFlowError> {
    check(case, controls)?;
    let mut ranges = ranges(case, None);
    let any_static_var = controls.reactive_limits && case.generators.iter().any(|unit| unit.static_var);
    let mut moving = (!(controls.taps.is_empty() && controls.shunts.is_empty())).then(|| case.clone());
    let mut options = options.clone();
    let mut buses = vec![Limited::default(); case.buses.len()];
    let mut taps = vec![Mover::default(); controls.taps.len()];
    let mut shunts = vec![Mover::default(); controls.shunts.len()];
    let mut on = Vec::from_iter(controls.shunts.iter().map(|bank| bank.on));
    let mut iterations = 0;
    for round in 1..=controls.max_rounds {
        let limits = Vec::from_iter(buses.iter().enumerate().filter_map(|(bus, state)| {
            Some((
                bus,
                match state.bound? {
                    Bound::Min => ranges[bus].0,
                    Bound::Max => ranges[bus].1,
                },
            ))
        }));
        let mut flow = solve_limited(moving.as_ref().unwrap_or(case), &options, &limits, cache)?;
        iterations += flow.iterations;
        let mut moved = None;
        if any_static_var {
            let before = std::mem::replace(&mut ranges, self::ranges(case, Some(&flow.v)));
            moved = drifted(&before, &ranges, &buses);
        }
        if controls.reactive_limits && moved.is_none() {
            moved = move_limits(case, controls, &ranges, &flow, &mut buses);
        }
        if let (None, Some(case)) = (moved, &mut moving) {
            let free = Vec::from_iter(buses.iter().enumerate().map(|(bus, state)| match case.buses[bus].kind {
                BusKind::Reference => [0.0, 0.0],
                BusKind::Generator if state.bound.is_none() && ranges[bus].2 > 0 => [1.0, 0.0],
                _ => [1.0, 1.0],
            }));
            let mut linear = Linear { voltages: rectangular(&flow.v, &flow.va), free, cache };
            linear.prepare(case)?;
            moved = move_taps(controls, &flow, &mut linear, case, &mut taps);
            if moved.is_none() {
                moved = move_shunts(controls, &flow, &mut linear, case, &mut shunts, &mut on);
            }
        }
        let Some(bus) = moved else {
            flow.iterations = iterations;
            let limited = buses.iter().enumerate().filter_map(|(bus, state)| {
                let beyond = returns(case_set_point(case, bus), flow.v[bus], state.bound?, controls.hysteresis);
                Some(LimitedBus { bus, bound: state.bound?, switched_too_often: beyond })
            });
            let limited = limited.collect();
            let rest = |mover: &Mover| mover.rest.unwrap_or(Rest::Held);
            let tap = |(control, mover): (&TapControl, &Mover)| Position {
                value: moving.as_ref().unwrap_or(case).branches[control.branch].tap,
                rest: rest(mover),
            };
            let taps = controls.taps.iter().zip(&taps).map(tap).collect();
            let shunts = on.iter().zip(&shunts).map(|(on, mover)| Position { value: f64::from(*on), rest: rest(mover) }).collect();
            return Ok(Controlled { flow, case: moving, limited, taps, shunts, rounds: round });
        };
        if round == controls.max_rounds {
            return Err(PowerFlowError::Unsettled { rounds: round, bus: case.buses[bus].id });
        }
        options.start = Start::Given { v: flow.v, va: flow.va };
    }
    Err(PowerFlowError::Given("controls allow no round"))
}

fn check(case: &Case, controls: &Controls) -> Result<(), PowerFlowError> {
    let sound =
        |target: f64, deadband: f64, step: f64| target > 0.0 && deadband >= 0.0 && step != 0.0 && (target + deadband + step).is_finite();
    for tap in &controls.taps {
        let inside = tap.branch < case.branches.len() && tap.bus < case.buses.len();
        if !inside || !sound(tap.target, tap.deadband, tap.step) || tap.step < 0.0 {
            return Err(PowerFlowError::Given("tap control needs a branch and a bus of the case, a positive target and a positive step"));
        }
        let ratio = case.branches[tap.branch].tap;
        if !(tap.min > 0.0 && tap.min <= ratio && ratio <= tap.max) {
            return Err(PowerFlowError::Given("tap control has a range that does not hold the present ratio"));
        }
    }
    for bank in &controls.shunts {
        if bank.bus >= case.buses.len() || !sound(bank.target, bank.deadband, bank.step) || bank.on > bank.sections {
            return Err(PowerFlowError::Given(
                "shunt control needs a bus of the case, a positive target, a step and no more sections on than it has",
            ));
        }
    }
    Ok(())
}

/// Least and greatest reactive output of each bus's units together at these voltages, without any at the set points, and
/// how many there are.
fn ranges(case: &Case, v: Option<&[f64]>) -> Vec<(f64, f64, usize)> {
    let mut ranges = vec![(0.0, 0.0, 0); case.buses.len()];
    for unit in &case.generators {
        let v = v.map_or(unit.v_setpoint, |v| v[unit.bus]);
        let (least, greatest) = unit.reactive_limits(v);
        let range = &mut ranges[unit.bus];
        *range = (range.0 + least, range.1 + greatest, range.2 + 1);
    }
    ranges
}

/// A bus at a limit that is no more what was solved with.
fn drifted(before: &[(f64, f64, usize)], now: &[(f64, f64, usize)], buses: &[Limited]) -> Option<usize> {
    (0..buses.len()).rev().find(|bus| match buses[*bus].bound {
        None => false,
        Some(Bound::Min) => (before[*bus].0 - now[*bus].0).abs() > DRIFT,
        Some(Bound::Max) => (before[*bus].1 - now[*bus].1).abs() > DRIFT,
    })
}

/// The voltage that a bus's units hold: the last one's.
fn case_set_point(case: &Case, bus: usize) -> f64 {
    case.generators.iter().rev().find(|unit| unit.bus == bus).map_or(case.buses[bus].v_start, |unit| unit.v_setpoint)
}

/// Whether a bus at a limit could hold its voltage again.
fn returns(set_point: f64, v: f64, bound: Bound, hysteresis: f64) -> bool {
    match bound {
        Bound::Max => v > set_point + hysteresis,
        Bound::Min => v < set_point - hysteresis,
    }
}

/// Moves buses to their limits and back; the last that moved.
fn move_limits(case: &Case, controls: &Controls, ranges: &[(f64, f64, usize)], flow: &PowerFlow, buses: &mut [Limited]) -> Option<usize> {
    let (mut output, mut set_point) = (vec![0.0; buses.len()], vec![0.0; buses.len()]);
    for (unit, q) in case.generators.iter().zip(&flow.generator_q) {
        output[unit.bus] += q;
        set_point[unit.bus] = unit.v_setpoint;
    }
    let mut moved = None;
    for (bus, state) in buses.iter_mut().enumerate() {
        let (least, greatest, units) = ranges[bus];
        if case.buses[bus].kind != BusKind::Generator || units == 0 {
            continue;
        }
        let next = match state.bound {
            None if output[bus] > greatest + ROUNDING => Some(Bound::Max),
            None if output[bus] < least - ROUNDING => Some(Bound::Min),
            Some(bound) if state.returns < controls.max_switches && returns(set_point[bus], flow.v[bus], bound, controls.hysteresis) => {
                None
            }
            same => same,
        };
        if next != state.bound {
            state.returns += u32::from(next.is_none());
            state.bound = next;
            moved = Some(bus);
        }
    }
    moved
}

/// The power flow linearised at a solution.
struct Linear<'a> {
    voltages: Vec<(f64, f64)>,
    free: Vec<[f64; 2]>,
    cache: &'a mut Cache,
}

impl Linear<'_> {
    fn prepare(&mut self, case: &Case) -> Result<(), PowerFlowError> {
        let network = self.cache.of(case);
        let singular = |bus: usize| PowerFlowError::Singular { iterations: 0, bus: case.buses[bus].id };
        newton::linearise(network, &self.voltages, &self.free).map_err(singular)
    }

    /// Change of the voltage at `bus` when these injections (bus, active, reactive) leave the network.
    fn effect(&mut self, case: &Case, bus: usize, v: f64, leaving: &[(usize, f64, f64)]) -> f64 {
        let mut step = vec![[0.0; 2]; self.free.len()];
        for &(bus, p, q) in leaving {
            let free = self.free[bus];
            step[bus] = [step[bus][0] - p * free[0], step[bus][1] - q * free[1]];
        }
        self.cache.of(case).jacobian.solve(&mut step);
        v * step[bus][1]
    }
}

impl Mover {
    /// Whole steps towards the target, at least one outside of the deadband; notes why it rests otherwise.
    fn steps(&mut self, distance: f64, deadband: f64, effect: f64, max_turns: u32) -> f64 {
        self.rest = None;
        if distance.abs() <= deadband {
            return 0.0;
        }
        if effect.is_nan() || effect.abs() < 1e-6 {
            self.rest = Some(Rest::WithoutEffect);
            return 0.0;
        }
        let steps = (distance / effect).trunc();
        let steps = if steps == 0.0 { (distance / effect).signum() } else { steps };
        let turned = self.direction * steps < 0.0;
        if turned && self.turns == max_turns {
            self.rest = Some(Rest::Hunting);
            return 0.0;
        }
        self.turns += u32::from(turned);
        self.direction = steps.signum();
        steps
    }

    /// Keeps `value + steps · step` inside a range, by whole steps.
    fn within(&mut self, steps: f64, room_down: f64, room_up: f64) -> f64 {
        let kept = steps.clamp(-(room_down + 1e-9).floor(), (room_up + 1e-9).floor());
        if kept == 0.0 && steps != 0.0 {
            self.rest = Some(Rest::Bound(if steps > 0.0 { Bound::Max } else { Bound::Min }));
        }
        kept
    }
}

/// Moves taps; the bus of the last that moved.
fn move_taps(controls: &Controls, flow: &PowerFlow, linear: &mut Linear, case: &mut Case, movers: &mut [Mover]) -> Option<usize> {
    let mut moves = Vec::new();
    for (tap, mover) in controls.taps.iter().zip(movers) {
        let branch = &case.branches[tap.branch];
        let ends = linear.cache.of(case).ends[tap.branch];
        let leaving = by_ratio(&ends, linear.voltages[branch.from], linear.voltages[branch.to], branch.tap);
        let leaving = [(branch.from, leaving[0], leaving[1]), (branch.to, leaving[2], leaving[3])];
        let effect = tap.step * linear.effect(case, tap.bus, flow.v[tap.bus], &leaving);
        let steps = mover.steps(tap.target - flow.v[tap.bus], tap.deadband, effect, controls.max_switches);
        let steps = mover.within(steps, (branch.tap - tap.min) / tap.step, (tap.max - branch.tap) / tap.step);
        if steps != 0.0 {
            moves.push((tap.branch, steps * tap.step, tap.bus));
        }
    }
    moves.iter().for_each(|&(branch, change, _)| case.branches[branch].tap += change);
    moves.last().map(|last| last.2)
}

/// Derivatives by the ratio of what leaves a branch: p and q at the `from` side, p and q at the `to` side.
/// The own part of the `from` side goes with 1/a², what lies between the sides with 1/a.
fn by_ratio([from, to]: &[End; 2], at_from: (f64, f64), at_to: (f64, f64), ratio: f64) -> [f64; 4] {
    let square = at_from.0 * at_from.0 + at_from.1 * at_from.1;
    let (cos, sin) = (at_from.0 * at_to.0 + at_from.1 * at_to.1, at_from.1 * at_to.0 - at_from.0 * at_to.1);
    [
        -(2.0 * from.g_own * square + from.g_other * cos + from.b_other * sin) / ratio,
        -(-2.0 * from.b_own * square + from.g_other * sin - from.b_other * cos) / ratio,
        -(to.g_other * cos - to.b_other * sin) / ratio,
        -(-to.g_other * sin - to.b_other * cos) / ratio,
    ]
}

/// Moves shunts; the bus of the last that moved.
fn move_shunts(
    controls: &Controls,
    flow: &PowerFlow,
    linear: &mut Linear,
    case: &mut Case,
    movers: &mut [Mover],
    on: &mut [u32],
) -> Option<usize> {
    let mut moves = Vec::new();
    for (((bank, mover), on), index) in controls.shunts.iter().zip(movers).zip(on.iter()).zip(0..) {
        let v = flow.v[bank.bus];
        let effect = linear.effect(case, bank.bus, v, &[(bank.bus, 0.0, -bank.step * v * v)]);
        let steps = mover.steps(bank.target - v, bank.deadband, effect, controls.max_switches);
        let steps = mover.within(steps, f64::from(*on), f64::from(bank.sections - *on));
        if steps != 0.0 {
            moves.push((index, steps));
        }
    }
    for &(index, steps) in &moves {
        let bank: &ShuntControl = &controls.shunts[index];
        case.buses[bank.bus].b += steps * bank.step;
        on[index] = (f64::from(on[index]) + steps) as u32;
    }
    moves.last().map(|(index, _)| controls.shunts[*index].bus)
}
