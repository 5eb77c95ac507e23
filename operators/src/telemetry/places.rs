//! Where readings count: buses with their versioned feeders, accounts and zones by dense places.
//!
//! A bus belongs to the feeder its newest assignment valid at a time names; where none is valid, to the feeder of its own
//! number. Every worker knows all assignments; which sensors sit at a bus, each knows of its own share.

use std::collections::BTreeMap;

use gridflow_inputs::ids::ZoneId;
use gridflow_inputs::input::Quantity;

use crate::decision::WindowScope;
use crate::lookup::Lookup;

/// No account: the quantity does not add up.
pub(super) const NOWHERE: u32 = u32::MAX;

/// So many versions of a sensor, and assignments of a bus, may hold at times that are not final: what a row moves, and how
/// long that takes, has a bound.
pub(super) const VERSIONS: usize = 1_024;

/// Whether an assignment can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It says what is known.
    Known,
    /// It can.
    Free,
    /// The bus has [`VERSIONS`] already.
    None,
}

/// Enters what holds from a time on among what holds from others, ascending; of two from the same time the later row holds.
pub(super) fn hold_from<T>(versions: &mut Vec<(i64, T)>, from_ms: i64, value: T) {
    match versions.binary_search_by_key(&from_ms, |(from, _)| *from) {
        Ok(known) => versions[known].1 = value,
        Err(new) => versions.insert(new, (from_ms, value)),
    }
}

/// Takes off what holds at no time at or after `until_ms`.
pub(super) fn drop_until<T>(versions: &mut Vec<(i64, T)>, until_ms: i64) -> std::vec::Drain<'_, (i64, T)> {
    let needed = versions.partition_point(|(from, _)| *from <= until_ms).saturating_sub(1);
    versions.drain(..needed)
}

/// What an account is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AccountKey {
    pub(super) scope: WindowScope,
    pub(super) id: u32,
    pub(super) quantity: Quantity,
}

/// The accounts a reading counts in, and its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) bus: u32,
    pub(super) feeder: u32,
    pub(super) zone: u32,
    /// Place of the zone itself.
    pub(super) tally: u32,
}

#[derive(Debug, Default)]
pub(super) struct Bus {
    pub(super) number: u32,
    /// Feeders by the time they are valid from, ascending.
    pub(super) feeders: Vec<(i64, u32)>,
    /// Sensors that were here in a version still known.
    pub(super) sensors: Vec<u32>,
}

impl Bus {
    /// The feeder at a time.
    pub(super) fn feeder(&self, event_ms: i64) -> u32 {
        let next = self.feeders.partition_point(|(from, _)| *from <= event_ms);
        next.checked_sub(1).map_or(self.number, |last| self.feeders[last].1)
    }

    /// Drops assignments that hold for nothing at or after `until_ms`, and gives back their feeders.
    fn forget(&mut self, until_ms: i64) -> Vec<u32> {
        drop_until(&mut self.feeders, until_ms).map(|(_, feeder)| feeder).collect()
    }
}

/// Buses, accounts and zones.
#[derive(Debug, Default)]
pub(super) struct Places {
    bus_of: Lookup,
    pub(super) buses: Vec<Bus>,
    /// Buses by the number of a feeder they belonged to, besides the bus of that number.
    assigned: BTreeMap<u32, Vec<u32>>,
    account_of: Lookup,
    /// Of buses, and of feeders and zones: the many and the few.
    bus_accounts: Vec<AccountKey>,
    group_accounts: Vec<AccountKey>,
    zone_of: Lookup,
    pub(super) zones: Vec<ZoneId>,
}

impl Places {
    /// The place of a bus, made when there is none.
    pub(super) fn bus(&mut self, number: u32) -> usize {
        let (place, new) = self.bus_of.place(u64::from(number), self.buses.len());
        if new {
            self.buses.push(Bus { number, ..Bus::default() });
        }
        place
    }

    pub(super) fn known_bus(&self, number: u32) -> Option<&Bus> {
        self.bus_of.get(u64::from(number)).map(|place| &self.buses[place as usize])
    }

    /// The place of an account among those of buses or among the others, made when there is none.
    pub(super) fn account(&mut self, scope: WindowScope, id: u32, quantity: Quantity) -> u32 {
        let accounts = if scope == WindowScope::Bus { &mut self.bus_accounts } else { &mut self.group_accounts };
        let (place, new) = self.account_of.place(Self::key(scope, id, quantity), accounts.len());
        if new {
            accounts.push(AccountKey { scope, id, quantity });
        }
        place as u32
    }

