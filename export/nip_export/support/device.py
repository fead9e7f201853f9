"""Where torch works while a file is made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn

from nip_runtime.errors import ExportError


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters or buffers are; the CPU if it has none."""
    first = next(chain(model.parameters(), model.buffers()), None)
    return first.device if first is not None else torch.device("cpu")


def torch_device(name: str) -> torch.device:
    """A device that torch can work on.

    Args:
        name: ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        ExportError: another name, or a CUDA device that this torch does not have.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ExportError(f"device: expected cpu, cuda or cuda:1, got {name!r}; name one of these") from error
    if device.type not in ("cpu", "cuda"):
        raise ExportError(f"device: expected cpu, cuda or cuda:1, got {name!r}; name one of these")
    if device.type == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (device.index or 0) >= count:
        why = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise ExportError(
            f"device: expected a CUDA device of torch's, got {name!r}: torch {torch.__version__}, {why}, "
            f"sees {count}; install a build and a driver that fit, or leave the device out"
        )
    return device


@contextmanager
def usual_modes() -> Iterator[None]:
    """Gradients on, no inference mode, new tensors in float32, whatever the caller has set for itself."""
    kind = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float32)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(kind)


@contextmanager
def placed(model: nn.Module, name: str | None) -> Iterator[None]:
    """The model on a device while the block runs, and back where it was afterwards.

    Sums stay in float32 there: the finished file is compared with them to 1e-4 of a logit.

    Args:
        model: on one device.
        name: see :func:`torch_device`; None: it stays where it is.

    Raises:
        ExportError: as :func:`torch_device`.
    """
    home = device_of(model)
    device = home if name is None else torch_device(name)
    rounding = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    try:
        if device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        if device != home:
            model.to(device)
        yield
    finally:
        if device != home:
            model.to(home)
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = rounding
