//! The middle of a deep stack by counting: how many samples are not above a guess, then a better
//! guess, until one value is left. That reads the samples some ten times, however many there are,
//! while a sorting network costs ever more for each.

use crate::order::{Depth, Network};
use crate::sample::{Row, Work, LANES};

/// Lanes that are guessed together: few, since all wait for the slowest.
const GROUP: usize = 64;

/// Frames from which the first guesses are taken.
const PROBES: usize = 9;

type Lane<A> = [A; GROUP];

/// What is known of the sample of a rank: `lo < x <= hi`, and how many are not above each. Rank 0
/// is that of a lane that is done.
#[derive(Clone, Copy)]
struct Search<T> {
    rank: Lane<u32>,
    lo: Lane<T>,
    hi: Lane<T>,
    below: Lane<u32>,
    upto: Lane<u32>,
}

/// The two middle samples of the `n` of every lane, which are the same if that is odd; absent ones
/// are NaN. Where there is none the result means nothing.
#[inline(always)]
pub fn middle_samples<T: Work>(
    rows: &[Row<T>],
    w: usize,
    n: &Row<u32>,
    low: &mut Row<T>,
    high: &mut Row<T>,
) {
    for first in (0..w.min(LANES)).step_by(GROUP) {
        let mut rank = [0; GROUP];
        for l in 0..GROUP {
            rank[l] = n.0[first + l].div_ceil(2);
        }
        let lower = ranked(rows, first, &rank, n);
        // The one after it, if their number is even.
        let (mut count, mut next) = ([0; GROUP], [T::INFINITY; GROUP]);
        count_upto(rows, first, &lower, &mut count);
        let highest = [T::INFINITY; GROUP];
        least_above(rows, first, &lower, &highest, &mut next);
        for l in 0..GROUP {
            let other = n.0[first + l].is_multiple_of(2) & (count[l] == rank[l]);
            low.0[first + l] = lower[l];
            high.0[first + l] = if other { next[l] } else { lower[l] };
        }
    }
}

/// The sample of a rank, counted from 1.
#[inline(always)]
fn ranked<T: Work>(rows: &[Row<T>], first: usize, rank: &Lane<u32>, n: &Row<u32>) -> Lane<T> {
    let mut search = Search {
        rank: *rank,
        lo: [T::NEG_INFINITY; GROUP],
        hi: [T::INFINITY; GROUP],
        below: [0; GROUP],
        upto: [0; GROUP],
    };
    search.upto.copy_from_slice(&n.0[first..first + GROUP]);
    let probes = probes(rows, first);
    let mut guess = probes[PROBES / 2];
    let mut count = [0; GROUP];
    let mut answer = [T::NAN; GROUP];
    let mut loose = true;
    for round in 0_usize.. {
        if round == 1 {
            for l in 0..GROUP {
                let (lower, higher) = (probes[PROBES / 2 - 2][l], probes[PROBES / 2 + 2][l]);
                guess[l] = if count[l] < rank[l] { higher } else { lower };
            }
        } else if !loose || round % 6 == 5 {
            if !search.look_inside(rows, first, &mut guess, &mut answer) {
                break;
            }
        } else if round > 1 {
            search.interpolate(&mut guess);
        }
        count_upto(rows, first, &guess, &mut count);
        loose = search.narrow(&guess, &count);
    }
    answer
}

impl<T: Work> Search<T> {
    /// Learns how many samples are not above a guess; returns whether there is a lane where the
    /// sample is neither the least nor the greatest that is possible.
    #[inline(always)]
    fn narrow(&mut self, guess: &Lane<T>, count: &Lane<u32>) -> bool {
        let Self { rank, mut lo, mut hi, mut below, mut upto } = *self;
        let mut loose = [0_u32; GROUP];
        for l in 0..GROUP {
            let inside = (guess[l] > lo[l]) & (guess[l] < hi[l]);
            let above = inside & (count[l] < rank[l]);
            let not_above = inside & (count[l] >= rank[l]);
            lo[l] = if above { guess[l] } else { lo[l] };
            below[l] = if above { count[l] } else { below[l] };
            hi[l] = if not_above { guess[l] } else { hi[l] };
            upto[l] = if not_above { count[l] } else { upto[l] };
        }
        for l in 0..GROUP {
            let next = (below[l] + 1 == rank[l]) | (upto[l] == rank[l]) | (rank[l] == 0);
            loose[l] = u32::from(!next);
        }
        *self = Self { rank, lo, hi, below, upto };
        loose.iter().fold(0, |any, x| any | x) != 0
    }

