//! DC contingency analysis: flows of all branches after each outage, of which the greatest loading is kept.
//!
//! With `B θ = p` the angles of the base case and `y_k = B⁻¹ (e_from - e_to)` of a branch k with susceptance b, its outage
//! changes them by `y_k f_k / (1 - b (y_from - y_to))`: what it carried goes elsewhere. Several branches: the same with a small
//! system for what each would still carry (Woodbury). A unit, or the import over a bridge: `B⁻¹ (w - e)`, w the shares of the
//! units that cover it. A bridge's far side counts on the near side like an injection at its end, so that no outage
//! needs another factor; see DESIGN.md. Only lists that part the grid in other ways are solved from scratch.
//! Loading: |flow| as a share of the rating.

mod sensitivity;

pub use self::sensitivity::Sensitivity;

use super::bridges::{Bridges, LostIsland};
use super::participation::Participation;
use super::remainder::remainder;
use super::scan::{self, Line, Worst, worst};
use super::{Contingency, ContingencyError, Cover, Element, Outcome, Rating, Unsolved, small};
use crate::case::Case;
use crate::power_flow::PowerFlowError;
use crate::power_flow::dc::{self, Model};
use crate::sparse::{Lanes, Pattern, StaticLu};

const NONE: usize = usize::MAX;
/// What is left of a pivot of 1 - LODF terms below which the answer of a correction would be rounding.
const SINGULAR: f64 = 1e-9;
/// Branches that may fail together without a factor of what is left.
const TOGETHER: usize = 4;

/// How to analyse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// How a branch is represented.
    pub model: Model,
    /// What loadings are shares of.
    pub rating: Rating,
    /// Who covers what an outage leaves open.
    pub cover: Cover,
}

impl Default for Options {
    fn default() -> Self {
        Self { model: Model::Exact, rating: Rating::Normal, cover: Cover::Capacity }
    }
}

/// A base case prepared for any number of outages.
#[derive(Clone, Debug)]
pub struct Analysis<'a> {
    case: &'a Case,
    options: Options,
    flows: Vec<f64>,
    susceptance: Vec<f64>,
    factor: StaticLu,
    bridges: Bridges,
    participation: Participation,
    /// Response of the angles, in the factor's order, to one per unit from the units that take part: upward, downward.
    response: [Vec<f64>; 2],
    /// Component of each position of the factor.
    component: Vec<usize>,
    /// Output of each unit in the base case, and what stands at a reference bus without one.
    generator_p: Vec<f64>,
    open: Vec<f64>,
    /// Rated branches, by index, and the branch of each; of each branch its line, or none.
    lines: Vec<Line>,
    /// The ratings by which branches differ, the longest first, each with the same lines as shares of it; none for `lines`.
    classes: Vec<(Rating, Option<Vec<Line>>)>,
    branch_of: Vec<usize>,
    line_of: Vec<usize>,
}

/// What an outage changes, for a lane: `θ += B⁻¹ right + share · response`.
#[derive(Debug, Default)]
struct Change {
    /// (position, value) of L⁻¹ times the right-hand side.
    entries: Vec<(usize, f64)>,
    /// How much the units cover; negative when there was too much.
    covered: f64,
    /// Component they are in.
    component: usize,
    /// Buses that are cut off, by position.
    dead: Vec<usize>,
}

/// How an outage is solved.
enum Plan {
    Change(Change, Option<LostIsland>),
    /// From scratch, without what is lost.
    Anew,
    Singular(usize),
}

/// Scratch of one sweep.
struct Work {
    path: Vec<usize>,
    vector: Vec<f64>,
    angles: Vec<Lanes>,
}

