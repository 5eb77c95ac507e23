//! When the contingency view is looked at, epoch by epoch.

use std::sync::Arc;

use gridflow_inputs::ids::{BusId, IslandId};
use gridflow_inputs::units::{MicroRadians, MicroVolts, MilliVars, MilliWatts};
use gridflow_operators::contingency::REFRESH_MS;
use gridflow_operators::contingency::watch::{FLOOR, Look, Output, RETRY_MS, Watch, WatchInput};
use gridflow_operators::decision::{BusState, Estimate};
use gridflow_operators::islands::IslandRow;
use gridflow_operators::sealed::Logic;
use gridflow_operators::state::State;

const ISLAND: IslandId = IslandId(7);

/// An estimate of three buses by their injections; the last is left open.
fn estimate(tick_ms: i64, injections: [i64; 3]) -> Arc<Estimate> {
    let state = |(bus, p): (usize, i64)| BusState {
        bus: BusId(bus as u32),
        voltage: MicroVolts(0),
        angle: MicroRadians(0),
        p: MilliWatts(p * FLOOR.0 / 10),
        q: MilliVars(0),
    };
    Arc::new(Estimate {
        island: ISLAND,
        tick_ms,
        reference: BusId(0),
        iterations: 1,
        measurements: 0,
        pseudo: 0,
        outdated: 0,
        degrees_of_freedom: 0,
        objective_ppm: 0,
        threshold_ppm: 0,
        buses: injections.into_iter().enumerate().map(state).collect(),
        unobservable: vec![BusId(2)],
        resting: Vec::new(),
    })
}

fn row(changed_ms: i64) -> IslandRow {
    IslandRow { reference: BusId(0), changed_ms }
}

/// Whether the view is looked at in an epoch; the watch is saved and loaded after each.
struct Watched {
    watch: Watch,
    estimate: Option<Arc<Estimate>>,
    row: Option<IslandRow>,
    outputs: Vec<Output>,
}

impl Watched {
    fn new() -> Self {
        Self { watch: Watch::default(), estimate: None, row: None, outputs: Vec::new() }
    }

    fn look(&mut self, now_ms: i64, mut rows: Vec<WatchInput>) -> Option<Look> {
        rows.sort_unstable();
        let mut out = Vec::new();
        self.watch.epoch(now_ms as u64, &mut rows, &mut out);
        assert!(out.iter().all(|look| [Look::At(ISLAND), Look::Again(ISLAND)].contains(look)) && out.len() < 2);
        let mut resumed = Watch::default();
        resumed.load(&self.watch.save(), &|_| true).expect("it was saved");
        let mut again = Vec::from_iter(self.row.map(|row| WatchInput::Island(ISLAND, row, 1)));
        again.extend(self.estimate.iter().map(|row| WatchInput::Estimate(ISLAND, Arc::clone(row), 1)));
        again.extend(self.outputs.iter().map(|row| WatchInput::Output(ISLAND, *row, 1)));
        resumed.epoch(now_ms as u64, &mut again, &mut Vec::new());
        self.watch = resumed;
        out.pop()
    }

    /// Whether the view is looked at, failed or not.
    fn epoch(&mut self, now_ms: i64, rows: Vec<WatchInput>) -> bool {
        self.look(now_ms, rows) == Some(Look::At(ISLAND))
    }

    fn tick(&mut self, now_ms: i64, injections: [i64; 3]) -> bool {
        let rows = self.estimated(now_ms, injections);
        self.epoch(now_ms, rows)
    }

    fn estimated(&mut self, now_ms: i64, injections: [i64; 3]) -> Vec<WatchInput> {
        let mut rows = vec![WatchInput::Tick(0)];
        rows.extend(self.estimate.take().map(|row| WatchInput::Estimate(ISLAND, row, -1)));
        let estimate = self.estimate.insert(estimate(now_ms, injections));
        rows.push(WatchInput::Estimate(ISLAND, Arc::clone(estimate), 1));
        rows
    }

    /// A tick at which all buses are as ever, and two units of one give so much.
    fn units(&mut self, now_ms: i64, given: [i64; 2]) -> bool {
        let mut rows = self.estimated(now_ms, [1_000, -400, 0]);
        rows.extend(self.outputs.drain(..).map(|row| WatchInput::Output(ISLAND, row, -1)));
        let outputs = given.iter().enumerate();
        self.outputs.extend(outputs.map(|(unit, p)| Output { slot: unit as u64, at_ms: now_ms, p: MilliWatts(p * FLOOR.0 / 10) }));
        rows.extend(self.outputs.iter().map(|row| WatchInput::Output(ISLAND, *row, 1)));
        self.epoch(now_ms, rows)
    }

