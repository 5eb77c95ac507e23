//! From matrices to rows: checks every column and says what was expected where.

use super::cost;
use super::text::{Assignment, Matrix, Source, Value, parse};
use crate::ids::{BranchId, BusId, DcLineId, GeneratorId, LoadId, ShuntId, ZoneId};
use crate::network::{Branch, Bus, BusKind, DcLine, Fuel, Generator, Load, Network, Shunt};
use crate::network_file::{
    NetworkFile, RAD_PER_DEG, UNLIMITED, add_breakers, emission_t_per_mwh, fixed_transformer, interruption_cost, load_class,
};
use crate::row::Real;
use crate::table::{ParseError, shown};
use crate::units::{MicroVolts, MilliVars, MilliVoltAmperes, MilliWatts, PartsPerMillion, to_fixed};
use std::collections::BTreeMap;

/// What a matrix may look like: its columns' names, and the numbers of columns that occur.
struct Shape {
    names: &'static [&'static str],
    counts: &'static [usize],
}

const BUS: Shape = Shape {
    names: &["bus_i", "type", "Pd", "Qd", "Gs", "Bs", "area", "Vm", "Va", "baseKV", "zone", "Vmax", "Vmin"],
    counts: &[13, 17], // 17: with the prices of a solved case
};
const GEN: Shape = Shape {
    names: &[
        "bus", "Pg", "Qg", "Qmax", "Qmin", "Vg", "mBase", "status", "Pmax", "Pmin", "Pc1", "Pc2", "Qc1min", "Qc1max", "Qc2min", "Qc2max",
        "ramp_agc", "ramp_10", "ramp_30", "ramp_q", "apf",
    ],
    counts: &[10, 21, 25],
};
const BRANCH: Shape = Shape {
    names: &["fbus", "tbus", "r", "x", "b", "rateA", "rateB", "rateC", "ratio", "angle", "status", "angmin", "angmax"],
    counts: &[13, 17, 21],
};
const DCLINE: Shape = Shape {
    names: &[
        "fbus", "tbus", "status", "Pf", "Pt", "Qf", "Qt", "Vf", "Vt", "Pmin", "Pmax", "QminF", "QmaxF", "QminT", "QmaxT", "loss0", "loss1",
    ],
    counts: &[17, 23],
};

/// Fields this reader understands; `areas` only names reference buses for prices, and `gentype` only matters without
/// `genfuel`.
const KNOWN: &[&str] = &["version", "baseMVA", "bus", "gen", "branch", "gencost", "dcline", "areas", "bus_name", "gentype", "genfuel"];

/// A row of a matrix: checks values and names them in errors.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) source: Source<'a>,
    pub(super) matrix: &'a Matrix,
    pub(super) names: &'static [&'static str],
    pub(super) thing: &'static str,
    pub(super) row: usize,
}

