//! Convex quadratic programs with bounds: the one door to the interior-point solver.
//!
//! Minimise Σ (½ curvature x² + slope x) over lower ≤ x ≤ upper and low ≤ row · x ≤ high. The solver's status is not
//! believed: an answer passes only when primal feasibility, stationarity and complementarity, recomputed here, hold to
//! the tolerances below; infeasibility passes only with a certificate that excludes every point of the box. Work is
//! limited by iterations alone, so that equal programs give equal bits.

use clarabel::algebra::CscMatrix;
use clarabel::solver::{DefaultSettings, DefaultSolver, IPSolver, SolverStatus, SupportedConeT};

/// Violation of a row or bound that still passes, relative to the magnitudes in that row.
const FEASIBILITY: f64 = 1e-7;
/// Imbalance of a column's prices that still passes, relative to the magnitudes in that column.
const STATIONARITY: f64 = 1e-6;
/// Total of slack times price that still passes, relative to the objective.
const GAP: f64 = 1e-7;
/// Iterations after which the solver gives up; answers take 10 to 40.
const ITERATIONS: u32 = 150;

/// A row `low ≤ Σ coefficient · x ≤ high`; equal bounds make an equation, infinite ones none.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// (column, coefficient); a column may repeat.
    pub(crate) terms: Vec<(usize, f64)>,
    /// Lower bound.
    pub(crate) low: f64,
    /// Upper bound.
    pub(crate) high: f64,
}

/// A convex quadratic program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    curvature: Vec<f64>,
    slope: Vec<f64>,
    lower: Vec<f64>,
    upper: Vec<f64>,
    rows: Vec<Row>,
}

/// A verified optimum.
#[derive(Clone, Debug)]
pub(crate) struct Optimum {
    /// Value by column.
    pub(crate) x: Vec<f64>,
    /// Change of the objective per unit that the bound of a row is raised (a row at `high`: ≤ 0, at `low`: ≥ 0).
    pub(crate) row_price: Vec<f64>,
    /// The objective.
    pub(crate) objective: f64,
    /// Iterations used.
    pub(crate) iterations: u32,
}

/// Why there is no optimum.
#[derive(Clone, Debug)]
pub(crate) enum NoOptimum {
    /// No point exists. Weights of rows and of column bounds in the proof (positive: the upper bound), largest 1.
    Infeasible { rows: Vec<f64>, columns: Vec<f64>, iterations: u32 },
    /// The solver stopped without an answer that passes.
    NotSolved { status: &'static str, iterations: u32, primal: f64, dual: f64, gap: f64 },
}

impl Program {
    /// Adds a column and gives its index.
    pub(crate) fn column(&mut self, curvature: f64, slope: f64, lower: f64, upper: f64) -> usize {
        debug_assert!(curvature >= 0.0 && lower <= upper && slope.is_finite());
        self.curvature.push(curvature);
        self.slope.push(slope);
        self.lower.push(lower);
        self.upper.push(upper);
        self.slope.len() - 1
    }

    /// Adds a row and gives its index.
    pub(crate) fn row(&mut self, terms: Vec<(usize, f64)>, low: f64, high: f64) -> usize {
        self.rows.push(Row { terms, low, high });
        self.rows.len() - 1
    }

    /// Changes the bounds of a column.
    pub(crate) fn bound(&mut self, column: usize, lower: f64, upper: f64) {
        self.lower[column] = lower;
        self.upper[column] = upper;
    }

    /// Bounds of a column.
    pub(crate) fn bounds(&self, column: usize) -> (f64, f64) {
        (self.lower[column], self.upper[column])
    }

    /// Solves and verifies.
    ///
    /// The solver judges unboundedness by absolute figures, so that large penalties mislead it now and then: what does
    /// not pass is tried once more with the objective scaled to the order of one.
    pub(crate) fn solve(&self) -> Result<Optimum, NoOptimum> {
        if self.slope.is_empty() {
            return self.without_columns();
        }
        let standard = Standard::of(self);
        let steepest = self.slope.iter().chain(&self.curvature).fold(1.0f64, |steepest, slope| steepest.max(slope.abs()));
        match self.attempt(&standard, 1.0) {
            Err(NoOptimum::NotSolved { iterations: before, .. }) => match self.attempt(&standard, 1.0 / steepest) {
                Ok(optimum) => Ok(Optimum { iterations: optimum.iterations + before, ..optimum }),
                failure => failure,
            },
            outcome => outcome,
        }
    }

