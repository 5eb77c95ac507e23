//! Facts of the engine itself that an operator must see: replicas that differ raise an alarm naming stream and epoch.
//!
//! Such an alarm stands until somebody acknowledges it: what differed once is not cured by agreeing later. A divergence of
//! something that is no stream is refused.

use std::collections::BTreeMap;

use gridflow_inputs::ids::FeederId;
use gridflow_inputs::input::{CommandKind, EngineFactKind, Sequenced};
use gridflow_inputs::network::EquipmentKind;
use gridflow_inputs::{Epoch, Input};
use timely::dataflow::operators::vec::Filter;

use crate::decision::{Alarm, AlarmKind, Output, Reason, Stream};
use crate::hygiene::rejected;
use crate::sealed::{Feed, Logic, Rows, sealed};
use crate::state::{Registry, State, StateError, decode, encode};

/// Alarms that stand, by the number of the stream.
#[derive(Default)]
struct Facts(BTreeMap<u32, Alarm>);

impl State for Facts {
    fn save(&self) -> Vec<u8> {
        encode(&self.0)
    }

    fn load(&mut self, saved: &[u8], mine: &dyn Fn(u64) -> bool) -> Result<(), StateError> {
        if mine(0) {
            self.0.extend(decode::<BTreeMap<u32, Alarm>>(saved)?);
        }
        Ok(())
    }
}

impl Logic for Facts {
    type Row = Feed;
    type Result = (Output, i64);

    fn epoch(&mut self, epoch: Epoch, rows: &mut Vec<Feed>, out: &mut Vec<(Output, i64)>) {
        for row in rows.drain(..) {
            match row {
                Feed::Row(Sequenced { sequence, input: Input::EngineFact(fact), .. }) if fact.kind == EngineFactKind::Divergence => {
                    let Some(id) = Stream::from_name(&fact.subject).map(|stream| stream as u32) else {
                        // An alarm about nothing could stand for another, and be acknowledged with it.
                        let value = fact.value;
                        out.push((rejected(epoch, sequence, &Input::EngineFact(fact), (Reason::Unknown, value)), 1));
                        continue;
                    };
                    self.0.entry(id).or_insert_with(|| {
                        let alarm = Alarm {
                            kind: AlarmKind::Divergence,
                            equipment: EquipmentKind::Zone,
                            id,
                            feeder: FeederId(0),
                            since_ms: fact.value,
                        };
                        out.push((alarm.clone().into(), 1));
                        alarm
                    });
                }
                Feed::Row(Sequenced { input: Input::OperatorCommand(order), .. })
                    if order.kind == CommandKind::Acknowledge && order.equipment == EquipmentKind::Zone =>
                {
                    out.extend(self.0.remove(&order.equipment_id).map(|alarm| (alarm.into(), -1)));
                }
                _ => {}
            }
        }
    }
}

/// Alarms that facts of the engine raise, and refusals of those that say nothing.
pub fn facts<'scope>(feed: Rows<'scope, Feed>, registry: &Registry) -> Rows<'scope, (Output, i64)> {
    let told = |feed: &Feed| matches!(feed, Feed::Row(row) if matches!(row.input, Input::EngineFact(_) | Input::OperatorCommand(_)));
    sealed(feed.filter(told), "Facts", registry, |_| 0, Facts::default())
}

#[cfg(test)]
mod tests {
    use gridflow_inputs::input::{EngineFact, OperatorCommand};
    use gridflow_inputs::units::MilliWatts;

    use super::*;

    #[test]
    fn a_divergence_is_an_alarm_until_it_is_acknowledged() {
        let row = |input: Input| Feed::Row(Sequenced { epoch: 9_000, sequence: 0, input });
        let fact = |value| row(EngineFact { kind: EngineFactKind::Divergence, event_ms: 1, subject: "price".into(), value }.into());
        let order = OperatorCommand {
            id: 1,
            event_ms: 2,
            operator: "ada".into(),
            kind: CommandKind::Acknowledge,
            equipment: EquipmentKind::Zone,
            equipment_id: Stream::Price as u32,
            p: MilliWatts(0),
            expires_ms: 0,
        };
        let mut facts = Facts::default();
        let mut out = Vec::new();
        facts.epoch(9_000, &mut vec![fact(7_000), fact(8_000)], &mut out);
        let mut again = Facts::default();
        again.load(&facts.save(), &|_| true).unwrap();
        again.epoch(10_000, &mut vec![row(order.into())], &mut out);
        let alarm: Output = Alarm {
            kind: AlarmKind::Divergence,
            equipment: EquipmentKind::Zone,
            id: Stream::Price as u32,
            feeder: FeederId(0),
            since_ms: 7_000,
        }
        .into();
        assert_eq!(out, [(alarm.clone(), 1), (alarm, -1)]);
    }

    #[test]
    fn a_divergence_of_what_is_no_stream_is_refused_and_stands_for_no_other() {
        let row = |sequence, input: Input| Feed::Row(Sequenced { epoch: 9_000, sequence, input });
        let fact = |sequence, subject: &str, value| {
            row(sequence, EngineFact { kind: EngineFactKind::Divergence, event_ms: 1, subject: subject.into(), value }.into())
        };
        let mut facts = Facts::default();
        let mut out = Vec::new();
        facts.epoch(9_000, &mut vec![fact(3, "priec", 7_000), fact(4, "", 8_000), fact(5, "price", 8_500)], &mut out);
        let refused: Vec<_> = out
            .iter()
            .filter_map(|(row, change)| match row {
                Output::Rejected(row) => Some((row.epoch, row.sequence, row.kind, row.reason, row.detail, *change)),
                _ => None,
            })
            .collect();
        let kind = gridflow_inputs::Kind::EngineFact as u8;
        assert_eq!(refused, [(9_000, 3, kind, Reason::Unknown, 7_000, 1), (9_000, 4, kind, Reason::Unknown, 8_000, 1)]);
        assert_eq!((out.len(), facts.0.len()), (3, 1));
    }
}
