"""Runs sessions on numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class HostRunner:
    """Runs with ``session.run``: numpy arrays in and out.

    Right for the CPU. On a GPU it copies every input in and every output out, run by run.
    """

    def run(
        self,
        session: Any,
        outputs: Sequence[str],
        inputs: Mapping[str, NDArray[Any]],
        *,
        options: Any = None,
    ) -> list[NDArray[Any]]:
        """See `Runner.run`."""
        results: list[NDArray[Any]] = session.run(list(outputs), dict(inputs), options)
        return results

    def take(self, tensor: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
        """See `Runner.take`."""
        return tensor.take(rows, axis=0)

    def from_host(self, array: NDArray[Any]) -> NDArray[Any]:
        """See `Runner.from_host`."""
        return array

    def to_host(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """See `Runner.to_host`."""
        return tensor
