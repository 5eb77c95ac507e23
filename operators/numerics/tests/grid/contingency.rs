//! Contingency analysis against power flows solved from scratch with the equipment removed.

use crate::support::published;
use gridflow_inputs::network::BusKind;
use gridflow_numerics::case::Case;
use gridflow_numerics::contingency::dc::{Analysis, Options};
use gridflow_numerics::contingency::{Contingency, Element, Rating, ac, cascade, each_branch, each_generator};
use gridflow_numerics::power_flow::{self, Cache, PowerFlow, dc};

/// A case without what fails, and with a reference bus in each part.
fn parted(case: &Case, contingency: &Contingency) -> Case {
    let mut rest = case.clone();
    let gone = |element| contingency.contains(&element);
    let mut index = 0..case.branches.len();
    rest.branches.retain(|_| !gone(Element::Branch(index.next().expect("as many"))));
    // A unit that failed puts out nothing and takes no part.
    for (index, unit) in rest.generators.iter_mut().enumerate().filter(|(index, _)| gone(Element::Generator(*index))) {
        assert!(gone(Element::Generator(index)));
        (unit.p, unit.p_max, unit.p_min) = (0.0, 0.0, 0.0);
    }
    let components = rest.components();
    for bus in 0..rest.buses.len() {
        let referenced = (0..rest.buses.len()).any(|other| components[other] == bus && rest.buses[other].kind == BusKind::Reference);
        if components[bus] == bus && !referenced {
            rest.buses[bus].kind = BusKind::Reference;
        }
    }
    rest
}

/// Flows of all branches from scratch: units in the part of `kept` cover its open balance by capacity. Zero where a branch
/// failed or is in another part. Also the number of buses in other parts of the components touched.
fn judged(case: &Case, contingency: &Contingency, kept: usize) -> (Vec<f64>, usize) {
    let base = dc::solve(case, dc::Model::Exact).expect("the base case has a flow");
    let mut balanced = case.clone();
    // The base case with its slack scheduled: by capacity at the reference.
    for (bus, slack) in &base.slack {
        let at = |unit: &&mut gridflow_numerics::case::CaseGenerator| unit.bus == *bus;
        let capacity: f64 = case.generators.iter().filter(|unit| unit.bus == *bus).map(|unit| unit.p_max.max(0.0)).sum();
        balanced.generators.iter_mut().filter(at).for_each(|unit| unit.p += slack * unit.p_max.max(0.0) / capacity);
    }
    let mut rest = parted(&balanced, contingency);
    let components = rest.components();
    let stays = |bus: usize| components[bus] == components[kept];
    let open = dc::solve(&rest, dc::Model::Exact).expect("each part has a flow");
    let missing: f64 = open.slack.iter().filter(|(bus, _)| stays(*bus)).map(|(_, slack)| slack).sum();
    let capacity: f64 = rest.generators.iter().filter(|unit| stays(unit.bus)).map(|unit| unit.p_max.max(0.0)).sum();
    rest.generators.iter_mut().filter(|unit| stays(unit.bus)).for_each(|unit| unit.p += missing * unit.p_max.max(0.0) / capacity);
    let solved = dc::solve(&rest, dc::Model::Exact).expect("each part has a flow");
    let mut flows = Vec::new();
    let mut left = solved.flows.iter();
    for (index, branch) in case.branches.iter().enumerate() {
        let failed = contingency.contains(&Element::Branch(index));
        let flow = if failed { 0.0 } else { *left.next().expect("one flow per branch") };
        flows.push(if stays(branch.from) { flow } else { 0.0 });
    }
    (flows, components.iter().filter(|component| **component != components[kept]).count())
}

/// A bus of the part that stays: of parts with capacity the largest, then that with the reference.
fn kept(case: &Case, contingency: &Contingency) -> usize {
    let rest = parted(case, contingency);
    let components = rest.components();
    let key = |part: usize| {
        let inside = |bus: &usize| components[*bus] == part;
        let capacity: f64 = rest.generators.iter().filter(|unit| inside(&unit.bus)).map(|unit| unit.p_max.max(0.0)).sum();
        let buses = (0..case.buses.len()).filter(inside);
        let reference = buses.clone().any(|bus| case.buses[bus].kind == BusKind::Reference);
        (capacity > 0.0, buses.count(), reference)
    };
    (0..case.buses.len()).filter(|bus| components[*bus] == *bus).max_by_key(|part| (key(*part), usize::MAX - part)).expect("a bus")
}

