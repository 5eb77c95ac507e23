//! Cascade preview: what trips after an outage, and after that, until nothing does.
//!
//! Each stage: what failed or tripped is taken out; each island is balanced, first by its units within their limits, in proportion to
//! what they can still give or take back, then by shedding load or curtailing generation, both in proportion; the DC model is
//! solved; branches above the trip rating (125 % of the rating by default) trip together in the next stage. An island without a
//! unit is dark. Every branch trips at most once, so that there is an end.

use super::remainder::name_references;
use super::{Contingency, ContingencyError, Element, Rating, dc::outputs};
use crate::case::Case;
use crate::power_flow::dc::{self, Model};

/// How to go on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// How a branch is represented.
    pub model: Model,
    /// What loadings are shares of.
    pub rating: Rating,
    /// Loading above which a branch trips.
    pub trip: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { model: Model::Exact, rating: Rating::Normal, trip: 1.25 }
    }
}

/// An island of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Island {
    /// Its lowest bus.
    pub bus: usize,
    /// Number of its buses.
    pub buses: usize,
    /// Load that is served, bus conductances included.
    pub load: f64,
    /// Load shed in this stage.
    pub shed: f64,
    /// Generation curtailed in this stage, beyond what units took back within their limits.
    pub curtailed: f64,
}

/// A stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// What was taken out: the outage itself in the first stage, then branches that tripped.
    pub out: Contingency,
    /// Islands by their lowest bus.
    pub islands: Vec<Island>,
    /// Flow leaving the `from` side of each branch; 0 where it is out.
    pub flows: Vec<f64>,
    /// Output of each unit.
    pub generator_p: Vec<f64>,
    /// Power each load is served.
    pub load_p: Vec<f64>,
    /// Branches above their rating, by index, with their loading.
    pub overloads: Vec<(usize, f64)>,
}

/// Follows an outage stage by stage; the last stage is stable.
///
/// # Errors
/// When the base case or a stage has no DC power flow.
///
/// # Panics
/// When an element is none of the case.
pub fn preview(case: &Case, outage: &Contingency, options: &Options) -> Result<Vec<Stage>, ContingencyError> {
    let base = dc::solve(case, options.model)?;
    let mut state = case.clone();
    let (generator_p, _) = outputs(case, &base.slack);
    state.generators.iter_mut().zip(&generator_p).for_each(|(unit, p)| unit.p = *p);
    let mut lives = vec![true; case.branches.len()];
    let (mut stages, mut out) = (Vec::new(), outage.clone());
    loop {
        for element in &out {
            match *element {
                Element::Branch(branch) => lives[branch] = false,
                Element::Generator(unit) => {
                    let unit = &mut state.generators[unit];
                    (unit.p, unit.p_min, unit.p_max) = (0.0, 0.0, 0.0);
                }
            }
        }
        let stage = solve(&mut state, &lives, std::mem::take(&mut out), options)?;
        let trips = |(branch, loading): &(usize, f64)| (*loading > options.trip).then_some(Element::Branch(*branch));
        out = stage.overloads.iter().filter_map(trips).collect();
        stages.push(stage);
        if out.is_empty() {
            return Ok(stages);
        }
    }
}

/// Balances the islands of a state and solves it.
fn solve(state: &mut Case, lives: &[bool], out: Contingency, options: &Options) -> Result<Stage, ContingencyError> {
    let mut rest = state.clone();
    let mut index = lives.iter();
    rest.branches.retain(|_| index.next().copied().unwrap_or(false));
    let part_of = rest.components();
    let islands = balance(state, &part_of);
    (rest.generators, rest.loads, rest.buses, rest.dc_lines) =
        (state.generators.clone(), state.loads.clone(), state.buses.clone(), state.dc_lines.clone());
    name_references(&mut rest, &part_of);
    let solved = dc::solve(&rest, options.model)?;
    let (mut flows, mut overloads) = (vec![0.0; lives.len()], Vec::new());
    for ((branch, row), flow) in (0..lives.len()).filter(|branch| lives[*branch]).zip(&rest.branches).zip(solved.flows) {
        flows[branch] = flow;
        let loading = flow.abs() / options.rating.of(row);
        if loading > 1.0 {
            overloads.push((branch, loading));
        }
    }
    let generator_p = state.generators.iter().map(|unit| unit.p).collect();
    let load_p = state.loads.iter().map(|load| load.p).collect();
    Ok(Stage { out, islands, flows, generator_p, load_p, overloads })
}

/// Sums of an island.
#[derive(Clone, Default)]
struct Sums {
    buses: usize,
    /// What is drawn and cannot be shed here: conductances, links that send, less those that receive.
    fixed: f64,
    load: f64,
    generation: f64,
    up: f64,
    down: f64,
    capacity: f64,
}

