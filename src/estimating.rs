//! A file of measurements estimated on a network file: what `gridflow estimate` does.
//!
//! The file is CSV with the columns `id,kind,element,side,value,sigma` in any order, others passed over. It is read line by line;
//! the first line that is wrong ends the reading with an error that names file, line and column. `id` is any text that occurs once.
//!
//! | kind | element, side | unit of value and sigma |
//! |---|---|---|
//! | `vm`, `va` | bus number | pu, degrees |
//! | `p_inj`, `q_inj` | bus number | MW, Mvar into the bus, shunts excluded |
//! | `p_flow`, `q_flow` | row of the branch table from 1, `from` or `to` | MW, Mvar leaving that side |
//! | `i_mag`, `i_re`, `i_im` | as a flow | kA; `i_re` and `i_im` against the time reference of the angles |

use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::path::Path;

use gridflow_inputs::ids::{BranchId, BusId, SensorId};
use gridflow_inputs::network::{Branch, BusKind, Network};
use gridflow_inputs::table::{Header, ParseError, Row, shown};
use gridflow_numerics::case::{Case, CaseBranch, CaseMeasurement, MeasurementKind as Kind};
use gridflow_numerics::estimation::{Cache, Estimate, EstimationError, Options, estimate};

/// Longest line read.
const LINE_BYTES: usize = 64 * 1024;
/// Why an injection at a node may not count.
const POOLED: &str = "only the sum of all its nodes that inject counts, each by its most exact meter";
/// Names of kinds, in messages.
const KINDS: &str = "vm, va, p_inj, q_inj, p_flow, q_flow, i_mag, i_re or i_im";

/// Measurements of a file.
#[derive(Clone, Debug, Default)]
pub struct Measurements {
    /// As the estimator takes them; the sensor of each is its place in `ids`.
    pub measurements: Vec<CaseMeasurement>,
    /// Their ids; of a sum of injections at the nodes of a bus those of its parts, joined by ` + `.
    pub ids: Vec<String>,
    /// Those of equipment that is out of service or within a bus, which are left out, and why.
    pub left_out: Vec<(String, String)>,
}

/// Reads a file of measurements.
///
/// # Errors
/// When it cannot be read, or a line is wrong.
pub fn read_measurements(path: &Path, case: &Case, known: &Known) -> Result<Measurements, ParseError> {
    let name = path.display().to_string();
    let cannot = |error: std::io::Error| ParseError::file(&name, format!("cannot be read: {error}"));
    let file = std::fs::File::open(path).map_err(cannot)?;
    read_lines(&name, std::io::BufReader::new(file), case, known)
}

/// Branches out of service between buses of a case that could be closed: whose data makes sense, that have an impedance, and whose ends
/// are two buses. None where one of them makes no sense.
#[must_use]
pub fn out_of_service(base_mva: f64, network: &Network, case: &Case) -> Vec<CaseBranch> {
    let mut closed = network.clone();
    let impedance = |branch: &&mut Branch| branch.r_pu.get() != 0.0 || branch.x_pu.get() != 0.0;
    closed.branches.iter_mut().filter(impedance).for_each(|branch| branch.in_service = true);
    let Ok(whole) = Case::of_nodes(base_mva, &closed) else { return Vec::new() };
    let inside = |branch: &CaseBranch| {
        let [from, to] = [branch.from, branch.to].map(|bus| case.bus_index(whole.buses[bus].id));
        Some(CaseBranch { from: from?, to: to?, ..branch.clone() }).filter(|branch| branch.from != branch.to)
    };
    whole.branches.iter().filter(|branch| case.branch_index(branch.id).is_none()).filter_map(inside).collect()
}

/// What a network file holds, in service or not.
#[derive(Clone, Debug)]
pub struct Known {
    /// Numbers of all buses, ascending.
    buses: Vec<BusId>,
    /// Rows of the branch table: the ends of those in service.
    branches: BTreeMap<u32, Option<[BusId; 2]>>,
}

impl Known {
    /// What a network holds.
    #[must_use]
    pub fn of(network: &Network) -> Self {
        let mut buses: Vec<_> = network.buses.iter().map(|bus| bus.id).collect();
        buses.sort_unstable();
        let branch = |row: &Branch| (row.id.0, row.in_service.then_some([row.from, row.to]));
        Self { buses, branches: network.branches.iter().map(branch).collect() }
    }

    /// Whether a branch in service joins nodes of one bus.
    fn within_a_bus(&self, case: &Case, branch: u32) -> bool {
        let ends = self.branches.get(&branch).copied().flatten();
        ends.is_some_and(|[from, to]| case.bus_index(from).is_some() && case.bus_index(from) == case.bus_index(to))
    }
}

