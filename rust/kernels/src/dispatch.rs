//! The row operations compiled for every instruction set, and the choice among them.
//!
//! A table of function pointers per level and workspace type; the bodies are those of `rows.rs`,
//! `marks.rs`, `passes.rs`, `deep.rs` and `variances.rs`, so every level gives the same bits. This
//! is the only module with unsafe code besides `prefetch`: a function compiled for an instruction
//! set may only run on a processor that has it.

#![allow(unsafe_code)]

mod looks;
mod steps;

use std::env;
use std::sync::OnceLock;

use crate::deep;
use crate::error::{Error, Result};
use crate::look::Look;
use crate::order::{every_depth, Depth, Network, DEEPEST};
use crate::passes::{Limits, Scatter, Span};
use crate::plan::Statistic;
use crate::sample::{DType, Rooms, Row, Work};
use crate::second_pass::SecondPass;
use crate::variances::{Detector, Form};

pub(crate) use looks::{double_looks, single_looks, Looks, Sight};

/// Instruction sets, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Simd {
    /// What every processor of the architecture has (SSE2 on x86-64, NEON on ARM).
    Base,
    /// 256-bit vectors.
    Avx2,
    /// 512-bit vectors.
    Avx512,
}

impl Simd {
    /// Its name in the environment variable `IMCOMBINERS_SIMD`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// The levels that this processor has.
    pub fn available() -> Vec<Self> {
        let mut levels = vec![Self::Base];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                levels.push(Self::Avx2);
                if ["avx512f", "avx512bw", "avx512dq", "avx512vl"].iter().all(|name| match *name {
                    "avx512f" => is_x86_feature_detected!("avx512f"),
                    "avx512bw" => is_x86_feature_detected!("avx512bw"),
                    "avx512dq" => is_x86_feature_detected!("avx512dq"),
                    _ => is_x86_feature_detected!("avx512vl"),
                }) {
                    levels.push(Self::Avx512);
                }
            }
        }
        levels
    }

    /// The level in use: the best one, unless `IMCOMBINERS_SIMD` names another.
    ///
    /// # Errors
    /// [`Error::Option`] if the variable names a level that does not exist here.
    pub fn current() -> Result<Self> {
        static CURRENT: OnceLock<Result<Simd>> = OnceLock::new();
        CURRENT
            .get_or_init(|| {
                let available = Self::available();
                match env::var("IMCOMBINERS_SIMD") {
                    Ok(wanted) if !wanted.is_empty() => {
                        available.iter().find(|level| level.name() == wanted).copied().ok_or_else(
                            || {
                                let names: Vec<_> = available.iter().map(|l| l.name()).collect();
                                Error::option("IMCOMBINERS_SIMD", wanted, &names.join(", "))
                            },
                        )
                    }
                    _ => Ok(available.last().copied().unwrap_or(Self::Base)),
                }
            })
            .clone()
    }
}

/// Bytes of a vector of every instruction set.
#[allow(non_upper_case_globals)]
mod width {
    pub const base: usize = 16;
    #[cfg(target_arch = "x86_64")]
    pub const avx2: usize = 32;
    #[cfg(target_arch = "x86_64")]
    pub const avx512: usize = 64;
}

/// What is compiled for every instruction set.
mod bodies {
    pub use crate::marks::*;
    pub use crate::passes::*;
    pub use crate::rows::*;
    pub use crate::second_pass::second_pass;
    pub use crate::variances::*;
}

