//! Everything that a combination reads, and where it is in the stack.

use imcombiners_kernels::plan::{Clip, Plan, Rule, Step};
use imcombiners_kernels::plane::{Cover, Plane, Shape};
use numpy::PyReadonlyArray1;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::arrays::{Planes, RawPlane};
use crate::errors::to_python;

/// What there may be beside the pixels.
#[derive(Default)]
pub(crate) struct Extras<'py> {
    pub masks: Option<Planes<'py>>,
    pub weights: Option<Planes<'py>>,
    pub variances: Option<Planes<'py>>,
    pub flags: Option<Planes<'py>>,
}

impl<'py> Extras<'py> {
    fn each(&self) -> [(&'static str, &Option<Planes<'py>>); 4] {
        [
            ("masks", &self.masks),
            ("weights", &self.weights),
            ("variances", &self.variances),
            ("flags", &self.flags),
        ]
    }

    /// All planes.
    fn planes(&self) -> impl Iterator<Item = &RawPlane<'py>> {
        self.numbered().map(|(_, plane)| plane)
    }

    /// All planes with the numbers of their frames.
    fn numbered(&self) -> impl Iterator<Item = (usize, &RawPlane<'py>)> {
        let all = self.each().into_iter().filter_map(|(_, planes)| planes.as_ref());
        all.flat_map(|planes| planes.iter().enumerate())
            .filter_map(|(k, plane)| Some((k, plane.as_ref()?)))
    }

    /// Checks what the planes are made of.
    fn check_types(&self) -> PyResult<()> {
        for (name, planes) in self.each() {
            for plane in planes.iter().flatten().flatten() {
                let (fits, expected) = match name {
                    "masks" => (plane.is_bool, "booleans"),
                    "flags" => (
                        plane.dtype.is_integer() && plane.dtype.size() <= 4 && !plane.is_bool,
                        "integers of at most 32 bits",
                    ),
                    _ => (!plane.dtype.is_integer(), "floats"),
                };
                if !fits {
                    let text = format!("{}: expected {expected}", plane.name);
                    return Err(PyTypeError::new_err(text));
                }
            }
        }
        Ok(())
    }
}

/// Where the planes are in the stack: its rows and columns, and for each plane the row and the column
/// of its first pixel (an array of the rows of all of them, if they do not follow each other).
pub(crate) struct Places<'py> {
    shape: (usize, usize),
    each: Vec<Bound<'py, PyAny>>,
}

impl<'py> Places<'py> {
    /// Reads the argument; `None` if it is None.
    pub fn of(value: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        if value.is_none() {
            return Ok(None);
        }
        let (shape, each): (_, Vec<Py<PyAny>>) = crate::options::extract("places", value)?;
        let each = each.into_iter().map(|place| place.into_bound(value.py())).collect();
        Ok(Some(Self { shape, each }))
    }

