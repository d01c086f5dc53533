//! NumPy arrays as planes and products: pointers, strides and types, checked here once.

#![allow(unsafe_code)]

use imcombiners_kernels::plan::Plan;
use imcombiners_kernels::plane::{reals, Cover, Shape, View};
use imcombiners_kernels::sample::DType;
use imcombiners_kernels::{
    Buffer, Kind, Modifier, NotedCube, Notes, Outputs, PerFrame, Pixel, Product,
};
use numpy::ndarray::{ArrayViewMutD, Axis};
use numpy::{
    npyffi::PY_ARRAY_API, PyArray1, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods,
    PyReadwriteArrayDyn, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::to_python;
use crate::folded::Folded;

/// One image of an array, or of a list of arrays.
pub(crate) struct RawPlane<'py> {
    pub name: String,
    /// Keeps the memory alive.
    _array: Bound<'py, PyUntypedArray>,
    data: *const u8,
    pub dtype: DType,
    pub is_bool: bool,
    big_endian: bool,
    pub shape: Vec<usize>,
    strides: Vec<isize>,
}

/// What the bytes of an element mean.
struct Element {
    dtype: DType,
    is_bool: bool,
    big_endian: bool,
}

impl Element {
    fn of(name: &str, array: &Bound<'_, PyUntypedArray>) -> PyResult<Self> {
        let descr = array.dtype();
        let dtype = match (descr.kind(), descr.itemsize()) {
            (b'b' | b'u', 1) => DType::U8,
            (b'i', 1) => DType::I8,
            (b'u', 2) => DType::U16,
            (b'i', 2) => DType::I16,
            (b'u', 4) => DType::U32,
            (b'i', 4) => DType::I32,
            (b'u', 8) => DType::U64,
            (b'i', 8) => DType::I64,
            (b'f', 4) => DType::F32,
            (b'f', 8) => DType::F64,
            _ => {
                return Err(PyTypeError::new_err(format!(
                    "{name}: dtype {descr}; expected integers of 8 to 64 bits, float32 or float64"
                )))
            }
        };
        let native_big = cfg!(target_endian = "big");
        let big_endian = match descr.byteorder() {
            b'>' => true,
            b'<' => false,
            _ => native_big,
        };
        Ok(Self { dtype, is_bool: descr.kind() == b'b', big_endian })
    }
}

/// Address of the first element.
fn start_of(array: &Bound<'_, PyUntypedArray>) -> *const u8 {
    // SAFETY: a live array object; `data` is a plain field of it.
    unsafe { (*array.as_array_ptr()).data }.cast::<u8>().cast_const()
}

/// The planes of a stack (first axis) or of a sequence of images; items may be None there.
pub(crate) type Planes<'py> = Vec<Option<RawPlane<'py>>>;

/// Reads an argument; `None` if it is None.
pub(crate) fn planes_of<'py>(
    name: &str,
    value: &Bound<'py, PyAny>,
) -> PyResult<Option<Planes<'py>>> {
    if value.is_none() {
        return Ok(None);
    }
    if let Ok(cube) = value.cast::<PyUntypedArray>() {
        let whole = RawPlane::new(name, cube)?;
        let Some((frames, rest)) = whole.shape.split_first() else {
            return Err(PyValueError::new_err(format!("{name}: a 0-d array; expected a stack")));
        };
        return Ok(Some(
            (0..*frames)
                .map(|k| {
                    Some(RawPlane {
                        name: name.into(),
                        _array: cube.clone(),
                        // Stays inside the array, or at its start if that is empty.
                        data: whole.data.wrapping_offset(k as isize * whole.strides[0]),
                        dtype: whole.dtype,
                        is_bool: whole.is_bool,
                        big_endian: whole.big_endian,
                        shape: rest.to_vec(),
                        strides: whole.strides[1..].to_vec(),
                    })
                })
                .collect(),
        ));
    }
    let items = value.try_iter().map_err(|_| {
        let found = value.get_type();
        PyTypeError::new_err(format!("{name}: found {found}, expected arrays"))
    })?;
    let mut planes = Vec::new();
    for (k, item) in items.enumerate() {
        let item = item?;
        planes.push(if item.is_none() {
            None
        } else {
            let name = format!("{name}[{k}]");
            let array = item.cast::<PyUntypedArray>().map_err(|_| {
                PyTypeError::new_err(format!(
                    "{name}: found {}, expected a NumPy array",
                    item.get_type()
                ))
            })?;
            Some(RawPlane::new(&name, array)?)
        });
    }
    Ok(Some(planes))
}

