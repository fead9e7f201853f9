"""Answers that were computed before: files of one network at several budgets share their baselines."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np

from nip_evaluate.terms.threats import Images

T = TypeVar("T")


class Memory:
    """Keeps what a defence makes of a set of images, by the defence's name and the images' content.

    One memory serves evaluations of *one* network with *one* laboratory: names mean the same in all of them.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, bytes], Any] = {}

    def recall(self, name: str, images: Images | None, make: Callable[[], T]) -> T:
        """What was made under this name of these images (None: of nothing in particular), or made now."""
        key = (name, b"" if images is None else _digest(images))
        if key not in self._kept:
            self._kept[key] = make()
        found: T = self._kept[key]
        return found


def _digest(images: Images) -> bytes:
    digest = blake2b(repr((images.shape, images.dtype)).encode())
    digest.update(np.ascontiguousarray(images).data)
    return digest.digest()
