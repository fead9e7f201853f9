"""Compares one model configuration with a graph, and with the warm-up data that it names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nip_runtime.file.artifact import read_artifact
from nip_runtime.operate.triton.config import BACKEND, MODEL_FILE, WARMUP_FOLDER, Tensor, tensors
from nip_runtime.operate.triton.textformat import Message, Word

_ITEM_BYTES: Final = {"TYPE_FP32": 4, "TYPE_BOOL": 1, "TYPE_INT64": 8}
_KNOWN: Final = frozenset(
    {
        "name",
        "backend",
        "platform",
        "version_policy",
        "max_batch_size",
        "input",
        "output",
        "optimization",
        "dynamic_batching",
        "instance_group",
        "default_model_filename",
        "metric_tags",
        "parameters",
        "model_warmup",
        "response_cache",
    }
)
"""Fields that leave each request its own rows and answers; accelerators in ``optimization`` may round."""
_QUEUE_POLICIES: Final = ("default_queue_policy", "priority_queue_policy")


class Difference(Exception):
    """The first thing in which a configuration parts from what it should be."""

    def __init__(self, expected: str, got: object) -> None:
        super().__init__(f"expected {expected}, got {got}")


def _require(found: object, wanted: object, what: str) -> None:
    if found != wanted or type(found) is not type(wanted):
        raise Difference(f"{what} {_shown(wanted)}", "none" if found is None else _shown(found))


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) and not isinstance(value, Word) else str(value)


def check_general(model: Message, name: str) -> int:
    """Check all but tensors and warm-up: the model's name, its backend, and that nothing comes between.

    Returns:
        How many rows a request may have.

    Raises:
        Difference: the first.
        TextFormatError: a field of another kind than it should be.
    """
    strange = sorted(model.names() - _KNOWN)
    if strange:
        raise Difference("only fields that leave requests as they are", ", ".join(strange))
    _require(model.one("name"), name, "the folder's name, name:")
    _require(model.one("backend"), BACKEND, "backend:")
    for field, wanted in (("platform", "onnxruntime_onnx"), ("default_model_filename", MODEL_FILE)):
        if field in model.names():
            _require(model.one(field), wanted, f"{field}:")
    max_batch = model.one("max_batch_size")
    if not isinstance(max_batch, int) or max_batch < 1:
        raise Difference("max_batch_size: of at least 1", max_batch)
    batching = model.message("dynamic_batching")
    for field in _QUEUE_POLICIES:
        if batching is not None and field in batching.names():
            raise Difference(f"no {field}, with which Triton stalls", "one")
    cache = model.message("response_cache")
    if cache is not None and cache.one("enable") not in (None, Word("false"), Word("False"), Word("f"), 0):
        # Its key is a 64-bit hash without a secret: an attacker's image could stand in for another's.
        raise Difference("no response cache, whose keys can be made to collide", "one")
    return max_batch


def check_graph(model: Message, path: Path) -> None:
    """Check that inputs and outputs are those of the defended file at ``path``, and no others.

    Raises:
        Difference: the first.
        TextFormatError: a field of another kind than it should be.
        ArtifactError: ``path`` is no defended file.
    """
    container = read_artifact(path).container
    for field, values in (("input", container.inputs), ("output", container.outputs)):
        stated = [_stated(io, field) for io in model.messages(field)]
        wanted = tensors(values)
        for tensor in wanted:
            same = [other for other in stated if other.name == tensor.name]
            if same != [tensor]:
                raise Difference(
                    f"{field} {tensor}, as in the graph of {path.parent.name}/{path.name}",
                    " and ".join(map(str, same)) or "none of this name",
                )
        extra = {tensor.name for tensor in stated} - {tensor.name for tensor in wanted}
        if extra:
            raise Difference(f"{field}s of the graph only", ", ".join(sorted(extra)))


def _stated(io: Message, field: str) -> Tensor:
    allowed = {"name", "data_type", "dims", "reshape"} | ({"label_filename"} if field == "output" else set())
    strange = sorted(io.names() - allowed)
    if strange:
        raise Difference(f"{field}s with {', '.join(sorted(allowed))} only", ", ".join(strange))
    reshape = io.message("reshape")
    shape = None if reshape is None else _integers(reshape.all("shape"), "shape")
    data_type = io.one("data_type")
    if not isinstance(data_type, Word):
        raise Difference(f"a data_type: without quotes in each {field}", data_type)
    return Tensor(str(io.one("name")), data_type, _integers(io.all("dims"), "dims"), shape)


def _integers(values: Sequence[object], field: str) -> tuple[int, ...]:
    whole = tuple(value for value in values if isinstance(value, int))
    if len(whole) != len(values):
        raise Difference(f"whole numbers in {field}", list(values))
    return whole


def check_warmup(model: Message, folder: Path, max_batch: int) -> None:
    """Check that the warm-up sends what the inputs take, from files in ``folder`` that are there.

    Raises:
        Difference: the first.
        TextFormatError: a field of another kind than it should be.
    """
    inputs = {tensor.name: tensor for tensor in (_stated(io, "input") for io in model.messages("input"))}
    for warmup in model.messages("model_warmup"):
        rows = warmup.one("batch_size")
        if not isinstance(rows, int) or not 0 <= rows <= max_batch:
            raise Difference(f"a warm-up batch_size from 0 to {max_batch}", rows)
        entries = warmup.messages("inputs")
        names = [str(entry.one("key")) for entry in entries]
        if sorted(names) != sorted(inputs):
            raise Difference(f"warm-up inputs {', '.join(inputs)}", ", ".join(names) or "none")
        for entry in entries:
            _check_warmup_input(entry, inputs[str(entry.one("key"))], folder)


def _check_warmup_input(entry: Message, tensor: Tensor, folder: Path) -> None:
    value = entry.message("value") or Message(())
    dims = _integers(value.all("dims"), "dims")
    found = f"{value.one('data_type')} {list(dims)}"
    if (value.one("data_type"), dims) != (tensor.data_type, tensor.dims):
        raise Difference(f"warm-up data {tensor.data_type} {list(tensor.dims)} for {tensor.name}", found)
    name = value.one("input_data_file")
    if name is not None:
        path = folder / WARMUP_FOLDER / str(name)
        wanted = math.prod(dims) * _ITEM_BYTES[tensor.data_type]
        size: object
        try:
            size = path.stat().st_size if path.is_file() else "no file"
        except OSError as error:  # a name that no file can have
            size = error.strerror
        if size != wanted:
            raise Difference(f"{wanted} bytes in {WARMUP_FOLDER}/{name}", size)
