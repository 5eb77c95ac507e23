//! The way of rows to the sequencer: two bounded queues, so that what keeps the grid stable never waits behind what does
//! not, and nothing is dropped: who offers a row to a full queue waits.
//!
//! First go switch states, frequency, synchrophasors, orders and facts, and reference rows, because no row may overtake
//! the one that defines its switch or sensor. Within a queue order is kept. When the sequencer falls behind, its next
//! epoch holds more rows and the epochs between are skipped.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard};

use gridflow_inputs::Input;
use gridflow_inputs::ids::SensorId;
use gridflow_inputs::input::Quantity;
use serde::Serialize;

/// Rows on their way to the sequencer.
#[derive(Debug)]
pub struct Intake {
    queues: Mutex<Queues>,
    room: Condvar,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Queues {
    first: VecDeque<Input>,
    rest: VecDeque<Input>,
    /// Sensors of frequency, learnt from their rows.
    frequency: BTreeSet<SensorId>,
    closed: bool,
    pressure: Pressure,
}

/// How hard the queues were pressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pressure {
    /// Most rows that ever waited.
    pub waiting_max: usize,
    /// How often somebody had to wait for room.
    pub blocked: u64,
}

impl Queues {
    fn goes_first(&mut self, row: &Input) -> bool {
        match row {
            Input::Sensor(sensor) => {
                if sensor.quantity == Quantity::Frequency {
                    self.frequency.insert(sensor.id);
                }
                true
            }
            Input::Measurement(reading) => self.frequency.contains(&reading.sensor),
            Input::SwitchStatus(_) | Input::StepPosition(_) | Input::PmuSample(_) | Input::OperatorCommand(_) | Input::EngineFact(_) => {
                true
            }
            Input::Region(_) | Input::Bus(_) | Input::Branch(_) | Input::Transformer(_) | Input::Switch(_) | Input::Generator(_) => true,
            Input::NodeSwitch(_) | Input::StaticVar(_) | Input::ShuntBank(_) | Input::OutageRequest(_) | Input::ContingencyElement(_) => {
                true
            }
            Input::Load(_) | Input::Shunt(_) | Input::Storage(_) | Input::DcLine(_) | Input::FeederAssignment(_) => true,
            _ => false,
        }
    }
}

impl Intake {
    /// Queues of at most `capacity` rows each.
    ///
    /// # Panics
    /// When nothing would fit.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a queue holds a row");
        Self { queues: Mutex::default(), room: Condvar::new(), capacity }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().expect("queueing does not panic")
    }

    /// Queues a row, waiting for room as long as it takes; `false` when the intake is closed and the row was not taken.
    pub fn offer(&self, row: Input) -> bool {
        let mut queues = self.lock();
        let first = queues.goes_first(&row);
        let mut waited = false;
        loop {
            if queues.closed {
                return false;
            }
            let length = if first { queues.first.len() } else { queues.rest.len() };
            if length < self.capacity {
                break;
            }
            if !waited {
                queues.pressure.blocked += 1;
                waited = true;
            }
            queues = self.room.wait(queues).expect("queueing does not panic");
        }
        if first {
            queues.first.push_back(row)
        } else {
            queues.rest.push_back(row)
        }
        let waiting = queues.first.len() + queues.rest.len();
        queues.pressure.waiting_max = queues.pressure.waiting_max.max(waiting);
        true
    }

    /// Takes at most `limit` rows: all that go first before the others.
    pub fn take(&self, limit: usize) -> Vec<Input> {
        let mut queues = self.lock();
        let first = queues.first.len().min(limit);
        let rest = queues.rest.len().min(limit - first);
        let mut rows: Vec<Input> = queues.first.drain(..first).collect();
        rows.extend(queues.rest.drain(..rest));
        self.room.notify_all();
        rows
    }

    /// Takes no more rows; what is queued can still be taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.room.notify_all();
    }

    /// Whether nothing is queued and nothing will be.
    pub fn is_done(&self) -> bool {
        let queues = self.lock();
        queues.closed && queues.first.is_empty() && queues.rest.is_empty()
    }

    /// How hard the queues were pressed so far.
    pub fn pressure(&self) -> Pressure {
        self.lock().pressure
    }
}

#[cfg(test)]
mod tests {
    use gridflow_inputs::ids::SwitchId;
    use gridflow_inputs::input::{Measurement, Quality, SwitchStatus};

    use super::*;

    fn reading(number: i64) -> Input {
        Measurement { sensor: SensorId(1), event_ms: number, revision: 0, value: number, quality: Quality::Good }.into()
    }

    fn status(number: i64) -> Input {
        SwitchStatus { switch: SwitchId(1), event_ms: number, closed: true, quality: Quality::Good }.into()
    }

    #[test]
    fn a_flood_of_readings_waits_and_is_never_dropped_and_a_switch_goes_before_it() {
        const READINGS: i64 = 20_000;
        let intake = Intake::new(500);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..READINGS).for_each(|number| assert!(intake.offer(reading(number)))));
            scope.spawn(|| {
                while intake.pressure().waiting_max < 500 {
                    std::thread::yield_now();
                }
                // The queue of readings is full: a switch is taken all the same, without waiting.
                assert!(intake.offer(status(7)));
            });
            let (mut taken, mut switch_at) = (Vec::new(), None);
            while taken.len() < READINGS as usize {
                std::thread::sleep(std::time::Duration::from_micros(300));
                for row in intake.take(200) {
                    match row {
                        Input::SwitchStatus(_) => switch_at = Some(taken.len()),
                        row => taken.push(row),
                    }
                }
            }
            assert_eq!(taken, (0..READINGS).map(reading).collect::<Vec<_>>(), "in order, each once");
            assert!(switch_at.is_some_and(|at| at < READINGS as usize - 500), "it overtook the flood: {switch_at:?}");
        });
        let pressure = intake.pressure();
        assert!(pressure.waiting_max <= 501 && pressure.blocked > 0, "{pressure:?}");
        intake.close();
        assert!(intake.is_done() && !intake.offer(reading(0)));
    }
}
