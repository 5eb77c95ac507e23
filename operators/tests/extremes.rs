//! The door and the accounts behind it, at the ends of what numbers can say. The whole region is put through the same in
//! `dataflows/tests/extremes.rs`.

use gridflow_inputs::ids::{SensorId, SourceId, SwitchId, ZoneId};
use gridflow_inputs::input::{History, Measurement, Quality, SwitchStatus};
use gridflow_inputs::matpower::{self, IEEE14};
use gridflow_inputs::units::{MAX_MAGNITUDE, MilliCelsius, MilliWatts};
use gridflow_inputs::{Input, Kind, Sequenced};
use gridflow_inputs::{input, row};
use gridflow_operators::accounts::{AccountInput, accounts};
use gridflow_operators::decision::{Kpi, Measure, Output, Reason, Rejected};
use gridflow_operators::features::{Part, figure_part};
use gridflow_operators::hygiene::{hygiene, malformed, refusal};
use gridflow_operators::sealed::{Clock, Feed};
use gridflow_operators::telemetry::Partial;
use proptest::prelude::*;
use timely::dataflow::operators::capture::Extract;
use timely::dataflow::operators::{Capture, ToStream};

/// Rows made from the schema, as the log's own tests make them; it reads `crate::input` and `crate::row`.
#[path = "../../inputs/src/log/strategy.rs"]
#[allow(dead_code)] // the log's tests use the rest
mod strategy;

/// What passes the door, and what is refused there.
fn pass(feed: Vec<Feed>) -> (Vec<Feed>, Vec<Output>) {
    let (sound, refused) = timely::example(move |scope| {
        let (sound, refused) = hygiene(feed.to_stream(scope).container::<Vec<_>>());
        (sound.capture(), refused.capture())
    });
    let refused = refused.extract().into_iter().flat_map(|(_, rows)| rows).map(|(row, change)| {
        assert_eq!(change, 1);
        row
    });
    (sound.extract().into_iter().flat_map(|(_, rows)| rows).collect(), refused.collect())
}

fn fed(input: Input) -> Feed {
    Feed::Row(Sequenced { epoch: 0, sequence: 7, input })
}

#[test]
fn a_sound_network_passes_the_door() {
    let file = matpower::read("ieee14.m", IEEE14).expect("the embedded network can be read");
    let rows: Vec<Feed> = file.network.into_rows().into_iter().map(fed).collect();
    let (sound, refused) = pass(rows.clone());
    assert_eq!((sound, refused), (rows, vec![]));
}

#[test]
fn what_no_row_can_say_is_refused_once_with_its_place_and_number() {
    let load = MilliWatts(MAX_MAGNITUDE + 1);
    let (renewable, temperature) = (MilliWatts(0), MilliCelsius(0));
    let row = Input::from(History { zone: ZoneId(3), start_ms: 0, load, renewable, temperature });
    // A row that every worker gets comes beside the copy that one worker owns.
    let (sound, refused) = pass(vec![
        fed(row.clone()),
        Feed::Everywhere(0, Sequenced { epoch: 0, sequence: 0, input: row }),
        Feed::Clock(Clock { worker: 0, ticks: vec![] }),
    ]);
    assert_eq!(sound.len(), 1, "the epoch passes");
    let (kind, source, reason) = (Kind::History as u8, SourceId(0), Reason::Malformed);
    assert_eq!(refused, [Rejected { epoch: 0, sequence: 7, kind, source, subject: 3, reason, detail: load.0 }.into()]);
}

#[test]
fn readings_are_left_to_telemetry_which_knows_their_sensors() {
    let row = Measurement { sensor: SensorId(1), event_ms: i64::MIN, revision: 0, value: i64::MAX, quality: Quality::Good };
    assert_eq!(malformed(&row.into()), None);
    let row = SwitchStatus { switch: SwitchId(1), event_ms: i64::MIN, closed: true, quality: Quality::Good };
    assert_eq!(malformed(&row.into()), Some(i64::MIN));
}

proptest! {
    #[test]
    fn every_row_passes_or_is_refused_and_none_vanishes(row in strategy::input()) {
        let expected = refusal(0, &row);
        let (sound, refused) = pass(vec![fed(row.clone())]);
        prop_assert_eq!((sound.len(), refused.len()), if expected.is_some() { (0, 1) } else { (1, 0) });
        prop_assert!(expected.is_some() || matches!(row, Input::Measurement(_)) || row.implausible().is_none());
    }
}

fn figure(value: i128) -> AccountInput {
    let (zone, measure) = (ZoneId(1), Measure::LoadEnergy);
    AccountInput::Partial(Partial::Figure { zone, measure, start_ms: -905_000, value })
}

#[test]
fn a_key_figure_beyond_what_a_row_holds_is_stated_as_the_greatest() {
    let out = timely::example(|scope| {
        let inputs =
            vec![figure(i64::MAX.into()), figure(i64::MAX.into()), figure(1), AccountInput::Clock(Clock { worker: 0, ticks: vec![] })];
        accounts(inputs.to_stream(scope).container::<Vec<_>>(), &gridflow_operators::state::Registry::default()).capture()
    });
    let rows: Vec<_> = out.extract().into_iter().flat_map(|(_, rows)| rows).collect();
    assert!(matches!(&rows[..], [(Output::Kpi(Kpi { value: i64::MAX, .. }), 1)]), "{rows:?}");
}

#[test]
fn the_mean_power_of_an_absurd_figure_is_what_a_row_may_hold() {
    for (value, mean) in [(i64::MAX, MAX_MAGNITUDE), (i64::MIN, -MAX_MAGNITUDE), (25, 100)] {
        let row = Kpi { zone: ZoneId(1), measure: Measure::LoadEnergy, start_ms: 0, length_ms: 900_000, revision: 0, value };
        let Some((_, Part::Load(_, p))) = figure_part(&row) else { panic!("a load") };
        assert_eq!(p, MilliWatts(mean));
    }
}
