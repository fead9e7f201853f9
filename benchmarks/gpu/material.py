"""What travels of one network: defended files, images, the answers expected to them, the weights in torch.

A plain twin is no file of its own: it is cut out of the defended one, whose backbone it is bit for bit. Where
the fp32 file holds a weight's very bytes, only their place in it is noted; where the export has folded
normalisation into a weight, it travels beside the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.file.artifact import read_artifact
from nip_runtime.operate.bench.shares import Mixture
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.run.engine.parts import plain_part
from nip_runtime.session import DefendedSession
from nip_runtime.support.writing import write_whole

NETWORKS_FOLDER: Final = "networks"
IMAGES_FOLDER: Final = "images"
SITE_FOLDER: Final = "site"
FP32: Final = "fp32"
Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a file answers, arrays of N rows; named as :class:`nip_runtime.result.Prediction` names them."""

    labels: NDArray[np.int64]
    logits: Floats
    raw_labels: NDArray[np.int64]
    raw_logits: Floats
    suspicion: Floats
    flagged: NDArray[np.bool_]


ANSWERS: Final = ("labels", "logits", "raw_labels", "raw_logits", "suspicion", "flagged")


def answers_of(session: DefendedSession, inputs: Floats) -> Answers:
    """Let a session answer."""
    prediction = session.predict(inputs)
    return Answers(*(getattr(prediction, name) for name in ANSWERS))


@dataclass(frozen=True)
class Tensor:
    """Where a weight of the torch network stands: at a byte of the fp32 file, or in ``weights.npz``."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    at: int | None
    transposed: bool


@dataclass(frozen=True, kw_only=True)
class Material:
    """One network in a folder.

    Attributes:
        folder: where it is.
        name: which, as :mod:`benchmarks.speed.networks` calls it.
        title: as tables print it.
        weights: where they come from.
        images: name of the file with its images.
        precisions: of the files there are.
        tensors: of the torch network.
    """

    folder: Path
    name: str
    title: str
    weights: str
    images: str
    precisions: tuple[str, ...]
    tensors: tuple[Tensor, ...]

    def path(self, precision: str) -> Path:
        """A defended file."""
        return self.folder / f"{precision}.onnx"

    def plain(self, precision: str) -> bytes:
        """The backbone alone of a defended file, as a model."""
        path = self.path(precision)
        return plain_part(Sliceable(path.read_bytes()), read_artifact(path).manifest).content

    def inputs(self) -> Floats:
        """All images (N, C, H, W) float32 in [0, 1]."""
        return as_inputs(np.load(self.folder.parents[1] / IMAGES_FOLDER / self.images))

    def expected(self, precision: str) -> tuple[Floats, Answers]:
        """Some inputs, and what the CPU answers to them."""
        with np.load(self.folder / f"{precision}.npz") as stored:
            return self.inputs()[stored["rows"]], Answers(*(stored[name] for name in ANSWERS))

    def pool(self, precision: str) -> Mixture:
        """Inputs of which it is known whether they take the second pass."""
        with np.load(self.folder / f"{precision}.npz") as stored:
            inputs = self.inputs()
            return Mixture(inputs[stored["calm"]], inputs[stored["screened"]], stored["threshold"][()])

    def state(self) -> dict[str, NDArray[Any]]:
        """The torch network's weights as arrays."""
        content = self.path(FP32).read_bytes()
        found = dict[str, NDArray[Any]]()
        with np.load(self.folder / "weights.npz") as stored:
            for tensor in self.tensors:
                if tensor.at is None:
                    found[tensor.name] = stored[tensor.name]
                    continue
                shape = tensor.shape[::-1] if tensor.transposed else tensor.shape
                count = int(np.prod(shape, dtype=np.int64))
                values = np.frombuffer(content, tensor.dtype, count, tensor.at).reshape(shape)
                found[tensor.name] = (values.T if tensor.transposed else values).copy()
        return found


def as_inputs(images: NDArray[np.uint8]) -> Floats:
    """(N, C, H, W) uint8 as float32 in [0, 1]."""
    inputs: Floats = images.astype(np.float32) / np.float32(255)
    return inputs


def write(material: Material) -> None:
    """Write the description of a network into its folder."""
    raw = asdict(material)
    del raw["folder"]
    write_whole(material.folder / "material.json", (json.dumps(raw, indent=1) + "\n").encode())


def read(folder: Path) -> Material:
    """Read one network's folder."""
    raw = json.loads((folder / "material.json").read_text(encoding="utf-8"))
    tensors = tuple(Tensor(**tensor | {"shape": tuple(tensor["shape"])}) for tensor in raw.pop("tensors"))
    return Material(folder=folder, tensors=tensors, precisions=tuple(raw.pop("precisions")), **raw)


def read_all(work: Path) -> dict[str, Material]:
    """All networks below an unpacked folder, by name."""
    folders = sorted((work / NETWORKS_FOLDER).iterdir())
    return {folder.name: read(folder) for folder in folders}


def place(state: Mapping[str, NDArray[Any]], folder: Path) -> tuple[Tensor, ...]:
    """Find weights in a folder's fp32 file, and write what is not there into its ``weights.npz``."""
    content = (folder / f"{FP32}.onnx").read_bytes()
    tensors, rest = list[Tensor](), dict[str, NDArray[Any]]()
    for name, values in state.items():
        at, transposed = content.find(values.tobytes()), False
        if at < 0 and values.ndim == 2:
            at, transposed = content.find(values.T.tobytes()), True
        small = values.nbytes < 64  # short patterns stand in many places by chance
        if at < 0 or small:
            at, transposed, rest[name] = -1, False, values
        tensors.append(Tensor(name, values.shape, str(values.dtype), None if at < 0 else at, transposed))
    np.savez(folder / "weights.npz", allow_pickle=False, **rest)
    return tuple(tensors)
