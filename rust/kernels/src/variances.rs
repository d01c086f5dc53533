//! Row operations on variances and flags, in the manner of `rows.rs`, and the formulas of propagated
//! uncertainties.

use std::f64::consts::{FRAC_1_PI, FRAC_PI_2, PI};

use crate::plan::{Noise, Statistic};
use crate::plane::{ErrorKind, ErrorScaling, Plane};
use crate::prefetch::{prefetch_line, LINE};
use crate::rows::{lanes, present};
use crate::sample::{DType, Row, Work, LANES};

/// The transform of a frame as its variances see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transform {
    /// Variances are multiplied by this: (factor / scale)^2.
    pub square: f64,
    /// scale / factor: a sample of value x was `x * back + zero`.
    back: f64,
    zero: f64,
}

impl Transform {
    pub fn new(zero: f64, factor: f64, scale: f64) -> Self {
        let slope = factor / scale;
        Self { square: slope * slope, back: scale / factor, zero }
    }
}

/// The noise of a frame's samples, by the value of the result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detector {
    read: f64,
    gain: f64,
    snoise: f64,
    transform: Transform,
}

impl Detector {
    pub fn new(noise: &Noise, transform: Transform) -> Self {
        let read = noise.rdnoise / noise.gain;
        Self { read: read * read, gain: noise.gain, snoise: noise.snoise, transform }
    }

    /// Variance of a raw sample where the result is `image`.
    #[inline(always)]
    pub fn variance(&self, image: f64) -> f64 {
        let signal = image * self.transform.back + self.transform.zero;
        let signal = if signal < 0.0 { 0.0 } else { signal };
        let sensitivity = self.snoise * signal;
        self.read + signal / self.gain + sensitivity * sensitivity
    }
}

/// NaN instead of a negative variance.
#[inline(always)]
fn real(variance: f64) -> f64 {
    if variance < 0.0 {
        f64::NAN
    } else {
        variance
    }
}

/// Term of a sample in the sum of variances: `c` holds what its frame contributes.
#[inline(always)]
pub fn term(variance: f64, c: f64) -> f64 {
    real(variance) * c
}

/// Weight of a sample of that variance; there is none unless it is positive and finite.
#[inline(always)]
pub fn weight(variance: f64, square: f64) -> f64 {
    1.0 / (variance * square)
}

/// Whether a weight is one.
#[inline(always)]
pub fn is_weight(weight: f64) -> bool {
    (weight > 0.0) & (weight < f64::INFINITY)
}

/// Variance of the median of n normal samples of variance 1, as SWarp has it: pi / (2 (n + c)) with
/// c = pi/2 - 1 for odd and pi - 2 for even n (within 3 % of the true root); that of the mean for
/// n < 3. The lower of two middle samples follows the rule for odd n, but for n = 2, where it is
/// the smaller one, whose variance is 1 - 1/pi.
#[inline(always)]
fn median_variance(n: f64, odd: bool, lower: bool) -> f64 {
    let c = if odd | lower { FRAC_PI_2 - 1.0 } else { PI - 2.0 };
    let two = if lower { 1.0 - FRAC_1_PI } else { 0.5 };
    let few = if odd { 1.0 } else { two };
    let many = PI / (2.0 * (n + c));
    if n < 3.0 {
        few
    } else {
        many
    }
}

/// The variance that counts for the median of n samples, from sum v and sum 1/sigma. Where there are
/// many it is the square of the harmonic mean of the sigmas, as what counts is how densely samples
/// lie about the median; of one sample it is its own. In between this is an interpolation.
#[inline(always)]
fn typical_variance(n: f64, total: f64, inverse: f64) -> f64 {
    let (mean, harmonic) = (total / n, n / inverse);
    let many = harmonic * harmonic;
    let all = (many * (n - 1.0) + mean) / n;
    if n < 3.0 {
        mean
    } else {
        all
    }
}

