//! The products of pixels that a look settles.

use super::{Direct, Seen};
use crate::estimate::Kit;
use crate::look::Look;
use crate::outputs::{Buffer, Outputs, Product, Spots};
use crate::reject::sample_flags;
use crate::sample::{Work, LANES};

impl<T: Work> Direct<'_, T> {
    /// Writes what is the same for all pixels that are settled by a look.
    pub fn fill(&self, at: usize, len: usize, outputs: &mut Outputs) {
        let zeroed = outputs.zeroed;
        outputs.each(|product, buffer: &mut Buffer| match product {
            Product::NUsed => buffer.fill(at, len, self.frames as u16),
            Product::Nit => buffer.fill(at, len, 1),
            Product::Mask
            | Product::OutputFlags
            | Product::NRejectedLow
            | Product::NRejectedHigh
            | Product::MaskRej
            | Product::MaskThresh
            | Product::SampleFlags
            | Product::SampleSides => {
                if !zeroed {
                    buffer.fill(at, len, 0);
                }
            }
            Product::Image
            | Product::Uncertainty
            | Product::Low
            | Product::Upp
            | Product::Std
            | Product::Dq
            | Product::FrameUsed
            | Product::FrameRejectedLow
            | Product::FrameRejectedHigh
            | Product::FrameNegative => {}
        });
    }

    /// Writes all else of a block of which all lanes are as seen.
    pub fn store(
        &self,
        kit: &Kit<T>,
        seen: &Seen,
        look: &Look<T>,
        at: usize,
        outputs: &mut Outputs,
    ) {
        let spots = Spots::Run(at, LANES);
        outputs.each(|product, buffer: &mut Buffer| match product {
            Product::Image => buffer.put(kit.ops, spots, seen.image()),
            Product::Uncertainty => buffer.put(kit.ops, spots, &seen.combined.uncertainty),
            Product::Low => buffer.put_samples(spots, &look.extremes[0]),
            Product::Upp => buffer.put_samples(spots, &look.extremes[1]),
            Product::Std => buffer.put(kit.ops, spots, &seen.std),
            Product::Dq => {
                if let Some(dq) = &seen.combined.dq {
                    buffer.put_words(spots, dq);
                }
            }
            _ => {}
        });
        let losses = &look.losses[..];
        if losses.is_empty() {
            return;
        }
        outputs.each(|product, buffer: &mut Buffer| match product {
            Product::NUsed => buffer.put_losses(losses, at, |_| self.frames as u16 - 1),
            Product::Nit => buffer.put_losses(losses, at, |_| 2),
            Product::NRejectedLow => buffer.put_losses(losses, at, |loss| loss.is_low.into()),
            Product::NRejectedHigh => buffer.put_losses(losses, at, |loss| (!loss.is_low).into()),
            Product::MaskRej => buffer.put_losses(losses, at, |_| 1),
            Product::SampleFlags => {
                buffer.put_losses(losses, at, |_| sample_flags::ALGORITHM.into());
            }
            Product::SampleSides => buffer.put_losses(losses, at, |loss| loss.side().into()),
            _ => {}
        });
    }
}
