//! Center and spread of every lane of a block.

use crate::dispatch::Ops;
use crate::plan::{Center, Spread};
use crate::sample::{Rooms, Row, Work};

/// What every operation on a block needs: the row operations, and room to work in.
pub(crate) struct Kit<T: Work> {
    pub ops: &'static Ops<T>,
    pub wide: &'static Ops<f64>,
    /// Rows of the stack, sorted or filled.
    pub rows: Vec<Row<T>>,
    /// Rows in double precision.
    pub doubles: Vec<Row<f64>>,
    /// Room to sort deep stacks in.
    rooms: Rooms,
}

impl<T: Work> Kit<T> {
    pub fn new(ops: &'static Ops<T>, wide: &'static Ops<f64>) -> Self {
        Self { ops, wide, rows: Vec::new(), doubles: Vec::new(), rooms: Rooms::default() }
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
                self.ops.divide(&mut mean, n);
                mean
            }
            Center::Trimmed => {
                let (mut sum, mut trimmed) = (Row::filled(0.0), Row::filled(0.0));
                self.ops.sum(v, w, absent, &mut sum);
                self.ops.trimmed_sum(v, w, &mut trimmed);
                let mut left = *n;
                for l in 0..w {
                    if n.0[l] > 2 {
                        sum.0[l] = trimmed.0[l];
                        left.0[l] -= 2;
                    }
                }
                self.ops.divide(&mut sum, &left);
                sum
            }
            Center::Median | Center::LowerMedian => {
                let lower = which == Center::LowerMedian;
                median(self.ops, &mut self.rooms, v, w, n, absent, lower)
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
            Spread::Std { ddof } => self.variance(about, ddof, true, v, w, n, absent),
            Spread::Mad { factor } => {
                let mut mad = self.median_deviation(about, v, w, n, absent);
                for value in &mut mad.0 {
                    *value *= factor;
                }
                mad
            }
        }
    }

    /// The standard deviation in which frame i counts in units of `roots[i]`.
    pub fn scaled_std(
        &self,
        spread: Spread,
        about: &Row<f64>,
        roots: &[Row<f64>],
        v: &[Row<T>],
        w: usize,
        n: &Row<u32>,
    ) -> Row<f64> {
        let ddof = if let Spread::Std { ddof } = spread { ddof } else { 0 };
        let mut total = Row::filled(0.0);
        for (k, row) in v.iter().enumerate() {
            self.ops.add_scaled_squares(row, about, &roots[k.min(roots.len() - 1)], w, &mut total);
        }
        self.ops.variance(&mut total, n, ddof as f64, true);
        total
    }

    /// sum (x - a)^2 / (n - ddof), or its square root; NaN unless n > ddof.
    pub fn variance(
        &self,
        about: &Row<f64>,
        ddof: usize,
        root: bool,
        v: &[Row<T>],
        w: usize,
        n: &Row<u32>,
        absent: bool,
    ) -> Row<f64> {
        let mut total = Row::filled(0.0);
        self.ops.sum_squares(v, w, absent, about, &mut total);
        self.ops.variance(&mut total, n, ddof as f64, root);
        total
    }

    /// Median of |x - a|, in the workspace type if that is exact.
    fn median_deviation(
        &mut self,
        about: &Row<f64>,
        v: &[Row<T>],
        w: usize,
        n: &Row<u32>,
        absent: bool,
    ) -> Row<f64> {
        let mut distances = std::mem::take(&mut self.rows);
        distances.resize(v.len().max(distances.len()), Row::filled(T::NAN));
        let own = &mut distances[..v.len()];
        let exact = self.ops.deviations(v, w, about, own);
        let mad = exact.then(|| median(self.ops, &mut self.rooms, own, w, n, absent, false));
        self.rows = distances;
        mad.unwrap_or_else(|| {
            let mut distances = std::mem::take(&mut self.doubles);
            distances.resize(v.len().max(distances.len()), Row::filled(f64::NAN));
            let own = &mut distances[..v.len()];
            self.ops.wide_deviations(v, w, about, own);
            let mad = median(self.wide, &mut self.rooms, own, w, n, absent, false);
            self.doubles = distances;
            mad
        })
    }

    /// The stack in ascending order, absent samples last.
    pub fn sorted(&mut self, v: &[Row<T>], w: usize) -> &[Row<T>] {
        self.rows.resize(v.len().max(self.rows.len()), Row::filled(T::NAN));
        let rows = &mut self.rows[..v.len()];
        self.ops.sort(v, w, &mut self.rooms, rows);
        rows
    }
}

/// Median, or lower median, of every lane; NaN where there is no sample.
fn median<D: Work>(
    ops: &Ops<D>,
    rooms: &mut Rooms,
    v: &[Row<D>],
    w: usize,
    n: &Row<u32>,
    absent: bool,
    lower: bool,
) -> Row<f64> {
    let (mut low, mut high) = (Row::filled(D::NAN), Row::filled(D::NAN));
    let odd = ops.middle_pair(v, w, absent, rooms, &mut low, &mut high);
    let mut out = Row::filled(f64::NAN);
    ops.median(&low, &high, n, odd, lower, &mut out);
    out
}
