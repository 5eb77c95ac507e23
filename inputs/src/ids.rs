//! Identities: small integers, one type per thing, so that a bus is never mistaken for a branch.
//!
//! Names of the outside world (a unit called `101_CT_1`) are text in reference rows; everything else uses these.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u32);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        $crate::row::integer_field!($name);
    )*};
}

id! {
    /// A bus; the number of the network file.
    BusId;
    /// A branch (line or transformer); its 1-based row in the network file's branch table.
    BranchId;
    /// A switch.
    SwitchId;
    /// A generating unit; its 1-based row in the network file's generator table.
    GeneratorId;
    /// A load.
    LoadId;
    /// A shunt.
    ShuntId;
    /// A storage unit.
    StorageId;
    /// A direct-current link.
    DcLineId;
    /// An area of the network file.
    ZoneId;
    /// A feeder; a bus number unless assignments are given.
    FeederId;
    /// An island: buses connected by branches in service. Numbered from 1 up; the number stays with most of its buses.
    IslandId;
    /// A measuring point.
    SensorId;
    /// Whoever sends rows: a control centre, a concentrator, a market.
    SourceId;
    /// A weather station or grid point.
    StationId;
    /// Anything with a health: transformer, cable, breaker.
    AssetId;
    /// A charging session.
    SessionId;
    /// A participant: offerer, aggregator, virtual end node.
    ParticipantId;
}
