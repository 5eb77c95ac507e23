//! The RTS-GMLC source tables (`bus.csv`, `branch.csv`, `gen.csv`, `storage.csv`, `dc_branch.csv`) as network rows.
//!
//! - Zone = area. A generator's id is its 1-based row in `gen.csv`, its name the `GEN UID`; branches likewise.
//! - Cost: total heat at the output points (`HR_avg_0`, then `HR_incr_i`, BTU/kWh) times the fuel price, plus VOM. Points
//!   are taken at whole watts; an increment of 0 (nuclear) is not stated, so that the average holds. Concave corners are cut off by the lower convex hull, with a warning. Units without a fuel
//!   price have the polynomial `VOM · MW`.
//! - Start cost: a cold start's heat times the fuel price, plus the non-fuel cost. CO2: rate × heat per MWh at full output.
//! - Wind, PV and rooftop PV are variable; so are hydro (its series are what the river gives) and CSP, whose thermal
//!   storage is left out, with least output 0.
//! - A `STORAGE` unit with a head reservoir becomes a `Storage` and no generator; one-way efficiencies are the square root
//!   of the round trip's. The DC link runs at its `MW Load`, up to ± that power; its losses are not modelled.
//! - Not stated by the tables: voltage limits (0.95 to 1.05, as in the published MATPOWER form), base power (100 MVA).

use crate::ids::{BranchId, BusId, DcLineId, GeneratorId, LoadId, ShuntId, StorageId, ZoneId};
use crate::network::{Branch, Bus, BusKind, DcLine, Fuel, Generator, Load, Network, Shunt, Storage};
use crate::network_file::{
    NetworkFile, RAD_PER_DEG, add_breakers, convex_points, cost_rows, fixed_transformer, interruption_cost, load_class,
};
use crate::row::Real;
use crate::table::{ParseError, Row, for_each_row, read_text, shown};
use crate::units::{MicroPerMwh, MicroVolts, MilliVars, MilliVoltAmperes, MilliWattHours, MilliWatts, PartsPerMillion};
use std::collections::BTreeMap;
use std::path::Path;

/// The text of the tables, for readers of other places than a directory.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)] // each field is the table of that name
pub struct Tables<'a> {
    pub bus: &'a str,
    pub branch: &'a str,
    pub gen_: &'a str,
    pub storage: &'a str,
    pub dc_branch: &'a str,
}

/// Reads the tables of a directory.
///
/// # Errors
/// When a table or column is missing or a value is not what it should be; names file, line and column.
pub fn read(source_dir: &Path) -> Result<NetworkFile, ParseError> {
    let text = |name: &str| read_text(&source_dir.join(name));
    let (bus, branch, gen_) = (text("bus.csv")?, text("branch.csv")?, text("gen.csv")?);
    let (storage, dc_branch) = (text("storage.csv")?, text("dc_branch.csv")?);
    read_tables(Tables { bus: &bus, branch: &branch, gen_: &gen_, storage: &storage, dc_branch: &dc_branch })
}

/// Reads the tables from memory.
///
/// # Errors
/// As [`read`].
pub fn read_tables(tables: Tables<'_>) -> Result<NetworkFile, ParseError> {
    let mut warnings = Vec::new();
    let mut network = buses(tables.bus)?;
    branches(tables.branch, &mut network)?;
    let reservoirs = reservoirs(tables.storage)?;
    units(tables.gen_, &reservoirs, &mut network, &mut warnings)?;
    dc_lines(tables.dc_branch, &mut network)?;
    add_breakers(&mut network);
    let base_power = MilliVoltAmperes::from_mva(100.0).expect("100 MVA is a power");
    Ok(NetworkFile { name: "RTS-GMLC".to_owned(), base_power, network, warnings })
}

fn real(row: &Row<'_>, column: usize) -> Result<Real, ParseError> {
    row.quantity(column, Real::new)
}

