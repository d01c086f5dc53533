//! The products of a combination, in buffers of the caller.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::dispatch::Ops;
use crate::error::{Error, Result};
use crate::notes::NotedCube;
use crate::sample::{Row, Work, LANES};
use crate::second_pass::Loss;

macro_rules! products {
    ($( $(#[$doc:meta])* $product:ident = $name:literal: $kind:ident; )*) => {
        /// What can be asked for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Product { $( $(#[$doc])* $product, )* }

        impl Product {
            /// Every product.
            pub const ALL: &'static [Self] = &[$(Self::$product),*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$product => $name),* }
            }

            /// The kind of buffer it needs.
            pub fn kind(self) -> Kind {
                match self { $(Self::$product => Kind::$kind),* }
            }
        }
    };
}

/// The kind of buffer of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A real number per pixel, single or double.
    Real,
    /// A byte per pixel.
    Byte,
    /// A 16-bit count per pixel.
    Count,
    /// A 32-bit word per pixel.
    Word,
    /// A byte per sample.
    Cube,
    /// A number per frame.
    Frame,
}

products! {
    /// The combined image.
    Image = "image": Real;
    /// Its uncertainty.
    Uncertainty = "uncertainty": Real;
    /// Samples used.
    NUsed = "n_used": Count;
    /// 1 where no sample was left.
    Mask = "mask": Byte;
    /// Smallest sample used.
    Low = "low": Real;
    /// Largest sample used.
    Upp = "upp": Real;
    /// Spread of the last clipping pass.
    Std = "std": Real;
    /// Clipping passes that rejected something, plus one.
    Nit = "nit": Byte;
    /// Bits of `output_flags`.
    OutputFlags = "output_flags": Byte;
    /// Samples rejected at the low side.
    NRejectedLow = "n_rejected_low": Count;
    /// Samples rejected at the high side.
    NRejectedHigh = "n_rejected_high": Count;
    /// Bits that are set in the flags of any sample used.
    Dq = "dq": Word;
    /// 1 for every sample not used.
    MaskRej = "mask_rej": Cube;
    /// 1 for every sample outside the thresholds.
    MaskThresh = "mask_thresh": Cube;
    /// Bits of `sample_flags`.
    SampleFlags = "sample_flags": Cube;
    /// Sides at which samples were rejected: 1 low, 2 high, 0 not at all.
    SampleSides = "sample_sides": Cube;
    /// Samples of every frame that are used.
    FrameUsed = "frame_used": Frame;
    /// Samples of every frame rejected at the low side.
    FrameRejectedLow = "frame_rejected_low": Frame;
    /// Samples of every frame rejected at the high side.
    FrameRejectedHigh = "frame_rejected_high": Frame;
    /// 1 for every frame with a negative error among those read.
    FrameNegative = "frame_negative": Frame;
}

