//! Writes the sorting networks: one straight-line function per stack depth, so that every plane is
//! read by an instruction of its own and every compare-exchange is by value (both are needed for
//! the compiler to vectorise across pixels).

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

/// The deepest stack with a straight-line network; deeper ones are cut into chunks.
const DEEPEST: usize = 32;

/// The shallowest chunk: there are two at least.
const SHALLOWEST: usize = DEEPEST / 2 + 1;

/// Vector registers of instruction sets.
const FEW: usize = 16;
/// See `FEW`.
const MANY: usize = 32;

/// The pass of Batcher's merge exchange for `n` keys (Knuth, TAOCP vol. 3, algorithm 5.2.2M) that
/// merges the sorted keys `p` and `2 p` apart.
fn merge_pass(n: usize, p: usize) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let top = n.next_power_of_two() / 2;
    let (mut q, mut r, mut d) = (top, 0, p);
    loop {
        out.extend((0..n - d).filter(|i| i & p == r).map(|i| (i, i + d)));
        if q == p {
            return out;
        }
        d = q - p;
        q /= 2;
        r = p;
    }
}

/// Comparators of merge exchange for every `stride`-th key from `first` on: pass by pass, which
/// are the longest rows of comparators that do not wait for each other, unless there are more keys
/// than `registers`. Then one half after the other, which leaves less to keep elsewhere.
fn merge_exchange(n: usize, first: usize, stride: usize, registers: usize) -> Vec<(usize, usize)> {
    let keys = n.saturating_sub(first).div_ceil(stride);
    let passes = |p: usize| merge_pass(n, p).into_iter().filter(|(i, _)| i % stride == first);
    if keys < 2 {
        Vec::new()
    } else if keys <= registers {
        let strides = (0..usize::BITS).rev().map(|k| 1 << k);
        strides.filter(|p| (stride..n).contains(p)).flat_map(passes).collect()
    } else {
        let mut out = merge_exchange(n, first, 2 * stride, registers);
        out.extend(merge_exchange(n, first + stride, 2 * stride, registers));
        out.extend(passes(stride));
        out
    }
}

/// Comparators that merge `DEEPEST` keys which rise and then fall, or fall and then rise (Batcher
/// 1968).
fn bitonic_merge() -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let mut d = DEEPEST / 2;
    while d > 0 {
        out.extend((0..DEEPEST).filter(|i| i & d == 0).map(|i| (i, i + d)));
        d /= 2;
    }
    out
}

/// The code of comparators.
fn code(comparators: impl IntoIterator<Item = (usize, usize)>) -> String {
    let mut text = String::new();
    for (i, j) in comparators {
        write!(text, "let (v{i}, v{j}) = K::order(v{i}, v{j}); ").expect("writing to a string");
    }
    text
}

/// `item(0), item(1), ...` with a separator.
fn list(n: usize, separator: &str, item: impl Fn(usize) -> String) -> String {
    (0..n).map(item).collect::<Vec<_>>().join(separator)
}

