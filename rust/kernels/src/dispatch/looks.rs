//! The looks at planes compiled for every instruction set, and the choice among them.

use super::{best, Simd};
use crate::look::{self, Look, Manner, Source};
use crate::order::{every_deeper, every_depth, Depth, Network, DEEPER, DEEPEST};
use crate::sample::{DType, Key, Row, Work};

/// What a look is to find; see `look.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    Ranks,
    Total,
    Moments,
    Std,
    Mad,
}

impl Sight {
    /// Whether the extremes are found.
    pub fn tells_extremes(self) -> bool {
        matches!(self, Self::Moments | Self::Std | Self::Mad)
    }

    /// Whether all that `other` finds is found too.
    pub fn covers(self, other: Self) -> bool {
        matches!((self, other), (Self::Std | Self::Mad, Self::Ranks) | (Self::Moments, Self::Total))
    }
}

type LookFn<T> = unsafe fn(&[&[u8]], Manner, &mut Look<T>) -> Option<bool>;
type ScanFn<T> = unsafe fn(&[&[u8]], Manner, &Row<f64>, &mut Look<T>) -> Option<()>;
type ColumnsFn<T> = unsafe fn(&[&[u8]], Manner, &[u16], &mut [Row<T>], usize);
type SquaresFn = unsafe fn(&[&[u8]], Manner, &Row<f64>, &mut Row<f64>);

/// Looks at planes of one type and byte order by one instruction set.
pub(crate) struct Looks<T: Work> {
    sights: [[LookFn<T>; DEEPEST]; 5],
    deep_ranks: [LookFn<T>; DEEPER.len()],
    deep_total: LookFn<T>,
    scan: ScanFn<T>,
    columns: ColumnsFn<T>,
    exact_squares: SquaresFn,
}

impl<T: Work> Looks<T> {
    /// Looks at a block of all planes; None if there is no code for so many, or no whole block.
    /// Else whether there are samples that are not finite.
    #[inline]
    pub fn look(
        &self,
        sight: Sight,
        planes: &[&[u8]],
        manner: Manner,
        look: &mut Look<T>,
    ) -> Option<bool> {
        let function = self.sights[sight as usize].get(planes.len().wrapping_sub(1))?;
        // SAFETY: tables are handed out by `looks` only, for levels this processor has.
        unsafe { function(planes, manner, look) }
    }

    /// Like `look` for the ranks of more planes, of which there are as many as in one of
    /// [`DEEPER`].
    #[inline]
    pub fn deep_ranks(&self, planes: &[&[u8]], manner: Manner, look: &mut Look<T>) -> Option<bool> {
        let depth = DEEPER.iter().position(|depth| *depth == planes.len())?;
        // SAFETY: as above.
        unsafe { (self.deep_ranks[depth])(planes, manner, look) }
    }

    /// Like `look` for the sum of any number of planes.
    #[inline]
    pub fn deep_total(&self, planes: &[&[u8]], manner: Manner, look: &mut Look<T>) -> Option<bool> {
        // SAFETY: as above.
        unsafe { (self.deep_total)(planes, manner, look) }
    }

    /// Extremes and squares about a center; see [`look::scan`].
    #[inline]
    pub fn scan(
        &self,
        planes: &[&[u8]],
        manner: Manner,
        about: &Row<f64>,
        look: &mut Look<T>,
    ) -> Option<()> {
        // SAFETY: as above.
        unsafe { (self.scan)(planes, manner, about, look) }
    }

    /// Copies columns; see [`look::columns`].
    #[inline]
    pub fn columns(
        &self,
        planes: &[&[u8]],
        manner: Manner,
        lanes: &[u16],
        out: &mut [Row<T>],
        at: usize,
    ) {
        // SAFETY: as above.
        unsafe { (self.columns)(planes, manner, lanes, out, at) }
    }

    /// Sums squares about `about`; see [`look::exact_squares`].
    #[inline]
    pub fn exact_squares(
        &self,
        planes: &[&[u8]],
        manner: Manner,
        about: &Row<f64>,
        total: &mut Row<f64>,
    ) {
        // SAFETY: as above.
        unsafe { (self.exact_squares)(planes, manner, about, total) }
    }
}

/// The number type of a source.
type WorkOf<S> = <<S as Source>::Key as Key>::Work;