impl<'a> Analysis<'a> {
    /// Solves and factors the base case.
    ///
    /// # Errors
    /// When it has no DC power flow.
    pub fn new(case: &'a Case, options: Options) -> Result<Self, ContingencyError> {
        let base = dc::solve(case, options.model)?;
        let n = case.buses.len();
        let susceptance = Vec::from_iter(case.branches.iter().map(|branch| match options.model {
            Model::Exact => 1.0 / (branch.x * branch.tap),
            Model::Pglib => branch.x / (branch.r * branch.r + branch.x * branch.x),
        }));
        let mut held = vec![false; n];
        base.slack.iter().for_each(|(bus, _)| held[*bus] = true);
        let factor = factor(case, &susceptance, &held)?;
        let (generator_p, open) = outputs(case, &base.slack);
        let mut scheduled = case.clone();
        scheduled.generators.iter_mut().zip(&generator_p).for_each(|(unit, p)| unit.p = *p);
        let participation = Participation::new(&scheduled, options.cover);
        let mut component = vec![0; n];
        (0..n).for_each(|bus| component[factor.position()[bus]] = participation.component[bus]);
        let response = [1.0, -1.0].map(|sign| {
            let mut response = vec![0.0; n];
            for (bus, share) in participation.buses(sign).iter().enumerate() {
                response[factor.position()[bus]] = if held[bus] { 0.0 } else { *share };
            }
            factor.forward_on(&Vec::from_iter(0..n), &mut response);
            factor.backward_one(&mut response);
            response
        });
        let (mut lines, mut branch_of, mut line_of) = (Vec::new(), Vec::new(), vec![NONE; case.branches.len()]);
        for (index, branch) in case.branches.iter().enumerate() {
            let rating = options.rating.of(branch);
            if rating.is_finite() {
                let at = |bus: usize| factor.position()[bus] as u32;
                line_of[index] = lines.len();
                branch_of.push(index);
                // A rating of zero cannot be: zero is written where there is none.
                lines.push(Line {
                    from: at(branch.from),
                    to: at(branch.to),
                    flow: base.flows[index] / rating,
                    gain: susceptance[index] / rating,
                });
            }
        }
        let classes = classes(case, options.rating, &lines, &branch_of);
        Ok(Self {
            bridges: Bridges::new(case),
            case,
            options,
            classes,
            flows: base.flows,
            susceptance,
            factor,
            participation,
            response,
            component,
            generator_p,
            open,
            lines,
            branch_of,
            line_of,
        })
    }

    /// Flows of the base case, leaving the `from` sides.
    #[must_use]
    pub fn base_flows(&self) -> &[f64] {
        &self.flows
    }

    /// What the outage of a branch cuts off; none when it is no bridge.
    #[must_use]
    pub fn lost(&self, branch: usize) -> Option<LostIsland> {
        self.bridges.lost_side(self.case, branch, &self.participation).map(|side| self.bridges.balance(&side))
    }

    /// Solves contingencies one by one; an outcome for each, which does not depend on the others.
    ///
    /// # Panics
    /// When an element is none of the case.
    #[must_use]
    pub fn solve(&self, contingencies: &[Contingency]) -> Vec<Outcome> {
        let mut work = self.work();
        let mut outcomes = Vec::with_capacity(contingencies.len());
        for block in contingencies.chunks(Lanes::COUNT) {
            let plans = Vec::from_iter(block.iter().map(|contingency| self.plan(contingency, &mut work)));
            let out = Vec::from_iter(block.iter().map(|contingency| self.lines_out(contingency)));
            self.angles(&plans, &mut work);
            let worst = worst(&self.lines, &work.angles, &out);
            let within = self.within(&worst, &work.angles, &out);
            for (((plan, worst), within), contingency) in plans.into_iter().zip(worst).zip(within).zip(block) {
                outcomes.push(match plan {
                    Plan::Change(_, lost) => self.outcome(worst, within, lost),
                    Plan::Anew => self.anew(contingency).0,
                    Plan::Singular(bus) => self.unsolved(bus),
                });
            }
        }
        outcomes
    }

    /// The outcome of one contingency and the flows of all branches, 0 where a branch failed or is cut off.
    ///
    /// # Panics
    /// When an element is none of the case.
    #[must_use]
    pub fn flows(&self, contingency: &Contingency) -> (Outcome, Vec<f64>) {
        let mut work = self.work();
        match self.plan(contingency, &mut work) {
            Plan::Anew => self.anew(contingency),
            Plan::Singular(bus) => (self.unsolved(bus), vec![0.0; self.flows.len()]),
            plan => {
                self.angles(std::slice::from_ref(&plan), &mut work);
                let out = [self.lines_out(contingency)];
                let worst = worst(&self.lines, &work.angles, &out);
                let within = self.within(&worst, &work.angles, &out)[0];
                let change = |bus: usize| work.angles[self.factor.position()[bus]].0[0];
                let mut flows = Vec::from_iter(self.case.branches.iter().enumerate().map(|(index, branch)| {
                    let flow = self.flows[index] + self.susceptance[index] * (change(branch.from) - change(branch.to));
                    if flow.is_nan() { 0.0 } else { flow }
                }));
                for element in contingency {
                    if let Element::Branch(branch) = element {
                        flows[*branch] = 0.0;
                    }
                }
                let Plan::Change(_, lost) = plan else { return (self.unsolved(0), flows) };
                (self.outcome(worst[0], within, lost), flows)
            }
        }
    }

