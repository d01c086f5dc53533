//! Clipping by a percentile sample: its distance from the median is the unit of the limits.

use crate::estimate::Kit;
use crate::order::middle;
use crate::plan::PClip;
use crate::reject::{
    count_back, marked_lanes, output_flags, sample_flags, Report, Settled, HIGH, LOW,
};
use crate::rows::half_sum;
use crate::sample::{Row, Work};

/// Fewer samples than this have no percentile to speak of (IRAF).
const FEWEST: usize = 3;

/// The sides of the samples of a column that are too far away. A sample exactly on a limit is.
struct Far {
    median: f64,
    unit: f64,
    limits: (f64, f64),
}

impl Far {
    fn distance(&self, x: f64) -> f64 {
        (x - self.median) / self.unit
    }

    fn is_below(&self, x: f64) -> bool {
        -self.distance(x) >= self.limits.0
    }

    fn is_above(&self, x: f64) -> bool {
        self.distance(x) >= self.limits.1
    }
}

/// One pass over the block.
pub(crate) fn pclip<T: Work>(
    kit: &mut Kit<T>,
    step: &PClip,
    v: &mut [Row<T>],
    w: usize,
    absent: &mut bool,
    report: &mut Report,
) -> Settled {
    let n = kit.count(v, w, *absent);
    kit.sorted(v, w);
    let (medians, units) = units(kit, step, v.len(), w, &n);
    let limits = (step.low, step.high);
    let far = |l: usize| Far { median: medians.0[l], unit: units.0[l], limits };
    let (mut bottom, mut top) = (Row::filled(T::NAN), Row::filled(T::NAN));
    let mut vague = Row::filled(0);
    kit.ops.near_bounds(&medians, &units, limits, &mut bottom, &mut top, &mut vague);
    for l in marked_lanes(&vague, w).iter().map(|l| usize::from(*l)) {
        let far = far(l);
        let mut column = kit.rows[..n.0[l] as usize].iter().map(|row| row.0[l]);
        let lowest = column.clone().find(|x| !far.is_below(x.f64()));
        let highest = column.rfind(|x| !far.is_above(x.f64()));
        bottom.0[l] = lowest.unwrap_or(T::INFINITY);
        top.0[l] = highest.unwrap_or(T::NEG_INFINITY);
    }
    let mut left = n;
    let (mut below, mut above) = (Row::filled(0), Row::filled(0));
    // With these limits the sample nearest to the median stays: its distance is not a whole unit.
    let one_stays = step.low > 1.5 && step.high > 1.5;
    if step.maxrej.is_some() || step.nkeep > usize::from(one_stays) {
        kit.ops.count_outside(v, w, &bottom, &top, &mut below, &mut above);
        for l in 0..w {
            let (here, gone) = (n.0[l] as usize, (below.0[l] + above.0[l]) as usize);
            let too_few = gone > 0 && here - gone < step.nkeep;
            let too_many = step.maxrej.is_some_and(|most| gone > most);
            if too_few || too_many {
                left.0[l] -= put_back(step, v, (l, here), (too_few, too_many), &far(l), report);
                (bottom.0[l], top.0[l]) = (T::NEG_INFINITY, T::INFINITY);
            }
        }
        (below, above) = (Row::filled(0), Row::filled(0));
    }
    report.reject_outside(kit.ops, v, w, &bottom, &top);
    kit.ops.drop_counted(v, w, &bottom, &top, &mut below, &mut above);
    for l in 0..w {
        left.0[l] -= below.0[l] + above.0[l];
        report.n_low.0[l] += below.0[l];
        report.n_high.0[l] += above.0[l];
    }
    *absent |= (0..w).any(|l| left.0[l] < n.0[l]);
    Settled { n: left, center: None }
}

