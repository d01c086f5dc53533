//! What to do with every column of samples, decided and checked once, before any pixel is read.

use crate::error::{Error, Result};

/// Where a column is centred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Center {
    /// Arithmetic mean.
    Mean,
    /// Median; the mean of the two middle samples when their number is even.
    Median,
    /// The lower of the two middle samples.
    LowerMedian,
    /// Mean without the smallest and the largest sample in the first pass (if there are more than
    /// two), then the mean: IRAF's clipping about the mean.
    Trimmed,
}

/// How a column scatters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spread {
    /// sqrt(sum (x - a)^2 / (n - ddof)).
    Std {
        /// Degrees of freedom used up.
        ddof: usize,
    },
    /// `factor` times the median of |x - a|.
    Mad {
        /// 1.4826... makes it the standard deviation of Gaussian samples.
        factor: f64,
    },
}

/// What happens when a pass would leave fewer than `nkeep` samples or reject more than `maxrej`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revert {
    /// The whole pass is undone.
    Undo,
    /// `nkeep` does not hold; a pass that rejects more than `maxrej` is undone.
    Ignore,
    /// The samples of the pass that are nearest to the center (in sigmas) are put back until the
    /// limits hold, and those within 0.001 of the last one, as IRAF does.
    Closest,
}

/// What a clipping step does at a pixel where some sample is NaN or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NanRule {
    /// The statistics skip it.
    Ignore,
    /// It spoils the statistics: nothing is clipped there.
    RejectNone,
    /// It spoils the statistics: everything is rejected there.
    RejectAll,
}

/// How the level of a frame differs from that of the result: sample = level / scale - zero, with
/// the factors of IRAF.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Relative scale of the frame.
    pub scale: f64,
    /// Additive shift of the frame.
    pub zero: f64,
}

/// Noise model of one frame, in data units:
/// sigma^2 = max((rdnoise / gain)^2, tiny) + S / gain + (snoise S)^2 with S = max(0, s (c + z)),
/// and sigma / s in the units of the result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Electrons per data unit.
    pub gain: f64,
    /// Read noise in electrons.
    pub rdnoise: f64,
    /// Sensitivity noise as a fraction of the signal.
    pub snoise: f64,
    /// s and z.
    pub level: Level,
}

impl Noise {
    /// IRAF's floor of the read noise variance: never zero, so that columns without any noise can
    /// be judged.
    const FLOOR: f64 = 1e4 / 0.99e37;

    /// Variance of a sample of a frame in units of the result, for a signal of its own level.
    pub(crate) fn variance(&self, signal: f64) -> f64 {
        let gain = self.gain * self.level.scale;
        let read = (self.rdnoise / gain).powi(2).max(Self::FLOOR);
        read + signal / gain + (self.snoise * signal).powi(2)
    }

    /// Sigma of a frame where the result is `center`.
    pub(crate) fn sigma(&self, center: f64) -> f64 {
        let Level { scale, zero } = self.level;
        let signal = (scale * (center + zero)).max(0.0);
        let read = (self.rdnoise / self.gain).powi(2).max(Self::FLOOR);
        (read + signal / self.gain + (self.snoise * signal).powi(2)).sqrt() / scale
    }
}

impl Level {
    /// A frame like the result.
    pub const SAME: Self = Self { scale: 1.0, zero: 0.0 };
}

/// What the limits of a clipping are counted in.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// The scatter of the column.
    Scatter {
        /// Center of the scatter, if another one.
        about: Option<Center>,
        /// Measure of the scatter.
        spread: Spread,
        /// Poisson correction: frame i scatters sqrt(max(1, (c + z) / s)) times as much.
        levels: Option<Vec<Level>>,
    },
    /// The noise model of a detector, one for all frames or one for each.
    Noise {
        /// Center of the noise model, if another one.
        about: Option<Center>,
        /// The models.
        frames: Vec<Noise>,
    },
    /// The scatter of a whole image row in units of the root of the level (IRAF's avsigclip).
    Pooled {
        /// Pixels of a row.
        line: usize,
        /// Poisson correction.
        levels: Option<Vec<Level>>,
    },
    /// Nothing: the limits are `low_scale c - low` and `upp_scale c + upp`.
    Linear {
        /// Factor of the lower limit; its offset is [`Clip::low`].
        low_scale: f64,
        /// Factor of the upper limit; its offset is [`Clip::high`].
        upp_scale: f64,
    },
}