impl<'py> RawPlane<'py> {
    fn new(name: &str, array: &Bound<'py, PyUntypedArray>) -> PyResult<Self> {
        let element = Element::of(name, array)?;
        Ok(Self {
            name: name.into(),
            _array: array.clone(),
            data: start_of(array),
            dtype: element.dtype,
            is_bool: element.is_bool,
            big_endian: element.big_endian,
            shape: array.shape().to_vec(),
            strides: array.strides().to_vec(),
        })
    }

    pub fn is_contiguous(&self) -> bool {
        if self.shape.contains(&0) {
            return true;
        }
        let mut expected = self.dtype.size() as isize;
        self.shape.iter().zip(&self.strides).rev().all(|(n, stride)| {
            let fits = *n == 1 || *stride == expected;
            expected *= *n as isize;
            fits
        })
    }

    /// First and one-past-last byte of the plane.
    pub fn span(&self) -> (usize, usize) {
        if self.shape.contains(&0) {
            return (self.data as usize, self.data as usize);
        }
        let (mut low, mut high) = (0_isize, 0_isize);
        for (n, stride) in self.shape.iter().zip(&self.strides) {
            let reach = (*n as isize - 1) * stride;
            *(if reach < 0 { &mut low } else { &mut high }) += reach;
        }
        let first = (self.data as usize).wrapping_add_signed(low);
        (first, (self.data as usize).wrapping_add_signed(high) + self.dtype.size())
    }

    /// The bytes from the lowest to the highest element, and where the first element is in them.
    fn bytes(&self) -> (&[u8], usize) {
        let (first, end) = self.span();
        // SAFETY: the bytes between the lowest and the highest element of a live array; they stay
        // alive as long as `self`. Other Python threads may write them, which gives unspecified
        // values but touches nothing else.
        let bytes = unsafe {
            std::slice::from_raw_parts(
                self.data.wrapping_offset(first as isize - self.data as isize),
                end - first,
            )
        };
        (bytes, self.data as usize - first)
    }

    pub fn view(&self, shape: &Shape, contiguous: bool) -> PyResult<View<'_>> {
        let (bytes, origin) = self.bytes();
        let outer = if contiguous { 0 } else { self.shape.len().saturating_sub(1) };
        if !contiguous {
            self.check_rows()?;
        }
        View::new(bytes, self.dtype, self.big_endian, origin, &self.strides[..outer], shape)
            .map_err(to_python)
    }

    /// The view of a plane that covers a part of the stack.
    pub fn placed<'a>(&'a self, cover: &'a Cover) -> PyResult<View<'a>> {
        self.check_rows()?;
        let (bytes, origin) = self.bytes();
        View::placed(bytes, self.dtype, self.big_endian, origin, self.strides[0], cover)
            .map_err(to_python)
    }

    fn check_rows(&self) -> PyResult<()> {
        let (Some(n), Some(stride)) = (self.shape.last(), self.strides.last()) else {
            return Ok(());
        };
        let some = !self.shape.contains(&0);
        if some && *n > 1 && *stride != self.dtype.size() as isize {
            return Err(PyValueError::new_err(format!(
                "{}: rows are not contiguous (last stride {stride} bytes)",
                self.name
            )));
        }
        Ok(())
    }
}

/// The bytes of a one-dimensional array from the lowest to the highest element, and where the first
/// element is in them.
fn bytes_of<'a>(array: &'a Bound<'_, PyUntypedArray>, size: usize) -> (&'a [u8], usize) {
    let (n, stride) = (array.shape()[0], array.strides()[0]);
    let reach = n.saturating_sub(1) as isize * stride;
    let origin = reach.min(0).unsigned_abs();
    let len = if n == 0 { 0 } else { reach.unsigned_abs() + size };
    // SAFETY: all of them belong to a live array. Other Python threads may write them, which gives
    // unspecified values but touches nothing else.
    let bytes = unsafe { std::slice::from_raw_parts(start_of(array).wrapping_sub(origin), len) };
    (bytes, origin)
}

/// The elements of a one-dimensional array as floats.
fn numbers_of(array: &Bound<'_, PyUntypedArray>, element: &Element) -> Vec<f64> {
    let (bytes, origin) = bytes_of(array, element.dtype.size());
    let (n, stride) = (array.shape()[0], array.strides()[0]);
    reals(bytes, element.dtype, element.big_endian, origin, stride, n)
}

