"""Buffers that stay in place, for CUDA graphs: one set per session and shape of input.

A captured graph reads and writes the very addresses it was captured with, so inputs are copied into its
buffers and outputs out of them, both on the device.
Source: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#using-cuda-graphs-preview
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from nip_runtime.errors import InputError
from nip_runtime.file.container.encoder import encode_model, encode_node, encode_value
from nip_runtime.run.providers import CUDA, Device, DeviceKind, SessionSettings, open_session, run_options
from nip_runtime.run.runners.memory import DTYPES

_Key = tuple[tuple[str, ...], tuple[tuple[str, str, tuple[int, ...]], ...]]


def plain_options(device: Device) -> Any:
    """Options of a run that is not captured: None where nothing ever is.

    None costs nothing; options without a graph's number cost more than a small run, for onnxruntime's Python
    looks for the number and catches its own exception.
    """
    return run_options(device) if device.kind is DeviceKind.CUDA else None


class Copier:
    """Copies OrtValues within a device, by a session that does nothing else.

    onnxruntime offers no copy from device to device that all its versions know.

    Args:
        device: of the values.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self._options = plain_options(device)
        self._sessions: dict[tuple[tuple[str, int], ...], Any] = {}

    def copy(self, values: Sequence[Any], into: Sequence[Any] = ()) -> list[Any]:
        """Copy ``values``, into as many OrtValues of the same types and shapes or into new ones."""
        session = self._session(tuple((value.data_type(), len(value.shape())) for value in values))
        binding = session.io_binding()
        for index, value in enumerate(values):
            binding.bind_ortvalue_input(f"x{index}", value)
            if into:
                binding.bind_ortvalue_output(f"y{index}", into[index])
            else:
                binding.bind_output(f"y{index}", self.device.memory, self.device.index)
        session.run_with_iobinding(binding, self._options)
        copies: list[Any] = binding.get_outputs()
        return copies

    def _session(self, types: tuple[tuple[str, int], ...]) -> Any:
        if types not in self._sessions:
            tensors = [(_dtype(name), [f"d{axis}" for axis in range(rank)]) for name, rank in types]
            model = encode_model(
                nodes=[encode_node("Identity", [f"x{i}"], [f"y{i}"]) for i in range(len(types))],
                inputs=[encode_value(f"x{i}", *tensor) for i, tensor in enumerate(tensors)],
                outputs=[encode_value(f"y{i}", *tensor) for i, tensor in enumerate(tensors)],
            )
            # No threads of its own: they would wait for work that never comes.
            self._sessions[types] = open_session(model, self.device, settings=SessionSettings(threads=1))
        return self._sessions[types]


@dataclass(frozen=True)
class Buffers:
    """What one captured graph reads and writes.

    Args:
        binding: of the inputs and outputs below.
        options: of the run, with the graph's number.
        inputs: OrtValues in the order of the names in ``names``.
        names: of the inputs.
        outputs: OrtValues in the order asked for.
    """

    binding: Any
    options: Any
    names: tuple[str, ...]
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]


class Captured:
    """The buffers of all graphs of all sessions of one device. Not safe from several threads at once.

    Args:
        copier: for the device.
        most: graphs per session.
    """

    def __init__(self, copier: Copier, most: int) -> None:
        self._copier = copier
        self._most = most
        self._serves: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
        self._buffers: WeakKeyDictionary[Any, dict[_Key, Buffers]] = WeakKeyDictionary()

    def serves(self, session: Any) -> bool:
        """Whether the session captures graphs; on the CPU each one is taken to."""
        if self._copier.device.kind is not DeviceKind.CUDA:
            return True
        if session not in self._serves:
            options = session.get_provider_options().get(CUDA, {})
            self._serves[session] = str(options.get("enable_cuda_graph", "0")).lower() in ("1", "true")
        return self._serves[session]

    def find(self, session: Any, outputs: Sequence[str], inputs: Mapping[str, Any]) -> Buffers | None:
        """Buffers for these outputs and shapes of input, if there are any."""
        return self._buffers.get(session, {}).get(_key(outputs, inputs))

    def keep(
        self, session: Any, outputs: Sequence[str], inputs: Mapping[str, Any], results: Sequence[Any]
    ) -> Buffers | None:
        """Make buffers like the inputs and results of a plain run; None if the session has its share."""
        kept = self._buffers.setdefault(session, {})
        if len(kept) >= self._most:
            return None
        held_in = self._copier.copy(list(inputs.values()))
        held_out = self._copier.copy(results)
        binding = session.io_binding()
        for name, value in zip(inputs, held_in, strict=True):
            binding.bind_ortvalue_input(name, value)
        for name, value in zip(outputs, held_out, strict=True):
            binding.bind_ortvalue_output(name, value)
        options = run_options(self._copier.device, graph=len(kept) + 1)
        buffers = Buffers(binding, options, tuple(inputs), tuple(held_in), tuple(held_out))
        kept[_key(outputs, inputs)] = buffers
        return buffers

    def replay(self, session: Any, buffers: Buffers, inputs: Mapping[str, Any]) -> list[Any]:
        """Run with the buffers; onnxruntime captures at the first of these runs and replays from then on."""
        self._copier.copy([inputs[name] for name in buffers.names], buffers.inputs)
        session.run_with_iobinding(buffers.binding, buffers.options)
        # The next replay writes over the buffers; what the caller holds stays.
        return self._copier.copy(buffers.outputs)


def _dtype(name: str) -> str:
    if name not in DTYPES:
        raise InputError.mismatch(
            expected=f"tensors among {', '.join(DTYPES)} for captured runs",
            got=name,
            fix="run without capture",
        )
    return DTYPES[name]


def _key(outputs: Sequence[str], inputs: Mapping[str, Any]) -> _Key:
    shapes = sorted((name, value.data_type(), tuple(value.shape())) for name, value in inputs.items())
    return tuple(outputs), tuple(shapes)
