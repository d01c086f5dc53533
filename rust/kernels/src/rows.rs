//! The operations on rows of pixels that everything is built from. Each is one plain loop over
//! lanes, written once; `dispatch.rs` compiles it for every instruction set.
//!
//! `w` is the number of lanes in use, rounded up to whole vectors. Sums run over the frames in
//! order, so that their bits depend on nothing but the samples.

use crate::order::{middle, Depth, Network, Order};
use crate::prefetch::prefetch;
use crate::sample::{Row, Work, LANES};

/// Whole vectors only: lets the compiler drop the remainder of every loop.
#[inline(always)]
pub fn lanes(w: usize) -> usize {
    w.min(LANES) & !15
}

/// The mean of two numbers. Halving first cannot overflow; halving last is exact for subnormals.
#[inline(always)]
pub(crate) fn half_sum(a: f64, b: f64) -> f64 {
    let sum = a + b;
    if sum.abs() < f64::INFINITY {
        0.5 * sum
    } else {
        0.5 * a + 0.5 * b
    }
}

/// Whether a value is present.
#[inline(always)]
#[allow(clippy::eq_op)]
pub fn present<T: Work>(x: T) -> bool {
    x == x
}

#[inline(always)]
pub fn transform<T: Work>(row: &mut Row<T>, w: usize, zero: f64, factor: f64, scale: f64) -> bool {
    let mut absent = 0_u32;
    for l in 0..lanes(w) {
        let x = T::convert((row.0[l].f64() - zero) * factor / scale);
        row.0[l] = if x.is_finite() { x } else { T::NAN };
        absent |= u32::from(!x.is_finite());
    }
    absent != 0
}

/// Joins bytes of several planes by OR, eight planes to a loop.
#[inline(always)]
pub fn join_bytes(planes: &[&[u8]], any: &mut [u8]) {
    let (eights, rest) = planes.as_chunks::<8>();
    for eight in eights {
        join_some(eight, any);
    }
    for plane in rest {
        join_some(&[plane], any);
    }
}

#[inline(always)]
fn join_some<const M: usize>(planes: &[&[u8]; M], any: &mut [u8]) {
    if planes.iter().any(|plane| plane.len() < any.len()) {
        return;
    }
    planes.iter().for_each(|plane| prefetch(plane));
    let planes = planes.map(|plane| &plane[..any.len()]);
    for i in 0..any.len() {
        let mut byte = any[i];
        for plane in planes {
            byte |= plane[i];
        }
        any[i] = byte;
    }
}

/// Marks the lanes whose mask byte is not zero.
#[inline(always)]
pub fn mark_masked(mask: &[u8], marks: &mut Row<u8>) {
    let Some(mask) = mask.first_chunk::<LANES>() else { return };
    for l in 0..LANES {
        marks.0[l] |= u8::from(mask[l] != 0);
    }
}

/// Drops the samples whose mask byte is not zero.
#[inline(always)]
pub fn drop_masked<T: Work>(row: &mut Row<T>, mask: &Row<u8>, w: usize) {
    for l in 0..lanes(w) {
        row.0[l] = if mask.0[l] != 0 { T::NAN } else { row.0[l] };
    }
}

/// Drops the samples that are not finite.
#[inline(always)]
pub fn drop_infinite<T: Work>(rows: &mut [Row<T>], w: usize) {
    for row in rows {
        for l in 0..lanes(w) {
            row.0[l] = if row.0[l].is_finite() { row.0[l] } else { T::NAN };
        }
    }
}

/// Drops the samples that are absent from `other`.
#[inline(always)]
pub fn drop_absent<T: Work>(rows: &mut [Row<T>], other: &[Row<T>], w: usize) {
    for (row, other) in rows.iter_mut().zip(other) {
        for l in 0..lanes(w) {
            row.0[l] = if present(other.0[l]) { row.0[l] } else { T::NAN };
        }
    }
}

/// Marks the lanes where two rows are equal.
#[inline(always)]
pub fn mark_equal<T: Work>(a: &Row<T>, b: &Row<T>, marks: &mut Row<u8>) {
    for l in 0..LANES {
        marks.0[l] |= u8::from(a.0[l] == b.0[l]);
    }
}

/// Sets `bit` in the flags of the samples of one frame that were dropped since `before`, but for
/// those that have one of the flags `except`.
#[inline(always)]
pub fn flag_dropped<T: Work>(
    before: &Row<T>,
    after: &Row<T>,
    bit: u8,
    except: u8,
    flags: &mut Row<u8>,
) {
    for l in 0..LANES {
        let dropped = before.0[l].is_finite() & !present(after.0[l]);
        flags.0[l] |= u8::from((flags.0[l] & except == 0) & dropped) * bit;
    }
}

