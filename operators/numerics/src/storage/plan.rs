//! The optimisation behind a day plan: relaxation, branching where it cheats, and an exact schedule.
//!
//! Columns per interval: charge, discharge, state of charge at its end, slack outside the band, regulation. The cut
//! `charge / max + discharge / max ≤ 1` is the tightest convex statement of "one or the other"; a branch sets one of the
//! two to zero. Depth first, the likelier direction first, so that the search is a function of its input alone.

use super::schedule::idle_reason;
use super::{Action, Battery, DayPlan, EndRule, Options, Relaxed, ScheduleRow, StorageError};
use crate::dispatch::quadratic::{NoOptimum, Optimum, Program};

/// Powers below this share of the rating are the solver's noise.
const NOISE: f64 = 1e-6;

/// Direction that a branch allows in an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Either,
    Charge,
    Discharge,
}

/// Plans a battery against `prices` (currency per MWh) of consecutive intervals of `hours` each.
///
/// A start outside the band and an end target out of reach are relaxed at a penalty and reported, so that there is
/// always a plan. Work is limited by [`Options::node_limit`]; the gap that a limit leaves is in the plan.
///
/// # Errors
/// When a number of the battery or a price is not possible, or the solver's answer fails verification.
pub fn plan(battery: &Battery, prices: &[f64], hours: f64, options: &Options) -> Result<DayPlan, StorageError> {
    check(battery, prices, hours, options)?;
    let model = Model::new(battery, prices, hours, options);
    let search = model.search(options.node_limit.max(1))?;
    Ok(model.day_plan(&search))
}

fn check(battery: &Battery, prices: &[f64], hours: f64, options: &Options) -> Result<(), StorageError> {
    let positive = |value: f64| value.is_finite() && value > 0.0;
    let share = |value: f64| (0.0..=1.0).contains(&value);
    let possible = [
        ("capacity", positive(battery.capacity_mwh)),
        ("charging power", battery.charge_mw_max.is_finite() && battery.charge_mw_max >= 0.0),
        ("discharging power", battery.discharge_mw_max.is_finite() && battery.discharge_mw_max >= 0.0),
        ("charging efficiency", positive(battery.charge_efficiency) && battery.charge_efficiency <= 1.0),
        ("discharging efficiency", positive(battery.discharge_efficiency) && battery.discharge_efficiency <= 1.0),
        ("band of state of charge", share(battery.soc_min) && share(battery.soc_max) && battery.soc_min <= battery.soc_max),
        ("state of charge", share(battery.soc)),
        ("wear cost", battery.wear_cost_per_mwh.is_finite() && battery.wear_cost_per_mwh >= 0.0),
        ("end target", !matches!(options.end, EndRule::AtLeast(soc) if !share(soc))),
    ];
    if let Some((name, _)) = possible.iter().find(|(_, possible)| !possible) {
        return Err(StorageError::Battery(name));
    }
    if prices.is_empty() || !prices.iter().all(|price| price.is_finite()) {
        return Err(StorageError::Horizon("prices are missing or not finite"));
    }
    if !positive(hours) {
        return Err(StorageError::Horizon("an interval has no length"));
    }
    if let Some(regulation) = &options.regulation {
        let numbers = [regulation.duration_h, regulation.arbitrage_weight, regulation.regulation_weight];
        let usable = numbers.iter().all(|number| number.is_finite() && *number >= 0.0);
        if !usable || regulation.price_per_mw_hour.len() != prices.len() || !regulation.price_per_mw_hour.iter().all(|p| p.is_finite()) {
            return Err(StorageError::Horizon("regulation needs a finite price per interval, duration and weights"));
        }
    }
    Ok(())
}

/// Columns of an interval.
struct Columns {
    charge: usize,
    discharge: usize,
    soc: usize,
    below: Option<usize>,
    above: Option<usize>,
    regulation: Option<usize>,
}

struct Model<'a> {
    battery: &'a Battery,
    prices: &'a [f64],
    hours: f64,
    options: &'a Options,
    program: Program,
    columns: Vec<Columns>,
    /// End target in MWh.
    target: f64,
}

/// The best plan found.
struct Search {
    optimum: Optimum,
    nodes: usize,
    gap: f64,
}

