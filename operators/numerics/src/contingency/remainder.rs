//! What is left of a case after an outage, as a case of its own: for outages that no correction of low rank describes, and for
//! those that must be solved from scratch.

use super::participation::Participation;
use super::{Contingency, Cover, Element, LostIsland};
use crate::case::Case;
use gridflow_inputs::network::BusKind;

const NONE: usize = usize::MAX;

/// What is left.
pub(super) struct Remainder {
    /// Without what failed and what is cut off; units cover what that leaves open.
    pub(super) case: Case,
    /// Index in the whole case of each branch of the rest, and of each bus.
    pub(super) branches: Vec<usize>,
    pub(super) buses: Vec<usize>,
    /// What is cut off, if anything.
    pub(super) lost: Option<LostIsland>,
}

/// Takes a contingency out of a case whose schedule is that of a solved state: unit outputs `generator_p`, and what each
/// branch loses (nothing in DC). `v` are magnitudes, for what bus conductances draw.
///
/// Of each component the part is kept that can be balanced and has most buses; of equal ones that with the reference, then
/// that with the lowest bus. A component whose last unit failed is lost as a whole.
///
/// # Errors
/// With all that is lost, when nothing is left.
pub(super) fn remainder(
    case: &Case,
    contingency: &Contingency,
    generator_p: &[f64],
    open: &[f64],
    loss: impl Fn(usize) -> f64,
    v: impl Fn(usize) -> f64,
    cover: Cover,
) -> Result<Remainder, LostIsland> {
    let n = case.buses.len();
    let mut rest = case.clone();
    for (unit, p) in rest.generators.iter_mut().zip(generator_p) {
        unit.p = *p;
    }
    let mut failed_unit = vec![false; case.generators.len()];
    let mut failed_branch = vec![false; case.branches.len()];
    for element in contingency {
        match *element {
            Element::Branch(branch) => failed_branch[branch] = true,
            Element::Generator(unit) => failed_unit[unit] = true,
        }
    }
    let before = case.components();
    let mut index = 0..case.branches.len();
    rest.branches.retain(|_| index.next().is_some_and(|branch| !failed_branch[branch]));
    let mut index = 0..case.generators.len();
    rest.generators.retain(|_| index.next().is_some_and(|unit| !failed_unit[unit]));
    // Injections before the outage without what failed; `open` is what stands for the grid beyond where no unit covers it.
    let mut injection = rest.scheduled_p();
    injection.iter_mut().enumerate().for_each(|(bus, p)| *p += open[bus] - case.buses[bus].g * v(bus) * v(bus));
    let after = rest.components();
    let kept = kept_parts(case, &rest, &before, &after);

    // What each part imported over what is gone now, or got from failed units.
    let mut missing = vec![0.0; n];
    (0..n).for_each(|bus| missing[after[bus]] -= injection[bus]);
    for (branch, row) in case.branches.iter().enumerate() {
        // What a failed branch lost inside a part is left to the reference bus, as all losses are.
        if after[row.from] == after[row.to] {
            missing[after[row.from]] += loss(branch);
        }
    }
    let stays = |bus: usize| kept[before[bus]] == after[bus];
    let mut lost = LostIsland { buses: 0, load: 0.0, generation: 0.0 };
    for bus in (0..n).filter(|bus| !stays(*bus)) {
        lost.buses += 1;
        lost.load += case.buses[bus].g;
    }
    case.loads.iter().filter(|load| !stays(load.bus)).for_each(|load| lost.load += load.p);
    case.generators.iter().filter(|unit| !stays(unit.bus)).for_each(|unit| lost.generation += unit.p);

    let branches = Vec::from_iter((0..case.branches.len()).filter(|branch| !failed_branch[*branch] && stays(case.branches[*branch].from)));
    let buses = Vec::from_iter((0..n).filter(|bus| stays(*bus)));
    if buses.is_empty() {
        return Err(lost);
    }
    let mut new = vec![NONE; n];
    buses.iter().enumerate().for_each(|(index, bus)| new[*bus] = index);
    let part_of = Vec::from_iter(buses.iter().map(|bus| after[*bus]));
    rest.buses = buses.iter().map(|bus| rest.buses[*bus].clone()).collect();
    let at = |bus: &mut usize| {
        *bus = new[*bus];
        *bus != NONE
    };
    rest.branches.retain_mut(|row| at(&mut row.from) & at(&mut row.to));
    rest.generators.retain_mut(|row| at(&mut row.bus));
    rest.loads.retain_mut(|row| at(&mut row.bus));
    rest.storages.retain_mut(|row| at(&mut row.bus));
    rest.dc_lines.retain_mut(|row| at(&mut row.from) & at(&mut row.to));
    name_references(&mut rest, &part_of);
    let participation = Participation::new(&rest, cover);
    for (index, unit) in rest.generators.iter_mut().enumerate() {
        let missing = missing[part_of[unit.bus]];
        unit.p += missing * participation.units(missing)[index];
    }
    Ok(Remainder { case: rest, branches, buses, lost: (lost.buses > 0).then_some(lost) })
}

