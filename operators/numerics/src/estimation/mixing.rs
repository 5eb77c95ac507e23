//! Acceleration of steps that keep their matrix, by the secant of the last two (Anderson 1965, "Iterative procedures for nonlinear
//! integral equations", of depth 1): such steps shrink by nearly the same share each time and in few directions.
//!
//! With f the step that the matrix asks for at x, and Δ the change since the step before, the move is `f - γ (Δx + Δf)` with the γ
//! that makes `f - γ Δf` least. Sums in index order; no value comes from anywhere but the steps.

/// No move is lengthened beyond this many times its step: a step that hardly shrank says little.
const MOST: f64 = 1.0;

/// The last step with one matrix and the move made of it; empty when there was none.
#[derive(Clone, Debug, Default)]
pub(super) struct Mixing {
    step: Vec<f64>,
    moved: Vec<f64>,
}

impl Mixing {
    /// Forgets a step with another matrix.
    pub(super) fn forget(&mut self) {
        self.step.clear();
        self.moved.clear();
    }

    /// Makes the move of a step; γ follows from its first `leading` entries.
    pub(super) fn mix(&mut self, step: &[f64], leading: usize) -> &[f64] {
        if self.step.len() != step.len() {
            self.step = step.to_vec();
            self.moved = step.to_vec();
            return &self.moved;
        }
        let (mut product, mut square) = (0.0, 0.0);
        for (now, before) in step.iter().zip(&self.step).take(leading) {
            let change = now - before;
            product += change * now;
            square += change * change;
        }
        let gamma = if square > 0.0 { (product / square).clamp(-MOST, MOST) } else { 0.0 };
        for ((moved, before), now) in self.moved.iter_mut().zip(&mut self.step).zip(step) {
            *moved = now - gamma * (*moved + (now - *before));
            *before = *now;
        }
        &self.moved
    }
}
