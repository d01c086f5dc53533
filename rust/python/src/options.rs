//! Python options as a kernel plan.

use std::cell::RefCell;

use imcombiners_kernels::plan::{
    Center, Clip, Extrema, ExtremaRule, Level, NanRule, Noise, PClip, Plan, Range, Revert, Rule,
    Spread, Statistic, Step, Uncertainty, MAD_TO_STD,
};
use imcombiners_kernels::plane::{ErrorKind, ErrorScaling, FitsScaling};
use pyo3::conversion::FromPyObjectOwned;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat};

/// The plan behind a `planes.Plan`.
pub(crate) fn plan_of(plan: &Bound<'_, PyAny>) -> PyResult<Plan> {
    let ddof: usize = attribute(plan, "ddof")?;
    let statistic: String = attribute(plan, "statistic")?;
    let statistic = match statistic.as_str() {
        "mean" => Statistic::Mean,
        "median" => Statistic::Median,
        "lmedian" => Statistic::LowerMedian,
        "sum" => Statistic::Sum,
        "min" => Statistic::Min,
        "max" => Statistic::Max,
        "variance" => Statistic::Variance { ddof },
        "std" => Statistic::Std { ddof },
        "wmean" => Statistic::WeightedMean,
        "wsum" => Statistic::WeightedSum,
        "percentile" => {
            let q: Option<f64> = attribute(plan, "q")?;
            let q = q.ok_or_else(|| PyValueError::new_err("q: percentile needs a percentage"))?;
            Statistic::Percentile(q)
        }
        "quadrature" => Statistic::Quadrature,
        "nmodel" => Statistic::NoiseModel,
        other => return Err(unknown("statistic", other)),
    };
    let uncertainty: Option<String> = attribute(plan, "uncertainty")?;
    let uncertainty = match uncertainty.as_deref() {
        None => None,
        Some("std_error") => Some(Uncertainty::StdError),
        Some("mad_error") => Some(Uncertainty::MadError),
        Some("std_sum") => Some(Uncertainty::StdSum),
        Some("scatter") => Some(Uncertainty::Scatter),
        Some("propagate") => Some(Uncertainty::Propagate),
        Some("noise") => Some(Uncertainty::Noise),
        Some(other) => return Err(unknown("uncertainty", other)),
    };
    let noise = plan.getattr("noise")?;
    let noise = if noise.is_none() {
        let needed = if statistic == Statistic::NoiseModel {
            Some("nmodel")
        } else {
            (uncertainty == Some(Uncertainty::Noise)).then_some("uncertainty \"noise\"")
        };
        if let Some(what) = needed {
            let text = format!("noise: None; {what} needs a noise model");
            return Err(PyValueError::new_err(text));
        }
        Vec::new()
    } else {
        model_of(&noise)?
    };
    let work: String = attribute(plan, "work")?;
    let blank: f64 = attribute(plan, "blank")?;
    let mut steps = Vec::new();
    for (name, options) in attribute::<Vec<(String, Py<PyDict>)>>(plan, "steps")? {
        steps.push(step_of(&name, options.bind(plan.py()))?);
    }
    Ok(Plan {
        statistic,
        steps,
        thresholds: attribute(plan, "thresholds")?,
        independent: attribute(plan, "independent")?,
        transform_after: attribute(plan, "transform_after")?,
        uncertainty,
        noise,
        ivar: attribute(plan, "ivar")?,
        blank: (!blank.is_nan()).then_some(blank),
        single: match work.as_str() {
            "f4" => true,
            "f8" => false,
            other => return Err(unknown("work", other)),
        },
    })
}

