//! What follows from an island's equipment alone, kept from one scan to the next: speeds up a solve, never changes it.

use std::sync::Arc;

use gridflow_inputs::Input;
use gridflow_inputs::ids::BusId;
use gridflow_inputs::network::{BusKind, Network};
use gridflow_inputs::units::MilliVoltAmperes;
use gridflow_numerics::admittance::Admittance;
use gridflow_numerics::case::{Case, CaseMeasurement, MeasurementKind};
use gridflow_numerics::estimation::{self, EstimationError, Options};

use crate::grid::GridRow;

/// Standard deviation of a usual injection, as a share of what is connected.
const USUAL_SIGMA: f64 = 0.3;
/// The least it is, per unit.
const USUAL_SIGMA_MIN: f64 = 1e-3;

/// What is connected to a bus besides branches and shunts, as indices of the case.
#[derive(Debug, Default)]
pub(super) struct Attached {
    pub(super) loads: Vec<usize>,
    pub(super) units: Vec<usize>,
    pub(super) storages: Vec<usize>,
    /// A direct-current link, which nothing meters.
    pub(super) link: bool,
}

impl Attached {
    pub(super) fn is_empty(&self) -> bool {
        self.loads.is_empty() && self.units.is_empty() && self.storages.is_empty() && !self.link
    }

    pub(super) fn only_loads(&self) -> bool {
        !self.loads.is_empty() && self.units.is_empty() && self.storages.is_empty() && !self.link
    }
}

/// What a bus injects when nothing unusual happens, per unit.
#[derive(Clone, Copy, Debug, Default)]
struct Usual {
    /// Of units and links; of loads at their nominal level.
    given: [f64; 2],
    drawn: [f64; 2],
    sigma: f64,
}

/// What readings leave undetermined, and where usual injections help: by what is measured.
#[derive(Debug)]
pub(super) struct Reach {
    kinds: Vec<MeasurementKind>,
    /// Buses whose usual injections are added, and of these those of active and reactive power.
    pub(super) added: Vec<(usize, [bool; 2])>,
    /// What readings alone do not determine.
    pub(super) open: Vec<usize>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Grid {
    elements: Vec<Arc<Input>>,
    reference_bus: BusId,
    base: MilliVoltAmperes,
    pub(super) case: Case,
    pub(super) reference: usize,
    pub(super) admittance: Admittance,
    /// Buses that inject nothing.
    pub(super) idle: Vec<usize>,
    /// By bus.
    pub(super) attached: Vec<Attached>,
    usual: Vec<Usual>,
    reach: Option<Reach>,
}

/// The case of an island, with `reference` as its one reference bus.
///
/// # Errors
/// When the network rows contradict each other.
pub(crate) fn island_case(network: &Network, reference: BusId, base_mva: f64) -> Result<Case, String> {
    let mut case = Case::of_nodes(base_mva, network).map_err(|error| error.to_string())?;
    let reference = case.nodes.bus(reference);
    for bus in &mut case.buses {
        if bus.id == reference {
            bus.kind = BusKind::Reference;
        } else if bus.kind == BusKind::Reference {
            bus.kind = BusKind::Generator;
        }
    }
    Ok(case)
}

fn elements(rows: &[GridRow]) -> impl Iterator<Item = &Arc<Input>> {
    rows.iter().filter_map(|row| if let GridRow::Element(row) = row { Some(row) } else { None })
}

impl Grid {
    /// # Errors
    /// When the network rows contradict each other, or do not have the reference bus.
    pub(super) fn new(rows: &[GridRow], reference_bus: BusId, base: MilliVoltAmperes) -> Result<Self, String> {
        let elements: Vec<Arc<Input>> = elements(rows).cloned().collect();
        let case = island_case(&Network::from_rows(elements.iter().map(|row| &**row)), reference_bus, base.mva())?;
        let reference = case.bus_index(reference_bus).ok_or_else(|| format!("its reference bus {reference_bus} is not in the network"))?;
        let mut attached: Vec<Attached> = case.buses.iter().map(|_| Attached::default()).collect();
        let mut usual = vec![Usual::default(); case.buses.len()];
        for (index, load) in case.loads.iter().enumerate() {
            attached[load.bus].loads.push(index);
            let bus = &mut usual[load.bus];
            (bus.drawn[0], bus.drawn[1]) = (bus.drawn[0] + load.p, bus.drawn[1] + load.q);
            bus.sigma += USUAL_SIGMA * load.p.abs();
        }
        for (index, unit) in case.generators.iter().enumerate() {
            attached[unit.bus].units.push(index);
            let bus = &mut usual[unit.bus];
            (bus.given[0], bus.given[1]) = (bus.given[0] + unit.p, bus.given[1] + unit.q);
            bus.sigma += USUAL_SIGMA * unit.p_max.abs().max(unit.p.abs());
        }
        for (index, storage) in case.storages.iter().enumerate() {
            attached[storage.bus].storages.push(index);
            usual[storage.bus].sigma += USUAL_SIGMA * storage.charge_max.max(storage.discharge_max);
        }
        for line in &case.dc_lines {
            let brought = line.p - line.loss - line.loss_ratio * line.p.abs();
            for (bus, p) in [(line.from, -line.p), (line.to, brought)] {
                attached[bus].link = true;
                usual[bus].given[0] += p;
                usual[bus].sigma += USUAL_SIGMA * line.p_max.abs().max(line.p.abs());
            }
        }
        let idle = (0..attached.len()).filter(|bus| attached[*bus].is_empty()).collect();
        let admittance = Admittance::new(&case);
        Ok(Self { elements, reference_bus, base, case, reference, admittance, idle, attached, usual, reach: None })
    }

