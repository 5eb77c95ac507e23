//! The program of a dispatch: its columns, its rows, and what each stands for.
//!
//! Powers in MW. A unit is its least output plus the pieces of its cost curve; every other thing is one or two columns.
//! What injects where is kept as terms (bus, column, coefficient) with the fixed injection of each bus beside them, so
//! that the balance and every branch limit are sums over the same list.

use super::cost::{cost_per_h, pieces};
use super::network::DcNetwork;
use super::penalty::{Penalties, place};
use super::quadratic::Program;
use super::{Conflict, Interval, Options, Relaxed, StorageEnd};
use crate::case::{Case, CaseGenerator};

/// A unit in an interval: its bounds in MW and the columns of its pieces.
pub(super) struct Unit {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) columns: Vec<usize>,
}

/// Columns of a storage unit in an interval.
pub(super) struct StorageColumns {
    pub(super) charge: usize,
    pub(super) discharge: usize,
    /// Content in MWh at the end of the interval.
    pub(super) content: usize,
}

/// What a row or column stands for, to name it in a proof: what its lower and its upper bound mean.
#[derive(Clone, Copy)]
pub(super) struct Meaning {
    pub(super) low: Conflict,
    pub(super) high: Conflict,
}

/// What is injected in an interval.
pub(super) struct Injection {
    pub(super) terms: Vec<(usize, usize, f64)>,
    pub(super) fixed: Vec<f64>,
}

pub(super) struct Model<'a> {
    pub(super) case: &'a Case,
    pub(super) intervals: &'a [Interval],
    pub(super) program: Program,
    pub(super) rows: Vec<Meaning>,
    pub(super) columns: Vec<Meaning>,
    pub(super) injections: Vec<Injection>,
    pub(super) units: Vec<Vec<Unit>>,
    pub(super) storages: Vec<Vec<StorageColumns>>,
    /// Forward and, where losses make a difference, backward column of each link.
    pub(super) links: Vec<Vec<(usize, Option<usize>)>>,
    pub(super) shed: Vec<Vec<Option<usize>>>,
    pub(super) surplus: Vec<Vec<Option<usize>>>,
    pub(super) end_missing: Vec<Option<usize>>,
    pub(super) relaxed: Vec<Relaxed>,
    /// Row of each interval's balance.
    pub(super) balance: Vec<usize>,
}

impl<'a> Model<'a> {
    /// The program without branch limits. With `slack` = Some(k) surplus and loads of the first k + 1 classes of the
    /// order of shedding may give way.
    pub(super) fn new(
        case: &'a Case,
        intervals: &'a [Interval],
        options: &Options,
        network: &DcNetwork,
        penalties: &Penalties,
        slack: Option<usize>,
    ) -> Self {
        let mut model = Self {
            case,
            intervals,
            program: Program::default(),
            rows: Vec::new(),
            columns: Vec::new(),
            injections: Vec::new(),
            units: Vec::new(),
            storages: Vec::new(),
            links: Vec::new(),
            shed: Vec::new(),
            surplus: Vec::new(),
            end_missing: Vec::new(),
            relaxed: Vec::new(),
            balance: Vec::new(),
        };
        for (t, interval) in intervals.iter().enumerate() {
            let mut fixed: Vec<f64> =
                case.buses.iter().zip(&network.shift_injection).map(|(bus, shift)| shift - bus.g * case.base_mva).collect();
            for (load, p) in case.loads.iter().zip(&interval.load_p) {
                fixed[load.bus] -= p * case.base_mva;
            }
            model.injections.push(Injection { terms: Vec::new(), fixed });
            model.add_units(t, options);
            model.add_storages(t, options, penalties);
            model.add_links(t);
            model.add_slack(t, penalties, slack);
            let Injection { terms, fixed } = &model.injections[t];
            let terms = terms.iter().map(|(_, column, coefficient)| (*column, *coefficient)).collect();
            let need = -fixed.iter().sum::<f64>();
            let row = model.row(Conflict::Balance { interval: t }, terms, need, need);
            model.balance.push(row);
        }
        model
    }

