//! Clipping passes over sorted columns: the samples still in are those of a range of ranks, so that
//! a pass reads a sum or some distances, and then looks at the ends.
//!
//! Samples that are out are made infinite, of the sign of the end they are at; absent ones are +inf
//! from the beginning. Spreads are computed in the precision of the workspace, and limits come in
//! pairs: what lies between the two is for double precision to decide. See `limits_of_scatter`.

use crate::plan::{Center, Spread};
use crate::rows::lanes;
use crate::sample::{Row, Work, LANES};

/// More than there are frames.
const MOST: usize = 1 << 20;

/// The ranks still in: `first .. end` of every lane.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub first: Row<u32>,
    pub end: Row<u32>,
}

impl Span {
    /// The ranks of the two middle samples, which are one if their number is odd.
    pub fn middle(&self) -> [Row<u32>; 2] {
        let mut out = [Row::filled(0); 2];
        for l in 0..LANES {
            let both = self.first.0[l] + self.end.0[l];
            out[0].0[l] = both.saturating_sub(1) / 2;
            out[1].0[l] = both / 2;
        }
        out
    }

    /// The rank of the largest sample.
    pub fn last(&self) -> Row<u32> {
        Row(self.end.0.map(|end| end.saturating_sub(1)))
    }

    /// How many samples there are.
    pub fn len(&self) -> Row<u32> {
        let mut n = self.end;
        for l in 0..LANES {
            n.0[l] -= self.first.0[l];
        }
        n
    }
}

/// What a pass keeps: everything not below `low[1]` and not above `high[1]`. What is below `low[0]`
/// or above `high[0]` is rejected, and what is between is not certain.
#[derive(Clone)]
pub(crate) struct Limits<T> {
    pub low: [Row<T>; 2],
    pub high: [Row<T>; 2],
}

impl<T: Work> Limits<T> {
    /// Keep everything.
    pub fn open() -> Self {
        let (low, high) = (Row::filled(T::NEG_INFINITY), Row::filled(T::INFINITY));
        Self { low: [low; 2], high: [high; 2] }
    }
}

/// The least and the greatest rank.
#[inline(always)]
fn reach(ranks: &Row<u32>, w: usize) -> (usize, usize) {
    let (mut least, mut most) = (u32::MAX, 0);
    for l in 0..lanes(w) {
        least = least.min(ranks.0[l]);
        most = most.max(ranks.0[l]);
    }
    (least as usize, most as usize)
}

/// The least and the greatest of the first ranks, and of those behind the last.
#[derive(Clone, Copy)]
struct Reach {
    first: (usize, usize),
    end: (usize, usize),
}

/// The sample of a rank of every lane.
#[inline(always)]
pub fn pick<T: Work>(rows: &[Row<T>], w: usize, rank: &Row<u32>, out: &mut Row<T>) {
    pick_among(rows, w, reach(rank, w), rank, out);
}

/// The same where it is known between which the ranks are.
#[inline(always)]
fn pick_among<T: Work>(
    rows: &[Row<T>],
    w: usize,
    (least, most): (usize, usize),
    rank: &Row<u32>,
    out: &mut Row<T>,
) {
    *out = Row::filled(T::ZERO);
    for k in least..(most + 1).min(rows.len()) {
        for l in 0..lanes(w) {
            // A sum, since the compiler makes no vectors of a choice between two places.
            let x = if rank.0[l] == k as u32 { rows[k].0[l] } else { T::ZERO };
            out.0[l] = out.0[l] + x;
        }
    }
}

/// Adds (x - p)^2, and x - p with `FIRST`, of some ranks: in the precision of the workspace first.
/// Where `SOME` are out, these do not count.
#[inline(always)]
fn add_powers<T: Work, const M: usize, const FIRST: bool, const SOME: bool>(
    rows: &[Row<T>; M],
    w: usize,
    pivot: &Row<T>,
    sums: &mut [Row<f64>; 2],
) {
    let [sum, squares] = sums;
    for l in 0..lanes(w) {
        let p = pivot.0[l];
        let (mut a, mut b) = (T::ZERO, T::ZERO);
        for row in rows {
            let x = row.0[l];
            let d = x - p;
            let d = if SOME & !x.is_finite() { T::ZERO } else { d };
            a = a + d;
            b = b + d * d;
        }
        if FIRST {
            sum.0[l] += a.f64();
        }
        squares.0[l] += b.f64();
    }
}