/// One column of samples: a stack of images of one pixel.
pub(crate) struct Column {
    values: Vec<f64>,
    modifiers: Vec<Modifier>,
}

impl Column {
    /// Reads a column. It is checked here and not in Python, where the checks would take longer
    /// than what is done with it.
    pub fn new(
        values: &Bound<'_, PyUntypedArray>,
        mask: Option<&Bound<'_, PyUntypedArray>>,
        weights: Option<&Bound<'_, PyUntypedArray>>,
    ) -> PyResult<Self> {
        let element = Element::of("values", values)?;
        if values.ndim() != 1 {
            let text = format!("values must be 1-D; found shape {}", shape_of(values)?);
            return Err(PyValueError::new_err(text));
        }
        if values.is_empty() {
            let text = "values: found none, expected at least 1 sample";
            return Err(PyValueError::new_err(text));
        }
        if element.is_bool {
            return Err(PyTypeError::new_err("values: found booleans, expected numbers"));
        }
        let mut modifiers = Vec::new();
        if let Some(mask) = mask {
            let one = |masked| Modifier { masked, ..Modifier::default() };
            modifiers.extend(mask_of(values, mask)?.into_iter().map(one));
        }
        if let Some(weights) = weights {
            modifiers.resize(values.len(), Modifier::default());
            for (modifier, weight) in modifiers.iter_mut().zip(weights_of(values, weights)?) {
                modifier.weight = weight;
            }
        }
        Ok(Self { values: numbers_of(values, &element), modifiers })
    }

    /// Combines the column where the interpreter runs: it takes no time to speak of.
    pub fn combine(self, plan: &Plan) -> PyResult<Pixel> {
        imcombiners_kernels::combine_column(self.values, &self.modifiers, plan).map_err(to_python)
    }

    /// Percentiles of the samples that are finite and not masked.
    pub fn percentiles(mut self, q: &[f64]) -> PyResult<Vec<f64>> {
        for (value, modifier) in self.values.iter_mut().zip(&self.modifiers) {
            if modifier.masked {
                *value = f64::NAN;
            }
        }
        imcombiners_kernels::percentiles(self.values, q).map_err(to_python)
    }
}

fn mask_of(
    values: &Bound<'_, PyUntypedArray>,
    mask: &Bound<'_, PyUntypedArray>,
) -> PyResult<Vec<bool>> {
    if mask.shape() != values.shape() {
        let (found, expected) = (shape_of(mask)?, shape_of(values)?);
        let text = format!("mask shape {found} does not match values {expected}");
        return Err(PyValueError::new_err(text));
    }
    let element = Element::of("mask", mask)?;
    if !element.is_bool {
        let text = format!("mask: found dtype {}, expected booleans", mask.dtype());
        return Err(PyTypeError::new_err(text));
    }
    let (bytes, origin) = bytes_of(mask, 1);
    let at = |k: usize| origin.wrapping_add_signed(k as isize * mask.strides()[0]);
    Ok((0..mask.len()).map(|k| bytes[at(k)] != 0).collect())
}

fn weights_of(
    values: &Bound<'_, PyUntypedArray>,
    weights: &Bound<'_, PyUntypedArray>,
) -> PyResult<Vec<f64>> {
    if weights.shape() != values.shape() {
        let (found, n) = (shape_of(weights)?, values.len());
        let text = format!("weight: found an array of shape {found}, expected {n} values");
        return Err(PyValueError::new_err(text));
    }
    let weights = numbers_of(weights, &Element::of("weight", weights)?);
    if !weights.iter().all(|weight| weight.is_finite()) {
        let text = "weight: found NaN or infinity, expected finite values";
        return Err(PyValueError::new_err(text));
    }
    Ok(weights)
}

/// The shape of an array as Python writes it.
fn shape_of<'py>(array: &Bound<'py, PyUntypedArray>) -> PyResult<Bound<'py, PyAny>> {
    array.getattr("shape")
}