fn compare(name: &str, case: &Case, analysis: &Analysis<'_>, contingencies: &[Contingency], tolerance: f64) {
    let outcomes = analysis.solve(contingencies);
    for (contingency, outcome) in contingencies.iter().zip(&outcomes) {
        let (single, flows) = analysis.flows(contingency);
        assert_eq!(&single, outcome, "{name} {contingency:?}: alone and among others");
        assert_eq!(outcome.unsolved, None, "{name} {contingency:?}");
        let (expected, elsewhere) = judged(case, contingency, kept(case, contingency));
        assert_eq!(outcome.lost.as_ref().map_or(0, |lost| lost.buses), elsewhere, "{name} {contingency:?}");
        let mut worst = (0.0, None);
        for (index, (flow, expected)) in flows.iter().zip(&expected).enumerate() {
            assert!((flow - expected).abs() < tolerance, "{name} {contingency:?}: branch {index} carries {expected}, not {flow}");
            let loading = expected.abs() / case.branches[index].rating;
            if loading > worst.0 {
                worst = (loading, Some(index));
            }
        }
        assert!((outcome.max_loading - worst.0).abs() < 1e-7 * (1.0 + worst.0), "{name} {contingency:?}: {outcome:?}, not {worst:?}");
        let told = outcome.worst_branch.map_or(0.0, |index| expected[index].abs() / case.branches[index].rating);
        assert!((told - worst.0).abs() < 1e-7 * (1.0 + worst.0), "{name} {contingency:?}: {outcome:?}, not {worst:?}");
    }
}

// REQ: GRID-05, GRID-21
#[test]
fn dc_flows_after_each_outage_are_those_of_a_case_without_the_branch() {
    for (name, step) in [("pglib_opf_case14_ieee", 1), ("pglib_opf_case118_ieee", 1), ("pglib_opf_case300_ieee", 1), ("case1354pegase", 29)]
    {
        let Some(case) = published(name) else { return };
        let analysis = Analysis::new(&case, Options::default()).expect("the base case has a flow");
        let mut contingencies = each_branch(&case);
        contingencies.extend(each_generator(&case));
        let some = Vec::from_iter(contingencies.into_iter().step_by(step));
        compare(name, &case, &analysis, &some, 1e-9);
    }
}

#[test]
fn dc_flows_after_double_outages_are_those_of_a_case_without_both() {
    for (name, count) in [("pglib_opf_case118_ieee", 150), ("pglib_opf_case300_ieee", 100), ("case1354pegase", 25)] {
        let Some(case) = published(name) else { return };
        let analysis = Analysis::new(&case, Options::default()).expect("the base case has a flow");
        let branches = case.branches.len();
        let mut contingencies = Vec::from_iter((0..count).map(|k| {
            let (one, other) = (k * 7919 % branches, (k * 104_729 + 31) % branches);
            vec![Element::Branch(one), Element::Branch(if one == other { (one + 1) % branches } else { other })]
        }));
        // Beside each other, so that some part the grid though neither is a bridge; a unit with a branch; three branches.
        contingencies.extend((0..count / 2).map(|k| vec![Element::Branch(k), Element::Branch(k + 1)]));
        contingencies.extend((0..10).map(|k| vec![Element::Branch(11 * k), Element::Generator(k)]));
        contingencies.extend((0..10).map(|k| vec![Element::Branch(k), Element::Branch(5 * k + 20), Element::Branch(9 * k + 80)]));
        compare(name, &case, &analysis, &contingencies, 1e-9);
    }
}

