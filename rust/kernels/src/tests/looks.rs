//! A look at the planes gives the bits of the general way.

use crate::plan::*;
use crate::plane::{Cover, ErrorKind, ErrorScaling, FitsScaling, Plane, Shape, View};
use crate::sample::DType;
use crate::{combine, Buffer, Kind, Outputs, PerFrame, Product};

/// Numbers that look random, the same in every run.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Nearly Gaussian.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// One sample of a family of columns that are hard on rounding.
fn sample(random: &mut Random, family: u64, frame: usize) -> f64 {
    let z = random.normal();
    match family {
        0 => 1000.0 + 30.0 * z + if random.below(300) == 0 { 5000.0 } else { 0.0 },
        1 => (2.0 * z).round(),
        2 => 100.0 + if random.below(40) == 0 { 1.0 } else { 0.0 },
        3 => 60000.0 + 1.3 * z,
        4 => 1e-3 + 1e4 * z * z * z,
        5 => 1e30 * z,
        6 => 1e-25 * z,
        _ => {
            if frame % 5 == 4 {
                3e38_f64.copysign(z)
            } else {
                1e3 * z
            }
        }
    }
}

/// What belongs to the samples of a frame.
struct Beside {
    bytes: Vec<u8>,
    dtype: DType,
    big: bool,
}

impl Beside {
    fn variances(random: &mut Random, pixels: usize, double: bool, big: bool, bad: u64) -> Self {
        let mut bytes = Vec::new();
        for _ in 0..pixels {
            let mut x = 30.0 * random.uniform();
            if bad > 0 && random.below(bad) == 0 {
                x = [f64::NAN, f64::INFINITY, -1.0, 0.0][random.below(4) as usize];
            }
            let mut raw =
                if double { x.to_le_bytes().to_vec() } else { (x as f32).to_le_bytes().to_vec() };
            if big {
                raw.reverse();
            }
            bytes.extend(raw);
        }
        Self { bytes, dtype: if double { DType::F64 } else { DType::F32 }, big }
    }

    fn flags(random: &mut Random, pixels: usize) -> Self {
        let dtypes = [DType::U8, DType::I8, DType::U16, DType::I16, DType::U32, DType::I32];
        let (dtype, big) = (dtypes[random.below(6) as usize], random.below(2) == 0);
        let bytes = (0..pixels * dtype.size())
            .map(|_| if random.below(50) == 0 { random.below(256) as u8 } else { 0 })
            .collect();
        Self { bytes, dtype, big }
    }

    fn view(&self, shape: &Shape) -> View<'_> {
        View::new(&self.bytes, self.dtype, self.big, 0, &[], shape).unwrap()
    }
}

struct Stack {
    bytes: Vec<Vec<u8>>,
    masks: Vec<Option<Vec<u8>>>,
    variances: Vec<Beside>,
    errors: Vec<ErrorScaling>,
    flags: Vec<Option<Beside>>,
    shape: Shape,
    dtype: DType,
    big: bool,
    fits: Option<FitsScaling>,
}

