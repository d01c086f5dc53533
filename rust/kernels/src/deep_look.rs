//! Looks at stacks too deep for one network. The samples of a block are read once, row by row, and
//! everything else is found in the copy: many planes, of the same size, would compete for the same
//! places in the caches.

use crate::deep::{self, rows, Steps};
use crate::look::{odd, values, Look, Manner, Source};
use crate::prefetch::prefetch_run;
use crate::sample::{Convert, Key, Row, Strip, Work, LANES, STRIP};

/// Frames that are worked on together.
const TOGETHER: usize = 4;

/// Planes of which the samples are asked for ahead of time.
const AHEAD: usize = 8;

/// Reads a block of all planes; tells whether some sample is not finite.
#[inline(always)]
pub(crate) fn stage<S: Source>(
    planes: &[&[u8]],
    manner: Manner,
    look: &mut Look<<S::Key as Key>::Work>,
) -> Option<bool> {
    let to = rows(S::Key::room(&mut look.rooms), planes.len());
    let mut largest: [<S::Key as Key>::Magnitude; LANES] = [Default::default(); LANES];
    for (k, (bytes, row)) in planes.iter().zip(to).enumerate() {
        if let Some(later) = planes.get(k + AHEAD) {
            prefetch_run(later, 0);
        }
        let plane = S::lanes(bytes)?;
        for l in 0..LANES {
            let x = S::key(plane[l], manner.flip);
            row.0[l] = x;
            largest[l] = x.magnitude().max(largest[l]);
        }
    }
    Some(odd::<S::Key>(&largest, &mut look.odd))
}

/// The two middle ranks.
#[inline(always)]
pub(crate) fn ranks<K: Key>(steps: &impl Steps<K>, manner: Manner, look: &mut Look<K::Work>) {
    let (mut low, mut high) = ([K::LOWEST; LANES], [K::LOWEST; LANES]);
    deep::middle(steps, K::room(&mut look.rooms), LANES, |first, a, b| {
        low[first..first + STRIP].copy_from_slice(&a.0);
        high[first..first + STRIP].copy_from_slice(&b.0);
    });
    values(&low, manner.offset, &mut look.low);
    values(&high, manner.offset, &mut look.high);
}

/// The two middle ranks, the extremes, and the median distance from the median.
#[inline(always)]
pub(crate) fn mad<K: Key>(
    steps: &impl Steps<K>,
    frames: usize,
    manner: Manner,
    look: &mut Look<K::Work>,
) {
    let (mut low, mut high) = ([K::LOWEST; LANES], [K::LOWEST; LANES]);
    let (mut min, mut max) = ([K::LOWEST; LANES], [K::LOWEST; LANES]);
    let room = K::room(&mut look.rooms);
    for first in (0..LANES).step_by(STRIP) {
        deep::sorted(steps, room, first);
        // Without what fills up the last chunk.
        let beside = room.strips.len() - frames;
        let own = &room.strips[beside / 2..][..frames];
        let (a, b) = (&own[(frames - 1) / 2], &own[frames / 2]);
        let mut center = [K::Work::ZERO; STRIP];
        for l in 0..STRIP {
            let (a, b) = (a.0[l].work(), b.0[l].work());
            let other = if manner.lower { a } else { b };
            center[l] = if frames % 2 == 1 { b } else { (a + other) * K::Work::HALF };
        }
        let spread = median_distance::<K>(own, &center);
        look.spread.0[first..first + STRIP].copy_from_slice(&spread);
        low[first..first + STRIP].copy_from_slice(&a.0);
        high[first..first + STRIP].copy_from_slice(&b.0);
        min[first..first + STRIP].copy_from_slice(&own[0].0);
        max[first..first + STRIP].copy_from_slice(&own[frames - 1].0);
    }
    values(&low, manner.offset, &mut look.low);
    values(&high, manner.offset, &mut look.high);
    values(&min, manner.offset, &mut look.extremes[0]);
    values(&max, manner.offset, &mut look.extremes[1]);
}