/// Uncertainty of a statistic of n samples from `total`, sum v or sum w^2 v, and `norm`, sum w, or
/// for medians sum 1/sqrt(v); NaN without samples.
#[inline(always)]
pub fn standard_error(statistic: Statistic, n: u32, total: f64, norm: f64) -> f64 {
    let (count, odd) = (f64::from(n), n % 2 == 1);
    let error = match statistic {
        Statistic::Mean => total.sqrt() / count,
        Statistic::Median => {
            (typical_variance(count, total, norm) * median_variance(count, odd, false)).sqrt()
        }
        Statistic::LowerMedian => {
            (typical_variance(count, total, norm) * median_variance(count, odd, true)).sqrt()
        }
        Statistic::Sum | Statistic::WeightedSum => total.sqrt(),
        Statistic::WeightedMean => {
            let error = total.sqrt() / norm.abs();
            if norm == 0.0 {
                f64::NAN
            } else {
                error
            }
        }
        // `Plan::validate` refuses the others.
        _ => f64::NAN,
    };
    if n == 0 {
        f64::NAN
    } else {
        error
    }
}

/// [`standard_error`] of every lane.
#[inline(always)]
pub fn standard_errors(statistic: Statistic, n: &Row<u32>, norm: &Row<f64>, total: &mut Row<f64>) {
    // The statistic must be known where the loop is compiled, lest every lane ask for it.
    macro_rules! each {
        ($($statistic:ident),*) => {
            match statistic {
                $(Statistic::$statistic => for l in 0..LANES {
                    let (n, norm) = (n.0[l], norm.0[l]);
                    total.0[l] = standard_error(Statistic::$statistic, n, total.0[l], norm);
                },)*
                _ => *total = Row([f64::NAN; LANES]),
            }
        };
    }
    each!(Mean, Median, LowerMedian, Sum, WeightedMean, WeightedSum);
}

/// Adds one frame's variances times `c`, where its samples are present.
#[inline(always)]
pub fn add_variance<T: Work>(
    row: &Row<T>,
    variance: &Row<f64>,
    c: f64,
    w: usize,
    total: &mut Row<f64>,
) {
    for l in 0..lanes(w) {
        let term = term(variance.0[l], c);
        total.0[l] += if present(row.0[l]) { term } else { 0.0 };
    }
}

/// 1/sigma of a sample; see [`term`]. A zero has no sign.
#[inline(always)]
pub fn inverse_root(variance: f64, c: f64) -> f64 {
    1.0 / (term(variance, c) + 0.0).sqrt()
}

/// Adds one frame's 1/sigma, where its samples are present.
#[inline(always)]
pub fn add_inverse_roots<T: Work>(
    row: &Row<T>,
    variance: &Row<f64>,
    c: f64,
    w: usize,
    total: &mut Row<f64>,
) {
    for l in 0..lanes(w) {
        let term = inverse_root(variance.0[l], c);
        total.0[l] += if present(row.0[l]) { term } else { 0.0 };
    }
}

/// How the errors of a plane are stored, and how they become variances.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Form {
    dtype: DType,
    big: bool,
    scaling: ErrorScaling,
}

impl Form {
    /// That of a plane, if it has errors.
    pub fn of(plane: &Plane) -> Option<Self> {
        let view = plane.variance.as_ref()?;
        Some(Self { dtype: view.dtype(), big: view.big_endian(), scaling: plane.errors })
    }
}

/// Calls something with the function that reads floats of a type and byte order, which must be known
/// where the loop over them is compiled.
macro_rules! of_floats {
    ($form:expr, $value:ident => $call:expr) => {
        match ($form.dtype, $form.big) {
            (DType::F32, false) => {
                let $value = |x| f64::from(f32::from_le_bytes(x));
                $call
            }
            (DType::F32, true) => {
                let $value = |x| f64::from(f32::from_be_bytes(x));
                $call
            }
            (_, false) => {
                let $value = f64::from_le_bytes;
                $call
            }
            (_, true) => {
                let $value = f64::from_be_bytes;
                $call
            }
        }
    };
}

