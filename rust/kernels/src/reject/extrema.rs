//! Rejection by rank and by value.

use crate::estimate::Kit;
use crate::plan::{Extrema, ExtremaRule, Range};
use crate::reject::{marked_lanes, Report, Settled, HIGH, LOW};
use crate::sample::{Row, Work};

/// Rejects the lowest and highest samples. Among equal ones the first frames go at the low end and
/// the last frames at the high end.
pub(crate) fn extrema<T: Work>(
    kit: &mut Kit<T>,
    step: &Extrema,
    v: &mut [Row<T>],
    w: usize,
    absent: &mut bool,
    report: &mut Report,
) -> Settled {
    let n = kit.count(v, w, *absent);
    let frames = v.len();
    if step.low == 0 && step.high == 0 {
        return Settled { n, center: None };
    }
    // How many of so many samples.
    let share = |here: usize| {
        let (low, high) = match step.rule {
            ExtremaRule::Count => (step.low.min(here), step.high.saturating_sub(frames - here)),
            ExtremaRule::Fraction => {
                let share =
                    |count: usize| (here as f64 * count as f64 / frames as f64 + 0.001) as usize;
                (share(step.low).min(here), share(step.high))
            }
        };
        (low, high.min(here - low))
    };
    kit.sorted(v, w);
    drop_ranks(kit, v, w, &n, share, absent, report)
}

/// Drops as many of the lowest and highest samples of every lane, whose order statistics
/// `kit.sorted` has just found, as `share` says of the number that there are.
fn drop_ranks<T: Work>(
    kit: &Kit<T>,
    v: &mut [Row<T>],
    w: usize,
    n: &Row<u32>,
    share: impl Fn(usize) -> (usize, usize),
    absent: &mut bool,
    report: &mut Report,
) -> Settled {
    let frames = v.len();
    // The samples kept are those between two order statistics, unless others are equal to these.
    // Most lanes have all samples: whole rows.
    let (lowest, highest) = share(frames);
    let (mut low, mut high) = (Row::filled(lowest as u32), Row::filled(highest as u32));
    let (mut bottom, mut top) = (Row::filled(T::INFINITY), Row::filled(T::NEG_INFINITY));
    // Where nothing is left no bounds tell the ends apart either.
    let mut tied = Row::filled(u8::from(lowest + highest == frames));
    if lowest + highest < frames {
        let end = frames - highest;
        (bottom, top) = (kit.rows[lowest], kit.rows[end - 1]);
        if lowest > 0 {
            kit.ops.mark_equal(&kit.rows[lowest - 1], &bottom, &mut tied);
        }
        if highest > 0 {
            kit.ops.mark_equal(&kit.rows[end], &top, &mut tied);
        }
    }
    for l in (0..w).filter(|l| n.0[*l] as usize != frames) {
        let here = n.0[l] as usize;
        let (lowest, highest) = share(here);
        let end = here - highest;
        let at = |k: usize| kit.rows[k].0[l];
        (low.0[l], high.0[l]) = (lowest as u32, highest as u32);
        tied.0[l] = u8::from(here > 0);
        if lowest < end {
            (bottom.0[l], top.0[l]) = (at(lowest), at(end - 1));
            let below = lowest > 0 && at(lowest - 1) == bottom.0[l];
            tied.0[l] = u8::from(below || highest > 0 && at(end) == top.0[l]);
        }
    }
    let mut left = *n;
    for l in 0..w {
        left.0[l] -= low.0[l] + high.0[l];
        report.n_low.0[l] += low.0[l];
        report.n_high.0[l] += high.0[l];
        bottom.0[l] = if tied.0[l] != 0 { T::NEG_INFINITY } else { bottom.0[l] };
        top.0[l] = if tied.0[l] != 0 { T::INFINITY } else { top.0[l] };
    }
    report.reject_outside(kit.ops, v, w, &bottom, &top);
    kit.ops.drop_outside(v, w, &bottom, &top);
    for l in marked_lanes(&tied, w).iter().map(|l| usize::from(*l)) {
        drop_tied(kit, v, l, low.0[l] as usize, high.0[l] as usize, report);
    }
    *absent |= left.0[..w] != n.0[..w];
    Settled { n: left, center: None }
}

/// Drops the `low` lowest and `high` highest samples of a lane where some are equal: of these the
/// first frames at the low end, and the last ones at the high end.
fn drop_tied<T: Work>(
    kit: &Kit<T>,
    v: &mut [Row<T>],
    l: usize,
    low: usize,
    high: usize,
    report: &mut Report,
) {
    let n = v.iter().filter(|row| row.0[l].present()).count();
    let ends = [(low, low.wrapping_sub(1)), (high, n.wrapping_sub(high))];
    for (end, (count, rank)) in ends.into_iter().enumerate() {
        if count == 0 {
            continue;
        }
        let bound = kit.rows[rank].0[l];
        let beyond = |x: T| if end == 0 { x < bound } else { x > bound };
        let outside = kit.rows[..n].iter().filter(|row| beyond(row.0[l])).count();
        let mut quota = count - outside;
        let side = if end == 0 { LOW } else { HIGH };
        let mut drop = |(k, row): (usize, &mut Row<T>)| {
            let tie = row.0[l] == bound && quota > 0;
            quota -= usize::from(tie);
            if tie || beyond(row.0[l]) {
                row.0[l] = T::NAN;
                report.reject(k, l, side);
            }
        };
        if end == 0 {
            v.iter_mut().enumerate().for_each(&mut drop);
        } else {
            v.iter_mut().enumerate().rev().for_each(&mut drop);
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
    report.reject_outside(kit.ops, v, w, &low, &high);
    *absent |= kit.ops.drop_outside(v, w, &low, &high);
}
