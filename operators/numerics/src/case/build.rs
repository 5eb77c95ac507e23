//! From network rows to a [`Case`]: what is in service, on dense indices, per unit.
//!
//! Out-of-service and isolated equipment is left out; what is left must make sense, or the error names the thing and
//! the cause. A bus without a base voltage counts as 1 kV, a start voltage that is not positive as 1 per unit.

use super::{Case, CaseBranch, CaseBus, CaseDcLine, CaseGenerator, CaseLoad, CaseStorage, Cost};
use super::{MergeError, Nodes};
use gridflow_inputs::ids::{BranchId, BusId, GeneratorId};
use gridflow_inputs::network::{Branch, Bus, BusKind, DcLine, Generator, Load, Network, ShuntBank, Storage};
use std::f64::consts::PI;

/// Why rows are no case. `thing` is the kind and number of the equipment: "generator 7".
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CaseError {
    /// The base power is not a positive number.
    #[error("the base power is {0} MVA: per-unit values need a positive one")]
    BasePower(f64),
    /// There is no bus that is not isolated.
    #[error("the network has no connected bus")]
    NoBus,
    /// Two rows of one kind have the same number.
    #[error("there are two rows for {thing}")]
    Duplicate {
        /// What.
        thing: String,
    },
    /// Equipment in service names a bus that no row describes.
    #[error("{thing} is connected to bus {bus}, which does not exist")]
    UnknownBus {
        /// What.
        thing: String,
        /// The missing bus.
        bus: BusId,
    },
    /// A branch without impedance: merge its buses instead.
    #[error("branch {0} has no impedance (r = x = 0)")]
    ZeroImpedance(BranchId),
    /// A turns ratio that is not positive.
    #[error("branch {branch} has the turns ratio {tap}, which is not positive")]
    Tap {
        /// Which branch.
        branch: BranchId,
        /// Its turns ratio.
        tap: f64,
    },
    /// Both ends of a branch are the same bus.
    #[error("branch {branch} connects bus {bus} with itself")]
    Loop {
        /// Which branch.
        branch: BranchId,
        /// Both its ends.
        bus: BusId,
    },
    /// A lower limit above its upper limit.
    #[error("{thing} has a least {what} of {min} above its greatest of {max}")]
    Limits {
        /// What.
        thing: String,
        /// Of which quantity, with unit.
        what: &'static str,
        /// Lower limit.
        min: f64,
        /// Upper limit.
        max: f64,
    },
    /// A quantity is outside what physics allows.
    #[error("{thing} has {what} of {value}, outside of {range}")]
    Range {
        /// What.
        thing: String,
        /// Which quantity, with unit.
        what: &'static str,
        /// Its value.
        value: f64,
        /// What would be possible.
        range: &'static str,
    },
    /// Buses that are joined cannot be one.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// A cost curve of a form that cannot be used.
    #[error("the cost of generator {generator} {reason}")]
    Cost {
        /// Which unit.
        generator: GeneratorId,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Finds the indices of buses.
struct Buses<'a> {
    /// All bus numbers, isolated ones too, ascending.
    known: Vec<BusId>,
    connected: &'a [CaseBus],
}

impl Buses<'_> {
    /// Index of a bus; none when it is isolated.
    fn find(&self, bus: BusId, thing: impl FnOnce() -> String) -> Result<Option<usize>, CaseError> {
        match self.connected.binary_search_by_key(&bus, |row| row.id) {
            Ok(index) => Ok(Some(index)),
            Err(_) if self.known.binary_search(&bus).is_ok() => Ok(None),
            Err(_) => Err(CaseError::UnknownBus { thing: thing(), bus }),
        }
    }
}

