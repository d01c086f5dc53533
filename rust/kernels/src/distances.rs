//! The spread of sorted samples about their median: by single floats or doubles, or by 16-bit
//! integers, of which a vector holds as many as were sorted in one.

use crate::order::{middle, Depth, Network};
use crate::sample::{Key, Ordered, Work};

/// Keys in ascending order of which the spread can be told, in two parts of the size of a key:
/// something larger would leave half of each vector empty, also while it is sorted.
pub(crate) trait Distances: Key {
    /// The sum of (x - c)^2, or of integers no more than that, where c is the median, or the `lower`
    /// of two middle samples.
    fn squares<const N: usize>(v: [Self; N], lower: bool) -> (Self, Self)
    where
        Depth<N>: Network<N>;
    /// The sum of which these are the parts.
    fn sum_of(parts: (Self, Self)) -> Self::Work;
    /// What the sum over `n` samples is less than, if that is not the former.
    fn over(parts: (Self, Self), n: usize) -> Self::Work;
    /// The median of |x - c|: the nearest k samples are neighbours, so the k-th distance is the
    /// least, over all runs of k, of that of the farther end.
    fn median<const N: usize>(v: [Self; N], lower: bool) -> (Self, Self)
    where
        Depth<N>: Network<N>;
    /// The median of which these are the parts.
    fn median_of(parts: (Self, Self)) -> Self::Work;
}

/// sum (x - c)^2 in two parts, in the precision of the workspace.
#[inline(always)]
pub(crate) fn squares<K: Key, const N: usize>(v: [K; N], center: K::Work) -> K::Work
where
    Depth<N>: Network<N>,
{
    let zero = K::Work::ZERO;
    let (a, b) = Depth::<N>::fold(v, (zero, zero), |(a, b), x| {
        let d = x.work() - center;
        (b, a + d * d)
    });
    a + b
}

/// See [`Distances::median`].
#[inline(always)]
fn median_distance<K: Key, const N: usize>(v: [K; N], center: K::Work) -> K::Work
where
    Depth<N>: Network<N>,
{
    let farther = |least: K::Work, first: K, last: K| {
        let (below, above) = (center - first.work(), last.work() - center);
        let farther = if below > above { below } else { above };
        if farther < least {
            farther
        } else {
            least
        }
    };
    let upper = Depth::<N>::spans(v, K::Work::INFINITY, farther);
    if N % 2 == 1 {
        upper
    } else {
        let lower = Depth::<N>::short_spans(v, K::Work::INFINITY, farther);
        (lower + upper) * K::Work::HALF
    }
}

/// The median, or the `lower` of the middle samples.
#[inline(always)]
fn center<K: Key, const N: usize>(v: [K; N], lower: bool) -> K::Work {
    let (i, j) = middle(N);
    let (a, b) = (v[i].work(), v[j].work());
    let other = if lower { a } else { b };
    if N % 2 == 1 {
        b
    } else {
        (a + other) * K::Work::HALF
    }
}

macro_rules! floats {
    ($($key:ty),*) => {$(
        impl Distances for $key {
            #[inline(always)]
            fn squares<const N: usize>(v: [Self; N], lower: bool) -> (Self, Self)
            where
                Depth<N>: Network<N>,
            {
                (Self::of(squares::<Self, N>(v, center(v, lower))), Self::LOWEST)
            }
            #[inline(always)]
            fn sum_of(parts: (Self, Self)) -> Self::Work {
                parts.0.work()
            }
            #[inline(always)]
            fn over(_parts: (Self, Self), _n: usize) -> Self::Work {
                <Self::Work as Work>::ZERO
            }
            #[inline(always)]
            fn median<const N: usize>(v: [Self; N], lower: bool) -> (Self, Self)
            where
                Depth<N>: Network<N>,
            {
                (Self::of(median_distance::<Self, N>(v, center(v, lower))), Self::LOWEST)
            }
            #[inline(always)]
            fn median_of(parts: (Self, Self)) -> Self::Work {
                parts.0.work()
            }
        }
    )*};
}
floats!(f32, f64, Ordered);

/// What distances are made no larger than to be squared: 2^32 is then more than 32 of these.
const LARGE: u16 = 11_585;