/// The sum of (x - p)^2 over the samples in, and with `FIRST` that of x - p.
#[inline(always)]
fn powers<T: Work, const FIRST: bool>(
    rows: &[Row<T>],
    w: usize,
    pivot: &Row<T>,
    Reach { first: (start, all_from), end: (all_to, end) }: Reach,
    sums: &mut [Row<f64>; 2],
) {
    *sums = [Row::filled(0.0); 2];
    let mut at = start;
    while at < end.min(rows.len()) {
        let rest = &rows[at..end.min(rows.len())];
        let whole = |n: usize| at >= all_from && at + n <= all_to;
        if let Some(some) = rest.first_chunk::<8>() {
            if whole(8) {
                add_powers::<T, 8, FIRST, false>(some, w, pivot, sums);
            } else {
                add_powers::<T, 8, FIRST, true>(some, w, pivot, sums);
            }
            at += 8;
        } else if let Some(some) = rest.first_chunk::<4>() {
            add_powers::<T, 4, FIRST, true>(some, w, pivot, sums);
            at += 4;
        } else if let Some(some) = rest.first_chunk::<1>() {
            add_powers::<T, 1, FIRST, true>(some, w, pivot, sums);
            at += 1;
        }
    }
}

/// Takes the farther ends of `M` runs of samples into account.
#[inline(always)]
fn add_runs<T: Work, const M: usize>(
    firsts: &[Row<T>; M],
    lasts: &[Row<T>; M],
    w: usize,
    about: &Row<T>,
    least: &mut Row<T>,
) {
    for l in 0..lanes(w) {
        let (c, mut nearest) = (about.0[l], least.0[l]);
        for (first, last) in firsts.iter().zip(lasts) {
            let (below, above) = (c - first.0[l], last.0[l] - c);
            let farther = if below > above { below } else { above };
            nearest = if farther < nearest { farther } else { nearest };
        }
        least.0[l] = nearest;
    }
}

/// The median of |x - c| over the samples in: the nearest k samples are neighbours, so the k-th
/// distance is the least, over all runs of k, of that of the farther end.
#[inline(always)]
fn median_distance<T: Work>(
    rows: &[Row<T>],
    w: usize,
    about: &Row<T>,
    n: &Row<u32>,
    Reach { first: (start, _), end: (_, end) }: Reach,
    out: &mut Row<T>,
) {
    let (mut lower, mut upper) = (Row::filled(T::ZERO), Row::filled(T::ZERO));
    let (fewest, most) = reach(n, w);
    for k in fewest.div_ceil(2).max(1)..=most / 2 + 1 {
        let mut wanted = 0_u32;
        for l in 0..lanes(w) {
            let n = n.0[l];
            wanted |= u32::from((n.div_ceil(2) == k as u32) | (n / 2 + 1 == k as u32));
        }
        if wanted == 0 || start + k > end.min(rows.len()) {
            continue;
        }
        let rows = &rows[start..end.min(rows.len())];
        let mut least = Row::filled(T::INFINITY);
        let (firsts, lasts) = (&rows[..rows.len() + 1 - k], &rows[k - 1..]);
        let (fours, lone) = firsts.as_chunks::<4>();
        let (last_fours, last_lone) = lasts.as_chunks::<4>();
        for (firsts, lasts) in fours.iter().zip(last_fours) {
            add_runs(firsts, lasts, w, about, &mut least);
        }
        for (first, last) in lone.chunks_exact(1).zip(last_lone.chunks_exact(1)) {
            if let (Some(first), Some(last)) = (first.first_chunk(), last.first_chunk()) {
                add_runs::<T, 1>(first, last, w, about, &mut least);
            }
        }
        for l in 0..lanes(w) {
            let (n, x) = (n.0[l], least.0[l]);
            lower.0[l] = lower.0[l] + if n.div_ceil(2) == k as u32 { x } else { T::ZERO };
            upper.0[l] = upper.0[l] + if n / 2 + 1 == k as u32 { x } else { T::ZERO };
        }
    }
    for l in 0..lanes(w) {
        let sum = lower.0[l] + upper.0[l];
        let half = sum * T::HALF;
        // Only what is 0 may become 0.
        out.0[l] = if half == T::ZERO { sum } else { half };
    }
}

/// What a pass computes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scatter {
    pub center: Center,
    pub spread: Spread,
    /// Limits in units of the spread.
    pub limits: (f64, f64),
    /// Columns of fewer samples are left alone.
    pub min_samples: usize,
    /// Columns without a spread are left alone.
    pub skip_zero: bool,
    /// Whether equal samples are equal to their mean as double precision computes it.
    pub equal_is_inside: bool,
}

impl Scatter {
    /// Whether `limits_of_scatter` knows the statistics, and can be certain of much: not where every
    /// sample at the center is on a limit.
    pub fn serves(&self) -> bool {
        let known = match self.center {
            Center::Median | Center::LowerMedian => true,
            Center::Mean => matches!(self.spread, Spread::Std { .. }),
            Center::Trimmed => false,
        };
        let fine = |limit: f64| (0.01..1e6).contains(&limit) || limit == f64::INFINITY;
        known && fine(self.limits.0) && fine(self.limits.1)
    }
}

