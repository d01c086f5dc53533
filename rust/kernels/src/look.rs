//! A first look at a block, straight from the planes: center, spread and extremes of every lane,
//! without a copy of the samples. Most lanes need no more than that: of 31 Gaussian samples none is
//! beyond 3 sigma in 92 lanes of 100.
//!
//! Every plane is read by an instruction of its own (the networks' code is straight-line), which is
//! what lets the processor follow as many streams as there are frames. Loops run over lanes; all
//! that is between a load and a store stays in registers.

use crate::distances::{squares, Distances};
use crate::order::{middle, Depth, Network, DEEPEST};
use crate::prefetch::{prefetch_line, LINE};
use crate::sample::{Convert, Key, Ordered, Rooms, Row, Work, LANES};
use crate::second_pass::Loss;

/// How raw samples become keys.
pub(crate) trait Source {
    /// As they are stored.
    type Raw: Copy + Default;
    /// As they are compared.
    type Key: Distances;
    /// The same samples as keys that are quicker to sort, where integers have a minimum.
    type Quick: Source<Key: Distances<Work = <Self::Key as Key>::Work>>;
    /// The samples of a plane.
    fn samples(bytes: &[u8]) -> &[Self::Raw];
    /// Those of a block, if there are as many as that.
    #[inline(always)]
    fn lanes(bytes: &[u8]) -> Option<&[Self::Raw; LANES]> {
        Self::samples(bytes).first_chunk()
    }
    /// A sample; `flip` is XORed into integers.
    fn key(raw: Self::Raw, flip: u16) -> Self::Key;
}

macro_rules! sources {
    ($( $(#[$doc:meta])* $name:ident ($quick:ident): $size:literal, $key:ty, |$raw:ident, $flip:ident| $value:expr; )*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl Source for $name {
            type Raw = [u8; $size];
            type Key = $key;
            type Quick = $quick;
            #[inline(always)]
            fn samples(bytes: &[u8]) -> &[[u8; $size]] {
                bytes.as_chunks::<$size>().0
            }
            #[inline(always)]
            fn key($raw: [u8; $size], $flip: u16) -> $key {
                $value
            }
        }
    )*};
}
sources! {
    /// 16-bit integers, the least significant byte first.
    Little16 (Little16): 2, i16, |raw, flip| (u16::from_le_bytes(raw) ^ flip) as i16;
    /// 16-bit integers, the most significant byte first.
    Big16 (Big16): 2, i16, |raw, flip| (u16::from_be_bytes(raw) ^ flip) as i16;
    /// Single precision, the least significant byte first.
    LittleF32 (LittleOrdered): 4, f32, |raw, _flip| f32::from_le_bytes(raw);
    /// The same as integers.
    LittleOrdered (LittleOrdered): 4, Ordered, |raw, _flip| {
        Ordered::new(i32::from_le_bytes(raw))
    };
    /// Single precision, the most significant byte first.
    BigF32 (BigF32): 4, Ordered, |raw, _flip| Ordered::new(i32::from_be_bytes(raw));
    /// Double precision of the processor's own byte order.
    NativeF64 (NativeF64): 8, f64, |raw, _flip| f64::from_ne_bytes(raw);
}

/// What a look finds, lane by lane. Only what was asked for is written.
pub(crate) struct Look<T> {
    /// The two middle ranks; where they are one, only the second is written.
    pub low: Row<T>,
    /// See `low`.
    pub high: Row<T>,
    /// Smallest and largest sample.
    pub extremes: [Row<T>; 2],
    /// The second smallest and the second largest one, if a second pass is asked for.
    pub next: [Row<T>; 2],
    /// The rank above the two middle ones, of an odd number of frames, if that is asked for.
    pub beside: Row<T>,
    /// The sample that the first pass of a clip rejects, where a second pass has settled what is
    /// left; else NaN.
    pub lost: Row<T>,
    /// The same as a list of the lanes that are settled, if products tell which frames these are of.
    pub losses: Vec<Loss>,
    /// Sum in frame order.
    pub total: Row<f64>,
    /// Those of the blocks of a run, where they are found before the blocks are looked at.
    pub totals: Vec<Row<f64>>,
    /// The sum of (x - c)^2, of integers perhaps less, or the median of |x - c|, in the precision of
    /// the workspace, where c is as near to the center.
    pub spread: Row<T>,
    /// What a sum of squares is less than, where that is not `spread`.
    pub over: Row<T>,
    /// 1 for the lanes that have a NaN or infinite sample: nothing else is known of these. Looks add
    /// to it.
    pub odd: Row<u8>,
    /// 1 for those of which the middle ranks are known nevertheless: all other samples are finite
    /// and below the only one that is not.
    pub lone: Row<u8>,
    /// The samples, if the stack is deep.
    pub rooms: Rooms,
    /// Those of other stacks, where they are gone through more than once.
    pub samples: Vec<Row<T>>,
}

