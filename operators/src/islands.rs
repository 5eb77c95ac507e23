//! Topology: which equipment is in service, which island it belongs to, and whether that island has a source.
//!
//! One operator keeps the newest valid version of every network row and the state of every switch (`inventory`), the
//! connected parts of the network (`graph`) and what was told of every piece of equipment (`board`). A change costs
//! work in proportion to what it changes, and the work is counted. An island keeps its number as long as it holds most of
//! its former buses (`names`); its reference bus is that of its largest source, ties by lowest bus.
//!
//! A bus row is a connectivity node: nodes joined by closed node switches are one bus (`buses`). Solvers get the rows of
//! nodes and of node switches as they stand, and merge them; a switch touches its own row.

mod board;
mod buses;
mod graph;
mod inventory;
mod names;

use gridflow_inputs::ids::{BusId, IslandId, SourceId, SwitchId};
use gridflow_inputs::network::EquipmentKind;
use gridflow_inputs::{Epoch, Input, Sequenced};
use serde::{Deserialize, Serialize};

use crate::decision::{Output, Rejected};
use crate::sealed::{Clock, Logic, Rows, sealed};
use crate::state::{Registry, State, StateError, decode, encode};
use board::{Board, History};
use inventory::{Change, Inventory, Renewed, SavedInventory};

/// A piece of equipment, or whatever a sensor can sit at.
pub type Place = (EquipmentKind, u32);

/// What has a state of its own: a piece of equipment, or a switch between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Thing {
    Equipment(Place),
    NodeSwitch(SwitchId),
}

/// What the topology operator is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum IslandInput {
    /// A network row, a switch, a switch status or a step.
    Row(Sequenced),
    /// The epoch passes.
    Clock(Clock),
}

/// What solvers must know of an island as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IslandRow {
    /// Its reference bus.
    pub reference: BusId,
    /// Epoch at which its equipment last changed: what was estimated before is of another network.
    pub changed_ms: i64,
}

/// Why a branch or a bus belongs to no island with a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Idle {
    /// Epoch since which it does not.
    pub since_ms: i64,
    /// What of it is so.
    pub state: IdleState,
}

/// What keeps a branch or a bus without supply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IdleState {
    /// It is out of service, by its row, a switch or a bus at its end.
    Out,
    /// Switches are open at both its ends.
    OpenAtBothEnds,
    /// It is in service, and its island has no source.
    Dead,
}

/// What the topology operator tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IslandOutput {
    /// The valid version of a network row, as it stands, begins or ceases to hold.
    Element(Place, Input, i64),
    /// A piece of equipment in service begins or ceases to belong to an island.
    Placed(Place, IslandId, i64),
    /// A branch or a bus begins or ceases to be without supply, since then and in that way.
    Idle(Place, Idle, i64),
    /// An island with a source begins or ceases to be as told.
    Island(IslandId, IslandRow, i64),
    /// What belongs to the island changed.
    Changed(IslandId),
    /// A row for a stream, with its change.
    Row(Output, i64),
}

/// Records touched, counted.
///
/// What a change costs:
///
/// * a link closed inside an island, or a piece of equipment: that piece alone, and its buses' island when its largest
///   source changes;
/// * a link opened inside an island: steps of a search from both ends until they meet;
/// * a link opened that was the only one: at most twice the steps it takes to see the smaller side, and the buses and
///   equipment of that side;
/// * two islands joined: the buses and equipment of the one with fewer buses.
///
/// Names stay with the larger side, so that it is not touched; where the side that was moved has more buses than the one
/// sooner seen, the buses and equipment of that one besides. Where an island gains its first source or loses its last, all
/// its equipment: every one of those rows changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Steps of searches: a link or a bus looked at.
    pub searched: u64,
    /// Buses put into another part of the network.
    pub relabelled: u64,
    /// Pieces of equipment compared with what was told of them.
    pub compared: u64,
    /// Rows told.
    pub told: u64,
}

impl Work {
    /// All records touched.
    #[must_use]
    pub fn touched(&self) -> u64 {
        self.searched + self.relabelled + self.compared + self.told
    }

    /// What was done since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            searched: self.searched - before.searched,
            relabelled: self.relabelled - before.relabelled,
            compared: self.compared - before.compared,
            told: self.told - before.told,
        }
    }
}

/// The topology of a region, kept up to date.
#[derive(Debug, Default)]
pub struct Islands {
    inventory: Inventory,
    board: Board,
}

impl Islands {
    /// Work done since the start.
    #[must_use]
    pub fn work(&self) -> Work {
        self.board.work()
    }
}

/// What is remembered: rows, and the names and times that no row says. Everything else follows from them.
#[derive(Serialize, Deserialize)]
struct Saved {
    inventory: SavedInventory,
    history: History,
}

impl State for Islands {
    fn save(&self) -> Vec<u8> {
        encode(&Saved { inventory: self.inventory.save(), history: self.board.history() })
    }

    fn load(&mut self, saved: &[u8], mine: &dyn Fn(u64) -> bool) -> Result<(), StateError> {
        let saved: Saved = decode(saved)?;
        // Only the share of the worker where all rows met has any.
        if !mine(0) || saved.inventory.is_empty() {
            return Ok(());
        }
        self.inventory.load(saved.inventory)?;
        if !self.board.restore(self.inventory.all().collect(), saved.history) {
            return Err(StateError::new("islands are not those of the network"));
        }
        Ok(())
    }
}

impl Logic for Islands {
    type Row = IslandInput;
    type Result = IslandOutput;

    fn epoch(&mut self, epoch: Epoch, rows: &mut Vec<IslandInput>, out: &mut Vec<IslandOutput>) {
        let now = epoch as i64;
        let mut renewed = Renewed::default();
        self.inventory.mature(now, &mut renewed);
        for input in rows.drain(..) {
            let IslandInput::Row(Sequenced { epoch, sequence, input }) = input else { continue };
            let (refused, subject) = match &input {
                Input::SwitchStatus(status) => (self.inventory.switch(now, status, &mut renewed), status.switch.0),
                Input::StepPosition(position) => (self.inventory.step(now, position, &mut renewed), position.equipment_id),
                _ => {
                    self.inventory.define(now, input, &mut renewed);
                    continue;
                }
            };
            if let Err((reason, detail)) = refused {
                let row = Rejected { epoch, sequence, kind: input.kind() as u8, source: SourceId(0), subject, reason, detail };
                out.push(IslandOutput::Row(row.into(), 1));
            }
        }
        let changed = self.inventory.changed(&mut renewed);
        let places: Vec<Place> = changed.iter().map(|change| change.place).collect();
        out.extend(changed.into_iter().map(|Change { place, row, by }| IslandOutput::Element(place, row, by)));
        let standing = renewed.things.iter().filter_map(|thing| Some((*thing, self.inventory.standing(*thing)?)));
        self.board.update(now, standing, places.into_iter(), out);
    }

    fn hold(&self, out: &mut Vec<IslandOutput>) {
        out.extend(self.inventory.rows().map(|(place, row)| IslandOutput::Element(place, row, 1)));
        self.board.hold(out);
    }
}

/// Keeps the topology up to date. All rows of a region meet on one worker: a switch can join any two islands.
pub fn islands<'scope>(inputs: Rows<'scope, IslandInput>, registry: &Registry) -> Rows<'scope, IslandOutput> {
    sealed(inputs, "Islands", registry, |_| 0, Islands::default())
}
