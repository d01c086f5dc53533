//! Samples: the types pixels come in, the two types they are worked on in, and the way between.

use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Sub};

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

/// Lanes of a deep stack that are sorted together: few, so that all frames stay in the first-level
/// cache.
pub const STRIP: usize = 32;

/// A part of a row.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Strip<K>(pub [K; STRIP]);

/// Room to sort a block of a deep stack in, for each type of keys.
#[derive(Default)]
pub struct Rooms {
    shorts: Room<i16>,
    words: Room<Ordered>,
    singles: Room<f32>,
    doubles: Room<f64>,
}

/// Room to sort keys in.
pub struct Room<K> {
    /// The frames in order, and what fills up the last chunk.
    pub rows: Vec<Row<K>>,
    /// Some lanes of all these, on their way to be sorted.
    pub strips: Vec<Strip<K>>,
}

impl<K> Default for Room<K> {
    fn default() -> Self {
        Self { rows: Vec::new(), strips: Vec::new() }
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
        pub trait Work:
            Key<Work = Self> + Debug + Send + Sync + 'static
            + Add<Output = Self> + Sub<Output = Self>
            + Mul<Output = Self> + Div<Output = Self>
            $(+ Convert<$from>)*
        {
            /// Keys of the same samples that are quicker to sort, where vectors of them are.
            type Quick: Key<Work = Self>;
            /// 0.
            const ZERO: Self;
            /// 0.5.
            const HALF: Self;
            /// Half the distance from 1 to the next number.
            const EPSILON: Self;
            /// Sums of squares between these suffer neither underflow nor overflow that matters.
            const SOUND: (f64, f64);
            /// The smallest normal number.
            const SMALLEST: f64;
            /// Sums of up to 32 numbers of one sign are exact in double precision if the largest is
            /// no more than this times the smallest: all are multiples of 2^-24 of that.
            const SUMMABLE: f64;
            /// |x|.
            fn abs(self) -> Self;
            /// The square root.
            fn sqrt(self) -> Self;
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
            /// The next larger value.
            fn next(self) -> Self;
            /// The next smaller value.
            fn previous(self) -> Self;
        }
    };
}
convert!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