macro_rules! operations {
    (
        load: { $($loader:ident),* }
        $( $(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)?; )*
    ) => {
        type Load<T> = unsafe fn(&[u8], &mut [T], u64);
        type MiddlePair<T> = unsafe fn(&[Row<T>], usize, bool, &mut Row<T>, &mut Row<T>);
        type Sort<T> = unsafe fn(&[Row<T>], usize, &mut [Row<T>]);
        type DeepMiddle<T> =
            unsafe fn(&[Row<T>], usize, bool, &mut Rooms, &mut Row<T>, &mut Row<T>);
        type DeepSort<T> = unsafe fn(&[Row<T>], usize, &mut Rooms, &mut [Row<T>]);

        /// The row operations of one instruction set.
        pub(crate) struct Ops<T: Work> {
            $( $name: unsafe fn($($type),*) $(-> $ret)?, )*
            load: [[Load<T>; 2]; 10],
            middle_pair: [MiddlePair<T>; DEEPEST],
            sort: [Sort<T>; DEEPEST],
            deep_middle: DeepMiddle<T>,
            deep_sort: DeepSort<T>,
        }

        impl<T: Work> Ops<T> {
            $(
                $(#[$doc])*
                #[inline]
                pub fn $name(&self, $($arg: $type),*) $(-> $ret)? {
                    // SAFETY: tables are handed out by `Ops::at` only, for levels this processor has.
                    unsafe { (self.$name)($($arg),*) }
                }
            )*
        }

        operations! { @level BASE base inline(never) |T| T, load: { $($loader),* }

            $( $name($($arg: $type),*) $(-> $ret)?; )* }
        #[cfg(target_arch = "x86_64")]
        operations! { @level AVX2 avx2 target_feature(enable = "avx2") |T| <T as Work>::Quick,
            load: { $($loader),* }
            $( $name($($arg: $type),*) $(-> $ret)?; )* }
        #[cfg(target_arch = "x86_64")]
        operations! { @level AVX512 avx512
            target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")
            |T| <T as Work>::Quick,
            load: { $($loader),* }
            $( $name($($arg: $type),*) $(-> $ret)?; )* }
    };

    (@level $level:ident $module:ident $feature:meta |$work:ident| $quick:ty,
        load: { $($loader:ident),* }
        $( $name:ident($($arg:ident: $type:ty),*) $(-> $ret:ty)?; )*
    ) => {
        mod $module {
            use super::bodies as rows;
            use super::width::$module as WIDTH;
            use super::*;

            // Generic functions whose body is inlined here, under this level's features.
            $(
                #[$feature]
                #[allow(clippy::extra_unused_type_parameters)]
                unsafe fn $name<T: Work>($($arg: $type),*) $(-> $ret)? {
                    rows::$name($($arg),*)
                }
            )*
            #[$feature]
            unsafe fn middle_pair<T: Work, const N: usize>(
                rows: &[Row<T>], w: usize, absent: bool, low: &mut Row<T>, high: &mut Row<T>,
            ) where Depth<N>: Network<N> {
                rows::middle_pair::<T, N, WIDTH>(rows, w, absent, low, high);
            }
            #[$feature]
            unsafe fn sort<T: Work, const N: usize>(
                rows: &[Row<T>], w: usize, out: &mut [Row<T>],
            ) where Depth<N>: Network<N> {
                rows::sort::<T, N, WIDTH>(rows, w, out);
            }
            /// What deep stacks are sorted as.
            type Quick<$work> = $quick;
            #[$feature]
            unsafe fn deep_middle<T: Work>(
                rows: &[Row<T>], w: usize, absent: bool, rooms: &mut Rooms,
                low: &mut Row<T>, high: &mut Row<T>,
            ) {
                let steps = steps::$module::Of::<Quick<T>>::STEPS;
                deep::middle_pair(steps, rows, w, absent, rooms, low, high);
            }
            #[$feature]
            unsafe fn deep_sort<T: Work>(
                rows: &[Row<T>], w: usize, rooms: &mut Rooms, out: &mut [Row<T>],
            ) {
                deep::sort(steps::$module::Of::<Quick<T>>::STEPS, rows, w, rooms, out);
            }
            mod load {
                use crate::sample::{load, Work};
                $(
                    #[$feature]
                    pub unsafe fn $loader<T: Work, const BIG: bool>(
                        raw: &[u8], row: &mut [T], flip: u64,
                    ) {
                        load::$loader::<T, BIG>(raw, row, flip)
                    }
                )*
            }
            impl<T: Work> Ops<T> {
                pub(super) const $level: &'static Self = &Self {
                    $( $name: $name::<T>, )*
                    load: [ $( [load::$loader::<T, false>, load::$loader::<T, true>] ),* ],
                    middle_pair: every_depth!(middle_pair),
                    sort: every_depth!(sort),
                    deep_middle: deep_middle::<T>,
                    deep_sort: deep_sort::<T>,
                };
            }
        }
    };
}

