//! The closed list of rows that may leave: results and decisions, one record type a stream.
//!
//! An output stream is a changelog: rows with +1 when they begin to hold and -1 when they cease to. Fields stand in
//! key order, so that sorting a stream sorts it by (key, value). Units and signs as in `gridflow-inputs`.

use gridflow_inputs::ids::{BranchId, BusId, FeederId, IslandId, LoadId, SensorId, SourceId, StorageId, ZoneId};
use gridflow_inputs::input::Quantity;
use gridflow_inputs::network::{EquipmentKind, LoadClass, Side};
use gridflow_inputs::units::{MicroPerMwh, MicroRadians, MicroVolts, MilliVars, MilliVoltAmperes, MilliWatts, PartsPerMillion};
use gridflow_inputs::{code, record};

mod streams;

pub use streams::{Output, Stream, WithRecord};

code! {
    /// What a window is about.
    pub enum WindowScope {
        /// One sensor.
        Sensor = 1,
        /// All sensors of a feeder.
        Feeder = 2,
        /// All sensors of a zone.
        Zone = 3,
        /// All sensors at or below a bus.
        Bus = 4,
    }

    /// A key figure.
    pub enum Measure {
        /// Energy of the zone's loads, milliwatt-hours.
        LoadEnergy = 1,
        /// Energy of the zone's wind and solar units, milliwatt-hours.
        RenewableEnergy = 2,
        /// Readings that entered the accounts.
        Readings = 3,
        /// Readings that came again with equal value and quality.
        Duplicates = 4,
        /// Readings replaced by a correction.
        Corrections = 5,
    }

    /// What a forecast is of.
    pub enum ForecastSeries {
        /// Load.
        Load = 1,
        /// Load less wind and solar output.
        NetLoad = 2,
    }

    /// How a forecast was made.
    pub enum ForecastMethod {
        /// Ridge regression on calendar, lags and temperature.
        Ridge = 1,
        /// The value a week before.
        SameTimeLastWeek = 2,
        /// The newest value.
        Persistence = 3,
        /// Ridge regression on calendar and lags: temperature was not known throughout.
        RidgeWithoutWeather = 4,
        /// The value a day before.
        SameTimeYesterday = 5,
    }

    /// Why a row was refused.
    pub enum Reason {
        /// No such sensor, switch, zone …
        Unknown = 1,
        /// Beyond the plausible range of its sensor.
        OutOfRange = 2,
        /// Beyond what any row may say, or not finite.
        Malformed = 3,
        /// Event time ahead of arrival.
        Future = 4,
        /// Older than what it would replace.
        Superseded = 5,
    }

    /// Where a set point comes from.
    pub enum SetpointSource {
        /// The economic plan of this interval.
        Plan = 1,
        /// The last safe one: the plan of this interval was refused.
        LastSafe = 2,
    }

    /// Why a load must be shed.
    pub enum ShedReason {
        /// Supply cannot meet load.
        Supply = 1,
        /// The network cannot carry it.
        Network = 2,
    }

    /// Which limit is violated.
    pub enum ViolationKind {
        /// A branch above its rating, millivolt-amperes.
        BranchRating = 1,
        /// A bus below its band, microvolts.
        VoltageLow = 2,
        /// A bus above its band, microvolts.
        VoltageHigh = 3,
        /// A unit beyond its active limits, milliwatts.
        GeneratorActive = 4,
        /// A unit beyond its reactive limits, millivars.
        GeneratorReactive = 5,
    }

    /// Which method an outcome is about.
    pub enum Solver {
        /// State estimation.
        Estimation = 1,
        /// Forecasting.
        Forecasting = 2,
        /// Dispatch.
        Dispatch = 3,
        /// Load shedding.
        Shedding = 4,
        /// The power flow that checks a plan.
        PowerFlow = 5,
        /// Contingency analysis.
        Contingency = 6,
    }

    /// How an outage was solved.
    pub enum ContingencyMethod {
        /// DC: active power alone, without losses; loading is of active power.
        Dc = 1,
        /// AC: voltages and apparent power.
        Ac = 2,
    }

    /// For how long branches may carry what they carry: the longest rating that none of them exceeds.
    pub enum RatingDuration {
        /// Without end: the normal rating.
        Normal = 1,
        /// Hours: the long-term emergency rating.
        LongTerm = 2,
        /// Minutes: the short-term emergency rating.
        ShortTerm = 3,
        /// Not at all: a branch is above its short-term emergency rating, or above the only one it has.
        Exceeded = 4,
    }

    /// What readings say that switches deny: a value beyond three standard deviations of its sensor.
    pub enum StatusErrorKind {
        /// Flow on a branch that is out of service or open.
        FlowOnOpenBranch = 1,
        /// Flow on a branch whose switches are open at both ends.
        FlowWithBothEndsOpen = 2,
        /// Flow on a branch in service without supply.
        FlowOnDeadBranch = 3,
        /// Injection at a bus without supply.
        InjectionAtDeadBus = 4,
    }

    /// What a constraint limits.
    pub enum ConstraintKind {
        /// Apparent power at the more loaded end of a branch, against its normal rating; millivolt-amperes.
        BranchLoading = 1,
        /// A voltage against the lower end of its band, microvolts.
        VoltageLow = 2,
        /// A voltage against the upper end of its band, microvolts.
        VoltageHigh = 3,
        /// The angle across a branch, from end less to end, against its limits; microradians.
        AngleDifference = 4,
    }

    /// What a planned outage would do.
    pub enum Verdict {
        /// It breaks no limit that holds now and makes none worse, alone or with any single outage on top.
        Secure = 1,
        /// It does.
        Insecure = 2,
        /// There is no solution, or nothing to start from: not to be taken for secure.
        Unsolved = 3,
        /// The equipment is out of service, or without voltage, already.
        Out = 4,
    }

    /// What a planned outage breaks.
    pub enum BreachKind {
        /// No solution of the grid that is left.
        NoSolution = 1,
        /// A branch above its normal rating: apparent power, millivolt-amperes; active power alone after a further outage.
        BranchLoading = 2,
        /// A voltage below its band, microvolts.
        VoltageLow = 3,
        /// A voltage above its band, microvolts.
        VoltageHigh = 4,
        /// A unit that would have to give more than it can, milliwatts.
        GeneratorActive = 5,
        /// Load cut off, milliwatts, against what is cut off without the request.
        LostLoad = 6,
        /// Nothing: the equipment is out already.
        Out = 7,
    }

    /// Why a method did not succeed.
    pub enum Failure {
        /// The iteration did not converge.
        Diverged = 1,
        /// No point satisfies all constraints.
        Infeasible = 2,
        /// Some states are not determined by measurements.
        Unobservable = 3,
        /// The network rows contradict each other.
        BadNetwork = 4,
        /// Not enough to start from.
        NoData = 5,
        /// The check refused the plan.
        Refused = 6,
        /// The work limit was reached first.
        WorkLimit = 7,
    }

    /// What an alarm says.
    pub enum AlarmKind {
        /// A sensor has not reported for longer than its readings stay usable.
        Stale = 1,
        /// A sensor repeats one value.
        Stuck = 2,
        /// A bus lost its supply.
        Dead = 3,
        /// Half of a source's readings or more are ahead of their arrival or too late: its clock must be wrong.
        Clock = 4,
        /// Replicas of the region differ; stands until it is acknowledged.
        Divergence = 5,
    }
}