fn buses(text: &str) -> Result<Network, ParseError> {
    let mut buses = BTreeMap::new();
    let mut network = Network::default();
    for_each_row("bus.csv", text, |header, row| {
        let column = |name: &str| header.column(name);
        let id: u32 = row.integer(column("Bus ID")?)?;
        let type_column = column("Bus Type")?;
        let kind = match row.text(type_column) {
            "PQ" => BusKind::Load,
            "PV" => BusKind::Generator,
            "Ref" => BusKind::Reference,
            other => return Err(row.error(type_column, format!("expected PQ, PV or Ref, found {}", shown(other)))),
        };
        let angle = row.quantity(column("V Angle")?, |deg| Real::new(deg * RAD_PER_DEG))?;
        let bus = Bus {
            id: BusId(id),
            valid_from_ms: 0,
            name: row.text(column("Bus Name")?).to_owned(),
            kind,
            zone: ZoneId(row.integer(column("Area")?)?),
            base_voltage: row.quantity(column("BaseKV")?, |kv| MicroVolts::from_kv(kv).filter(|v| v.0 > 0))?,
            v_min_pu: Real::new(0.95).expect("finite"),
            v_max_pu: Real::new(1.05).expect("finite"),
            v_start_pu: real(row, column("V Mag")?)?,
            angle_start_rad: angle,
        };
        let load_p = row.quantity(column("MW Load")?, MilliWatts::from_mw)?;
        let load_q = row.quantity(column("MVAR Load")?, MilliVars::from_mvar)?;
        if load_p.0 != 0 || load_q.0 != 0 {
            let (name, class) = (format!("load at {}", bus.name), load_class(id));
            let interruption_cost = interruption_cost(class);
            let (id, bus) = (LoadId(id), bus.id);
            network.loads.push(Load { id, valid_from_ms: 0, name, bus, load_p, load_q, class, interruption_cost, in_service: true });
        }
        let load_p = row.quantity(column("MW Shunt G")?, MilliWatts::from_mw)?;
        let q = row.quantity(column("MVAR Shunt B")?, MilliVars::from_mvar)?;
        if load_p.0 != 0 || q.0 != 0 {
            network.shunts.push(Shunt { id: ShuntId(id), valid_from_ms: 0, bus: bus.id, load_p, q, in_service: true });
        }
        match buses.insert(id, bus) {
            None => Ok(()),
            Some(_) => Err(row.error(column("Bus ID")?, format!("bus {id} is there already"))),
        }
    })?;
    network.buses = buses.into_values().collect();
    network.loads.sort_by_key(|load| load.id);
    network.shunts.sort_by_key(|shunt| shunt.id);
    Ok(network)
}

/// The bus a cell names.
fn bus(network: &Network, row: &Row<'_>, column: usize) -> Result<BusId, ParseError> {
    let id = BusId(row.integer(column)?);
    match network.buses.binary_search_by_key(&id, |bus| bus.id) {
        Ok(_) => Ok(id),
        Err(_) => Err(row.error(column, format!("there is no bus {id}"))),
    }
}

