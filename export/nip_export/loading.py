"""The user's model from the command line: a factory by name, and a file of weights."""

from __future__ import annotations

import importlib
import pickle
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from nip_runtime.errors import ExportError


def load_model(spec: str, *, weights: Path | None = None) -> nn.Module:
    """Make the model and give it its weights.

    Args:
        spec: ``package.module:factory``; the factory is called without arguments and returns the model. It
            may also name a finished module. The current folder is searched too, as with ``python -m``.
        weights: ``.safetensors``, or ``.pt``/``.pth`` holding a state dict, loaded with
            ``weights_only=True``. Half precision is widened to the model's own.

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


def load_weights(model: nn.Module, path: Path) -> None:
    """Copy a file's weights into the model.

    Raises:
        ExportError: the file is missing, of another kind or damaged, or its names or shapes do not fit.
    """
    if not path.is_file():
        raise ExportError(f"expected weights at {path}, got nothing there; check the path")
    state = read_state(path)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reasons = " ".join(str(error).split())
        raise ExportError(
            f"the weights in {path} do not fit the model: {reasons[:400]}; expected exactly its state_dict"
        ) from error


def read_state(path: Path) -> Mapping[str, Tensor]:
    """Tensors by name from a `.safetensors` file or a torch checkpoint."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded: object = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ExportError(
            f"{path} holds more than tensors (it may run code when loaded) or is no torch checkpoint; save "
            "the state_dict alone: torch.save(model.state_dict(), path)"
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise ExportError(f"cannot read weights from {path}: {' '.join(str(error).split())}") from error
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ExportError(f"expected a state_dict (tensors by name) in {path}, got {type(loaded).__name__}")
    return loaded