impl Work for f64 {
    type Quick = Self;
    const ZERO: Self = 0.0;
    const HALF: Self = 0.5;
    const EPSILON: Self = f64::EPSILON / 2.0;
    const SMALLEST: f64 = f64::MIN_POSITIVE;
    const SUMMABLE: f64 = 0.0;
    const SOUND: (f64, f64) = (1e-280, 1e300);
    #[inline(always)]
    fn abs(self) -> Self {
        f64::abs(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
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
    #[inline(always)]
    fn next(self) -> Self {
        beside_f64(self, 1)
    }
    #[inline(always)]
    fn previous(self) -> Self {
        beside_f64(self, -1)
    }
}

impl Work for f32 {
    type Quick = Ordered;
    const ZERO: Self = 0.0;
    const HALF: Self = 0.5;
    const EPSILON: Self = f32::EPSILON / 2.0;
    const SMALLEST: f64 = f32::MIN_POSITIVE as f64;
    const SUMMABLE: f64 = 8_388_608.0;
    const SOUND: (f64, f64) = (1e-28, 1e37);
    #[inline(always)]
    fn abs(self) -> Self {
        f32::abs(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
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
    #[inline(always)]
    fn next(self) -> Self {
        beside(self, 1)
    }
    #[inline(always)]
    fn previous(self) -> Self {
        beside(self, -1)
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

/// The same for doubles.
#[inline(always)]
fn beside_f64(x: f64, step: i64) -> f64 {
    let bits = x.to_bits() as i64;
    let away = if bits < 0 { -step } else { step };
    let zero = if step > 0 { 1_i64 } else { i64::MIN | 1 };
    f64::from_bits(if x == 0.0 { zero } else { bits.wrapping_add(away) } as u64)
}

/// What a sample is while it is compared with others: the number itself, or a 16-bit integer, of
/// which twice as many fit in a vector.
pub trait Key: Copy + PartialOrd + 'static {
    /// The workspace type that holds every key exactly.
    type Work: Work;
    /// Something that grows with the magnitude.
    type Magnitude: Copy + Ord + Default;
    /// A running sum in frame order, exact or in double precision.
    type Sum: Copy + Default;
    /// Whether the order is total: NaN is at an end.
    const TOTAL: bool;
    /// Stand-ins for absent samples: not below, and not above any sample.
    const HIGHEST: Self;
    /// See `HIGHEST`.
    const LOWEST: Self;
    /// The key of a number that has one.
    fn of(number: Self::Work) -> Self;
    /// Room for such keys.
    fn room(rooms: &mut Rooms) -> &mut Room<Self>;
    /// Whether it is a sample.
    fn present(self) -> bool;
    /// Its magnitude; that of NaN is above all others.
    fn magnitude(self) -> Self::Magnitude;
    /// Whether a magnitude is that of a sample.
    fn is_real(magnitude: Self::Magnitude) -> bool;
    /// The key as a number.
    fn work(self) -> Self::Work;
    /// The sample of which it is the key, `offset` less if that is an integer.
    fn value(self, offset: f64) -> Self::Work;
    /// Adds a key to a sum.
    fn add(self, sum: Self::Sum) -> Self::Sum;
    /// The sum as a number.
    fn total(sum: Self::Sum) -> f64;
    /// The sum that is this number.
    fn sum(total: f64) -> Self::Sum;
}

macro_rules! float_key {
    ($type:ty, $bits:ty, $room:ident) => {
        impl Key for $type {
            type Work = Self;
            type Magnitude = $bits;
            type Sum = f64;
            const TOTAL: bool = false;
            const HIGHEST: Self = <$type>::INFINITY;
            const LOWEST: Self = <$type>::NEG_INFINITY;
            #[inline(always)]
            fn of(number: Self) -> Self {
                number
            }
            #[inline(always)]
            fn room(rooms: &mut Rooms) -> &mut Room<Self> {
                &mut rooms.$room
            }
            #[inline(always)]
            #[allow(clippy::eq_op)]
            fn present(self) -> bool {
                self == self
            }
            #[inline(always)]
            fn magnitude(self) -> $bits {
                self.to_bits() & (<$bits>::MAX >> 1)
            }
            #[inline(always)]
            fn is_real(magnitude: $bits) -> bool {
                magnitude < <$type>::INFINITY.to_bits()
            }
            #[inline(always)]
            fn work(self) -> Self {
                self
            }
            #[inline(always)]
            fn value(self, _offset: f64) -> Self {
                self
            }
            #[inline(always)]
            fn add(self, sum: f64) -> f64 {
                sum + Work::f64(self)
            }
            #[inline(always)]
            fn total(sum: f64) -> f64 {
                sum
            }
            #[inline(always)]
            fn sum(total: f64) -> f64 {
                total
            }
        }
    };
}
float_key!(f32, u32, singles);
float_key!(f64, u64, doubles);

/// A single float as an integer that sorts alike: for floats that have just been made from bytes,
/// of which the compiler finds the integer minimum, and not that of floats.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub struct Ordered(i32);

impl Ordered {
    /// The key of a float given by its bits, and back.
    #[inline(always)]
    pub fn new(bits: i32) -> Self {
        Self(bits ^ ((bits >> 31) & i32::MAX))
    }
}

impl Key for Ordered {
    type Work = f32;
    type Magnitude = i32;
    type Sum = f64;
    const TOTAL: bool = true;
    const HIGHEST: Self = Self(i32::MAX);
    const LOWEST: Self = Self(i32::MIN);
    #[inline(always)]
    fn of(number: f32) -> Self {
        Self::new(number.to_bits() as i32)
    }
    #[inline(always)]
    fn room(rooms: &mut Rooms) -> &mut Room<Self> {
        &mut rooms.words
    }
    #[inline(always)]
    fn present(self) -> bool {
        Self::is_real(self.magnitude())
    }
    #[inline(always)]
    fn magnitude(self) -> i32 {
        Self::new(self.0).0 & i32::MAX
    }
    #[inline(always)]
    fn is_real(magnitude: i32) -> bool {
        magnitude < f32::INFINITY.to_bits() as i32
    }
    #[inline(always)]
    fn work(self) -> f32 {
        f32::from_bits(Self::new(self.0).0 as u32)
    }
    #[inline(always)]
    fn value(self, _offset: f64) -> f32 {
        self.work()
    }
    #[inline(always)]
    fn add(self, sum: f64) -> f64 {
        sum + f64::from(self.work())
    }
    #[inline(always)]
    fn total(sum: f64) -> f64 {
        sum
    }
    #[inline(always)]
    fn sum(total: f64) -> f64 {
        total
    }
}

impl Key for i16 {
    type Work = f32;
    type Magnitude = ();
    type Sum = i32;
    const TOTAL: bool = true;
    const HIGHEST: Self = i16::MAX;
    const LOWEST: Self = i16::MIN;
    #[inline(always)]
    fn of(number: f32) -> Self {
        number as i16
    }
    #[inline(always)]
    fn room(rooms: &mut Rooms) -> &mut Room<Self> {
        &mut rooms.shorts
    }
    #[inline(always)]
    fn present(self) -> bool {
        true
    }
    #[inline(always)]
    fn magnitude(self) {}
    #[inline(always)]
    fn is_real((): ()) -> bool {
        true
    }
    #[inline(always)]
    fn work(self) -> f32 {
        f32::from(self)
    }
    #[inline(always)]
    fn value(self, offset: f64) -> f32 {
        f32::from(self) + offset as f32
    }
    #[inline(always)]
    fn add(self, sum: i32) -> i32 {
        sum + i32::from(self)
    }
    #[inline(always)]
    fn total(sum: i32) -> f64 {
        f64::from(sum)
    }
    #[inline(always)]
    fn sum(total: f64) -> i32 {
        total as i32
    }
}

/// Reads raw samples into a workspace row; `flip` is XORed into every integer before conversion
/// (see [`DType::sign_bit`]).
pub(crate) mod load {
    use super::Work;

    macro_rules! integers {
        ($($name:ident: $type:ty, $bits:ty, $size:literal;)*) => {$(
            #[inline(always)]
            pub fn $name<T: Work, const BIG: bool>(raw: &[u8], row: &mut [T], flip: u64) {
                for (to, from) in row.iter_mut().zip(raw.as_chunks::<$size>().0) {
                    let bits =
                        if BIG { <$bits>::from_be_bytes(*from) } else { <$bits>::from_le_bytes(*from) };
                    *to = T::convert((bits ^ flip as $bits) as $type);
                }
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
            pub fn $name<T: Work, const BIG: bool>(raw: &[u8], row: &mut [T], _flip: u64) {
                for (to, from) in row.iter_mut().zip(raw.as_chunks::<$size>().0) {
                    *to = T::convert(
                        if BIG { <$type>::from_be_bytes(*from) } else { <$type>::from_le_bytes(*from) },
                    );
                }
            }
        )*};
    }
    floats! {
        f32: f32, 4;
        f64: f64, 8;
    }
}
