//! The block factor and the inverse on its pattern against dense elimination.

use super::super::{BlockInverse, Pattern};
use super::*;
use proptest::prelude::*;

/// A quasi-definite matrix of the estimator's shape: in each block two unknowns of positive, two of negative curvature,
/// which may vanish where the coupling inside the block gives the pivots.
fn matrix(n: usize, pairs: &[(usize, usize)], values: &[f64]) -> (Pattern, Vec<Block4>) {
    let mut places = Vec::from_iter((0..n).map(|k| (k, k)));
    places.extend(pairs.iter().map(|&(a, b)| (a.min(b), a.max(b))));
    let (pattern, slots) = Pattern::from_places(n, n, &places);
    let mut blocks = vec![ZERO; pattern.len()];
    let mut values = values.iter().copied().cycle();
    for &slot in &slots[n..] {
        for (place, value) in blocks[slot].iter_mut().enumerate() {
            // The lower right quarter is empty.
            if place / WIDTH < 2 || place % WIDTH < 2 {
                *value = 0.3 * values.next().expect("endless");
            }
        }
    }
    for (k, &slot) in slots[..n].iter().enumerate() {
        let block = &mut blocks[slot];
        let weak = k % 3 == 0;
        for row in 0..2 {
            block[(WIDTH + 1) * row] = if weak { 0.0 } else { 4.0 + values.next().expect("endless") };
            block[(WIDTH + 1) * (row + 2)] = if weak { 0.0 } else { -1.0 };
            block[WIDTH * row + row + 2] = 5.0;
            block[WIDTH * (row + 2) + row] = 5.0;
        }
    }
    (pattern, blocks)
}

fn dense(pattern: &Pattern, blocks: &[Block4]) -> Vec<Vec<f64>> {
    let n = WIDTH * pattern.columns();
    let mut a = vec![vec![0.0; n]; n];
    for column in 0..pattern.columns() {
        for slot in pattern.slots(column) {
            for i in 0..WIDTH {
                for j in 0..WIDTH {
                    let (row, column) = (WIDTH * pattern.indices()[slot] + i, WIDTH * column + j);
                    a[row][column] = blocks[slot][WIDTH * i + j];
                    a[column][row] = blocks[slot][WIDTH * i + j];
                }
            }
        }
    }
    a
}

/// Gauss-Jordan with row pivoting.
fn dense_inverse(mut a: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let n = a.len();
    for (k, row) in a.iter_mut().enumerate() {
        row.extend((0..n).map(|j| f64::from(u8::from(j == k))));
    }
    for k in 0..n {
        let best = (k..n).max_by(|i, j| a[*i][k].abs().total_cmp(&a[*j][k].abs())).expect("not empty");
        a.swap(k, best);
        let pivot = a[k][k];
        a[k].iter_mut().for_each(|value| *value /= pivot);
        let row = a[k].clone();
        for (i, other) in a.iter_mut().enumerate().filter(|(i, _)| *i != k) {
            let factor = other[k];
            other.iter_mut().zip(&row).for_each(|(value, pivot)| *value -= factor * pivot);
            assert!(i < n);
        }
    }
    a.into_iter().map(|row| row[n..].to_vec()).collect()
}

proptest! {
    #[test]
    fn solutions_and_the_inverse_on_the_pattern_are_those_of_dense_elimination(
        pairs in prop::collection::vec((0..11usize, 0..11usize), 0..24),
        values in prop::collection::vec(-1.0..1.0f64, 61),
        last in prop::collection::btree_set(0..11usize, 0..4),
        steps in 0..4usize,
    ) {
        let pairs = Vec::from_iter(pairs.into_iter().filter(|pair| pair.0 != pair.1));
        let (pattern, blocks) = matrix(11, &pairs, &values);
        let mut factor = BlockLdlt::analyze(&pattern, pattern.fill_reducing_order());
        let order = factor.postponed(&Vec::from_iter(last), steps);
        factor = BlockLdlt::analyze(&pattern, order.clone());
        prop_assert_eq!(factor.factor(&blocks), Vec::<usize>::new());
        let inverse = dense_inverse(dense(&pattern, &blocks));
        let size = inverse.iter().flatten().fold(1.0f64, |size, value| size.max(value.abs()));
        let b = Vec::from_iter((0..44).map(|k| f64::from(k % 7) - 3.0));
        let mut x = b.clone();
        factor.solve(&mut x);
        for (row, found) in inverse.iter().zip(&x) {
            let expected: f64 = row.iter().zip(&b).map(|(a, b)| a * b).sum();
            prop_assert!((found - expected).abs() < 1e-8 * size, "{found} {expected}");
        }
        let sparse = BlockInverse::new(&factor);
        for column in 0..11 {
            for &row in pattern.column(column) {
                for i in 0..WIDTH {
                    for j in 0..WIDTH {
                        let expected = inverse[WIDTH * row + i][WIDTH * column + j];
                        prop_assert!((sparse.get((row, i), (column, j)) - expected).abs() < 1e-8 * size);
                        prop_assert!((sparse.get((column, j), (row, i)) - expected).abs() < 1e-8 * size);
                    }
                }
            }
        }
        let mut again = BlockLdlt::analyze(&pattern, order);
        let doubled = Vec::from_iter(blocks.iter().map(|block| block.map(|value| 2.0 * value)));
        again.factor(&doubled);
        again.factor(&blocks);
        let mut second = b;
        again.solve(&mut second);
        prop_assert_eq!(x, second);
    }
}

#[test]
fn a_block_without_a_pivot_of_its_own_gets_one_behind_its_neighbour() {
    // Block 1 is empty but for its coupling with block 0; block 0 alone is regular.
    let (pattern, _) = Pattern::from_places(2, 2, &[(0, 0), (0, 1), (1, 1)]);
    let mut blocks = vec![ZERO; 3];
    for k in 0..WIDTH {
        blocks[0][(WIDTH + 1) * k] = 2.0;
        blocks[1][(WIDTH + 1) * k] = 1.0 + k as f64;
    }
    let mut factor = BlockLdlt::analyze(&pattern, vec![1, 0]);
    assert_eq!(factor.factor(&blocks), [1]);
    let order = factor.postponed(&[1], 1);
    assert_eq!(order, [0, 1]);
    factor = BlockLdlt::analyze(&pattern, order);
    assert!(factor.factor(&blocks).is_empty());
    // 2 a + k b = 0, k a = k.
    let mut x = vec![0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0];
    factor.solve(&mut x);
    for k in 0..WIDTH {
        assert!((x[k] - 1.0).abs() < 1e-15 && (x[WIDTH + k] + 2.0 / (1.0 + k as f64)).abs() < 1e-15, "{x:?}");
    }
}

#[test]
fn what_is_no_number_or_singular_is_lost() {
    let (pattern, _) = Pattern::from_places(1, 1, &[(0, 0)]);
    for value in [0.0, f64::NAN, f64::INFINITY] {
        assert_eq!(BlockLdlt::analyze(&pattern, vec![0]).factor(&[[value; 16]]), [0]);
    }
    let mut rounded = [1.0; 16];
    rounded[5] += 1e-15;
    assert_eq!(BlockLdlt::analyze(&pattern, vec![0]).factor(&[rounded]), [0]);
}
