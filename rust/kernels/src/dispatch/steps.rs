//! The straight-line code for deep stacks compiled for every instruction set.

use std::ops::Range;

use crate::deep::{self, cut, Steps};
use crate::order::{every_chunk, Chunk, Depth, DEEPEST, SHALLOWEST};
use crate::sample::{Key, Room, Strip};

/// Depths of chunks.
const CHUNKS: usize = DEEPEST + 1 - SHALLOWEST;

type SortFn<K> = unsafe fn(&mut Room<K>, usize);
type JoinFn<K> = unsafe fn(&mut Room<K>, Range<usize>);
type MiddleFn<K> = unsafe fn(&Room<K>) -> (Strip<K>, Strip<K>);

/// The steps for one type of keys by one instruction set. Tables are used by code of the same set
/// only.
pub(super) struct Table<K: Key> {
    sort_chunks: [SortFn<K>; CHUNKS],
    join: [JoinFn<K>; CHUNKS],
    middle: [MiddleFn<K>; CHUNKS],
}

/// Which step of a table serves the rows in a room.
fn index<K>(room: &Room<K>) -> usize {
    cut(room.rows.len()).1 - SHALLOWEST
}

impl<K: Key> Steps<K> for Table<K> {
    #[inline(always)]
    fn sort_chunks(&self, room: &mut Room<K>, first: usize) {
        // SAFETY: code that has a table is itself of its instruction set.
        unsafe { (self.sort_chunks[index(room)])(room, first) }
    }

    #[inline(always)]
    fn join(&self, room: &mut Room<K>, chunks: Range<usize>) {
        // SAFETY: as above.
        unsafe { (self.join[index(room)])(room, chunks) }
    }

    #[inline(always)]
    fn middle(&self, room: &Room<K>) -> (Strip<K>, Strip<K>) {
        // SAFETY: as above.
        unsafe { (self.middle[index(room)])(room) }
    }
}

macro_rules! steps {
    ($module:ident, $feature:meta) => {
        pub(super) mod $module {
            use super::super::width::$module as WIDTH;
            use super::*;

            #[$feature]
            unsafe fn sort_chunks<K: Key, const M: usize>(room: &mut Room<K>, first: usize)
            where
                Depth<M>: Chunk<M>,
            {
                deep::sort_chunks::<K, M, WIDTH>(room, first);
            }
            #[$feature]
            unsafe fn join<K: Key, const M: usize>(room: &mut Room<K>, chunks: Range<usize>)
            where
                Depth<M>: Chunk<M>,
            {
                deep::join::<K, M>(room, chunks);
            }
            #[$feature]
            unsafe fn middle<K: Key, const M: usize>(room: &Room<K>) -> (Strip<K>, Strip<K>)
            where
                Depth<M>: Chunk<M>,
            {
                deep::middle_ranks::<K, M>(room)
            }

            pub struct Of<T>(T);
            impl<T: Key> Of<T> {
                pub const STEPS: &'static Table<T> = &Table {
                    sort_chunks: every_chunk!(sort_chunks),
                    join: every_chunk!(join),
                    middle: every_chunk!(middle),
                };
            }
        }
    };
}
steps!(base, inline(never));
#[cfg(target_arch = "x86_64")]
steps!(avx2, target_feature(enable = "avx2"));
#[cfg(target_arch = "x86_64")]
steps!(avx512, target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl"));
