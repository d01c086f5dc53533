//! Planes: borrowed bytes of one image each, in whatever type, byte order and row stride they have.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::sample::{DType, Work};

/// Shape of every plane of a stack: `inner` contiguous pixels along the last axis, under any number
/// of outer axes. A contiguous image of any dimension has no outer axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    outer: Vec<usize>,
    inner: usize,
    pixels: usize,
}

impl Shape {
    /// A shape of `outer` axes of rows of `inner` pixels.
    ///
    /// # Errors
    /// [`Error::Option`] if the number of pixels does not fit in memory.
    pub fn new(outer: &[usize], inner: usize) -> Result<Self> {
        let pixels = outer
            .iter()
            .try_fold(inner, |product, n| product.checked_mul(*n))
            .filter(|n| *n <= isize::MAX as usize / 8)
            .ok_or_else(|| {
                Error::option("shape", format!("{outer:?} x {inner}"), "fewer pixels")
            })?;
        Ok(Self { outer: outer.to_vec(), inner, pixels })
    }

    /// Number of pixels of a plane.
    pub fn pixels(&self) -> usize {
        self.pixels
    }

    /// Pixels from `start` to the end of its row.
    pub(crate) fn left(&self, start: usize) -> usize {
        if self.outer.is_empty() {
            self.pixels - start
        } else {
            self.inner - start % self.inner
        }
    }
}

/// The rows and columns of a stack that a plane covers, which is smaller than the stack. Elsewhere
/// its samples are absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cover {
    /// The row of the plane for each row of the stack, if there is one.
    rows: Vec<Option<usize>>,
    n_rows: usize,
    columns: Range<usize>,
}

impl Cover {
    /// The cover of a plane whose rows are the rows `rows` of the stack, in ascending order, from
    /// `column` on, `columns` pixels each; `shape` is that of the stack, one axis of rows.
    ///
    /// # Errors
    /// [`Error::Option`] if that is not inside the stack.
    pub fn new(
        rows: impl IntoIterator<Item = usize>,
        column: usize,
        columns: usize,
        shape: &Shape,
    ) -> Result<Self> {
        let expected = format!("inside {:?} rows of {} pixels", shape.outer, shape.inner);
        let outside = |found: String| Error::option("place of a plane", found, &expected);
        let [height] = shape.outer[..] else { return Err(outside("a plane".into())) };
        let columns = column..column.saturating_add(columns);
        if columns.end > shape.inner {
            return Err(outside(format!("columns {columns:?}")));
        }
        let (mut table, mut n_rows, mut next) = (vec![None; height], 0, 0);
        for row in rows {
            if row < next || row >= height {
                return Err(outside(format!("row {row} after {n_rows} others")));
            }
            table[row] = Some(n_rows);
            n_rows += 1;
            next = row + 1;
        }
        Ok(Self { rows: table, n_rows, columns })
    }

    /// The row of the plane, and the part of some columns of the stack, that are covered.
    #[inline]
    fn part(&self, row: usize, columns: Range<usize>) -> Option<(usize, Range<usize>)> {
        let row = (*self.rows.get(row)?)?;
        let part = columns.start.max(self.columns.start)..columns.end.min(self.columns.end);
        (!part.is_empty()).then_some((row, part))
    }
}

/// Samples of one plane, never copied.
#[derive(Clone, Debug)]
pub struct View<'a> {
    bytes: &'a [u8],
    dtype: DType,
    big_endian: bool,
    origin: usize,
    strides: Vec<isize>,
    /// What is covered, if that is not everything.
    cover: Option<&'a Cover>,
}

