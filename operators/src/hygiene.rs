//! Hygiene: the door that every row passes before any operator sees it. A row that says what no sound row can say is
//! refused here, as a row of `rejected`, so that nothing behind the door has to fear for its sums.
//!
//! Refused are numbers beyond [`Canonical::implausible`](gridflow_inputs::row::Canonical::implausible) and values that
//! contradict their own meaning (a negative lateness, a base power of zero). What depends on other rows (an unknown
//! sensor, a branch to a bus that does not exist) is for the operators that know those rows.

use gridflow_inputs::ids::SourceId;
use gridflow_inputs::network::EquipmentKind;
use gridflow_inputs::time::DAY_MS;
use gridflow_inputs::{Epoch, Input, MAX_EPOCH};
use timely::dataflow::operators::core::OkErr;
use timely::dataflow::operators::vec::Map;

use crate::decision::{Output, Reason, Rejected};
use crate::sealed::{Feed, Rows};
use crate::telemetry::FUTURE_MS;

/// The number for which a row is malformed, if it is.
#[must_use]
pub fn malformed(row: &Input) -> Option<i64> {
    if matches!(row, Input::Measurement(_)) {
        // Telemetry knows the sensor and refuses its readings by range and by name.
        return None;
    }
    let negative = |numbers: &[i64]| numbers.iter().copied().find(|number| *number < 0);
    row.implausible().or_else(|| match row {
        Input::Region(row) => negative(&[row.base_power.0 - 1, row.lateness_scada_ms, row.lateness_meter_ms])
            .or_else(|| Some(row.utc_offset_ms).filter(|offset| offset.abs() > DAY_MS)),
        Input::Sensor(row) => {
            negative(&[row.sigma, row.period_ms]).or_else(|| Some(row.range_min).filter(|_| row.range_min > row.range_max))
        }
        Input::MeterInterval(row) => negative(&[row.length_ms]),
        Input::ShuntBank(row) => Some(i64::from(row.normally_on)).filter(|_| row.normally_on > row.sections),
        Input::OutageRequest(row) => Some(row.end_ms).filter(|_| row.end_ms <= row.start_ms),
        // Only branches and units fail in contingency analysis.
        Input::ContingencyElement(row) => {
            Some(row.equipment as i64).filter(|_| !matches!(row.equipment, EquipmentKind::Branch | EquipmentKind::Generator))
        }
        Input::Price(row) => negative(&[row.length_ms]),
        Input::Offer(row) => negative(&[row.length_ms]),
        _ => None,
    })
}

/// Number of the sensor, switch … a row is about, and who sent it, as far as the row says.
pub(crate) fn about(row: &Input) -> (u32, SourceId) {
    let subject = match row {
        Input::Sensor(row) => return (row.id.0, row.source),
        Input::Bus(row) => row.id.0,
        Input::Branch(row) => row.id.0,
        Input::Transformer(row) => row.branch.0,
        Input::Switch(row) => row.id.0,
        Input::NodeSwitch(row) => row.id.0,
        Input::Generator(row) => row.id.0,
        Input::StaticVar(row) => row.generator.0,
        Input::Load(row) => row.id.0,
        Input::Shunt(row) => row.id.0,
        Input::ShuntBank(row) => row.shunt.0,
        Input::StepPosition(row) => row.equipment_id,
        Input::OutageRequest(row) => row.equipment_id,
        Input::ContingencyElement(row) => row.equipment_id,
        Input::Storage(row) => row.id.0,
        Input::DcLine(row) => row.id.0,
        Input::FeederAssignment(row) => row.bus.0,
        Input::Measurement(row) => row.sensor.0,
        Input::SwitchStatus(row) => row.switch.0,
        Input::PmuSample(row) => row.sensor.0,
        Input::MeterInterval(row) => row.sensor.0,
        Input::WeatherObservation(row) => row.station.0,
        Input::WeatherForecast(row) => row.station.0,
        Input::Price(row) => row.zone.0,
        Input::Offer(row) => row.participant.0,
        Input::StorageTelemetry(row) => row.storage.0,
        Input::EvTelemetry(row) => row.session.0,
        Input::AssetTelemetry(row) => row.asset.0,
        Input::VenReply(row) => row.participant.0,
        Input::History(row) => row.zone.0,
        Input::Tariff(row) => row.zone.0,
        Input::OperatorCommand(row) => row.equipment_id,
        Input::Region(_) | Input::Policy(_) | Input::ModelParameter(_) | Input::EngineFact(_) | Input::Tick(_) => 0,
    };
    (subject, SourceId(0))
}

/// Why a row is refused at the door, with the number that says so.
///
/// Besides malformed rows these are reports ahead of their arrival, where the newest holds: one of the far future would
/// keep out all that come after it. Readings and switch statuses are refused for it where their sensor or switch is known.
#[must_use]
pub fn refusal(epoch: Epoch, row: &Input) -> Option<(Reason, i64)> {
    let reported_ms = match row {
        Input::StorageTelemetry(row) => Some(row.event_ms),
        Input::WeatherObservation(row) => Some(row.event_ms),
        Input::WeatherForecast(row) => Some(row.issued_at_ms),
        Input::History(row) => Some(row.start_ms),
        Input::OutageRequest(row) => Some(row.event_ms),
        Input::ContingencyElement(row) => Some(row.event_ms),
        _ => None,
    };
    let ahead = reported_ms.filter(|event_ms| *event_ms > epoch as i64 + FUTURE_MS).map(|event_ms| (Reason::Future, event_ms));
    malformed(row).map(|detail| (Reason::Malformed, detail)).or(ahead)
}

/// The row of `rejected` for a refused row.
pub(crate) fn rejected(epoch: Epoch, sequence: u32, row: &Input, (reason, detail): (Reason, i64)) -> Output {
    let (subject, source) = about(row);
    let kind = row.kind() as u8;
    Rejected { epoch, sequence, kind, source, subject, reason, detail }.into()
}

/// What is sound of a feed, and a row of `rejected` for each row that is not.
///
/// A row that every worker gets is refused once: by the worker that has it as its own.
///
/// # Panics
/// When the feed holds an epoch beyond [`MAX_EPOCH`]: logs refuse those.
#[allow(clippy::result_large_err, reason = "no errors: one of two ways a row goes")]
pub fn hygiene<'scope>(feed: Rows<'scope, Feed>) -> (Rows<'scope, Feed>, Rows<'scope, (Output, i64)>) {
    let within = |epoch: Epoch| assert!(epoch <= MAX_EPOCH, "epoch {epoch} lies beyond {MAX_EPOCH}");
    let (sound, refused) = feed.ok_err::<Vec<Feed>, _, Vec<Option<Output>>, _, _>(move |feed| match &feed {
        Feed::Row(row) => {
            within(row.epoch);
            refusal(row.epoch, &row.input)
                .map_or(Ok(()), |why| Err(Some(rejected(row.epoch, row.sequence, &row.input, why))))
                .map(|()| feed)
        }
        Feed::Everywhere(_, row) => match malformed(&row.input) {
            Some(_) => Err(None),
            None => Ok(feed),
        },
        Feed::Clock(_) => Ok(feed),
    });
    (sound, refused.flat_map(|row| row.map(|row| (row, 1))))
}
