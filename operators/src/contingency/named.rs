//! Contingencies that operators name: which branches and units are to be supposed to fail together, beside each by itself.
//!
//! Of each contingency and piece of equipment the newest row by event time holds, of equal ones the last to come. One that was taken
//! back is remembered for a day, so that an older one that comes late does not take its place. Every island is handed all
//! of them and takes what of each is its own; all are to be looked at when one changes. Remembered are rows; equipment comes again from the topology.

use std::collections::{BTreeMap, BTreeSet};

use gridflow_inputs::input::{ContingencyElement, Sequenced};
use gridflow_inputs::time::DAY_MS;
use gridflow_inputs::{Epoch, Input};
use serde::{Deserialize, Serialize};

use crate::decision::{Output, Reason};
use crate::hygiene::rejected;
use crate::islands::{IslandOutput, Place};
use crate::sealed::{Feed, Logic, Rows, sealed};
use crate::state::{Registry, State, StateError, decode, encode};

/// What the operator is told; what must be known first comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NamedInput {
    /// There is such a branch or unit.
    Known(Place),
    /// An element of a contingency is named.
    Element(Sequenced),
}

/// What the operator tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NamedOutput {
    /// A refusal.
    Rejected(Output),
    /// An element begins or ceases to be one.
    Element(u64, Place, i64),
    /// Some did.
    Changed,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Newest {
    event_ms: i64,
    /// When it came.
    epoch: Epoch,
    stands: bool,
}

/// Elements of contingencies.
#[derive(Debug, Default)]
pub struct Named {
    newest: BTreeMap<(u64, Place), Newest>,
    known: BTreeSet<Place>,
}

impl State for Named {
    fn save(&self) -> Vec<u8> {
        encode(&self.newest)
    }

    fn load(&mut self, saved: &[u8], mine: &dyn Fn(u64) -> bool) -> Result<(), StateError> {
        let saved: BTreeMap<(u64, Place), Newest> = decode(saved)?;
        // All rows meet on one worker: only its share has any.
        if mine(0) {
            self.newest.extend(saved);
        }
        Ok(())
    }
}

impl Named {
    fn take(&mut self, epoch: Epoch, element: &ContingencyElement, changes: &mut BTreeMap<(u64, Place), i64>) -> Result<(), (Reason, i64)> {
        let place = (element.equipment, element.equipment_id);
        if !self.known.contains(&place) {
            return Err((Reason::Unknown, element.event_ms));
        }
        let key = (element.id, place);
        let before = self.newest.get(&key).copied();
        if before.is_some_and(|before| before.event_ms > element.event_ms) {
            return Err((Reason::Superseded, element.event_ms));
        }
        let stands = !element.withdrawn;
        if before.is_some_and(|before| before.stands) != stands {
            *changes.entry(key).or_default() += if stands { 1 } else { -1 };
        }
        self.newest.insert(key, Newest { event_ms: element.event_ms, epoch, stands });
        Ok(())
    }
}

impl Logic for Named {
    type Row = NamedInput;
    type Result = NamedOutput;

    fn epoch(&mut self, epoch: Epoch, rows: &mut Vec<NamedInput>, out: &mut Vec<NamedOutput>) {
        self.newest.retain(|_, row| row.stands || epoch - row.epoch < DAY_MS as u64);
        let mut changes = BTreeMap::new();
        for row in rows.drain(..) {
            match row {
                NamedInput::Known(place) => drop(self.known.insert(place)),
                NamedInput::Element(row) => {
                    let Input::ContingencyElement(element) = &row.input else { continue };
                    if let Err(why) = self.take(epoch, element, &mut changes) {
                        out.push(NamedOutput::Rejected(rejected(epoch, row.sequence, &row.input, why)));
                    }
                }
            }
        }
        changes.retain(|_, change| *change != 0);
        if !changes.is_empty() {
            out.extend(changes.into_iter().map(|((id, place), change)| NamedOutput::Element(id, place, change)));
            out.push(NamedOutput::Changed);
        }
    }

    fn hold(&self, out: &mut Vec<NamedOutput>) {
        let stands = self.newest.iter().filter(|(_, row)| row.stands);
        out.extend(stands.map(|((id, place), _)| NamedOutput::Element(*id, *place, 1)));
    }
}

/// What of the topology they depend on.
#[must_use]
pub fn of_topology(told: IslandOutput) -> Option<NamedInput> {
    match told {
        IslandOutput::Element(place, Input::Branch(_) | Input::Generator(_), 1) => Some(NamedInput::Known(place)),
        _ => None,
    }
}

/// What of the feed they are.
#[must_use]
pub fn of_feed(feed: Feed) -> Option<NamedInput> {
    match feed {
        Feed::Row(row) if matches!(row.input, Input::ContingencyElement(_)) => Some(NamedInput::Element(row)),
        _ => None,
    }
}

/// Keeps named contingencies. All rows of a region meet on one worker, as topology does.
pub fn named<'scope>(inputs: Rows<'scope, NamedInput>, registry: &Registry) -> Rows<'scope, NamedOutput> {
    sealed(inputs, "Named contingencies", registry, |_| 0, Named::default())
}
