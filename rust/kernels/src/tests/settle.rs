//! Clipping by sorted columns where rounding decides.

use super::{assert_same, kernel, truth, Sample};
use crate::dispatch::{Ops, Simd};
use crate::passes::{Limits, Scatter, Span};
use crate::plan::*;
use crate::sample::{Row, LANES};

/// Numbers that look random, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    /// Nearly Gaussian.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.below(1 << 30) as f64 / f64::from(1 << 30)).sum::<f64>() - 6.0
    }
}

/// Columns that are hard on rounding: level and noise of a family, all present or a few.
fn columns(random: &mut Random, frames: usize, single: bool) -> Vec<Vec<Sample>> {
    let families = [(0.0, 1.0), (1000.0, 30.0), (60000.0, 1.3), (-1e7, 3.0), (1e-3, 1e3)];
    let powers = if single { [-42, -38, -20, 0, 15, 36] } else { [-320, -290, -140, 0, 150, 300] };
    let mut out = Vec::new();
    for (level, noise) in families {
        for power in powers {
            for kind in 0..4 {
                let scale = 10_f64.powi(power);
                let outlier = 1 + random.below(5) as usize;
                let mut column: Vec<f64> = (0..frames)
                    .map(|k| match kind {
                        0 => level + noise * random.normal(),
                        1 => level + (noise * random.normal()).round(),
                        2 => level + if k % 7 == outlier { noise } else { 0.0 },
                        _ => level + noise * random.normal().powi(7),
                    })
                    .map(|x| x * scale)
                    .collect();
                if single {
                    column.iter_mut().for_each(|x| *x = f64::from(*x as f32));
                }
                let few = random.below(3) == 0;
                let present = if few { random.below(6) as usize } else { frames };
                let sample = |(k, raw)| Sample {
                    raw,
                    masked: k >= present,
                    weight: 1.0,
                    variance: 1.0,
                    flags: 0,
                    zero: 0.0,
                    factor: 1.0,
                    scale: 1.0,
                };
                out.push(column.into_iter().enumerate().map(sample).collect());
            }
        }
    }
    out
}

/// Moves the first sample of a column to where a single pass begins to reject it, then `steps`
/// numbers of its type on.
fn move_to_limit(column: &mut [Sample], plan: &Plan, single: bool, steps: i64) {
    let mut once = plan.clone();
    if let Step::Clip(clip) = &mut once.steps[0] {
        clip.maxiters = Some(1);
    }
    let used = |column: &mut [Sample], x: f64| {
        column[0].raw = if single { f64::from(x as f32) } else { x };
        truth(column, &once).used[0]
    };
    let largest = column.iter().fold(0.0_f64, |most, s| most.max(s.raw.abs()));
    let (mut inside, mut outside) = (column[1].raw, 50.0 * largest);
    if !used(column, inside) || used(column, outside) {
        return;
    }
    for _ in 0..if single { 40 } else { 70 } {
        let middle = 0.5 * inside + 0.5 * outside;
        if used(column, middle) {
            inside = middle;
        } else {
            outside = middle;
        }
    }
    column[0].raw = if single {
        f64::from(f32::from_bits(((inside as f32).to_bits() as i64 + steps) as u32))
    } else {
        f64::from_bits((inside.to_bits() as i64 + steps) as u64)
    };
}

#[test]
fn rounding_decides_as_in_double_precision() {
    let mut random = Random(0x6A09_E667_F3BC_C909);
    let spreads =
        [Spread::Std { ddof: 0 }, Spread::Std { ddof: 1 }, Spread::Mad { factor: 1.4826 }];
    let mut rules: Vec<Rule> = spreads
        .map(|spread| Rule::Scatter { about: None, spread, levels: None })
        .into_iter()
        .collect();
    let noise = Noise { gain: 2.0, rdnoise: 3.0, snoise: 0.0, level: Level::SAME };
    rules.push(Rule::Noise { about: None, frames: vec![noise] });
    rules.push(Rule::Linear { low_scale: 0.5, upp_scale: 1.5 });
    let depths =
        [(5, true), (12, true), (31, true), (40, true), (700, true), (9, false), (24, false)];
    for (frames, single) in depths {
        for center in [Center::Median, Center::LowerMedian, Center::Mean] {
            for rule in &rules {
                let mut plan = Plan::new(Statistic::Median);
                plan.single = single;
                let (low, high) = [(3.0, 2.0), (1.5, 1.5), (f64::INFINITY, 2.5)][if matches!(
                    rule,
                    Rule::Linear { .. }
                ) {
                    0
                } else {
                    random.below(3) as usize
                }];
                let clip = Clip {
                    maxiters: [None, Some(2)][random.below(2) as usize],
                    skip_zero: random.below(4) == 0,
                    ..Clip::new(center, rule.clone(), low, high)
                };
                plan.steps.push(Step::Clip(clip));
                let mut columns = columns(&mut random, frames, single);
                for column in &mut columns {
                    let steps = random.below(7) as i64 - 3;
                    move_to_limit(column, &plan, single, steps);
                }
                for (got, column) in kernel(&columns, &plan, 1).iter().zip(&columns) {
                    assert_same(got, &truth(column, &plan), column);
                }
            }
        }
    }
}