impl Case {
    /// The case of a network's rows, of which each kind may come in any order.
    ///
    /// Left out: what is out of service, isolated buses, and whatever is connected to an isolated bus. Shunts are
    /// summed into their buses in the order of their ids, banks with the sections that `normally_on` says. Switches and
    /// transformers play no part here; for networks of nodes see [`Case::of_nodes`].
    ///
    /// # Errors
    /// When a number occurs twice or what is in service makes no sense; see [`CaseError`].
    pub fn new(base_mva: f64, network: &Network) -> Result<Self, CaseError> {
        if !(base_mva.is_finite() && base_mva > 0.0) {
            return Err(CaseError::BasePower(base_mva));
        }
        let bus_rows = by_id(&network.buses, "bus", |row| row.id.0)?;
        let connected = bus_rows.iter().filter(|row| row.kind != BusKind::Isolated);
        let mut buses = connected.map(|row| case_bus(row)).collect::<Result<Vec<_>, _>>()?;
        if buses.is_empty() {
            return Err(CaseError::NoBus);
        }
        let known = Vec::from_iter(bus_rows.iter().map(|row| row.id));
        let mut shunts = Vec::new();
        let banks = by_id(&network.shunt_banks, "shunt bank", |row| row.shunt.0)?;
        let static_vars = by_id(&network.static_vars, "static var compensator", |row| row.generator.0)?;
        let at = Buses { known, connected: &buses };
        for row in by_id(&network.shunts, "shunt", |row| row.id.0)?.into_iter().filter(|row| row.in_service) {
            if let Some(bus) = at.find(row.bus, || format!("shunt {}", row.id))? {
                let on = match banks.binary_search_by_key(&row.id, |bank| bank.shunt) {
                    Ok(bank) => sections_on(banks[bank])?,
                    Err(_) => 1.0,
                };
                shunts.push((bus, on * row.load_p.mw() / base_mva, on * row.q.mvar() / base_mva));
            }
        }
        let mut branches = Vec::new();
        for row in by_id(&network.branches, "branch", |row| row.id.0)?.into_iter().filter(|row| row.in_service) {
            let thing = || format!("branch {}", row.id);
            if let (Some(from), Some(to)) = (at.find(row.from, thing)?, at.find(row.to, thing)?) {
                branches.push(case_branch(row, from, to, base_mva)?);
            }
        }
        let mut generators = Vec::new();
        for row in by_id(&network.generators, "generator", |row| row.id.0)?.into_iter().filter(|row| row.in_service) {
            if let Some(bus) = at.find(row.bus, || format!("generator {}", row.id))? {
                let static_var = static_vars.binary_search_by_key(&row.id, |row| row.generator).is_ok();
                generators.push(CaseGenerator { static_var, ..case_generator(row, bus, base_mva)? });
            }
        }
        let mut loads = Vec::new();
        for row in by_id(&network.loads, "load", |row| row.id.0)?.into_iter().filter(|row| row.in_service) {
            if let Some(bus) = at.find(row.bus, || format!("load {}", row.id))? {
                loads.push(case_load(row, bus, base_mva));
            }
        }
        let mut storages = Vec::new();
        for row in by_id(&network.storages, "storage unit", |row| row.id.0)?.into_iter().filter(|row| row.in_service) {
            if let Some(bus) = at.find(row.bus, || format!("storage unit {}", row.id))? {
                storages.push(case_storage(row, bus, base_mva)?);
            }
        }
        let mut dc_lines = Vec::new();
        for row in by_id(&network.dc_lines, "DC link", |row| row.id.0)?.into_iter().filter(|row| row.in_service) {
            let thing = || format!("DC link {}", row.id);
            if let (Some(from), Some(to)) = (at.find(row.from, thing)?, at.find(row.to, thing)?) {
                dc_lines.push(case_dc_line(row, from, to, base_mva)?);
            }
        }
        for (bus, g, b) in shunts {
            buses[bus].g += g;
            buses[bus].b += b;
        }
        Ok(Self { base_mva, buses, branches, generators, loads, storages, dc_lines, nodes: Nodes::default() })
    }
}

/// The rows in the order of their ids, each of which may occur once.
fn by_id<'a, T>(rows: &'a [T], kind: &str, id: impl Fn(&T) -> u32) -> Result<Vec<&'a T>, CaseError> {
    let mut sorted = Vec::from_iter(rows);
    sorted.sort_by_key(|row| id(row));
    match sorted.windows(2).find(|pair| id(pair[0]) == id(pair[1])) {
        Some(pair) => Err(CaseError::Duplicate { thing: format!("{kind} {}", id(pair[0])) }),
        None => Ok(sorted),
    }
}