fn main() {
    let mut text = String::new();
    for n in 1..=DEEPEST {
        let names = list(n, ", ", |i| format!("v{i}"));
        let [few, many] = [FEW, MANY].map(|registers| code(merge_exchange(n, 0, 1, registers)));
        let network = if few == many {
            format!("{few}[{names}]")
        } else {
            format!("if registers(WIDTH) == FEW {{ {few}[{names}] }} else {{ {many}[{names}] }}")
        };
        writeln!(
            text,
            "impl Network<{n}> for Depth<{n}> {{
    #[inline(always)]
    fn gather<R: Copy, K>(
        planes: &[&[R; LANES]; {n}], l: usize, key: impl Fn(R) -> K,
    ) -> [K; {n}] {{ [{gather}] }}
    #[inline(always)]
    fn sort<K: Order, const WIDTH: usize>(v: [K; {n}]) -> [K; {n}] {{
        let [{names}] = v;
        {network}
    }}
    #[inline(always)]
    fn pad<T: Work>(v: [T; {n}]) -> [T; {n}] {{ [{pad}] }}
    #[inline(always)]
    fn balance<K: Key>(v: [K; {n}]) -> [K; {n}] {{
        let (fill, next) = (K::HIGHEST, K::LOWEST);
        {fill}
        let _ = (fill, next);
        [{names}]
    }}
    #[inline(always)]
    fn fold<K: Copy, A>(v: [K; {n}], a: A, f: impl Fn(A, K) -> A) -> A {{ {fold} a }}
    #[inline(always)]
    fn spans<K: Copy, A>(v: [K; {n}], a: A, f: impl Fn(A, K, K) -> A) -> A {{ {spans} a }}
    #[inline(always)]
    fn short_spans<K: Copy, A>(v: [K; {n}], a: A, f: impl Fn(A, K, K) -> A) -> A {{
        {short_spans} a
    }}
    #[inline(always)]
    fn scatter<K: Copy>(v: [K; {n}], rows: &mut [Row<K>; {n}], l: usize) {{ {scatter} }}
}}",
            gather = list(n, ", ", |i| format!("key(planes[{i}][l])")),
            pad = list(n, ", ", |i| format!("present_or(v[{i}], T::INFINITY)")),
            fill = list(n, " ", |i| {
                format!("let (v{i}, fill, next) = balanced(v[{i}], fill, next);")
            }),
            fold = list(n, " ", |i| format!("let a = f(a, v[{i}]);")),
            spans = list(n - n / 2, " ", |i| format!("let a = f(a, v[{i}], v[{}]);", i + n / 2)),
            short_spans = if n < 2 {
                String::from("let _ = (v, f);")
            } else {
                list(n - n / 2 + 1, " ", |i| format!("let a = f(a, v[{i}], v[{}]);", i + n / 2 - 1))
            },
            scatter = list(n, " ", |i| format!("rows[{i}].0[l] = v[{i}];")),
        )
        .expect("writing to a string");
    }
    for n in SHALLOWEST..=DEEPEST {
        // With as many of the least before them, or of the greatest after them, as fill a network:
        // these stay where they are.
        let beside = DEEPEST - n;
        let merge = bitonic_merge();
        let hill = merge.iter().filter(|(i, _)| *i >= beside);
        writeln!(
            text,
            "impl Chunk<{n}> for Depth<{n}> {{
    #[inline(always)]
    fn collect<K>(f: impl Fn(usize) -> K) -> [K; {n}] {{ [{collect}] }}
    #[inline(always)]
    fn store<K: Copy>(v: [K; {n}], strips: &mut [Strip<K>; {n}], l: usize) {{ {store} }}
    #[inline(always)]
    fn sort_hill<K: Order>(v: [K; {n}]) -> [K; {n}] {{ let [{names}] = v; {hill}[{names}] }}
    #[inline(always)]
    fn sort_valley<K: Order>(v: [K; {n}]) -> [K; {n}] {{ let [{names}] = v; {valley}[{names}] }}
}}",
            collect = list(n, ", ", |i| format!("f({i})")),
            store = list(n, " ", |i| format!("strips[{i}].0[l] = v[{i}];")),
            names = list(n, ", ", |i| format!("v{i}")),
            hill = code(hill.map(|(i, j)| (i - beside, j - beside))),
            valley = code(merge.iter().filter(|(_, j)| *j < n).copied()),
        )
        .expect("writing to a string");
    }
    let sizes = list(DEEPEST, ", ", |i| format!("$($f)+::<T, {}>", i + 1));
    let halves =
        list(DEEPEST + 2 - SHALLOWEST, ", ", |i| format!("$($f)+::<T, {}>", i + SHALLOWEST - 1));
    let chunks =
        list(DEEPEST + 1 - SHALLOWEST, ", ", |i| format!("$($f)+::<T, {}>", i + SHALLOWEST));
    writeln!(
        text,
        "/// The deepest stack with a straight-line network, and the deepest chunk of a deeper one.
pub const DEEPEST: usize = {DEEPEST};
/// The shallowest chunk.
pub const SHALLOWEST: usize = {SHALLOWEST};
/// The number of registers that a network is for.
pub const FEW: usize = {FEW};
/// The same for the other one.
pub const MANY: usize = {MANY};
/// `[f::<T, 1>, f::<T, 2>, ...]` for every depth that has a network.
macro_rules! every_depth {{ ($($f:tt)+) => {{ [{sizes}] }}; }}
pub(crate) use every_depth;
/// The same for every depth of a chunk.
macro_rules! every_chunk {{ ($($f:tt)+) => {{ [{chunks}] }}; }}
pub(crate) use every_chunk;
/// The same for every depth of half a stack, one more to the front: the second may have one less.
macro_rules! every_half {{ ($($f:tt)+) => {{ [{halves}] }}; }}
pub(crate) use every_half;",
    )
    .expect("writing to a string");
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    fs::write(Path::new(&out).join("networks.rs"), text).expect("writing networks.rs");
    println!("cargo::rerun-if-changed=build.rs");
}