impl Stack {
    fn draw(random: &mut Random, frames: usize, pixels: usize, dtype: DType) -> Self {
        let (family, big) = (random.below(8), random.below(2) == 0);
        let unsigned = dtype == DType::I16 && random.below(2) == 0;
        // Seldom, often, never.
        let [nan, masked] = [0, 0].map(|_| [0, 400, 20][random.below(3) as usize]);
        let hit = |rate: u64, random: &mut Random| rate > 0 && random.below(rate) == 0;
        let lead = random.below(9) as usize;
        let (mut bytes, mut masks) = (Vec::new(), Vec::new());
        let (mut variances, mut flags) = (Vec::new(), Vec::new());
        let scaling = |random: &mut Random| ErrorScaling {
            kind: [ErrorKind::Deviation, ErrorKind::Variance, ErrorKind::Inverse]
                [random.below(3) as usize],
            factor: [1.0, 1.0, 0.7][random.below(3) as usize],
        };
        let mut errors = vec![scaling(random); frames];
        if random.below(4) == 0 {
            errors.fill_with(|| scaling(random));
        }
        let (double, turned, bad) = (random.below(2) == 0, random.below(2) == 0, random.below(3));
        for frame in 0..frames {
            let mut plane = vec![0; lead * dtype.size()];
            for _ in 0..pixels {
                let mut x = sample(random, family, frame);
                if hit(nan, random) {
                    x = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][random.below(3) as usize];
                }
                let mut raw = match dtype {
                    DType::U16 => (x as u16).to_le_bytes().to_vec(),
                    DType::I16 => (x as i16).to_le_bytes().to_vec(),
                    DType::F32 => (x as f32).to_le_bytes().to_vec(),
                    _ => x.to_le_bytes().to_vec(),
                };
                if big {
                    raw.reverse();
                }
                plane.extend(raw);
            }
            bytes.push(plane);
            let odd_one = random.below(50) == 0;
            let (double, turned) = (double != odd_one, turned != (random.below(50) == 0));
            variances.push(Beside::variances(random, pixels, double, turned, 300 * bad));
            flags.push((random.below(4) > 0).then(|| Beside::flags(random, pixels)));
            let some = masked > 0 && random.below(4) > 0;
            masks.push(some.then(|| (0..pixels).map(|_| u8::from(hit(masked, random))).collect()));
        }
        let fits = unsigned.then_some(FitsScaling {
            unsigned: true,
            bscale: 1.0,
            bzero: 0.0,
            blank: None,
        });
        flags[0] = Some(Beside::flags(random, pixels));
        let shape = Shape::new(&[], pixels).unwrap();
        Self { bytes, masks, variances, errors, flags, shape, dtype, big, fits }
    }

    /// All products that `wanted` names, the planes being looked at unless `other_order`: then the
    /// first one has its bytes in the other order.
    fn combine(&self, plan: &Plan, wanted: &[Product], other_order: bool) -> Vec<Vec<u64>> {
        let mut bytes = self.bytes.clone();
        if other_order {
            for sample in bytes[0].chunks_exact_mut(self.dtype.size()) {
                sample.reverse();
            }
        }
        let (pixels, frames, size) = (self.shape.pixels(), bytes.len(), self.dtype.size());
        let planes: Vec<Plane> = (0..frames)
            .map(|k| {
                let big = self.big != (other_order && k == 0);
                let lead = bytes[k].len() - pixels * size;
                let view = View::new(&bytes[k], self.dtype, big, lead, &[], &self.shape).unwrap();
                let mut plane = Plane::new(view);
                plane.fits = self.fits;
                plane.mask = self.masks[k]
                    .as_ref()
                    .map(|mask| View::contiguous(mask, DType::U8, &self.shape).unwrap());
                plane.variance = Some(self.variances[k].view(&self.shape));
                plane.errors = self.errors[k];
                plane.flags = self.flags[k].as_ref().map(|flags| flags.view(&self.shape));
                plane
            })
            .collect();
        let mut reals = vec![vec![7.0; pixels]; wanted.len()];
        let zeroed = !other_order && frames % 2 == 0;
        let before = if zeroed { 0 } else { 7 };
        let mut counts = vec![vec![u16::from(before); pixels]; wanted.len()];
        let mut small = vec![vec![before; pixels]; wanted.len()];
        let mut words = vec![vec![u32::from(before); pixels]; wanted.len()];
        let mut cubes = vec![vec![vec![before; pixels]; frames]; wanted.len()];
        let per_frame: Vec<PerFrame> = wanted.iter().map(|_| PerFrame::new(frames)).collect();
        let mut outputs = Outputs::new();
        outputs.zeroed = zeroed;
        let rooms =
            reals.iter_mut().zip(&mut counts).zip(&mut small).zip(&mut words).zip(&mut cubes);
        let rooms = rooms.zip(&per_frame);
        for (product, (((((real, count), small), word), cube), frames)) in wanted.iter().zip(rooms)
        {
            let buffer = match product.kind() {
                Kind::Real => Buffer::F64(real),
                Kind::Count => Buffer::U16(count),
                Kind::Byte => Buffer::U8(small),
                Kind::Cube => Buffer::Cube(cube.iter_mut().map(Vec::as_mut_slice).collect()),
                Kind::Word => Buffer::U32(word),
                Kind::Frame => Buffer::Frames(frames),
            };
            outputs.push(*product, buffer).unwrap();
        }
        combine(&planes, &self.shape, plan, outputs, Some(1)).unwrap();
        (0..wanted.len())
            .map(|i| {
                // All NaN are the same, and so are the zeros.
                let bits = |x: &f64| if x.is_nan() { 0 } else { (x + 0.0).to_bits() };
                match wanted[i].kind() {
                    Kind::Real => reals[i].iter().map(bits).collect(),
                    Kind::Count => counts[i].iter().map(|n| u64::from(*n)).collect(),
                    Kind::Word => words[i].iter().map(|n| u64::from(*n)).collect(),
                    Kind::Byte => small[i].iter().map(|n| u64::from(*n)).collect(),
                    Kind::Cube => cubes[i].iter().flatten().map(|n| u64::from(*n)).collect(),
                    Kind::Frame => per_frame[i].values(),
                }
            })
            .collect()
    }
}

