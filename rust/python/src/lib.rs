//! The Python face of `imcombiners-kernels`: extract, view, detach, call, wrap. No pixel is touched
//! here.

// The attribute macros of pyo3 write items of their own.
#![allow(missing_docs)]

mod arrays;
mod errors;
mod folded;
mod options;

use imcombiners_kernels as kernels;
use pyo3::prelude::*;

/// Rust core of imcombiners_astro.
#[pymodule]
mod _core {
    use imcombiners_kernels::Pixel;
    use numpy::{
        PyArray1, PyArrayDyn, PyArrayMethods, PyReadonlyArray1, PyReadonlyArrayDyn, PyUntypedArray,
        PyUntypedArrayMethods,
    };
    use pyo3::exceptions::PyValueError;
    use pyo3::prelude::*;
    use pyo3::types::{PyDict, PyTuple};

    use super::kernels;
    use crate::arrays::{planes_of, scalar, Column, Targets};
    use crate::errors::to_python;
    use crate::folded::{Extras, Folded, Places};
    use crate::options::{errors_of, extract, fits_of, plan_of, vector_of};

    /// The options of a `planes.Plan`, read and understood once.
    #[pyclass(frozen)]
    struct Recipe(kernels::plan::Plan);

    #[pymethods]
    impl Recipe {
        #[new]
        fn new(plan: &Bound<'_, PyAny>) -> PyResult<Self> {
            plan_of(plan).map(Self)
        }
    }

