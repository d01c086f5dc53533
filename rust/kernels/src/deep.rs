//! Stacks too deep for one network: cut into an even number of chunks of equal depth. These are
//! sorted by straight-line code, and then by a network whose comparators merge two of them into a
//! chunk of the lesser and one of the greater samples: of two sorted chunks, one of them backwards,
//! the lesser of every pair rise and then fall, the greater fall and then rise (Batcher 1968). A few
//! lanes at a time, so that they stay in the first-level cache.

use std::ops::Range;

use crate::order::{Chunk, Depth, Network, Order, DEEPEST, SHALLOWEST};
use crate::sample::{Key, Room, Rooms, Row, Strip, Work, LANES, STRIP};

/// Chunks of a deep stack, and their depth.
pub(crate) fn cut(frames: usize) -> (usize, usize) {
    let chunks = 2 * frames.div_ceil(2 * DEEPEST);
    (chunks, frames.div_ceil(chunks).max(SHALLOWEST))
}

/// Frames with what fills up the last chunk.
pub(crate) fn filled(frames: usize) -> usize {
    let (chunks, depth) = cut(frames);
    chunks * depth
}

/// Rows for so many frames, and after them the largest and the smallest key in turn: the median
/// stays in the middle.
#[inline(always)]
pub(crate) fn rows<K: Key>(room: &mut Room<K>, frames: usize) -> &mut [Row<K>] {
    let filled = filled(frames);
    room.rows.resize(filled, Row::filled(K::HIGHEST));
    room.strips.resize(filled, Strip([K::HIGHEST; STRIP]));
    for (i, row) in room.rows[frames..].iter_mut().enumerate() {
        *row = Row::filled(if i % 2 == 0 { K::HIGHEST } else { K::LOWEST });
    }
    &mut room.rows[..frames]
}

/// What is done by straight-line code, for the depth of the chunks.
pub(crate) trait Steps<K: Key> {
    /// The chunks of the rows in the room, sorted each, of the strip from lane `first` on.
    fn sort_chunks(&self, room: &mut Room<K>, first: usize);
    /// Makes `chunks` sorted chunks of the room one sorted run.
    fn join(&self, room: &mut Room<K>, chunks: Range<usize>);
    /// The two middle ranks of two sorted runs.
    fn middle(&self, room: &Room<K>) -> (Strip<K>, Strip<K>);
}

/// The two middle samples of every lane; see [`crate::order::middle`].
#[inline(always)]
pub(crate) fn middle_pair<K: Key>(
    steps: &impl Steps<K>,
    v: &[Row<K::Work>],
    w: usize,
    absent: bool,
    rooms: &mut Rooms,
    low: &mut Row<K::Work>,
    high: &mut Row<K::Work>,
) {
    let room = K::room(rooms);
    for (to, from) in rows(room, v.len()).iter_mut().zip(v) {
        for l in 0..LANES {
            to.0[l] = K::of(from.0[l]);
        }
    }
    if absent {
        // The largest and the smallest key in turn, lane by lane: as many as there are beside them.
        let odd = (room.rows.len() - v.len()) % 2 == 1;
        let mut fill = [if odd { K::LOWEST } else { K::HIGHEST }; LANES];
        for row in &mut room.rows[..v.len()] {
            for l in 0..LANES {
                let (x, here) = (row.0[l], row.0[l].present());
                let next = if fill[l] > K::LOWEST { K::LOWEST } else { K::HIGHEST };
                row.0[l] = if here { x } else { fill[l] };
                fill[l] = if here { fill[l] } else { next };
            }
        }
    }
    middle(steps, room, w, |first, a, b| {
        for l in 0..STRIP {
            low.0[first + l] = a.0[l].work();
            high.0[first + l] = b.0[l].work();
        }
    });
}

/// Calls `tell` with the two middle ranks of the rows in the room, of every strip that begins
/// before lane `w`.
#[inline(always)]
pub(crate) fn middle<K: Key>(
    steps: &impl Steps<K>,
    room: &mut Room<K>,
    w: usize,
    mut tell: impl FnMut(usize, Strip<K>, Strip<K>),
) {
    for first in (0..w.min(LANES)).step_by(STRIP) {
        let (chunks, _) = cut(room.rows.len());
        steps.sort_chunks(room, first);
        steps.join(room, 0..chunks / 2);
        steps.join(room, chunks / 2..chunks);
        let (low, high) = steps.middle(room);
        tell(first, low, high);
    }
}

