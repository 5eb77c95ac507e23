//! Islands of a case, and the part of it that is under voltage.
//!
//! An island is what branches in service join. It is energised when it has a unit or a reference bus; its reference is the
//! file's, or else the bus of its largest unit (by `p_max`, the lowest bus number among equals).

use super::{Case, CaseBus};
use gridflow_inputs::ids::BusId;
use gridflow_inputs::network::BusKind;

/// One island of a case; powers per unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Island {
    /// Its buses, ascending.
    pub buses: Vec<BusId>,
    /// Its reference bus; none when nothing energises it.
    pub reference: Option<BusId>,
    /// Scheduled output of its units.
    pub generation: f64,
    /// Power of its loads.
    pub load: f64,
}

impl Case {
    /// The islands in the order of their lowest bus, and the case of those that are energised, each with a reference bus.
    ///
    /// A file's second reference bus in one island is left as it is: which of the two is meant, only its author knows.
    #[must_use]
    pub fn energised(&self) -> (Case, Vec<Island>) {
        let components = self.components();
        let mut islands = vec![Island { buses: vec![], reference: None, generation: 0.0, load: 0.0 }; self.buses.len()];
        for (bus, component) in self.buses.iter().zip(&components) {
            islands[*component].buses.push(bus.id);
            if bus.kind == BusKind::Reference && islands[*component].reference.is_none() {
                islands[*component].reference = Some(bus.id);
            }
        }
        let mut largest = vec![None::<(f64, usize)>; self.buses.len()];
        for unit in &self.generators {
            let component = components[unit.bus];
            islands[component].generation += unit.p;
            let best = &mut largest[component];
            if unit.p_max > 0.0 && best.is_none_or(|(p_max, bus)| unit.p_max > p_max || (unit.p_max == p_max && unit.bus < bus)) {
                *best = Some((unit.p_max, unit.bus));
            }
        }
        for load in &self.loads {
            islands[components[load.bus]].load += load.p;
        }
        let mut chosen = vec![false; self.buses.len()];
        for (island, largest) in islands.iter_mut().zip(&largest) {
            if let (None, Some((_, bus))) = (island.reference, largest) {
                island.reference = Some(self.buses[*bus].id);
                chosen[*bus] = true;
            }
        }
        let kept = Vec::from_iter(components.iter().map(|component| islands[*component].reference.is_some()));
        let with_reference =
            |(bus, chosen): (&CaseBus, &bool)| CaseBus { kind: if *chosen { BusKind::Reference } else { bus.kind }, ..bus.clone() };
        let referenced = Case { buses: self.buses.iter().zip(&chosen).map(with_reference).collect(), ..self.clone() };
        islands.retain(|island| !island.buses.is_empty());
        (referenced.restricted(&kept), islands)
    }

    /// The case without the buses that are not `kept`, and without all that is connected to them.
    fn restricted(mut self, kept: &[bool]) -> Case {
        let mut place = vec![0; self.buses.len()];
        let mut next = 0;
        for (place, kept) in place.iter_mut().zip(kept) {
            *place = next;
            next += usize::from(*kept);
        }
        let mut bus = 0..;
        self.buses.retain(|_| bus.next().is_some_and(|bus| kept[bus]));
        macro_rules! restrict {
            ($($list:ident: $($bus:ident)+;)*) => {$(
                self.$list.retain(|row| $(kept[row.$bus])&&+);
                self.$list.iter_mut().for_each(|row| { $(row.$bus = place[row.$bus];)+ });
            )*};
        }
        restrict! { branches: from to; generators: bus; loads: bus; storages: bus; dc_lines: from to; }
        self
    }
}
