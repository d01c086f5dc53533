//! The samples of one column, their order and their moments.

use crate::reject::LOW;
use crate::rows::half_sum;

/// Columns up to this length are sorted for a median; of longer ones the middle is selected.
const SHORT: usize = 64;

/// The samples that are rejected, and the side they are on.
pub(super) type Sides = Vec<(usize, u8)>;

/// A column in frame order, absent samples NaN; and the present ones in ascending order, from when
/// that is first asked for. Clipping cuts off the ends, which leaves the rest sorted.
pub(super) struct Samples {
    values: Vec<f64>,
    ascending: Option<Vec<f64>>,
}

impl std::ops::Deref for Samples {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        &self.values
    }
}

impl Samples {
    pub fn new(values: Vec<f64>) -> Self {
        Self { values, ascending: None }
    }

    /// The column, to be changed in any way.
    pub fn change(&mut self) -> &mut [f64] {
        self.ascending = None;
        &mut self.values
    }

    /// Takes out the lowest and the highest samples.
    pub fn cut_ends(&mut self, sides: &Sides) {
        let (mut low, mut high) = (0, 0);
        for (k, side) in sides {
            self.values[*k] = f64::NAN;
            *(if *side == LOW { &mut low } else { &mut high }) += 1;
        }
        if let Some(ascending) = &mut self.ascending {
            ascending.truncate(ascending.len() - high);
            ascending.drain(..low);
        }
    }

    /// Takes out samples.
    pub fn take_out(&mut self, sides: &Sides) {
        for (k, _) in sides {
            self.change()[*k] = f64::NAN;
        }
    }

    pub fn ascending(&mut self) -> &[f64] {
        self.ascending.get_or_insert_with(|| {
            let mut keys = keys(&self.values);
            keys.sort_unstable();
            keys.into_iter().map(value_of).collect()
        })
    }

    /// The two middle values, which are the same one if their number is odd.
    fn middle(&mut self) -> Option<(f64, f64)> {
        if self.len() <= SHORT {
            let ascending = self.ascending();
            let last = ascending.len().checked_sub(1)?;
            return Some((ascending[last / 2], ascending[last.div_ceil(2)]));
        }
        let mut keys = keys(self);
        let last = keys.len().checked_sub(1)?;
        let (_, low, above) = keys.select_nth_unstable(last / 2);
        let next = if last % 2 == 0 { None } else { above.iter().min() };
        Some((value_of(*low), value_of(*next.unwrap_or(low))))
    }

    pub fn median(&mut self) -> f64 {
        self.middle().map_or(f64::NAN, |(low, high)| half_sum(low, high))
    }

    pub fn lower_median(&mut self) -> f64 {
        self.middle().map_or(f64::NAN, |(low, _)| low)
    }

    /// Median of the distances from `about`.
    pub fn mad(&mut self, about: f64) -> f64 {
        let distance = |x: &f64| (x - about).abs();
        if self.len() > SHORT {
            return Self::new(self.iter().map(distance).collect()).median();
        }
        let ascending = self.ascending();
        let n = ascending.len();
        // The k nearest samples are neighbours, and the farthest of them is the first or the last.
        let reach = |k: usize| {
            let windows = ascending.iter().zip(&ascending[k - 1..]);
            windows.map(|(a, b)| distance(a).max(distance(b))).fold(f64::INFINITY, f64::min)
        };
        if n == 0 {
            f64::NAN
        } else {
            half_sum(reach(n.div_ceil(2)), reach(n / 2 + 1))
        }
    }
}

/// The values present as integers in the order of [`f64::total_cmp`]. The standard library sorts
/// integers without branches, in half the time.
fn keys(column: &[f64]) -> Vec<i64> {
    let mut keys = Vec::with_capacity(column.len());
    keys.extend(here(column).map(|x| flip(x.to_bits() as i64)));
    keys
}

fn value_of(key: i64) -> f64 {
    f64::from_bits(flip(key) as u64)
}

/// Sign and magnitude to two's complement, and back.
fn flip(bits: i64) -> i64 {
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// The values present.
pub(super) fn here(column: &[f64]) -> impl Iterator<Item = f64> + '_ {
    column.iter().copied().filter(|x| !x.is_nan())
}

pub(super) fn count(column: &[f64]) -> usize {
    here(column).count()
}

pub(super) fn drop_if(column: &mut [f64], outside: impl Fn(f64) -> bool) {
    for x in column {
        if outside(*x) {
            *x = f64::NAN;
        }
    }
}

/// Smallest and largest value present.
pub(super) fn extremes(column: &[f64]) -> (f64, f64) {
    let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
    for x in column {
        min = if *x < min { *x } else { min };
        max = if *x > max { *x } else { max };
    }
    (min, max)
}

pub(super) fn mean(column: &[f64]) -> f64 {
    let (n, sum) = here(column).fold((0_usize, 0.0), |(n, sum), x| (n + 1, sum + x));
    sum / n as f64
}

/// Mean without the smallest and the largest of more than two samples.
pub(super) fn trimmed(column: &[f64]) -> f64 {
    let mut here: Vec<f64> = here(column).collect();
    if here.len() > 2 {
        for extreme in [f64::min, f64::max] {
            let Some(value) = here.iter().copied().reduce(extreme) else { continue };
            here.retain({
                let mut found = false;
                move |x| {
                    found || {
                        found = *x == value;
                        !found
                    }
                }
            });
        }
    }
    here.iter().fold(0.0, |sum, x| sum + x) / here.len() as f64
}

pub(super) fn variance(column: &[f64], about: f64, ddof: usize) -> f64 {
    let square = |x: f64| (x - about) * (x - about);
    let (n, squares) = here(column).fold((0, 0.0), |(n, sum), x| (n + 1, sum + square(x)));
    if n > ddof {
        squares / (n - ddof) as f64
    } else {
        f64::NAN
    }
}

pub(super) fn std(column: &[f64], about: f64, ddof: usize) -> f64 {
    variance(column, about, ddof).sqrt()
}