fn ordered(thing: impl FnOnce() -> String, what: &'static str, min: f64, max: f64) -> Result<(), CaseError> {
    if min > max { Err(CaseError::Limits { thing: thing(), what, min, max }) } else { Ok(()) }
}

fn share(thing: impl FnOnce() -> String, what: &'static str, value: f64) -> Result<f64, CaseError> {
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(CaseError::Range { thing: thing(), what, value, range: "0 to 1" }) }
}

fn not_negative(thing: impl FnOnce() -> String, what: &'static str, value: f64) -> Result<f64, CaseError> {
    if value >= 0.0 { Ok(value) } else { Err(CaseError::Range { thing: thing(), what, value, range: "0 and above" }) }
}

fn case_bus(row: &Bus) -> Result<CaseBus, CaseError> {
    let thing = || format!("bus {}", row.id);
    ordered(thing, "voltage (pu)", row.v_min_pu.get(), row.v_max_pu.get())?;
    let base_kv = not_negative(thing, "a base voltage (kV)", row.base_voltage.kv())?;
    let v_start = row.v_start_pu.get();
    Ok(CaseBus {
        id: row.id,
        zone: row.zone,
        kind: row.kind,
        base_kv: if base_kv == 0.0 { 1.0 } else { base_kv },
        v_start: if v_start > 0.0 { v_start } else { 1.0 },
        va_start: row.angle_start_rad.get(),
        v_min: row.v_min_pu.get(),
        v_max: row.v_max_pu.get(),
        g: 0.0,
        b: 0.0,
    })
}

fn sections_on(row: &ShuntBank) -> Result<f64, CaseError> {
    let on = f64::from(row.normally_on);
    if row.normally_on > row.sections {
        let (thing, range) = (format!("shunt bank {}", row.shunt), "0 to its number of sections");
        return Err(CaseError::Range { thing, what: "sections on", value: on, range });
    }
    Ok(on)
}

fn case_branch(row: &Branch, from: usize, to: usize, base_mva: f64) -> Result<CaseBranch, CaseError> {
    let thing = || format!("branch {}", row.id);
    let (r, x, tap) = (row.r_pu.get(), row.x_pu.get(), row.tap_ratio.get());
    if r == 0.0 && x == 0.0 {
        return Err(CaseError::ZeroImpedance(row.id));
    }
    if tap <= 0.0 {
        return Err(CaseError::Tap { branch: row.id, tap });
    }
    if from == to {
        return Err(CaseError::Loop { branch: row.id, bus: row.from });
    }
    let rated = |mva: f64, otherwise: f64| -> Result<f64, CaseError> {
        let rating = not_negative(thing, "a rating (MVA)", mva)?;
        Ok(if rating == 0.0 { otherwise } else { rating / base_mva })
    };
    let rating = rated(row.rating.mva(), f64::INFINITY)?;
    let rating_long_term = rated(row.rating_long_term.mva(), rating)?;
    let rating_short_term = rated(row.rating_short_term.mva(), rating_long_term)?;
    let (angle_min, angle_max) = (row.angle_min_rad.get(), row.angle_max_rad.get());
    ordered(thing, "angle difference (rad)", angle_min, angle_max)?;
    // Files say "unlimited" as a full turn, or as 0 for both.
    let unlimited = angle_min == 0.0 && angle_max == 0.0;
    let turn = 2.0 * PI - 1e-9;
    Ok(CaseBranch {
        id: row.id,
        from,
        to,
        r,
        x,
        b: row.b_pu.get(),
        tap,
        shift: row.shift_rad.get(),
        rating,
        rating_long_term,
        rating_short_term,
        angle_min: if unlimited || angle_min <= -turn { f64::NEG_INFINITY } else { angle_min },
        angle_max: if unlimited || angle_max >= turn { f64::INFINITY } else { angle_max },
    })
}