    /// Statistic of one column, rounded to the workspace type.
    #[pyfunction]
    #[pyo3(signature = (values, plan, mask, weights=None))]
    fn reduce_column<'py>(
        values: &Bound<'py, PyUntypedArray>,
        plan: &Bound<'py, Recipe>,
        mask: Option<&Bound<'py, PyUntypedArray>>,
        weights: Option<&Bound<'py, PyUntypedArray>>,
    ) -> PyResult<f64> {
        let plan = &plan.get().0;
        let pixel = Column::new(values, mask, weights)?.combine(plan)?;
        Ok(rounded(pixel.image, plan.single))
    }

    /// Percentiles of one column, rounded to single precision if so told.
    #[pyfunction]
    fn percentiles_of_column<'py>(
        py: Python<'py>,
        values: &Bound<'py, PyUntypedArray>,
        q: PyReadonlyArray1<'py, f64>,
        single: bool,
        mask: Option<&Bound<'py, PyUntypedArray>>,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let mut found = Column::new(values, mask, None)?.percentiles(q.as_slice()?)?;
        found.iter_mut().for_each(|x| *x = rounded(*x, single));
        Ok(PyArray1::from_slice(py, &found))
    }

    fn rounded(value: f64, single: bool) -> f64 {
        if single {
            f64::from(value as f32)
        } else {
            value
        }
    }

    /// Combines one column with everything that is known about it; see `planes.combine_column`.
    #[pyfunction]
    fn combine_column<'py>(
        py: Python<'py>,
        values: &Bound<'py, PyUntypedArray>,
        plan: &Bound<'py, Recipe>,
        mask: Option<&Bound<'py, PyUntypedArray>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let pixel = Column::new(values, mask, None)?.combine(&plan.get().0)?;
        let rejected = unused(py, &pixel);
        let Pixel { image, std, low, upp, nit, flags, .. } = pixel;
        (image, rejected, std, low, upp, nit, flags).into_pyobject(py)
    }

    /// Mask, spread (None without clipping) and limits (in the workspace type), passes and flags of
    /// one column.
    #[pyfunction]
    fn diagnose_column<'py>(
        py: Python<'py>,
        values: &Bound<'py, PyUntypedArray>,
        plan: &Bound<'py, Recipe>,
        mask: Option<&Bound<'py, PyUntypedArray>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let plan = &plan.get().0;
        let pixel = Column::new(values, mask, None)?.combine(plan)?;
        let number = |value| scalar(py, value, plan.single);
        let (low, upp) = (number(pixel.low)?, number(pixel.upp)?);
        (unused(py, &pixel), number(pixel.std)?, low, upp, pixel.nit, pixel.flags).into_pyobject(py)
    }

    fn unused<'py>(py: Python<'py>, pixel: &Pixel) -> Bound<'py, PyArray1<bool>> {
        let unused: Vec<bool> = pixel.used.iter().map(|used| !used).collect();
        PyArray1::from_slice(py, &unused)
    }

    /// Combines planes under a plan into outputs; see `planes.combine_planes`.
    #[pyfunction]
    #[pyo3(signature = (pixels, plan, outputs, masks, weights, zero, factor, scale, fits, variances, errors, flags, places, zeroed, n_threads))]
    fn combine<'py>(
        py: Python<'py>,
        pixels: &Bound<'py, PyAny>,
        plan: &Bound<'py, Recipe>,
        outputs: &Bound<'py, PyDict>,
        masks: &Bound<'py, PyAny>,
        weights: &Bound<'py, PyAny>,
        zero: &Bound<'py, PyAny>,
        factor: &Bound<'py, PyAny>,
        scale: &Bound<'py, PyAny>,
        fits: &Bound<'py, PyAny>,
        variances: &Bound<'py, PyAny>,
        errors: &Bound<'py, PyAny>,
        flags: &Bound<'py, PyAny>,
        places: &Bound<'py, PyAny>,
        zeroed: bool,
        n_threads: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let n_threads: Option<usize> = extract("n_threads", n_threads)?;
        let mut plan = plan.get().0.clone();
        let pixels = planes_of("pixels", pixels)?.unwrap_or_default();
        let n = pixels.len();
        let zero = vector_of("zero", zero, n)?;
        let factor = vector_of("factor", factor, n)?;
        let scale = vector_of("scale", scale, n)?;
        let fits = fits_of(fits, n)?;
        let errors = errors_of(errors, n)?;
        // One-dimensional weights of anything but one-dimensional planes belong to frames.
        let per_frame = vector_of("weights", weights, n);
        let (weight, weights) = match per_frame {
            Ok(vector) => (vector, None),
            Err(_) => (None, planes_of("weights", weights)?),
        };
        let given = weight.is_some() || weights.is_some();
        if plan.statistic.is_weighted() && !given && !plan.ivar {
            return Err(PyValueError::new_err("weights: None; a weighted statistic needs them"));
        }
        if plan.ivar && given {
            let text = "weights: given; expected None, as the plan weights with inverse variances";
            return Err(PyValueError::new_err(text));
        }
        let extras = Extras {
            masks: planes_of("masks", masks)?,
            weights,
            variances: planes_of("variances", variances)?,
            flags: planes_of("flags", flags)?,
        };
        let places = Places::of(places)?;
        let folded = Folded::new(&pixels, &extras, places.as_ref())?;
        folded.tell_lines(&mut plan);
        let mut planes = folded.planes()?;
        for (k, plane) in planes.iter_mut().enumerate() {
            let at = |vector: &Option<Vec<f64>>, default| vector.as_ref().map_or(default, |v| v[k]);
            plane.zero = at(&zero, 0.0);
            plane.factor = at(&factor, 1.0);
            plane.scale = at(&scale, 1.0);
            plane.weight = at(&weight, 1.0);
            plane.fits = fits.as_ref().and_then(|fits| fits[k]);
            if let Some(errors) = errors.as_ref().and_then(|errors| errors[k]) {
                if plane.variance.is_none() {
                    let text = format!("errors[{k}]: a scaling of variances that are not given");
                    return Err(PyValueError::new_err(text));
                }
                plane.errors = errors;
            }
        }
        let mut targets = Targets::new(outputs, &folded, zeroed)?;
        let mut products = targets.products()?;
        products.zeroed = zeroed;
        let shape = folded.shape();
        py.detach(|| kernels::combine(&planes, shape, &plan, products, n_threads))
            .map_err(to_python)?;
        targets.finish(outputs)
    }

    /// Marks everything within a radius of a marked sample; see `planes.grow_mask`.
    #[pyfunction]
    fn grow_mask<'py>(
        py: Python<'py>,
        mask: PyReadonlyArrayDyn<'py, bool>,
        radius: &Bound<'py, PyAny>,
        n_threads: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArrayDyn<bool>>> {
        let radius: f64 = extract("grow", radius)?;
        let n_threads: Option<usize> = extract("n_threads", n_threads)?;
        let shape = mask.shape().to_vec();
        let seeds: Vec<u8> = mask.as_array().iter().map(|flag| u8::from(*flag)).collect();
        let image_shape = shape.get(1..).unwrap_or_default();
        let grown = py
            .detach(|| {
                let mut grown = vec![0; seeds.len()];
                kernels::grow_mask(&seeds, &mut grown, image_shape, radius, n_threads)?;
                Ok(grown.into_iter().map(|flag| flag != 0).collect::<Vec<bool>>())
            })
            .map_err(to_python)?;
        PyArray1::from_vec(py, grown).reshape(shape)
    }

    /// Instruction set in use: "base", "avx2" or "avx512".
    #[pyfunction]
    fn simd_level() -> PyResult<&'static str> {
        kernels::dispatch::Simd::current().map(kernels::dispatch::Simd::name).map_err(to_python)
    }

    /// Instruction sets this processor has.
    #[pyfunction]
    fn simd_levels() -> Vec<&'static str> {
        kernels::dispatch::Simd::available().into_iter().map(|level| level.name()).collect()
    }

    /// Threads used when a call does not say.
    #[pyfunction]
    fn default_threads() -> usize {
        kernels::default_threads()
    }

    /// Sets the threads used when a call does not say.
    #[pyfunction]
    fn set_default_threads(n: usize) -> PyResult<()> {
        if n == 0 {
            return Err(PyValueError::new_err("n_threads: 0; expected at least 1"));
        }
        kernels::set_default_threads(n);
        Ok(())
    }
}
