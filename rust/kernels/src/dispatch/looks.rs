//! The looks at planes compiled for every instruction set, and the choice among them.

use super::{best, steps, Simd};
use crate::deep_look as deep;
use crate::look::{self, Look, Manner, Source};
use crate::order::{every_depth, Depth, Network, DEEPEST};
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
type DeepFn<T> = unsafe fn(usize, Manner, &mut Look<T>);
type DeepScanFn<T> = unsafe fn(usize, Manner, &Row<f64>, &mut Look<T>);
type DeepColumnsFn<T> = unsafe fn(Manner, &mut Look<T>, &[u16], &mut [Row<T>], usize);
type DeepSquaresFn<T> = unsafe fn(usize, Manner, &mut Look<T>, &Row<f64>, &mut Row<f64>);
type ColumnsFn<T> = unsafe fn(&[&[u8]], Manner, &[u16], &mut [Row<T>], usize);
type SquaresFn = unsafe fn(&[&[u8]], Manner, &Row<f64>, &mut Row<f64>);

/// Looks at planes of one type and byte order by one instruction set.
pub(crate) struct Looks<T: Work> {
    sights: [[LookFn<T>; DEEPEST]; 5],
    stage: LookFn<T>,
    deep_ranks: DeepFn<T>,
    deep_mad: DeepFn<T>,
    deep_total: DeepFn<T>,
    deep_scan: DeepScanFn<T>,
    deep_columns: DeepColumnsFn<T>,
    deep_squares: DeepSquaresFn<T>,
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

    /// Reads a block of a deep stack; see [`deep::stage`].
    #[inline]
    pub fn stage(&self, planes: &[&[u8]], manner: Manner, look: &mut Look<T>) -> Option<bool> {
        // SAFETY: as above.
        unsafe { (self.stage)(planes, manner, look) }
    }

    /// The ranks of a deep stack that has been read, with their median distance if that is asked
    /// for.
    #[inline]
    pub fn deep_ranks(&self, frames: usize, mad: bool, manner: Manner, look: &mut Look<T>) {
        let function = if mad { self.deep_mad } else { self.deep_ranks };
        // SAFETY: as above.
        unsafe { function(frames, manner, look) }
    }

    /// The sum of a deep stack that has been read.
    #[inline]
    pub fn deep_total(&self, frames: usize, manner: Manner, look: &mut Look<T>) {
        // SAFETY: as above.
        unsafe { (self.deep_total)(frames, manner, look) }
    }

    /// Extremes and squares about a center; see [`deep::scan`].
    #[inline]
    pub fn deep_scan(&self, frames: usize, manner: Manner, about: &Row<f64>, look: &mut Look<T>) {
        // SAFETY: as above.
        unsafe { (self.deep_scan)(frames, manner, about, look) }
    }

    /// Copies columns of a deep stack that has been read.
    #[inline]
    pub fn deep_columns(
        &self,
        manner: Manner,
        look: &mut Look<T>,
        lanes: &[u16],
        out: &mut [Row<T>],
        at: usize,
    ) {
        // SAFETY: as above.
        unsafe { (self.deep_columns)(manner, look, lanes, out, at) }
    }

    /// Sums squares about `about` of a deep stack that has been read.
    #[inline]
    pub fn deep_squares(
        &self,
        frames: usize,
        manner: Manner,
        look: &mut Look<T>,
        about: &Row<f64>,
        total: &mut Row<f64>,
    ) {
        // SAFETY: as above.
        unsafe { (self.deep_squares)(frames, manner, look, about, total) }
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
    ($module:ident, $level:ident, $feature:meta, $source:ident = $deep:ty) => {
        mod $module {
            use super::*;

            /// What samples of a deep stack are read as.
            type DeepSource<$source> = $deep;
            type DeepKey<S> = <DeepSource<S> as Source>::Key;

            front!($feature, ranks, T, look::ranks::<T, N>);
            front!($feature, total, T, look::total::<T, N>);
            front!($feature, moments, T, look::moments::<T, N>);
            front!($feature, std, T, look::sorted::<T, N, false>);
            front!($feature, mad, T, look::sorted::<T, N, true>);
            #[$feature]
            unsafe fn stage<S: Source>(
                planes: &[&[u8]],
                manner: Manner,
                look: &mut Look<WorkOf<S>>,
            ) -> Option<bool> {
                deep::stage::<S>(planes, manner, look)
            }
            #[$feature]
            unsafe fn deep_ranks<K: Key>(_frames: usize, manner: Manner, look: &mut Look<K::Work>) {
                deep::ranks(steps::$level::Of::<K>::STEPS, manner, look)
            }
            #[$feature]
            unsafe fn deep_mad<K: Key>(frames: usize, manner: Manner, look: &mut Look<K::Work>) {
                deep::mad(steps::$level::Of::<K>::STEPS, frames, manner, look)
            }
            #[$feature]
            unsafe fn deep_total<K: Key>(frames: usize, manner: Manner, look: &mut Look<K::Work>) {
                deep::total::<K>(frames, manner, look)
            }
            #[$feature]
            unsafe fn deep_scan<K: Key>(
                frames: usize,
                manner: Manner,
                about: &Row<f64>,
                look: &mut Look<K::Work>,
            ) {
                deep::scan::<K>(frames, manner, about, look)
            }
            #[$feature]
            unsafe fn deep_columns<K: Key>(
                manner: Manner,
                look: &mut Look<K::Work>,
                lanes: &[u16],
                out: &mut [Row<K::Work>],
                at: usize,
            ) {
                deep::columns::<K>(manner, look, lanes, out, at)
            }
            #[$feature]
            unsafe fn deep_squares<K: Key>(
                frames: usize,
                manner: Manner,
                look: &mut Look<K::Work>,
                about: &Row<f64>,
                total: &mut Row<f64>,
            ) {
                deep::exact_squares::<K>(frames, manner, look, about, total)
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
                    stage: stage::<DeepSource<T>>,
                    deep_ranks: deep_ranks::<DeepKey<T>>,
                    deep_mad: deep_mad::<DeepKey<T>>,
                    deep_total: deep_total::<DeepKey<T>>,
                    deep_scan: deep_scan::<DeepKey<T>>,
                    deep_columns: deep_columns::<DeepKey<T>>,
                    deep_squares: deep_squares::<DeepKey<T>>,
                    columns: columns::<T>,
                    exact_squares: exact_squares::<T>,
                };
            }
        }
    };
}
// There is no minimum of integers in SSE2.
looks!(look_base, base, inline(never), S = S);
#[cfg(target_arch = "x86_64")]
looks!(look_avx2, avx2, target_feature(enable = "avx2"), S = <S as Source>::Deep);
#[cfg(target_arch = "x86_64")]
looks!(
    look_avx512,
    avx512,
    target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl"),
    S = <S as Source>::Deep
);

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
