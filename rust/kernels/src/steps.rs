//! The steps of rejection one after the other, and what one of them pools over image rows first.

use crate::estimate::Kit;
use crate::job::Job;
use crate::load::{load, load_masks, prepare, Place, Scratch, BLOCKS};
use crate::masks::Masks;
use crate::outputs::Spots;
use crate::plan::{Center, Clip, Level, Rule, Step};
use crate::reject::{self, Report, Settled};
use crate::sample::{Row, Work, LANES};

/// The scatter of the image row that every lane is in, if step `i` pools over rows.
pub(crate) fn pooled_row<T: Work>(job: &Job<T>, i: usize, place: Place) -> Option<Row<f64>> {
    let line = line_of(&job.plan.steps[i])?;
    let lines = job.pooled.get(i)?;
    let mut row = Row::filled(f64::NAN);
    for l in 0..place.len {
        row.0[l] = lines[(place.start + l) / line];
    }
    Some(row)
}

/// Pixels of an image row, if the step pools over rows.
pub(crate) fn line_of(step: &Step) -> Option<usize> {
    match step {
        Step::Clip(Clip { rule: Rule::Pooled { line, .. }, .. }) => Some(*line),
        _ => None,
    }
}

/// Scatter of one image row in units of the root of the level, for step `i`: over all pixels with
/// at least three samples, sqrt(sum (x - c)^2 / max(1, level) / (samples - 1)), as IRAF's avsigclip.
pub(crate) fn pool_line<T: Work>(job: &Job<T>, i: usize, start: usize, line: usize) -> f64 {
    let Step::Clip(Clip { center, rule: Rule::Pooled { levels, .. }, .. }) = &job.plan.steps[i]
    else {
        return f64::NAN;
    };
    let levels = levels.as_deref().unwrap_or(&[Level::SAME]);
    let mut kit = Kit::new(job.ops, job.wide);
    let mut stack = vec![Row::filled(T::NAN); job.planes.len() * BLOCKS];
    let mut scratch = Scratch::new(job, job.masked && job.judges_masked(), false);
    let mut masks = Masks::new(job);
    let mut report = Report::new(0, false, false, false);
    let (mut total, mut samples) = (0.0, 0_u64);
    for at in (start..start + line).step_by(LANES) {
        let len = (start + line - at).min(LANES);
        let place = Place { start: at, len, spots: Spots::Run(0, len) };
        let w = place.len.next_multiple_of(16);
        let [not_finite, ..] = load(job, place.start, place.len, &mut stack);
        let v = &mut stack[..job.planes.len()];
        report.reset();
        if job.masked {
            masks.read(job, place.start, place.len);
            load_masks(job, (&masks, 0), place, v, &mut scratch);
        }
        let (mut absent, _) = prepare(job, place, v, not_finite, &kit, &mut scratch, &mut report);
        if !job.plan.independent {
            for (before, step) in job.plan.steps[..i].iter().enumerate() {
                let pooled = pooled_row(job, before, place);
                let room = &mut scratch.dense;
                apply(&mut kit, step, v, w, &mut absent, room, &mut report, pooled, None);
            }
        }
        let n = kit.count(v, w, absent);
        let c = kit.center(*center, v, w, &n, absent);
        let mut squares = Row::filled(0.0);
        for (k, row) in v.iter().enumerate() {
            let root = reject::roots(&levels[k.min(levels.len() - 1)], &c);
            kit.ops.add_scaled_squares(row, &c, &root, w, &mut squares);
        }
        for l in 0..place.len {
            if n.0[l] >= 3 {
                total += squares.0[l];
                samples += u64::from(n.0[l]);
            }
        }
    }
    if samples > 1 {
        (total / (samples - 1) as f64).sqrt()
    } else {
        f64::NAN
    }
}

/// One step of rejection. Clipping also tells what it leaves, with its center if that is `known`
/// to be wanted.
pub(crate) fn apply<T: Work>(
    kit: &mut Kit<T>,
    step: &Step,
    v: &mut [Row<T>],
    w: usize,
    absent: &mut bool,
    dense: &mut Vec<Row<T>>,
    report: &mut Report,
    pooled: Option<Row<f64>>,
    known: Option<Center>,
) -> Option<Settled> {
    match step {
        Step::Clip(step) => {
            let wanted = known == Some(step.center);
            Some(reject::clip(kit, step, v, w, absent, dense, report, pooled, wanted))
        }
        Step::PClip(step) => Some(reject::pclip(kit, step, v, w, absent, report)),
        Step::Extrema(step) => Some(reject::extrema(kit, step, v, w, absent, report)),
        Step::Range(step) => {
            reject::range(kit, step, v, w, absent, report);
            None
        }
    }
}