fn branches(text: &str, network: &mut Network) -> Result<(), ParseError> {
    let unlimited_deg = 360.0 * RAD_PER_DEG;
    let (mut branches, mut transformers) = (Vec::new(), Vec::new());
    for_each_row("branch.csv", text, |header, row| {
        let column = |name: &str| header.column(name);
        let rating = |name: &str| row.quantity(column(name)?, |mva| MilliVoltAmperes::from_mva(mva).filter(|rating| rating.0 >= 0));
        let ratio_column = column("Tr Ratio")?;
        let ratio = row.quantity(ratio_column, |ratio| Real::new(ratio).filter(|_| ratio >= 0.0))?;
        let branch = Branch {
            id: BranchId(branches.len() as u32 + 1),
            valid_from_ms: 0,
            name: row.text(column("UID")?).to_owned(),
            from: bus(network, row, column("From Bus")?)?,
            to: bus(network, row, column("To Bus")?)?,
            r_pu: real(row, column("R")?)?,
            x_pu: row.quantity(column("X")?, |x| Real::new(x).filter(|_| x != 0.0))?,
            b_pu: real(row, column("B")?)?,
            tap_ratio: if ratio == Real::ZERO { Real::ONE } else { ratio },
            shift_rad: Real::ZERO,
            rating: rating("Cont Rating")?,
            rating_long_term: rating("LTE Rating")?,
            rating_short_term: rating("STE Rating")?,
            angle_min_rad: Real::new(-unlimited_deg).expect("finite"),
            angle_max_rad: Real::new(unlimited_deg).expect("finite"),
            in_service: true,
        };
        if branch.from == branch.to {
            return Err(row.error(column("To Bus")?, format!("both ends are bus {}", branch.from)));
        }
        if ratio != Real::ZERO {
            transformers.push(fixed_transformer(&branch));
        }
        branches.push(branch);
        Ok(())
    })?;
    (network.branches, network.transformers) = (branches, transformers);
    Ok(())
}

/// What `storage.csv` says of a unit's head reservoir: energy it holds and holds at the start.
struct Reservoir {
    capacity: MilliWattHours,
    soc_start: PartsPerMillion,
}

/// Head reservoirs by `GEN UID`; tails and reservoirs without a start volume (CSP) only as far as they are checked.
fn reservoirs(text: &str) -> Result<BTreeMap<String, Reservoir>, ParseError> {
    let mut reservoirs = BTreeMap::new();
    for_each_row("storage.csv", text, |header, row| {
        let (uid, place) = (header.column("GEN UID")?, header.column("position")?);
        let (most, start) = (header.column("Max Volume GWh")?, header.column("Initial Volume GWh")?);
        match row.text(place) {
            "tail" => return Ok(()),
            "head" => {}
            other => return Err(row.error(place, format!("expected head or tail, found {}", shown(other)))),
        }
        let capacity = row.quantity(most, |gwh| MilliWattHours::from_mwh(gwh * 1000.0).filter(|energy| energy.0 > 0))?;
        let full = row.number(most)?;
        let soc_start =
            row.quantity(start, |gwh| PartsPerMillion::from_ratio(gwh / full).filter(|soc| (0..=1_000_000).contains(&soc.0)))?;
        match reservoirs.insert(row.text(uid).to_owned(), Reservoir { capacity, soc_start }) {
            None => Ok(()),
            Some(_) => Err(row.error(uid, format!("{} has a head reservoir already", row.text(uid)))),
        }
    })?;
    Ok(reservoirs)
}

