//! Writes the sorting networks: one straight-line function per stack depth, so that every plane is
//! read by an instruction of its own and every compare-exchange is by value (both are needed for
//! the compiler to vectorise across pixels).

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

/// The deepest stack with a straight-line network; deeper ones use the run-time list.
const DEEPEST: usize = 32;

/// Comparators of Batcher's merge exchange for `n` keys (Knuth, TAOCP vol. 3, algorithm 5.2.2M).
fn merge_exchange(n: usize) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    if n < 2 {
        return out;
    }
    let top = n.next_power_of_two() / 2;
    let mut p = top;
    while p > 0 {
        let (mut q, mut r, mut d) = (top, 0, p);
        loop {
            out.extend((0..n - d).filter(|i| i & p == r).map(|i| (i, i + d)));
            if q == p {
                break;
            }
            d = q - p;
            q /= 2;
            r = p;
        }
        p /= 2;
    }
    out
}

fn main() {
    let mut text = String::new();
    for n in 1..=DEEPEST {
        let names: Vec<String> = (0..n).map(|i| format!("v{i}")).collect();
        let loads: Vec<String> = (0..n).map(|i| format!("rows[{i}].0[l]")).collect();
        let mut body = String::new();
        for (i, j) in merge_exchange(n) {
            write!(body, "let (v{i}, v{j}) = T::order(v{i}, v{j}); ").expect("writing to a string");
        }
        let pads: Vec<String> =
            (0..n).map(|i| format!("present_or(v[{i}], T::INFINITY)")).collect();
        let stores: Vec<String> = (0..n).map(|i| format!("rows[{i}].0[l] = v[{i}];")).collect();
        let mut fills = String::new();
        for i in 0..n {
            write!(fills, "let (v{i}, fill, next) = balanced(v[{i}], fill, next); ")
                .expect("writing to a string");
        }
        writeln!(
            text,
            "impl Network<{n}> for Depth<{n}> {{
    #[inline(always)]
    fn gather<T: Work>(rows: &[Row<T>; {n}], l: usize) -> [T; {n}] {{ [{}] }}
    #[inline(always)]
    fn sort<T: Work>(v: [T; {n}]) -> [T; {n}] {{ let [{}] = v; {body}[{}] }}
    #[inline(always)]
    fn pad<T: Work>(v: [T; {n}]) -> [T; {n}] {{ [{}] }}
    #[inline(always)]
    fn balance<T: Work>(v: [T; {n}]) -> [T; {n}] {{
        let (fill, next) = (T::INFINITY, T::NEG_INFINITY);
        {fills}
        let _ = (fill, next);
        [{}]
    }}
    #[inline(always)]
    fn scatter<T: Work>(v: [T; {n}], rows: &mut [Row<T>; {n}], l: usize) {{ {} }}
}}",
            loads.join(", "),
            names.join(", "),
            names.join(", "),
            pads.join(", "),
            names.join(", "),
            stores.join(" "),
        )
        .expect("writing to a string");
    }
    let sizes: Vec<String> = (1..=DEEPEST).map(|n| format!("$($f)+::<T, {n}>")).collect();
    writeln!(
        text,
        "/// The deepest stack with a straight-line network.
pub const DEEPEST: usize = {DEEPEST};
/// `[f::<T, 1>, f::<T, 2>, ...]` for every depth that has a network.
macro_rules! every_depth {{ ($($f:tt)+) => {{ [{}] }}; }}
pub(crate) use every_depth;",
        sizes.join(", ")
    )
    .expect("writing to a string");
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    fs::write(Path::new(&out).join("networks.rs"), text).expect("writing networks.rs");
    println!("cargo::rerun-if-changed=build.rs");
}
