//! The one verb: combine planes under a plan into outputs.

use crate::dispatch::{Level, Ops};
use crate::error::{Error, Result};
use crate::estimate::Kit;
use crate::order::Comparators;
use crate::outputs::{Outputs, Product};
use crate::plan::{Plan, Step};
use crate::plane::{Plane, Shape};
use crate::pool;
use crate::prefetch::prefetch;
use crate::reject::{self, output_flags, sample_flags, Report};
use crate::sample::{DType, Row, Work, LANES};
use crate::statistic::{self, widen, Weights};

/// Below this many samples a second thread costs more than it brings.
const SAMPLES_PER_THREAD: usize = 100_000;

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
    plan.validate()?;
    if planes.is_empty() || planes.len() > MOST_FRAMES {
        return Err(Error::option(
            "number of frames",
            planes.len(),
            &format!("1 to {MOST_FRAMES}"),
        ));
    }
    outputs.check(shape.pixels(), planes.len())?;
    if threads == Some(0) {
        return Err(Error::option("n_threads", 0, "at least 1"));
    }
    let level = Level::current()?;
    if plan.single {
        run(&Job::<f32>::new(planes, shape, plan, level), outputs, threads)
    } else {
        run(&Job::<f64>::new(planes, shape, plan, level), outputs, threads)
    }
}

/// All that the blocks share.
struct Job<'a, T: Work> {
    planes: &'a [Plane<'a>],
    shape: &'a Shape,
    plan: &'a Plan,
    ops: &'static Ops<T>,
    wide: &'static Ops<f64>,
    network: Comparators,
    weights: Vec<f64>,
    exact: bool,
    scaled: bool,
    masked: bool,
    weighted: bool,
}

impl<'a, T: Work> Job<'a, T> {
    fn new(planes: &'a [Plane<'a>], shape: &'a Shape, plan: &'a Plan, level: Level) -> Self {
        let scaled = planes.iter().any(|plane| !plane.is_unscaled());
        let small = |plane: &Plane| {
            plane.fits.is_none_or(|fits| fits.is_plain())
                && matches!(plane.pixels.dtype(), DType::U8 | DType::I8 | DType::U16 | DType::I16)
        };
        Self {
            planes,
            shape,
            plan,
            ops: Ops::at(level),
            wide: Ops::at(level),
            network: Comparators::new(planes.len()),
            weights: planes.iter().map(|plane| plane.weight).collect(),
            exact: plan.single && !scaled && planes.iter().all(small),
            scaled,
            masked: planes.iter().any(|plane| plane.mask.is_some()),
            weighted: plan.statistic.is_weighted()
                && planes.iter().any(|plane| plane.weights.is_some()),
        }
    }
}

fn run<T: Work>(job: &Job<T>, outputs: Outputs, threads: Option<usize>) -> Result<()> {
    let pixels = job.shape.pixels();
    let useful = 1 + pixels.saturating_mul(job.planes.len()) / SAMPLES_PER_THREAD;
    let threads = threads.unwrap_or_else(pool::default_threads).min(useful);
    if threads <= 1 {
        blocks(job, 0, pixels, outputs);
        return Ok(());
    }
    // Several pieces per thread even out their speeds.
    let grain = pixels.div_ceil(threads * 8).next_multiple_of(LANES);
    pool::pool(threads)?.install(|| halve(job, 0, pixels, grain, outputs));
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
    v: Vec<Row<T>>,
    /// Columns that need more clipping passes; then, what independent steps reject.
    dense: Vec<Row<T>>,
    used: Vec<Row<T>>,
    judged: Vec<Row<T>>,
    masks: Vec<Row<u8>>,
    weights: Vec<Row<f64>>,
    outside: Vec<Row<u8>>,
}

fn blocks<T: Work>(job: &Job<T>, start: usize, len: usize, mut outputs: Outputs) {
    let frames = job.planes.len();
    let mut kit = Kit::new(job.ops, job.wide, &job.network, job.exact);
    let mut scratch = Scratch {
        v: vec![Row::filled(T::NAN); frames],
        dense: Vec::new(),
        used: Vec::new(),
        judged: Vec::new(),
        masks: if job.masked { vec![Row::filled(0); frames] } else { Vec::new() },
        weights: if job.weighted { vec![Row::filled(0.0); frames] } else { Vec::new() },
        outside: Vec::new(),
    };
    if outputs.wants(Product::MaskThresh) {
        scratch.outside = vec![Row::filled(0); frames];
    }
    let mut report = Report::new(frames, outputs.wants(Product::SampleFlags));
    let mut done = 0;
    while done < len {
        let here = (len - done).min(LANES);
        report.reset();
        block(job, start + done, here, done, &mut kit, &mut scratch, &mut report, &mut outputs);
        done += here;
    }
}