record! {
    /// State of a bus in an [`Estimate`].
    pub struct BusState {
        /// The bus.
        bus: BusId,
        /// Voltage magnitude.
        voltage: MicroVolts,
        /// Voltage angle against the island's reference bus.
        angle: MicroRadians,
        /// Active power into the bus.
        p: MilliWatts,
        /// Reactive power into the bus.
        q: MilliVars,
    }

    /// Stream `estimate`: the state of an island at a tick, or at the epoch of a change of its equipment.
    pub struct Estimate {
        /// The island.
        island: IslandId,
        /// The tick, or the epoch of the change.
        tick_ms: i64,
        /// Reference bus.
        reference: BusId,
        /// Gauss-Newton iterations.
        iterations: u32,
        /// Measurements given, pseudo-measurements included.
        measurements: u32,
        /// Of these, pseudo-measurements: stale readings with a grown standard deviation, and injections at their usual level.
        pseudo: u32,
        /// Of these, readings from before the last change of the island's equipment, with a grown standard deviation.
        outdated: u32,
        /// Measurements used and zero injections, less states estimated.
        degrees_of_freedom: i64,
        /// Weighted sum of squared residuals, millionths.
        objective_ppm: i64,
        /// 99 % point of the chi-square distribution, millionths; above it the measurements contradict each other. 0 when
        /// there are no degrees of freedom, and so no test.
        threshold_ppm: i64,
        /// States, by bus.
        buses: Vec<BusState>,
        /// Buses whose state nothing determines; their states stand at the start values.
        unobservable: Vec<BusId>,
        /// Buses whose state injections at their usual level determine and readings alone would not.
        resting: Vec<BusId>,
    }

