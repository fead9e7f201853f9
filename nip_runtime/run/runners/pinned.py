"""Page-locked host memory, which a GPU copies from and to without a detour."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nip_runtime.run.runners.driver import cuda_driver
from nip_runtime.run.runners.memory import lend


class _Pages:
    """Page-locked memory, freed with its last array."""

    def __init__(self, size_bytes: int, index: int) -> None:
        driver = cuda_driver(index)
        self.address = driver.lock_pages(size_bytes)
        freeing = weakref.finalize(self, driver.free_pages, self.address)
        freeing.atexit = False  # at the end of the process the driver may be gone before us


def pinned_empty(shape: Sequence[int], dtype: DTypeLike = np.float32, *, index: int = 0) -> NDArray[Any]:
    """An uninitialised array in page-locked memory, to fill with images again and again.

    Such memory is scarce: keep a few arrays and reuse them.

    Args:
        shape: of the array, (N, C, H, W) say.
        dtype: of the array.
        index: of a CUDA device; the memory is page-locked for all of them.

    Raises:
        DeviceError: if there is no NVIDIA driver, no such device, or not enough memory.
    """
    kind = np.dtype(dtype)
    pages = _Pages(max(1, math.prod(shape)) * kind.itemsize, index)
    return lend(pages, pages.address, tuple(shape), kind.name)
