//! Operations on rows, in the manner of `rows.rs`, that say of samples and columns what becomes of
//! them: which are dropped, flagged or counted, and which columns need a closer look.

use crate::prefetch::prefetch_run;
use crate::reject::{HIGH, LOW};
use crate::rows::{extremes, lanes, present};
use crate::sample::{Row, Work, LANES};

/// Sets a bit in every byte for each of eight masks that is not zero there.
#[inline(always)]
pub fn join_masks(masks: &[&[u8]; 8], bits: &mut [u8]) {
    let joined = |bytes: [u8; 8]| {
        let bit = |k: usize| if bytes[k] != 0 { 1 << k } else { 0 };
        bit(0) | bit(1) | bit(2) | bit(3) | bit(4) | bit(5) | bit(6) | bit(7)
    };
    let (parts, rest) = bits.as_chunks_mut::<LANES>();
    let begun = parts.len() * LANES;
    let whole = masks.map(|mask| mask.as_chunks::<LANES>().0);
    for (i, part) in parts.iter_mut().enumerate() {
        if whole.iter().any(|mask| mask.len() <= i) {
            return;
        }
        let masks = whole.map(|mask| &mask[i]);
        masks.iter().for_each(|mask| prefetch_run(&mask[..], 4));
        for l in 0..LANES {
            part[l] |= joined(masks.map(|mask| mask[l]));
        }
    }
    for (i, byte) in rest.iter_mut().enumerate() {
        *byte |= joined(masks.map(|mask| mask.get(begun + i).copied().unwrap_or(0)));
    }
}

/// Joins bytes by OR.
#[inline(always)]
pub fn join_bytes(bytes: &[u8], any: &mut [u8]) {
    for (to, from) in any.iter_mut().zip(bytes) {
        *to |= *from;
    }
}

/// Marks the lanes whose mask byte is not zero.
#[inline(always)]
pub fn mark_masked(mask: &[u8], marks: &mut Row<u8>) {
    for (mark, byte) in marks.0.iter_mut().zip(mask) {
        *mark |= u8::from(*byte != 0);
    }
}

/// Takes the marks of one row away from another.
#[inline(always)]
pub fn clear_marks(these: &Row<u8>, marks: &mut Row<u8>) {
    for l in 0..LANES {
        marks.0[l] &= !these.0[l];
    }
}

/// Drops the samples of one frame in whose byte `bit` is set.
#[inline(always)]
pub fn drop_masked<T: Work>(row: &mut Row<T>, bytes: &[u8], bit: u8) {
    for (x, byte) in row.0.iter_mut().zip(bytes) {
        *x = if byte & bit != 0 { T::NAN } else { *x };
    }
}

/// 1 where `bit` is set.
#[inline(always)]
pub fn copy_mask(bytes: &[u8], bit: u8, row: &mut Row<u8>) {
    for (to, byte) in row.0.iter_mut().zip(bytes) {
        *to = u8::from(byte & bit != 0);
    }
}

