//! From columns and duals to a dispatch: per unit again, prices split, noise cut off where zero has a meaning.

use super::model::{Model, output_bounds};
use super::rounds::{Answer, NOISE_MW, Rounds};
use super::{Binding, Dispatch, IntervalDispatch, Lmp, Relaxed};

/// A price below this is the solver's noise, currency per MWh.
const NOISE_PRICE: f64 = 1e-6;

impl Rounds<'_> {
    pub(super) fn dispatch(&self, answer: &Answer) -> Dispatch {
        let (model, x, base) = (&answer.model, &answer.optimum.x, self.case.base_mva);
        let intervals: Vec<IntervalDispatch> = (0..self.intervals.len()).map(|t| self.interval(answer, t)).collect();
        let mut relaxed = model.relaxed.clone();
        for (storage, missing) in model.end_missing.iter().enumerate() {
            if let Some(missing_mwh) = missing.map(|column| x[column]).filter(|missing| *missing > NOISE_MW) {
                relaxed.push(Relaxed::StorageEnd { storage, missing_mwh });
            }
        }
        let (mut cost, mut shed_mwh, mut interruption_cost) = (0.0, 0.0, 0.0);
        for (interval, input) in intervals.iter().zip(self.intervals) {
            cost += interval.cost_per_h * input.hours;
            for (shed, load) in interval.shed_p.iter().zip(&self.case.loads) {
                shed_mwh += shed * base * input.hours;
                interruption_cost += shed * base * input.hours * load.interruption_cost_per_mwh;
            }
        }
        let limits_stated = answer.limits.len();
        Dispatch { intervals, cost, shed_mwh, interruption_cost, relaxed, iterations: self.iterations, rounds: self.count, limits_stated }
    }

    fn interval(&self, answer: &Answer, t: usize) -> IntervalDispatch {
        let (case, model, x) = (self.case, &answer.model, &answer.optimum.x);
        let base = case.base_mva;
        let generator_mw: Vec<f64> = (0..case.generators.len()).map(|g| model.output(t, g, x)).collect();
        let curtailed = |(g, p): (usize, &f64)| {
            let (_, high) = output_bounds(case, &self.intervals[t], g);
            if case.generators[g].variable { ((high - p) / base).max(0.0) } else { 0.0 }
        };
        let slack = |columns: &[Option<usize>]| {
            let value = |column: &Option<usize>| column.map_or(0.0, |column| if x[column] > NOISE_MW { x[column] / base } else { 0.0 });
            columns.iter().map(value).collect::<Vec<f64>>()
        };
        let (flows, va) = self.network.flows(&self.injection(model, t, x));
        let (energy, congestion) = self.prices(answer, t);
        let emission = |(unit, mw): (&crate::case::CaseGenerator, &f64)| unit.emission_t_per_mwh * mw.max(0.0);
        let net = |(forward, backward): &(usize, Option<usize>)| (x[*forward] - backward.map_or(0.0, |column| x[column])) / base;
        IntervalDispatch {
            curtailed_p: generator_mw.iter().enumerate().map(curtailed).collect(),
            cost_per_h: model.cost_per_h(t, x),
            emission_t_per_h: case.generators.iter().zip(&generator_mw).map(emission).sum(),
            generator_p: generator_mw.iter().map(|mw| mw / base).collect(),
            storage_p: model.storages[t].iter().map(|columns| (x[columns.discharge] - x[columns.charge]) / base).collect(),
            soc: soc(model, t, x),
            dc_line_p: model.links[t].iter().map(net).collect(),
            shed_p: slack(&model.shed[t]),
            surplus_p: slack(&model.surplus[t]),
            flow_p: flows.iter().map(|flow| flow / base).collect(),
            va,
            lmp: congestion.iter().map(|congestion| Lmp { energy, congestion: *congestion }).collect(),
            binding: self.binding(answer, t),
        }
    }

    fn binding(&self, answer: &Answer, t: usize) -> Vec<Binding> {
        let mut binding = Vec::new();
        for ((interval, branch, upper), row) in &answer.limits {
            let price_per_mwh = (answer.optimum.row_price[*row] / self.intervals[t].hours).abs();
            if *interval == t && price_per_mwh > NOISE_PRICE {
                let limit = self.network.limits[*branch];
                let (kind, mw) = if *upper { (limit.high_kind, limit.high) } else { (limit.low_kind, limit.low) };
                binding.push(Binding { branch: *branch, kind, limit_p: mw / self.case.base_mva, price_per_mwh });
            }
        }
        binding.sort_by(|a, b| a.branch.cmp(&b.branch).then(a.limit_p.total_cmp(&b.limit_p)));
        binding
    }
}

/// Share of its capacity that each storage unit holds at the end of an interval.
fn soc(model: &Model, t: usize, x: &[f64]) -> Vec<f64> {
    let share = |(storage, columns): (&crate::case::CaseStorage, &super::model::StorageColumns)| {
        let capacity = storage.capacity * model.case.base_mva;
        if capacity > 0.0 { (x[columns.content] / capacity).clamp(0.0, 1.0) } else { storage.soc }
    };
    model.case.storages.iter().zip(&model.storages[t]).map(share).collect()
}