    fn work(&self) -> Work {
        let n = self.factor.size();
        Work { path: Vec::new(), vector: vec![0.0; n], angles: vec![Lanes::ZERO; n] }
    }

    fn lines_out(&self, contingency: &Contingency) -> Vec<usize> {
        let line = |element: &Element| match *element {
            Element::Branch(branch) => Some(self.line_of[branch]).filter(|line| *line != NONE),
            Element::Generator(_) => None,
        };
        contingency.iter().filter_map(line).collect()
    }

    /// The longest rating that each lane is within; `worst`: what its loadings came to.
    fn within(&self, worst: &[Worst; Lanes::COUNT], angles: &[Lanes], out: &[Vec<usize>]) -> [Option<Rating>; Lanes::COUNT] {
        let mut within = [None; Lanes::COUNT];
        for (rating, lines) in &self.classes {
            if within[..out.len()].iter().all(Option::is_some) {
                break;
            }
            let found = lines.as_ref().map_or(*worst, |lines| scan::worst(lines, angles, out));
            for (within, found) in within.iter_mut().zip(found) {
                *within = within.or((found.loading <= 1.0).then_some(*rating));
            }
        }
        within
    }

    fn outcome(&self, worst: Worst, within: Option<Rating>, lost: Option<LostIsland>) -> Outcome {
        let worst_branch = worst.line.map(|line| self.branch_of[line]);
        Outcome { max_loading: worst.loading, worst_branch, within, lost, voltage: None, unsolved: None }
    }

    fn unsolved(&self, bus: usize) -> Outcome {
        let unsolved = Unsolved { iterations: 0, mismatch: 0.0, bus: self.case.buses[bus].id };
        Outcome { max_loading: 0.0, worst_branch: None, within: None, lost: None, voltage: None, unsolved: Some(unsolved) }
    }

    fn plan(&self, contingency: &Contingency, work: &mut Work) -> Plan {
        let mut branches = [0; TOGETHER];
        match contingency.as_slice() {
            [] => Plan::Change(Change::default(), None),
            [Element::Branch(branch)] => match self.bridges.lost_side(self.case, *branch, &self.participation) {
                Some(side) => {
                    let row = &self.case.branches[*branch];
                    // What the rest imported over the bridge.
                    let missing = if side.beyond == row.to { self.flows[*branch] } else { -self.flows[*branch] };
                    let lost_share = self.bridges.buses(&side).map(|bus| self.participation.buses(missing)[bus]).sum();
                    let Some(scale) = Participation::scale(lost_share) else { return Plan::Anew };
                    let mut change = self.covered(missing * scale, side.beyond, work);
                    change.dead = self.bridges.buses(&side).map(|bus| self.factor.position()[bus]).collect();
                    Plan::Change(change, Some(self.bridges.balance(&side)))
                }
                None => self.without(&[*branch], work),
            },
            [Element::Generator(unit)] => {
                let (missing, bus) = (self.generator_p[*unit], self.case.generators[*unit].bus);
                match Participation::scale(self.participation.units(missing)[*unit]) {
                    Some(scale) => Plan::Change(self.covered(missing * scale, bus, work), None),
                    None => Plan::Anew,
                }
            }
            several if several.len() <= TOGETHER => {
                for (place, element) in branches.iter_mut().zip(several) {
                    match *element {
                        Element::Branch(branch) if !self.bridges.is_bridge(branch) => *place = branch,
                        _ => return Plan::Anew,
                    }
                }
                let branches = &mut branches[..several.len()];
                branches.sort_unstable();
                if branches.windows(2).any(|pair| pair[0] == pair[1]) {
                    return Plan::Anew;
                }
                self.without(branches, work)
            }
            _ => Plan::Anew,
        }
    }

    /// The units cover `amount` that is missing at `bus`.
    fn covered(&self, amount: f64, bus: usize, work: &mut Work) -> Change {
        let at = self.factor.position()[bus];
        let mut change = Change { covered: amount, component: self.component[at], ..Change::default() };
        self.enter(&[(bus, -amount)], work, &mut change);
        change
    }

    /// Adds L⁻¹ of a right-hand side to a change.
    fn enter(&self, right: &[(usize, f64)], work: &mut Work, change: &mut Change) {
        let mut from = [0; 2 * TOGETHER];
        for (place, (bus, value)) in from.iter_mut().zip(right) {
            *place = self.factor.position()[*bus];
            // A reference bus keeps its angle whatever is put in there.
            work.vector[*place] += if self.is_held(*bus) { 0.0 } else { *value };
        }
        self.factor.path(&from[..right.len()], &mut work.path);
        self.factor.forward_on(&work.path, &mut work.vector);
        change.entries.extend(work.path.iter().map(|place| (*place, std::mem::take(&mut work.vector[*place]))));
    }

