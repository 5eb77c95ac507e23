//! From matrices to rows: checks every column and says what was expected where.

use super::cost;
use super::row::{BRANCH, BUS, DCLINE, GEN, Row, Shape};
use super::text::{Assignment, Matrix, Source, Value, parse};
use crate::ids::{BranchId, BusId, DcLineId, GeneratorId, LoadId, ShuntId, ZoneId};
use crate::network::{Branch, Bus, BusKind, DcLine, Fuel, Generator, Load, Network, Shunt};
use crate::network_file::{NetworkFile, add_breakers, emission_t_per_mwh, fixed_transformer, interruption_cost, load_class};
use crate::row::Real;
use crate::table::{ParseError, shown};
use crate::units::{MicroVolts, MilliVars, MilliVoltAmperes, MilliWatts, PartsPerMillion};
use std::collections::BTreeMap;

/// Fields this reader understands; `areas` only names reference buses for prices, and `gentype` only matters without
/// `genfuel`.
const KNOWN: &[&str] = &["version", "baseMVA", "bus", "gen", "branch", "gencost", "dcline", "areas", "bus_name", "gentype", "genfuel"];

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
            let ((p_min, p_max), (q_min, q_max)) = (row.limits(9, 8)?, row.limits(4, 3)?);
            generators.push(Generator {
                id: GeneratorId(id),
                valid_from_ms: 0,
                name: format!("generator {id}"),
                bus,
                fuel,
                p: row.quantity(1, MilliWatts::from_mw)?,
                q: row.quantity(2, MilliVars::from_mvar)?,
                p_min: MilliWatts(p_min),
                p_max: MilliWatts(p_max),
                q_min: MilliVars(q_min),
                q_max: MilliVars(q_max),
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
            let (p_min, p_max) = row.limits(9, 10)?;
            lines.push(DcLine {
                id: DcLineId(id),
                valid_from_ms: 0,
                name: format!("dc line {id} {from}-{to}"),
                from,
                to,
                p: row.quantity(3, MilliWatts::from_mw)?,
                p_min: MilliWatts(p_min),
                p_max: MilliWatts(p_max),
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
