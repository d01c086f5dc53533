//! Growing of rejected samples: everything near a rejected sample of a frame goes too.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::pool;

/// Marks in `out` all samples of a frame within `radius` (Euclidean, in pixels) of a marked one of
/// `seeds`. Both hold `frames` images of `shape`, one byte per sample, 0 or 1.
///
/// # Errors
/// [`Error`] if the radius is negative or not finite, or a size does not agree.
pub fn grow_mask(
    seeds: &[u8],
    out: &mut [u8],
    shape: &[usize],
    radius: f64,
    threads: Option<usize>,
) -> Result<()> {
    if !(radius.is_finite() && radius >= 0.0) {
        return Err(Error::option("grow", radius, "a finite radius >= 0"));
    }
    if threads == Some(0) {
        return Err(Error::option("n_threads", 0, "at least 1"));
    }
    Error::same_length("mask", out.len(), seeds.len())?;
    let pixels: usize = shape.iter().product();
    out.copy_from_slice(seeds);
    if pixels == 0 || radius < 1.0 {
        return Ok(());
    }
    let (width, outer) = shape.split_last().map_or((1, &[][..]), |(width, outer)| (*width, outer));
    let runs = runs(outer, radius);
    let one = |(seeds, out): (&[u8], &mut [u8])| grow_frame(seeds, out, outer, width, &runs);
    let frames = seeds.par_chunks(pixels).zip(out.par_chunks_mut(pixels));
    match threads.unwrap_or_else(pool::default_threads) {
        1 => seeds.chunks(pixels).zip(out.chunks_mut(pixels)).for_each(one),
        threads => pool::pool(threads)?.install(|| frames.for_each(one)),
    }
    Ok(())
}

/// A run of the ball: its offset along the outer axes and its half width along the last one.
type Run = (Vec<isize>, usize);

/// The ball as runs along the last axis, no wider than the image.
fn runs(outer: &[usize], radius: f64) -> Vec<Run> {
    let mut runs = vec![(Vec::new(), 0.0)];
    for n in outer {
        let reach = (radius.floor().min(*n as f64 - 1.0)) as isize;
        runs = runs
            .into_iter()
            .flat_map(|(offset, used): (Vec<isize>, f64)| {
                (-reach..=reach).filter_map(move |d| {
                    let used = used + (d * d) as f64;
                    (used <= radius * radius).then(|| ([&offset[..], &[d]].concat(), used))
                })
            })
            .collect();
    }
    runs.into_iter()
        .map(|(offset, used)| (offset, (radius * radius - used).sqrt().floor() as usize))
        .collect()
}

fn grow_frame(seeds: &[u8], out: &mut [u8], outer: &[usize], width: usize, runs: &[Run]) {
    for (row, line) in seeds.chunks_exact(width).enumerate() {
        for x in (0..width).filter(|x| line[*x] != 0) {
            for (offset, half) in runs {
                if let Some(target) = neighbour(row, outer, offset) {
                    let end = (x + half).min(width - 1);
                    out[target * width..][x.saturating_sub(*half)..=end].fill(1);
                }
            }
        }
    }
}

/// The row at an offset from another one, unless that is outside the image.
fn neighbour(mut row: usize, outer: &[usize], offset: &[isize]) -> Option<usize> {
    let (mut target, mut stride) = (0, 1);
    for (n, d) in outer.iter().zip(offset).rev() {
        let at = (row % n).checked_add_signed(*d).filter(|at| at < n)?;
        target += at * stride;
        stride *= n;
        row /= n;
    }
    Some(target)
}