impl<'a> Model<'a> {
    fn new(battery: &'a Battery, prices: &'a [f64], hours: f64, options: &'a Options) -> Self {
        let capacity = battery.capacity_mwh;
        let (start, low, high) = (battery.soc * capacity, battery.soc_min * capacity, battery.soc_max * capacity);
        let target = match options.end {
            EndRule::Free => 0.0,
            EndRule::AtLeastStart => start,
            EndRule::AtLeast(soc) => soc * capacity,
        };
        let regulation = options.regulation.as_ref();
        let (weight, regulation_weight) = regulation.map_or((1.0, 0.0), |r| (r.arbitrage_weight, r.regulation_weight));
        let dearest = prices.iter().fold(0.0f64, |dearest, price| dearest.max(price.abs()));
        // A missing MWh costs ten times what any trade could earn with it.
        let penalty = 10.0 * weight.max(1.0) * (dearest + battery.wear_cost_per_mwh + 1.0)
            / (battery.charge_efficiency * battery.discharge_efficiency);
        let mut program = Program::default();
        let mut columns: Vec<Columns> = Vec::new();
        for (t, price) in prices.iter().enumerate() {
            let charge = program.column(0.0, weight * price * hours, 0.0, battery.charge_mw_max);
            let discharge = program.column(0.0, weight * (battery.wear_cost_per_mwh - price) * hours, 0.0, battery.discharge_mw_max);
            let soc = program.column(0.0, 0.0, 0.0, capacity);
            let below = (start < low).then(|| program.column(0.0, penalty, 0.0, capacity));
            let above = (start > high).then(|| program.column(0.0, penalty, 0.0, capacity));
            let offer = regulation.map(|r| {
                let most = battery.discharge_mw_max.min(battery.charge_mw_max);
                program.column(0.0, -regulation_weight * r.price_per_mw_hour[t] * hours, 0.0, most)
            });
            let duration = regulation.map_or(0.0, |r| r.duration_h);
            let held = |per_mw: f64| offer.map(|offer| (offer, per_mw * duration));
            let floor = [Some((soc, 1.0)), below.map(|slack| (slack, 1.0)), held(-1.0 / battery.discharge_efficiency)];
            program.row(floor.into_iter().flatten().collect(), low, f64::INFINITY);
            let ceiling = [Some((soc, 1.0)), above.map(|slack| (slack, -1.0)), held(battery.charge_efficiency)];
            program.row(ceiling.into_iter().flatten().collect(), f64::NEG_INFINITY, high);
            if let Some(offer) = offer {
                program.row(vec![(discharge, 1.0), (offer, 1.0)], f64::NEG_INFINITY, battery.discharge_mw_max);
                program.row(vec![(charge, 1.0), (offer, 1.0)], f64::NEG_INFINITY, battery.charge_mw_max);
            }
            let mut balance =
                vec![(soc, 1.0), (charge, -battery.charge_efficiency * hours), (discharge, hours / battery.discharge_efficiency)];
            let known = columns.last().map_or(start, |last| {
                balance.push((last.soc, -1.0));
                0.0
            });
            program.row(balance, known, known);
            if battery.charge_mw_max > 0.0 && battery.discharge_mw_max > 0.0 {
                let cut = vec![(charge, 1.0 / battery.charge_mw_max), (discharge, 1.0 / battery.discharge_mw_max)];
                program.row(cut, f64::NEG_INFINITY, 1.0);
            }
            columns.push(Columns { charge, discharge, soc, below, above, regulation: offer });
        }
        if target > 0.0 {
            let missing = program.column(0.0, penalty, 0.0, capacity);
            let last = columns.last().expect("the horizon has an interval").soc;
            program.row(vec![(last, 1.0), (missing, 1.0)], target, f64::INFINITY);
        }
        Self { battery, prices, hours, options, program, columns, target }
    }

    /// The relaxation with the given directions.
    fn solve(&self, modes: &[Mode]) -> Result<Optimum, NoOptimum> {
        let mut program = self.program.clone();
        for (columns, mode) in self.columns.iter().zip(modes) {
            match mode {
                Mode::Either => {}
                Mode::Charge => program.bound(columns.discharge, 0.0, 0.0),
                Mode::Discharge => program.bound(columns.charge, 0.0, 0.0),
            }
        }
        program.solve()
    }