/// The power flow of a case without what fails, from the base case's voltages; what is cut off has neither loads nor units.
/// Units of the part of `kept` cover what it imported over the branch `failed`.
fn judged_ac(case: &Case, base: &PowerFlow, contingency: &Contingency, kept: usize) -> Result<PowerFlow, power_flow::PowerFlowError> {
    let mut balanced = case.clone();
    balanced.generators.iter_mut().zip(&base.generator_p).for_each(|(unit, p)| unit.p = *p);
    for ((bus, v), va) in balanced.buses.iter_mut().zip(&base.v).zip(&base.va) {
        (bus.v_start, bus.va_start) = (*v, *va);
    }
    let mut missing = 0.0;
    for element in contingency {
        if let Element::Generator(unit) = *element {
            missing += base.generator_p[unit];
        }
    }
    let components = parted(&balanced, contingency).components();
    let stays = |bus: usize| components[bus] == components[kept];
    for element in contingency {
        if let Element::Branch(branch) = *element {
            let (row, flow) = (&case.branches[branch], &base.flows[branch]);
            missing += match (stays(row.from), stays(row.to)) {
                (true, false) => -flow.p_from,
                (false, true) => -flow.p_to,
                _ => 0.0,
            };
        }
    }
    let mut rest = parted(&balanced, contingency);
    let gone = |index: usize| contingency.contains(&Element::Generator(index));
    let mut index = 0..rest.generators.len();
    rest.generators.retain(|unit| !gone(index.next().expect("as many")) && stays(unit.bus));
    rest.loads.retain(|load| stays(load.bus));
    let capacity: f64 = rest.generators.iter().map(|unit| unit.p_max.max(0.0)).sum();
    rest.generators.iter_mut().for_each(|unit| unit.p += missing * unit.p_max.max(0.0) / capacity);
    power_flow::solve(&rest, &power_flow::Options::default(), &mut Cache::new())
}

fn compare_ac(name: &str, case: &Case, contingencies: &[Contingency]) {
    let analysis = ac::Analysis::new(case, ac::Options::default()).expect("the base case has a power flow");
    let outcomes = analysis.solve(contingencies);
    for (contingency, outcome) in contingencies.iter().zip(&outcomes) {
        let (single, voltages) = analysis.voltages(contingency);
        assert_eq!(&single, outcome, "{name} {contingency:?}: alone and among others");
        let kept = kept(case, contingency);
        let Some(voltages) = voltages else {
            assert!(
                outcome.violates() && judged_ac(case, analysis.base(), contingency, kept).is_err(),
                "{name} {contingency:?}: {outcome:?}"
            );
            continue;
        };
        let expected =
            judged_ac(case, analysis.base(), contingency, kept).unwrap_or_else(|error| panic!("{name} {contingency:?}: {error}"));
        let components = parted(case, contingency).components();
        let stays = |bus: usize| components[bus] == components[kept];
        let turn = voltages.va[kept] - expected.va[kept];
        for bus in 0..case.buses.len() {
            if !stays(bus) {
                assert_eq!(voltages.v[bus], 0.0);
                continue;
            }
            let angle = libm::remainder(voltages.va[bus] - expected.va[bus] - turn, 2.0 * std::f64::consts::PI);
            assert!(
                (voltages.v[bus] - expected.v[bus]).abs() < 1e-6 && angle.abs() < 1e-6,
                "{name} {contingency:?}: {} not {} at index {bus}, {angle}",
                voltages.v[bus],
                expected.v[bus]
            );
        }
        let limits = |bus: usize| (case.buses[bus].v_min, case.buses[bus].v_max);
        // PV buses at their very limit count as inside before and, for rounding, as nothing after.
        let outside = |v: f64, bus: usize| v < limits(bus).0 - 1e-7 || v > limits(bus).1 + 1e-7;
        let leaves = |bus: &usize| stays(*bus) && outside(expected.v[*bus], *bus) && !outside(analysis.base().v[*bus], *bus);
        if (0..case.buses.len()).any(|bus| leaves(&bus)) {
            let told = outcome.voltage.expect("a voltage left its band");
            assert!((told.v - expected.v[told.bus]).abs() < 1e-6 && told.buses >= (0..case.buses.len()).filter(leaves).count(), "{told:?}");
        }
        let mut loading = 0.0f64;
        let mut left = expected.flows.iter();
        for (index, branch) in case.branches.iter().enumerate() {
            if contingency.contains(&Element::Branch(index)) {
                continue;
            }
            let flow = left.next().expect("one flow per branch");
            if stays(branch.from) && branch.rating.is_finite() {
                let s = libm::hypot(flow.p_from, flow.q_from).max(libm::hypot(flow.p_to, flow.q_to));
                loading = loading.max(s / branch.rating);
            }
        }
        assert!(
            (outcome.max_loading - loading).abs() < 1e-5 * (1.0 + loading),
            "{name} {contingency:?}: {} not {loading}",
            outcome.max_loading
        );
    }
}

