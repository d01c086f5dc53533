# Licensed under a 3-clause BSD style license - see LICENSE
"""Slow, obvious model of IRAF 2.17 ``images.immatch.imcombine`` for arrays.

`imcombine` takes IRAF's own parameter names and gives what IRAF gives, one pixel at
a time. Each defect of IRAF has a name and can be switched: ``defects=True`` is IRAF
as it is, ``defects=False`` is IRAF as its help page describes it, in float64.

==========================  ==========================================================
defect                      what IRAF does | what the model does without it
==========================  ==========================================================
float32                     float32 everywhere, means from running sums | float64
stale_median                combine=(l)median, mclip: if the last pass (or nkeep)
                            leaves too few samples for another, or none, the output
                            is the median of before | median of the survivors, blank
stale_mean                  sigclip, avsigclip, mclip=no, unweighted average: with one
                            survivor the output is the mean of before | the survivor
lmedian_ignored             lmedian is the plain median after any mclip clipper | the
                            lower of two when two are left, else the median
lmedian_upper               lmedian of two *sorted* samples is the higher | the lower
minmax_truncation           nlow/nimages*nimages < nlow in float32 can turn the
                            rejection off | int(n*nlow/nimages + 0.001) always
avsigclip_sigma_reused      mclip=no: putting samples back (nkeep) overwrites the sigma
                            of the line for the columns to the right | it does not
nmodel_ids                  noise of position j, and all weights zero: first variance =
                            value squared | noise of the frame, variance
grow_nkeep                  grow leaves 1..nkeep-1 samples: they are combined; none:
                            the image is that before growing, masks and sigma say none
                            | where growing leaves fewer than nkeep (either sign) the
                            pixel is as without growing, in all outputs
grow_no_blank               nkeep<=0 and nothing left: number left in the line buffer
                            (often the output of the line above) | blank
grow_median_unsorted        (l)median, mclip, samples removed by growing: IRAF takes
                            the middle of an order it has spoilt | the median
stat_median_off_by_one      median of statistics = element int(n/2) of 1..n | median
sum_unweighted              sum ignores weights | sum(w*v), the w of all frames sum to 1
sigma_about_sum             combine=sum: sigma about the sum | about the mean (the help
                            says "about the output"; that is of no use)
rejmask_ids_median          (l)median, mclip, grow<1, samples cut below: sigma, rejmask
                            and exp take the n lowest for the survivors | survivors
sigscale_zero_off           sigscale=0: never corrects sigmas | whenever scales differ
zero_no_poisson             zeros alone never correct sigmas | they do if any |shift| >
                            sigscale * mean level
ccdclip_trimmed_centre      mclip=no: mean without min and max in all passes | in the
                            first only
nkeep_restore               ties within 0.001 are sometimes put back, out of order, or
                            not; median mode also takes earlier passes' residuals | of
                            the last pass, smallest first, then all ties of the last one
sigclip_weight_shift        mclip=no, scale corrections: after a rejection the following
                            samples are judged with their neighbour's | with their own
peel_from_ends              mclip, sigmas that differ from frame to frame: tests from
                            either end up to the first sample inside its own limit |
                            every sample is tested
zero_weight_partial         a level <= 0 stops the sky weighting half-way | drops it
nan_to_zero                 NaN is read as 0 | NaN is no sample
unstable_ties               which of equal samples goes is as the sort falls | stable:
                            low end lowest frame first, high end highest first
==========================  ==========================================================

Kept in both modes, being the algorithm: percentile clipping is inclusive; the line
sigma of avsigclip has Ntot-1 degrees of freedom; clipping centres are plain medians
for lmedian too; the first mean of mclip=no leaves out min and max while sigma has
all; scales are relative to frame 1 even if given; sky weights scale_i/sky_i.
Not modelled: offsets, novalue masks, integer or double calculation (outtype=real of
up to 16-bit or float32 input), exposures that are not whole numbers, infinite
samples, median or mode of one pixel (IRAF reads before its array).
"""

