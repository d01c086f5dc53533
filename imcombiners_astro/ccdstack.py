# Licensed under a 3-clause BSD style license - see LICENSE
"""The samples and the mask of a `~imcombiners_astro.CCDCombiner`."""

import numpy as np
from astropy.nddata import CCDData

from imcombiners_astro.errors import EmptyInputError
from imcombiners_astro.planes import Plan, combine_planes

__all__ = ["CCDStack", "are_ours", "check_images"]

# Bytes of the mask that a rejection fills before it is joined with the one that is
# there: enough pixels to share among threads, few enough to stay in the cache.
_MASK_NBYTES = 16 * 2**20

_COUNT = Plan(statistic="mean")


class _NoImageError(EmptyInputError, TypeError):
    """There is no image; ccdproc 2.5 raises a TypeError."""


class CCDStack:
    """
    A stack of images, copied in their own type until somebody looks at it.

    Parameters
    ----------
    ccds : list of `~astropy.nddata.CCDData`
        N images of one shape, with real numbers in NumPy arrays.
    dtype : `~numpy.dtype`
        Type that the samples have for the user.

    Notes
    -----
    16-bit images, say, take a quarter of the float64 stack that the user is shown, and
    the kernels read them faster. `array` makes the stack that was promised, once; from
    then on its data and its mask are what counts, because the user may write to them.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from imcombiners_astro.ccdstack import CCDStack
    >>> images = [CCDData(np.array([k, 3], np.uint16), unit="adu") for k in (1, 2)]
    >>> stack = CCDStack(images, np.dtype(float))
    >>> stack.samples.dtype, stack.mask is None
    (dtype('uint16'), True)
    >>> stack.array.mask[0, 1] = True
    >>> stack.samples.dtype, stack.mask[0]
    (dtype('float64'), array([False,  True]))
    """

    def __init__(self, ccds, dtype):
        shape = (len(ccds), *ccds[0].shape)
        self._dtype = dtype
        self._array = None
        self._samples = np.empty(shape, _own_dtype(ccds, dtype))
        self._mask = None
        for k, ccd in enumerate(ccds):
            self._samples[k] = ccd.data
            if ccd.mask is not None and np.any(ccd.mask):
                self.writable_mask()[k] = ccd.mask

    @property
    def shape(self):
        """(N, *shape of an image)."""
        return self.samples.shape

    @property
    def dtype(self):
        """Type of the samples as the user sees them."""
        return self._dtype if self._array is None else self._array.dtype

    @property
    def samples(self):
        """All samples, masked or not: `~numpy.ndarray`, of their own type."""
        return self._samples if self._array is None else np.asarray(self._array.data)

    @property
    def mask(self):
        """Bool `~numpy.ndarray` like the samples, or None if nothing is masked."""
        if self._array is None:
            return self._mask
        mask = np.ma.getmask(self._array)
        return None if mask is np.ma.nomask else mask

    def writable_mask(self):
        """Give the mask itself, made if there is none."""
        if self.mask is None:
            blank = np.zeros(self.shape, bool)
            if self._array is None:
                self._mask = blank
            else:
                self._array.mask = blank
        return self.mask

    @property
    def array(self):
        """The stack as a `~numpy.ma.MaskedArray`; what is written there counts."""
        if self._array is None:
            mask = self.writable_mask()
            samples = self._samples.astype(self._dtype, copy=False)
            self._array = np.ma.MaskedArray(samples, mask=mask)
            self._samples = self._mask = None
        return self._array

    @array.setter
    def array(self, value):
        self._array = np.ma.asanyarray(value)
        self._samples = self._mask = None

    def image(self, k):
        """Image `k` as a masked array in the type of the user."""
        if self._array is not None:
            return self._array[k]
        mask = None if self._mask is None else self._mask[k].copy()
        samples = self._samples[k].astype(self._dtype)
        return np.ma.MaskedArray(samples, mask=False if mask is None else mask)

    @property
    def readable(self):
        """Whether the kernels read the type that the samples have now."""
        return _is_readable(self.samples.dtype)

    def work(self):
        """Type of the workspace in which the unscaled samples are exact."""
        samples = self.samples.dtype
        short = samples.kind in "iu" and samples.itemsize <= 2
        # float32 for float32 where the user asked for it, as everywhere.
        same = samples.str[1:] == "f4" and self.dtype == np.float32
        return "f4" if short or same else "f8"

    def all_finite(self):
        """Whether every sample, masked or not, is a finite number."""
        samples = self.samples
        if not self.readable:
            return bool(np.isfinite(samples).all())
        if samples.dtype.kind != "f":
            return True
        n_used = np.empty(self.shape[1:], np.uint16)
        combine_planes(samples, _COUNT, {"n_used": n_used})
        return bool((n_used == len(samples)).all())

    def parts(self):
        """Yield slices along the first axis of an image, for some MB of mask each."""
        n_frames, n_rows, *rest = self.shape
        step = max(1, _MASK_NBYTES // max(1, n_frames * int(np.prod(rest))))
        for start in range(0, n_rows, step):
            yield slice(start, start + step)

    def reject(self, step):
        """
        Mask what a rejection rejects among all samples, masked ones included.

        Parameters
        ----------
        step : (str, dict)
            As in `~imcombiners_astro.planes.Plan`. Samples that are not finite are
            masked as well.
        """
        plan = Plan(steps=(step,), work=self.work(), independent=True)
        samples, mask = self.samples, self.writable_mask()
        for rows in self.parts():
            rejected = np.empty(mask[:, rows].shape, bool)
            combine_planes(samples[:, rows], plan, {"mask_rej": rejected})
            mask[:, rows] |= rejected


def _is_readable(dtype):
    """Whether the kernels read samples of a type."""
    return dtype.kind in "iu" or dtype.str[1:] in ("f4", "f8")


def _own_dtype(ccds, dtype):
    """Type that holds all samples exactly, if the kernels read it; else `dtype`."""
    own = np.result_type(*{ccd.data.dtype for ccd in ccds})
    return own if _is_readable(own) and np.can_cast(own, dtype) else dtype


def check_images(images):
    """
    Check that images can be stacked.

    Parameters
    ----------
    images : list
        What the user gave.

    Raises
    ------
    TypeError
        There is none, something is not a CCDData, or shapes or units differ.
    """
    if not images:
        raise _NoImageError("ccd_iter is empty: there is no image to combine.")
    for k, image in enumerate(images):
        if not isinstance(image, CCDData):
            raise TypeError(
                "ccd_list should only contain CCDData objects; image "
                f"{k} is of type {type(image).__name__}."
            )
        first = images[0]
        if image.shape != first.shape:
            raise TypeError(
                f"CCDData objects are not the same size: image 0 has the shape "
                f"{first.shape}, image {k} {image.shape}."
            )
        if image.unit != first.unit:
            raise TypeError(
                f"CCDData objects don't have the same unit: image 0 is in "
                f"{first.unit!s}, image {k} in {image.unit!s}."
            )


def are_ours(images, dtype):
    """Whether `CCDStack` takes these images and this type."""
    return _is_readable(np.dtype(dtype)) and all(
        isinstance(image.data, np.ndarray)
        and image.data.dtype.kind in "biuf"
        and isinstance(image.mask, np.ndarray | np.generic | bool | None)
        for image in images
    )