    fn is_held(&self, bus: usize) -> bool {
        self.case.buses[bus].kind == gridflow_inputs::network::BusKind::Reference
    }

    /// Branches that fail together and are no bridges.
    fn without(&self, branches: &[usize], work: &mut Work) -> Plan {
        let count = branches.len();
        let ends = |branch: usize| (self.case.branches[branch].from, self.case.branches[branch].to);
        let mut from = [0; 2 * TOGETHER];
        for (pair, branch) in from.chunks_exact_mut(2).zip(branches) {
            let (a, b) = ends(*branch);
            (pair[0], pair[1]) = (self.factor.position()[a], self.factor.position()[b]);
        }
        // (I - b_k (y_l at k's ends)) c = f, column by column along the paths of all ends.
        let (mut matrix, mut carried) = ([[0.0; small::MOST]; small::MOST], [[0.0; small::MOST]; small::MOST]);
        let mut path = std::mem::take(&mut work.path);
        self.factor.path(&from[..2 * count], &mut path);
        for (column, &branch) in branches.iter().enumerate() {
            let (a, b) = ends(branch);
            work.vector[from[2 * column]] += if self.is_held(a) { 0.0 } else { 1.0 };
            work.vector[from[2 * column + 1]] -= if self.is_held(b) { 0.0 } else { 1.0 };
            self.factor.forward_on(&path, &mut work.vector);
            self.factor.backward_on(&path, &mut work.vector);
            for (row, &other) in branches.iter().enumerate() {
                let across = work.vector[from[2 * row]] - work.vector[from[2 * row + 1]];
                matrix[row][column] = f64::from(row == column) - self.susceptance[other] * across;
            }
            path.iter().for_each(|place| work.vector[*place] = 0.0);
        }
        work.path = path;
        for (row, &branch) in branches.iter().enumerate() {
            carried[row][0] = self.flows[branch];
        }
        let Some(carried) = small::solve(matrix, carried, count, SINGULAR) else {
            // Either the grid is parted, which the search over it tells, or the susceptances of what is left cancel out.
            return if count > 1 { Plan::Anew } else { Plan::Singular(ends(branches[0]).0) };
        };
        let mut right = [(0, 0.0); 2 * TOGETHER];
        for ((pair, &branch), carried) in right.chunks_exact_mut(2).zip(branches).zip(&carried) {
            let (a, b) = ends(branch);
            (pair[0], pair[1]) = ((a, carried[0]), (b, -carried[0]));
        }
        let mut change = Change::default();
        self.enter(&right[..2 * count], work, &mut change);
        Plan::Change(change, None)
    }

    /// Changes of all angles, a lane for each plan.
    fn angles(&self, plans: &[Plan], work: &mut Work) {
        work.angles.fill(Lanes::ZERO);
        let changes = || {
            plans.iter().enumerate().filter_map(|(lane, plan)| if let Plan::Change(change, _) = plan { Some((lane, change)) } else { None })
        };
        for (lane, change) in changes() {
            change.entries.iter().for_each(|(place, value)| work.angles[*place].0[lane] += value);
        }
        self.factor.backward(&mut work.angles);
        for (lane, change) in changes() {
            if change.covered != 0.0 {
                let response = &self.response[usize::from(change.covered < 0.0)];
                for ((angle, response), component) in work.angles.iter_mut().zip(response).zip(&self.component) {
                    if *component == change.component {
                        angle.0[lane] += change.covered * response;
                    }
                }
            }
            // What is no number counts nowhere, so that what is cut off needs no test for each branch.
            change.dead.iter().for_each(|place| work.angles[*place].0[lane] = f64::NAN);
        }
    }

