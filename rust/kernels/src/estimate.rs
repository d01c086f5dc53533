//! Center and spread of every lane of a block.

use crate::dispatch::Ops;
use crate::order::Comparators;
use crate::plan::{Center, Spread};
use crate::sample::{Row, Work, LANES};

/// What every operation on a block needs: the row operations, the network for deep stacks, and
/// room to work in.
pub(crate) struct Kit<'a, T: Work> {
    pub ops: &'static Ops<T>,
    pub wide: &'static Ops<f64>,
    pub network: &'a Comparators,
    /// Samples are integers of at most 16 bits, so that their distances from a median are exact in
    /// the workspace type.
    pub exact: bool,
    /// Rows of the stack, sorted or filled.
    pub rows: Vec<Row<T>>,
    /// Rows in double precision.
    pub doubles: Vec<Row<f64>>,
}

impl<'a, T: Work> Kit<'a, T> {
    pub fn new(
        ops: &'static Ops<T>,
        wide: &'static Ops<f64>,
        network: &'a Comparators,
        exact: bool,
    ) -> Self {
        Self { ops, wide, network, exact, rows: Vec::new(), doubles: Vec::new() }
    }

    /// Number of samples in every lane.
    pub fn count(&self, v: &[Row<T>], w: usize, absent: bool) -> Row<u32> {
        let mut n = Row::filled(v.len() as u32);
        if absent {
            self.ops.count(v, w, &mut n);
        }
        n
    }

    /// Center of every lane; NaN where there is no sample.
    pub fn center(
        &mut self,
        which: Center,
        v: &[Row<T>],
        w: usize,
        n: &Row<u32>,
        absent: bool,
    ) -> Row<f64> {
        match which {
            Center::Mean => {
                let mut mean = Row::filled(0.0);
                self.ops.sum(v, w, absent, &mut mean);
                for l in 0..LANES {
                    mean.0[l] /= f64::from(n.0[l]);
                }
                mean
            }
            Center::Median => median(self.ops, self.network, &mut self.rows, v, w, n, absent).0,
            Center::LowerMedian => {
                median(self.ops, self.network, &mut self.rows, v, w, n, absent).1
            }
        }
    }

    /// Spread of every lane about `about`; NaN where it is undefined.
    pub fn spread(
        &mut self,
        which: Spread,
        about: &Row<f64>,
        v: &[Row<T>],
        w: usize,
        n: &Row<u32>,
        absent: bool,
    ) -> Row<f64> {
        match which {
            Spread::Std { ddof } => {
                let mut spread = self.variance(about, ddof, v, w, n, absent);
                for value in &mut spread.0 {
                    *value = value.sqrt();
                }
                spread
            }
            Spread::Mad { factor } => {
                let mut mad = self.median_deviation(about, v, w, n, absent);
                for value in &mut mad.0 {
                    *value *= factor;
                }
                mad
            }
        }
    }

    /// sum (x - a)^2 / (n - ddof); NaN unless n > ddof.
    pub fn variance(
        &self,
        about: &Row<f64>,
        ddof: usize,
        v: &[Row<T>],
        w: usize,
        n: &Row<u32>,
        absent: bool,
    ) -> Row<f64> {
        let mut total = Row::filled(0.0);
        self.ops.sum_squares(v, w, absent, about, &mut total);
        let ddof = ddof as f64;
        for l in 0..LANES {
            let free = f64::from(n.0[l]) - ddof;
            total.0[l] = if free > 0.0 { total.0[l] / free } else { f64::NAN };
        }
        total
    }

    /// Median of |x - a|.
    fn median_deviation(
        &mut self,
        about: &Row<f64>,
        v: &[Row<T>],
        w: usize,
        n: &Row<u32>,
        absent: bool,
    ) -> Row<f64> {
        // The same buffers serve both precisions: distances first, then the network's rows.
        if self.exact {
            let mut distances = std::mem::take(&mut self.rows);
            let needed = v.len() * if v.len() > crate::order::DEEPEST { 2 } else { 1 };
            distances.resize(needed.max(distances.len()), Row::filled(T::NAN));
            let (own, spare) = distances.split_at_mut(v.len());
            self.ops.deviations(v, w, about, own);
            let mad = median_in(self.ops, self.network, spare, own, w, n, absent).0;
            self.rows = distances;
            mad
        } else {
            let mut distances = std::mem::take(&mut self.doubles);
            let needed = v.len() * if v.len() > crate::order::DEEPEST { 2 } else { 1 };
            distances.resize(needed.max(distances.len()), Row::filled(f64::NAN));
            let (own, spare) = distances.split_at_mut(v.len());
            self.ops.wide_deviations(v, w, about, own);
            let mad = median_in(self.wide, self.network, spare, own, w, n, absent).0;
            self.doubles = distances;
            mad
        }
    }

    /// The stack in ascending order, absent samples last.
    pub fn sorted(&mut self, v: &[Row<T>], w: usize) -> &[Row<T>] {
        self.rows.resize(v.len().max(self.rows.len()), Row::filled(T::NAN));
        let rows = &mut self.rows[..v.len()];
        if !self.ops.sort(v, w, rows) {
            self.ops.copy_padded(v, w, rows);
            self.ops.exchange(rows, w, &self.network.sort);
        }
        rows
    }
}

/// Median and lower median of every lane; NaN where there is no sample.
fn median<D: Work>(
    ops: &Ops<D>,
    network: &Comparators,
    buffer: &mut Vec<Row<D>>,
    v: &[Row<D>],
    w: usize,
    n: &Row<u32>,
    absent: bool,
) -> (Row<f64>, Row<f64>) {
    if v.len() > crate::order::DEEPEST {
        buffer.resize(v.len().max(buffer.len()), Row::filled(D::NAN));
    }
    median_in(ops, network, buffer, v, w, n, absent)
}

fn median_in<D: Work>(
    ops: &Ops<D>,
    network: &Comparators,
    spare: &mut [Row<D>],
    v: &[Row<D>],
    w: usize,
    n: &Row<u32>,
    absent: bool,
) -> (Row<f64>, Row<f64>) {
    let (mut low, mut high) = (Row::filled(D::NAN), Row::filled(D::NAN));
    if !ops.middle_pair(v, w, absent, &mut low, &mut high) {
        let rows = &mut spare[..v.len()];
        if absent {
            ops.copy_balanced(v, w, rows);
        } else {
            rows.copy_from_slice(v);
        }
        ops.exchange(rows, w, &network.middle);
        let (i, j) = crate::order::middle(v.len());
        (low, high) = (rows[i], rows[j]);
    }
    let odd_stack = v.len() % 2 == 1;
    let (mut median, mut lower) = (Row::filled(f64::NAN), Row::filled(f64::NAN));
    for l in 0..LANES {
        let (a, b) = (low.0[l].f64(), high.0[l].f64());
        let odd = n.0[l] % 2 == 1;
        // Halving first cannot overflow; halving last is exact for subnormals.
        let sum = a + b;
        let mean = if sum.is_finite() { 0.5 * sum } else { 0.5 * a + 0.5 * b };
        let single = if odd_stack { b } else { a };
        let none = n.0[l] == 0;
        median.0[l] = if none {
            f64::NAN
        } else if odd {
            single
        } else {
            mean
        };
        lower.0[l] = if none {
            f64::NAN
        } else if odd {
            single
        } else {
            a
        };
    }
    (median, lower)
}
