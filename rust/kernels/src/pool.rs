//! Worker threads. Pools are kept per number of threads and per process: a pool inherited through
//! `fork` has no threads, and waiting for it would never end.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::{env, mem, process, thread};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};

type Pools = HashMap<usize, Arc<ThreadPool>>;

static POOLS: Mutex<Option<(u32, Pools)>> = Mutex::new(None);
static DEFAULT: AtomicUsize = AtomicUsize::new(0);

/// Threads used when the caller does not say: what [`set_default_threads`] was given, else the
/// environment variable `RAYON_NUM_THREADS`, else the processors available.
pub fn default_threads() -> usize {
    let set = DEFAULT.load(Ordering::Relaxed);
    if set > 0 {
        return set;
    }
    env::var("RAYON_NUM_THREADS")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .filter(|n| *n > 0)
        .unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get))
}

/// Sets the default number of threads; 0 forgets it again.
pub fn set_default_threads(n: usize) {
    DEFAULT.store(n, Ordering::Relaxed);
}

/// A pool of `n` threads of this process.
pub(crate) fn pool(n: usize) -> Result<Arc<ThreadPool>> {
    // After a fork the lock may be held for ever by a thread that is gone: then this call has a
    // pool of its own.
    let mut guard = match POOLS.try_lock() {
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return build(n),
    };
    let this = process::id();
    if let Some((owner, pools)) = guard.take() {
        if owner == this {
            *guard = Some((owner, pools));
        } else {
            // Its threads live in the parent; stopping them from here could wait for ever.
            mem::forget(pools);
        }
    }
    let (_, pools) = guard.get_or_insert_with(|| (this, Pools::new()));
    if let Some(pool) = pools.get(&n) {
        return Ok(Arc::clone(pool));
    }
    let pool = build(n)?;
    pools.insert(n, Arc::clone(&pool));
    Ok(pool)
}

fn build(n: usize) -> Result<Arc<ThreadPool>> {
    ThreadPoolBuilder::new()
        .num_threads(n)
        .thread_name(|i| format!("imcombiners-{i}"))
        .build()
        .map(Arc::new)
        .map_err(|error| Error::Pool(error.to_string()))
}
