//! Sigma clipping: reject what lies outside center - low * spread .. center + high * spread.
//!
//! The first pass runs over all lanes of the block. Few pixels need another one, so these are
//! moved together into fewer vectors for the passes that follow.

use crate::estimate::Kit;
use crate::plan::{NanRule, Revert, SigmaClip};
use crate::reject::{output_flags, sample_flags, Report, HIGH, LOW};
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

/// What clipping leaves, so that nobody has to compute it again.
pub(crate) struct Settled {
    /// Samples left.
    pub n: Row<u32>,
    /// Their center, if it was asked for.
    pub center: Option<Row<f64>>,
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
    want_center: bool,
) -> Settled {
    let at_start = kit.count(v, w, *absent);
    let mut settled = Settled { n: at_start, center: None };
    // Lanes in work, their columns of `v` and their numbers of samples.
    let mut origin = LANE_NUMBERS;
    let mut width = w;
    let mut n = at_start;
    let mut is_dense = false;
    let spoiled = report.spoiled;
    let spoiled = |l: usize| spoiled.0[l] != 0;
    let some_spoiled = *absent && step.nan_rule != NanRule::Ignore && (0..w).any(spoiled);
    if some_spoiled {
        // Lanes that a NaN spoils take no part.
        if step.nan_rule == NanRule::RejectAll {
            for l in (0..w).filter(|l| spoiled(*l)) {
                report.reject_outside(v, l, l, T::NEG_INFINITY, T::NEG_INFINITY);
                v.iter_mut().for_each(|row| row.0[l] = T::NAN);
                report.n_high.0[l] += at_start.0[l];
                settled.n.0[l] = 0;
            }
        }
        width = 0;
        for l in (0..w).filter(|l| !spoiled(*l)) {
            origin[width] = l as u8;
            n.0[width] = at_start.0[l];
            width += 1;
        }
        gather(v, dense, &origin[..width]);
        is_dense = true;
    }
    report.std = Row::filled(f64::NAN);
    if step.maxiters == Some(0) {
        for l in &origin[..width] {
            report.flags.0[usize::from(*l)] |= output_flags::MAXITERS;
        }
    }
    let mut centers = Row::filled(f64::NAN);
    // Lanes whose last pass rejected something: their center is not known.
    let mut stale = Vec::new();
    let limits = step.revert != Revert::Ignore;
    let nkeep = if limits { u32::try_from(step.nkeep).unwrap_or(u32::MAX) } else { 0 };
    let mut number = 0;
    while width > 0 && step.maxiters.is_none_or(|most| number < most) {
        number += 1;
        let last = step.maxiters == Some(number);
        let current: &mut [Row<T>] = if is_dense { dense } else { v };
        let mut pass = evaluate(kit, step, current, width, &n, *absent);
        let mut marks = Row::filled(0);
        kit.ops.attention(
            &pass.below,
            &pass.above,
            &n,
            nkeep,
            &pass.center,
            &pass.spread,
            &mut marks,
        );
        if is_dense {
            for (j, l) in origin[..width].iter().enumerate() {
                let l = usize::from(*l);
                centers.0[l] = pass.center.0[j];
                if marks.0[j] == 0 {
                    report.std.0[l] = pass.spread.0[j];
                }
            }
        } else {
            centers = pass.center;
            for l in 0..LANES {
                let calm = marks.0[l] == 0;
                report.std.0[l] = if calm { pass.spread.0[l] } else { report.std.0[l] };
            }
        }
        let was = origin;
        let mut again = 0;
        let mut rejected = false;
        for j in 0..width {
            if marks.0[j] == 0 {
                continue;
            }
            let lane = usize::from(was[j]);
            let here = n.0[j] as usize;
            if here == 0 || !pass.center.0[j].is_finite() || !pass.spread.0[j].is_finite() {
                report.flags.0[lane] |= if last { output_flags::MAXITERS } else { 0 };
                pass.keep_all(j);
                continue;
            }
            report.std.0[lane] = pass.spread.0[j];
            let gone = (pass.below.0[j] + pass.above.0[j]) as usize;
            let before = at_start.0[lane] as usize - here;
            let too_few = limits && here - gone < step.nkeep;
            let too_many = step.maxrej.is_some_and(|most| before + gone > most);
            if too_few || too_many {
                report.flags.0[lane] |= if too_few { output_flags::NKEEP } else { 0 }
                    | if too_many { output_flags::MAXREJ } else { 0 };
                let allowed = if step.revert != Revert::Closest {
                    0
                } else {
                    let most = step.maxrej.map_or(usize::MAX, |most| most.saturating_sub(before));
                    here.saturating_sub(step.nkeep).min(most).min(gone)
                };
                let flag = if too_few { sample_flags::RESTORED_NKEEP } else { 0 }
                    | if too_many { sample_flags::RESTORED_MAXREJ } else { 0 };
                let (low, high) = put_back(current, &pass, j, gone - allowed, |frame, side| {
                    if let (Some(samples), None) = (&mut report.samples, side) {
                        samples[frame].0[lane] |= flag;
                    }
                    report.reject(frame, lane, side.unwrap_or(0));
                });
                if low + high > 0 {
                    report.nit.0[lane] = report.nit.0[lane].saturating_add(1);
                    rejected = true;
                    settled.n.0[lane] -= low + high;
                    stale.push(lane as u8);
                }
                report.n_low.0[lane] += low;
                report.n_high.0[lane] += high;
                pass.keep_all(j);
                continue;
            }
            if gone == 0 {
                continue;
            }
            report.reject_outside(current, j, lane, pass.low.0[j], pass.high.0[j]);
            rejected = true;
            settled.n.0[lane] -= gone as u32;
            report.n_low.0[lane] += pass.below.0[j];
            report.n_high.0[lane] += pass.above.0[j];
            report.nit.0[lane] = report.nit.0[lane].saturating_add(1);
            if last {
                report.flags.0[lane] |= output_flags::MAXITERS;
                stale.push(lane as u8);
            } else {
                origin[again] = was[j];
                n.0[again] = settled.n.0[lane];
                again += 1;
            }
        }
        if rejected {
            kit.ops.drop_outside(current, round_up(width), &pass.low, &pass.high);
            *absent = true;
        }
        if is_dense && rejected {
            scatter(dense, v, &was[..width]);
        }
        width = again;
        gather(v, dense, &origin[..width]);
        is_dense = true;
    }
    if step.nan_rule == NanRule::RejectAll {
        *absent |= settled.n.0[..w].contains(&0);
    }
    if want_center && number > 0 && !some_spoiled {
        if !stale.is_empty() {
            gather(v, dense, &stale);
            for (j, l) in stale.iter().enumerate() {
                n.0[j] = settled.n.0[usize::from(*l)];
            }
            let fresh = kit.center(step.center, dense, round_up(stale.len()), &n, true);
            for (j, l) in stale.iter().enumerate() {
                centers.0[usize::from(*l)] = fresh.0[j];
            }
        }
        settled.center = Some(centers);
    }
    settled
}