fn draw_plan(random: &mut Random, single: bool) -> Plan {
    let statistics = [
        Statistic::Mean,
        Statistic::Median,
        Statistic::LowerMedian,
        Statistic::Sum,
        Statistic::Min,
    ];
    let mut plan = Plan::new(statistics[random.below(5) as usize]);
    plan.single = single;
    plan.independent = random.below(2) == 0;
    if random.below(4) == 0 {
        plan.thresholds = Some((-1000.0, 1100.0));
    }
    plan.uncertainty = [
        None,
        Some(Uncertainty::StdError),
        Some(Uncertainty::MadError),
        Some(Uncertainty::StdSum),
        Some(Uncertainty::Scatter),
        Some(Uncertainty::Propagate),
        Some(Uncertainty::Noise),
    ][random.below(7) as usize];
    let center = [Center::Mean, Center::Median, Center::LowerMedian][random.below(3) as usize];
    let about = [None, None, Some(Center::Mean), Some(center)][random.below(4) as usize];
    let noise = Noise { gain: 1.5, rdnoise: 3.0, snoise: 0.01, level: Level::SAME };
    plan.noise = vec![noise; 1];
    let rule = match random.below(6) {
        0 | 1 => {
            let spread = Spread::Std { ddof: random.below(2) as usize };
            Rule::Scatter { about, spread, levels: None }
        }
        2 | 3 => Rule::Scatter { about, spread: Spread::Mad { factor: MAD_TO_STD }, levels: None },
        4 => Rule::Noise { about, frames: vec![noise] },
        _ => Rule::Linear { low_scale: 0.9, upp_scale: 1.1 },
    };
    let limit = |random: &mut Random| [0.0, 0.7, 1.0, 2.0, 3.0, 5.0][random.below(6) as usize];
    let mut clip = Clip::new(center, rule, limit(random), limit(random));
    clip.maxiters = [None, Some(1), Some(2), Some(5)][random.below(4) as usize];
    clip.nkeep = [0, 0, 2, 100][random.below(4) as usize];
    clip.maxrej = [None, None, Some(2)][random.below(3) as usize];
    clip.revert = [Revert::Undo, Revert::Ignore, Revert::Closest][random.below(3) as usize];
    clip.min_samples = [0, 0, 3][random.below(3) as usize];
    clip.skip_zero = random.below(4) == 0;
    clip.nan_rule =
        [NanRule::Ignore, NanRule::RejectNone, NanRule::RejectAll][random.below(3) as usize];
    if random.below(5) > 0 {
        plan.steps.push(Step::Clip(clip));
    }
    plan
}