impl<'a> View<'a> {
    /// A view of `bytes` as pixels of `dtype`; pixel 0 is at byte `origin` and one step along outer
    /// axis `i` is `strides[i]` bytes.
    ///
    /// # Errors
    /// [`Error::Length`] if the strides do not match the shape or reach outside `bytes`.
    pub fn new(
        bytes: &'a [u8],
        dtype: DType,
        big_endian: bool,
        origin: usize,
        strides: &[isize],
        shape: &Shape,
    ) -> Result<Self> {
        Error::same_length("strides", strides.len(), shape.outer.len())?;
        if shape.pixels > 0 {
            let (mut low, mut high) = (origin as i128, origin as i128);
            for (n, stride) in shape.outer.iter().zip(strides) {
                let reach = (*n as i128 - 1) * *stride as i128;
                *(if reach < 0 { &mut low } else { &mut high }) += reach;
            }
            high += shape.inner as i128 * dtype.size() as i128;
            if low < 0 || high > bytes.len() as i128 {
                return Err(Error::Length {
                    argument: "bytes of a plane".into(),
                    found: bytes.len(),
                    expected: usize::try_from(high).unwrap_or(usize::MAX),
                });
            }
        }
        Ok(Self { bytes, dtype, big_endian, origin, strides: strides.to_vec(), cover: None })
    }

    /// A view of `bytes` as rows of pixels, `stride` bytes apart, that cover a part of a stack.
    ///
    /// # Errors
    /// [`Error::Length`] if that reaches outside `bytes`.
    pub fn placed(
        bytes: &'a [u8],
        dtype: DType,
        big_endian: bool,
        origin: usize,
        stride: isize,
        cover: &'a Cover,
    ) -> Result<Self> {
        let own = Shape::new(&[cover.n_rows], cover.columns.len())?;
        let view = Self::new(bytes, dtype, big_endian, origin, &[stride], &own)?;
        Ok(Self { cover: Some(cover), ..view })
    }

    /// A contiguous plane in native byte order.
    ///
    /// # Errors
    /// [`Error::Length`] if `bytes` is too short for the shape.
    pub fn contiguous(bytes: &'a [u8], dtype: DType, shape: &Shape) -> Result<Self> {
        let big = cfg!(target_endian = "big");
        Error::same_length("outer axes of a contiguous plane", shape.outer.len(), 0)?;
        Self::new(bytes, dtype, big, 0, &[], shape)
    }

    /// Type of the pixels.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Whether the most significant byte comes first.
    pub fn big_endian(&self) -> bool {
        self.big_endian
    }

    /// Whether some pixels may not be covered.
    pub(crate) fn is_placed(&self) -> bool {
        self.cover.is_some()
    }

    /// Whether a pixel is covered.
    pub(crate) fn covers(&self, shape: &Shape, pixel: usize) -> bool {
        let at = |cover: &Cover| {
            let (row, column) = (pixel / shape.inner, pixel % shape.inner);
            cover.part(row, column..column + 1).is_some()
        };
        self.cover.is_none_or(at)
    }

    /// The bytes of the pixels `start .. start + len`, if they follow each other and are covered.
    #[inline]
    pub(crate) fn run(&self, shape: &Shape, start: usize, len: usize) -> Option<&'a [u8]> {
        let size = self.dtype.size();
        if shape.outer.is_empty() {
            return self.bytes.get(self.origin + start * size..)?.get(..len * size);
        }
        let mut found = None;
        self.runs(shape, start, len, |offset, bytes| {
            found = (offset == 0 && bytes.len() == len * size).then_some(bytes);
        });
        found
    }

    /// Calls `visit(offset, bytes)` for each contiguous run of the pixels `start .. start + len`
    /// that are covered, where `offset` counts pixels from `start`.
    #[inline]
    pub(crate) fn runs(
        &self,
        shape: &Shape,
        start: usize,
        len: usize,
        mut visit: impl FnMut(usize, &'a [u8]),
    ) {
        let size = self.dtype.size();
        if shape.outer.is_empty() {
            let first = self.origin + start * size;
            return visit(0, &self.bytes[first..first + len * size]);
        }
        let mut done = 0;
        while done < len {
            let (mut row, column) = ((start + done) / shape.inner, (start + done) % shape.inner);
            let run = (shape.inner - column).min(len - done);
            if let Some(cover) = self.cover {
                if let Some((row, part)) = cover.part(row, column..column + run) {
                    let first = (part.start - cover.columns.start) * size;
                    let at = self.origin as isize + row as isize * self.strides[0];
                    let at = at as usize + first;
                    visit(done + part.start - column, &self.bytes[at..at + part.len() * size]);
                }
                done += run;
                continue;
            }
            let mut at = self.origin as isize + (column * size) as isize;
            for (n, stride) in shape.outer.iter().zip(&self.strides).rev() {
                at += (row % n) as isize * stride;
                row /= n;
            }
            let at = at as usize;
            visit(done, &self.bytes[at..at + run * size]);
            done += run;
        }
    }
}

