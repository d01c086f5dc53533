//! Iterative clipping: reject what lies outside center - low * sigma .. center + high * sigma, where
//! sigma is the scatter of the column, a noise model, or nothing at all (fixed limits).
//!
//! The first pass runs over all lanes of the block. Few pixels need another one, so these are
//! moved together into fewer vectors for the passes that follow.

use crate::estimate::Kit;
use crate::plan::{Center, Clip, Level, NanRule, Noise, Revert, Rule};
use crate::reject::lanes::{
    compact, gather, marked_lanes, retire, round_up, scatter, Lanes, LANE_NUMBERS,
};
use crate::reject::{count_back, output_flags, sample_flags, Report, HIGH, LOW};
use crate::sample::{Row, Work, LANES};

/// What one pass found, lane by lane.
pub(super) struct Pass<T> {
    pub center: Row<f64>,
    /// Sigma, of a frame like the first where frames differ; NaN where nothing can be judged.
    pub spread: Row<f64>,
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

/// Clips the block `v`; `dense` is room for the columns that something happens to, and `pooled` the
/// scatter of the image row of every lane, if the rule asks for it.
pub(crate) fn clip<T: Work>(
    kit: &mut Kit<T>,
    step: &Clip,
    v: &mut [Row<T>],
    w: usize,
    absent: &mut bool,
    dense: &mut Vec<Row<T>>,
    report: &mut Report,
    pooled: Option<Row<f64>>,
    want_center: bool,
) -> Settled {
    let n = kit.count(v, w, *absent);
    let pooled = pooled.unwrap_or(Row(NO_NUMBER));
    let mut lanes = Lanes { origin: LANE_NUMBERS, width: w, n, pooled };
    let mut clipping = Clipping {
        step,
        at_start: n,
        settled: n,
        centers: Row(NO_NUMBER),
        stale: Vec::new(),
        report,
        number: 0,
    };
    clipping.report.std = Row(NO_NUMBER);
    if clipping.is_linear() {
        clipping.report.limits = Some(Box::new((Row(NO_NUMBER), Row(NO_NUMBER))));
    }
    let spoiled = *absent && clipping.set_spoiled_aside(v, &mut lanes);
    let sorted = clipping.settle(kit, v, &mut lanes, w, absent, dense);
    let mut is_dense = lanes.width < w;
    if is_dense {
        gather(v, dense, lanes.columns());
    }
    if step.maxiters == Some(0) {
        for l in lanes.columns() {
            clipping.report.flags.0[usize::from(*l)] |= output_flags::MAXITERS;
        }
    }
    while lanes.width > 0 && step.maxiters.is_none_or(|most| clipping.number < most) {
        clipping.number += 1;
        let current: &[Row<T>] = if is_dense { dense } else { v };
        let mut pass = clipping.evaluate(kit, current, &lanes, *absent);
        let marks = clipping.attention(kit, current, &lanes, &pass);
        clipping.note_calm(&lanes, &pass, &marks);
        let marked = marked_lanes(&marks, lanes.width);
        if marked.is_empty() {
            break;
        }
        // From here on only the lanes where something happens, moved together unless they are
        // most of those at hand.
        if 4 * marked.len() < 3 * lanes.width {
            if is_dense {
                retire(dense, v, lanes.columns(), &marked);
                compact(dense, &marked);
            }
            lanes.keep(&marked);
            pass.keep(&marked);
            if !is_dense {
                gather(v, dense, lanes.columns());
                is_dense = true;
            }
        }
        let current = if is_dense { &mut dense[..] } else { &mut *v };
        pass.count(kit, current, lanes.width);
        let mut again = Row::filled(0);
        for j in 0..lanes.width {
            again.0[j] = u8::from(clipping.judge(current, &mut lanes, &mut pass, j));
        }
        pass.note_sides(kit, current, &lanes, clipping.report);
        pass.drop_outside(kit, current, lanes.width);
        *absent = true;
        let again = marked_lanes(&again, lanes.width);
        if is_dense {
            retire(dense, v, lanes.columns(), &again);
            compact(dense, &again);
            lanes.keep(&again);
        } else if again.len() < lanes.width {
            lanes.keep(&again);
            gather(v, dense, lanes.columns());
            is_dense = true;
        }
    }
    if is_dense {
        scatter(dense, v, lanes.columns());
    }
    if spoiled && step.nan_rule == NanRule::RejectAll {
        *absent = true;
    }
    let n = clipping.settled;
    // Sorting tells medians, but no sums in frame order.
    let median = matches!(step.center, Center::Median | Center::LowerMedian);
    let known = want_center && !spoiled && if sorted { median } else { clipping.number > 0 };
    Settled { n, center: known.then(|| clipping.centers_left(kit, v, dense)) }
}

/// The state of one clipping, by columns of the block.
pub(super) struct Clipping<'a> {
    pub step: &'a Clip,
    pub at_start: Row<u32>,
    /// Samples left.
    pub settled: Row<u32>,
    /// Center of the last pass.
    pub centers: Row<f64>,
    /// Columns whose last pass rejected something: their center is not known.
    stale: Vec<u16>,
    pub report: &'a mut Report,
    /// Passes so far.
    number: usize,
}