    /// Accounts of buses by their place.
    pub(super) fn buses(&self) -> &[AccountKey] {
        &self.bus_accounts
    }

    /// Accounts of feeders and zones by their place.
    pub(super) fn groups(&self) -> &[AccountKey] {
        &self.group_accounts
    }

    /// The place of an account.
    pub(super) fn known_account(&self, scope: WindowScope, id: u32, quantity: Quantity) -> Option<u32> {
        self.account_of.get(Self::key(scope, id, quantity))
    }

    fn key(scope: WindowScope, id: u32, quantity: Quantity) -> u64 {
        (scope as u64) << 48 | (quantity as u64) << 32 | u64::from(id)
    }

    /// The place of a zone, made when there is none.
    pub(super) fn zone(&mut self, zone: ZoneId) -> u32 {
        let (place, new) = self.zone_of.place(u64::from(zone.0), self.zones.len());
        if new {
            self.zones.push(zone);
        }
        place as u32
    }

    /// Whether an assignment can be taken, when what holds at no time at or after `until_ms` may be dropped for it. Workers
    /// drop at times of their own; what is needed is the same on all.
    pub(super) fn room(&mut self, number: u32, from_ms: i64, feeder: u32, until_ms: i64) -> Room {
        let place = self.bus(number);
        let bus = &mut self.buses[place];
        match bus.feeders.binary_search_by_key(&from_ms, |(from, _)| *from) {
            Ok(known) if bus.feeders[known].1 == feeder => return Room::Known,
            Err(_) if bus.feeders.len() >= VERSIONS => {}
            _ => return Room::Free,
        }
        for gone in bus.forget(until_ms) {
            if !bus.feeders.iter().any(|(_, feeder)| *feeder == gone)
                && let Some(buses) = self.assigned.get_mut(&gone)
            {
                buses.retain(|bus| *bus != place as u32);
                if buses.is_empty() {
                    self.assigned.remove(&gone);
                }
            }
        }
        if bus.feeders.len() < VERSIONS { Room::Free } else { Room::None }
    }

    /// Enters an assignment; of two from the same time on the later row holds.
    pub(super) fn assign(&mut self, number: u32, from_ms: i64, feeder: u32) {
        let place = self.bus(number);
        let feeders = &mut self.buses[place].feeders;
        hold_from(feeders, from_ms, feeder);
        let buses = self.assigned.entry(feeder).or_default();
        if !buses.contains(&(place as u32)) {
            buses.push(place as u32);
        }
    }

    /// Sensors that may have counted for a feeder.
    pub(super) fn sensors_of_feeder(&self, feeder: u32) -> Vec<u32> {
        let own = self.known_bus(feeder).into_iter();
        let assigned = self.assigned.get(&feeder).into_iter().flatten().map(|bus| &self.buses[*bus as usize]);
        let mut sensors: Vec<u32> = own.chain(assigned).flat_map(|bus| bus.sensors.iter().copied()).collect();
        sensors.sort_unstable();
        sensors.dedup();
        sensors
    }

    /// Drops assignments that hold for nothing at or after `until_ms`.
    pub(super) fn forget(&mut self, until_ms: i64) {
        for bus in self.buses.iter_mut().filter(|bus| bus.feeders.len() > 1) {
            bus.forget(until_ms);
        }
        for (feeder, buses) in &mut self.assigned {
            buses.retain(|bus| self.buses[*bus as usize].feeders.iter().any(|(_, known)| known == feeder));
        }
        self.assigned.retain(|_, buses| !buses.is_empty());
    }

    pub(super) fn bytes(&self) -> usize {
        let of_bus = |bus: &Bus| size_of::<Bus>() + bus.feeders.capacity() * 16 + bus.sensors.capacity() * 4;
        self.buses.iter().map(of_bus).sum::<usize>()
            + (self.bus_accounts.capacity() + self.group_accounts.capacity()) * size_of::<AccountKey>()
            + self.zones.capacity() * size_of::<ZoneId>()
            + self.assigned.values().map(|buses| 64 + buses.capacity() * 4).sum::<usize>()
            + self.bus_of.bytes()
            + self.account_of.bytes()
            + self.zone_of.bytes()
    }
}