/// The median of |x - c| of sorted samples; see [`crate::look::median_distance`].
#[inline(always)]
fn median_distance<K: Key>(own: &[Strip<K>], center: &[K::Work; STRIP]) -> [K::Work; STRIP] {
    let least = |run: usize| {
        let mut least = [K::Work::INFINITY; STRIP];
        for (first, last) in own.iter().zip(&own[run - 1..]) {
            for l in 0..STRIP {
                let (below, above) = (center[l] - first.0[l].work(), last.0[l].work() - center[l]);
                let farther = if below > above { below } else { above };
                least[l] = if farther < least[l] { farther } else { least[l] };
            }
        }
        least
    };
    let mut upper = least(own.len() / 2 + 1);
    if own.len().is_multiple_of(2) {
        let lower = least(own.len() / 2);
        for l in 0..STRIP {
            upper[l] = (lower[l] + upper[l]) * K::Work::HALF;
        }
    }
    upper
}

/// The sum.
#[inline(always)]
pub(crate) fn total<K: Key>(frames: usize, manner: Manner, look: &mut Look<K::Work>) {
    let rows = &K::room(&mut look.rooms).rows[..frames];
    let mut sums: [K::Sum; LANES] = [Default::default(); LANES];
    let (chunks, rest) = rows.as_chunks::<TOGETHER>();
    for rows in chunks {
        for l in 0..LANES {
            sums[l] = rows.iter().fold(sums[l], |sum, row| row.0[l].add(sum));
        }
    }
    for row in rest {
        for l in 0..LANES {
            sums[l] = row.0[l].add(sums[l]);
        }
    }
    for l in 0..LANES {
        look.total.0[l] = K::total(sums[l]) + frames as f64 * manner.offset;
    }
}

/// Extremes and the sum of squares about `about`.
#[inline(always)]
pub(crate) fn scan<K: Key>(
    frames: usize,
    manner: Manner,
    about: &Row<f64>,
    look: &mut Look<K::Work>,
) {
    let rows = &K::room(&mut look.rooms).rows[..frames];
    let mut min = rows[0].0;
    let mut max = min;
    let center = Row(about.0.map(|c| K::Work::convert(c - manner.offset)));
    let mut sums = Row::filled(K::Work::ZERO);
    let (chunks, rest) = rows.as_chunks::<TOGETHER>();
    for rows in chunks {
        for l in 0..LANES {
            let (mut low, mut high, mut sum) = (min[l], max[l], sums.0[l]);
            for row in rows {
                let x = row.0[l];
                low = if x < low { x } else { low };
                high = if x > high { x } else { high };
                let d = x.work() - center.0[l];
                sum = sum + d * d;
            }
            (min[l], max[l], sums.0[l]) = (low, high, sum);
        }
    }
    for row in rest {
        for l in 0..LANES {
            let x = row.0[l];
            min[l] = if x < min[l] { x } else { min[l] };
            max[l] = if x > max[l] { x } else { max[l] };
            let d = x.work() - center.0[l];
            sums.0[l] = sums.0[l] + d * d;
        }
    }
    look.spread = sums;
    values(&min, manner.offset, &mut look.extremes[0]);
    values(&max, manner.offset, &mut look.extremes[1]);
}

/// sum (x - a)^2 in frame order and double precision.
#[inline(always)]
pub(crate) fn exact_squares<K: Key>(
    frames: usize,
    manner: Manner,
    look: &mut Look<K::Work>,
    about: &Row<f64>,
    total: &mut Row<f64>,
) {
    *total = Row::filled(0.0);
    let rows = &K::room(&mut look.rooms).rows[..frames];
    let square = |sum: f64, x: K, l: usize| {
        let d = x.value(manner.offset).f64() - about.0[l];
        sum + d * d
    };
    let (chunks, rest) = rows.as_chunks::<TOGETHER>();
    for rows in chunks {
        for l in 0..LANES {
            total.0[l] = rows.iter().fold(total.0[l], |sum, row| square(sum, row.0[l], l));
        }
    }
    for row in rest {
        for l in 0..LANES {
            total.0[l] = square(total.0[l], row.0[l], l);
        }
    }
}
