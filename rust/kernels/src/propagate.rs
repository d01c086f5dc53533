//! What a block takes from the variances and the flags of its samples. Each is read only where it
//! is asked for, one frame at a time.

use crate::dispatch::Ops;
use crate::error::{Error, Result};
use crate::estimate::Kit;
use crate::outputs::{Outputs, Product};
use crate::plan::{Plan, Statistic, Uncertainty};
use crate::plane::{Plane, Shape, View};
use crate::prefetch::prefetch_run;
use crate::sample::{Row, Work, LANES};
use crate::statistic::{weighted_sums, Weights};
use crate::variances::{Detector, Transform};

/// What all blocks share.
pub(crate) struct Propagation<'a> {
    planes: &'a [Plane<'a>],
    shape: &'a Shape,
    statistic: Statistic,
    /// Whether uncertainties are asked for.
    pub wanted: bool,
    transforms: Vec<Transform>,
    source: Source,
}

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
        outputs: &Outputs,
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
        Some(Self { planes, shape, statistic: plan.statistic, wanted, transforms, source })
    }

    /// The weights of `len` samples from `start` on of every frame, and marks of the samples that
    /// have none, in the masks and in their union `any`.
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
        let Some(view) = &self.planes[k].variance else { return };
        load_reals(ops, view, self.shape, start, len, row);
    }

    /// Uncertainty of a result `image` of `n` samples in `len` pixels from `start` on.
    pub fn uncertainty<T: Work>(
        &self,
        kit: &Kit<T>,
        weights: &Weights,
        v: &[Row<T>],
        (start, len): (usize, usize),
        n: &Row<u32>,
        image: &Row<f64>,
    ) -> Row<f64> {
        let w = len.next_multiple_of(16);
        let weighted = self.statistic.is_weighted();
        let norm =
            if weighted { weighted_sums(kit, weights, v, w).1 } else { Row::filled(f64::NAN) };
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
                _ => self.load(k, kit.wide, start, len, &mut variance),
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
        }
        kit.wide.standard_errors(self.statistic, n, &norm, &mut total);
        total
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

/// All flags of the samples used in `len` pixels from `start` on.
pub(crate) fn gather_flags<T: Work>(
    ops: &Ops<T>,
    planes: &[Plane],
    shape: &Shape,
    start: usize,
    len: usize,
    v: &[Row<T>],
) -> Row<u32> {
    let (mut all, mut flags) = (Row::filled(0), Row::filled(0));
    for (plane, row) in planes.iter().zip(v) {
        let Some(view) = &plane.flags else { continue };
        view.runs(shape, start, len, |offset, bytes| {
            prefetch_run(bytes, 2);
            ops.load_flags(bytes, view.dtype(), view.big_endian(), &mut flags.0[offset..len]);
        });
        ops.or_flags(row, &flags, len.next_multiple_of(16), &mut all);
    }
    all
}
