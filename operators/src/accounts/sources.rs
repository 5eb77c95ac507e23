//! What became of the readings of each source: a row of `gap` for each epoch in which it sent any, and an alarm for a
//! source whose clock must be wrong.
//!
//! A clock is judged at the ticks of the estimator by the readings since it was judged last, once these are enough. Its
//! readings are still taken or refused one by one.

use std::collections::BTreeMap;

use gridflow_inputs::Epoch;
use gridflow_inputs::ids::{FeederId, SourceId};
use gridflow_inputs::network::EquipmentKind;
use serde::{Deserialize, Serialize};

use crate::decision::{Alarm, AlarmKind, Gap, Output};
use crate::telemetry::Counts;

/// A clock is judged by so many readings or more.
pub const CLOCK_READINGS: u64 = 20;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Source {
    received: u64,
    untimely: u64,
    alarm: Option<Alarm>,
}

/// Sources that were heard of since their clock was judged, or whose clock is wrong.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Sources(BTreeMap<SourceId, Source>);

impl Sources {
    pub(super) fn take(&mut self, epoch: Epoch, gaps: &BTreeMap<SourceId, Counts>, judge: bool, out: &mut Vec<(Output, i64)>) {
        for (source, counts) in gaps {
            let [received, applied, rejected, late, duplicate] =
                [counts.received, counts.applied, counts.rejected, counts.late, counts.duplicate].map(|count| count as i64);
            out.push((Gap { epoch, source: *source, received, applied, rejected, late, duplicate }.into(), 1));
            let known = self.0.entry(*source).or_default();
            known.received += counts.received;
            known.untimely += counts.untimely;
        }
        if !judge {
            return;
        }
        for (source, known) in self.0.iter_mut().filter(|(_, known)| known.received >= CLOCK_READINGS) {
            let wrong = 2 * known.untimely >= known.received;
            (known.received, known.untimely) = (0, 0);
            if wrong == known.alarm.is_some() {
                continue;
            }
            match known.alarm.take() {
                Some(alarm) => out.push((alarm.into(), -1)),
                None => {
                    let (kind, equipment, id) = (AlarmKind::Clock, EquipmentKind::Zone, source.0);
                    let alarm = Alarm { kind, equipment, id, feeder: FeederId(0), since_ms: epoch as i64 };
                    out.push((alarm.clone().into(), 1));
                    known.alarm = Some(alarm);
                }
            }
        }
        self.0.retain(|_, known| known.received > 0 || known.alarm.is_some());
    }

    pub(super) fn load(&mut self, saved: Self, mine: &dyn Fn(u64) -> bool) {
        self.0.extend(saved.0.into_iter().filter(|(source, _)| mine(u64::from(source.0))));
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.len() * 80
    }
}
