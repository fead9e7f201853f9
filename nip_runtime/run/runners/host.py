"""Runs sessions on numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from nip_runtime.run.runners.leaving import inside
from nip_runtime.run.runners.memory import telling_of_memory


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
        with telling_of_memory(), inside:
            results: list[NDArray[Any]] = session.run(list(outputs), dict(inputs), options)
        return results

    def from_host(self, array: NDArray[Any]) -> NDArray[Any]:
        """See `Runner.from_host`."""
        return array

    def to_host(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """See `Runner.to_host`."""
        return tensor