/// Memory for one product.
#[derive(Debug)]
pub enum Buffer<'a> {
    /// Single precision.
    F32(&'a mut [f32]),
    /// Double precision.
    F64(&'a mut [f64]),
    /// Bytes.
    U8(&'a mut [u8]),
    /// Counts.
    U16(&'a mut [u16]),
    /// Words.
    U32(&'a mut [u32]),
    /// One plane of bytes per frame.
    Cube(Vec<&'a mut [u8]>),
    /// The same, and notes of the few bytes that are not 0.
    Noted(NotedCube<'a>),
    /// One number per frame, which all threads share.
    Frames(&'a PerFrame),
}

/// A number for each frame.
#[derive(Debug)]
pub struct PerFrame(Vec<AtomicU64>);

impl PerFrame {
    /// Zeros.
    pub fn new(frames: usize) -> Self {
        Self((0..frames).map(|_| AtomicU64::new(0)).collect())
    }

    /// The numbers.
    pub fn values(&self) -> Vec<u64> {
        self.0.iter().map(|value| value.load(Ordering::Relaxed)).collect()
    }

    pub(crate) fn set(&self, frame: usize) {
        self.0[frame].store(1, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, values: &[u64]) {
        for (to, value) in self.0.iter().zip(values) {
            to.fetch_add(*value, Ordering::Relaxed);
        }
    }
}

/// All products of a combination.
#[derive(Debug, Default)]
pub struct Outputs<'a> {
    all: Vec<(Product, Buffer<'a>)>,
    /// Whether all integers in them are 0, so that a 0 need not be written.
    pub zeroed: bool,
}

impl<'a> Outputs<'a> {
    /// No products yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a product.
    ///
    /// # Errors
    /// [`Error::Option`] if the buffer is of the wrong kind for it.
    pub fn push(&mut self, product: Product, buffer: Buffer<'a>) -> Result<()> {
        let fits = matches!(
            (product.kind(), &buffer),
            (Kind::Real, Buffer::F32(_) | Buffer::F64(_))
                | (Kind::Byte, Buffer::U8(_))
                | (Kind::Count, Buffer::U16(_))
                | (Kind::Word, Buffer::U32(_))
                | (Kind::Cube, Buffer::Cube(_) | Buffer::Noted(_))
                | (Kind::Frame, Buffer::Frames(_))
        );
        if !fits {
            return Err(Error::option(
                product.name(),
                "a buffer of another type",
                "the type of the product",
            ));
        }
        self.all.push((product, buffer));
        Ok(())
    }

    /// Whether a product is asked for.
    pub(crate) fn wants(&self, product: Product) -> bool {
        self.all.iter().any(|(p, _)| *p == product)
    }

    /// Whether no other product is asked for.
    pub(crate) fn are_only(&self, product: Product) -> bool {
        self.all.iter().all(|(p, _)| *p == product)
    }

    /// The numbers per frame that a product is, if it is asked for.
    pub(crate) fn per_frame(&self, product: Product) -> Option<&'a PerFrame> {
        self.all.iter().find_map(|(p, buffer)| match buffer {
            Buffer::Frames(frames) if *p == product => Some(*frames),
            _ => None,
        })
    }

    /// Checks that every buffer holds `pixels` pixels of `frames` frames.
    pub(crate) fn check(&self, pixels: usize, frames: usize) -> Result<()> {
        for (product, buffer) in &self.all {
            match buffer {
                Buffer::F32(b) => Error::same_length(product.name(), b.len(), pixels)?,
                Buffer::F64(b) => Error::same_length(product.name(), b.len(), pixels)?,
                Buffer::U8(b) => Error::same_length(product.name(), b.len(), pixels)?,
                Buffer::U16(b) => Error::same_length(product.name(), b.len(), pixels)?,
                Buffer::U32(b) => Error::same_length(product.name(), b.len(), pixels)?,
                Buffer::Cube(planes) => check_planes(*product, planes, pixels, frames)?,
                Buffer::Noted(cube) => check_planes(*product, &cube.planes, pixels, frames)?,
                Buffer::Frames(b) => Error::same_length(product.name(), b.0.len(), frames)?,
            }
        }
        Ok(())
    }

    /// The products of the pixels before and from `mid` on.
    pub(crate) fn split_at(self, mid: usize) -> (Self, Self) {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for (product, buffer) in self.all {
            let (a, b) = match buffer {
                Buffer::F32(b) => {
                    let (x, y) = b.split_at_mut(mid);
                    (Buffer::F32(x), Buffer::F32(y))
                }
                Buffer::F64(b) => {
                    let (x, y) = b.split_at_mut(mid);
                    (Buffer::F64(x), Buffer::F64(y))
                }
                Buffer::U8(b) => {
                    let (x, y) = b.split_at_mut(mid);
                    (Buffer::U8(x), Buffer::U8(y))
                }
                Buffer::U16(b) => {
                    let (x, y) = b.split_at_mut(mid);
                    (Buffer::U16(x), Buffer::U16(y))
                }
                Buffer::U32(b) => {
                    let (x, y) = b.split_at_mut(mid);
                    (Buffer::U32(x), Buffer::U32(y))
                }
                Buffer::Cube(planes) => {
                    let (x, y) = planes.into_iter().map(|p| p.split_at_mut(mid)).unzip();
                    (Buffer::Cube(x), Buffer::Cube(y))
                }
                Buffer::Noted(b) => {
                    let (x, y) = b.split_at(mid);
                    (Buffer::Noted(x), Buffer::Noted(y))
                }
                Buffer::Frames(b) => (Buffer::Frames(b), Buffer::Frames(b)),
            };
            left.push((product, a));
            right.push((product, b));
        }
        let half = |all| Self { all, zeroed: self.zeroed };
        (half(left), half(right))
    }

    /// Shows every product and its buffer to `store`.
    pub(crate) fn each(&mut self, mut store: impl FnMut(Product, &mut Buffer<'a>)) {
        for (product, buffer) in &mut self.all {
            store(*product, buffer);
        }
    }
}

fn check_planes(
    product: Product,
    planes: &[&mut [u8]],
    pixels: usize,
    frames: usize,
) -> Result<()> {
    Error::same_length(product.name(), planes.len(), frames)?;
    planes.iter().try_for_each(|plane| Error::same_length(product.name(), plane.len(), pixels))
}

/// Where the lanes of a block go.
#[derive(Clone, Copy)]
pub(crate) enum Spots<'a> {
    /// To pixels that follow each other: the first one, and how many.
    Run(usize, usize),
    /// Each to a pixel of its own.
    Each(&'a [usize]),
}

impl Spots<'_> {
    /// The pixel of a lane, if it has one.
    #[inline(always)]
    fn of(self, lane: usize) -> Option<usize> {
        match self {
            Spots::Run(at, len) => (lane < len).then_some(at + lane),
            Spots::Each(spots) => spots.get(lane).copied(),
        }
    }

    /// Copies lanes.
    #[inline(always)]
    fn put<A: Copy, B>(self, to: &mut [B], from: &[A; LANES], convert: impl Fn(A) -> B) {
        match self {
            Spots::Run(at, len) => {
                for (to, from) in to[at..at + len].iter_mut().zip(from) {
                    *to = convert(*from);
                }
            }
            Spots::Each(spots) => {
                for (at, from) in spots.iter().zip(from) {
                    to[*at] = convert(*from);
                }
            }
        }
    }
}

/// Calls `visit` for every lane whose byte is not 0: found with few branches, since the processor
/// cannot foresee which they are.
fn each_marked(bytes: &[u8; LANES], mut visit: impl FnMut(usize)) {
    let ones = bytes.map(|byte| u8::from(byte != 0));
    let (halves, _) = ones.as_chunks::<64>();
    for (first, half) in (0..).step_by(64).zip(halves) {
        // Bit i of byte j is that of lane 8 i + j.
        let mut bits = 0;
        for (i, eight) in half.as_chunks::<8>().0.iter().enumerate() {
            bits |= u64::from_le_bytes(*eight) << i;
        }
        while bits != 0 {
            let at = bits.trailing_zeros() as usize;
            visit(first + 8 * (at % 8) + at / 8);
            bits &= bits - 1;
        }
    }
}

impl Buffer<'_> {
    /// Stores real numbers. A zero has no sign: which of two equal zeros a statistic finds would
    /// depend on the way there.
    pub(crate) fn put<T: Work>(&mut self, ops: &Ops<T>, spots: Spots, row: &Row<f64>) {
        match (self, spots) {
            (Self::F64(b), _) => spots.put(b, &row.0, |x| x + 0.0),
            (Self::F32(b), Spots::Run(at, len)) => ops.narrow(row, &mut b[at..at + len]),
            (Self::F32(b), _) => spots.put(b, &row.0, |x| x as f32 + 0.0),
            _ => {}
        }
    }

    /// Stores samples.
    pub(crate) fn put_samples<T: Work>(&mut self, spots: Spots, row: &Row<T>) {
        match self {
            Self::F64(b) => spots.put(b, &row.0, |x| x.f64() + 0.0),
            Self::F32(b) => spots.put(b, &row.0, |x| x.f64() as f32 + 0.0),
            _ => {}
        }
    }

    /// Stores counts, saturating.
    pub(crate) fn put_counts(&mut self, spots: Spots, row: &Row<u32>) {
        if let Self::U16(b) = self {
            spots.put(b, &row.0, |n| n.min(u32::from(u16::MAX)) as u16);
        }
    }

    /// Stores words.
    pub(crate) fn put_words(&mut self, spots: Spots, row: &Row<u32>) {
        if let Self::U32(b) = self {
            spots.put(b, &row.0, |x| x);
        }
    }

    /// Stores bytes.
    pub(crate) fn put_bytes(&mut self, spots: Spots, row: &Row<u8>) {
        if let Self::U8(b) = self {
            spots.put(b, &row.0, |x| x);
        }
    }

    /// Stores a byte per sample. Zeros stay as they are at pixels on their own: a look has written
    /// them.
    pub(crate) fn put_cube(&mut self, spots: Spots, mut row_of: impl FnMut(usize) -> Row<u8>) {
        let planes = match self {
            Self::Cube(planes) => planes,
            Self::Noted(cube) if cube.is_noted() => {
                for k in 0..cube.planes.len() {
                    let row = row_of(k);
                    each_marked(&row.0, |l| {
                        if let Some(at) = spots.of(l) {
                            cube.note(k, at, row.0[l]);
                        }
                    });
                }
                return cube.write_many();
            }
            Self::Noted(cube) => &mut cube.planes,
            _ => return,
        };
        for (k, plane) in planes.iter_mut().enumerate() {
            let row = row_of(k);
            let Spots::Each(spots) = spots else {
                spots.put(plane, &row.0, |x| x);
                continue;
            };
            each_marked(&row.0, |l| {
                if let Some(at) = spots.get(l) {
                    plane[*at] = row.0[l];
                }
            });
        }
    }

    /// Stores the value of every loss, at its pixel or its sample, in a block that begins at `at`.
    pub(crate) fn put_losses(&mut self, losses: &[Loss], at: usize, value: impl Fn(&Loss) -> u16) {
        let each = losses.iter().map(|loss| (at + loss.lane, loss.frame, value(loss)));
        match self {
            Self::U8(b) => each.for_each(|(at, _, value)| b[at] = value as u8),
            Self::U16(b) => each.for_each(|(at, _, value)| b[at] = value),
            Self::Cube(planes) => each.for_each(|(at, k, value)| planes[k][at] = value as u8),
            Self::Noted(cube) => {
                each.for_each(|(at, k, value)| cube.set(k, at, value as u8));
                cube.write_many();
            }
            _ => {}
        }
    }

    /// Stores the same count or byte everywhere; in a noted cube everything is 0 already.
    pub(crate) fn fill(&mut self, at: usize, len: usize, value: u16) {
        match self {
            Self::U8(b) => b[at..at + len].fill(value as u8),
            Self::U16(b) => b[at..at + len].fill(value),
            Self::Cube(planes) => {
                for plane in planes {
                    plane[at..at + len].fill(value as u8);
                }
            }
            _ => {}
        }
    }
}
