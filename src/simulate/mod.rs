//! A region that does not exist: network, weather, loads, units, sensors, faults, all from one seed.
//!
//! [`Simulation`] gives epoch after epoch the rows a control centre would receive, in order of arrival, and now and then
//! the truth behind them. Same settings, network and profiles: same rows, bit for bit; no clock, no threads. Memory
//! does not grow with the run: what is kept is the grid's state and the rows on their way.
//!
//! Times are UTC milliseconds; epochs are seconds. Readings taken in a second arrive in later ones. Ticks are not rows
//! of the simulation: the sequencer adds them.

mod background;
mod channel;
#[cfg(test)]
mod channel_tests;
mod config;
mod dispatch;
mod drivers;
mod events;
mod outcome;
mod random;
mod sensors;
mod state;
mod storage;
#[cfg(test)]
mod tests;
mod truth;
mod weather;

pub use config::{Accuracy, ChannelConfig, EventConfig, SimulationConfig};
pub use outcome::{Happening, SimulationError, SimulationSummary};
pub use state::TruthStep;

use channel::Channel;
use drivers::Drivers;
use events::Events;
use gridflow_inputs::input::Input;
use gridflow_inputs::network_file::NetworkFile;
use gridflow_inputs::profiles::{Profiles, RTS_UTC_OFFSET_MS};
use gridflow_numerics::case::Case;
use random::{Purpose, Random, SmoothNoise};
use sensors::Fleet;
use storage::StorageUnit;
use truth::Truth;
use weather::Climate;

use crate::networks::switch_normally;

/// First epoch when neither settings nor profiles say one: 2020-01-29 00:00 UTC.
const START_MS: i64 = 1_580_256_000_000;

/// What arrives in one epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedEpoch {
    /// UTC milliseconds, a multiple of 1,000.
    pub epoch: u64,
    /// The rows, in order of arrival; may be none.
    pub rows: Vec<Input>,
    /// The truth at this time, as often as the settings say.
    pub truth: Option<TruthStep>,
}

/// A seeded region, epoch by epoch.
pub struct Simulation {
    truth: Truth,
    fleet: Fleet,
    channel: Channel,
    events: Events,
    /// Rows of the first epoch, until it is given.
    opening: Vec<Input>,
    summary: SimulationSummary,
    start_ms: i64,
    end_ms: i64,
    next_ms: i64,
    period_ms: i64,
    truth_every_ms: i64,
}

impl Simulation {
    /// A simulation of a network, driven by profiles as far as they go.
    ///
    /// # Errors
    /// When a setting makes no sense, the network is no case or has no first power flow, a load profile does not cover the
    /// run, or more sensors are wanted than there are things to measure.
    pub fn new(config: SimulationConfig, file: NetworkFile, profiles: Option<Profiles>) -> Result<Self, SimulationError> {
        config.check()?;
        let network = file.network;
        // True is what the switches say; recorded are the rows as they stand beside them.
        let mut normal = network.clone();
        switch_normally(&mut normal);
        let case = Case::new(file.base_power.mva(), &normal)?;
        let start_ms = config.start_ms.unwrap_or_else(|| default_start(profiles.as_ref()));
        let length_ms = i64::from(config.minutes) * 60_000;
        let end_ms = start_ms + length_ms;
        let period_ms = i64::from(config.period_s) * 1_000;
        let default_offset = if file.name.to_ascii_uppercase().starts_with("RTS") { RTS_UTC_OFFSET_MS } else { 0 };
        let utc_offset_ms = config.utc_offset_ms.unwrap_or(default_offset);
        let climate = Climate { noise: SmoothNoise::new(config.seed), utc_offset_ms, latitude_deg: config.latitude_deg };
        let drivers = Drivers::new(climate, &normal, profiles);
        drivers.check_range(start_ms, end_ms)?;
        let mut summary = SimulationSummary { unused_profiles: drivers.unused.clone(), ..SimulationSummary::default() };
        let units = normal.storages.iter().filter(|unit| unit.in_service);
        let mut storages =
            Vec::from_iter(units.filter_map(|unit| Some((case.bus_index(unit.bus)?, StorageUnit::new(unit, utc_offset_ms)))));
        storages.sort_by_key(|(_, unit)| unit.id());
        let loads = case.loads.len();
        let truth = Truth::new(case, drivers, storages, config.seed, period_ms, start_ms, &mut summary)?;
        let mut random = Random::new(config.seed, Purpose::Fleet);
        let (fleet, sensors) = Fleet::new(&truth.whole, loads, &truth.state, &config.accuracy, config.sensors, period_ms, &mut random)?;
        let channel = Channel::new(&config.channel, config.seed, fleet.len(), start_ms, length_ms);
        let random = Random::new(config.seed, Purpose::Events);
        let events = Events::new(&config.events, &network, start_ms, length_ms, period_ms, random);
        summary.sensors = fleet.len() as u64;
        let mut opening = vec![Input::from(background::region(&config, &file.name, file.base_power, utc_offset_ms))];
        opening.extend(network.into_rows());
        opening.extend(sensors.into_iter().map(Input::from));
        opening.extend(background::opening(&truth.drivers, start_ms));
        let truth_every_ms = i64::from(config.truth_every_s) * 1_000;
        Ok(Self { truth, fleet, channel, events, opening, summary, start_ms, end_ms, next_ms: start_ms, period_ms, truth_every_ms })
    }

