//! Blocks of pixels, one after the other, from planes to products: by looking where that is
//! possible, else by loading.

use crate::direct::{Direct, Seen};
use crate::estimate::Kit;
use crate::frames::FrameCounts;
use crate::job::Job;
use crate::load::{
    drop_masked, load, load_masks, load_weights, prepare, transform, Place, Scratch, BLOCKS,
};
use crate::look::Look;
use crate::masks::{are_kept, run_of, Masks, AHEAD};
use crate::outputs::{Outputs, Product, Spots};
use crate::propagate::{all_flags, gather_flags, Beside, Bytes, Columns};
use crate::reject::{self, sample_flags, Report};
use crate::sample::{Row, Work, LANES};
use crate::statistic::{self, widen, Weights};
use crate::steps::{apply, pooled_row};

/// Runs that are loaded at once where looking at one did not pay, as in deep stacks, where most
/// columns lose a sample; then there is a look again.
const UNSEEN: usize = 15;

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
    worker.frames.hand_in(len);
}

/// One thread's tools and room for a block, used again for the next.
struct Worker<'a, 'o, T: Work> {
    job: &'a Job<'a, T>,
    outputs: Outputs<'o>,
    kit: Kit<T>,
    stack: Vec<Row<T>>,
    scratch: Scratch<T>,
    /// The masks of pixels that are loaded.
    masks: Masks,
    /// Most pixels of a run.
    run: usize,
    report: Report,
    frames: FrameCounts<'o>,
}

impl<'a, 'o, T: Work> Worker<'a, 'o, T> {
    fn new(job: &'a Job<'a, T>, outputs: Outputs<'o>) -> Self {
        let frames = job.planes.len();
        let counted = FrameCounts::new(frames, &outputs);
        let counts = outputs.wants(Product::NRejectedLow) || outputs.wants(Product::NRejectedHigh);
        // Where steps judge what others reject too, counting needs to know every sample's side.
        let several = job.plan.independent && (job.masked || job.plan.steps.len() > 1);
        let sides = counted.sides() || outputs.wants(Product::SampleSides) || counts && several;
        let kept = are_kept(job, &outputs);
        Self {
            job,
            kit: Kit::new(job.ops, job.wide),
            stack: vec![Row::filled(T::NAN); frames * BLOCKS],
            scratch: Scratch::new(job, kept, outputs.wants(Product::MaskThresh)),
            masks: Masks::new(job),
            run: run_of(job.planes.iter().map(|plane| plane.pixels.dtype().size()).sum()),
            report: Report::new(
                frames,
                outputs.wants(Product::Std),
                outputs.wants(Product::SampleFlags),
                sides,
            ),
            frames: counted,
            outputs,
        }
    }

    /// Combines the pixels `start .. start + len`, which are those of the outputs, by looking.
    fn look(&mut self, direct: &Direct<T>, start: usize, len: usize) {
        let job = self.job;
        let (mut look, mut seen) = (Look::new(), Seen::new(job.planes.len()));
        // Those that lack samples on their own: the others need not ask for each whether it is there.
        let mut pending = [(); 2].map(|()| Pending::new(job, &self.outputs));
        let mut marked = [const { Vec::new() }; 2];
        let (mut bytes, mut masks) = (Bytes::default(), Masks::new(job));
        let mut errors = Vec::new();
        // The pixels of which masks have been read and constants written.
        let mut known = 0..0;
        let (mut at, mut unseen) = (0, 0);
        while at < len {
            if unseen > 0 {
                let here = self.run.min(len - at);
                self.load(start, at, here);
                (at, unseen) = (at + here, unseen - 1);
                continue;
            }
            let lead = job.lead(start + at).min(len - at);
            // Few enough that the columns picked after all blocks of a run are still near.
            let run = self.run.min(len - at).min(job.shape.left(start + at)) / LANES * LANES;
            let found = [run, LANES].into_iter().find(|run| {
                lead == 0
                    && (LANES..=len - at).contains(run)
                    && bytes.find(job.planes, job.shape, start + at, *run, &pending[0].beside)
            });
            let Some(run) = found else {
                let here = if lead > 0 { lead } else { LANES.min(len - at) };
                self.load(start, at, here);
                at += here;
                continue;
            };
            if at + run > known.end {
                let left = job.shape.left(start + at).min(len - at);
                known = at..at + left.min(AHEAD).max(run);
                direct.fill(at, known.len(), &mut self.outputs);
                masks.read(job, start + at, known.len());
            }
            let offset = at - known.start;
            bytes.all();
            errors.resize(run / LANES, Row::filled(f64::NAN));
            if let Some(propagation) = job.propagation.as_ref().filter(|p| p.wanted) {
                propagation.uncertainty_of_run(&self.kit, &bytes, &mut errors);
            }
            marked.iter_mut().for_each(Vec::clear);
            direct.run(&bytes.pixels, run / LANES, &mut look);
            for block in 0..run / LANES {
                bytes.block(block);
                let first = block * LANES;
                if !direct.block(block, &bytes.pixels, &self.kit, &mut look, &mut seen) {
                    self.load(start, at + first, LANES);
                    continue;
                }
                masks.mark(job.ops, offset + first, LANES, &mut seen.absent);
                direct.lose(&bytes.pixels, &mut look, &seen);
                self.frames.count_losses(&look.losses);
                self.show(direct, (&bytes, &errors[block]), &look, &mut seen, at + first);
                job.ops.clear_marks(&seen.absent, &mut seen.marks);
                for (marked, marks) in marked.iter_mut().zip([&seen.marks, &seen.absent]) {
                    reject::each_marked(marks, LANES, |l| marked.push(first as u16 + l));
                }
            }
            bytes.all();
            for (pending, marked) in pending.iter_mut().zip(&marked) {
                self.pick(direct, &bytes, (&masks, offset), marked, pending, at);
            }
            at += run;
            if !direct.pays(marked[0].len() + marked[1].len(), run) {
                unseen = UNSEEN;
            }
        }
        pending.iter_mut().for_each(|pending| self.resolve(pending));
    }