/// The limits center - down * s .. center + up * s of the samples in, where `first` tells whether
/// none has been rejected before. Marks the lanes where they cannot be told.
///
/// Let e = [`Work::EPSILON`] and u = 2^-53 be half the distance from 1 to the next number in the
/// precisions of the workspace and of the reference. As in [`crate::marks::beyond`], the center used
/// here is wrong by less than e |c|, and the sum of squares about it, eight terms of which are added
/// at a time, by less than (11 + n u / e) e of itself; s by half of that. (A median distance is
/// wrong by less than e of itself.) The reference itself rounds by less than (n / 2 + 4) u s.
///
/// The mean is found from a sample in the middle, p, by d = x - p. As |mean - p| <= s, sum d^2 is at
/// most 2 n s^2: sum d is wrong by less than 8 e sqrt(n sum d^2), the mean by less than 12 e s, and
/// n s^2 = sum d^2 - (sum d)^2 / n by less than 54 e of itself. The reference finds a mean that is
/// wrong by less than n u max |x|.
///
/// Limits are moved by more than twice as much as that, inwards and outwards.
#[inline(always)]
pub fn limits_of_scatter<T: Work>(
    rows: &[Row<T>],
    w: usize,
    span: &Span,
    scatter: &Scatter,
    first: bool,
    limits: &mut Limits<T>,
    vague: &mut Row<u8>,
) {
    let (n, frames) = (span.len(), rows.len() as f64);
    let reached = Reach { first: reach(&span.first, w), end: reach(&span.end, w) };
    let ((least, most), (shortest, longest)) = (reached.first, reached.end);
    let mut ends = [Row::filled(T::ZERO); 2];
    // Median distances tell by themselves that samples are equal.
    let by_ends = matches!(scatter.spread, Spread::Std { .. });
    if by_ends {
        let last = (shortest.saturating_sub(1), longest.saturating_sub(1));
        pick_among(rows, w, reached.first, &span.first, &mut ends[0]);
        pick_among(rows, w, last, &span.last(), &mut ends[1]);
    }
    let among = ((least + shortest).saturating_sub(1) / 2, (most + longest) / 2);
    let mut middle = [Row::filled(T::ZERO); 2];
    for (rank, row) in span.middle().iter().zip(&mut middle) {
        pick_among(rows, w, among, rank, row);
    }
    let [a, b] = &middle;
    let mut center = *b;
    let mut wrong = Row::filled(T::ZERO);
    let mut s = Row::filled(T::ZERO);
    let (mut zero, mut sound) = (Row::filled(0_u8), Row::filled(1_u8));
    let lower = scatter.center == Center::LowerMedian;
    if scatter.center != Center::Mean {
        for l in 0..lanes(w) {
            let (a, b) = (a.0[l], b.0[l]);
            let half = (a + b) * T::HALF;
            let half = if a == b { b } else { half };
            center.0[l] = if lower { a } else { half };
        }
    }
    let mut ratio = T::convert(1.0);
    let taken = match scatter.spread {
        Spread::Std { ddof } => ddof.min(MOST) as u32,
        Spread::Mad { .. } => 0,
    };
    match scatter.spread {
        Spread::Mad { factor } => {
            median_distance(rows, w, &center, &n, reached, &mut s);
            ratio = T::convert(factor.max(1.0));
            let (factor, huge) = (T::convert(factor), T::convert(T::SOUND.1));
            for l in 0..lanes(w) {
                // Nothing has been rounded where samples are equal to a center that is one.
                let at_center = (s.0[l] == T::ZERO) & (lower | (a.0[l] == b.0[l]));
                zero.0[l] = u8::from(at_center);
                sound.0[l] = u8::from(s.0[l] < huge);
                s.0[l] = s.0[l] * factor;
            }
        }
        Spread::Std { .. } => {
            let mut sums = [Row::filled(0.0); 2];
            if scatter.center == Center::Mean {
                powers::<T, true>(rows, w, b, reached, &mut sums);
                for l in 0..lanes(w) {
                    let (sum, n) = (sums[0].0[l], f64::from(n.0[l]));
                    sums[1].0[l] -= sum * sum / n;
                    center.0[l] = b.0[l] + T::convert(sum / n);
                }
            } else {
                powers::<T, false>(rows, w, &center, reached, &mut sums);
            }
            let (tiny, huge) = (T::convert(T::SOUND.0), T::convert(T::SOUND.1));
            for l in 0..lanes(w) {
                let squares = T::convert(sums[1].0[l]);
                // With fewer the center's rounding would count more than is allowed for.
                let enough = 4 * taken <= 3 * n.0[l];
                sound.0[l] = u8::from((squares > tiny) & (squares < huge) & enough);
                s.0[l] = (squares / (T::convert(n.0[l]) - T::convert(taken))).sqrt();
            }
        }
    }
    let e = T::EPSILON.f64();
    let (share, double) = (T::convert(128.0 * e), T::convert(4.0 * frames * f64::EPSILON));
    if scatter.center == Center::Mean {
        for l in 0..lanes(w) {
            let (a, b) = (ends[0].0[l].abs(), ends[1].0[l].abs());
            let largest = if a > b { a } else { b };
            wrong.0[l] = share * s.0[l] + double * largest;
        }
    }
    let (less, more) = (T::convert(1.0) - share - double, T::convert(1.0) + share + double);
    let (down, up) = (T::convert(scatter.limits.0), T::convert(scatter.limits.1));
    let (slack, smallest) = (T::convert(4.0 * e), T::convert(T::SMALLEST));
    let huge = T::convert(T::SOUND.1);
    let fewest = u32::try_from(scatter.min_samples).unwrap_or(u32::MAX);
    for l in 0..lanes(w) {
        let (c, s) = (center.0[l], s.0[l]);
        let wrong = slack * c.abs() + wrong.0[l] + smallest;
        let about = ratio * (wrong + wrong);
        let (least, most) = (s * less - about, s * more + about);
        let equal = by_ends & scatter.equal_is_inside & (ends[0].0[l] == ends[1].0[l]);
        let zero = zero.0[l] != 0;
        let idle = (n.0[l] < fewest) | (n.0[l] == 0) | equal | (zero & scatter.skip_zero);
        // Without a spread nothing happens, but the last one that there was is reported.
        let without = (n.0[l] <= taken) & (n.0[l] > 0);
        let idle = idle | (first & without);
        let mut far = T::ZERO;
        let mut pair = |limit: T| {
            let (near, out) = (limit * least - wrong, limit * most + wrong);
            let open = !limit.is_finite() | idle;
            let (near, out) = if zero { (T::ZERO, T::ZERO) } else { (near, out) };
            far = if !open & (out > far) { out } else { far };
            if open {
                (T::INFINITY, T::INFINITY)
            } else {
                (near, out)
            }
        };
        let (low, high) = (pair(down), pair(up));
        let certain = (sound.0[l] != 0) & (far + c.abs() < huge);
        vague.0[l] |= u8::from(!(certain | idle) | (!first & without));
        limits.low[0].0[l] = c - low.1;
        limits.low[1].0[l] = c - low.0;
        limits.high[0].0[l] = c + high.1;
        limits.high[1].0[l] = c + high.0;
    }
}

