"""The user's model from the command line: a factory by name, and a file of weights."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from nip_export.network.checkpoints import load_weights
from nip_export.network.rebuilt import OnnxNetwork
from nip_runtime.errors import ExportError


def load_model(spec: str, *, weights: Path | None = None) -> nn.Module:
    """Make the model and give it its weights.

    Args:
        spec: ``package.module:factory``; the factory is called without arguments and returns the model. It
            may also name a finished module. The current folder is searched too, as with ``python -m``.
        weights: ``.safetensors``, or ``.pt``/``.pth`` holding a state dict, loaded with
            ``weights_only=True``. Half precision is widened to the model's own; prefixes and dictionaries
            that training scripts put around it are taken off.

    Raises:
        ExportError: the factory cannot be imported or fails, or the weights do not fit.
    """
    made = find(spec)
    if not isinstance(made, nn.Module):
        if not callable(made):
            raise ExportError(
                f"expected {spec} to be a function or a torch module, got {type(made).__name__}"
            )
        made = call(spec, made)
    if weights is not None:
        load_weights(made, weights)
    return made.eval()


def find(spec: str) -> object:
    """The object that `package.module:name` names."""
    module_name, _, name = spec.partition(":")
    if not module_name or not name:
        raise ExportError(
            f"expected a model as package.module:factory, got {spec!r}; for example my_nets:resnet"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        known = error.name == module_name or module_name.startswith(f"{error.name}.")
        raise ExportError(
            f"cannot import {module_name!r}: no module named {error.name!r}; "
            + ("run this in the folder that holds it, or install it" if known else f"{module_name} needs it")
        ) from error
    except Exception as error:
        raise ExportError(f"cannot import {module_name!r}: {type(error).__name__}: {error}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise ExportError(f"{module_name!r} has no {name!r}; name a function that returns the model")
        found = getattr(found, part)
    return found


def call(spec: str, factory: Callable[[], Any]) -> nn.Module:
    """Call the factory and check what it returns."""
    try:
        made = factory()
    except Exception as error:
        raise ExportError(
            f"{spec}() failed: {type(error).__name__}: {error}; it must work without arguments"
        ) from error
    if not isinstance(made, nn.Module):
        raise ExportError(f"expected {spec}() to return a torch.nn.Module, got {type(made).__name__}")
    return made


def image_channels(model: nn.Module) -> int | None:
    """How many channels image files are read with: what the first convolution takes; None if that is unclear.

    Files say little of it: radiographs are often stored grey for networks of three channels.
    """
    if isinstance(model, OnnxNetwork):
        channels = model.shape[0]
        return channels if channels in (1, 3) and len(model.shape) == 3 else None
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels if module.in_channels in (1, 3) else None
    return None
