//! A region: observe, secure, predict, decide, joined; and its output streams, grouped by what they wait for.

use std::sync::Arc;

use gridflow_inputs::log::EpochBatch;
use gridflow_operators::facts::facts;
use gridflow_operators::hygiene::hygiene;
use gridflow_operators::kept::region;
use gridflow_operators::seal::{Sealed, seal, seal_at_own_epochs};
use gridflow_operators::sealed::{Changes, Feed, Rows};
use gridflow_operators::solver::{Blocks, Pool};
use gridflow_operators::state::Registry;
use timely::dataflow::operators::{Concat, Concatenate};

use crate::{decide, observe, predict, secure};

/// How far ahead of the rows it rests on an answer takes effect, in milliseconds of epoch time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leads {
    /// Dispatch.
    pub dispatch_ms: u64,
}

impl Default for Leads {
    fn default() -> Self {
        Self { dispatch_ms: 30_000 }
    }
}

/// Threads for solves: what keeps the grid stable never queues behind what makes it cheap.
#[derive(Clone)]
pub struct Pools {
    /// Estimation, constraints, shedding, and the check of plans.
    pub stability: Pool,
    /// Contingency analysis, the longest solves.
    pub security: Pool,
    /// Forecasts and dispatch.
    pub economy: Pool,
    /// For solves that have parts: of the outages of an island.
    pub blocks: Blocks,
}

/// Builds a region of what workers feed: each its share of the rows, and each every batch as it is, for telemetry. Its
/// operators' states are entered in `registry`, loaded where the run is resumed. `take` gets every sealed epoch of every stream, on the first worker; the frontier of the result
/// tells how far all streams are sealed.
pub fn build<'scope>(
    feed: Rows<'scope, Feed>,
    batches: Rows<'scope, Arc<EpochBatch>>,
    leads: Leads,
    pools: &Pools,
    registry: &Registry,
    take: impl FnMut(Sealed) + Clone + 'static,
) -> Rows<'scope, ()> {
    let scope = feed.scope();
    let (feed, refused) = hygiene(feed);
    let region = region(feed.clone(), registry);
    let told = facts(feed.clone(), registry);
    let mut observed = observe::build(feed.clone(), batches, region.clone(), &pools.stability, registry);
    let secured = secure::build(feed.clone(), region.clone(), &observed, pools, registry);
    // Decisions start from what was known before a change where there is no estimate after it.
    observed.states = observed.states.concat(secured.before);
    let predicted = predict::build(feed.clone(), region.clone(), observed.figures.clone(), &pools.economy, registry);
    let decided = decide::build(feed, region, &observed, predicted.forecasts.clone(), leads, pools, registry);

    let outcomes = observed.outcomes.concat(secured.outcomes).concat(predicted.outcomes).concat(decided.outcomes);
    let accounts = observed.accounts.concat(refused).concat(secured.refused).concat(told);
    let groups: [(&str, Changes<'scope, _>); 8] = [
        ("Seal estimates", observed.estimates),
        ("Seal constraints", secured.constraints),
        ("Seal contingencies", secured.contingencies),
        ("Seal maintenance", secured.maintenance),
        ("Seal forecasts", predicted.rows),
        ("Seal stability", decided.stability),
        ("Seal decisions", decided.decisions),
        ("Seal outcomes", outcomes),
    ];
    let sealed = seal_at_own_epochs(accounts, "Seal accounts", registry, take.clone());
    let deficits = seal_at_own_epochs(secured.deficits, "Seal deficits", registry, take.clone());
    let others = groups.map(|(name, rows)| seal(rows, name, registry, take.clone()));
    scope.concatenate(others.into_iter().chain([sealed, deficits]))
}