import json

import numpy as np
from iraf_oracle_reject import (
    Column,
    middle,
    reject_line,
    root,
    sort_samples,
    total,
)

DEFECTS = tuple(
    """float32 stale_median stale_mean lmedian_ignored lmedian_upper minmax_truncation
    avsigclip_sigma_reused nmodel_ids grow_nkeep grow_no_blank grow_median_unsorted
    stat_median_off_by_one sum_unweighted sigma_about_sum rejmask_ids_median
    sigscale_zero_off zero_no_poisson ccdclip_trimmed_centre nkeep_restore
    sigclip_weight_shift peel_from_ends zero_weight_partial nan_to_zero
    unstable_ties""".split()
)
DEFAULTS = dict(
    combine="average", reject="none", lsigma=3.0, hsigma=3.0, nlow=1, nhigh=1, nkeep=1,
    mclip="yes", pclip=-0.5, gain=1.0, rdnoise=0.0, snoise=0.0, sigscale=0.1, grow=0.0,
    blank=0.0, lthreshold="INDEF", hthreshold="INDEF", scale="none", zero="none",
    weight="none",
)  # fmt: skip
STATS = ("mode", "median", "mean")


class Model:
    """Parameters of one run in the working type, and the state IRAF carries along."""

    def __init__(self, nimages, params, defects):
        p = {**DEFAULTS, **params}
        unknown = set(p) - set(DEFAULTS)
        if unknown:
            raise ValueError(f"params: unknown {sorted(unknown)}")
        names = DEFECTS if defects is True else defects or ()
        if set(names) - set(DEFECTS):
            raise ValueError(f"defects: unknown {sorted(set(names) - set(DEFECTS))}")
        self.defects, self.asked = frozenset(names), set()
        self.real = real = np.float32 if self.has("float32") else np.float64
        self.p, self.nimages = p, nimages
        self.combine, self.reject = p["combine"], p["reject"]
        self.blank, self.grow = real(p["blank"]), float(p["grow"])
        self.nkeep = int(p["nkeep"])
        self.lsigma, self.hsigma = (
            real(np.inf if p[k] == "INDEF" else p[k]) for k in ("lsigma", "hsigma")
        )
        if self.reject == "crreject":
            self.lsigma = real(np.inf)
        self.mclip = p["mclip"] in ("yes", True)
        if self.reject in ("none", "minmax", "pclip"):
            self.mclip = self.reject == "pclip"
        self.clipped_before = False
        if self.reject == "pclip":
            half, q = nimages // 2, real(p["pclip"])
            q = int(q * real(half)) if abs(q) < 1 else int(q)
            neg = p["pclip"] < 0
            self.pclip = min(-1, max(-half, q)) if neg else max(1, min(half, q))
        if self.reject == "minmax":
            self.set_minmax()
        self.noise = [self.frame_noise(i) for i in range(nimages)]

    def has(self, name):
        """Whether a defect is on; what was asked tells which ones could matter."""
        self.asked.add(name)
        return name in self.defects

    def frame_noise(self, i, scale=1):
        """Variance of the read noise, gain and sensitivity noise of frame i.

        ``scale``: counts that one unit of the samples stands for.
        """
        real, frame = self.real, []
        for name in ("gain", "rdnoise", "snoise"):
            value = self.p[name]
            if isinstance(value, list) and len(value) != self.nimages:
                raise ValueError(f"{name}: {len(value)} of {self.nimages}")
            frame.append(real(value[i] if isinstance(value, list) else value))
        gain, ron, sens = frame
        gain = gain * real(scale)
        ron = ron / gain
        return max(ron * ron, real(1e4 / 0.99e37)), gain, sens

    def keep(self, n):
        """Samples to keep of n (nkeep < 0: at most |nkeep| may go)."""
        return min(n, self.nkeep) if self.nkeep >= 0 else max(0, n + self.nkeep)

    def set_minmax(self):
        real, n, counts = self.real, self.nimages, (self.p["nlow"], self.p["nhigh"])
        self.flow, self.fhigh = (
            real(c) / real(n) if c >= 1 else real(c) for c in counts
        )
        add = real(0 if self.has("minmax_truncation") else 0.001)
        cut = [int(f * real(n) + add) for f in (self.flow, self.fhigh)]
        if sum(cut) >= n:
            raise ValueError(f"nlow, nhigh: {cut} of {n} images, nothing left")
        if sum(cut) == 0:
            self.reject = "none"

    def raw_level(self, a, i):
        """Level proportional to the variance of frame i where the output is a."""
        return (a + self.zeros[i]) / self.scales[i] if self.poisson else a

    def ccd_sigma(self, a, i):
        """Sigma of frame i by the noise model of the detector."""
        real, (ron, gain, sens) = self.real, self.noise[i]
        s = self.scales[i] if self.poisson else real(1)
        level = max(real(0), s * (a + self.zeros[i]) if self.poisson else a)
        x = level * sens
        return real(root(ron + level / gain + x * x) / float(s))