/// Rejects what is below or above all limits; marks the lanes where something is between two of
/// them, and those where something has been rejected.
#[inline(always)]
pub fn cut<T: Work>(
    rows: &mut [Row<T>],
    w: usize,
    limits: &Limits<T>,
    span: &mut Span,
    vague: &mut Row<u8>,
    changed: &mut Row<u8>,
) {
    // How many samples are outside the outer limits, and from `INNER` on, the inner ones.
    const INNER: u32 = 1 << 16;
    let (mut below, mut above) = (Row::filled(0_u32), Row::filled(0_u32));
    for row in rows.iter_mut() {
        let mut any = 0_u32;
        for l in 0..lanes(w) {
            let x = row.0[l];
            let (under, beside) = (x < limits.low[0].0[l], x < limits.low[1].0[l]);
            let inner = if beside { INNER } else { 0 };
            below.0[l] += inner + u32::from(under);
            row.0[l] = if under { T::NEG_INFINITY } else { x };
            any |= inner;
        }
        if any == 0 {
            break;
        }
    }
    for row in rows.iter_mut().rev() {
        let mut any = 0_u32;
        for l in 0..lanes(w) {
            let x = row.0[l];
            let (over, beside) = (x > limits.high[0].0[l], x > limits.high[1].0[l]);
            let inner = if beside { INNER } else { 0 };
            above.0[l] += inner + u32::from(over);
            row.0[l] = if over { T::INFINITY } else { x };
            any |= inner;
        }
        if any == 0 {
            break;
        }
    }
    let frames = rows.len() as u32;
    for l in 0..lanes(w) {
        let (out_below, out_above) = (below.0[l] % INNER, above.0[l] % INNER);
        let near = (below.0[l] / INNER != out_below) | (above.0[l] / INNER != out_above);
        vague.0[l] |= u8::from(near);
        // Those that have been out before count again, unless there is no limit now.
        let first = out_below.max(span.first.0[l]).min(span.end.0[l]);
        let end = (frames - out_above).min(span.end.0[l]).max(first);
        changed.0[l] = u8::from((first != span.first.0[l]) | (end != span.end.0[l]));
        (span.first.0[l], span.end.0[l]) = (first, end);
    }
}
