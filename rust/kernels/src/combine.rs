//! The one verb: combine planes under a plan into outputs.

use rayon::prelude::*;

use crate::direct::{self, Direct, Seen};
use crate::dispatch::{double_looks, single_looks, Looks, Ops, Simd};
use crate::error::{Error, Result};
use crate::estimate::Kit;
use crate::look::Look;
use crate::order::Comparators;
use crate::outputs::{Outputs, Product, Spots};
use crate::plan::{Center, Clip, Level, NanRule, Plan, Rule, Step};
use crate::plane::{Plane, Shape};
use crate::pool;
use crate::prefetch::prefetch;
use crate::propagate::{self, gather_flags, load_reals, Propagation};
use crate::reject::{self, output_flags, sample_flags, Report, Settled};
use crate::sample::{Row, Work, LANES};
use crate::statistic::{self, widen, Weights};

/// Below this many samples a second thread costs more than it brings.
const SAMPLES_PER_THREAD: usize = 100_000;

/// Blocks that are loaded together: rows of 256 pixels are long enough for the memory system.
const BLOCKS: usize = 2;

/// Pixels of which the masks are read together.
const MASKS: usize = 2048;

/// Most frames in a stack (counts are 16-bit).
pub const MOST_FRAMES: usize = u16::MAX as usize;

/// Combines the planes pixel by pixel. Every product is the same bit for bit whatever `threads`,
/// the instruction set and the way an image is cut into calls.
///
/// # Errors
/// [`Error`] if the plan makes no sense or a buffer has the wrong size; nothing is written then.
pub fn combine(
    planes: &[Plane],
    shape: &Shape,
    plan: &Plan,
    outputs: Outputs,
    threads: Option<usize>,
) -> Result<()> {
    plan.validate(planes.len())?;
    if planes.is_empty() || planes.len() > MOST_FRAMES {
        return Err(Error::option(
            "number of frames",
            planes.len(),
            &format!("1 to {MOST_FRAMES}"),
        ));
    }
    outputs.check(shape.pixels(), planes.len())?;
    if plan.uncertainty.is_none() && outputs.wants(Product::Uncertainty) {
        return Err(Error::option("uncertainty", "None", "a kind, as that output is asked for"));
    }
    for (k, plane) in planes.iter().enumerate() {
        plane.check(k)?;
    }
    if threads == Some(0) {
        return Err(Error::option("n_threads", 0, "at least 1"));
    }
    propagate::check(planes, plan, &outputs)?;
    let level = Simd::current()?;
    let common = direct::common(planes);
    if plan.single {
        let looks = common.and_then(|(dtype, big, _)| single_looks(level, dtype, big));
        run(Job::<f32>::new(planes, shape, plan, level, looks), outputs, threads)
    } else {
        let looks = common.and_then(|(dtype, big, _)| double_looks(level, dtype, big));
        run(Job::<f64>::new(planes, shape, plan, level, looks), outputs, threads)
    }
}

/// All that the blocks share.
struct Job<'a, T: Work> {
    planes: &'a [Plane<'a>],
    shape: &'a Shape,
    plan: &'a Plan,
    looks: Option<&'static Looks<T>>,
    common: Option<direct::Common>,
    ops: &'static Ops<T>,
    wide: &'static Ops<f64>,
    network: Comparators,
    weights: Vec<f64>,
    scaled: bool,
    masked: bool,
    weighted: bool,
    /// For what needs variances.
    propagation: Option<Propagation<'a>>,
    /// Scatter of every image row, for every step that pools; else nothing.
    pooled: Vec<Vec<f64>>,
    /// Whether a step asks which lanes have a sample that is not finite.
    spoils: bool,
}