/// How raw FITS values become physical ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FitsScaling {
    /// BZERO = 2^(bits-1), BSCALE = 1: integers of the opposite signedness, loaded exactly.
    pub unsigned: bool,
    /// BSCALE, otherwise.
    pub bscale: f64,
    /// BZERO, otherwise.
    pub bzero: f64,
    /// Raw integer that stands for "undefined".
    pub blank: Option<i64>,
}

impl FitsScaling {
    /// Whether samples only have to be converted.
    pub(crate) fn is_plain(&self) -> bool {
        self.unsigned || self.blank.is_none() && self.bscale == 1.0 && self.bzero == 0.0
    }

    /// Reads raw samples as physical values, in the precision in which astropy scales them: single
    /// for 8 and 16-bit integers and single floats, double for the others.
    pub(crate) fn load<T: Work>(&self, raw: &[u8], dtype: DType, big: bool, row: &mut [T]) {
        let single = matches!(dtype, DType::U8 | DType::I8 | DType::U16 | DType::I16 | DType::F32);
        for (to, from) in row.iter_mut().zip(raw.chunks_exact(dtype.size())) {
            let (integer, real) = raw_value(from, dtype, big);
            let physical = if dtype.is_integer() && self.blank == Some(integer) {
                f64::NAN
            } else if single {
                let mut value = real as f32;
                if self.bscale != 1.0 {
                    value *= self.bscale as f32;
                }
                if self.bzero != 0.0 {
                    value += self.bzero as f32;
                }
                f64::from(value)
            } else {
                let mut value = real;
                if self.bscale != 1.0 {
                    value *= self.bscale;
                }
                if self.bzero != 0.0 {
                    value += self.bzero;
                }
                value
            };
            *to = T::convert(physical);
        }
    }
}

/// Samples as floats, `stride` bytes apart from `origin` on, for those who read few.
///
/// # Panics
/// If they are not all inside `bytes`.
pub fn reals(
    bytes: &[u8],
    dtype: DType,
    big: bool,
    origin: usize,
    stride: isize,
    n: usize,
) -> Vec<f64> {
    let size = dtype.size();
    let at = |k: usize| {
        let first = origin.wrapping_add_signed(k as isize * stride);
        &bytes[first..first + size]
    };
    let native = big == cfg!(target_endian = "big");
    let mut out = Vec::with_capacity(n);
    match dtype {
        DType::F32 if native => out.extend((0..n).map(|k| match *at(k) {
            [a, b, c, d] => f64::from(f32::from_ne_bytes([a, b, c, d])),
            _ => f64::NAN,
        })),
        _ => out.extend((0..n).map(|k| raw_value(at(k), dtype, big).1)),
    }
    out
}

/// One raw sample, as an integer (0 for floats) and as a float.
fn raw_value(bytes: &[u8], dtype: DType, big: bool) -> (i64, f64) {
    let mut word = [0_u8; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    if big {
        word[..bytes.len()].reverse();
    }
    let bits = u64::from_le_bytes(word);
    match dtype {
        DType::U8 => (bits as i64, bits as f64),
        DType::I8 => (i64::from(bits as i8), f64::from(bits as i8)),
        DType::U16 => (bits as i64, bits as f64),
        DType::I16 => (i64::from(bits as i16), f64::from(bits as i16)),
        DType::U32 => (bits as i64, bits as f64),
        DType::I32 => (i64::from(bits as i32), f64::from(bits as i32)),
        DType::U64 => (bits as i64, bits as f64),
        DType::I64 => (bits as i64, bits as i64 as f64),
        DType::F32 => (0, f64::from(f32::from_bits(bits as u32))),
        DType::F64 => (0, f64::from_bits(bits)),
    }
}

/// What is known of the error of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Its variance.
    Variance,
    /// Its standard deviation.
    Deviation,
    /// The inverse of its variance.
    Inverse,
}

