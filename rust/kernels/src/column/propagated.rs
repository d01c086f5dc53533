//! What the variances of the samples mean for a column.

use super::Modifier;
use crate::plan::{Plan, Statistic, Uncertainty};
use crate::variances::{self, standard_error, Detector, Transform};

impl Modifier {
    fn transform(&self) -> Transform {
        Transform::new(self.zero, self.factor, self.scale)
    }

    /// With the inverse of the variance as weight; masked if there is none.
    pub(super) fn weighted(self) -> Self {
        let weight = variances::weight(self.variance, self.transform().square);
        Self { masked: self.masked || !variances::is_weight(weight), weight, ..self }
    }
}

/// Uncertainty of a result `image` of the samples `used`; see [`Uncertainty::Propagate`] and
/// [`Uncertainty::Noise`].
pub(super) fn propagated(
    used: &[bool],
    modifiers: &[Modifier],
    plan: &Plan,
    kind: Uncertainty,
    image: f64,
) -> f64 {
    let of = |k: usize| modifiers.get(k).copied().unwrap_or_default();
    let frames = || (0..used.len()).filter(|k| used[*k]);
    let n = frames().count();
    let norm = frames().fold(0.0, |sum, k| sum + of(k).weight);
    if plan.ivar && kind == Uncertainty::Propagate {
        return if n == 0 { f64::NAN } else { 1.0 / norm.sqrt() };
    }
    let level = match plan.statistic {
        Statistic::Sum => image / n as f64,
        Statistic::WeightedSum if norm == 0.0 => f64::NAN,
        Statistic::WeightedSum => image / norm,
        _ => image,
    };
    let variance = |k: usize| {
        if kind == Uncertainty::Noise {
            let noise = &plan.noise[k.min(plan.noise.len() - 1)];
            Detector::new(noise, of(k).transform()).variance(level)
        } else {
            of(k).variance
        }
    };
    let total = frames().fold(0.0, |sum, k| {
        let (modifier, transform) = (of(k), of(k).transform());
        let weighted = plan.statistic.is_weighted();
        let c = if weighted { modifier.weight * modifier.weight } else { 1.0 };
        sum + variances::term(variance(k), c * transform.square)
    });
    let norm = if matches!(plan.statistic, Statistic::Median | Statistic::LowerMedian) {
        let inverse = |k: usize| variances::inverse_root(variance(k), of(k).transform().square);
        frames().fold(0.0, |sum, k| sum + inverse(k))
    } else {
        norm
    };
    standard_error(plan.statistic, n as u32, total, norm)
}
