//! One column of samples in plain sequential code: what the one-dimensional functions run, where a
//! block of pixels would be a waste, and the truth that the kernels are tested against.

mod propagated;
mod reject;
mod samples;

use crate::error::{Error, Result};
use crate::plan::{Clip, Plan, Rule, Statistic, Step, Uncertainty, MAD_TO_STD};
use crate::reject::output_flags;
use propagated::propagated;
use reject::reject;
use samples::{count, drop_if, extremes, here, mean, std, variance, Samples};

/// Everything that is known about one pixel.
#[derive(Clone, Debug, PartialEq)]
pub struct Pixel {
    /// The statistic.
    pub image: f64,
    /// Its uncertainty, if asked for.
    pub uncertainty: f64,
    /// Samples used.
    pub n_used: usize,
    /// Which ones.
    pub used: Vec<bool>,
    /// Smallest sample used, or lower limit of linear clipping.
    pub low: f64,
    /// Largest sample used, or upper limit of linear clipping.
    pub upp: f64,
    /// Spread of the last clipping pass.
    pub std: f64,
    /// Clipping passes that rejected something, plus one.
    pub nit: u8,
    /// Bits of `output_flags`.
    pub flags: u8,
    /// Samples rejected, and at which side (1 low, 2 high).
    pub sides: Vec<(usize, u8)>,
    /// Whether some sample is NaN or infinite.
    pub(crate) spoiled: bool,
}

/// What is known about a sample beside its value.
#[derive(Clone, Copy, Debug)]
pub struct Modifier {
    /// Whether it is bad.
    pub masked: bool,
    /// Its weight.
    pub weight: f64,
    /// Its variance, before zero, factor and scale.
    pub variance: f64,
    /// It enters as `(value - zero) * factor / scale`.
    pub zero: f64,
    /// See `zero`.
    pub factor: f64,
    /// See `zero`.
    pub scale: f64,
}

impl Default for Modifier {
    fn default() -> Self {
        Self { masked: false, weight: 1.0, variance: f64::NAN, zero: 0.0, factor: 1.0, scale: 1.0 }
    }
}

/// Combines one column of values; `modifiers` holds one entry for each, or nothing.
///
/// # Errors
/// [`Error`] if the plan makes no sense or pools over image rows, or a size does not agree.
pub fn combine_column(values: Vec<f64>, modifiers: &[Modifier], plan: &Plan) -> Result<Pixel> {
    plan.validate(values.len())?;
    if !modifiers.is_empty() {
        Error::same_length("modifiers", modifiers.len(), values.len())?;
    }
    if plan.ivar && modifiers.iter().all(|modifier| modifier.variance.is_nan()) {
        return Err(Error::option("ivar", "a column without variances", "variances"));
    }
    let pooled = |step: &Step| matches!(step, Step::Clip(Clip { rule: Rule::Pooled { .. }, .. }));
    if plan.steps.iter().any(pooled) {
        return Err(Error::option("avsigclip", "a single column", "image rows to pool over"));
    }
    not_empty(&values)?;
    Ok(combine(values, modifiers, plan))
}

fn not_empty(values: &[f64]) -> Result<()> {
    if values.is_empty() {
        Err(Error::option("number of frames", 0, "at least 1"))
    } else {
        Ok(())
    }
}

pub(crate) fn combine(mut column: Vec<f64>, modifiers: &[Modifier], plan: &Plan) -> Pixel {
    let weighted: Vec<Modifier>;
    let modifiers = if plan.ivar {
        weighted = modifiers.iter().map(|modifier| modifier.weighted()).collect();
        &weighted
    } else {
        modifiers
    };
    let round = |x: f64| if plan.single { f64::from(x as f32) } else { x };
    let finite = |x: f64| if x.is_finite() { x } else { f64::NAN };
    let transform = |s: &Modifier, x: f64| {
        if (s.zero, s.factor, s.scale) == (0.0, 1.0, 1.0) {
            x
        } else {
            finite(round((x - s.zero) * s.factor / s.scale))
        }
    };
    column.iter_mut().for_each(|x| *x = round(*x));
    let mut pixel = Pixel {
        image: f64::NAN,
        uncertainty: f64::NAN,
        n_used: 0,
        used: Vec::new(),
        low: f64::NAN,
        upp: f64::NAN,
        std: f64::NAN,
        nit: 1,
        flags: if modifiers.iter().any(|s| s.masked) { output_flags::PREMASKED } else { 0 },
        sides: Vec::new(),
        spoiled: column.iter().any(|x| !x.is_finite()),
    };
    if let Some((low, high)) = plan.thresholds {
        drop_if(&mut column, |x| x < low || x > high);
    }
    drop_if(&mut column, |x| !x.is_finite());
    let mask = |column: &mut [f64]| {
        for (x, s) in column.iter_mut().zip(modifiers) {
            if s.masked {
                *x = f64::NAN;
            }
        }
    };
    if !plan.transform_after {
        for (x, s) in column.iter_mut().zip(modifiers) {
            let here = !x.is_nan();
            *x = transform(s, *x);
            pixel.spoiled |= here && x.is_nan();
        }
    }
    let whole = if plan.independent { column.clone() } else { Vec::new() };
    mask(&mut column);
    let mut column = Samples::new(column);
    let mut linear = false;
    for step in &plan.steps {
        linear |= matches!(step, Step::Clip(Clip { rule: Rule::Linear { .. }, .. }));
        if !plan.independent {
            let sides = reject(&mut column, step, &mut pixel);
            pixel.sides.extend(sides);
            continue;
        }
        let mut judged = Samples::new(whole.clone());
        let sides = reject(&mut judged, step, &mut pixel);
        pixel.sides.extend(sides.into_iter().filter(|(k, _)| !column[*k].is_nan()));
        for (x, judged) in column.change().iter_mut().zip(judged.iter()) {
            if judged.is_nan() {
                *x = f64::NAN;
            }
        }
    }
    if plan.transform_after {
        for (x, s) in column.change().iter_mut().zip(modifiers) {
            *x = transform(s, *x);
        }
    }
    pixel.used = column.iter().map(|x| !x.is_nan()).collect();
    pixel.n_used = count(&column);
    pixel.image = statistic(&mut column, modifiers, plan);
    if !linear && pixel.n_used > 0 {
        (pixel.low, pixel.upp) = extremes(&column);
    }
    if let (0, Some(blank)) = (pixel.n_used, plan.blank) {
        pixel.image = blank;
    }
    if let Some(kind) = plan.uncertainty {
        let n = pixel.n_used as f64;
        pixel.uncertainty = match kind {
            Uncertainty::StdError => std(&column, mean(&column), 0) / n.sqrt(),
            Uncertainty::StdSum => std(&column, mean(&column), 0) / n.sqrt() * n,
            Uncertainty::Scatter => scatter(&column, modifiers, plan.statistic, pixel.image),
            Uncertainty::MadError => {
                let about = column.median();
                column.mad(about) * MAD_TO_STD / n.sqrt()
            }
            Uncertainty::Propagate | Uncertainty::Noise => {
                propagated(&pixel.used, modifiers, plan, kind, pixel.image)
            }
        };
    }
    pixel
}