#[test]
fn a_look_changes_no_bit() {
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    for _ in 0..600 {
        let dtype =
            [DType::F32, DType::U16, DType::I16, DType::F64, DType::F32][random.below(5) as usize];
        let deep = random.below(5) == 0;
        let frames = 2 + random.below(if deep { 68 } else { 33 }) as usize;
        let mut plan = draw_plan(&mut random, dtype != DType::F64);
        if random.below(2) == 0 {
            let noise = |_| Noise { gain: 1.0 + random.uniform(), ..plan.noise[0] };
            plan.noise = (0..frames).map(noise).collect();
        }
        let propagates =
            matches!(plan.uncertainty, Some(Uncertainty::Propagate | Uncertainty::Noise));
        if plan.statistic.center().is_none() && plan.statistic != Statistic::Sum && propagates {
            plan.statistic = Statistic::Mean;
        }
        let wanted: Vec<Product> = Product::ALL
            .iter()
            .filter(|product| **product != Product::Uncertainty || plan.uncertainty.is_some())
            .filter(|_| random.below(2) == 0)
            .copied()
            .collect();
        let many = if random.below(10) == 0 { 6000 } else { 700 };
        let pixels = 1 + random.below(many) as usize;
        let stack = Stack::draw(&mut random, frames, pixels, dtype);
        let looked = stack.combine(&plan, &wanted, false);
        let general = stack.combine(&plan, &wanted, true);
        for ((product, a), b) in wanted.iter().zip(looked).zip(general) {
            let at = a.iter().zip(&b).position(|(a, b)| a != b);
            assert_eq!(at, None, "{product:?} of {frames} x {pixels} {dtype:?} by {plan:?}");
        }
    }
}

/// Columns that lose one sample are settled by a look, too.
#[test]
fn a_second_look_changes_no_bit() {
    let mut random = Random(0xD134_2543_DE82_EF95);
    let statistics = [Statistic::Mean, Statistic::Median, Statistic::LowerMedian, Statistic::Sum];
    for _ in 0..400 {
        let dtype = [DType::F32, DType::U16, DType::I16, DType::F64, DType::F32, DType::F32]
            [random.below(6) as usize];
        let frames = 3 + random.below(30) as usize;
        let mut plan = draw_plan(&mut random, dtype != DType::F64);
        plan.statistic = statistics[random.below(4) as usize];
        plan.uncertainty = None;
        let center = [Center::Mean, Center::Median, Center::LowerMedian][random.below(3) as usize];
        let spread = Spread::Std { ddof: random.below(3) as usize };
        let rule = Rule::Scatter { about: None, spread, levels: None };
        let limit =
            |random: &mut Random| [1.0, 1.5, 2.0, 3.0, f64::INFINITY][random.below(5) as usize];
        let mut clip = Clip::new(center, rule, limit(&mut random), limit(&mut random));
        clip.maxiters = [None, Some(1), Some(2), Some(5)][random.below(4) as usize];
        clip.nkeep = [0, 2, frames - 1, frames][random.below(4) as usize];
        clip.min_samples = [0, 3, frames - 1, frames][random.below(4) as usize];
        clip.maxrej = [None, None, Some(0), Some(1)][random.below(4) as usize];
        plan.steps = vec![Step::Clip(clip)];
        let pixels = 128 + random.below(1500) as usize;
        let stack = Stack::draw(&mut random, frames, pixels, dtype);
        let others = [Product::Uncertainty, Product::Dq];
        let share = random.below(4);
        let mut wanted = vec![Product::Image];
        wanted.extend(Product::ALL.iter().filter(|product| {
            **product != Product::Image && !others.contains(product) && random.below(3) < share
        }));
        let looked = stack.combine(&plan, &wanted, false);
        let general = stack.combine(&plan, &wanted, true);
        for ((product, a), b) in wanted.iter().zip(looked).zip(general) {
            let at = a.iter().zip(&b).position(|(a, b)| a != b);
            assert_eq!(at, None, "{product:?} of {frames} x {pixels} {dtype:?} by {plan:?}");
        }
    }
}

/// The places of a plane that covers some rows and columns of a stack.
fn draw_cover(random: &mut Random, height: usize, width: usize) -> (Vec<usize>, usize, usize) {
    let rate = [1, 1, 3][random.below(3) as usize];
    let rows = (0..height).filter(|_| rate == 1 || random.below(rate) > 0).collect();
    let columns = width - [0, 0, random.below(width as u64 + 1)][random.below(3) as usize] as usize;
    (rows, random.below((width - columns) as u64 + 1) as usize, columns)
}

/// What there is of every sample: pixels, mask, variance and flags.
const CHANNELS: [DType; 4] = [DType::F32, DType::U8, DType::F64, DType::U8];