impl<T: Work> Look<T> {
    pub fn new() -> Self {
        Self {
            low: Row::filled(T::NAN),
            high: Row::filled(T::NAN),
            extremes: [Row::filled(T::NAN); 2],
            next: [Row::filled(T::NAN); 2],
            beside: Row::filled(T::NAN),
            lost: Row::filled(T::NAN),
            losses: Vec::new(),
            total: Row::filled(f64::NAN),
            totals: Vec::new(),
            spread: Row::filled(T::NAN),
            over: Row::filled(T::ZERO),
            odd: Row::filled(0),
            lone: Row::filled(0),
            rooms: Rooms::default(),
            samples: Vec::new(),
        }
    }
}

/// How a look is to be taken.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    /// See [`Source::key`].
    pub flip: u16,
    /// What is to be added to a key.
    pub offset: f64,
    /// Whether the lower of two middle samples is the center.
    pub lower: bool,
    /// Whether a second pass may be asked for.
    pub again: bool,
}

/// Samples of `N` frames by reference: a lane is a pixel.
pub(crate) type Samples<'a, R, const N: usize> = [&'a [R; LANES]; N];

/// The samples of `N` planes, if there are as many, of a whole block each.
#[inline(always)]
pub(crate) fn planes<'a, S: Source, const N: usize>(
    planes: &[&'a [u8]],
) -> Option<Samples<'a, S::Raw, N>> {
    lanes::<S, N>(planes.try_into().ok()?)
}

#[inline(always)]
pub(crate) fn lanes<'a, S: Source, const N: usize>(
    planes: &[&'a [u8]; N],
) -> Option<Samples<'a, S::Raw, N>> {
    let mut out = [S::lanes(planes[0])?; N];
    for (to, from) in out.iter_mut().zip(planes) {
        *to = S::lanes(from)?;
    }
    Some(out)
}

/// How far ahead of the samples in work the next ones are fetched, in bytes: left to themselves
/// they arrive too late. The less is done with a line, the nearer the best distance (measured).
const NEAR: usize = 64;
/// See `NEAR`.
pub(crate) const FAR: usize = 256;

/// Calls `work` for the keys of every lane, line by line of the planes, which are fetched `ahead`.
#[inline(always)]
pub(crate) fn each_lane<S: Source, const N: usize>(
    planes: &Samples<S::Raw, N>,
    flip: u16,
    ahead: usize,
    mut work: impl FnMut(usize, [S::Key; N]),
) where
    Depth<N>: Network<N>,
{
    let line = LINE / size_of::<S::Raw>();
    for first in (0..LANES).step_by(line) {
        for plane in planes {
            prefetch_line(&plane[first], ahead);
        }
        for l in first..first + line {
            work(l, Depth::<N>::gather(planes, l, |raw| S::key(raw, flip)));
        }
    }
}

/// Keys as numbers.
#[inline(always)]
pub(crate) fn values<K: Key>(keys: &[K; LANES], offset: f64, out: &mut Row<K::Work>) {
    for l in 0..LANES {
        out.0[l] = keys[l].value(offset);
    }
}

/// Notes the lanes with samples that are not finite; returns whether there are any.
#[inline(always)]
pub(crate) fn odd<K: Key>(largest: &[K::Magnitude; LANES], odd: &mut Row<u8>) -> bool {
    let worst = largest.iter().fold(Default::default(), |worst: K::Magnitude, m| worst.max(*m));
    if K::is_real(worst) {
        return false;
    }
    for l in 0..LANES {
        odd.0[l] |= u8::from(!K::is_real(largest[l]));
    }
    true
}

/// The keys in ascending order, and a magnitude that is none of a sample if some key is none: that
/// of the sum, if NaN may be anywhere. (Sums that overflow are taken for such, too.)
#[inline(always)]
pub(crate) fn sort<K: Key, const N: usize, const WIDTH: usize>(v: [K; N]) -> ([K; N], K::Magnitude)
where
    Depth<N>: Network<N>,
{
    let sorted = Depth::<N>::sort::<K, WIDTH>(v);
    if K::TOTAL {
        (sorted, sorted[0].magnitude().max(sorted[N - 1].magnitude()))
    } else {
        let sum = Depth::<N>::fold(v, K::Work::ZERO, |sum, x| sum + x.work());
        (sorted, K::of(sum).magnitude())
    }
}