    /// Stream `estimate_residual`: a measurement three standard deviations or more from its estimate.
    pub struct EstimateResidual {
        /// The island.
        island: IslandId,
        /// The sensor.
        sensor: SensorId,
        /// What of it: a synchrophasor has two.
        quantity: Quantity,
        /// The tick.
        tick_ms: i64,
        /// Measured, in the quantity's unit.
        value: i64,
        /// Estimated.
        estimated: i64,
        /// Measured less estimated.
        residual: i64,
        /// Residual over standard deviation, thousandths.
        weighted_milli: i64,
    }

    /// Stream `suspect`: a sensor whose readings contradict the others; stands until they fit again.
    pub struct Suspect {
        /// The island.
        island: IslandId,
        /// The sensor.
        sensor: SensorId,
        /// What of it.
        quantity: Quantity,
        /// Since when.
        since_ms: i64,
        /// Normalised residual when it was found, thousandths.
        normalized_milli: i64,
        /// Whether it is kept out of the estimate. If not, it may be wrong in the place of one that is, alone or with another.
        removed: bool,
    }

    /// Stream `estimate_audit`: a correction that touches an estimate already made.
    pub struct EstimateAudit {
        /// The island.
        island: IslandId,
        /// Tick of the estimate that used the reading.
        tick_ms: i64,
        /// The sensor.
        sensor: SensorId,
        /// Event time of the reading.
        event_ms: i64,
        /// Residual of the value used then.
        old_residual: i64,
        /// Residual of the corrected value; `None` when the correction withdrew the reading.
        new_residual: Option<i64>,
    }

    /// Stream `topology`: where a piece of equipment belongs; transformers go with their branch.
    pub struct Topology {
        /// Kind of equipment.
        equipment: EquipmentKind,
        /// Its number.
        id: u32,
        /// Its island; `None` when out of service.
        island: Option<IslandId>,
        /// Whether the island has a source: a unit in service that can give active power.
        energised: bool,
        /// Whether it is the island's reference bus: that of its largest source.
        reference: bool,
    }

    /// Stream `window`: an aggregate over event time, exact and restated when a row changes it.
    pub struct Window {
        /// Of what.
        scope: WindowScope,
        /// Number of the sensor, bus, feeder or zone.
        id: u32,
        /// The quantity.
        quantity: Quantity,
        /// Start of the window.
        start_ms: i64,
        /// Its length.
        length_ms: i64,
        /// 0 when first stated, then one more each time.
        revision: u32,
        /// Number of good readings.
        count: i64,
        /// Their sum, in the quantity's unit.
        sum: i128,
        /// Sum of their squares, in the square of the quantity's unit.
        sum_squares: i128,
        /// Least; `None` without readings.
        min: Option<i64>,
        /// Greatest; `None` without readings.
        max: Option<i64>,
    }

