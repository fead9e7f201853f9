"""The backbone without the defence: cut out of the file, or a file of the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.file.container import Container, read_container
from nip_runtime.file.container.infos import TensorInfo
from nip_runtime.file.manifest import Manifest
from nip_runtime.file.names import RAW_LOGITS
from nip_runtime.operate.bench.shares import Look
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.run.engine.parts import plain_part

_FIX = "name the ONNX file of the same backbone, or leave --against out"


@dataclass(frozen=True, kw_only=True)
class PlainModel:
    """An ONNX file that computes the raw logits and nothing else.

    Attributes:
        path: of the file.
        size_bytes: of the file and of the weights that it keeps in others.
        input_name, output_name: its (N, *shape) input and (N, C) output.
        batch: the only batch size that it takes, None if it takes any.
    """

    path: Path
    size_bytes: int
    input_name: str
    output_name: str
    batch: int | None = None


@dataclass(frozen=True)
class Agreement:
    """How well the plain model's logits fit the file's raw logits on ``images`` inputs.

    ``largest_difference`` is in logits; ``relative`` is it over the largest absolute raw logit.
    """

    images: int
    largest_difference: float
    relative: float


def cut_plain(model: Sliceable, manifest: Manifest, path: Path) -> PlainModel:
    """Write the part of the file up to its raw logits to ``path``."""
    part = plain_part(model, manifest).content
    path.write_bytes(part)
    return PlainModel(path=path, size_bytes=len(part), input_name=manifest.input.name, output_name=RAW_LOGITS)


def users_plain(path: Path, manifest: Manifest, batches: tuple[int, ...]) -> PlainModel:
    """Check that the model at ``path`` takes and gives what the file's backbone does.

    Raises:
        ArtifactError: if it is no ONNX file.
        InputError: if its input or output does not fit, or it does not take these batch sizes.
    """
    container = read_container(path)
    if len(container.inputs) != 1:
        raise _unfit(path, "one input", f"{len(container.inputs)}")
    taken = container.inputs[0]
    batch = _checked_batch(path, taken, manifest.input.shape, batches)
    classes = (manifest.output.classes,)
    given = next((value for value in container.outputs if _fits(value, classes)), None)
    if given is None:
        raise _unfit(
            path,
            f"an output of float32 (N, {classes[0]})",
            ", ".join(map(_shown, container.outputs)) or "none",
        )
    return PlainModel(
        path=path,
        size_bytes=_whole_size(container),
        input_name=taken.name,
        output_name=given.name,
        batch=batch,
    )


def compare(plain: PlainModel, session: Any, found: Look, tolerance: float) -> Agreement:
    """Run the plain model on inputs whose raw logits are known.

    Args:
        plain: what ``session`` runs.
        session: an onnxruntime session.
        found: inputs and the file's raw logits.
        tolerance: largest difference allowed, as a share of the largest absolute raw logit.

    Raises:
        InputError: if they differ by more.
    """
    count, difference = len(found.inputs), 0.0
    size = plain.batch or count
    for start in range(0, count, size):
        rows = np.arange(start, start + size) % count
        (logits,) = session.run([plain.output_name], {plain.input_name: found.inputs[rows]})
        if logits.shape != found.raw_logits[rows].shape:
            raise _unfit(plain.path, f"logits {found.raw_logits[rows].shape}", str(logits.shape))
        difference = max(difference, _largest(logits - found.raw_logits[rows]))
    relative = difference / max(_largest(found.raw_logits), 1e-30)
    if not relative <= tolerance:
        raise InputError.mismatch(
            expected=f"raw logits that differ by at most {tolerance:g} of the largest one in {plain.path}",
            got=f"{relative:.3g}",
            fix="name the same backbone, or allow more with --tolerance (a backbone in another precision)",
        )
    return Agreement(count, difference, relative)


def _checked_batch(
    path: Path, value: TensorInfo, shape: tuple[int, ...], batches: tuple[int, ...]
) -> int | None:
    if not _fits(value, shape):
        raise _unfit(path, f"an input of float32 (N, {', '.join(map(str, shape))})", _shown(value))
    fixed = value.shape[0] if value.shape else None
    if not isinstance(fixed, int):
        return None
    if set(batches) != {fixed}:
        wanted = ", ".join(map(str, batches))
        raise _unfit(path, f"a model that takes batches of {wanted}", f"one that takes {fixed} only")
    return fixed


def _fits(value: TensorInfo, shape: tuple[int, ...]) -> bool:
    """Whether value is float32 (N, *shape); sizes that the file leaves open fit."""
    if value.dtype != "float32" or value.shape is None or len(value.shape) != 1 + len(shape):
        return False
    return all(
        not isinstance(size, int) or size == wanted
        for size, wanted in zip(value.shape[1:], shape, strict=True)
    )


def _shown(value: TensorInfo) -> str:
    sizes = "of unknown shape" if value.shape is None else f"({', '.join(map(str, value.shape))})"
    return f"{value.name} {value.dtype} {sizes}"


def _whole_size(container: Container) -> int:
    # Exporters keep large weights in a file beside the model.
    external = [weight for weight in container.initializers if weight.external]
    beside = sum(weight.elements * _item_bytes(weight.dtype) for weight in external)
    return container.size_bytes + beside


def _item_bytes(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _largest(values: NDArray[np.float32]) -> float:
    return float(np.abs(values).max(initial=0.0))


def _unfit(path: Path, expected: str, got: str) -> InputError:
    return InputError.mismatch(expected=f"{expected} in {path}", got=got, fix=_FIX)
