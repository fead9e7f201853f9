"""Runs sessions on tensors that stay on the device."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import DeviceError, InputError
from nip_runtime.run.providers import Device, DeviceKind
from nip_runtime.run.runners.captured import Captured, Copier, plain_options
from nip_runtime.run.runners.leaving import inside
from nip_runtime.run.runners.memory import host_view, telling_of_memory
from nip_runtime.support.dependencies import load


class DeviceRunner:
    """Runs with IOBinding: OrtValues in and out, in the device's own memory.

    An input is copied to the device once, by `from_host`, however many sessions it goes through; outputs are
    allocated on the device and come to the host only by `to_host`.

    Args:
        device: of the sessions; "cpu", "cuda:N" or "tensorrt:N".
        capture: replays a CUDA graph captured for every shape of input, from buffers that stay in place, for
            sessions opened with ``SessionSettings(cuda_graph=True)``; others run plainly. A capture is made
            when a shape comes for the first time, and in each thread anew, while nothing else may use the
            GPU: warm up every thread with every batch size first. On the CPU nothing is captured, but buffers
            stay all the same.
        max_captures: per session; further shapes run plainly.

    Raises:
        DeviceError: if onnxruntime cannot keep tensors on the device.
    """

    def __init__(self, device: Device, *, capture: bool = False, max_captures: int = 32) -> None:
        if device.memory is None or (capture and device.kind is DeviceKind.TENSORRT):
            raise DeviceError.mismatch(
                expected="a device whose memory tensors can stay in" + " while captured" * capture,
                got=str(device),
                fix="use HostRunner" if device.memory is None else "leave capture out",
            )
        self._device = device
        self._memory = (device.memory, device.index)
        self._plain_options = plain_options(device)
        self._ort = load("onnxruntime")
        self._captured = Captured(Copier(device), max_captures) if capture else None
        self._lock = threading.Lock()

    @property
    def device(self) -> Device:
        """Where the tensors stay."""
        return self._device

    def run(
        self, session: Any, outputs: Sequence[str], inputs: Mapping[str, Any], *, options: Any = None
    ) -> list[Any]:
        """See `Runner.run`. A run with ``options`` of its own is never captured."""
        for name, value in inputs.items():
            if value.device_name() != self._memory[0]:
                raise InputError.mismatch(
                    expected=f"{name} on {self._device}",
                    got=f"it on {value.device_name()}",
                    fix="bring it there with from_host",
                )
        with telling_of_memory(), inside:
            if self._captured is None or options is not None or not self._captured.serves(session):
                return self._plain(session, outputs, inputs, options or self._plain_options)
            # A captured graph, its buffers and its stream serve one run at a time.
            with self._lock:
                buffers = self._captured.find(session, outputs, inputs)
                if buffers is None:
                    results = self._plain(session, outputs, inputs, self._plain_options)
                    buffers = self._captured.keep(session, outputs, inputs, results)
                return results if buffers is None else self._captured.replay(session, buffers, inputs)

    def from_host(self, array: NDArray[Any]) -> Any:
        """See `Runner.from_host`. From `pinned_empty` the copy is quickest."""
        with telling_of_memory():
            return self._ort.OrtValue.ortvalue_from_numpy(np.asarray(array, order="C"), *self._memory)

    def to_host(self, tensor: Any) -> NDArray[Any]:
        """See `Runner.to_host`."""
        if tensor.device_name() == "cpu":
            return host_view(tensor)
        with telling_of_memory():
            array: NDArray[Any] = tensor.numpy()
        return array

    def _plain(
        self, session: Any, outputs: Sequence[str], inputs: Mapping[str, Any], options: Any
    ) -> list[Any]:
        binding = session.io_binding()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name in outputs:
            binding.bind_output(name, *self._memory)
        session.run_with_iobinding(binding, options)
        results: list[Any] = binding.get_outputs()
        return results
