//! Every instruction set against the truth, on stacks drawn at random.

use proptest::prelude::*;

use crate::column::{self, Modifier, Pixel};
use crate::dispatch::{Ops, Simd};
use crate::order::DEEPEST;
use crate::plan::*;
use crate::plane::{FitsScaling, Plane, Shape, View};
use crate::reject::{HIGH, LOW};
use crate::sample::{DType, Rooms, Row, LANES};
use crate::{combine, Buffer, Outputs, PerFrame, Product};

mod absent;
mod distances;
mod looks;
mod masks;
mod propagation;
mod settle;

/// A value with all that is known about it.
#[derive(Clone, Copy, Debug)]
struct Sample {
    raw: f64,
    masked: bool,
    weight: f64,
    variance: f64,
    flags: i16,
    zero: f64,
    factor: f64,
    scale: f64,
}

/// The truth about a column.
fn truth(column: &[Sample], plan: &Plan) -> Pixel {
    let modifiers: Vec<Modifier> = column
        .iter()
        .map(|s| Modifier {
            masked: s.masked,
            weight: s.weight,
            variance: s.variance,
            zero: s.zero,
            factor: s.factor,
            scale: s.scale,
        })
        .collect();
    let mut pixel = column::combine(column.iter().map(|s| s.raw).collect(), &modifiers, plan);
    pixel.sides.sort_unstable();
    pixel
}

/// The frames rejected at a side, and at which.
fn rejected(sides: impl Iterator<Item = u8>) -> Vec<(usize, u8)> {
    sides.enumerate().filter(|(_, side)| *side != 0).collect()
}

