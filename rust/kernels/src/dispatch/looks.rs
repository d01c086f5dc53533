//! The looks at planes compiled for every instruction set, and the choice among them.

use super::{best, steps, Simd};
use crate::deep_look as deep;
use crate::halves;
use crate::look::{self, Look, Manner, Source};
use crate::order::{every_chunk, every_depth, every_half, Chunk, Depth, Network};
use crate::order::{DEEPEST, SHALLOWEST};
use crate::sample::{DType, Key, Row, Work};
use crate::second_pass;

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
type PartFn<K, A> = unsafe fn(&[&[u8]], &mut [Row<K>], &mut A, Manner) -> Option<bool>;
type HalvesFn<T> = unsafe fn(Manner, &mut Look<T>);
type TotalsFn = unsafe fn(&[&[u8]], Manner, &mut [Row<f64>]) -> Option<()>;
type UnsoundFn = unsafe fn(&Row<f64>, &mut Row<u8>) -> bool;
type DeepFn<T> = unsafe fn(usize, Manner, &mut Look<T>);
type DeepScanFn<T> = unsafe fn(usize, Manner, &Row<f64>, &mut Look<T>);
type DeepSquaresFn<T> = unsafe fn(usize, Manner, &mut Look<T>, &Row<f64>, &mut Row<f64>);
type ColumnsFn<T> = unsafe fn(&[&[u8]], Manner, &[u16], &mut [Row<T>], usize);
type SquaresFn<T> = unsafe fn(&[&[u8]], Manner, &Row<f64>, &Row<T>, &mut Row<f64>, &mut Row<f64>);
type LossesFn<T> = unsafe fn(&[&[u8]], Manner, &Row<u8>, &mut Look<T>);

/// Depths of half a stack.
const HALVES: usize = DEEPEST + 1 - SHALLOWEST;

/// What is done to halves, by their depth.
type Parts<K, A> = [PartFn<K, A>; HALVES + 1];

/// What is done to these planes.
fn part<K, A>(parts: &Parts<K, A>, planes: &[&[u8]]) -> Option<PartFn<K, A>> {
    parts.get((planes.len() + 1).checked_sub(SHALLOWEST)?).copied()
}

/// Looks at planes of one type and byte order by one instruction set.
pub(crate) struct Looks<T: Work> {
    sights: [[LookFn<T>; DEEPEST]; 5],
    sort_halves: LookFn<T>,
    add_halves: LookFn<T>,
    halves_ranks: [HalvesFn<T>; HALVES],
    totals: TotalsFn,
    unsound: UnsoundFn,
    stage: LookFn<T>,
    staged_ranks: DeepFn<T>,
    staged_mad: DeepFn<T>,
    staged_total: DeepFn<T>,
    staged_scan: DeepScanFn<T>,
    plain_scan: DeepScanFn<T>,
    staged_squares: DeepSquaresFn<T>,
    columns: ColumnsFn<T>,
    exact_squares: [SquaresFn<T>; 2],
    losses: LossesFn<T>,
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

    /// Reads a block of more planes by halves, to be sorted or with their sum; see [`halves`].
    #[inline]
    pub fn halves(
        &self,
        sorted: bool,
        planes: &[&[u8]],
        manner: Manner,
        look: &mut Look<T>,
    ) -> Option<bool> {
        let function = if sorted { self.sort_halves } else { self.add_halves };
        // SAFETY: as above.
        unsafe { function(planes, manner, look) }
    }

    /// The ranks of `frames` planes of which both halves have been sorted.
    #[inline]
    pub fn halves_ranks(&self, frames: usize, manner: Manner, look: &mut Look<T>) {
        // SAFETY: as above.
        unsafe { (self.halves_ranks[frames.div_ceil(2) - SHALLOWEST])(manner, look) }
    }

    /// The sums of the blocks of a run, of any number of planes; see [`totals::totals`].
    #[inline]
    pub fn totals(&self, planes: &[&[u8]], manner: Manner, totals: &mut [Row<f64>]) -> Option<()> {
        // SAFETY: as above.
        unsafe { (self.totals)(planes, manner, totals) }
    }

