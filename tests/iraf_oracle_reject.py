# Licensed under a 3-clause BSD style license - see LICENSE
"""Rejection of one output line, for the model of IRAF in ``iraf_oracle``.

A pixel is a `Column`: its good samples and the frames they come from. The
functions here work on one column and fill ``kept``, ``shown``, ``lost`` and,
where IRAF's clippers compute the output on the way, ``value``. Nothing is
vectorised: every step is one Python line on one number of type ``m.real``
(float32 with the defect "float32", else float64).
"""

import math

TOL = 0.001  # residuals nearer than this count as equal when samples are put back


class Column:
    """Good samples of one output pixel.

    ``kept``: survivors as (value, frame) in IRAF's order; ``shown``: what the
    sigma, rejection and exposure outputs take for the survivors; ``lost``:
    frames rejected by the algorithm; ``value``: output found by the clipper;
    ``scratch``: a number IRAF left in the output line meanwhile.
    """

    def __init__(self, samples):
        self.kept = self.shown = samples
        self.lost, self.value, self.scratch = [], None, None

    def finish(self, samples, kept, shown=None):
        """Store survivors; all other frames among the samples are lost."""
        ids = {i for _, i in kept}
        self.lost = [i for _, i in samples if i not in ids]
        self.kept, self.shown = kept, kept if shown is None else shown


def root(x):
    """Square root in double (NaN if x < 0): IRAF's expressions call C's sqrt."""
    return math.sqrt(float(x)) if x >= 0 else math.nan


def total(values, real):
    """Sum one by one in the working type."""
    s = real(0)
    for x in values:
        s = s + x
    return s


def middle(v, real):
    """Median of sorted values: mean of the two middle ones when n is even."""
    h = len(v) // 2
    return v[h] if len(v) % 2 else (v[h - 1] + v[h]) / real(2)


def trimmed(v, real):
    """Mean without the smallest and the largest of n >= 3 values, and the sum."""
    low, high = min(v[0], v[1]), max(v[0], v[1])
    s = real(0)
    for x in v[2:]:
        if x < low:
            s, low = s + low, x
        elif x > high:
            s, high = s + high, x
        else:
            s = s + x
    return s / real(len(v) - 2), s + low + high


def sort_samples(samples, quick):
    """Sort (value, frame) pairs: stable, or (quick) in the tie order of IRAF.

    IRAF: fixed networks for 2 and 3 values, else quicksort with the middle
    element (parked at the right end) as pivot.
    """
    b = list(samples)
    n = len(b)
    if not quick or n < 3 or len({x for x, _ in b}) == n:
        return sorted(b, key=lambda t: t[0])
    if n == 3:
        x, y, z = b
        if y[0] < x[0]:
            if y[0] < z[0]:
                return [y, x, z] if x[0] < z[0] else [y, z, x]
            return [z, y, x]
        if z[0] < y[0]:
            return [x, z, y] if x[0] < z[0] else [z, x, y]
        return b

    def part(lo, hi):
        if lo >= hi:
            return
        mid = (lo + hi) // 2
        b[mid], b[hi] = b[hi], b[mid]
        pivot, i, j = b[hi][0], lo - 1, hi
        while i < j:
            i += 1
            while b[i][0] < pivot:
                i += 1
            j -= 1
            while j > i and b[j][0] > pivot:
                j -= 1
            if i < j:
                b[i], b[j] = b[j], b[i]
        b[i], b[hi] = b[hi], b[i]
        part(lo, i - 1)
        part(i + 1, hi)

    part(0, n - 1)
    return b


def put_back(order, residuals, missing):
    """Described rule of nkeep: smallest |residual| first, ties (TOL) together."""
    order = sorted(order, key=lambda i: residuals[i])
    take = order[:missing]
    while len(take) < len(order):
        last, following = residuals[take[-1]], residuals[order[len(take)]]
        if following >= last + TOL and following > last * (1 + 1e-12):
            break
        take.append(order[len(take)])
    return take