/// A plane of samples, which are made of what it has of each channel.
fn plane_of<'a>(view: impl Fn(usize) -> View<'a>) -> Plane<'a> {
    let mut plane = Plane::new(view(0));
    plane.mask = Some(view(1));
    plane.variance = Some(view(2));
    plane.flags = Some(view(3));
    plane
}

/// All products of planes.
fn products(
    planes: &[Plane],
    shape: &Shape,
    plan: &Plan,
    threads: usize,
) -> (Vec<u64>, Vec<Vec<u8>>, Vec<u32>) {
    let pixels = shape.pixels();
    let mut reals = vec![vec![7.0_f64; pixels]; 5];
    let mut bytes = vec![vec![7_u8; pixels]; 2 + planes.len()];
    let mut dq = vec![7_u32; pixels];
    let mut outputs = Outputs::new();
    let names = [Product::Image, Product::Std, Product::Low, Product::Upp, Product::Uncertainty];
    for (product, real) in names.into_iter().zip(&mut reals) {
        if product != Product::Uncertainty || plan.uncertainty.is_some() {
            outputs.push(product, Buffer::F64(real)).unwrap();
        }
    }
    let (maps, cube) = bytes.split_at_mut(2);
    for (product, map) in [Product::OutputFlags, Product::Nit].into_iter().zip(maps) {
        outputs.push(product, Buffer::U8(map)).unwrap();
    }
    let cube = cube.iter_mut().map(Vec::as_mut_slice).collect();
    outputs.push(Product::SampleFlags, Buffer::Cube(cube)).unwrap();
    outputs.push(Product::Dq, Buffer::U32(&mut dq)).unwrap();
    combine(planes, shape, plan, outputs, Some(threads)).unwrap();
    let bits = |x: &f64| if x.is_nan() { 0 } else { x.to_bits() };
    (reals.iter().flatten().map(bits).collect(), bytes, dq)
}

/// Planes in their places give the bits of planes that are filled up with NaN, but that what is
/// not covered spoils no statistics.
#[test]
fn a_placed_plane_is_a_plane_filled_up() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for _ in 0..200 {
        let (height, width) = (1 + random.below(6) as usize, 1 + random.below(500) as usize);
        let frames = 2 + random.below(20) as usize;
        let shape = Shape::new(&[height], width).unwrap();
        let (mut own, mut filled, mut covers) = (Vec::new(), Vec::new(), Vec::new());
        for frame in 0..frames {
            let (rows, column, columns) = draw_cover(&mut random, height, width);
            let mut here = CHANNELS.map(|_| Vec::new());
            let fills = [f32::NAN.to_le_bytes().to_vec(), vec![0], 1_f64.to_le_bytes().to_vec()];
            let mut all = [0, 1, 2, 1].map(|i: usize| fills[i].repeat(height * width));
            for pixel in rows
                .iter()
                .flat_map(|row| (column..column + columns).map(move |at| row * width + at))
            {
                let sample = [
                    (sample(&mut random, 0, frame) as f32).to_le_bytes().to_vec(),
                    vec![u8::from(random.below(30) == 0)],
                    (1.0 + random.uniform()).to_le_bytes().to_vec(),
                    vec![random.below(8) as u8],
                ];
                for (i, bytes) in sample.iter().enumerate() {
                    here[i].extend(bytes);
                    all[i][pixel * bytes.len()..][..bytes.len()].copy_from_slice(bytes);
                }
            }
            covers.push(Cover::new(rows, column, columns, &shape).unwrap());
            own.push((here, columns));
            filled.push(all);
        }
        let mut plan = draw_plan(&mut random, true);
        if plan.statistic.center().is_none() {
            plan.statistic = Statistic::Mean;
        }
        for step in &mut plan.steps {
            if let Step::Clip(clip) = step {
                clip.nan_rule = NanRule::Ignore;
            }
        }
        let placed: Vec<Plane> = own
            .iter()
            .zip(&covers)
            .map(|((bytes, columns), cover)| {
                plane_of(|i| {
                    let stride = (columns * CHANNELS[i].size()) as isize;
                    View::placed(&bytes[i], CHANNELS[i], false, 0, stride, cover).unwrap()
                })
            })
            .collect();
        let whole: Vec<Plane> = filled
            .iter()
            .map(|bytes| {
                plane_of(|i| {
                    let stride = (width * CHANNELS[i].size()) as isize;
                    View::new(&bytes[i], CHANNELS[i], false, 0, &[stride], &shape).unwrap()
                })
            })
            .collect();
        let want = products(&whole, &shape, &plan, 1);
        assert_eq!(products(&placed, &shape, &plan, 1), want, "{frames} frames by {plan:?}");
        assert_eq!(products(&placed, &shape, &plan, 3), want, "{frames} frames by {plan:?}");
    }
}