/// The two middle ranks. Like all looks, tells whether some sample is not finite.
#[inline(always)]
pub(crate) fn ranks<S: Source, const N: usize, const WIDTH: usize>(
    planes: &Samples<S::Raw, N>,
    manner: Manner,
    look: &mut Look<<S::Key as Key>::Work>,
) -> bool
where
    Depth<N>: Network<N>,
{
    let (mut low, mut high) = (Row::filled(S::Key::LOWEST), Row::filled(S::Key::LOWEST));
    let mut largest = [Default::default(); LANES];
    // The same without the last sample, where that may be asked for.
    let spares = S::Key::TOTAL && 1 < N && N <= DEEPEST;
    let mut inner = [Default::default(); LANES];
    let (i, j) = middle(N);
    each_lane::<S, N>(planes, manner.flip, FAR, |l, v| {
        let (v, most) = sort::<S::Key, N, WIDTH>(v);
        largest[l] = most;
        if spares {
            inner[l] = v[0].magnitude().max(v[N - 2].magnitude());
        }
        (low.0[l], high.0[l]) = (v[i], v[j]);
    });
    values(&high.0, manner.offset, &mut look.high);
    let any = odd::<S::Key>(&largest, &mut look.odd);
    if N.is_multiple_of(2) || any {
        values(&low.0, manner.offset, &mut look.low);
    }
    if any {
        for l in 0..LANES {
            look.lone.0[l] = look.odd.0[l] & u8::from(spares && S::Key::is_real(inner[l]));
        }
    }
    any
}

/// The sum.
#[inline(always)]
pub(crate) fn total<S: Source, const N: usize>(
    planes: &Samples<S::Raw, N>,
    manner: Manner,
    look: &mut Look<<S::Key as Key>::Work>,
) -> bool
where
    Depth<N>: Network<N>,
{
    each_lane::<S, N>(planes, manner.flip, NEAR, |l, v| {
        let sum = Depth::<N>::fold(v, Default::default(), |sum, x| x.add(sum));
        look.total.0[l] = S::Key::total(sum) + N as f64 * manner.offset;
    });
    unsound(&look.total, &mut look.odd)
}

/// Notes the lanes of which the sum is not finite: those with samples that are not, and of those
/// where it overflows nothing is known either. Returns whether there are any.
#[inline(always)]
pub(crate) fn unsound(total: &Row<f64>, odd: &mut Row<u8>) -> bool {
    let largest = total.0.iter().fold(0, |most: u64, x| most.max(Key::magnitude(*x)));
    if <f64 as Key>::is_real(largest) {
        return false;
    }
    for l in 0..LANES {
        odd.0[l] |= u8::from(!total.0[l].is_finite());
    }
    true
}

/// The two smallest and the two largest numbers, and one more.
#[inline(always)]
fn ends<K: Copy + PartialOrd>([a, b, c, d]: [K; 4], x: K) -> [K; 4] {
    let (inner, outer) = (if x > a { x } else { a }, if x < d { x } else { d });
    [
        if x < a { x } else { a },
        if inner < b { inner } else { b },
        if outer > c { outer } else { c },
        if x > d { x } else { d },
    ]
}