fn step_of(name: &str, options: &Bound<'_, PyDict>) -> PyResult<Step> {
    let options = Options { step: name, dict: options, taken: RefCell::default() };
    let step = match name {
        "sigclip" => {
            let about = about_of(&options)?;
            let spread: String = options.or("spread", "std".into())?;
            let ddof = options.or("ddof", 0)?;
            let factor = options.or("mad_factor", MAD_TO_STD)?;
            if !(f64::is_finite(factor) && factor > 0.0) {
                let text = format!("sigclip mad_factor: {factor}; expected a positive number");
                return Err(PyValueError::new_err(text));
            }
            let spread = match spread.as_str() {
                "std" => Spread::Std { ddof },
                "mad" => Spread::Mad { factor },
                other => return Err(unknown("spread", other)),
            };
            let nan_rule: String = options.or("nan_rule", "ignore".into())?;
            let zero: String = options.or("zero_spread", "reject".into())?;
            let levels = levels_of(&options)?;
            let mut clip = clip_of(&options, Rule::Scatter { about, spread, levels })?;
            clip.nan_rule = match nan_rule.as_str() {
                "ignore" => NanRule::Ignore,
                "none" => NanRule::RejectNone,
                "all" => NanRule::RejectAll,
                other => return Err(unknown("nan_rule", other)),
            };
            clip.skip_zero = match zero.as_str() {
                "reject" => false,
                "skip" => true,
                other => return Err(unknown("zero_spread", other)),
            };
            Step::Clip(clip)
        }
        "ccdclip" => {
            let (about, frames) = (about_of(&options)?, noise_of(&options)?);
            Step::Clip(clip_of(&options, Rule::Noise { about, frames })?)
        }
        "avsigclip" => {
            // The kernel call knows how long a row is.
            let rule = Rule::Pooled { line: 0, levels: levels_of(&options)? };
            Step::Clip(Clip { skip_zero: true, ..clip_of(&options, rule)? })
        }
        "linearclip" => {
            let (low_scale, upp_scale) =
                (options.or("low_scale", 1.0)?, options.or("upp_scale", 1.0)?);
            let rule = Rule::Linear { low_scale, upp_scale };
            Step::Clip(clip_with(&options, rule, options.or("low", 0.0)?, options.or("upp", 0.0)?)?)
        }
        "pclip" => Step::PClip(PClip {
            frac: options.or("frac", -0.5)?,
            low: options.get("low")?,
            high: options.get("high")?,
            nkeep: options.or("nkeep", 0)?,
            maxrej: options.or("maxrej", None)?,
        }),
        "extrema" => {
            let rule: String = options.or("rule", "count".into())?;
            Step::Extrema(Extrema {
                low: options.get("low")?,
                high: options.get("high")?,
                rule: match rule.as_str() {
                    "count" => ExtremaRule::Count,
                    "fraction" => ExtremaRule::Fraction,
                    other => return Err(unknown("rule", other)),
                },
            })
        }
        "range" => Step::Range(Range { low: options.get("low")?, high: options.get("high")? }),
        other => return Err(unknown("rejection step", other)),
    };
    options.all_taken()?;
    Ok(step)
}

fn center_of(name: &str, text: &str) -> PyResult<Center> {
    match text {
        "mean" => Ok(Center::Mean),
        "median" => Ok(Center::Median),
        "lmedian" => Ok(Center::LowerMedian),
        "trimmed" => Ok(Center::Trimmed),
        other => Err(unknown(name, other)),
    }
}

fn about_of(options: &Options) -> PyResult<Option<Center>> {
    options
        .or::<Option<String>>("spread_center", None)?
        .map(|text| center_of("spread_center", &text))
        .transpose()
}

/// A clipping by `rule`, with the options that all of them share.
fn clip_of(options: &Options, rule: Rule) -> PyResult<Clip> {
    clip_with(options, rule, options.get("low")?, options.get("high")?)
}

fn clip_with(options: &Options, rule: Rule, low: f64, high: f64) -> PyResult<Clip> {
    let center: String = options.or("center", "median".into())?;
    let revert: String = options.or("revert", "undo".into())?;
    Ok(Clip {
        maxiters: options.or("maxiters", Some(5))?,
        nkeep: options.or("nkeep", 0)?,
        maxrej: options.or("maxrej", None)?,
        min_samples: options.or("min_samples", 0)?,
        revert: match revert.as_str() {
            "undo" => Revert::Undo,
            "ignore" => Revert::Ignore,
            "closest" => Revert::Closest,
            other => return Err(unknown("revert", other)),
        },
        ..Clip::new(center_of("center", &center)?, rule, low, high)
    })
}

/// `scales` and `zeros`, one for each frame; `None` if neither is given.
fn levels_of(options: &Options) -> PyResult<Option<Vec<Level>>> {
    let scales: Option<Vec<f64>> = options.or("scales", None)?;
    let zeros: Option<Vec<f64>> = options.or("zeros", None)?;
    let n = scales.as_ref().or(zeros.as_ref()).map(Vec::len);
    let Some(n) = n else { return Ok(None) };
    let (scales, zeros) =
        (scales.unwrap_or_else(|| vec![1.0; n]), zeros.unwrap_or_else(|| vec![0.0; n]));
    if scales.len() != zeros.len() {
        return Err(PyValueError::new_err(format!(
            "{}: {} scales but {} zeros",
            options.step,
            scales.len(),
            zeros.len()
        )));
    }
    let pairs = scales.into_iter().zip(zeros);
    Ok(Some(pairs.map(|(scale, zero)| Level { scale, zero }).collect()))
}

