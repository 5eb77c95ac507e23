//! What happens to the grid: a breaker operation, a line outage and a unit trip, each undone again, at stated shares of
//! the run.
//!
//! Only what the grid can spare is taken out: without it the grid stays in one piece and has a power flow; and only
//! equipment with a switch, so that the control centre can know. Times lie on steps of the truth; the truth changes at the event time.

use super::config::EventConfig;
use super::outcome::{Happening, SimulationSummary};
use super::random::Random;
use super::truth::Truth;
use gridflow_inputs::ids::SwitchId;
use gridflow_inputs::input::{Quality, SwitchStatus};
use gridflow_inputs::network::{EquipmentKind, Network, SwitchKind};
use std::collections::BTreeMap;

/// Branches tried before an event is given up.
const TRIALS: usize = 40;
/// Running units among which the largest trips.
const UNIT_CHOICE: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    BreakerOperation,
    LineOutage,
    UnitTrip,
}

/// The events of a run, in order.
pub(super) struct Events {
    /// Time, event, and whether it begins.
    due: Vec<(i64, Event, bool)>,
    next: usize,
    /// Equipment that each event has taken out.
    out: BTreeMap<u8, usize>,
    switches: BTreeMap<(EquipmentKind, u32), Vec<SwitchId>>,
    capacity_left: f64,
    random: Random,
}

impl Events {
    pub(super) fn new(config: &EventConfig, network: &Network, start_ms: i64, length_ms: i64, period_ms: i64, random: Random) -> Self {
        let mut due = Vec::new();
        let schedule = [
            (config.breaker_operation, Event::BreakerOperation),
            (config.line_outage, Event::LineOutage),
            (config.unit_trip, Event::UnitTrip),
        ];
        for ((begin, end), event) in schedule {
            let at = |share: f64| {
                let time = start_ms + (share * length_ms as f64) as i64;
                // Up to the next step, so never before the run.
                (time + period_ms - 1).div_euclid(period_ms) * period_ms
            };
            if at(begin) < at(end) {
                due.extend([(at(begin), event, true), (at(end), event, false)]);
            }
        }
        due.sort_by_key(|(time, event, begins)| (*time, *event as u8, *begins));
        let mut switches: BTreeMap<_, Vec<SwitchId>> = BTreeMap::new();
        for switch in network.switches.iter().filter(|switch| switch.kind != SwitchKind::Disconnector && switch.normally_closed) {
            switches.entry((switch.equipment, switch.equipment_id)).or_default().push(switch.id);
        }
        Self { due, next: 0, out: BTreeMap::new(), switches, capacity_left: config.capacity_left, random }
    }

    /// Lets happen what is due at a step; gives the status rows.
    pub(super) fn apply(&mut self, time_ms: i64, truth: &mut Truth, summary: &mut SimulationSummary) -> Vec<SwitchStatus> {
        let mut rows = Vec::new();
        while let Some(&(_, event, begins)) = self.due.get(self.next).filter(|(time, ..)| *time <= time_ms) {
            self.next += 1;
            let happening = if begins { self.begin(event, truth) } else { self.end(event, truth) };
            let Some(happening) = happening else { continue };
            if let Some((equipment, id)) = equipment(&happening) {
                let closed = !begins;
                let switches = self.switches.get(&(equipment, id)).map_or(&[][..], Vec::as_slice);
                let status = |switch: &SwitchId| SwitchStatus { switch: *switch, event_ms: time_ms, closed, quality: Quality::Good };
                rows.extend(switches.iter().map(status));
                truth.switch(time_ms, summary);
            }
            summary.happenings.push((time_ms, happening));
        }
        rows
    }

