//! One column of samples in plain sequential code: what the one-dimensional functions run, where a
//! block of pixels would be a waste, and the truth that the kernels are tested against.

mod propagated;

use crate::error::{Error, Result};
use crate::estimate::half_sum;
use crate::plan::{
    Center, Clip, Extrema, ExtremaRule, Level, NanRule, Noise, PClip, Plan, Revert, Rule, Spread,
    Statistic, Step, Uncertainty, MAD_TO_STD,
};
use crate::reject::{output_flags, HIGH, LOW};
use propagated::propagated;

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
    /// Samples rejected at the low side.
    pub n_low: usize,
    /// Samples rejected at the high side.
    pub n_high: usize,
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
    if values.is_empty() {
        return Err(Error::option("number of frames", 0, "at least 1"));
    }
    Ok(combine(values, modifiers, plan))
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
        n_low: 0,
        n_high: 0,
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
    let mut linear = false;
    for step in &plan.steps {
        linear |= matches!(step, Step::Clip(Clip { rule: Rule::Linear { .. }, .. }));
        if !plan.independent {
            for (_, side) in reject(&mut column, step, &mut pixel) {
                *(if side == LOW { &mut pixel.n_low } else { &mut pixel.n_high }) += 1;
            }
            continue;
        }
        let mut judged = whole.clone();
        for (k, side) in reject(&mut judged, step, &mut pixel) {
            if !column[k].is_nan() {
                *(if side == LOW { &mut pixel.n_low } else { &mut pixel.n_high }) += 1;
            }
        }
        for (x, judged) in column.iter_mut().zip(judged) {
            if judged.is_nan() {
                *x = f64::NAN;
            }
        }
    }
    if plan.transform_after {
        for (x, s) in column.iter_mut().zip(modifiers) {
            *x = transform(s, *x);
        }
    }
    pixel.used = column.iter().map(|x| !x.is_nan()).collect();
    pixel.n_used = count(&column);
    pixel.image = statistic(&column, modifiers, plan);
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
            Uncertainty::MadError => mad(&column, median(&column)) * MAD_TO_STD / n.sqrt(),
            Uncertainty::Propagate | Uncertainty::Noise => {
                propagated(&pixel.used, modifiers, plan, kind, pixel.image)
            }
        };
    }
    pixel
}