    /// First epoch, UTC milliseconds.
    #[must_use]
    pub fn start_ms(&self) -> i64 {
        self.start_ms
    }

    /// Last epoch, UTC milliseconds.
    #[must_use]
    pub fn end_ms(&self) -> i64 {
        self.end_ms
    }

    /// What was done so far.
    #[must_use]
    pub fn summary(&self) -> &SimulationSummary {
        &self.summary
    }

    /// The second that ends at an epoch: readings, then what changes, then what arrives.
    fn advance(&mut self, epoch_ms: i64) -> SimulatedEpoch {
        let mut rows = std::mem::take(&mut self.opening);
        if epoch_ms > self.start_ms {
            self.measure(epoch_ms - 1_000);
            self.move_truth(epoch_ms);
        }
        background::due(&self.truth, &mut self.channel, epoch_ms, epoch_ms == self.start_ms);
        self.channel.arrived(epoch_ms, &mut rows);
        let due = self.truth_every_ms > 0 && epoch_ms.rem_euclid(self.truth_every_ms) == 0;
        let truth = due.then(|| self.truth.state.step(&self.truth.whole, epoch_ms));
        self.summary.epochs += 1;
        self.summary.rows += rows.len() as u64;
        self.summary.measurements += rows.iter().filter(|row| matches!(row, Input::Measurement(_))).count() as u64;
        self.summary.in_flight = self.channel.in_flight();
        SimulatedEpoch { epoch: epoch_ms as u64, rows, truth }
    }

    /// Readings within the second that begins at `second_ms`.
    fn measure(&mut self, second_ms: i64) {
        let within = second_ms.rem_euclid(self.period_ms);
        let period_start = second_ms - within;
        for instrument in self.fleet.second((within / 1_000) as usize) {
            let truth = instrument.true_value(&self.truth.whole, &self.truth.state);
            self.channel.read(instrument, period_start + instrument.phase_ms, truth, &mut self.summary);
        }
    }

    /// The truth's step, when one is due.
    fn move_truth(&mut self, epoch_ms: i64) {
        if epoch_ms.rem_euclid(self.period_ms) != 0 {
            return;
        }
        for status in self.events.apply(epoch_ms, &mut self.truth, &mut self.summary) {
            let arrival = epoch_ms + self.channel.short_delay();
            self.channel.send(arrival, status);
        }
        self.truth.step(epoch_ms, &mut self.summary);
    }
}

impl Iterator for Simulation {
    type Item = Result<SimulatedEpoch, SimulationError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next_ms > self.end_ms {
            return None;
        }
        let epoch_ms = self.next_ms;
        self.next_ms += 1_000;
        Some(Ok(self.advance(epoch_ms)))
    }
}

/// 28 days behind the latest first step of all profiles, on a full second, so that the history rests on them.
fn default_start(profiles: Option<&Profiles>) -> i64 {
    let first = profiles.and_then(|profiles| profiles.series.values().map(|series| series.start_ms).max());
    first.map_or(START_MS, |first| (first + background::HISTORY_MS).div_euclid(1_000) * 1_000)
}
