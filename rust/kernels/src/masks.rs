//! The masks of a run of pixels, read once: eight of them to a byte.

use crate::dispatch::Ops;
use crate::job::Job;
use crate::outputs::{Outputs, Product};
use crate::sample::{Row, Work};

/// Most pixels of a run, and how many at least: short runs of as many planes as there are frames
/// would be slow to read.
const RUN: usize = 4096;
const SHORT_RUN: usize = 1024;

/// Bytes of the samples of a run, unless it is short: when some are read again, they should be near.
const NEAR: usize = 1 << 19;

/// Pixels of a run, `bytes` at every pixel.
pub(crate) fn run_of(bytes: usize) -> usize {
    (NEAR / bytes.max(1) / SHORT_RUN * SHORT_RUN).clamp(SHORT_RUN, RUN)
}

/// Most pixels of which masks are read and constants written at a time: both need no more than a
/// byte of each frame, and short runs of as many planes as there are frames are slow.
pub(crate) const AHEAD: usize = 1 << 15;

/// The mask of a frame that has none.
static NOTHING: [u8; AHEAD] = [0; AHEAD];

/// Whether masks have to be known until the end, and not only which samples are left: somebody
/// judges masked samples, too, or says more of them than that they are not used.
pub(crate) fn are_kept<T: Work>(job: &Job<T>, outputs: &Outputs) -> bool {
    let told = [Product::SampleFlags, Product::MaskThresh].iter().any(|p| outputs.wants(*p));
    job.masked && (told || job.judges_masked())
}

/// Which samples of a run of pixels are masked.
#[derive(Default)]
pub(crate) struct Masks {
    /// The frames that have a mask.
    frames: Vec<usize>,
    /// Pixels of the run.
    len: usize,
    /// A row of bytes for every eight of these frames, with a bit for each.
    bits: Vec<u8>,
    /// All rows joined.
    any: Vec<u8>,
}

impl Masks {
    pub fn new<T: Work>(job: &Job<T>) -> Self {
        let frames = (0..job.planes.len()).filter(|k| job.planes[*k].mask.is_some()).collect();
        Self { frames, ..Self::default() }
    }

    /// Reads `len` pixels from `start` on.
    pub fn read<T: Work>(&mut self, job: &Job<T>, start: usize, len: usize) {
        if self.frames.is_empty() {
            return;
        }
        let eights = self.frames.len().div_ceil(8);
        self.len = len;
        self.any.resize(len, 0);
        self.bits.resize(eights * len, 0);
        self.any.fill(0);
        self.bits.fill(0);
        for (frames, bits) in self.frames.chunks(8).zip(self.bits.chunks_exact_mut(len)) {
            let mut eight = [&NOTHING[..]; 8];
            for (i, k) in frames.iter().enumerate() {
                let Some(mask) = &job.planes[*k].mask else { continue };
                if let Some(run) = mask.run(job.shape, start, len) {
                    eight[i] = run;
                    continue;
                }
                mask.runs(job.shape, start, len, |offset, bytes| {
                    let mut one = [&NOTHING[..]; 8];
                    one[i] = bytes;
                    job.ops.join_masks(&one, &mut bits[offset..offset + bytes.len()]);
                });
            }
            job.ops.join_masks(&eight, bits);
            job.ops.join_bytes(bits, &mut self.any);
        }
    }

    /// Drops the masked samples of `len` pixels from one of the run on, which are a block.
    pub fn drop<T: Work>(&self, ops: &Ops<T>, pixel: usize, len: usize, v: &mut [Row<T>]) {
        self.each_row(pixel, len, |k, bits, bit| ops.drop_masked(&mut v[k], bits, bit));
    }

    /// Copies the masks of such a block, as rows of bytes.
    pub fn copy<T: Work>(&self, ops: &Ops<T>, pixel: usize, len: usize, rows: &mut [Row<u8>]) {
        rows.iter_mut().for_each(|row| row.0.fill(0));
        self.each_row(pixel, len, |k, bits, bit| ops.copy_mask(bits, bit, &mut rows[k]));
    }

    /// Calls `visit` for every frame with masked samples in a block, with its bit in the bytes.
    fn each_row(&self, pixel: usize, len: usize, mut visit: impl FnMut(usize, &[u8], u8)) {
        for (frames, row) in self.frames.chunks(8).zip(self.bits.chunks_exact(self.len.max(1))) {
            let bytes = &row[pixel..pixel + len];
            let any = bytes.iter().fold(0, |any, byte| any | byte);
            for (i, k) in frames.iter().enumerate().filter(|(i, _)| any & 1 << i != 0) {
                visit(*k, bytes, 1 << i);
            }
        }
    }

    /// Marks the lanes of such a block with masked samples.
    pub fn mark<T: Work>(&self, ops: &Ops<T>, pixel: usize, len: usize, marks: &mut Row<u8>) {
        ops.mark_masked(self.any.get(pixel..pixel + len).unwrap_or_default(), marks);
    }

    /// Whether no frame has a mask.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Calls `visit` for every frame whose sample is masked at a pixel of the run.
    pub fn each(&self, pixel: usize, mut visit: impl FnMut(usize)) {
        if self.any.get(pixel).is_none_or(|any| *any == 0) {
            return;
        }
        // Eight rows at a time: few words have more than one bit, which the processor can foresee.
        let mut at = pixel;
        for frames in self.frames.chunks(64) {
            let mut bits = 0;
            for i in 0..frames.len().div_ceil(8) {
                bits |= self.bits.get(at).map_or(0, |byte| u64::from(*byte)) << (8 * i);
                at += self.len;
            }
            while bits != 0 {
                visit(frames[bits.trailing_zeros() as usize]);
                bits &= bits - 1;
            }
        }
    }
}