/// `gain`, `rdnoise`, `snoise`, `scales` and `zeros`: numbers, or one for each frame.
fn noise_of(options: &Options) -> PyResult<Vec<Noise>> {
    let numbers = |name: &'static str, default: f64| {
        let value = options.optional::<Py<PyAny>>(name)?;
        value.map_or(Ok(vec![default]), |value| {
            numbers_of(&format!("{} {name}", options.step), value.bind(options.dict.py()))
        })
    };
    let (gain, rdnoise) = (numbers("gain", 1.0)?, numbers("rdnoise", 0.0)?);
    let levels = levels_of(options)?.unwrap_or_else(|| vec![Level::SAME]);
    noise_from(options.step, &gain, &rdnoise, &numbers("snoise", 0.0)?, &levels)
}

/// The noise model of a plan: a dict of options, or the numbers (gain, rdnoise, snoise).
fn model_of(noise: &Bound<'_, PyAny>) -> PyResult<Vec<Noise>> {
    if let Ok(dict) = noise.cast::<PyDict>() {
        let options = Options { step: "noise", dict, taken: RefCell::default() };
        let noise = noise_of(&options)?;
        options.all_taken()?;
        return Ok(noise);
    }
    let [gain, rdnoise, snoise]: [Bound<'_, PyAny>; 3] = noise.extract().map_err(|_| {
        let text = format!("noise: {noise}; expected (gain, rdnoise, snoise) or a dict of them");
        PyTypeError::new_err(text)
    })?;
    noise_from(
        "noise",
        &numbers_of("noise gain", &gain)?,
        &numbers_of("noise rdnoise", &rdnoise)?,
        &numbers_of("noise snoise", &snoise)?,
        &[Level::SAME],
    )
}

fn noise_from(
    step: &str,
    gain: &[f64],
    rdnoise: &[f64],
    snoise: &[f64],
    levels: &[Level],
) -> PyResult<Vec<Noise>> {
    let n = gain.len().max(rdnoise.len()).max(snoise.len()).max(levels.len());
    for (name, found) in [
        ("gain", gain.len()),
        ("rdnoise", rdnoise.len()),
        ("snoise", snoise.len()),
        ("scales", levels.len()),
    ] {
        if found != n && found != 1 {
            return Err(PyValueError::new_err(format!(
                "{step} {name}: found {found} numbers, expected one or {n}"
            )));
        }
    }
    let at = |numbers: &[f64], k: usize| numbers[k.min(numbers.len() - 1)];
    Ok((0..n)
        .map(|k| Noise {
            gain: at(gain, k),
            rdnoise: at(rdnoise, k),
            snoise: at(snoise, k),
            level: levels[k.min(levels.len() - 1)],
        })
        .collect())
}

