"""Activations of chosen layers, kept in the autograd graph, through hooks that do not outlive their block."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

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
    """Put every module in eval mode for the block, then give each its own training flag back."""
    training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield model
    finally:
        for module, flag in training:
            # Not `train(flag)`: that would recurse and overwrite submodules frozen by the user.
            module.training = flag


def resolve_layers(model: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    """Submodules of `model` by dotted name, in the order of `names`.

    Raises:
        ExportError: a name is unknown (close matches are listed), repeated, or the list is empty.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    modules.pop("", None)
    if not names:
        raise ExportError("expected at least one layer name to tap, got none; name a layer or use 'auto'")
    found: dict[str, nn.Module] = {}
    for name in names:
        if name not in modules:
            close = difflib.get_close_matches(name, modules, n=5, cutoff=0.4) or list(modules)[:5]
            raise ExportError(
                f"the model has no layer named {name!r}; close matches: {', '.join(close) or 'none'} "
                "(names are those of model.named_modules())"
            )
        if name in found:
            raise ExportError(f"layer {name!r} is tapped twice; name each layer once")
        found[name] = modules[name]
    return found


class Capture:
    """Context manager that keeps the outputs of named layers during a forward pass.

        with Capture(model, ["features.2"]) as captured:
            logits = model(x)
        captured.activations["features.2"]    # what the layer returned, in the autograd graph

    An activation lies *on* the way to the logits, so `torch.autograd.grad(logits[:, c].sum(), activation)`
    works. The rest of the network receives a clone, so a later in-place operation (`ReLU(inplace=True)`)
    leaves the activation as it was when its layer returned. Each forward pass of `model` inside the block
    replaces the activations of the one before.

    Args:
        model: any module; its mode and parameters are left alone.
        layers: dotted names as in `model.named_modules()`.
        retain_grad: also keep `.grad` on the activations, for use with `backward()`.

    Raises:
        ExportError: on entry for an unknown or repeated name; during the forward pass if a tapped layer
            runs twice, returns something else than one tensor, or does not run at all.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], *, retain_grad: bool = False) -> None:
        self.activations: dict[str, Tensor] = {}
        self._model = model
        self._layers = tuple(layers)
        self._retain_grad = retain_grad
        self._cleanup: ExitStack | None = None

    def __enter__(self) -> Self:
        if self._cleanup is not None:
            raise ExportError("this Capture is already active; leave its block before entering it again")
        modules = resolve_layers(self._model, self._layers)
        with ExitStack() as stack:
            stack.enter_context(fused_attention_disabled())
            stack.enter_context(self._model.register_forward_pre_hook(self._begin))
            for name, module in modules.items():
                stack.enter_context(module.register_forward_hook(self._keeper(name)))
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

    def _end(self, module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        silent = [name for name in self._layers if name not in self.activations]
        if silent:
            raise ExportError(
                f"tapped layers did not run in the forward pass: {', '.join(silent)}; "
                "tap a layer that the model really uses"
            )

    def _keeper(self, name: str) -> Any:
        def keep(module: nn.Module, args: tuple[Any, ...], output: object) -> Tensor:
            if not isinstance(output, Tensor):
                raise ExportError(
                    f"layer {name!r} ({type(module).__name__}) returns a {type(output).__name__}, expected "
                    "one tensor; tap the layer around it or the one after it"
                )
            if name in self.activations:
                raise ExportError(
                    f"layer {name!r} ({type(module).__name__}) runs more than once in a forward pass, so its "
                    "activation is ambiguous; tap the block around it"
                )
            self.activations[name] = output
            if self._retain_grad and output.requires_grad:
                output.retain_grad()
            return output.clone()

        return keep