/// Sum, extremes with their neighbours, and the sum of squares about the mean.
#[inline(always)]
pub(crate) fn moments<S: Source, const N: usize>(
    planes: &Samples<S::Raw, N>,
    manner: Manner,
    look: &mut Look<<S::Key as Key>::Work>,
) -> bool
where
    Depth<N>: Network<N>,
{
    let (mut min, mut max) = ([S::Key::LOWEST; LANES], [S::Key::LOWEST; LANES]);
    let mut next = ([S::Key::LOWEST; LANES], [S::Key::LOWEST; LANES]);
    // Vectors of a loop are as short as its largest numbers make them: where these are the sums,
    // they are in a loop of their own. Few samples are not worth a copy.
    let many = N > 8;
    let apart = many && size_of::<<S::Key as Key>::Sum>() > size_of::<<S::Key as Key>::Work>();
    let mut samples = std::mem::take(&mut look.samples);
    samples.resize(N, Row::filled(Work::ZERO));
    let Ok(rows) = <&mut [Row<_>; N]>::try_from(&mut samples[..]) else { return true };
    // With the sums in these loops, or the choice, the compiler makes scalar code for some types.
    if manner.again {
        each_lane::<S, N>(planes, manner.flip, FAR, |l, v| {
            let none = [S::Key::HIGHEST, S::Key::HIGHEST, S::Key::LOWEST, S::Key::LOWEST];
            [min[l], next.0[l], next.1[l], max[l]] = Depth::<N>::fold(v, none, ends);
            if apart {
                let v = Depth::<N>::gather(planes, l, |raw| S::key(raw, manner.flip).work());
                Depth::<N>::scatter(v, rows, l);
            }
        });
    } else {
        each_lane::<S, N>(planes, manner.flip, FAR, |l, v| {
            min[l] = Depth::<N>::fold(v, v[0], |m, x| if x < m { x } else { m });
            max[l] = Depth::<N>::fold(v, v[0], |m, x| if x > m { x } else { m });
            if apart {
                let v = Depth::<N>::gather(planes, l, |raw| S::key(raw, manner.flip).work());
                Depth::<N>::scatter(v, rows, l);
            }
        });
    }
    if !apart && many {
        let mut sums = [Default::default(); LANES];
        each_lane::<S, N>(planes, manner.flip, NEAR, |l, v| {
            sums[l] = Depth::<N>::fold(v, Default::default(), |sum, x| x.add(sum));
        });
        for l in 0..LANES {
            let sum = S::Key::total(sums[l]);
            look.spread.0[l] = Convert::convert(sum / N as f64);
            look.total.0[l] = sum + N as f64 * manner.offset;
        }
        each_lane::<S, N>(planes, manner.flip, NEAR, |l, v| {
            look.spread.0[l] = squares::<S::Key, N>(v, look.spread.0[l]);
        });
    } else if !apart {
        each_lane::<S, N>(planes, manner.flip, NEAR, |l, v| {
            let sum = S::Key::total(Depth::<N>::fold(v, Default::default(), |sum, x| x.add(sum)));
            let mean = <S::Key as Key>::Work::convert(sum / N as f64);
            look.spread.0[l] = squares::<S::Key, N>(v, mean);
            look.total.0[l] = sum + N as f64 * manner.offset;
        });
    }
    if apart {
        let rows = rows.each_ref().map(|row| &row.0);
        for l in 0..LANES {
            let v = Depth::<N>::gather(&rows, l, |x| x);
            look.total.0[l] = Depth::<N>::fold(v, 0.0, |sum, x| sum + x.f64());
        }
        for l in 0..LANES {
            look.spread.0[l] = Convert::convert(look.total.0[l] / N as f64);
        }
        for l in 0..LANES {
            let v = Depth::<N>::gather(&rows, l, |x| x);
            look.spread.0[l] = squares::<<S::Key as Key>::Work, N>(v, look.spread.0[l]);
        }
    }
    look.samples = samples;
    values(&min, manner.offset, &mut look.extremes[0]);
    values(&max, manner.offset, &mut look.extremes[1]);
    if manner.again {
        values(&next.0, manner.offset, &mut look.next[0]);
        values(&next.1, manner.offset, &mut look.next[1]);
    }
    unsound(&look.total, &mut look.odd)
}

/// Middle ranks, extremes, and the spread about the median: the sum of squares, or with `MAD` the
/// median distance.
#[inline(always)]
pub(crate) fn sorted<S: Source, const N: usize, const WIDTH: usize, const MAD: bool>(
    planes: &Samples<S::Raw, N>,
    manner: Manner,
    look: &mut Look<<S::Key as Key>::Work>,
) -> bool
where
    Depth<N>: Network<N>,
{
    let (mut low, mut high) = (Row::filled(S::Key::LOWEST), Row::filled(S::Key::LOWEST));
    let (mut min, mut max) = ([S::Key::LOWEST; LANES], [S::Key::LOWEST; LANES]);
    let mut next = ([S::Key::LOWEST; LANES], [S::Key::LOWEST; LANES]);
    let mut beside = [S::Key::LOWEST; LANES];
    let mut spread = ([S::Key::LOWEST; LANES], [S::Key::LOWEST; LANES]);
    let mut largest = [Default::default(); LANES];
    let (i, j) = middle(N);
    each_lane::<S, N>(planes, manner.flip, FAR, |l, v| {
        let (v, most) = sort::<S::Key, N, WIDTH>(v);
        largest[l] = most;
        (low.0[l], high.0[l], min[l], max[l]) = (v[i], v[j], v[0], v[N - 1]);
        if !MAD && 2 < N {
            (next.0[l], next.1[l], beside[l]) = (v[1], v[N - 2], v[(j + 1).min(N - 1)]);
        }
        (spread.0[l], spread.1[l]) = if MAD {
            S::Key::median::<N>(v, manner.lower)
        } else {
            S::Key::squares::<N>(v, manner.lower)
        };
        if !S::Key::TOTAL && !MAD {
            // A sum as good as that of the samples.
            largest[l] = spread.0[l].magnitude();
        }
    });
    for l in 0..LANES {
        let parts = (spread.0[l], spread.1[l]);
        look.spread.0[l] = if MAD { S::Key::median_of(parts) } else { S::Key::sum_of(parts) };
    }
    let again = manner.again && !MAD;
    if N.is_multiple_of(2) || again {
        values(&low.0, manner.offset, &mut look.low);
    }
    values(&high.0, manner.offset, &mut look.high);
    if again {
        for l in 0..LANES {
            let over = S::Key::over((spread.0[l], spread.1[l]), N);
            look.over.0[l] = over;
        }
        values(&next.0, manner.offset, &mut look.next[0]);
        values(&next.1, manner.offset, &mut look.next[1]);
        if !N.is_multiple_of(2) {
            values(&beside, manner.offset, &mut look.beside);
        }
    }
    values(&min, manner.offset, &mut look.extremes[0]);
    values(&max, manner.offset, &mut look.extremes[1]);
    odd::<S::Key>(&largest, &mut look.odd)
}