impl<'a, T: Work> Job<'a, T> {
    fn new(
        planes: &'a [Plane<'a>],
        shape: &'a Shape,
        plan: &'a Plan,
        level: Simd,
        looks: Option<&'static Looks<T>>,
    ) -> Self {
        let scaled = planes.iter().any(|plane| !plane.is_unscaled());
        Self {
            planes,
            shape,
            plan,
            looks,
            common: direct::common(planes),
            ops: Ops::at(level),
            wide: Ops::at(level),
            network: Comparators::new(planes.len()),
            weights: planes.iter().map(|plane| plane.weight).collect(),
            scaled,
            masked: plan.ivar || planes.iter().any(|plane| plane.mask.is_some()),
            weighted: plan.ivar
                || plan.statistic.takes_weights()
                    && planes.iter().any(|plane| plane.weights.is_some()),
            propagation: None,
            pooled: Vec::new(),
            spoils: plan
                .steps
                .iter()
                .any(|step| matches!(step, Step::Clip(clip) if clip.nan_rule != NanRule::Ignore)),
        }
    }
}

impl<'a, T: Work> Job<'a, T> {
    /// Pixels from `start` to where the first plane reaches a cache line: reading whole lines of
    /// many planes is quicker.
    fn lead(&self, start: usize) -> usize {
        let view = &self.planes[0].pixels;
        let Some(first) = view.run(self.shape, start, 1) else { return 0 };
        let (beside, size) = (first.as_ptr() as usize % 64, view.dtype().size());
        if beside.is_multiple_of(size) {
            (64 - beside) % 64 / size
        } else {
            0
        }
    }

    /// The bytes of the block at `start` of every plane; returns whether they follow each other.
    fn runs(&self, start: usize, bytes: &mut Vec<&'a [u8]>) -> bool {
        bytes.clear();
        bytes.extend(
            self.planes.iter().map_while(|plane| plane.pixels.run(self.shape, start, LANES)),
        );
        bytes.len() == self.planes.len()
    }

    /// Whether any sample is masked, for `any.len()` pixels from `start` on.
    fn any_masked(&self, start: usize, any: &mut [u8]) {
        any.fill(0);
        for mask in self.planes.iter().filter_map(|plane| plane.mask.as_ref()) {
            mask.runs(self.shape, start, any.len(), |offset, bytes| {
                for (any, byte) in any[offset..].iter_mut().zip(bytes) {
                    *any |= *byte;
                }
            });
        }
    }
}

fn run<T: Work>(mut job: Job<T>, outputs: Outputs, threads: Option<usize>) -> Result<()> {
    let pixels = job.shape.pixels();
    let useful = 1 + pixels.saturating_mul(job.planes.len()) / SAMPLES_PER_THREAD;
    let threads = threads.unwrap_or_else(pool::default_threads).min(useful);
    job.propagation = Propagation::new(job.planes, job.shape, job.plan, &outputs);
    let pool = if threads > 1 { Some(pool::pool(threads)?) } else { None };
    for i in 0..job.plan.steps.len() {
        let mut lines = Vec::new();
        if let Some(line) = line_of(&job.plan.steps[i]).filter(|line| *line > 0) {
            let one = |start: usize| pool_line(&job, i, start, line);
            lines = match &pool {
                None => (0..pixels).step_by(line).map(one).collect(),
                Some(pool) => {
                    let starts: Vec<usize> = (0..pixels).step_by(line).collect();
                    pool.install(|| starts.into_par_iter().map(one).collect())
                }
            };
        }
        job.pooled.push(lines);
    }
    match pool {
        None => blocks(&job, 0, pixels, outputs),
        Some(pool) => {
            // Several pieces per thread even out their speeds.
            let grain = pixels.div_ceil(threads * 8).next_multiple_of(LANES);
            pool.install(|| halve(&job, 0, pixels, grain, outputs));
        }
    }
    Ok(())
}

/// Splits the pixels until a piece is small enough for one task.
fn halve<T: Work>(job: &Job<T>, start: usize, len: usize, grain: usize, outputs: Outputs) {
    if len <= grain {
        blocks(job, start, len, outputs);
        return;
    }
    let mid = (len / 2).next_multiple_of(LANES);
    let (left, right) = outputs.split_at(mid);
    rayon::join(
        || halve(job, start, mid, grain, left),
        || halve(job, start + mid, len - mid, grain, right),
    );
}