enum Target<'py> {
    F32(PyReadwriteArrayDyn<'py, f32>),
    F64(PyReadwriteArrayDyn<'py, f64>),
    U8(PyReadwriteArrayDyn<'py, u8>),
    U16(PyReadwriteArrayDyn<'py, u16>),
    U32(PyReadwriteArrayDyn<'py, u32>),
    Bool(PyReadwriteArrayDyn<'py, bool>),
    I64(PyReadwriteArrayDyn<'py, i64>),
}

/// The arrays to write, borrowed exclusively.
pub(crate) struct Targets<'py> {
    all: Vec<(Product, Target<'py>)>,
    /// What becomes of the products that are a number per frame.
    numbers: Vec<PerFrame>,
    /// Notes of `sample_flags`, if they are asked for.
    notes: Option<Notes>,
}

/// The output that is not a product: notes for one.
const NOTES: &str = "sample_notes";

impl<'py> Targets<'py> {
    pub fn new(outputs: &Bound<'py, PyDict>, folded: &Folded, zeroed: bool) -> PyResult<Self> {
        let (mut all, mut notes) = (Vec::new(), None);
        for (name, array) in outputs {
            let name: String = crate::options::extract("name of an output", &name)?;
            if name == NOTES {
                if !array.is_none() {
                    let found = array.get_type();
                    let text = format!("output {NOTES}: found {found}, expected None");
                    return Err(PyTypeError::new_err(text));
                }
                notes = Some(Notes::default());
                continue;
            }
            let Some(product) = Product::ALL.iter().find(|product| product.name() == name) else {
                return Err(PyValueError::new_err(format!("unknown output: {name:?}")));
            };
            let is_cube = product.kind() == Kind::Cube;
            let (target, shape, start, bytes) = borrow(&name, &array, is_cube)?;
            let mut expected = folded.image_shape.clone();
            match product.kind() {
                Kind::Cube => expected.insert(0, folded.pixels.len()),
                Kind::Frame => expected = vec![folded.pixels.len()],
                _ => {}
            }
            // A Rust or C reader of a boolean may rely on its being 0 or 1.
            let flags = matches!(product, Product::Mask | Product::MaskRej | Product::MaskThresh);
            if matches!(target, Target::Bool(_)) && !flags {
                return Err(PyTypeError::new_err(format!("output {name}: cannot write booleans")));
            }
            if shape != expected {
                return Err(PyValueError::new_err(format!(
                    "output {name}: shape {shape:?}, expected {expected:?}"
                )));
            }
            if folded.overlaps(start, start + bytes) {
                return Err(PyValueError::new_err(format!(
                    "output {name}: shares memory with an input"
                )));
            }
            all.push((*product, target));
        }
        let flags = all.iter().any(|(product, _)| *product == Product::SampleFlags);
        if notes.is_some() && !(flags && zeroed) {
            let text = format!("output {NOTES}: expected sample_flags, too, and zeroed=True");
            return Err(PyValueError::new_err(text));
        }
        let numbers = all.iter().map(|_| PerFrame::new(folded.pixels.len())).collect();
        Ok(Self { all, numbers, notes })
    }

    /// The buffers of all products.
    pub fn products(&mut self) -> PyResult<Outputs<'_>> {
        let mut outputs = Outputs::new();
        for ((product, target), numbers) in self.all.iter_mut().zip(&self.numbers) {
            let lost =
                || PyValueError::new_err(format!("output {}: not contiguous", product.name()));
            let cube = product.kind() == Kind::Cube;
            let buffer = match target {
                Target::F32(array) => Buffer::F32(array.as_slice_mut().map_err(|_| lost())?),
                Target::F64(array) => Buffer::F64(array.as_slice_mut().map_err(|_| lost())?),
                Target::U16(array) => Buffer::U16(array.as_slice_mut().map_err(|_| lost())?),
                Target::U32(array) => Buffer::U32(array.as_slice_mut().map_err(|_| lost())?),
                Target::U8(array) => match cube {
                    true => {
                        let planes = planes(array.as_array_mut()).ok_or_else(lost)?;
                        match &self.notes {
                            Some(notes) if *product == Product::SampleFlags => {
                                Buffer::Noted(NotedCube::new(planes, notes))
                            }
                            _ => Buffer::Cube(planes),
                        }
                    }
                    false => Buffer::U8(array.as_slice_mut().map_err(|_| lost())?),
                },
                Target::Bool(array) => match cube {
                    true => {
                        let planes = planes(array.as_array_mut()).ok_or_else(lost)?;
                        Buffer::Cube(planes.into_iter().map(bytes).collect())
                    }
                    false => Buffer::U8(bytes(array.as_slice_mut().map_err(|_| lost())?)),
                },
                Target::I64(_) if product.kind() == Kind::Frame => Buffer::Frames(numbers),
                Target::I64(_) => {
                    let text = format!("output {}: cannot write int64", product.name());
                    return Err(PyTypeError::new_err(text));
                }
            };
            outputs.push(*product, buffer).map_err(to_python)?;
        }
        Ok(outputs)
    }

    /// Writes the numbers of the frames, and puts notes into `outputs`, once they are known.
    pub fn finish(mut self, outputs: &Bound<'py, PyDict>) -> PyResult<()> {
        for ((_, target), numbers) in self.all.iter_mut().zip(&self.numbers) {
            if let Target::I64(array) = target {
                for (to, number) in array.as_array_mut().iter_mut().zip(numbers.values()) {
                    *to = number as i64;
                }
            }
        }
        match self.notes {
            Some(notes) => {
                let notes = PyArray1::from_vec(outputs.py(), notes.into_inner());
                outputs.set_item(NOTES, notes)
            }
            None => Ok(()),
        }
    }
}

/// The bytes of booleans to be written.
fn bytes(slice: &mut [bool]) -> &mut [u8] {
    // SAFETY: a bool is a byte, and the kernels write 0 and 1 only to the products that are
    // booleans.
    unsafe { std::slice::from_raw_parts_mut(slice.as_mut_ptr().cast::<u8>(), slice.len()) }
}

/// The planes along the first axis, if each is contiguous.
fn planes<T>(mut cube: ArrayViewMutD<'_, T>) -> Option<Vec<&mut [T]>> {
    let mut planes = Vec::with_capacity(cube.len_of(Axis(0)));
    while cube.len_of(Axis(0)) > 0 {
        let (plane, others) = cube.split_at(Axis(0), 1);
        planes.push(plane.into_slice()?);
        cube = others;
    }
    Some(planes)
}

/// An array borrowed for writing, its shape, its address and its size in bytes.
fn borrow<'py>(
    name: &str,
    array: &Bound<'py, PyAny>,
    is_cube: bool,
) -> PyResult<(Target<'py>, Vec<usize>, usize, usize)> {
    macro_rules! attempt {
        ($($variant:ident: $type:ty),*) => {$(
            if let Ok(array) = array.cast::<PyArrayDyn<$type>>() {
                let shape = array.shape().to_vec();
                let start = array.data() as usize;
                let mut bytes = array.len() * size_of::<$type>();
                if !array.is_c_contiguous() {
                    let cube = is_cube.then(|| span_of_planes(&shape, array.strides()));
                    bytes = cube.flatten().ok_or_else(|| {
                        PyValueError::new_err(format!("output {name}: not C-contiguous"))
                    })?;
                }
                let array = array.try_readwrite().map_err(|error| {
                    PyValueError::new_err(format!("output {name}: {error}"))
                })?;
                return Ok((Target::$variant(array), shape, start, bytes));
            }
        )*};
    }
    attempt!(F32: f32, F64: f64, U8: u8, U16: u16, U32: u32, Bool: bool, I64: i64);
    let found = array.getattr("dtype").unwrap_or_else(|_| array.get_type().into_any());
    Err(PyTypeError::new_err(format!("output {name}: cannot write {found}")))
}

/// Bytes from the first to the last element of a cube of bytes, if every plane of it is contiguous and
/// they follow each other, with gaps.
fn span_of_planes(shape: &[usize], strides: &[isize]) -> Option<usize> {
    let (n_planes, plane) = shape.split_first()?;
    let mut size = 1;
    for (n, stride) in plane.iter().zip(&strides[1..]).rev() {
        if *n != 1 && *stride != size as isize {
            return None;
        }
        size *= n;
    }
    let gap = usize::try_from(strides[0]).ok().filter(|gap| *gap >= size)?;
    Some(n_planes.saturating_sub(1) * gap + size)
}

/// A NumPy scalar: single precision or double.
pub(crate) fn scalar(py: Python<'_>, value: f64, single: bool) -> PyResult<Bound<'_, PyAny>> {
    fn make<'py, T: numpy::Element>(py: Python<'py>, mut value: T) -> PyResult<Bound<'py, PyAny>> {
        let dtype = numpy::dtype::<T>(py);
        // SAFETY: NumPy copies one element of that type from the address and returns a new
        // object, or null with an exception set.
        unsafe {
            let object = PY_ARRAY_API.PyArray_Scalar(
                py,
                std::ptr::from_mut(&mut value).cast(),
                dtype.as_dtype_ptr(),
                std::ptr::null_mut(),
            );
            Bound::from_owned_ptr_or_err(py, object)
        }
    }
    if single {
        make(py, value as f32)
    } else {
        make(py, value)
    }
}