/// How the errors of a plane become variances.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorScaling {
    /// What they are.
    pub kind: ErrorKind,
    /// Variances are multiplied by it.
    pub factor: f64,
}

impl ErrorScaling {
    /// They are variances.
    pub const NONE: Self = Self { kind: ErrorKind::Variance, factor: 1.0 };
}

/// One frame of a stack.
#[derive(Clone, Debug)]
pub struct Plane<'a> {
    /// The samples.
    pub pixels: View<'a>,
    /// Bytes that are non-zero where a sample is bad.
    pub mask: Option<View<'a>>,
    /// Weight of every sample; `weight` is then not used.
    pub weights: Option<View<'a>>,
    /// Variance of every sample before zero, factor and scale, or what `errors` says: floats.
    pub variance: Option<View<'a>>,
    /// How `variance` becomes one.
    pub errors: ErrorScaling,
    /// Flags of every sample: integers of at most 32 bits, whose bits are taken as they are.
    pub flags: Option<View<'a>>,
    /// Raw FITS values that still need scaling.
    pub fits: Option<FitsScaling>,
    /// A sample enters as `(raw - zero) * factor / scale`.
    pub zero: f64,
    /// See `zero`.
    pub factor: f64,
    /// See `zero`.
    pub scale: f64,
    /// Weight of the frame.
    pub weight: f64,
}

impl<'a> Plane<'a> {
    /// A plane of good samples, used as they are.
    pub fn new(pixels: View<'a>) -> Self {
        Self {
            pixels,
            mask: None,
            weights: None,
            variance: None,
            errors: ErrorScaling::NONE,
            flags: None,
            fits: None,
            zero: 0.0,
            factor: 1.0,
            scale: 1.0,
            weight: 1.0,
        }
    }

    /// Checks the numbers of frame `k`.
    pub(crate) fn check(&self, k: usize) -> Result<()> {
        let numbers = [
            ("zero", self.zero),
            ("factor", self.factor),
            ("scale", self.scale),
            ("weights", self.weight),
        ];
        for (name, number) in numbers {
            if !number.is_finite() || name == "scale" && number == 0.0 {
                let expected = if name == "scale" { "finite, not 0" } else { "a finite number" };
                return Err(Error::option(&format!("{name}[{k}]"), number, expected));
            }
        }
        if self.fits.is_some_and(|fits| fits.unsigned) && !self.pixels.dtype().is_integer() {
            let found = format!("{:?} pixels", self.pixels.dtype());
            return Err(Error::option(&format!("fits[{k}] unsigned"), found, "integers"));
        }
        if let Some(variance) = self.variance.as_ref().filter(|view| view.dtype().is_integer()) {
            let found = format!("{:?} pixels", variance.dtype());
            return Err(Error::option(&format!("variances[{k}]"), found, "floats"));
        }
        let factor = self.errors.factor;
        if !(factor > 0.0 && factor.is_finite()) {
            let expected = "a positive number";
            return Err(Error::option(&format!("errors[{k}] factor"), factor, expected));
        }
        let bits = |view: &&View| view.dtype().is_integer() && view.dtype().size() <= 4;
        if let Some(flags) = self.flags.as_ref().filter(|view| !bits(view)) {
            let found = format!("{:?} pixels", flags.dtype());
            let expected = "integers of at most 32 bits";
            return Err(Error::option(&format!("flags[{k}]"), found, expected));
        }
        Ok(())
    }

    /// Whether samples enter as they are.
    pub(crate) fn is_unscaled(&self) -> bool {
        self.zero == 0.0 && self.factor == 1.0 && self.scale == 1.0
    }
}
