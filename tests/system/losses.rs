//! Sudden losses, seen from outside: the epoch in which a unit trips and a corridor opens has the new islands, what each is short
//! of and the loads that are shed; nothing waits for the first estimate of a part that broke off.

use std::collections::BTreeMap;

use gridflow_inputs::ids::{BusId, IslandId};
use gridflow_inputs::input::{Quality, Quantity, SwitchStatus};
use gridflow_inputs::network::EquipmentKind;
use gridflow_inputs::units::MilliWatts;
use gridflow_inputs::{Epoch, Input};
use gridflow_operators::decision::{Deficit, Output, Shed, Stream};

use crate::support::{assert_same_bytes, changelog, epochs, record_demo, replay_into, scratch, workers, write_log};

const MW: i64 = 1_000_000_000;

// REQ: GRID-13
#[test]
fn the_epoch_of_a_loss_has_its_islands_their_deficits_and_what_is_shed() {
    let dir = scratch();
    let log = dir.path().join("log");
    record_demo(&log, 4, 43);
    let mut all = epochs(&log);
    let part = [6, 11, 12, 13].map(BusId);
    // The unit at bus 6 cannot carry the part that will break off.
    let mut tripped = None;
    for row in &mut all[0].1 {
        if let Input::Generator(row) = row {
            row.p_max = if row.bus == BusId(6) { MilliWatts(12 * MW) } else { row.p_max };
            if row.bus == BusId(2) {
                tripped = Some(row.clone());
            }
        }
    }
    let mut tripped = tripped.expect("there is a unit at bus 2");
    let crosses = |row: &Input| match row {
        Input::Branch(row) if part.contains(&row.from) != part.contains(&row.to) => Some(row.id.0),
        _ => None,
    };
    let corridor: Vec<u32> = all[0].1.iter().filter_map(crosses).collect();
    assert_eq!(corridor.len(), 3);
    let switches: Vec<_> = all[0]
        .1
        .iter()
        .filter_map(|row| match row {
            Input::Switch(row) if row.equipment == EquipmentKind::Branch && corridor.contains(&row.equipment_id) => Some(row.id),
            _ => None,
        })
        .collect();
    assert!(switches.len() >= corridor.len());
    // Between two ticks of the estimator, and of the dispatch.
    let lost = all[92].0;
    for switch in switches {
        all[92].1.push(SwitchStatus { switch, event_ms: lost as i64, closed: false, quality: Quality::Good }.into());
    }
    (tripped.valid_from_ms, tripped.in_service) = (lost as i64, false);
    all[92].1.push(tripped.clone().into());
    let (log, out) = (dir.path().join("lost"), dir.path().join("out"));
    write_log(&log, &all);
    replay_into(&log, &out, workers(2));
    let other = dir.path().join("one");
    replay_into(&log, &other, workers(1));
    assert_same_bytes(&out, &other, "one worker");

    let estimates = changelog(&out, Stream::Estimate);
    assert!(!lost.is_multiple_of(5_000), "a tick rings just then, so this shows nothing");
    let (last, told) = estimates.range(..lost).next_back().expect("there was an estimate");
    let estimate = told.iter().find_map(|(row, change)| match row {
        Output::Estimate(row) if *change > 0 => Some(row),
        _ => None,
    });
    let estimate = estimate.expect("it was told anew");
    assert!(lost - last < 5_000);

    // What loads of the part drew, from the rows themselves: at bus 6, where a unit feeds, by the meter of its load.
    let network = &all[0].1;
    let at_six = network.iter().find_map(|row| match row {
        Input::Load(row) if row.bus == BusId(6) => Some(row.id.0),
        _ => None,
    });
    let meter = network.iter().find_map(|row| match row {
        Input::Sensor(row) if row.quantity == Quantity::ActiveLoad && Some(row.element_id) == at_six => Some(row.id),
        _ => None,
    });
    let newest = all[..=92].iter().flat_map(|(_, rows)| rows).filter_map(|row| match row {
        Input::Measurement(row) if Some(row.sensor) == meter && row.quality == Quality::Good => Some((row.event_ms, row.value)),
        _ => None,
    });
    let mut expected = newest.max().map(|(_, value)| value).expect("the load is metered");
    expected -= estimate.buses.iter().filter(|state| [11, 12, 13].contains(&state.bus.0)).map(|state| state.p.0).sum::<i64>();

    let deficits = changelog(&out, Stream::Deficit);
    let at = |changelog: &BTreeMap<Epoch, Vec<(Output, i64)>>, epoch: Epoch| -> Vec<Output> {
        changelog.get(&epoch).into_iter().flatten().filter(|(_, change)| *change > 0).map(|(row, _)| row.clone()).collect()
    };
    let of = |island: u32| -> Deficit {
        let found = at(&deficits, lost).into_iter().find_map(|row| match row {
            Output::Deficit(row) if row.island == IslandId(island) => Some(row),
            _ => None,
        });
        found.expect("the island is touched in this epoch")
    };
    let broken_off = of(2);
    assert!((broken_off.load.0 - expected).abs() <= 10, "{broken_off:?} against {expected}");
    assert_eq!((broken_off.energised, broken_off.nominal, broken_off.since_ms), (true, MilliWatts(0), lost as i64));
    assert!(broken_off.deficit.0 > broken_off.reserve.0, "it could carry itself, so this shows nothing: {broken_off:?}");
    let rest = of(1);
    assert!(rest.energised && rest.nominal == MilliWatts(0));

    // Shed in the same epoch: what the unit cannot give, by what was drawn before.
    let shed: Vec<Shed> = at(&changelog(&out, Stream::Shed), lost)
        .into_iter()
        .filter_map(|row| match row {
            Output::Shed(row) if row.island == IslandId(2) => Some(row),
            _ => None,
        })
        .collect();
    let cut: i64 = shed.iter().map(|row| row.load_p.0).sum();
    let short = broken_off.load.0 - 12 * MW;
    assert!(shed.iter().all(|row| row.decided_ms == lost as i64), "{shed:?}");
    assert!(cut >= short && cut <= short + broken_off.load.0 / 5, "{cut} of {short}: {shed:?}");
}