    /// One run of the solver on the objective times `scale`.
    fn attempt(&self, standard: &Standard, scale: f64) -> Result<Optimum, NoOptimum> {
        let size = self.slope.len();
        let scaled = |values: &[f64]| values.iter().map(|value| value * scale).collect::<Vec<f64>>();
        let curvature = CscMatrix::new(size, size, (0..=size).collect(), (0..size).collect(), scaled(&self.curvature));
        let equal = standard.equal;
        let cones = [SupportedConeT::ZeroConeT(equal), SupportedConeT::NonnegativeConeT(standard.bound.len() - equal)];
        let settings = DefaultSettings {
            max_iter: ITERATIONS,
            verbose: false,
            tol_gap_abs: 1e-9 * scale,
            tol_gap_rel: 1e-10,
            tol_feas: 1e-10,
            max_threads: 1,
            direct_solve_method: "qdldl".to_string(),
            presolve_enable: false,
            ..DefaultSettings::default()
        };
        let mut solver = DefaultSolver::new(&curvature, &scaled(&self.slope), &standard.matrix, &standard.bound, &cones, settings)
            .expect("sizes and cones of the standard form agree");
        solver.solve();
        let answer = &solver.solution;
        let iterations = answer.iterations;
        if matches!(answer.status, SolverStatus::PrimalInfeasible | SolverStatus::AlmostPrimalInfeasible)
            && let Some((rows, columns)) = standard.certificate(self, &answer.z)
        {
            return Err(NoOptimum::Infeasible { rows, columns, iterations });
        }
        let z: Vec<f64> = answer.z.iter().map(|z| z / scale).collect();
        let (primal, dual, gap) = self.residuals(standard, &answer.x, &z);
        // NaN must fail, hence the form of the comparison.
        if primal <= FEASIBILITY && dual <= STATIONARITY && gap <= GAP {
            let (row_price, _) = standard.by_row(self, &z);
            let row_price = row_price.into_iter().map(|price| -price).collect();
            return Ok(Optimum { x: answer.x.clone(), row_price, objective: self.objective(&answer.x), iterations });
        }
        Err(NoOptimum::NotSolved { status: name(answer.status), iterations, primal, dual, gap })
    }

    fn objective(&self, x: &[f64]) -> f64 {
        x.iter().enumerate().map(|(j, x)| 0.5 * self.curvature[j] * x * x + self.slope[j] * x).sum()
    }

    /// Without columns a row holds or not by its bounds alone.
    fn without_columns(&self) -> Result<Optimum, NoOptimum> {
        let broken = |row: &Row| if row.low > FEASIBILITY { -1.0 } else { f64::from(u8::from(row.high < -FEASIBILITY)) };
        let rows: Vec<f64> = self.rows.iter().map(broken).collect();
        if rows.iter().any(|weight| *weight != 0.0) {
            return Err(NoOptimum::Infeasible { rows, columns: Vec::new(), iterations: 0 });
        }
        Ok(Optimum { x: Vec::new(), row_price: vec![0.0; self.rows.len()], objective: 0.0, iterations: 0 })
    }

