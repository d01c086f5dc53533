//! What a block takes from the variances and the flags of its samples. Each is read only where it
//! is asked for, one frame at a time.

use crate::dispatch::Ops;
use crate::error::{Error, Result};
use crate::estimate::Kit;
use crate::outputs::{Outputs, PerFrame, Product};
use crate::plan::{Plan, Statistic, Uncertainty};
use crate::plane::{Plane, Shape, View};
use crate::prefetch::prefetch_run;
use crate::sample::{Row, Work, LANES};
use crate::statistic::{weighted_sums, Weights};
use crate::variances::{any_negative, Detector, Form, Transform};

/// What all blocks share.
pub(crate) struct Propagation<'a> {
    planes: &'a [Plane<'a>],
    shape: &'a Shape,
    statistic: Statistic,
    /// Whether uncertainties are asked for.
    pub wanted: bool,
    transforms: Vec<Transform>,
    source: Source,
    /// Where frames with negative errors are noted, if somebody asks.
    negative: Option<&'a PerFrame>,
}

/// Where the variances and the flags of a block's samples are.
#[derive(Clone, Copy)]
pub(crate) enum Beside<'a> {
    /// In the planes: the first pixel, and how many.
    Planes(usize, usize),
    /// Where the samples were copied together.
    Columns(&'a Columns),
}

/// Variances and flags of columns from many blocks, frame by frame; nothing where none are needed.
pub(crate) struct Columns {
    variances: Vec<Row<f64>>,
    flags: Vec<Row<u32>>,
}

/// The bytes of every plane, where they follow each other everywhere: of a run of blocks, or of one
/// of these.
#[derive(Default)]
pub(crate) struct Bytes<'a> {
    pub pixels: Vec<&'a [u8]>,
    /// Empty if there is no need of them.
    variances: Vec<&'a [u8]>,
    /// The same; those of a frame without flags are empty.
    flags: Vec<&'a [u8]>,
    /// Those of the run, all of the above in that order, and how many of each belong to a block.
    run: Vec<(&'a [u8], usize)>,
}

/// One of the views that belong to a plane.
type ViewOf<'a> = fn(&'a Plane<'a>) -> Option<&'a View<'a>>;

/// Where the variances come from.
enum Source {
    Planes,
    /// The weights are their inverses.
    Weights,
    /// From the value of the result.
    Models(Vec<Detector>),
}