def minmax(m, col):
    """Drop int(fraction*n + 0.001) samples at either end."""
    real, s = m.real, list(col.kept)
    n = len(s)
    nlow = int(m.flow * real(n) + real(0.001))
    nhigh = int(m.fhigh * real(n) + real(0.001))
    if not m.has("unstable_ties"):
        s = sort_samples(s, False)
        col.finish(s, [t for t in col.kept if t in s[nlow : n - nhigh]])
        return
    pairs = min(nlow, nhigh)
    steps = ["both"] * pairs + ["low"] * (nlow - pairs) + ["high"] * (nhigh - pairs)
    for step in steps:  # the first extreme in the present order; last fills the hole
        x = [t[0] for t in s[:n]]
        jmax, jmin, last = x.index(max(x)), x.index(min(x)), n - 1
        if step == "both":
            if jmax < last - 1:
                to = last if jmin == last - 1 else last - 1
                s[jmax], s[to] = s[to], s[jmax]
            if jmin < last - 1:
                to = last - 1 if jmax == last else last
                s[jmin], s[to] = s[to], s[jmin]
            n -= 2
        else:
            j = jmin if step == "low" else jmax
            s[j], s[last] = s[last], s[j]
            n -= 1
    col.finish(s, s[:n])


# -- about the mean (mclip=no) ------------------------------------------------------


def clip_mean(m, col, kind, pooled=None, centre=None):
    """Iterative clipping about the mean: kind "sig", "ccd" or "av".

    Rejected samples change places with the last survivor, so the survivors'
    order (and the float32 sums) depend on the rejections. Returns the number
    left in IRAF's variable for the pooled sigma (defect of "av").
    """
    real, s = m.real, list(col.kept)
    n, keep = len(s), m.keep(len(s))
    floor = 1 if kind == "ccd" else 2
    wanted = m.combine == "average" and not m.weighted
    if n < max(3, keep) if kind == "sig" else n <= max(floor, keep):
        if wanted:
            col.value = total((x for x, _ in s), real) / real(n) if n else m.blank
        return pooled
    resid = [real(0)] * n
    a = acc = None
    first = True
    while True:
        x = [t[0] for t in s[:n]]
        if n > 2 and (first or (kind == "ccd" and m.has("ccdclip_trimmed_centre"))):
            a, acc = trimmed(x, real)
        elif kind == "ccd" or first:
            acc = total(x, real)
            a = acc / real(n)
        if centre is not None and first:
            a = centre
        first, n2 = False, n
        sigma = spreads(m, kind, s[:n], a, pooled)
        if sigma is not None:
            # IRAF walks the scale corrections of sigclip with an index of its own
            # that does not stay behind when a sample is swapped out of place.
            drift = kind == "sig" and m.poisson and m.has("sigclip_weight_shift")
            j = slot = 0
            while j < n:
                v, at = s[j][0], slot if drift else j
                r = (v - a) / sigma[at]
                slot += 1
                if not (r < -m.lsigma or r > m.hsigma):
                    j += 1
                    continue
                n -= 1
                resid[n] = abs(r)
                s[j], s[n] = s[n], s[j]
                if drift:
                    if j < n:
                        sigma[at] = sigma[n]
                else:
                    sigma[j], sigma[n] = sigma[n], sigma[j]
                acc = acc - v
        if not m.has("float32"):
            acc = total((x for x, _ in s[:n]), real)
        if kind != "ccd" and (n > 1 or (n and not m.has("stale_mean"))):
            a = acc / real(n)
        if n == n2 or n <= max(floor, keep):
            break
    if n < keep:
        n, acc, temp = restore_mean(m, s, resid, n, n2, keep, acc)
        if temp is not None and m.has("avsigclip_sigma_reused"):
            pooled = temp
        if n > 1 or not m.has("stale_mean"):
            a = acc / real(n)
    col.finish(s, s[:n])
    if wanted:
        if n == 0:
            col.value = m.blank
        else:
            col.value = acc / real(n) if kind == "ccd" else a
    return pooled


def spreads(m, kind, s, a, pooled):
    """Clipping sigma of each sample in ``s`` about the centre ``a``, or None."""
    real, n, one = m.real, len(s), m.real(1)
    if kind == "ccd":
        return [m.ccd_sigma(a, i) for _, i in s]
    if kind == "av":
        if not pooled > 0:
            return None
        return [real(float(pooled) * root(max(one, m.raw_level(a, i)))) for _, i in s]
    if not m.poisson:
        var = total(((x - a) * (x - a) for x, _ in s), real)
        sd = real(root(var / real(n - 1)))
        return [sd] * n if sd > 0 else None
    w = [real(root(max(one, m.raw_level(a, i)))) for _, i in s]
    q = [(x - a) / wi for (x, _), wi in zip(s, w, strict=True)]
    sd = real(root(total((u * u for u in q), real) / real(n - 1)))
    return [sd * wi for wi in w] if sd > 0 else None