#[test]
fn a_place_outside_is_refused() {
    let shape = Shape::new(&[3], 4).unwrap();
    assert!(Cover::new([0, 2], 1, 3, &shape).is_ok());
    assert!(Cover::new([], 0, 0, &shape).is_ok());
    assert!(Cover::new([2, 3], 0, 4, &shape).is_err());
    assert!(Cover::new([1, 1], 0, 4, &shape).is_err());
    assert!(Cover::new([0], 1, 4, &shape).is_err());
    assert!(Cover::new([0], usize::MAX, 4, &shape).is_err());
    assert!(Cover::new([0], 0, 4, &Shape::new(&[], 4).unwrap()).is_err());
    let cover = Cover::new([0, 2], 1, 3, &shape).unwrap();
    assert!(View::placed(&[0; 6], DType::U8, false, 0, 3, &cover).is_ok());
    assert!(View::placed(&[0; 5], DType::U8, false, 0, 3, &cover).is_err());
}

#[test]
fn median_distances_of_huge_and_tiny_numbers() {
    const PIXELS: usize = 256;
    let least = f32::from_bits(1);
    let tiny = [97.0, 98.0, 102.0, 104.0].map(|x: f32| x * least);
    let mut plan = Plan::new(Statistic::Median);
    plan.single = true;
    plan.uncertainty = Some(Uncertainty::MadError);
    for samples in [&[3e38; 2][..], &[2_f32.powi(127), 1.5 * 2_f32.powi(127)], &[-3e38; 6], &tiny] {
        let bytes: Vec<Vec<u8>> = samples.iter().map(|x| x.to_ne_bytes().repeat(PIXELS)).collect();
        let shape = Shape::new(&[], PIXELS).unwrap();
        let plane = |bytes| Plane::new(View::contiguous(bytes, DType::F32, &shape).unwrap());
        let planes: Vec<Plane> = bytes.iter().map(|bytes| plane(bytes)).collect();
        let (mut image, mut error) = (vec![0.0; PIXELS], vec![0.0; PIXELS]);
        let mut outputs = Outputs::new();
        outputs.push(Product::Image, Buffer::F64(&mut image)).unwrap();
        outputs.push(Product::Uncertainty, Buffer::F64(&mut error)).unwrap();
        combine(&planes, &shape, &plan, outputs, Some(1)).unwrap();
        let values = samples.iter().map(|x| f64::from(*x)).collect();
        let pixel = crate::combine_column(values, &[], &plan).unwrap();
        assert_eq!(image, [pixel.image; PIXELS], "{samples:?}");
        assert_eq!(error, [pixel.uncertainty; PIXELS], "{samples:?}");
    }
}

#[test]
fn sums_of_long_runs_are_those_of_the_general_way() {
    let mut random = Random(20260607);
    for dtype in [DType::U16, DType::I16, DType::F32, DType::F64] {
        for frames in [12, 13, 17, 31, 33, 65] {
            let stack = Stack::draw(&mut random, frames, 4500, dtype);
            for statistic in [Statistic::Mean, Statistic::Sum] {
                let mut plan = Plan::new(statistic);
                plan.single = dtype != DType::F64;
                let images = [false, true].map(|other_order| {
                    stack.combine(&plan, &[Product::Image, Product::NUsed], other_order)
                });
                assert_eq!(images[0], images[1], "{dtype:?}, {frames} frames, {statistic:?}");
            }
        }
    }
}