/// The lanes of a block.
const LANE_NUMBERS: [u8; LANES] = {
    let mut numbers = [0; LANES];
    let mut l = 0;
    while l < LANES {
        numbers[l] = l as u8;
        l += 1;
    }
    numbers
};

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
    let kind = step.spread_center.unwrap_or(step.center);
    let about = if kind == step.center { center } else { kit.center(kind, v, w, n, absent) };
    let spread = kit.spread(step.spread, kind, &about, v, w, n, absent);
    let (mut low, mut high) = (Row::filled(T::NEG_INFINITY), Row::filled(T::INFINITY));
    kit.ops.bounds(&center, &spread, step.low, step.high, &mut low, &mut high);
    let (mut below, mut above) = (Row::filled(0), Row::filled(0));
    kit.ops.count_outside(v, w, &low, &high, &mut below, &mut above);
    Pass { center, spread, low, high, below, above }
}

/// Rejects the samples of lane `j` outside the bounds except the `restore` nearest to the center
/// (ties: the first frames), and tells what became of each: its side, or `None` if it is put back.
/// Returns how many went below and above.
fn put_back<T: Work>(
    v: &mut [Row<T>],
    pass: &Pass<T>,
    j: usize,
    restore: usize,
    mut tell: impl FnMut(usize, Option<u8>),
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
            tell(frame, None);
            continue;
        }
        let is_low = v[frame].0[j] < pass.low.0[j];
        *(if is_low { &mut low } else { &mut high }) += 1;
        tell(frame, Some(if is_low { LOW } else { HIGH }));
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