operations! {
    load: { u8, i8, u16, i16, u32, i32, u64, i64, f32, f64 }
    /// (x - zero) * factor / scale in place; returns whether any sample is now absent.
    fn transform(row: &mut Row<T>, w: usize, zero: f64, factor: f64, scale: f64) -> bool;
    /// Joins masks, a bit for each.
    fn join_masks(masks: &[&[u8]; 8], bits: &mut [u8]);
    /// Joins bytes.
    fn join_bytes(bytes: &[u8], any: &mut [u8]);
    /// Marks lanes with masked samples.
    fn mark_masked(mask: &[u8], marks: &mut Row<u8>);
    /// Takes marks away.
    fn clear_marks(these: &Row<u8>, marks: &mut Row<u8>);
    /// Drops masked samples.
    fn drop_masked(row: &mut Row<T>, bytes: &[u8], bit: u8);
    /// Copies one mask out of several.
    fn copy_mask(bytes: &[u8], bit: u8, row: &mut Row<u8>);
    /// Drops infinite samples.
    fn drop_infinite(rows: &mut [Row<T>], w: usize);
    /// Whether some sample is not finite.
    fn any_infinite(rows: &[Row<T>]) -> bool;
    /// Drops samples that another stack lacks.
    fn drop_absent(rows: &mut [Row<T>], other: &[Row<T>], w: usize);
    /// Marks lanes where two rows are equal.
    fn mark_equal(a: &Row<T>, b: &Row<T>, marks: &mut Row<u8>);
    /// Flags dropped samples of one frame.
    fn flag_dropped(before: &Row<T>, after: &Row<T>, bit: u8, except: u8, flags: &mut Row<u8>);
    /// Tells absent samples of one frame.
    fn absent(row: &Row<T>, out: &mut Row<u8>);
    /// Counts absent samples of one frame.
    fn count_absent(row: &Row<T>, w: usize) -> u32;
    /// Notes the sides of samples outside bounds.
    fn mark_sides(rows: &[Row<T>], w: usize, low: &Row<T>, high: &Row<T>, sides: &mut [Row<u8>]);
    /// Counts the sides noted of every frame.
    fn count_sides(sides: &[Row<u8>], len: usize, low: &mut [u64], high: &mut [u64]);
    /// Drops samples outside bounds; returns whether there were any.
    fn drop_outside(rows: &mut [Row<T>], w: usize, low: &Row<T>, high: &Row<T>) -> bool;
    /// Adds the numbers of samples outside bounds.
    fn count_outside(rows: &[Row<T>], w: usize, low: &Row<T>, high: &Row<T>,
        below: &mut Row<u32>, above: &mut Row<u32>);
    /// Drops samples outside bounds and adds their numbers.
    fn drop_counted(rows: &mut [Row<T>], w: usize, low: &Row<T>, high: &Row<T>,
        below: &mut Row<u32>, above: &mut Row<u32>);
    /// Bounds of the samples less than so many units from the median.
    fn near_bounds(median: &Row<f64>, unit: &Row<f64>, limits: (f64, f64),
        low: &mut Row<T>, high: &mut Row<T>, vague: &mut Row<u8>);
    /// Counts samples.
    fn count(rows: &[Row<T>], w: usize, n: &mut Row<u32>);
    /// Sums samples.
    fn sum(rows: &[Row<T>], w: usize, absent: bool, total: &mut Row<f64>);
    /// Sums squared deviations.
    fn sum_squares(rows: &[Row<T>], w: usize, absent: bool, about: &Row<f64>, total: &mut Row<f64>);
    /// Adds one frame's squared deviations in units of a scale.
    fn add_scaled_squares(row: &Row<T>, about: &Row<f64>, scale: &Row<f64>, w: usize,
        total: &mut Row<f64>);
    /// Adds one weighted frame.
    fn add_weighted(row: &Row<T>, weight: &Row<f64>, w: usize,
        sum_wx: &mut Row<f64>, sum_w: &mut Row<f64>);
    /// |x - a|, in the workspace type; returns whether that is exact.
    fn deviations(rows: &[Row<T>], w: usize, about: &Row<f64>, out: &mut [Row<T>]) -> bool;
    /// |x - a|, in double precision.
    fn wide_deviations(rows: &[Row<T>], w: usize, about: &Row<f64>, out: &mut [Row<f64>]);
    /// Sums samples but the extremes.
    fn trimmed_sum(rows: &[Row<T>], w: usize, total: &mut Row<f64>);
    /// Sums to means.
    fn divide(total: &mut Row<f64>, n: &Row<u32>);
    /// Doubles to single floats.
    fn narrow(row: &Row<f64>, out: &mut [f32]);
    /// Sums of squares to variances or standard deviations.
    fn variance(total: &mut Row<f64>, n: &Row<u32>, ddof: f64, root: bool);
    /// Marks lanes with samples outside bounds.
    fn any_outside(rows: &[Row<T>], w: usize, low: &Row<T>, high: &Row<T>, marks: &mut Row<u8>);
    /// Marks lanes where some sample may be outside.
    fn beyond(center: &Row<f64>, extremes: &[Row<T>; 2], spread: &Row<T>, root: bool,
        factor: f64, limits: (f64, f64), offset: f64, equal_is_inside: bool, marks: &mut Row<u8>);
    /// Settles lanes that lose one sample.
    fn second_pass(look: &mut Look<T>, pass: &SecondPass, center: &mut Row<f64>,
        n: &mut Row<u32>, marks: &mut Row<u8>);
    /// Marks lanes where distances from the center may be rounded.
    fn inexact(center: &Row<f64>, extremes: &[Row<T>; 2], marks: &mut Row<u8>);
    /// Marks lanes that cannot be judged or have too few samples.
    fn attention(n: &Row<u32>, nkeep: u32, center: &Row<f64>, spread: &Row<f64>,
        marks: &mut Row<u8>);
    /// Bounds of a clipping pass.
    fn bounds(center: &Row<f64>, spread: &Row<f64>, down: f64, up: f64,
        low: &mut Row<T>, high: &mut Row<T>);
    /// Median from the two middle ranks.
    fn median(low: &Row<T>, high: &Row<T>, n: &Row<u32>, odd_stack: bool, lower: bool,
        median: &mut Row<f64>);
    /// Smallest and largest sample.
    fn extremes(rows: &[Row<T>], w: usize, min: &mut Row<T>, max: &mut Row<T>);
    /// Picks ranks of sorted columns.
    fn pick(rows: &[Row<T>], w: usize, rank: &Row<u32>, out: &mut Row<T>);
    /// The limits of a pass over sorted columns; see [`crate::passes`].
    fn limits_of_scatter(rows: &[Row<T>], w: usize, span: &Span, scatter: &Scatter, first: bool,
        limits: &mut Limits<T>, vague: &mut Row<u8>);
    /// Takes what is outside the limits off sorted columns.
    fn cut(rows: &mut [Row<T>], w: usize, limits: &Limits<T>, span: &mut Span,
        vague: &mut Row<u8>, changed: &mut Row<u8>);
    /// Adds c v of one frame.
    fn add_variance(row: &Row<T>, variance: &Row<f64>, c: f64, w: usize, total: &mut Row<f64>);
    /// Adds 1 / sqrt(c v) of one frame.
    fn add_inverse_roots(row: &Row<T>, variance: &Row<f64>, c: f64, w: usize, total: &mut Row<f64>);
    /// Adds v of every frame; returns whether any sum is NaN.
    fn add_all_variances(planes: &[&[u8]], form: Form, totals: &mut [Row<f64>]) -> bool;
    /// Reads variances of one frame; returns whether any is NaN.
    fn load_variances(raw: &[u8], form: Form, row: &mut [f64]) -> bool;
    /// Copies variances of some lanes of one frame.
    fn pick_variances(raw: &[u8], form: Form, lanes: &[u16], row: &mut [f64]);
    /// Adds c w^2 v of one frame.
    fn add_weighted_variance(row: &Row<T>, variance: &Row<f64>, weight: &Row<f64>, c: f64,
        w: usize, total: &mut Row<f64>);
    /// Variances of one frame by its noise model.
    fn model_variance(image: &Row<f64>, detector: &Detector, w: usize, variance: &mut Row<f64>);
    /// Weights 1 / (c v) of one frame, and marks of the samples that have none.
    fn inverse_variance(variance: &Row<f64>, c: f64, w: usize, weight: &mut Row<f64>,
        mask: &mut Row<u8>);
    /// Sums of variances to uncertainties.
    fn standard_errors(statistic: Statistic, n: &Row<u32>, norm: &Row<f64>, total: &mut Row<f64>);
    /// Reads flags.
    fn load_flags(raw: &[u8], dtype: DType, big: bool, row: &mut [u32]);
    /// Copies flags of some lanes of one frame.
    fn pick_flags(raw: &[u8], dtype: DType, big: bool, lanes: &[u16], row: &mut [u32]);
    /// Gathers the flags of the samples of one frame.
    fn or_flags(row: &Row<T>, flags: &Row<u32>, w: usize, all: &mut Row<u32>);
}