#[allow(clippy::too_many_arguments)]
fn block<T: Work>(
    job: &Job<T>,
    start: usize,
    len: usize,
    at: usize,
    kit: &mut Kit<T>,
    scratch: &mut Scratch<T>,
    report: &mut Report,
    outputs: &mut Outputs,
) {
    let plan = job.plan;
    let w = len.next_multiple_of(16);
    let mut absent = load(job, start, len, scratch, report);
    let premasked = if job.masked { load_masks(job, start, len, scratch, report) } else { false };
    if job.masked && !plan.independent && premasked {
        for (row, mask) in scratch.v.iter_mut().zip(&scratch.masks) {
            kit.ops.drop_masked(row, mask, w);
        }
        absent = true;
    }
    if job.scaled && !plan.transform_after {
        absent |= transform(job, scratch, w);
    }
    let before = report.samples.is_some().then(|| scratch.v.clone());
    if plan.independent && (premasked || plan.steps.len() > 1) {
        scratch.used.clone_from(&scratch.v);
        let any = absent;
        for step in &plan.steps {
            scratch.judged.clone_from(&scratch.v);
            let mut judged = any;
            apply(kit, step, &mut scratch.judged, w, &mut judged, &mut scratch.dense, report);
            absent |= judged;
            kit.ops.drop_absent(&mut scratch.used, &scratch.judged, w);
        }
        std::mem::swap(&mut scratch.v, &mut scratch.used);
        if premasked {
            for (row, mask) in scratch.v.iter_mut().zip(&scratch.masks) {
                kit.ops.drop_masked(row, mask, w);
            }
            absent = true;
        }
    } else {
        for step in &plan.steps {
            apply(kit, step, &mut scratch.v, w, &mut absent, &mut scratch.dense, report);
        }
    }
    if let (Some(samples), Some(before)) = (&mut report.samples, before) {
        for ((flags, row), before) in samples.iter_mut().zip(&scratch.v).zip(&before) {
            for l in 0..len {
                let rejected = before.0[l].f64().is_finite() && row.0[l].f64().is_nan();
                if rejected && flags.0[l] & sample_flags::INPUT_MASK == 0 {
                    flags.0[l] |= sample_flags::ALGORITHM;
                }
            }
        }
    }
    if job.scaled && plan.transform_after {
        absent |= transform(job, scratch, w);
    }
    let weights = if job.weighted {
        load_weights(job, start, len, scratch);
        Weights::PerSample(&scratch.weights)
    } else {
        Weights::PerFrame(&job.weights)
    };
    let combined = statistic::combine(kit, plan, &weights, &scratch.v, w, absent);
    store(kit, scratch, &combined, report, w, at, len, outputs);
}

/// One step of rejection.
fn apply<T: Work>(
    kit: &mut Kit<T>,
    step: &Step,
    v: &mut [Row<T>],
    w: usize,
    absent: &mut bool,
    dense: &mut Vec<Row<T>>,
    report: &mut Report,
) {
    match step {
        Step::SigmaClip(step) => reject::sigma_clip(kit, step, v, w, absent, dense, report),
        Step::Extrema(step) => reject::extrema(kit, step, v, w, absent, report),
        Step::Range(step) => reject::range(kit, step, v, w, absent, report),
    }
}

/// Loads the samples of a block; returns whether any is absent.
fn load<T: Work>(
    job: &Job<T>,
    start: usize,
    len: usize,
    scratch: &mut Scratch<T>,
    report: &mut Report,
) -> bool {
    let w = len.next_multiple_of(16);
    let mut absent = false;
    for (plane, row) in job.planes.iter().zip(&mut scratch.v) {
        let (view, stored) = (&plane.pixels, plane.pixels.dtype());
        let (dtype, flip) = match plane.fits {
            Some(fits) if fits.unsigned => (stored.opposite(), stored.sign_bit()),
            _ => (stored, 0),
        };
        let scaling = plane.fits.filter(|fits| !fits.is_plain());
        view.runs(job.shape, start, len, |offset, bytes| {
            prefetch(bytes);
            let to = &mut row.0[offset..len];
            absent |= match scaling {
                Some(fits) => fits.load(bytes, dtype, view.big_endian(), to),
                None => job.ops.load(dtype as usize, view.big_endian(), bytes, to, flip),
            };
        });
        for lane in &mut row.0[len..w] {
            *lane = T::convert(0_u8);
        }
    }
    if let (true, Some(samples)) = (absent, &mut report.samples) {
        for (flags, row) in samples.iter_mut().zip(&scratch.v) {
            for l in 0..len {
                if row.0[l].f64().is_nan() {
                    flags.0[l] |= sample_flags::NONFINITE;
                }
            }
        }
    }
    if let Some((low, high)) = job.plan.thresholds {
        let (low, high) = (Row::filled(T::up(low)), Row::filled(T::down(high)));
        let outside = |row: &Row<T>, l: usize| row.0[l] < low.0[l] || row.0[l] > high.0[l];
        for (flags, row) in scratch.outside.iter_mut().zip(&scratch.v) {
            for l in 0..len {
                flags.0[l] = u8::from(outside(row, l));
            }
        }
        for (flags, row) in report.samples.iter_mut().flatten().zip(&scratch.v) {
            for l in 0..len {
                if outside(row, l) {
                    flags.0[l] |= sample_flags::THRESHOLD;
                }
            }
        }
        absent |= job.ops.drop_outside(&mut scratch.v, w, &low, &high);
    }
    absent
}

