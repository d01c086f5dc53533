//! Combines a stack of image planes pixel by pixel.
//!
//! ```text
//!  FITS paths, ImageFileCollection, HDUs ─┐  strips of raw big-endian bytes (+BSCALE/BZERO)
//!  CCDData / NDData lists ────────────────┤  unit check, mask → bytes, kind of uncertainty
//!  ndarrays, masked arrays ───────────────┘  shape, dtype, options → Plan
//!        │  each image = Plane { pixels view, mask view?, weights view?, variance view?,
//!        │                        flags view?, zero, factor, scale, weight }, each view placed?
//!        ▼
//!  combine(planes, shape, plan, outputs)      blocks of 128 pixels in parallel (rayon)
//!    look: plain planes of one kind, straight from the planes → center, spread, extremes
//!          → products of the columns where nothing is rejected; the others, many together, and
//!    load: all blocks of other planes (convert, byte order, BZERO) → thresholds, mask, NaN
//!          → zero/scale → reject, step by step → statistic → uncertainty, flags → products
//!        ▼
//!  arrays → unit, wcs, header, uncertainty class → CCDData → FITS
//! ```
//!
//! Kernels are vertical: a lane is a pixel, loops run over frames. A sample that is not used is NaN
//! in the workspace from the moment that is known. Sums run in frame order in double precision, so
//! the result depends on nothing but the samples: not on threads, instruction sets or block sizes,
//! and not on whether a look was enough, which is only taken for so where that is certain.
//!
//! Modules, each using those before it: [`sample`] and [`plane`] (what comes in), [`plan`] (what to
//! do), `order` (networks), `deep` (stacks too deep for these, sorted), `rows`, `marks` and
//! `variances` (operations on rows of pixels), `passes` (clipping of sorted columns), `distances`
//! (spread of a sorted column), `look` and `deep_look` (center and spread straight from the
//! planes), `totals` (sums of runs of pixels), [`dispatch`] (all of these for every instruction
//! set), `estimate` (center and spread), `reject`, `statistic`, `notes` (cubes of few bytes), `outputs` (what goes out), `direct`
//! (what to look for, and which columns that settles), `propagate` (what is made of variances and
//! flags), `frames` (counts per frame), `job` (what all blocks share), `load`, `masks`, `steps` and
//! `block` (a block from planes to products), `combine` (the verb). `pool` (threads) and `prefetch`
//! (memory ahead of time) serve these; `grow` grows masks; `column` does one column in plain code,
//! for the one-dimensional functions and as the truth for tests.

#![deny(unsafe_code)]

mod block;
mod column;
mod combine;
mod deep;
mod deep_look;
mod direct;
pub mod dispatch;
mod distances;
mod error;
mod estimate;
mod frames;
mod grow;
mod halves;
mod job;
mod load;
mod look;
mod marks;
mod masks;
mod notes;
mod order;
mod outputs;
mod passes;
pub mod plan;
pub mod plane;
mod pool;
mod prefetch;
mod propagate;
mod reject;
mod rows;
pub mod sample;
mod second_pass;
mod statistic;
mod steps;
#[cfg(test)]
mod tests;
mod totals;
mod variances;

pub use column::{combine_column, percentiles, Modifier, Pixel};
pub use combine::{combine, MOST_FRAMES};
pub use error::{Error, Result};
pub use grow::grow_mask;
pub use notes::{NotedCube, Notes};
pub use outputs::{Buffer, Kind, Outputs, PerFrame, Product};
pub use pool::{default_threads, set_default_threads};
pub use reject::{output_flags, sample_flags};
