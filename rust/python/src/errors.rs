//! Errors of the kernels as Python exceptions.

use imcombiners_kernels::Error;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::PyErr;

/// The exception for an error.
pub(crate) fn to_python(error: Error) -> PyErr {
    match error {
        Error::Pool(_) => PyRuntimeError::new_err(error.to_string()),
        _ => PyValueError::new_err(error.to_string()),
    }
}