fn read_lines(name: &str, mut reader: impl BufRead, case: &Case, known: &Known) -> Result<Measurements, ParseError> {
    let mut found = Measurements::default();
    let (mut taken, mut ids) = (Vec::new(), Vec::new());
    let mut lines = BTreeMap::new();
    let mut table: Option<(Header, Columns)> = None;
    let mut bytes = Vec::new();
    for line in 1u64.. {
        bytes.clear();
        let wrong = |reason: String| ParseError { line, ..ParseError::file(name, reason) };
        let read = reader.by_ref().take(LINE_BYTES as u64 + 1).read_until(b'\n', &mut bytes);
        if read.map_err(|error| wrong(format!("cannot be read: {error}")))? == 0 {
            break;
        }
        if bytes.len() > LINE_BYTES {
            return Err(wrong("the line is longer than 64 KiB".to_owned()));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong("the text is not UTF-8".to_owned()))?.trim_end_matches(['\r', '\n']);
        if text.trim().is_empty() {
            continue;
        }
        let Some((header, columns)) = &table else {
            let header = Header::read(name, line, text)?;
            let columns = Columns::of(&header, line)?;
            table = Some((header, columns));
            continue;
        };
        let row = header.row(line, text)?;
        let id = row.text(columns.id);
        if id.is_empty() {
            return Err(row.error(columns.id, "the cell is empty; every measurement needs an id"));
        }
        if let Some(first) = lines.insert(id.to_owned(), line) {
            return Err(row.error(columns.id, format!("the id {} is that of line {first} too; give each measurement its own", shown(id))));
        }
        match columns.measurement(&row, case, known, ids.len())? {
            Ok(measurement) => {
                taken.push(measurement);
                ids.push(id.to_owned());
            }
            Err(reason) => found.left_out.push((id.to_owned(), reason)),
        }
    }
    if table.is_none() {
        return Err(ParseError::file(name, "the file is empty; expected the header id,kind,element,side,value,sigma"));
    }
    let (measurements, part_of) = case.pooled(&taken);
    found.ids = vec![String::new(); measurements.len()];
    for ((id, part_of), (node, _)) in ids.into_iter().zip(part_of).zip(&taken) {
        let Some(name) = part_of.map(|place| &mut found.ids[place]) else {
            found.left_out.push((id, format!("bus {node} is a node of bus {}: {POOLED}", case.nodes.bus(*node))));
            continue;
        };
        *name = if name.is_empty() { id } else { format!("{name} + {id}") };
    }
    found.measurements = measurements;
    Ok(found)
}

/// A measurement with the node at which it was taken.
type Taken = (BusId, CaseMeasurement);

/// Places of the columns.
struct Columns {
    id: usize,
    kind: usize,
    element: usize,
    side: usize,
    value: usize,
    sigma: usize,
}

impl Columns {
    fn of(header: &Header, line: u64) -> Result<Self, ParseError> {
        let column = |name| header.column(name).map_err(|error| ParseError { line, ..error });
        Ok(Self {
            id: column("id")?,
            kind: column("kind")?,
            element: column("element")?,
            side: column("side")?,
            value: column("value")?,
            sigma: column("sigma")?,
        })
    }

