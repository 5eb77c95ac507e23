//! The closed list of rows that may enter, and their place in the log.
//!
//! Whatever changes a result is one of these. The numbers of the kinds are part of log format 1: new kinds get new
//! numbers, old ones keep theirs.

use crate::ids::{AssetId, BusId, FeederId, ParticipantId, SensorId, SessionId, SourceId, StationId, StorageId, SwitchId, ZoneId};
pub use crate::network::{Branch, Bus, DcLine, Generator, Load, NodeSwitch, Shunt, ShuntBank, StaticVar, Storage, Switch, Transformer};
use crate::network::{EquipmentKind, Side};
use crate::row::{Canonical, Column, DecodeError, Record, Storage as ColumnStorage};
use crate::units::{
    MicroCurrency, MicroHertz, MicroPerMwh, MicroRadians, MicroVolts, MilliCelsius, MilliVars, MilliVoltAmperes, MilliWattHours,
    MilliWatts, PartsPerMillion,
};

/// The engine's logical time: UTC milliseconds of arrival, a multiple of the epoch length.
pub type Epoch = u64;

/// The last epoch a log may hold: times of far beyond any calendar are damage, and sums of times must fit.
pub const MAX_EPOCH: Epoch = crate::units::MAX_MAGNITUDE as u64;

crate::code! {
    /// What a sensor measures; fixes the unit of its values.
    pub enum Quantity {
        /// Voltage magnitude, microvolts.
        VoltageMagnitude = 1,
        /// Voltage angle, microradians.
        VoltageAngle = 2,
        /// Active power into the bus from all that is connected to it but branches and shunts, milliwatts.
        ActiveInjection = 3,
        /// Reactive power likewise, millivars.
        ReactiveInjection = 4,
        /// Active power leaving the named side of a branch, milliwatts.
        ActiveFlow = 5,
        /// Reactive power leaving the named side of a branch, millivars.
        ReactiveFlow = 6,
        /// Current magnitude, microamperes.
        CurrentMagnitude = 7,
        /// Active power of a load, positive, milliwatts.
        ActiveLoad = 8,
        /// Reactive power of a load, millivars.
        ReactiveLoad = 9,
        /// Active output of a generating unit, milliwatts.
        ActiveGeneration = 10,
        /// Reactive output of a generating unit, millivars.
        ReactiveGeneration = 11,
        /// Frequency, microhertz.
        Frequency = 12,
        /// Active power through a meter below a bus, positive, milliwatts.
        MeteredPower = 13,
    }

    /// How far a value can be trusted; 2 and above keep it out of results.
    pub enum Quality {
        /// As measured.
        Good = 0,
        /// Usable, with doubt: substituted or estimated by the sender.
        Doubtful = 1,
        /// Not to be used.
        Bad = 2,
        /// Withdrawn by the sender.
        Withdrawn = 3,
    }

    /// Cadences the sequencer keeps.
    pub enum Timer {
        /// State estimation; every 5 s by default.
        Estimate = 1,
        /// Dispatch; every 5 min by default.
        Dispatch = 2,
        /// Forecast; every 15 min by default.
        Forecast = 3,
    }

    /// Which market a price belongs to.
    pub enum Market {
        /// Day ahead.
        DayAhead = 1,
        /// Real time.
        RealTime = 2,
        /// Ancillary services.
        Ancillary = 3,
    }

    /// What an operator orders.
    pub enum CommandKind {
        /// Acknowledges an alarm.
        Acknowledge = 1,
        /// Holds a unit at a power.
        HoldSetpoint = 2,
        /// Gives a unit back to the dispatch.
        ReleaseSetpoint = 3,
        /// Hands leadership to the standby.
        HandOver = 4,
    }

    /// Facts of the wall clock and of the engine itself that a result may depend on.
    pub enum EngineFactKind {
        /// A solve took longer than its deadline.
        Overrun = 1,
        /// A stream lags.
        Lag = 2,
        /// Replicas differ.
        Divergence = 3,
        /// Leadership changed.
        Lease = 4,
    }

    /// What a virtual end node answers.
    pub enum VenAnswer {
        /// Takes part.
        OptIn = 1,
        /// Does not.
        OptOut = 2,
        /// Reports a measured reduction.
        Report = 3,
    }
}