impl<'a> Propagation<'a> {
    /// For a plan that has been checked; `None` if it has no use for variances.
    pub fn new(
        planes: &'a [Plane<'a>],
        shape: &'a Shape,
        plan: &Plan,
        outputs: &Outputs<'a>,
    ) -> Option<Self> {
        let wanted = wanted(plan, outputs);
        if !wanted && !plan.ivar {
            return None;
        }
        let transforms: Vec<Transform> =
            planes.iter().map(|p| Transform::new(p.zero, p.factor, p.scale)).collect();
        let source = if wanted && plan.uncertainty == Some(Uncertainty::Noise) {
            let models = plan.noise.iter().chain(std::iter::repeat(&plan.noise[0]));
            let each = models.zip(&transforms);
            Source::Models(
                each.map(|(noise, transform)| Detector::new(noise, *transform)).collect(),
            )
        } else if plan.ivar {
            Source::Weights
        } else {
            Source::Planes
        };
        let (statistic, negative) = (plan.statistic, outputs.per_frame(Product::FrameNegative));
        Some(Self { planes, shape, statistic, wanted, transforms, source, negative })
    }

    /// The weights of `len` samples from `start` on of every frame, and marks of the samples that
    /// have none, in the masks.
    pub fn inverse_variances(
        &self,
        ops: &Ops<f64>,
        start: usize,
        len: usize,
        weights: &mut [Row<f64>],
        masks: &mut [Row<u8>],
    ) {
        let w = len.next_multiple_of(16);
        for (k, (weight, mask)) in weights.iter_mut().zip(masks).enumerate() {
            // Lanes beside the image have weights, so that they do not seem to be masked.
            let mut variance = Row::filled(1.0);
            self.load(k, ops, start, len, &mut variance);
            ops.inverse_variance(&variance, self.transforms[k].square, w, weight, mask);
        }
    }

    /// Variances of frame `k`.
    fn load(&self, k: usize, ops: &Ops<f64>, start: usize, len: usize, row: &mut Row<f64>) {
        let plane = &self.planes[k];
        let (Some(view), Some(form)) = (&plane.variance, Form::of(plane)) else { return };
        view.runs(self.shape, start, len, |offset, bytes| {
            prefetch_run(bytes, 2);
            if ops.load_variances(bytes, form, &mut row.0[offset..len]) {
                self.note_negative(k, bytes, form);
            }
        });
    }

    /// Notes that a frame has negative errors, if it has some among these.
    #[cold]
    fn note_negative(&self, k: usize, bytes: &[u8], form: Form) {
        if self.negative.is_some() && any_negative(bytes, form) {
            self.negative.inspect(|frames| frames.set(k));
        }
    }

    /// Uncertainty of a result `image` of `n` samples in `len` pixels from `start` on.
    pub fn uncertainty<T: Work>(
        &self,
        kit: &Kit<T>,
        weights: &Weights,
        v: &[Row<T>],
        (beside, w): (Beside, usize),
        n: &Row<u32>,
        image: &Row<f64>,
    ) -> Row<f64> {
        let weighted = self.statistic.is_weighted();
        let mut norm =
            if weighted { weighted_sums(kit, weights, v, w).1 } else { Row::filled(0.0) };
        if matches!(self.source, Source::Weights) {
            return inverse_root(&norm, n);
        }
        let level = self.level(n, &norm, image);
        let (mut variance, mut total) = (Row::filled(0.0), Row::filled(0.0));
        for (k, row) in v.iter().enumerate() {
            match &self.source {
                Source::Models(models) if k > 0 && models[k] == models[k - 1] => {}
                Source::Models(models) => {
                    kit.wide.model_variance(&level, &models[k], w, &mut variance);
                }
                _ => match beside {
                    Beside::Planes(start, len) => {
                        self.load(k, kit.wide, start, len, &mut variance);
                    }
                    Beside::Columns(columns) => variance = columns.variances[k],
                },
            }
            let c = self.transforms[k].square;
            match weights {
                Weights::PerSample(weights) if weighted => {
                    kit.ops.add_weighted_variance(row, &variance, &weights[k], c, w, &mut total);
                }
                Weights::PerFrame(weights) if weighted => {
                    let c = weights[k] * weights[k] * c;
                    kit.ops.add_variance(row, &variance, c, w, &mut total);
                }
                _ => kit.ops.add_variance(row, &variance, c, w, &mut total),
            }
            if self.is_median() {
                kit.ops.add_inverse_roots(row, &variance, c, w, &mut norm);
            }
        }
        kit.wide.standard_errors(self.statistic, n, &norm, &mut total);
        total
    }

    fn is_median(&self) -> bool {
        matches!(self.statistic, Statistic::Median | Statistic::LowerMedian)
    }

    /// The same for the blocks of a run where every sample is used, with neither scale nor weight, if
    /// it does not depend on the samples.
    ///
    /// Planes are read one after the other: long pieces of few of them come much quicker from the
    /// memory than short ones of all.
    pub fn uncertainty_of_run<T: Work>(&self, kit: &Kit<T>, bytes: &Bytes, out: &mut [Row<f64>]) {
        if !self.reads_planes() {
            return;
        }
        let n = Row::filled(bytes.variances.len() as u32);
        let none = Row::filled(0.0);
        out.fill(none);
        let mut odd = false;
        let mut norms = Vec::new();
        if self.is_median() {
            norms.resize(out.len(), none);
            for (bytes, plane) in bytes.variances.iter().zip(self.planes) {
                let Some(form) = Form::of(plane) else { continue };
                odd |= add_with_roots(kit.wide, bytes, form, out, &mut norms);
            }
        } else {
            let mut rest = &bytes.variances[..];
            for alike in self.planes.chunk_by(|a, b| Form::of(a) == Form::of(b)) {
                let here;
                (here, rest) = rest.split_at(alike.len().min(rest.len()));
                if let Some(form) = Form::of(&alike[0]) {
                    odd |= kit.wide.add_all_variances(here, form, out);
                }
            }
        }
        if odd {
            // A negative error makes the sum NaN.
            for (k, (bytes, plane)) in bytes.variances.iter().zip(self.planes).enumerate() {
                Form::of(plane).inspect(|form| self.note_negative(k, bytes, *form));
            }
        }
        let norms = norms.iter().chain(std::iter::repeat(&none));
        for (total, norm) in out.iter_mut().zip(norms) {
            kit.wide.standard_errors(self.statistic, &n, norm, total);
        }
    }

    /// The same for a block, if it follows from the value of the result.
    pub fn uncertainty_of_all<T: Work>(
        &self,
        kit: &Kit<T>,
        n: &Row<u32>,
        image: &Row<f64>,
    ) -> Option<Row<f64>> {
        let Source::Models(models) = &self.source else { return None };
        let (mut total, mut norm, mut variance) =
            (Row::filled(0.0), Row::filled(0.0), Row::filled(0.0));
        let used = Row::filled(0.0);
        let level = self.level(n, &norm, image);
        for (k, model) in models.iter().enumerate() {
            if k == 0 || *model != models[k - 1] {
                kit.wide.model_variance(&level, model, LANES, &mut variance);
            }
            kit.wide.add_variance(&used, &variance, 1.0, LANES, &mut total);
            if self.is_median() {
                kit.wide.add_inverse_roots(&used, &variance, 1.0, LANES, &mut norm);
            }
        }
        kit.wide.standard_errors(self.statistic, n, &norm, &mut total);
        Some(total)
    }

    /// Whether it needs the variances of the planes.
    fn reads_planes(&self) -> bool {
        matches!(self.source, Source::Planes)
    }

    /// What a single sample measured, if the result is what all of them say.
    fn level(&self, n: &Row<u32>, norm: &Row<f64>, image: &Row<f64>) -> Row<f64> {
        let mut level = *image;
        match self.statistic {
            Statistic::Sum => (0..LANES).for_each(|l| level.0[l] /= f64::from(n.0[l])),
            Statistic::WeightedSum => {
                for l in 0..LANES {
                    let mean = image.0[l] / norm.0[l];
                    level.0[l] = if norm.0[l] == 0.0 { f64::NAN } else { mean };
                }
            }
            _ => {}
        }
        level
    }
}