    /// Writes the products of a block of the outputs from `at` on, as seen.
    fn show(
        &mut self,
        direct: &Direct<T>,
        (bytes, errors): (&Bytes, &Row<f64>),
        look: &Look<T>,
        seen: &mut Seen,
        at: usize,
    ) {
        let (job, kit) = (self.job, &self.kit);
        if let Some(propagation) = job.propagation.as_ref().filter(|p| p.wanted) {
            let of_models = propagation.uncertainty_of_all(kit, &seen.combined.n, seen.image());
            seen.combined.uncertainty = of_models.unwrap_or(*errors);
        }
        if self.outputs.wants(Product::Dq) {
            seen.combined.dq = Some(all_flags(job.wide, job.planes, bytes));
        }
        direct.store(kit, seen, look, at, &mut self.outputs);
    }

    /// Copies the columns of the pixels `marked` of a run, which begins at `at` of the outputs. All
    /// together: to turn from the planes to this and back after every block would be slow.
    fn pick(
        &mut self,
        direct: &Direct<T>,
        bytes: &Bytes,
        masks: (&Masks, usize),
        marked: &[u16],
        pending: &mut Pending<T>,
        at: usize,
    ) {
        let mut rest = marked;
        while !rest.is_empty() {
            // Full batches only: a part of one costs as much.
            let first = pending.spots.len();
            let (now, later) = rest.split_at(rest.len().min(LANES - first));
            direct.columns(&bytes.pixels, now, &mut pending.columns, first);
            pending.beside.pick(self.job.wide, self.job.planes, bytes, now, first);
            pending.mask(masks, now, first);
            pending.spots.extend(now.iter().map(|l| at + usize::from(*l)));
            if pending.spots.len() == LANES {
                self.resolve(pending);
            }
            rest = later;
        }
    }

