//! Sums of a run of pixels, a few planes at a time. Many planes at once would compete for the same
//! places in the caches, of few each is read in pieces so long that the processor foresees what
//! comes; the sums stay in the first-level cache.

use crate::look::{lanes, Manner, Samples, Source};
use crate::prefetch::{prefetch_line, LINE};
use crate::sample::{Key, Row, LANES};

/// Blocks that are summed together.
const STRIP: usize = 8;

/// Most planes that are read together: the more, the less often sums are loaded and stored.
const TOGETHER: usize = 6;

/// How far ahead samples are fetched, in bytes.
const AHEAD: usize = 1024;

/// The running sums of a block.
type Sums<S> = Row<<<S as Source>::Key as Key>::Sum>;

/// Sums samples in frame order, for as many blocks as there are rows; None if planes are shorter.
#[inline(always)]
pub(crate) fn totals<S: Source>(
    planes: &[&[u8]],
    manner: Manner,
    totals: &mut [Row<f64>],
) -> Option<()> {
    let (n, groups) = (planes.len(), planes.len().div_ceil(TOGETHER));
    for (strip, totals) in totals.chunks_mut(STRIP).enumerate() {
        let mut sums: [Sums<S>; STRIP] = [Row::filled(Default::default()); STRIP];
        let sums = &mut sums[..totals.len()];
        for group in 0..groups {
            let planes = &planes[n * group / groups..n * (group + 1) / groups];
            let first = strip * STRIP;
            match planes.len() {
                1 => add::<S, 1>(planes, first, manner.flip, sums)?,
                2 => add::<S, 2>(planes, first, manner.flip, sums)?,
                3 => add::<S, 3>(planes, first, manner.flip, sums)?,
                4 => add::<S, 4>(planes, first, manner.flip, sums)?,
                5 => add::<S, 5>(planes, first, manner.flip, sums)?,
                _ => add::<S, TOGETHER>(planes, first, manner.flip, sums)?,
            }
        }
        for (total, sums) in totals.iter_mut().zip(sums) {
            for l in 0..LANES {
                total.0[l] = S::Key::total(sums.0[l]) + n as f64 * manner.offset;
            }
        }
    }
    Some(())
}

/// Adds the samples of `M` planes from a block on.
#[inline(always)]
fn add<S: Source, const M: usize>(
    planes: &[&[u8]],
    first: usize,
    flip: u16,
    sums: &mut [Sums<S>],
) -> Option<()> {
    let planes: &[&[u8]; M] = planes.try_into().ok()?;
    let size = LANES * size_of::<S::Raw>();
    for (block, sums) in (first..).zip(sums) {
        let block = planes.map(|bytes| bytes.get(block * size..).unwrap_or_default());
        add_block::<S, M>(&lanes::<S, M>(&block)?, flip, &mut sums.0);
    }
    Some(())
}

/// The same for one block. A function: of its arguments the compiler knows that they do not
/// overlap.
#[inline(always)]
fn add_block<S: Source, const M: usize>(
    planes: &Samples<S::Raw, M>,
    flip: u16,
    sums: &mut [<S::Key as Key>::Sum; LANES],
) {
    let line = LINE / size_of::<S::Raw>();
    for first in (0..LANES).step_by(line) {
        for plane in planes {
            prefetch_line(&plane[first], AHEAD);
        }
        for l in first..first + line {
            let mut sum = sums[l];
            for plane in planes {
                sum = S::key(plane[l], flip).add(sum);
            }
            sums[l] = sum;
        }
    }
}
