//! Each kind's table: its columns, what may be left out, and what then holds.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cells, Pair, Tables, ThreeWinding, star};
use crate::ids::{BranchId, BusId, DcLineId, GeneratorId, LoadId, ShuntId, StorageId, SwitchId, ZoneId};
use crate::network::{
    Branch, Bus, BusKind, DcLine, EquipmentKind, Fuel, Generator, Load, LoadClass, NodeSwitch, Shunt, ShuntBank, Side, StaticVar, Storage,
    Switch, SwitchKind, Transformer,
};
use crate::network_file::{NetworkFile, emission_t_per_mwh, fixed_transformer, interruption_cost, load_class};
use crate::row::Real;
use crate::table::ParseError;
use crate::units::{MicroPerMwh, MicroVolts, MilliVars, MilliVoltAmperes, MilliWattHours, MilliWatts, PartsPerMillion};

type Ids = BTreeSet<u32>;

fn positive(value: f64) -> Option<Real> {
    Real::new(value).filter(|_| value > 0.0)
}

fn not_negative(value: f64) -> Option<Real> {
    Real::new(value).filter(|_| value >= 0.0)
}

fn mva(value: f64) -> Option<MilliVoltAmperes> {
    MilliVoltAmperes::from_mva(value).filter(|rating| rating.0 >= 0)
}

fn magnitude(value: f64) -> Option<MilliWatts> {
    MilliWatts::from_mw(value).filter(|p| p.0 >= 0)
}

fn share(value: f64) -> Option<PartsPerMillion> {
    PartsPerMillion::from_ratio(value).filter(|share| (0..=1_000_000).contains(&share.0))
}

fn pu(value: f64) -> Real {
    Real::new(value).unwrap_or(Real::ONE)
}

/// Reads all kinds, those that others name first.
pub(super) fn read(tables: &Tables<'_>, file: &mut NetworkFile) -> Result<(), ParseError> {
    let (mut buses, mut branches, mut units, mut shunts, mut switches) = (Ids::new(), Ids::new(), Ids::new(), Ids::new(), Ids::new());
    read_buses(tables, file, &mut buses)?;
    read_branches(tables, file, &mut buses, &mut branches)?;
    read_units(tables, file, &buses, &mut units)?;
    read_loads(tables, file, &buses, &mut shunts)?;
    let (mut storages, mut links) = (Ids::new(), Ids::new());
    read_storages(tables, file, &buses, &mut storages)?;
    read_dc_lines(tables, file, &buses, &mut links)?;
    let loads: Ids = file.network.loads.iter().map(|row| row.id.0).collect();
    let known = |equipment: EquipmentKind| match equipment {
        EquipmentKind::Bus => Some(&buses),
        EquipmentKind::Branch => Some(&branches),
        EquipmentKind::Generator => Some(&units),
        EquipmentKind::Load => Some(&loads),
        EquipmentKind::Shunt => Some(&shunts),
        EquipmentKind::Storage => Some(&storages),
        EquipmentKind::DcLine => Some(&links),
        EquipmentKind::Zone | EquipmentKind::Feeder => None,
    };
    tables.each("switch", &["id", "name", "kind", "equipment", "equipment_id", "side", "normally_closed"], false, |cells| {
        let equipment = cells.word_or("equipment", None, EquipmentKind::ALL)?;
        let known = known(equipment).ok_or_else(|| cells.error("equipment", "zones and feeders have no switches"))?;
        file.network.switches.push(Switch {
            id: SwitchId(cells.new_id("id", &mut switches)?),
            valid_from_ms: 0,
            name: cells.text("name").to_owned(),
            kind: cells.word_or("kind", Some(SwitchKind::Breaker), SwitchKind::ALL)?,
            equipment,
            equipment_id: cells.known("equipment_id", "equipment of this kind with the number", known)?,
            side: cells.word_or("side", Some(Side::None), Side::ALL)?,
            normally_closed: cells.flag_or("normally_closed", true)?,
        });
        Ok(())
    })?;
    tables.each("node_switch", &["id", "name", "kind", "from", "to", "normally_closed"], false, |cells| {
        let (from, to) = ends(cells, &buses)?;
        file.network.node_switches.push(NodeSwitch {
            id: SwitchId(cells.new_id("id", &mut switches)?),
            valid_from_ms: 0,
            name: cells.text("name").to_owned(),
            kind: cells.word_or("kind", Some(SwitchKind::Breaker), SwitchKind::ALL)?,
            from,
            to,
            normally_closed: cells.flag_or("normally_closed", true)?,
        });
        Ok(())
    })?;
    let network = &mut file.network;
    network.buses.sort_by_key(|row| row.id);
    network.branches.sort_by_key(|row| row.id);
    network.transformers.sort_by_key(|row| row.branch);
    network.switches.sort_by_key(|row| row.id);
    network.node_switches.sort_by_key(|row| row.id);
    network.generators.sort_by_key(|row| row.id);
    network.static_vars.sort_by_key(|row| row.generator);
    network.loads.sort_by_key(|row| row.id);
    network.shunts.sort_by_key(|row| row.id);
    network.shunt_banks.sort_by_key(|row| row.shunt);
    network.storages.sort_by_key(|row| row.id);
    network.dc_lines.sort_by_key(|row| row.id);
    Ok(())
}