/// Of each component before the outage the part that is kept, by its lowest bus.
fn kept_parts(case: &Case, rest: &Case, before: &[usize], after: &[usize]) -> Vec<usize> {
    let n = case.buses.len();
    let (mut size, mut capacity, mut reference) = (vec![0usize; n], vec![0.0; n], vec![false; n]);
    for (bus, row) in case.buses.iter().enumerate() {
        size[after[bus]] += 1;
        reference[after[bus]] |= row.kind == BusKind::Reference;
    }
    rest.generators.iter().for_each(|unit| capacity[after[unit.bus]] += unit.p_max.max(0.0));
    let mut kept = vec![NONE; n];
    for part in (0..n).filter(|bus| after[*bus] == *bus) {
        let key = |part: usize| (capacity[part] > 0.0, size[part], reference[part]);
        let best = &mut kept[before[part]];
        if *best == NONE || key(part) > key(*best) {
            *best = part;
        }
    }
    // Where no part has a unit it is the reference bus's, which then stands for the grid beyond, unless units failed.
    let mut had_units = vec![false; n];
    case.generators.iter().filter(|unit| unit.p_max > 0.0).for_each(|unit| had_units[before[unit.bus]] = true);
    for part in (0..n).filter(|bus| after[*bus] == *bus && reference[*bus]) {
        if capacity[kept[before[part]]] <= 0.0 {
            kept[before[part]] = part;
        }
    }
    for component in (0..n).filter(|bus| before[*bus] == *bus && had_units[*bus]) {
        if capacity[kept[component]] <= 0.0 {
            kept[component] = NONE;
        }
    }
    kept
}

/// Gives each part without a reference bus one: that of the largest unit, the first among equals; else its first bus.
pub(super) fn name_references(rest: &mut Case, part_of: &[usize]) {
    let parts = part_of.iter().copied().max().map_or(0, |last| last + 1);
    let (mut has, mut best) = (vec![false; parts], vec![(NONE, -1.0); parts]);
    for (bus, row) in rest.buses.iter().enumerate() {
        has[part_of[bus]] |= row.kind == BusKind::Reference;
        if best[part_of[bus]].0 == NONE {
            best[part_of[bus]].0 = bus;
        }
    }
    for unit in &rest.generators {
        let best = &mut best[part_of[unit.bus]];
        if unit.p_max > best.1 {
            *best = (unit.bus, unit.p_max);
        }
    }
    for (part, (bus, _)) in best.into_iter().enumerate() {
        if bus != NONE && !has[part] {
            rest.buses[bus].kind = BusKind::Reference;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::network;
    use super::*;

    #[test]
    fn of_two_equal_parts_that_with_the_reference_is_kept() {
        // Six buses in a row, units at the first and fourth.
        let mut case = network(6, &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]);
        let generator_p = Vec::from_iter(case.generators.iter().map(|unit| unit.p));
        for (reference, lost) in [(0, 63.0), (3, 21.0)] {
            case.buses.iter_mut().for_each(|bus| bus.kind = BusKind::Load);
            case.buses[reference].kind = BusKind::Reference;
            let rest = remainder(&case, &vec![Element::Branch(2)], &generator_p, &[0.0; 6], |_| 0.0, |_| 1.0, Cover::Capacity);
            let rest = rest.unwrap_or_else(|lost| panic!("{lost:?}"));
            let gone = rest.lost.expect("three buses are cut off");
            assert!(gone.buses == 3 && (gone.load * case.base_mva - lost).abs() < 1e-9, "{gone:?}");
            assert_eq!(rest.buses, Vec::from_iter(reference..reference + 3));
        }
    }
}
