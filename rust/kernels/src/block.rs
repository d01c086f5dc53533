//! Blocks of pixels, one after the other, from planes to products: by looking where that is
//! possible, else by loading.

use crate::direct::{Direct, Seen};
use crate::estimate::Kit;
use crate::job::Job;
use crate::load::{
    drop_masked, load, load_masks, load_weights, prepare, transform, Place, Scratch, BLOCKS,
};
use crate::look::Look;
use crate::outputs::{Outputs, Product, Spots};
use crate::propagate::{all_flags, gather_flags, Beside, Bytes, Columns};
use crate::reject::{self, sample_flags, Report};
use crate::sample::{Row, Work, LANES};
use crate::statistic::{self, widen, Weights};
use crate::steps::{apply, pooled_row};

/// Pixels of which the masks are read, and the constants written, together.
const RUN: usize = 2048;

pub(crate) fn blocks<T: Work>(job: &Job<T>, start: usize, len: usize, outputs: Outputs) {
    // A look has no use for weights of single samples.
    let looks = job.looks.zip(job.common).filter(|_| !job.plan.ivar);
    let direct = looks.and_then(|(looks, common)| {
        Direct::new(looks, common, job.planes.len(), job.plan, &outputs)
    });
    let mut worker = Worker::new(job, outputs);
    match direct {
        Some(direct) => worker.look(&direct, start, len),
        None => worker.load(start, 0, len),
    }
}

/// One thread's tools and room for a block, used again for the next.
struct Worker<'a, 'o, T: Work> {
    job: &'a Job<'a, T>,
    outputs: Outputs<'o>,
    kit: Kit<T>,
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
            kit: Kit::new(job.ops, job.wide),
            stack: vec![Row::filled(T::NAN); frames * BLOCKS],
            scratch: Scratch::new(job, outputs.wants(Product::MaskThresh)),
            report: Report::new(frames, outputs.wants(Product::SampleFlags), sides),
            outputs,
        }
    }

    /// Combines the pixels `start .. start + len`, which are those of the outputs, by looking.
    fn look(&mut self, direct: &Direct<T>, start: usize, len: usize) {
        let job = self.job;
        let mut pending = Pending::new(job, &self.outputs);
        let mut bytes = Bytes::default();
        // Masks are read and constants written for many pixels at a time: short runs of as many
        // planes as there are frames would be slow.
        let (mut masked, mut filled, mut run) = (Vec::new(), 0, 0);
        let mut at = 0;
        while at < len {
            let lead = job.lead(start + at).min(len - at);
            let whole = lead == 0
                && len - at >= LANES
                && bytes.find(job.planes, job.shape, start + at, &pending.beside);
            if whole && at + LANES > filled {
                (run, filled) = (at, at + RUN.min(len - at));
                direct.fill(run, filled - run, &mut self.outputs);
                if job.masked {
                    masked.resize(filled - run, 0);
                    job.any_masked(start + run, &mut masked);
                }
            }
            let any = masked.get(at - run..).unwrap_or_default();
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
        bytes: &Bytes,
        masked: &[u8],
        pending: &mut Pending<T>,
        start: usize,
        at: usize,
    ) -> bool {
        let (job, kit) = (self.job, &self.kit);
        let Pending { look, seen, .. } = pending;
        if !direct.block(&bytes.pixels, kit, look, seen) {
            return false;
        }
        let combined = &mut seen.combined;
        if let Some(propagation) = job.propagation.as_ref().filter(|p| p.wanted) {
            let (n, image) = (&combined.n, &combined.image);
            combined.uncertainty = propagation.uncertainty_of_all(kit, bytes, n, image);
        }
        if self.outputs.wants(Product::Dq) {
            combined.dq = Some(all_flags(job.wide, job.planes, bytes));
        }
        direct.store(seen, look, at, &mut self.outputs);
        if job.masked {
            kit.ops.mark_masked(masked, &mut seen.marks);
        }
        // Full batches only: a part of one costs as much.
        let marked = reject::marked_lanes(&seen.marks, LANES);
        let mut rest = &marked[..];
        while !rest.is_empty() {
            let first = pending.spots.len();
            let (now, later) = rest.split_at(rest.len().min(LANES - first));
            direct.columns(&bytes.pixels, &mut pending.look, now, &mut pending.columns, first);
            pending.beside.pick(job.wide, job.planes, bytes, now, first);
            pending.mask(job, masked, now, start + at);
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
            self.combine(place, v, absent, premasked, Beside::Columns(&pending.beside));
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
                let beside = Beside::Planes(place.start, len);
                self.combine(place, v, absent, premasked, beside);
            }
            self.stack = stack;
        }
    }

    /// Rejects and combines the samples of a block and writes the products.
    fn combine(
        &mut self,
        place: Place,
        v: &mut [Row<T>],
        mut absent: bool,
        premasked: bool,
        beside: Beside,
    ) {
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
            for ((flags, before), after) in
                report.samples.iter_mut().flatten().zip(&before).zip(&*v)
            {
                let (bit, except) = (sample_flags::ALGORITHM, sample_flags::INPUT_MASK);
                kit.ops.flag_dropped(before, after, bit, except, flags);
            }
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
            let (n, image) = (&combined.n, &combined.image);
            combined.uncertainty = propagation.uncertainty(kit, &weights, v, (beside, w), n, image);
        }
        if outputs.wants(Product::Dq) {
            combined.dq = Some(gather_flags(job.ops, job.planes, job.shape, (beside, w), v));
        }
        store(kit, v, &scratch.outside, &combined, report, place, outputs);
    }
}

/// Columns that a look does not settle, on their way to the others.
struct Pending<T> {
    look: Look<T>,
    seen: Seen,
    columns: Vec<Row<T>>,
    /// Their variances and flags, if they are needed.
    beside: Columns,
    /// Their masks, if there are any.
    masks: Vec<Row<u8>>,
    /// Where they belong in the outputs.
    spots: Vec<usize>,
}

impl<T: Work> Pending<T> {
    fn new(job: &Job<T>, outputs: &Outputs) -> Self {
        let frames = job.planes.len();
        let columns = vec![Row::filled(T::ZERO); frames];
        let masks = if job.masked { vec![Row::filled(0); frames] } else { Vec::new() };
        Self {
            masks,
            beside: Columns::new(frames, job.propagation.as_ref(), outputs),
            look: Look::new(),
            seen: Seen::new(frames),
            columns,
            spots: Vec::with_capacity(LANES),
        }
    }

    /// Notes the masks of the lanes `now` of the block at `start`, which are next in line, where
    /// `masked` says that there are any; all others are 0.
    fn mask(&mut self, job: &Job<T>, masked: &[u8], now: &[u16], start: usize) {
        let mut hits = [(0, 0); LANES];
        let mut n = 0;
        for (to, l) in (self.spots.len()..LANES).zip(now) {
            let l = usize::from(*l);
            if masked.get(l).is_some_and(|any| *any != 0) {
                hits[n] = (to, l);
                n += 1;
            }
        }
        if n > 0 {
            for (row, plane) in self.masks.iter_mut().zip(job.planes) {
                let Some(mask) = &plane.mask else { continue };
                mask.runs(job.shape, start, LANES, |offset, bytes| {
                    for (to, l) in &hits[..n] {
                        if let Some(byte) = bytes.get(l.wrapping_sub(offset)) {
                            row.0[*to] = *byte;
                        }
                    }
                });
            }
        }
    }
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