/// Loads the masks of a block; returns whether any sample is masked.
fn load_masks<T: Work>(
    job: &Job<T>,
    start: usize,
    len: usize,
    scratch: &mut Scratch<T>,
    report: &mut Report,
) -> bool {
    let mut any = Row::filled(0_u8);
    for (plane, row) in job.planes.iter().zip(&mut scratch.masks) {
        let Some(view) = &plane.mask else { continue };
        *row = Row::filled(0);
        view.runs(job.shape, start, len, |offset, bytes| {
            row.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        });
        for l in 0..LANES {
            any.0[l] |= row.0[l];
        }
    }
    for l in 0..len {
        if any.0[l] != 0 {
            report.flags.0[l] |= output_flags::PREMASKED;
        }
    }
    for (flags, mask) in report.samples.iter_mut().flatten().zip(&scratch.masks) {
        for l in 0..len {
            if mask.0[l] != 0 {
                flags.0[l] |= sample_flags::INPUT_MASK;
            }
        }
    }
    any.0.iter().any(|byte| *byte != 0)
}

fn load_weights<T: Work>(job: &Job<T>, start: usize, len: usize, scratch: &mut Scratch<T>) {
    for (plane, row) in job.planes.iter().zip(&mut scratch.weights) {
        let Some(view) = &plane.weights else {
            *row = Row::filled(plane.weight);
            continue;
        };
        view.runs(job.shape, start, len, |offset, bytes| {
            let to = &mut row.0[offset..len];
            job.wide.load(view.dtype() as usize, view.big_endian(), bytes, to, 0);
        });
    }
}

/// Applies zero, factor and scale; returns whether any sample became infinite.
fn transform<T: Work>(job: &Job<T>, scratch: &mut Scratch<T>, w: usize) -> bool {
    let mut absent = false;
    for (plane, row) in job.planes.iter().zip(&mut scratch.v) {
        if !plane.is_unscaled() {
            // NaN samples count as absent here too, so that "absent" only ever errs on the safe side.
            absent |= job.ops.transform(row, w, plane.zero, plane.factor, plane.scale);
        }
    }
    absent
}

/// Writes every product of a block.
#[allow(clippy::too_many_arguments)]
fn store<T: Work>(
    kit: &Kit<T>,
    scratch: &Scratch<T>,
    combined: &statistic::Combined,
    report: &Report,
    w: usize,
    at: usize,
    len: usize,
    outputs: &mut Outputs,
) {
    let extremes = (outputs.wants(Product::Low) || outputs.wants(Product::Upp)).then(|| {
        let (mut min, mut max) = (Row::filled(T::NAN), Row::filled(T::NAN));
        kit.ops.extremes(&scratch.v, w, &mut min, &mut max);
        (widen(&min, &combined.n), widen(&max, &combined.n))
    });
    outputs.each(|product, buffer| match product {
        Product::Image => buffer.put(at, len, &combined.image),
        Product::Uncertainty => buffer.put(at, len, &combined.uncertainty),
        Product::NUsed => buffer.put_counts(at, len, &combined.n),
        Product::Mask => buffer.put_bytes(at, len, |l| u8::from(combined.n.0[l] == 0)),
        Product::Low => {
            if let Some((low, _)) = &extremes {
                buffer.put(at, len, low);
            }
        }
        Product::Upp => {
            if let Some((_, upp)) = &extremes {
                buffer.put(at, len, upp);
            }
        }
        Product::Std => buffer.put(at, len, &report.std),
        Product::Nit => buffer.put_bytes(at, len, |l| report.nit.0[l]),
        Product::OutputFlags => buffer.put_bytes(at, len, |l| report.flags.0[l]),
        Product::NRejectedLow => buffer.put_counts(at, len, &report.n_low),
        Product::NRejectedHigh => buffer.put_counts(at, len, &report.n_high),
        Product::MaskRej => {
            buffer.put_cube(at, len, |k, l| u8::from(scratch.v[k].0[l].f64().is_nan()));
        }
        Product::MaskThresh => {
            buffer.put_cube(at, len, |k, l| scratch.outside.get(k).map_or(0, |row| row.0[l]));
        }
        Product::SampleFlags => {
            if let Some(samples) = &report.samples {
                buffer.put_cube(at, len, |k, l| samples[k].0[l]);
            }
        }
    });
}