/// Planes that are read together where the code is not straight-line.
const TOGETHER: usize = 8;

/// Copies the pixels `lanes` of the planes to the lanes of `out` from `at` on.
#[inline(always)]
pub(crate) fn columns<S: Source>(
    planes: &[&[u8]],
    manner: Manner,
    lanes: &[u16],
    out: &mut [Row<<S::Key as Key>::Work>],
    at: usize,
) {
    let mut picked = [S::Raw::default(); LANES];
    for (plane, row) in planes.iter().zip(out) {
        let samples = S::samples(plane);
        for (to, l) in picked.iter_mut().zip(lanes) {
            if let Some(raw) = samples.get(usize::from(*l)) {
                *to = *raw;
            }
        }
        // Converted together, by vectors.
        for (to, raw) in row.0[at..].iter_mut().zip(&picked[..lanes.len().min(LANES)]) {
            *to = S::key(*raw, manner.flip).value(manner.offset);
        }
    }
}

/// Sums of squares about `about` in double precision, in frame order, without the samples `lost`.
/// With `TOTAL` also the sums of the samples without these: in the same loop they cost little.
#[inline(always)]
pub(crate) fn exact_squares<S: Source, const TOTAL: bool>(
    planes: &[&[u8]],
    manner: Manner,
    about: &Row<f64>,
    lost: &Row<<S::Key as Key>::Work>,
    total: &mut Row<f64>,
    squares: &mut Row<f64>,
) {
    *squares = Row::filled(0.0);
    let mut sums = [<S::Key as Key>::Sum::default(); LANES];
    let (chunks, rest) = planes.as_chunks::<TOGETHER>();
    for chunk in chunks {
        add_squares::<S, TOGETHER, TOTAL>(chunk, manner, about, lost, &mut sums, squares);
    }
    for plane in rest {
        add_squares::<S, 1, TOTAL>(&[plane], manner, about, lost, &mut sums, squares);
    }
    if TOTAL {
        for l in 0..LANES {
            let left = planes.len() - usize::from(lost.0[l].present());
            total.0[l] = S::Key::total(sums[l]) + left as f64 * manner.offset;
        }
    }
}

/// Adds (x - a)^2 of some planes, in order, and with `TOTAL` x, but for lost samples.
#[inline(always)]
fn add_squares<S: Source, const M: usize, const TOTAL: bool>(
    planes: &[&[u8]; M],
    manner: Manner,
    about: &Row<f64>,
    lost: &Row<<S::Key as Key>::Work>,
    sums: &mut [<S::Key as Key>::Sum; LANES],
    squares: &mut Row<f64>,
) {
    let Some(lanes) = self::lanes::<S, M>(planes) else { return };
    for l in 0..LANES {
        let (mut sum, mut square) = (sums[l], squares.0[l]);
        let (a, lost) = (about.0[l], lost.0[l]);
        for plane in lanes {
            let key = S::key(plane[l], manner.flip);
            let x = key.value(manner.offset);
            let d = x.f64() - a;
            square += if x == lost { 0.0 } else { d * d };
            if TOTAL {
                sum = if x == lost { sum } else { key.add(sum) };
            }
        }
        (sums[l], squares.0[l]) = (sum, square);
    }
}