impl Row<'_> {
    /// An error at one of the row's values.
    pub(super) fn error(&self, column: usize, reason: impl std::fmt::Display) -> ParseError {
        let place = self.matrix.places[self.row * self.matrix.columns + column];
        self.source.error(place, format!("row {} of {}: {reason}", self.row + 1, self.thing))
    }

    pub(super) fn value(&self, column: usize) -> f64 {
        self.matrix.values[self.row * self.matrix.columns + column]
    }

    fn name(&self, column: usize) -> &'static str {
        self.names.get(column).copied().unwrap_or("value")
    }

    pub(super) fn finite(&self, column: usize) -> Result<f64, ParseError> {
        let value = self.value(column);
        if value.is_finite() {
            return Ok(value);
        }
        Err(self.error(column, format!("expected {} as a finite number, found {value}", self.name(column))))
    }

    pub(super) fn real(&self, column: usize) -> Result<Real, ParseError> {
        let value = self.finite(column)?;
        Real::new(value).ok_or_else(|| self.error(column, "expected a finite number"))
    }

    fn radians(&self, column: usize) -> Result<Real, ParseError> {
        let value = self.finite(column)? * RAD_PER_DEG;
        Real::new(value).ok_or_else(|| self.error(column, "expected a finite number"))
    }

    pub(super) fn integer(&self, column: usize, least: u32) -> Result<u32, ParseError> {
        let value = self.value(column);
        if value >= f64::from(least) && value <= f64::from(u32::MAX) && value.fract() == 0.0 {
            return Ok(value as u32);
        }
        Err(self.error(column, format!("expected {} as an integer from {least} on, found {value}", self.name(column))))
    }

    fn quantity<T>(&self, column: usize, from: impl Fn(f64) -> Option<T>) -> Result<T, ParseError> {
        let value = self.finite(column)?;
        from(value).ok_or_else(|| self.error(column, format!("{} {value} is beyond what a row may hold", self.name(column))))
    }

    /// A power limit; `Inf` and what is beyond a row's range are unlimited.
    fn limit(&self, column: usize) -> i64 {
        let value = self.value(column);
        to_fixed(value, MilliWatts::PER_MW).unwrap_or(if value > 0.0 { UNLIMITED } else { -UNLIMITED })
    }

    /// A rating; 0, `Inf` and what is beyond a row's range are unlimited, written 0.
    fn rating(&self, column: usize) -> Result<MilliVoltAmperes, ParseError> {
        let value = self.value(column);
        if value < 0.0 {
            return Err(self.error(column, format!("{} is negative: {value}", self.name(column))));
        }
        Ok(MilliVoltAmperes::from_mva(value).filter(|rating| rating.0 < UNLIMITED).unwrap_or_default())
    }

    /// An angle limit; beyond ±360° is unlimited, written ±360°.
    fn angle_limit(&self, column: usize) -> Result<Real, ParseError> {
        let value = self.value(column).clamp(-360.0, 360.0) * RAD_PER_DEG;
        Real::new(value).ok_or_else(|| self.error(column, "expected an angle"))
    }
}

/// What is being put together.
struct Builder<'a> {
    source: Source<'a>,
    fields: BTreeMap<&'a str, Assignment<'a>>,
    network: Network,
    warnings: Vec<String>,
}

pub(super) fn build(source: Source<'_>) -> Result<NetworkFile, ParseError> {
    let document = parse(source, |field| KNOWN.contains(&field))?;
    let mut builder = Builder { source, fields: BTreeMap::new(), network: Network::default(), warnings: Vec::new() };
    for assignment in document.assignments {
        if matches!(assignment.value, Value::Skipped) {
            builder.warnings.push(format!("the field {} is not known and was passed over", assignment.field));
        } else if builder.fields.contains_key(assignment.field) {
            return Err(source.error(assignment.at, format!("{} is set a second time", assignment.field)));
        } else {
            builder.fields.insert(assignment.field, assignment);
        }
    }
    let base_power = builder.header()?;
    builder.buses()?;
    builder.branches()?;
    builder.generators()?;
    builder.dc_lines()?;
    add_breakers(&mut builder.network);
    Ok(NetworkFile { name: document.name.to_owned(), base_power, network: builder.network, warnings: builder.warnings })
}

impl<'a> Builder<'a> {
    /// Checks the version and reads the base power.
    fn header(&self) -> Result<MilliVoltAmperes, ParseError> {
        let missing = |field: &str| ParseError::file(self.source.file, format!("the case has no field {field}"));
        let version = self.fields.get("version").ok_or_else(|| missing("version"))?;
        match &version.value {
            Value::Text(text) if text == "2" => {}
            Value::Number(2.0) => {}
            _ => return Err(self.source.error(version.at, "expected version '2' of the case format")),
        }
        let base = self.fields.get("baseMVA").ok_or_else(|| missing("baseMVA"))?;
        let Value::Number(mva) = base.value else { return Err(self.source.error(base.at, "expected baseMVA as a number")) };
        let power = MilliVoltAmperes::from_mva(mva).filter(|power| power.0 > 0);
        power.ok_or_else(|| self.source.error(base.at, format!("expected baseMVA as a positive number, found {mva}")))
    }

    fn optional(&self, field: &'static str) -> Result<Option<&Matrix>, ParseError> {
        match self.fields.get(field).map(|assignment| (assignment.at, &assignment.value)) {
            None => Ok(None),
            Some((_, Value::Matrix(matrix))) => Ok(Some(matrix)),
            Some((at, _)) => Err(self.source.error(at, format!("expected {field} as a matrix"))),
        }
    }

