//! What all blocks of a combination share.

use crate::direct;
use crate::dispatch::{Looks, Ops, Simd};
use crate::plan::{NanRule, Plan, Step};
use crate::plane::{Plane, Shape};
use crate::propagate::Propagation;
use crate::sample::Work;

/// All that the blocks share.
pub(crate) struct Job<'a, T: Work> {
    pub planes: &'a [Plane<'a>],
    pub shape: &'a Shape,
    pub plan: &'a Plan,
    pub looks: Option<&'static Looks<T>>,
    pub common: Option<direct::Common>,
    pub ops: &'static Ops<T>,
    pub wide: &'static Ops<f64>,
    pub weights: Vec<f64>,
    pub scaled: bool,
    pub masked: bool,
    pub weighted: bool,
    /// For what needs variances.
    pub propagation: Option<Propagation<'a>>,
    /// Scatter of every image row, for every step that pools; else nothing.
    pub pooled: Vec<Vec<f64>>,
    /// Whether a step asks which lanes have a sample that is not finite.
    pub spoils: bool,
}

impl<'a, T: Work> Job<'a, T> {
    pub fn new(
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

    /// Whether masked samples are judged like others.
    pub fn judges_masked(&self) -> bool {
        self.plan.independent || self.plan.ivar || self.spoils
    }

    /// Pixels from `start` to where the first plane reaches a cache line: reading whole lines of
    /// many planes is quicker.
    pub fn lead(&self, start: usize) -> usize {
        let view = &self.planes[0].pixels;
        let Some(first) = view.run(self.shape, start, 1) else { return 0 };
        let (beside, size) = (first.as_ptr() as usize % 64, view.dtype().size());
        if beside.is_multiple_of(size) {
            (64 - beside) % 64 / size
        } else {
            0
        }
    }
}