/// Drops the samples outside `low ..= high`; returns whether there were any.
#[inline(always)]
pub fn drop_outside<T: Work>(rows: &mut [Row<T>], w: usize, low: &Row<T>, high: &Row<T>) -> bool {
    let mut any = 0_u32;
    for row in rows {
        for l in 0..lanes(w) {
            let x = row.0[l];
            let out = (x < low.0[l]) | (x > high.0[l]);
            row.0[l] = if out { T::NAN } else { x };
            any |= u32::from(out);
        }
    }
    any != 0
}

/// Adds the numbers of samples below `low` and above `high`.
#[inline(always)]
pub fn count_outside<T: Work>(
    rows: &[Row<T>],
    w: usize,
    low: &Row<T>,
    high: &Row<T>,
    below: &mut Row<u32>,
    above: &mut Row<u32>,
) {
    for row in rows {
        for l in 0..lanes(w) {
            // A sample counts once, also if the bounds have crossed.
            let under = row.0[l] < low.0[l];
            below.0[l] += u32::from(under);
            above.0[l] += u32::from(!under & (row.0[l] > high.0[l]));
        }
    }
}

/// Adds the numbers of samples at least `limits` units below and above the median; marks the lanes
/// where rounding may decide. A sample counts once, as below.
#[inline(always)]
pub fn count_far<T: Work>(
    rows: &[Row<T>],
    w: usize,
    median: &Row<f64>,
    unit: &Row<f64>,
    limits: (f64, f64),
    below: &mut Row<u32>,
    above: &mut Row<u32>,
    near: &mut Row<u8>,
) {
    let (mut down, mut up) = (Row::filled(0.0), Row::filled(0.0));
    for l in 0..lanes(w) {
        (down.0[l], up.0[l]) = (limits.0 * unit.0[l], limits.1 * unit.0[l]);
    }
    let slack = 1e-14;
    for row in rows {
        for l in 0..lanes(w) {
            let x = row.0[l].f64();
            let d = x - median.0[l];
            let here = x.is_finite();
            let under = here & (-d >= down.0[l]);
            let over = here & (d >= up.0[l]) & !under;
            below.0[l] += u32::from(under);
            above.0[l] += u32::from(over);
            let close = ((-d - down.0[l]).abs() <= slack * down.0[l])
                | ((d - up.0[l]).abs() <= slack * up.0[l]);
            near.0[l] |= u8::from(close);
        }
    }
}

/// Counts the samples present.
#[inline(always)]
pub fn count<T: Work>(rows: &[Row<T>], w: usize, n: &mut Row<u32>) {
    *n = Row::filled(0);
    for row in rows {
        for l in 0..lanes(w) {
            n.0[l] += u32::from(present(row.0[l]));
        }
    }
}

/// Adds `term(row, lane)` over the frames, in order, four rows to a loop so that the sums are
/// loaded and stored a quarter as often.
#[inline(always)]
fn accumulate<T: Work>(
    rows: &[Row<T>],
    w: usize,
    total: &mut Row<f64>,
    term: impl Fn(f64, usize) -> f64,
) {
    *total = Row::filled(0.0);
    let (fours, rest) = rows.as_chunks::<4>();
    for [a, b, c, d] in fours {
        for l in 0..lanes(w) {
            let mut sum = total.0[l];
            sum += term(a.0[l].f64(), l);
            sum += term(b.0[l].f64(), l);
            sum += term(c.0[l].f64(), l);
            sum += term(d.0[l].f64(), l);
            total.0[l] = sum;
        }
    }
    for row in rest {
        for l in 0..lanes(w) {
            total.0[l] += term(row.0[l].f64(), l);
        }
    }
}

/// Sum of the samples present.
#[inline(always)]
pub fn sum<T: Work>(rows: &[Row<T>], w: usize, absent: bool, total: &mut Row<f64>) {
    if absent {
        accumulate(rows, w, total, |x, _| if present(x) { x } else { 0.0 });
    } else {
        accumulate(rows, w, total, |x, _| x);
    }
}