    /// Notes lanes of which the sum is not finite; see [`look::unsound`].
    #[inline]
    pub fn unsound(&self, total: &Row<f64>, odd: &mut Row<u8>) -> bool {
        // SAFETY: as above.
        unsafe { (self.unsound)(total, odd) }
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
    pub fn staged_ranks(&self, frames: usize, mad: bool, manner: Manner, look: &mut Look<T>) {
        let function = if mad { self.staged_mad } else { self.staged_ranks };
        // SAFETY: as above.
        unsafe { function(frames, manner, look) }
    }

    /// The sum of a deep stack that has been read.
    #[inline]
    pub fn staged_total(&self, frames: usize, manner: Manner, look: &mut Look<T>) {
        // SAFETY: as above.
        unsafe { (self.staged_total)(frames, manner, look) }
    }

    /// Extremes and squares about a center; see [`deep::scan`].
    #[inline]
    pub fn staged_scan(&self, frames: usize, manner: Manner, about: &Row<f64>, look: &mut Look<T>) {
        // SAFETY: as above.
        unsafe { (self.staged_scan)(frames, manner, about, look) }
    }

    /// The same of halves that have not been sorted.
    #[inline]
    pub fn plain_scan(&self, frames: usize, manner: Manner, about: &Row<f64>, look: &mut Look<T>) {
        // SAFETY: as above.
        unsafe { (self.plain_scan)(frames, manner, about, look) }
    }

    /// Sums squares about `about` of a deep stack that has been read.
    #[inline]
    pub fn staged_squares(
        &self,
        frames: usize,
        manner: Manner,
        look: &mut Look<T>,
        about: &Row<f64>,
        total: &mut Row<f64>,
    ) {
        // SAFETY: as above.
        unsafe { (self.staged_squares)(frames, manner, look, about, total) }
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

    /// Finds the frames of the samples lost in the lanes `marks`; see [`second_pass::losses`].
    #[inline]
    pub fn losses(&self, planes: &[&[u8]], manner: Manner, marks: &Row<u8>, look: &mut Look<T>) {
        // SAFETY: as above.
        unsafe { (self.losses)(planes, manner, marks, look) }
    }

    /// Sums squares about `about`, and samples if `with_total`, into `squares` and the look's total;
    /// see [`look::exact_squares`].
    #[inline]
    pub fn exact_squares(
        &self,
        planes: &[&[u8]],
        manner: Manner,
        about: &Row<f64>,
        with_total: bool,
        look: &mut Look<T>,
        squares: &mut Row<f64>,
    ) {
        // SAFETY: as above.
        unsafe {
            let Look { lost, total, .. } = look;
            self.exact_squares[usize::from(with_total)](planes, manner, about, lost, total, squares)
        }
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
    ($module:ident, $level:ident, $feature:meta, $source:ident = $quick:ty) => {
        mod $module {
            use super::super::width::$level as WIDTH;
            use super::*;

            /// What samples are read as where they are sorted.
            type Sortable<$source> = $quick;
            type SortKey<S> = <Sortable<S> as Source>::Key;

            front!($feature, ranks, Sortable<T>, look::ranks::<Sortable<T>, N, WIDTH>);
            front!($feature, total, T, look::total::<T, N>);
            front!($feature, moments, T, look::moments::<T, N>);
            front!($feature, std, Sortable<T>, look::sorted::<Sortable<T>, N, WIDTH, false>);
            front!($feature, mad, Sortable<T>, look::sorted::<Sortable<T>, N, WIDTH, true>);
            #[$feature]
            unsafe fn sort_part<T: Source, const N: usize>(
                bytes: &[&[u8]],
                to: &mut [Row<SortKey<T>>],
                odd: &mut Row<u8>,
                manner: Manner,
            ) -> Option<bool>
            where
                Depth<N>: Network<N>,
            {
                halves::sort_part::<Sortable<T>, N, WIDTH>(bytes, to, odd, manner)
            }
            #[$feature]
            unsafe fn sort_halves<T: Source>(
                planes: &[&[u8]],
                manner: Manner,
                look: &mut Look<WorkOf<T>>,
            ) -> Option<bool> {
                let parts = Table::<T>::SORT_PART;
                halves::halves(
                    planes,
                    look,
                    |look| &mut look.odd,
                    |bytes, to, odd| {
                        // SAFETY: this is code of the same instruction set.
                        unsafe { part(parts, bytes)?(bytes, to, odd, manner) }
                    },
                )
            }
            #[$feature]
            unsafe fn add_part<T: Source, const N: usize>(
                bytes: &[&[u8]],
                to: &mut [Row<T::Key>],
                total: &mut Row<f64>,
                manner: Manner,
            ) -> Option<bool>
            where
                Depth<N>: Network<N>,
            {
                halves::add_part::<T, N>(bytes, to, total, manner)
            }
            #[$feature]
            unsafe fn add_halves<T: Source>(
                planes: &[&[u8]],
                manner: Manner,
                look: &mut Look<WorkOf<T>>,
            ) -> Option<bool> {
                let parts = Table::<T>::ADD_PART;
                look.total = Row::filled(0.0);
                halves::halves(
                    planes,
                    look,
                    |look| &mut look.total,
                    |bytes, to, total| {
                        // SAFETY: this is code of the same instruction set.
                        unsafe { part(parts, bytes)?(bytes, to, total, manner) }
                    },
                )?;
                look.total.0.iter_mut().for_each(|sum| *sum += planes.len() as f64 * manner.offset);
                Some(look::unsound(&look.total, &mut look.odd))
            }
            #[$feature]
            unsafe fn halves_ranks<T: Source, const M: usize>(
                manner: Manner,
                look: &mut Look<WorkOf<T>>,
            ) where
                Depth<M>: Chunk<M>,
            {
                halves::ranks::<SortKey<T>, M>(manner, look)
            }
            #[$feature]
            unsafe fn totals<T: Source>(
                planes: &[&[u8]],
                manner: Manner,
                totals: &mut [Row<f64>],
            ) -> Option<()> {
                crate::totals::totals::<T>(planes, manner, totals)
            }
            #[$feature]
            unsafe fn unsound(total: &Row<f64>, odd: &mut Row<u8>) -> bool {
                look::unsound(total, odd)
            }
            #[$feature]
            unsafe fn stage<S: Source>(
                planes: &[&[u8]],
                manner: Manner,
                look: &mut Look<WorkOf<S>>,
            ) -> Option<bool> {
                deep::stage::<S>(planes, manner, look)
            }
            #[$feature]
            unsafe fn staged_ranks<K: Key>(
                _frames: usize,
                manner: Manner,
                look: &mut Look<K::Work>,
            ) {
                deep::ranks(steps::$level::Of::<K>::STEPS, manner, look)
            }
            #[$feature]
            unsafe fn staged_mad<K: Key>(frames: usize, manner: Manner, look: &mut Look<K::Work>) {
                deep::mad(steps::$level::Of::<K>::STEPS, frames, manner, look)
            }
            #[$feature]
            unsafe fn staged_total<K: Key>(
                frames: usize,
                manner: Manner,
                look: &mut Look<K::Work>,
            ) {
                deep::total::<K>(frames, manner, look)
            }
            #[$feature]
            unsafe fn staged_scan<K: Key>(
                frames: usize,
                manner: Manner,
                about: &Row<f64>,
                look: &mut Look<K::Work>,
            ) {
                deep::scan::<K>(frames, manner, about, look)
            }
            #[$feature]
            unsafe fn staged_squares<K: Key>(
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
            unsafe fn exact_squares<T: Source, const TOTAL: bool>(
                planes: &[&[u8]],
                manner: Manner,
                about: &Row<f64>,
                lost: &Row<WorkOf<T>>,
                total: &mut Row<f64>,
                squares: &mut Row<f64>,
            ) {
                look::exact_squares::<T, TOTAL>(planes, manner, about, lost, total, squares)
            }
            #[$feature]
            unsafe fn losses<T: Source>(
                planes: &[&[u8]],
                manner: Manner,
                marks: &Row<u8>,
                look: &mut Look<WorkOf<T>>,
            ) {
                second_pass::losses::<T>(planes, manner, marks, look)
            }

            pub(super) struct Table<T>(T);
            impl<T: Source> Table<T> {
                const SORT_PART: &'static Parts<SortKey<T>, Row<u8>> = &every_half!(sort_part);
                const ADD_PART: &'static Parts<T::Key, Row<f64>> = &every_half!(add_part);
                pub(super) const LOOKS: &'static Looks<WorkOf<T>> = &Looks {
                    sights: [
                        every_depth!(ranks),
                        every_depth!(total),
                        every_depth!(moments),
                        every_depth!(std),
                        every_depth!(mad),
                    ],
                    sort_halves: sort_halves::<T>,
                    add_halves: add_halves::<T>,
                    halves_ranks: every_chunk!(halves_ranks),
                    totals: totals::<T>,
                    unsound,
                    stage: stage::<Sortable<T>>,
                    staged_ranks: staged_ranks::<SortKey<T>>,
                    staged_mad: staged_mad::<SortKey<T>>,
                    staged_total: staged_total::<SortKey<T>>,
                    staged_scan: staged_scan::<SortKey<T>>,
                    plain_scan: staged_scan::<T::Key>,
                    staged_squares: staged_squares::<SortKey<T>>,
                    columns: columns::<T>,
                    exact_squares: [exact_squares::<T, false>, exact_squares::<T, true>],
                    losses: losses::<T>,
                };
            }
        }
    };
}
// There is no minimum of integers in SSE2.
looks!(look_base, base, inline(never), S = S);
#[cfg(target_arch = "x86_64")]
looks!(look_avx2, avx2, target_feature(enable = "avx2"), S = <S as Source>::Quick);
#[cfg(target_arch = "x86_64")]
looks!(
    look_avx512,
    avx512,
    target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl"),
    S = <S as Source>::Quick
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
