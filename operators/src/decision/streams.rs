//! The closed list itself: which record leaves in which stream.

use gridflow_inputs::code;
use gridflow_inputs::row::{Canonical, Record};
use serde::{Deserialize, Serialize};

use super::*;

/// What is done with the rows of one stream by their record type.
pub trait WithRecord {
    /// What comes of it.
    type Result;
    /// Does it for streams of `R`; `to_output` gives the row its place in the closed list, `as_record` finds it there.
    fn with<R: Record + Send + 'static>(self, to_output: fn(R) -> Output, as_record: fn(&Output) -> Option<&R>) -> Self::Result;
}

macro_rules! outputs {
    ($($code:literal => $stream:ident $name:literal $row:ident,)*) => {
        /// A row that may leave.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[allow(missing_docs)] // each variant is the record of that stream
        pub enum Output { $($stream($row),)* }

        code! {
            /// An output stream.
            #[allow(missing_docs)] // each variant is described at its record
            pub enum Stream { $($stream = $code,)* }
        }

        $(impl From<$row> for Output {
            fn from(row: $row) -> Self {
                Self::$stream(row)
            }
        })*

        impl Output {
            /// Its stream.
            #[must_use]
            pub fn stream(&self) -> Stream {
                match self { $(Self::$stream(_) => Stream::$stream,)* }
            }

            /// Appends its one byte form, without its stream.
            pub fn write(&self, out: &mut Vec<u8>) {
                match self { $(Self::$stream(row) => row.write(out),)* }
            }
        }

        impl Stream {
            /// Its name, as in output directories and summaries.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$stream => $name,)* }
            }

            /// The stream of this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$stream),)* _ => None }
            }

            /// The shape of its rows, in words.
            #[must_use]
            pub fn schema(self) -> String {
                let mut schema = String::new();
                match self { $(Self::$stream => <$row as Canonical>::describe(&mut schema),)* }
                schema
            }

            /// Does something that needs the record type of the stream's rows.
            pub fn with_record<W: WithRecord>(self, what: W) -> W::Result {
                match self {
                    $(Self::$stream => what.with::<$row>(Output::$stream, |row| match row {
                        Output::$stream(row) => Some(row),
                        _ => None,
                    }),)*
                }
            }
        }
    };
}

outputs! {
    1 => Estimate "estimate" Estimate,
    2 => EstimateResidual "estimate_residual" EstimateResidual,
    3 => EstimateAudit "estimate_audit" EstimateAudit,
    4 => Topology "topology" Topology,
    5 => Window "window" Window,
    6 => Forecast "forecast" Forecast,
    7 => Dispatch "dispatch" Dispatch,
    8 => Price "price" PriceSignal,
    9 => Storage "storage" StoragePlan,
    10 => Shed "shed" Shed,
    11 => Violation "violation" Violation,
    12 => Outcome "outcome" Outcome,
    13 => Rejected "rejected" Rejected,
    14 => Late "late" Late,
    15 => Kpi "kpi" Kpi,
    16 => Alarm "alarm" Alarm,
    17 => Gap "gap" Gap,
    18 => Contingency "contingency" Contingency,
    19 => Constraint "constraint" Constraint,
    20 => StatusError "status_error" StatusError,
    21 => BusAssignment "bus_assignment" BusAssignment,
    22 => Maintenance "maintenance" Maintenance,
    23 => Deficit "deficit" Deficit,
    24 => Suspect "suspect" Suspect,
}