    /// How much an interval does both: the lesser share of its two ratings.
    fn overlap(&self, optimum: &Optimum, t: usize) -> f64 {
        let charge = optimum.x[self.columns[t].charge] / self.battery.charge_mw_max.max(f64::MIN_POSITIVE);
        let discharge = optimum.x[self.columns[t].discharge] / self.battery.discharge_mw_max.max(f64::MIN_POSITIVE);
        charge.min(discharge)
    }

    /// The direction an interval moves its state of charge in.
    fn direction(&self, optimum: &Optimum, t: usize) -> Mode {
        let stored = optimum.x[self.columns[t].charge] * self.battery.charge_efficiency;
        let taken = optimum.x[self.columns[t].discharge] / self.battery.discharge_efficiency;
        if stored >= taken { Mode::Charge } else { Mode::Discharge }
    }

    /// The interval that overlaps most, the first of equals.
    fn worst_overlap(&self, optimum: &Optimum) -> Option<usize> {
        let mut worst = (NOISE, None);
        for t in 0..self.columns.len() {
            if self.overlap(optimum, t) > worst.0 {
                worst = (self.overlap(optimum, t), Some(t));
            }
        }
        worst.1
    }

    fn search(&self, node_limit: usize) -> Result<Search, StorageError> {
        let either = vec![Mode::Either; self.columns.len()];
        let not_solved = |failure: NoOptimum| match failure {
            NoOptimum::NotSolved { status, iterations, .. } => StorageError::NotSolved { status, iterations },
            NoOptimum::Infeasible { iterations, .. } => StorageError::NotSolved { status: "no feasible plan", iterations },
        };
        let root = self.solve(&either).map_err(not_solved)?;
        let mut nodes = 1;
        let Some(first) = self.worst_overlap(&root) else {
            return Ok(Search { optimum: root, nodes, gap: 0.0 });
        };
        let mut best = None;
        // A first plan: every overlapping interval keeps the direction of its net effect, until none overlaps.
        let (mut modes, mut dive) = (either.clone(), root.clone());
        while self.worst_overlap(&dive).is_some() {
            for t in (0..modes.len()).filter(|t| self.overlap(&dive, *t) > NOISE) {
                modes[t] = self.direction(&dive, t);
            }
            dive = self.solve(&modes).map_err(not_solved)?;
            nodes += 1;
        }
        best.replace(dive);
        // Open branches with the bound of their parent; the last is taken first.
        let mut open = Vec::new();
        let branch = |open: &mut Vec<(Vec<Mode>, f64)>, modes: &[Mode], optimum: &Optimum, t: usize| {
            let likely = self.direction(optimum, t);
            let other = if likely == Mode::Charge { Mode::Discharge } else { Mode::Charge };
            for mode in [other, likely] {
                let mut child = modes.to_vec();
                child[t] = mode;
                open.push((child, optimum.objective));
            }
        };
        branch(&mut open, &either, &root, first);
        let worth = |bound: f64, best: &Optimum| bound < best.objective - 1e-7 * (1.0 + best.objective.abs());
        while let Some((modes, bound)) = open.pop() {
            let standing = best.as_ref().expect("the dive found a plan");
            if !worth(bound, standing) {
                continue;
            }
            if nodes >= node_limit {
                open.push((modes, bound));
                break;
            }
            nodes += 1;
            let optimum = match self.solve(&modes) {
                Ok(optimum) => optimum,
                Err(NoOptimum::Infeasible { .. }) => continue,
                Err(failure) => return Err(not_solved(failure)),
            };
            if worth(optimum.objective, standing) {
                match self.worst_overlap(&optimum) {
                    Some(t) => branch(&mut open, &modes, &optimum, t),
                    None => best = Some(optimum),
                }
            }
        }
        let optimum = best.expect("the dive found a plan");
        let gap = open.iter().map(|(_, bound)| optimum.objective - bound).fold(0.0, f64::max);
        Ok(Search { optimum, nodes, gap })
    }