    fn column(&mut self, meaning: Meaning, curvature: f64, slope: f64, low: f64, high: f64) -> usize {
        self.columns.push(meaning);
        self.program.column(curvature, slope, low, high)
    }

    pub(super) fn row(&mut self, meaning: Conflict, terms: Vec<(usize, f64)>, low: f64, high: f64) -> usize {
        self.rows.push(Meaning { low: meaning, high: meaning });
        self.program.row(terms, low, high)
    }

    fn hours(&self, t: usize) -> f64 {
        self.intervals[t].hours
    }

    fn add_units(&mut self, t: usize, options: &Options) {
        let hours = self.hours(t);
        let mut units: Vec<Unit> = Vec::with_capacity(self.case.generators.len());
        for (g, generator) in self.case.generators.iter().enumerate() {
            let (mut low, mut high) = output_bounds(self.case, &self.intervals[t], g);
            let ramp = ramp_mw(self.case, generator, hours);
            if let (0, Some(initial)) = (t, &options.initial_p) {
                let before = initial[g] * self.case.base_mva;
                if before + ramp < low {
                    self.relaxed.push(Relaxed::Ramp { interval: t, generator: g });
                    high = low;
                } else if before - ramp > high {
                    self.relaxed.push(Relaxed::Ramp { interval: t, generator: g });
                    low = high;
                } else {
                    (low, high) = (low.max(before - ramp), high.min(before + ramp));
                }
            }
            self.injections[t].fixed[generator.bus] += low;
            let id = generator.id;
            let meaning = Meaning {
                low: Conflict::GeneratorMin { interval: t, generator: id },
                high: Conflict::GeneratorMax { interval: t, generator: id },
            };
            let pieces = if options.ignore_cost {
                pieces(&crate::case::Cost::Polynomial([0.0; 3]), low, high)
            } else {
                pieces(&generator.cost, low, high)
            };
            let mut columns = Vec::with_capacity(pieces.len());
            for piece in pieces {
                let column = self.column(meaning, piece.curvature * hours, piece.slope * hours, 0.0, piece.width);
                self.injections[t].terms.push((generator.bus, column, 1.0));
                columns.push(column);
            }
            let unit = Unit { low, high, columns };
            if t > 0 {
                self.add_ramp(t, g, &unit, ramp);
            }
            units.push(unit);
        }
        self.units.push(units);
    }

    /// `|p_t − p_(t−1)| ≤ ramp`, where it is not already implied by the bounds.
    fn add_ramp(&mut self, t: usize, g: usize, unit: &Unit, ramp: f64) {
        let before = &self.units[t - 1][g];
        if before.high + ramp < unit.low || before.low - ramp > unit.high {
            self.relaxed.push(Relaxed::Ramp { interval: t, generator: g });
            return;
        }
        let rises = unit.high - before.low > ramp;
        let falls = before.high - unit.low > ramp;
        if !rises && !falls {
            return;
        }
        let mut terms: Vec<(usize, f64)> = unit.columns.iter().map(|column| (*column, 1.0)).collect();
        terms.extend(before.columns.iter().map(|column| (*column, -1.0)));
        let start = unit.low - before.low;
        let low = if falls { -ramp - start } else { f64::NEG_INFINITY };
        let high = if rises { ramp - start } else { f64::INFINITY };
        self.row(Conflict::Ramp { interval: t, generator: self.case.generators[g].id }, terms, low, high);
    }