/// All products of a stack of columns, pixel by pixel.
fn kernel(columns: &[Vec<Sample>], plan: &Plan, threads: usize) -> Vec<Pixel> {
    let (pixels, frames) = (columns.len(), columns[0].len());
    let shape = Shape::new(&[], pixels).unwrap();
    let bytes: Vec<Vec<u8>> = (0..frames)
        .map(|k| {
            let raw = columns.iter().map(|column| column[k].raw);
            if plan.single {
                raw.flat_map(|x| (x as f32).to_be_bytes()).collect()
            } else {
                raw.flat_map(f64::to_be_bytes).collect()
            }
        })
        .collect();
    let masks: Vec<Vec<u8>> =
        (0..frames).map(|k| columns.iter().map(|c| u8::from(c[k].masked)).collect()).collect();
    let variances: Vec<Vec<u8>> = (0..frames)
        .map(|k| columns.iter().flat_map(|c| c[k].variance.to_be_bytes()).collect())
        .collect();
    let bits: Vec<Vec<u8>> = (0..frames)
        .map(|k| columns.iter().flat_map(|c| c[k].flags.to_be_bytes()).collect())
        .collect();
    let dtype = if plan.single { DType::F32 } else { DType::F64 };
    let planes: Vec<Plane> = (0..frames)
        .map(|k| {
            let first = &columns[0][k];
            let view = |bytes, dtype| View::new(bytes, dtype, true, 0, &[], &shape).unwrap();
            let mut plane = Plane::new(view(&bytes[k], dtype));
            plane.variance = Some(view(&variances[k], DType::F64));
            // One frame in three has no flags.
            plane.flags = (k % 3 < 2).then(|| view(&bits[k], DType::I16));
            plane.mask = Some(View::contiguous(&masks[k], DType::U8, &shape).unwrap());
            (plane.zero, plane.factor, plane.scale) = (first.zero, first.factor, first.scale);
            plane.weight = first.weight;
            plane
        })
        .collect();
    let (mut image, mut uncertainty, mut std) =
        (vec![0.0_f64; pixels], vec![f64::NAN; pixels], vec![0.0_f64; pixels]);
    let (mut n_used, mut n_low, mut n_high) =
        (vec![0_u16; pixels], vec![0_u16; pixels], vec![0_u16; pixels]);
    let (mut low, mut upp) = (vec![0.0_f64; pixels], vec![0.0_f64; pixels]);
    let (mut nit, mut flags) = (vec![0_u8; pixels], vec![0_u8; pixels]);
    let mut unused = vec![vec![0_u8; pixels]; frames];
    let mut sides = vec![vec![7_u8; pixels]; frames];
    let (in_low, in_high) = (PerFrame::new(frames), PerFrame::new(frames));
    let mut dq = vec![7_u32; pixels];
    let mut outputs = Outputs::new();
    outputs.push(Product::Image, Buffer::F64(&mut image)).unwrap();
    if plan.uncertainty.is_some() {
        outputs.push(Product::Uncertainty, Buffer::F64(&mut uncertainty)).unwrap();
    }
    outputs.push(Product::Std, Buffer::F64(&mut std)).unwrap();
    outputs.push(Product::Low, Buffer::F64(&mut low)).unwrap();
    outputs.push(Product::Upp, Buffer::F64(&mut upp)).unwrap();
    outputs.push(Product::NUsed, Buffer::U16(&mut n_used)).unwrap();
    outputs.push(Product::Dq, Buffer::U32(&mut dq)).unwrap();
    outputs.push(Product::NRejectedLow, Buffer::U16(&mut n_low)).unwrap();
    outputs.push(Product::NRejectedHigh, Buffer::U16(&mut n_high)).unwrap();
    outputs.push(Product::Nit, Buffer::U8(&mut nit)).unwrap();
    outputs.push(Product::OutputFlags, Buffer::U8(&mut flags)).unwrap();
    let planes_out = unused.iter_mut().map(Vec::as_mut_slice).collect();
    outputs.push(Product::MaskRej, Buffer::Cube(planes_out)).unwrap();
    let planes_out = sides.iter_mut().map(Vec::as_mut_slice).collect();
    outputs.push(Product::SampleSides, Buffer::Cube(planes_out)).unwrap();
    outputs.push(Product::FrameRejectedLow, Buffer::Frames(&in_low)).unwrap();
    outputs.push(Product::FrameRejectedHigh, Buffer::Frames(&in_high)).unwrap();
    combine(&planes, &shape, plan, outputs, Some(threads)).unwrap();
    let count = |plane: &[u8], side| plane.iter().filter(|s| **s == side).count();
    for (k, plane) in sides.iter().enumerate() {
        assert_eq!(in_low.values()[k], count(plane, LOW) as u64);
        assert_eq!(in_high.values()[k], count(plane, HIGH) as u64);
    }
    for p in 0..pixels {
        let column: Vec<u8> = sides.iter().map(|plane| plane[p]).collect();
        assert_eq!(usize::from(n_low[p]), count(&column, LOW));
        assert_eq!(usize::from(n_high[p]), count(&column, HIGH));
    }
    for (p, column) in columns.iter().enumerate() {
        let used = (0..frames).filter(|k| k % 3 < 2 && unused[*k][p] == 0);
        let all = used.fold(0, |all, k| all | column[k].flags as u16);
        assert_eq!(dq[p], u32::from(all), "flags of {column:?}");
    }
    (0..pixels)
        .map(|p| Pixel {
            image: image[p],
            uncertainty: uncertainty[p],
            n_used: n_used[p].into(),
            used: unused.iter().map(|plane| plane[p] == 0).collect(),
            std: std[p],
            low: low[p],
            upp: upp[p],
            nit: nit[p],
            flags: flags[p],
            sides: rejected(sides.iter().map(|plane| plane[p])),
            spoiled: false,
        })
        .collect()
}

fn same(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan()
}