    fn covers(&self, pixels: &[&RawPlane], shape: &Shape) -> PyResult<Vec<Cover>> {
        if self.each.len() != pixels.len() {
            return Err(PyValueError::new_err(format!(
                "places: found {}, expected one for each of {} frames",
                self.each.len(),
                pixels.len()
            )));
        }
        let one = |(k, (plane, place)): (usize, (&&RawPlane, &Bound<'py, PyAny>))| {
            let name = format!("places[{k}]");
            let [n_rows, n_columns] = plane.shape[..] else {
                let text =
                    format!("{}: shape {:?}, expected rows and columns", plane.name, plane.shape);
                return Err(PyValueError::new_err(text));
            };
            let (rows, column): (Py<PyAny>, usize) = crate::options::extract(&name, place)?;
            let rows = rows.bind(place.py());
            let rows: Vec<usize> = match rows.extract::<PyReadonlyArray1<i64>>() {
                // A negative one becomes a row that is outside.
                Ok(rows) => rows.as_array().iter().map(|row| *row as usize).collect(),
                Err(_) => {
                    let first: usize = crate::options::extract(&name, rows)?;
                    (first..first.saturating_add(n_rows)).collect()
                }
            };
            if rows.len() != n_rows {
                return Err(PyValueError::new_err(format!(
                    "{name}: found {} rows, expected {n_rows} as the frame has",
                    rows.len()
                )));
            }
            Cover::new(rows, column, n_columns, shape).map_err(to_python)
        };
        pixels.iter().zip(&self.each).enumerate().map(one).collect()
    }
}

/// Everything that is read, folded to the fewest axes that all planes share.
pub(crate) struct Folded<'a, 'py> {
    pub pixels: Vec<&'a RawPlane<'py>>,
    extras: &'a Extras<'py>,
    pub image_shape: Vec<usize>,
    contiguous: bool,
    shape: Shape,
    covers: Option<Vec<Cover>>,
}

impl<'a, 'py> Folded<'a, 'py> {
    pub fn new(
        pixels: &'a [Option<RawPlane<'py>>],
        extras: &'a Extras<'py>,
        places: Option<&Places<'py>>,
    ) -> PyResult<Self> {
        let pixels = pixels
            .iter()
            .enumerate()
            .map(|(k, plane)| {
                plane.as_ref().ok_or_else(|| {
                    PyTypeError::new_err(format!("pixels[{k}]: found None, expected a NumPy array"))
                })
            })
            .collect::<PyResult<Vec<_>>>()?;
        let Some(first) = pixels.first() else {
            return Err(PyValueError::new_err("pixels: no frames; expected at least one"));
        };
        for (name, extra) in extras.each() {
            if let Some(extra) = extra {
                if extra.len() != pixels.len() {
                    return Err(PyValueError::new_err(format!(
                        "{name}: found {} planes, expected one for each of {} frames",
                        extra.len(),
                        pixels.len()
                    )));
                }
            }
        }
        // Placed planes may differ; what belongs to one has its shape.
        let expected = |k: usize| if places.is_some() { &pixels[k].shape } else { &first.shape };
        let images = pixels.iter().copied().enumerate();
        for (k, plane) in images.chain(extras.numbered()) {
            if plane.shape != *expected(k) {
                return Err(PyValueError::new_err(format!(
                    "{}: shape {:?}, expected {:?} as {}",
                    plane.name,
                    plane.shape,
                    expected(k),
                    if places.is_some() { "its frame" } else { "the first frame" }
                )));
            }
        }
        extras.check_types()?;
        for plane in &pixels {
            if plane.is_bool {
                let text = format!("{}: found booleans, expected numbers", plane.name);
                return Err(PyTypeError::new_err(text));
            }
        }
        if let Some(places) = places {
            let (rows, columns) = places.shape;
            let shape = Shape::new(&[rows], columns).map_err(to_python)?;
            let covers = Some(places.covers(&pixels, &shape)?);
            let image_shape = vec![rows, columns];
            return Ok(Self { pixels, extras, image_shape, contiguous: false, shape, covers });
        }
        let image_shape = first.shape.clone();
        let contiguous = pixels.iter().copied().chain(extras.planes()).all(RawPlane::is_contiguous);
        let shape = match image_shape.split_last() {
            Some((inner, outer)) if !contiguous => Shape::new(outer, *inner),
            _ => Shape::new(&[], image_shape.iter().product()),
        }
        .map_err(to_python)?;
        Ok(Self { pixels, extras, image_shape, contiguous, shape, covers: None })
    }

    /// Fills in how long an image row is, for the steps that pool over rows.
    pub fn tell_lines(&self, plan: &mut Plan) {
        for step in &mut plan.steps {
            if let Step::Clip(Clip { rule: Rule::Pooled { line, .. }, .. }) = step {
                *line = self.image_shape.last().copied().unwrap_or(1);
            }
        }
    }

    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The planes, without their numbers.
    pub fn planes(&self) -> PyResult<Vec<Plane<'_>>> {
        let view = |plane: &'a RawPlane<'py>, k: usize| match &self.covers {
            Some(covers) => plane.placed(&covers[k]),
            None => plane.view(&self.shape, self.contiguous),
        };
        let optional = |extra: &'a Option<Planes<'py>>, k: usize| {
            let plane = extra.as_ref().and_then(|planes| planes[k].as_ref());
            plane.map(|plane| view(plane, k)).transpose()
        };
        self.pixels
            .iter()
            .enumerate()
            .map(|(k, plane)| {
                let mut plane = Plane::new(view(plane, k)?);
                plane.mask = optional(&self.extras.masks, k)?;
                plane.weights = optional(&self.extras.weights, k)?;
                plane.variance = optional(&self.extras.variances, k)?;
                plane.flags = optional(&self.extras.flags, k)?;
                Ok(plane)
            })
            .collect()
    }

    /// Whether bytes in memory are among those that are read.
    pub fn overlaps(&self, start: usize, end: usize) -> bool {
        self.pixels.iter().copied().chain(self.extras.planes()).any(|plane| {
            let (first, last) = plane.span();
            first < end && start < last
        })
    }
}