/// Sum of (x - a)^2 over the samples present.
#[inline(always)]
pub fn sum_squares<T: Work>(
    rows: &[Row<T>],
    w: usize,
    absent: bool,
    about: &Row<f64>,
    total: &mut Row<f64>,
) {
    if absent {
        accumulate(rows, w, total, |x, l| {
            let d = x - about.0[l];
            if present(x) {
                d * d
            } else {
                0.0
            }
        });
    } else {
        accumulate(rows, w, total, |x, l| {
            let d = x - about.0[l];
            d * d
        });
    }
}

/// Adds one frame's ((x - a) / r)^2, where its sample is present.
#[inline(always)]
pub fn add_scaled_squares<T: Work>(
    row: &Row<T>,
    about: &Row<f64>,
    scale: &Row<f64>,
    w: usize,
    total: &mut Row<f64>,
) {
    for l in 0..lanes(w) {
        let x = row.0[l].f64();
        let d = (x - about.0[l]) / scale.0[l];
        total.0[l] += if present(x) { d * d } else { 0.0 };
    }
}

/// Adds one frame's w x and w, for the samples present.
#[inline(always)]
pub fn add_weighted<T: Work>(
    row: &Row<T>,
    weight: &Row<f64>,
    w: usize,
    sum_wx: &mut Row<f64>,
    sum_w: &mut Row<f64>,
) {
    for l in 0..lanes(w) {
        let x = row.0[l].f64();
        let wx = x * weight.0[l];
        sum_wx.0[l] += if present(x) { wx } else { 0.0 };
        sum_w.0[l] += if present(x) { weight.0[l] } else { 0.0 };
    }
}

/// |x - a| in single or double precision; an absent sample stays absent. Returns whether that is
/// exact where it is in double precision.
#[inline(always)]
pub fn deviations<T: Work, D: Work>(
    rows: &[Row<T>],
    w: usize,
    about: &Row<f64>,
    out: &mut [Row<D>],
) -> bool {
    let mut rounded = 0_u32;
    for (to, from) in out.iter_mut().zip(rows) {
        for l in 0..lanes(w) {
            let exact = (from.0[l].f64() - about.0[l]).abs();
            let d = D::convert(exact);
            rounded |= u32::from((d.f64() != exact) & present(exact));
            to.0[l] = d;
        }
    }
    rounded == 0
}

/// |x - a| in double precision.
#[inline(always)]
pub fn wide_deviations<T: Work>(rows: &[Row<T>], w: usize, about: &Row<f64>, out: &mut [Row<f64>]) {
    deviations(rows, w, about, out);
}

/// Sum of the samples present but one of the smallest and one of the largest.
#[inline(always)]
pub fn trimmed_sum<T: Work>(rows: &[Row<T>], w: usize, total: &mut Row<f64>) {
    let (mut min, mut max) = (Row([T::INFINITY; LANES]), Row([T::NEG_INFINITY; LANES]));
    extremes(rows, w, &mut min, &mut max);
    let (mut lowest, mut highest) = (Row([1_u8; LANES]), Row([1_u8; LANES]));
    *total = Row([0.0; LANES]);
    for row in rows {
        for l in 0..lanes(w) {
            let x = row.0[l];
            let is_lowest = (x == min.0[l]) & (lowest.0[l] != 0);
            let is_highest = (x == max.0[l]) & (highest.0[l] != 0) & !is_lowest;
            lowest.0[l] &= u8::from(!is_lowest);
            highest.0[l] &= u8::from(!is_highest);
            let counts = present(x) & !is_lowest & !is_highest;
            total.0[l] += if counts { x.f64() } else { 0.0 };
        }
    }
}

/// Sums become means.
#[inline(always)]
pub fn divide(total: &mut Row<f64>, n: &Row<u32>) {
    for l in 0..LANES {
        total.0[l] /= f64::from(n.0[l]);
    }
}

/// Sums of squares become variances, NaN unless n > ddof, or standard deviations.
#[inline(always)]
pub fn variance(total: &mut Row<f64>, n: &Row<u32>, ddof: f64, root: bool) {
    for l in 0..LANES {
        let free = f64::from(n.0[l]) - ddof;
        total.0[l] = if free > 0.0 { total.0[l] / free } else { f64::NAN };
    }
    if root {
        for l in 0..LANES {
            total.0[l] = total.0[l].sqrt();
        }
    }
}

/// The median, or the lower one, from the two middle ranks of a stack; NaN where n is 0.
#[inline(always)]
pub fn median<T: Work>(
    low: &Row<T>,
    high: &Row<T>,
    n: &Row<u32>,
    odd_stack: bool,
    lower: bool,
    median: &mut Row<f64>,
) {
    for l in 0..LANES {
        let (a, b) = (low.0[l].f64(), high.0[l].f64());
        let odd = n.0[l] % 2 == 1;
        let even = if lower { a } else { half_sum(a, b) };
        let single = if odd_stack { b } else { a };
        let value = if odd { single } else { even };
        median.0[l] = if n.0[l] == 0 { f64::NAN } else { value };
    }
}