fn case_generator(row: &Generator, bus: usize, base_mva: f64) -> Result<CaseGenerator, CaseError> {
    let thing = || format!("generator {}", row.id);
    ordered(thing, "output (MW)", row.p_min.mw(), row.p_max.mw())?;
    ordered(thing, "reactive output (Mvar)", row.q_min.mvar(), row.q_max.mvar())?;
    let v_setpoint = row.v_setpoint_pu.get();
    if v_setpoint <= 0.0 {
        return Err(CaseError::Range { thing: thing(), what: "a voltage set point (pu)", value: v_setpoint, range: "above 0" });
    }
    let ramp = not_negative(thing, "a ramp (MW/min)", row.ramp_per_minute.mw())?;
    Ok(CaseGenerator {
        id: row.id,
        bus,
        p: row.p.mw() / base_mva,
        q: row.q.mvar() / base_mva,
        p_min: row.p_min.mw() / base_mva,
        p_max: row.p_max.mw() / base_mva,
        q_min: row.q_min.mvar() / base_mva,
        q_max: row.q_max.mvar() / base_mva,
        static_var: false,
        v_setpoint,
        variable: row.variable,
        cost: cost(row)?,
        ramp_per_minute: if ramp == 0.0 { f64::INFINITY } else { ramp / base_mva },
        emission_t_per_mwh: row.emission_t_per_mwh.get(),
    })
}

/// The curve as stated; whether it is convex matters to those who minimise it.
fn cost(row: &Generator) -> Result<Cost, CaseError> {
    let refused = |reason| Err(CaseError::Cost { generator: row.id, reason });
    if row.cost_points.is_empty() {
        let mut coefficients = [0.0; 3];
        for (power, coefficient) in row.cost_polynomial.iter().enumerate() {
            match coefficients.get_mut(power) {
                Some(place) => *place = coefficient.get(),
                None if coefficient.get() == 0.0 => {}
                None => return refused("is of higher than second degree"),
            }
        }
        return Ok(Cost::Polynomial(coefficients));
    }
    if row.cost_points.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        return refused("has points that do not ascend in power");
    }
    Ok(Cost::Points(row.cost_points.iter().map(|(p, price)| (p.mw(), price.get())).collect()))
}

fn case_load(row: &Load, bus: usize, base_mva: f64) -> CaseLoad {
    CaseLoad {
        id: row.id,
        bus,
        p: row.load_p.mw() / base_mva,
        q: row.load_q.mvar() / base_mva,
        class: row.class,
        interruption_cost_per_mwh: row.interruption_cost.per_mwh(),
    }
}

fn case_storage(row: &Storage, bus: usize, base_mva: f64) -> Result<CaseStorage, CaseError> {
    let thing = || format!("storage unit {}", row.id);
    let storage = CaseStorage {
        id: row.id,
        bus,
        capacity: not_negative(thing, "a capacity (MWh)", row.capacity.mwh())? / base_mva,
        charge_max: not_negative(thing, "a charging power (MW)", row.charge_max.mw())? / base_mva,
        discharge_max: not_negative(thing, "a discharging power (MW)", row.discharge_max.mw())? / base_mva,
        charge_efficiency: share(thing, "a charging efficiency", row.charge_efficiency.ratio())?,
        discharge_efficiency: share(thing, "a discharging efficiency", row.discharge_efficiency.ratio())?,
        soc_min: share(thing, "a least state of charge", row.soc_min.ratio())?,
        soc_max: share(thing, "a greatest state of charge", row.soc_max.ratio())?,
        soc: share(thing, "a state of charge", row.soc_start.ratio())?,
        wear_cost_per_mwh: row.wear_cost.per_mwh(),
    };
    ordered(thing, "state of charge", storage.soc_min, storage.soc_max)?;
    Ok(storage)
}

fn case_dc_line(row: &DcLine, from: usize, to: usize, base_mva: f64) -> Result<CaseDcLine, CaseError> {
    let thing = || format!("DC link {}", row.id);
    ordered(thing, "power (MW)", row.p_min.mw(), row.p_max.mw())?;
    Ok(CaseDcLine {
        id: row.id,
        from,
        to,
        p: row.p.mw() / base_mva,
        p_min: row.p_min.mw() / base_mva,
        p_max: row.p_max.mw() / base_mva,
        loss: not_negative(thing, "a constant loss (MW)", row.loss.mw())? / base_mva,
        loss_ratio: share(thing, "a loss ratio", row.loss_ratio.ratio())?,
    })
}