    /// Combines the pending columns.
    fn resolve(&mut self, pending: &mut Pending<T>) {
        let len = pending.spots.len();
        if len > 0 {
            for row in &mut pending.columns {
                row.0[len..].fill(T::ZERO);
            }
            std::mem::swap(&mut self.scratch.masks, &mut pending.masks);
            self.scratch.masked = pending.masked;
            let odd = self.job.ops.any_infinite(&pending.columns);
            let place = Place { start: 0, len, spots: Spots::Each(&pending.spots) };
            self.report.reset();
            let v = &mut pending.columns;
            let (absent, premasked) =
                prepare(self.job, place, v, odd, &self.kit, &mut self.scratch, &mut self.report);
            self.combine(place, v, absent, premasked, Beside::Columns(&pending.beside));
            std::mem::swap(&mut self.scratch.masks, &mut pending.masks);
            for row in pending.masks.iter_mut().chain([&mut pending.masked]) {
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
        let first = at;
        for at in (at..end).step_by(LANES * BLOCKS) {
            let here = (end - at).min(LANES * BLOCKS);
            if (at - first).is_multiple_of(self.run) {
                self.masks.read(self.job, start + at, self.run.min(end - at));
            }
            let mut stack = std::mem::take(&mut self.stack);
            let infinite = load(self.job, start + at, here, &mut stack);
            for ((v, not_finite), at) in
                stack.chunks_exact_mut(frames).zip(infinite).zip((at..at + here).step_by(LANES))
            {
                let len = (end - at).min(LANES);
                let place = Place { start: start + at, len, spots: Spots::Run(at, len) };
                self.report.reset();
                if self.job.masked {
                    let masks = (&self.masks, (at - first) % self.run);
                    load_masks(self.job, masks, place, v, &mut self.scratch);
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
        let Self { job, kit, scratch, report, outputs, frames, .. } = self;
        let plan = job.plan;
        let w = place.len.next_multiple_of(16);
        let before = report.samples.is_some().then(|| v.to_vec());
        let mut settled = None;
        if plan.independent && (premasked || plan.steps.len() > 1) {
            scratch.used.clear();
            scratch.used.extend_from_slice(v);
            if premasked {
                drop_masked(kit, &mut scratch.used, &scratch.masks);
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
            report.decide_sides();
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
        if let Some(sides) = &report.sides {
            frames.count_rejected(kit.ops, sides, place.len);
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
        frames.count_unused(kit.ops, v, place.len);
        store(kit, v, &scratch.outside, &combined, report, place, outputs);
    }
}

/// Columns that a look does not settle, on their way to the others.
struct Pending<T> {
    columns: Vec<Row<T>>,
    /// Their variances and flags, if they are needed.
    beside: Columns,
    /// Not 0 for those that have masked samples.
    masked: Row<u8>,
    /// Their masks, if these samples may not yet be dropped.
    masks: Vec<Row<u8>>,
    /// Where they belong in the outputs.
    spots: Vec<usize>,
}

impl<T: Work> Pending<T> {
    fn new(job: &Job<T>, outputs: &Outputs) -> Self {
        let frames = job.planes.len();
        let columns = vec![Row::filled(T::ZERO); frames];
        let kept = are_kept(job, outputs);
        let masks = if kept { vec![Row::filled(0); frames] } else { Vec::new() };
        Self {
            masks,
            masked: Row::filled(0),
            beside: Columns::new(frames, job.propagation.as_ref(), outputs),
            columns,
            spots: Vec::with_capacity(LANES),
        }
    }

    /// Notes the masks of the pixels `now` of a run, which stand in the lanes from `first` on, or
    /// drops their samples; the masks are known from `offset` pixels before the run on.
    fn mask(&mut self, (masks, offset): (&Masks, usize), now: &[u16], first: usize) {
        if masks.is_empty() {
            return;
        }
        for (to, pixel) in (first..).zip(now) {
            masks.each(offset + usize::from(*pixel), |k| {
                self.masked.0[to] = 1;
                match self.masks.get_mut(k) {
                    Some(row) => row.0[to] = 1,
                    None => self.columns[k].0[to] = T::NAN,
                }
            });
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
        Product::Image => buffer.put(kit.ops, spots, &combined.image),
        Product::Uncertainty => buffer.put(kit.ops, spots, &combined.uncertainty),
        Product::NUsed => buffer.put_counts(spots, &combined.n),
        Product::Mask => buffer.put_bytes(spots, &Row(combined.n.0.map(|n| u8::from(n == 0)))),
        Product::Dq => {
            if let Some(dq) = &combined.dq {
                buffer.put_words(spots, dq);
            }
        }
        Product::Low => {
            if let Some((low, _)) = &extremes {
                buffer.put(kit.ops, spots, low);
            }
        }
        Product::Upp => {
            if let Some((_, upp)) = &extremes {
                buffer.put(kit.ops, spots, upp);
            }
        }
        Product::Std => buffer.put(kit.ops, spots, &report.std),
        Product::Nit => buffer.put_bytes(spots, &report.nit),
        Product::OutputFlags => buffer.put_bytes(spots, &report.flags),
        Product::NRejectedLow => buffer.put_counts(spots, &report.n_low),
        Product::NRejectedHigh => buffer.put_counts(spots, &report.n_high),
        Product::MaskRej => {
            let mut row = Row::filled(0);
            buffer.put_cube(spots, |k| {
                kit.ops.absent(&v[k], &mut row);
                row
            });
        }
        Product::MaskThresh => {
            buffer.put_cube(spots, |k| outside.get(k).copied().unwrap_or(Row::filled(0)));
        }
        Product::SampleFlags => {
            if let Some(samples) = &report.samples {
                buffer.put_cube(spots, |k| samples[k]);
            }
        }
        Product::SampleSides => {
            if let Some(sides) = &report.sides {
                buffer.put_cube(spots, |k| sides[k]);
            }
        }
        // Counted elsewhere.
        Product::FrameUsed
        | Product::FrameRejectedLow
        | Product::FrameRejectedHigh
        | Product::FrameNegative => {}
    });
}
