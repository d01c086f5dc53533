//! Rejection: each step turns samples of a block into absent ones.

mod extrema;
mod sigma;

pub(crate) use extrema::{extrema, range};
pub(crate) use sigma::sigma_clip;

use crate::sample::Row;

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

/// What the steps report about a block, lane by lane.
pub(crate) struct Report {
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
    /// [`sample_flags`] of every sample, if asked for.
    pub samples: Option<Vec<Row<u8>>>,
}

impl Report {
    pub fn new(frames: usize, with_samples: bool) -> Self {
        Self {
            std: Row::filled(f64::NAN),
            nit: Row::filled(1),
            flags: Row::filled(0),
            n_low: Row::filled(0),
            n_high: Row::filled(0),
            samples: with_samples.then(|| vec![Row::filled(0); frames]),
        }
    }

    pub fn reset(&mut self) {
        let samples = self.samples.take();
        *self = Self::new(0, false);
        self.samples = samples;
        for row in self.samples.iter_mut().flatten() {
            *row = Row::filled(0);
        }
    }
}
