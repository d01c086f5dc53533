//! The one verb: combine planes under a plan into outputs.

use rayon::prelude::*;

use crate::block::blocks;
use crate::direct;
use crate::dispatch::{double_looks, single_looks, Simd};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::outputs::{Outputs, Product};
use crate::plan::Plan;
use crate::plane::{Plane, Shape};
use crate::pool;
use crate::propagate::{self, Propagation};
use crate::sample::{Work, LANES};
use crate::steps::{line_of, pool_line};

/// Below this many samples a second thread costs more than it brings.
const SAMPLES_PER_THREAD: usize = 100_000;

/// Most frames in a stack (counts are 16-bit).
pub const MOST_FRAMES: usize = u16::MAX as usize;

/// Combines the planes pixel by pixel. Every product is the same bit for bit whatever `threads`,
/// the instruction set and the way an image is cut into calls.
///
/// # Errors
/// [`Error`] if the plan makes no sense or a buffer has the wrong size; nothing is written then.
pub fn combine<'a>(
    planes: &'a [Plane<'a>],
    shape: &'a Shape,
    plan: &'a Plan,
    outputs: Outputs<'a>,
    threads: Option<usize>,
) -> Result<()> {
    plan.validate(planes.len())?;
    if planes.is_empty() || planes.len() > MOST_FRAMES {
        return Err(Error::option(
            "number of frames",
            planes.len(),
            &format!("1 to {MOST_FRAMES}"),
        ));
    }
    outputs.check(shape.pixels(), planes.len())?;
    if plan.uncertainty.is_none() && outputs.wants(Product::Uncertainty) {
        return Err(Error::option("uncertainty", "None", "a kind, as that output is asked for"));
    }
    for (k, plane) in planes.iter().enumerate() {
        plane.check(k)?;
    }
    if threads == Some(0) {
        return Err(Error::option("n_threads", 0, "at least 1"));
    }
    propagate::check(planes, plan, &outputs)?;
    let level = Simd::current()?;
    let common = direct::common(planes);
    if plan.single {
        let looks = common.and_then(|(dtype, big, _)| single_looks(level, dtype, big));
        run(Job::<f32>::new(planes, shape, plan, level, looks), outputs, threads)
    } else {
        let looks = common.and_then(|(dtype, big, _)| double_looks(level, dtype, big));
        run(Job::<f64>::new(planes, shape, plan, level, looks), outputs, threads)
    }
}

fn run<'a, T: Work>(
    mut job: Job<'a, T>,
    outputs: Outputs<'a>,
    threads: Option<usize>,
) -> Result<()> {
    let pixels = job.shape.pixels();
    let useful = 1 + pixels.saturating_mul(job.planes.len()) / SAMPLES_PER_THREAD;
    let threads = threads.unwrap_or_else(pool::default_threads).min(useful);
    job.propagation = Propagation::new(job.planes, job.shape, job.plan, &outputs);
    let pool = if threads > 1 { Some(pool::pool(threads)?) } else { None };
    for i in 0..job.plan.steps.len() {
        let mut lines = Vec::new();
        if let Some(line) = line_of(&job.plan.steps[i]).filter(|line| *line > 0) {
            let one = |start: usize| pool_line(&job, i, start, line);
            lines = match &pool {
                None => (0..pixels).step_by(line).map(one).collect(),
                Some(pool) => {
                    let starts: Vec<usize> = (0..pixels).step_by(line).collect();
                    pool.install(|| starts.into_par_iter().map(one).collect())
                }
            };
        }
        job.pooled.push(lines);
    }
    match pool {
        None => blocks(&job, 0, pixels, outputs),
        Some(pool) => {
            // Several pieces per thread even out their speeds.
            let grain = pixels.div_ceil(threads * 8).next_multiple_of(LANES);
            pool.install(|| halve(&job, 0, pixels, grain, outputs));
        }
    }
    Ok(())
}

/// Splits the pixels until a piece is small enough for one task.
fn halve<T: Work>(job: &Job<T>, start: usize, len: usize, grain: usize, outputs: Outputs) {
    if len <= grain {
        blocks(job, start, len, outputs);
        return;
    }
    let mid = (len / 2).next_multiple_of(LANES);
    let (left, right) = outputs.split_at(mid);
    rayon::join(
        || halve(job, start, mid, grain, left),
        || halve(job, start + mid, len - mid, grain, right),
    );
}