/// Iterative rejection of the samples outside `center - low * sigma .. center + high * sigma`.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    /// Lower limit in units of sigma; infinite to keep everything below.
    pub low: f64,
    /// Upper limit.
    pub high: f64,
    /// Center of the limits.
    pub center: Center,
    /// What sigma is.
    pub rule: Rule,
    /// Largest number of passes; `None` until nothing is rejected any more.
    pub maxiters: Option<usize>,
    /// Fewest samples to keep.
    pub nkeep: usize,
    /// Most samples that this step may reject.
    pub maxrej: Option<usize>,
    /// How the two limits above are kept.
    pub revert: Revert,
    /// What NaN and infinite samples do.
    pub nan_rule: NanRule,
    /// No pass over fewer samples.
    pub min_samples: usize,
    /// Columns without scatter are left alone, as IRAF does; else what differs from the center goes.
    pub skip_zero: bool,
}

impl Clip {
    /// Clipping until nothing changes, without limits.
    pub fn new(center: Center, rule: Rule, low: f64, high: f64) -> Self {
        Self {
            low,
            high,
            center,
            rule,
            maxiters: None,
            nkeep: 0,
            maxrej: None,
            revert: Revert::Undo,
            nan_rule: NanRule::Ignore,
            min_samples: 0,
            skip_zero: false,
        }
    }
}

/// Rejection by a percentile sample (IRAF's pclip).
#[derive(Clone, Debug, PartialEq)]
pub struct PClip {
    /// Fraction of half the stack, or number of ranks, from the median to the sample whose distance
    /// from the median is the unit of the limits; the sign tells the side.
    pub frac: f64,
    /// Lower limit; a sample on it goes.
    pub low: f64,
    /// Upper limit.
    pub high: f64,
    /// Fewest samples to keep.
    pub nkeep: usize,
    /// Most samples that this step may reject.
    pub maxrej: Option<usize>,
}

/// How many extreme samples are rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtremaRule {
    /// Ranks over all N samples, where an absent sample ranks highest (ccdproc).
    Count,
    /// k = int(n * count / N + 0.001) of the n samples present (IRAF).
    Fraction,
}

/// Rejection of the lowest and highest samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extrema {
    /// Lowest samples to reject.
    pub low: usize,
    /// Highest samples to reject.
    pub high: usize,
    /// How the counts are understood where samples are absent.
    pub rule: ExtremaRule,
}

/// Rejection of the samples below `low` or above `high`.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// Smallest value kept.
    pub low: f64,
    /// Largest value kept.
    pub high: f64,
}

/// One step of rejection.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// See [`Clip`].
    Clip(Clip),
    /// See [`PClip`].
    PClip(PClip),
    /// See [`Extrema`].
    Extrema(Extrema),
    /// See [`Range`].
    Range(Range),
}

/// What a column becomes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Statistic {
    /// Arithmetic mean.
    Mean,
    /// Median.
    Median,
    /// The lower of the two middle samples.
    LowerMedian,
    /// Sum.
    Sum,
    /// Smallest sample.
    Min,
    /// Largest sample.
    Max,
    /// sum (x - mean)^2 / (n - ddof).
    Variance {
        /// Degrees of freedom used up.
        ddof: usize,
    },
    /// Square root of the variance.
    Std {
        /// Degrees of freedom used up.
        ddof: usize,
    },
    /// sum w x / sum w.
    WeightedMean,
    /// sum w x.
    WeightedSum,
    /// Linear interpolation between order statistics, `0 <= q <= 100`.
    Percentile(f64),
    /// sqrt(sum (w x)^2) / sum w.
    Quadrature,
    /// sqrt(sum w^2 sigma^2) / sum w with the noise model [`Plan::noise`].
    NoiseModel,
}

impl Statistic {
    /// The center that the statistic is, if it is one.
    pub(crate) fn center(self) -> Option<Center> {
        match self {
            Self::Mean => Some(Center::Mean),
            Self::Median => Some(Center::Median),
            Self::LowerMedian => Some(Center::LowerMedian),
            _ => None,
        }
    }

    /// Whether weights enter, given or not.
    pub(crate) fn takes_weights(self) -> bool {
        self.is_weighted() || matches!(self, Self::Quadrature | Self::NoiseModel)
    }

    /// Whether its uncertainty follows from the variances of the samples.
    pub(crate) fn propagates(self) -> bool {
        self.is_weighted()
            || matches!(self, Self::Mean | Self::Median | Self::LowerMedian | Self::Sum)
    }

    /// Whether there is nothing to compute without weights.
    pub fn is_weighted(self) -> bool {
        matches!(self, Self::WeightedMean | Self::WeightedSum)
    }
}