fn assert_same(got: &Pixel, want: &Pixel, column: &[Sample]) {
    let equal = same(got.image, want.image)
        && same(got.uncertainty, want.uncertainty)
        && same(got.std, want.std)
        && same(got.low, want.low)
        && same(got.upp, want.upp)
        && (got.n_used, &got.used, got.nit, got.flags, &got.sides)
            == (want.n_used, &want.used, want.nit, want.flags, &want.sides);
    assert!(equal, "got  {got:?}\nwant {want:?}\nfrom {column:?}");
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => -100.0..100.0_f64,
        6 => (-4..5_i32).prop_map(f64::from),
        2 => (-50.0..50.0_f64).prop_map(|x| 1e8 + x),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(5e3),
    ]
}

fn variance() -> impl Strategy<Value = f64> {
    prop_oneof![
        30 => 0.01..100.0_f64,
        1 => Just(0.0),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(-2.0),
        1 => Just(1e-320),
    ]
}

fn center() -> impl Strategy<Value = Center> {
    prop_oneof![
        Just(Center::Mean),
        Just(Center::Median),
        Just(Center::LowerMedian),
        Just(Center::Trimmed)
    ]
}

/// Most frames of a stack.
const DEPTH: usize = 40;

/// Rules for a stack of any depth: one entry for all frames, or for more than there are.
fn rule() -> impl Strategy<Value = Rule> {
    let level = || (0.5..2.0_f64, -3.0..3.0_f64).prop_map(|(scale, zero)| Level { scale, zero });
    let std = || (0..2_usize).prop_map(|ddof| Spread::Std { ddof });
    let noise = move || {
        (0.5..3.0_f64, 0.0..5.0_f64, 0.0..0.1_f64, level())
            .prop_map(|(gain, rdnoise, snoise, level)| Noise { gain, rdnoise, snoise, level })
    };
    let several = prop_oneof![Just(1..2), Just(DEPTH..DEPTH + 1)];
    let noise = several.prop_flat_map(move |n| prop::collection::vec(noise(), n));
    prop_oneof![
        6 => (prop::option::of(center()), std()).prop_map(|(about, spread)| Rule::Scatter {
            about,
            spread,
            levels: None
        }),
        3 => prop::option::of(center()).prop_map(|about| Rule::Scatter {
            about,
            spread: Spread::Mad { factor: MAD_TO_STD },
            levels: None
        }),
        1 => (std(), prop::collection::vec(level(), DEPTH)).prop_map(|(spread, levels)| {
            Rule::Scatter { about: None, spread, levels: Some(levels) }
        }),
        2 => (prop::option::of(center()), noise)
            .prop_map(|(about, frames)| Rule::Noise { about, frames }),
        1 => (0.5..1.5_f64, 0.5..1.5_f64)
            .prop_map(|(low_scale, upp_scale)| Rule::Linear { low_scale, upp_scale }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let limit = prop_oneof![4 => 0.0..4.0_f64, 1 => Just(f64::INFINITY), 1 => Just(2.0)];
    let revert = prop_oneof![Just(Revert::Undo), Just(Revert::Ignore), Just(Revert::Closest)];
    let nan_rule = prop_oneof![4 => Just(NanRule::Ignore), 1 => Just(NanRule::RejectNone), 1 => Just(NanRule::RejectAll)];
    let clip = (
        (limit.clone(), limit, center(), rule(), prop::bool::weighted(0.2), 0..4_usize),
        (prop::option::of(0..5_usize), 0..6_usize, prop::option::of(0..6_usize), revert, nan_rule),
    )
        .prop_map(|((low, high, center, rule, skip_zero, min_samples), rest)| {
            let (maxiters, nkeep, maxrej, revert, nan_rule) = rest;
            let linear = matches!(rule, Rule::Linear { .. });
            let finite = |limit: f64| if linear { limit.min(5.0) } else { limit };
            Step::Clip(Clip {
                maxiters,
                nkeep,
                maxrej,
                revert,
                nan_rule,
                min_samples,
                skip_zero: skip_zero && !linear,
                ..Clip::new(center, rule, finite(low), finite(high))
            })
        });
    let pclip =
        (-1.5..1.5_f64, 0.5..4.0_f64, 0.5..4.0_f64, 0..5_usize, prop::option::of(0..5_usize))
            .prop_map(|(frac, low, high, nkeep, maxrej)| {
                Step::PClip(PClip { frac, low, high, nkeep, maxrej })
            });
    let extrema = (0..5_usize, 0..5_usize, any::<bool>()).prop_map(|(low, high, count)| {
        let rule = if count { ExtremaRule::Count } else { ExtremaRule::Fraction };
        Step::Extrema(Extrema { low, high, rule })
    });
    let range =
        (-50.0..0.0_f64, 0.0..50.0_f64).prop_map(|(low, high)| Step::Range(Range { low, high }));
    prop_oneof![5 => clip, 1 => pclip, 1 => extrema, 1 => range]
}

fn statistic() -> impl Strategy<Value = Statistic> {
    prop_oneof![
        Just(Statistic::Mean),
        Just(Statistic::Median),
        Just(Statistic::LowerMedian),
        Just(Statistic::Sum),
        Just(Statistic::Min),
        Just(Statistic::Max),
        (0..2_usize).prop_map(|ddof| Statistic::Variance { ddof }),
        (0..2_usize).prop_map(|ddof| Statistic::Std { ddof }),
        Just(Statistic::WeightedMean),
        Just(Statistic::WeightedSum),
        Just(Statistic::Quadrature),
        Just(Statistic::NoiseModel),
        (0.0..=100.0_f64).prop_map(Statistic::Percentile),
    ]
}

/// The plan for a stack of so many frames.
fn fitted(mut plan: Plan, frames: usize) -> Plan {
    for step in &mut plan.steps {
        match step {
            Step::Clip(Clip { rule: Rule::Noise { frames: noise, .. }, .. }) => {
                noise.truncate(frames);
            }
            Step::Clip(Clip { rule: Rule::Scatter { levels: Some(levels), .. }, .. }) => {
                levels.truncate(frames);
            }
            _ => {}
        }
    }
    plan
}

fn plan() -> impl Strategy<Value = Plan> {
    let uncertainty = prop::option::of(prop_oneof![
        Just(Uncertainty::StdError),
        Just(Uncertainty::MadError),
        Just(Uncertainty::StdSum),
        Just(Uncertainty::Scatter),
        Just(Uncertainty::Propagate),
        Just(Uncertainty::Noise)
    ]);
    (
        (statistic(), prop::collection::vec(step(), 0..3), uncertainty),
        (prop::option::of(Just((-80.0, 1e8))), any::<bool>(), any::<bool>(), any::<bool>()),
        (prop::option::of(Just(-9.0)), any::<bool>()),
    )
        .prop_map(|((statistic, steps, uncertainty), flags, (blank, ivar))| {
            let (thresholds, independent, transform_after, single) = flags;
            let scatters =
                !matches!(uncertainty, Some(Uncertainty::Propagate | Uncertainty::Noise));
            Plan {
                ivar: ivar && statistic == Statistic::WeightedMean,
                statistic,
                steps,
                thresholds,
                independent,
                transform_after,
                uncertainty: uncertainty.filter(|_| scatters || statistic.propagates()),
                noise: vec![Noise { gain: 1.5, rdnoise: 2.0, snoise: 0.1, level: Level::SAME }],
                blank,
                single,
            }
        })
}

fn columns() -> impl Strategy<Value = Vec<Vec<Sample>>> {
    let frame = (-3.0..3.0_f64, 0.5..2.0_f64, prop::bool::weighted(0.5), 0.0..2.0_f64);
    (1..DEPTH, 1..150_usize).prop_flat_map(move |(frames, pixels)| {
        let sample = (value(), prop::bool::weighted(0.1), variance(), any::<i16>());
        let column = prop::collection::vec(sample, frames);
        (
            prop::collection::vec(column, pixels),
            prop::collection::vec(frame.clone(), frames),
            any::<bool>(),
        )
            .prop_map(|(columns, frames, masked)| {
                columns
                    .into_iter()
                    .map(|column| {
                        column
                            .into_iter()
                            .zip(&frames)
                            .map(|((raw, mask, variance, flags), (zero, scale, plain, weight))| {
                                Sample {
                                    raw,
                                    masked: masked && mask,
                                    weight: *weight,
                                    variance,
                                    flags,
                                    zero: if *plain { 0.0 } else { *zero },
                                    factor: 1.0,
                                    scale: if *plain { 1.0 } else { *scale },
                                }
                            })
                            .collect()
                    })
                    .collect()
            })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn kernel_is_column_by_column(columns in columns(), plan in plan()) {
        let plan = fitted(plan, columns[0].len());
        let got = kernel(&columns, &plan, 1);
        for (got, column) in got.iter().zip(&columns) {
            assert_same(got, &truth(column, &plan), column);
        }
    }
}

/// A stack of rows of all kinds of samples, a different one for every depth.
fn rows(depth: usize, seed: u64) -> Vec<Row<f32>> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..depth)
        .map(|_| {
            let mut row = Row::filled(0.0);
            for lane in &mut row.0 {
                *lane = match next() % 8 {
                    0 => f32::NAN,
                    1 | 2 => (next() % 5) as f32,
                    _ => (next() % 100_000) as f32 / 7.0 - 5000.0,
                };
            }
            row
        })
        .collect()
}

#[test]
fn every_level_sorts_every_depth() {
    for depth in (1..=DEEPEST + 40).chain([100, 257]) {
        let v = rows(depth, depth as u64);
        for level in Simd::available() {
            let ops = Ops::<f32>::at(level);
            let mut out = vec![Row::filled(0.0); depth];
            ops.sort(&v, LANES, &mut Rooms::default(), &mut out);
            for l in 0..LANES {
                let mut column: Vec<f32> = v
                    .iter()
                    .map(|row| if row.0[l].is_nan() { f32::INFINITY } else { row.0[l] })
                    .collect();
                column.sort_by(f32::total_cmp);
                assert!(out.iter().map(|row| row.0[l]).eq(column), "{level:?} depth {depth}");
            }
        }
    }
}

#[test]
fn every_level_gives_the_same_bits() {
    for depth in [1, 2, 5, 12, 31, 32, 33, 70] {
        let v = rows(depth, 77 + depth as u64);
        let about = Row::filled(1.25);
        let at = |level| {
            let ops = Ops::<f32>::at(level);
            let (mut low, mut high) = (Row::filled(0.0), Row::filled(0.0));
            ops.middle_pair(&v, LANES, true, &mut Rooms::default(), &mut low, &mut high);
            let (mut sum, mut squares) = (Row::filled(0.0), Row::filled(0.0));
            ops.sum(&v, LANES, true, &mut sum);
            ops.sum_squares(&v, LANES, true, &about, &mut squares);
            let (mut below, mut above) = (Row::filled(0), Row::filled(0));
            ops.count_outside(&v, LANES, &low, &high, &mut below, &mut above);
            let bits = |row: Row<f64>| row.0.map(f64::to_bits);
            (low.0.map(f32::to_bits), bits(sum), bits(squares), below.0, above.0)
        };
        for level in Simd::available() {
            assert_eq!(at(level), at(Simd::Base), "{level:?} depth {depth}");
        }
    }
}

#[test]
fn threads_do_not_matter() {
    let columns: Vec<Vec<Sample>> = (0..20_000)
        .map(|p| {
            (0..12)
                .map(|k| Sample {
                    raw: f64::from((p * 7919 + k * 104_729) % 1000) / 3.0,
                    masked: (p + k) % 97 == 0,
                    weight: 1.0,
                    variance: 1.0,
                    flags: k as i16,
                    zero: 0.0,
                    factor: 1.0,
                    scale: 1.0,
                })
                .collect()
        })
        .collect();
    let mut plan = Plan::new(Statistic::Mean);
    let rule = Rule::Scatter { about: None, spread: Spread::Std { ddof: 0 }, levels: None };
    plan.steps.push(Step::Clip(Clip {
        nkeep: 2,
        revert: Revert::Closest,
        ..Clip::new(Center::Median, rule, 1.5, 1.5)
    }));
    let one = kernel(&columns, &plan, 1);
    for threads in [2, 5] {
        for (a, b) in kernel(&columns, &plan, threads).iter().zip(&one) {
            assert_same(a, b, &[]);
        }
    }
}

#[test]
fn unsigned_integers_of_fits() {
    let plan = Plan::new(Statistic::Mean);
    let unsigned = FitsScaling { unsigned: true, bscale: 1.0, bzero: 0.0, blank: None };
    let check = |dtype: DType, bytes: &[u8], want: &[f64]| {
        let shape = Shape::new(&[], want.len()).unwrap();
        let mut plane = Plane::new(View::new(bytes, dtype, true, 0, &[], &shape).unwrap());
        plane.fits = Some(unsigned);
        let mut image = vec![0.0; want.len()];
        let mut outputs = Outputs::new();
        outputs.push(Product::Image, Buffer::F64(&mut image)).unwrap();
        combine(&[plane], &shape, &plan, outputs, None).unwrap();
        assert_eq!(image, want);
    };
    check(
        DType::I16,
        &[0x80, 0x00, 0xff, 0xff, 0, 0, 0x7f, 0xff],
        &[0.0, 32767.0, 32768.0, 65535.0],
    );
    check(DType::U8, &[0, 127, 128, 255], &[-128.0, -1.0, 0.0, 127.0]);
    check(DType::I32, &[0x7f, 0xff, 0xff, 0xff], &[4_294_967_295.0]);
    check(DType::I64, &[0; 8], &[9_223_372_036_854_775_808.0]);
}

#[test]
fn what_is_put_back_between_crossed_limits_is_the_nearest() {
    let rule = Rule::Linear { low_scale: 1.1, upp_scale: 0.9 };
    let mut plan = Plan::new(Statistic::Median);
    plan.steps.push(Step::Clip(Clip {
        nkeep: 1,
        revert: Revert::Closest,
        maxiters: Some(1),
        ..Clip::new(Center::Median, rule, 0.0, 0.0)
    }));
    let pixel = column::combine_column(vec![60.0, 95.0, 100.0, 104.0, 140.0], &[], &plan).unwrap();
    assert_eq!(pixel.used, [false, false, true, false, false]);
    assert_eq!(pixel.image, 100.0);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let shape = Shape::new(&[], 4).unwrap();
    let bytes = vec![0_u8; 16];
    let view = View::contiguous(&bytes, DType::F32, &shape).unwrap();
    let planes = [Plane::new(view)];
    let mut short = vec![0.0_f64; 3];
    let mut outputs = Outputs::new();
    outputs.push(Product::Image, Buffer::F64(&mut short)).unwrap();
    let plan = Plan::new(Statistic::Mean);
    let error = combine(&planes, &shape, &plan, outputs, None).unwrap_err();
    assert_eq!(error.to_string(), "image: found 3 elements, expected 4");
    assert!(combine(&[], &shape, &plan, Outputs::new(), None).is_err());
    assert!(combine(&planes, &shape, &plan, Outputs::new(), Some(0)).is_err());
    let q = Plan::new(Statistic::Percentile(f64::NAN));
    assert!(combine(&planes, &shape, &q, Outputs::new(), None).is_err());
    assert!(View::contiguous(&bytes[..15], DType::F32, &shape).is_err());
    assert!(View::new(&bytes, DType::F32, false, 4, &[-8], &Shape::new(&[2], 2).unwrap()).is_err());
    assert!(Shape::new(&[usize::MAX, 2], 3).is_err());
    let mut counts = vec![0_u16; 4];
    assert!(Outputs::new().push(Product::Image, Buffer::U16(&mut counts)).is_err());
}