fn ends(cells: &Cells<'_>, buses: &Ids) -> Result<(BusId, BusId), ParseError> {
    let (from, to) = (cells.bus("from", buses)?, cells.bus("to", buses)?);
    if from == to { Err(cells.error("to", format!("both ends are bus {from}"))) } else { Ok((from, to)) }
}

fn read_buses(tables: &Tables<'_>, file: &mut NetworkFile, buses: &mut Ids) -> Result<(), ParseError> {
    let columns = ["id", "name", "kind", "zone", "base_voltage_kv", "v_min_pu", "v_max_pu", "v_start_pu", "angle_start_deg"];
    tables.each("bus", &columns, true, |cells| {
        file.network.buses.push(Bus {
            id: BusId(cells.new_id("id", buses)?),
            valid_from_ms: 0,
            name: cells.text("name").to_owned(),
            kind: cells.word_or("kind", Some(BusKind::Load), BusKind::ALL)?,
            zone: ZoneId(cells.integer_or("zone", 1)?),
            base_voltage: cells.quantity("base_voltage_kv", |kv| MicroVolts::from_kv(kv).filter(|v| v.0 > 0))?,
            v_min_pu: cells.quantity_or("v_min_pu", pu(0.95), not_negative)?,
            v_max_pu: cells.quantity_or("v_max_pu", pu(1.05), not_negative)?,
            v_start_pu: cells.quantity_or("v_start_pu", Real::ONE, positive)?,
            angle_start_rad: cells.degrees_or("angle_start_deg", 0.0)?,
        });
        Ok(())
    })
}

fn read_branches(tables: &Tables<'_>, file: &mut NetworkFile, buses: &mut Ids, branches: &mut Ids) -> Result<(), ParseError> {
    let columns = [
        "id",
        "name",
        "from",
        "to",
        "r_pu",
        "x_pu",
        "b_pu",
        "tap_ratio",
        "shift_deg",
        "rating_mva",
        "rating_long_term_mva",
        "rating_short_term_mva",
        "angle_min_deg",
        "angle_max_deg",
        "in_service",
    ];
    tables.each("branch", &columns, false, |cells| {
        let (from, to) = ends(cells, buses)?;
        let rating = |name: &str| cells.quantity_or(name, MilliVoltAmperes(0), mva);
        file.network.branches.push(Branch {
            id: BranchId(cells.new_id("id", branches)?),
            valid_from_ms: 0,
            name: cells.text("name").to_owned(),
            from,
            to,
            r_pu: cells.quantity("r_pu", Real::new)?,
            x_pu: cells.quantity("x_pu", Real::new)?,
            b_pu: cells.real_or("b_pu", Real::ZERO)?,
            tap_ratio: cells.quantity_or("tap_ratio", Real::ONE, positive)?,
            shift_rad: cells.degrees_or("shift_deg", 0.0)?,
            rating: rating("rating_mva")?,
            rating_long_term: rating("rating_long_term_mva")?,
            rating_short_term: rating("rating_short_term_mva")?,
            angle_min_rad: cells.degrees_or("angle_min_deg", -360.0)?,
            angle_max_rad: cells.degrees_or("angle_max_deg", 360.0)?,
            in_service: cells.flag_or("in_service", true)?,
        });
        Ok(())
    })?;
    read_three_winding(tables, file, buses, branches)?;
    let mut known = Ids::new();
    let mut stated = Vec::new();
    let ratios: BTreeMap<u32, Real> = file.network.branches.iter().map(|row| (row.id.0, row.tap_ratio)).collect();
    let columns = ["branch", "rated_mva", "tap_min", "tap_max", "tap_step", "controlled_bus"];
    tables.each("transformer", &columns, false, |cells| {
        let branch = cells.known("branch", "branch", branches)?;
        cells.new_id("branch", &mut known)?;
        let ratio = ratios.get(&branch).copied().unwrap_or(Real::ONE);
        let row = Transformer {
            branch: BranchId(branch),
            valid_from_ms: 0,
            rated: cells.quantity_or("rated_mva", MilliVoltAmperes(0), mva)?,
            tap_min: cells.quantity_or("tap_min", ratio, positive)?,
            tap_max: cells.quantity_or("tap_max", ratio, positive)?,
            tap_step: cells.quantity_or("tap_step", Real::ZERO, not_negative)?,
            controlled_bus: cells.bus_or_none("controlled_bus", buses)?,
        };
        if row.tap_min.get() > row.tap_max.get() {
            return Err(cells.error("tap_max", "the greatest ratio is below the least"));
        }
        stated.push(row);
        Ok(())
    })?;
    // What is stated of an arm of a star holds.
    file.network.transformers.retain(|arm| known.iter().all(|branch| *branch != arm.branch.0));
    file.network.transformers.extend(stated);
    Ok(())
}