    /// Stream `kpi`: a key figure of a zone and an interval.
    pub struct Kpi {
        /// The zone.
        zone: ZoneId,
        /// Which figure.
        measure: Measure,
        /// Start of the interval.
        start_ms: i64,
        /// Its length.
        length_ms: i64,
        /// 0 when first stated, then one more each time.
        revision: u32,
        /// Its value: milliwatt-hours, or a number of readings.
        value: i64,
    }

    /// Stream `forecast`: what is expected of a zone; the newest issue holds.
    pub struct Forecast {
        /// The zone.
        zone: ZoneId,
        /// Of what.
        series: ForecastSeries,
        /// Start of the quarter of an hour it is for.
        valid_at_ms: i64,
        /// When it was issued.
        issued_at_ms: i64,
        /// Mean power.
        p: MilliWatts,
        /// How it was made.
        method: ForecastMethod,
    }

    /// Stream `dispatch`: a set point, passed by the arbiter and checked by a power flow.
    pub struct Dispatch {
        /// The island.
        island: IslandId,
        /// `Generator` or `DcLine`; storage units have a stream of their own.
        equipment: EquipmentKind,
        /// Its number.
        id: u32,
        /// From when on it holds.
        effect_ms: i64,
        /// Epoch of the rows it rests on.
        decided_ms: i64,
        /// The set point: active power into the grid; of a link, power leaving its sending end.
        p: MilliWatts,
        /// Of a variable unit: available power given up.
        curtailed: MilliWatts,
        /// Where it comes from.
        source: SetpointSource,
    }

    /// Stream `storage`: the set point of a storage unit, which is the first interval of its plan.
    pub struct StoragePlan {
        /// The unit.
        storage: StorageId,
        /// Start of the interval.
        start_ms: i64,
        /// Its length.
        length_ms: i64,
        /// Epoch of the rows it rests on.
        decided_ms: i64,
        /// Power into the grid; negative when charging.
        p: MilliWatts,
        /// State of charge at the end of the interval.
        soc: PartsPerMillion,
    }

    /// Stream `price`: the price of a bus (locational marginal price) or the signal of a zone.
    pub struct PriceSignal {
        /// `Bus` or `Zone`.
        scope: EquipmentKind,
        /// Its number.
        id: u32,
        /// From when on it holds.
        effect_ms: i64,
        /// The price.
        price: MicroPerMwh,
        /// Part that is the same on all buses of the island; of a zone, the load-weighted mean of its buses.
        energy: MicroPerMwh,
        /// Part due to congestion.
        congestion: MicroPerMwh,
        /// Adder for shortage of reserve; zones only. The price of a zone is energy plus this.
        shortage: MicroPerMwh,
    }

    /// Stream `shed`: a load to be reduced.
    pub struct Shed {
        /// The island.
        island: IslandId,
        /// The load.
        load: LoadId,
        /// Its class.
        class: LoadClass,
        /// Epoch of the rows it rests on.
        decided_ms: i64,
        /// Reduction, positive.
        load_p: MilliWatts,
        /// Why.
        reason: ShedReason,
    }

    /// Stream `violation`: a limit that a plan or a shedding would break.
    pub struct Violation {
        /// The island.
        island: IslandId,
        /// Which limit.
        kind: ViolationKind,
        /// Kind of equipment.
        equipment: EquipmentKind,
        /// Its number.
        id: u32,
        /// Which end, for a branch.
        side: Side,
        /// Effect epoch of the plan, or epoch of the shedding.
        effect_ms: i64,
        /// Value in the kind's unit.
        value: i64,
        /// The limit.
        limit: i64,
        /// Whether the plan causes it and is refused for it; never of a shedding.
        blocking: bool,
    }