    /// Whether all it follows from is the same. Rows are shared, so that most are the same without a look inside.
    pub(super) fn holds(&self, rows: &[GridRow], reference_bus: BusId, base: MilliVoltAmperes) -> bool {
        let mut known = self.elements.iter();
        let same = |row: &Arc<Input>| known.next().is_some_and(|known| Arc::ptr_eq(known, row) || known == row);
        self.reference_bus == reference_bus && self.base == base && elements(rows).all(same) && known.next().is_none()
    }

    /// By bus: a hash of what is connected to it.
    pub(super) fn signatures(&self) -> impl Iterator<Item = (BusId, u64)> + '_ {
        let mix = |hash: u64, kind: u64, id: u32| (hash ^ (kind << 32 | u64::from(id))).wrapping_mul(0x0000_0100_0000_01b3);
        self.attached.iter().zip(&self.case.buses).map(move |(attached, bus)| {
            let mut hash = 0xcbf2_9ce4_8422_2325;
            hash = attached.loads.iter().fold(hash, |hash, load| mix(hash, 1, self.case.loads[*load].id.0));
            hash = attached.units.iter().fold(hash, |hash, unit| mix(hash, 2, self.case.generators[*unit].id.0));
            hash = attached.storages.iter().fold(hash, |hash, unit| mix(hash, 3, self.case.storages[*unit].id.0));
            (bus.id, mix(hash, 4, u32::from(attached.link)))
        })
    }

    pub(super) fn nominal_load(&self, bus: usize) -> f64 {
        self.usual[bus].drawn[0]
    }

    /// The usual active (0) or reactive (1) injection of a bus with loads at so many times their nominal power, and how far off it may be.
    pub(super) fn usual_injection(&self, bus: usize, part: usize, level: f64) -> (f64, f64) {
        let usual = &self.usual[bus];
        (usual.given[part] - level * usual.drawn[part], usual.sigma.max(USUAL_SIGMA_MIN))
    }

    /// Where usual injections are added to these measurements, and which buses are open without them: where readings
    /// leave a bus undetermined, its own, and if that is not enough those of its neighbours, each where none is measured.
    /// None when a bus is open and `early`.
    pub(super) fn reach(
        &mut self,
        measurements: &[CaseMeasurement],
        options: &Options,
        cache: &mut estimation::Cache,
        early: bool,
    ) -> Result<Option<&Reach>, EstimationError> {
        let kinds = measurements.iter().map(|measurement| measurement.kind);
        let known = self.reach.take().filter(|reach| kinds.clone().eq(reach.kinds.iter().copied()));
        let reach = match known {
            Some(known) => known,
            None => {
                let open = estimation::unobservable(&self.case, self.reference, measurements, options, cache)?;
                let mut reach = Reach { kinds: kinds.collect(), added: Vec::new(), open };
                if !reach.open.is_empty() {
                    if early {
                        return Ok(None);
                    }
                    self.extend(&mut reach, measurements, options, cache)?;
                }
                reach
            }
        };
        let reach = self.reach.insert(reach);
        Ok((!early || reach.open.is_empty()).then_some(&*reach))
    }

    fn extend(
        &self,
        reach: &mut Reach,
        measurements: &[CaseMeasurement],
        options: &Options,
        cache: &mut estimation::Cache,
    ) -> Result<(), EstimationError> {
        let n = self.case.buses.len();
        let mut measured = vec![[false; 2]; n];
        self.idle.iter().for_each(|bus| measured[*bus] = [true; 2]);
        for kind in &reach.kinds {
            match *kind {
                MeasurementKind::ActiveInjection(bus) => measured[bus][0] = true,
                MeasurementKind::ReactiveInjection(bus) => measured[bus][1] = true,
                _ => {}
            }
        }
        let mut asked = vec![false; n];
        reach.open.iter().for_each(|bus| asked[*bus] = true);
        for with_neighbours in [false, true] {
            if with_neighbours {
                let own = asked.clone();
                for branch in &self.case.branches {
                    asked[branch.from] |= own[branch.to];
                    asked[branch.to] |= own[branch.from];
                }
            }
            reach.added = (0..n)
                .filter(|bus| asked[*bus] && measured[*bus] != [true; 2])
                .map(|bus| (bus, measured[bus].map(|known| !known)))
                .collect();
            let mut all = measurements.to_vec();
            for (bus, parts) in &reach.added {
                all.extend((0..2).filter(|part| parts[*part]).map(|part| super::measurements::usual(self, *bus, part, 1.0)));
            }
            if estimation::unobservable(&self.case, self.reference, &all, options, cache)?.is_empty() {
                break;
            }
        }
        Ok(())
    }
}
