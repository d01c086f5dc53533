//! Rejection: each step turns samples of a block into absent ones.

mod clip;
mod extrema;
mod lanes;
mod pclip;
mod settle;

pub(crate) use clip::{clip, roots, Settled};
pub(crate) use extrema::{extrema, range};
pub(crate) use lanes::{each_marked, marked_lanes};
pub(crate) use pclip::pclip;

use crate::dispatch::Ops;
use crate::sample::{Row, Work, LANES};

/// Why a sample is not used; bits of the product `sample_flags`.
pub mod sample_flags {
    /// Masked on input.
    pub const INPUT_MASK: u8 = 1;
    /// NaN or infinite.
    pub const NONFINITE: u8 = 2;
    /// Outside the thresholds.
    pub const THRESHOLD: u8 = 4;
    /// Rejected by a step.
    pub const ALGORITHM: u8 = 8;
    /// Put back to keep `nkeep` samples.
    pub const RESTORED_NKEEP: u8 = 64;
    /// Put back to reject at most `maxrej` samples.
    pub const RESTORED_MAXREJ: u8 = 128;
}

/// What happened at a pixel; bits of the product `output_flags`.
pub mod output_flags {
    /// Some sample was masked on input.
    pub const PREMASKED: u8 = 1;
    /// The last permitted pass still rejected something.
    pub const MAXITERS: u8 = 2;
    /// `nkeep` held samples back.
    pub const NKEEP: u8 = 4;
    /// `maxrej` held samples back.
    pub const MAXREJ: u8 = 8;
}

/// Samples to put back: the `least` nearest to the center, and all others whose residuals (in
/// ascending order) are within a thousandth of sigma of the last of them, as IRAF does.
fn count_back(residuals: &[f64], least: usize) -> usize {
    let mut back = least.min(residuals.len());
    // Residuals so large that a thousandth is nothing can still be equal, but for rounding.
    let near = |last: f64, next: f64| next < last + 0.001 || next <= last * (1.0 + 1e-12);
    while back > 0 && back < residuals.len() && near(residuals[back - 1], residuals[back]) {
        back += 1;
    }
    back
}

/// What the steps report about a block, lane by lane.
pub(crate) struct Report {
    /// Whether the spread is asked for.
    pub with_std: bool,
    /// Spread of the last pass.
    pub std: Row<f64>,
    /// Passes that rejected something, plus one.
    pub nit: Row<u8>,
    /// See [`output_flags`].
    pub flags: Row<u8>,
    /// Samples rejected below the center.
    pub n_low: Row<u32>,
    /// Samples rejected above the center.
    pub n_high: Row<u32>,
    /// Limits of linear clipping, which are reported in place of the extremes of the samples.
    pub limits: Option<Box<(Row<f64>, Row<f64>)>>,
    /// 1 for the lanes that have a NaN or infinite sample.
    pub spoiled: Row<u8>,
    /// The two counts as of the last [`Self::count_sides`].
    counted_low: Row<u32>,
    counted_high: Row<u32>,
    /// [`sample_flags`] of every sample, if asked for.
    pub samples: Option<Vec<Row<u8>>>,
    /// The side at which a step rejected a sample ([`LOW`] or [`HIGH`]), if asked for; of the last
    /// step where each judges what others reject too.
    pub sides: Option<Vec<Row<u8>>>,
    /// Those of all steps there.
    decided: Vec<Row<u8>>,
}

/// Rejected at the low side.
pub(crate) const LOW: u8 = 1;
/// Rejected at the high side.
pub(crate) const HIGH: u8 = 2;

impl Report {
    pub fn new(frames: usize, with_std: bool, with_samples: bool, with_sides: bool) -> Self {
        Self {
            with_std,
            std: Row::filled(f64::NAN),
            nit: Row::filled(1),
            flags: Row::filled(0),
            n_low: Row::filled(0),
            n_high: Row::filled(0),
            samples: with_samples.then(|| vec![Row::filled(0); frames]),
            limits: None,
            spoiled: Row::filled(0),
            counted_low: Row::filled(0),
            counted_high: Row::filled(0),
            sides: with_sides.then(|| vec![Row::filled(0); frames]),
            decided: Vec::new(),
        }
    }

    /// Ready for the next block.
    pub fn reset(&mut self) {
        self.std.0.fill(f64::NAN);
        self.nit.0.fill(1);
        self.flags.0.fill(0);
        for counts in
            [&mut self.n_low, &mut self.n_high, &mut self.counted_low, &mut self.counted_high]
        {
            counts.0.fill(0);
        }
        self.spoiled.0.fill(0);
        self.limits = None;
        let rows = self.samples.iter_mut().chain(&mut self.sides).flatten();
        for row in rows.chain(&mut self.decided) {
            row.0.fill(0);
        }
    }

    /// Notes the lanes where `lost` holds for some frame.
    pub fn spoil(&mut self, frames: usize, lost: impl Fn(usize, usize) -> bool) {
        for k in 0..frames {
            for l in 0..LANES {
                self.spoiled.0[l] |= u8::from(lost(k, l));
            }
        }
    }

    /// Flags the samples (frame, lane) for which `condition` holds.
    pub fn flag(&mut self, bit: u8, condition: impl Fn(usize, usize) -> bool) {
        for (k, row) in self.samples.iter_mut().flatten().enumerate() {
            for (l, flags) in row.0.iter_mut().enumerate() {
                if condition(k, l) {
                    *flags |= bit;
                }
            }
        }
    }

    /// Notes the rejection of one sample.
    pub fn reject(&mut self, frame: usize, lane: usize, side: u8) {
        if let Some(sides) = &mut self.sides {
            sides[frame].0[lane] = side;
        }
    }

    /// Notes the rejection of the samples outside `low ..= high`.
    pub fn reject_outside<T: Work>(
        &mut self,
        ops: &Ops<T>,
        v: &[Row<T>],
        w: usize,
        low: &Row<T>,
        high: &Row<T>,
    ) {
        if let Some(sides) = &mut self.sides {
            ops.mark_sides(v, w, low, high, sides);
        }
    }

    /// Makes the counts those of samples still in `used`, whose sides are decided now, and forgets
    /// the sides of the step.
    pub fn count_sides<T: Work>(&mut self, used: &[Row<T>]) {
        let Some(sides) = &mut self.sides else { return };
        (self.n_low, self.n_high) = (self.counted_low, self.counted_high);
        self.decided.resize(sides.len(), Row::filled(0));
        for ((row, sides), decided) in used.iter().zip(sides).zip(&mut self.decided) {
            for l in 0..LANES {
                let side = if row.0[l].present() { sides.0[l] } else { 0 };
                self.n_low.0[l] += u32::from(side == LOW);
                self.n_high.0[l] += u32::from(side == HIGH);
                decided.0[l] |= side;
                sides.0[l] = 0;
            }
        }
        (self.counted_low, self.counted_high) = (self.n_low, self.n_high);
    }

    /// Makes the sides those that were decided.
    pub fn decide_sides(&mut self) {
        if let Some(sides) = self.sides.as_mut().filter(|_| !self.decided.is_empty()) {
            std::mem::swap(sides, &mut self.decided);
        }
    }
}
