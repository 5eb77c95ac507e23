//! Backward/forward sweep for radial networks (Shirmohammadi and others 1988): currents are summed from the leaves to the
//! reference bus, voltages follow from it to the leaves, until the mismatch is what is asked for.
//!
//! It solves no equations together, so that a sweep costs little more than an evaluation, and converges linearly. Each island
//! must be a tree with no held voltage but that of its reference bus.

use super::fast_decoupled::injections;
use super::network::Network;
use super::newton::Solution;
use super::schedule::{Role, Schedule};
use super::{Options, PowerFlowError};
use crate::admittance::rectangular;
use crate::case::Case;

/// A complex number: real, imaginary part.
type Complex = (f64, f64);

fn times(a: Complex, b: Complex) -> Complex {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

fn plus(a: Complex, b: Complex) -> Complex {
    (a.0 + b.0, a.1 + b.1)
}

fn conjugate(a: Complex) -> Complex {
    (a.0, -a.1)
}

fn inverse(a: Complex) -> Complex {
    let square = a.0 * a.0 + a.1 * a.1;
    (a.0 / square, -a.1 / square)
}

/// A branch seen from the bus nearer to the reference: `V_child = up (down V_parent - z I)`, of which one of the turns is 1.
struct Link {
    parent: usize,
    child: usize,
    z: Complex,
    /// Half of the charging.
    half_charging: f64,
    /// Turns of the voltage on the parent's and on the child's side.
    down: Complex,
    up: Complex,
}

/// Iterates from `v`, `va`, which receive the solution.
pub(super) fn solve(
    case: &Case,
    network: &Network,
    schedule: &Schedule,
    options: &Options,
    v: &mut [f64],
    va: &mut [f64],
) -> Result<Solution, PowerFlowError> {
    if schedule.distributed || schedule.roles.contains(&Role::Generator) {
        return Err(PowerFlowError::Given("sweep needs a slack at the reference bus and no other bus that holds its voltage"));
    }
    if case.branches.len() + schedule.references.len() != case.buses.len() {
        return Err(PowerFlowError::Given("sweep needs a radial network: each island a tree"));
    }
    let links = links(case, schedule);
    let mut voltages = rectangular(v, va);
    let mut iterations = 0;
    loop {
        let (p, q) = injections(&network.admittance, &voltages);
        let mut slack = vec![0.0; v.len()];
        schedule.references.iter().for_each(|&bus| slack[bus] = p[bus] - schedule.p[bus]);
        let active = |bus: usize| p[bus] - schedule.p[bus] - schedule.share[bus] * slack[schedule.reference[bus]];
        let (mismatch, worst) = schedule.largest_mismatch(active, |bus| q[bus] - schedule.q[bus]);
        if mismatch <= options.tolerance {
            for (bus, voltage) in voltages.iter().enumerate().filter(|(bus, _)| schedule.roles[*bus] == Role::Load) {
                v[bus] = (voltage.0 * voltage.0 + voltage.1 * voltage.1).sqrt();
                // Within half a turn of where it started, as a sum of small steps would be.
                let angle = libm::atan2(voltage.1, voltage.0);
                va[bus] = angle + std::f64::consts::TAU * ((va[schedule.reference[bus]] - angle) / std::f64::consts::TAU).round();
            }
            return Ok(Solution { voltages, p, q, slack, iterations, mismatch });
        }
        if iterations == options.max_iterations || !mismatch.is_finite() {
            return Err(PowerFlowError::Diverged { iterations, mismatch, bus: case.buses[worst].id });
        }
        sweep(case, schedule, &links, &mut voltages);
        iterations += 1;
    }
}

/// One sweep: up with the currents, down with the voltages.
fn sweep(case: &Case, schedule: &Schedule, links: &[Link], voltages: &mut [Complex]) {
    // What leaves a bus into its load, its shunt and, in the end, the branches behind it.
    let drawn = |(bus, voltage): (usize, &Complex)| {
        let load = conjugate(times((-schedule.p[bus], -schedule.q[bus]), inverse(*voltage)));
        plus(load, times((case.buses[bus].g, case.buses[bus].b), *voltage))
    };
    let mut current = Vec::from_iter(voltages.iter().enumerate().map(drawn));
    let mut through = vec![(0.0, 0.0); links.len()];
    for (link, through) in links.iter().zip(&mut through).rev() {
        let charging = (0.0, link.half_charging);
        let (near, far) = (times(voltages[link.parent], link.down), times(voltages[link.child], inverse(link.up)));
        *through = plus(times(current[link.child], conjugate(link.up)), times(charging, far));
        let entering = times(plus(*through, times(charging, near)), conjugate(link.down));
        current[link.parent] = plus(current[link.parent], entering);
    }
    for (link, through) in links.iter().zip(&through) {
        let drop = times(link.z, *through);
        let near = times(voltages[link.parent], link.down);
        voltages[link.child] = times(plus(near, (-drop.0, -drop.1)), link.up);
    }
}

/// The branches of all trees from their references outwards.
fn links(case: &Case, schedule: &Schedule) -> Vec<Link> {
    let mut at = vec![vec![]; case.buses.len()];
    for (index, branch) in case.branches.iter().enumerate() {
        at[branch.from].push(index);
        at[branch.to].push(index);
    }
    let mut reached = schedule.references.clone();
    let mut taken = vec![false; case.branches.len()];
    let mut links = Vec::with_capacity(case.branches.len());
    let mut next = 0;
    while let Some(&parent) = reached.get(next) {
        next += 1;
        for &index in &at[parent] {
            if std::mem::replace(&mut taken[index], true) {
                continue;
            }
            let branch = &case.branches[index];
            let (sin, cos) = libm::sincos(branch.shift);
            let ratio = (branch.tap * cos, branch.tap * sin);
            let (child, down, up) =
                if branch.from == parent { (branch.to, inverse(ratio), (1.0, 0.0)) } else { (branch.from, (1.0, 0.0), ratio) };
            links.push(Link { parent, child, z: (branch.r, branch.x), half_charging: 0.5 * branch.b, down, up });
            reached.push(child);
        }
    }
    links
}
