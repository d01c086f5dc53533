//! The second pass of a clipping, without a copy of the samples, where the first one has rejected
//! the smallest or the largest of them, and nothing is rejected any more: so it is in most lanes
//! where anything is rejected at all. A look tells the neighbours of the ends and of the middle,
//! which are the ends and the middle of what is left.

use crate::look::{Look, Manner, Source};
use crate::order::DEEPEST;
use crate::plan::{Center, Clip, Rule, Spread, Statistic};
use crate::reject::{each_marked, HIGH, LOW};
use crate::rows::{half_sum, lanes};
use crate::sample::{Key, Row, Work, LANES};

/// What is judged, and by what.
#[derive(Clone, Copy)]
pub(crate) struct SecondPass {
    pub frames: usize,
    pub center: Center,
    /// The spread is the root of the sum of squares over n - ddof.
    pub ddof: usize,
    /// Limits in units of the spread.
    pub limits: (f64, f64),
    /// What keys were less than samples.
    pub offset: f64,
    /// Whether the look has summed all samples, and the sum of those left is asked for.
    pub with_sum: bool,
    /// Whether samples are integers, the sums of which are exact.
    pub integers: bool,
}

/// A sample that the first pass rejects where the second pass rejects nothing.
pub(crate) struct Loss {
    /// The pixel of the block.
    pub lane: usize,
    pub frame: usize,
    /// Whether it is the smallest of its pixel, else the largest.
    pub is_low: bool,
}

impl Loss {
    /// The side at which it was rejected.
    pub fn side(&self) -> u8 {
        if self.is_low {
            LOW
        } else {
            HIGH
        }
    }
}

/// What an end is compared with.
#[derive(Clone, Copy)]
struct Limit<T> {
    /// For distances with all that may be wrong, in units of that.
    reach: T,
    /// Squared distances to keep, and to reject, in units of the sum of squares.
    keep: T,
    reject: T,
    /// The same of the second pass, and how much its center's place counts.
    keep_again: T,
    shift: T,
}

impl SecondPass {
    /// For a clipping of which a look judges the first pass, if it can be.
    pub fn new(clip: &Clip, statistic: Statistic, frames: usize) -> Option<Self> {
        let Rule::Scatter { spread: Spread::Std { ddof }, .. } = clip.rule else { return None };
        let with_sum = matches!(statistic, Statistic::Mean | Statistic::Sum);
        let told = with_sum || statistic.center() == Some(clip.center);
        let rest = frames.saturating_sub(1);
        let free = 4 * ddof <= 3 * rest && clip.nkeep <= rest && clip.min_samples <= rest;
        let passes = clip.maxiters.is_none_or(|most| most > 1);
        // A sample of few is hardly that far away, as the spread is then its own (Samuelson 1968).
        let likely = 2.0 * clip.low.min(clip.high).powi(2) < frames as f64;
        let judged = likely && told && free && passes && clip.maxrej != Some(0);
        ((4..=DEEPEST).contains(&frames) && judged).then_some(Self {
            frames,
            center: clip.center,
            ddof,
            limits: (clip.low, clip.high),
            offset: 0.0,
            with_sum,
            integers: false,
        })
    }

    fn limit<T: Work>(&self, limit: f64) -> Limit<T> {
        let (n, ddof) = (self.frames as f64, self.ddof as f64);
        let (limit, margin) = (limit.max(0.0), (4.0 * n + 64.0) * T::EPSILON.f64());
        let (square, free, rest) = (limit * limit, n - ddof, n - 1.0 - ddof);
        let some = limit < f64::INFINITY;
        Limit {
            reach: T::up(if some { 1.0 + 2.0 * limit } else { 1.0 }),
            keep: T::down(square / free * (1.0 - margin)),
            reject: T::up(square / free * (1.0 + margin)),
            keep_again: T::down(square / rest * (1.0 - margin)),
            shift: T::up(if some { limit * ((n - 1.0) / rest).sqrt() } else { 0.0 }),
        }
    }

    /// Whether what is left has one sample for a center.
    fn alone(&self) -> bool {
        self.center == Center::LowerMedian || self.frames.is_multiple_of(2)
    }
}