/// Brings generation and load of each island together.
fn balance(state: &mut Case, part_of: &[usize]) -> Vec<Island> {
    let n = state.buses.len();
    let mut sums = vec![Sums::default(); n];
    for (bus, row) in state.buses.iter().enumerate() {
        sums[part_of[bus]].buses += 1;
        sums[part_of[bus]].fixed += row.g;
    }
    for unit in &state.generators {
        let sums = &mut sums[part_of[unit.bus]];
        sums.generation += unit.p;
        sums.up += (unit.p_max - unit.p).max(0.0);
        sums.down += (unit.p - unit.p_min).max(0.0);
        sums.capacity += unit.p_max.max(0.0);
    }
    state.loads.iter().for_each(|load| sums[part_of[load.bus]].load += load.p);
    // A link with a dark end carries nothing.
    let dark = |sums: &[Sums], bus: usize| sums[part_of[bus]].capacity <= 0.0;
    let links = std::mem::take(&mut state.dc_lines);
    state.dc_lines = links.into_iter().filter(|link| !dark(&sums, link.from) && !dark(&sums, link.to)).collect();
    for link in &state.dc_lines {
        sums[part_of[link.from]].fixed += link.p;
        sums[part_of[link.to]].fixed -= link.p - link.loss - link.loss_ratio * link.p.abs();
    }
    // Of each island: shares of headroom used, of load served, of generation left.
    let mut use_of = vec![(0.0, 1.0, 1.0); n];
    let mut islands = Vec::new();
    for bus in (0..n).filter(|bus| part_of[*bus] == *bus) {
        let sum = &sums[bus];
        let missing = sum.load + sum.fixed - sum.generation;
        let (mut shed, mut curtailed) = (0.0, 0.0);
        if sum.capacity <= 0.0 {
            use_of[bus] = (0.0, 0.0, 0.0);
            (shed, curtailed) = (sum.load, sum.generation);
        } else if missing > 0.0 {
            let raised = missing.min(sum.up);
            shed = (missing - raised).min(sum.load.max(0.0));
            use_of[bus] = (share(raised, sum.up), 1.0 - share(shed, sum.load), 1.0);
        } else {
            let lowered = (-missing).min(sum.down);
            curtailed = -missing - lowered;
            use_of[bus] = (-share(lowered, sum.down), 1.0, 1.0 - share(curtailed, sum.generation - lowered));
        }
        islands.push(Island { bus, buses: sum.buses, load: sum.load + sum.fixed - shed, shed, curtailed });
    }
    for unit in &mut state.generators {
        let (moved, _, left) = use_of[part_of[unit.bus]];
        unit.p += if moved >= 0.0 { moved * (unit.p_max - unit.p).max(0.0) } else { moved * (unit.p - unit.p_min).max(0.0) };
        unit.p *= left;
    }
    state.loads.iter_mut().for_each(|load| load.p *= use_of[part_of[load.bus]].1);
    for (bus, row) in state.buses.iter_mut().enumerate() {
        if sums[part_of[bus]].capacity <= 0.0 {
            row.g = 0.0;
        }
    }
    islands.iter_mut().filter(|island| sums[island.bus].capacity <= 0.0).for_each(|island| island.load = 0.0);
    islands
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::super::testing::network;
    use super::*;
    use crate::case::CaseDcLine;
    use gridflow_inputs::ids::DcLineId;

    /// Seven buses in a row, units at the first, fourth and last; the line between the third and fourth fails.
    fn parts(case: &Case) -> Stage {
        let stages = preview(case, &vec![Element::Branch(2)], &Options { trip: 10.0, ..Options::default() }).unwrap();
        stages[0].clone()
    }

    #[test]
    fn units_go_to_their_least_before_anything_is_curtailed() {
        let mut case = network(7, &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)]);
        // 90 MW for 63 MW of load; 6 MW can be taken back within limits.
        (case.generators[1].p_min, case.generators[2].p_min) = (0.28, 0.56);
        let stage = parts(&case);
        let island = &stage.islands[1];
        assert!((island.curtailed - 0.21).abs() < 1e-9 && island.shed == 0.0, "{island:?}");
        for (unit, least) in [(1, 0.28), (2, 0.56)] {
            assert!((stage.generator_p[unit] - least * 0.63 / 0.84).abs() < 1e-9, "{:?}", stage.generator_p);
        }
    }

    #[test]
    fn of_a_link_between_parts_arrives_what_it_does_not_lose() {
        let mut case = network(7, &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)]);
        case.dc_lines.push(CaseDcLine { id: DcLineId(1), from: 1, to: 5, p: 0.2, p_min: 0.0, p_max: 1.0, loss: 0.01, loss_ratio: 0.05 });
        let stage = parts(&case);
        let given = |units: std::ops::Range<usize>| stage.generator_p[units].iter().sum::<f64>();
        assert!((given(0..1) - 0.21 - 0.2).abs() < 1e-9, "{:?}", stage.generator_p);
        assert!((given(1..3) - 0.63 + 0.18).abs() < 1e-9, "{:?}", stage.generator_p);
    }
}
