"""What a network does in one forward pass: which modules run, in which order, on whose outputs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from nip_export.network.adapted import named_layers
from nip_export.network.dataflow import Flow, Value, find_flow, reached_from, value_of, without_reshapes
from nip_export.network.hooks import evaluation_mode, fused_attention_disabled
from nip_export.network.pooling import TapKind
from nip_runtime.errors import ExportError

ROWS = 2
"""Images that are passed through the network to watch it."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of one module.

    Attributes:
        index: position among all calls, by completion: a container stands after its children.
        first: number of calls completed when this one began; `first` ≤ i < `index` are the calls inside it.
        depth: number of modules that this one was called within; 0 for the model itself.
        name: dotted name, "" for the model itself.
        module: the module.
        source: first tensor argument when the call began; None if there is none, or no gradient reaches it.
        result: the output, or None if that is not one tensor, or no gradient reaches it.
        shape: shape of the output with the batch axis in front, () if there is none.
        tensor: the output itself, if it is one tensor.
        returned: type name of the output.
    """

    index: int
    first: int
    depth: int
    name: str
    module: nn.Module
    source: Value | None
    result: Value | None
    shape: tuple[int, ...]
    tensor: Tensor | None
    returned: str

    @property
    def leaf(self) -> bool:
        """Whether the module has no submodules."""
        return next(self.module.children(), None) is None


@dataclass(frozen=True, eq=False)
class Execution:
    """The calls of one forward pass, in order of completion, and how the logits came about.

    Attributes:
        calls: of all modules.
        classes: number of logits C.
        flow: the way from input to logits.
        rows: number of images passed.
        leaf: (rows, …) the input, at the start of the gradient.
        logits: (rows, C).
        kinds: how values are to be read, as far as that was asked.
    """

    calls: tuple[Call, ...]
    classes: int
    flow: Flow
    rows: int
    leaf: Tensor
    logits: Tensor
    kinds: dict[Value, TapKind | None] = field(default_factory=dict)

    @cached_property
    def _numbers(self) -> Mapping[nn.Module, tuple[int, ...]]:
        """Per module the indices of its calls."""
        found: dict[nn.Module, list[int]] = {}
        for call in self.calls:
            found.setdefault(call.module, []).append(call.index)
        return {module: tuple(indices) for module, indices in found.items()}

    def runs(self, call: Call) -> int:
        """How often the module of `call` runs per forward pass."""
        return len(self._numbers[call.module])

    def occurrence(self, call: Call) -> int:
        """The how manieth call of its module this is, counted from 1."""
        return self._numbers[call.module].index(call.index) + 1

    @cached_property
    def returned(self) -> Mapping[Value, tuple[Call, ...]]:
        """Per value, reshapes taken away, the calls that made it; not those that merely hand it on."""
        found: dict[Value, list[Call]] = {}
        for call in self.calls:
            result = without_reshapes(call.result) if call.result is not None else None
            if result is not None and (call.source is None or without_reshapes(call.source) != result):
                found.setdefault(result, []).append(call)
        return {value: tuple(calls) for value, calls in found.items()}

    @cached_property
    def read(self) -> Mapping[Value, tuple[Call, ...]]:
        """Per value, reshapes taken away, the calls that read it first."""
        found: dict[Value, list[Call]] = {}
        for call in self.calls:
            if call.source is not None:
                found.setdefault(without_reshapes(call.source), []).append(call)
        return {value: tuple(calls) for value, calls in found.items()}


class Recorder:
    """Hooks that write down every call; the tensors seen stay alive, and with them the gradient's graph."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._open: list[tuple[int, Value | None]] = []

    def attach(self, name: str, module: nn.Module, stack: ExitStack) -> None:
        """Watch `module` until `stack` closes."""

        def begin(module: nn.Module, args: tuple[Any, ...]) -> None:
            source = next((arg for arg in args if isinstance(arg, Tensor)), None)
            self._open.append((len(self.calls), value_of(source) if source is not None else None))

        def end(module: nn.Module, args: tuple[Any, ...], output: object) -> None:
            first, source = self._open.pop()
            tensor = output if isinstance(output, Tensor) and output.is_floating_point() else None
            self.calls.append(
                Call(
                    index=len(self.calls),
                    first=first,
                    depth=len(self._open),
                    name=name,
                    module=module,
                    source=source,
                    result=value_of(tensor) if tensor is not None else None,
                    shape=() if tensor is None else tuple(tensor.shape),
                    tensor=tensor,
                    returned=type(output).__name__,
                )
            )

        stack.enter_context(module.register_forward_pre_hook(begin))
        stack.enter_context(module.register_forward_hook(end))