    /// A contingency solved from scratch, without what is lost.
    fn anew(&self, contingency: &Contingency) -> (Outcome, Vec<f64>) {
        let mut flows = vec![0.0; self.flows.len()];
        let rest = remainder(self.case, contingency, &self.generator_p, &self.open, |_| 0.0, |_| 1.0, self.options.cover);
        let rest = match rest {
            Ok(rest) => rest,
            Err(lost) => return (Outcome::all_lost(lost), flows),
        };
        let solved = match dc::solve(&rest.case, self.options.model) {
            Ok(solved) => solved,
            Err(PowerFlowError::Singular { bus, .. }) => {
                let mut outcome = self.unsolved(0);
                outcome.unsolved = Some(Unsolved { iterations: 0, mismatch: 0.0, bus });
                outcome.lost = rest.lost;
                return (outcome, flows);
            }
            Err(_) => return (self.unsolved(0), flows),
        };
        let mut worst = (0.0, None);
        for ((branch, &index), flow) in rest.case.branches.iter().zip(&rest.branches).zip(&solved.flows) {
            flows[index] = *flow;
            let loading = flow.abs() / self.options.rating.of(branch);
            if self.line_of[index] != NONE && (loading > worst.0 || worst.1.is_none()) {
                worst = (loading, Some(index));
            }
        }
        let rated =
            || rest.case.branches.iter().zip(&rest.branches).zip(&solved.flows).filter(|((_, index), _)| self.line_of[**index] != NONE);
        let holds = |rating: &Rating| rated().all(|((branch, _), flow)| flow.abs() / rating.of(branch) <= 1.0);
        let within = Rating::EACH.into_iter().find(holds);
        (Outcome { max_loading: worst.0, worst_branch: worst.1, within, lost: rest.lost, voltage: None, unsolved: None }, flows)
    }
}

/// Lines by each rating that differs from the one before it, where any is exceeded by less.
fn classes(case: &Case, main: Rating, lines: &[Line], branch_of: &[usize]) -> Vec<(Rating, Option<Vec<Line>>)> {
    let mut classes: Vec<(Rating, Option<Vec<Line>>)> = Vec::new();
    for rating in Rating::EACH {
        let of = |branch: &usize, rating: Rating| rating.of(&case.branches[*branch]);
        let same = |before: Rating| branch_of.iter().all(|branch| of(branch, before) == of(branch, rating));
        if classes.last().is_some_and(|(before, _)| same(*before)) {
            continue;
        }
        let scaled = |(line, branch): (&Line, &usize)| {
            let share = of(branch, main) / of(branch, rating);
            Line { flow: line.flow * share, gain: line.gain * share, ..*line }
        };
        let by_rating = (rating != main).then(|| lines.iter().zip(branch_of).map(scaled).collect());
        classes.push((rating, by_rating));
    }
    classes
}

/// B with the angles of reference buses held, factored.
fn factor(case: &Case, susceptance: &[f64], held: &[bool]) -> Result<StaticLu, ContingencyError> {
    let n = case.buses.len();
    let mut places = Vec::from_iter((0..n).map(|bus| (bus, bus)));
    for branch in &case.branches {
        places.extend([(branch.from, branch.to), (branch.to, branch.from)]);
    }
    let (pattern, slots) = Pattern::from_places(n, n, &places);
    let mut values = vec![0.0; pattern.len()];
    (0..n).filter(|bus| held[*bus]).for_each(|bus| values[slots[bus]] = 1.0);
    for ((branch, b), between) in case.branches.iter().zip(susceptance).zip(slots[n..].chunks_exact(2)) {
        for bus in [branch.from, branch.to] {
            values[slots[bus]] += if held[bus] { 0.0 } else { *b };
        }
        if !held[branch.from] && !held[branch.to] {
            between.iter().for_each(|slot| values[*slot] -= b);
        }
    }
    StaticLu::factor(&pattern, &values).map_err(|pivot| ContingencyError::Singular(case.buses[pivot.row].id))
}

/// Output of each unit with the slack of its reference bus, and the slack of those without a unit by bus.
pub(super) fn outputs(case: &Case, slack: &[(usize, f64)]) -> (Vec<f64>, Vec<f64>) {
    let n = case.buses.len();
    let mut open = vec![0.0; n];
    slack.iter().for_each(|(bus, slack)| open[*bus] = *slack);
    let (mut capacity, mut units) = (vec![0.0; n], vec![0usize; n]);
    for unit in &case.generators {
        capacity[unit.bus] += unit.p_max.max(0.0);
        units[unit.bus] += 1;
    }
    let output = |unit: &crate::case::CaseGenerator| {
        let even = 1.0 / units[unit.bus] as f64;
        let share = if capacity[unit.bus] > 0.0 { unit.p_max.max(0.0) / capacity[unit.bus] } else { even };
        unit.p + share * open[unit.bus]
    };
    let p = case.generators.iter().map(output).collect();
    (0..n).filter(|bus| units[*bus] > 0).for_each(|bus| open[bus] = 0.0);
    (p, open)
}