/// b - a, where that is not negative.
#[inline(always)]
fn between(a: i16, b: i16) -> u16 {
    b.wrapping_sub(a) as u16
}

/// The integers next to the center of sorted samples, below and above.
#[inline(always)]
fn beside_center<const N: usize>(v: [i16; N], lower: bool) -> (i16, i16) {
    let (i, j) = middle(N);
    let (a, b) = (v[i], v[j]);
    let half = (between(a, b) / 2) as i16;
    if N % 2 == 1 {
        (b, b)
    } else if lower {
        (a, a)
    } else {
        (a.wrapping_add(half), b.wrapping_sub(half))
    }
}

impl Distances for i16 {
    /// Distances are multiplied by a factor that makes the squares' upper 16 bits tell enough: the
    /// largest of them is 444 at least. (That is no power of two, as not every instruction set can
    /// shift each lane by its own.) The lower bits are left out, and sums stay at 2^16 - 1, so that but
    /// for rounding the result is never too large. The parts are that sum and the factor.
    #[inline(always)]
    fn squares<const N: usize>(v: [i16; N], lower: bool) -> (i16, i16)
    where
        Depth<N>: Network<N>,
    {
        let (under, over) = beside_center(v, lower);
        let (below, above) = (between(v[0], under), between(over, v[N - 1]));
        let farthest = if below > above { below } else { above };
        let enlarge = |(factor, most): (u16, u16), by: u16| {
            let by = if most <= LARGE / by { by } else { 1 };
            (factor.wrapping_mul(by), most.wrapping_mul(by))
        };
        let (factor, _) = enlarge(enlarge(enlarge(enlarge((1, farthest), 255), 15), 4), 2);
        // What is missing where the center is between two integers.
        let half = between(under, over).wrapping_mul(factor / 2);
        let (_, sum) = Depth::<N>::fold(v, (0, 0_u16), |(rank, sum), x| {
            let d = if rank < N / 2 { between(x, under) } else { between(over, x) };
            let d = u32::from(d.wrapping_mul(factor).wrapping_add(half));
            (rank + 1, sum.saturating_add(((d * d) >> 16) as u16))
        });
        (sum as i16, factor as i16)
    }

    #[inline(always)]
    fn sum_of((sum, factor): (i16, i16)) -> f32 {
        let factor = f32::from(factor as u16);
        f32::from(sum as u16) * 65_536.0 / (factor * factor)
    }

    /// Of every square less than 2 is left out: of a distance, which may lack 1/2, less than 2^16, and
    /// the lower bits.
    #[inline(always)]
    fn over((sum, factor): (i16, i16), n: usize) -> f32 {
        let sum = f32::from(sum as u16);
        let factor = f32::from(factor as u16);
        let whole = if sum < 65_535.0 { sum + 2.0 * n as f32 } else { f32::INFINITY };
        whole * 65_536.0 / (factor * factor)
    }

    /// In two parts of which the median is the mean, as it is. Distances to a center between two
    /// integers are to the one before it, so that 1/2 is missing.
    #[inline(always)]
    fn median<const N: usize>(v: [i16; N], lower: bool) -> (i16, i16)
    where
        Depth<N>: Network<N>,
    {
        let (under, over) = beside_center(v, lower);
        // An end may be on the other side of the center, and the other end is then the farther one.
        let distance = |a: i16, b: i16| between(a, if b > a { b } else { a });
        let farther = |least: u16, first: i16, last: i16| {
            let (below, above) = (distance(first, under), distance(over, last));
            let farther = if below > above { below } else { above };
            if farther < least {
                farther
            } else {
                least
            }
        };
        let upper = Depth::<N>::spans(v, u16::MAX, farther);
        if N % 2 == 1 {
            (upper as i16, upper as i16)
        } else {
            let least = Depth::<N>::short_spans(v, u16::MAX, farther);
            // Half of all are on either side, so that this distance is less than 2^15.
            (upper as i16, least.wrapping_add(between(under, over)) as i16)
        }
    }

    #[inline(always)]
    fn median_of((a, b): (i16, i16)) -> f32 {
        (f32::from(a as u16) + f32::from(b as u16)) * 0.5
    }
}