    fn begin(&mut self, event: Event, truth: &mut Truth) -> Option<Happening> {
        let found = if event == Event::UnitTrip { self.choose_unit(truth) } else { self.choose_branch(truth) };
        let Some(index) = found else {
            return Some(Happening::Skipped(match event {
                Event::BreakerOperation => "breaker operation: no branch can be spared",
                Event::LineOutage => "line outage: no branch can be spared",
                Event::UnitTrip => "unit trip: no running unit can be spared",
            }));
        };
        self.out.insert(event as u8, index);
        Some(match event {
            Event::BreakerOperation => {
                truth.branches_out.insert(index);
                Happening::BranchOpened(truth.whole.branches[index].id)
            }
            Event::LineOutage => {
                truth.branches_out.insert(index);
                Happening::BranchTripped(truth.whole.branches[index].id)
            }
            Event::UnitTrip => {
                truth.units_out.insert(index);
                Happening::UnitTripped(truth.whole.generators[index].id)
            }
        })
    }

    /// None when the event was left out.
    fn end(&mut self, event: Event, truth: &mut Truth) -> Option<Happening> {
        let index = self.out.remove(&(event as u8))?;
        truth.branches_out.retain(|out| event == Event::UnitTrip || *out != index);
        truth.units_out.retain(|out| event != Event::UnitTrip || *out != index);
        Some(match event {
            Event::BreakerOperation => Happening::BranchClosed(truth.whole.branches[index].id),
            Event::LineOutage => Happening::BranchRestored(truth.whole.branches[index].id),
            Event::UnitTrip => Happening::UnitRestored(truth.whole.generators[index].id),
        })
    }

    fn choose_branch(&mut self, truth: &Truth) -> Option<usize> {
        let mut candidates = Vec::from_iter((0..truth.whole.branches.len()).filter(|index| {
            let id = truth.whole.branches[*index].id.0;
            !truth.branches_out.contains(index) && self.switches.contains_key(&(EquipmentKind::Branch, id))
        }));
        for _ in 0..TRIALS.min(candidates.len()) {
            let candidate = candidates.swap_remove(self.random.below(candidates.len()));
            if truth.survives_without_branch(candidate) {
                return Some(candidate);
            }
        }
        None
    }

    fn choose_unit(&mut self, truth: &Truth) -> Option<usize> {
        let output = |index: usize| truth.state.generation[index].0;
        // The others must be able to carry what the settings say; weather does not count.
        let firm = |index: usize| {
            let unit = &truth.whole.generators[index];
            if unit.variable || truth.units_out.contains(&index) { 0.0 } else { unit.p_max.max(0.0) * truth.whole.base_mva }
        };
        let capacity: f64 = (0..truth.whole.generators.len()).map(firm).sum();
        let needed: f64 = truth.state.generation.iter().map(|(p, _)| p).sum();
        let mut running = Vec::from_iter((0..truth.whole.generators.len()).filter(|index| {
            let id = truth.whole.generators[*index].id.0;
            let spared = capacity - firm(*index) >= self.capacity_left * needed;
            output(*index) > 1.0 && spared && self.switches.contains_key(&(EquipmentKind::Generator, id))
        }));
        let mut drawn = Vec::from_iter((0..UNIT_CHOICE.min(running.len())).map(|_| running.swap_remove(self.random.below(running.len()))));
        drawn.sort_by(|a, b| output(*b).total_cmp(&output(*a)).then(a.cmp(b)));
        // The next ones in line are for grids in which none of those can be spared.
        drawn.extend(running.into_iter().take(TRIALS));
        drawn.into_iter().find(|unit| truth.survives_without_unit(*unit))
    }
}

/// What was switched; none when nothing was.
fn equipment(happening: &Happening) -> Option<(EquipmentKind, u32)> {
    match happening {
        Happening::BranchOpened(id) | Happening::BranchClosed(id) | Happening::BranchTripped(id) | Happening::BranchRestored(id) => {
            Some((EquipmentKind::Branch, id.0))
        }
        Happening::UnitTripped(id) | Happening::UnitRestored(id) => Some((EquipmentKind::Generator, id.0)),
        Happening::Skipped(_) => None,
    }
}