/// Room for one block, used again for the next.
struct Scratch<T> {
    /// Columns that need more clipping passes.
    dense: Vec<Row<T>>,
    /// What independent steps leave, and what one of them leaves.
    used: Vec<Row<T>>,
    judged: Vec<Row<T>>,
    masks: Vec<Row<u8>>,
    weights: Vec<Row<f64>>,
    outside: Vec<Row<u8>>,
}

impl<T: Work> Scratch<T> {
    fn new(job: &Job<T>, with_outside: bool) -> Self {
        let frames = job.planes.len();
        Self {
            dense: Vec::new(),
            used: Vec::new(),
            judged: Vec::new(),
            masks: if job.masked { vec![Row::filled(0); frames] } else { Vec::new() },
            weights: if job.weighted { vec![Row::filled(0.0); frames] } else { Vec::new() },
            outside: if with_outside { vec![Row::filled(0); frames] } else { Vec::new() },
        }
    }
}

fn blocks<T: Work>(job: &Job<T>, start: usize, len: usize, outputs: Outputs) {
    // Variances and flags are read block by block.
    let plain = job.propagation.is_none() && !outputs.wants(Product::Dq);
    let looks = job.looks.zip(job.common).filter(|_| plain);
    let direct = looks.and_then(|(looks, common)| {
        Direct::new(looks, common, job.planes.len(), job.plan, &outputs)
    });
    let mut worker = Worker::new(job, outputs);
    match direct {
        Some(direct) => worker.look(&direct, start, len),
        None => worker.load(start, 0, len),
    }
}

/// Which pixels a block holds.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// The first one in the planes.
    start: usize,
    /// How many.
    len: usize,
    /// Where they are in the outputs.
    spots: Spots<'a>,
}

/// One thread's tools and room for a block, used again for the next.
struct Worker<'a, 'o, T: Work> {
    job: &'a Job<'a, T>,
    outputs: Outputs<'o>,
    kit: Kit<'a, T>,
    stack: Vec<Row<T>>,
    scratch: Scratch<T>,
    report: Report,
}

impl<'a, 'o, T: Work> Worker<'a, 'o, T> {
    fn new(job: &'a Job<'a, T>, outputs: Outputs<'o>) -> Self {
        let frames = job.planes.len();
        let counts = outputs.wants(Product::NRejectedLow) || outputs.wants(Product::NRejectedHigh);
        // Where steps judge what others reject too, counting needs to know every sample's side.
        let sides = counts && job.plan.independent && (job.masked || job.plan.steps.len() > 1);
        Self {
            job,
            kit: Kit::new(job.ops, job.wide, &job.network),
            stack: vec![Row::filled(T::NAN); frames * BLOCKS],
            scratch: Scratch::new(job, outputs.wants(Product::MaskThresh)),
            report: Report::new(frames, outputs.wants(Product::SampleFlags), sides),
            outputs,
        }
    }

    /// Combines the pixels `start .. start + len`, which are those of the outputs, by looking.
    fn look(&mut self, direct: &Direct<T>, start: usize, len: usize) {
        let job = self.job;
        let mut pending = Pending::new(job.planes.len(), job.masked);
        let mut bytes = Vec::with_capacity(job.planes.len());
        // Which pixels have a mask is found for many at a time: short runs of as many masks as
        // there are frames would be slow to read.
        let (mut masked, mut masked_from) = (Vec::new(), 0);
        let mut at = 0;
        while at < len {
            let lead = job.lead(start + at).min(len - at);
            let whole = lead == 0 && len - at >= LANES && job.runs(start + at, &mut bytes);
            if job.masked && whole && at + LANES > masked_from + masked.len() {
                masked.resize(MASKS.min(len - at), 0);
                masked_from = at;
                job.any_masked(start + at, &mut masked);
            }
            let any = masked.get(at - masked_from..).unwrap_or_default();
            if !whole || !self.glance(direct, &bytes, any, &mut pending, start, at) {
                let here = if lead > 0 { lead } else { LANES.min(len - at) };
                self.load(start, at, here);
                at += here;
            } else {
                at += LANES;
            }
        }
        self.resolve(&mut pending);
    }

