//! The RTS-GMLC source tables (`bus.csv`, `branch.csv`, `gen.csv`, `storage.csv`, `dc_branch.csv`) as network rows.
//!
//! - Zone = area. A generator's id is its 1-based row in `gen.csv`, its name the `GEN UID`; branches likewise.
//! - Cost: total heat at the output points (`HR_avg_0`, then `HR_incr_i`, BTU/kWh) times the fuel price, plus VOM. Points
//!   are taken at whole watts; an increment of 0 (nuclear) means that none is stated, so the average holds. Concave corners
//!   are cut off by the lower convex hull, with a warning. Units without a fuel price have the polynomial `VOM · MW`.
//! - Start cost: a cold start's heat times the fuel price, plus the non-fuel cost. CO2: rate × heat per MWh at full output.
//! - Wind, PV and rooftop PV are variable; so are hydro (its series are what the river gives) and CSP, whose thermal
//!   storage is left out, with least output 0.
//! - A `STORAGE` unit with a head reservoir becomes a `Storage` and no generator; one-way efficiencies are the square root
//!   of the round trip's. The DC link runs at its `MW Load`, up to ± that power; its losses are not modelled.
//! - Not stated by the tables: voltage limits (0.95 to 1.05, as in the published MATPOWER form), base power (100 MVA).

mod units;

use self::units::{reservoirs, units};
use crate::ids::{BranchId, BusId, DcLineId, LoadId, ShuntId, ZoneId};
use crate::network::{Branch, Bus, BusKind, DcLine, Load, Network, Shunt};
use crate::network_file::{NetworkFile, RAD_PER_DEG, add_breakers, fixed_transformer, interruption_cost, load_class};
use crate::row::Real;
use crate::table::{ParseError, Row, for_each_row, read_text, shown};
use crate::units::{MicroVolts, MilliVars, MilliVoltAmperes, MilliWatts, PartsPerMillion};
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
mod tests;