impl Quality {
    /// Whether a value of this quality is kept out of results.
    #[must_use]
    pub fn is_bad(self) -> bool {
        self >= Self::Bad
    }
}

crate::record! {
    /// The region itself: first row of every log.
    pub struct Region {
        /// Its name.
        name: String,
        /// ISO 4217 code of its currency.
        currency: String,
        /// Base of all per-unit values.
        base_power: MilliVoltAmperes,
        /// Length of an epoch.
        epoch_ms: i64,
        /// Local standard time minus UTC, for calendar features.
        utc_offset_ms: i64,
        /// Nominal frequency.
        frequency: MicroHertz,
        /// How late a SCADA row may be.
        lateness_scada_ms: i64,
        /// How late a meter row may be.
        lateness_meter_ms: i64,
    }

    /// A measuring point; precedes its readings.
    pub struct Sensor {
        /// Its number.
        id: SensorId,
        /// Valid from this event time on.
        valid_from_ms: i64,
        /// What it measures.
        quantity: Quantity,
        /// Kind of the element it sits at.
        element: EquipmentKind,
        /// Number of that element.
        element_id: u32,
        /// Which end, for a branch.
        side: Side,
        /// Standard deviation of its error, in the quantity's unit.
        sigma: i64,
        /// Least plausible value.
        range_min: i64,
        /// Greatest plausible value.
        range_max: i64,
        /// Number of the bus it sits at or below. Its feeder is the one that bus is assigned to; where none is, that of this number.
        feeder: FeederId,
        /// Its zone.
        zone: ZoneId,
        /// How often it reports.
        period_ms: i64,
        /// Who sends it.
        source: SourceId,
    }

    /// A bus or sensor group belongs to a feeder from an event time on.
    pub struct FeederAssignment {
        /// The bus.
        bus: BusId,
        /// Valid from this event time on.
        valid_from_ms: i64,
        /// The feeder.
        feeder: FeederId,
    }

    /// A reading. Identity: (sensor, event time); the greatest (revision, epoch, sequence) wins.
    pub struct Measurement {
        /// Which sensor.
        sensor: SensorId,
        /// When it was taken, UTC milliseconds.
        event_ms: i64,
        /// 0, or the number of the correction.
        revision: u16,
        /// In the unit of the sensor's quantity.
        value: i64,
        /// How far it can be trusted.
        quality: Quality,
    }

    /// A switch reports its state.
    pub struct SwitchStatus {
        /// Which switch.
        switch: SwitchId,
        /// When it moved, UTC milliseconds.
        event_ms: i64,
        /// Whether it is closed.
        closed: bool,
        /// How far it can be trusted.
        quality: Quality,
    }

    /// A tap changer or a bank of shunts reports where it stands.
    pub struct StepPosition {
        /// Branch of the transformer, or shunt.
        equipment: EquipmentKind,
        /// Number of that equipment.
        equipment_id: u32,
        /// When it moved, UTC milliseconds.
        event_ms: i64,
        /// Steps of the tap above its least ratio, or sections connected.
        step: i64,
        /// How far it can be trusted.
        quality: Quality,
    }

    /// A synchrophasor frame of one bus.
    pub struct PmuSample {
        /// Which sensor.
        sensor: SensorId,
        /// When, UTC microseconds.
        event_us: i64,
        /// Voltage magnitude.
        voltage: MicroVolts,
        /// Voltage angle against UTC.
        angle: MicroRadians,
        /// Frequency.
        frequency: MicroHertz,
        /// Rate of change of frequency, microhertz per second.
        rocof: i64,
        /// How far it can be trusted.
        quality: Quality,
    }

    /// An interval of a revenue meter.
    pub struct MeterInterval {
        /// Which meter.
        sensor: SensorId,
        /// Start of the interval, UTC milliseconds.
        start_ms: i64,
        /// Length of the interval.
        length_ms: i64,
        /// 0, or the number of the correction.
        revision: u16,
        /// Active energy.
        energy: MilliWattHours,
        /// Reactive power, mean.
        q: MilliVars,
        /// Voltage, mean.
        voltage: MicroVolts,
        /// How far it can be trusted.
        quality: Quality,
    }

    /// Weather as observed.
    pub struct WeatherObservation {
        /// Where.
        station: StationId,
        /// When, UTC milliseconds.
        event_ms: i64,
        /// Its zone.
        zone: ZoneId,
        /// Air temperature.
        temperature: MilliCelsius,
        /// Relative humidity.
        humidity: PartsPerMillion,
        /// Wind speed, millimetres per second.
        wind_mm_per_s: i64,
        /// Cloud cover.
        cloud_cover: PartsPerMillion,
        /// Global horizontal irradiance, milliwatts per square metre.
        ghi_mw_per_m2: i64,
    }

    /// Weather as foreseen: known from `available_at_ms` on, not before.
    pub struct WeatherForecast {
        /// Where.
        station: StationId,
        /// Time it holds for.
        valid_at_ms: i64,
        /// Time the model was run.
        issued_at_ms: i64,
        /// Time it reached us.
        available_at_ms: i64,
        /// Its zone.
        zone: ZoneId,
        /// Air temperature.
        temperature: MilliCelsius,
        /// Relative humidity.
        humidity: PartsPerMillion,
        /// Wind speed, millimetres per second.
        wind_mm_per_s: i64,
        /// Cloud cover.
        cloud_cover: PartsPerMillion,
        /// Global horizontal irradiance, milliwatts per square metre.
        ghi_mw_per_m2: i64,
    }

    /// A market price.
    pub struct Price {
        /// Which market.
        market: Market,
        /// Its zone.
        zone: ZoneId,
        /// Start of the interval it holds for.
        start_ms: i64,
        /// Length of the interval.
        length_ms: i64,
        /// The price.
        price: MicroPerMwh,
    }

    /// An offer to sell (positive) or buy (negative) energy.
    pub struct Offer {
        /// Who offers.
        participant: ParticipantId,
        /// Which market.
        market: Market,
        /// Start of the interval.
        start_ms: i64,
        /// Length of the interval.
        length_ms: i64,
        /// Quantity.
        p: MilliWatts,
        /// Price.
        price: MicroPerMwh,
    }

    /// What a storage unit reports.
    pub struct StorageTelemetry {
        /// Which unit.
        storage: StorageId,
        /// When, UTC milliseconds.
        event_ms: i64,
        /// State of charge.
        soc: PartsPerMillion,
        /// Power into the grid; negative when charging.
        p: MilliWatts,
        /// Cell temperature.
        temperature: MilliCelsius,
        /// Full cycles so far, thousandths.
        milli_cycles: i64,
        /// Energy it can still hold.
        capacity: MilliWattHours,
    }

    /// What a charging session reports.
    pub struct EvTelemetry {
        /// Which session.
        session: SessionId,
        /// When, UTC milliseconds.
        event_ms: i64,
        /// Bus of the station.
        bus: BusId,
        /// When the vehicle leaves.
        departure_ms: i64,
        /// State of charge.
        soc: PartsPerMillion,
        /// State of charge wanted at departure.
        soc_desired: PartsPerMillion,
        /// Energy the battery can hold.
        capacity: MilliWattHours,
        /// Greatest charging power.
        charge_max: MilliWatts,
        /// Present charging power.
        charge: MilliWatts,
        /// Whether it can discharge.
        discharge_capable: bool,
    }

    /// What a monitored asset reports.
    pub struct AssetTelemetry {
        /// Which asset.
        asset: AssetId,
        /// When, UTC milliseconds.
        event_ms: i64,
        /// Oil or winding temperature.
        temperature: MilliCelsius,
        /// Oil level.
        oil_level: PartsPerMillion,
        /// Load against rating.
        loading: PartsPerMillion,
        /// Dissolved hydrogen, parts per billion.
        hydrogen_ppb: i64,
        /// Vibration, micrometres per second.
        vibration_um_per_s: i64,
    }

    /// A setting of the engine: cadence, weight, limit. The newest version per name wins.
    pub struct Policy {
        /// Its name.
        name: String,
        /// Valid from this event time on.
        valid_from_ms: i64,
        /// Its value.
        value: i64,
    }

    /// A tariff.
    pub struct Tariff {
        /// Its name.
        name: String,
        /// Valid from this event time on.
        valid_from_ms: i64,
        /// Its zone.
        zone: ZoneId,
        /// Price by hour of the local day.
        hourly: Vec<MicroPerMwh>,
        /// Fixed charge per month.
        fixed: MicroCurrency,
    }

    /// Parameters of a model that was trained elsewhere.
    pub struct ModelParameter {
        /// Which model.
        model: String,
        /// Valid from this event time on.
        valid_from_ms: i64,
        /// Its version.
        version: u32,
        /// The parameters, in the model's own order.
        values: Vec<crate::row::Real>,
    }

    /// An order of an operator.
    pub struct OperatorCommand {
        /// Number of the order.
        id: u64,
        /// When, UTC milliseconds.
        event_ms: i64,
        /// Who.
        operator: String,
        /// What.
        kind: CommandKind,
        /// Kind of the equipment it is about.
        equipment: EquipmentKind,
        /// Number of that equipment.
        equipment_id: u32,
        /// Power, for those that hold one.
        p: MilliWatts,
        /// When the order lapses.
        expires_ms: i64,
    }

    /// A piece of equipment is to be taken out for maintenance. Rows of one request are out together; of a request and a
    /// piece of equipment the newest by event time holds.
    pub struct OutageRequest {
        /// Number of the request.
        id: u64,
        /// When it was made, UTC milliseconds.
        event_ms: i64,
        /// Kind of the equipment.
        equipment: EquipmentKind,
        /// Number of that equipment.
        equipment_id: u32,
        /// When it goes out.
        start_ms: i64,
        /// When it is back.
        end_ms: i64,
        /// Whether the request is taken back.
        withdrawn: bool,
    }

    /// A branch or unit is an element of a contingency: what fails together with the others of that number, as contingency analysis is
    /// to suppose. Of a contingency and a piece of equipment the newest row by event time holds.
    pub struct ContingencyElement {
        /// Number of the contingency.
        id: u64,
        /// When it was named, UTC milliseconds.
        event_ms: i64,
        /// `Branch` or `Generator`.
        equipment: EquipmentKind,
        /// Number of that equipment.
        equipment_id: u32,
        /// Whether it is no longer one.
        withdrawn: bool,
    }

    /// An answer of a virtual end node.
    pub struct VenReply {
        /// Which event.
        event: u64,
        /// Who.
        participant: ParticipantId,
        /// When, UTC milliseconds.
        event_ms: i64,
        /// What.
        answer: VenAnswer,
        /// Power, for reports.
        p: MilliWatts,
    }

    /// Past load and weather of a zone at 15 min, of any age: what forecasts learn from at a cold start.
    pub struct History {
        /// Which zone.
        zone: ZoneId,
        /// Start of the quarter of an hour, UTC milliseconds.
        start_ms: i64,
        /// Mean load, positive.
        load: MilliWatts,
        /// Mean wind and solar output.
        renewable: MilliWatts,
        /// Mean air temperature.
        temperature: MilliCelsius,
    }

    /// A fact of the wall clock or of the engine, written by the sequencer.
    pub struct EngineFact {
        /// What happened.
        kind: EngineFactKind,
        /// When, UTC milliseconds.
        event_ms: i64,
        /// Which stream, solver or replica.
        subject: String,
        /// How much, in the kind's unit.
        value: i64,
    }

    /// A timer of the sequencer rang.
    pub struct Tick {
        /// Which timer.
        timer: Timer,
        /// The time it rang for, UTC milliseconds.
        event_ms: i64,
    }
}

