//! Variances and flags.

use proptest::prelude::*;

use super::{assert_same, columns, fitted, kernel, plan, rows, truth};
use crate::dispatch::{Ops, Simd};
use crate::plan::*;
use crate::plane::{Plane, Shape, View};
use crate::sample::{DType, Row, LANES};
use crate::variances::{self, Detector, Transform};
use crate::{combine, Buffer, Outputs, Product};

/// Plans whose uncertainty comes from variances, or whose weights do.
fn propagating() -> impl Strategy<Value = Plan> {
    let statistic = prop_oneof![
        Just(Statistic::Mean),
        Just(Statistic::Median),
        Just(Statistic::LowerMedian),
        Just(Statistic::Sum),
        Just(Statistic::WeightedMean),
        Just(Statistic::WeightedMean),
        Just(Statistic::WeightedSum),
    ];
    let kind = prop_oneof![3 => Just(Uncertainty::Propagate), 2 => Just(Uncertainty::Noise)];
    (plan(), statistic, kind, any::<bool>()).prop_map(|(plan, statistic, kind, ivar)| Plan {
        statistic,
        uncertainty: Some(kind),
        ivar: ivar && statistic == Statistic::WeightedMean,
        ..plan
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn kernel_propagates_column_by_column(columns in columns(), plan in propagating()) {
        let plan = fitted(plan, columns[0].len());
        let got = kernel(&columns, &plan, 1);
        for (got, column) in got.iter().zip(&columns) {
            assert_same(got, &truth(column, &plan), column);
        }
    }
}

#[test]
fn every_level_propagates_the_same_bits() {
    let v = rows(12, 5);
    let noise = Noise { gain: 1.7, rdnoise: 4.0, snoise: 0.01, level: Level::SAME };
    let detector = Detector::new(&noise, Transform::new(3.0, 1.1, 0.7));
    let at = |level| {
        let (ops, wide) = (Ops::<f32>::at(level), Ops::<f64>::at(level));
        let (mut image, mut n) = (Row::filled(0.0), Row::filled(0));
        ops.sum(&v, LANES, true, &mut image);
        ops.count(&v, LANES, &mut n);
        let (mut variance, mut weight) = (Row::filled(0.0), Row::filled(0.0));
        wide.model_variance(&image, &detector, LANES, &mut variance);
        let mut mask = Row::filled(0);
        wide.inverse_variance(&image, 1.3, LANES, &mut weight, &mut mask);
        let (mut total, mut weighted, mut inverse) =
            (Row::filled(0.0), Row::filled(0.0), Row::filled(0.0));
        for row in &v {
            ops.add_variance(row, &variance, 0.7, LANES, &mut total);
            ops.add_weighted_variance(row, &variance, &image, 0.7, LANES, &mut weighted);
            ops.add_inverse_roots(row, &variance, 0.7, LANES, &mut inverse);
        }
        let error = |statistic| {
            let mut error = total;
            wide.standard_errors(statistic, &n, &inverse, &mut error);
            error
        };
        let (mean, median) = (error(Statistic::Mean), error(Statistic::Median));
        let rows = [variance, weight, total, weighted, mean, median];
        (rows.map(|row| row.0.map(f64::to_bits)), mask.0)
    };
    for level in Simd::available() {
        assert_eq!(at(level), at(Simd::Base), "{level:?}");
    }
}

/// A formula of [`Uncertainty::Propagate`] beside numbers worked out by hand.
#[test]
fn formulas_of_propagation() {
    let error = |statistic, n, total, norm| variances::standard_error(statistic, n, total, norm);
    assert_eq!(error(Statistic::Sum, 4, 36.0, 0.0), 6.0);
    assert_eq!(error(Statistic::Mean, 4, 36.0, 0.0), 1.5);
    assert_eq!(error(Statistic::WeightedSum, 4, 36.0, -2.0), 6.0);
    assert_eq!(error(Statistic::WeightedMean, 4, 36.0, -2.0), 3.0);
    assert!(error(Statistic::WeightedMean, 4, 36.0, 0.0).is_nan());
    for statistic in [Statistic::Median, Statistic::LowerMedian] {
        assert_eq!(error(statistic, 1, 9.0, 0.0), 3.0);
        assert!(error(statistic, 0, 0.0, 0.0).is_nan());
    }
    assert_eq!(error(Statistic::Median, 2, 8.0, 0.0), 2.0_f64.sqrt());
    // The true standard deviations of order statistics of normal samples.
    for (statistic, n, true_error) in [
        (Statistic::LowerMedian, 2, 0.825_645),
        (Statistic::Median, 3, 0.669_83),
        (Statistic::LowerMedian, 4, 0.600_4),
        (Statistic::Median, 5, 0.535_57),
        (Statistic::LowerMedian, 30, 0.227_2),
        (Statistic::Median, 31, 0.223_5),
    ] {
        let ratio = error(statistic, n, f64::from(n), f64::from(n)) / true_error;
        assert!((ratio - 1.0).abs() < 0.03, "{statistic:?} {n}: {ratio}");
    }
    // Errors of 1, 1 and 100: a third of their mean square, the rest of their harmonic mean.
    let (mean, harmonic) = (10_002.0 / 3.0, 3.0 / 2.01);
    let typical = harmonic * harmonic * 2.0 / 3.0 + mean / 3.0;
    let ratio = error(Statistic::Median, 3, 10_002.0, 2.01).powi(2) / typical;
    let equal = error(Statistic::Median, 3, 3.0, 3.0).powi(2);
    assert!((ratio / equal - 1.0).abs() < 1e-12);
    // A sample without an error.
    assert_eq!(error(Statistic::Median, 4, 0.0, f64::INFINITY), 0.0);
}

#[test]
fn variances_and_flags_that_are_needed() {
    let shape = Shape::new(&[], 2).unwrap();
    let bytes = [0_u8; 16];
    let floats = View::contiguous(&bytes, DType::F64, &shape).unwrap();
    let attempt = |plan: &Plan, product, plane: &Plane| {
        let (mut reals, mut words) = ([0.0_f64; 2], [0_u32; 2]);
        let mut outputs = Outputs::new();
        match product {
            Product::Dq => outputs.push(product, Buffer::U32(&mut words)).unwrap(),
            _ => outputs.push(product, Buffer::F64(&mut reals)).unwrap(),
        }
        combine(&[plane.clone(), plane.clone()], &shape, plan, outputs, None)
            .map_err(|error| error.to_string())
    };
    let refused = |plan: &Plan, product, plane: &Plane, text: &str| {
        let found = attempt(plan, product, plane).unwrap_err();
        assert!(found.starts_with(text), "{found}");
    };
    let plain = Plane::new(floats.clone());
    let known = Plane { variance: Some(floats.clone()), ..plain.clone() };
    let detector = Noise { gain: 2.0, rdnoise: 1.0, snoise: 0.0, level: Level::SAME };
    let plan = |statistic, uncertainty, ivar| Plan {
        uncertainty: Some(uncertainty),
        noise: vec![detector],
        ivar,
        ..Plan::new(statistic)
    };
    let (mean, wmean) = (Statistic::Mean, Statistic::WeightedMean);
    let propagate = plan(mean, Uncertainty::Propagate, false);
    refused(&propagate, Product::Uncertainty, &plain, "variances[0]: None");
    attempt(&propagate, Product::Image, &plain).unwrap();
    attempt(&propagate, Product::Uncertainty, &known).unwrap();
    let ivar = plan(wmean, Uncertainty::StdError, true);
    refused(&ivar, Product::Image, &plain, "variances[0]: None");
    attempt(&ivar, Product::Image, &known).unwrap();
    refused(&plan(mean, Uncertainty::StdError, true), Product::Image, &known, "ivar: true");
    refused(&propagate, Product::Dq, &plain, "flags: None");
    for statistic in [Statistic::Min, Statistic::Std { ddof: 0 }, Statistic::Quadrature] {
        for kind in [Uncertainty::Propagate, Uncertainty::Noise] {
            refused(&plan(statistic, kind, false), Product::Image, &known, "uncertainty: ");
        }
    }
    let noise = plan(mean, Uncertainty::Noise, false);
    attempt(&noise, Product::Uncertainty, &plain).unwrap();
    let lost = Plane { factor: 0.0, ..plain.clone() };
    refused(&noise, Product::Uncertainty, &lost, "factor[0]: 0");
    attempt(&noise, Product::Image, &lost).unwrap();
    let with = |noise: Vec<Noise>| Plan { noise, ..plan(mean, Uncertainty::Noise, false) };
    refused(&with(vec![]), Product::Image, &plain, "noise gain: found 0 elements");
    refused(&with(vec![detector; 3]), Product::Image, &plain, "noise gain: found 3 elements");
    let deaf = Noise { gain: 0.0, ..detector };
    refused(&with(vec![deaf]), Product::Image, &plain, "noise gain: 0");
    let moved = Noise { level: Level { scale: 2.0, zero: 0.0 }, ..detector };
    refused(&with(vec![moved]), Product::Image, &plain, "noise scales and zeros");
    let integers = View::contiguous(&bytes, DType::I64, &shape).unwrap();
    let wrong = Plane { variance: Some(integers.clone()), ..plain.clone() };
    refused(&propagate, Product::Image, &wrong, "variances[0]: I64");
    let wrong = Plane { flags: Some(integers), ..plain.clone() };
    refused(&propagate, Product::Dq, &wrong, "flags[0]: I64");
    let wrong = Plane { flags: Some(floats), ..plain };
    refused(&propagate, Product::Dq, &wrong, "flags[0]: F64");
}

/// Integers of any width as flags, in either byte order.
#[test]
fn flags_of_every_type() {
    let shape = Shape::new(&[], 3).unwrap();
    let pixels = [0_u8; 3];
    let pixels = View::contiguous(&pixels, DType::U8, &shape).unwrap();
    let check = |dtype: DType, big: bool, bytes: &[u8], want: [u32; 3]| {
        let mut plane = Plane::new(pixels.clone());
        plane.flags = Some(View::new(bytes, dtype, big, 0, &[], &shape).unwrap());
        let mut dq = [7; 3];
        let mut outputs = Outputs::new();
        outputs.push(Product::Dq, Buffer::U32(&mut dq)).unwrap();
        combine(&[plane], &shape, &Plan::new(Statistic::Mean), outputs, None).unwrap();
        assert_eq!(dq, want);
    };
    for (dtype, same) in
        [(DType::U8, DType::I8), (DType::U16, DType::I16), (DType::U32, DType::I32)]
    {
        let want = [1, 2_u32.pow(8 * dtype.size() as u32 - 1), 0];
        for big in [false, true] {
            let bytes: Vec<u8> = want
                .iter()
                .flat_map(|word| {
                    let mut bytes = word.to_le_bytes()[..dtype.size()].to_vec();
                    if big {
                        bytes.reverse();
                    }
                    bytes
                })
                .collect();
            check(dtype, big, &bytes, want);
            check(same, big, &bytes, want);
        }
    }
}