// REQ: GRID-05, GRID-14, GRID-21
#[test]
fn ac_voltages_after_each_outage_are_those_of_a_case_without_the_branch() {
    for (name, step) in [("pglib_opf_case14_ieee", 1), ("pglib_opf_case118_ieee", 1), ("case1354pegase", 17)] {
        let Some(case) = published(name) else { return };
        let mut contingencies = each_branch(&case);
        contingencies.extend(each_generator(&case));
        let mut some = Vec::from_iter(contingencies.into_iter().step_by(step));
        some.extend((0..12).map(|k| vec![Element::Branch(k), Element::Branch(k + 3)]));
        compare_ac(name, &case, &some);
    }
}

// REQ: GRID-05
#[test]
fn an_outage_of_a_unit_on_the_base_factor_ends_where_the_full_method_does() {
    for (name, step) in [("pglib_opf_case118_ieee", 1), ("case1354pegase", 3), ("case9241pegase", 60)] {
        let Some(case) = published(name) else { return };
        let tight = ac::Options { tolerance: 1e-10, ..ac::Options::default() };
        let analysis = ac::Analysis::new(&case, tight.clone()).expect("the base case has a power flow");
        let full = ac::Analysis::new(&case, ac::Options { frozen_iterations: 0, ..tight }).expect("the base case has a power flow");
        let (mut largest, mut turned) = (0.0f64, 0);
        for contingency in each_generator(&case).into_iter().step_by(step) {
            let (found, voltages) = analysis.voltages(&contingency);
            let (judge, expected) = full.voltages(&contingency);
            assert_eq!((found.unsolved.is_some(), found.lost), (judge.unsolved.is_some(), judge.lost), "{name} {contingency:?}");
            let (Some(voltages), Some(expected)) = (voltages, expected) else { continue };
            let [Element::Generator(unit)] = contingency[..] else { unreachable!("one unit") };
            let bus = case.generators[unit].bus;
            turned += usize::from((expected.v[bus] - analysis.base().v[bus]).abs() > 1e-6);
            let change = voltages.v.iter().zip(&expected.v).chain(voltages.va.iter().zip(&expected.va));
            largest = change.fold(largest, |largest, (a, b)| largest.max((a - b).abs()));
            assert!((found.max_loading - judge.max_loading).abs() < 1e-7 * (1.0 + judge.max_loading), "{name} {contingency:?}");
        }
        assert!(largest < 1e-8, "{name}: {largest:e} apart");
        assert!(turned > 10, "{name}: at {turned} buses a magnitude changed");
    }
}

#[test]
fn how_contingencies_are_grouped_makes_no_difference() {
    let Some(case) = published("case1354pegase") else { return };
    let analysis = Analysis::new(&case, Options::default()).expect("the base case has a flow");
    let all = Vec::from_iter(each_branch(&case).into_iter().take(300));
    let together = analysis.solve(&all);
    for size in [1, 3, 8, 11] {
        let parts = Vec::from_iter(all.chunks(size).flat_map(|part| analysis.solve(part)));
        assert_eq!(parts, together);
    }
}

