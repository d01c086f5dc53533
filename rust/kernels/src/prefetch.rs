//! Asking for the next block of a plane while this one is worked on.
//!
//! A block reads a few cache lines from each of many planes, which no hardware prefetcher follows.

#![allow(unsafe_code)]

/// Asks for the bytes that follow `bytes` in its plane: as many lines as it has itself. They need
/// not exist.
#[inline(always)]
pub(crate) fn prefetch(bytes: &[u8]) {
    prefetch_run(bytes, 1);
}

/// The same for the run of bytes `ahead` runs further on. Those that are read for single blocks are
/// short: the second one arrives in time, the next one does not.
#[inline(always)]
pub(crate) fn prefetch_run(bytes: &[u8], ahead: usize) {
    for line in bytes.chunks(LINE) {
        prefetch_line(&line[0], ahead * bytes.len());
    }
}

/// Bytes that are fetched at once.
pub(crate) const LINE: usize = 64;

/// Asks for the line that is `ahead` bytes further on.
#[inline(always)]
pub(crate) fn prefetch_line<T>(at: &T, ahead: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        let line = std::ptr::from_ref(at).cast::<i8>().wrapping_add(ahead);
        // SAFETY: a prefetch never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, ahead);
}
