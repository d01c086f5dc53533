//! Rejection by rank and by value.

use crate::estimate::Kit;
use crate::plan::{Extrema, ExtremaRule, Range};
use crate::reject::{Report, HIGH, LOW};
use crate::sample::{Row, Work, LANES};

/// Rejects the lowest and highest samples. Among equal ones the first frames go at the low end and
/// the last frames at the high end.
pub(crate) fn extrema<T: Work>(
    kit: &mut Kit<T>,
    step: &Extrema,
    v: &mut [Row<T>],
    w: usize,
    absent: &mut bool,
    report: &mut Report,
) {
    let n = kit.count(v, w, *absent);
    let frames = v.len();
    if step.low == 0 && step.high == 0 {
        return;
    }
    let (mut low, mut high) = ([0_usize; LANES], [0_usize; LANES]);
    for l in 0..w {
        let here = n.0[l] as usize;
        (low[l], high[l]) = match step.rule {
            ExtremaRule::Count => (step.low.min(here), step.high.saturating_sub(frames - here)),
            ExtremaRule::Fraction => {
                let share =
                    |count: usize| (here as f64 * count as f64 / frames as f64 + 0.001) as usize;
                (share(step.low).min(here), share(step.high))
            }
        };
        high[l] = high[l].min(here - low[l]);
    }
    kit.sorted(v, w);
    drop_ranks(kit, v, w, &n, &low, &high, absent, report);
}

/// Drops the `low` lowest and `high` highest of the `n` samples of every lane, whose order
/// statistics `kit.sorted` has just found.
pub(super) fn drop_ranks<T: Work>(
    kit: &Kit<T>,
    v: &mut [Row<T>],
    w: usize,
    n: &Row<u32>,
    low: &[usize; LANES],
    high: &[usize; LANES],
    absent: &mut bool,
    report: &mut Report,
) {
    if low[..w].iter().chain(&high[..w]).all(|k| *k == 0) {
        return;
    }
    // The bounds are order statistics; NaN where nothing goes, which no sample compares with.
    let (mut bottom, mut top) = (Row::filled(T::NAN), Row::filled(T::NAN));
    for l in 0..w {
        if low[l] > 0 {
            bottom.0[l] = kit.rows[low[l] - 1].0[l];
        }
        if high[l] > 0 {
            top.0[l] = kit.rows[n.0[l] as usize - high[l]].0[l];
        }
    }
    let (mut below, mut above) = (Row::filled(0), Row::filled(0));
    kit.ops.count_outside(v, w, &bottom, &top, &mut below, &mut above);
    for l in 0..w {
        below.0[l] = (low[l] as u32).saturating_sub(below.0[l]);
        above.0[l] = (high[l] as u32).saturating_sub(above.0[l]);
        report.n_low.0[l] += low[l] as u32;
        report.n_high.0[l] += high[l] as u32;
    }
    for (k, row) in v.iter_mut().enumerate() {
        let was = *row;
        kit.ops.drop_lowest(row, w, &bottom, &mut below);
        note(report, k, &was, row, LOW);
    }
    for (k, row) in v.iter_mut().enumerate().rev() {
        let was = *row;
        kit.ops.drop_highest(row, w, &top, &mut above);
        note(report, k, &was, row, HIGH);
    }
    *absent = true;
}

/// Notes which samples of a frame have gone.
fn note<T: Work>(report: &mut Report, frame: usize, was: &Row<T>, is: &Row<T>, side: u8) {
    if report.sides.is_some() {
        for l in 0..LANES {
            if is.0[l].f64().is_nan() && !was.0[l].f64().is_nan() {
                report.reject(frame, l, side);
            }
        }
    }
}

/// Rejects the samples outside a fixed range.
pub(crate) fn range<T: Work>(
    kit: &Kit<T>,
    step: &Range,
    v: &mut [Row<T>],
    w: usize,
    absent: &mut bool,
    report: &mut Report,
) {
    let (low, high) = (Row::filled(T::up(step.low)), Row::filled(T::down(step.high)));
    let (mut below, mut above) = (Row::filled(0), Row::filled(0));
    kit.ops.count_outside(v, w, &low, &high, &mut below, &mut above);
    for l in 0..w {
        report.n_low.0[l] += below.0[l];
        report.n_high.0[l] += above.0[l];
    }
    for l in 0..w {
        report.reject_outside(v, l, l, low.0[l], high.0[l]);
    }
    *absent |= kit.ops.drop_outside(v, w, &low, &high);
}
