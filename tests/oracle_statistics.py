# Licensed under a 3-clause BSD style license - see LICENSE
"""Statistics of a column, for the oracle: plain loops over Python floats."""

import math

MAD_TO_STD = 1.482602218505602  # 1 / Phi^-1(3/4): a normal sigma from its MAD

#: IRAF's floor of the variance of the read noise.
READ_NOISE_FLOOR = 1e4 / 0.99e37


def add_up(values):
    """Sum in the order given (the built-in `sum` compensates, NumPy's pairs)."""
    total = 0.0
    for value in values:
        total += value
    return total


def root(value):
    """Square root, NaN of what is negative or NaN."""
    return math.sqrt(value) if value >= 0.0 else math.nan


def mean(values):
    """Arithmetic mean."""
    return add_up(values) / len(values)


def trimmed(values):
    """Mean without one smallest and one largest sample, if there are more than two.

    Of equal samples the first ones go (the order decides how the sum is rounded).
    """
    left = list(values)
    if len(left) > 2:
        left.remove(min(left))
        left.remove(max(left))
    return mean(left)


def median(values):
    """Middle value, or half the sum of the two middle values."""
    ordered = sorted(values)
    n = len(ordered)
    if n % 2:
        return ordered[n // 2]
    a, b = ordered[n // 2 - 1], ordered[n // 2]
    # Two values near the largest double have a sum beyond it, but not a middle.
    return (a + b) / 2.0 if math.isfinite(a + b) else a / 2.0 + b / 2.0


def lmedian(values):
    """Middle value, or the lower of the two middle values."""
    return sorted(values)[(len(values) - 1) // 2]


CENTER = {"mean": mean, "median": median, "lmedian": lmedian}


def variance(values, about, ddof):
    """Sum of squared differences from ``about`` over (n - ddof); NaN if n <= ddof."""
    if len(values) <= ddof:
        return math.nan
    return add_up([(x - about) * (x - about) for x in values]) / (len(values) - ddof)


def mad(values, about):
    """Median of the absolute differences from ``about``."""
    return median([abs(x - about) for x in values])


def percentile(values, q):
    """Percentile with linear interpolation between the two nearest ranks."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * (q / 100.0)
    below = math.floor(position)
    lower = ordered[below]
    upper = ordered[min(below + 1, len(ordered) - 1)]
    t = position - below
    # From the nearer end, as NumPy does it: monotonic in q, exact at the ends.
    if t < 0.5:
        return lower + (upper - lower) * t
    return upper - (upper - lower) * (1.0 - t)


def ratio(a, b):
    """Quotient; NaN if there is nothing to divide by."""
    return a / b if b != 0 else math.nan


# ------------------------------------------------------------- the noise of a CCD


def each(numbers, n_frames):
    """One float per frame, from a number, a sequence of one, or one per frame."""
    try:
        numbers = [float(number) for number in numbers]
    except TypeError:
        numbers = [float(numbers)]
    return numbers * n_frames if len(numbers) == 1 else numbers


def noise_model(n_frames, gain=1.0, rdnoise=0.0, snoise=0.0, scales=None, zeros=None):
    """Parameters of every frame: list of (gain, rdnoise, snoise, scale, zero)."""
    options = (gain, rdnoise, snoise)
    columns = [each(numbers, n_frames) for numbers in options]
    columns.append(each(1.0 if scales is None else scales, n_frames))
    columns.append(each(0.0 if zeros is None else zeros, n_frames))
    return list(zip(*columns, strict=True))


def noise_variance(signal, gain, rdnoise, snoise):
    """Variance of a sample in its own data units: read, photon, sensitivity noise."""
    read = rdnoise / gain
    sensitivity = snoise * signal
    floor = READ_NOISE_FLOOR
    return max(read * read, floor) + signal / gain + sensitivity * sensitivity


# ----------------------------------------------------------------- the results


def statistic_of(values, weights, frames, n_frames, plan):
    """The combined value of the survivors of a column (never empty).

    ``frames`` are the numbers of the frames that the values come from.
    """
    name = plan.statistic
    if name in CENTER:
        return CENTER[name](values)
    if name == "sum":
        return add_up(values)
    if name == "min":
        return min(values)
    if name == "max":
        return max(values)
    if name == "variance":
        return variance(values, mean(values), plan.ddof)
    if name == "std":
        return root(variance(values, mean(values), plan.ddof))
    if name == "percentile":
        return percentile(values, plan.q)
    total = add_up(weights)
    if name == "quadrature":
        squares = [(w * x) * (w * x) for w, x in zip(weights, values, strict=True)]
        return ratio(root(add_up(squares)), total)
    if name == "nmodel":
        model = noise_model(n_frames, **noise_options(plan.noise))
        squares = []
        for k, w, x in zip(frames, weights, values, strict=True):
            gain, rdnoise, snoise, scale, _ = model[k]
            # Electrons per unit of the result: the frame was divided by its scale.
            square = noise_variance(max(0.0, x), gain * scale, rdnoise, snoise)
            squares.append(square * w * w)
        return ratio(root(add_up(squares)), total)
    weighted = add_up([w * x for w, x in zip(weights, values, strict=True)])
    if name == "wsum":
        return weighted
    if name == "wmean":
        return ratio(weighted, total)
    raise ValueError(f"unknown statistic {name!r}")


# ------------------------------------------- uncertainties from known variances


def noise_options(noise):
    """The options of a noise model, from those or from (gain, rdnoise, snoise)."""
    if isinstance(noise, dict):
        return noise
    return dict(zip(("gain", "rdnoise", "snoise"), noise, strict=True))


def level_of(image, weights, n, statistic):
    """The value that every sample would have had without noise."""
    if statistic == "sum":
        return image / n
    if statistic == "wsum":
        return ratio(image, add_up(weights))
    return image


def model_variances(level, frames, transforms, noise):
    """Variance of the raw samples of these frames, by the noise model.

    ``transforms`` holds (zero, factor, scale) of every frame.
    """
    model = noise_model(len(transforms), **noise_options(noise))
    variances = []
    for k in frames:
        gain, rdnoise, snoise, _, _ = model[k]
        zero, factor, scale = transforms[k]
        signal = level * (scale / factor) + zero
        signal = 0.0 if signal < 0.0 else signal
        read, sensitivity = rdnoise / gain, snoise * signal
        variances.append(read * read + signal / gain + sensitivity * sensitivity)
    return variances


def median_variance(n, lower):
    """Variance of the (lower) median of n normal samples of variance 1."""
    if n == 1:
        return 1.0
    if n == 2:
        return 1.0 - 1.0 / math.pi if lower else 0.5
    c = math.pi / 2.0 - 1.0 if n % 2 or lower else math.pi - 2.0
    return math.pi / (2.0 * (n + c))


def propagated(variances, transforms, weights, statistic):
    """Uncertainty of the statistic of samples with these raw variances.

    ``transforms`` holds (zero, factor, scale) of the frame of each.
    """
    n = len(variances)
    weighted = statistic in ("wmean", "wsum")
    terms = []
    for v, (_, factor, scale), w in zip(variances, transforms, weights, strict=True):
        slope = factor / scale
        square = w * w * (slope * slope) if weighted else slope * slope
        terms.append((math.nan if v < 0.0 else v) * square)
    total = add_up(terms)
    if statistic in ("sum", "wsum"):
        return root(total)
    if statistic == "mean":
        return root(total) / n
    if statistic == "wmean":
        return ratio(root(total), abs(add_up(weights)))
    if statistic in ("median", "lmedian"):
        typical = total / n
        if n >= 3:
            inverses = [1.0 / root(term) if term != 0.0 else math.inf for term in terms]
            inverse = add_up(inverses)
            harmonic = n / inverse if inverse != 0.0 else math.inf
            typical = (harmonic * harmonic * (n - 1.0) + typical) / n
        return root(typical * median_variance(n, statistic == "lmedian"))
    raise ValueError(f"not defined for {statistic!r}")


# ------------------------------------------------- uncertainties from the scatter


def uncertainty_of(values, weights, image, statistic, kind):
    """The uncertainty of the combined value from the scatter of the survivors."""
    n = len(values)
    if n == 0 or kind is None:
        return math.nan
    if kind == "mad_error":
        return MAD_TO_STD * mad(values, median(values)) / math.sqrt(n)
    if kind == "scatter":
        return scatter(values, weights, image, statistic)
    std = root(variance(values, mean(values), 0))
    if kind == "std_error":
        return std / math.sqrt(n)
    if kind == "std_sum":
        return std / math.sqrt(n) * n
    raise ValueError(f"unknown uncertainty {kind!r}")


def scatter(values, weights, image, statistic):
    """IRAF's sigma: scatter about the result, about the mean for sums; 0 if n = 1.

    Weighted where the statistic is, unless the weights do not sum to something
    positive.
    """
    about = mean(values) if statistic in ("sum", "wsum") else image
    n = len(values)
    squares = [(x - about) * (x - about) for x in values]
    total = add_up(weights)
    if statistic in ("wmean", "wsum", "quadrature", "nmodel") and total > 0:
        weighted = add_up([w * d for w, d in zip(weights, squares, strict=True)])
        return root(weighted / total * n / max(n - 1, 1))
    return root(add_up(squares) / max(n - 1, 1))