#[test]
fn loadings_are_shares_of_the_rating_for_the_duration() {
    let Some(case) = published("pglib_opf_case118_ieee") else { return };
    let mut rated = case.clone();
    for branch in &mut rated.branches {
        (branch.rating_long_term, branch.rating_short_term) = (1.25 * branch.rating, 2.0 * branch.rating);
    }
    let all = each_branch(&case);
    let loadings = |rating: Rating| {
        let analysis = Analysis::new(&rated, Options { rating, ..Options::default() }).expect("the base case has a flow");
        Vec::from_iter(analysis.solve(&all).into_iter().map(|outcome| outcome.max_loading))
    };
    let normal = loadings(Rating::Normal);
    for (rating, factor) in [(Rating::LongTerm, 1.25), (Rating::ShortTerm, 2.0)] {
        for (normal, other) in normal.iter().zip(loadings(rating)) {
            assert!((normal - factor * other).abs() < 1e-12 * (1.0 + normal));
        }
    }
}

// REQ: GRID-12, GRID-13
#[test]
fn a_cascade_is_balanced_at_each_stage_and_ends_where_nothing_trips() {
    let Some(mut case) = published("pglib_opf_case118_ieee") else { return };
    let base = dc::solve(&case, dc::Model::Exact).expect("the base case has a flow");
    // Tight, so that something happens.
    for (branch, flow) in case.branches.iter_mut().zip(&base.flows) {
        branch.rating = (1.05 * flow.abs()).max(0.3);
    }
    let options = cascade::Options::default();
    let mut longest = 0;
    for outage in (0..case.branches.len()).step_by(7).map(Element::Branch).chain([Element::Generator(20)]) {
        let stages = cascade::preview(&case, &vec![outage], &options).expect("each stage has a flow");
        longest = longest.max(stages.len());
        let mut out = Vec::new();
        let mut served: f64 = case.loads.iter().map(|load| load.p).sum();
        for (number, stage) in stages.iter().enumerate() {
            out.extend(stage.out.iter().copied());
            let mut state = parted(&case, &out);
            state.generators.iter_mut().zip(&stage.generator_p).for_each(|(unit, p)| unit.p = *p);
            state.loads.iter_mut().zip(&stage.load_p).for_each(|(load, p)| load.p = *p);
            // The base case's slack may have put the reference's units outside of their limits.
            for (p, unit) in stage.generator_p.iter().zip(&case.generators).filter(|(_, unit)| unit.bus != base.slack[0].0) {
                assert!(*p >= -1e-9 && *p <= unit.p_max + 1e-9, "{outage:?}: stage {number}");
            }
            // Dark islands draw nothing.
            let components = state.components();
            for (bus, row) in state.buses.iter_mut().enumerate() {
                let lit = case.generators.iter().enumerate().any(|(index, unit)| {
                    components[unit.bus] == components[bus] && unit.p_max > 0.0 && !out.contains(&Element::Generator(index))
                });
                row.g = if lit { row.g } else { 0.0 };
            }
            let solved = dc::solve(&state, dc::Model::Exact).expect("each part has a flow");
            assert!(
                solved.slack.iter().all(|(_, slack)| slack.abs() < 1e-9),
                "{outage:?}: stage {number} is not balanced: {:?}",
                solved.slack
            );
            let mut left = solved.flows.iter();
            for (index, flow) in stage.flows.iter().enumerate() {
                let expected = if out.contains(&Element::Branch(index)) { 0.0 } else { *left.next().expect("one each") };
                assert!((flow - expected).abs() < 1e-8, "{outage:?}: stage {number}");
                let trips = flow.abs() > options.trip * case.branches[index].rating;
                let next = stages.get(number + 1).is_some_and(|next| next.out.contains(&Element::Branch(index)));
                assert_eq!(trips, next, "{outage:?}: stage {number}, branch {index}");
            }
            served -= stage.islands.iter().map(|island| island.shed).sum::<f64>();
            assert!((served - stage.load_p.iter().sum::<f64>()).abs() < 1e-9);
            assert_eq!(stage.islands.iter().map(|island| island.buses).sum::<usize>(), case.buses.len());
        }
    }
    assert!(longest >= 3, "no cascade was long: {longest}");
}