/// The samples that `center - down * spread .. center + up * spread` keeps, as bounds in the
/// workspace type; a bound that is NaN keeps everything on its side.
#[inline(always)]
pub fn bounds<T: Work>(
    center: &Row<f64>,
    spread: &Row<f64>,
    down: f64,
    up: f64,
    low: &mut Row<T>,
    high: &mut Row<T>,
) {
    for l in 0..LANES {
        let (a, b) = (center.0[l] - down * spread.0[l], center.0[l] + up * spread.0[l]);
        low.0[l] = if a.is_nan() { T::NEG_INFINITY } else { T::up(a) };
        high.0[l] = if b.is_nan() { T::INFINITY } else { T::down(b) };
    }
}

/// Marks the lanes where some sample is outside `low ..= high`.
#[inline(always)]
pub fn any_outside<T: Work>(
    rows: &[Row<T>],
    w: usize,
    low: &Row<T>,
    high: &Row<T>,
    marks: &mut Row<u8>,
) {
    let (mut min, mut max) = (Row([T::INFINITY; LANES]), Row([T::NEG_INFINITY; LANES]));
    extremes(rows, w, &mut min, &mut max);
    for l in 0..lanes(w) {
        marks.0[l] |= u8::from((min.0[l] < low.0[l]) | (max.0[l] > high.0[l]));
    }
}

/// Marks the lanes where some sample may be outside `center - down * s .. center + up * s`, all that
/// is known being the extremes and `spread`, from which s is `factor` times its root (`root`) or
/// itself. Where no mark is, no sample is outside in double precision.
///
/// With e = [`Work::EPSILON`], a sum of squares in the precision of the workspace is wrong by less
/// than (n + 2) e of itself, and the center that it is about by less than e (|c| + offset),
/// `offset` being what keys were less than samples; together with the rounding of the reference
/// this changes s by less than (2n + 32) e of itself and 8 e (|c| + offset), and a distance from
/// the center by less than 4 e (|c| + offset). A median distance is wrong by less than that. The
/// page "Numerical precision" of the documentation has the derivation.
#[inline(always)]
pub fn beyond<T: Work>(
    center: &Row<f64>,
    extremes: &[Row<T>; 2],
    spread: &Row<T>,
    root: bool,
    factor: f64,
    limits: (f64, f64),
    offset: f64,
    equal_is_inside: bool,
    marks: &mut Row<u8>,
) {
    let factor = T::convert(factor);
    let (down, up) = (T::down(limits.0), T::down(limits.1));
    let (slack, offset) = (T::convert(4.0 * T::EPSILON.f64()), T::convert(offset));
    let (tiny, huge) = (T::convert(T::SOUND.0), T::convert(T::SOUND.1));
    let smallest = T::convert(T::SMALLEST);
    let mut s = *spread;
    if root {
        for l in 0..LANES {
            s.0[l] = s.0[l].sqrt();
        }
    }
    for l in 0..LANES {
        let (min, max) = (extremes[0].0[l], extremes[1].0[l]);
        let c = T::convert(center.0[l]);
        let wrong = slack * (offset + c.abs()) + smallest;
        let s = s.0[l] * factor - (wrong + wrong);
        let inside = (c - min + wrong <= down * s) & (max - c + wrong <= up * s);
        let sound = (spread.0[l] > tiny) & (spread.0[l] < huge);
        marks.0[l] = u8::from(!(inside & sound | (equal_is_inside & (min == max))));
    }
}

/// Marks the lanes where the distance of some sample from the center may not be exact in the
/// precision of the workspace: it is where the center is a number of that precision and nowhere
/// more than twice or less than half a sample (Sterbenz 1974).
#[inline(always)]
pub fn inexact<T: Work>(center: &Row<f64>, extremes: &[Row<T>; 2], marks: &mut Row<u8>) {
    for l in 0..LANES {
        let (min, max) = (extremes[0].0[l], extremes[1].0[l]);
        let c = T::convert(center.0[l]);
        let positive = (min > T::ZERO) & (max <= min + min);
        let negative = (max < T::ZERO) & (min >= max + max);
        let exact = (c.f64() == center.0[l]) & (positive | negative);
        marks.0[l] |= u8::from(!(exact | (min == max)));
    }
}

