//! Sigma clipping: reject what lies outside center - low * spread .. center + high * spread.
//!
//! The first pass runs over all lanes of the block. Few pixels need another one, so these are
//! moved together into fewer vectors for the passes that follow.

use crate::estimate::Kit;
use crate::plan::{NanRule, Revert, SigmaClip};
use crate::reject::{output_flags, sample_flags, Report};
use crate::sample::{Row, Work, LANES};

/// What one pass found, lane by lane.
struct Pass<T> {
    center: Row<f64>,
    spread: Row<f64>,
    low: Row<T>,
    high: Row<T>,
    below: Row<u32>,
    above: Row<u32>,
}

/// Clips the block `v`; `dense` is room for the columns that need more than one pass.
pub(crate) fn sigma_clip<T: Work>(
    kit: &mut Kit<T>,
    step: &SigmaClip,
    v: &mut [Row<T>],
    w: usize,
    absent: &mut bool,
    dense: &mut Vec<Row<T>>,
    report: &mut Report,
) {
    let mut n = kit.count(v, w, *absent);
    let at_start = n;
    // Lane of `v` behind every lane in work; lanes that a NaN spoils take no part.
    let mut origin: Vec<u8> = (0..w as u8).collect();
    if *absent && step.nan_rule != NanRule::Ignore {
        origin.retain(|l| n.0[usize::from(*l)] as usize == v.len());
        if step.nan_rule == NanRule::RejectAll {
            let frames = v.len();
            for l in (0..w).filter(|l| (n.0[*l] as usize) < frames) {
                v.iter_mut().for_each(|row| row.0[l] = T::NAN);
                report.n_high.0[l] += n.0[l];
            }
        }
    }
    if step.maxiters == Some(0) {
        for l in &origin {
            report.flags.0[usize::from(*l)] |= output_flags::MAXITERS;
        }
    }
    let mut is_dense = origin.len() < w;
    if is_dense {
        gather(v, dense, &origin);
        compact(&mut n, &origin);
    }
    let mut pass_number = 0;
    while !origin.is_empty() && step.maxiters.is_none_or(|most| pass_number < most) {
        pass_number += 1;
        let last = step.maxiters == Some(pass_number);
        let width = origin.len();
        let current: &mut [Row<T>] = if is_dense { dense } else { v };
        let mut pass = evaluate(kit, step, current, width, &n, *absent);
        let mut again = Vec::new();
        let mut rejected = false;
        for (j, lane) in origin.iter().map(|l| usize::from(*l)).enumerate() {
            let here = n.0[j] as usize;
            report.flags.0[lane] &= !output_flags::MAXITERS;
            if last {
                report.flags.0[lane] |= output_flags::MAXITERS;
            }
            if here == 0 || !pass.center.0[j].is_finite() || !pass.spread.0[j].is_finite() {
                pass.keep_all(j);
                continue;
            }
            report.std.0[lane] = pass.spread.0[j];
            let gone = (pass.below.0[j] + pass.above.0[j]) as usize;
            let before = at_start.0[lane] as usize - here;
            let limits = step.revert != Revert::Ignore;
            let nkeep = limits && here - gone < step.nkeep;
            let maxrej = limits && step.maxrej.is_some_and(|most| before + gone > most);
            if nkeep || maxrej {
                report.flags.0[lane] &= !output_flags::MAXITERS;
                report.flags.0[lane] |= if nkeep { output_flags::NKEEP } else { 0 }
                    | if maxrej { output_flags::MAXREJ } else { 0 };
                let allowed = if step.revert == Revert::Undo {
                    0
                } else {
                    let most = step.maxrej.map_or(usize::MAX, |most| most.saturating_sub(before));
                    here.saturating_sub(step.nkeep).min(most).min(gone)
                };
                let flag = if nkeep { sample_flags::RESTORED_NKEEP } else { 0 }
                    | if maxrej { sample_flags::RESTORED_MAXREJ } else { 0 };
                let (low, high) = put_back(current, &pass, j, gone - allowed, |frame| {
                    if let Some(samples) = &mut report.samples {
                        samples[frame].0[lane] |= flag;
                    }
                });
                if low + high > 0 {
                    report.nit.0[lane] = report.nit.0[lane].saturating_add(1);
                    rejected = true;
                }
                report.n_low.0[lane] += low;
                report.n_high.0[lane] += high;
                pass.keep_all(j);
                continue;
            }
            if gone == 0 {
                report.flags.0[lane] &= !output_flags::MAXITERS;
                continue;
            }
            rejected = true;
            n.0[j] -= gone as u32;
            report.n_low.0[lane] += pass.below.0[j];
            report.n_high.0[lane] += pass.above.0[j];
            report.nit.0[lane] = report.nit.0[lane].saturating_add(1);
            if !last {
                again.push(j as u8);
            }
        }
        if rejected {
            kit.ops.drop_outside(current, round_up(width), &pass.low, &pass.high);
            *absent = true;
        }
        if is_dense {
            scatter(dense, v, &origin);
        }
        origin = again.iter().map(|j| origin[usize::from(*j)]).collect();
        gather(v, dense, &origin);
        compact(&mut n, &again);
        is_dense = true;
    }
    if step.nan_rule == NanRule::RejectAll {
        *absent |= at_start.0[..w].iter().any(|n| (*n as usize) < v.len());
    }
}

