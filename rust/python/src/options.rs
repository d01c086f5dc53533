//! Python options as a kernel plan.

use std::cell::RefCell;

use imcombiners_kernels::plan::{
    Center, Extrema, ExtremaRule, NanRule, Plan, Range, Revert, SigmaClip, Spread, Statistic, Step,
    Uncertainty,
};
use imcombiners_kernels::plane::FitsScaling;
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
        other => return Err(unknown("statistic", other)),
    };
    let uncertainty: Option<String> = attribute(plan, "uncertainty")?;
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
        uncertainty: match uncertainty.as_deref() {
            None => None,
            Some("std_error") => Some(Uncertainty::StdError),
            Some("mad_error") => Some(Uncertainty::MadError),
            Some("std_sum") => Some(Uncertainty::StdSum),
            Some(other) => return Err(unknown("uncertainty", other)),
        },
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
            let center = |name: &str, text: &str| match text {
                "mean" => Ok(Center::Mean),
                "median" => Ok(Center::Median),
                "lmedian" => Ok(Center::LowerMedian),
                other => Err(unknown(name, other)),
            };
            let spread: String = options.or("spread", "std".into())?;
            let ddof = options.or("ddof", 0)?;
            let factor = options.or("mad_factor", imcombiners_kernels::plan::MAD_TO_STD)?;
            if !(f64::is_finite(factor) && factor > 0.0) {
                let text = format!("sigclip mad_factor: {factor}; expected a positive number");
                return Err(PyValueError::new_err(text));
            }
            let revert: String = options.or("revert", "undo".into())?;
            let nan_rule: String = options.or("nan_rule", "ignore".into())?;
            Step::SigmaClip(SigmaClip {
                low: options.get("low")?,
                high: options.get("high")?,
                center: center("center", &options.or::<String>("center", "median".into())?)?,
                spread_center: options
                    .or::<Option<String>>("spread_center", None)?
                    .map(|text| center("spread_center", &text))
                    .transpose()?,
                spread: match spread.as_str() {
                    "std" => Spread::Std { ddof },
                    "mad" => Spread::Mad { factor },
                    other => return Err(unknown("spread", other)),
                },
                maxiters: options.or("maxiters", Some(5))?,
                nkeep: options.or("nkeep", 0)?,
                maxrej: options.or("maxrej", None)?,
                revert: match revert.as_str() {
                    "undo" => Revert::Undo,
                    "ignore" => Revert::Ignore,
                    "closest" => Revert::Closest,
                    other => return Err(unknown("revert", other)),
                },
                nan_rule: match nan_rule.as_str() {
                    "ignore" => NanRule::Ignore,
                    "none" => NanRule::RejectNone,
                    "all" => NanRule::RejectAll,
                    other => return Err(unknown("nan_rule", other)),
                },
            })
        }
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
    if value.is_none() {
        return Ok(None);
    }
    let mut all = Vec::with_capacity(frames);
    for item in value.try_iter()? {
        let item = item?;
        all.push(if item.is_none() {
            None
        } else {
            if !item.hasattr("unsigned")? {
                let found = item.get_type();
                let text = format!("fits: found {found}, expected FitsScaling or None");
                return Err(PyTypeError::new_err(text));
            }
            Some(FitsScaling {
                unsigned: attribute(&item, "unsigned")?,
                bscale: attribute(&item, "bscale")?,
                bzero: attribute(&item, "bzero")?,
                blank: attribute(&item, "blank")?,
            })
        });
    }
    if all.len() != frames {
        return Err(PyValueError::new_err(format!(
            "fits: found {} entries, expected one for each of {frames} frames",
            all.len()
        )));
    }
    Ok(Some(all))
}