def restore_mean(m, s, resid, n, n2, keep, acc):
    """Put samples of the last pass back until ``keep`` are left (mean mode)."""
    real, tol, temp = m.real, m.real(TOL), None
    if not m.has("nkeep_restore"):
        take = put_back(range(n, n2), resid, keep - n)
        back = [s[i] for i in take]
        s[n:] = back + [t for t in s[n:] if t not in back]
        acc = total((x for x, _ in s[: n + len(back)]), real)
        return n + len(back), acc, None
    stop, j = keep, n
    while j < stop:
        r, ties = resid[j], 0
        for k in range(j + 1, n2):
            temp = resid[k]
            if temp < r + tol:
                if temp > r - tol:
                    ties += 1
                else:
                    ties, resid[k], r = 0, r, temp
                    temp = real(s[j][1] + 1)  # the swap goes through the same variable
                    s[j], s[k] = s[k], s[j]
        acc = acc + s[j][0]
        j += 1
        stop = max(stop, j + ties)
    return j, acc, temp


# -- about the median (mclip=yes) -----------------------------------------------------


def clip_median(m, col, kind, pooled=None):
    """Clip sorted samples from both ends about the median, kinds as above."""
    s, real = col.kept, m.real
    total_n = len(s)
    keep, minclip = m.keep(total_n), 2 if kind == "ccd" else 3
    lo, hi, holes = 0, total_n, set()
    resid = [real(0)] * (total_n + 1)

    def left():
        return [i for i in range(lo, hi) if i not in holes]

    def median():
        idx = left()
        return middle([s[i][0] for i in idx], real) if idx else m.blank

    med = median()
    while True:
        now = left()
        n2, med = len(now), median()
        last = []
        if n2 >= max(minclip, keep + 1):
            sig = spreads(m, kind, [s[i] for i in now], med, pooled)
            if sig is not None:
                r = {i: (s[i][0] - med) / g for i, g in zip(now, sig, strict=True)}
                low = [i for i in now if -r[i] > m.lsigma]
                high = [i for i in now if r[i] > m.hsigma]
                if m.has("peel_from_ends"):  # stops at the first sample inside
                    low = [i for k, i in enumerate(low) if i == lo + k]
                    high = [
                        i for k, i in enumerate(high) if high[k:] == [*range(i, hi)]
                    ]
                last = low + high
                holes.update(last)
                resid = [abs(r[i]) if i in last else q for i, q in enumerate(resid)]
                while lo < hi and lo in holes:
                    if lo in high:
                        break
                    lo += 1
                while hi > lo and hi - 1 in holes:
                    hi -= 1
        n = len(left())
        if n == n2 or n < max(minclip, keep + 1):
            break
    if kind == "av":
        med = median()
    if n < keep:
        lo, hi, med = restore_median(
            m, s, resid, lo, hi, holes, n2, keep, last, med, kind == "av"
        )
    finish_sorted(m, col, lo, hi, holes & set(range(lo, hi)), med)


def restore_median(m, s, resid, lo, hi, holes, n2, keep, last, med, follow):
    """Put samples back until ``keep`` are left (median mode)."""
    inner = holes & set(range(lo, hi))
    if inner or not m.has("nkeep_restore"):
        holes.difference_update(put_back(last, resid, keep - (hi - lo - len(inner))))
        stay = [i for i in range(len(s)) if i not in holes]
        return stay[0], stay[-1] + 1, med
    real, low, high = m.real, lo, hi
    tol = real(TOL)
    while high - low < keep:
        if low == 0:
            high += 1
        elif high == len(s):
            low -= 1
        else:
            r, t = resid[low - 1], resid[high]
            if r < t:
                low -= 1
                if t <= r + tol:
                    high += 1
                if low > 0 and resid[low - 1] <= r + tol:
                    low -= 1
            else:
                high += 1
                if r <= t + tol:
                    low -= 1
                if high < n2 and resid[high] <= t + tol:
                    high += 1
        if follow and high - low < n2:
            med = middle([x for x, _ in s[low:high]], real)
    holes.difference_update(range(low, high))
    return low, high, med


