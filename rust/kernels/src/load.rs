//! A block of samples from planes to the workspace: loaded, screened, masked and scaled.

use crate::estimate::Kit;
use crate::job::Job;
use crate::masks::Masks;
use crate::outputs::Spots;
use crate::prefetch::prefetch;
use crate::propagate::load_reals;
use crate::reject::{output_flags, sample_flags, Report};
use crate::sample::{Row, Work, LANES};

/// Blocks that are loaded together: rows of 256 pixels are long enough for the memory system.
pub(crate) const BLOCKS: usize = 2;

/// Room for one block, used again for the next.
pub(crate) struct Scratch<T> {
    /// Columns that need more clipping passes.
    pub dense: Vec<Row<T>>,
    /// What independent steps leave, and what one of them leaves.
    pub used: Vec<Row<T>>,
    pub judged: Vec<Row<T>>,
    /// The masks, if they are kept.
    pub masks: Vec<Row<u8>>,
    /// Not 0 for the lanes with masked samples.
    pub masked: Row<u8>,
    pub weights: Vec<Row<f64>>,
    pub outside: Vec<Row<u8>>,
}

impl<T: Work> Scratch<T> {
    pub fn new(job: &Job<T>, with_masks: bool, with_outside: bool) -> Self {
        let frames = job.planes.len();
        Self {
            dense: Vec::new(),
            used: Vec::new(),
            judged: Vec::new(),
            masks: if with_masks { vec![Row::filled(0); frames] } else { Vec::new() },
            masked: Row::filled(0),
            weights: if job.weighted { vec![Row::filled(0.0); frames] } else { Vec::new() },
            outside: if with_outside { vec![Row::filled(0); frames] } else { Vec::new() },
        }
    }
}

/// Which pixels a block holds.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The first one in the planes.
    pub start: usize,
    /// How many.
    pub len: usize,
    /// Where they are in the outputs.
    pub spots: Spots<'a>,
}

/// Loads the samples of up to [`BLOCKS`] blocks, frame after frame of each; tells for every block
/// whether any sample is not finite, or not there: those that a plane does not cover become NaN.
pub(crate) fn load<T: Work>(
    job: &Job<T>,
    start: usize,
    len: usize,
    stack: &mut [Row<T>],
) -> [bool; BLOCKS] {
    let frames = job.planes.len();
    let (mut infinite, mut reals) = ([false; BLOCKS], false);
    for (k, plane) in job.planes.iter().enumerate() {
        let (view, stored) = (&plane.pixels, plane.pixels.dtype());
        let (dtype, flip) = match plane.fits {
            Some(fits) if fits.unsigned => (stored.opposite(), stored.sign_bit()),
            _ => (stored, 0),
        };
        let scaling = plane.fits.filter(|fits| !fits.is_plain());
        reals |= scaling.is_some() || !stored.is_integer();
        let mut covered = [0; BLOCKS];
        if view.is_placed() {
            (0..BLOCKS).for_each(|block| stack[block * frames + k] = Row::filled(T::NAN));
        }
        view.runs(job.shape, start, len, |mut offset, bytes| {
            prefetch(bytes);
            let mut rest = bytes;
            while !rest.is_empty() {
                let (block, lane) = (offset / LANES, offset % LANES);
                let here = (LANES - lane).min(rest.len() / stored.size());
                let (bytes, others) = rest.split_at(here * stored.size());
                let to = &mut stack[block * frames + k].0[lane..lane + here];
                match scaling {
                    Some(fits) => fits.load(bytes, dtype, view.big_endian(), to),
                    None => job.ops.load(dtype as usize, view.big_endian(), bytes, to, flip),
                };
                covered[block] += here;
                offset += here;
                rest = others;
            }
        });
        for (block, covered) in covered.into_iter().enumerate() {
            infinite[block] |= covered < len.saturating_sub(block * LANES).min(LANES);
        }
        if !len.is_multiple_of(LANES) {
            // Lanes beside the image: any number does.
            let beside = len % LANES..(len % LANES).next_multiple_of(16);
            for lane in &mut stack[len / LANES * frames + k].0[beside] {
                *lane = T::convert(0_u8);
            }
        }
    }
    if reals {
        for (infinite, v) in infinite.iter_mut().zip(stack.chunks(frames)).take(len.div_ceil(LANES))
        {
            *infinite |= job.ops.any_infinite(v);
        }
    }
    infinite
}