fn read_three_winding(tables: &Tables<'_>, file: &mut NetworkFile, buses: &mut Ids, branches: &mut Ids) -> Result<(), ParseError> {
    const WINDINGS: [&str; 3] = ["hv", "mv", "lv"];
    const PAIRS: [(&str, [usize; 2]); 3] = [("hv_mv", [0, 1]), ("hv_lv", [0, 2]), ("mv_lv", [1, 2])];
    let mut columns: Vec<String> = ["name", "star_bus", "in_service"].map(str::to_owned).into();
    for winding in WINDINGS {
        columns.extend(["bus", "branch", "tap"].map(|what| format!("{what}_{winding}")));
        columns.push(format!("rating_{winding}_mva"));
    }
    for (pair, _) in PAIRS {
        columns.extend(["z", "r"].map(|what| format!("{what}_{pair}_percent")));
        columns.push(format!("base_{pair}_mva"));
    }
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let base_mva = file.base_power.mva();
    tables.each("three_winding", &columns, false, |cells| {
        let mut windings = Vec::new();
        for winding in WINDINGS {
            windings.push((
                cells.bus(&format!("bus_{winding}"), buses)?,
                BranchId(cells.new_id(&format!("branch_{winding}"), branches)?),
                cells.quantity(&format!("rating_{winding}_mva"), |rating| mva(rating).filter(|rating| rating.0 > 0))?,
                cells.quantity_or(&format!("tap_{winding}"), Real::ONE, positive)?,
            ));
        }
        let mut pairs = Vec::new();
        for (pair, [a, b]) in PAIRS {
            // A nameplate's percents are of the smaller of the two ratings unless it says otherwise.
            let rated = windings[a].2.min(windings[b].2).mva();
            pairs.push(Pair {
                z_percent: cells.quantity(&format!("z_{pair}_percent"), Some)?,
                r_percent: cells.quantity_or(&format!("r_{pair}_percent"), 0.0, Some)?,
                base_mva: cells.quantity_or(&format!("base_{pair}_mva"), rated, Some)?,
            });
        }
        let ([hv, mv, lv], [hm, hl, ml]) = (&windings[..], &pairs[..]) else { return Ok(()) };
        let transformer = ThreeWinding {
            name: cells.text("name").to_owned(),
            buses: [hv.0, mv.0, lv.0],
            star_bus: BusId(cells.new_id("star_bus", buses)?),
            branches: [hv.1, mv.1, lv.1],
            ratings: [hv.2, mv.2, lv.2],
            taps: [hv.3, mv.3, lv.3],
            pairs: [*hm, *hl, *ml],
            in_service: cells.flag_or("in_service", true)?,
        };
        let of_hv = file.network.buses.iter().find(|bus| bus.id == hv.0).cloned();
        if let Some(of_hv) = of_hv {
            let (middle, arms) = star(&transformer, &of_hv, base_mva).map_err(|error| cells.error("z_hv_mv_percent", error.to_string()))?;
            file.network.transformers.extend(arms.iter().map(fixed_transformer).filter(|row| row.tap_min != Real::ONE));
            file.network.buses.push(middle);
            file.network.branches.extend(arms);
        }
        Ok(())
    })
}

