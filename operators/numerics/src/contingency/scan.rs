//! The most loaded branch in each lane: of all flows only that is kept.
//!
//! Branches pass in chunks. Of a chunk only the greatest value is taken along, lane by lane without a branch of code; which one it
//! was is looked up for the chunks that won.

use crate::sparse::Lanes;

/// Branches in a chunk.
const CHUNK: usize = 64;

/// A rated branch of a DC model: `loading = |flow + gain (θ_from - θ_to)|` of the change of angles, as shares of its rating.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) flow: f64,
    pub(super) gain: f64,
}

/// The greatest loading of a lane and the place of its line among the lines; none when no line has a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Worst {
    pub(super) loading: f64,
    pub(super) line: Option<usize>,
}

fn loading(line: &Line, angles: &[Lanes], lane: usize) -> f64 {
    (line.flow + line.gain * (angles[line.from as usize].0[lane] - angles[line.to as usize].0[lane])).abs()
}

/// The worst line of each lane at these changes of angles, the first among equals; `out[lane]` are lines that are not there.
/// What is no number does not count: angles of what is cut off are none.
pub(super) fn worst(lines: &[Line], angles: &[Lanes], out: &[Vec<usize>]) -> [Worst; Lanes::COUNT] {
    let mut best = [-1.0; Lanes::COUNT];
    let mut chunk_of = [usize::MAX; Lanes::COUNT];
    for (chunk, part) in lines.chunks(CHUNK).enumerate() {
        let mut greatest = [-1.0; Lanes::COUNT];
        for line in part {
            let (from, to) = (&angles[line.from as usize], &angles[line.to as usize]);
            for ((greatest, from), to) in greatest.iter_mut().zip(&from.0).zip(&to.0) {
                let loading = (line.flow + line.gain * (from - to)).abs();
                *greatest = if loading > *greatest { loading } else { *greatest };
            }
        }
        let (start, end) = (chunk * CHUNK, chunk * CHUNK + part.len());
        for (lane, out) in out.iter().enumerate() {
            if out.iter().any(|line| (start..end).contains(line)) {
                greatest[lane] = -1.0;
                for (offset, line) in part.iter().enumerate() {
                    let loading = loading(line, angles, lane);
                    if loading > greatest[lane] && !out.contains(&(start + offset)) {
                        greatest[lane] = loading;
                    }
                }
            }
        }
        for lane in 0..Lanes::COUNT {
            if greatest[lane] > best[lane] {
                (best[lane], chunk_of[lane]) = (greatest[lane], chunk);
            }
        }
    }
    std::array::from_fn(|lane| {
        if chunk_of[lane] == usize::MAX {
            return Worst { loading: 0.0, line: None };
        }
        let start = chunk_of[lane] * CHUNK;
        let part = &lines[start..lines.len().min(start + CHUNK)];
        let is_it = |(offset, line): (usize, &Line)| {
            let gone = out.get(lane).is_some_and(|out| out.contains(&(start + offset)));
            !gone && loading(line, angles, lane) == best[lane]
        };
        Worst { loading: best[lane], line: part.iter().enumerate().position(is_it).map(|offset| start + offset) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equals_the_first_is_the_worst_and_what_is_out_or_dead_is_none() {
        let line = |flow: f64| Line { from: 0, to: 1, flow, gain: 1.0 };
        let mut lines = vec![line(0.5); 3 * CHUNK];
        // One in each chunk; the sign is a direction.
        [(3, 1.25), (CHUNK + 1, -1.25), (2 * CHUNK + 7, 1.0)].iter().for_each(|(place, flow)| lines[*place].flow = *flow);
        let mut angles = vec![Lanes::ZERO; 2];
        let found = |angles: &[Lanes], out: &[Vec<usize>]| worst(&lines, angles, out);
        assert_eq!(found(&angles, &[])[0], Worst { loading: 1.25, line: Some(3) });
        let out = [vec![], vec![3], vec![CHUNK + 1, 3], vec![3, 2 * CHUNK + 7, CHUNK + 1]];
        let places = found(&angles, &out).map(|worst| worst.line);
        assert_eq!(places[..4], [Some(3), Some(CHUNK + 1), Some(2 * CHUNK + 7), Some(0)]);
        // A change of angles counts against the flow; what is no number nowhere.
        (angles[0].0[0], angles[0].0[1]) = (-0.5, f64::NAN);
        let of = found(&angles, &[]);
        assert_eq!(of[0], Worst { loading: 1.75, line: Some(CHUNK + 1) });
        assert_eq!(of[1], Worst { loading: 0.0, line: None });
    }
}