    /// The measurement of a row and where it was taken (of a branch, whatever), or why it is left out.
    fn measurement(&self, row: &Row<'_>, case: &Case, known: &Known, place: usize) -> Result<Result<Taken, String>, ParseError> {
        let mut node = BusId(0);
        let value = row.number(self.value)?;
        let sigma = row.number(self.sigma)?;
        if sigma <= 0.0 {
            return Err(row.error(self.sigma, format!("expected a positive standard deviation, found {}", shown(row.text(self.sigma)))));
        }
        let kind = match row.text(self.kind) {
            kind @ ("vm" | "va" | "p_inj" | "q_inj") => {
                if !matches!(row.text(self.side), "" | "none") {
                    return Err(
                        row.error(self.side, format!("expected an empty cell, found {}: a bus has no sides", shown(row.text(self.side))))
                    );
                }
                let bus = BusId(row.integer(self.element)?);
                node = bus;
                let Some(index) = case.bus_index(bus) else {
                    return match known.buses.binary_search(&bus) {
                        Ok(_) => Ok(Err(format!("bus {bus} is isolated"))),
                        Err(_) => Err(row.error(self.element, format!("the network has no bus {bus}"))),
                    };
                };
                match kind {
                    "vm" => Kind::VoltageMagnitude(index),
                    "va" => Kind::VoltageAngle(index),
                    "p_inj" => Kind::ActiveInjection(index),
                    _ => Kind::ReactiveInjection(index),
                }
            }
            kind @ ("p_flow" | "q_flow" | "i_mag" | "i_re" | "i_im") => {
                let from = match row.text(self.side) {
                    "from" => true,
                    "to" => false,
                    other => return Err(row.error(self.side, format!("expected from or to, found {}", shown(other)))),
                };
                let number: u32 = row.integer(self.element)?;
                let Some(index) = case.branch_index(BranchId(number)) else {
                    let flows = if value.abs() > 3.0 * sigma { ", yet the reading is above three standard deviations" } else { "" };
                    let rows = known.branches.len();
                    return match known.branches.get(&number) {
                        Some(_) if known.within_a_bus(case, number) => Ok(Err(format!("branch {number} lies within a bus"))),
                        Some(_) => Ok(Err(format!("branch {number} is out of service{flows}"))),
                        None => Err(row.error(self.element, format!("the branch table has {rows} rows; there is no row {number}"))),
                    };
                };
                match (kind, from) {
                    ("p_flow", true) => Kind::ActiveFlowFrom(index),
                    ("p_flow", false) => Kind::ActiveFlowTo(index),
                    ("q_flow", true) => Kind::ReactiveFlowFrom(index),
                    ("q_flow", false) => Kind::ReactiveFlowTo(index),
                    ("i_mag", true) => Kind::CurrentMagnitudeFrom(index),
                    ("i_mag", false) => Kind::CurrentMagnitudeTo(index),
                    ("i_re", true) => Kind::CurrentRealFrom(index),
                    ("i_re", false) => Kind::CurrentRealTo(index),
                    (_, true) => Kind::CurrentImaginaryFrom(index),
                    (_, false) => Kind::CurrentImaginaryTo(index),
                }
            }
            other => return Err(row.error(self.kind, format!("expected {KINDS}, found {}", shown(other)))),
        };
        let sensor = u32::try_from(place).map_err(|_| row.error(self.id, "there are more measurements than ids of sensors"))?;
        Ok(Ok((node, case.customary_measurement(SensorId(sensor), kind, value, sigma))))
    }
}

/// The bus whose angle is the origin: the first that the file calls its reference, else the one of the largest unit.
#[must_use]
pub fn reference_bus(case: &Case) -> usize {
    let stated = case.buses.iter().position(|bus| bus.kind == BusKind::Reference);
    let largest = || case.generators.iter().reduce(|best, unit| if unit.p_max > best.p_max { unit } else { best }).map(|unit| unit.bus);
    stated.or_else(largest).unwrap_or(0)
}

/// All magnitudes 1, all angles that of the reference bus.
#[must_use]
pub fn flat_start(case: &Case, reference: usize) -> (Vec<f64>, Vec<f64>) {
    (vec![1.0; case.buses.len()], vec![case.buses[reference].va_start; case.buses.len()])
}