#[test]
fn units_that_cover_by_headroom_do_so_whether_the_base_is_corrected_or_solved_anew() {
    let Some(case) = published("pglib_opf_case118_ieee") else { return };
    // Two grids side by side; units with their least output, so that up and down are other shares.
    let (mut both, n, m) = (case.clone(), case.buses.len(), case.branches.len());
    both.buses.extend(case.buses.iter().cloned());
    both.branches.extend(case.branches.iter().cloned());
    both.branches[m..].iter_mut().for_each(|branch| (branch.from, branch.to) = (branch.from + n, branch.to + n));
    let units = case.generators.len();
    both.generators.extend(case.generators.iter().cloned());
    both.generators[units..].iter_mut().for_each(|unit| unit.bus += n);
    both.loads.extend(case.loads.iter().cloned());
    both.loads[case.loads.len()..].iter_mut().for_each(|load| load.bus += n);
    for (index, unit) in both.generators.iter_mut().enumerate() {
        unit.p_min = unit.p.min(0.1 * (index % 3) as f64);
    }
    let options =
        gridflow_numerics::contingency::dc::Options { cover: gridflow_numerics::contingency::Cover::Headroom, ..Default::default() };
    // A unit that draws: without it there is too much.
    both.generators[3].p = -0.2;
    let analysis = gridflow_numerics::contingency::dc::Analysis::new(&both, options).expect("it has a flow");
    let mut differ = 0;
    for element in [Element::Generator(3), Element::Generator(5), Element::Generator(units + 5), Element::Generator(units + 20)]
        .into_iter()
        .chain((0..both.branches.len()).step_by(3).map(Element::Branch))
    {
        let (corrected, flows) = analysis.flows(&vec![element]);
        // Named twice it is no single outage, and what is left is a case of its own.
        let (anew, expected) = analysis.flows(&vec![element, element]);
        if corrected.lost.is_none() {
            let far = flows.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(far < 1e-8 && anew.lost.is_none(), "{element:?}: {far}");
            differ += usize::from(flows.iter().zip(analysis.base_flows()).any(|(a, b)| (a - b).abs() > 1e-3));
        }
    }
    assert!(differ > 50, "{differ} outages moved anything");
}

// REQ: GRID-05
#[test]
fn what_an_outage_is_within_is_the_longest_rating_whose_own_loading_holds() {
    let name = "pglib_opf_case118_ieee";
    let mut counts = [[0; 4]; 3];
    // Before any outage the worst branch carries 170.8 % of what the file rates it for.
    for scale in [1.72, 1.9] {
        let Some(mut case) = published(name) else { return };
        for (place, branch) in case.branches.iter_mut().enumerate() {
            branch.rating *= scale;
            branch.rating_long_term = branch.rating * [1.0, 1.05, 1.1][place % 3];
            branch.rating_short_term = branch.rating_long_term * [1.0, 1.05, 1.1][place % 3];
        }
        let mut list = each_branch(&case);
        list.extend(each_generator(&case));
        // Corrections of two branches, and what is solved from scratch.
        list.extend((0..40).map(|place| vec![Element::Branch(3 * place), Element::Branch(3 * place + 40)]));
        list.extend((0..10).map(|place| vec![Element::Branch(5 * place), Element::Generator(place)]));
        let dc = Rating::EACH.map(|rating| {
            let analysis = Analysis::new(&case, Options { rating, ..Options::default() }).expect("it has a flow");
            (analysis.solve(&list), Vec::from_iter(list.iter().map(|outage| analysis.flows(outage).0)))
        });
        let ac = Rating::EACH.map(|rating| {
            let options = ac::Options { rating, ..ac::Options::default() };
            ac::Analysis::new(&case, options).expect("it has a flow").solve(&list)
        });
        for (method, solved) in
            [dc.each_ref().map(|(solved, _)| solved), dc.each_ref().map(|(_, flows)| flows), ac.each_ref()].into_iter().enumerate()
        {
            for (place, outage) in list.iter().enumerate() {
                let holds = |index: &usize| solved[*index][place].unsolved.is_none() && solved[*index][place].max_loading <= 1.0;
                let expected = (0..3).find(holds);
                // Whatever loadings are shares of.
                for by in solved {
                    assert_eq!(by[place].within, expected.map(|index| Rating::EACH[index]), "{name}: {outage:?}");
                }
                counts[method][expected.unwrap_or(3)] += 1;
            }
        }
    }
    assert!(counts.iter().flatten().all(|count| *count > 0), "some are not shown: {counts:?}");
}