def finish_sorted(m, col, lo, hi, holes, med):
    """Store the survivors of a sorted column and the median found on the way."""
    s = col.kept
    kept = [s[i] for i in range(lo, hi) if i not in holes]
    n = len(kept)
    medians = m.combine in ("median", "lmedian")
    shown = None
    if medians and m.grow < 1:
        if lo > 0 and m.has("rejmask_ids_median"):
            shown = s[:n]
    elif not holes and 0 < lo <= n:  # IRAF fills the holes at the front from the back
        kept = s[n:hi] + s[lo:n]
    col.finish(s, kept, shown)
    if medians and (m.combine == "median" or m.has("lmedian_ignored")):
        if m.has("stale_median"):
            col.value = med
        else:
            x = sorted(x for x, _ in kept)
            col.value = middle(x, m.real) if x else m.blank


def pclip(m, col):
    """One pass of clipping in units of |percentile sample - median|, inclusive."""
    s, real, n = col.kept, m.real, len(col.kept)
    keep, lo, hi = m.keep(n), 0, n
    med = middle([x for x, _ in s], real) if n else m.blank
    if n >= max(3, keep + 1):
        at = 1 + n // 2 + m.pclip - (1 if m.pclip < 0 and n % 2 == 0 else 0)
        at = max(1, at) if m.pclip < 0 else min(n, at)
        sigma = abs(s[at - 1][0] - med)
        if sigma != 0:
            r = [(x - med) / sigma for x, _ in s]
            while lo < n and -r[lo] >= m.lsigma:
                lo += 1
            while hi > 0 and r[hi - 1] >= m.hsigma:
                hi -= 1
            resid = [abs(q) for q in r] + [real(0)]
            if hi - lo < keep:
                last = [*range(lo), *range(hi, n)]
                holes = set(last)
                lo, hi, _ = restore_median(
                    m, s, resid, lo, hi, holes, 1 + n // 2, keep, last, med, False
                )
            idx = range(lo, hi)
            med = middle([s[i][0] for i in idx], real) if hi > lo else med
    finish_sorted(m, col, lo, hi, set(), med)


def reject_line(m, cols):
    """Apply the rejection of the model ``m`` to the columns of one line."""
    if m.reject == "minmax":
        for c in cols:
            minmax(m, c)
        return
    minclip = 2 if m.reject in ("ccdclip", "crreject") else 3
    if m.reject == "none" or m.nimages < max(minclip, m.keep(m.nimages) + 1):
        return
    if not any(c.kept for c in cols):
        m.clipped_before = False
        return
    if m.reject == "pclip":
        for c in cols:
            pclip(m, c)
    elif m.reject == "avsigclip":
        avsigclip(m, cols)
    else:
        kind = "sig" if m.reject == "sigclip" else "ccd"
        for c in cols:
            (clip_median if m.mclip else clip_mean)(m, c, kind)
    m.clipped_before = True


def avsigclip(m, cols):
    """Sigma of a whole line in units of the root of the level, then clipping."""
    real, one = m.real, m.real(1)
    s, count, centres = real(0), 0, []
    for c in cols:
        x = [v for v, _ in c.kept]
        centres.append(None)
        if m.mclip:
            c.scratch = middle(x, real) if x else m.blank
        if len(x) < 3:
            continue
        a = c.scratch = middle(x, real) if m.mclip else trimmed(x, real)[0]
        centres[-1] = a
        for v, i in c.kept:
            s = s + (v - a) * (v - a) / max(one, m.raw_level(a, i))
        count += len(x)
    if count > 1:
        s = real(root(s / real(count - 1)))
    elif m.mclip:
        # Fewer than 3 samples everywhere.
        if m.clipped_before and m.combine in ("median", "lmedian"):
            # IRAF then still takes the medians found here as the output
            for c in cols:
                c.value = c.scratch
        return
    for c, a in zip(cols, centres, strict=True):
        if m.mclip:
            clip_median(m, c, "av", s)
        else:
            s = clip_mean(m, c, "av", s, a)
