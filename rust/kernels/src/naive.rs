//! The truth for tests: one pixel at a time, gathered, in plain sequential code.

use crate::plan::{
    Center, Extrema, ExtremaRule, NanRule, Plan, Revert, SigmaClip, Spread, Statistic, Step,
    Uncertainty, MAD_TO_STD,
};
use crate::reject::{output_flags, HIGH, LOW};

/// Everything that is known about one pixel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pixel {
    pub image: f64,
    pub uncertainty: f64,
    pub n_used: usize,
    pub used: Vec<bool>,
    pub std: f64,
    pub nit: u8,
    pub flags: u8,
    pub n_low: usize,
    pub n_high: usize,
    /// Whether some sample is NaN or infinite.
    pub spoiled: bool,
}

/// One sample on its way in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub raw: f64,
    pub masked: bool,
    pub weight: f64,
    pub zero: f64,
    pub factor: f64,
    pub scale: f64,
}

pub(crate) fn combine(samples: &[Sample], plan: &Plan) -> Pixel {
    let round = |x: f64| if plan.single { f64::from(x as f32) } else { x };
    let finite = |x: f64| if x.is_finite() { x } else { f64::NAN };
    let transform = |s: &Sample, x: f64| {
        if (s.zero, s.factor, s.scale) == (0.0, 1.0, 1.0) {
            x
        } else {
            finite(round((x - s.zero) * s.factor / s.scale))
        }
    };
    let mut column: Vec<f64> = samples.iter().map(|s| round(s.raw)).collect();
    let mut pixel = Pixel {
        image: f64::NAN,
        uncertainty: f64::NAN,
        n_used: 0,
        used: Vec::new(),
        std: f64::NAN,
        nit: 1,
        flags: if samples.iter().any(|s| s.masked) { output_flags::PREMASKED } else { 0 },
        n_low: 0,
        n_high: 0,
        spoiled: column.iter().any(|x| !x.is_finite()),
    };
    if let Some((low, high)) = plan.thresholds {
        drop_if(&mut column, |x| x < low || x > high);
    }
    drop_if(&mut column, |x| !x.is_finite());
    let mask = |column: &mut [f64]| {
        for (x, s) in column.iter_mut().zip(samples) {
            if s.masked {
                *x = f64::NAN;
            }
        }
    };
    if !plan.transform_after {
        for (x, s) in column.iter_mut().zip(samples) {
            let here = !x.is_nan();
            *x = transform(s, *x);
            pixel.spoiled |= here && x.is_nan();
        }
    }
    let whole = column.clone();
    mask(&mut column);
    for step in &plan.steps {
        let mut judged = if plan.independent { whole.clone() } else { column.clone() };
        let sides = reject(&mut judged, step, &mut pixel);
        for (k, side) in sides {
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
        for (x, s) in column.iter_mut().zip(samples) {
            *x = transform(s, *x);
        }
    }
    pixel.used = column.iter().map(|x| !x.is_nan()).collect();
    pixel.n_used = present(&column).len();
    pixel.image = statistic(&column, samples, plan.statistic);
    if let (0, Some(blank)) = (pixel.n_used, plan.blank) {
        pixel.image = blank;
    }
    if let Some(kind) = plan.uncertainty {
        let n = pixel.n_used as f64;
        pixel.uncertainty = match kind {
            Uncertainty::StdError => std(&column, mean(&column), 0) / n.sqrt(),
            Uncertainty::StdSum => std(&column, mean(&column), 0) / n.sqrt() * n,
            Uncertainty::MadError => mad(&column, median(&column)) * MAD_TO_STD / n.sqrt(),
        };
    }
    pixel
}

fn statistic(column: &[f64], samples: &[Sample], statistic: Statistic) -> f64 {
    let here = present(column);
    let weighted = || {
        column
            .iter()
            .zip(samples)
            .filter(|(x, _)| !x.is_nan())
            .fold((0.0, 0.0), |(wx, w), (x, s)| (wx + x * s.weight, w + s.weight))
    };
    match statistic {
        Statistic::Mean => mean(column),
        Statistic::Median => median(column),
        Statistic::LowerMedian => lower_median(column),
        Statistic::Sum => here.iter().fold(0.0, |sum, x| sum + x),
        Statistic::Min => here.iter().copied().reduce(f64::min).unwrap_or(f64::NAN),
        Statistic::Max => here.iter().copied().reduce(f64::max).unwrap_or(f64::NAN),
        Statistic::Std { ddof } => std(column, mean(column), ddof),
        Statistic::Variance { ddof } => variance(column, mean(column), ddof),
        Statistic::WeightedMean => {
            let (wx, w) = weighted();
            if w == 0.0 {
                f64::NAN
            } else {
                wx / w
            }
        }
        Statistic::WeightedSum => weighted().0,
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
    }
}

/// The samples rejected, and the side they were on.
type Sides = Vec<(usize, u8)>;

fn reject(column: &mut [f64], step: &Step, pixel: &mut Pixel) -> Sides {
    let sides = match step {
        Step::SigmaClip(step) => return sigma_clip(column, step, pixel),
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

fn sigma_clip(column: &mut [f64], step: &SigmaClip, pixel: &mut Pixel) -> Sides {
    let mut sides = Sides::new();
    pixel.std = f64::NAN;
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
    let center = |which: Center, column: &[f64]| match which {
        Center::Mean => mean(column),
        Center::Median => median(column),
        Center::LowerMedian => lower_median(column),
    };
    let at_start = present(column).len();
    let mut out_of_passes = step.maxiters == Some(0);
    let mut pass = 0;
    while step.maxiters.is_none_or(|most| pass < most) {
        pass += 1;
        out_of_passes = step.maxiters == Some(pass);
        let c = center(step.center, column);
        let a = step.spread_center.map_or(c, |which| center(which, column));
        let s = match step.spread {
            Spread::Std { ddof } => std(column, a, ddof),
            Spread::Mad { factor } => mad(column, a) * factor,
        };
        if !c.is_finite() || !s.is_finite() {
            break;
        }
        pixel.std = s;
        // An infinite limit times a zero spread is NaN, and compares as "keep".
        let (low, high) = (c - step.low * s, c + step.high * s);
        let outside = |x: f64| x < low || x > high;
        let mut gone: Vec<usize> = (0..column.len()).filter(|k| outside(column[*k])).collect();
        let here = present(column).len();
        let before = at_start - here;
        let nkeep = step.revert != Revert::Ignore && here - gone.len() < step.nkeep;
        let maxrej = step.maxrej.is_some_and(|most| before + gone.len() > most);
        let stop = nkeep || maxrej;
        if stop {
            pixel.flags |= if nkeep { output_flags::NKEEP } else { 0 }
                | if maxrej { output_flags::MAXREJ } else { 0 };
            let most = step.maxrej.map_or(usize::MAX, |most| most.saturating_sub(before));
            let allowed = if step.revert == Revert::Closest {
                here.saturating_sub(step.nkeep).min(most).min(gone.len())
            } else {
                0
            };
            gone.sort_by(|i, j| (column[*i] - c).abs().total_cmp(&(column[*j] - c).abs()));
            gone.drain(..gone.len() - allowed);
        }
        if !gone.is_empty() {
            pixel.nit = pixel.nit.saturating_add(1);
        }
        let nothing = gone.is_empty();
        for k in gone {
            sides.push((k, if column[k] < low { LOW } else { HIGH }));
            column[k] = f64::NAN;
        }
        if stop || nothing {
            out_of_passes = false;
            break;
        }
    }
    if out_of_passes {
        pixel.flags |= output_flags::MAXITERS;
    }
    sides
}

fn drop_if(column: &mut [f64], outside: impl Fn(f64) -> bool) {
    for x in column {
        if outside(*x) {
            *x = f64::NAN;
        }
    }
}

fn present(column: &[f64]) -> Vec<f64> {
    column.iter().copied().filter(|x| !x.is_nan()).collect()
}

fn sorted(column: &[f64]) -> Vec<f64> {
    let mut column = present(column);
    column.sort_by(f64::total_cmp);
    column
}

fn mean(column: &[f64]) -> f64 {
    let here = present(column);
    here.iter().fold(0.0, |sum, x| sum + x) / here.len() as f64
}

fn median(column: &[f64]) -> f64 {
    let sorted = sorted(column);
    let n = sorted.len();
    match n {
        0 => f64::NAN,
        _ if n % 2 == 1 => sorted[n / 2],
        _ => {
            let (a, b) = (sorted[n / 2 - 1], sorted[n / 2]);
            if (a + b).is_finite() {
                0.5 * (a + b)
            } else {
                0.5 * a + 0.5 * b
            }
        }
    }
}

fn lower_median(column: &[f64]) -> f64 {
    let sorted = sorted(column);
    sorted.len().checked_sub(1).map_or(f64::NAN, |last| sorted[last / 2])
}

fn variance(column: &[f64], about: f64, ddof: usize) -> f64 {
    let here = present(column);
    if here.len() <= ddof {
        return f64::NAN;
    }
    let squares = here.iter().fold(0.0, |sum, x| sum + (x - about) * (x - about));
    squares / (here.len() - ddof) as f64
}

fn std(column: &[f64], about: f64, ddof: usize) -> f64 {
    variance(column, about, ddof).sqrt()
}

fn mad(column: &[f64], about: f64) -> f64 {
    let distances: Vec<f64> = present(column).iter().map(|x| (x - about).abs()).collect();
    median(&distances)
}