    /// Worst relative violation of rows and bounds, of stationarity, and the relative gap.
    fn residuals(&self, standard: &Standard, x: &[f64], z: &[f64]) -> (f64, f64, f64) {
        let mut value = vec![0.0; z.len()];
        let mut row_size: Vec<f64> = standard.bound.iter().map(|bound| 1.0 + bound.abs()).collect();
        let mut dual: f64 = 0.0;
        for j in 0..x.len() {
            let gradient = self.curvature[j] * x[j] + self.slope[j];
            let (mut sum, mut size) = (gradient, 1.0 + self.slope[j].abs());
            for entry in standard.matrix.colptr[j]..standard.matrix.colptr[j + 1] {
                let (row, coefficient) = (standard.matrix.rowval[entry], standard.matrix.nzval[entry]);
                value[row] += coefficient * x[j];
                row_size[row] = row_size[row].max((coefficient * x[j]).abs());
                sum += coefficient * z[row];
                size = size.max((coefficient * z[row]).abs());
            }
            dual = worst(dual, sum.abs() / size);
        }
        let (mut primal, mut slack_price): (f64, f64) = (0.0, 0.0);
        for row in 0..z.len() {
            let slack = standard.bound[row] - value[row];
            if row < standard.equal {
                primal = worst(primal, slack.abs() / row_size[row]);
            } else {
                primal = worst(primal, -slack / row_size[row]);
                dual = worst(dual, -z[row] / (1.0 + z[row].abs()));
                slack_price += (slack * z[row]).abs();
            }
        }
        (primal, dual, slack_price / (1.0 + self.objective(x).abs()))
    }
}

/// The larger of two, NaN winning.
fn worst(a: f64, b: f64) -> f64 {
    if a > b || a.is_nan() { a } else { b }
}

fn name(status: SolverStatus) -> &'static str {
    match status {
        SolverStatus::Solved | SolverStatus::AlmostSolved => "answer failed verification",
        SolverStatus::PrimalInfeasible | SolverStatus::AlmostPrimalInfeasible => "infeasible without proof",
        SolverStatus::DualInfeasible | SolverStatus::AlmostDualInfeasible => "unbounded",
        SolverStatus::MaxIterations => "iteration limit",
        SolverStatus::InsufficientProgress => "insufficient progress",
        _ => "numerical error",
    }
}

/// The program as `A x + s = b`, equations first, then `s ≥ 0`.
struct Standard {
    matrix: CscMatrix<f64>,
    bound: Vec<f64>,
    equal: usize,
    /// Where each one-sided row comes from, and its sign there.
    origin: Vec<(Origin, f64)>,
}

#[derive(Clone, Copy)]
enum Origin {
    Row(usize),
    Column(usize),
}

impl Standard {
    fn of(program: &Program) -> Self {
        let mut sides: Vec<(Origin, f64, f64)> = Vec::new();
        let equation = |row: &Row| row.low == row.high;
        for (index, row) in program.rows.iter().enumerate().filter(|(_, row)| equation(row)) {
            sides.push((Origin::Row(index), 1.0, row.high));
        }
        for column in 0..program.slope.len() {
            if program.lower[column] == program.upper[column] {
                sides.push((Origin::Column(column), 1.0, program.upper[column]));
            }
        }
        let equal = sides.len();
        for (index, row) in program.rows.iter().enumerate().filter(|(_, row)| !equation(row)) {
            push_sides(&mut sides, Origin::Row(index), row.low, row.high);
        }
        for column in 0..program.slope.len() {
            if program.lower[column] != program.upper[column] {
                push_sides(&mut sides, Origin::Column(column), program.lower[column], program.upper[column]);
            }
        }
        let mut entries: Vec<Vec<(usize, f64)>> = vec![Vec::new(); program.slope.len()];
        for (place, (origin, sign, _)) in sides.iter().enumerate() {
            match *origin {
                Origin::Column(column) => entries[column].push((place, *sign)),
                Origin::Row(row) => {
                    for &(column, coefficient) in &program.rows[row].terms {
                        match entries[column].last_mut() {
                            Some(last) if last.0 == place => last.1 += sign * coefficient,
                            _ => entries[column].push((place, sign * coefficient)),
                        }
                    }
                }
            }
        }
        let mut starts = vec![0];
        let (mut places, mut values) = (Vec::new(), Vec::new());
        for column in entries {
            places.extend(column.iter().map(|entry| entry.0));
            values.extend(column.iter().map(|entry| entry.1));
            starts.push(places.len());
        }
        let matrix = CscMatrix::new(sides.len(), program.slope.len(), starts, places, values);
        let bound = sides.iter().map(|(_, sign, bound)| sign * bound).collect();
        Self { matrix, bound, equal, origin: sides.iter().map(|(origin, sign, _)| (*origin, *sign)).collect() }
    }

