//! What the loadings after an outage hang on besides the flows before it: one number, what the outage takes away, times a
//! direction that injections do not change.
//!
//! After the outage k a branch l carries `f_l + s_k d_lk`: s_k is what branch k carried or unit k gave, d_lk follows from the
//! network and from the capacities of the units that cover (for a branch it is the line outage distribution factor). So how
//! much injections may move before the outage has to be solved again is known without solving it: [`Sensitivity::reach`] is the
//! greatest |d_lk| as a share of l's rating. Loadings of single branches after all outages cost a solve a branch
//! (`B⁻¹ (e_from - e_to)`, as B is symmetric).

use super::{Analysis, Change, Cover, Element, Line, Plan, Work, worst};
use crate::contingency::participation::Participation;
use crate::sparse::Lanes;
use serde::{Deserialize, Serialize};

/// How an outage of one branch or unit acts per unit of what it takes away.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// What goes in and out elsewhere per unit; none where the outage is no such sum and must be solved.
    coefficient: Option<f64>,
    /// The greatest change of a loading per unit; 0 where `coefficient` is none.
    pub(in crate::contingency) reach: f64,
}

impl Sensitivity {
    /// Whether outcomes follow from flows and sensitivities.
    pub(in crate::contingency) fn is_linear(&self) -> bool {
        self.coefficient.is_some()
    }
}

/// An outage's right-hand side per unit of what it takes away, at positions of the factor; what units cover; and what is dead.
struct Direction {
    right: [(usize, f64); 2],
    covered: f64,
    dead: Vec<usize>,
}