/// The best level that this processor has.
fn best() -> Simd {
    static BEST: OnceLock<Simd> = OnceLock::new();
    *BEST.get_or_init(|| Simd::available().pop().unwrap_or(Simd::Base))
}

impl<T: Work> Ops<T> {
    /// The table of a level; the best available one if the processor lacks it.
    pub fn at(level: Simd) -> &'static Self {
        match level.min(best()) {
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 => Self::AVX512,
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => Self::AVX2,
            _ => Self::BASE,
        }
    }

    /// Reads raw samples; see [`crate::sample::load`].
    #[inline]
    pub fn load(&self, dtype: usize, big: bool, raw: &[u8], row: &mut [T], flip: u64) {
        // SAFETY: as above.
        unsafe { (self.load[dtype][usize::from(big)])(raw, row, flip) }
    }

    /// The two middle ranks; tells whether their number is odd, what absent samples are replaced
    /// by included.
    #[inline]
    pub fn middle_pair(
        &self,
        rows: &[Row<T>],
        w: usize,
        absent: bool,
        rooms: &mut Rooms,
        low: &mut Row<T>,
        high: &mut Row<T>,
    ) -> bool {
        if let Some(network) = self.middle_pair.get(rows.len().wrapping_sub(1)) {
            // SAFETY: as above.
            unsafe { network(rows, w, absent, low, high) }
            return rows.len() % 2 == 1;
        }
        // SAFETY: as above.
        unsafe { (self.deep_middle)(rows, w, absent, rooms, low, high) }
        false
    }

    /// The rows in order, absent samples last.
    #[inline]
    pub fn sort(&self, rows: &[Row<T>], w: usize, rooms: &mut Rooms, out: &mut [Row<T>]) {
        if let Some(network) = self.sort.get(rows.len().wrapping_sub(1)) {
            // SAFETY: as above.
            unsafe { network(rows, w, out) }
        } else {
            // SAFETY: as above.
            unsafe { (self.deep_sort)(rows, w, rooms, out) }
        }
    }
}