/// The same with the function that reads variances: in double precision, as single precision has no
/// room for squares, and NaN where the error is negative.
macro_rules! of_errors {
    ($form:expr, $factor:expr, $variance:ident => $call:expr) => {
        of_floats!($form, error => {
            let factor = $factor;
            match $form.scaling.kind {
                ErrorKind::Variance => {
                    let $variance = |x| real(error(x)) * factor;
                    $call
                }
                ErrorKind::Deviation => {
                    let $variance = |x| {
                        let sigma = real(error(x));
                        sigma * sigma * factor
                    };
                    $call
                }
                ErrorKind::Inverse => {
                    // That of -0 is negative, and that of -inf is not.
                    let $variance = |x| real(1.0 / real(error(x))) * factor;
                    $call
                }
            }
        })
    };
}

/// Reads the variances of samples of a plane; returns whether any of them is NaN.
#[inline(always)]
pub fn load_variances(raw: &[u8], form: Form, row: &mut [f64]) -> bool {
    of_errors!(form, form.scaling.factor, variance => read(raw, variance, row))
}

#[inline(always)]
fn read<const SIZE: usize>(
    raw: &[u8],
    variance: impl Fn([u8; SIZE]) -> f64,
    row: &mut [f64],
) -> bool {
    let mut odd = 0_u64;
    for (to, from) in row.iter_mut().zip(raw.as_chunks::<SIZE>().0) {
        *to = variance(*from);
        odd |= u64::from(to.is_nan());
    }
    odd != 0
}

/// Whether any error is negative.
pub fn any_negative(raw: &[u8], form: Form) -> bool {
    fn any<const SIZE: usize>(raw: &[u8], error: impl Fn([u8; SIZE]) -> f64) -> bool {
        raw.as_chunks::<SIZE>().0.iter().any(|x| error(*x) < 0.0)
    }
    of_floats!(form, error => any(raw, error))
}

/// Frames whose variances are added in one pass over the lanes.
const TOGETHER: usize = 8;

/// How far ahead of the errors in work the next ones are fetched, in bytes.
const AHEAD: usize = 2048;

/// Adds the variances of a run of every plane, one frame after the other; returns whether any sum is
/// NaN.
///
/// Some planes at a time all along the run: long pieces of few planes are read much quicker than
/// short ones of many.
#[inline(always)]
pub fn add_all_variances(planes: &[&[u8]], form: Form, totals: &mut [Row<f64>]) -> bool {
    if form.scaling.factor == 1.0 {
        of_errors!(form, 1.0, variance => add_many(planes, variance, totals));
    } else {
        of_errors!(form, form.scaling.factor, variance => add_many(planes, variance, totals));
    }
    let mut odd = 0_u64;
    for total in totals {
        for l in 0..LANES {
            odd |= u64::from(total.0[l].is_nan());
        }
    }
    odd != 0
}

#[inline(always)]
fn add_many<const SIZE: usize>(
    planes: &[&[u8]],
    variance: impl Fn([u8; SIZE]) -> f64 + Copy,
    totals: &mut [Row<f64>],
) {
    let (chunks, rest) = planes.as_chunks::<TOGETHER>();
    for chunk in chunks {
        add_some(chunk, variance, totals);
    }
    let (chunks, rest) = rest.as_chunks::<{ TOGETHER / 2 }>();
    for chunk in chunks {
        add_some(chunk, variance, totals);
    }
    for plane in rest {
        add_some(&[plane], variance, totals);
    }
}

#[inline(always)]
fn add_some<const SIZE: usize, const M: usize>(
    planes: &[&[u8]; M],
    variance: impl Fn([u8; SIZE]) -> f64,
    totals: &mut [Row<f64>],
) {
    let blocks = planes.map(|plane| plane.as_chunks::<SIZE>().0.as_chunks::<LANES>().0);
    for (number, total) in totals.iter_mut().enumerate() {
        let mut lanes = [&[[0; SIZE]; LANES]; M];
        for (to, blocks) in lanes.iter_mut().zip(&blocks) {
            let Some(block) = blocks.get(number) else { return };
            *to = block;
        }
        // A few lines at a time: more would have to wait for each other.
        for first in (0..LANES).step_by(LINE / SIZE) {
            for plane in lanes {
                prefetch_line(&plane[first], AHEAD);
            }
            for l in first..first + LINE / SIZE {
                let mut sum = total.0[l];
                for plane in lanes {
                    sum += variance(plane[l]);
                }
                total.0[l] = sum;
            }
        }
    }
}

