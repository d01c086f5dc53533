//! Medians of columns that lack samples, of which a look tells some.

use super::looks::Random;
use crate::masks::AHEAD;
use crate::plan::*;
use crate::plane::{Plane, Shape, View};
use crate::sample::DType;
use crate::{combine, Buffer, Outputs, Product};

/// Few, but once more than masks are read of at a time.
fn pixels(frames: usize) -> usize {
    if frames == 5 {
        AHEAD + 3 * 4096 + 17
    } else {
        128 * 6 + 17
    }
}

/// What is not finite, of either sign.
const ABSENT: [f32; 4] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN];

/// Every other block lacks none; in the others it is mostly one sample and mostly of the same kind.
fn draw(random: &mut Random, frames: usize) -> Vec<Vec<f32>> {
    let mut planes = vec![vec![0.0; pixels(frames)]; frames];
    for l in 0..pixels(frames) {
        // One column in four has equal samples, and zeros of both signs.
        let few = l % 4 == 3;
        for plane in &mut planes {
            plane[l] = if few {
                [-1.0, -0.0, 0.0, 1.0, 2.0][random.below(5) as usize]
            } else {
                random.below(2000) as f32 - 1000.5
            };
        }
        let lost = if l / 128 % 2 == 0 { [0, 1, 1, 1, 2, 3][random.below(6) as usize] } else { 0 };
        for _ in 0..lost {
            let kind = random.below(6).saturating_sub(2) as usize;
            planes[random.below(frames as u64) as usize][l] = ABSENT[kind];
        }
    }
    planes
}

fn truth(column: impl Iterator<Item = f32>, lower: bool) -> f64 {
    let mut present: Vec<f32> = column.filter(|x| x.is_finite()).collect();
    present.sort_by(f32::total_cmp);
    let Some(last) = present.len().checked_sub(1) else { return f64::NAN };
    let (a, b) = (f64::from(present[last / 2]), f64::from(present[present.len() / 2]));
    if lower {
        a
    } else {
        0.5 * (a + b)
    }
}

#[test]
fn the_median_is_that_of_the_samples_present() {
    let mut random = Random(0x5eed);
    for frames in [1, 2, 3, 4, 5, 16, 31, 32, 33, 36, 65] {
        let shape = Shape::new(&[], pixels(frames)).unwrap();
        for (big, masked, lower) in [
            (false, false, false),
            (false, true, false),
            (true, false, false),
            (false, false, true),
            (false, true, true),
            (true, true, false),
        ] {
            let samples = draw(&mut random, frames);
            let raw = |x: &f32| if big { x.to_be_bytes() } else { x.to_le_bytes() };
            let bytes: Vec<Vec<u8>> =
                samples.iter().map(|plane| plane.iter().flat_map(raw).collect()).collect();
            let hit = |random: &mut Random| u8::from(masked && random.below(60) == 0);
            let masks: Vec<Vec<u8>> =
                samples.iter().map(|s| s.iter().map(|_| hit(&mut random)).collect()).collect();
            let planes: Vec<Plane> = bytes
                .iter()
                .zip(&masks)
                .map(|(bytes, mask)| {
                    let view = View::new(bytes, DType::F32, big, 0, &[], &shape).unwrap();
                    let mask = View::contiguous(mask, DType::U8, &shape).unwrap();
                    Plane { mask: masked.then_some(mask), ..Plane::new(view) }
                })
                .collect();
            let statistic = if lower { Statistic::LowerMedian } else { Statistic::Median };
            let mut plan = Plan::new(statistic);
            plan.single = true;
            let mut image = vec![0.0_f64; pixels(frames)];
            let mut outputs = Outputs::new();
            outputs.push(Product::Image, Buffer::F64(&mut image)).unwrap();
            combine(&planes, &shape, &plan, outputs, Some(1)).unwrap();
            for (l, got) in image.iter().enumerate() {
                let present = |k: usize| if masks[k][l] == 0 { samples[k][l] } else { f32::NAN };
                let want = truth((0..frames).map(present), lower);
                let same = *got == want || got.is_nan() && want.is_nan();
                assert!(same, "{got} is not {want}: {frames} frames, pixel {l}");
            }
        }
    }
}

/// A sum that is not finite does not make samples absent.
#[test]
fn sums_may_overflow() {
    let mut random = Random(0xb19);
    let pixels = 128 * 3 + 5;
    for frames in [3, 9, 17, 31] {
        let shape = Shape::new(&[], pixels).unwrap();
        let samples: Vec<Vec<f64>> = (0..frames)
            .map(|_| (0..pixels).map(|_| f64::MAX / (2.0 + random.below(9) as f64)).collect())
            .collect();
        let bytes: Vec<Vec<u8>> =
            samples.iter().map(|s| s.iter().flat_map(|x| x.to_ne_bytes()).collect()).collect();
        let planes: Vec<Plane> = bytes
            .iter()
            .map(|bytes| Plane::new(View::contiguous(bytes, DType::F64, &shape).unwrap()))
            .collect();
        let mut n = vec![0_u16; pixels];
        let mut image = vec![0.0_f64; pixels];
        let mut outputs = Outputs::new();
        outputs.push(Product::Image, Buffer::F64(&mut image)).unwrap();
        outputs.push(Product::NUsed, Buffer::U16(&mut n)).unwrap();
        combine(&planes, &shape, &Plan::new(Statistic::Median), outputs, Some(1)).unwrap();
        for l in 0..pixels {
            let mut column: Vec<f64> = samples.iter().map(|plane| plane[l]).collect();
            column.sort_by(f64::total_cmp);
            assert_eq!((image[l], n[l]), (column[frames / 2], frames as u16), "{frames}, {l}");
        }
    }
}