    /// Multipliers by row and by column of the program; positive ones hold an upper bound.
    fn by_row(&self, program: &Program, z: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (mut rows, mut columns) = (vec![0.0; program.rows.len()], vec![0.0; program.slope.len()]);
        for (place, (origin, sign)) in self.origin.iter().enumerate() {
            match *origin {
                Origin::Row(row) => rows[row] += sign * z[place],
                Origin::Column(column) => columns[column] += sign * z[place],
            }
        }
        (rows, columns)
    }

    /// Farkas: with z ≥ 0 and b·z < 0, every x has (Aᵀz)·x ≤ b·z. No x of the box has when Σ |Aᵀz| · box is smaller.
    fn certificate(&self, program: &Program, z: &[f64]) -> Option<(Vec<f64>, Vec<f64>)> {
        let mut z = z.to_vec();
        for value in &mut z[self.equal..] {
            *value = value.max(0.0);
        }
        let excess: f64 = -z.iter().zip(&self.bound).map(|(z, bound)| z * bound).sum::<f64>();
        let mut reach = 0.0;
        for column in 0..program.slope.len() {
            let entries = self.matrix.colptr[column]..self.matrix.colptr[column + 1];
            let sum: f64 = entries.map(|entry| self.matrix.nzval[entry] * z[self.matrix.rowval[entry]]).sum();
            reach += sum.abs() * program.lower[column].abs().max(program.upper[column].abs());
        }
        let largest = z.iter().fold(0.0f64, |largest, z| largest.max(z.abs()));
        // An infinite box times an exact zero is NaN and proves nothing: it fails the comparison.
        if !(reach < 0.5 * excess) || largest == 0.0 {
            return None;
        }
        let (rows, columns) = self.by_row(program, &z);
        let scale = |weights: Vec<f64>| weights.into_iter().map(|weight| weight / largest).collect();
        Some((scale(rows), scale(columns)))
    }
}

fn push_sides(sides: &mut Vec<(Origin, f64, f64)>, origin: Origin, low: f64, high: f64) {
    if high < f64::INFINITY {
        sides.push((origin, 1.0, high));
    }
    if low > f64::NEG_INFINITY {
        sides.push((origin, -1.0, low));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_the_change_of_the_objective_with_the_bound() {
        let solve = |demand: f64| {
            let mut program = Program::default();
            let cheap = program.column(0.02, 10.0, 0.0, 60.0);
            let dear = program.column(0.04, 12.0, 0.0, 100.0);
            program.row(vec![(cheap, 1.0), (dear, 1.0)], demand, demand);
            program.solve().expect("feasible")
        };
        let optimum = solve(120.0);
        assert!((optimum.x[0] - 60.0).abs() < 1e-6);
        assert!((optimum.row_price[0] - (12.0 + 0.04 * 60.0)).abs() < 1e-6, "{:?}", optimum.row_price);
        let change = (solve(120.001).objective - solve(119.999).objective) / 0.002;
        assert!((optimum.row_price[0] - change).abs() < 1e-4);
    }

    #[test]
    fn infeasibility_names_the_rows_of_its_proof() {
        let mut program = Program::default();
        let x = program.column(0.0, 1.0, 0.0, 5.0);
        let y = program.column(0.0, 1.0, 0.0, 5.0);
        program.row(vec![(x, 1.0), (y, 1.0)], 12.0, 12.0);
        program.row(vec![(x, 1.0), (y, -1.0)], -100.0, 100.0);
        match program.solve() {
            Err(NoOptimum::Infeasible { rows, columns, .. }) => {
                assert!(rows[0].abs() > 0.5 && rows[1].abs() < 1e-3, "{rows:?}");
                assert!(columns.iter().all(|weight| *weight > 0.5), "{columns:?}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_program_without_columns_is_judged_by_its_rows() {
        let mut program = Program::default();
        program.row(Vec::new(), 0.0, 0.0);
        assert!(program.solve().is_ok());
        program.row(Vec::new(), 1.0, 1.0);
        assert!(program.solve().is_err());
    }
}