    /// Combines a whole block of the outputs from `at` on, but for the columns that something
    /// happens to; returns whether that was possible.
    fn glance(
        &mut self,
        direct: &Direct<T>,
        bytes: &[&[u8]],
        masked: &[u8],
        pending: &mut Pending<T>,
        start: usize,
        at: usize,
    ) -> bool {
        let Pending { look, seen, .. } = pending;
        if !direct.block(bytes, &self.kit, look, seen) {
            return false;
        }
        direct.store(seen, look, at, &mut self.outputs);
        if self.job.masked {
            self.kit.ops.mark_masked(masked, &mut seen.marks);
        }
        let marked = reject::marked_lanes(&pending.seen.marks, LANES);
        let mut rest = &marked[..];
        while !rest.is_empty() {
            let room = LANES - pending.spots.len();
            let (now, later) = rest.split_at(rest.len().min(room));
            direct.columns(bytes, now, &mut pending.columns, pending.spots.len());
            // The masks of lanes that have any; all others are 0.
            if now.iter().any(|l| masked.get(usize::from(*l)).is_some_and(|any| *any != 0)) {
                for (row, plane) in pending.masks.iter_mut().zip(self.job.planes) {
                    let Some(mask) = &plane.mask else { continue };
                    mask.runs(self.job.shape, start + at, LANES, |offset, bytes| {
                        for (to, l) in row.0[pending.spots.len()..].iter_mut().zip(now) {
                            if let Some(byte) = bytes.get(usize::from(*l).wrapping_sub(offset)) {
                                *to = *byte;
                            }
                        }
                    });
                }
            }
            pending.spots.extend(now.iter().map(|l| at + usize::from(*l)));
            if pending.spots.len() == LANES {
                self.resolve(pending);
            }
            rest = later;
        }
        true
    }

    /// Combines the pending columns.
    fn resolve(&mut self, pending: &mut Pending<T>) {
        let len = pending.spots.len();
        if len > 0 {
            for row in &mut pending.columns {
                row.0[len..].fill(T::ZERO);
            }
            std::mem::swap(&mut self.scratch.masks, &mut pending.masks);
            let odd = pending.columns.iter().any(|row| row.0.iter().any(|x| !x.is_finite()));
            let place = Place { start: 0, len, spots: Spots::Each(&pending.spots) };
            self.report.reset();
            let v = &mut pending.columns;
            let (absent, premasked) =
                prepare(self.job, place, v, odd, &self.kit, &mut self.scratch, &mut self.report);
            self.combine(place, v, absent, premasked);
            std::mem::swap(&mut self.scratch.masks, &mut pending.masks);
            for row in &mut pending.masks {
                row.0.fill(0);
            }
            pending.spots.clear();
        }
    }

    /// Combines `len` pixels of the outputs from `at` on, where the first one is `start` in the
    /// planes, by loading them.
    fn load(&mut self, start: usize, at: usize, len: usize) {
        let frames = self.job.planes.len();
        let end = at + len;
        for at in (at..end).step_by(LANES * BLOCKS) {
            let here = (end - at).min(LANES * BLOCKS);
            let mut stack = std::mem::take(&mut self.stack);
            let infinite = load(self.job, start + at, here, &mut stack);
            for ((v, not_finite), at) in
                stack.chunks_exact_mut(frames).zip(infinite).zip((at..at + here).step_by(LANES))
            {
                let len = (end - at).min(LANES);
                let place = Place { start: start + at, len, spots: Spots::Run(at, len) };
                self.report.reset();
                if self.job.masked {
                    load_masks(self.job, place.start, len, &mut self.scratch);
                }
                let (absent, premasked) = prepare(
                    self.job,
                    place,
                    v,
                    not_finite,
                    &self.kit,
                    &mut self.scratch,
                    &mut self.report,
                );
                self.combine(place, v, absent, premasked);
            }
            self.stack = stack;
        }
    }

