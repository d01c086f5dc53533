from collections.abc import Sequence
from typing import Any

from numpy import bool_, float64, floating
from numpy.typing import NDArray

class Recipe:
    def __new__(cls, plan: Any) -> Recipe: ...

def combine(
    pixels: Any,
    plan: Recipe,
    outputs: dict[str, NDArray[Any] | None],
    masks: Any,
    weights: Any,
    zero: Any,
    factor: Any,
    scale: Any,
    fits: Sequence[Any] | None,
    variances: Any,
    errors: Sequence[Any] | None,
    flags: Any,
    places: Any,
    zeroed: bool,
    n_threads: int | None,
) -> None: ...
def combine_column(
    values: NDArray[Any], plan: Recipe, mask: NDArray[bool_] | None
) -> tuple[float, NDArray[bool_], float, float, float, int, int]: ...
def diagnose_column(
    values: NDArray[Any], plan: Recipe, mask: NDArray[bool_] | None
) -> tuple[NDArray[bool_], floating, floating, floating, int, int]: ...
def reduce_column(
    values: NDArray[Any],
    plan: Recipe,
    mask: NDArray[bool_] | None,
    weights: NDArray[Any] | None = None,
) -> float: ...
def percentiles_of_column(
    values: NDArray[Any],
    q: NDArray[float64],
    single: bool,
    mask: NDArray[bool_] | None,
) -> NDArray[float64]: ...
def grow_mask(
    mask: NDArray[bool_], radius: float, n_threads: int | None
) -> NDArray[bool_]: ...
def simd_level() -> str: ...
def simd_levels() -> list[str]: ...
def default_threads() -> int: ...
def set_default_threads(n: int) -> None: ...