/// Numbers with semicolons between them.
fn numbers(cells: &Cells<'_>, name: &str, text: &str) -> Result<Vec<Real>, ParseError> {
    let number = |part: &str| part.trim().parse::<f64>().ok().and_then(Real::new);
    let refused = || cells.error(name, "expected numbers with semicolons between them");
    text.split(';').filter(|part| !part.trim().is_empty()).map(|part| number(part).ok_or_else(refused)).collect()
}

fn read_units(tables: &Tables<'_>, file: &mut NetworkFile, buses: &Ids, units: &mut Ids) -> Result<(), ParseError> {
    let columns = [
        "id",
        "name",
        "bus",
        "fuel",
        "p_mw",
        "q_mvar",
        "p_min_mw",
        "p_max_mw",
        "q_min_mvar",
        "q_max_mvar",
        "v_setpoint_pu",
        "variable",
        "in_service",
        "cost_polynomial",
        "ramp_per_minute_mw",
        "emission_t_per_mwh",
    ];
    tables.each("generator", &columns, false, |cells| {
        let fuel = cells.word_or("fuel", Some(Fuel::Other), Fuel::ALL)?;
        let power = |name: &str| cells.quantity_or(name, MilliWatts(0), MilliWatts::from_mw);
        let row = Generator {
            id: GeneratorId(cells.new_id("id", units)?),
            valid_from_ms: 0,
            name: cells.text("name").to_owned(),
            bus: cells.bus("bus", buses)?,
            fuel,
            p: power("p_mw")?,
            q: cells.quantity_or("q_mvar", MilliVars(0), MilliVars::from_mvar)?,
            p_min: power("p_min_mw")?,
            p_max: cells.quantity("p_max_mw", MilliWatts::from_mw)?,
            q_min: cells.quantity("q_min_mvar", MilliVars::from_mvar)?,
            q_max: cells.quantity("q_max_mvar", MilliVars::from_mvar)?,
            v_setpoint_pu: cells.quantity_or("v_setpoint_pu", Real::ONE, positive)?,
            variable: cells.flag_or("variable", matches!(fuel, Fuel::Wind | Fuel::Solar))?,
            in_service: cells.flag_or("in_service", true)?,
            cost_polynomial: numbers(cells, "cost_polynomial", cells.text("cost_polynomial"))?,
            cost_points: Vec::new(),
            ramp_per_minute: cells.quantity_or("ramp_per_minute_mw", MilliWatts(0), magnitude)?,
            start_up_cost: Real::ZERO,
            min_up_ms: 0,
            min_down_ms: 0,
            emission_t_per_mwh: cells.quantity_or("emission_t_per_mwh", emission_t_per_mwh(fuel), not_negative)?,
        };
        if row.p_min > row.p_max {
            return Err(cells.error("p_max_mw", "the greatest output is below the least"));
        }
        if row.q_min > row.q_max {
            return Err(cells.error("q_max_mvar", "the greatest reactive output is below the least"));
        }
        file.network.generators.push(row);
        Ok(())
    })?;
    let mut known = Ids::new();
    tables.each("static_var", &["generator"], false, |cells| {
        let generator = GeneratorId(cells.known("generator", "generator", units)?);
        cells.new_id("generator", &mut known)?;
        file.network.static_vars.push(StaticVar { generator, valid_from_ms: 0 });
        Ok(())
    })
}

