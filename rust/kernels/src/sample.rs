//! Samples: the types pixels come in, the two types they are worked on in, and the way between.

use std::fmt::Debug;

/// Pixels that travel together through a kernel. 128 lanes fill whole vectors at every SIMD level,
/// and the rows of a stack of 31 frames stay in the first-level cache.
pub const LANES: usize = 128;

/// One frame's samples of one block of pixels: a lane is a pixel.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Row<T>(pub [T; LANES]);

impl<T: Copy> Row<T> {
    /// A row of one value.
    pub fn filled(value: T) -> Self {
        Self([value; LANES])
    }
}

/// Type of the pixels of a plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum DType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl DType {
    /// Bytes of one pixel.
    pub const fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Whether the pixels are integers.
    pub const fn is_integer(self) -> bool {
        !matches!(self, Self::F32 | Self::F64)
    }

    /// The integer type of the same size and the opposite signedness.
    pub const fn opposite(self) -> Self {
        match self {
            Self::U8 => Self::I8,
            Self::I8 => Self::U8,
            Self::U16 => Self::I16,
            Self::I16 => Self::U16,
            Self::U32 => Self::I32,
            Self::I32 => Self::U32,
            Self::U64 => Self::I64,
            Self::I64 => Self::U64,
            float => float,
        }
    }

    /// The bit that FITS flips to store unsigned integers as signed ones (and signed bytes as
    /// unsigned): BZERO = 2^(bits-1), BSCALE = 1.
    pub const fn sign_bit(self) -> u64 {
        1 << (8 * self.size() - 1)
    }
}

/// Numeric conversion with the meaning of `as`.
pub trait Convert<S> {
    /// Converts one sample.
    fn convert(sample: S) -> Self;
}

macro_rules! convert {
    ($($from:ty),*) => {
        $(
            impl Convert<$from> for f32 {
                #[inline(always)]
                fn convert(sample: $from) -> Self { sample as f32 }
            }
            impl Convert<$from> for f64 {
                #[inline(always)]
                fn convert(sample: $from) -> Self { sample as f64 }
            }
        )*
        /// The type of a workspace: `f32` or `f64`. An absent sample is a NaN.
        pub trait Work: Copy + Debug + PartialOrd + Send + Sync + 'static $(+ Convert<$from>)* {
            /// The mark of an absent sample.
            const NAN: Self;
            /// Above every sample.
            const INFINITY: Self;
            /// Below every sample.
            const NEG_INFINITY: Self;
            /// Whether the value can be a sample.
            fn is_finite(self) -> bool;
            /// Exact widening.
            fn f64(self) -> f64;
            /// The smallest value not below `bound`: `x < up(b)` is `x < b` for every sample `x`.
            fn up(bound: f64) -> Self;
            /// The largest value not above `bound`.
            fn down(bound: f64) -> Self;
            /// The two values in ascending order. By value, and by comparison and selection only:
            /// this is what the compiler turns into one minimum and one maximum instruction.
            #[inline(always)]
            fn order(a: Self, b: Self) -> (Self, Self) {
                (if b < a { b } else { a }, if b < a { a } else { b })
            }
        }
    };
}
convert!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

impl Work for f64 {
    const NAN: Self = f64::NAN;
    const INFINITY: Self = f64::INFINITY;
    const NEG_INFINITY: Self = f64::NEG_INFINITY;
    #[inline(always)]
    fn is_finite(self) -> bool {
        self.abs() < f64::INFINITY
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn up(bound: f64) -> Self {
        bound
    }
    #[inline(always)]
    fn down(bound: f64) -> Self {
        bound
    }
}

impl Work for f32 {
    const NAN: Self = f32::NAN;
    const INFINITY: Self = f32::INFINITY;
    const NEG_INFINITY: Self = f32::NEG_INFINITY;
    #[inline(always)]
    fn is_finite(self) -> bool {
        self.abs() < f32::INFINITY
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn up(bound: f64) -> Self {
        let near = bound as f32;
        if f64::from(near) < bound {
            beside(near, 1)
        } else {
            near
        }
    }
    #[inline(always)]
    fn down(bound: f64) -> Self {
        let near = bound as f32;
        if f64::from(near) > bound {
            beside(near, -1)
        } else {
            near
        }
    }
}

/// The next float above (`step` = 1) or below (-1); without branches, unlike `next_up`.
#[inline(always)]
fn beside(x: f32, step: i32) -> f32 {
    let bits = x.to_bits() as i32;
    let away = if bits < 0 { -step } else { step };
    let zero = if step > 0 { 1_i32 } else { i32::MIN | 1 };
    f32::from_bits(if x == 0.0 { zero } else { bits.wrapping_add(away) } as u32)
}

/// Reads raw samples into a workspace row; `flip` is XORed into every integer before conversion
/// (see [`DType::sign_bit`]). Returns whether any sample is NaN or infinite.
pub(crate) mod load {
    use super::Work;

    macro_rules! integers {
        ($($name:ident: $type:ty, $bits:ty, $size:literal;)*) => {$(
            #[inline(always)]
            pub fn $name<T: Work, const BIG: bool>(raw: &[u8], row: &mut [T], flip: u64) -> bool {
                for (to, from) in row.iter_mut().zip(raw.as_chunks::<$size>().0) {
                    let bits =
                        if BIG { <$bits>::from_be_bytes(*from) } else { <$bits>::from_le_bytes(*from) };
                    *to = T::convert((bits ^ flip as $bits) as $type);
                }
                false
            }
        )*};
    }
    integers! {
        u8: u8, u8, 1;
        i8: i8, u8, 1;
        u16: u16, u16, 2;
        i16: i16, u16, 2;
        u32: u32, u32, 4;
        i32: i32, u32, 4;
        u64: u64, u64, 8;
        i64: i64, u64, 8;
    }

    macro_rules! floats {
        ($($name:ident: $type:ty, $size:literal;)*) => {$(
            #[inline(always)]
            pub fn $name<T: Work, const BIG: bool>(raw: &[u8], row: &mut [T], _flip: u64) -> bool {
                let mut absent = 0_u32;
                for (to, from) in row.iter_mut().zip(raw.as_chunks::<$size>().0) {
                    let value = T::convert(
                        if BIG { <$type>::from_be_bytes(*from) } else { <$type>::from_le_bytes(*from) },
                    );
                    *to = value;
                    absent |= u32::from(!value.is_finite());
                }
                absent != 0
            }
        )*};
    }
    floats! {
        f32: f32, 4;
        f64: f64, 8;
    }
}