/// Marks the lanes with fewer than `nkeep` samples or an undefined center or spread.
#[inline(always)]
pub fn attention(
    n: &Row<u32>,
    nkeep: u32,
    center: &Row<f64>,
    spread: &Row<f64>,
    marks: &mut Row<u8>,
) {
    for l in 0..LANES {
        let defined = (center.0[l].abs() < f64::INFINITY) & (spread.0[l].abs() < f64::INFINITY);
        marks.0[l] |= u8::from(!(defined & (n.0[l] >= nkeep)));
    }
}

pub use crate::select::middle_samples;

/// Smallest and largest sample present; +inf and -inf where there is none.
#[inline(always)]
pub fn extremes<T: Work>(rows: &[Row<T>], w: usize, min: &mut Row<T>, max: &mut Row<T>) {
    *min = Row::filled(T::INFINITY);
    *max = Row::filled(T::NEG_INFINITY);
    // Four rows to a loop, as in `accumulate`.
    let (fours, rest) = rows.as_chunks::<4>();
    for four in fours {
        for l in 0..lanes(w) {
            let (mut low, mut high) = (min.0[l], max.0[l]);
            for x in [four[0].0[l], four[1].0[l], four[2].0[l], four[3].0[l]] {
                low = if x < low { x } else { low };
                high = if x > high { x } else { high };
            }
            (min.0[l], max.0[l]) = (low, high);
        }
    }
    for row in rest {
        for l in 0..lanes(w) {
            let x = row.0[l];
            min.0[l] = if x < min.0[l] { x } else { min.0[l] };
            max.0[l] = if x > max.0[l] { x } else { max.0[l] };
        }
    }
}

/// Copies rows with absent samples replaced by +inf, which sorts last.
#[inline(always)]
pub fn copy_padded<T: Work>(rows: &[Row<T>], w: usize, out: &mut [Row<T>]) {
    for (to, from) in out.iter_mut().zip(rows) {
        for l in 0..lanes(w) {
            let x = from.0[l];
            to.0[l] = if present(x) { x } else { T::INFINITY };
        }
    }
}

/// Runs compare-exchanges over rows in memory.
#[inline(always)]
pub fn exchange<T: Work>(rows: &mut [Row<T>], w: usize, comparators: &[(u32, u32)]) {
    for (i, j) in comparators {
        let (i, j) = (*i as usize, *j as usize);
        let (a, b) = (rows[i], rows[j]);
        let (mut low, mut high) = (a, b);
        for l in 0..lanes(w) {
            (low.0[l], high.0[l]) = Order::order(a.0[l], b.0[l]);
        }
        rows[i] = low;
        rows[j] = high;
    }
}

/// The two middle ranks of `N` frames; absent samples count alternately as highest and lowest.
#[inline(always)]
pub fn middle_pair<T: Work, const N: usize>(
    rows: &[Row<T>],
    w: usize,
    absent: bool,
    low: &mut Row<T>,
    high: &mut Row<T>,
) where
    Depth<N>: Network<N>,
{
    let Ok(rows) = <&[Row<T>; N]>::try_from(rows) else { return };
    let planes = rows.each_ref().map(|row| &row.0);
    let (i, j) = middle(N);
    if absent {
        for l in 0..lanes(w) {
            let sorted =
                Depth::<N>::sort(Depth::<N>::balance(Depth::<N>::gather(&planes, l, |x| x)));
            low.0[l] = sorted[i];
            high.0[l] = sorted[j];
        }
    } else {
        for l in 0..lanes(w) {
            let sorted = Depth::<N>::sort(Depth::<N>::gather(&planes, l, |x| x));
            low.0[l] = sorted[i];
            high.0[l] = sorted[j];
        }
    }
}

/// Sorts `N` frames; absent samples come last, as +inf.
#[inline(always)]
pub fn sort<T: Work, const N: usize>(rows: &[Row<T>], w: usize, out: &mut [Row<T>])
where
    Depth<N>: Network<N>,
{
    let (Ok(rows), Ok(out)) = (<&[Row<T>; N]>::try_from(rows), <&mut [Row<T>; N]>::try_from(out))
    else {
        return;
    };
    let planes = rows.each_ref().map(|row| &row.0);
    for l in 0..lanes(w) {
        let sorted = Depth::<N>::sort(Depth::<N>::pad(Depth::<N>::gather(&planes, l, |x| x)));
        Depth::<N>::scatter(sorted, out, l);
    }
}