    /// Rejects and combines the samples of a block and writes the products.
    fn combine(&mut self, place: Place, v: &mut [Row<T>], mut absent: bool, premasked: bool) {
        let Self { job, kit, scratch, report, outputs, .. } = self;
        let plan = job.plan;
        let w = place.len.next_multiple_of(16);
        let before = report.samples.is_some().then(|| v.to_vec());
        let mut settled = None;
        if plan.independent && (premasked || plan.steps.len() > 1) {
            scratch.used.clear();
            scratch.used.extend_from_slice(v);
            if premasked {
                drop_masked(kit, &mut scratch.used, &scratch.masks, w);
            }
            let any = absent;
            for (i, step) in plan.steps.iter().enumerate() {
                scratch.judged.clear();
                scratch.judged.extend_from_slice(v);
                let mut judged = any;
                let room = &mut scratch.dense;
                let pooled = pooled_row(job, i, place);
                apply(kit, step, &mut scratch.judged, w, &mut judged, room, report, pooled, None);
                report.count_sides(&scratch.used);
                absent |= judged;
                kit.ops.drop_absent(&mut scratch.used, &scratch.judged, w);
            }
            v.copy_from_slice(&scratch.used);
            absent |= premasked;
        } else {
            let known =
                if job.scaled && plan.transform_after { None } else { plan.statistic.center() };
            for (i, step) in plan.steps.iter().enumerate() {
                let pooled = pooled_row(job, i, place);
                let room = &mut scratch.dense;
                settled = apply(kit, step, v, w, &mut absent, room, report, pooled, known);
            }
        }
        if let Some(before) = before {
            let available = |k: usize, l: usize| before[k].0[l].f64().is_finite();
            report.flag_if(sample_flags::ALGORITHM, sample_flags::INPUT_MASK, |k, l| {
                available(k, l) && v[k].0[l].f64().is_nan()
            });
        }
        if job.scaled && plan.transform_after {
            absent |= transform(job, v, w, report);
            settled = None;
        }
        let weights = if job.weighted {
            if !plan.ivar {
                load_weights(job, place, scratch);
            }
            Weights::PerSample(&scratch.weights)
        } else {
            Weights::PerFrame(&job.weights)
        };
        let mut combined = statistic::combine(kit, plan, &weights, v, w, absent, settled);
        if let Some(propagation) = job.propagation.as_ref().filter(|p| p.wanted) {
            let (at, n, image) = ((place.start, place.len), &combined.n, &combined.image);
            combined.uncertainty = propagation.uncertainty(kit, &weights, v, at, n, image);
        }
        if outputs.wants(Product::Dq) {
            let (ops, start) = (job.ops, place.start);
            combined.dq = Some(gather_flags(ops, job.planes, job.shape, start, place.len, v));
        }
        store(kit, v, &scratch.outside, &combined, report, place, outputs);
    }
}

/// Columns that a look does not settle, on their way to the others.
struct Pending<T> {
    look: Look<T>,
    seen: Seen,
    columns: Vec<Row<T>>,
    /// Their masks, if there are any.
    masks: Vec<Row<u8>>,
    /// Where they belong in the outputs.
    spots: Vec<usize>,
}

impl<T: Work> Pending<T> {
    fn new(frames: usize, masked: bool) -> Self {
        let columns = vec![Row::filled(T::ZERO); frames];
        let masks = if masked { vec![Row::filled(0); frames] } else { Vec::new() };
        Self {
            masks,
            look: Look::new(),
            seen: Seen::new(frames),
            columns,
            spots: Vec::with_capacity(LANES),
        }
    }
}

/// Everything before the rejection, the masks being loaded; tells whether any sample is absent and
/// whether any is masked.
fn prepare<T: Work>(
    job: &Job<T>,
    place: Place,
    v: &mut [Row<T>],
    not_finite: bool,
    kit: &Kit<T>,
    scratch: &mut Scratch<T>,
    report: &mut Report,
) -> (bool, bool) {
    let w = place.len.next_multiple_of(16);
    let mut absent = screen(job, v, w, not_finite, scratch, report);
    let premasked = job.masked && note_masks(place.len, scratch, report);
    if premasked && !job.plan.independent {
        drop_masked(kit, v, &scratch.masks, w);
        absent = true;
    }
    if job.scaled && !job.plan.transform_after {
        absent |= transform(job, v, w, report);
    }
    (absent, premasked)
}

