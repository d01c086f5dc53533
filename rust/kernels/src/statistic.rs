//! The number that a column becomes, and its uncertainty.

use crate::estimate::Kit;
use crate::plan::{Center, Noise, Plan, Spread, Statistic, Uncertainty, MAD_TO_STD};
use crate::reject::Settled;
use crate::sample::{Row, Work, LANES};

/// Combines the samples left in a block.
pub(crate) struct Combined {
    pub n: Row<u32>,
    pub image: Row<f64>,
    pub uncertainty: Row<f64>,
    /// All flags of the samples, if asked for.
    pub dq: Option<Row<u32>>,
}

/// Weights of a block: one row per frame, or one number per frame.
pub(crate) enum Weights<'a> {
    PerFrame(&'a [f64]),
    PerSample(&'a [Row<f64>]),
}

pub(crate) fn combine<T: Work>(
    kit: &mut Kit<T>,
    plan: &Plan,
    weights: &Weights,
    v: &[Row<T>],
    w: usize,
    absent: bool,
    settled: Option<Settled>,
) -> Combined {
    let (n, known) = match settled {
        Some(settled) => (settled.n, settled.center),
        None => (kit.count(v, w, absent), None),
    };
    let mut image = match (plan.statistic, known) {
        (_, Some(center)) => center,
        (statistic, None) => compute(kit, statistic, weights, &plan.noise, v, w, &n, absent),
    };
    let uncertainty = match plan.uncertainty {
        // `Propagation` does the latter two.
        None | Some(Uncertainty::Propagate | Uncertainty::Noise) => Row::filled(f64::NAN),
        Some(Uncertainty::Scatter) => scatter(weights, plan.statistic, &image, v, &n),
        Some(kind) => uncertainty(kit, kind, plan.statistic, &image, v, w, &n, absent),
    };
    if let Some(blank) = plan.blank {
        for l in 0..LANES {
            image.0[l] = if n.0[l] == 0 { blank } else { image.0[l] };
        }
    }
    Combined { n, image, uncertainty, dq: None }
}

fn compute<T: Work>(
    kit: &mut Kit<T>,
    statistic: Statistic,
    weights: &Weights,
    noise: &[Noise],
    v: &[Row<T>],
    w: usize,
    n: &Row<u32>,
    absent: bool,
) -> Row<f64> {
    match statistic {
        Statistic::Mean | Statistic::Median | Statistic::LowerMedian => {
            let center = statistic.center().unwrap_or(Center::Mean);
            kit.center(center, v, w, n, absent)
        }
        Statistic::Sum => {
            let mut total = Row::filled(0.0);
            kit.ops.sum(v, w, absent, &mut total);
            total
        }
        Statistic::Min | Statistic::Max => {
            let (mut min, mut max) = (Row::filled(T::NAN), Row::filled(T::NAN));
            kit.ops.extremes(v, w, &mut min, &mut max);
            widen(if statistic == Statistic::Min { &min } else { &max }, n)
        }
        Statistic::Variance { ddof } | Statistic::Std { ddof } => {
            let mean = kit.center(Center::Mean, v, w, n, absent);
            let root = matches!(statistic, Statistic::Std { .. });
            kit.variance(&mean, ddof, root, v, w, n, absent)
        }
        Statistic::WeightedMean => {
            let (mut total, norm) = weighted_sums(kit, weights, v, w);
            for l in 0..LANES {
                total.0[l] = if norm.0[l] == 0.0 { f64::NAN } else { total.0[l] / norm.0[l] };
            }
            total
        }
        Statistic::WeightedSum => weighted_sums(kit, weights, v, w).0,
        Statistic::Percentile(q) => percentile(kit.sorted(v, w), q, n),
        Statistic::Quadrature => each(weights, v, |_, x, w| (w * x * (w * x), w)).root_over_norm(n),
        Statistic::NoiseModel => {
            let variance = |k: usize, x: f64| noise[k.min(noise.len() - 1)].variance(x.max(0.0));
            each(weights, v, |k, x, w| (variance(k, x) * w * w, w)).root_over_norm(n)
        }
    }
}

fn uncertainty<T: Work>(
    kit: &mut Kit<T>,
    kind: Uncertainty,
    statistic: Statistic,
    image: &Row<f64>,
    v: &[Row<T>],
    w: usize,
    n: &Row<u32>,
    absent: bool,
) -> Row<f64> {
    let (center, spread) = if kind == Uncertainty::MadError {
        (Center::Median, Spread::Mad { factor: MAD_TO_STD })
    } else {
        (Center::Mean, Spread::Std { ddof: 0 })
    };
    let about = match (statistic, center) {
        (Statistic::Mean, Center::Mean) | (Statistic::Median, Center::Median) => *image,
        _ => kit.center(center, v, w, n, absent),
    };
    error_of(kind, kit.spread(spread, &about, v, w, n, absent), n)
}

/// The error of the mean, median or sum from the spread of the samples.
pub(crate) fn error_of(kind: Uncertainty, mut row: Row<f64>, n: &Row<u32>) -> Row<f64> {
    for l in 0..LANES {
        let n = f64::from(n.0[l]);
        row.0[l] /= n.sqrt();
        if kind == Uncertainty::StdSum {
            row.0[l] *= n;
        }
    }
    row
}

/// sum w x and sum w.
pub(crate) fn weighted_sums<T: Work>(
    kit: &Kit<T>,
    weights: &Weights,
    v: &[Row<T>],
    w: usize,
) -> (Row<f64>, Row<f64>) {
    let (mut total, mut norm) = (Row::filled(0.0), Row::filled(0.0));
    for (k, row) in v.iter().enumerate() {
        match weights {
            Weights::PerFrame(weights) => {
                kit.ops.add_weighted(row, &Row::filled(weights[k]), w, &mut total, &mut norm);
            }
            Weights::PerSample(weights) => {
                kit.ops.add_weighted(row, &weights[k], w, &mut total, &mut norm);
            }
        }
    }
    (total, norm)
}

/// Two sums over the samples of every lane.
struct Sums {
    total: Row<f64>,
    norm: Row<f64>,
}

impl Sums {
    /// sqrt(total) / norm; NaN where there is no sample or no weight.
    fn root_over_norm(self, n: &Row<u32>) -> Row<f64> {
        let mut out = Row::filled(f64::NAN);
        for l in 0..LANES {
            if n.0[l] > 0 && self.norm.0[l] != 0.0 {
                out.0[l] = self.total.0[l].sqrt() / self.norm.0[l];
            }
        }
        out
    }
}

/// Sums of the two terms of every sample (frame, value, weight), for statistics that are seldom
/// asked for.
fn each<T: Work>(
    weights: &Weights,
    v: &[Row<T>],
    term: impl Fn(usize, f64, f64) -> (f64, f64),
) -> Sums {
    let mut sums = Sums { total: Row::filled(0.0), norm: Row::filled(0.0) };
    for (k, row) in v.iter().enumerate() {
        for l in 0..LANES {
            let x = row.0[l].f64();
            if !x.is_nan() {
                let weight = match weights {
                    Weights::PerFrame(weights) => weights[k],
                    Weights::PerSample(weights) => weights[k].0[l],
                };
                let (a, b) = term(k, x, weight);
                sums.total.0[l] += a;
                sums.norm.0[l] += b;
            }
        }
    }
    sums
}

/// IRAF's sigma image; see [`Uncertainty::Scatter`].
fn scatter<T: Work>(
    weights: &Weights,
    statistic: Statistic,
    image: &Row<f64>,
    v: &[Row<T>],
    n: &Row<u32>,
) -> Row<f64> {
    let mut about = *image;
    if matches!(statistic, Statistic::Sum | Statistic::WeightedSum) {
        let sum = each(weights, v, |_, x, _| (x, 0.0)).total;
        for l in 0..LANES {
            about.0[l] = sum.0[l] / f64::from(n.0[l]);
        }
    }
    let mut out = Row::filled(f64::NAN);
    for l in 0..LANES {
        let (mut plain, mut total, mut norm) = (0.0, 0.0, 0.0);
        for (k, row) in v.iter().enumerate() {
            let x = row.0[l].f64();
            if !x.is_nan() {
                let square = (x - about.0[l]) * (x - about.0[l]);
                let weight = match weights {
                    Weights::PerFrame(weights) => weights[k],
                    Weights::PerSample(weights) => weights[k].0[l],
                };
                plain += square;
                total += weight * square;
                norm += weight;
            }
        }
        let n = f64::from(n.0[l]);
        let freedom = (n - 1.0).max(1.0);
        out.0[l] = if n == 0.0 {
            f64::NAN
        } else if statistic.takes_weights() && norm > 0.0 {
            (total / norm * n / freedom).sqrt()
        } else {
            (plain / freedom).sqrt()
        };
    }
    out
}

/// In double precision; NaN where there is no sample.
pub(crate) fn widen<T: Work>(row: &Row<T>, n: &Row<u32>) -> Row<f64> {
    let mut out = Row::filled(f64::NAN);
    for l in 0..LANES {
        if n.0[l] > 0 {
            out.0[l] = row.0[l].f64();
        }
    }
    out
}

/// NumPy's "linear" method (Hyndman & Fan 1996, type 7): rank q (n - 1) / 100, interpolated from
/// the nearer neighbour so that the result is monotonic in q.
fn percentile<T: Work>(sorted: &[Row<T>], q: f64, n: &Row<u32>) -> Row<f64> {
    let mut out = Row::filled(f64::NAN);
    for l in 0..LANES {
        let Some(last) = (n.0[l] as usize).checked_sub(1) else { continue };
        let rank = q / 100.0 * last as f64;
        let below = (rank.floor() as usize).min(last);
        let t = rank - below as f64;
        let a = sorted[below].0[l].f64();
        let b = sorted[(below + 1).min(last)].0[l].f64();
        out.0[l] = if t < 0.5 { a + (b - a) * t } else { b - (b - a) * (1.0 - t) };
    }
    out
}