/// Whether some sample is not finite.
#[inline(always)]
pub fn any_infinite<T: Work>(rows: &[Row<T>]) -> bool {
    let mut any = Row::filled(0_u8);
    for row in rows {
        for l in 0..LANES {
            any.0[l] |= u8::from(!row.0[l].is_finite());
        }
    }
    any.0.iter().fold(0, |all, any| all | any) != 0
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

/// 1 where the sample of a frame is absent.
#[inline(always)]
pub fn absent<T: Work>(row: &Row<T>, out: &mut Row<u8>) {
    for l in 0..LANES {
        out.0[l] = u8::from(!present(row.0[l]));
    }
}

/// Counts the samples of one frame that are absent.
#[inline(always)]
pub fn count_absent<T: Work>(row: &Row<T>, w: usize) -> u32 {
    let mut n = 0;
    for l in 0..lanes(w) {
        n += u32::from(!present(row.0[l]));
    }
    n
}

/// Notes the side of the samples outside `low ..= high`; what is outside both is low.
#[inline(always)]
pub fn mark_sides<T: Work>(
    rows: &[Row<T>],
    w: usize,
    low: &Row<T>,
    high: &Row<T>,
    sides: &mut [Row<u8>],
) {
    for (row, sides) in rows.iter().zip(sides) {
        for l in 0..lanes(w) {
            let (under, over) = (row.0[l] < low.0[l], row.0[l] > high.0[l]);
            sides.0[l] |= (u8::from(under) * LOW) | (u8::from(over & !under) * HIGH);
        }
    }
}

/// Adds the numbers of samples of every frame rejected at either side, in the first `len` lanes.
#[inline(always)]
pub fn count_sides(sides: &[Row<u8>], len: usize, low: &mut [u64], high: &mut [u64]) {
    for (sides, (low, high)) in sides.iter().zip(low.iter_mut().zip(high)) {
        let (mut lows, mut highs) = (0_u8, 0_u8);
        for side in &sides.0[..len] {
            lows += u8::from(*side == LOW);
            highs += u8::from(*side == HIGH);
        }
        *low += u64::from(lows);
        *high += u64::from(highs);
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

/// The same for samples that are then dropped.
#[inline(always)]
pub fn drop_counted<T: Work>(
    rows: &mut [Row<T>],
    w: usize,
    low: &Row<T>,
    high: &Row<T>,
    below: &mut Row<u32>,
    above: &mut Row<u32>,
) {
    let (fours, rest) = rows.as_chunks_mut::<4>();
    for four in fours {
        drop_some(four, w, low, high, below, above);
    }
    for row in rest {
        drop_some(std::array::from_mut(row), w, low, high, below, above);
    }
}

/// The same for some rows, so that counts are loaded and stored less often.
#[inline(always)]
fn drop_some<T: Work, const M: usize>(
    rows: &mut [Row<T>; M],
    w: usize,
    low: &Row<T>,
    high: &Row<T>,
    below: &mut Row<u32>,
    above: &mut Row<u32>,
) {
    for l in 0..lanes(w) {
        let (mut down, mut up) = (below.0[l], above.0[l]);
        for row in rows.iter_mut() {
            let x = row.0[l];
            let (under, over) = (x < low.0[l], x > high.0[l]);
            down += u32::from(under);
            up += u32::from(over & !under);
            row.0[l] = if under | over { T::NAN } else { x };
        }
        (below.0[l], above.0[l]) = (down, up);
    }
}

/// Bounds of the samples that are less than `limits` units below and above the median: the distance
/// of larger samples is no less, also when it is rounded, so that there is one largest sample too
/// far below, and one smallest sample too far above. Marks the lanes where these were not found.
/// Nothing is too far where the unit is 0 or undefined.
#[inline(always)]
pub fn near_bounds<T: Work>(
    median: &Row<f64>,
    unit: &Row<f64>,
    limits: (f64, f64),
    low: &mut Row<T>,
    high: &mut Row<T>,
    vague: &mut Row<u8>,
) {
    for l in 0..LANES {
        let (c, unit) = (median.0[l], unit.0[l]);
        let below = |x: T| -((x.f64() - c) / unit) >= limits.0;
        let above = |x: T| (x.f64() - c) / unit >= limits.1;
        let a = T::down(c - limits.0 * unit);
        let b = T::up(c + limits.1 * unit);
        // Of two neighbours one is too far, and the other is not.
        let (gone, end) = (below(a), above(b));
        let bottom = if gone { a.next() } else { a };
        let top = if end { b.previous() } else { b };
        let found = (below(if gone { bottom } else { a.previous() }) != gone)
            & (above(if end { top } else { b.next() }) != end);
        let judged = unit > 0.0;
        low.0[l] = if judged { bottom } else { T::NEG_INFINITY };
        high.0[l] = if judged { top } else { T::INFINITY };
        vague.0[l] = u8::from(judged & !found);
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
    // What is wrong with a median distance is multiplied too.
    let amplified = factor.max(1.0);
    let (slack, offset) = (T::convert(4.0 * T::EPSILON.f64()), T::convert(offset));
    let (tiny, huge) = (T::convert(T::SOUND.0), T::convert(T::SOUND.1));
    let smallest = T::convert(T::SMALLEST);
    // For both sides: the distance with all that may be wrong is in `reach` units of `wrong`, and
    // is compared as it is, or squared, which needs no root.
    let [down, up] = [limits.0, limits.1].map(|limit| {
        let limit = limit.max(0.0);
        let (ratio, power) = (limit * factor, if root { 2 } else { 1 });
        let reach = if limit < f64::INFINITY { 1.0 + 2.0 * limit * amplified } else { 1.0 };
        (T::down(ratio.powi(power)), T::up(reach))
    });
    // Apart from the rest: vectors of that need not be as short as those of doubles.
    let mut near = Row::filled(T::ZERO);
    for l in 0..LANES {
        near.0[l] = T::convert(center.0[l]);
    }
    for l in 0..LANES {
        let (min, max, spread) = (extremes[0].0[l], extremes[1].0[l], spread.0[l]);
        let c = near.0[l];
        let wrong = slack * (offset + c.abs()) + smallest;
        let (below, above) = (c - min + wrong * down.1, max - c + wrong * up.1);
        let (low, high) = if root { (below * below, above * above) } else { (below, above) };
        let (most_low, most_high) = (down.0 * spread, up.0 * spread);
        let inside = (low < most_low) & (high < most_high);
        let sound = (spread > tiny) & (spread < huge);
        let sound = sound & (most_low > smallest) & (most_high > smallest);
        marks.0[l] = u8::from(!(inside & sound | (equal_is_inside & (min == max))));
    }
}

/// Marks the lanes where the distance of some sample from the center, or the mean of two of them,
/// may not be exact in the precision of the workspace: it is where the center is a number of that
/// precision and nowhere more than twice or less than half a sample (Sterbenz 1974), and samples are
/// not so small that there is no half of the distance between them.
#[inline(always)]
pub fn inexact<T: Work>(center: &Row<f64>, extremes: &[Row<T>; 2], marks: &mut Row<u8>) {
    let tiny = T::convert(4.0 * T::SMALLEST);
    for l in 0..LANES {
        let (min, max) = (extremes[0].0[l], extremes[1].0[l]);
        let c = T::convert(center.0[l]);
        let positive = (min > tiny) & (max <= min + min);
        let negative = (max < T::ZERO - tiny) & (min >= max + max);
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