/// Everything before the rejection, the masks being loaded; tells whether any sample is absent and
/// whether any is masked.
pub(crate) fn prepare<T: Work>(
    job: &Job<T>,
    place: Place,
    v: &mut [Row<T>],
    not_finite: bool,
    kit: &Kit<T>,
    scratch: &mut Scratch<T>,
    report: &mut Report,
) -> (bool, bool) {
    let w = place.len.next_multiple_of(16);
    let mut absent = screen(job, place, v, not_finite, scratch, report);
    let premasked = job.masked && note_masks(place.len, scratch, report);
    if premasked && !job.plan.independent {
        drop_masked(kit, v, &scratch.masks);
        absent = true;
    }
    if job.scaled && !job.plan.transform_after {
        absent |= transform(job, v, w, report);
    }
    (absent, premasked)
}

/// Drops the samples outside the thresholds and those that are not finite, and flags them; returns
/// whether there are any. What a plane does not cover is not finite, but spoils nothing.
pub(crate) fn screen<T: Work>(
    job: &Job<T>,
    place: Place,
    v: &mut [Row<T>],
    not_finite: bool,
    scratch: &mut Scratch<T>,
    report: &mut Report,
) -> bool {
    let w = place.len.next_multiple_of(16);
    let mut absent = not_finite;
    if not_finite {
        let lost = |k: usize, l: usize| !v[k].0[l].is_finite();
        report.flag(sample_flags::NONFINITE, lost);
        if job.spoils {
            // Single columns are of blocks that all planes cover.
            let each = matches!(place.spots, Spots::Each(_));
            let covers = |k: usize, l: usize| {
                each || job.planes[k].pixels.covers(job.shape, place.start + l)
            };
            report.spoil(v.len(), |k, l| lost(k, l) && covers(k, l));
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

/// Drops the masked samples, where the masks are kept; the others are gone.
pub(crate) fn drop_masked<T: Work>(kit: &Kit<T>, v: &mut [Row<T>], masks: &[Row<u8>]) {
    for (row, mask) in v.iter_mut().zip(masks) {
        kit.ops.drop_masked(row, &mask.0, 1);
    }
}

/// Loads the masks of a block, which begins with a pixel of a run of which they were read, or drops
/// the masked samples if masks are not kept. Also loads the weights if a sample without one is
/// masked too.
pub(crate) fn load_masks<T: Work>(
    job: &Job<T>,
    (masks, pixel): (&Masks, usize),
    place: Place,
    v: &mut [Row<T>],
    scratch: &mut Scratch<T>,
) {
    scratch.masked = Row::filled(0);
    masks.mark(job.ops, pixel, place.len, &mut scratch.masked);
    if scratch.masks.is_empty() {
        return masks.drop(job.ops, pixel, place.len, v);
    }
    masks.copy(job.ops, pixel, place.len, &mut scratch.masks);
    if let Some(propagation) = job.propagation.as_ref().filter(|_| job.plan.ivar) {
        let (weights, rows) = (&mut scratch.weights, &mut scratch.masks);
        propagation.inverse_variances(job.wide, place.start, place.len, weights, rows);
        for row in &scratch.masks {
            job.ops.mark_masked(&row.0, &mut scratch.masked);
        }
    }
}

/// Flags what is masked; returns whether anything is.
pub(crate) fn note_masks<T: Work>(len: usize, scratch: &Scratch<T>, report: &mut Report) -> bool {
    for (flags, masked) in report.flags.0.iter_mut().zip(&scratch.masked.0[..len]) {
        *flags |= if *masked != 0 { output_flags::PREMASKED } else { 0 };
    }
    report.flag(sample_flags::INPUT_MASK, |k, l| scratch.masks[k].0[l] != 0);
    scratch.masked.0.iter().any(|masked| *masked != 0)
}

pub(crate) fn load_weights<T: Work>(job: &Job<T>, place: Place, scratch: &mut Scratch<T>) {
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
pub(crate) fn transform<T: Work>(
    job: &Job<T>,
    v: &mut [Row<T>],
    w: usize,
    report: &mut Report,
) -> bool {
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