fn units(
    text: &str,
    reservoirs: &BTreeMap<String, Reservoir>,
    network: &mut Network,
    warnings: &mut Vec<String>,
) -> Result<(), ParseError> {
    let (mut generators, mut storages) = (Vec::new(), Vec::new());
    let mut names = BTreeMap::new();
    let mut ignored = Vec::new();
    for_each_row("gen.csv", text, |header, row| {
        let id = names.len() as u32 + 1;
        let uid = header.column("GEN UID")?;
        let name = row.text(uid).to_owned();
        if let Some(line) = names.insert(name.clone(), row.line()) {
            return Err(row.error(uid, format!("{name} is there already, in line {line}")));
        }
        let bus = bus(network, row, header.column("Bus ID")?)?;
        let kind_column = header.column("Unit Type")?;
        let column = |name: &str| header.column(name);
        if row.text(kind_column) == "STORAGE" {
            let reservoir = reservoirs.get(&name);
            let reservoir = reservoir.ok_or_else(|| row.error(uid, format!("{name} has no head reservoir in storage.csv")))?;
            let round_trip = column("Storage Roundtrip Efficiency")?;
            let efficiency = row.quantity(round_trip, |percent| {
                PartsPerMillion::from_ratio((percent / 100.0).sqrt()).filter(|ratio| (1..=1_000_000).contains(&ratio.0))
            })?;
            let power = |name: &str| row.quantity(column(name)?, |mw| MilliWatts::from_mw(mw).filter(|p| p.0 >= 0));
            storages.push(Storage {
                id: StorageId(id),
                valid_from_ms: 0,
                name,
                bus,
                capacity: reservoir.capacity,
                charge_max: power("Pump Load MW")?,
                discharge_max: power("PMax MW")?,
                charge_efficiency: efficiency,
                discharge_efficiency: efficiency,
                soc_min: PartsPerMillion(0),
                soc_max: PartsPerMillion(1_000_000),
                soc_start: reservoir.soc_start,
                wear_cost: MicroPerMwh(0),
                in_service: true,
            });
            return Ok(());
        }
        if reservoirs.contains_key(&name) {
            ignored.push(name.clone());
        }
        let variable = match row.text(kind_column) {
            "WIND" | "PV" | "RTPV" | "HYDRO" | "ROR" | "CSP" => true,
            "CT" | "CC" | "STEAM" | "NUCLEAR" | "SYNC_COND" => false,
            other => return Err(row.error(kind_column, format!("expected a type of unit, found {}", shown(other)))),
        };
        let fuel_column = column("Fuel")?;
        let fuel = match row.text(fuel_column) {
            "Coal" => Fuel::Coal,
            "NG" => Fuel::Gas,
            "Oil" => Fuel::Oil,
            "Nuclear" => Fuel::Nuclear,
            "Hydro" => Fuel::Hydro,
            "Wind" => Fuel::Wind,
            "Solar" => Fuel::Solar,
            "Sync_Cond" => Fuel::None,
            other => return Err(row.error(fuel_column, format!("expected a fuel, found {}", shown(other)))),
        };
        let power = |name: &str| row.quantity(column(name)?, MilliWatts::from_mw);
        let reactive = |name: &str| row.quantity(column(name)?, MilliVars::from_mvar);
        // 10 000 h is more than a year: what is longer is a typing error, not a unit.
        let hours =
            |name: &str| row.quantity(column(name)?, |h| (0.0..=10_000.0).contains(&h).then_some((h * 3.6e6).round_ties_even() as i64));
        let (p_min, p_max) = (power("PMin MW")?, power("PMax MW")?);
        if p_min > p_max {
            return Err(
                row.error(column("PMin MW")?, format!("the least output {} MW is above the greatest {} MW", p_min.mw(), p_max.mw()))
            );
        }
        let heat = heat(row, &column)?;
        let price = row.number(column("Fuel Price $/MMBTU")?)?;
        let vom = row.number(column("VOM")?)?;
        let (mut cost_polynomial, mut cost_points) = (Vec::new(), Vec::new());
        if price > 0.0 && heat.len() > 1 {
            let costs: Vec<(f64, f64)> = heat.iter().map(|(mw, mmbtu)| (*mw, mmbtu * price + mw * vom)).collect();
            let (hull, bent) = convex_points(&costs);
            if bent {
                warnings.push(format!("{name}: the cost is not convex; {} of its points were cut off", costs.len() - hull.len()));
            }
            cost_points = cost_rows(&hull).ok_or_else(|| row.error(uid, "the cost is beyond what a row may hold"))?;
        } else {
            cost_polynomial = vec![Real::ZERO, row.quantity(column("VOM")?, Real::new)?];
        }
        let start_heat = row.number(column("Start Heat Cold MBTU")?)?;
        let heat_per_mwh = heat.last().map_or(0.0, |(mw, mmbtu)| if *mw > 0.0 { mmbtu / mw } else { 0.0 });
        generators.push(Generator {
            id: GeneratorId(id),
            valid_from_ms: 0,
            name,
            bus,
            fuel,
            p: power("MW Inj")?,
            q: reactive("MVAR Inj")?,
            p_min: if variable { MilliWatts(p_min.0.min(0)) } else { p_min },
            p_max,
            q_min: reactive("QMin MVAR")?,
            q_max: reactive("QMax MVAR")?,
            v_setpoint_pu: real(row, column("V Setpoint p.u.")?)?,
            variable,
            in_service: true,
            cost_polynomial,
            cost_points,
            ramp_per_minute: power("Ramp Rate MW/Min")?,
            start_up_cost: row.quantity(column("Non Fuel Start Cost $")?, |other| Real::new(start_heat * price + other))?,
            min_up_ms: hours("Min Up Time Hr")?,
            min_down_ms: hours("Min Down Time Hr")?,
            emission_t_per_mwh: row.quantity(column("Emissions CO2 Lbs/MMBTU")?, |lbs| Real::new(lbs * heat_per_mwh * TONNES_PER_LB))?,
        });
        Ok(())
    })?;
    if let Some(unknown) = reservoirs.keys().find(|name| !names.contains_key(*name)) {
        return Err(ParseError::file("storage.csv", format!("{unknown} is no unit of gen.csv")));
    }
    if !ignored.is_empty() {
        let names = ignored.join(", ");
        warnings.push(format!("reservoirs of {names} are not modelled: these units give what is available at each time"));
    }
    (network.generators, network.storages) = (generators, storages);
    Ok(())
}

