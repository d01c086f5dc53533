//! Some lanes of a block moved together into fewer vectors, and back.

use std::ops::Deref;

use crate::sample::{Row, Work, LANES};

/// The lanes in work: which columns of the block they are, and how many samples these have.
pub(super) struct Lanes {
    pub origin: [u16; LANES],
    pub width: usize,
    pub n: Row<u32>,
    /// Scatter of the image row, if the rule asks for it.
    pub pooled: Row<f64>,
}

impl Lanes {
    /// The column behind lane `j`.
    pub fn column(&self, j: usize) -> usize {
        usize::from(self.origin[j])
    }

    pub fn columns(&self) -> &[u16] {
        &self.origin[..self.width]
    }

    /// Keeps only the lanes `kept`, in order.
    pub fn keep(&mut self, kept: &[u16]) {
        for (to, from) in kept.iter().map(|j| usize::from(*j)).enumerate() {
            self.origin[to] = self.origin[from];
            self.n.0[to] = self.n.0[from];
            self.pooled.0[to] = self.pooled.0[from];
        }
        self.width = kept.len();
    }
}

/// The lanes of a block.
pub(super) const LANE_NUMBERS: [u16; LANES] = {
    let mut numbers = [0; LANES];
    let mut l = 0;
    while l < LANES {
        numbers[l] = l as u16;
        l += 1;
    }
    numbers
};

/// Lanes in whole vectors.
pub(super) fn round_up(width: usize) -> usize {
    (width + 15) & !15
}

/// Copies columns `origin` of `v` into the first lanes of `dense`, with absent samples beside them.
pub(super) fn gather<T: Work>(v: &[Row<T>], dense: &mut Vec<Row<T>>, origin: &[u16]) {
    if dense.len() != v.len() {
        dense.resize(v.len(), Row([T::NAN; LANES]));
    }
    let end = round_up(origin.len()).min(LANES);
    for (to, from) in dense.iter_mut().zip(v) {
        for (to, l) in to.0.iter_mut().zip(origin) {
            *to = from.0[usize::from(*l)];
        }
        to.0[origin.len()..end].fill(T::NAN);
    }
}

/// Moves the lanes `kept` to the front.
pub(super) fn compact<T: Work>(dense: &mut [Row<T>], kept: &[u16]) {
    let end = round_up(kept.len()).min(LANES);
    for row in dense {
        for (to, from) in kept.iter().enumerate() {
            row.0[to] = row.0[usize::from(*from)];
        }
        row.0[kept.len()..end].fill(T::NAN);
    }
}

/// Some of the lanes of a block, in order.
pub(crate) struct Chosen {
    lanes: [u16; LANES],
    len: usize,
}

impl Deref for Chosen {
    type Target = [u16];

    fn deref(&self) -> &[u16] {
        &self.lanes[..self.len]
    }
}

/// The lanes with a mark, which is 1, of the first `width`.
pub(crate) fn marked_lanes(marks: &Row<u8>, width: usize) -> Chosen {
    let (mut lanes, mut len) = ([0; LANES], 0);
    each_marked(marks, width, |l| {
        lanes[len % LANES] = l;
        len += 1;
    });
    Chosen { lanes, len }
}

/// Calls `visit` for them, in order.
#[inline(always)]
pub(crate) fn each_marked(marks: &Row<u8>, width: usize, mut visit: impl FnMut(u16)) {
    for (first, part) in (0..width).step_by(64).zip(marks.0.as_chunks::<64>().0) {
        // One bit for each: the product moves those of eight bytes together.
        let mut bits = 0;
        for (i, eight) in part.as_chunks::<8>().0.iter().enumerate() {
            let together = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
            bits |= together << (8 * i);
        }
        if width - first < 64 {
            bits &= (1 << (width - first)) - 1;
        }
        while bits != 0 {
            visit(first as u16 + bits.trailing_zeros() as u16);
            bits &= bits - 1;
        }
    }
}

/// Copies the lanes of `dense` that are not `kept` back to their columns.
pub(super) fn retire<T: Work>(dense: &[Row<T>], v: &mut [Row<T>], columns: &[u16], kept: &[u16]) {
    let mut gone = Row::filled(1);
    for j in kept {
        gone.0[usize::from(*j)] = 0;
    }
    let gone = marked_lanes(&gone, columns.len());
    for (from, to) in dense.iter().zip(v) {
        for j in gone.iter() {
            let j = usize::from(*j);
            to.0[usize::from(columns[j])] = from.0[j];
        }
    }
}

/// Copies the first lanes of `dense` back to their columns.
pub(super) fn scatter<T: Work>(dense: &[Row<T>], v: &mut [Row<T>], origin: &[u16]) {
    for (from, to) in dense.iter().zip(v) {
        for (from, l) in from.0.iter().zip(origin) {
            to.0[usize::from(*l)] = *from;
        }
    }
}
