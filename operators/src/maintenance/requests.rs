//! Which planned outages are to be checked, and in which island: the newest row of each request and piece of equipment, by
//! event time, of equal ones the last to come.
//!
//! A request counts until its end, or until it is taken back; its row is kept for a day after its end, so that an older one
//! that comes late does not take its place. Equipment that is out of service or without voltage has its verdict here, as no
//! island has it. Islands with requests are to be asked when these change, when the island does, and at each tick of the
//! estimator. Remembered are requests and what was told of them; equipment and places come again from the topology.

use std::collections::{BTreeMap, BTreeSet};

use gridflow_inputs::ids::IslandId;
use gridflow_inputs::input::{OutageRequest, Sequenced, Timer};
use gridflow_inputs::time::DAY_MS;
use gridflow_inputs::{Epoch, Input};
use serde::{Deserialize, Serialize};

use crate::decision::{Breach, BreachKind, Maintenance, Output, Reason, Verdict};
use crate::hygiene::rejected;
use crate::islands::{IslandOutput, Place};
use crate::sealed::{Clock, Feed, Logic, Rows, sealed};
use crate::state::{Registry, State, StateError, decode, encode};

/// What the operator is told; what must be known first comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RequestInput {
    /// There is such a piece of equipment.
    Known(Place),
    /// It begins or ceases to belong to an island with a source.
    Placed(Place, IslandId, i64),
    /// What belongs to an island changed.
    Changed(IslandId),
    /// A request.
    Request(Sequenced),
    /// The epoch passes.
    Clock(Clock),
}

/// What the operator tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestOutput {
    /// A refusal.
    Rejected(Output),
    /// A verdict on what is out already, with its change.
    Out(Maintenance, i64),
    /// A request begins or ceases to be one of an island.
    Outage(IslandId, OutageRequest, i64),
    /// An island with requests is to be asked.
    Ask(IslandId),
}

type Key = (u64, Place);

/// What was told of a request's piece of equipment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Told {
    Outage(IslandId, OutageRequest),
    Out(Maintenance),
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Remembered {
    newest: BTreeMap<Key, OutageRequest>,
    told: BTreeMap<Key, Told>,
}

/// Requests, and where their equipment is.
#[derive(Debug, Default)]
pub struct Requests {
    remembered: Remembered,
    known: BTreeSet<Place>,
    placed: BTreeMap<Place, IslandId>,
}

impl State for Requests {
    fn save(&self) -> Vec<u8> {
        encode(&self.remembered)
    }

    fn load(&mut self, saved: &[u8], mine: &dyn Fn(u64) -> bool) -> Result<(), StateError> {
        let saved: Remembered = decode(saved)?;
        // All rows meet on one worker: only its share has any.
        if mine(0) && !saved.newest.is_empty() {
            self.remembered = saved;
        }
        Ok(())
    }
}

impl Requests {
    fn take(&mut self, row: &Sequenced) -> Result<(), (Reason, i64)> {
        let Input::OutageRequest(request) = &row.input else { return Ok(()) };
        let place = (request.equipment, request.equipment_id);
        if !self.known.contains(&place) {
            return Err((Reason::Unknown, request.event_ms));
        }
        let newest = &mut self.remembered.newest;
        if newest.get(&(request.id, place)).is_some_and(|known| known.event_ms > request.event_ms) {
            return Err((Reason::Superseded, request.event_ms));
        }
        newest.insert((request.id, place), request.clone());
        Ok(())
    }

    /// What is to be told of a request now.
    fn stands(&self, (id, place): &Key, request: &OutageRequest, now: i64) -> Option<Told> {
        if request.withdrawn || request.end_ms <= now {
            return None;
        }
        if let Some(island) = self.placed.get(place) {
            return Some(Told::Outage(*island, request.clone()));
        }
        let solved_ms = match self.remembered.told.get(&(*id, *place)) {
            Some(Told::Out(told)) if (told.start_ms, told.end_ms) == (request.start_ms, request.end_ms) => told.solved_ms,
            _ => now,
        };
        Some(Told::Out(Maintenance {
            request: *id,
            island: None,
            start_ms: request.start_ms,
            end_ms: request.end_ms,
            solved_ms,
            verdict: Verdict::Out,
            violations: 0,
            present: 0,
            reason: format!("{:?} {} is out of service or without voltage already", place.0, place.1),
            breaches: vec![Breach { outage: None, kind: BreachKind::Out, equipment: place.0, id: place.1, value: 0, limit: 0 }],
        }))
    }