/// Sorts deep stacks; absent samples come last, as +inf.
#[inline(always)]
pub(crate) fn sort<K: Key>(
    steps: &impl Steps<K>,
    v: &[Row<K::Work>],
    w: usize,
    rooms: &mut Rooms,
    out: &mut [Row<K::Work>],
) {
    let room = K::room(rooms);
    let last = K::of(K::Work::INFINITY);
    for (to, from) in rows(room, v.len()).iter_mut().zip(v) {
        for l in 0..LANES {
            let x = K::of(from.0[l]);
            to.0[l] = if x.present() { x } else { last };
        }
    }
    room.rows[v.len()..].fill(Row::filled(last));
    for first in (0..w.min(LANES)).step_by(STRIP) {
        sorted(steps, room, first);
        for (to, from) in room.rows.iter_mut().zip(&room.strips) {
            to.0[first..first + STRIP].copy_from_slice(&from.0);
        }
    }
    // Whole rows: of strips, the compiler would gather lanes from many rows.
    for (to, from) in out.iter_mut().zip(&room.rows) {
        for l in 0..LANES {
            to.0[l] = from.0[l].work();
        }
    }
}

/// All ranks of the rows in the room, of the strip from lane `first` on.
#[inline(always)]
pub(crate) fn sorted<K: Key>(steps: &impl Steps<K>, room: &mut Room<K>, first: usize) {
    let (chunks, _) = cut(room.rows.len());
    steps.sort_chunks(room, first);
    steps.join(room, 0..chunks);
}

/// See [`Steps::sort_chunks`].
#[inline(always)]
pub(crate) fn sort_chunks<K: Key, const M: usize, const WIDTH: usize>(
    room: &mut Room<K>,
    first: usize,
) where
    Depth<M>: Chunk<M>,
{
    let first = first.min(LANES - STRIP);
    let (rows, strips) = (room.rows.as_chunks::<M>().0, room.strips.as_chunks_mut::<M>().0);
    for (rows, strips) in rows.iter().zip(strips) {
        for l in 0..STRIP {
            let v = Depth::<M>::collect(|i| rows[i].0[first + l]);
            let v = Depth::<M>::sort::<_, WIDTH>(v);
            Depth::<M>::store(v, strips, l);
        }
    }
}

/// See [`Steps::join`]: Batcher's merge exchange (Knuth, TAOCP vol. 3, algorithm 5.2.2M).
#[inline(always)]
pub(crate) fn join<K: Key, const M: usize>(room: &mut Room<K>, chunks: Range<usize>)
where
    Depth<M>: Chunk<M>,
{
    let chunks = &mut room.strips.as_chunks_mut::<M>().0[chunks];
    let n = chunks.len();
    let top = n.next_power_of_two() / 2;
    let mut p = top;
    while p > 0 {
        let (mut q, mut r, mut d) = (top, 0, p);
        loop {
            for i in (0..n - d).filter(|i| i & p == r) {
                let (a, b) = chunks.split_at_mut(i + d);
                merge::<K, M>(&mut a[i], &mut b[0]);
            }
            if q == p {
                break;
            }
            d = q - p;
            q /= 2;
            r = p;
        }
        p /= 2;
    }
}

/// The lesser samples of two sorted chunks to the one, the greater to the other, both sorted.
#[inline(always)]
fn merge<K: Key, const M: usize>(a: &mut [Strip<K>; M], b: &mut [Strip<K>; M])
where
    Depth<M>: Chunk<M>,
{
    for (a, b) in a.iter_mut().zip(b.iter_mut().rev()) {
        exchange(a, b);
    }
    for l in 0..STRIP {
        Depth::<M>::store(Depth::<M>::sort_hill(Depth::<M>::collect(|i| a[i].0[l])), a, l);
    }
    for l in 0..STRIP {
        Depth::<M>::store(Depth::<M>::sort_valley(Depth::<M>::collect(|i| b[i].0[l])), b, l);
    }
}

/// The lesser of every pair to the one, the greater to the other. A function: of its arguments the
/// compiler knows that they do not overlap.
#[inline(always)]
fn exchange<K: Key>(a: &mut Strip<K>, b: &mut Strip<K>) {
    for l in 0..STRIP {
        (a.0[l], b.0[l]) = K::order(a.0[l], b.0[l]);
    }
}

/// See [`Steps::middle`]: of every pair that a merge begins with, the greatest of the lesser and
/// the least of the greater.
#[inline(always)]
pub(crate) fn middle_ranks<K: Key, const M: usize>(room: &Room<K>) -> (Strip<K>, Strip<K>)
where
    Depth<M>: Chunk<M>,
{
    let (mut low, mut high) = (Strip([K::LOWEST; STRIP]), Strip([K::HIGHEST; STRIP]));
    let (a, b) = room.strips.split_at(room.strips.len() / 2);
    let (a, b) = (a.as_chunks::<M>().0, b.as_chunks::<M>().0);
    for (a, b) in a.iter().zip(b.iter().rev()) {
        for l in 0..STRIP {
            let pairs = Depth::<M>::collect(|i| K::order(a[i].0[l], b[M - 1 - i].0[l]));
            low.0[l] = Depth::<M>::fold(pairs, low.0[l], |m, (x, _)| K::order(m, x).1);
            high.0[l] = Depth::<M>::fold(pairs, high.0[l], |m, (_, x)| K::order(m, x).0);
        }
    }
    (low, high)
}