    /// A guess as if the samples were spread evenly.
    #[inline(always)]
    fn interpolate(&self, guess: &mut Lane<T>) {
        for l in 0..GROUP {
            let ahead = self.rank[l] as f32 - self.below[l] as f32 - 0.5;
            let share = ahead / (self.upto[l] as f32 - self.below[l] as f32);
            let (lo, hi) = (self.lo[l], self.hi[l]);
            guess[l] = lo * T::convert(1.0 - share) + hi * T::convert(share);
        }
    }

    /// Finds the least and the greatest sample that are possible. Lanes where these, or one of
    /// them, are the answer are done; for the others the least is the next guess, which always
    /// rules out one value. Returns whether any lane is left.
    #[inline(always)]
    fn look_inside(
        &mut self,
        rows: &[Row<T>],
        first: usize,
        guess: &mut Lane<T>,
        answer: &mut Lane<T>,
    ) -> bool {
        let mut greatest = [T::NEG_INFINITY; GROUP];
        least_above(rows, first, &self.lo, &self.hi, guess);
        for row in rows {
            for l in 0..GROUP {
                let x = row.0[first + l];
                let possible = (x <= self.hi[l]) & (x > greatest[l]);
                greatest[l] = if possible { x } else { greatest[l] };
            }
        }
        let (Self { mut rank, below, upto, .. }, least) = (*self, *guess);
        let mut found = *answer;
        for l in 0..GROUP {
            let is_least = (below[l] + 1 == rank[l]) | (least[l] == greatest[l]);
            let is_last = (upto[l] == rank[l]) & !is_least;
            let open = rank[l] > 0;
            found[l] = if open & is_least { least[l] } else { found[l] };
            found[l] = if open & is_last { greatest[l] } else { found[l] };
            rank[l] = if is_least | is_last { 0 } else { rank[l] };
        }
        *answer = found;
        self.rank = rank;
        self.hi = greatest;
        rank.iter().fold(0, |any, x| any | x) != 0
    }
}

/// How many samples are not above `bound`.
#[inline(always)]
fn count_upto<T: Work>(rows: &[Row<T>], first: usize, bound: &Lane<T>, count: &mut Lane<u32>) {
    *count = [0; GROUP];
    let (fours, rest) = rows.as_chunks::<4>();
    for four in fours {
        for l in 0..GROUP {
            let one = |row: &Row<T>| u32::from(row.0[first + l] <= bound[l]);
            count[l] += one(&four[0]) + one(&four[1]) + one(&four[2]) + one(&four[3]);
        }
    }
    for row in rest {
        for l in 0..GROUP {
            count[l] += u32::from(row.0[first + l] <= bound[l]);
        }
    }
}

/// The least sample above `lo`, or `hi` if there is none below that.
#[inline(always)]
fn least_above<T: Work>(
    rows: &[Row<T>],
    first: usize,
    lo: &Lane<T>,
    hi: &Lane<T>,
    least: &mut Lane<T>,
) {
    *least = *hi;
    for row in rows {
        for l in 0..GROUP {
            let x = row.0[first + l];
            least[l] = if (x > lo[l]) & (x < least[l]) { x } else { least[l] };
        }
    }
}

/// Some samples in ascending order, absent ones at both ends.
#[inline(always)]
fn probes<T: Work>(rows: &[Row<T>], first: usize) -> [Lane<T>; PROBES] {
    let step = (rows.len() / PROBES).max(1);
    let picked: [&[T; LANES]; PROBES] =
        std::array::from_fn(|i| &rows[(i * step).min(rows.len() - 1)].0);
    let mut out = [[T::NAN; GROUP]; PROBES];
    for l in 0..GROUP {
        let v = Depth::<PROBES>::gather(&picked, first + l, |x| x);
        let v = Depth::<PROBES>::sort(Depth::<PROBES>::balance(v));
        for (to, x) in out.iter_mut().zip(v) {
            to[l] = x;
        }
    }
    out
}