impl Clipping<'_> {
    pub fn is_linear(&self) -> bool {
        matches!(self.step.rule, Rule::Linear { .. })
    }

    fn is_last(&self) -> bool {
        self.step.maxiters == Some(self.number)
    }

    /// Reports the limits of a linear pass that was accepted.
    pub fn note_limits(&mut self, center: f64, l: usize) {
        let Rule::Linear { low_scale, upp_scale } = self.step.rule else { return };
        if let Some(limits) = &mut self.report.limits {
            limits.0 .0[l] = low_scale * center - self.step.low;
            limits.1 .0[l] = upp_scale * center + self.step.high;
        }
    }

    /// The flag of a lane that is not done when no more passes are permitted. A single linear pass
    /// is how that rule is meant.
    fn out_of_passes(&self) -> u8 {
        let single = self.is_linear() && self.number == 1;
        if self.is_last() && !single {
            output_flags::MAXITERS
        } else {
            0
        }
    }

    /// Takes the lanes that a NaN spoils out of the work; returns whether there are any.
    fn set_spoiled_aside<T: Work>(&mut self, v: &mut [Row<T>], lanes: &mut Lanes) -> bool {
        let spoiled = |report: &Report, l: usize| report.spoiled.0[l] != 0;
        let any = (0..lanes.width).any(|l| spoiled(self.report, l));
        if self.step.nan_rule == NanRule::Ignore || !any {
            return false;
        }
        let mut kept = Vec::new();
        for l in 0..lanes.width {
            if !spoiled(self.report, l) {
                kept.push(l as u16);
            } else if self.step.nan_rule == NanRule::RejectAll {
                for (frame, row) in v.iter_mut().enumerate() {
                    if !row.0[l].f64().is_nan() {
                        self.report.reject(frame, l, HIGH);
                    }
                    row.0[l] = T::NAN;
                }
                self.report.n_high.0[l] += self.at_start.0[l];
                self.settled.0[l] = 0;
            }
        }
        lanes.keep(&kept);
        true
    }

    /// Marks the lanes that need a closer look: something is outside, too few samples are there to
    /// begin with, or the center or sigma is undefined.
    fn attention<T: Work>(
        &self,
        kit: &Kit<T>,
        v: &[Row<T>],
        lanes: &Lanes,
        pass: &Pass<T>,
    ) -> Row<u8> {
        let w = round_up(lanes.width);
        let mut marks = Row([0; LANES]);
        match &pass.bounds {
            Bounds::Common(low, high) => kit.ops.any_outside(v, w, low, high, &mut marks),
            Bounds::PerFrame(frames) => {
                for (row, (low, high)) in v.chunks_exact(1).zip(frames) {
                    kit.ops.any_outside(row, w, low, high, &mut marks);
                }
            }
        }
        let limits = self.step.revert != Revert::Ignore;
        let nkeep = if limits { u32::try_from(self.step.nkeep).unwrap_or(u32::MAX) } else { 0 };
        kit.ops.attention(&lanes.n, nkeep, &pass.center, &pass.spread, &mut marks);
        marks
    }

    /// Reports the lanes where nothing happens: they are done.
    fn note_calm<T: Work>(&mut self, lanes: &Lanes, pass: &Pass<T>, marks: &Row<u8>) {
        for j in 0..lanes.width {
            let l = lanes.column(j);
            self.centers.0[l] = pass.center.0[j];
            let calm = marks.0[j] == 0;
            self.report.std.0[l] = if calm { pass.spread.0[j] } else { self.report.std.0[l] };
        }
        if self.is_linear() {
            for j in (0..lanes.width).filter(|j| pass.center.0[*j].is_finite()) {
                let l = lanes.column(j);
                let before = if self.number == 1 { 0 } else { self.report.nit.0[l] };
                self.report.nit.0[l] = before.saturating_add(1);
                if marks.0[j] == 0 {
                    self.note_limits(pass.center.0[j], l);
                }
            }
        }
    }

    /// Decides what becomes of the samples of lane `j` that are outside; returns whether the lane
    /// goes through another pass.
    fn judge<T: Work>(
        &mut self,
        v: &mut [Row<T>],
        lanes: &mut Lanes,
        pass: &mut Pass<T>,
        j: usize,
    ) -> bool {
        let (l, here) = (lanes.column(j), lanes.n.0[j] as usize);
        if !pass.center.0[j].is_finite() || !pass.spread.0[j].is_finite() {
            self.report.flags.0[l] |= self.out_of_passes();
            pass.keep_all(j);
            return false;
        }
        self.report.std.0[l] = pass.spread.0[j];
        let gone = (pass.below.0[j] + pass.above.0[j]) as usize;
        let before = self.at_start.0[l] as usize - here;
        let too_few = self.step.revert != Revert::Ignore && here - gone < self.step.nkeep;
        let too_many = self.step.maxrej.is_some_and(|most| before + gone > most);
        if too_few || too_many {
            self.put_back(v, pass, (j, l), (here, before), (too_few, too_many));
            return false;
        }
        if gone == 0 {
            return false;
        }
        if self.is_linear() {
            self.note_limits(pass.center.0[j], l);
        } else {
            self.report.nit.0[l] = self.report.nit.0[l].saturating_add(1);
        }
        lanes.n.0[j] -= gone as u32;
        self.settled.0[l] = lanes.n.0[j];
        self.report.n_low.0[l] += pass.below.0[j];
        self.report.n_high.0[l] += pass.above.0[j];
        if self.is_last() {
            self.report.flags.0[l] |= self.out_of_passes();
            self.stale.push(l as u16);
        }
        !self.is_last()
    }

    /// The last pass of a lane that would leave too few samples: undone, wholly or as far as needed.
    fn put_back<T: Work>(
        &mut self,
        v: &mut [Row<T>],
        pass: &mut Pass<T>,
        (j, l): (usize, usize),
        (here, before): (usize, usize),
        (too_few, too_many): (bool, bool),
    ) {
        self.report.flags.0[l] |= if too_few { output_flags::NKEEP } else { 0 }
            | if too_many { output_flags::MAXREJ } else { 0 };
        let flag = if too_few { sample_flags::RESTORED_NKEEP } else { 0 }
            | if too_many { sample_flags::RESTORED_MAXREJ } else { 0 };
        let mut outside: Vec<(f64, usize, u8)> = v
            .iter()
            .enumerate()
            .filter_map(|(k, row)| {
                let side = pass.bounds.side(k, j, row.0[j])?;
                Some((pass.residual(k, j, row.0[j]), k, side))
            })
            .collect();
        outside.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let most = self.step.maxrej.map_or(usize::MAX, |most| most.saturating_sub(before));
        let allowed = here.saturating_sub(self.step.nkeep).min(most).min(outside.len());
        let back = if self.step.revert == Revert::Closest {
            let residuals: Vec<f64> = outside.iter().map(|(residual, ..)| *residual).collect();
            count_back(&residuals, outside.len() - allowed)
        } else {
            outside.len()
        };
        for (_, frame, _) in &outside[..back] {
            if let Some(samples) = &mut self.report.samples {
                samples[*frame].0[l] |= flag;
            }
        }
        for (_, frame, side) in &outside[back..] {
            self.report.reject(*frame, l, *side);
            let count = if *side == LOW { &mut self.report.n_low } else { &mut self.report.n_high };
            count.0[l] += 1;
            v[*frame].0[j] = T::NAN;
        }
        if back < outside.len() {
            self.settled.0[l] -= (outside.len() - back) as u32;
            self.stale.push(l as u16);
            if !self.is_linear() {
                self.report.nit.0[l] = self.report.nit.0[l].saturating_add(1);
            }
        }
        pass.keep_all(j);
    }

    /// Center of the samples left in every column.
    fn centers_left<T: Work>(
        mut self,
        kit: &mut Kit<T>,
        v: &[Row<T>],
        dense: &mut Vec<Row<T>>,
    ) -> Row<f64> {
        if !self.stale.is_empty() {
            gather(v, dense, &self.stale);
            let mut n = Row([0; LANES]);
            for (j, l) in self.stale.iter().enumerate() {
                n.0[j] = self.settled.0[usize::from(*l)];
            }
            let w = round_up(self.stale.len());
            let fresh = kit.center(self.step.center, dense, w, &n, true);
            for (j, l) in self.stale.iter().enumerate() {
                self.centers.0[usize::from(*l)] = fresh.0[j];
            }
        }
        self.centers
    }

    /// Center, sigma and bounds of the samples left.
    pub fn evaluate<T: Work>(
        &self,
        kit: &mut Kit<T>,
        v: &[Row<T>],
        lanes: &Lanes,
        absent: bool,
    ) -> Pass<T> {
        let (step, first) = (self.step, self.number == 1);
        let (w, n, pooled) = (round_up(lanes.width), &lanes.n, &lanes.pooled);
        let now = |kind: Center| match kind {
            Center::Trimmed if !first => Center::Mean,
            kind => kind,
        };
        let kind = now(step.center);
        let center = kit.center(kind, v, w, n, absent);
        let (spread, mut sigmas) = match &step.rule {
            Rule::Scatter { about, spread, levels } => {
                let kind = about.map_or(kind, now);
                let about =
                    if about.is_some() { kit.center(kind, v, w, n, absent) } else { center };
                match levels {
                    None => (kit.spread(*spread, &about, v, w, n, absent), Vec::new()),
                    Some(levels) => {
                        let roots: Vec<_> =
                            levels.iter().map(|level| roots(level, &about)).collect();
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
                let levels = levels.as_deref().unwrap_or_default();
                let sigma = |level: &Level| product(&roots(level, &center), pooled);
                (sigma(&Level::SAME), levels.iter().map(sigma).collect())
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
        let limits = |(low_center, high_center): (&Row<f64>, &Row<f64>), sigma| {
            let (mut low, mut high) = (Row([T::NAN; LANES]), Row([T::NAN; LANES]));
            let mut other = low;
            kit.ops.bounds(low_center, sigma, step.low, step.high, &mut low, &mut high);
            if !std::ptr::eq(low_center, high_center) {
                kit.ops.bounds(high_center, sigma, step.low, step.high, &mut other, &mut high);
            }
            (low, high)
        };
        let bounds = if let Rule::Linear { low_scale, upp_scale } = step.rule {
            let (down, up) =
                (Row(center.0.map(|c| low_scale * c)), Row(center.0.map(|c| upp_scale * c)));
            let (low, high) = limits((&down, &up), &judged);
            Bounds::Common(low, high)
        } else if sigmas.is_empty() {
            let (low, high) = limits((&center, &center), &judged);
            Bounds::Common(low, high)
        } else {
            let frame = |k: usize| limits((&center, &center), &sigmas[k.min(sigmas.len() - 1)]);
            Bounds::PerFrame((0..v.len()).map(frame).collect())
        };
        let none = Row([0; LANES]);
        Pass { center, spread, sigmas, bounds, below: none, above: none }
    }
}

/// A row where nothing is known yet.
const NO_NUMBER: [f64; LANES] = [f64::NAN; LANES];

impl<T: Work> Pass<T> {
    /// Distance of a sample from the center in units of sigma, or as it is if sigma is 0.
    fn residual(&self, frame: usize, lane: usize, x: T) -> f64 {
        let own = self.sigmas.len().checked_sub(1).map(|last| &self.sigmas[frame.min(last)]);
        let sigma = own.unwrap_or(&self.spread).0[lane];
        (x.f64() - self.center.0[lane]).abs() / if sigma == 0.0 { 1.0 } else { sigma }
    }

    /// Keeps only the lanes `kept`, in order.
    fn keep(&mut self, kept: &[u16]) {
        for (to, from) in kept.iter().map(|j| usize::from(*j)).enumerate() {
            self.center.0[to] = self.center.0[from];
            self.spread.0[to] = self.spread.0[from];
            for sigma in &mut self.sigmas {
                sigma.0[to] = sigma.0[from];
            }
            self.bounds.each(|row| row.0[to] = row.0[from]);
        }
        let beside = kept.len()..round_up(kept.len()).min(LANES);
        self.bounds.each(|row| row.0[beside.clone()].fill(T::NAN));
    }

    /// Counts the samples outside the bounds.
    fn count(&mut self, kit: &Kit<T>, v: &[Row<T>], width: usize) {
        let (w, below, above) = (round_up(width), &mut self.below, &mut self.above);
        match &self.bounds {
            Bounds::Common(low, high) => kit.ops.count_outside(v, w, low, high, below, above),
            Bounds::PerFrame(frames) => {
                for (row, (low, high)) in v.chunks_exact(1).zip(frames) {
                    kit.ops.count_outside(row, w, low, high, below, above);
                }
            }
        }
    }

    /// Notes the sides of the samples outside the bounds.
    fn note_sides(&self, kit: &Kit<T>, v: &[Row<T>], lanes: &Lanes, report: &mut Report) {
        let (w, Some(sides)) = (round_up(lanes.width), &mut report.sides) else { return };
        let mut found = [Row::filled(0)];
        for (k, (row, sides)) in v.chunks_exact(1).zip(sides).enumerate() {
            let (low, high) = self.bounds.of(k);
            found[0].0.fill(0);
            kit.ops.mark_sides(row, w, low, high, &mut found);
            for (side, l) in found[0].0.iter().zip(lanes.columns()) {
                sides.0[usize::from(*l)] |= side;
            }
        }
    }

    /// Drops the samples outside the bounds.
    fn drop_outside(&self, kit: &Kit<T>, v: &mut [Row<T>], width: usize) {
        let w = round_up(width);
        match &self.bounds {
            Bounds::Common(low, high) => {
                kit.ops.drop_outside(v, w, low, high);
            }
            Bounds::PerFrame(frames) => {
                for (row, (low, high)) in v.chunks_exact_mut(1).zip(frames) {
                    kit.ops.drop_outside(row, w, low, high);
                }
            }
        }
    }

    /// Makes the bounds of a lane reject nothing.
    fn keep_all(&mut self, lane: usize) {
        match &mut self.bounds {
            Bounds::Common(low, high) => open(low, high, lane),
            Bounds::PerFrame(frames) => {
                frames.iter_mut().for_each(|(low, high)| open(low, high, lane));
            }
        }
    }
}

/// Bounds without end.
fn open<T: Work>(low: &mut Row<T>, high: &mut Row<T>, lane: usize) {
    low.0[lane] = T::NEG_INFINITY;
    high.0[lane] = T::INFINITY;
}

impl<T: Work> Bounds<T> {
    /// Does the same to every row of bounds.
    fn each(&mut self, mut change: impl FnMut(&mut Row<T>)) {
        match self {
            Self::Common(low, high) => {
                change(low);
                change(high);
            }
            Self::PerFrame(frames) => {
                for (low, high) in frames {
                    change(low);
                    change(high);
                }
            }
        }
    }

    /// The limits of one frame.
    fn of(&self, frame: usize) -> (&Row<T>, &Row<T>) {
        match self {
            Self::Common(low, high) => (low, high),
            Self::PerFrame(frames) => (&frames[frame].0, &frames[frame].1),
        }
    }

    /// The side at which a sample is outside.
    fn side(&self, frame: usize, lane: usize, x: T) -> Option<u8> {
        let (low, high) = self.of(frame);
        let (low, high) = (low.0[lane], high.0[lane]);
        if x < low {
            Some(LOW)
        } else {
            (x > high).then_some(HIGH)
        }
    }
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
