//! Sorting networks: the same compare-exchanges whatever the samples, so that a whole row of pixels
//! is sorted by the instructions that would sort one.

use crate::sample::{Row, Work};

/// Stack depth as a type.
pub(crate) struct Depth<const N: usize>;

/// A straight-line network for `N` frames.
pub(crate) trait Network<const N: usize> {
    /// Lane `l` of every frame.
    fn gather<T: Work>(rows: &[Row<T>; N], l: usize) -> [T; N];
    /// In ascending order. Outputs that are not used cost nothing.
    fn sort<T: Work>(v: [T; N]) -> [T; N];
    /// Absent samples become +inf.
    fn pad<T: Work>(v: [T; N]) -> [T; N];
    /// Absent samples become +inf and -inf alternately: the median stays in the middle.
    fn balance<T: Work>(v: [T; N]) -> [T; N];
    /// Stores to lane `l` of every frame.
    fn scatter<T: Work>(v: [T; N], rows: &mut [Row<T>; N], l: usize);
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
#[allow(clippy::eq_op)]
fn balanced<T: Work>(x: T, fill: T, next: T) -> (T, T, T) {
    let here = x == x;
    (if here { x } else { fill }, if here { fill } else { next }, if here { next } else { fill })
}

include!(concat!(env!("OUT_DIR"), "/networks.rs"));

/// Compare-exchanges for a stack too deep for straight-line code.
pub(crate) struct Comparators {
    /// Sorts every row.
    pub sort: Vec<(u32, u32)>,
    /// Brings only the two middle rows in place.
    pub middle: Vec<(u32, u32)>,
}

impl Comparators {
    /// Batcher's merge exchange (Knuth, TAOCP vol. 3, algorithm 5.2.2M); empty if there is a
    /// straight-line network for `n`.
    pub fn new(n: usize) -> Self {
        if n <= DEEPEST {
            return Self { sort: Vec::new(), middle: Vec::new() };
        }
        let mut sort = Vec::new();
        let top = n.next_power_of_two() / 2;
        let mut p = top;
        while p > 0 {
            let (mut q, mut r, mut d) = (top, 0, p);
            loop {
                sort.extend((0..n - d).filter(|i| i & p == r).map(|i| (i as u32, (i + d) as u32)));
                if q == p {
                    break;
                }
                d = q - p;
                q /= 2;
                r = p;
            }
            p /= 2;
        }
        let mut needed = vec![false; n];
        let (low, high) = middle(n);
        needed[low] = true;
        needed[high] = true;
        let mut pruned: Vec<_> = sort
            .iter()
            .rev()
            .filter(|(i, j)| {
                let used = needed[*i as usize] || needed[*j as usize];
                needed[*i as usize] |= used;
                needed[*j as usize] |= used;
                used
            })
            .copied()
            .collect();
        pruned.reverse();
        Self { sort, middle: pruned }
    }
}

/// The two ranks that hold the median of any number of samples among `n`, when absent ones are
/// replaced alternately by the largest and the smallest value.
pub(crate) const fn middle(n: usize) -> (usize, usize) {
    ((n / 2).saturating_sub(1), n / 2)
}
