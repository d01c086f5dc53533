//! The masks of a run are those of the planes.

use super::looks::Random;
use crate::dispatch::Simd;
use crate::job::Job;
use crate::masks::Masks;
use crate::plan::{Plan, Statistic};
use crate::plane::{Cover, Plane, Shape, View};
use crate::sample::{DType, Row, LANES};

#[test]
fn masks_of_a_run_are_those_of_the_planes() {
    let mut random = Random(0x0DDB_1A5E_5BAD_5EED);
    for level in Simd::available() {
        for _ in 0..40 {
            let (height, width) = (1 + random.below(4) as usize, 1 + random.below(700) as usize);
            let frames = 1 + random.below(150) as usize;
            let shape = Shape::new(&[height], width).unwrap();
            let pixels = vec![0_u8; height * width];
            let rate = 1 + random.below(100);
            let byte = |random: &mut Random| {
                if random.below(rate) == 0 {
                    1 + random.below(255) as u8
                } else {
                    0
                }
            };
            // None, a part of the stack, rows with gaps, or one row after the other.
            let kinds: Vec<u64> = (0..frames).map(|_| random.below(4)).collect();
            let gap = random.below(5) as usize;
            let bytes: Vec<Vec<u8>> = (0..frames)
                .map(|_| (0..height * (width + gap)).map(|_| byte(&mut random)).collect())
                .collect();
            let (first, columns) = (random.below(height as u64) as usize, 1 + width / 2);
            let column = random.below((width - columns + 1) as u64) as usize;
            let cover = Cover::new(first..height, column, columns, &shape).unwrap();
            let planes: Vec<Plane> = (0..frames)
                .map(|k| {
                    let (dtype, big) = (DType::U8, false);
                    let stride = |n: usize| n as isize;
                    let mut plane = Plane::new(
                        View::new(&pixels, dtype, big, 0, &[stride(width)], &shape).unwrap(),
                    );
                    plane.mask = match kinds[k] {
                        0 => None,
                        1 => Some(
                            View::placed(&bytes[k], dtype, big, 0, stride(columns), &cover)
                                .unwrap(),
                        ),
                        kind => {
                            let stride = stride(if kind == 2 { width + gap } else { width });
                            Some(View::new(&bytes[k], dtype, big, 0, &[stride], &shape).unwrap())
                        }
                    };
                    plane
                })
                .collect();
            let masked = |k: usize, pixel: usize| {
                let (row, at) = (pixel / width, pixel % width);
                let place = match kinds[k] {
                    0 => return false,
                    1 if row < first || !(column..column + columns).contains(&at) => return false,
                    1 => (row - first) * columns + at - column,
                    2 => row * (width + gap) + at,
                    _ => pixel,
                };
                bytes[k][place] != 0
            };
            let plan = Plan::new(Statistic::Mean);
            let job = Job::<f32>::new(&planes, &shape, &plan, level, None);
            let mut masks = Masks::new(&job);
            for _ in 0..2 {
                let start = random.below(shape.pixels() as u64) as usize;
                let len = 1 + random.below((shape.pixels() - start) as u64) as usize;
                masks.read(&job, start, len);
                let pixel = random.below(len as u64) as usize;
                let mut found = Vec::new();
                masks.each(pixel, |k| found.push(k));
                let want: Vec<usize> = (0..frames).filter(|k| masked(*k, start + pixel)).collect();
                assert_eq!(found, want);
                let here = LANES.min(len - pixel);
                let mut v = vec![Row::filled(1_f32); frames];
                let mut rows = vec![Row::filled(7); frames];
                let mut marks = Row::filled(0);
                masks.drop(job.ops, pixel, here, &mut v);
                masks.copy(job.ops, pixel, here, &mut rows);
                masks.mark(job.ops, pixel, here, &mut marks);
                for l in 0..LANES {
                    let masked = |k: usize| l < here && masked(k, start + pixel + l);
                    for k in 0..frames {
                        assert_eq!(v[k].0[l].is_nan(), masked(k));
                        assert_eq!(rows[k].0[l], u8::from(masked(k)));
                    }
                    assert_eq!(marks.0[l], u8::from((0..frames).any(masked)));
                }
            }
        }
    }
}