/// The scatter of the image row that every lane is in, if step `i` pools over rows.
fn pooled_row<T: Work>(job: &Job<T>, i: usize, place: Place) -> Option<Row<f64>> {
    let line = line_of(&job.plan.steps[i])?;
    let lines = job.pooled.get(i)?;
    let mut row = Row::filled(f64::NAN);
    for l in 0..place.len {
        row.0[l] = lines[(place.start + l) / line];
    }
    Some(row)
}

/// Pixels of an image row, if the step pools over rows.
fn line_of(step: &Step) -> Option<usize> {
    match step {
        Step::Clip(Clip { rule: Rule::Pooled { line, .. }, .. }) => Some(*line),
        _ => None,
    }
}

/// Scatter of one image row in units of the root of the level, for step `i`: over all pixels with
/// at least three samples, sqrt(sum (x - c)^2 / max(1, level) / (samples - 1)), as IRAF's avsigclip.
fn pool_line<T: Work>(job: &Job<T>, i: usize, start: usize, line: usize) -> f64 {
    let Step::Clip(Clip { center, rule: Rule::Pooled { levels, .. }, .. }) = &job.plan.steps[i]
    else {
        return f64::NAN;
    };
    let levels = levels.as_deref().unwrap_or(&[Level::SAME]);
    let mut kit = Kit::new(job.ops, job.wide, &job.network);
    let mut stack = vec![Row::filled(T::NAN); job.planes.len() * BLOCKS];
    let mut scratch = Scratch::new(job, false);
    let mut report = Report::new(0, false, false);
    let (mut total, mut samples) = (0.0, 0_u64);
    for at in (start..start + line).step_by(LANES) {
        let len = (start + line - at).min(LANES);
        let place = Place { start: at, len, spots: Spots::Run(0, len) };
        let w = place.len.next_multiple_of(16);
        let [not_finite, ..] = load(job, place.start, place.len, &mut stack);
        let v = &mut stack[..job.planes.len()];
        report.reset();
        if job.masked {
            load_masks(job, place.start, place.len, &mut scratch);
        }
        let (mut absent, _) = prepare(job, place, v, not_finite, &kit, &mut scratch, &mut report);
        if !job.plan.independent {
            for (before, step) in job.plan.steps[..i].iter().enumerate() {
                let pooled = pooled_row(job, before, place);
                let room = &mut scratch.dense;
                apply(&mut kit, step, v, w, &mut absent, room, &mut report, pooled, None);
            }
        }
        let n = kit.count(v, w, absent);
        let c = kit.center(*center, v, w, &n, absent);
        let mut squares = Row::filled(0.0);
        for (k, row) in v.iter().enumerate() {
            let root = reject::roots(&levels[k.min(levels.len() - 1)], &c);
            kit.ops.add_scaled_squares(row, &c, &root, w, &mut squares);
        }
        for l in 0..place.len {
            if n.0[l] >= 3 {
                total += squares.0[l];
                samples += u64::from(n.0[l]);
            }
        }
    }
    if samples > 1 {
        (total / (samples - 1) as f64).sqrt()
    } else {
        f64::NAN
    }
}

/// One step of rejection. Clipping also tells what it leaves, with its center if that is `known`
/// to be wanted.
fn apply<T: Work>(
    kit: &mut Kit<T>,
    step: &Step,
    v: &mut [Row<T>],
    w: usize,
    absent: &mut bool,
    dense: &mut Vec<Row<T>>,
    report: &mut Report,
    pooled: Option<Row<f64>>,
    known: Option<Center>,
) -> Option<Settled> {
    match step {
        Step::Clip(step) => {
            let wanted = known == Some(step.center);
            Some(reject::clip(kit, step, v, w, absent, dense, report, pooled, wanted))
        }
        Step::PClip(step) => {
            reject::pclip(kit, step, v, w, absent, report);
            None
        }
        Step::Extrema(step) => Some(reject::extrema(kit, step, v, w, absent, report)),
        Step::Range(step) => {
            reject::range(kit, step, v, w, absent, report);
            None
        }
    }
}

