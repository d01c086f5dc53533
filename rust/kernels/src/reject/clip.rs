//! Iterative clipping: reject what lies outside center - low * sigma .. center + high * sigma, where
//! sigma is the scatter of the column, a noise model, or nothing at all (fixed limits).
//!
//! The first pass runs over all lanes of the block. Few pixels need another one, so these are
//! moved together into fewer vectors for the passes that follow.

use crate::estimate::Kit;
use crate::plan::{Center, Clip, Level, NanRule, Noise, Revert, Rule};
use crate::reject::{count_back, output_flags, sample_flags, Report, HIGH, LOW};
use crate::sample::{Row, Work, LANES};

/// What one pass found, lane by lane.
struct Pass<T> {
    center: Row<f64>,
    /// Sigma, of a frame like the first where frames differ; NaN where nothing can be judged.
    spread: Row<f64>,
    /// Sigma of every frame, where they differ.
    sigmas: Vec<Row<f64>>,
    bounds: Bounds<T>,
    below: Row<u32>,
    above: Row<u32>,
}

/// Limits of the samples to keep: for all frames, or for each.
enum Bounds<T> {
    Common(Row<T>, Row<T>),
    PerFrame(Vec<(Row<T>, Row<T>)>),
}

/// What clipping leaves, so that nobody has to compute it again.
pub(crate) struct Settled {
    /// Samples left.
    pub n: Row<u32>,
    /// Their center, if it was asked for.
    pub center: Option<Row<f64>>,
}

