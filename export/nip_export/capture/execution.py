"""What a network does in one forward pass: which modules run, in which order, on whose outputs."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nip_export.capture.hooks import evaluation_mode, fused_attention_disabled
from nip_runtime.errors import ExportError

DataId = tuple[int, int, int]
"""Identifies tensor contents: address, number of elements, and how often they were modified in place."""


def data_id(tensor: Tensor) -> DataId:
    """Equal for a tensor and its reshaped views, unequal after an in-place operation."""
    return tensor.data_ptr(), tensor.numel(), tensor._version


@dataclass(frozen=True)
class Call:
    """One call of one module.

    Attributes:
        index: position among all calls, by completion: a container stands after its children.
        first: number of calls completed when this one began; `first` ≤ i < `index` are the calls inside it.
        name: dotted name, "" for the model itself.
        module: the module.
        source: contents of the first tensor argument when the call began.
        result: contents of the output, or None if that is not one tensor.
        shape: per-sample shape of the output, () if there is none.
        returned: type name of the output.
    """

    index: int
    first: int
    name: str
    module: nn.Module
    source: DataId | None
    result: DataId | None
    shape: tuple[int, ...]
    returned: str

    @property
    def leaf(self) -> bool:
        """Whether the module has no submodules."""
        return next(self.module.children(), None) is None

    def __str__(self) -> str:
        shape = f"({', '.join(('N', *map(str, self.shape)))})" if self.result is not None else self.returned
        return f"{self.name} ({type(self.module).__name__}, {shape})"


@dataclass(frozen=True)
class Execution:
    """The calls of one forward pass, in order of completion, and the number of logits."""

    calls: tuple[Call, ...]
    classes: int

    def runs_once(self, call: Call) -> bool:
        """Whether the module of `call` runs once per forward pass, so that its activation is unambiguous."""
        return sum(other.module is call.module for other in self.calls) == 1


class Recorder:
    """Hooks that write down every call; the tensors seen stay alive so that no address is used twice."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._open: list[tuple[int, DataId | None]] = []
        self._alive: list[Tensor] = []

    def attach(self, name: str, module: nn.Module, stack: ExitStack) -> None:
        """Watch `module` until `stack` closes."""

        def begin(module: nn.Module, args: tuple[Any, ...]) -> None:
            source = next((arg for arg in args if isinstance(arg, Tensor)), None)
            self._open.append((len(self.calls), self._keep(source)))

        def end(module: nn.Module, args: tuple[Any, ...], output: object) -> None:
            first, source = self._open.pop()
            tensor = output if isinstance(output, Tensor) and output.is_floating_point() else None
            self.calls.append(
                Call(
                    index=len(self.calls),
                    first=first,
                    name=name,
                    module=module,
                    source=source,
                    result=self._keep(tensor),
                    shape=() if tensor is None else tuple(tensor.shape[1:]),
                    returned=type(output).__name__,
                )
            )

        stack.enter_context(module.register_forward_pre_hook(begin))
        stack.enter_context(module.register_forward_hook(end))

    def _keep(self, tensor: Tensor | None) -> DataId | None:
        if tensor is None:
            return None
        self._alive.append(tensor)
        return data_id(tensor)


def record_execution(model: nn.Module, example: Tensor) -> Execution:
    """Run `model` once on (at most two rows of) `example` (N, …) in eval mode and write down every call.

    Raises:
        ExportError: the model fails on the example, or does not return one tensor (N, C).
    """
    recorder = Recorder()
    with ExitStack() as stack:
        stack.enter_context(fused_attention_disabled())
        stack.enter_context(evaluation_mode(model))
        stack.enter_context(torch.no_grad())
        for name, module in model.named_modules():
            recorder.attach(name, module, stack)
        try:
            logits: object = model(example[:2])
        except Exception as error:
            raise ExportError(
                f"the model fails on an example of shape {tuple(example.shape)}: {error}; "
                "expected a batch as it was trained on"
            ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ExportError(
            f"expected the model to return logits (N, C), got {got}; wrap it to return them alone"
        )
    return Execution(calls=tuple(recorder.calls), classes=logits.shape[1])
