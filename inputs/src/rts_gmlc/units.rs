//! `gen.csv` and `storage.csv`: generating units with their costs from heat rates, and storage units.
//!
//! Heat in MMBTU per hour, fuel prices in dollars per MMBTU, emission rates in pounds per MMBTU.

use super::{bus, real};
use crate::ids::{GeneratorId, StorageId};
use crate::network::{Fuel, Generator, Network, Storage};
use crate::network_file::{convex_points, cost_rows};
use crate::row::Real;
use crate::table::{ParseError, Row, for_each_row, shown};
use crate::units::{MicroPerMwh, MilliVars, MilliWattHours, MilliWatts, PartsPerMillion};
use std::collections::BTreeMap;

/// What `storage.csv` says of a unit's head reservoir: energy it holds and holds at the start.
pub(super) struct Reservoir {
    capacity: MilliWattHours,
    soc_start: PartsPerMillion,
}

/// Head reservoirs by `GEN UID`; tails and reservoirs without a start volume (CSP) only as far as they are checked.
pub(super) fn reservoirs(text: &str) -> Result<BTreeMap<String, Reservoir>, ParseError> {
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

pub(super) fn units(
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