/// Finds the lanes with a mark where the first pass rejects the smallest sample or the largest one,
/// and the second pass nothing, in double precision. There the mark is taken away; center, number
/// and sum become those of what is left.
///
/// Be e = [`Work::EPSILON`], c the center in double precision and c' that of what is left, both
/// rounded here to the workspace, and w = 4 e (|c| + offset). What is known for `beyond` tells in
/// the same manner which samples are outside. The sum of squares about c without the lost sample x
/// is that of all, less (x - c)^2; its root, less sqrt(n - 1) |c' - c|, is no more than that of the
/// sum about c' (Minkowski 1896), and where c is the mean, the latter is less by exactly
/// (n - 1) (c' - c)^2. All distances are made larger, or less, by w, and all sums by more than is
/// rounded.
///
/// Sums of samples with one sign are exact in double precision, in any order, where the largest
/// sample is less than [`Work::SUMMABLE`] times as large as the smallest: then the sum of what is
/// left is that of all, less the lost sample.
#[inline(always)]
pub fn second_pass<T: Work>(
    look: &mut Look<T>,
    pass: &SecondPass,
    center: &mut Row<f64>,
    n: &mut Row<u32>,
    marks: &mut Row<u8>,
) {
    look.lost = Row::filled(T::NAN);
    if marks.0.iter().fold(0, |any, mark| any | mark) == 0 {
        return;
    }
    let e = T::EPSILON.f64();
    let (slack, offset) = (T::convert(4.0 * e), T::convert(pass.offset));
    let (tiny, huge) = (T::convert(T::SOUND.0), T::convert(T::SOUND.1));
    let smallest = T::convert(T::SMALLEST);
    let left = T::convert((pass.frames - 1) as f64);
    let share = T::convert(1.0 / (pass.frames - 1) as f64);
    let all_but = T::down(1.0 - (2.0 * pass.frames as f64 + 32.0) * e);
    let more = T::up(1.0 + 32.0 * e);
    let (down, up) = (pass.limit::<T>(pass.limits.0), pass.limit::<T>(pass.limits.1));
    let (mean, alone) = (pass.center == Center::Mean, pass.alone());
    let (sums, integers) = (pass.with_sum, pass.integers);
    let range = T::convert(T::SUMMABLE);
    let mut near = Row::filled(T::ZERO);
    for l in 0..LANES {
        near.0[l] = T::convert(center.0[l]);
    }
    // 1 where a sample is lost, and where it is the largest one.
    let (mut lost, mut largest) = (Row::filled(0_u8), Row::filled(0_u8));
    for l in 0..LANES {
        let (c, squares, over) = (near.0[l], look.spread.0[l], look.over.0[l]);
        let (min, max) = (look.extremes[0].0[l], look.extremes[1].0[l]);
        let (next_min, next_max) = (look.next[0].0[l], look.next[1].0[l]);
        let (low, high, beside) = (look.low.0[l], look.high.0[l], look.beside.0[l]);
        let most = if over > squares { over } else { squares };
        let wrong = slack * (offset + c.abs()) + smallest;
        // The first pass.
        let (below, above) = (c - min, max - c);
        let (far_below, far_above) = (below - wrong * down.reach, above - wrong * up.reach);
        let none = (far_below > T::ZERO) & (far_below * far_below > down.reject * most);
        let top = (far_above > T::ZERO) & (far_above * far_above > up.reject * most);
        let d = if top { above } else { below };
        let (first, last) = (if none { next_min } else { min }, if top { next_max } else { max });
        let (below, above) = (c - first + wrong * down.reach, last - c + wrong * up.reach);
        let kept = (below * below < down.keep * squares) & (above * above < up.keep * squares);
        // The second one.
        let (a, b) = (if top { low } else { high }, if top { high } else { beside });
        let half = if alone { a } else { (a + b) * T::HALF };
        let away = d * share;
        let of_rest = if top { c - away } else { c + away };
        let again = if mean { of_rest } else { half };
        let moved = (again - c).abs() * more + wrong;
        let removed = (d + wrong) * (d + wrong) * more;
        let rest = squares * all_but - removed;
        let rest = if mean { rest - left * (moved * moved) * more } else { rest };
        let beside_center = if mean { wrong } else { moved };
        let (below, above) = (again - first + wrong, last - again + wrong);
        let below = below + down.shift * beside_center;
        let above = above + up.shift * beside_center;
        let calm =
            (below * below < down.keep_again * rest) & (above * above < up.keep_again * rest);
        let sound = (squares > tiny) & (rest > tiny) & (most < huge);
        let positive = (min > T::ZERO) & (max <= min * range);
        let negative = (max < T::ZERO) & (min >= max * range);
        let exact = !sums | integers | positive | negative;
        let settled = kept & calm & sound & exact & (none != top) & (marks.0[l] != 0);
        lost.0[l] = u8::from(settled);
        largest.0[l] = u8::from(top);
        marks.0[l] &= u8::from(!settled);
    }
    // They are few.
    each_marked(&lost, LANES, |l| {
        let l = usize::from(l);
        let top = largest.0[l] != 0;
        n.0[l] -= 1;
        look.lost.0[l] = look.extremes[usize::from(top)].0[l];
        if sums {
            look.total.0[l] -= look.lost.0[l].f64();
        }
        // By place, not by branches: nobody can foresee which end it is.
        let ranks = [look.beside.0[l], look.high.0[l], look.low.0[l]];
        let (a, b) = (ranks[1 + usize::from(top)], ranks[usize::from(top)]);
        center.0[l] = if mean {
            look.total.0[l] / f64::from(n.0[l])
        } else {
            half_sum(a.f64(), if alone { a } else { b }.f64())
        };
    });
}

/// Lists the samples lost in the lanes `marks` of a block, and sets the extremes to those of what is
/// left. The frame is that of the sample of the same value: no other sample of the lane is equal, or
/// it would have been rejected along with it.
#[inline(always)]
pub(crate) fn losses<S: Source>(
    planes: &[&[u8]],
    manner: Manner,
    marks: &Row<u8>,
    look: &mut Look<<S::Key as Key>::Work>,
) {
    let Look { lost, losses, extremes, next, .. } = look;
    let (mut lane, mut sample) = ([0_u32; LANES], Row::filled(Work::NAN));
    losses.clear();
    each_marked(marks, LANES, |l| {
        let (i, l) = (losses.len(), usize::from(l));
        (lane[i], sample.0[i]) = (l as u32, lost.0[l]);
        let is_low = lost.0[l] == extremes[0].0[l];
        let end = usize::from(!is_low);
        extremes[end].0[l] = next[end].0[l];
        losses.push(Loss { lane: l, frame: 0, is_low });
    });
    // By vectors and without branches: nobody can foresee which frame it is.
    let mut frame = [0_u32; LANES];
    for (k, plane) in (0..).zip(planes) {
        let Some(samples) = S::lanes(plane) else { return };
        for i in 0..lanes(losses.len().next_multiple_of(16)) {
            let raw = samples[lane[i] as usize % LANES];
            let x = S::key(raw, manner.flip).value(manner.offset);
            frame[i] += if x == sample.0[i] { k } else { 0 };
        }
    }
    for (loss, frame) in losses.iter_mut().zip(frame) {
        loss.frame = frame as usize;
    }
}
