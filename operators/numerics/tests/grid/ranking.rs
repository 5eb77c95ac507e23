//! The ranked view of outages against an analysis from scratch, as injections drift, jump and come back.

use crate::support::{Noise, published};
use gridflow_numerics::case::Case;
use gridflow_numerics::contingency::dc::{Analysis, Options};
use gridflow_numerics::contingency::ranking::{Given, Moment, Ranking, TOLERANCE};
use gridflow_numerics::contingency::{Contingency, Element, Outcome, each_branch, each_generator};

fn outages(case: &Case) -> Vec<Element> {
    each_branch(case).into_iter().chain(each_generator(case)).flatten().collect()
}

fn scratch(case: &Case) -> Vec<Outcome> {
    let outages = Vec::from_iter(outages(case).into_iter().map(|outage| vec![outage]));
    Analysis::new(case, Options::default()).expect("it has a flow").solve(&outages)
}

fn solve(analysis: &Analysis<'_>, outages: &[Contingency]) -> Vec<Outcome> {
    analysis.solve(outages)
}

/// Some loads and units move, a few of them far.
fn stir(case: &mut Case, nominal: &Case, noise: &mut Noise) {
    for _ in 0..3 {
        let place = (noise.bits() % nominal.loads.len() as u64) as usize;
        case.loads[place].p = nominal.loads[place].p * (0.7 + 0.1 * (noise.bits() % 7) as f64);
    }
    let place = (noise.bits() % nominal.generators.len() as u64) as usize;
    case.generators[place].p = nominal.generators[place].p * (0.95 + 0.025 * (noise.bits() % 5) as f64);
}

// REQ: GRID-05
#[test]
fn what_is_not_solved_again_is_within_the_tolerance_and_what_is_equals_scratch() {
    // In the smaller networks one load in three is felt everywhere, and a drift ends in a refresh; most moves are cheap all the same.
    for (name, mean_most, cheap_least) in
        [("pglib_opf_case118_ieee", 60, 20), ("pglib_opf_case300_ieee", 280, 12), ("case1354pegase", 10, 29)]
    {
        let Some(nominal) = published(name) else { return };
        let (mut case, mut noise, list) = (nominal.clone(), Noise(7), outages(&nominal));
        let mut ranking = Ranking::default();
        let (mut solved, mut farthest) = (Vec::new(), 0.0f64);
        for now_ms in 0..30 {
            if now_ms > 0 {
                stir(&mut case, &nominal, &mut noise);
            }
            let analysis = Analysis::new(&case, Options::default()).expect("it has a flow");
            let touched = ranking.update(&analysis, &list, Moment { now_ms, with_losses: 1.0 }, &solve);
            for (place, (row, now)) in ranking.rows().iter().zip(scratch(&case)).enumerate() {
                assert_eq!(row.solved_at == now_ms, touched.binary_search(&place).is_ok());
                if row.solved_at == now_ms {
                    assert_eq!(row.outcome, now, "{name}: as from scratch");
                } else {
                    let distance = (row.outcome.max_loading - now.max_loading).abs();
                    assert!(distance <= TOLERANCE * (1.0 + 1e-9), "{name}: {distance} at {:?}", list[place]);
                    farthest = farthest.max(distance);
                    let load = |outcome: &Outcome| outcome.lost.as_ref().map_or(0.0, |lost| lost.load.max(0.0));
                    let lost = (load(&row.outcome), load(&now));
                    assert!((lost.0 - lost.1).abs() <= (TOLERANCE * lost.0).max(0.01), "{name}: {lost:?}");
                }
            }
            solved.push(touched.len());
        }
        assert_eq!(solved[0], list.len());
        let mean = solved[1..].iter().sum::<usize>() / 29;
        let cheap = solved[1..].iter().filter(|solved| **solved < list.len() / 8).count();
        assert!(0 < mean && mean <= mean_most && cheap >= cheap_least, "{name}: {mean}, {cheap}: {solved:?}");
        // The rule is no wider than it must be: it lets pass what moves by a good part of the tolerance.
        assert!(farthest > TOLERANCE / 4.0, "{name}: {farthest}");
    }
}

#[test]
fn cost_follows_change() {
    let Some(nominal) = published("case1354pegase") else { return };
    let list = outages(&nominal);
    let mut ranking = Ranking::default();
    let mut update = |case: &Case, now_ms: i64| {
        let analysis = Analysis::new(case, Options::default()).expect("it has a flow");
        ranking.update(&analysis, &list, Moment { now_ms, with_losses: 1.0 }, &solve).len()
    };
    assert_eq!(update(&nominal, 0), list.len(), "everything at first");
    assert_eq!(update(&nominal, 5), 0, "nothing changed");
    // The smallest loads by a tenth: nothing that matters to any outage.
    let mut order = Vec::from_iter(0..nominal.loads.len());
    order.sort_by(|one, other| nominal.loads[*one].p.abs().total_cmp(&nominal.loads[*other].p.abs()));
    let mut small = nominal.clone();
    order.iter().take(20).for_each(|load| small.loads[*load].p *= 1.1);
    assert!(update(&small, 10) < list.len() / 100);
    // One load by half: some.
    let mut one = small.clone();
    one.loads[order[order.len() / 2]].p *= 1.5;
    let some = update(&one, 15);
    assert!(some < list.len() / 20, "{some}");
    // All of them: everything, as more has moved than may be looked at by itself.
    let mut all = nominal.clone();
    all.loads.iter_mut().enumerate().for_each(|(place, load)| load.p *= if place % 2 == 0 { 1.3 } else { 0.7 });
    assert_eq!(update(&all, 20), list.len());
}

