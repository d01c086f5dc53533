//! Looks at stacks of up to twice as many frames as one network sorts: the planes are read by
//! halves, each as a look at so few reads them, into rows that stay in the first-level cache. Sorted
//! halves tell the middle ranks without being merged. All planes at once would be too many streams
//! for the processor to follow, and of images whose size is a power of two, too many lines for the
//! same places in the caches.

use crate::deep::rows;
use crate::look::{each_lane, odd, planes, sort, values, Look, Manner, Source, FAR};
use crate::order::{Chunk, Depth, Network, Order};
use crate::sample::{Key, Row, LANES};

/// Reads the planes by halves, by `read`: it is given the planes of one, the rows they go to, and
/// what has been found so far; and tells whether some sample is not finite.
#[inline(always)]
pub(crate) fn halves<K: Key, A>(
    all: &[&[u8]],
    look: &mut Look<K::Work>,
    found: impl Fn(&mut Look<K::Work>) -> &mut A,
    read: impl Fn(&[&[u8]], &mut [Row<K>], &mut A) -> Option<bool>,
) -> Option<bool> {
    let mut room = std::mem::take(K::room(&mut look.rooms));
    let to = rows(&mut room, all.len());
    let middle = all.len().div_ceil(2);
    let (first, second) = to.split_at_mut_checked(middle)?;
    let mut odd = read(&all[..middle], first, found(look))?;
    odd |= read(&all[middle..], second, found(look))?;
    *K::room(&mut look.rooms) = room;
    Some(odd)
}

/// Reads and sorts planes. What is written to is not what anything else refers to: the compiler has
/// to know that, and does where this is the body of a function of its own.
#[inline(always)]
pub(crate) fn sort_part<S: Source, const N: usize, const WIDTH: usize>(
    bytes: &[&[u8]],
    to: &mut [Row<S::Key>],
    odd_lanes: &mut Row<u8>,
    manner: Manner,
) -> Option<bool>
where
    Depth<N>: Network<N>,
{
    let (planes, to) = (planes::<S, N>(bytes)?, to.first_chunk_mut::<N>()?);
    let mut largest: [<S::Key as Key>::Magnitude; LANES] = [Default::default(); LANES];
    each_lane::<S, N>(&planes, manner.flip, FAR, |l, v| {
        let (v, most) = sort::<S::Key, N, WIDTH>(v);
        largest[l] = most;
        Depth::<N>::scatter(v, to, l);
    });
    Some(odd::<S::Key>(&largest, odd_lanes))
}

/// Reads planes and adds them to the sums in frame order.
#[inline(always)]
pub(crate) fn add_part<S: Source, const N: usize>(
    bytes: &[&[u8]],
    to: &mut [Row<S::Key>],
    total: &mut Row<f64>,
    manner: Manner,
) -> Option<bool>
where
    Depth<N>: Network<N>,
{
    let (planes, to) = (planes::<S, N>(bytes)?, to.first_chunk_mut::<N>()?);
    each_lane::<S, N>(&planes, manner.flip, FAR, |l, v| {
        let sum = S::Key::sum(total.0[l]);
        total.0[l] = S::Key::total(Depth::<N>::fold(v, sum, |sum, x| x.add(sum)));
        Depth::<N>::scatter(v, to, l);
    });
    Some(false)
}

/// The two middle ranks of sorted halves, of `M` rows each: of every pair that a merge begins with,
/// the greatest of the lesser and the least of the greater.
#[inline(always)]
pub(crate) fn ranks<K: Key, const M: usize>(manner: Manner, look: &mut Look<K::Work>)
where
    Depth<M>: Chunk<M>,
{
    let (mut low, mut high) = ([K::LOWEST; LANES], [K::LOWEST; LANES]);
    if let [a, b, ..] = K::room(&mut look.rooms).rows.as_chunks::<M>().0 {
        for l in 0..LANES {
            let pairs = Depth::<M>::collect(|i| K::order(a[i].0[l], b[M - 1 - i].0[l]));
            low[l] = Depth::<M>::fold(pairs, pairs[0].0, |m, (x, _)| K::order(m, x).1);
            high[l] = Depth::<M>::fold(pairs, pairs[0].1, |m, (_, x)| K::order(m, x).0);
        }
    }
    values(&low, manner.offset, &mut look.low);
    values(&high, manner.offset, &mut look.high);
}
