"""What an engine needs from whatever runs its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

T = TypeVar("T")


class Runner(Protocol[T]):
    """Runs onnxruntime sessions on tensors of one type T.

    T is numpy's array for `HostRunner` and onnxruntime's OrtValue for `DeviceRunner`; code written over this
    protocol serves both.
    """

    def run(
        self, session: Any, outputs: Sequence[str], inputs: Mapping[str, T], *, options: Any = None
    ) -> list[T]:
        """Run a session once.

        Args:
            session: an onnxruntime.InferenceSession.
            outputs: names of the outputs wanted, in the order wanted.
            inputs: a tensor for each input of the model.
            options: an onnxruntime.RunOptions for this run, such as ``providers.run_options`` makes.

        Raises:
            OutOfMemoryError: if memory, on the device or the host, does not hold the run.
            InputError: if a tensor is not on the device that the runner serves.
        """
        ...

    def from_host(self, array: NDArray[Any]) -> T:
        """The array as a tensor; without a copy where the device is the host and the array C-contiguous."""
        ...

    def to_host(self, tensor: T) -> NDArray[Any]:
        """The tensor as a numpy array; without a copy where the device is the host."""
        ...
