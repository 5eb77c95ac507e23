//! Whose turn it is: requests that are judged in one epoch, so that many of them hold up neither the switch that asks for all anew
//! nor the contingency view, which has the same threads.
//!
//! As many as [`WORK`] outages on top allow, one at least: those without a verdict first, then those whose verdict is oldest, of
//! equals that which begins first. The rest keep their verdicts, whose rows tell their age, and have their turn at the next ticks of the estimator.

use std::collections::BTreeMap;

use gridflow_inputs::input::OutageRequest;

use super::Kept;

/// Outages on top that are solved for verdicts in one epoch.
pub const WORK: usize = 40_000;

/// Takes from requests that are to be judged those whose turn it is; `outages`: how many there are on top of each.
pub(super) fn turns(
    due: BTreeMap<u64, Vec<OutageRequest>>,
    verdicts: &BTreeMap<u64, Kept>,
    outages: usize,
) -> BTreeMap<u64, Vec<OutageRequest>> {
    let most = (WORK / outages.max(1)).max(1);
    let judged_ms = |id: &u64| verdicts.get(id).and_then(|kept| kept.basis).map(|basis| basis.solved_ms);
    let begins_ms = |rows: &[OutageRequest]| rows.iter().map(|row| row.start_ms).min();
    let mut due = Vec::from_iter(due);
    due.sort_by_key(|(id, rows)| (judged_ms(id), begins_ms(rows), *id));
    due.truncate(most);
    due.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Basis, Kept, Verdict};
    use super::*;
    use crate::decision::Maintenance;
    use gridflow_inputs::network::EquipmentKind;

    fn request(id: u64, start_ms: i64) -> Vec<OutageRequest> {
        let (equipment, equipment_id) = (EquipmentKind::Branch, id as u32);
        vec![OutageRequest { id, event_ms: 0, equipment, equipment_id, start_ms, end_ms: start_ms + 1, withdrawn: false }]
    }

    fn kept(id: u64, solved_ms: i64) -> (u64, Kept) {
        let row = Maintenance {
            request: id,
            island: None,
            start_ms: 0,
            end_ms: 0,
            solved_ms,
            verdict: Verdict::Secure,
            violations: 0,
            present: 0,
            reason: String::new(),
            breaches: Vec::new(),
        };
        (id, Kept { outages: Vec::new(), basis: Some(Basis { solved_ms, changed_ms: 0, estimated: true }), row })
    }

    #[test]
    fn new_requests_come_first_then_the_oldest_verdicts_and_nobody_waits_for_ever() {
        let due =
            || BTreeMap::from([(1, request(1, 50)), (2, request(2, 90)), (3, request(3, 10)), (4, request(4, 70)), (5, request(5, 60))]);
        let mut verdicts = BTreeMap::from([kept(1, 100), kept(3, 200), kept(4, 100)]);
        let chosen = |verdicts: &BTreeMap<u64, Kept>, outages| Vec::from_iter(turns(due(), verdicts, outages).into_keys());
        // 5 begins before 2, both are new; of the others 1 is as old as 4 and begins before it.
        assert_eq!(chosen(&verdicts, WORK), [5]);
        assert_eq!(chosen(&verdicts, WORK / 2), [2, 5]);
        assert_eq!(chosen(&verdicts, WORK / 4), [1, 2, 4, 5]);
        assert_eq!(chosen(&verdicts, 0), [1, 2, 3, 4, 5]);
        assert_eq!(chosen(&verdicts, 10 * WORK), [5], "one at least");
        // A grid that changes all the time: each has its turn within as many epochs as there are requests.
        let mut seen = Vec::new();
        for now in 300..305 {
            let id = chosen(&verdicts, WORK)[0];
            verdicts.extend([kept(id, now)]);
            seen.push(id);
        }
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3, 4, 5]);
    }
}
