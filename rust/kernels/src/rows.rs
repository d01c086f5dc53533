//! The operations on rows of pixels that everything is built from. Each is one plain loop over
//! lanes, written once; `dispatch.rs` compiles it for every instruction set.
//!
//! `w` is the number of lanes in use, rounded up to whole vectors. Sums run over the frames in
//! order, so that their bits depend on nothing but the samples.

use crate::order::{middle, Depth, Network};
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

/// Doubles become single floats; a zero has no sign.
#[inline(always)]
pub fn narrow(row: &Row<f64>, out: &mut [f32]) {
    for (to, x) in out.iter_mut().zip(&row.0) {
        *to = *x as f32 + 0.0;
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

/// The two middle ranks of `N` frames; absent samples count alternately as highest and lowest.
#[inline(always)]
pub fn middle_pair<T: Work, const N: usize, const WIDTH: usize>(
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
            let v = Depth::<N>::balance(Depth::<N>::gather(&planes, l, |x| x));
            let sorted = Depth::<N>::sort::<_, WIDTH>(v);
            low.0[l] = sorted[i];
            high.0[l] = sorted[j];
        }
    } else {
        for l in 0..lanes(w) {
            let sorted = Depth::<N>::sort::<_, WIDTH>(Depth::<N>::gather(&planes, l, |x| x));
            low.0[l] = sorted[i];
            high.0[l] = sorted[j];
        }
    }
}

/// Sorts `N` frames; absent samples come last, as +inf.
#[inline(always)]
pub fn sort<T: Work, const N: usize, const WIDTH: usize>(
    rows: &[Row<T>],
    w: usize,
    out: &mut [Row<T>],
) where
    Depth<N>: Network<N>,
{
    let (Ok(rows), Ok(out)) = (<&[Row<T>; N]>::try_from(rows), <&mut [Row<T>; N]>::try_from(out))
    else {
        return;
    };
    let planes = rows.each_ref().map(|row| &row.0);
    for l in 0..lanes(w) {
        let v = Depth::<N>::pad(Depth::<N>::gather(&planes, l, |x| x));
        Depth::<N>::scatter(Depth::<N>::sort::<_, WIDTH>(v), out, l);
    }
}