    fn add_storages(&mut self, t: usize, options: &Options, penalties: &Penalties) {
        let (hours, base, last) = (self.hours(t), self.case.base_mva, t + 1 == self.intervals.len());
        let mut columns = Vec::with_capacity(self.case.storages.len());
        for (s, storage) in self.case.storages.iter().enumerate() {
            let end = options.storage_end.get(s).copied().unwrap_or(StorageEnd::AtLeastStart);
            let capacity = storage.capacity * base;
            let start = storage.soc * capacity;
            let (low, high) = ((storage.soc_min * capacity).min(start), (storage.soc_max * capacity).max(start));
            if t == 0 && (start < storage.soc_min * capacity || start > storage.soc_max * capacity) {
                self.relaxed.push(Relaxed::StorageBand { storage: s });
            }
            let conflict = Conflict::Storage { interval: t, storage: storage.id };
            let meaning = Meaning { low: conflict, high: conflict };
            let wear = if options.ignore_cost { 0.0 } else { storage.wear_cost_per_mwh * hours };
            let worth = match end {
                StorageEnd::Value(value) if last && !options.ignore_cost => value,
                _ => 0.0,
            };
            let (charge_max, discharge_max) = (storage.charge_max * base, storage.discharge_max * base);
            let charge = self.column(meaning, 0.0, 0.0, 0.0, charge_max);
            let discharge = self.column(meaning, 0.0, wear, 0.0, discharge_max);
            let content = self.column(meaning, 0.0, -worth, low, high);
            self.injections[t].terms.extend([(storage.bus, charge, -1.0), (storage.bus, discharge, 1.0)]);
            let mut carry =
                vec![(content, 1.0), (charge, -storage.charge_efficiency * hours), (discharge, hours / storage.discharge_efficiency)];
            let known = if t == 0 {
                start
            } else {
                carry.push((self.storages[t - 1][s].content, -1.0));
                0.0
            };
            self.row(conflict, carry, known, known);
            if charge_max > 0.0 && discharge_max > 0.0 {
                // The tightest convex statement of "one or the other"; what still overlaps is fixed after a solve.
                self.row(conflict, vec![(charge, 1.0 / charge_max), (discharge, 1.0 / discharge_max)], f64::NEG_INFINITY, 1.0);
            }
            if last {
                let target = match end {
                    StorageEnd::AtLeastStart => start,
                    StorageEnd::AtLeast(soc) => soc * capacity,
                    StorageEnd::Value(_) => 0.0,
                };
                // Standing still reaches the start, so that only a higher target can be missed.
                let missing = (target > start).then(|| self.column(meaning, 0.0, penalties.storage_end, 0.0, capacity));
                if target > low {
                    let terms = [Some((content, 1.0)), missing.map(|missing| (missing, 1.0))];
                    self.row(conflict, terms.into_iter().flatten().collect(), target, f64::INFINITY);
                }
                self.end_missing.push(missing);
            }
            columns.push(StorageColumns { charge, discharge, content });
        }
        self.storages.push(columns);
    }

    fn add_links(&mut self, t: usize) {
        let base = self.case.base_mva;
        let mut links = Vec::with_capacity(self.case.dc_lines.len());
        for link in &self.case.dc_lines {
            let conflict = Conflict::DcLine { interval: t, dc_line: link.id };
            let meaning = Meaning { low: conflict, high: conflict };
            let (low, high) = (link.p_min * base, link.p_max * base);
            self.injections[t].fixed[link.to] -= link.loss * base;
            let arrives = 1.0 - link.loss_ratio;
            let two = link.loss_ratio > 0.0 && low < 0.0;
            let forward = self.column(meaning, 0.0, 0.0, if two { 0.0 } else { low }, if two { high.max(0.0) } else { high });
            self.injections[t].terms.extend([(link.from, forward, -1.0), (link.to, forward, arrives)]);
            let backward = two.then(|| {
                let column = self.column(meaning, 0.0, 0.0, (-high).max(0.0), -low);
                self.injections[t].terms.extend([(link.from, column, arrives), (link.to, column, -1.0)]);
                column
            });
            links.push((forward, backward));
        }
        self.links.push(links);
    }