/// Loads the samples of up to [`BLOCKS`] blocks, frame after frame of each; tells for every block
/// whether any sample is not finite.
fn load<T: Work>(job: &Job<T>, start: usize, len: usize, stack: &mut [Row<T>]) -> [bool; BLOCKS] {
    let frames = job.planes.len();
    let mut infinite = [false; BLOCKS];
    for (k, plane) in job.planes.iter().enumerate() {
        let (view, stored) = (&plane.pixels, plane.pixels.dtype());
        let (dtype, flip) = match plane.fits {
            Some(fits) if fits.unsigned => (stored.opposite(), stored.sign_bit()),
            _ => (stored, 0),
        };
        let scaling = plane.fits.filter(|fits| !fits.is_plain());
        view.runs(job.shape, start, len, |mut offset, bytes| {
            prefetch(bytes);
            let mut rest = bytes;
            while !rest.is_empty() {
                let (block, lane) = (offset / LANES, offset % LANES);
                let here = (LANES - lane).min(rest.len() / stored.size());
                let (bytes, others) = rest.split_at(here * stored.size());
                let to = &mut stack[block * frames + k].0[lane..lane + here];
                infinite[block] |= match scaling {
                    Some(fits) => fits.load(bytes, dtype, view.big_endian(), to),
                    None => job.ops.load(dtype as usize, view.big_endian(), bytes, to, flip),
                };
                offset += here;
                rest = others;
            }
        });
        if !len.is_multiple_of(LANES) {
            // Lanes beside the image: any number does.
            let beside = len % LANES..(len % LANES).next_multiple_of(16);
            for lane in &mut stack[len / LANES * frames + k].0[beside] {
                *lane = T::convert(0_u8);
            }
        }
    }
    infinite
}

/// Drops the samples outside the thresholds and those that are not finite, and flags them; returns
/// whether there are any.
fn screen<T: Work>(
    job: &Job<T>,
    v: &mut [Row<T>],
    w: usize,
    not_finite: bool,
    scratch: &mut Scratch<T>,
    report: &mut Report,
) -> bool {
    let mut absent = not_finite;
    if not_finite {
        let lost = |k: usize, l: usize| !v[k].0[l].is_finite();
        report.flag(sample_flags::NONFINITE, lost);
        if job.spoils {
            report.spoil(v.len(), lost);
        }
    }
    if let Some((low, high)) = job.plan.thresholds {
        let (low, high) = (T::up(low), T::down(high));
        let outside = |k: usize, l: usize| v[k].0[l] < low || v[k].0[l] > high;
        for (k, flags) in scratch.outside.iter_mut().enumerate() {
            for (l, flag) in flags.0.iter_mut().enumerate() {
                *flag = u8::from(outside(k, l));
            }
        }
        report.flag(sample_flags::THRESHOLD, outside);
        absent |= job.ops.drop_outside(v, w, &Row::filled(low), &Row::filled(high));
    }
    if not_finite {
        job.ops.drop_infinite(v, w);
    }
    absent
}

fn drop_masked<T: Work>(kit: &Kit<T>, v: &mut [Row<T>], masks: &[Row<u8>], w: usize) {
    for (row, mask) in v.iter_mut().zip(masks) {
        kit.ops.drop_masked(row, mask, w);
    }
}

/// Loads the masks of a block, and the weights if a sample without one is masked too.
fn load_masks<T: Work>(job: &Job<T>, start: usize, len: usize, scratch: &mut Scratch<T>) {
    for (plane, row) in job.planes.iter().zip(&mut scratch.masks) {
        *row = Row::filled(0);
        let Some(view) = &plane.mask else { continue };
        view.runs(job.shape, start, len, |offset, bytes| {
            row.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        });
    }
    if let Some(propagation) = job.propagation.as_ref().filter(|_| job.plan.ivar) {
        let (weights, masks) = (&mut scratch.weights, &mut scratch.masks);
        propagation.inverse_variances(job.wide, start, len, weights, masks);
    }
}