/// A number, or one for each frame.
fn numbers_of(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<f64>> {
    match value.try_iter() {
        Ok(items) => items.map(|item| extract(name, &item?)).collect(),
        Err(_) => extract(name, value).map(|number| vec![number]),
    }
}

/// The options of one step; every one given must be known.
struct Options<'a, 'py> {
    step: &'a str,
    dict: &'a Bound<'py, PyDict>,
    taken: RefCell<Vec<&'static str>>,
}

impl Options<'_, '_> {
    fn optional<T: for<'a> FromPyObjectOwned<'a>>(
        &self,
        name: &'static str,
    ) -> PyResult<Option<T>> {
        self.taken.borrow_mut().push(name);
        self.dict
            .get_item(name)?
            .map(|value| extract(&format!("{} {name}", self.step), &value))
            .transpose()
    }

    fn or<T: for<'a> FromPyObjectOwned<'a>>(&self, name: &'static str, default: T) -> PyResult<T> {
        Ok(self.optional(name)?.unwrap_or(default))
    }

    fn get<T: for<'a> FromPyObjectOwned<'a>>(&self, name: &'static str) -> PyResult<T> {
        self.optional(name)?.ok_or_else(|| {
            PyValueError::new_err(format!("{}: option {name} is missing", self.step))
        })
    }

    fn all_taken(&self) -> PyResult<()> {
        for key in self.dict.keys() {
            let key: String = key.extract()?;
            if !self.taken.borrow().contains(&key.as_str()) {
                return Err(unknown(&format!("option of {}", self.step), &key));
            }
        }
        Ok(())
    }
}

fn attribute<T: for<'a> FromPyObjectOwned<'a>>(plan: &Bound<'_, PyAny>, name: &str) -> PyResult<T> {
    extract(name, &plan.getattr(name)?)
}

/// A value, or an error that names the argument. Negative and too large numbers are values that
/// make no sense, not overflows.
pub(crate) fn extract<T: for<'a> FromPyObjectOwned<'a>>(
    name: &str,
    value: &Bound<'_, PyAny>,
) -> PyResult<T> {
    value.extract::<T>().map_err(|error| {
        let error: PyErr = error.into();
        let text = format!("{name}: {value}; {}", error.value(value.py()));
        if error.is_instance_of::<PyTypeError>(value.py()) {
            PyTypeError::new_err(text)
        } else {
            PyValueError::new_err(text)
        }
    })
}

fn unknown(what: &str, found: &str) -> PyErr {
    PyValueError::new_err(format!("unknown {what}: {found:?}"))
}

/// One number per frame, from anything NumPy understands; `None` if not given.
pub(crate) fn vector_of(
    name: &str,
    value: &Bound<'_, PyAny>,
    frames: usize,
) -> PyResult<Option<Vec<f64>>> {
    if value.is_none() {
        return Ok(None);
    }
    let numbers = value
        .try_iter()?
        .map(|item| {
            let item = item?;
            match item.cast::<PyFloat>() {
                Ok(float) => Ok(float.value()),
                Err(_) => extract::<f64>(name, &item),
            }
        })
        .collect::<PyResult<Vec<f64>>>()?;
    if numbers.len() != frames {
        return Err(PyValueError::new_err(format!(
            "{name}: found {} numbers, expected one for each of {frames} frames",
            numbers.len()
        )));
    }
    Ok(Some(numbers))
}

/// FITS scaling of every frame.
pub(crate) fn fits_of(
    value: &Bound<'_, PyAny>,
    frames: usize,
) -> PyResult<Option<Vec<Option<FitsScaling>>>> {
    scalings_of("fits", value, frames, ("FitsScaling", "unsigned"), |item| {
        Ok(FitsScaling {
            unsigned: attribute(item, "unsigned")?,
            bscale: attribute(item, "bscale")?,
            bzero: attribute(item, "bzero")?,
            blank: attribute(item, "blank")?,
        })
    })
}

/// How the errors of every frame become variances.
pub(crate) fn errors_of(
    value: &Bound<'_, PyAny>,
    frames: usize,
) -> PyResult<Option<Vec<Option<ErrorScaling>>>> {
    scalings_of("errors", value, frames, ("ErrorScaling", "kind"), |item| {
        let kind: String = attribute(item, "kind")?;
        let kind = match kind.as_str() {
            "std" => ErrorKind::Deviation,
            "var" => ErrorKind::Variance,
            "ivar" => ErrorKind::Inverse,
            other => return Err(unknown("kind of errors", other)),
        };
        Ok(ErrorScaling { kind, factor: attribute(item, "factor")? })
    })
}

/// One thing per frame, or None for frames without; `class` is its name and an attribute it has.
fn scalings_of<'py, S>(
    name: &str,
    value: &Bound<'py, PyAny>,
    frames: usize,
    class: (&str, &str),
    read: impl Fn(&Bound<'py, PyAny>) -> PyResult<S>,
) -> PyResult<Option<Vec<Option<S>>>> {
    if value.is_none() {
        return Ok(None);
    }
    let mut all = Vec::with_capacity(frames);
    for item in value.try_iter()? {
        let item = item?;
        all.push(if item.is_none() {
            None
        } else {
            if !item.hasattr(class.1)? {
                let (found, class) = (item.get_type(), class.0);
                let text = format!("{name}: found {found}, expected {class} or None");
                return Err(PyTypeError::new_err(text));
            }
            Some(read(&item)?)
        });
    }
    if all.len() != frames {
        return Err(PyValueError::new_err(format!(
            "{name}: found {} entries, expected one for each of {frames} frames",
            all.len()
        )));
    }
    Ok(Some(all))
}
