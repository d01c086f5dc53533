//! Rejection by rank and by value.

use crate::estimate::Kit;
use crate::plan::{Extrema, ExtremaRule, Range};
use crate::reject::{marked_lanes, Report, Settled, HIGH, LOW};
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
    if !*absent && report.sides.is_none() {
        return drop_alike(kit, v, w, share(frames), absent, report);
    }
    let (mut low, mut high) = ([0_usize; LANES], [0_usize; LANES]);
    for l in 0..w {
        (low[l], high[l]) = share(n.0[l] as usize);
    }
    drop_ranks(kit, v, w, &n, &low, &high, absent, report)
}

/// The same as [`drop_ranks`] where all lanes are alike and have all samples.
fn drop_alike<T: Work>(
    kit: &Kit<T>,
    v: &mut [Row<T>],
    w: usize,
    (low, high): (usize, usize),
    absent: &mut bool,
    report: &mut Report,
) -> Settled {
    let end = v.len() - high;
    let n = Row::filled((end - low) as u32);
    if low + high == 0 {
        return Settled { n, center: None };
    }
    for l in 0..w {
        report.n_low.0[l] += low as u32;
        report.n_high.0[l] += high as u32;
    }
    let (mut bottom, mut top) = (Row::filled(T::INFINITY), Row::filled(T::NEG_INFINITY));
    let mut tied = Row::filled(0);
    if low < end {
        (bottom, top) = (kit.rows[low], kit.rows[end - 1]);
        if low > 0 {
            kit.ops.mark_equal(&kit.rows[low - 1], &bottom, &mut tied);
        }
        if high > 0 {
            kit.ops.mark_equal(&kit.rows[end], &top, &mut tied);
        }
        for l in 0..w {
            bottom.0[l] = if tied.0[l] != 0 { T::NEG_INFINITY } else { bottom.0[l] };
            top.0[l] = if tied.0[l] != 0 { T::INFINITY } else { top.0[l] };
        }
    }
    kit.ops.drop_outside(v, w, &bottom, &top);
    for l in marked_lanes(&tied, w).iter() {
        drop_tied(kit, v, usize::from(*l), low, high);
    }
    *absent = true;
    Settled { n, center: None }
}

/// Drops the `low` lowest and `high` highest of the `n` samples of every lane, whose order
/// statistics `kit.sorted` has just found.
fn drop_ranks<T: Work>(
    kit: &Kit<T>,
    v: &mut [Row<T>],
    w: usize,
    n: &Row<u32>,
    low: &[usize; LANES],
    high: &[usize; LANES],
    absent: &mut bool,
    report: &mut Report,
) -> Settled {
    let mut left = *n;
    if low[..w].iter().chain(&high[..w]).all(|k| *k == 0) {
        return Settled { n: left, center: None };
    }
    // The samples kept are those between two order statistics, unless others are equal to these.
    let (mut bottom, mut top) = (Row::filled(T::NEG_INFINITY), Row::filled(T::INFINITY));
    let mut tied = Vec::new();
    for l in 0..w {
        if low[l] + high[l] == 0 {
            continue;
        }
        let end = n.0[l] as usize - high[l];
        let at = |k: usize| kit.rows[k].0[l];
        left.0[l] = (end - low[l]) as u32;
        report.n_low.0[l] += low[l] as u32;
        report.n_high.0[l] += high[l] as u32;
        if end == low[l] {
            (bottom.0[l], top.0[l]) = (T::INFINITY, T::NEG_INFINITY);
        } else if low[l] > 0 && at(low[l] - 1) == at(low[l])
            || high[l] > 0 && at(end) == at(end - 1)
        {
            tied.push(l);
        } else {
            (bottom.0[l], top.0[l]) = (at(low[l]), at(end - 1));
        }
    }
    let before = report.sides.is_some().then(|| v.to_vec());
    kit.ops.drop_outside(v, w, &bottom, &top);
    for l in tied {
        let end = n.0[l] as usize - high[l];
        drop_tied(kit, v, l, low[l], n.0[l] as usize - end);
    }
    if let Some(before) = before {
        // Among equal samples the first frames went at the low end, the last ones at the high end.
        for l in (0..w).filter(|l| low[*l] + high[*l] > 0) {
            let bound = if low[l] > 0 { kit.rows[low[l] - 1].0[l] } else { T::NEG_INFINITY };
            let below = before.iter().filter(|row| row.0[l] < bound).count();
            let mut quota = low[l] - below;
            for (k, (was, is)) in before.iter().zip(&*v).enumerate() {
                let (was, is) = (was.0[l], is.0[l]);
                if was.present() && !is.present() {
                    let tie = was == bound && quota > 0;
                    quota -= usize::from(tie);
                    report.reject(k, l, if tie || was < bound { LOW } else { HIGH });
                }
            }
        }
    }
    *absent = true;
    Settled { n: left, center: None }
}

/// Drops the `low` lowest and `high` highest samples of a lane where some are equal: of these the
/// first frames at the low end, and the last ones at the high end.
fn drop_tied<T: Work>(kit: &Kit<T>, v: &mut [Row<T>], l: usize, low: usize, high: usize) {
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
        let mut drop = |row: &mut Row<T>| {
            let tie = row.0[l] == bound && quota > 0;
            quota -= usize::from(tie);
            if tie || beyond(row.0[l]) {
                row.0[l] = T::NAN;
            }
        };
        if end == 0 {
            v.iter_mut().for_each(&mut drop);
        } else {
            v.iter_mut().rev().for_each(&mut drop);
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