/// Uncertainty of the result, from the scatter of the samples used or from what is known of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncertainty {
    /// std / sqrt(n), ddof = 0.
    StdError,
    /// 1.4826 median |x - median| / sqrt(n).
    MadError,
    /// std / sqrt(n) * n, ddof = 0.
    StdSum,
    /// IRAF's sigma image: sqrt(sum (x - r)^2 / (n - 1)) about the result r (about the mean, for
    /// sums), or sqrt(sum w (x - r)^2 / sum w * n / (n - 1)) if weights enter; 0 for n = 1.
    Scatter,
    /// From the variances v of the samples, of which the transform makes v (factor / scale)^2:
    /// sqrt(sum v) of a sum, sqrt(sum v) / n of a mean, sqrt(sum w^2 v), over |sum w|, of weighted
    /// ones, sqrt(sum v / n * f(n)) of medians, where f(n) is the variance of the median of n
    /// normal samples.
    Propagate,
    /// The same from the variances that the noise models [`Plan::noise`] give for samples at the
    /// level of the result.
    Noise,
}

/// 1 / Phi^-1(3/4): the standard deviation of Gaussian samples in units of their MAD.
pub const MAD_TO_STD: f64 = 1.482_602_218_505_602;

/// The complete recipe.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What is computed from the samples that are left.
    pub statistic: Statistic,
    /// Rejection, in order.
    pub steps: Vec<Step>,
    /// Raw values outside are absent.
    pub thresholds: Option<(f64, f64)>,
    /// Every step judges the whole column, masked samples included, and not what the others left.
    pub independent: bool,
    /// Zero, factor and scale are applied after the rejection.
    pub transform_after: bool,
    /// Uncertainty to compute.
    pub uncertainty: Option<Uncertainty>,
    /// Noise models for [`Statistic::NoiseModel`] or [`Uncertainty::Noise`], one or one for each
    /// frame.
    pub noise: Vec<Noise>,
    /// Samples are weighted with the inverse of their variance; one without a positive finite
    /// weight counts as masked.
    pub ivar: bool,
    /// Value where no sample is left; `None`: NaN, and 0 for sums.
    pub blank: Option<f64>,
    /// Work in single precision.
    pub single: bool,
}

impl Plan {
    /// A plan that only computes `statistic`.
    pub fn new(statistic: Statistic) -> Self {
        Self {
            statistic,
            steps: Vec::new(),
            thresholds: None,
            independent: false,
            transform_after: false,
            uncertainty: None,
            noise: Vec::new(),
            ivar: false,
            blank: None,
            single: false,
        }
    }

    /// Checks every option, for a stack of so many frames.
    ///
    /// # Errors
    /// [`Error::Option`] naming the first one that makes no sense.
    pub fn validate(&self, frames: usize) -> Result<()> {
        if let Statistic::Percentile(q) = self.statistic {
            if !(0.0..=100.0).contains(&q) {
                return Err(Error::option("q", q, "a percentage between 0 and 100"));
            }
        }
        if self.statistic == Statistic::NoiseModel {
            check_noise("nmodel", &self.noise)?;
            if self.noise.len() != 1 {
                Error::same_length("nmodel gain", self.noise.len(), frames)?;
            }
        }
        self.check_propagation(frames)?;
        if let Some((low, high)) = self.thresholds {
            ordered("thresholds", low, high)?;
        }
        for step in &self.steps {
            match step {
                Step::Clip(clip) => clip.validate(frames)?,
                Step::PClip(clip) => {
                    non_negative("pclip", "low", clip.low)?;
                    non_negative("pclip", "high", clip.high)?;
                    if !clip.frac.is_finite() || clip.frac == 0.0 {
                        return Err(Error::option("pclip frac", clip.frac, "finite, not 0"));
                    }
                }
                Step::Range(range) => ordered("range", range.low, range.high)?,
                Step::Extrema(_) => {}
            }
        }
        Ok(())
    }

