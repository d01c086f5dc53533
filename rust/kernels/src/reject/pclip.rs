//! Clipping by a percentile sample: its distance from the median is the unit of the limits.

use crate::estimate::Kit;
use crate::order::middle;
use crate::plan::PClip;
use crate::reject::extrema::drop_ranks;
use crate::reject::{count_back, output_flags, sample_flags, Report, HIGH, LOW};
use crate::rows::half_sum;
use crate::sample::{Row, Work, LANES};

/// Fewer samples than this have no percentile to speak of (IRAF).
const FEWEST: usize = 3;

/// One pass over the block. A sample exactly on a limit is rejected.
pub(crate) fn pclip<T: Work>(
    kit: &mut Kit<T>,
    step: &PClip,
    v: &mut [Row<T>],
    w: usize,
    absent: &mut bool,
    report: &mut Report,
) {
    let n = kit.count(v, w, *absent);
    let offset = rank_offset(step.frac, v.len());
    kit.sorted(v, w);
    let (mut low, mut high) = ([0_usize; LANES], [0_usize; LANES]);
    let (mut medians, mut units) = (Row::filled(f64::NAN), Row::filled(f64::NAN));
    let place = |here: usize| {
        let even_below = offset < 0 && here.is_multiple_of(2);
        let rank = (here / 2 + usize::from(!even_below)) as isize + offset;
        rank.clamp(1, here as isize) as usize - 1
    };
    let frames = v.len();
    if !*absent && frames >= FEWEST && frames > step.nkeep {
        // All lanes alike: whole rows.
        let (i, j) = middle(frames);
        let (low, high) = (&kit.rows[i], &kit.rows[j]);
        kit.ops.median(low, high, &n, frames % 2 == 1, false, &mut medians);
        let far = &kit.rows[place(frames)];
        for l in 0..w {
            units.0[l] = (far.0[l].f64() - medians.0[l]).abs();
        }
    } else {
        for l in 0..w {
            let here = n.0[l] as usize;
            if here < FEWEST || here <= step.nkeep {
                continue;
            }
            let at = |k: usize| kit.rows[k].0[l].f64();
            let odd = here % 2 == 1;
            let median = if odd { at(here / 2) } else { half_sum(at(here / 2 - 1), at(here / 2)) };
            (medians.0[l], units.0[l]) = (median, (at(place(here)) - median).abs());
        }
    }
    for l in 0..w {
        medians.0[l] = if units.0[l] == 0.0 { f64::NAN } else { medians.0[l] };
    }
    let (mut below, mut above, mut near) =
        (Row::filled(0_u32), Row::filled(0_u32), Row::filled(0_u8));
    let limits = (step.low, step.high);
    kit.ops.count_far(
        &kit.rows[..v.len()],
        w,
        &medians,
        &units,
        limits,
        &mut below,
        &mut above,
        &mut near,
    );
    for l in (0..w).filter(|l| !medians.0[*l].is_nan()) {
        let here = n.0[l] as usize;
        let far = |x: &f64| (x - medians.0[l]) / units.0[l];
        if near.0[l] == 0 {
            (low[l], high[l]) = (below.0[l] as usize, above.0[l] as usize);
        } else {
            let at = |k: usize| kit.rows[k].0[l].f64();
            low[l] = (0..here).take_while(|k| -far(&at(*k)) >= step.low).count();
            high[l] = (low[l]..here).rev().take_while(|k| far(&at(*k)) >= step.high).count();
        }
        let gone = low[l] + high[l];
        let too_few = here - gone < step.nkeep;
        let too_many = step.maxrej.is_some_and(|most| gone > most);
        if too_few || too_many {
            report.flags.0[l] |= if too_few { output_flags::NKEEP } else { 0 }
                | if too_many { output_flags::MAXREJ } else { 0 };
            let flag = if too_few { sample_flags::RESTORED_NKEEP } else { 0 }
                | if too_many { sample_flags::RESTORED_MAXREJ } else { 0 };
            let most = step.maxrej.unwrap_or(usize::MAX).min(here - step.nkeep);
            let mut outside: Vec<(f64, usize, u8)> = Vec::with_capacity(gone);
            for (frame, row) in v.iter().enumerate() {
                let x = row.0[l].f64();
                if -far(&x) >= step.low {
                    outside.push((-far(&x), frame, LOW));
                } else if far(&x) >= step.high {
                    outside.push((far(&x), frame, HIGH));
                }
            }
            outside.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let residuals: Vec<f64> = outside.iter().map(|(residual, ..)| *residual).collect();
            let back = count_back(&residuals, gone.saturating_sub(most));
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
                *absent = true;
            }
            // This lane is done.
            (low[l], high[l]) = (0, 0);
        }
    }
    drop_ranks(kit, v, w, &n, &low, &high, absent, report);
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
