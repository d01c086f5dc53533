//! How many samples of every frame are used, and rejected at either side.

use crate::dispatch::Ops;
use crate::outputs::{Outputs, PerFrame, Product};
use crate::reject::Report;
use crate::sample::{Row, Work};

/// One thread's counts.
pub(crate) struct FrameCounts<'o> {
    unused: Vec<u64>,
    low: Vec<u64>,
    high: Vec<u64>,
    used_in: Option<&'o PerFrame>,
    low_in: Option<&'o PerFrame>,
    high_in: Option<&'o PerFrame>,
}

impl<'o> FrameCounts<'o> {
    /// For the counts that are asked for.
    pub fn new(frames: usize, outputs: &Outputs<'o>) -> Self {
        let zeros = vec![0; frames];
        Self {
            unused: zeros.clone(),
            low: zeros.clone(),
            high: zeros,
            used_in: outputs.per_frame(Product::FrameUsed),
            low_in: outputs.per_frame(Product::FrameRejectedLow),
            high_in: outputs.per_frame(Product::FrameRejectedHigh),
        }
    }

    /// Whether sides are asked for.
    pub fn sides(&self) -> bool {
        self.low_in.is_some() || self.high_in.is_some()
    }

    /// Counts the samples of `len` lanes that are not used.
    pub fn count_unused<T: Work>(&mut self, ops: &Ops<T>, v: &[Row<T>], len: usize) {
        if self.used_in.is_some() {
            let w = len.next_multiple_of(16);
            for (count, row) in self.unused.iter_mut().zip(v) {
                let beside = row.0[len..w].iter().filter(|x| !x.present()).count();
                *count += u64::from(ops.count_absent(row, w)) - beside as u64;
            }
        }
    }

    /// Counts the samples of `len` lanes that the rejection has made of `before` what is in `after`.
    ///
    /// Where samples are rejected at one side only, the report says which. Elsewhere those are low
    /// that are nearer to the smallest sample left than to the largest one; if this is not what the
    /// report says (ties; no sample left), so many of the smallest rejected ones are.
    pub fn count_rejected<T: Work>(
        &mut self,
        ops: &Ops<T>,
        before: &[Row<T>],
        after: &[Row<T>],
        masks: &[Row<u8>],
        report: &Report,
        len: usize,
    ) {
        let (n_low, n_high) = (&report.n_low.0[..len], &report.n_high.0[..len]);
        let both = |l: usize| n_low[l] > 0 && n_high[l] > 0;
        // Samples below this are low.
        let mut line = Row::filled(f64::NEG_INFINITY);
        if (0..len).any(both) {
            let (mut min, mut max) = (Row::filled(T::NAN), Row::filled(T::NAN));
            ops.extremes(after, len.next_multiple_of(16), &mut min, &mut max);
            for l in 0..len {
                line.0[l] = 0.5 * min.0[l].f64() + 0.5 * max.0[l].f64();
            }
        }
        for l in (0..len).filter(|l| !both(*l)) {
            line.0[l] = if n_low[l] > 0 { f64::INFINITY } else { f64::NEG_INFINITY };
        }
        let mut below = Row::filled(0);
        for (k, (before, after)) in before.iter().zip(after).enumerate() {
            let mut skip = masks.get(k).copied().unwrap_or(Row::filled(0));
            skip.0[len..].fill(1);
            let (low, all) = ops.count_dropped(before, after, &skip, &line, &mut below);
            self.low[k] += u64::from(low);
            self.high[k] += u64::from(all - low);
        }
        let mut column = Vec::new();
        for l in (0..len).filter(|l| both(*l) && below.0[*l] != n_low[*l]) {
            column.clear();
            for (k, (before, after)) in before.iter().zip(after).enumerate() {
                let (x, masked) = (before.0[l], masks.get(k).is_some_and(|mask| mask.0[l] != 0));
                if x.is_finite() && !after.0[l].present() && !masked {
                    // A zero has no sign.
                    column.push((x.f64() + 0.0, k));
                    // As it was counted above.
                    self.side(x.f64() < line.0[l])[k] -= 1;
                }
            }
            column.sort_by(|a, b| a.0.total_cmp(&b.0));
            for (i, (_, k)) in column.iter().enumerate() {
                self.side(i < n_low[l] as usize)[*k] += 1;
            }
        }
    }

    fn side(&mut self, low: bool) -> &mut [u64] {
        if low {
            &mut self.low
        } else {
            &mut self.high
        }
    }

    /// Adds what was counted in `pixels` pixels to the products.
    pub fn hand_in(self, pixels: usize) {
        let used: Vec<u64> = self.unused.iter().map(|n| pixels as u64 - n).collect();
        self.used_in.inspect(|product| product.add(&used));
        self.low_in.inspect(|product| product.add(&self.low));
        self.high_in.inspect(|product| product.add(&self.high));
    }
}
