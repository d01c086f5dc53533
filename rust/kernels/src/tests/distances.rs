//! Distances of 16-bit integers against double precision.

use crate::distances::Distances;
use crate::order::{Depth, Network};
use crate::tests::looks::Random;

/// A column of one of several widths, in order.
fn column<const N: usize>(random: &mut Random, width: u64) -> [i16; N] {
    let level = random.below(65_536 - 2 * width) as i64 - 32_768 + width as i64;
    let mut v = [0; N].map(|_| {
        let three: u64 = (0..3).map(|_| random.below(2 * width + 1)).sum();
        (level + three as i64 / 3 - width as i64) as i16
    });
    if random.below(3) == 0 {
        v[0] = random.below(65_536) as u16 as i16;
    }
    v.sort_unstable();
    v
}

fn check<const N: usize>(random: &mut Random, width: u64, lower: bool)
where
    Depth<N>: Network<N>,
{
    let v = column::<N>(random, width);
    let (a, b) = (f64::from(v[(N - 1) / 2]), f64::from(v[N / 2]));
    let center = if lower { a } else { (a + b) / 2.0 };
    let mut far = v.map(|x| (f64::from(x) - center).abs());
    far.sort_unstable_by(f64::total_cmp);
    let mad = f64::from(i16::median_of(i16::median::<N>(v, lower)));
    assert_eq!(mad, (far[(N - 1) / 2] + far[N / 2]) / 2.0, "{v:?}");
    let exact: f64 = far.iter().map(|d| d * d).sum();
    let sum = f64::from(i16::sum_of(i16::squares::<N>(v, lower)));
    assert!(sum <= exact * (1.0 + 3.0 * f64::from(f32::EPSILON)), "{v:?}: {sum}, {exact}");
    // Below that sums have their full number of digits.
    let most = far[N - 1] * far[N - 1];
    if far[N - 1] < 11_585.0 && exact < 12.0 * most {
        assert!(sum >= exact - most * N as f64 / 440.0, "{v:?}: {sum}, {exact}");
    }
}

#[test]
fn integers_are_as_far_as_doubles() {
    let mut random = Random(2_026);
    for width in [0, 1, 2, 5, 30, 1_000, 8_000, 32_767] {
        for lower in [false, true] {
            for _ in 0..300 {
                check::<1>(&mut random, width, lower);
                check::<2>(&mut random, width, lower);
                check::<3>(&mut random, width, lower);
                check::<5>(&mut random, width, lower);
                check::<8>(&mut random, width, lower);
                check::<24>(&mut random, width, lower);
                check::<32>(&mut random, width, lower);
            }
        }
    }
}