/// Whether uncertainties from variances are asked for.
fn wanted(plan: &Plan, outputs: &Outputs) -> bool {
    outputs.wants(Product::Uncertainty)
        && matches!(plan.uncertainty, Some(Uncertainty::Propagate | Uncertainty::Noise))
}

/// Checks that all variances and flags are there that are needed.
pub(crate) fn check(planes: &[Plane], plan: &Plan, outputs: &Outputs) -> Result<()> {
    let wanted = wanted(plan, outputs);
    let models = wanted && plan.uncertainty == Some(Uncertainty::Noise);
    for (k, plane) in planes.iter().enumerate() {
        if plane.variance.is_none() && (plan.ivar || wanted && !models) {
            let expected = "variances of every frame, as the plan needs them";
            return Err(Error::option(&format!("variances[{k}]"), "None", expected));
        }
        if models && plane.factor == 0.0 {
            let expected = "another number, as the noise model needs the raw level";
            return Err(Error::option(&format!("factor[{k}]"), plane.factor, expected));
        }
    }
    if outputs.wants(Product::Dq) && planes.iter().all(|plane| plane.flags.is_none()) {
        let expected = "those of one frame at least, as the output dq is asked for";
        return Err(Error::option("flags", "None", expected));
    }
    Ok(())
}

/// Adds the variances of a run of a plane, and the inverses of their roots; returns whether any is
/// NaN.
fn add_with_roots(
    ops: &Ops<f64>,
    bytes: &[u8],
    form: Form,
    totals: &mut [Row<f64>],
    norms: &mut [Row<f64>],
) -> bool {
    let (mut variance, used, mut odd) = (Row::filled(0.0), Row::filled(0.0), false);
    let blocks = bytes.chunks_exact((bytes.len() / totals.len().max(1)).max(1));
    for ((block, total), norm) in blocks.zip(totals).zip(norms) {
        prefetch_run(block, 2);
        odd |= ops.load_variances(block, form, &mut variance.0);
        ops.add_variance(&used, &variance, 1.0, LANES, total);
        ops.add_inverse_roots(&used, &variance, 1.0, LANES, norm);
    }
    odd
}

/// Uncertainty of a mean weighted by inverse variances, whose sum is `norm`.
fn inverse_root(norm: &Row<f64>, n: &Row<u32>) -> Row<f64> {
    let mut out = Row::filled(f64::NAN);
    for l in 0..LANES {
        let root = 1.0 / norm.0[l].sqrt();
        out.0[l] = if n.0[l] == 0 { f64::NAN } else { root };
    }
    out
}

/// Floats that belong to `len` samples from `start` on.
pub(crate) fn load_reals(
    ops: &Ops<f64>,
    view: &View,
    shape: &Shape,
    start: usize,
    len: usize,
    row: &mut Row<f64>,
) {
    let (dtype, big) = (view.dtype() as usize, view.big_endian());
    view.runs(shape, start, len, |offset, bytes| {
        prefetch_run(bytes, 2);
        ops.load(dtype, big, bytes, &mut row.0[offset..len], 0);
    });
}