const TONNES_PER_LB: f64 = 0.000_453_592_37;

/// The unit's total heat: (MW, MMBTU per hour) at its output points, ascending.
fn heat(row: &Row<'_>, column: &impl Fn(&str) -> Result<usize, ParseError>) -> Result<Vec<(f64, f64)>, ParseError> {
    let p_max = row.number(column("PMax MW")?)?;
    // Shares such as 0.394736842 of 76 MW stand for 30 MW: whole watts restore it.
    let output = |column: usize| Ok((row.number(column)? * p_max * 1e6).round_ties_even() / 1e6);
    let first = output(column("Output_pct_0")?)?;
    let average = row.number(column("HR_avg_0")?)?;
    let mut points = vec![(first, first * average / 1000.0)];
    for (share, rate) in
        [("Output_pct_1", "HR_incr_1"), ("Output_pct_2", "HR_incr_2"), ("Output_pct_3", "HR_incr_3"), ("Output_pct_4", "HR_incr_4")]
    {
        let (share, rate) = (column(share)?, column(rate)?);
        if row.text(share) == "NA" {
            break;
        }
        let (mw, per_kwh) = (output(share)?, row.number(rate)?);
        let (last_mw, last_heat) = points[points.len() - 1];
        if per_kwh == 0.0 && mw <= last_mw {
            break; // the table fills unused points with zeros
        }
        if mw <= last_mw {
            return Err(row.error(share, format!("output points must ascend, {mw} MW does not follow {last_mw} MW")));
        }
        let per_kwh = if per_kwh == 0.0 { average } else { per_kwh };
        points.push((mw, last_heat + (mw - last_mw) * per_kwh / 1000.0));
    }
    Ok(points)
}

fn dc_lines(text: &str, network: &mut Network) -> Result<(), ParseError> {
    let mut lines = Vec::new();
    for_each_row("dc_branch.csv", text, |header, row| {
        let p = row.quantity(header.column("MW Load")?, |mw| MilliWatts::from_mw(mw).filter(|p| p.0 >= 0))?;
        lines.push(DcLine {
            id: DcLineId(lines.len() as u32 + 1),
            valid_from_ms: 0,
            name: row.text(header.column("UID")?).to_owned(),
            from: bus(network, row, header.column("From Bus")?)?,
            to: bus(network, row, header.column("To Bus")?)?,
            p,
            p_min: -p,
            p_max: p,
            loss: MilliWatts(0),
            loss_ratio: PartsPerMillion(0),
            in_service: true,
        });
        Ok(())
    })?;
    network.dc_lines = lines;
    Ok(())
}

#[cfg(test)]
#[path = "rts_gmlc_tests.rs"]
mod tests;