    /// Stream `outcome`: a method that did not succeed, withdrawn when cured.
    pub struct Outcome {
        /// Which method.
        solver: Solver,
        /// Its key: island or zone.
        key: u32,
        /// Since when.
        since_ms: i64,
        /// Why.
        failure: Failure,
        /// Iterations or rounds done.
        iterations: u32,
        /// What and where, with numbers.
        message: String,
    }

    /// Stream `rejected`: a row that was refused.
    pub struct Rejected {
        /// Its epoch.
        epoch: u64,
        /// Its place in the epoch.
        sequence: u32,
        /// Kind of the row, as numbered in the log.
        kind: u8,
        /// Who sent it.
        source: SourceId,
        /// Number of the sensor, switch … it is about.
        subject: u32,
        /// Why.
        reason: Reason,
        /// Its value or time, as the reason has it.
        detail: i64,
    }

    /// Stream `late`: a row beyond the lateness bound.
    pub struct Late {
        /// Its epoch.
        epoch: u64,
        /// Its place in the epoch.
        sequence: u32,
        /// Who sent it.
        source: SourceId,
        /// The sensor.
        sensor: SensorId,
        /// Event time.
        event_ms: i64,
        /// How late.
        lateness_ms: i64,
        /// Its value.
        value: i64,
    }

    /// Stream `alarm`: something an operator must see, withdrawn when cured.
    pub struct Alarm {
        /// What.
        kind: AlarmKind,
        /// `Bus` for a dead bus, `Zone` for a source; for a sensor the kind of equipment it sits at.
        equipment: EquipmentKind,
        /// Number of the bus, of the source, or of the sensor.
        id: u32,
        /// The sensor's feeder; of a dead bus its own number; of a source 0.
        feeder: FeederId,
        /// Since when; of a stale sensor, when its newest reading was taken.
        since_ms: i64,
    }

    /// Stream `gap`: what became of the readings of a source in an epoch: received = applied + rejected + late + duplicate.
    pub struct Gap {
        /// The epoch.
        epoch: u64,
        /// The source; 0 for readings of unknown sensors.
        source: SourceId,
        /// Readings that came.
        received: i64,
        /// New ones and corrections.
        applied: i64,
        /// Refused for another reason than lateness.
        rejected: i64,
        /// Beyond the lateness bound.
        late: i64,
        /// Equal to what was known.
        duplicate: i64,
    }

    /// Stream `contingency`: an outage that overloads a branch, cuts load off, makes a voltage leave its band or has no solution; of
    /// each island the worst of one branch or unit and the worst that operators named, by DC, with what AC says of them, as of when
    /// they were solved.
    pub struct Contingency {
        /// The island.
        island: IslandId,
        /// What fails: `Branch` or `Generator`.
        equipment: EquipmentKind,
        /// Its number.
        id: u32,
        /// Number of the contingency, where it is one that operators named.
        number: Option<u64>,
        /// What fails with it: of a named contingency what else of it is in the island, by kind and number.
        with: Vec<(EquipmentKind, u32)>,
        /// Epoch it was solved at.
        solved_ms: i64,
        /// How.
        method: ContingencyMethod,
        /// Whether there is a solution. Without one, an AC row keeps branch and loading of DC; those of a DC row say nothing.
        solved: bool,
        /// The most loaded branch after it; none when no rated branch is left.
        worst_branch: Option<BranchId>,
        /// Its loading as a share of its normal rating.
        loading: PartsPerMillion,
        /// For how long all branches may carry what they then carry; `Exceeded` without a solution.
        duration: RatingDuration,
        /// Load that it cuts off.
        lost_load: MilliWatts,
        /// The bus whose voltage is furthest outside of its band and was within it before; none by DC.
        voltage_bus: Option<BusId>,
        /// Its voltage; 0 without such a bus.
        voltage: MicroVolts,
        /// The limit that it breaks.
        voltage_limit: MicroVolts,
        /// Buses outside of their band that were within it before.
        buses_outside: u32,
        /// Without a solution by AC: the largest mismatch left.
        mismatch: MilliVoltAmperes,
        /// Where.
        mismatch_bus: Option<BusId>,
    }