/// Estimates, and should the steps not converge once more from the file's voltages.
///
/// # Errors
/// That of the first start, when neither gives a state.
pub fn estimate_from_either(
    case: &Case,
    reference: usize,
    measurements: &[CaseMeasurement],
    options: &Options,
    cache: &mut Cache,
) -> Result<Estimate, EstimationError> {
    estimate(case, reference, measurements, options, cache).or_else(|error| match error {
        error if error.steps().is_some() && options.start.is_some() => {
            estimate(case, reference, measurements, &Options { start: None, ..options.clone() }, cache).map_err(|_| error)
        }
        other => Err(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn network() -> (Case, Known) {
        let file = gridflow_inputs::matpower::read("ieee14.m", gridflow_inputs::matpower::IEEE14).expect("the embedded network is whole");
        (Case::new(file.base_power.mva(), &file.network).expect("it makes sense"), Known::of(&file.network))
    }

    fn read(text: &str) -> Result<Measurements, ParseError> {
        let (case, known) = network();
        read_lines("m.csv", text.as_bytes(), &case, &known)
    }

    #[test]
    fn values_become_per_unit_in_the_units_of_their_kind() {
        let text =
            "\u{feff}sigma,value,side,element,kind,id,note\r\n0.01,1.02,,1,vm,a,x\n\n0.1,-30,none,2,va,\"b, c\",\n2,50,from,3,p_flow,d,\n";
        let found = read(text).expect("it is right");
        assert_eq!(found.ids, ["a", "b, c", "d"]);
        let [a, b, d] = &found.measurements[..] else { panic!("three") };
        assert_eq!((a.kind, a.value, a.sigma), (Kind::VoltageMagnitude(0), 1.02, 0.01));
        assert!((b.value + std::f64::consts::PI / 6.0).abs() < 1e-15 && b.kind == Kind::VoltageAngle(1));
        assert_eq!((d.kind, d.value, d.sigma), (Kind::ActiveFlowFrom(2), 0.5, 0.02));
    }

    #[test]
    fn a_wrong_line_is_named_by_file_line_and_column() {
        let head = "id,kind,element,side,value,sigma\n1,vm,1,,1.0,0.01\n";
        for (line, column, part) in [
            ("2,vm,99,,1.0,0.01", "element", "no bus 99"),
            ("2,vm,1,from,1.0,0.01", "side", "no sides"),
            ("2,p_flow,1,,1.0,0.01", "side", "from or to"),
            ("2,p_flow,21,to,1.0,0.01", "element", "20 rows"),
            ("2,p_flow,0,to,1.0,0.01", "element", "no row 0"),
            ("2,volts,1,,1.0,0.01", "kind", "expected vm"),
            ("2,vm,1,,NaN,0.01", "value", "finite number"),
            ("2,vm,1,,1.0,0", "sigma", "positive"),
            ("2,vm,1,,1.0,-1", "sigma", "positive"),
            ("2,vm,1,,1.0,NaN", "sigma", "finite number"),
            ("1,vm,2,,1.0,0.01", "id", "line 2"),
            (",vm,2,,1.0,0.01", "id", "empty"),
            ("2,vm,1", "", "6 cells"),
        ] {
            let error = read(&format!("{head}{line}\n")).expect_err(line);
            assert_eq!((error.file.as_str(), error.line, error.column.as_str()), ("m.csv", 3, column), "{line}: {error}");
            assert!(error.reason.contains(part), "{line}: {error}");
        }
        assert!(read("").expect_err("nothing").reason.contains("header"));
        assert_eq!(read("id,kind,element,side,value\n").expect_err("a column is missing").column, "sigma");
        assert!(read(&"x".repeat(70_000)).expect_err("too long").reason.contains("64 KiB"));
    }

    #[test]
    fn injections_at_the_nodes_of_a_bus_count_as_their_sum_and_a_flow_within_it_not_at_all() {
        let mut file = gridflow_inputs::matpower::read("ieee14.m", gridflow_inputs::matpower::IEEE14).expect("it is whole");
        let network = &mut file.network;
        // Branch 16 joins buses 9 and 10, at each of which there is a load.
        let joint = network.branches.iter_mut().find(|row| row.id.0 == 16).expect("it has 20 branches");
        (joint.r_pu, joint.x_pu) = Default::default();
        let case = Case::of_nodes(file.base_power.mva(), network).expect("it makes sense");
        let known = Known::of(network);
        let read = |text: &str| read_lines("m.csv", text.as_bytes(), &case, &known).expect("it is right");
        let head = "id,kind,element,side,value,sigma\nwithin,p_flow,16,from,30,1\none,p_inj,10,,-9,0.3\n";
        let alone = read(head);
        assert_eq!(alone.ids.len(), 0);
        assert_eq!(alone.left_out[0], ("within".to_owned(), "branch 16 lies within a bus".to_owned()));
        assert!(alone.left_out[1].0 == "one" && alone.left_out[1].1.starts_with("bus 10 is a node of bus 9: "), "{:?}", alone.left_out);
        let both = read(&format!("{head}v,vm,10,,1.05,0.01\nother,p_inj,9,,-30,0.4\nworse,p_inj,9,,-31,0.5\n"));
        assert_eq!(both.ids, ["one + other", "v"]);
        let [sum, v] = &both.measurements[..] else { panic!("two") };
        assert_eq!((sum.kind, v.kind), (Kind::ActiveInjection(8), Kind::VoltageMagnitude(8)));
        assert!((sum.value + 0.39).abs() < 1e-15 && (sum.sigma - 0.005).abs() < 1e-15, "{sum:?}");
        assert_eq!(both.left_out[1].0, "worse");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_with_their_line(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let (case, known) = network();
            let mut text = b"id,kind,element,side,value,sigma\n".to_vec();
            text.extend_from_slice(&bytes);
            if let Err(error) = read_lines("m.csv", &text[..], &case, &known) {
                prop_assert!(error.line > 1 && error.file == "m.csv");
            }
        }
    }
}