macro_rules! inputs {
    ($($code:literal => $name:ident,)*) => {
        /// A row that may enter. The list is closed; see the crate's front page.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[allow(missing_docs)] // each variant is the record of the same name
        pub enum Input { $($name($name),)* }

        crate::code! {
            /// The kind of an [`Input`], as numbered in the log.
            #[allow(missing_docs)] // each variant is the record of the same name
            pub enum Kind { $($name = $code,)* }
        }

        $(impl From<$name> for Input {
            fn from(row: $name) -> Self {
                Self::$name(row)
            }
        })*

        impl Input {
            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $(Self::$name(_) => Kind::$name,)* }
            }

            /// Appends its fields to columns of its kind.
            pub fn push(&self, columns: &mut [Column]) {
                match self { $(Self::$name(row) => Record::push(row, columns),)* }
            }

            /// The first number in it that no sound row holds; see [`Canonical::implausible`].
            #[must_use]
            pub fn implausible(&self) -> Option<i64> {
                match self { $(Self::$name(row) => row.implausible(),)* }
            }

            /// Appends its one byte form, kind first.
            pub fn write(&self, out: &mut Vec<u8>) {
                self.kind().write(out);
                match self { $(Self::$name(row) => row.write(out),)* }
            }

            /// Takes a row in that form off the front of `from`.
            ///
            /// # Errors
            /// When the bytes are no such row.
            pub fn read(from: &mut &[u8]) -> Result<Self, DecodeError> {
                Ok(match Kind::read(from)? { $(Kind::$name => Self::$name(Canonical::read(from)?),)* })
            }
        }

        impl Kind {
            /// Its name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Names and storage of its fields.
            #[must_use]
            pub fn fields(self) -> &'static [(&'static str, ColumnStorage)] {
                match self { $(Self::$name => <$name as Record>::FIELDS,)* }
            }

            /// Reads row `row` of columns of this kind.
            ///
            /// # Errors
            /// When a stored value is none of its field's type.
            pub fn pull(self, columns: &[Column], row: usize) -> Result<Input, DecodeError> {
                match self { $(Self::$name => <$name as Record>::pull(columns, row).map(Input::$name),)* }
            }

            /// The shape of all kinds of a generation, in words: what the schema fingerprint is taken of.
            #[must_use]
            pub fn schema(generation: u8) -> String {
                let mut schema = String::new();
                $(if Kind::$name.since() <= generation {
                    schema.push_str(concat!(stringify!($code), "="));
                    <$name as Canonical>::describe(&mut schema);
                    schema.push('\n');
                })*
                schema
            }
        }
    };
}