/// Percentiles of the finite ones of some values, which are sorted once.
///
/// # Errors
/// [`Error`] if there are no values, or one of `q` is not between 0 and 100.
pub fn percentiles(mut values: Vec<f64>, q: &[f64]) -> Result<Vec<f64>> {
    for q in q {
        Plan::new(Statistic::Percentile(*q)).validate(values.len())?;
    }
    not_empty(&values)?;
    drop_if(&mut values, |x| !x.is_finite());
    let mut column = Samples::new(values);
    Ok(q.iter().map(|q| percentile(column.ascending(), *q)).collect())
}

fn percentile(ascending: &[f64], q: f64) -> f64 {
    let Some(last) = ascending.len().checked_sub(1) else { return f64::NAN };
    let rank = q / 100.0 * last as f64;
    let below = (rank.floor() as usize).min(last);
    let (a, b) = (ascending[below], ascending[(below + 1).min(last)]);
    let t = rank - below as f64;
    if t < 0.5 {
        a + (b - a) * t
    } else {
        b - (b - a) * (1.0 - t)
    }
}

fn weight(modifiers: &[Modifier], k: usize) -> f64 {
    modifiers.get(k).map_or(1.0, |modifier| modifier.weight)
}

/// Sum of a term of every value present, its frame and its weight, in order.
fn total(column: &[f64], modifiers: &[Modifier], term: impl Fn(usize, f64, f64) -> f64) -> f64 {
    let mut sum = 0.0;
    for (k, x) in column.iter().enumerate().filter(|(_, x)| !x.is_nan()) {
        sum += term(k, *x, weight(modifiers, k));
    }
    sum
}

fn statistic(column: &mut Samples, modifiers: &[Modifier], plan: &Plan) -> f64 {
    let norm = || total(column, modifiers, |_, _, w| w);
    let over = |top: f64, norm: f64| if norm == 0.0 { f64::NAN } else { top / norm };
    match plan.statistic {
        Statistic::Mean => mean(column),
        Statistic::Median => column.median(),
        Statistic::LowerMedian => column.lower_median(),
        Statistic::Sum => here(column).fold(0.0, |sum, x| sum + x),
        Statistic::Min if count(column) == 0 => f64::NAN,
        Statistic::Min => extremes(column).0,
        Statistic::Max if count(column) == 0 => f64::NAN,
        Statistic::Max => extremes(column).1,
        Statistic::Std { ddof } => std(column, mean(column), ddof),
        Statistic::Variance { ddof } => variance(column, mean(column), ddof),
        Statistic::WeightedMean => over(total(column, modifiers, |_, x, w| x * w), norm()),
        Statistic::WeightedSum => total(column, modifiers, |_, x, w| x * w),
        Statistic::Percentile(q) => percentile(column.ascending(), q),
        Statistic::Quadrature => {
            over(total(column, modifiers, |_, x, w| w * x * (w * x)).sqrt(), norm())
        }
        Statistic::NoiseModel => {
            let sum = total(column, modifiers, |k, x, w| {
                plan.noise[k.min(plan.noise.len() - 1)].variance(x.max(0.0)) * w * w
            });
            over(sum.sqrt(), norm())
        }
    }
}

/// IRAF's sigma; see [`Uncertainty::Scatter`].
fn scatter(column: &[f64], modifiers: &[Modifier], statistic: Statistic, image: f64) -> f64 {
    let sums = matches!(statistic, Statistic::Sum | Statistic::WeightedSum);
    let about = if sums { mean(column) } else { image };
    let n = count(column) as f64;
    let freedom = (n - 1.0).max(1.0);
    let norm = total(column, modifiers, |_, _, w| w);
    let squares = |weighted: bool| {
        total(column, modifiers, |_, x, w| {
            (if weighted { w } else { 1.0 }) * ((x - about) * (x - about))
        })
    };
    if n == 0.0 {
        f64::NAN
    } else if statistic.takes_weights() && norm > 0.0 {
        (squares(true) / norm * n / freedom).sqrt()
    } else {
        (squares(false) / freedom).sqrt()
    }
}
