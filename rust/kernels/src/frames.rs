//! How many samples of every frame are used, and rejected at either side.

use crate::dispatch::Ops;
use crate::outputs::{Outputs, PerFrame, Product};
use crate::sample::{Row, Work};
use crate::second_pass::Loss;

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

    /// Counts the samples of `len` lanes that were rejected at the sides noted.
    pub fn count_rejected<T: Work>(&mut self, ops: &Ops<T>, sides: &[Row<u8>], len: usize) {
        if self.sides() {
            ops.count_sides(sides, len, &mut self.low, &mut self.high);
        }
    }

    /// Counts samples that a look has found to be rejected.
    pub fn count_losses(&mut self, losses: &[Loss]) {
        for loss in losses {
            self.unused[loss.frame] += 1;
            self.low[loss.frame] += u64::from(loss.is_low);
            self.high[loss.frame] += u64::from(!loss.is_low);
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