    fn tell(told: &Told, change: i64, asked: &mut BTreeSet<IslandId>, out: &mut Vec<RequestOutput>) {
        match told {
            Told::Outage(island, request) => {
                asked.insert(*island);
                out.push(RequestOutput::Outage(*island, request.clone(), change));
            }
            Told::Out(row) => out.push(RequestOutput::Out(row.clone(), change)),
        }
    }
}

impl Logic for Requests {
    type Row = RequestInput;
    type Result = RequestOutput;

    fn epoch(&mut self, epoch: Epoch, rows: &mut Vec<RequestInput>, out: &mut Vec<RequestOutput>) {
        let now = epoch as i64;
        let (mut asked, mut changed, mut tick) = (BTreeSet::new(), BTreeSet::new(), false);
        for row in rows.drain(..) {
            match row {
                RequestInput::Known(place) => drop(self.known.insert(place)),
                RequestInput::Placed(place, island, 1..) => drop(self.placed.insert(place, island)),
                RequestInput::Placed(place, island, _) => {
                    if self.placed.get(&place) == Some(&island) {
                        self.placed.remove(&place);
                    }
                }
                RequestInput::Changed(island) => drop(changed.insert(island)),
                RequestInput::Request(row) => {
                    if let Err(why) = self.take(&row) {
                        out.push(RequestOutput::Rejected(rejected(epoch, row.sequence, &row.input, why)));
                    }
                }
                RequestInput::Clock(clock) => tick |= clock.ticks.iter().any(|tick| tick.timer == Timer::Estimate),
            }
        }
        self.remembered.newest.retain(|_, request| now - request.end_ms < DAY_MS);
        let Remembered { newest, told } = &self.remembered;
        let keys: BTreeSet<Key> = newest.keys().chain(told.keys()).copied().collect();
        for key in keys {
            let stands = self.remembered.newest.get(&key).and_then(|request| self.stands(&key, request, now));
            let told = &mut self.remembered.told;
            if told.get(&key) != stands.as_ref() {
                let before = match stands.clone() {
                    Some(stands) => told.insert(key, stands),
                    None => told.remove(&key),
                };
                before.iter().for_each(|before| Self::tell(before, -1, &mut asked, out));
                stands.iter().for_each(|stands| Self::tell(stands, 1, &mut asked, out));
            }
            if let Some(Told::Outage(island, _)) = &stands
                && (tick || changed.contains(island))
            {
                asked.insert(*island);
            }
        }
        out.extend(asked.into_iter().map(RequestOutput::Ask));
    }

    fn hold(&self, out: &mut Vec<RequestOutput>) {
        let outages = self.remembered.told.values().filter_map(|told| match told {
            Told::Outage(island, request) => Some(RequestOutput::Outage(*island, request.clone(), 1)),
            Told::Out(_) => None,
        });
        out.extend(outages);
    }
}

/// What of the topology requests depend on.
#[must_use]
pub fn of_topology(told: IslandOutput) -> Option<RequestInput> {
    match told {
        // These have the place of what they belong to, which may not be there.
        IslandOutput::Element(_, Input::NodeSwitch(_) | Input::StaticVar(_) | Input::Transformer(_) | Input::ShuntBank(_), _) => None,
        IslandOutput::Element(place, _, 1) => Some(RequestInput::Known(place)),
        IslandOutput::Placed(place, island, change) => Some(RequestInput::Placed(place, island, change)),
        IslandOutput::Changed(island) => Some(RequestInput::Changed(island)),
        _ => None,
    }
}

/// What of the feed they are.
#[must_use]
pub fn of_feed(feed: Feed) -> Option<RequestInput> {
    match feed {
        Feed::Row(row) if matches!(row.input, Input::OutageRequest(_)) => Some(RequestInput::Request(row)),
        Feed::Clock(clock) if clock.worker == 0 => Some(RequestInput::Clock(clock)),
        _ => None,
    }
}

/// Keeps requests and says when their islands are to be asked. All rows of a region meet on one worker, as topology does.
pub fn requests<'scope>(inputs: Rows<'scope, RequestInput>, registry: &Registry) -> Rows<'scope, RequestOutput> {
    sealed(inputs, "Outage requests", registry, |_| 0, Requests::default())
}