/// Median and unit of the limits of every lane, of which the samples have just been sorted; the unit
/// is not a number where nothing is to be rejected.
fn units<T: Work>(
    kit: &Kit<T>,
    step: &PClip,
    frames: usize,
    w: usize,
    n: &Row<u32>,
) -> (Row<f64>, Row<f64>) {
    let offset = rank_offset(step.frac, frames);
    let place = |here: usize| {
        let even_below = offset < 0 && here.is_multiple_of(2);
        let rank = (here / 2 + usize::from(!even_below)) as isize + offset;
        rank.clamp(1, here as isize) as usize - 1
    };
    let enough = |here: usize| here >= FEWEST && here > step.nkeep;
    let (mut medians, mut units) = (Row::filled(f64::NAN), Row::filled(f64::NAN));
    if enough(frames) {
        // Most lanes have all samples: whole rows.
        let (i, j) = middle(frames);
        let (low, high, all) = (&kit.rows[i], &kit.rows[j], Row::filled(frames as u32));
        kit.ops.median(low, high, &all, frames % 2 == 1, false, &mut medians);
        let far = &kit.rows[place(frames)];
        for l in 0..w {
            units.0[l] = (far.0[l].f64() - medians.0[l]).abs();
        }
    }
    for l in (0..w).filter(|l| n.0[*l] as usize != frames) {
        let here = n.0[l] as usize;
        (medians.0[l], units.0[l]) = (f64::NAN, f64::NAN);
        if enough(here) {
            let at = |k: usize| kit.rows[k].0[l].f64();
            let odd = here % 2 == 1;
            let median = if odd { at(here / 2) } else { half_sum(at(here / 2 - 1), at(here / 2)) };
            (medians.0[l], units.0[l]) = (median, (at(place(here)) - median).abs());
        }
    }
    (medians, units)
}

/// Rejects what is too far in a lane with `here` samples, but for as many as have to stay; returns
/// how many these are.
fn put_back<T: Work>(
    step: &PClip,
    v: &mut [Row<T>],
    (l, here): (usize, usize),
    (too_few, too_many): (bool, bool),
    far: &Far,
    report: &mut Report,
) -> u32 {
    report.flags.0[l] |= if too_few { output_flags::NKEEP } else { 0 }
        | if too_many { output_flags::MAXREJ } else { 0 };
    let flag = if too_few { sample_flags::RESTORED_NKEEP } else { 0 }
        | if too_many { sample_flags::RESTORED_MAXREJ } else { 0 };
    let most = step.maxrej.unwrap_or(usize::MAX).min(here - step.nkeep);
    let mut outside: Vec<(f64, usize, u8)> = v
        .iter()
        .enumerate()
        .filter_map(|(frame, row)| match row.0[l].f64() {
            x if far.is_below(x) => Some((-far.distance(x), frame, LOW)),
            x if far.is_above(x) => Some((far.distance(x), frame, HIGH)),
            _ => None,
        })
        .collect();
    outside.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let residuals: Vec<f64> = outside.iter().map(|(residual, ..)| *residual).collect();
    let back = count_back(&residuals, outside.len().saturating_sub(most));
    for (_, frame, _) in &outside[..back] {
        if let Some(samples) = &mut report.samples {
            samples[*frame].0[l] |= flag;
        }
    }
    for (_, frame, side) in &outside[back..] {
        report.reject(*frame, l, *side);
        let counts = if *side == LOW { &mut report.n_low } else { &mut report.n_high };
        counts.0[l] += 1;
        v[*frame].0[l] = T::NAN;
    }
    (outside.len() - back) as u32
}

/// Ranks from the median to the percentile sample, from the number of frames (IRAF).
fn rank_offset(frac: f64, frames: usize) -> isize {
    let half = (frames / 2).max(1) as f64;
    let offset = if frac.abs() < 1.0 { half * frac } else { frac }.trunc();
    if frac < 0.0 {
        offset.clamp(-half, -1.0) as isize
    } else {
        offset.clamp(1.0, half) as isize
    }
}
