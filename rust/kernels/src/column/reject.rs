//! Rejection in one column.

use super::samples::{count, mean, std, trimmed, Samples, Sides};
use super::Pixel;
use crate::plan::{
    Center, Clip, Extrema, ExtremaRule, Level, NanRule, Noise, PClip, Range, Revert, Rule, Spread,
    Step,
};
use crate::reject::{output_flags, HIGH, LOW};

/// Takes out what a step rejects.
pub(super) fn reject(column: &mut Samples, step: &Step, pixel: &mut Pixel) -> Sides {
    match step {
        Step::Clip(step) => clip(column, step, pixel),
        Step::PClip(step) => pclip(column, step, pixel),
        Step::Extrema(step) => extrema(column, step),
        Step::Range(step) => outside(column, step),
    }
}

fn outside(column: &mut Samples, step: &Range) -> Sides {
    let side = |x: f64| match x {
        x if x < step.low => Some(LOW),
        x if x > step.high => Some(HIGH),
        _ => None,
    };
    let sides: Sides =
        column.iter().enumerate().filter_map(|(k, x)| Some((k, side(*x)?))).collect();
    column.cut_ends(&sides);
    sides
}

fn extrema(column: &mut Samples, step: &Extrema) -> Sides {
    let all = column.len();
    let mut frames = Vec::with_capacity(all);
    frames.extend((0..all).filter(|k| !column[*k].is_nan()));
    let n = frames.len();
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
    let sides = lowest.chain(frames[n - high..].iter().map(|k| (*k, HIGH))).collect();
    // A zero goes before another with the other sign if its frame does.
    column.take_out(&sides);
    sides
}

fn pclip(column: &mut Samples, step: &PClip, pixel: &mut Pixel) -> Sides {
    let n = count(column);
    if n < 3 || n <= step.nkeep {
        return Sides::new();
    }
    let half = (column.len() / 2).max(1) as f64;
    let offset = if step.frac.abs() < 1.0 { half * step.frac } else { step.frac }.trunc();
    let offset = if step.frac < 0.0 { offset.clamp(-half, -1.0) } else { offset.clamp(1.0, half) };
    let middle = (n / 2 + usize::from(!(n.is_multiple_of(2) && offset < 0.0))) as f64;
    let rank = (middle + offset).clamp(1.0, n as f64) as usize;
    let center = column.median();
    let unit = (column.ascending()[rank - 1] - center).abs();
    if unit == 0.0 {
        return Sides::new();
    }
    let mut gone = Gone::new();
    for (k, x) in column.iter().enumerate() {
        let far = (x - center) / unit;
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
    let sides = gone.into_iter().map(|(_, k, side)| (k, side)).collect();
    column.cut_ends(&sides);
    sides
}

/// Samples to be rejected: distance from the center, frame and side.
type Gone = Vec<(f64, usize, u8)>;

/// Takes out the `least` nearest, and those within a thousandth of the last of them.
fn put_back(gone: &mut Gone, least: usize) {
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

fn clip(column: &mut Samples, step: &Clip, pixel: &mut Pixel) -> Sides {
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
            column.cut_ends(&sides);
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
        let c = center(column, step.center, pass);
        let here = count(column);
        let (reported, sigmas) = sigmas(column, &step.rule, c, pass);
        let sigma = |k: usize| match &sigmas {
            Sigmas::One(sigma) => *sigma,
            Sigmas::Each(sigmas) => sigmas[k],
        };
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
        let mut gone = Gone::new();
        let common = limits(0);
        let alike = matches!(sigmas, Sigmas::One(_));
        for (k, x) in column.iter().enumerate() {
            let (low, high) = if alike { common } else { limits(k) };
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
        let gone = gone.into_iter().map(|(_, k, side)| (k, side)).collect();
        // Where the limits are not on both sides of the center, what is put back can be among the
        // outermost.
        if alike && !(stop && (common.0 > c || common.1 < c)) {
            column.cut_ends(&gone);
        } else {
            column.take_out(&gone);
        }
        sides.extend(gone);
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

fn center(column: &mut Samples, which: Center, pass: usize) -> f64 {
    match which {
        Center::Trimmed if pass == 1 => trimmed(column),
        Center::Mean | Center::Trimmed => mean(column),
        Center::Median => column.median(),
        Center::LowerMedian => column.lower_median(),
    }
}

/// What the limits are counted in: the same for all frames, or one for each.
enum Sigmas {
    One(f64),
    Each(Vec<f64>),
}

/// The sigma that is reported, and what the limits are counted in. `c` is the center of the limits.
fn sigmas(column: &mut Samples, rule: &Rule, c: f64, pass: usize) -> (f64, Sigmas) {
    let root = |level: &Level, a: f64| ((a + level.zero) / level.scale).max(1.0).sqrt();
    let about = match rule {
        Rule::Scatter { about, .. } | Rule::Noise { about, .. } => *about,
        Rule::Pooled { .. } | Rule::Linear { .. } => None,
    };
    let a = about.map_or(c, |which| center(column, which, pass));
    let same = |sigma: f64| (sigma, Sigmas::One(sigma));
    match rule {
        Rule::Scatter { spread: Spread::Mad { factor }, .. } => same(column.mad(a) * factor),
        Rule::Scatter { spread: Spread::Std { ddof }, levels: None, .. } => {
            same(std(column, a, *ddof))
        }
        Rule::Scatter { spread: Spread::Std { ddof }, levels: Some(levels), .. } => {
            let at = |k: usize| root(&levels[k.min(levels.len() - 1)], a);
            let scaled: Vec<f64> =
                column.iter().enumerate().map(|(k, x)| (x - a) / at(k)).collect();
            let s = std(&scaled, 0.0, *ddof);
            (s, Sigmas::Each((0..column.len()).map(|k| at(k) * s).collect()))
        }
        Rule::Noise { frames, .. } => {
            let alike = Noise { level: Level::SAME, ..frames[0] }.sigma(a);
            let sigmas = match frames.as_slice() {
                [one] => Sigmas::One(one.sigma(a)),
                each => Sigmas::Each(each.iter().map(|frame| frame.sigma(a)).collect()),
            };
            (alike, sigmas)
        }
        // Refused by `combine_column`.
        Rule::Pooled { .. } => same(f64::NAN),
        Rule::Linear { .. } => same(1.0),
    }
}