/// Flags what is masked; returns whether anything is.
fn note_masks<T: Work>(len: usize, scratch: &Scratch<T>, report: &mut Report) -> bool {
    let mut any = Row::filled(0_u8);
    for row in &scratch.masks {
        for l in 0..LANES {
            any.0[l] |= row.0[l];
        }
    }
    for l in 0..len {
        if any.0[l] != 0 {
            report.flags.0[l] |= output_flags::PREMASKED;
        }
    }
    report.flag(sample_flags::INPUT_MASK, |k, l| scratch.masks[k].0[l] != 0);
    any.0.iter().any(|byte| *byte != 0)
}

fn load_weights<T: Work>(job: &Job<T>, place: Place, scratch: &mut Scratch<T>) {
    let Place { start, len, .. } = place;
    for (plane, row) in job.planes.iter().zip(&mut scratch.weights) {
        let Some(view) = &plane.weights else {
            *row = Row::filled(plane.weight);
            continue;
        };
        load_reals(job.wide, view, job.shape, start, len, row);
    }
}

/// Applies zero, factor and scale; returns whether any sample is now absent (it may be too large).
fn transform<T: Work>(job: &Job<T>, v: &mut [Row<T>], w: usize, report: &mut Report) -> bool {
    let before = (report.samples.is_some() || job.spoils).then(|| v.to_vec());
    let mut absent = false;
    for (plane, row) in job.planes.iter().zip(&mut *v) {
        if !plane.is_unscaled() {
            absent |= job.ops.transform(row, w, plane.zero, plane.factor, plane.scale);
        }
    }
    if let Some(before) = before {
        let lost = |k: usize, l: usize| before[k].0[l].is_finite() && !v[k].0[l].is_finite();
        report.flag(sample_flags::NONFINITE, lost);
        report.spoil(v.len(), lost);
    }
    absent
}

/// Writes every product of a block.
fn store<T: Work>(
    kit: &Kit<T>,
    v: &[Row<T>],
    outside: &[Row<u8>],
    combined: &statistic::Combined,
    report: &Report,
    place: Place,
    outputs: &mut Outputs,
) {
    let Place { len, spots, .. } = place;
    let extremes = (outputs.wants(Product::Low) || outputs.wants(Product::Upp)).then(|| {
        if let Some(limits) = &report.limits {
            return **limits;
        }
        let (mut min, mut max) = (Row::filled(T::NAN), Row::filled(T::NAN));
        kit.ops.extremes(v, len.next_multiple_of(16), &mut min, &mut max);
        (widen(&min, &combined.n), widen(&max, &combined.n))
    });
    outputs.each(|product, buffer| match product {
        Product::Image => buffer.put(spots, &combined.image),
        Product::Uncertainty => buffer.put(spots, &combined.uncertainty),
        Product::NUsed => buffer.put_counts(spots, &combined.n),
        Product::Mask => buffer.put_bytes(spots, &Row(combined.n.0.map(|n| u8::from(n == 0)))),
        Product::Dq => {
            if let Some(dq) = &combined.dq {
                buffer.put_words(spots, dq);
            }
        }
        Product::Low => {
            if let Some((low, _)) = &extremes {
                buffer.put(spots, low);
            }
        }
        Product::Upp => {
            if let Some((_, upp)) = &extremes {
                buffer.put(spots, upp);
            }
        }
        Product::Std => buffer.put(spots, &report.std),
        Product::Nit => buffer.put_bytes(spots, &report.nit),
        Product::OutputFlags => buffer.put_bytes(spots, &report.flags),
        Product::NRejectedLow => buffer.put_counts(spots, &report.n_low),
        Product::NRejectedHigh => buffer.put_counts(spots, &report.n_high),
        Product::MaskRej => {
            buffer.put_cube(spots, |k| Row(v[k].0.map(|x| u8::from(!x.present()))));
        }
        Product::MaskThresh => {
            buffer.put_cube(spots, |k| outside.get(k).copied().unwrap_or(Row::filled(0)));
        }
        Product::SampleFlags => {
            if let Some(samples) = &report.samples {
                buffer.put_cube(spots, |k| samples[k]);
            }
        }
    });
}