    /// The schedule: noise cut off, energy carried forward exactly, never across the band's edge.
    fn day_plan(&self, search: &Search) -> DayPlan {
        let battery = self.battery;
        let (x, hours, capacity) = (&search.optimum.x, self.hours, battery.capacity_mwh);
        let start = battery.soc * capacity;
        let (low, high) = ((battery.soc_min * capacity).min(start), (battery.soc_max * capacity).max(start));
        let snapped = |value: f64, most: f64| match value {
            value if value <= NOISE * most => 0.0,
            value if value >= (1.0 - NOISE) * most => most,
            value => value,
        };
        let (mut soc, mut rows) = (start, Vec::with_capacity(self.prices.len()));
        let (mut revenue, mut charging_cost, mut regulation_revenue) = (0.0, 0.0, 0.0);
        let (mut charged, mut discharged) = (0.0, 0.0);
        let (mut below, mut above): (f64, f64) = (0.0, 0.0);
        for (t, columns) in self.columns.iter().enumerate() {
            let price = self.prices[t];
            let charging = self.direction(&search.optimum, t) == Mode::Charge;
            let (mut charge, mut discharge) = (0.0, 0.0);
            if charging {
                let room = (high - soc).max(0.0) / (battery.charge_efficiency * hours);
                charge = snapped(x[columns.charge], battery.charge_mw_max).min(room);
                soc = (soc + charge * hours * battery.charge_efficiency).min(high);
            } else {
                let content = (soc - low).max(0.0) * battery.discharge_efficiency / hours;
                discharge = snapped(x[columns.discharge], battery.discharge_mw_max).min(content);
                soc = (soc - discharge * hours / battery.discharge_efficiency).max(low);
            }
            let offered = columns.regulation.map_or(0.0, |offer| snapped(x[offer], battery.discharge_mw_max.min(battery.charge_mw_max)));
            let (action, power_mw) = match (charge > 0.0, discharge > 0.0) {
                (true, _) => (Action::Charge, charge),
                (_, true) => (Action::Discharge, discharge),
                _ => (Action::Idle, 0.0),
            };
            let idle = (action == Action::Idle).then(|| idle_reason(battery, self.prices, t, soc / capacity, offered));
            rows.push(ScheduleRow { interval: t, action, power_mw, soc_pct: 100.0 * soc / capacity, price, regulation_mw: offered, idle });
            revenue += price * discharge * hours;
            charging_cost += price * charge * hours;
            charged += charge * hours;
            discharged += discharge * hours;
            regulation_revenue += self.options.regulation.as_ref().map_or(0.0, |r| r.price_per_mw_hour[t] * offered * hours);
            below = below.max(if columns.below.is_some() { battery.soc_min * capacity - soc } else { 0.0 });
            above = above.max(if columns.above.is_some() { soc - battery.soc_max * capacity } else { 0.0 });
        }
        let mut relaxed = Vec::new();
        let meant = NOISE * capacity;
        if start < battery.soc_min * capacity {
            relaxed.push(Relaxed::StartBelowBand(below.max(0.0)));
        }
        if start > battery.soc_max * capacity {
            relaxed.push(Relaxed::StartAboveBand(above.max(0.0)));
        }
        if soc < self.target - meant {
            relaxed.push(Relaxed::EndTargetMissed(self.target - soc));
        }
        let wear_cost = battery.wear_cost_per_mwh * discharged;
        let count = self.prices.len() as f64;
        let mean = self.prices.iter().sum::<f64>() / count;
        let variance = self.prices.iter().map(|price| (price - mean) * (price - mean)).sum::<f64>() / count;
        let price_min = self.prices.iter().copied().fold(f64::INFINITY, f64::min);
        DayPlan {
            rows,
            revenue,
            charging_cost,
            wear_cost,
            regulation_revenue,
            profit: revenue - charging_cost - wear_cost + regulation_revenue,
            charge_mwh: charged,
            discharge_mwh: discharged,
            price_min,
            price_max: self.prices.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            price_deviation: variance.sqrt(),
            break_even: battery.break_even(price_min),
            relaxed,
            nodes: search.nodes,
            gap: search.gap,
        }
    }
}

/// Profit that the relaxation promises, overlap and all.
#[cfg(test)]
pub(super) fn relaxed_profit(battery: &Battery, prices: &[f64], hours: f64, options: &Options) -> f64 {
    let model = Model::new(battery, prices, hours, options);
    -model.solve(&vec![Mode::Either; prices.len()]).expect("the relaxation is feasible").objective
}