def statistic(m, kind, image, ordered):
    """Statistic "mean", "median" or "mode" of the good pixels of one frame (H, W)."""
    for step in range(1, 11):  # the finest grid of fewer than 100000 pixels
        if np.prod([max(1, (k - 1) // step + 1) for k in image.shape]) < 100000:
            break
    v = image[tuple(slice(None, None, step) for _ in image.shape)].ravel()
    v = v[~np.isnan(v)]
    if v.size == 0:
        raise ValueError(f"{kind}: frame without a good pixel")
    real, n = m.real, len(v)
    if kind == "mean":
        return total(np.sort(v) if ordered else v, real) / real(n)
    v = np.sort(v)
    off = m.has("stat_median_off_by_one")
    if kind == "median" or n < 10:
        return v[max(0, n // 2 - 1)] if off else middle(v, real)
    i = int(real(1) + real(n) * (real(1) - real(0.7)) / real(2)) - 1
    j = int(real(1) + real(n) * (real(1) + real(0.7)) / real(2)) - 1
    width = v[j] - v[i]
    if width == 0:
        return v[i]
    k, most, mode = i, 0, None
    step, size = real(0.01) * width, real(0.1) * width
    low = v[i] - step + step  # IRAF steps back first: not the same in float32
    while True:
        while i < j and v[i] < low:
            i += 1
        while k < j and v[k] < low + size:
            k += 1
        if k - i > most:
            most, mode = k - i, v[(i + k + 2) // 2 - 1]
        if k >= j:
            return mode
        low = low + step


def factors(m, raw, exptime):
    """Set ``scales``, ``zeros``, ``weights`` of the model and what follows from them.

    A list of numbers for scale, zero or weight means what @file means in IRAF.
    """
    real, n = m.real, m.nimages
    ask = {k: m.p[k] for k in ("scale", "zero", "weight")}
    ordered = any(v in ("mode", "median") for v in ask.values() if isinstance(v, str))
    given = {k: not isinstance(v, str) for k, v in ask.items()}
    val = {}
    for k, v in ask.items():
        if given[k]:
            val[k] = [real(x) for x in v]
        elif v in STATS:
            val[k] = [statistic(m, v, im, ordered) for im in raw]
        elif v == "exposure":
            val[k] = [max(real(0.001), real(t)) for t in exptime]
        elif v == "none":
            val[k] = [real(0 if k == "zero" else 1)] * n
        else:
            raise ValueError(f"{k}: {v!r}")
    s, z, w = val["scale"], val["zero"], val["weight"]
    if min(s) <= 0:
        s = [real(1)] * n
    if given["scale"]:
        s = [real(1) / x for x in s]
    s = [x / s[0] for x in s]
    z = [a / b for a, b in zip(z, s, strict=True)]
    if ask["weight"] != "none":
        sky = ask["zero"] in STATS and not given["weight"]
        w = sky_weights(m, w, z if sky else None)
    level = total(z, real) / real(n)
    z = [-x for x in z] if given["zero"] else [x - z[0] for x in z]
    sumw = total(w, real)
    w = [x / sumw for x in w] if sumw > 0 else [real(1)] * n
    m.scales, m.zeros, m.weights = s, z, w
    scaled = n > 1 and (given["scale"] or any(x != s[0] for x in s))
    shifted = n > 1 and (given["zero"] or any(x != z[0] for x in z))
    m.scaled = scaled or shifted
    m.weighted = any(x != w[0] for x in w) and m.combine not in ("median", "lmedian")
    tol = real(m.p["sigscale"])
    m.poisson = scaled and any(abs(x - real(1)) > tol for x in s)
    if m.poisson and tol == 0 and m.has("sigscale_zero_off"):
        m.poisson = False
    if shifted and not m.poisson:
        shift = any(abs(x) > tol * abs(level) for x in z)
        m.poisson = shift and not m.has("zero_no_poisson")


def sky_weights(m, w, z):
    """Divide the weights by the sky levels ``z``, if all are fit for it."""
    ones, partial = [m.real(1)] * len(w), m.has("zero_weight_partial")
    if not partial and min(w) < 0:
        return ones
    if z is None or (not partial and min(z) <= 0):
        return ones if min(w) < 0 else w
    out = list(w)
    for i, x in enumerate(w):
        if x < 0:
            return ones
        if z[i] <= 0:  # the rest is neither weighted by sky nor tested for sign
            return out
        out[i] = x * z[0] / z[i]
    return out


def gather(m, raw, y):
    """Columns of line y: scaled good samples, sorted if the clipper wants them so."""
    cols = []
    for x in range(raw.shape[2]):
        s = [(v, i) for i, v in enumerate(raw[:, y, x]) if not np.isnan(v)]
        if m.scaled:
            s = [(v / m.scales[i] - m.zeros[i], i) for v, i in s]
        if m.mclip:
            s = sort_samples(s, m.has("unstable_ties"))
        cols.append(Column(s))
    return cols


def statistic_out(m, s, full, in_order=True):
    """Output of the survivors ``s``; ``full``: nothing is missing in the whole line."""
    real, n, v = m.real, len(s), [x for x, _ in s]
    if n == 0:
        return m.blank
    if m.combine in ("median", "lmedian"):
        spoilt = m.mclip and not in_order and m.has("grow_median_unsorted")
        if m.combine == "lmedian" and n == 2:
            if m.mclip and m.has("lmedian_upper"):
                return v[1]
            return min(v)
        return middle(v if spoilt else sorted(v), real)
    w, weigh = [m.weights[i] for _, i in s], m.weighted
    if m.combine == "sum":
        if not weigh or m.has("sum_unweighted"):
            return total(v, real)
        return total((a * b for a, b in zip(v, w, strict=True)), real)
    dead = weigh and not total(w, real) > 0
    if dead or not weigh:
        w, norm = [real(1)] * n, real(n)
    else:  # over a whole line IRAF relies on the weights' unit sum
        norm = real(1) if full and m.has("float32") else total(w, real)
    if m.combine == "average":
        return total((a * b for a, b in zip(v, w, strict=True)), real) / norm
    if m.combine == "quadrature":
        terms = [a * b * (a * b) for a, b in zip(v, w, strict=True)]
    else:
        terms = [x * (b * b) for x, b in zip(variances(m, s), w, strict=True)]
        if dead and m.has("nmodel_ids"):
            terms[0] = v[0] * v[0]
    return real(root(total(terms, real)) / float(norm))


def variances(m, s):
    """Variance of each sample by the noise model, in output units (nmodel)."""
    real, out = m.real, []
    for j, (a, i) in enumerate(s):
        k = j if m.has("nmodel_ids") else i
        ron, gain, sens = m.frame_noise(k, m.scales[k])
        level = max(real(0), a)
        q = level * sens
        out.append(ron + level / gain + q * q)
    return out


def scatter(m, s, out, full):
    """Output sigma of the samples ``s`` about ``out``."""
    real, n = m.real, len(s)
    if n == 0:
        return m.blank
    v = [x for x, _ in s]
    if m.combine == "sum" and not m.has("sigma_about_sum"):
        out = total(v, real) / real(n)
    acc = [(x - out) * (x - out) for x in v]
    if not m.weighted:
        return real(root(total(acc, real) * (real(1) / real(max(1, n - 1)))))
    w, cor = [m.weights[i] for _, i in s], real(n) / real(max(1, n - 1))
    if not total(w, real) > 0:
        return real(root(total(acc, real) / real(n) * cor))
    acc = total((a * b for a, b in zip(acc, w, strict=True)), real)
    if full and m.has("float32"):
        return real(root(acc * cor))
    return real(root(acc / total(w, real) * cor))


def grown(m, lines):
    """Marks (N, H, W): discs round the samples the algorithm rejected."""
    hit = np.zeros((m.nimages, len(lines), len(lines[0])), bool)
    r = int(m.grow)
    for y, line in enumerate(lines):
        for x, col in enumerate(line):
            for i in col.lost:
                for dy in range(-r, r + 1):
                    for dx in range(-r, r + 1):
                        yy, xx = y + dy, x + dx
                        if dy * dy + dx * dx > m.grow**2:
                            continue
                        if 0 <= yy < hit.shape[1] and 0 <= xx < hit.shape[2]:
                            hit[i, yy, xx] = True
    return hit


def remove(m, s, frames):
    """Remove grown samples; IRAF fills each hole with the last sample."""
    if not m.has("grow_median_unsorted"):
        return [t for t in s if t[1] not in frames]
    s = list(s)
    for i in sorted(frames):
        j = next((j for j, t in enumerate(s) if t[1] == i), None)
        if j is not None:
            s[j] = s[-1]
            s.pop()
    return s


def grow_pass(m, lines, raw, buffer):
    """Remove what growing marks; set kept, shown and value of every column."""
    marks = grown(m, lines)
    for y, line in enumerate(lines):
        fresh = gather(m, raw, y)
        full = not marks[:, y].any() and not np.isnan(raw[:, y]).any()
        for x, col in enumerate(line):
            frames = set(np.flatnonzero(marks[:, y, x]))
            s = remove(m, fresh[x].kept, frames)
            n0 = len(fresh[x].kept)
            if not m.has("grow_nkeep"):
                if len(s) < m.keep(n0):
                    continue
            elif not s and m.nkeep > 0:
                col.kept = col.shown = s  # the value of before growing stays
                continue
            lost = n0 - len(s)
            col.kept = col.shown = s
            col.value = statistic_out(m, s, full, lost == 0)
            if not s and m.has("grow_no_blank"):
                col.value = buffer[x]
            buffer[x] = col.value


def imcombine(stack, mask, exptime, params, defects=True):
    """Combine a stack as IRAF does.

    Parameters
    ----------
    stack : ndarray (N, H, W), up to 16-bit integers or float32
    mask : bool ndarray (N, H, W) or None, True = bad
    exptime : sequence of N numbers, s
    params : dict of IRAF parameters (`DEFAULTS`); lists for scale, zero, weight =
        @file, for gain, rdnoise, snoise = the headers' values of a keyword
    defects : bool or iterable of names of `DEFECTS`

    Returns
    -------
    image, sigma : ndarray (H, W), float32 or (without "float32") float64
    rejmask : bool ndarray (N, H, W), True = not used (masked, thresholded, rejected)
    nrej, exp : int ndarray (H, W)
    """
    m = Model(len(stack), params, defects)
    with np.errstate(over="ignore"):
        return _combine(m, np.asarray(stack), mask, exptime)


def _combine(m, stack, mask, exptime):
    real = m.real
    raw = stack.astype(real)
    if m.has("nan_to_zero"):
        raw = np.where(np.isnan(raw), real(0), raw)
    bad = np.zeros(raw.shape, bool) if mask is None else np.array(mask, bool)
    for key, side in (("lthreshold", -1), ("hthreshold", 1)):
        if m.p[key] != "INDEF":
            bad |= side * raw > side * real(m.p[key])
    raw = np.where(bad, real(np.nan), raw)
    factors(m, raw, exptime)
    lines, buffer, rejected = [], [real(0)] * raw.shape[2], False
    for y in range(raw.shape[1]):
        line = gather(m, raw, y)
        reject_line(m, line)
        full = not np.isnan(raw[:, y]).any() and not any(c.lost for c in line)
        for x, col in enumerate(line):
            late = rejected and m.nkeep <= 0 and m.grow >= 1  # left to the second pass
            if col.value is not None:
                buffer[x] = col.value
            else:
                col.value = statistic_out(m, col.kept, full)
                if not late:
                    buffer[x] = col.value
                elif col.scratch is not None:
                    buffer[x] = col.scratch
        rejected = rejected or any(c.lost for c in line)
        lines.append(line)
    if m.grow >= 1 and rejected:
        grow_pass(m, lines, raw, buffer)
    return outputs(m, lines, exptime)


def outputs(m, lines, exptime):
    """Collect image, sigma, rejmask, nrej, exp."""
    shape = (len(lines), len(lines[0]))
    image, sigma = np.empty(shape, m.real), np.empty(shape, m.real)
    rejmask = np.ones((m.nimages, *shape), bool)
    nrej, exp = np.empty(shape, int), np.zeros(shape, int)
    for y, line in enumerate(lines):
        full = all(len(c.kept) == m.nimages for c in line)
        for x, col in enumerate(line):
            image[y, x], nrej[y, x] = col.value, m.nimages - len(col.kept)
            sigma[y, x] = scatter(m, col.shown, col.value, full)
            ids = [i for _, i in col.shown]
            rejmask[ids, y, x] = False
            exp[y, x] = round(sum(float(exptime[i]) for i in ids if m.weights[i] > 0))
    return image, sigma, rejmask, nrej, exp


def load_case(path):
    """Read a golden case: dict of stack, mask (or None), exptime, params, results."""
    with np.load(path) as f:
        case = {k: f[k] for k in f.files}
    case["params"] = json.loads(str(case["params"]))
    case.setdefault("mask", None)
    return case


def same(a, b, rtol=2e-7):
    """Pixels (H, W) where results a, b agree: numbers to rtol, the rest exactly."""
    with np.errstate(invalid="ignore"):
        ok = np.isclose(a[0], b[0], rtol, 0, equal_nan=True)
        slack = rtol * np.abs(b[1]) + 2e-7 * np.abs(b[0])
        ok &= (np.abs(a[1] - b[1]) <= slack) | (np.isnan(a[1]) & np.isnan(b[1]))
    return ok & (a[2] == b[2]).all(0) & (a[3] == b[3]) & (a[4] == b[4])


def explain(case, rtol=1e-5):
    """Tell which defects make IRAF's result at each pixel differ.

    A defect is named at a pixel if switching it off alone changes the outputs there;
    "together" stands where only several at once do.

    Returns
    -------
    (H, W) object array of frozensets of names; empty where IRAF is as described
    """
    args = [case[k] for k in ("stack", "mask", "exptime", "params")]
    m = Model(len(args[0]), args[3], True)
    with np.errstate(over="ignore"):
        full = _combine(m, *args[:3])
    found = [[set() for _ in row] for row in full[0]]
    for name in sorted(m.asked):
        other = imcombine(*args, defects=set(DEFECTS) - {name})
        for y, x in np.argwhere(~same(other, full, rtol)):
            found[y][x].add(name)
    for y, x in np.argwhere(~same(imcombine(*args, defects=False), full, rtol)):
        if not found[y][x]:
            found[y][x].add("together")
    out = np.empty(full[0].shape, object)
    for y, x in np.ndindex(out.shape):
        out[y, x] = frozenset(found[y][x])
    return out