impl Analysis<'_> {
    /// What an outage takes away: the flow of a branch, the output of a unit.
    pub(in crate::contingency) fn taken(&self, element: Element) -> f64 {
        match element {
            Element::Branch(branch) => self.flows[branch],
            Element::Generator(unit) => self.generator_p[unit],
        }
    }

    /// How much an outage takes away, by which those that move voltages come first: for a branch what reactive power its flow costs,
    /// as `x f²`, for a unit its output likewise by a tenth per unit, a customary reactance. Per unit.
    #[must_use]
    pub fn stress(&self, contingency: &[Element]) -> f64 {
        let reactance = |element: Element| match element {
            Element::Branch(branch) => self.case.branches[branch].x.abs(),
            Element::Generator(_) => 0.1,
        };
        contingency.iter().map(|element| reactance(*element) * self.taken(*element) * self.taken(*element)).sum()
    }

    /// Loading of a branch before any outage; none of a branch without a rating.
    pub(in crate::contingency) fn loading(&self, branch: usize) -> Option<f64> {
        self.lines.get(self.line_of[branch]).map(|line| line.flow)
    }

    /// Sensitivities of single outages.
    pub(in crate::contingency) fn sensitivities(&self, outages: &[Element]) -> Vec<Sensitivity> {
        let bare = Vec::from_iter(self.lines.iter().map(|line| Line { flow: 0.0, ..*line }));
        let mut work = self.work();
        let mut found = Vec::with_capacity(outages.len());
        for block in outages.chunks(Lanes::COUNT) {
            let coefficients = Vec::from_iter(block.iter().map(|outage| self.coefficient(*outage, &mut work)));
            let changes = block.iter().zip(&coefficients).map(|(outage, coefficient)| match coefficient {
                Some(coefficient) => Plan::Change(self.change(&self.direction(*outage, *coefficient), &mut work), None),
                None => Plan::Anew,
            });
            let plans = Vec::from_iter(changes);
            let out = Vec::from_iter(block.iter().map(|outage| self.lines_out(&vec![*outage])));
            self.angles(&plans, &mut work);
            let reaches = worst(&bare, &work.angles, &out);
            found.extend(
                coefficients.into_iter().zip(reaches).map(|(coefficient, reach)| Sensitivity {
                    coefficient,
                    reach: if coefficient.is_some() { reach.loading } else { 0.0 },
                }),
            );
        }
        found
    }

    /// Loadings of some rated branches after each outage that has a sensitivity: `each(outage, branch, loading)`, the former an
    /// index into `outages`; not of a branch that is out or cut off then.
    pub(in crate::contingency) fn loadings_after(
        &self,
        branches: &[usize],
        outages: &[Element],
        sensitivities: &[Sensitivity],
        mut each: impl FnMut(usize, usize, f64),
    ) {
        let directed = outages.iter().zip(sensitivities).enumerate();
        let directions =
            Vec::from_iter(directed.filter_map(|(place, (outage, known))| Some((place, self.direction(*outage, known.coefficient?)))));
        let mut angles = vec![Lanes::ZERO; self.factor.size()];
        for block in branches.chunks(Lanes::COUNT) {
            let lines = Vec::from_iter(block.iter().map(|branch| self.lines[self.line_of[*branch]]));
            angles.fill(Lanes::ZERO);
            for (lane, (line, branch)) in lines.iter().zip(block).enumerate() {
                let (from, to) = (self.case.branches[*branch].from, self.case.branches[*branch].to);
                angles[line.from as usize].0[lane] += if self.is_held(from) { 0.0 } else { line.gain };
                angles[line.to as usize].0[lane] -= if self.is_held(to) { 0.0 } else { line.gain };
            }
            self.factor.forward(&mut angles);
            self.factor.backward(&mut angles);
            for (place, direction) in &directions {
                let taken = self.taken(outages[*place]);
                for (lane, (line, branch)) in lines.iter().zip(block).enumerate() {
                    let ends = [line.from as usize, line.to as usize];
                    if outages[*place] == Element::Branch(*branch) || ends.iter().any(|end| direction.dead.binary_search(end).is_ok()) {
                        continue;
                    }
                    let [(one, plus), (other, minus)] = direction.right;
                    let mut change = plus * angles[one].0[lane] + minus * angles[other].0[lane];
                    if direction.covered != 0.0 && self.component[one] == self.component[ends[0]] {
                        change += direction.covered * line.gain * (self.response[0][ends[0]] - self.response[0][ends[1]]);
                    }
                    each(*place, *branch, (line.flow + taken * change).abs());
                }
            }
        }
    }

    /// None where the outage is solved from scratch or has no solution, or where what units cover depends on who gives what.
    fn coefficient(&self, outage: Element, work: &mut Work) -> Option<f64> {
        if self.options.cover != Cover::Capacity {
            return None;
        }
        match outage {
            Element::Branch(branch) => match self.bridges.lost_side(self.case, branch, &self.participation) {
                Some(side) => {
                    let lost = self.bridges.buses(&side).map(|bus| self.participation.buses(1.0)[bus]).sum();
                    let sign = if side.beyond == self.case.branches[branch].to { 1.0 } else { -1.0 };
                    Participation::scale(lost).map(|scale| sign * scale)
                }
                None => {
                    let across = self.across(branch, work);
                    let left = 1.0 - self.susceptance[branch] * across;
                    (left.abs() > super::SINGULAR).then(|| 1.0 / left)
                }
            },
            Element::Generator(unit) => Participation::scale(self.participation.units(1.0)[unit]),
        }
    }

    /// Difference of the angles at a branch's ends per unit that goes in at one and out at the other.
    fn across(&self, branch: usize, work: &mut Work) -> f64 {
        let row = &self.case.branches[branch];
        let ends = [row.from, row.to].map(|bus| self.factor.position()[bus]);
        let mut path = std::mem::take(&mut work.path);
        self.factor.path(&ends, &mut path);
        work.vector[ends[0]] += if self.is_held(row.from) { 0.0 } else { 1.0 };
        work.vector[ends[1]] -= if self.is_held(row.to) { 0.0 } else { 1.0 };
        self.factor.forward_on(&path, &mut work.vector);
        self.factor.backward_on(&path, &mut work.vector);
        let across = work.vector[ends[0]] - work.vector[ends[1]];
        path.iter().for_each(|place| work.vector[*place] = 0.0);
        work.path = path;
        across
    }

    fn direction(&self, outage: Element, coefficient: f64) -> Direction {
        let at = |bus: usize| self.factor.position()[bus];
        let entry = |bus: usize, value: f64| (at(bus), if self.is_held(bus) { 0.0 } else { value });
        let covered = |bus: usize, dead| Direction { right: [entry(bus, -coefficient), (at(bus), 0.0)], covered: coefficient, dead };
        match outage {
            Element::Generator(unit) => covered(self.case.generators[unit].bus, Vec::new()),
            Element::Branch(branch) => match self.bridges.lost_side(self.case, branch, &self.participation) {
                Some(side) => {
                    let mut dead = Vec::from_iter(self.bridges.buses(&side).map(at));
                    dead.sort_unstable();
                    covered(side.beyond, dead)
                }
                None => {
                    let row = &self.case.branches[branch];
                    Direction { right: [entry(row.from, coefficient), entry(row.to, -coefficient)], covered: 0.0, dead: Vec::new() }
                }
            },
        }
    }

    fn change(&self, direction: &Direction, work: &mut Work) -> Change {
        let places = direction.right.map(|(place, _)| place);
        direction.right.iter().for_each(|(place, value)| work.vector[*place] += value);
        self.factor.path(&places, &mut work.path);
        self.factor.forward_on(&work.path, &mut work.vector);
        let entries = work.path.iter().map(|place| (*place, std::mem::take(&mut work.vector[*place]))).collect();
        Change { entries, covered: direction.covered, component: self.component[places[0]], dead: direction.dead.clone() }
    }
}