/// Clips the block `v`; `dense` is room for the columns that need more than one pass, and `pooled`
/// the scatter of the image row of every lane, if the rule asks for it.
pub(crate) fn clip<T: Work>(
    kit: &mut Kit<T>,
    step: &Clip,
    v: &mut [Row<T>],
    w: usize,
    absent: &mut bool,
    dense: &mut Vec<Row<T>>,
    report: &mut Report,
    pooled: &Row<f64>,
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
        let mut pooled_here = *pooled;
        if is_dense {
            for (j, l) in origin[..width].iter().enumerate() {
                pooled_here.0[j] = pooled.0[usize::from(*l)];
            }
        }
        let first = number == 1;
        let mut pass = evaluate(kit, step, current, width, &n, *absent, first, &pooled_here);
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
        let linear = matches!(step.rule, Rule::Linear { .. });
        if linear {
            for (j, lane) in was[..width].iter().enumerate() {
                let lane = usize::from(*lane);
                if n.0[j] == 0 {
                    continue;
                }
                report.nit.0[lane] = if first { 1 } else { report.nit.0[lane].saturating_add(1) };
                if marks.0[j] == 0 {
                    pass.report_limits(j, lane, report);
                }
            }
        }
        let mut again = 0;
        let mut rejected = false;
        for j in 0..width {
            if marks.0[j] == 0 {
                continue;
            }
            let lane = usize::from(was[j]);
            let here = n.0[j] as usize;
            if !pass.center.0[j].is_finite() || !pass.spread.0[j].is_finite() {
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
                let most = step.maxrej.map_or(usize::MAX, |most| most.saturating_sub(before));
                let allowed = here.saturating_sub(step.nkeep).min(most).min(gone);
                let flag = if too_few { sample_flags::RESTORED_NKEEP } else { 0 }
                    | if too_many { sample_flags::RESTORED_MAXREJ } else { 0 };
                let closest = (step.revert == Revert::Closest).then_some(gone - allowed);
                let (low, high) = put_back(current, &pass, j, closest, |frame, side| {
                    if let (Some(samples), None) = (&mut report.samples, side) {
                        samples[frame].0[lane] |= flag;
                    }
                    report.reject(frame, lane, side.unwrap_or(0));
                });
                if low + high > 0 {
                    if !linear {
                        report.nit.0[lane] = report.nit.0[lane].saturating_add(1);
                    }
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
            if report.sides.is_some() {
                for (frame, row) in current.iter().enumerate() {
                    if let Some(side) = pass.bounds.side(frame, j, row.0[j]) {
                        report.reject(frame, lane, side);
                    }
                }
            }
            rejected = true;
            if linear {
                pass.report_limits(j, lane, report);
            } else {
                report.nit.0[lane] = report.nit.0[lane].saturating_add(1);
            }
            settled.n.0[lane] -= gone as u32;
            report.n_low.0[lane] += pass.below.0[j];
            report.n_high.0[lane] += pass.above.0[j];
            if last {
                // A single linear pass is how that rule is meant.
                let single = linear && number == 1;
                report.flags.0[lane] |= if single { 0 } else { output_flags::MAXITERS };
                stale.push(lane as u8);
            } else {
                origin[again] = was[j];
                n.0[again] = settled.n.0[lane];
                again += 1;
            }
        }
        if rejected {
            match &pass.bounds {
                Bounds::Common(low, high) => {
                    kit.ops.drop_outside(current, round_up(width), low, high);
                }
                Bounds::PerFrame(frames) => {
                    for (row, (low, high)) in current.chunks_exact_mut(1).zip(frames) {
                        kit.ops.drop_outside(row, round_up(width), low, high);
                    }
                }
            }
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
    /// Distance of a sample from the center in units of sigma, or as it is if sigma is 0.
    fn residual(&self, frame: usize, lane: usize, x: T) -> f64 {
        let own = self.sigmas.len().checked_sub(1).map(|last| &self.sigmas[frame.min(last)]);
        let sigma = own.unwrap_or(&self.spread).0[lane];
        (x.f64() - self.center.0[lane]).abs() / if sigma == 0.0 { 1.0 } else { sigma }
    }

    /// Reports the limits of an accepted pass.
    fn report_limits(&self, j: usize, lane: usize, report: &mut Report) {
        if let Bounds::Common(low, high) = &self.bounds {
            report.limits.0 .0[lane] = low.0[j].f64();
            report.limits.1 .0[lane] = high.0[j].f64();
        }
    }

    /// Makes the bounds of a lane reject nothing.
    fn keep_all(&mut self, lane: usize) {
        let open = |(low, high): (&mut Row<T>, &mut Row<T>)| {
            low.0[lane] = T::NEG_INFINITY;
            high.0[lane] = T::INFINITY;
        };
        match &mut self.bounds {
            Bounds::Common(low, high) => open((low, high)),
            Bounds::PerFrame(frames) => frames.iter_mut().for_each(|(low, high)| open((low, high))),
        }
    }
}

impl<T: Work> Bounds<T> {
    /// The side at which a sample is outside.
    fn side(&self, frame: usize, lane: usize, x: T) -> Option<u8> {
        let (low, high) = match self {
            Self::Common(low, high) => (low.0[lane], high.0[lane]),
            Self::PerFrame(frames) => (frames[frame].0 .0[lane], frames[frame].1 .0[lane]),
        };
        if x < low {
            Some(LOW)
        } else {
            (x > high).then_some(HIGH)
        }
    }
}

/// Center, sigma and bounds of the samples left, and how many of them are outside.
fn evaluate<T: Work>(
    kit: &mut Kit<T>,
    step: &Clip,
    v: &[Row<T>],
    width: usize,
    n: &Row<u32>,
    absent: bool,
    first: bool,
    pooled: &Row<f64>,
) -> Pass<T> {
    let w = round_up(width);
    let now = |kind: Center| match kind {
        Center::Trimmed if !first => Center::Mean,
        kind => kind,
    };
    let kind = now(step.center);
    let center = kit.center(kind, v, w, n, absent);
    let (spread, mut sigmas) = match &step.rule {
        Rule::Scatter { about, spread, levels } => {
            let kind = about.map_or(kind, now);
            let about = if about.is_some() { kit.center(kind, v, w, n, absent) } else { center };
            match levels {
                None => (kit.spread(*spread, kind, &about, v, w, n, absent), Vec::new()),
                Some(levels) => {
                    let roots: Vec<_> = levels.iter().map(|level| roots(level, &about)).collect();
                    let spread = kit.scaled_std(*spread, &about, &roots, v, w, n);
                    (spread, roots.iter().map(|root| product(root, &spread)).collect())
                }
            }
        }
        Rule::Noise { about, frames } => {
            let about = about.map_or(center, |about| kit.center(now(about), v, w, n, absent));
            let alike = Noise { level: Level::SAME, ..frames[0] };
            let each = if frames.len() == 1 && frames[0] == alike { &[][..] } else { frames };
            (sigma(&alike, &about), each.iter().map(|noise| sigma(noise, &about)).collect())
        }
        Rule::Pooled { levels, .. } => {
            let levels = levels.as_deref().unwrap_or(&[Level::SAME]);
            let sigma = |level: &Level| product(&roots(level, &center), pooled);
            (*pooled, levels.iter().map(sigma).collect())
        }
        Rule::Linear { .. } => (Row::filled(1.0), Vec::new()),
    };
    // Lanes that are not to be judged have bounds without end.
    let mut judged = spread;
    for l in 0..w {
        let nothing = step.skip_zero && spread.0[l] == 0.0;
        if (n.0[l] as usize) < step.min_samples || nothing {
            judged.0[l] = f64::NAN;
            sigmas.iter_mut().for_each(|sigma| sigma.0[l] = f64::NAN);
        }
    }
    let (mut below, mut above) = (Row::filled(0), Row::filled(0));
    let mut limits = |v: &[Row<T>], (low_center, high_center): (&Row<f64>, &Row<f64>), sigma| {
        let (mut low, mut high) = (Row::filled(T::NAN), Row::filled(T::NAN));
        let mut other = Row::filled(T::NAN);
        kit.ops.bounds(low_center, sigma, step.low, step.high, &mut low, &mut high);
        if !std::ptr::eq(low_center, high_center) {
            kit.ops.bounds(high_center, sigma, step.low, step.high, &mut other, &mut high);
        }
        kit.ops.count_outside(v, w, &low, &high, &mut below, &mut above);
        (low, high)
    };
    let bounds = if let Rule::Linear { low_scale, upp_scale } = step.rule {
        let (down, up) =
            (Row(center.0.map(|c| low_scale * c)), Row(center.0.map(|c| upp_scale * c)));
        let (low, high) = limits(v, (&down, &up), &judged);
        Bounds::Common(low, high)
    } else if sigmas.is_empty() {
        let (low, high) = limits(v, (&center, &center), &judged);
        Bounds::Common(low, high)
    } else {
        let frame =
            |k: usize| limits(&v[k..=k], (&center, &center), &sigmas[k.min(sigmas.len() - 1)]);
        Bounds::PerFrame((0..v.len()).map(frame).collect())
    };
    Pass { center, spread, sigmas, bounds, below, above }
}

fn product(a: &Row<f64>, b: &Row<f64>) -> Row<f64> {
    let mut out = *a;
    for l in 0..LANES {
        out.0[l] *= b.0[l];
    }
    out
}

/// sqrt(max(1, (c + z) / s)): how much more a frame scatters where its level is higher.
pub(crate) fn roots(level: &Level, center: &Row<f64>) -> Row<f64> {
    Row(center.0.map(|c| ((c + level.zero) / level.scale).max(1.0).sqrt()))
}

/// The noise model at the center of every lane.
fn sigma(noise: &Noise, center: &Row<f64>) -> Row<f64> {
    Row(center.0.map(|c| noise.sigma(c)))
}

/// Rejects the samples of lane `j` outside the bounds except the `restore` nearest to the center,
/// in units of their sigma, and those as near as the last of them (ties: the first frames); all of
/// them if `restore` is `None`. Tells what became of each: its side, or `None` if it is put back.
/// Returns how many went below and above.
fn put_back<T: Work>(
    v: &mut [Row<T>],
    pass: &Pass<T>,
    j: usize,
    restore: Option<usize>,
    mut tell: impl FnMut(usize, Option<u8>),
) -> (u32, u32) {
    let mut outside: Vec<(f64, usize, u8)> = v
        .iter()
        .enumerate()
        .filter_map(|(k, row)| {
            let side = pass.bounds.side(k, j, row.0[j])?;
            Some((pass.residual(k, j, row.0[j]), k, side))
        })
        .collect();
    outside.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let residuals: Vec<f64> = outside.iter().map(|(residual, ..)| *residual).collect();
    let restore = restore.map_or(outside.len(), |least| count_back(&residuals, least));
    let (mut low, mut high) = (0, 0);
    for (rank, (_, frame, side)) in outside.into_iter().enumerate() {
        if rank < restore {
            tell(frame, None);
            continue;
        }
        *(if side == LOW { &mut low } else { &mut high }) += 1;
        tell(frame, Some(side));
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
