//! Sorting networks: the same compare-exchanges whatever the samples, so that a whole row of pixels
//! is sorted by the instructions that would sort one.

use crate::sample::{Key, Row, Strip, Work, LANES};

/// Stack depth as a type.
pub(crate) struct Depth<const N: usize>;

/// What a network sorts.
pub(crate) trait Order: Copy {
    /// The two values in ascending order. By value, and by comparison and selection only:
    /// this is what the compiler turns into one minimum and one maximum instruction.
    fn order(a: Self, b: Self) -> (Self, Self);
}

impl<K: Copy + PartialOrd> Order for K {
    #[inline(always)]
    fn order(a: Self, b: Self) -> (Self, Self) {
        (if b < a { b } else { a }, if b < a { a } else { b })
    }
}

/// How many vectors of so many bytes are held at a time.
const fn registers(width: usize) -> usize {
    if cfg!(target_arch = "x86_64") && width < 64 {
        FEW
    } else {
        MANY
    }
}

/// Straight-line code for `N` frames.
pub(crate) trait Network<const N: usize> {
    /// Lane `l` of every frame, turned into something to sort.
    fn gather<R: Copy, K>(planes: &[&[R; LANES]; N], l: usize, key: impl Fn(R) -> K) -> [K; N];
    /// In ascending order, by vectors of so many bytes. Outputs that are not used cost nothing.
    fn sort<K: Order, const WIDTH: usize>(v: [K; N]) -> [K; N];
    /// Absent samples become +inf.
    fn pad<T: Work>(v: [T; N]) -> [T; N];
    /// Absent samples become +inf and -inf alternately: the median stays in the middle.
    fn balance<K: Key>(v: [K; N]) -> [K; N];
    /// `f(... f(f(a, v0), v1) ...)`.
    fn fold<K: Copy, A>(v: [K; N], a: A, f: impl Fn(A, K) -> A) -> A;
    /// The same with the first and last of every run of N/2 + 1.
    fn spans<K: Copy, A>(v: [K; N], a: A, f: impl Fn(A, K, K) -> A) -> A;
    /// The same with the first and last of every run of N/2.
    fn short_spans<K: Copy, A>(v: [K; N], a: A, f: impl Fn(A, K, K) -> A) -> A;
    /// Stores to lane `l` of every frame.
    fn scatter<K: Copy>(v: [K; N], rows: &mut [Row<K>; N], l: usize);
}

/// Straight-line code for a chunk of `N` frames of a deeper stack.
pub(crate) trait Chunk<const N: usize>: Network<N> {
    /// `[f(0), f(1), ...]`
    fn collect<K>(f: impl Fn(usize) -> K) -> [K; N];
    /// Stores to lane `l` of every frame.
    fn store<K: Copy>(v: [K; N], strips: &mut [Strip<K>; N], l: usize);
    /// Sorts what rises and then falls.
    fn sort_hill<K: Order>(v: [K; N]) -> [K; N];
    /// Sorts what falls and then rises.
    fn sort_valley<K: Order>(v: [K; N]) -> [K; N];
}

#[inline(always)]
#[allow(clippy::eq_op)]
fn present_or<T: Work>(x: T, fill: T) -> T {
    if x == x {
        x
    } else {
        fill
    }
}

/// The sample or the next fill value, and the fill values for the next frame.
#[inline(always)]
fn balanced<K: Key>(x: K, fill: K, next: K) -> (K, K, K) {
    let here = x.present();
    (if here { x } else { fill }, if here { fill } else { next }, if here { next } else { fill })
}

/// What the build script has written.
#[allow(clippy::let_and_return)]
mod networks {
    use super::*;
    include!(concat!(env!("OUT_DIR"), "/networks.rs"));
}
pub(crate) use networks::{every_chunk, every_depth, every_half, DEEPEST, SHALLOWEST};
use networks::{FEW, MANY};

/// The two ranks that hold the median of any number of samples among `n`, when absent ones are
/// replaced alternately by the largest and the smallest value.
pub(crate) const fn middle(n: usize) -> (usize, usize) {
    ((n / 2).saturating_sub(1), n / 2)
}