/// Half the smallest number is not 0.
#[test]
fn a_distance_that_underflows_is_not_zero() {
    let tiny = f64::from(f32::from_bits(1));
    let mut columns = columns(&mut Random(1), 4, true);
    for (column, raw) in columns[0].iter_mut().zip([0.0, f32::MIN_POSITIVE.into(), tiny, tiny]) {
        (column.raw, column.masked) = (raw, false);
    }
    let mut plan = Plan::new(Statistic::Mean);
    plan.single = true;
    for skip_zero in [false, true] {
        let rule =
            Rule::Scatter { about: None, spread: Spread::Mad { factor: 1.4826 }, levels: None };
        plan.steps =
            vec![Step::Clip(Clip { skip_zero, ..Clip::new(Center::Median, rule, 0.5, 0.5) })];
        for (got, column) in kernel(&columns, &plan, 1).iter().zip(&columns) {
            assert_same(got, &truth(column, &plan), column);
        }
    }
}

/// Ordinary columns in ascending order.
fn sorted_rows(frames: usize) -> Vec<Row<f32>> {
    let mut random = Random(0xBB67_AE85_84CA_A73B);
    let mut rows = vec![Row::filled(0.0); frames];
    for l in 0..LANES {
        let mut column: Vec<f32> =
            (0..frames).map(|_| (1000.0 + 30.0 * random.normal()) as f32).collect();
        column.sort_by(f32::total_cmp);
        for (row, x) in rows.iter_mut().zip(column) {
            row.0[l] = x;
        }
    }
    rows
}

#[test]
fn limits_are_tight_and_the_same_at_every_level() {
    for frames in [2, 5, 12, 31, 100, 500] {
        for (center, spread) in [
            (Center::Median, Spread::Std { ddof: 0 }),
            (Center::LowerMedian, Spread::Mad { factor: 1.4826 }),
            (Center::Mean, Spread::Std { ddof: 1 }),
        ] {
            let scatter = Scatter {
                center,
                spread,
                limits: (2.0, 3.0),
                min_samples: 0,
                skip_zero: false,
                equal_is_inside: true,
            };
            assert!(scatter.serves());
            let at = |level| {
                let ops = Ops::<f32>::at(level);
                let mut rows = sorted_rows(frames);
                let n = Row::filled(frames as u32);
                let mut span = Span { first: Row::filled(0), end: n };
                let (mut limits, mut vague) = (Limits::open(), Row::filled(0));
                let mut changed = Row::filled(0);
                let mut bits = Vec::new();
                for pass in 0..3 {
                    let first = pass == 0;
                    let (rows, w) = (&mut rows[..], LANES);
                    ops.limits_of_scatter(rows, w, &span, &scatter, first, &mut limits, &mut vague);
                    ops.cut(rows, w, &limits, &mut span, &mut vague, &mut changed);
                    for [a, b] in [&limits.low, &limits.high] {
                        for l in 0..LANES {
                            // Certain but for some hundred-thousandths of sigma.
                            assert!((a.0[l] - b.0[l]).abs() < 0.03, "{frames} {scatter:?}");
                            bits.extend([a.0[l].to_bits(), b.0[l].to_bits()]);
                        }
                    }
                }
                assert!(frames == 2 || vague.0.iter().map(|v| u32::from(*v)).sum::<u32>() < 3);
                assert!(frames < 31 || span.first.0.iter().any(|k| *k > 0));
                (bits, span.first.0, span.end.0, vague.0)
            };
            let base = at(Simd::Base);
            for level in Simd::available() {
                assert!(at(level) == base, "{level:?} {frames} {scatter:?}");
            }
        }
    }
}
