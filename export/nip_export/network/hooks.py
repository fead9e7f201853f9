"""Activations of chosen layers, kept in the autograd graph, through hooks that do not outlive their block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from nip_export.network.points import Point, resolve_points
from nip_runtime.errors import ExportError


@contextmanager
def fused_attention_disabled() -> Iterator[None]:
    """Make transformer layers call their submodules.

    In eval mode `nn.TransformerEncoderLayer` otherwise runs one fused kernel, past every submodule's hooks.
    """
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[nn.Module]:
    """Put every module in eval mode for the block, then give each its own training flag back.

    Observers of quantisation-aware training rest too: in eval mode they would go on adjusting the scales of
    the user's model. And what was compiled, the model or a part of it, runs as it was written: compiled code
    hides layers, is compiled anew for every hook, and lets only one gradient through.
    """
    training = [(module, module.training) for module in model.modules()]
    observing = [
        (switch, switch.clone())
        for module in model.modules()
        if isinstance(switch := getattr(module, "observer_enabled", None), Tensor)
    ]
    model.eval()
    for switch, _ in observing:
        switch.fill_(0)
    try:
        with torch.compiler.set_stance("force_eager"):
            yield model
    finally:
        for switch, before in observing:
            switch.copy_(before)
        for module, flag in training:
            # Not `train(flag)`: that would recurse and overwrite submodules frozen by the user.
            module.training = flag


class Capture:
    """Context manager that keeps what named layers return, or read, during a forward pass.

        with Capture(model, ["features.2"]) as captured:
            logits = model(x)
        captured.activations["features.2"]    # what the layer returned, in the autograd graph

    Besides layers, ``name:input`` is what a layer reads and ``name#2`` what its second call returns.
    An activation lies *on* the way to the logits, so `torch.autograd.grad(logits[:, c].sum(), activation)`
    works. The rest of the network receives a clone, so a later in-place operation (`ReLU(inplace=True)`)
    leaves the activation as it was at this place. Each forward pass of `model` inside the block
    replaces the activations of the one before.

    Args:
        model: any module; its mode and parameters are left alone.
        layers: dotted names as in `model.named_modules()`, or places as above.
        retain_grad: also keep `.grad` on the activations, for use with `backward()`.

    Raises:
        ExportError: on entry for an unknown or repeated name; during the forward pass if a tapped layer runs
            twice without a call being named, returns or reads something else than a tensor, or does not run.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], *, retain_grad: bool = False) -> None:
        self.activations: dict[str, Tensor] = {}
        self._model = model
        self._layers = tuple(layers)
        self._retain_grad = retain_grad
        self._cleanup: ExitStack | None = None
        self._calls: Counter[str] = Counter()

    def __enter__(self) -> Self:
        if self._cleanup is not None:
            raise ExportError("this Capture is already active; leave its block before entering it again")
        points = resolve_points(self._model, self._layers)
        with ExitStack() as stack:
            stack.enter_context(fused_attention_disabled())
            stack.enter_context(self._model.register_forward_pre_hook(self._begin))
            for point in points.values():
                hook = self._input_keeper(point) if point.at_input else self._output_keeper(point)
                stack.enter_context(
                    point.module.register_forward_pre_hook(hook)
                    if point.at_input
                    else point.module.register_forward_hook(hook)
                )
            stack.enter_context(self._model.register_forward_hook(self._end))
            self._cleanup = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._cleanup is not None:
            self._cleanup.close()
            self._cleanup = None

    def _begin(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.activations.clear()
        self._calls.clear()

    def _end(self, module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        silent = [name for name in self._layers if name not in self.activations]
        if silent:
            raise ExportError(
                f"tapped layers did not run in the forward pass: {', '.join(silent)}; "
                "tap a layer that the model really uses"
            )

    def _output_keeper(self, point: Point) -> Any:
        def keep(module: nn.Module, args: tuple[Any, ...], output: object) -> Tensor | None:
            return self._keep(point, output, "returns")

        return keep

    def _input_keeper(self, point: Point) -> Any:
        def keep(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            place = next((i for i, arg in enumerate(args) if isinstance(arg, Tensor)), 0)
            kept = self._keep(point, args[place] if args else None, "reads")
            return None if kept is None else (*args[:place], kept, *args[place + 1 :])

        return keep

    def _keep(self, point: Point, value: object, does: str) -> Tensor | None:
        """Keep a value and return a copy to go on with; None if another call is meant."""
        self._calls[point.name] += 1
        if point.call not in (None, self._calls[point.name]):
            return None
        what = f"layer {point.layer!r} ({type(point.module).__name__})"
        if not isinstance(value, Tensor):
            raise ExportError(
                f"{what} {does} a {type(value).__name__}, expected one tensor; tap the layer around it or "
                "the one after it"
            )
        if point.name in self.activations:
            raise ExportError(
                f"{what} runs more than once in a forward pass, so its activation is ambiguous; name a call, "
                f"such as {point.layer}#2, or tap the block around it"
            )
        self.activations[point.name] = value
        if self._retain_grad and value.requires_grad:
            value.retain_grad()
        return value.clone()