/// Copies the variances of some lanes of a block of a plane.
#[inline(always)]
pub fn pick_variances(raw: &[u8], form: Form, lanes: &[u16], row: &mut [f64]) {
    of_errors!(form, form.scaling.factor, variance => pick(raw, variance, lanes, row));
}

#[inline(always)]
fn pick<A, const SIZE: usize>(
    raw: &[u8],
    value: impl Fn([u8; SIZE]) -> A,
    lanes: &[u16],
    row: &mut [A],
) {
    let samples = raw.as_chunks::<SIZE>().0;
    for (to, l) in row.iter_mut().zip(lanes) {
        if let Some(raw) = samples.get(usize::from(*l)) {
            *to = value(*raw);
        }
    }
}

/// Adds one frame's variances times `c` and its weights squared, where its samples are present.
#[inline(always)]
pub fn add_weighted_variance<T: Work>(
    row: &Row<T>,
    variance: &Row<f64>,
    weight: &Row<f64>,
    c: f64,
    w: usize,
    total: &mut Row<f64>,
) {
    for l in 0..lanes(w) {
        let term = term(variance.0[l], weight.0[l] * weight.0[l] * c);
        total.0[l] += if present(row.0[l]) { term } else { 0.0 };
    }
}

/// Variances of one frame by its noise model.
#[inline(always)]
pub fn model_variance(image: &Row<f64>, detector: &Detector, w: usize, variance: &mut Row<f64>) {
    for l in 0..lanes(w) {
        variance.0[l] = detector.variance(image.0[l]);
    }
}

/// The weights of one frame, and marks of the samples that have none.
#[inline(always)]
pub fn inverse_variance(
    variance: &Row<f64>,
    c: f64,
    w: usize,
    weight: &mut Row<f64>,
    mask: &mut Row<u8>,
) {
    for l in 0..lanes(w) {
        let inverse = self::weight(variance.0[l], c);
        weight.0[l] = inverse;
        mask.0[l] |= u8::from(!is_weight(inverse));
    }
}

/// Reads flags; the bits of signed integers are taken as they are.
#[inline(always)]
pub fn load_flags(raw: &[u8], dtype: DType, big: bool, row: &mut [u32]) {
    macro_rules! each {
        ($type:ty, $size:literal) => {
            for (to, from) in row.iter_mut().zip(raw.as_chunks::<$size>().0) {
                let native =
                    if big { <$type>::from_be_bytes(*from) } else { <$type>::from_le_bytes(*from) };
                *to = u32::from(native);
            }
        };
    }
    match dtype.size() {
        1 => each!(u8, 1),
        2 => each!(u16, 2),
        _ => each!(u32, 4),
    }
}

/// Copies the flags of some lanes of a block of a plane.
#[inline(always)]
pub fn pick_flags(raw: &[u8], dtype: DType, big: bool, lanes: &[u16], row: &mut [u32]) {
    match (dtype.size(), big) {
        (1, _) => pick(raw, |x| u32::from(u8::from_ne_bytes(x)), lanes, row),
        (2, false) => pick(raw, |x| u32::from(u16::from_le_bytes(x)), lanes, row),
        (2, true) => pick(raw, |x| u32::from(u16::from_be_bytes(x)), lanes, row),
        (_, false) => pick(raw, u32::from_le_bytes, lanes, row),
        (_, true) => pick(raw, u32::from_be_bytes, lanes, row),
    }
}

/// Gathers one frame's flags, where its samples are present.
#[inline(always)]
pub fn or_flags<T: Work>(row: &Row<T>, flags: &Row<u32>, w: usize, all: &mut Row<u32>) {
    for l in 0..lanes(w) {
        all.0[l] |= if present(row.0[l]) { flags.0[l] } else { 0 };
    }
}