    fn change(&mut self, now_ms: i64, row: Option<IslandRow>) -> bool {
        let mut rows = vec![WatchInput::Changed(ISLAND)];
        rows.extend(self.row.map(|row| WatchInput::Island(ISLAND, row, -1)));
        rows.extend(row.map(|row| WatchInput::Island(ISLAND, row, 1)));
        self.row = row;
        self.epoch(now_ms, rows)
    }
}

#[test]
fn a_view_is_looked_at_when_the_grid_or_an_injection_changed_and_every_five_minutes() {
    let mut watched = Watched::new();
    assert!(watched.change(1_000, Some(row(1_000))), "a new island");
    // Nothing to start from: asked at each tick until there is, or until nobody waits any more.
    assert!(watched.epoch(5_000, vec![WatchInput::Tick(0)]));
    assert!(watched.tick(10_000, [1_000, -400, 0]), "the first estimate");
    assert!(!watched.tick(15_000, [1_000, -400, 0]), "nothing changed");
    assert!(!watched.tick(20_000, [1_049, -381, 0]), "less than 5 %");
    assert!(!watched.tick(25_000, [1_000, -400, 90_000]), "what is not known does not count");
    assert!(watched.tick(30_000, [1_050, -400, 0]), "5 % of one");
    assert!(!watched.tick(35_000, [1_000, -400, 0]), "it is compared with what was looked at last: 4.8 % of that");
    // A drift adds up.
    assert!(!watched.tick(40_000, [1_050, -410, 0]) && watched.tick(45_000, [1_050, -420, 0]));
    assert!(watched.tick(50_000, [1_050, 20, 0]) && !watched.tick(55_000, [1_050, 29, 0]), "below the floor, whatever share it is");
    assert!(watched.tick(60_000, [1_050, 30, 0]), "the floor itself");
    // Full refreshes count from the first estimate, whatever was looked at in between.
    let refresh = 10_000 + REFRESH_MS;
    assert!(!watched.tick(refresh - 1_000, [1_050, 30, 0]) && watched.tick(refresh, [1_050, 30, 0]));
    // A switch, at once and at the next estimate.
    assert!(watched.change(refresh + 2_000, Some(row(refresh + 2_000))));
    assert!(watched.tick(refresh + 5_000, [1_050, 30, 0]) && !watched.tick(refresh + 10_000, [1_050, 30, 0]));
    assert!(!watched.change(refresh + 11_000, watched.row), "it became observable, and is known");
    assert!(watched.epoch(refresh + 11_500, vec![WatchInput::Named(0)]), "others are named, and all is solved anew");
    assert!(!watched.tick(2 * refresh - 1_000, [1_050, 30, 0]), "five minutes from that");
    assert!(watched.change(2 * refresh, None), "its rows have to go");
    assert!(!watched.epoch(2 * refresh + 15_000, vec![WatchInput::Tick(0)]));
}

#[test]
fn units_of_one_bus_that_swap_what_they_give_ask_for_a_look() {
    let mut watched = Watched::new();
    assert!(watched.change(1_000, Some(row(1_000))) && watched.units(5_000, [600, 400]));
    assert!(!watched.units(10_000, [600, 400]) && !watched.units(15_000, [591, 409]), "less than the floor");
    assert!(watched.units(20_000, [400, 600]), "their bus gives what it gave");
    assert!(!watched.units(25_000, [400, 600]));
    // Estimates go on, the meters do not: what is stale is not known.
    let looks = Vec::from_iter((6..40).map(|tick| watched.tick(5_000 * tick, [1_000, -400, 0])));
    assert_eq!(looks.iter().filter(|look| **look).count(), 1, "once, when they turn stale: {looks:?}");
    assert!(watched.units(200_000, [400, 600]), "known again");
    let rows = watched.outputs.drain(..).map(|row| WatchInput::Output(ISLAND, row, -1)).collect();
    assert!(!watched.epoch(201_000, rows) && watched.tick(205_000, [1_000, -400, 0]), "the units are another island's");
}

#[test]
fn a_look_that_may_have_failed_is_taken_again_after_a_few_ticks() {
    let mut watched = Watched::new();
    assert!(watched.change(1_000, Some(row(1_000))) && watched.tick(5_000, [1_000, -400, 0]));
    let mut look = |now_ms, estimated: bool| {
        let rows = if estimated { watched.estimated(now_ms, [1_000, -400, 0]) } else { vec![WatchInput::Tick(0)] };
        watched.look(now_ms, rows)
    };
    let due = 5_000 + RETRY_MS;
    assert_eq!((look(due - 1_000, true), look(due, true)), (None, Some(Look::Again(ISLAND))));
    assert_eq!((look(due + RETRY_MS - 1, true), look(due + RETRY_MS, true)), (None, Some(Look::Again(ISLAND))));
}