/// The front of a look at `N` planes of a source `T`, which reads them as `$source`.
macro_rules! front {
    ($feature:meta, $name:ident, $source:ty, $look:expr) => {
        #[$feature]
        unsafe fn $name<T: Source, const N: usize>(
            planes: &[&[u8]],
            manner: Manner,
            look: &mut Look<WorkOf<T>>,
        ) -> Option<bool>
        where
            Depth<N>: Network<N>,
        {
            Some($look(&look::planes::<$source, N>(planes)?, manner, look))
        }
    };
}

/// Fronts of the looks for one instruction set, and their table.
macro_rules! looks {
    ($module:ident, $feature:meta) => {
        mod $module {
            use super::*;

            front!($feature, ranks, T::Deep, look::ranks::<T::Deep, N>);
            front!($feature, deep_ranks, T::Deep, look::ranks::<T::Deep, N>);
            front!($feature, total, T, look::total::<T, N>);
            front!($feature, moments, T, look::moments::<T, N>);
            front!($feature, std, T::Deep, look::sorted::<T::Deep, N, false>);
            front!($feature, mad, T::Deep, look::sorted::<T::Deep, N, true>);
            #[$feature]
            unsafe fn deep_total<T: Source>(
                planes: &[&[u8]],
                manner: Manner,
                look: &mut Look<WorkOf<T>>,
            ) -> Option<bool> {
                look::deep_total::<T>(planes, manner, look)
            }
            #[$feature]
            unsafe fn scan<T: Source>(
                planes: &[&[u8]],
                manner: Manner,
                about: &Row<f64>,
                look: &mut Look<WorkOf<T>>,
            ) -> Option<()> {
                look::scan::<T>(planes, manner, about, look)
            }
            #[$feature]
            unsafe fn columns<T: Source>(
                planes: &[&[u8]],
                manner: Manner,
                lanes: &[u16],
                out: &mut [Row<WorkOf<T>>],
                at: usize,
            ) {
                look::columns::<T>(planes, manner, lanes, out, at)
            }
            #[$feature]
            unsafe fn exact_squares<T: Source>(
                planes: &[&[u8]],
                manner: Manner,
                about: &Row<f64>,
                total: &mut Row<f64>,
            ) {
                look::exact_squares::<T>(planes, manner, about, total)
            }

            pub(super) struct Table<T>(T);
            impl<T: Source> Table<T> {
                pub(super) const LOOKS: &'static Looks<WorkOf<T>> = &Looks {
                    sights: [
                        every_depth!(ranks),
                        every_depth!(total),
                        every_depth!(moments),
                        every_depth!(std),
                        every_depth!(mad),
                    ],
                    deep_ranks: every_deeper!(deep_ranks),
                    deep_total: deep_total::<T>,
                    scan: scan::<T>,
                    columns: columns::<T>,
                    exact_squares: exact_squares::<T>,
                };
            }
        }
    };
}
looks!(look_base, inline(never));
#[cfg(target_arch = "x86_64")]
looks!(look_avx2, target_feature(enable = "avx2"));
#[cfg(target_arch = "x86_64")]
looks!(look_avx512, target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl"));

/// The looks of a level; those of the best one available if the processor lacks it.
fn looks<S: Source>(level: Simd) -> &'static Looks<WorkOf<S>> {
    match level.min(best()) {
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 => look_avx512::Table::<S>::LOOKS,
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => look_avx2::Table::<S>::LOOKS,
        _ => look_base::Table::<S>::LOOKS,
    }
}

/// Looks at planes that are worked on in single precision, if there are any for the type.
pub(crate) fn single_looks(level: Simd, dtype: DType, big: bool) -> Option<&'static Looks<f32>> {
    match (dtype, big) {
        (DType::U16 | DType::I16, false) => Some(looks::<look::Little16>(level)),
        (DType::U16 | DType::I16, true) => Some(looks::<look::Big16>(level)),
        (DType::F32, false) => Some(looks::<look::LittleF32>(level)),
        (DType::F32, true) => Some(looks::<look::BigF32>(level)),
        _ => None,
    }
}

/// Looks at planes that are worked on in double precision, if there are any for the type.
pub(crate) fn double_looks(level: Simd, dtype: DType, big: bool) -> Option<&'static Looks<f64>> {
    let native = big == cfg!(target_endian = "big");
    (dtype == DType::F64 && native).then(|| looks::<look::NativeF64>(level))
}
