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
    /// Nothing: the limits do not hold.
    Ignore,
    /// The samples nearest to the center are put back one by one until the limits hold.
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

/// Iterative rejection of the samples outside `center - low * spread .. center + high * spread`.
#[derive(Clone, Debug, PartialEq)]
pub struct SigmaClip {
    /// Lower limit in units of the spread; infinite to keep everything below.
    pub low: f64,
    /// Upper limit.
    pub high: f64,
    /// Center of the limits.
    pub center: Center,
    /// Center of the spread, if another one.
    pub spread_center: Option<Center>,
    /// Measure of the scatter.
    pub spread: Spread,
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
    /// See [`SigmaClip`].
    SigmaClip(SigmaClip),
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

    /// Whether weights enter.
    pub fn is_weighted(self) -> bool {
        matches!(self, Self::WeightedMean | Self::WeightedSum)
    }
}

/// Uncertainty of the result, from the scatter of the samples used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncertainty {
    /// std / sqrt(n), ddof = 0.
    StdError,
    /// 1.4826 median |x - median| / sqrt(n).
    MadError,
    /// std / sqrt(n) * n, ddof = 0.
    StdSum,
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
            blank: None,
            single: false,
        }
    }

    /// Checks every option.
    ///
    /// # Errors
    /// [`Error::Option`] naming the first one that makes no sense.
    pub fn validate(&self) -> Result<()> {
        if let Statistic::Percentile(q) = self.statistic {
            if !(0.0..=100.0).contains(&q) {
                return Err(Error::option("q", q, "a percentage between 0 and 100"));
            }
        }
        if let Some((low, high)) = self.thresholds {
            ordered("thresholds", low, high)?;
        }
        for step in &self.steps {
            match step {
                Step::SigmaClip(clip) => {
                    for (name, value) in [("low", clip.low), ("high", clip.high)] {
                        if value.is_nan() || value < 0.0 {
                            return Err(Error::option(
                                &format!("sigclip {name}"),
                                value,
                                "a non-negative number of sigmas",
                            ));
                        }
                    }
                    if let Spread::Mad { factor } = clip.spread {
                        if !(factor.is_finite() && factor > 0.0) {
                            return Err(Error::option("mad_factor", factor, "a positive number"));
                        }
                    }
                }
                Step::Range(range) => ordered("range", range.low, range.high)?,
                Step::Extrema(_) => {}
            }
        }
        Ok(())
    }
}

fn ordered(argument: &str, low: f64, high: f64) -> Result<()> {
    if low <= high {
        Ok(())
    } else {
        Err(Error::option(argument, format!("({low}, {high})"), "low <= high, neither of them NaN"))
    }
}