impl Kind {
    /// The newest generation of kinds. A log holds kinds of the generation it was begun in, and older ones.
    pub const GENERATION: u8 = 3;

    /// The generation in which the kind came.
    #[must_use]
    pub fn since(self) -> u8 {
        match self {
            Self::NodeSwitch | Self::ShuntBank | Self::StaticVar | Self::StepPosition | Self::OutageRequest => 2,
            Self::ContingencyElement => 3,
            _ => 1,
        }
    }
}

inputs! {
    1 => Region,
    2 => Bus,
    3 => Branch,
    4 => Transformer,
    5 => Switch,
    6 => Generator,
    7 => Load,
    8 => Shunt,
    9 => Storage,
    10 => DcLine,
    11 => Sensor,
    12 => FeederAssignment,
    13 => NodeSwitch,
    14 => ShuntBank,
    15 => StaticVar,
    20 => Measurement,
    21 => SwitchStatus,
    22 => PmuSample,
    23 => MeterInterval,
    24 => WeatherObservation,
    25 => WeatherForecast,
    26 => Price,
    27 => Offer,
    28 => StorageTelemetry,
    29 => EvTelemetry,
    30 => AssetTelemetry,
    31 => VenReply,
    32 => History,
    33 => StepPosition,
    40 => Policy,
    41 => Tariff,
    42 => ModelParameter,
    43 => OperatorCommand,
    44 => OutageRequest,
    45 => ContingencyElement,
    50 => EngineFact,
    51 => Tick,
}

/// A row with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Sequenced {
    /// The epoch it arrived in.
    pub epoch: Epoch,
    /// Its place within the epoch.
    pub sequence: u32,
    /// The row.
    pub input: Input,
}