fn read_loads(tables: &Tables<'_>, file: &mut NetworkFile, buses: &Ids, shunts: &mut Ids) -> Result<(), ParseError> {
    let mut loads = Ids::new();
    let columns = ["id", "name", "bus", "load_p_mw", "load_q_mvar", "class", "interruption_cost_per_mwh", "in_service"];
    tables.each("load", &columns, false, |cells| {
        let bus = cells.bus("bus", buses)?;
        let class = cells.word_or("class", Some(load_class(bus.0)), LoadClass::ALL)?;
        file.network.loads.push(Load {
            id: LoadId(cells.new_id("id", &mut loads)?),
            valid_from_ms: 0,
            name: cells.text("name").to_owned(),
            bus,
            load_p: cells.quantity("load_p_mw", MilliWatts::from_mw)?,
            load_q: cells.quantity_or("load_q_mvar", MilliVars(0), MilliVars::from_mvar)?,
            class,
            interruption_cost: cells.quantity_or("interruption_cost_per_mwh", interruption_cost(class), MicroPerMwh::from_per_mwh)?,
            in_service: cells.flag_or("in_service", true)?,
        });
        Ok(())
    })?;
    tables.each("shunt", &["id", "bus", "load_p_mw", "q_mvar", "in_service"], false, |cells| {
        file.network.shunts.push(Shunt {
            id: ShuntId(cells.new_id("id", shunts)?),
            valid_from_ms: 0,
            bus: cells.bus("bus", buses)?,
            load_p: cells.quantity_or("load_p_mw", MilliWatts(0), MilliWatts::from_mw)?,
            q: cells.quantity("q_mvar", MilliVars::from_mvar)?,
            in_service: cells.flag_or("in_service", true)?,
        });
        Ok(())
    })?;
    let mut known = Ids::new();
    tables.each("shunt_bank", &["shunt", "sections", "normally_on", "controlled_bus", "v_setpoint_pu"], false, |cells| {
        let shunt = ShuntId(cells.known("shunt", "shunt", shunts)?);
        cells.new_id("shunt", &mut known)?;
        let sections: u16 = cells.row.integer(cells.header.column("sections")?)?;
        let normally_on = cells.integer_or("normally_on", sections)?;
        if normally_on > sections {
            return Err(cells.error("normally_on", format!("the bank has {sections} sections")));
        }
        let controlled_bus = cells.bus_or_none("controlled_bus", buses)?;
        let v_setpoint_pu = cells.quantity_or("v_setpoint_pu", Real::ONE, positive)?;
        file.network.shunt_banks.push(ShuntBank { shunt, valid_from_ms: 0, sections, normally_on, controlled_bus, v_setpoint_pu });
        Ok(())
    })
}

fn read_storages(tables: &Tables<'_>, file: &mut NetworkFile, buses: &Ids, storages: &mut Ids) -> Result<(), ParseError> {
    let columns = [
        "id",
        "name",
        "bus",
        "capacity_mwh",
        "charge_max_mw",
        "discharge_max_mw",
        "charge_efficiency",
        "discharge_efficiency",
        "soc_min",
        "soc_max",
        "soc_start",
        "wear_cost_per_mwh",
        "in_service",
    ];
    tables.each("storage", &columns, false, |cells| {
        let part = |name: &str, otherwise: i64| cells.quantity_or(name, PartsPerMillion(otherwise), share);
        file.network.storages.push(Storage {
            id: StorageId(cells.new_id("id", storages)?),
            valid_from_ms: 0,
            name: cells.text("name").to_owned(),
            bus: cells.bus("bus", buses)?,
            capacity: cells.quantity("capacity_mwh", |mwh| MilliWattHours::from_mwh(mwh).filter(|energy| energy.0 > 0))?,
            charge_max: cells.quantity("charge_max_mw", magnitude)?,
            discharge_max: cells.quantity("discharge_max_mw", magnitude)?,
            charge_efficiency: part("charge_efficiency", 1_000_000)?,
            discharge_efficiency: part("discharge_efficiency", 1_000_000)?,
            soc_min: part("soc_min", 0)?,
            soc_max: part("soc_max", 1_000_000)?,
            soc_start: part("soc_start", 500_000)?,
            wear_cost: cells.quantity_or("wear_cost_per_mwh", MicroPerMwh(0), MicroPerMwh::from_per_mwh)?,
            in_service: cells.flag_or("in_service", true)?,
        });
        Ok(())
    })
}

fn read_dc_lines(tables: &Tables<'_>, file: &mut NetworkFile, buses: &Ids, links: &mut Ids) -> Result<(), ParseError> {
    let columns = ["id", "name", "from", "to", "p_mw", "p_min_mw", "p_max_mw", "loss_mw", "loss_ratio", "in_service"];
    tables.each("dc_line", &columns, false, |cells| {
        let (from, to) = ends(cells, buses)?;
        let p = cells.quantity("p_mw", MilliWatts::from_mw)?;
        let row = DcLine {
            id: DcLineId(cells.new_id("id", links)?),
            valid_from_ms: 0,
            name: cells.text("name").to_owned(),
            from,
            to,
            p,
            p_min: cells.quantity_or("p_min_mw", p.min(-p), MilliWatts::from_mw)?,
            p_max: cells.quantity_or("p_max_mw", p.max(-p), MilliWatts::from_mw)?,
            loss: cells.quantity_or("loss_mw", MilliWatts(0), magnitude)?,
            loss_ratio: cells.quantity_or("loss_ratio", PartsPerMillion(0), share)?,
            in_service: cells.flag_or("in_service", true)?,
        };
        if row.p_min > row.p_max {
            return Err(cells.error("p_max_mw", "the greatest power is below the least"));
        }
        file.network.dc_lines.push(row);
        Ok(())
    })
}