/// All flags of the samples used in a block.
pub(crate) fn gather_flags<T: Work>(
    ops: &Ops<T>,
    planes: &[Plane],
    shape: &Shape,
    (beside, w): (Beside, usize),
    v: &[Row<T>],
) -> Row<u32> {
    let (mut all, mut flags) = (Row::filled(0), Row::filled(0));
    for (k, (plane, row)) in planes.iter().zip(v).enumerate() {
        let Some(view) = &plane.flags else { continue };
        match beside {
            Beside::Planes(start, len) => view.runs(shape, start, len, |offset, bytes| {
                prefetch_run(bytes, 2);
                ops.load_flags(bytes, view.dtype(), view.big_endian(), &mut flags.0[offset..len]);
            }),
            Beside::Columns(columns) => flags = columns.flags[k],
        }
        ops.or_flags(row, &flags, w, &mut all);
    }
    all
}

/// All flags of the samples of a block that are all used.
pub(crate) fn all_flags(ops: &Ops<f64>, planes: &[Plane], bytes: &Bytes) -> Row<u32> {
    let (mut all, mut flags, used) = (Row::filled(0), Row::filled(0), Row::filled(0.0));
    for (plane, bytes) in planes.iter().zip(&bytes.flags) {
        let Some(view) = &plane.flags else { continue };
        prefetch_run(bytes, 2);
        ops.load_flags(bytes, view.dtype(), view.big_endian(), &mut flags.0);
        ops.or_flags(&used, &flags, LANES, &mut all);
    }
    all
}

impl<'a> Bytes<'a> {
    /// Finds the run of `len` pixels from `start` on; returns whether it is whole.
    pub fn find(
        &mut self,
        planes: &'a [Plane<'a>],
        shape: &Shape,
        start: usize,
        len: usize,
        beside: &Columns,
    ) -> bool {
        self.run.clear();
        let all: [(_, bool, ViewOf<'a>); 3] = [
            (&mut self.pixels, true, |plane| Some(&plane.pixels)),
            (&mut self.variances, !beside.variances.is_empty(), |plane| plane.variance.as_ref()),
            (&mut self.flags, !beside.flags.is_empty(), |plane| plane.flags.as_ref()),
        ];
        for (to, _, view) in all.into_iter().filter(|(_, needed, _)| *needed) {
            to.clear();
            to.resize(planes.len(), &[]);
            for plane in planes {
                let found = match view(plane) {
                    Some(view) => view.run(shape, start, len).map(|b| (b, view.dtype().size())),
                    None => Some((&[][..], 0)),
                };
                let Some((bytes, size)) = found else { return false };
                self.run.push((bytes, size * LANES));
            }
        }
        true
    }

    /// Only those of a block of the run.
    pub fn block(&mut self, number: usize) {
        self.each(|run, size| run.get(number * size..(number + 1) * size).unwrap_or_default());
    }

    /// Those of the whole run.
    pub fn all(&mut self) {
        self.each(|run, _| run);
    }

    fn each(&mut self, cut: impl Fn(&'a [u8], usize) -> &'a [u8]) {
        let mut runs = &self.run[..];
        for all in [&mut self.pixels, &mut self.variances, &mut self.flags] {
            let (these, rest) = runs.split_at(all.len().min(runs.len()));
            for (bytes, (run, size)) in all.iter_mut().zip(these) {
                *bytes = cut(run, *size);
            }
            runs = rest;
        }
    }
}

impl Columns {
    /// Room for what `propagation` and `outputs` need.
    pub fn new(frames: usize, propagation: Option<&Propagation>, outputs: &Outputs) -> Self {
        let variances = propagation.is_some_and(|p| p.wanted && p.reads_planes());
        let flags = outputs.wants(Product::Dq);
        Self {
            variances: vec![Row::filled(0.0); if variances { frames } else { 0 }],
            flags: vec![Row::filled(0); if flags { frames } else { 0 }],
        }
    }

    /// Copies what belongs to the pixels `lanes` of a run to the lanes from `at` on.
    pub fn pick(
        &mut self,
        ops: &Ops<f64>,
        planes: &[Plane],
        bytes: &Bytes,
        lanes: &[u16],
        at: usize,
    ) {
        for ((row, plane), bytes) in self.variances.iter_mut().zip(planes).zip(&bytes.variances) {
            if let Some(form) = Form::of(plane) {
                ops.pick_variances(bytes, form, lanes, &mut row.0[at..]);
            }
        }
        for ((row, plane), bytes) in self.flags.iter_mut().zip(planes).zip(&bytes.flags) {
            if let Some(view) = &plane.flags {
                let (dtype, big) = (view.dtype(), view.big_endian());
                ops.pick_flags(bytes, dtype, big, lanes, &mut row.0[at..]);
            }
        }
    }
}