    /// The rows of a matrix that must be there, or may be missing, with a count of columns that occurs.
    fn rows(&self, field: &'static str, shape: &Shape, required: bool) -> Result<Vec<Row<'_>>, ParseError> {
        let Some(matrix) = self.optional(field)? else {
            let error = ParseError::file(self.source.file, format!("the case has no field {field}"));
            return if required { Err(error) } else { Ok(Vec::new()) };
        };
        if matrix.rows() > 0 && !shape.counts.contains(&matrix.columns) {
            let counts: Vec<String> = shape.counts.iter().map(ToString::to_string).collect();
            let reason = format!("expected {} columns in {field}, found {}", counts.join(" or "), matrix.columns);
            return Err(self.source.error(matrix.at, reason));
        }
        if u32::try_from(matrix.rows()).is_err() {
            return Err(self.source.error(matrix.at, format!("{field} has more rows than ids")));
        }
        Ok((0..matrix.rows()).map(|row| Row { source: self.source, matrix, names: shape.names, thing: field, row }).collect())
    }

    /// The strings of a cell array, which must be as many as `count`.
    fn strings(&self, field: &'static str, count: usize) -> Result<Option<&[(String, usize)]>, ParseError> {
        match self.fields.get(field).map(|assignment| (assignment.at, &assignment.value)) {
            None => Ok(None),
            Some((_, Value::Cell(strings))) if strings.len() == count => Ok(Some(strings)),
            Some((at, Value::Cell(strings))) => {
                Err(self.source.error(at, format!("expected {count} strings in {field}, one a row of its table, found {}", strings.len())))
            }
            Some((at, _)) => Err(self.source.error(at, format!("expected {field} as a cell array of strings"))),
        }
    }

    fn buses(&mut self) -> Result<(), ParseError> {
        let rows = self.rows("bus", &BUS, true)?;
        let names = self.strings("bus_name", rows.len())?;
        let mut buses = BTreeMap::new();
        let mut network = Network::default();
        let mut without_base = 0;
        for row in rows {
            let number = row.integer(0, 1)?;
            let kind = BusKind::from_code(i64::from(row.integer(1, 1)?));
            let kind = kind.ok_or_else(|| row.error(1, format!("expected type as 1, 2, 3 or 4, found {}", row.value(1))))?;
            let (v_max_pu, v_min_pu) = (row.real(11)?, row.real(12)?);
            if v_min_pu > v_max_pu {
                return Err(row.error(12, format!("Vmin {} is above Vmax {}", v_min_pu.get(), v_max_pu.get())));
            }
            let base_voltage = row.quantity(9, MicroVolts::from_kv)?;
            if base_voltage.0 < 0 {
                return Err(row.error(9, format!("baseKV is negative: {}", row.value(9))));
            }
            without_base += usize::from(base_voltage.0 == 0);
            let name = names.map_or_else(|| format!("bus {number}"), |names| names[row.row].0.trim().to_owned());
            let bus = Bus {
                id: BusId(number),
                valid_from_ms: 0,
                name,
                kind,
                zone: ZoneId(row.integer(6, 0)?),
                base_voltage,
                v_min_pu,
                v_max_pu,
                v_start_pu: row.real(7)?,
                angle_start_rad: row.radians(8)?,
            };
            let (load_p, load_q) = (row.quantity(2, MilliWatts::from_mw)?, row.quantity(3, MilliVars::from_mvar)?);
            let in_service = kind != BusKind::Isolated;
            if load_p.0 != 0 || load_q.0 != 0 {
                let (id, name, class) = (LoadId(number), format!("load at {}", bus.name), load_class(number));
                let interruption_cost = interruption_cost(class);
                network.loads.push(Load { id, valid_from_ms: 0, name, bus: bus.id, load_p, load_q, class, interruption_cost, in_service });
            }
            let (load_p, q) = (row.quantity(4, MilliWatts::from_mw)?, row.quantity(5, MilliVars::from_mvar)?);
            if load_p.0 != 0 || q.0 != 0 {
                network.shunts.push(Shunt { id: ShuntId(number), valid_from_ms: 0, bus: bus.id, load_p, q, in_service });
            }
            if buses.insert(number, bus).is_some() {
                return Err(row.error(0, format!("the number {number} belongs to an earlier bus already")));
            }
        }
        if buses.is_empty() {
            return Err(ParseError::file(self.source.file, "the case has no bus"));
        }
        network.buses = buses.into_values().collect();
        network.loads.sort_by_key(|load| load.id);
        network.shunts.sort_by_key(|shunt| shunt.id);
        if without_base > 0 {
            self.warnings.push(format!("{without_base} buses state no base voltage (0 kV): currents there cannot be told in kA"));
        }
        if !network.buses.iter().any(|bus| bus.kind == BusKind::Reference) {
            self.warnings.push("no bus is a reference bus (type 3)".to_owned());
        }
        self.network = network;
        Ok(())
    }

    /// The bus a column names, and whether it is isolated.
    fn bus(&self, row: &Row<'_>, column: usize) -> Result<(BusId, bool), ParseError> {
        let id = BusId(row.integer(column, 1)?);
        match self.network.buses.binary_search_by_key(&id, |bus| bus.id) {
            Ok(index) => Ok((id, self.network.buses[index].kind == BusKind::Isolated)),
            Err(_) => Err(row.error(column, format!("there is no bus {id}"))),
        }
    }

    /// Both ends of a line, and whether one of them is isolated.
    fn ends(&self, row: &Row<'_>) -> Result<(BusId, BusId, bool), ParseError> {
        let ((from, from_isolated), (to, to_isolated)) = (self.bus(row, 0)?, self.bus(row, 1)?);
        if from == to {
            return Err(row.error(1, format!("both ends are bus {from}")));
        }
        Ok((from, to, from_isolated || to_isolated))
    }

    fn branches(&mut self) -> Result<(), ParseError> {
        let mut branches = Vec::new();
        let mut transformers = Vec::new();
        for (row, id) in self.rows("branch", &BRANCH, true)?.into_iter().zip(1u32..) {
            let (from, to, isolated) = self.ends(&row)?;
            let (r_pu, x_pu) = (row.real(2)?, row.real(3)?);
            if r_pu == Real::ZERO && x_pu == Real::ZERO {
                return Err(row.error(2, "r and x are both 0: a branch needs an impedance"));
            }
            let ratio = row.real(8)?;
            if ratio.get() < 0.0 {
                return Err(row.error(8, format!("ratio is negative: {}", ratio.get())));
            }
            let branch = Branch {
                id: BranchId(id),
                valid_from_ms: 0,
                name: format!("branch {id} {from}-{to}"),
                from,
                to,
                r_pu,
                x_pu,
                b_pu: row.real(4)?,
                tap_ratio: if ratio == Real::ZERO { Real::ONE } else { ratio },
                shift_rad: row.radians(9)?,
                rating: row.rating(5)?,
                rating_long_term: row.rating(6)?,
                rating_short_term: row.rating(7)?,
                angle_min_rad: row.angle_limit(11)?,
                angle_max_rad: row.angle_limit(12)?,
                in_service: row.finite(10)? > 0.0 && !isolated,
            };
            if branch.angle_min_rad > branch.angle_max_rad {
                return Err(row.error(11, format!("angmin {} is above angmax {}", row.value(11), row.value(12))));
            }
            if ratio != Real::ZERO {
                transformers.push(fixed_transformer(&branch));
            }
            branches.push(branch);
        }
        (self.network.branches, self.network.transformers) = (branches, transformers);
        Ok(())
    }

    fn generators(&mut self) -> Result<(), ParseError> {
        let rows = self.rows("gen", &GEN, true)?;
        let fuels = self.fuels(rows.len())?;
        let mut warnings = Vec::new();
        let costs = cost::read(self.source, self.optional("gencost")?, rows.len(), &mut warnings)?;
        let mut generators = Vec::with_capacity(rows.len());
        for (((row, id), cost), fuel) in rows.into_iter().zip(1u32..).zip(costs).zip(fuels) {
            let (bus, isolated) = self.bus(&row, 0)?;
            let limits = [row.limit(9), row.limit(8), row.limit(4), row.limit(3)];
            if limits[0] > limits[1] {
                return Err(row.error(9, format!("Pmin {} is above Pmax {}", row.value(9), row.value(8))));
            }
            if limits[2] > limits[3] {
                return Err(row.error(4, format!("Qmin {} is above Qmax {}", row.value(4), row.value(3))));
            }
            generators.push(Generator {
                id: GeneratorId(id),
                valid_from_ms: 0,
                name: format!("generator {id}"),
                bus,
                fuel,
                p: row.quantity(1, MilliWatts::from_mw)?,
                q: row.quantity(2, MilliVars::from_mvar)?,
                p_min: MilliWatts(limits[0]),
                p_max: MilliWatts(limits[1]),
                q_min: MilliVars(limits[2]),
                q_max: MilliVars(limits[3]),
                v_setpoint_pu: row.real(5)?,
                variable: matches!(fuel, Fuel::Wind | Fuel::Solar),
                in_service: row.finite(7)? > 0.0 && !isolated,
                cost_polynomial: cost.polynomial,
                cost_points: cost.points,
                ramp_per_minute: ramp(&row)?,
                start_up_cost: cost.start_up,
                min_up_ms: 0,
                min_down_ms: 0,
                emission_t_per_mwh: emission_t_per_mwh(fuel),
            });
        }
        self.network.generators = generators;
        self.warnings.append(&mut warnings);
        Ok(())
    }

    /// Fuel by unit: from `genfuel`, else from the type where it tells (wind, photovoltaic, hydro, condenser).
    fn fuels(&self, count: usize) -> Result<Vec<Fuel>, ParseError> {
        let types = self.strings("gentype", count)?;
        if let Some(names) = self.strings("genfuel", count)? {
            return names
                .iter()
                .map(|(name, at)| fuel(name).ok_or_else(|| self.source.error(*at, format!("{} is no fuel", shown(name)))))
                .collect();
        }
        let of_type = |name: &str| match name.trim() {
            "W1" | "W2" | "W3" | "W4" | "WT" | "WS" => Fuel::Wind,
            "PV" => Fuel::Solar,
            "HY" | "PS" => Fuel::Hydro,
            "SC" => Fuel::None,
            _ => Fuel::Other,
        };
        Ok(types.map_or_else(|| vec![Fuel::Other; count], |types| types.iter().map(|(name, _)| of_type(name)).collect()))
    }

    fn dc_lines(&mut self) -> Result<(), ParseError> {
        let mut lines = Vec::new();
        for (row, id) in self.rows("dcline", &DCLINE, false)?.into_iter().zip(1u32..) {
            let (from, to, isolated) = self.ends(&row)?;
            let (p_min, p_max) = (MilliWatts(row.limit(9)), MilliWatts(row.limit(10)));
            if p_min > p_max {
                return Err(row.error(9, format!("Pmin {} is above Pmax {}", row.value(9), row.value(10))));
            }
            lines.push(DcLine {
                id: DcLineId(id),
                valid_from_ms: 0,
                name: format!("dc line {id} {from}-{to}"),
                from,
                to,
                p: row.quantity(3, MilliWatts::from_mw)?,
                p_min,
                p_max,
                loss: row.quantity(15, MilliWatts::from_mw)?,
                loss_ratio: row.quantity(16, PartsPerMillion::from_ratio)?,
                in_service: row.finite(2)? > 0.0 && !isolated,
            });
        }
        self.network.dc_lines = lines;
        Ok(())
    }
}

/// Ramp per minute: the AGC rate, else a tenth of the 10-minute or a thirtieth of the 30-minute one, else unlimited.
fn ramp(row: &Row<'_>) -> Result<MilliWatts, ParseError> {
    for (column, minutes) in [(16, 1.0), (17, 10.0), (18, 30.0)] {
        if column < row.matrix.columns && row.finite(column)? > 0.0 {
            return row.quantity(column, |mw| MilliWatts::from_mw(mw / minutes));
        }
    }
    Ok(MilliWatts(0))
}

/// The fuels MATPOWER names.
fn fuel(name: &str) -> Option<Fuel> {
    Some(match name.trim().to_ascii_lowercase().as_str() {
        "coal" => Fuel::Coal,
        "ng" | "gas" | "lng" => Fuel::Gas,
        "oil" | "dfo" | "rfo" | "jetfuel" => Fuel::Oil,
        "nuclear" => Fuel::Nuclear,
        "hydro" | "hydrops" => Fuel::Hydro,
        "wind" => Fuel::Wind,
        "solar" => Fuel::Solar,
        "biomass" | "wood" => Fuel::Biomass,
        "syncgen" => Fuel::None,
        "dl" | "ess" | "geothermal" | "other" | "refuse" | "unknown" | "wasteheat" | "" => Fuel::Other,
        _ => return None,
    })
}