def record_execution(model: nn.Module, example: Tensor) -> Execution:
    """Run `model` once on (at most two rows of) `example` (N, …) in eval mode and write down every call.

    Raises:
        ExportError: the model fails on the example, does not return one tensor (N, C), or no gradient of it
            reaches the input.
    """
    recorder = Recorder()
    rows = example[:ROWS] if len(example) >= ROWS else example.repeat(ROWS, *(1,) * (example.ndim - 1))
    leaf = rows.detach().clone().requires_grad_()
    with ExitStack() as stack:
        stack.enter_context(fused_attention_disabled())
        stack.enter_context(evaluation_mode(model))
        stack.enter_context(torch.enable_grad())
        for name, module in named_layers(model):
            recorder.attach(name, module, stack)
        # A copy, so that a model may work on its input in place.
        logits = answer(model, leaf.clone())
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ExportError(
            f"expected the model to return logits (N, C), got {got}; wrap it to return them alone"
        )
    start, end = value_of(leaf), value_of(logits)
    flow = find_flow(start, end) if start is not None and end is not None else None
    if flow is None:
        raise ExportError(no_gradient(recorder.calls, start))
    return Execution(
        calls=tuple(recorder.calls),
        classes=logits.shape[1],
        flow=flow,
        rows=ROWS,
        leaf=leaf,
        logits=logits,
    )


def answer(model: nn.Module, x: Tensor) -> object:
    """What the model returns.

    Raises:
        ExportError: it fails; the message says why where that is known.
    """
    try:
        returned: object = model(x)
    except ExportError:
        raise
    except Exception as error:
        needed = required_arguments(model)
        if isinstance(error, TypeError) and len(needed) > 1:
            raise ExportError(
                f"the model takes {len(needed)} inputs ({', '.join(needed)}), expected one; wrap it so that "
                "the others are constants"
            ) from error
        if any(isinstance(module, nn.Embedding | nn.EmbeddingBag) for module in model.modules()) and (
            "indices" in str(error) or "embedding" in str(error)
        ):
            raise ExportError(
                "the model looks its input up in an embedding, so it takes integers; integer inputs are not "
                "supported: the defence adds small real changes to inputs, which whole numbers do not have"
            ) from error
        reason = " ".join(str(error).split())
        raise ExportError(
            f"the model fails on an example of shape {tuple(x.shape)}: {reason}; "
            "expected a batch as it was trained on"
        ) from error
    return returned


def required_arguments(model: nn.Module) -> list[str]:
    """Names of the inputs that the model cannot do without."""
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in kinds and p.default is inspect.Parameter.empty]


def no_gradient(calls: list[Call], start: Value | None) -> str:
    """Which layer the gradient does not get through."""
    reached = [
        call
        for call in calls
        if start is not None and call.result is not None and reached_from(start, call.result[0])
    ]
    stopped = [
        call
        for call in calls
        if call.result is None and call.tensor is not None and call.leaf and call.source is not None
    ]
    after = [call for call in stopped if not reached or call.index > reached[-1].index]
    if after:
        where = f"it ends at layer {after[0].name!r} ({type(after[0].module).__name__})"
    elif reached:
        where = f"it ends after layer {reached[-1].name!r} ({type(reached[-1].module).__name__})"
    else:
        where = f"it ends before the first layer, {calls[0].name!r}"
    return (
        f"no gradient of the logits reaches the input: {where}; expected neither torch.no_grad, "
        "inference_mode, detach, rounding, comparison nor sign on the way in eval mode, since influence is a "
        "gradient"
    )