    /// Columns of load not served and of generation not taken; the latter at most what the bus generates.
    fn add_slack(&mut self, t: usize, penalties: &Penalties, slack: Option<usize>) {
        let (hours, base) = (self.hours(t), self.case.base_mva);
        let mut shed = vec![None; self.case.loads.len()];
        let mut surplus = vec![None; self.case.buses.len()];
        let Some(classes) = slack else {
            self.shed.push(shed);
            self.surplus.push(surplus);
            return;
        };
        let mut injected = vec![0.0; self.case.buses.len()];
        for (index, load) in self.case.loads.iter().enumerate() {
            let demand = self.intervals[t].load_p[index] * base;
            injected[load.bus] += (-demand).max(0.0);
            if demand > 0.0 && place(load.class) <= classes {
                let conflict = Conflict::Slack { interval: t, bus: self.case.buses[load.bus].id };
                let column = self.column(Meaning { low: conflict, high: conflict }, 0.0, penalties.load[index] * hours, 0.0, demand);
                self.injections[t].terms.push((load.bus, column, 1.0));
                shed[index] = Some(column);
            }
        }
        let mut sources: Vec<Vec<usize>> = vec![Vec::new(); self.case.buses.len()];
        let mut most = injected.clone();
        for (unit, generator) in self.units[t].iter().zip(&self.case.generators) {
            injected[generator.bus] += unit.low;
            most[generator.bus] += unit.high.max(0.0);
            sources[generator.bus].extend(&unit.columns);
        }
        for (bus, sources) in sources.into_iter().enumerate() {
            if most[bus] <= 0.0 {
                continue;
            }
            let conflict = Conflict::Slack { interval: t, bus: self.case.buses[bus].id };
            let column = self.column(Meaning { low: conflict, high: conflict }, 0.0, penalties.surplus * hours, 0.0, most[bus]);
            self.injections[t].terms.push((bus, column, -1.0));
            let mut terms = vec![(column, 1.0)];
            terms.extend(sources.iter().map(|source| (*source, -1.0)));
            // Units that draw power give nothing that could be dumped.
            self.row(conflict, terms, f64::NEG_INFINITY, injected[bus].max(0.0));
            surplus[bus] = Some(column);
        }
        self.shed.push(shed);
        self.surplus.push(surplus);
    }

    /// The first interval whose demand and supply cannot meet by power alone, whatever the network.
    pub(super) fn imbalance(&self) -> Option<Conflict> {
        for t in 0..self.intervals.len() {
            let (mut least, mut most): (f64, f64) = (0.0, 0.0);
            for (_, column, coefficient) in &self.injections[t].terms {
                let (low, high) = self.program.bounds(*column);
                least += (coefficient * low).min(coefficient * high);
                most += (coefficient * low).max(coefficient * high);
            }
            let fixed: f64 = self.injections[t].fixed.iter().sum();
            let tolerance = 1e-7 * self.injections[t].fixed.iter().fold(1.0f64, |size, fixed| size.max(fixed.abs()));
            if fixed + most < -tolerance {
                return Some(Conflict::Shortage { interval: t, missing_mw: -fixed - most });
            }
            if fixed + least > tolerance {
                return Some(Conflict::Surplus { interval: t, excess_mw: fixed + least });
            }
        }
        None
    }

    /// Output of a unit in MW, within its bounds.
    pub(super) fn output(&self, t: usize, g: usize, x: &[f64]) -> f64 {
        let unit = &self.units[t][g];
        (unit.low + unit.columns.iter().map(|column| x[*column]).sum::<f64>()).clamp(unit.low, unit.high)
    }

    /// Cost of generation and wear in an interval, currency per hour.
    pub(super) fn cost_per_h(&self, t: usize, x: &[f64]) -> f64 {
        let generators = self.case.generators.iter().enumerate();
        let generation: f64 = generators.map(|(g, generator)| cost_per_h(&generator.cost, self.output(t, g, x))).sum();
        let storages = self.case.storages.iter().zip(&self.storages[t]);
        generation + storages.map(|(storage, columns)| storage.wear_cost_per_mwh * x[columns.discharge].max(0.0)).sum::<f64>()
    }
}

/// Bounds of a unit's output in MW from its own limits, the commitment and what is available.
pub(super) fn output_bounds(case: &Case, interval: &Interval, g: usize) -> (f64, f64) {
    let generator = &case.generators[g];
    let (low, high) = interval.p_bounds.as_ref().map_or((generator.p_min, generator.p_max), |bounds| bounds[g]);
    let high = high.min(interval.available_p[g]);
    (low.min(high) * case.base_mva, high * case.base_mva)
}

/// What a unit's output may change by within an interval, MW; weather-bound units follow the weather.
fn ramp_mw(case: &Case, generator: &CaseGenerator, hours: f64) -> f64 {
    if generator.variable { f64::INFINITY } else { generator.ramp_per_minute * 60.0 * hours * case.base_mva }
}