    /// Stream `constraint`: a limit that the estimate is near to or beyond.
    pub struct Constraint {
        /// The island.
        island: IslandId,
        /// What is limited.
        kind: ConstraintKind,
        /// `Branch` or `Bus`.
        equipment: EquipmentKind,
        /// Its number.
        id: u32,
        /// Which end, for the loading of a branch.
        side: Side,
        /// Estimated, in the kind's unit.
        value: i64,
        /// The limit.
        limit: i64,
        /// Room up to the limit, negative beyond it.
        margin: i64,
    }

    /// Stream `status_error`: readings that contradict the state of switches, as long as they do.
    pub struct StatusError {
        /// What is contradicted.
        kind: StatusErrorKind,
        /// `Branch` or `Bus`.
        equipment: EquipmentKind,
        /// Its number.
        id: u32,
        /// The sensor whose newest reading says so.
        sensor: SensorId,
        /// What it measures.
        quantity: Quantity,
    }

    /// Stream `bus_assignment`: a node that closed node switches make a part of another node's bus. Answers are stated of
    /// the bus; a node without a row is a bus by itself.
    pub struct BusAssignment {
        /// The node.
        node: BusId,
        /// Its bus, named by the lowest of its nodes.
        bus: BusId,
    }

    /// What a planned outage breaks, in a [`Maintenance`].
    pub struct Breach {
        /// What fails besides; nothing in the N state.
        outage: Option<(EquipmentKind, u32)>,
        /// What is broken.
        kind: BreachKind,
        /// Where: a branch, a bus, a unit; of a part that is cut off its lowest bus, and what cuts it off where it fails besides.
        equipment: EquipmentKind,
        /// Its number.
        id: u32,
        /// Value in the kind's unit.
        value: i64,
        /// The limit.
        limit: i64,
    }

    /// Stream `maintenance`: the verdict on a planned outage in an island; on what is out already, for each piece of equipment.
    pub struct Maintenance {
        /// Number of the request.
        request: u64,
        /// The island its equipment is in; `None` when it is out already.
        island: Option<IslandId>,
        /// When it begins.
        start_ms: i64,
        /// When it ends.
        end_ms: i64,
        /// Epoch it was solved at, on the grid and injections known then.
        solved_ms: i64,
        /// The verdict.
        verdict: Verdict,
        /// Limits that it breaks or makes worse; an outage on top counts once.
        violations: u32,
        /// Limits that are broken without it and no worse with it.
        present: u32,
        /// The verdict in words.
        reason: String,
        /// What it breaks, the worst first: without a further outage, then with one; the first [`BREACHES`](crate::maintenance::BREACHES).
        breaches: Vec<Breach>,
    }

    /// Stream `deficit`: the balance of an island as its equipment last changed, by what was known just before.
    pub struct Deficit {
        /// The island.
        island: IslandId,
        /// When it changed.
        since_ms: i64,
        /// Whether it has a source. Without one its load is lost.
        energised: bool,
        /// What its units and storage give.
        generation: MilliWatts,
        /// What its loads draw.
        load: MilliWatts,
        /// Of that, what only the network file says.
        nominal: MilliWatts,
        /// Load and losses less generation; negative where there is too much.
        deficit: MilliWatts,
        /// What units that run and do not hang on the weather can give besides.
        reserve: MilliWatts,
    }
}

impl Estimate {
    /// Whether readings do not determine a bus.
    #[must_use]
    pub fn leaves_open(&self, bus: BusId) -> bool {
        self.unobservable.binary_search(&bus).is_ok() || self.resting.binary_search(&bus).is_ok()
    }
}