/// Smallest and largest value present.
fn extremes(column: &[f64]) -> (f64, f64) {
    let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
    for x in column {
        min = if *x < min { *x } else { min };
        max = if *x > max { *x } else { max };
    }
    (min, max)
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

fn statistic(column: &[f64], modifiers: &[Modifier], plan: &Plan) -> f64 {
    let norm = || total(column, modifiers, |_, _, w| w);
    let over = |top: f64, norm: f64| if norm == 0.0 { f64::NAN } else { top / norm };
    match plan.statistic {
        Statistic::Mean => mean(column),
        Statistic::Median => median(column),
        Statistic::LowerMedian => lower_median(column),
        Statistic::Sum => here(column).fold(0.0, |sum, x| sum + x),
        Statistic::Min if count(column) == 0 => f64::NAN,
        Statistic::Min => extremes(column).0,
        Statistic::Max if count(column) == 0 => f64::NAN,
        Statistic::Max => extremes(column).1,
        Statistic::Std { ddof } => std(column, mean(column), ddof),
        Statistic::Variance { ddof } => variance(column, mean(column), ddof),
        Statistic::WeightedMean => over(total(column, modifiers, |_, x, w| x * w), norm()),
        Statistic::WeightedSum => total(column, modifiers, |_, x, w| x * w),
        Statistic::Percentile(q) => {
            let sorted = sorted(column);
            let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
            let rank = q / 100.0 * last as f64;
            let below = (rank.floor() as usize).min(last);
            let (a, b) = (sorted[below], sorted[(below + 1).min(last)]);
            let t = rank - below as f64;
            if t < 0.5 {
                a + (b - a) * t
            } else {
                b - (b - a) * (1.0 - t)
            }
        }
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

/// The samples rejected, and the side they were on.
type Sides = Vec<(usize, u8)>;

fn reject(column: &mut [f64], step: &Step, pixel: &mut Pixel) -> Sides {
    let sides = match step {
        Step::Clip(step) => return clip(column, step, pixel),
        Step::PClip(step) => pclip(column, step, pixel),
        Step::Extrema(step) => extrema(column, step),
        Step::Range(step) => (0..column.len())
            .filter_map(|k| match column[k] {
                x if x < step.low => Some((k, LOW)),
                x if x > step.high => Some((k, HIGH)),
                _ => None,
            })
            .collect(),
    };
    for (k, _) in &sides {
        column[*k] = f64::NAN;
    }
    sides
}

fn extrema(column: &[f64], step: &Extrema) -> Sides {
    let mut frames: Vec<usize> = (0..column.len()).filter(|k| !column[*k].is_nan()).collect();
    let (n, all) = (frames.len(), column.len());
    frames.sort_by(|i, j| {
        column[*i].partial_cmp(&column[*j]).unwrap_or(std::cmp::Ordering::Equal).then(i.cmp(j))
    });
    let share = |count: usize| (n as f64 * count as f64 / all as f64 + 0.001) as usize;
    let (low, high) = match step.rule {
        ExtremaRule::Count => (step.low.min(n), step.high.saturating_sub(all - n)),
        ExtremaRule::Fraction => (share(step.low).min(n), share(step.high)),
    };
    let high = high.min(n - low);
    let lowest = frames[..low].iter().map(|k| (*k, LOW));
    lowest.chain(frames[n - high..].iter().map(|k| (*k, HIGH))).collect()
}

fn pclip(column: &[f64], step: &PClip, pixel: &mut Pixel) -> Sides {
    let mut frames: Vec<usize> = (0..column.len()).filter(|k| !column[*k].is_nan()).collect();
    frames.sort_by(|i, j| column[*i].total_cmp(&column[*j]).then(i.cmp(j)));
    let n = frames.len();
    if n < 3 || n <= step.nkeep {
        return Sides::new();
    }
    let half = (column.len() / 2).max(1) as f64;
    let offset = if step.frac.abs() < 1.0 { half * step.frac } else { step.frac }.trunc();
    let offset = if step.frac < 0.0 { offset.clamp(-half, -1.0) } else { offset.clamp(1.0, half) };
    let middle = (n / 2 + usize::from(!(n.is_multiple_of(2) && offset < 0.0))) as f64;
    let rank = (middle + offset).clamp(1.0, n as f64) as usize;
    let center = median(column);
    let unit = (column[frames[rank - 1]] - center).abs();
    if unit == 0.0 {
        return Sides::new();
    }
    let mut gone: Vec<(f64, usize, u8)> = Vec::new();
    for k in frames {
        let far = (column[k] - center) / unit;
        if -far >= step.low {
            gone.push((-far, k, LOW));
        } else if far >= step.high {
            gone.push((far, k, HIGH));
        }
    }
    let keep = step.nkeep.max(step.maxrej.map_or(0, |most| n.saturating_sub(most)));
    if n - gone.len() < keep {
        pixel.flags |= if n - gone.len() < step.nkeep { output_flags::NKEEP } else { 0 };
        pixel.flags |= if step.maxrej.is_some_and(|most| gone.len() > most) {
            output_flags::MAXREJ
        } else {
            0
        };
        let least = keep - (n - gone.len());
        put_back(&mut gone, least);
    }
    gone.into_iter().map(|(_, k, side)| (k, side)).collect()
}

/// Takes out the `least` nearest, and those within a thousandth of the last of them.
fn put_back(gone: &mut Vec<(f64, usize, u8)>, least: usize) {
    gone.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut last = f64::NEG_INFINITY;
    let mut back = 0;
    while back < gone.len()
        && (back < least || gone[back].0 < last + 0.001 || gone[back].0 <= last * (1.0 + 1e-12))
    {
        last = gone[back].0;
        back += 1;
    }
    gone.drain(..back);
}

fn clip(column: &mut [f64], step: &Clip, pixel: &mut Pixel) -> Sides {
    let mut sides = Sides::new();
    pixel.std = f64::NAN;
    if let Rule::Linear { .. } = step.rule {
        (pixel.low, pixel.upp) = (f64::NAN, f64::NAN);
    }
    let spoiled = pixel.spoiled;
    match step.nan_rule {
        NanRule::RejectNone if spoiled => return sides,
        NanRule::RejectAll if spoiled => {
            sides.extend((0..column.len()).filter(|k| !column[*k].is_nan()).map(|k| (k, HIGH)));
            column.fill(f64::NAN);
            return sides;
        }
        _ => {}
    }
    let at_start = count(column);
    let mut out_of_passes = step.maxiters == Some(0);
    let mut pass = 0;
    while step.maxiters.is_none_or(|most| pass < most) {
        pass += 1;
        out_of_passes = step.maxiters == Some(pass);
        let center = |which: Center, column: &[f64]| match which {
            Center::Trimmed if pass == 1 => trimmed(column),
            Center::Mean | Center::Trimmed => mean(column),
            Center::Median => median(column),
            Center::LowerMedian => lower_median(column),
        };
        let c = center(step.center, column);
        let here = count(column);
        // The sigma that is reported, and that of every frame where they differ.
        let root = |level: &Level, a: f64| ((a + level.zero) / level.scale).max(1.0).sqrt();
        let center = |which: &Option<Center>| which.map_or(c, |which| center(which, column));
        let (reported, sigmas) = match &step.rule {
            Rule::Scatter { about, spread: Spread::Mad { factor }, .. } => {
                (mad(column, center(about)) * factor, None)
            }
            Rule::Scatter { about, spread: Spread::Std { ddof }, levels: None } => {
                (std(column, center(about), *ddof), None)
            }
            Rule::Scatter { about, spread: Spread::Std { ddof }, levels: Some(levels) } => {
                let a = center(about);
                let at = |k: usize| root(&levels[k.min(levels.len() - 1)], a);
                let scaled: Vec<f64> =
                    column.iter().enumerate().map(|(k, x)| (x - a) / at(k)).collect();
                let s = std(&scaled, 0.0, *ddof);
                (s, Some((0..column.len()).map(|k| at(k) * s).collect()))
            }
            Rule::Noise { about, frames } => {
                let a = center(about);
                let alike = Noise { level: Level::SAME, ..frames[0] };
                let each = (0..column.len()).map(|k| frames[k.min(frames.len() - 1)].sigma(a));
                (alike.sigma(a), Some(each.collect::<Vec<f64>>()))
            }
            // Refused by `combine_column`.
            Rule::Pooled { .. } => (f64::NAN, None),
            Rule::Linear { .. } => (1.0, None),
        };
        let sigma = |k: usize| sigmas.as_ref().map_or(reported, |sigmas| sigmas[k]);
        if !c.is_finite() || !reported.is_finite() {
            // A single linear pass is how that rule is meant.
            let linear = matches!(step.rule, Rule::Linear { .. });
            out_of_passes &= !(linear && pass == 1);
            break;
        }
        pixel.std = reported;
        let idle = here < step.min_samples || step.skip_zero && reported == 0.0;
        let limits = |k: usize| match step.rule {
            Rule::Linear { low_scale, upp_scale } => {
                (low_scale * c - step.low, upp_scale * c + step.high)
            }
            // An infinite limit times a zero spread is NaN, and compares as "keep".
            _ => (c - step.low * sigma(k), c + step.high * sigma(k)),
        };
        let mut gone: Vec<(f64, usize, u8)> = Vec::new();
        let common = limits(0);
        for (k, x) in column.iter().enumerate() {
            let (low, high) = if sigmas.is_some() { limits(k) } else { common };
            let side = match *x {
                x if x < low => LOW,
                x if x > high => HIGH,
                _ => continue,
            };
            if !idle {
                let unit = if sigma(k) == 0.0 { 1.0 } else { sigma(k) };
                gone.push(((x - c).abs() / unit, k, side));
            }
        }
        let before = at_start - here;
        let nkeep = step.revert != Revert::Ignore && here - gone.len() < step.nkeep;
        let maxrej = step.maxrej.is_some_and(|most| before + gone.len() > most);
        let stop = nkeep || maxrej;
        if stop {
            pixel.flags |= if nkeep { output_flags::NKEEP } else { 0 }
                | if maxrej { output_flags::MAXREJ } else { 0 };
            let most = step.maxrej.map_or(usize::MAX, |most| most.saturating_sub(before));
            let allowed = here.saturating_sub(step.nkeep).min(most).min(gone.len());
            if step.revert == Revert::Closest {
                let least = gone.len() - allowed;
                put_back(&mut gone, least);
            } else {
                gone.clear();
            }
        }
        let linear = matches!(step.rule, Rule::Linear { .. });
        if linear && !stop {
            (pixel.low, pixel.upp) = limits(0);
        }
        if linear {
            pixel.nit = if pass == 1 { 1 } else { pixel.nit.saturating_add(1) };
        } else if !gone.is_empty() {
            pixel.nit = pixel.nit.saturating_add(1);
        }
        let nothing = gone.is_empty();
        for (_, k, side) in gone {
            sides.push((k, side));
            column[k] = f64::NAN;
        }
        if stop || nothing || linear && pass == 1 && out_of_passes {
            out_of_passes = false;
            break;
        }
    }
    if out_of_passes {
        pixel.flags |= output_flags::MAXITERS;
    }
    sides
}

/// Mean without the smallest and the largest of more than two samples.
fn trimmed(column: &[f64]) -> f64 {
    let mut here: Vec<f64> = here(column).collect();
    if here.len() > 2 {
        for extreme in [f64::min, f64::max] {
            let Some(value) = here.iter().copied().reduce(extreme) else { continue };
            here.retain({
                let mut found = false;
                move |x| {
                    found || {
                        found = *x == value;
                        !found
                    }
                }
            });
        }
    }
    here.iter().fold(0.0, |sum, x| sum + x) / here.len() as f64
}

fn drop_if(column: &mut [f64], outside: impl Fn(f64) -> bool) {
    for x in column {
        if outside(*x) {
            *x = f64::NAN;
        }
    }
}

/// The values present.
fn here(column: &[f64]) -> impl Iterator<Item = f64> + '_ {
    column.iter().copied().filter(|x| !x.is_nan())
}

fn count(column: &[f64]) -> usize {
    here(column).count()
}

fn sorted(column: &[f64]) -> Vec<f64> {
    let mut column: Vec<f64> = here(column).collect();
    column.sort_unstable_by(f64::total_cmp);
    column
}

fn mean(column: &[f64]) -> f64 {
    let (n, sum) = here(column).fold((0_usize, 0.0), |(n, sum), x| (n + 1, sum + x));
    sum / n as f64
}

/// The two middle values, which are the same one if their number is odd.
fn middle(mut column: Vec<f64>) -> Option<(f64, f64)> {
    let half = column.len().checked_sub(1)? / 2;
    let even = column.len().is_multiple_of(2);
    let (_, low, above) = column.select_nth_unstable_by(half, f64::total_cmp);
    let low = *low;
    let high = if even { above.iter().copied().fold(f64::INFINITY, f64::min) } else { low };
    Some((low, high))
}

fn median(column: &[f64]) -> f64 {
    let Some((a, b)) = middle(here(column).collect()) else { return f64::NAN };
    half_sum(a, b)
}

fn lower_median(column: &[f64]) -> f64 {
    middle(here(column).collect()).map_or(f64::NAN, |(low, _)| low)
}

fn variance(column: &[f64], about: f64, ddof: usize) -> f64 {
    let square = |x: f64| (x - about) * (x - about);
    let (n, squares) = here(column).fold((0, 0.0), |(n, sum), x| (n + 1, sum + square(x)));
    if n > ddof {
        squares / (n - ddof) as f64
    } else {
        f64::NAN
    }
}

fn std(column: &[f64], about: f64, ddof: usize) -> f64 {
    variance(column, about, ddof).sqrt()
}

fn mad(column: &[f64], about: f64) -> f64 {
    let distances: Vec<f64> = here(column).map(|x| (x - about).abs()).collect();
    median(&distances)
}