    fn check_propagation(&self, frames: usize) -> Result<()> {
        if self.ivar && self.statistic != Statistic::WeightedMean {
            return Err(Error::option("ivar", "true", "false, unless the statistic is wmean"));
        }
        let kind = match self.uncertainty {
            Some(Uncertainty::Propagate) => "propagate",
            Some(Uncertainty::Noise) => "noise",
            _ => return Ok(()),
        };
        if !self.statistic.propagates() {
            let expected = "another kind: this one is defined for mean, median, lmedian, sum, \
                            wmean and wsum only";
            return Err(Error::option("uncertainty", kind, expected));
        }
        if kind == "noise" {
            check_noise("noise", &self.noise)?;
            if self.noise.len() != 1 {
                Error::same_length("noise gain", self.noise.len(), frames)?;
            }
            if self.noise.iter().any(|noise| noise.level != Level::SAME) {
                let expected = "none: the uncertainty uses the scale and zero of the frames";
                return Err(Error::option("noise scales and zeros", "numbers", expected));
            }
        }
        Ok(())
    }
}

impl Clip {
    /// With no more samples than that there is no spread.
    pub(crate) fn degrees_taken(&self) -> u32 {
        match self.rule {
            Rule::Scatter { spread: Spread::Std { ddof }, .. } => {
                u32::try_from(ddof).unwrap_or(u32::MAX)
            }
            _ => 0,
        }
    }

    fn validate(&self, frames: usize) -> Result<()> {
        let (name, low, high) = match self.rule {
            Rule::Scatter { .. } => ("sigclip", "low", "high"),
            Rule::Noise { .. } => ("ccdclip", "low", "high"),
            Rule::Pooled { .. } => ("avsigclip", "low", "high"),
            Rule::Linear { .. } => ("linearclip", "low", "upp"),
        };
        non_negative(name, low, self.low)?;
        non_negative(name, high, self.high)?;
        let one_each = |argument: &str, found: usize| {
            if found == frames || found == 1 {
                Ok(())
            } else {
                Error::same_length(&format!("{name} {argument}"), found, frames)
            }
        };
        match &self.rule {
            Rule::Scatter { spread, levels, .. } => {
                if let Spread::Mad { factor } = spread {
                    if levels.is_some() {
                        return Err(Error::option("sigclip scales", "spread \"mad\"", "\"std\""));
                    }
                    if !(factor.is_finite() && *factor > 0.0) {
                        return Err(Error::option("mad_factor", factor, "a positive number"));
                    }
                }
                check_levels(name, levels.as_deref().unwrap_or_default())?;
                one_each("scales", levels.as_ref().map_or(frames, Vec::len))
            }
            Rule::Pooled { levels, .. } => {
                check_levels(name, levels.as_deref().unwrap_or_default())?;
                one_each("scales", levels.as_ref().map_or(frames, Vec::len))
            }
            Rule::Noise { frames: noise, .. } => {
                check_noise(name, noise)?;
                one_each("gain", noise.len())
            }
            Rule::Linear { low_scale, upp_scale } => {
                finite_non_negative(name, "low_scale", *low_scale)?;
                finite_non_negative(name, "low", self.low)?;
                finite_non_negative(name, "upp_scale", *upp_scale)?;
                finite_non_negative(name, "upp", self.high)
            }
        }
    }
}

fn check_noise(name: &str, noise: &[Noise]) -> Result<()> {
    for noise in noise {
        if !(noise.gain.is_finite() && noise.gain > 0.0) {
            let argument = format!("{name} gain");
            return Err(Error::option(&argument, noise.gain, "a positive number"));
        }
        finite_non_negative(name, "rdnoise", noise.rdnoise)?;
        finite_non_negative(name, "snoise", noise.snoise)?;
        check_levels(name, &[noise.level])?;
    }
    Ok(())
}

fn check_levels(step: &str, levels: &[Level]) -> Result<()> {
    for level in levels {
        if !(level.scale.is_finite() && level.scale > 0.0) {
            let argument = format!("{step} scales");
            return Err(Error::option(&argument, level.scale, "positive numbers"));
        }
        if !level.zero.is_finite() {
            let argument = format!("{step} zeros");
            return Err(Error::option(&argument, level.zero, "finite numbers"));
        }
    }
    Ok(())
}

fn finite_non_negative(step: &str, option: &str, value: f64) -> Result<()> {
    if value.is_infinite() {
        return Err(Error::option(&format!("{step} {option}"), value, "a finite number"));
    }
    non_negative(step, option, value)
}

fn non_negative(step: &str, option: &str, value: f64) -> Result<()> {
    if value >= 0.0 {
        Ok(())
    } else {
        Err(Error::option(&format!("{step} {option}"), value, "a non-negative number"))
    }
}

fn ordered(argument: &str, low: f64, high: f64) -> Result<()> {
    if low <= high {
        Ok(())
    } else {
        Err(Error::option(argument, format!("({low}, {high})"), "low <= high, neither of them NaN"))
    }
}