#[test]
fn an_outage_that_takes_more_away_is_solved_again_though_no_flow_moved() {
    let Some(mut case) = published("pglib_opf_case118_ieee") else { return };
    // Each unit has a twin beside it that stands by.
    let units = case.generators.len();
    for unit in 0..units {
        let mut twin = case.generators[unit].clone();
        twin.id.0 += 10_000;
        twin.p = 0.0;
        case.generators.push(twin);
    }
    let list = outages(&case);
    let mut ranking = Ranking::default();
    let mut update = |case: &Case, now_ms: i64| {
        let analysis = Analysis::new(case, Options::default()).expect("it has a flow");
        let touched = ranking.update(&analysis, &list, Moment { now_ms, with_losses: 1.0 }, &solve);
        for (row, now) in ranking.rows().iter().zip(scratch(case)) {
            assert!((row.outcome.max_loading - now.max_loading).abs() <= TOLERANCE * (1.0 + 1e-9));
        }
        touched
    };
    update(&case, 0);
    for unit in 0..units {
        case.generators[units + unit].p = std::mem::take(&mut case.generators[unit].p);
    }
    let touched = update(&case, 5);
    assert!(!touched.is_empty() && touched.iter().all(|place| matches!(list[*place], Element::Generator(_))), "{touched:?}");
}

#[test]
fn what_was_known_of_another_network_is_forgotten() {
    let Some(before) = published("pglib_opf_case118_ieee") else { return };
    let mut case = before.clone();
    // As many outages, and other ways round.
    case.branches.iter_mut().step_by(2).for_each(|branch| branch.x *= 3.0);
    let mut moved = case.clone();
    moved.loads[20].p += 0.3;
    let (list, moment) = (outages(&case), |now_ms| Moment { now_ms, with_losses: 1.0 });
    let prepared = |case| Analysis::new(case, Options::default()).expect("it has a flow");
    let mut fresh = Ranking::default();
    fresh.refresh(&prepared(&case), &list, false, moment(2), &solve);
    let mut known = Ranking::default();
    known.refresh(&prepared(&before), &list, false, moment(0), &solve);
    known.update(&prepared(&before), &list, moment(1), &solve);
    known.refresh(&prepared(&case), &list, false, moment(2), &solve);
    assert_eq!(known, fresh);
    let touched = fresh.update(&prepared(&moved), &list, moment(3), &solve);
    assert!(!touched.is_empty() && touched.len() < list.len(), "{} of {}", touched.len(), list.len());
    assert_eq!((known.update(&prepared(&moved), &list, moment(3), &solve), known), (touched, fresh));
}

// REQ: GRID-05
#[test]
fn given_outages_keep_their_rows_within_the_tolerance_and_are_as_from_scratch_when_solved() {
    let Some(nominal) = published("pglib_opf_case118_ieee") else { return };
    let (mut case, mut noise) = (nominal.clone(), Noise(11));
    let mut list = Vec::from_iter((0..60).map(|place| vec![Element::Branch(3 * place), Element::Branch(3 * place + 4)]));
    list.extend((0..10).map(|place| vec![Element::Branch(7 * place), Element::Generator(place)]));
    let (mut given, mut kept, mut anew) = (Given::default(), 0, 0);
    for now_ms in 0..30 {
        if now_ms > 0 {
            stir(&mut case, &nominal, &mut noise);
        }
        let refresh = now_ms == 20;
        let analysis = Analysis::new(&case, Options::default()).expect("it has a flow");
        given.follow(&analysis, &list, !refresh, Moment { now_ms, with_losses: 1.0 }, &solve);
        for (row, now) in given.rows().iter().zip(analysis.solve(&list)) {
            if row.solved_at == now_ms {
                assert_eq!(row.outcome, now);
                anew += 1;
            } else {
                assert!((row.outcome.max_loading - now.max_loading).abs() <= TOLERANCE && row.outcome.within == now.within && !refresh);
                kept += 1;
            }
        }
        assert_eq!(given.rows().len(), list.len());
    }
    assert!(kept > list.len() && anew > 2 * list.len(), "{kept} and {anew}");
    // Another list has rows of its own.
    list.swap(0, 1);
    let analysis = Analysis::new(&case, Options::default()).expect("it has a flow");
    given.follow(&analysis, &list, true, Moment { now_ms: 40, with_losses: 1.0 }, &solve);
    assert!(given.rows().iter().all(|row| row.solved_at == 40));
}