impl<T: Work> Pass<T> {
    /// Makes the bounds of a lane reject nothing.
    fn keep_all(&mut self, lane: usize) {
        self.low.0[lane] = T::NEG_INFINITY;
        self.high.0[lane] = T::INFINITY;
    }
}

/// Center, spread and bounds of the samples left, and how many of them are outside.
fn evaluate<T: Work>(
    kit: &mut Kit<T>,
    step: &SigmaClip,
    v: &[Row<T>],
    width: usize,
    n: &Row<u32>,
    absent: bool,
) -> Pass<T> {
    let w = round_up(width);
    let center = kit.center(step.center, v, w, n, absent);
    let about = match step.spread_center {
        Some(other) if other != step.center => kit.center(other, v, w, n, absent),
        _ => center,
    };
    let spread = kit.spread(step.spread, &about, v, w, n, absent);
    let (mut low, mut high) = (Row::filled(T::NEG_INFINITY), Row::filled(T::INFINITY));
    for l in 0..w {
        // An infinite limit keeps everything on its side, also where the spread is zero.
        let (a, b) = (center.0[l] - step.low * spread.0[l], center.0[l] + step.high * spread.0[l]);
        if !a.is_nan() {
            low.0[l] = T::up(a);
        }
        if !b.is_nan() {
            high.0[l] = T::down(b);
        }
    }
    let (mut below, mut above) = (Row::filled(0), Row::filled(0));
    kit.ops.count_outside(v, w, &low, &high, &mut below, &mut above);
    Pass { center, spread, low, high, below, above }
}

/// Rejects the samples of lane `j` outside the bounds except the `restore` nearest to the center
/// (ties: the first frames). Returns how many went below and above.
fn put_back<T: Work>(
    v: &mut [Row<T>],
    pass: &Pass<T>,
    j: usize,
    restore: usize,
    mut restored: impl FnMut(usize),
) -> (u32, u32) {
    let mut outside: Vec<(f64, usize)> = v
        .iter()
        .enumerate()
        .filter(|(_, row)| row.0[j] < pass.low.0[j] || row.0[j] > pass.high.0[j])
        .map(|(k, row)| ((row.0[j].f64() - pass.center.0[j]).abs(), k))
        .collect();
    outside.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let (mut low, mut high) = (0, 0);
    for (rank, (_, frame)) in outside.into_iter().enumerate() {
        if rank < restore {
            restored(frame);
            continue;
        }
        *(if v[frame].0[j] < pass.low.0[j] { &mut low } else { &mut high }) += 1;
        v[frame].0[j] = T::NAN;
    }
    (low, high)
}

/// Lanes in whole vectors.
fn round_up(width: usize) -> usize {
    (width + 15) & !15
}

/// Copies columns `origin` of `v` into the first lanes of `dense`, and zeros beside them.
fn gather<T: Work>(v: &[Row<T>], dense: &mut Vec<Row<T>>, origin: &[u8]) {
    dense.resize(v.len(), Row::filled(T::NAN));
    for (to, from) in dense.iter_mut().zip(v) {
        for (j, l) in origin.iter().enumerate() {
            to.0[j] = from.0[usize::from(*l)];
        }
        for lane in &mut to.0[origin.len()..round_up(origin.len()).min(LANES)] {
            *lane = T::NAN;
        }
    }
}

/// Copies the first lanes of `dense` back to their columns.
fn scatter<T: Work>(dense: &[Row<T>], v: &mut [Row<T>], origin: &[u8]) {
    for (from, to) in dense.iter().zip(v) {
        for (j, l) in origin.iter().enumerate() {
            to.0[usize::from(*l)] = from.0[j];
        }
    }
}

/// Moves the lanes `kept` to the front.
fn compact(n: &mut Row<u32>, kept: &[u8]) {
    for (j, l) in kept.iter().enumerate() {
        n.0[j] = n.0[usize::from(*l)];
    }
    for lane in &mut n.0[kept.len()..] {
        *lane = 0;
    }
}
