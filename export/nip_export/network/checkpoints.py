"""Weights as training scripts save them: prefixes of wrappers, and dictionaries around the state dict."""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nip_runtime.errors import ExportError
from nip_runtime.support.kinds import SAFETENSORS, ZIP, kind_of

_log = logging.getLogger(__name__)

State = Mapping[str, Tensor]
PREFIXES = ("module.", "model.", "_orig_mod.", "ema.", "ema_model.", "net.", "network.", "backbone.")
"""What DataParallel, Lightning, torch.compile and averaging put before every name."""
WRAPPED = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "weights",
    "ema",
    "params",
)
"""Under which keys training scripts keep the state dict, the usual first."""
COUNTERS = ("n_averaged",)
"""What averaging keeps beside the weights."""
LISTED = 8
_AS_TRAINED = (
    "expected exactly its state_dict; name a function that builds the network as it was trained, with as "
    "many classes, such as def network(): return resnet18(num_classes=10)"
)


def load_weights(model: nn.Module, path: Path) -> None:
    """Copy a file's weights into the model; prefixes of wrappers are taken off its names, and that is logged.

    Raises:
        ExportError: the file is missing, of another kind or damaged, or its names or shapes do not fit.
    """
    if not path.is_file():
        got, fix = (
            ("a folder", "name the file in it") if path.is_dir() else ("nothing there", "check the path")
        )
        raise ExportError.mismatch(expected=f"weights at {path}", got=got, fix=fix)
    wanted = model.state_dict()
    state, prefix = fitted(read_state(path), set(wanted))
    if prefix:
        _log.warning("the names in %s begin with %r, which was taken off", path, prefix)
    missing = [name for name in wanted if name not in state]
    unknown = [name for name in state if name not in wanted]
    if missing or unknown:
        raise ExportError(
            f"the weights in {path} do not fit the model: "
            + "; ".join(
                f"{what} {len(names)}: {listed(names)}"
                for what, names in (("the model's missing", missing), ("unknown to the model", unknown))
                if names
            )
            + f"; {_AS_TRAINED}"
        )
    other = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if isinstance(tensor, Tensor) and state[name].shape != tensor.shape
    ]
    if other:
        raise ExportError(
            f"the weights in {path} do not fit the model, {len(other)} have other shapes: {listed(other)}; "
            f"{_AS_TRAINED}"
        )
    try:
        model.load_state_dict(dict(state))
    except RuntimeError as error:
        reasons = " ".join(str(error).split())
        raise ExportError(f"the weights in {path} do not fit the model: {reasons[:400]}") from error


def listed(names: list[str]) -> str:
    """The first few of them."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def fitted(state: State, wanted: set[str]) -> tuple[State, str]:
    """The state with the prefix taken off that makes most of its names known, and this prefix."""

    def known(candidate: State) -> int:
        return len(wanted & candidate.keys())

    best, taken = state, ""
    current, so_far = state, ""
    while known(best) < len(wanted):
        prefix = common_prefix(current)
        if prefix is None:
            break
        current = {
            name.removeprefix(prefix): value for name, value in current.items() if name.startswith(prefix)
        }
        so_far += prefix
        if known(current) > known(best):
            best, taken = current, so_far
    return best, taken


def common_prefix(state: State) -> str | None:
    """The wrapper's prefix that all names have; None if there is none."""
    names = [name for name in state if name not in COUNTERS]
    return next((prefix for prefix in PREFIXES if names and all(n.startswith(prefix) for n in names)), None)


def read_state(path: Path) -> State:
    """Tensors by name from a safetensors file or a torch checkpoint, out of the dictionary around them.

    Raises:
        ExportError: the file is damaged, may run code, is a scripted model, or holds no tensors by name.
    """
    loaded = read_tensors(path)
    keys: list[str] = []
    while isinstance(loaded, Mapping) and not all(isinstance(value, Tensor) for value in loaded.values()):
        inner = next((key for key in WRAPPED if isinstance(loaded.get(key), Mapping)), None)
        if inner is None:
            found = ", ".join(
                f"{key} ({type(value).__name__})" for key, value in list(loaded.items())[:LISTED]
            )
            raise ExportError(
                f"expected a state_dict (tensors by name) in {path}, got a dictionary of {found}; save the "
                f"state_dict alone, or under one of {', '.join(WRAPPED[:4])}"
            )
        keys.append(inner)
        loaded = loaded[inner]
    if not isinstance(loaded, Mapping) or not loaded:
        got = "an empty dictionary" if isinstance(loaded, Mapping) else type(loaded).__name__
        raise ExportError(f"expected a state_dict (tensors by name) in {path}, got {got}")
    if keys:
        _log.info("took the weights under %s in %s", " → ".join(keys), path)
    return loaded


def read_tensors(path: Path) -> object:
    """What a file of weights holds; its kind is told by its first bytes, whatever its name ends in.

    Raises:
        ExportError: as for :func:`read_state`.
    """
    with path.open("rb") as file:
        kind = kind_of(file.read(32))
    if kind not in (None, SAFETENSORS, ZIP):
        raise ExportError.mismatch(
            expected=f"weights in {path}",
            got=kind or "",
            fix="name a state_dict of torch.save or safetensors",
        )
    try:
        if kind == SAFETENSORS:
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of scripted models, which are refused below
            loaded: object = torch.load(path, map_location="cpu", weights_only=True)
            return loaded
    except Exception as error:  # what the reader of pickles raises for other bytes is of any kind
        reason = " ".join(str(error).split())
        if "TorchScript" in reason or "torch.jit" in reason:
            raise ExportError(
                f"{path} holds a scripted model, expected weights; save the state_dict of the Python module "
                "it was made from: torch.save(model.state_dict(), path)"
            ) from error
        if kind is None or isinstance(error, pickle.UnpicklingError):
            raise ExportError(
                f"{path} holds more than tensors (it may run code when loaded) or is no torch checkpoint; "
                "save the state_dict alone: torch.save(model.state_dict(), path)"
            ) from error
        raise ExportError(
            f"cannot read weights from {path}, cut off or damaged: {reason}; copy or save it again"
        ) from error
